//! An image's root file system as one plain directory, with nothing of overlayfs in it. Both digests of each layer are
//! checked while it is written, whoever's blobs they are; an error leaves nothing.

use super::layer;
use super::layout;
use super::progress::{Counted, Progress};
use super::store::{Image, Store};
use crate::error::{Errno, Error, Result};
use crate::id::HostPath;
use crate::sys::{at, fs, tree};
use std::io::Read as _;
use std::os::fd::OwnedFd;

impl Store {
    /// Unpacks an image of the store into `dir`, which is empty or is made.
    pub fn unpack_flat(&self, image: &Image, dir: &HostPath, progress: &dyn Progress) -> Result<()> {
        unpack(&at::open_root(self.images().as_path())?, image, dir, progress)
    }
}

/// Unpacks an image whose blobs are in the layout `blobs` into `dir`, which is empty or is made.
pub fn unpack(blobs: &OwnedFd, image: &Image, dir: &HostPath, progress: &dyn Progress) -> Result<()> {
    let made = make(dir)?;
    let done = at::open_root(dir.as_path())
        .and_then(|root| at::chmod_fd(&root, 0o755))
        .map_err(Error::from)
        .and_then(|()| layers(blobs, image, dir, progress));
    if done.is_err() {
        match made {
            true => fs::remove_tree(dir.as_path())?,
            false => empty(dir)?,
        }
    }
    done
}

fn layers(blobs: &OwnedFd, image: &Image, dir: &HostPath, progress: &dyn Progress) -> Result<()> {
    let files = image.layers.iter().map(|layer| {
        // one that is longer than it says is not read to an end that may never come
        let file = layout::open_blob(blobs, &layer.digest)?.take(layer.size.saturating_add(1));
        let file = Counted::new(file, layer.digest.short(), Some(layer.size), progress);
        Ok(Box::new(file) as layer::Blob<'_>)
    });
    layer::unpack_flat(Box::new(files), image.layers.len(), dir, |number, sums| {
        let layer = &image.layers[number];
        let checked = sums.and_then(|sums| {
            let wrong = |what: &str, wanted, is| Err(Error::image(format!("{what} is {is}, not {wanted}")));
            match (sums.digest == layer.digest, sums.diff_id == layer.diff_id) {
                (false, _) => wrong("the blob's digest", &layer.digest, &sums.digest),
                (_, false) => wrong("the diff id", &layer.diff_id, &sums.diff_id),
                _ => Ok(()),
            }
        });
        checked.map_err(|e| e.during(format!("layer {}", layer.digest.short())))
    })
}

/// Makes the directory, where there is no empty one; whether it was made.
fn make(dir: &HostPath) -> Result<bool> {
    let cannot =
        |e: crate::error::SysError, hint: &str| Err(Error::user(format!("cannot unpack into {dir}: {e}")).hint(hint));
    match fs::mkdir(dir.as_path(), 0o700) {
        Ok(()) => return Ok(true),
        Err(e) if e.errno == Errno::EEXIST => {}
        Err(e) => return cannot(e, "the directory above it must be there, and be writable"),
    }
    let entries = match at::open_root(dir.as_path()).and_then(at::entries) {
        Ok(entries) => entries,
        Err(e) => return cannot(e, "name a directory that is empty, or is not there yet"),
    };
    if !entries.is_empty() {
        return Err(
            Error::user(format!("{dir} is not empty")).hint("name a directory that is empty, or is not there yet")
        );
    }
    Ok(false)
}

/// Removes what is in a directory of the user's, which stays.
fn empty(dir: &HostPath) -> Result<()> {
    let root = at::open_root(dir.as_path())?;
    for (name, _) in at::entries(at::open_root(dir.as_path())?)? {
        tree::remove_at(&root, &name)?;
    }
    Ok(())
}
