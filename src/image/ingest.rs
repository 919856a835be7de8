//! How blobs come in: into a directory of their own while they are hashed, and into the store all at once when the
//! image is whole and right. Whatever fails before leaves nothing; what a killed process left goes with the next one.

use super::assemble::failed;
use super::index::Entry;
use super::layer::Hashed;
use super::reference::Reference;
use super::store::{self, Image, Store};
use super::transfer::DAMAGED;
use crate::error::{Error, Result};
use crate::id::{Digest, HostPath};
use crate::sys::fs;
use crate::sys::record::{Lock, UNWRITTEN};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write as _};
use std::time::{Duration, Instant};

/// The largest single blob: a registry that sends without end must not fill more than this.
pub(super) const MAX_BLOB: u64 = 64 << 30;
/// The lock that all who bring blobs share, and who removes unused ones holds alone.
const LOCK: &str = ".ingest.lock";
/// The lock that all share who make a container of an image, until the container's record says which images it needs.
/// Who removes unused ones holds it alone, too.
const USE_LOCK: &str = ".use.lock";
/// How long whoever removes images waits for those who make containers: they may have to unpack an image.
const PATIENCE: Duration = Duration::from_secs(10);
/// The beginning of the staging directories' names.
const STAGING: &str = ".staging-";
/// The beginning of the names of blobs that have come in part; the digest's digits follow.
pub(super) const PARTIAL: &str = ".partial-";

/// An image on its way in.
#[derive(Debug)]
pub(super) struct Ingest<'a> {
    pub store: &'a Store,
    staging: tempfile::TempDir,
    count: u64,
    /// What is staged, by digest: the file's name and size.
    blobs: BTreeMap<Digest, (HostPath, u64)>,
    /// The index that led to a manifest.
    indexes: BTreeMap<Digest, Digest>,
    _lock: Lock,
}

/// What a blob must turn out to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Expected<'a> {
    pub digest: Option<&'a Digest>,
    pub size: Option<u64>,
}

impl<'a> Ingest<'a> {
    pub(super) fn begin(store: &'a Store) -> Result<Ingest<'a>> {
        let lock = Lock::shared(store.images().child(LOCK).as_path())?;
        let staging = tempfile::Builder::new()
            .prefix(STAGING)
            .tempdir_in(store.images().as_path())
            .map_err(|e| failed(format!("making a directory in {}", store.images()), &e))?;
        Ok(Ingest { store, staging, count: 0, blobs: BTreeMap::new(), indexes: BTreeMap::new(), _lock: lock })
    }

    /// Stages a blob that must be what is expected of it, or fails and keeps nothing of it.
    pub(super) fn add(&mut self, reader: impl Read, expected: Expected<'_>) -> Result<(Digest, u64)> {
        let path = self.fresh_path()?;
        let limit = expected.size.unwrap_or(MAX_BLOB).min(MAX_BLOB);
        let done = write_hashed(reader, &path, limit);
        let checked = done.and_then(|(digest, size)| {
            check(&digest, size, expected)?;
            Ok((digest, size))
        });
        match checked {
            Ok((digest, size)) => {
                self.blobs.insert(digest.clone(), (path, size));
                Ok((digest, size))
            }
            Err(e) => {
                fs::unlink(path.as_path())?;
                // which one: of what was cut or is too long the digest is not known
                Err(match expected.digest.filter(|wanted| !e.message.contains(wanted.as_str())) {
                    Some(wanted) => e.during(format!("blob {wanted}")),
                    None => e,
                })
            }
        }
    }

    pub(super) fn add_bytes(&mut self, bytes: &[u8]) -> Result<Digest> {
        self.add(bytes, Expected::default()).map(|(digest, _)| digest)
    }

    /// Remembers which index led to a manifest.
    pub(super) fn led(&mut self, index: Digest, manifest: Digest) {
        self.indexes.insert(manifest, index);
    }

    /// Takes over a file of the store's directory that is right: whoever wrote it has hashed it.
    pub(super) fn adopt(&mut self, digest: &Digest, path: HostPath, size: u64) {
        self.blobs.insert(digest.clone(), (path, size));
    }

    /// A path in the staging directory where nothing is.
    pub(super) fn fresh_path(&mut self) -> Result<HostPath> {
        self.count += 1;
        let dir = self.staging.path().to_str().ok_or_else(|| Error::internal("the store's path is not UTF-8"))?;
        Ok(HostPath::parse(dir)?.child(&self.count.to_string()))
    }

    /// Where a blob lies, staged or in the store.
    pub(super) fn path(&self, digest: &Digest) -> Option<HostPath> {
        let stored = || Some(self.store.blob_path(digest)).filter(|path| fs::exists(path.as_path()));
        self.blobs.get(digest).map(|(path, _)| path.clone()).or_else(stored)
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_some()
    }

    pub(super) fn open(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest).ok_or_else(|| lacks(digest))?;
        File::open(path.as_path()).map_err(|e| Error::image(format!("blob {path}: {e}")))
    }

