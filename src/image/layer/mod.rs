//! Layers, unpacked into directories, in one of two forms. Overlay: each into one of its own, as overlayfs reads it:
//! whiteouts are character devices 0/0, hidden directories carry `trusted.overlay.opaque`. Flat: one over the other into
//! one directory, which is the root file system, without such marks. The archives are not trusted: nothing is written
//! outside the directory, no device is opened, no link is followed out of the root, and work is linear in what was read.

mod attributes;
mod below;
mod flat;
mod inflate;
mod pax;
mod tarstream;
mod tree;
mod write;

#[cfg(test)]
pub(super) mod tests;

pub(in crate::image) use attributes::Attributes;
pub(crate) use below::is_opaque;
pub(in crate::image) use below::{is_whiteout, kind};
pub(crate) use inflate::{Blob, Blobs, Hashed, Pieces, Sums, Taken, in_parallel, inflated, is_plain};
pub(in crate::image) use tarstream::Member;
pub(crate) use tarstream::TarStream;
pub(in crate::image) use write::{segments, split};

use crate::error::{Error, Result};
use crate::id::HostPath;
use std::io::Read;
use tree::Tree;

/// Files of one layer: an order above the largest distribution, a bound on inodes.
const MAX_ENTRIES: u64 = 8_000_000;

/// How a tree is written.
#[derive(Clone, Copy)]
pub(crate) enum Form<'a> {
    /// One layer for overlayfs, above these.
    Overlay(Below<'a>),
    /// All layers in one plain directory.
    Flat,
}

/// What a layer turned out to be.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub sums: Sums,
    /// The directory's content depends on the layers below, and serves only above them.
    pub looked_below: bool,
}

/// Gives the directories of the layers below, lowest first; asked by what depends on them, and may wait for them.
pub(crate) type Below<'a> = &'a (dyn Fn() -> Result<Vec<HostPath>> + 'a);

/// Unpacks one layer, as it is stored, into the empty directory `dir`. The caller compares the digests, and removes
/// `dir` after an error.
pub(crate) fn unpack(blob: impl Read + Send, dir: &HostPath, below: Below<'_>) -> Result<Unpacked> {
    let (looked_below, sums) = inflate::in_parallel(blob, |pieces| {
        let mut tree = Tree::open(dir, Form::Overlay(below))?;
        apply(&mut tree, pieces)?;
        Ok(tree.looked_below)
    })?;
    Ok(Unpacked { sums, looked_below })
}

/// Unpacks `count` layers, lowest first, into the empty directory `dir`, the root file system that they make. `check` is
/// asked about each when it has been read, by its number. The caller removes what is in `dir` after an error.
pub(crate) fn unpack_flat(
    blobs: Blobs<'_>,
    count: usize,
    dir: &HostPath,
    mut check: impl FnMut(usize, Result<Sums>) -> Result<()>,
) -> Result<()> {
    let mut tree = Tree::open(dir, Form::Flat)?;
    inflate::one_after_the_other(blobs, |pieces| {
        for number in 0..count {
            check(number, tree.begin_layer().and_then(|()| apply(&mut tree, pieces)).and_then(|()| pieces.finish()))?;
        }
        tree.finish()
    })
}

/// Writes one layer.
fn apply(tree: &mut Tree<'_>, pieces: &mut Pieces) -> Result<()> {
    let mut archive = TarStream::new(pieces);
    let mut entries = 0;
    while let Some(member) = archive.next().map_err(|e| Error::image(e.to_string()))? {
        entries += 1;
        if entries > MAX_ENTRIES {
            return Err(Error::image(format!("more than {MAX_ENTRIES} files")));
        }
        write::member(tree, &member, &mut archive)?;
    }
    tree.finish()
}
