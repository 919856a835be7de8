//! Layers as directories: each unpacked once, beside its place and then renamed, so that what stands there is whole.
//! `<diff id>` serves above any other layers; `<chain id>.over` depends on those below (a hard link to one of their
//! files, a whiteout, a parent directory that the layer does not hold) and serves above them alone. `<chain id>.whole` is
//! all layers in one, where the store's file system has no place for overlays.

mod stack;
mod whole;

use super::layer::{self, Below};
use super::store::{Image, LayerRef, Store};
use crate::error::{During as _, Error, Result};
use crate::id::{Digest, HostPath};
use crate::sys::byte_lock::{ByteLocks, How};
use crate::sys::{at, fs};
pub(super) use stack::Failed;
use stack::{Stack, Told};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
pub use whole::{Lower, takes_overlay};

/// The beginning of the names of directories that are being written or removed.
const UNFINISHED: &str = ".unpack-";
/// The file of the locks, one byte for each name.
const LOCK: &str = ".lock";
const SHORT: &str = "l";
const OVER: &str = ".over";
const AGAIN: &str = "remove the image and load or pull it again";

impl Store {
    /// The directories of the image's layers, lowest first, in the form that overlayfs reads; unpacks what is
    /// missing. Fewer than the layers where one hides all below it, or is there twice.
    pub fn layer_dirs(&self, image: &Image) -> Result<Vec<HostPath>> {
        self.layer_dirs_from(image, &|layer| self.blob(layer), &|_| {}).map_err(|failed| failed.error)
    }

    /// The same from blobs that need not be in the store yet: `open` gives the bytes of a layer that is not unpacked,
    /// and is asked from other threads, for several layers at once. What they turn out to be is compared with its
    /// digests before the directory has its name. `failed` is told of the first trouble at once, before the others have
    /// stopped.
    pub(super) fn layer_dirs_from(
        &self,
        image: &Image,
        open: Open<'_>,
        failed: Told<'_>,
    ) -> Result<Vec<HostPath>, Failed> {
        let names = names(image);
        let all = match names.iter().map(|names| self.ready(names)).collect() {
            Some(all) => all, // without a lock or a thread, for nearly every run finds everything there
            None => self.unpack_missing(image, &names, open, failed)?,
        };
        Ok(visible(on_top_of_each_other(all))?)
    }

    fn dir_of_each_layer(&self, image: &Image) -> Result<Vec<HostPath>> {
        self.layer_dirs(image)?;
        let dir = |names: &Names| self.unpacked(names).ok_or_else(|| Error::host("a layer was removed meanwhile"));
        names(image).iter().map(dir).collect()
    }

    /// Where the layers are or would be, lowest first, and whether all are unpacked; unpacks nothing.
    pub fn expected_dirs(&self, image: &Image) -> (Vec<HostPath>, bool) {
        let found: Vec<_> = names(image).into_iter().map(|names| (self.unpacked(&names), names)).collect();
        let all = found.iter().all(|(dir, _)| dir.is_some());
        let mut dirs = Vec::new();
        for (dir, names) in found {
            put_on_top(&mut dirs, dir.unwrap_or_else(|| self.layers().child(&names.alone)));
        }
        (dirs, all)
    }

    /// The directory of each layer; makes those that are missing.
    fn unpack_missing(
        &self,
        image: &Image,
        names: &[Names],
        open: Open<'_>,
        failed: Told<'_>,
    ) -> Result<Vec<HostPath>, Failed> {
        let locks = self.lock(names)?;
        // what others have unpacked while we waited is here now
        let stack = Stack::new(names.iter().map(|names| self.ready(names)).collect());
        let unpack = |stack: &Stack, number: usize| {
            let layer = &image.layers[number];
            // the same bytes once more: they may serve for both
            if image.layers[..number].iter().any(|below| below.diff_id == layer.diff_id) {
                stack.below(number)?;
            }
            let below = || Ok(on_top_of_each_other(stack.below(number)?));
            let unpack = || self.unpack(layer, &names[number], &below, stack.unless_stopped(open(layer)?));
            let dir = match self.unpacked(&names[number]) {
                Some(dir) => dir,
                None => unpack().during(|| format!("image {}: layer {}", image.label(), layer.digest.short()))?,
            };
            // the name stays where it is right, for others may be mounting by it
            if !is_linked(&dir) {
                link(&dir)?;
            }
            names[number].bytes().iter().try_for_each(|byte| locks.share(*byte))?;
            Ok(dir)
        };
        stack.fill(unpack, failed)
    }

