//! Making an image: entries become a layer, layers and a configuration become an image in an OCI layout directory.
//! The same input gives the same digests, whatever the directory, the user, umask, time zone or locale.
//! Used by import, commit and rootfs-builder. It never reads an image that somebody else made.

mod blob;
mod entry;

pub use blob::{Blob, Compression, Packer};
pub use entry::{Content, Entry, EntryKind, Time};

use crate::error::{Error, Result};
use crate::id::{Digest, HostPath};
use blob::Stream;
pub(in crate::image) use blob::{failed, persist, replace, temporary};
pub(in crate::image) use entry::{Slice, append};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, MediaType, PlatformBuilder, RootFsBuilder};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Read;

/// A finished layer in a layout: its blob, and the digest of the tar before compression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Layer {
    pub blob: Blob,
    pub diff_id: Digest,
    pub compression: Compression,
}

/// What [`add_image`] puts together. `config.rootfs` is filled in from `layers`.
#[derive(Debug)]
pub struct Image<'a> {
    /// With its tag, as it is to be called: `busybox:latest`.
    pub name: &'a str,
    pub config: ImageConfiguration,
    /// The lowest first.
    pub layers: &'a [Layer],
}

/// The annotation of the index that holds an image's name (OCI image-spec, annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Makes `dir` an OCI layout without images, unless it is a layout already.
pub fn create_layout(dir: &HostPath) -> Result<()> {
    crate::sys::fs::mkdir_all(dir.child("blobs/sha256").as_path(), 0o755)?;
    let index = json!({ "schemaVersion": 2, "mediaType": MediaType::ImageIndex, "manifests": [] });
    let marker = json!({ "imageLayoutVersion": "1.0.0" });
    for (name, value) in [("index.json", index), ("oci-layout", marker)] {
        if !crate::sys::fs::exists(dir.child(name).as_path()) {
            blob::replace(dir, name, &canonical_json(&value)?)?;
        }
    }
    Ok(())
}

/// Writes the entries as one layer, sorted. Times later than `latest` (seconds) become `latest`.
pub fn add_layer(dir: &HostPath, entries: Vec<Entry>, latest: Option<i64>, compression: Compression) -> Result<Layer> {
    write(entries, latest, Stream::create(dir, compression)?)
}

/// The same as zstd, which `packer` makes.
pub fn add_zstd_layer(
    dir: &HostPath,
    entries: Vec<Entry>,
    latest: Option<i64>,
    packer: Box<dyn Packer>,
) -> Result<Layer> {
    write(entries, latest, Stream::zstd(dir, packer)?)
}

fn write(mut entries: Vec<Entry>, latest: Option<i64>, stream: Stream) -> Result<Layer> {
    entry::sort(&mut entries)?;
    let mut tar = tar::Builder::new(stream);
    for entry in &entries {
        entry::append(&mut tar, entry, latest)?;
    }
    tar.into_inner().map_err(|e| blob::failed("writing a layer", &e))?.finish()
}

/// Takes a tar stream as it is for one layer: the same bytes in, the same layer out.
pub fn add_tar(dir: &HostPath, tar: &mut dyn Read, compression: Compression) -> Result<Layer> {
    let mut stream = Stream::create(dir, compression)?;
    std::io::copy(tar, &mut stream).map_err(|e| blob::failed("copying a tar stream into a layer", &e))?;
    stream.finish()
}

/// Writes configuration and manifest, and enters the image in the index, in place of one of the same name.
/// Gives the manifest's blob. The index is not locked: one writer at a time.
pub fn add_image(dir: &HostPath, image: Image<'_>) -> Result<Blob> {
    let Image { name, mut config, layers } = image;
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    config.set_rootfs(RootFsBuilder::default().diff_ids(diff_ids).build().map_err(invalid)?);
    let platform = PlatformBuilder::default()
        .architecture(config.architecture().clone())
        .os(config.os().clone())
        .build()
        .map_err(invalid)?;

    let config = blob::add(dir, &canonical_json(&config)?)?;
    let layers: Vec<Value> =
        layers.iter().map(|layer| descriptor(&layer.blob, &layer.compression.media_type())).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest,
        "config": descriptor(&config, &MediaType::ImageConfig),
        "layers": layers,
    });
    let manifest = blob::add(dir, &canonical_json(&manifest)?)?;

    let mut entry = descriptor(&manifest, &MediaType::ImageManifest);
    entry["platform"] = serde_json::to_value(platform).map_err(invalid)?;
    entry["annotations"] = json!({ REF_NAME: name });
    enter(dir, name, serde_json::from_value(entry).map_err(invalid)?)?;
    Ok(manifest)
}

/// Replaces or adds one entry of index.json; the entries stand by name.
fn enter(dir: &HostPath, name: &str, entry: Descriptor) -> Result<()> {
    let path = dir.child("index.json");
    let text = crate::sys::fs::read(path.as_path())?;
    let mut index: ImageIndex =
        serde_json::from_slice(&text).map_err(|e| Error::image(format!("{path} is not an OCI image index: {e}")))?;
    let mut manifests = index.manifests().clone();
    manifests.retain(|other| ref_name(other) != Some(name));
    manifests.push(entry);
    manifests.sort_by(|a, b| ref_name(a).cmp(&ref_name(b)));
    index.set_manifests(manifests);
    blob::replace(dir, "index.json", &canonical_json(&index)?)
}

fn ref_name(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations().as_ref()?.get(REF_NAME).map(String::as_str)
}

fn descriptor(blob: &Blob, media_type: &MediaType) -> Value {
    json!({ "mediaType": media_type, "digest": blob.digest, "size": blob.size })
}

/// One line, keys sorted at every level: equal values give equal bytes.
pub fn canonical_json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut value = serde_json::to_value(value).map_err(invalid)?;
    value.sort_all_objects();
    serde_json::to_vec(&value).map_err(invalid)
}

/// RFC 3339 in UTC, for `created`: `2026-01-01T00:00:00Z`.
pub fn rfc3339(seconds: i64) -> Result<String> {
    jiff::Timestamp::from_second(seconds)
        .map(|time| time.to_string())
        .map_err(|e| Error::user(format!("{seconds} seconds is not a time that can be written: {e}")))
}

/// Types that we filled in ourselves did not serialise.
fn invalid(e: impl std::fmt::Display) -> Error {
    Error::internal(format!("image cannot be described: {e}"))
}

#[cfg(test)]
mod tests;