    /// The bytes of a staged or stored manifest or configuration.
    pub(super) fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        let Some((path, size)) = self.blobs.get(digest) else {
            if self.has(digest) {
                return self.store.read_blob(digest);
            }
            return Err(lacks(digest));
        };
        if *size > store::MAX_METADATA {
            return Err(Error::image(format!("blob {digest} has {size} bytes, too many for a manifest")));
        }
        fs::read(path.as_path()).map_err(Error::from)
    }

    /// Checks that the image of this manifest is whole, without keeping it yet.
    pub(super) fn image(&self, manifest: &Digest, names: &[Reference]) -> Result<Image> {
        let image = store::parse_image(names.to_vec(), &self.read(manifest)?, |digest| self.read(digest))?;
        match image.layers.iter().find(|layer| !self.has(&layer.digest)) {
            Some(layer) => Err(lacks(&layer.digest)),
            None => Ok(image),
        }
    }

    /// Keeps these images: moves the blobs that they need into the store, then writes the index. All or none.
    pub(super) fn commit(mut self, manifests: &[(Digest, Vec<Reference>)]) -> Result<Vec<Image>> {
        let images: Vec<Image> =
            manifests.iter().map(|(digest, names)| self.image(digest, names)).collect::<Result<_>>()?;
        let mut entries = Vec::new();
        for image in &images {
            let bytes = self.read(&image.manifest)?;
            let media_type = store::parse_manifest(&image.manifest, &bytes)?.media_type().clone();
            let mut entry = Entry {
                media_type: media_type.unwrap_or(oci_spec::image::MediaType::ImageManifest),
                digest: image.manifest.clone(),
                size: bytes.len() as u64,
                annotations: BTreeMap::new(),
            };
            self.indexes.get(&image.manifest).inspect(|index| entry.set_index(index));
            entries.push(entry);
        }
        let put = |index: &mut super::index::Index| {
            entries.into_iter().zip(&images).for_each(|(entry, image)| index.put(entry, &image.names));
            Ok(())
        };
        self.store.change_index_when(put, || images.iter().try_for_each(|image| self.keep(image)))?;
        Ok(images)
    }

    fn keep(&mut self, image: &Image) -> Result<()> {
        let layers = image.layers.iter().map(|layer| &layer.digest);
        for digest in [&image.manifest, &image.id].into_iter().chain(layers) {
            if let Some((staged, _)) = self.blobs.remove(digest) {
                let path = self.store.blob_path(digest);
                fs::rename(staged.as_path(), path.as_path())?;
            }
        }
        let dir = self.store.images().child("blobs/sha256");
        File::open(dir.as_path()).and_then(|d| d.sync_all()).map_err(|e| Error::host(format!("fsync {dir}: {e}")))
    }
}

pub(super) fn too_large(digest: &Digest, size: u64) -> Error {
    Error::image(format!("blob {digest} has {size} bytes, more than {} GiB", MAX_BLOB >> 30))
        .hint("no image is so large: it is damaged, or whoever serves it wants to fill the disk")
}

fn lacks(digest: &Digest) -> Error {
    Error::image(format!("blob {digest} is missing")).hint("the image was not copied whole: make the archive again")
}

fn write_hashed(reader: impl Read, path: &HostPath, limit: u64) -> Result<(Digest, u64)> {
    let failed = |e: std::io::Error| failed(format!("writing {path}"), &e);
    let mut hashed = Hashed::new(reader.take(limit.saturating_add(1)));
    let mut file = File::create_new(path.as_path()).map_err(failed)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        // whose fault it is: reading is the archive's or the registry's, writing the host's
        match hashed.read(&mut buffer).map_err(|e| Error::image(e.to_string()).hint(DAMAGED))? {
            0 => break,
            n => file.write_all(&buffer[..n]).map_err(failed)?,
        }
        if hashed.count > limit {
            return Err(Error::image(format!("longer than {limit} bytes")).hint(DAMAGED));
        }
    }
    file.sync_all().map_err(failed)?;
    let size = hashed.count;
    Ok((hashed.digest(), size))
}

fn check(digest: &Digest, size: u64, expected: Expected<'_>) -> Result<()> {
    if let Some(wanted) = expected.digest
        && wanted != digest
    {
        let error = Error::image(format!("digest mismatch: the content of {wanted} is {digest}"));
        return Err(error.hint(DAMAGED));
    }
    match expected.size {
        Some(wanted) if wanted != size => {
            Err(Error::image(format!("blob {digest} has {size} bytes, not {wanted}")).hint(DAMAGED))
        }
        _ => Ok(()),
    }
}

/// Whether something in the store's directory of that name is on its way in, or was when somebody was killed.
pub(super) fn is_unfinished(name: &str) -> bool {
    [STAGING, PARTIAL, UNWRITTEN].iter().any(|start| name.starts_with(start))
}

/// Gives the manifests that containers were made from. It is asked when no container can come to be meanwhile.
pub(super) type InUse<'u> = &'u dyn Fn() -> Result<BTreeSet<Digest>>;