    /// Waits until nobody else unpacks a layer of these that is missing, or removes one that is there.
    fn lock(&self, names: &[Names]) -> Result<ByteLocks> {
        let path = self.layers().child(LOCK);
        loop {
            // until those that others unpack are there, however long these go on with what is not ours
            let shared = names.iter().flat_map(Names::bytes).map(|byte| (byte, How::Shared)).collect();
            drop(ByteLocks::wait(path.as_path(), &shared)?);
            let is_ready: Vec<bool> = names.iter().map(|names| self.ready(names).is_some()).collect();
            let mut bytes = BTreeMap::new();
            for (names, is_ready) in names.iter().zip(&is_ready) {
                for byte in names.bytes() {
                    let how = bytes.entry(byte).or_insert(How::Shared);
                    if !is_ready {
                        *how = How::Exclusive;
                    }
                }
            }
            let locks = ByteLocks::wait(path.as_path(), &bytes)?;
            let now: Vec<bool> = names.iter().map(|names| self.ready(names).is_some()).collect();
            if is_ready.iter().zip(&now).any(|(was, is)| *was && !is) {
                continue; // one was removed meanwhile, and needs the other lock
            }
            let ready = names.iter().zip(now).filter(|(_, is)| *is).flat_map(|(names, _)| names.bytes());
            for byte in ready.filter(|byte| bytes[byte] == How::Exclusive) {
                locks.share(byte)?; // made by somebody else while we waited
            }
            return Ok(locks);
        }
    }

    /// A layer's directory that has its short name too.
    fn ready(&self, names: &Names) -> Option<HostPath> {
        self.unpacked(names).filter(is_linked)
    }

    /// The bytes of a layer that is in the store.
    pub(super) fn blob(&self, layer: &LayerRef) -> Result<layer::Blob<'static>> {
        let path = self.blob_path(&layer.digest);
        match File::open(path.as_path()) {
            Ok(file) => Ok(Box::new(file)),
            Err(e) => Err(Error::image(format!("blob {path}: {e}"))),
        }
    }

    fn unpacked(&self, names: &Names) -> Option<HostPath> {
        let dirs = [&names.over, &names.alone].map(|name| self.layers().child(name));
        dirs.into_iter().find(|dir| fs::exists(dir.as_path()))
    }

    fn unpack(&self, layer: &LayerRef, names: &Names, below: Below<'_>, blob: impl Read + Send) -> Result<HostPath> {
        let unfinished = self.layers().child(&format!("{UNFINISHED}{}", names.chain()));
        fs::remove_tree(unfinished.as_path())?; // of one who was killed: the lock is ours
        fs::mkdir(unfinished.as_path(), 0o755)?;
        let unpacked = unpack_into(&unfinished, layer, below, blob).and_then(|looked_below| {
            let dir = self.layers().child(if looked_below { &names.over } else { &names.alone });
            at::syncfs(&at::open_root(unfinished.as_path())?)?;
            fs::rename(unfinished.as_path(), dir.as_path())?;
            Ok(dir)
        });
        if unpacked.is_err() {
            fs::remove_tree(unfinished.as_path())?;
        }
        unpacked
    }

    /// How many of the image's layers are unpacked, and which of those cannot serve: what is no directory, and a short
    /// name that leads elsewhere.
    pub(super) fn unpacked_forms(&self, image: &Image) -> (usize, Vec<String>) {
        let (mut unpacked, mut wrong) = (0, Vec::new());
        let is_directory =
            |dir: &HostPath| fs::lstat(dir.as_path()).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR);
        let whole = self.whole(image);
        if fs::exists(whole.as_path()) && !is_directory(&whole) {
            wrong.push(format!("{whole} is no directory"));
        }
        for dir in names(image).iter().filter_map(|names| self.unpacked(names)) {
            unpacked += 1;
            if !is_directory(&dir) {
                wrong.push(format!("{dir} is no directory"));
            } else if fs::read_link(short_link(&dir).as_path()).is_ok() && !is_linked(&dir) {
                wrong.push(format!("{} does not lead to {dir}", short_link(&dir)));
            }
        }
        (if fs::exists(whole.as_path()) { image.layers.len() } else { unpacked }, wrong)
    }

    /// The layer directories that are not among `used` are layers no more; they and what killed processes left wait to be
    /// removed. Gives their paths as they were.
    pub(super) fn put_layers_away(&self, used: &BTreeSet<String>) -> Result<Vec<HostPath>> {
        let mut removed = Vec::new();
        for name in fs::list(self.layers().as_path())? {
            let path = self.layers().child(&name);
            if is_ours(&name) || used.contains(&name) {
                continue;
            }
            let byte = byte(name.trim_start_matches(UNFINISHED));
            let Some(_lock) = ByteLocks::try_exclusive(self.layers().child(LOCK).as_path(), byte)? else {
                continue; // it is being unpacked, or something that goes above it
            };
            fs::unlink(short_link(&path).as_path())?;
            // renamed, so that a removal cut short is not taken for a layer
            let gone = self.layers().child(&format!("{UNFINISHED}{}", name.trim_start_matches(UNFINISHED)));
            if gone != path {
                fs::remove_tree(gone.as_path())?;
                fs::rename(path.as_path(), gone.as_path())?;
            }
            removed.push(path);
        }
        Ok(removed)
    }

    /// Removes what was put away, and what killed processes left.
    pub(super) fn remove_unfinished_layers(&self) -> Result<()> {
        for name in fs::list(self.layers().as_path())?.into_iter().filter(|name| is_unfinished(name)) {
            let byte = byte(name.trim_start_matches(UNFINISHED));
            if let Some(_lock) = ByteLocks::try_exclusive(self.layers().child(LOCK).as_path(), byte)? {
                fs::remove_tree(self.layers().child(&name).as_path())?;
            }
        }
        Ok(())
    }
}

