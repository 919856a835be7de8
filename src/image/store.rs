//! The image store: an OCI image layout that skopeo and podman read (`images/`), and beside it each layer unpacked
//! once (`layers/`). Every change of the index is one rename under one lock. It never trusts a blob: what is read is
//! checked against its digest again.

use super::index::{Entry, Index};
use super::ingest::InUse;
use super::reference::Reference;
use crate::error::{During as _, Errno, Error, Kind, Result};
use crate::id::{Digest, HostPath};
use crate::sys::record::{Durability, Lock};
use crate::sys::{fs, record};
use oci_spec::image::{Arch, ImageConfiguration, ImageManifest, MediaType};

/// Manifests and configurations: docker's and containerd's own limit.
pub(super) const MAX_METADATA: u64 = 4 << 20;
/// overlayfs takes 500 lower layers (fs/overlayfs/params.h, OVL_MAX_STACK), and one is the skeleton.
const MAX_LAYERS: usize = 499;

/// One store, at one state root.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) root: HostPath,
}

/// An image that is here.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its names, the oldest first; none where a newer image took the last one over.
    pub names: Vec<Reference>,
    pub manifest: Digest,
    /// The index of all platforms that it was pulled by.
    pub index: Option<Digest>,
    /// The digest of its configuration: what `images` shows.
    pub id: Digest,
    pub config: ImageConfiguration,
    /// docker's `config.Healthcheck`, which OCI's configuration does not know.
    pub health: Option<serde_json::Value>,
    /// Lowest first.
    pub layers: Vec<LayerRef>,
}

/// One layer of an image: the blob, and what it inflates to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRef {
    pub digest: Digest,
    pub diff_id: Digest,
    pub media_type: String,
    /// Of the blob, as it is stored.
    pub size: u64,
}

/// What `remove` did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Removed {
    pub untagged: Vec<Reference>,
    /// Ids of the images that are gone.
    pub deleted: Vec<Digest>,
}

impl Image {
    /// The first name, or the short id.
    pub fn label(&self) -> String {
        self.names.first().map_or_else(|| self.id.short().to_owned(), Reference::familiar)
    }

    /// What a registry knows the image of this name by: one platform's manifest alone where there was no index.
    pub fn digest_of<'i>(&'i self, name: &'i Reference) -> &'i Digest {
        name.digest.as_ref().or(self.index.as_ref()).unwrap_or(&self.manifest)
    }

    /// Bytes of all layers as they are stored.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}

/// `Some("arm64")` where an image is made for another processor than the host's.
pub fn foreign_architecture(image: &ImageConfiguration) -> Option<String> {
    let (image, host) = (image.architecture(), host_architecture());
    let runs = *image == host || (host == Arch::Amd64 && *image == Arch::i386);
    (!runs).then(|| image.to_string())
}

/// The host's processor in Go's words: `amd64`, `arm64`.
pub fn host_architecture() -> Arch {
    Arch::default()
}

impl Store {
    /// Opens the store below `root` (`/var/lib/minirun`), and makes it where it is missing.
    pub fn open(root: &HostPath) -> Result<Store> {
        let store = Store { root: root.clone() };
        if !fs::exists(store.images().child("oci-layout").as_path()) {
            fs::mkdir_all(store.images().child("blobs/sha256").as_path(), 0o700)?;
            let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
            record::write(store.images().child("oci-layout").as_path(), layout, Durability::Disk)?;
        }
        fs::mkdir_all(store.layers().child("l").as_path(), 0o700)?;
        store.make_skeleton()?;
        Ok(store)
    }

    /// The store as it is, or is not, for looking only: nothing is made.
    pub fn look(root: &HostPath) -> Store {
        Store { root: root.clone() }
    }

    /// All images, in the order they came. A broken one is given as its error, and can be removed by its digest.
    pub fn list(&self) -> Result<Vec<Result<Image>>> {
        Ok(self.index()?.images().into_iter().map(|(entry, names)| self.image(entry, names)).collect())
    }

    /// The manifests of what `list` cannot read.
    pub fn broken(&self) -> Result<Vec<Digest>> {
        let index = self.index()?;
        let broken = index.images().into_iter().filter(|(entry, _)| self.image(entry, Vec::new()).is_err());
        Ok(broken.map(|(entry, _)| entry.digest.clone()).collect())
    }

