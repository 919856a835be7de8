//! Where the store's file system cannot hold an overlay's changes, it mostly cannot hold whiteouts either, and lies so
//! deep that nothing can be laid over it any more. An image is unpacked whole there: its layers one over the other in
//! one plain directory, of which each container gets a copy.

use super::{LOCK, UNFINISHED, byte, names, short_link};
use crate::error::{During as _, Result};
use crate::id::{Digest, HostPath};
use crate::image::store::{Image, Store};
use crate::sys::byte_lock::{ByteLocks, How};
use crate::sys::{at, fs, mount, usage};
use std::collections::BTreeMap;

const WHOLE: &str = ".whole";

/// What an image's containers stand on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lower {
    /// Directories for overlayfs, lowest first: the skeleton, then the image's layers.
    Layers(Vec<HostPath>),
    /// The image's root as it is, without the skeleton: to be copied.
    Whole(HostPath),
}

impl Lower {
    /// All of them, lowest first.
    pub fn dirs(&self) -> &[HostPath] {
        match self {
            Lower::Layers(dirs) => dirs,
            Lower::Whole(dir) => std::slice::from_ref(dir),
        }
    }

    /// Those of the image.
    pub fn of_image(&self) -> &[HostPath] {
        match self {
            Lower::Layers(dirs) => dirs.get(1..).unwrap_or_default(),
            Lower::Whole(dir) => std::slice::from_ref(dir),
        }
    }
}

/// Whether an overlay's changes can lie on a file system, by its name.
pub fn takes_overlay(filesystem: &str) -> bool {
    !matches!(filesystem, "overlay" | "nfs" | "smb" | "cifs" | "fuse" | "vfat" | "9p" | "ecryptfs")
}

impl Store {
    /// Whether containers can be overlays on the layers here.
    pub fn takes_overlay(&self) -> bool {
        // where it would be made, if it is not there yet
        let lies_on = self.root.as_path().ancestors().find_map(|dir| usage::of_filesystem(dir).ok());
        lies_on.is_none_or(|found| takes_overlay(&found.name)) && mount::is_known("overlay")
    }

    /// What containers of an image stand on; unpacks what is missing.
    pub fn lower(&self, image: &Image) -> Result<Lower> {
        match self.takes_overlay() {
            true => Ok(self.below(&self.layer_dirs(image)?)),
            false => self.unpacked_whole(image).map(Lower::Whole),
        }
    }

    /// What they stand or would stand on, and whether all of it is unpacked; unpacks nothing.
    pub fn expected_lower(&self, image: &Image) -> (Lower, bool) {
        if !self.takes_overlay() {
            let dir = self.whole(image);
            let there = fs::exists(dir.as_path());
            return (Lower::Whole(dir), there);
        }
        let (dirs, all) = self.expected_dirs(image);
        (self.below(&dirs), all)
    }

    /// What an image is made of: a directory for each layer, also where several are one, or hidden by those above; without
    /// the skeleton.
    pub fn by_layer(&self, image: &Image) -> Result<Lower> {
        match self.takes_overlay() {
            true => self.dir_of_each_layer(image).map(Lower::Layers),
            false => self.unpacked_whole(image).map(Lower::Whole),
        }
    }

    fn below(&self, dirs: &[HostPath]) -> Lower {
        Lower::Layers([self.skeleton()].into_iter().chain(dirs.iter().map(short_link)).collect())
    }

    pub(super) fn whole(&self, image: &Image) -> HostPath {
        self.layers().child(&whole_name(image))
    }

    fn unpacked_whole(&self, image: &Image) -> Result<HostPath> {
        let dir = self.whole(image);
        if fs::exists(dir.as_path()) {
            return Ok(dir);
        }
        let name = whole_name(image);
        let lock = BTreeMap::from([(byte(&name), How::Exclusive)]);
        let _lock = ByteLocks::wait(self.layers().child(LOCK).as_path(), &lock)?;
        if fs::exists(dir.as_path()) {
            return Ok(dir); // somebody else was faster
        }
        let unfinished = self.layers().child(&format!("{UNFINISHED}{name}"));
        fs::remove_tree(unfinished.as_path())?; // of one who was killed: the lock is ours
        let unpacked = self.unpack_flat(image, &unfinished, &());
        unpacked.during(|| format!("image {}", image.label())).map_err(|e| e.hint(super::AGAIN))?;
        at::syncfs(&at::open_root(unfinished.as_path())?)?;
        fs::rename(unfinished.as_path(), dir.as_path())?;
        Ok(dir)
    }
}

/// By the chain id of all its layers (image-spec, config.md, "Layer ChainID").
pub(super) fn whole_name(image: &Image) -> String {
    let chain = names(image).pop().map(|top| top.chain().to_owned());
    format!("{}{WHOLE}", chain.unwrap_or_else(|| Digest::of(b"").hex().to_owned()))
}