impl Store {
    /// While this is held no image that was looked up loses what it needs: for who makes a container of it, until its
    /// record is written. One who holds it may bring images.
    pub fn hold_for_a_container(&self) -> Result<Lock> {
        Ok(Lock::shared(self.images().child(USE_LOCK).as_path())?)
    }

    /// Nobody brings blobs, and nobody makes a container. `None` where images are on their way in, which may take long,
    /// or somebody makes a container for longer than our patience.
    fn alone(&self) -> Result<Option<[Lock; 2]>> {
        let end = Instant::now() + PATIENCE;
        loop {
            let Some(ingest) = Lock::try_exclusive(self.images().child(LOCK).as_path())? else { return Ok(None) };
            if let Some(users) = Lock::try_exclusive(self.images().child(USE_LOCK).as_path())? {
                return Ok(Some([ingest, users]));
            }
            drop(ingest); // whoever makes a container may want to pull: nobody waits for one who waits for him
            if Instant::now() >= end {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// While this is held no blob is removed.
    pub(super) fn hold(&self) -> Result<Lock> {
        Ok(Lock::shared(self.images().child(LOCK).as_path())?)
    }

    /// While this is held no image comes in.
    pub(super) fn hold_alone(&self) -> Result<Lock> {
        Ok(Lock::exclusive(self.images().child(LOCK).as_path())?)
    }

    /// Removes what belongs to no image: blobs, unpacked layers, and what killed processes left. Nothing is touched
    /// while an image is on its way in; it is done when the next image is removed. Gives the paths.
    pub fn sweep(&self, in_use: InUse<'_>) -> Result<Vec<HostPath>> {
        let Some(alone) = self.alone()? else { return Ok(Vec::new()) };
        let in_use = in_use()?;
        let mut removed = Vec::new();
        let index = self.index()?;
        let (blobs, layers) = self.needed(index.manifests.iter().map(|e| &e.digest).chain(&in_use));
        let blob_dir = self.images().child("blobs/sha256");
        for name in fs::list(blob_dir.as_path())? {
            if !blobs.contains(&name) {
                removed.push(blob_dir.child(&name));
            }
        }
        for name in fs::list(self.images().as_path())? {
            if is_unfinished(&name) {
                removed.push(self.images().child(&name));
            }
        }
        for path in &removed {
            fs::remove_tree(path.as_path())?;
        }
        if let Some(layers) = layers {
            removed.extend(self.put_layers_away(&layers)?);
            drop(alone); // their files may be many, and the next container need not wait for that
            self.remove_unfinished_layers()?;
        }
        Ok(removed)
    }

    /// Before the index can be written anew: removes what belongs to no image, and where an image is to go (`gone`)
    /// what no other needs, but its manifest and configuration, by which it is known until it is gone.
    pub(super) fn make_room(&self, image: &Digest, in_use: InUse<'_>, gone: bool) -> Result<()> {
        self.sweep(in_use)?;
        let Some(_alone) = self.alone()? else { return Ok(()) };
        let in_use = in_use()?;
        if !gone || in_use.contains(image) {
            return Ok(());
        }
        let index = self.index()?;
        let others = || index.manifests.iter().map(|e| &e.digest).chain(&in_use).filter(|other| *other != image);
        let (blobs, layers) = self.needed(others());
        if let Some(layers) = layers {
            self.put_layers_away(&layers)?;
            self.remove_unfinished_layers()?;
        }
        let parsed = self.read_blob(image).and_then(|bytes| store::parse_manifest(image, &bytes))?;
        let digests = parsed.layers().iter().filter_map(|layer| store::digest_of(layer).ok());
        for digest in digests.filter(|digest| !blobs.contains(digest.hex())) {
            fs::unlink(self.blob_path(&digest).as_path())?;
        }
        Ok(())
    }

    /// The hex digits of all blobs, and the names of all layer directories, that these images need. Those of a broken
    /// image are not known in full: then no layer may go (`None`), for a container may stand on it.
    pub(super) fn needed<'m>(
        &self,
        manifests: impl Iterator<Item = &'m Digest>,
    ) -> (BTreeSet<String>, Option<BTreeSet<String>>) {
        let (mut blobs, mut layers) = (BTreeSet::new(), Some(BTreeSet::new()));
        for manifest in manifests {
            blobs.insert(manifest.hex().to_owned());
            let Ok(bytes) = self.read_blob(manifest) else {
                layers = None;
                continue;
            };
            if let Ok(parsed) = store::parse_manifest(manifest, &bytes) {
                let descriptors = std::iter::once(parsed.config()).chain(parsed.layers());
                blobs.extend(descriptors.filter_map(|d| store::digest_of(d).ok()).map(|d| d.hex().to_owned()));
            }
            match (&mut layers, store::parse_image(Vec::new(), &bytes, |digest| self.read_blob(digest))) {
                (Some(layers), Ok(image)) => layers.extend(super::unpack::directory_names(&image)),
                _ => layers = None,
            }
        }
        (blobs, layers)
    }
}
