//! Walks a tree that others may change meanwhile: every step is one name below an open directory, never a link, and
//! each object is looked at through a descriptor that only names it. What is gone when its turn comes is left out.

use crate::error::{Errno, Error, Result};
use crate::image::layer::kind;
use crate::sys::at;
use nix::sys::stat::FileStat;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A descriptor is held for each level, and a process has 1024 of them by default.
const MAX_DEPTH: usize = 900;

/// What is done where another file system is mounted in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// It is walked too, but for /proc, /sys and their like: those are empty directories.
    Enter,
    /// It is an empty directory.
    Leave,
}

/// One object of the tree.
pub(super) struct Found<'a> {
    /// Below the start, under the name that the start was given.
    pub path: &'a Path,
    pub stat: FileStat,
    /// O_PATH.
    pub fd: &'a OwnedFd,
    /// The same, open for reading, where it is a directory.
    pub dir: Option<&'a OwnedFd>,
}

struct Level {
    dir: OwnedFd,
    path: PathBuf,
    device: u64,
    names: std::vec::IntoIter<OsString>,
}

/// Visits `start` (a descriptor of O_PATH), which is called `name`, and all below it: a directory before what it
/// holds, names sorted.
pub(super) fn each(
    start: &OwnedFd,
    name: &Path,
    mounts: Mounts,
    visit: &mut dyn FnMut(&Found<'_>) -> Result<()>,
) -> Result<()> {
    let mut levels: Vec<Level> = one(start, name.to_owned(), None, mounts, visit)?.into_iter().collect();
    while let Some(top) = levels.last_mut() {
        let Some(next) = top.names.next() else {
            levels.pop();
            continue;
        };
        let path = top.path.join(&next);
        let found = match at::name_fd(&top.dir, &next) {
            Err(e) if e.errno == Errno::ENOENT => continue,
            found => found?,
        };
        if let Some(level) = one(&found, path, Some(top.device), mounts, visit)? {
            if levels.len() >= MAX_DEPTH {
                return Err(Error::user(format!("directories more than {MAX_DEPTH} deep")));
            }
            levels.push(level);
        }
    }
    Ok(())
}

/// Visits one object; a directory that is to be walked becomes a level.
fn one(
    fd: &OwnedFd,
    path: PathBuf,
    above: Option<u64>,
    mounts: Mounts,
    visit: &mut dyn FnMut(&Found<'_>) -> Result<()>,
) -> Result<Option<Level>> {
    let stat = at::stat_fd(fd)?;
    if kind(&stat) != libc::S_IFDIR {
        visit(&Found { path: &path, stat, fd, dir: None })?;
        return Ok(None);
    }
    let dir = at::reopen_dir(fd)?;
    visit(&Found { path: &path, stat, fd, dir: Some(&dir) })?;
    let mounted = above.is_some_and(|device| device != stat.st_dev);
    if mounted && (mounts == Mounts::Leave || at::is_of_kernel(&dir)?) {
        return Ok(None);
    }
    let listing = at::reopen_dir(fd)?;
    let mut names: Vec<OsString> = at::entries(listing)?.into_iter().map(|(name, _)| name).collect();
    names.sort();
    Ok(Some(Level { dir, path, device: stat.st_dev, names: names.into_iter() }))
}