    /// The image of a name, an id or its unique beginning, or a digest. An exact name wins.
    pub fn find(&self, text: &str) -> Result<Image> {
        let index = self.index()?;
        let (entry, names) = self.find_entry(&index, text)?;
        self.image(entry, names)
    }

    /// The image of a manifest that a container was made from: it is here as long as the container, and in the index or
    /// not any more.
    pub fn of_container(&self, manifest: &Digest) -> Result<Image> {
        self.find(manifest.as_str()).or_else(|error| {
            let kept = self.read_blob(manifest);
            let kept = kept.and_then(|bytes| parse_image(Vec::new(), &bytes, |digest| self.read_blob(digest)));
            kept.map_err(|_| error)
        })
    }

    /// The images that have a tag in this repository, by their names there.
    pub fn tagged(&self, repository: &Reference) -> Result<Vec<(Image, Reference)>> {
        let mut tagged = Vec::new();
        for (entry, names) in self.index()?.images() {
            for name in names.iter().filter(|name| name.is_beside(repository) && name.tag.is_some()) {
                tagged.push((self.image(entry, names.clone())?, name.clone()));
            }
        }
        tagged.sort_by(|(_, a), (_, b)| a.cmp(b));
        Ok(tagged)
    }

    /// Gives the image one more name, which an older image loses.
    pub fn tag(&self, image: &Image, name: &Reference) -> Result<()> {
        self.change_index(|index| {
            let entry = index.manifests.iter().find(|e| e.digest == image.manifest).cloned();
            let entry = entry.ok_or_else(|| missing(&image.label()))?;
            index.put(entry, std::slice::from_ref(name));
            Ok(())
        })
    }

    /// Takes away a name, and with the last name the image with all that no other image uses. By id or digest all
    /// names go. Images that containers were made from keep everything but names. Whether a manifest may lose its last
    /// name `let_go` decides.
    pub fn remove(&self, text: &str, in_use: InUse<'_>, let_go: impl Fn(&Digest) -> Result<()>) -> Result<Removed> {
        let removed = match self.forget(text, &let_go) {
            // a full disk has no room for a shorter index either: then what only this image needs goes first
            Err(e) if e.is_errno(Errno::ENOSPC) || e.is_errno(Errno::EDQUOT) => {
                let (entry, names) =
                    self.find_entry(&self.index()?, text).map(|(entry, names)| (entry.clone(), names))?;
                let is_last =
                    names.len() < 2 || !names.iter().any(|name| Reference::parse(text).is_ok_and(|t| t == *name));
                self.make_room(&entry.digest, in_use, is_last)?;
                self.forget(text, &let_go)?
            }
            forgotten => forgotten?,
        };
        self.sweep(in_use)?;
        Ok(removed)
    }

    fn forget(&self, text: &str, let_go: impl Fn(&Digest) -> Result<()>) -> Result<Removed> {
        let mut removed = Removed::default();
        self.change_index(|index| {
            let (entry, names) = self.find_entry(index, text)?;
            let (manifest, named) = (entry.digest.clone(), Reference::parse(text).ok().filter(|n| names.contains(n)));
            let gone: Vec<Reference> = named.map_or_else(|| names.clone(), |name| vec![name]);
            let last = gone.len() == names.len();
            if last {
                let_go(&manifest)?;
                removed.deleted.push(self.image(entry, Vec::new()).map_or_else(|_| manifest.clone(), |image| image.id));
                index.remove(&manifest);
            }
            for name in &gone {
                index.untag(name);
            }
            removed.untagged = gone;
            Ok(())
        })?;
        Ok(removed)
    }

    pub(super) fn images(&self) -> HostPath {
        self.root.child("images")
    }

    pub(super) fn layers(&self) -> HostPath {
        self.root.child("layers")
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> HostPath {
        self.images().child("blobs/sha256").child(digest.hex())
    }

    /// The bytes of a manifest or configuration, checked against the digest.
    pub(super) fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let read = fs::Root::open(self.images().child("blobs/sha256").as_path())
            .and_then(|root| root.read(digest.hex().as_ref(), MAX_METADATA));
        let bytes = read.map_err(|e| Error::image(format!("blob {path}: {e}")).hint(LOAD_AGAIN))?;
        if Digest::of(&bytes) != *digest {
            return Err(Error::image(format!("blob {path} is not what its digest says")).hint(LOAD_AGAIN));
        }
        Ok(bytes)
    }

