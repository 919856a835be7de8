//! What the layers below look like to overlayfs at one directory: needed where a layer names a parent directory that
//! it does not hold, links to a file that it does not hold, or whites out what may not be there. Only reads.

use crate::error::{Errno, Result, SysResult};
use crate::id::HostPath;
use crate::sys::at;
use nix::sys::stat::FileStat;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;

/// The attribute by which overlayfs hides what is below a directory (Documentation/filesystems/overlayfs.rst).
pub(crate) const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// The directories that overlayfs would merge at one place, the topmost first.
#[derive(Debug, Default)]
pub(super) struct Merged(Vec<OwnedFd>);

/// An entry of a lower layer: where it lies and what it is.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub parent: &'a OwnedFd,
    pub stat: FileStat,
}

impl Merged {
    /// The roots of these layers, given lowest first.
    pub(super) fn roots(layers: &[HostPath]) -> Result<Merged> {
        let mut dirs = Vec::new();
        for layer in layers.iter().rev() {
            let root = at::open_root(layer.as_path())?;
            let opaque = is_opaque(&root)?;
            dirs.push(root);
            if opaque {
                break;
            }
        }
        Ok(Merged(dirs))
    }

    /// The topmost entry of that name, where no whiteout hides it.
    pub(super) fn find(&self, name: &OsStr) -> SysResult<Option<Found<'_>>> {
        for parent in &self.0 {
            match at::stat(parent, name)? {
                None => {}
                Some(stat) if is_whiteout(&stat) => return Ok(None),
                Some(stat) => return Ok(Some(Found { parent, stat })),
            }
        }
        Ok(None)
    }

    /// What is merged one directory further down.
    pub(super) fn enter(&self, name: &OsStr) -> SysResult<Merged> {
        let mut dirs = Vec::new();
        for parent in &self.0 {
            let dir = match at::open_dir(parent, name) {
                Ok(dir) => dir,
                Err(e) if e.errno == Errno::ENOENT => continue,
                Err(e) if matches!(e.errno, Errno::ENOTDIR | Errno::ELOOP) => break,
                Err(e) => return Err(e),
            };
            let opaque = is_opaque(&dir)?;
            dirs.push(dir);
            if opaque {
                break;
            }
        }
        Ok(Merged(dirs))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub(crate) fn is_opaque(dir: &OwnedFd) -> SysResult<bool> {
    Ok(at::xattr(dir, OPAQUE)?.as_deref() == Some(b"y"))
}

pub(in crate::image) fn is_whiteout(stat: &FileStat) -> bool {
    kind(stat) == libc::S_IFCHR && stat.st_rdev == 0
}

/// The file type bits.
pub(in crate::image) fn kind(stat: &FileStat) -> libc::mode_t {
    stat.st_mode & libc::S_IFMT
}
