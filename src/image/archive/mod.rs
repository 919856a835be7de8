//! Images from files and into files: an OCI layout (a directory, or a tar of one), a docker-archive (`docker save`,
//! `podman save`), skopeo's `dir:`, and a plain rootfs. Outside plain, gzip, zstd or xz. A wrong digest, a missing piece
//! or a broken tar leaves nothing in the store. Never follows a link out of a layout.

mod files;
mod sink;
mod source;
mod xz;

pub(super) use files::Files;
pub(super) use sink::{Archive, Tree};
pub(super) use source::{Form, Local, form, offers, pick};

use super::change;
use super::ingest::{Expected, Ingest};
use super::layer::{self, TarStream};
use super::platform::Platform;
use super::progress::Progress;
use super::reference::Reference;
use super::store::{Image, Store, none_is_empty};
use super::transfer::{Destination, Name, Open, Takes, Transfer};
use crate::error::{Error, Kind, Result};
use crate::id::Digest;
use oci_spec::image::{Config, ImageIndex, MediaType};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::atomic::AtomicU64;

const HINT: &str = "the archive is damaged or no image: make it again (docker save, podman save, skopeo copy)";

/// Loads all images of a layout directory, an archive file or a pipe; `what` names it in errors. Gives the images, with
/// the names they came with.
pub fn load(store: &Store, input: File, what: &str, progress: &dyn Progress) -> Result<Vec<Image>> {
    load_files(store, what, progress, |spool| Files::open(input, what, spool, progress))
}

fn load_files(
    store: &Store,
    what: &str,
    progress: &dyn Progress,
    open: impl FnOnce(&std::path::Path) -> Result<Files>,
) -> Result<Vec<Image>> {
    let mut arrival = Arrival { ingest: Ingest::begin(store)?, manifests: Vec::new() };
    open(store.images().as_path())
        .and_then(|files| {
            let host = Platform::host();
            for offer in offers(&files, form(&files)?)? {
                let from = Local::open(&files, &offer, Some(&host))?;
                Transfer { from: &from, to: &mut arrival, platform: Some(&host), progress }.run(&offer.names)?;
            }
            arrival.commit()
        })
        .map_err(|e| e.during(format!("loading {what}")))
        .map_err(|e| if e.kind == Kind::Image { e.hint(HINT) } else { e })
}

/// Images on their way into the store.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    pub ingest: Ingest<'a>,
    pub manifests: Vec<(Digest, Vec<Reference>)>,
}

impl Arrival<'_> {
    /// All of them or none.
    pub(super) fn commit(self) -> Result<Vec<Image>> {
        self.ingest.commit(&self.manifests)
    }
}

impl Destination for Arrival<'_> {
    fn has(&mut self, blob: &Digest) -> Result<bool> {
        Ok(self.ingest.has(blob))
    }
    fn put_blob(&mut self, digest: &Digest, size: u64, open: Open<'_>) -> Result<()> {
        self.ingest.add(open()?, Expected { digest: Some(digest), size: Some(size) }).map(drop)
    }
    fn put_manifest(&mut self, bytes: &[u8], names: Option<&[Name]>) -> Result<()> {
        let digest = self.ingest.add_bytes(bytes)?;
        let names = names.unwrap_or_default().iter().filter_map(|name| name.full.clone());
        match self.manifests.iter_mut().find(|(seen, _)| *seen == digest) {
            Some((_, all)) => all.extend(names),
            None => self.manifests.push((digest, names.collect())),
        }
        Ok(())
    }
    fn finish(self: Box<Self>) -> Result<()> {
        self.commit().map(drop)
    }
    fn takes(&self) -> Takes {
        Takes { zstd: true, index: false }
    }
}

/// What an imported image shall be.
#[derive(Debug)]
pub struct Import<'a> {
    pub name: &'a Reference,
    /// Lines of a Dockerfile.
    pub changes: &'a [String],
    pub message: Option<&'a str>,
    pub platform: Platform,
}

