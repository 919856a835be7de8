//! One layer, unpacked into a directory in the form that overlayfs reads: whiteouts are character devices 0/0, hidden
//! directories carry `trusted.overlay.opaque`. The archive is not trusted: nothing is written outside the directory,
//! no device is opened, no link is followed out of the root, and work is linear in what was read.

mod attributes;
mod below;
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
pub(crate) use inflate::{Hashed, Sums, in_parallel, inflated};
pub(in crate::image) use tarstream::Member;
pub(crate) use tarstream::TarStream;
pub(in crate::image) use write::{segments, split};

use crate::error::{Error, Result};
use crate::id::HostPath;
use std::io::Read;
use tree::Tree;

/// Files of one layer: an order above the largest distribution, a bound on inodes.
const MAX_ENTRIES: u64 = 8_000_000;

/// What a layer turned out to be.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub sums: Sums,
    /// The directory's content depends on the layers below, and serves only above them.
    pub looked_below: bool,
}

/// Unpacks the layer `blob` (plain, gzip or zstd tar) into the empty directory `dir`; `below` are the directories
/// of the layers below, lowest first. The caller compares the digests, and removes `dir` after an error.
pub(crate) fn unpack(blob: impl Read + Send, dir: &HostPath, below: &[HostPath]) -> Result<Unpacked> {
    let (looked_below, sums) = inflate::in_parallel(blob, |pieces| {
        let mut tree = Tree::open(dir, below)?;
        let mut archive = TarStream::new(pieces);
        let mut entries = 0;
        while let Some(member) = archive.next().map_err(|e| Error::image(e.to_string()))? {
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(Error::image(format!("more than {MAX_ENTRIES} files")));
            }
            write::member(&mut tree, &member, &mut archive)?;
        }
        write::times(&mut tree)?;
        Ok(tree.looked_below)
    })?;
    Ok(Unpacked { sums, looked_below })
}
