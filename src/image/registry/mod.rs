//! Pull: from a name to an image in the store. Mirrors first; the index's entry for this processor; every byte
//! checked against its digest while it is written. Nothing is kept of a pull that fails.

mod challenge;
mod config;
mod http;

pub use config::{Mirror, RegistryConfig};

use super::Reference;
use super::archive::{DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST, is_index};
use super::ingest::{Expected, Ingest};
use super::platform::{self, Platform};
use super::progress::{Counted, Progress};
use super::store::{self, Image, MAX_METADATA, Store, digest_of};
use crate::error::{Error, Result};
use crate::id::Digest;
use http::{Failure, REACH, Registry};
use oci_spec::image::{Descriptor, ImageIndex};
use std::time::Instant;

/// Pulls `reference` for `platform` and gives it its name in the store.
pub fn pull(
    store: &Store,
    reference: &Reference,
    config: &RegistryConfig,
    platform: &Platform,
    progress: &dyn Progress,
) -> Result<Image> {
    let deadline = Instant::now() + REACH;
    let mut unreachable = String::new();
    let mut refused = None;
    for endpoint in config.endpoints(reference)? {
        let pulled = Registry::connect(&endpoint, &reference.repository, config, deadline)
            .and_then(|registry| pull_from(store, &registry, reference, platform, progress));
        match pulled {
            Ok(image) => return Ok(image),
            Err(Failure::Unreachable(reason)) => unreachable = reason,
            Err(Failure::Refused(e)) => refused = Some(e),
        }
    }
    // what a registry said is worth more than that another one is silent
    match refused {
        Some(e) => Err(e.during(format!("pulling {}", reference.familiar()))),
        None => Err(not_reachable(reference, &unreachable)),
    }
}

fn not_reachable(reference: &Reference, reason: &str) -> Error {
    let familiar = reference.familiar();
    let name = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    Error::host(format!("image {name} is not here and its registry cannot be reached ({reason})"))
        .hint("offline you can run hello and the images built from images/, or minirun load -i FILE")
}

/// From one registry that answered.
fn pull_from(
    store: &Store,
    registry: &Registry<'_>,
    reference: &Reference,
    platform: &Platform,
    progress: &dyn Progress,
) -> Result<Image, Failure> {
    let mut ingest = Ingest::begin(store)?;
    let repository = &reference.repository;
    let manifest = pull_manifest(&mut ingest, registry, reference, platform)?;
    let parsed = store::parse_manifest(&manifest, &ingest.read(&manifest)?)?;
    if parsed.config().size() > MAX_METADATA {
        return Err(Error::image(format!("a configuration of {} bytes", parsed.config().size())).into());
    }
    for blob in std::iter::once(parsed.config()).chain(parsed.layers()) {
        pull_blob(&mut ingest, registry, repository, blob, progress)?;
    }
    let images = ingest.commit(&[(manifest, vec![reference.clone()])])?;
    Ok(images.into_iter().next().ok_or_else(|| Error::internal("pull made no image"))?)
}

/// Stages the manifest for the platform, by way of an index where there is one.
fn pull_manifest(
    ingest: &mut Ingest<'_>,
    registry: &Registry<'_>,
    reference: &Reference,
    platform: &Platform,
) -> Result<Digest, Failure> {
    let repository = &reference.repository;
    let wanted = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => digest.as_str(),
        (None, Some(tag)) => tag,
        (None, None) => "latest",
    };
    let first = get_manifest(registry, repository, wanted)?;
    // the hash decides, whatever the Docker-Content-Digest header says
    let expected = Expected { digest: reference.digest.as_ref(), size: None };
    if !looks_like_index(&first) {
        return Ok(ingest.add(&first[..], expected)?.0);
    }
    if let Some(pinned) = reference.digest.as_ref().filter(|pinned| Digest::of(&first) != **pinned) {
        return Err(Error::image(format!("digest mismatch: the content of {pinned} is {}", Digest::of(&first))).into());
    }
    let index: ImageIndex = super::archive::parse("index", &first)?;
    let chosen = platform::choose(index.manifests(), platform)?;
    let digest = digest_of(chosen)?;
    let bytes = get_manifest(registry, repository, digest.as_str())?;
    let expected = Expected { digest: Some(&digest), size: Some(chosen.size()) };
    Ok(ingest.add(&bytes[..], expected)?.0)
}

/// By what the document says of itself; the Content-Type header is not covered by the digest.
fn looks_like_index(bytes: &[u8]) -> bool {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    is_index(value.get("mediaType").and_then(serde_json::Value::as_str).unwrap_or_default(), bytes)
}

fn get_manifest(registry: &Registry<'_>, repository: &str, wanted: &str) -> Result<Vec<u8>, Failure> {
    let accept = [INDEX, MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ");
    registry.get_bytes(&format!("/v2/{repository}/manifests/{wanted}"), &accept, MAX_METADATA)
}

fn pull_blob(
    ingest: &mut Ingest<'_>,
    registry: &Registry<'_>,
    repository: &str,
    blob: &Descriptor,
    progress: &dyn Progress,
) -> Result<(), Failure> {
    let digest = digest_of(blob)?;
    if ingest.has(&digest) {
        return Ok(());
    }
    let response = registry.get(&format!("/v2/{repository}/blobs/{digest}"), "*/*")?;
    let body = Counted::new(response.into_body().into_reader(), digest.short(), Some(blob.size()), progress);
    ingest.add(body, Expected { digest: Some(&digest), size: Some(blob.size()) })?;
    Ok(())
}

#[cfg(test)]
mod tests;
