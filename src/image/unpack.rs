//! Layers as directories: each unpacked once, beside its place and then renamed, so that what stands there is whole.
//! `<diff id>` serves above any other layers; `<chain id>.over` depends on those below (a hard link to one of their
//! files, a whiteout, a parent directory that the layer does not hold) and serves above them alone.

use super::layer;
use super::store::{Image, LayerRef, Store};
use crate::error::{During as _, Error, Result};
use crate::id::{Digest, HostPath};
use crate::sys::record::Lock;
use crate::sys::{at, fs};
use std::collections::BTreeSet;
use std::fs::File;

/// The beginning of the names of directories that are being written or removed.
const UNFINISHED: &str = ".unpack-";
/// The beginning of the names of the locks, of which there are at most 256.
const LOCK: &str = ".lock-";
const SHORT: &str = "l";

impl Store {
    /// The directories of the image's layers, lowest first, in the form that overlayfs reads; unpacks what is
    /// missing. Fewer than the layers where one hides all below it, or is there twice.
    pub fn layer_dirs(&self, image: &Image) -> Result<Vec<HostPath>> {
        self.layer_dirs_from(image, &|layer| self.blob(layer))
    }

    /// The same from blobs that need not be in the store yet: `open` gives the bytes of a layer that is not unpacked,
    /// and is asked from another thread, one layer ahead. What they turn out to be is compared with its digests before
    /// the directory has its name.
    pub(super) fn layer_dirs_from(&self, image: &Image, open: Open<'_>) -> Result<Vec<HostPath>> {
        let all: Vec<(&LayerRef, Names)> = image.layers.iter().zip(names(image)).collect();
        let missing: Vec<&LayerRef> =
            all.iter().filter(|(_, names)| self.unpacked(names).is_none()).map(|(layer, _)| *layer).collect();
        let mut dirs = match missing.is_empty() {
            true => self.each_layer(image, &all, &[], None, open)?, // no thread for a run that finds everything there
            false => {
                let blobs = Box::new(missing.iter().map(|layer| open(layer)));
                layer::one_after_the_other(blobs, |pieces| self.each_layer(image, &all, &missing, Some(pieces), open))?
            }
        };
        // overlayfs does not look whether a layer's root is opaque (fs/overlayfs/super.c, ovl_get_root)
        for i in (1..dirs.len()).rev() {
            if layer::is_opaque(&at::open_root(dirs[i].as_path())?)? {
                dirs.drain(..i);
                break;
            }
        }
        Ok(dirs)
    }

