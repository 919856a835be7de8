//! What the store takes on the disk, as du(1) counts: blocks, each file once whatever its names, directories too.

use super::ingest::is_unfinished;
use super::store::Store;
use super::unpack;
use crate::error::Result;
use crate::id::{Digest, HostPath};
use crate::sys::{fs, usage};
use std::collections::BTreeSet;

/// Bytes of one kind, and how much of it nothing needs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub count: usize,
    /// How many are needed.
    pub needed: usize,
    pub bytes: u64,
    pub reclaimable: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Of the layout: blobs and index.
    pub blobs: Part,
    /// Layers as directories.
    pub layers: Part,
    /// What is on its way in, and what killed processes left of it.
    pub unfinished: Part,
}

impl Usage {
    pub fn bytes(&self) -> u64 {
        self.blobs.bytes + self.layers.bytes + self.unfinished.bytes
    }
}

impl Part {
    fn add(&mut self, bytes: u64, is_needed: bool) {
        self.count += 1;
        self.needed += usize::from(is_needed);
        self.bytes += bytes;
        self.reclaimable += if is_needed { 0 } else { bytes };
    }
}

impl Store {
    /// `used` are manifests of images that are needed: all others could go.
    pub fn usage(&self, used: &BTreeSet<Digest>) -> Result<Usage> {
        let (blobs, layers) = self.needed(used.iter());
        let mut seen = BTreeSet::new();
        let mut all = Usage::default();
        let mut of = |path: &HostPath| usage::on_disk(path.as_path(), &mut seen).unwrap_or(0);
        let dir = self.images().child("blobs/sha256");
        for name in fs::list(dir.as_path())? {
            all.blobs.add(of(&dir.child(&name)), blobs.contains(&name));
        }
        for name in fs::list(self.layers().as_path())? {
            let bytes = of(&self.layers().child(&name));
            if unpack::is_unfinished(&name) {
                all.unfinished.add(bytes, false);
            } else if unpack::is_ours(&name) {
                all.layers.bytes += bytes;
            } else {
                all.layers.add(bytes, layers.as_ref().is_none_or(|layers| layers.contains(&name)));
            }
        }
        for name in fs::list(self.images().as_path())? {
            if name != "blobs" {
                let bytes = of(&self.images().child(&name));
                match is_unfinished(&name) {
                    true => all.unfinished.add(bytes, false),
                    false => all.blobs.bytes += bytes,
                }
            }
        }
        // the directories themselves
        let own = |dir: &HostPath| fs::lstat(dir.as_path()).map_or(0, |stat| usage::blocks(&stat));
        all.blobs.bytes += own(&self.images()) + own(&self.images().child("blobs")) + own(&dir);
        all.layers.bytes += own(&self.layers());
        Ok(all)
    }
}
