//! A blob on its way: a file that grows, and is read while it does. What has come of it outlives a pull that fails or
//! is killed, and the next one goes on from there; it goes with `sweep`. Nobody believes it before it was hashed.

use crate::error::{Error, Result};
use crate::id::{Digest, HostPath};
use crate::image::ingest::{Ingest, PARTIAL};
use crate::image::layer::Hashed;
use crate::sys::fs;
use crate::sys::record::Lock;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How often the file may turn out to be another pull's, which has just become a blob.
const TURNS: usize = 10;

#[derive(Debug)]
pub(super) struct Arriving {
    pub digest: Digest,
    /// As the manifest says; what comes is cut there.
    pub size: u64,
    pub path: HostPath,
    file: File,
    /// Whose the file is. Without, another pull has it, and ours is a private one that nothing outlives.
    _lock: Option<Lock>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    length: u64,
    /// Whether some of it is of an earlier pull.
    resumed: bool,
    end: End,
    /// The file becomes a blob, or goes.
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Coming,
    Whole,
    Failed,
}

impl End {
    pub(super) fn of<T, E>(fetched: &std::result::Result<T, E>) -> End {
        if fetched.is_ok() { End::Whole } else { End::Failed }
    }
}

/// What becomes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The next pull goes on from it.
    Kept,
    /// It is wrong, or the disk is full.
    Removed,
    Adopted,
}

impl Arriving {
    /// Opens what there is of the blob. Two pulls of one blob never wait for each other.
    pub(super) fn open(ingest: &mut Ingest<'_>, digest: &Digest, size: u64) -> Result<Arriving> {
        let shared = ingest.store.images().child(&format!("{PARTIAL}{}", digest.hex()));
        let mut lock = None;
        for _ in 0..TURNS {
            let Some(taken) = Lock::try_exclusive(shared.as_path())? else { break };
            // between open and lock it may have become a blob, which is written no more
            if fs::lstat(shared.as_path())
                .is_ok_and(|now| fs::stat_fd(&taken).is_ok_and(|ours| ours.st_ino == now.st_ino))
            {
                lock = Some(taken);
                break;
            }
        }
        let path = if lock.is_some() { shared } else { ingest.fresh_path()? };
        let failed = |e: io::Error| Error::host(format!("open {path}: {e}"));
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path.as_path());
        let file = file.map_err(failed)?;
        let mut length = file.metadata().map_err(failed)?.len();
        if length > size {
            file.set_len(0).map_err(failed)?;
            length = 0;
        }
        let state = State { length, resumed: length > 0, end: End::Coming, fate: Fate::Kept };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Ok(Arriving { digest: digest.clone(), size, path, file, _lock: lock, state, changed })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn length(&self) -> u64 {
        self.state().length
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.state().resumed
    }

    /// Adds bytes at the end.
    pub(super) fn append(&self, bytes: &[u8]) -> Result<()> {
        let at = self.length();
        self.file.write_all_at(bytes, at).map_err(|e| {
            self.decide(Fate::Removed); // the room is needed
            Error::host(format!("write {}: {e}", self.path)).hint("is the disk full?")
        })?;
        self.state().length += bytes.len() as u64;
        self.changed.notify_all();
        Ok(())
    }

    /// Nothing comes any more.
    pub(super) fn end(&self, end: End) {
        self.state().end = end;
        self.changed.notify_all();
    }

    pub(super) fn decide(&self, fate: Fate) {
        self.state().fate = fate;
    }

    /// Throws away what has come. Nobody may be reading.
    pub(super) fn restart(&self) -> Result<()> {
        self.file.set_len(0).map_err(|e| Error::host(format!("truncate {}: {e}", self.path)))?;
        *self.state() = State { length: 0, resumed: false, end: End::Coming, fate: Fate::Kept };
        Ok(())
    }

    /// Brings the bytes to the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::host(format!("fsync {}: {e}", self.path)))
    }

    /// From the first byte on; waits for those that are still to come.
    pub(super) fn reader(&self) -> Growing<'_> {
        Growing { blob: self, at: 0 }
    }

    /// The digest of all of it, once it has come.
    pub(super) fn hash(&self) -> io::Result<Digest> {
        let mut hashed = Hashed::new(self.reader());
        io::copy(&mut hashed, &mut io::sink())?;
        Ok(hashed.digest())
    }

    /// How far it is when it is beyond `at`, or has ended.
    fn wait_beyond(&self, at: u64) -> io::Result<u64> {
        let mut state = self.state();
        loop {
            match state.end {
                _ if state.length > at => return Ok(state.length),
                End::Whole => return Ok(state.length),
                End::Failed => return Err(io::Error::other(format!("the rest of blob {} did not come", self.digest))),
                End::Coming => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let state = self.state();
        if state.fate == Fate::Removed || (state.fate == Fate::Kept && state.length == 0) {
            let _ = fs::unlink(self.path.as_path()); // sweep removes it too
        }
    }
}

/// Reads a blob while it comes.
#[derive(Debug)]
pub(super) struct Growing<'a> {
    blob: &'a Arriving,
    at: u64,
}

impl Read for Growing<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let there = self.blob.wait_beyond(self.at)? - self.at;
        let wanted = into.len().min(usize::try_from(there).unwrap_or(usize::MAX));
        let n = self.blob.file.read_at(&mut into[..wanted], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
