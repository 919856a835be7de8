//! How a blob comes: from where it stopped, again and again while there is progress, never longer than the manifest
//! says. It compares no digest.

use super::arriving::{Arriving, End, Fate};
use super::http::{Failure, TRIES, backoff, header, is_silence};
use super::remote::Remote;
use super::resumed::goes_on;
use crate::error::{Error, Result};
use crate::image::progress::Progress;
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// So much between two troubles, and the count of troubles begins anew.
const PROGRESS: u64 = 1 << 20;
/// What is read at once.
const PIECE: usize = 256 << 10;
const DAMAGED: &str = "the registry has another blob there than its manifest says: pull it from elsewhere, or later";

/// What the threads of one pull know of each other.
#[derive(Debug, Default)]
pub(super) struct Common {
    next: AtomicUsize,
    stop: AtomicBool,
    /// The first trouble; that of the others is its consequence.
    failure: Mutex<Option<Failure>>,
}

impl Common {
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Fetches one blob after the other, those that no other thread has taken. Each has ended afterwards.
pub(super) fn all(remote: &Remote<'_>, blobs: &[Arriving], common: &Common, progress: &dyn Progress) {
    while let Some(blob) = blobs.get(common.next.fetch_add(1, Ordering::Relaxed)) {
        let fetched = whole(remote, blob, &common.stop, progress);
        let end = End::of(&fetched);
        if let Err(failure) = fetched
            && !common.stop.swap(true, Ordering::Relaxed)
        {
            *common.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            remote.hang_up(); // what stands still does not see that it shall stop
        }
        blob.end(end); // last, for whoever waits for the blob stops the others, and then asks why it did not come
    }
}

/// Fetches what is missing of a blob, which has ended afterwards.
pub(super) fn one(
    remote: &Remote<'_>,
    blob: &Arriving,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> Result<(), Failure> {
    let fetched = whole(remote, blob, stop, progress);
    blob.end(End::of(&fetched));
    fetched
}

fn whole(remote: &Remote<'_>, blob: &Arriving, stop: &AtomicBool, progress: &dyn Progress) -> Result<(), Failure> {
    rest(remote, blob, stop, progress)?;
    Ok(blob.sync()?)
}

fn rest(remote: &Remote<'_>, blob: &Arriving, stop: &AtomicBool, progress: &dyn Progress) -> Result<(), Failure> {
    let mut tries = 0;
    while blob.length() < blob.size {
        unless_stopped(stop)?;
        let before = blob.length();
        let Some(reason) = piece(remote, blob, stop, progress)? else { continue };
        if blob.length() >= before + PROGRESS {
            tries = 0;
        }
        if tries == TRIES {
            return Err(Failure::Unreachable(format!("{}: {reason}", remote.host())));
        }
        std::thread::sleep(backoff(tries));
        tries += 1;
    }
    progress.update(blob.digest.short(), blob.size, Some(blob.size));
    Ok(())
}

/// An error where another blob's trouble, which is the one that is told, has made this one needless.
fn unless_stopped(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) { Err(Error::image("stopped")) } else { Ok(()) }
}

/// One answer: as much as comes. Why it is not all, where it is not.
fn piece(
    remote: &Remote<'_>,
    blob: &Arriving,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> Result<Option<String>, Failure> {
    let from = blob.length();
    let mut response = remote.blob_from(&blob.digest, from)?;
    let mut skip = if goes_on(&response, from) { 0 } else { from };
    if response.status() != 200 && skip > 0 {
        response = remote.blob_from(&blob.digest, 0)?; // 416, or another range than we asked for
    }
    let wrong = |what: String| {
        blob.decide(Fate::Removed);
        Failure::from(Error::image(format!("blob {}: {what}", blob.digest)).hint(DAMAGED))
    };
    let declared: Option<u64> = header(&response, "content-length").and_then(|length| length.parse().ok());
    if let Some(length) =
        declared.map(|length| length.saturating_add(from - skip)).filter(|length| *length != blob.size)
    {
        return Err(wrong(format!("the registry has {length} bytes, not {}", blob.size)));
    }
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; PIECE];
    loop {
        unless_stopped(stop)?;
        let n = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n as u64,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) if is_silence(&e) && remote.registry.endpoint.has_substitute => {
                return Err(Failure::Silent(format!("{}: no answer in time", remote.host())));
            }
            Err(e) => return Ok(Some(e.to_string().to_lowercase())),
        };
        // a registry that knows no ranges: what we have, it sends again
        let known = skip.min(n);
        skip -= known;
        if blob.length() + n - known > blob.size {
            return Err(wrong(format!("longer than {} bytes", blob.size)));
        }
        if n > known {
            blob.append(&buffer[known as usize..n as usize])?;
            progress.update(blob.digest.short(), blob.length(), Some(blob.size));
        }
    }
    Ok((blob.length() < blob.size).then(|| "the answer was cut".to_owned()))
}
