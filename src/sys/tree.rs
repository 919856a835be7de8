//! Whole trees: renaming, and removal that neither follows a link, nor crosses a mount point, nor runs out of descriptors or
//! stack on a tree thousands of directories deep (the standard library keeps one descriptor for each level).

use super::at;
use crate::error::{Errno, SysError, SysResult};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Removes what is at `path`, a tree or a file. Gone already is success.
pub fn remove(path: &Path) -> SysResult<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return super::named(Err(Errno::EINVAL), || format!("remove_tree({path:?})"));
    };
    match at::open_root(parent) {
        Err(e) if e.errno == Errno::ENOENT => Ok(()),
        Err(e) => Err(e),
        Ok(parent) => remove_at(&parent, name),
    }
}

/// A directory that is being emptied: its name in its parent, what must be its inode when we come back up to it,
/// and the directories in it that are still to be removed.
struct Level {
    name: OsString,
    identity: (u64, u64),
    todo: Vec<OsString>,
}

/// Removes the entry `name` of `parent` with all below it.
pub fn remove_at(parent: &impl AsFd, name: &OsStr) -> SysResult<()> {
    let mut here = match open_if_dir(parent, name)? {
        None => return unlink_if_there(parent, name),
        Some(dir) => dir,
    };
    let mut levels = vec![level(&here, name)?];
    loop {
        let Some(top) = levels.last_mut() else { return Ok(()) };
        if let Some(next) = top.todo.pop() {
            match open_if_dir(&here, &next)? {
                None => unlink_if_there(&here, &next)?,
                Some(dir) => {
                    levels.push(level(&dir, &next)?);
                    here = dir;
                }
            }
            continue;
        }
        let done = levels.pop().map(|l| l.name).unwrap_or_default();
        match levels.last() {
            None => return rmdir_if_there(parent, &done),
            Some(above) => {
                here = parent_of(&here, above.identity)?;
                rmdir_if_there(&here, &done)?;
            }
        }
    }
}

/// Unlinks the files of a directory and lists its directories.
fn level(dir: &OwnedFd, name: &OsStr) -> SysResult<Level> {
    let stat = at::stat_fd(dir)?;
    // a second open file description: reading this one to its end must not move the other's offset
    let listing = at::open_dir(dir, OsStr::new("."))?;
    let mut todo = Vec::new();
    for (entry, is_dir) in at::entries(listing)? {
        match is_dir {
            Some(false) => unlink_if_there(dir, &entry)?,
            Some(true) | None => todo.push(entry),
        }
    }
    Ok(Level { name: name.to_owned(), identity: (stat.st_dev, stat.st_ino), todo })
}

/// `..`, which must be the directory we came from: somebody who moves the tree meanwhile must not lead us elsewhere.
fn parent_of(dir: &OwnedFd, identity: (u64, u64)) -> SysResult<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let parent =
        super::named(nix::fcntl::openat(dir, OsStr::new(".."), flags, Mode::empty()), || "openat(\"..\")".into())?;
    let stat = at::stat_fd(&parent)?;
    if (stat.st_dev, stat.st_ino) != identity {
        return Err(SysError { call: "remove_tree: the tree was moved meanwhile".into(), errno: Errno::EBUSY });
    }
    Ok(parent)
}

/// `None` where it is no directory, or nothing.
fn open_if_dir(parent: &impl AsFd, name: &OsStr) -> SysResult<Option<OwnedFd>> {
    match at::open_dir(parent, name) {
        Ok(dir) => Ok(Some(dir)),
        Err(e) if matches!(e.errno, Errno::ENOTDIR | Errno::ELOOP | Errno::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

fn unlink_if_there(parent: &impl AsFd, name: &OsStr) -> SysResult<()> {
    gone_is_done(at::unlink(parent, name))
}

fn rmdir_if_there(parent: &impl AsFd, name: &OsStr) -> SysResult<()> {
    gone_is_done(at::rmdir(parent, name))
}

fn gone_is_done(done: SysResult<()>) -> SysResult<()> {
    match done {
        Err(e) if e.errno == Errno::ENOENT => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_tree_goes_and_what_its_links_name_stays() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("canary"), "alive").unwrap();
        std::fs::create_dir(dir.path().join("kept")).unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::create_dir_all(tree.join("c")).unwrap();
        std::fs::write(tree.join("a/b/file"), "x").unwrap();
        symlink("../kept", tree.join("link")).unwrap();
        symlink(dir.path(), tree.join("a/up")).unwrap();
        remove(&tree).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists());
        assert!(dir.path().join("canary").exists() && dir.path().join("kept").exists());
    }

    #[test]
    fn depth_costs_no_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let mut here = at::open_root(dir.path()).unwrap();
        for _ in 0..3000 {
            at::mkdir(&here, OsStr::new("d")).unwrap();
            here = at::open_dir(&here, OsStr::new("d")).unwrap();
        }
        remove(&dir.path().join("d")).unwrap();
        assert!(!dir.path().join("d").exists());
    }
}
