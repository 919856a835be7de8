//! The flat form: what one layer has written into a directory that the layers below have filled. Whiteouts take away
//! what is not among it. Paths are kept as keyed hashes (std's SipHash): eight bytes each, and no archive can choose
//! two that meet.

use super::below::kind;
use super::tree::open_deep;
use crate::error::SysResult;
use crate::sys::{at, tree as systree};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

#[derive(Debug, Default)]
pub(super) struct Flat {
    /// What this layer holds, and the directories it is in.
    written: HashSet<u64>,
    /// Directories in which nothing of the layers below is left.
    fresh: HashSet<u64>,
    keys: RandomState,
}

impl Flat {
    /// The key of an entry of a directory; the root's own is 0.
    pub(super) fn key(&self, above: u64, name: &OsStr) -> u64 {
        self.keys.hash_one((above, name.as_bytes()))
    }

    /// Remembers an entry of a directory as this layer's; gives its key.
    pub(super) fn add(&mut self, above: u64, name: &OsStr) -> u64 {
        let key = self.key(above, name);
        self.written.insert(key);
        key
    }

    /// Remembers a directory that this layer has made.
    pub(super) fn made(&mut self, above: u64, name: &OsStr) {
        let key = self.add(above, name);
        self.fresh.insert(key);
    }

    pub(super) fn is_written(&self, key: u64) -> bool {
        self.written.contains(&key)
    }

    pub(super) fn is_fresh(&self, key: u64) -> bool {
        self.fresh.contains(&key)
    }

    /// Removes from a directory, and from this layer's directories in it, what this layer has not written. Each
    /// directory is looked through once in a layer, however often it is asked for.
    pub(super) fn clear(&mut self, top: &OwnedFd, key: u64) -> SysResult<()> {
        if !self.fresh.insert(key) {
            return Ok(());
        }
        // a directory by its parent's place in this list
        let mut todo: Vec<(usize, OsString, u64)> = vec![(0, OsString::from("."), key)];
        let mut next = 0;
        while next < todo.len() {
            let mut path = vec![];
            let mut at = next;
            while at > 0 {
                path.push(at);
                at = todo[at].0;
            }
            let dir = open_deep(top, path.iter().rev().map(|at| todo[*at].1.as_os_str()))?;
            let here = todo[next].2;
            let stat = at::stat_fd(&dir)?;
            let mut changed = false;
            for (name, is_dir) in at::entries(at::open_dir(&dir, OsStr::new("."))?)? {
                let key = self.key(here, &name);
                if !self.written.contains(&key) {
                    systree::remove_at(&dir, &name)?;
                    changed = true;
                } else if is_directory(&dir, &name, is_dir)? && self.fresh.insert(key) {
                    todo.push((next, name, key));
                }
            }
            if changed {
                let time = at::Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec };
                at::set_times_fd(&dir, time)?;
            }
            next += 1;
        }
        Ok(())
    }
}

/// Some file systems do not say in the listing what an entry is.
fn is_directory(dir: &OwnedFd, name: &OsStr, said: Option<bool>) -> SysResult<bool> {
    match said {
        Some(said) => Ok(said),
        None => Ok(at::stat(dir, name)?.is_some_and(|stat| kind(&stat) == libc::S_IFDIR)),
    }
}