    pub(super) fn index(&self) -> Result<Index> {
        let path = self.images().child("index.json");
        match fs::read(path.as_path()) {
            Err(e) if e.errno == crate::error::Errno::ENOENT => Ok(Index::empty()),
            bytes => Index::parse(&bytes?).during(|| path),
        }
    }

    /// Reads, changes and replaces the index under its lock; an error leaves it as it was.
    pub(super) fn change_index<T>(&self, change: impl FnOnce(&mut Index) -> Result<T>) -> Result<T> {
        self.change_index_when(change, || Ok(()))
    }

    /// The same, with a deed that the new index needs: done when there is room for that.
    pub(super) fn change_index_when<T>(
        &self,
        change: impl FnOnce(&mut Index) -> Result<T>,
        deed: impl FnOnce() -> Result<()>,
    ) -> Result<T> {
        let _lock = Lock::exclusive(self.images().child(".index.lock").as_path())?;
        let mut index = self.index()?;
        let before = index.clone();
        let value = change(&mut index)?;
        if index == before {
            deed()?;
            return Ok(value);
        }
        let json = serde_json::to_vec_pretty(&index).map_err(|e| Error::internal(e.to_string()))?;
        let path = self.images().child("index.json");
        let new = record::prepare(path.as_path(), &json, Durability::Disk)?;
        deed()?;
        new.put()?;
        Ok(value)
    }

    pub(super) fn find_entry<'i>(&self, index: &'i Index, text: &str) -> Result<(&'i Entry, Vec<Reference>)> {
        let images = index.images();
        if let Ok(name) = Reference::parse(text)
            && let Some(found) = images.iter().find(|(e, names)| is_named(e, names, &name))
        {
            return Ok(found.clone());
        }
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(missing(text));
        }
        let matches = |(entry, _): &&(&Entry, Vec<Reference>)| {
            entry.digest.hex().starts_with(prefix) || self.id_of(entry).is_ok_and(|id| id.hex().starts_with(prefix))
        };
        let found: Vec<_> = images.iter().filter(matches).collect();
        match found[..] {
            [] => Err(missing(text)),
            [one] => Ok(one.clone()),
            // the same image in another compression: one that has a name, or else the newest
            [.., newest] if self.is_one_image(&found) => {
                Ok((*found.iter().rev().find(|(_, names)| !names.is_empty()).unwrap_or(&newest)).clone())
            }
            [..] => Err(Error::user(format!("{text} is the beginning of {} image ids", found.len()))
                .hint("give more digits (minirun images --no-trunc)")),
        }
    }

    fn is_one_image(&self, entries: &[&(&Entry, Vec<Reference>)]) -> bool {
        let mut ids = entries.iter().map(|(entry, _)| self.id_of(entry).ok());
        let first = ids.next().flatten();
        first.is_some() && ids.all(|id| id == first)
    }

    fn id_of(&self, entry: &Entry) -> Result<Digest> {
        let manifest = parse_manifest(&entry.digest, &self.read_blob(&entry.digest)?)?;
        digest_of(manifest.config())
    }

    fn image(&self, entry: &Entry, names: Vec<Reference>) -> Result<Image> {
        let label = names.first().map_or_else(|| entry.digest.short().to_owned(), Reference::familiar);
        let manifest = self.read_blob(&entry.digest).during(|| format!("image {label}"))?;
        let image = parse_image(names, &manifest, |digest| self.read_blob(digest));
        Ok(Image { index: entry.index(), ..image.during(|| format!("image {label}"))? })
    }
}

const LOAD_AGAIN: &str = "minirun verify --repair, then load or pull the image again";

fn is_named(entry: &Entry, names: &[Reference], wanted: &Reference) -> bool {
    names.contains(wanted)
        || (wanted.digest.is_some()
            && [Some(&entry.digest), entry.index().as_ref()].contains(&wanted.digest.as_ref())
            && names.iter().any(|n| n.registry == wanted.registry && n.repository == wanted.repository))
}

pub(super) fn missing(text: &str) -> Error {
    Error::new(Kind::NotFound, format!("no image {text} here")).hint("`minirun images` lists what is here")
}

/// The descriptor's digest in our type, which takes sha256 alone.
pub(super) fn digest_of(descriptor: &oci_spec::image::Descriptor) -> Result<Digest> {
    Digest::parse(descriptor.digest().as_ref())
}