/// Whether a directory of that name is being written or removed.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.starts_with(UNFINISHED)
}

/// Whether something of that name is no layer, but the short names or a lock.
pub(super) fn is_ours(name: &str) -> bool {
    name == SHORT || name == LOCK
}

/// Gives the bytes of a layer.
type Open<'o> = &'o (dyn Fn(&LayerRef) -> Result<layer::Blob<'o>> + Sync);

/// overlayfs takes no directory twice (ELOOP), and an image may have a layer twice, such as an empty one. All that the
/// lower one holds, the upper one holds too, and covers: it is not missed.
fn put_on_top(dirs: &mut Vec<HostPath>, dir: HostPath) {
    dirs.retain(|below| *below != dir);
    dirs.push(dir);
}

fn on_top_of_each_other(layers: Vec<HostPath>) -> Vec<HostPath> {
    let mut dirs = Vec::new();
    layers.into_iter().for_each(|dir| put_on_top(&mut dirs, dir));
    dirs
}

/// Those that are not hidden by one above them. overlayfs does not look whether a layer's root is opaque
/// (fs/overlayfs/super.c, ovl_get_root).
fn visible(mut dirs: Vec<HostPath>) -> Result<Vec<HostPath>> {
    for i in (1..dirs.len()).rev() {
        if layer::is_opaque(&at::open_root(dirs[i].as_path())?)? {
            dirs.drain(..i);
            break;
        }
    }
    Ok(dirs)
}

/// Fills the new directory `dir`, and compares what the blob was with its digests; whether the result depends on the
/// layers below.
fn unpack_into(dir: &HostPath, layer: &LayerRef, below: Below<'_>, blob: impl Read + Send) -> Result<bool> {
    at::chmod_fd(&at::open_root(dir.as_path())?, 0o755)?;
    let unpacked = layer::unpack(blob, dir, below).map_err(|e| e.hint(AGAIN))?;
    let wrong = |what: &str, wanted: &Digest, is: &Digest| {
        Err(Error::image(format!("{what} is {is}, not {wanted}")).hint(AGAIN))
    };
    if unpacked.sums.digest != layer.digest {
        return wrong("the blob's digest", &layer.digest, &unpacked.sums.digest);
    }
    if unpacked.sums.diff_id != layer.diff_id {
        return wrong("the diff id", &layer.diff_id, &unpacked.sums.diff_id);
    }
    Ok(unpacked.looked_below)
}

/// The two names that a layer's directory can have.
struct Names {
    alone: String,
    over: String,
}

impl Names {
    fn chain(&self) -> &str {
        self.over.trim_end_matches(OVER)
    }

    /// The locks of both.
    fn bytes(&self) -> [u64; 2] {
        [byte(&self.alone), byte(&self.over)]
    }
}

/// Where in [`LOCK`] the lock of a name is: by its first digits.
fn byte(name: &str) -> u64 {
    name.get(..15).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

/// For each layer; the chain id is that of the image-spec (config.md, "Layer ChainID").
fn names(image: &Image) -> Vec<Names> {
    let mut chain: Option<Digest> = None;
    let mut all = Vec::new();
    for layer in &image.layers {
        let next = match &chain {
            None => layer.diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {}", layer.diff_id).as_bytes()),
        };
        all.push(Names { alone: layer.diff_id.hex().to_owned(), over: format!("{}{OVER}", next.hex()) });
        chain = Some(next);
    }
    all
}

/// All names that the directories of this image can have.
pub(super) fn directory_names(image: &Image) -> impl Iterator<Item = String> {
    names(image).into_iter().flat_map(|names| [names.alone, names.over]).chain([whole::whole_name(image)])
}

fn name_of(dir: &HostPath) -> &str {
    dir.as_str().rsplit('/').next().unwrap_or_default()
}

/// A short name for the directory, for many of them must fit into mount(2)'s page.
fn link(dir: &HostPath) -> Result<()> {
    let link = short_link(dir);
    // the names are short enough that somebody may make a layer that has another one's
    if fs::exists(link.as_path()) && !is_linked(dir) {
        return Err(Error::image(format!("{link} leads to another layer than {dir}"))
            .hint("one of them was made to look like the other: remove the image that you trust less"));
    }
    fs::unlink(link.as_path())?;
    let short = at::open_root(link.as_path().parent().unwrap_or(link.as_path()))?;
    at::symlink(format!("../{}", name_of(dir)).as_ref(), &short, name_of(&link).as_ref())?;
    Ok(())
}

fn is_linked(dir: &HostPath) -> bool {
    fs::read_link(short_link(dir).as_path()).is_ok_and(|leads| leads == format!("../{}", name_of(dir)))
}

/// The short path of a directory that [`Store::layer_dirs`] gave: `<root>/layers/l/<12 hex>`, a link to it.
pub(super) fn short_link(dir: &HostPath) -> HostPath {
    let name = name_of(dir);
    let layers = dir.as_str().strip_suffix(name).unwrap_or("/");
    let short = Digest::of(name.as_bytes()).short().to_owned();
    // the root is a HostPath already, so that its child is one
    HostPath::parse(layers).map_or_else(|_| dir.clone(), |layers| layers.child(SHORT).child(&short))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    fn names_of(content: &str) -> Names {
        let hex = Digest::of(content.as_bytes()).hex().to_owned();
        Names { over: format!("{hex}{OVER}"), alone: hex }
    }

    /// What `unpack` leaves.
    fn make(store: &Store, names: &Names) {
        let dir = store.layers().child(&names.alone);
        fs::mkdir(dir.as_path(), 0o755).unwrap();
        link(&dir).unwrap();
    }

    #[test]
    fn whoever_waits_for_a_layer_does_not_wait_for_the_others_image() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&HostPath::parse(place.path().to_str().unwrap()).unwrap()).unwrap();
        let (base, top) = (names_of("base"), names_of("top"));
        let held = store.lock(&[names_of("base"), top]).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| store.lock(&[names_of("base")]).map(drop));
            // it stands in the list of those who wait for a lock of this file
            let inode = std::fs::metadata(store.layers().child(LOCK).as_path()).unwrap().ino();
            let waits = |line: &str| line.contains("-> OFDLCK") && line.contains(&format!(":{inode} "));
            while !std::fs::read_to_string("/proc/locks").unwrap().lines().any(waits) {
                std::thread::yield_now();
            }
            make(&store, &base);
            base.bytes().iter().for_each(|byte| held.share(*byte).unwrap());
            waiting.join().unwrap().unwrap();
        });
        drop(held);
    }

    #[test]
    fn a_short_name_that_is_anothers_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&HostPath::parse(place.path().to_str().unwrap()).unwrap()).unwrap();
        let (mine, other) = (names_of("mine"), names_of("other"));
        make(&store, &mine);
        make(&store, &other);
        let dir = store.layers().child(&mine.alone);
        assert!(store.ready(&mine).is_some());
        let short = short_link(&dir);
        fs::unlink(short.as_path()).unwrap();
        let names = at::open_root(short.as_path().parent().unwrap()).unwrap();
        at::symlink(format!("../{}", other.alone).as_ref(), &names, name_of(&short).as_ref()).unwrap();
        assert!(store.ready(&mine).is_none());
        assert!(link(&dir).unwrap_err().message.contains("leads to another layer"));
        // one that leads to nothing is made anew
        fs::remove_tree(store.layers().child(&other.alone).as_path()).unwrap();
        link(&dir).unwrap();
        assert!(store.ready(&mine).is_some());
    }
}