/// Makes an image of one layer from the tar of a root file system.
pub fn import(store: &Store, tar: impl Read + Send, what: &str, import: &Import<'_>) -> Result<Image> {
    let mut config = Config::default();
    import.changes.iter().try_for_each(|line| change::apply(&mut config, line))?;
    let config = serde_json::to_value(config).map_err(|e| Error::internal(format!("an image's configuration: {e}")))?;
    let mut ingest = Ingest::begin(store)?;
    import_into(&mut ingest, tar, &config, import)
        .and_then(|manifest| ingest.commit(&[(manifest, vec![import.name.clone()])]))
        .and_then(|images| images.into_iter().next().ok_or_else(|| Error::internal("import made no image")))
        .map_err(|e| {
            e.during(format!("importing {what}")).hint("it must be a tar, plain or packed with gzip, zstd or xz")
        })
}

/// By the media type, and by the content where that is silent; one that claims to be both is refused later.
pub(super) fn is_index(media_type: &str, bytes: &[u8]) -> bool {
    match media_type {
        INDEX | DOCKER_LIST => true,
        MANIFEST | DOCKER_MANIFEST => false,
        _ => serde_json::from_slice::<ImageIndex>(bytes).is_ok(),
    }
}

pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

pub(super) fn parse<'b, T: Deserialize<'b>>(what: &str, bytes: &'b [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::image(format!("{what}: {e}")))
}

/// An index, which may hold nothing.
pub(super) fn parse_index(what: &str, bytes: &[u8]) -> Result<ImageIndex> {
    let mut value: serde_json::Value = parse(what, bytes)?;
    none_is_empty(&mut value, "manifests");
    serde_json::from_value(value).map_err(|e| Error::image(format!("{what}: {e}")))
}

/// A descriptor with its fields in the order in which everybody writes them.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob {
    pub media_type: MediaType,
    pub digest: Digest,
    pub size: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: MediaType,
    config: Blob,
    layers: Vec<Blob>,
}

pub(super) fn add_manifest(ingest: &mut Ingest<'_>, config: &Digest, layers: Vec<Blob>) -> Result<Digest> {
    let size = ingest.read(config)?.len() as u64;
    let config = Blob { media_type: MediaType::ImageConfig, digest: config.clone(), size };
    ingest.add_bytes(&manifest_bytes(config, layers)?)
}

fn manifest_bytes(config: Blob, layers: Vec<Blob>) -> Result<Vec<u8>> {
    let manifest = Manifest { schema_version: 2, media_type: MediaType::ImageManifest, config, layers };
    serde_json::to_vec(&manifest).map_err(|e| Error::internal(e.to_string()))
}

fn import_into(
    ingest: &mut Ingest<'_>,
    tar: impl Read + Send,
    config: &serde_json::Value,
    import: &Import<'_>,
) -> Result<Digest> {
    let taken = AtomicU64::new(0);
    let tar = files::as_layer(tar, &taken).map_err(|e| Error::image(e.to_string()))?;
    let (digest, size) = ingest.add(tar, Expected::default())?;
    let (members, sums) = layer::in_parallel(ingest.open(&digest)?, |plain| {
        let mut tar = TarStream::new(plain);
        let mut members = 0u64;
        while tar.next().map_err(|e| Error::image(e.to_string()))?.is_some() {
            members += 1;
        }
        Ok(members)
    })?;
    if members == 0 {
        return Err(Error::image("it holds no file"));
    }
    let opened = BufReader::new(ingest.open(&digest)?);
    let (_, compression) = layer::inflated(opened).map_err(|e| Error::image(e.to_string()))?;
    let created = jiff::Timestamp::now().to_string();
    let mut step = serde_json::json!({ "created": created, "created_by": "minirun import" });
    if let Some(message) = import.message {
        step["comment"] = message.into();
    }
    let mut config = serde_json::json!({
        "created": created,
        "architecture": import.platform.architecture.to_string(),
        "os": import.platform.os.to_string(),
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [sums.diff_id] },
        "history": [step],
    });
    if let Some(variant) = &import.platform.variant {
        config["variant"] = variant.as_str().into();
    }
    let config = ingest.add_bytes(config.to_string().as_bytes())?;
    add_manifest(ingest, &config, vec![Blob { media_type: compression.media_type(), digest, size }])
}

#[cfg(test)]
pub(super) mod tests;