/// Parses a manifest; an index in its place, or something that could be read as both, is refused.
pub(super) fn parse_manifest(digest: &Digest, bytes: &[u8]) -> Result<ImageManifest> {
    let broken = |what: &str| Error::image(format!("manifest {}: {what}", digest.short()));
    let mut value: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| broken(&e.to_string()))?;
    if value.get("manifests").is_some() {
        // CVE-2021-41190: one document, two meanings
        return Err(broken("it is an index, or both a manifest and an index"));
    }
    if value.get("schemaVersion").and_then(serde_json::Value::as_u64) == Some(1) {
        return Err(broken("it is of docker's schema 1, which nobody writes since 2017")
            .hint("push the image again with a current tool"));
    }
    none_is_empty(&mut value, "layers");
    serde_json::from_value(value).map_err(|e| broken(&e.to_string()))
}

/// Go's programs write `null` or nothing for a list of nothing, such as the layers of an image from scratch.
pub(super) fn none_is_empty(value: &mut serde_json::Value, list: &str) {
    if let Some(object) = value.as_object_mut().filter(|object| object.get(list).is_none_or(|list| list.is_null())) {
        object.insert(list.to_owned(), serde_json::json!([]));
    }
}

/// A configuration in our type.
pub(super) fn typed_config(mut value: serde_json::Value) -> serde_json::Result<ImageConfiguration> {
    if let Some(rootfs) = value.get_mut("rootfs") {
        none_is_empty(rootfs, "diff_ids");
    }
    serde_json::from_value(value)
}

/// What a manifest is of, where that is no image: charts, signatures and the like are kept as images are (image-spec,
/// manifest.md, "Guidelines for Artifact Usage"). What says that it is one, and has an image's configuration and tars
/// alone, is an image all the same.
pub(super) fn artifact(manifest: &ImageManifest) -> Option<String> {
    let config = manifest.config().media_type();
    let known = [MediaType::ImageConfig.to_string(), DOCKER_CONFIG.to_owned(), "application/octet-stream".to_owned()];
    let foreign = (!known.contains(&config.to_string())).then_some(config);
    let layers = manifest.layers().iter().map(oci_spec::image::Descriptor::media_type);
    let foreign = foreign.or_else(|| layers.into_iter().find(|kind| !kind.to_string().contains("tar")))?;
    Some(manifest.artifact_type().as_ref().unwrap_or(foreign).to_string())
}

const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// An image from its manifest; `read` gives the bytes of its configuration.
pub(super) fn parse_image(
    names: Vec<Reference>,
    manifest: &[u8],
    read: impl FnOnce(&Digest) -> Result<Vec<u8>>,
) -> Result<Image> {
    let digest = Digest::of(manifest);
    let parsed = parse_manifest(&digest, manifest)?;
    let id = digest_of(parsed.config())?;
    let is_artifact = parsed.artifact_type().is_some() && artifact(&parsed).is_some();
    if is_artifact || parsed.config().media_type() == &MediaType::EmptyJSON {
        return Err(Error::image(format!("manifest {} is an artifact, not an image", digest.short())));
    }
    let broken = |e| Error::image(format!("configuration {}: {e}", id.short()));
    let whole: serde_json::Value = serde_json::from_slice(&read(&id)?).map_err(broken)?;
    let health = whole["config"].get("Healthcheck").filter(|health| health.is_object()).cloned();
    let config = typed_config(whole).map_err(broken)?;
    let diff_ids = config.rootfs().diff_ids();
    let (layers, ids) = (parsed.layers().len(), diff_ids.len());
    if layers != ids || layers > MAX_LAYERS {
        return Err(Error::image(format!("manifest {} has {layers} layers and {ids} diff ids", digest.short()))
            .hint(format!("the two must be equal and at most {MAX_LAYERS}")));
    }
    let layers = parsed.layers().iter().zip(diff_ids).map(|(layer, diff_id)| {
        let (digest, diff_id) = (digest_of(layer)?, Digest::parse(diff_id)?);
        Ok(LayerRef { digest, diff_id, media_type: layer.media_type().to_string(), size: layer.size() })
    });
    Ok(Image { names, manifest: digest, index: None, id, layers: layers.collect::<Result<_>>()?, config, health })
}
