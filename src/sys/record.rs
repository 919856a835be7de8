//! A record on disk: written whole or not at all, and guarded by a lock that the kernel frees.

use super::{fs, named, named_io};
use crate::error::{Errno, SysError, SysResult};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Whether a record survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Temporary file, fsync, rename, fsync of the directory.
    Disk,
    /// Temporary file, rename: for /run, which a reboot empties anyway.
    Memory,
}

/// How the names of records begin that are not yet whole.
pub const UNWRITTEN: &str = ".record-";

/// Replaces the file at `path` by `bytes`, mode 0600: a reader sees the old or the new record, never a part.
pub fn write(path: &Path, bytes: &[u8], durability: Durability) -> SysResult<()> {
    prepare(path, bytes, durability)?.put()
}

/// A record that has its room on the disk, and not yet its name. Dropped, it is gone.
#[derive(Debug)]
pub struct Prepared<'p> {
    file: tempfile::NamedTempFile,
    path: &'p Path,
    durability: Durability,
}

/// The first half of `write`: all that may fail for want of room.
pub fn prepare<'p>(path: &'p Path, bytes: &[u8], durability: Durability) -> SysResult<Prepared<'p>> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let call = || format!("write_record({path:?})");
    let mut file = named_io(tempfile::Builder::new().prefix(UNWRITTEN).tempfile_in(dir), call)?;
    named_io(file.write_all(bytes), call)?;
    if durability == Durability::Disk {
        named_io(file.as_file().sync_all(), || format!("fsync({path:?})"))?;
    }
    Ok(Prepared { file, path, durability })
}

impl Prepared<'_> {
    /// The other half.
    pub fn put(self) -> SysResult<()> {
        let Prepared { file, path, durability } = self;
        named_io(file.persist(path).map_err(|e| e.error), || format!("rename({path:?})"))?;
        if durability == Durability::Disk {
            let dir = path.parent().unwrap_or(Path::new("/"));
            named_io(File::open(dir).and_then(|d| d.sync_all()), || format!("fsync({dir:?})"))?;
        }
        Ok(())
    }
}

/// Removes what killed writers left in a directory; how many there were. For who holds the lock under which it is
/// written, or knows that its writers are dead.
pub fn forget_unwritten(dir: &Path) -> SysResult<usize> {
    let mut names = fs::list(dir)?;
    names.retain(|name| name.starts_with(UNWRITTEN));
    names.iter().try_for_each(|name| fs::unlink(&dir.join(name)))?;
    Ok(names.len())
}

/// A held flock(2) on a file of its own. The kernel frees it when the last descriptor is closed: a process that
/// inherited the lock keeps it when we let go, and a dead one holds nothing.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Waits for the lock. The file is made where it is missing, and stays.
    pub fn exclusive(path: &Path) -> SysResult<Lock> {
        Lock::take(path, libc::LOCK_EX)
    }

    /// Waits until nobody holds it exclusively; many may share it.
    pub fn shared(path: &Path) -> SysResult<Lock> {
        Lock::take(path, libc::LOCK_SH)
    }

    /// `None` where somebody else has it.
    pub fn try_exclusive(path: &Path) -> SysResult<Option<Lock>> {
        match Lock::take(path, libc::LOCK_EX | libc::LOCK_NB) {
            Err(SysError { errno: Errno::EWOULDBLOCK, .. }) => Ok(None),
            taken => taken.map(Some),
        }
    }

    /// Waits for a directory that is there: no file is made for it. ENOENT where it is not.
    pub fn directory(path: &Path) -> SysResult<Lock> {
        Lock::open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, libc::LOCK_EX)
    }

    /// The same without waiting; `None` where somebody else has it.
    pub fn try_directory(path: &Path) -> SysResult<Option<Lock>> {
        match Lock::open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, libc::LOCK_EX | libc::LOCK_NB) {
            Err(SysError { errno: Errno::EWOULDBLOCK, .. }) => Ok(None),
            taken => taken.map(Some),
        }
    }

    /// The same with so much patience; EWOULDBLOCK after it. (flock(2) has no time limit, so it is tried again.)
    pub fn directory_within(path: &Path, patience: Duration) -> SysResult<Lock> {
        let end = Instant::now() + patience;
        loop {
            if let Some(lock) = Lock::try_directory(path)? {
                return Ok(lock);
            }
            if Instant::now() >= end {
                return named(Err(Errno::EWOULDBLOCK), || format!("flock({path:?})"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn take(path: &Path, how: libc::c_int) -> SysResult<Lock> {
        Lock::open(path, OFlag::O_RDWR | OFlag::O_CREAT, how)
    }

    fn open(path: &Path, flags: OFlag, how: libc::c_int) -> SysResult<Lock> {
        let (flags, mode) = (flags | OFlag::O_CLOEXEC, Mode::from_bits_truncate(0o600));
        let file = File::from(named(super::fs::open(path, flags, mode), || format!("open({path:?})"))?);
        loop {
            // SAFETY: flock takes no pointer; the descriptor is open for the whole call. (nix's Flock unlocks
            // explicitly when dropped, which would also unlock for a process that inherited the descriptor.)
            match Errno::result(unsafe { libc::flock(file.as_raw_fd(), how) }) {
                Ok(_) => return Ok(Lock(file)),
                Err(Errno::EINTR) => {}
                Err(errno) => return named(Err(errno), || format!("flock({path:?})")),
            }
        }
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Lock> for OwnedFd {
    fn from(lock: Lock) -> OwnedFd {
        lock.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_replaced_whole_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r");
        write(&path, b"old", Durability::Memory).unwrap();
        write(&path, b"new", Durability::Disk).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_never_whole_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("r"), b"whole", Durability::Memory).unwrap();
        std::fs::write(dir.path().join(".record-x"), b"ha").unwrap();
        assert_eq!(forget_unwritten(dir.path()).unwrap(), 1);
        assert_eq!(fs::list(dir.path()).unwrap(), ["r"]);
        assert_eq!(forget_unwritten(&dir.path().join("missing")).unwrap(), 0);
    }

    #[test]
    fn a_lock_is_held_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::exclusive(&path).unwrap();
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_exclusive(&path).unwrap().is_some());
    }
}