    /// The same with one directory for each layer, also where several are one, or hidden by those above.
    pub fn dir_of_each_layer(&self, image: &Image) -> Result<Vec<HostPath>> {
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

    /// The directories of all layers; `pieces` are those that are `missing`, one after the other.
    fn each_layer(
        &self,
        image: &Image,
        all: &[(&LayerRef, Names)],
        missing: &[&LayerRef],
        mut pieces: Option<&mut layer::Pieces>,
        open: Open<'_>,
    ) -> Result<Vec<HostPath>> {
        let mut dirs: Vec<HostPath> = Vec::new();
        let mut missing = missing.iter().peekable();
        for (layer, names) in all {
            let own = missing.next_if(|next| std::ptr::eq(**next, *layer)).and(pieces.as_deref_mut());
            let dir = self
                .layer_dir(layer, names, &dirs, own, open)
                .during(|| format!("image {}: layer {}", image.label(), layer.digest.short()))?;
            put_on_top(&mut dirs, dir);
        }
        Ok(dirs)
    }

    fn layer_dir(
        &self,
        layer: &LayerRef,
        names: &Names,
        below: &[HostPath],
        pieces: Option<&mut layer::Pieces>,
        open: Open<'_>,
    ) -> Result<HostPath> {
        if let Some(dir) = self.unpacked(names)
            && fs::exists(short_link(&dir).as_path())
        {
            return Ok(dir);
        }
        let lock = format!("{LOCK}{}", &layer.diff_id.hex()[..2]);
        let _lock = Lock::exclusive(self.layers().child(&lock).as_path())?;
        let dir = match (self.unpacked(names), pieces) {
            (None, Some(pieces)) => self.unpack(layer, names, below, pieces)?,
            // it was there a moment ago
            (None, None) => layer::one_after_the_other(Box::new(std::iter::once(open(layer))), |pieces| {
                self.unpack(layer, names, below, pieces)
            })?,
            // somebody else has done it while we waited
            (Some(dir), Some(pieces)) => pieces.finish().map(|_| dir)?,
            (Some(dir), None) => dir,
        };
        // the name stays where it is right, for others may be mounting by it
        if !fs::exists(short_link(&dir).as_path()) {
            link(&dir)?;
        }
        Ok(dir)
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

    fn unpack(
        &self,
        layer: &LayerRef,
        names: &Names,
        below: &[HostPath],
        pieces: &mut layer::Pieces,
    ) -> Result<HostPath> {
        let unfinished = self.layers().child(&format!("{UNFINISHED}{}", layer.diff_id.hex()));
        fs::remove_tree(unfinished.as_path())?; // of one who was killed: the lock is ours
        fs::mkdir(unfinished.as_path(), 0o755)?;
        let unpacked = self.unpack_into(layer, &unfinished, below, pieces).and_then(|looked_below| {
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

    fn unpack_into(
        &self,
        layer: &LayerRef,
        dir: &HostPath,
        below: &[HostPath],
        pieces: &mut layer::Pieces,
    ) -> Result<bool> {
        at::chmod_fd(&at::open_root(dir.as_path())?, 0o755)?;
        let unpacked = layer::unpack(pieces, dir, below);
        let wrong = |what: &str, wanted: &Digest, is: &Digest| {
            Err(Error::image(format!("{what} is {is}, not {wanted}"))
                .hint("remove the image and load or pull it again"))
        };
        let unpacked = unpacked.map_err(|e| e.hint("remove the image and load or pull it again"))?;
        if unpacked.sums.digest != layer.digest {
            return wrong("the blob's digest", &layer.digest, &unpacked.sums.digest);
        }
        if unpacked.sums.diff_id != layer.diff_id {
            return wrong("the diff id", &layer.diff_id, &unpacked.sums.diff_id);
        }
        Ok(unpacked.looked_below)
    }

    /// How many of the image's layers are unpacked, and which of those cannot serve: what is no directory, and a short
    /// name that leads elsewhere.
    pub(super) fn unpacked_forms(&self, image: &Image) -> (usize, Vec<String>) {
        let (mut unpacked, mut wrong) = (0, Vec::new());
        for dir in names(image).iter().filter_map(|names| self.unpacked(names)) {
            unpacked += 1;
            let is_directory = fs::lstat(dir.as_path()).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR);
            let leads = fs::read_link(short_link(&dir).as_path()).ok();
            if !is_directory {
                wrong.push(format!("{dir} is no directory"));
            } else if leads.is_some_and(|leads| leads != format!("../{}", name_of(&dir))) {
                wrong.push(format!("{} does not lead to {dir}", short_link(&dir)));
            }
        }
        (unpacked, wrong)
    }

    /// Removes the layer directories that are not among `used`, and what killed processes left.
    pub(super) fn sweep_layers(&self, used: &BTreeSet<String>) -> Result<Vec<HostPath>> {
        let mut removed = Vec::new();
        for name in fs::list(self.layers().as_path())? {
            let path = self.layers().child(&name);
            if is_ours(&name) || used.contains(&name) {
                continue;
            }
            let digits = name.strip_prefix(UNFINISHED).unwrap_or(&name).get(..2).unwrap_or_default().to_owned();
            let Some(_lock) = Lock::try_exclusive(self.layers().child(&format!("{LOCK}{digits}")).as_path())? else {
                continue; // it is being unpacked
            };
            fs::unlink(short_link(&path).as_path())?;
            // renamed first, so that a removal cut short is not taken for a layer
            let gone = self.layers().child(&format!("{UNFINISHED}{}", name.trim_start_matches(UNFINISHED)));
            if gone != path {
                fs::remove_tree(gone.as_path())?;
                fs::rename(path.as_path(), gone.as_path())?;
            }
            fs::remove_tree(gone.as_path())?;
            removed.push(path);
        }
        Ok(removed)
    }
}

/// Whether a directory of that name is being written or removed.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.starts_with(UNFINISHED)
}

/// Whether something of that name is no layer, but the short names or a lock.
pub(super) fn is_ours(name: &str) -> bool {
    name == SHORT || name.starts_with(LOCK)
}

/// Gives the bytes of a layer.
type Open<'o> = &'o (dyn Fn(&LayerRef) -> Result<layer::Blob<'o>> + Sync);

/// overlayfs takes no directory twice (ELOOP), and an image may have a layer twice, such as an empty one. All that the
/// lower one holds, the upper one holds too, and covers: it is not missed.
fn put_on_top(dirs: &mut Vec<HostPath>, dir: HostPath) {
    dirs.retain(|below| *below != dir);
    dirs.push(dir);
}

/// The two names that a layer's directory can have.
struct Names {
    alone: String,
    over: String,
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
        all.push(Names { alone: layer.diff_id.hex().to_owned(), over: format!("{}.over", next.hex()) });
        chain = Some(next);
    }
    all
}

/// All names that the directories of this image's layers can have.
pub(super) fn directory_names(image: &Image) -> impl Iterator<Item = String> {
    names(image).into_iter().flat_map(|names| [names.alone, names.over])
}

fn name_of(dir: &HostPath) -> &str {
    dir.as_str().rsplit('/').next().unwrap_or_default()
}

/// A short name for the directory, for many of them must fit into mount(2)'s page.
fn link(dir: &HostPath) -> Result<()> {
    let link = short_link(dir);
    fs::unlink(link.as_path())?;
    let short = at::open_root(link.as_path().parent().unwrap_or(link.as_path()))?;
    at::symlink(format!("../{}", name_of(dir)).as_ref(), &short, name_of(&link).as_ref())?;
    Ok(())
}

/// The short path of a directory that [`Store::layer_dirs`] gave: `<root>/layers/l/<12 hex>`, a link to it.
pub fn short_link(dir: &HostPath) -> HostPath {
    let name = name_of(dir);
    let layers = dir.as_str().strip_suffix(name).unwrap_or("/");
    let short = Digest::of(name.as_bytes()).short().to_owned();
    // the root is a HostPath already, so that its child is one
    HostPath::parse(layers).map_or_else(|_| dir.clone(), |layers| layers.child(SHORT).child(&short))
}
