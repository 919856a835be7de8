//! What a container has changed, from the upper directory of its overlay and the merged layers below: docker's `diff`.

use super::walk::{self, Found, Mounts};
use crate::error::{Errno, Error, Result, SysResult};
use crate::image::layer::{is_opaque, is_whiteout, kind};
use crate::sys::at;
use nix::sys::stat::FileStat;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// One path that is not what it is in the image. Absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub path: PathBuf,
    pub kind: ChangeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Modified,
    Added,
    Deleted,
}

/// What `upper` changes in the merged tree `lower`, sorted. A directory in which something changed is changed itself;
/// one that was only copied up is not.
pub fn changes(upper: &OwnedFd, lower: &OwnedFd) -> Result<Vec<Change>> {
    let mut all: BTreeMap<PathBuf, ChangeKind> = BTreeMap::new();
    walk::each(upper, Path::new(""), Mounts::Leave, &mut |found| {
        refuse_references(found)?;
        if found.path.as_os_str().is_empty() {
            return Ok(());
        }
        let below = below(lower, found.path)?;
        let change = match (hides(found)?, &below) {
            (true, None) => return Ok(()),
            (true, Some(_)) => ChangeKind::Deleted,
            (false, None) => ChangeKind::Added,
            (false, Some((fd, stat))) => {
                let both = kind(&found.stat) == libc::S_IFDIR && kind(stat) == libc::S_IFDIR;
                let opaque = both && found.dir.map(is_opaque).transpose()? == Some(true);
                if let (true, Some(dir)) = (opaque, found.dir) {
                    let gone = gone(dir, fd)?;
                    all.extend(gone.into_iter().map(|name| (found.path.join(name), ChangeKind::Deleted)));
                } else if both && same(&found.stat, stat) {
                    return Ok(());
                }
                ChangeKind::Modified
            }
        };
        all.insert(found.path.to_owned(), change);
        Ok(())
    })?;
    let above: Vec<PathBuf> = all.keys().flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned).collect();
    for path in above.into_iter().filter(|path| !path.as_os_str().is_empty()) {
        all.entry(path).or_insert(ChangeKind::Modified);
    }
    Ok(all.into_iter().map(|(path, kind)| Change { path: Path::new("/").join(path), kind }).collect())
}

/// Whether an object of an upper directory only hides what is below: a character device 0/0, or an empty file with a
/// mark (Documentation/filesystems/overlayfs.rst, "Whiteouts and opaque directories").
pub(super) fn hides(found: &Found<'_>) -> Result<bool> {
    if kind(&found.stat) != libc::S_IFREG || found.stat.st_size > 0 {
        return Ok(is_whiteout(&found.stat));
    }
    Ok(at::xattr(&at::reopen_file(found.fd)?, b"trusted.overlay.whiteout")?.is_some())
}

/// Where the kernel keeps a renamed directory as a reference to the layers below, its content is not in `upper`.
pub(super) fn refuse_references(found: &Found<'_>) -> Result<()> {
    let Some(dir) = found.dir else { return Ok(()) };
    match at::xattr(dir, b"trusted.overlay.redirect")? {
        None => Ok(()),
        Some(_) => {
            Err(Error::host(format!("/{} was renamed, and this host keeps that by reference", found.path.display()))
                .hint("echo N >/sys/module/overlay/parameters/redirect_dir, for containers made from now on"))
        }
    }
}

/// What the layers below have at a path; links count as what they are.
fn below(lower: &OwnedFd, path: &Path) -> Result<Option<(OwnedFd, FileStat)>> {
    match at::name_fd(lower, path.as_os_str()) {
        Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        found => {
            let found = found?;
            let stat = at::stat_fd(&found)?;
            Ok(Some((found, stat)))
        }
    }
}

/// The names of a directory below that its opaque successor does not have.
fn gone(dir: &OwnedFd, below: &OwnedFd) -> SysResult<Vec<std::ffi::OsString>> {
    let mut gone = Vec::new();
    for (name, _) in at::entries(at::reopen_dir(below)?)? {
        if at::stat(dir, &name)?.is_none() {
            gone.push(name);
        }
    }
    Ok(gone)
}

fn same(a: &FileStat, b: &FileStat) -> bool {
    let of = |s: &FileStat| (s.st_mode, s.st_uid, s.st_gid, s.st_mtime, s.st_mtime_nsec);
    of(a) == of(b)
}
