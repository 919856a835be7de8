//! Locks on single bytes of a file: one for each of as many things as wished, without a file for each (fcntl(2), "Open
//! file description locks"). The kernel frees them when the last descriptor is closed, so that a dead process holds none.

use super::{fs, named};
use crate::error::{Errno, SysResult};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Shared,
    Exclusive,
}

/// Held locks on bytes of one file.
#[derive(Debug)]
pub struct ByteLocks {
    file: File,
    path: PathBuf,
}

impl ByteLocks {
    /// Waits for all of these bytes, by their offsets (below 2^63). They are taken in ascending order, and none later:
    /// of those who want some of the same bytes, nobody waits for one who waits for him. The file is made where it is
    /// missing, and stays.
    pub fn wait(path: &Path, bytes: &BTreeMap<u64, How>) -> SysResult<ByteLocks> {
        let locks = ByteLocks::open(path)?;
        for (at, how) in bytes {
            let range = range(*at, *how)?;
            while let Err(errno) = fcntl(&locks.file, FcntlArg::F_OFD_SETLKW(&range)) {
                if errno != Errno::EINTR {
                    named(Err(errno), || format!("fcntl({path:?}, F_OFD_SETLKW)"))?;
                }
            }
        }
        Ok(locks)
    }

    /// One byte, exclusively; `None` where somebody else has it.
    pub fn try_exclusive(path: &Path, at: u64) -> SysResult<Option<ByteLocks>> {
        let locks = ByteLocks::open(path)?;
        match fcntl(&locks.file, FcntlArg::F_OFD_SETLK(&range(at, How::Exclusive)?)) {
            Ok(_) => Ok(Some(locks)),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(errno) => named(Err(errno), || format!("fcntl({path:?}, F_OFD_SETLK)")),
        }
    }

    /// Lets others share a byte that was held exclusively.
    pub fn share(&self, at: u64) -> SysResult<()> {
        let shared = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&range(at, How::Shared)?));
        named(shared.map(drop), || format!("fcntl({:?}, F_OFD_SETLK)", self.path))
    }

    fn open(path: &Path) -> SysResult<ByteLocks> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_CLOEXEC;
        let file = named(fs::open(path, flags, Mode::from_bits_truncate(0o600)), || format!("open({path:?})"))?;
        Ok(ByteLocks { file: file.into(), path: path.to_owned() })
    }
}

fn range(at: u64, how: How) -> SysResult<libc::flock> {
    let kind = match how {
        How::Shared => libc::F_RDLCK,
        How::Exclusive => libc::F_WRLCK,
    };
    let start = libc::off_t::try_from(at).map_err(|_| Errno::EOVERFLOW);
    Ok(libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: named(start, || format!("lock byte {at}"))?,
        l_len: 1,
        l_pid: 0, // as such locks want it
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_a_lock_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let free = |at| ByteLocks::try_exclusive(&path, at).unwrap().is_some();
        let all = [(3, How::Exclusive), (5, How::Shared), (1 << 62, How::Exclusive)];
        let held = ByteLocks::wait(&path, &BTreeMap::from(all)).unwrap();
        assert_eq!([2, 3, 4, 5, 1 << 62].map(free), [true, false, true, false, false]);
        let shared = |at| ByteLocks::wait(&path, &BTreeMap::from([(at, How::Shared)]));
        shared(5).unwrap();
        held.share(3).unwrap();
        shared(3).unwrap();
        assert!(!free(3));
        drop(held);
        assert_eq!([3, 5, 1 << 62].map(free), [true; 3]);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn two_who_want_the_same_in_other_orders_both_get_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::thread::scope(|scope| {
            for order in [[1, 2, 3], [3, 2, 1]] {
                let bytes = order.map(|at| (at, How::Exclusive));
                let path = &path;
                scope.spawn(move || (0..200).for_each(|_| drop(ByteLocks::wait(path, &bytes.into()).unwrap())));
            }
        });
    }
}
