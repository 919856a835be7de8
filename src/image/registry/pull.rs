//! Pull: from a name to an image in the store, its layers unpacked while they come. Mirrors first; the index's entry for
//! this processor; every byte is hashed, once, before it counts. What is kept of a pull that fails is what the next one
//! begins with, and no image.

use super::arriving::{Arriving, End, Fate};
use super::config::RegistryConfig;
use super::fetch::{self, Common};
use super::http::Failure;
use super::remote::{self, Access, Remote};
use crate::error::{Error, Kind, Result};
use crate::id::Digest;
use crate::image::archive::is_index;
use crate::image::ingest::{Expected, Ingest, MAX_BLOB, too_large};
use crate::image::layer::Blob;
use crate::image::platform::{self, Platform};
use crate::image::progress::Progress;
use crate::image::store::{self, Image, LayerRef, MAX_METADATA, Store, digest_of};
use crate::image::unpack::Failed;
use crate::image::{Reference, archive};
use crate::sys::host;
use oci_spec::image::{ImageIndex, ImageManifest};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

/// Layers on their way at the same time, as with docker.
const AT_ONCE: usize = 3;

/// Pulls `reference` and gives it its name in the store: for `platform`, or where none was asked for the host's, but what
/// is there for one platform alone.
pub fn pull(
    store: &Store,
    reference: &Reference,
    config: &RegistryConfig,
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<Image> {
    remote::each_endpoint(reference, config, |endpoint, patience| {
        let remote = Remote::connect(endpoint, reference, config, Access::Pull, patience)?;
        from(store, &remote, reference, platform, progress)
    })
}

/// All tags, sorted, of the reference's repository.
pub fn tags(reference: &Reference, config: &RegistryConfig) -> Result<Vec<Reference>> {
    let mut tags = remote::each_endpoint(reference, config, |endpoint, patience| {
        Remote::connect(endpoint, reference, config, Access::Pull, patience)?.tags()
    })?;
    tags.sort();
    let of = |tag: String| Reference::parse(&format!("{}/{}:{tag}", reference.registry, reference.repository));
    tags.into_iter().map(of).collect()
}

/// From one registry that answered.
pub(super) fn from(
    store: &Store,
    remote: &Remote<'_>,
    reference: &Reference,
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<Image, Failure> {
    let mut ingest = Ingest::begin(store)?;
    let manifest = manifest(&mut ingest, remote, reference, platform.unwrap_or(&Platform::host()))?;
    let bytes = ingest.read(&manifest)?;
    let parsed = store::parse_manifest(&manifest, &bytes)?;
    refuse_artifact(&manifest, &parsed)?;
    let config = digest_of(parsed.config())?;
    if !ingest.has(&config) {
        if parsed.config().size() > MAX_METADATA {
            return Err(Error::image(format!("a configuration of {} bytes", parsed.config().size())).into());
        }
        let expected = Expected { digest: Some(&config), size: Some(parsed.config().size()) };
        ingest.add(&remote.small_blob(&config)?[..], expected)?;
    }
    let image = store::parse_image(vec![reference.clone()], &bytes, |digest| ingest.read(digest))?;
    let is = Platform::of(&image.config);
    if let Some(wanted) = platform.filter(|wanted| !wanted.takes(&is)) {
        return Err(Error::image(format!("the registry has it for {is} alone, not for {wanted}"))
            .hint(format!("minirun pull --platform {is} {}", reference.familiar()))
            .into());
    }
    let mut blobs: Vec<Arriving> = Vec::new();
    for layer in &image.layers {
        if layer.size > MAX_BLOB {
            return Err(too_large(&layer.digest, layer.size).into());
        }
        if !ingest.has(&layer.digest) && blobs.iter().all(|blob| blob.digest != layer.digest) {
            blobs.push(Arriving::open(&mut ingest, &layer.digest, layer.size)?);
        }
    }
    let common = Common::default();
    let taken = std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(blobs.len()) {
            scope.spawn(|| fetch::all(remote, &blobs, &common, progress));
        }
        let give_up = || {
            common.stop();
            remote.hang_up();
            blobs.iter().for_each(|blob| blob.end(End::Failed)); // nobody waits for the rest
        };
        let taken = take(store, remote, &image, &blobs, &give_up, progress);
        if taken.is_err() {
            give_up();
        }
        common.stop();
        taken
    });
    if let Some(failure) = common.failure() {
        return Err(failure);
    }
    taken?;
    for blob in &blobs {
        blob.decide(Fate::Adopted);
        ingest.adopt(&blob.digest, blob.path.clone(), blob.size);
    }
    let images = ingest.commit(&[(manifest, vec![reference.clone()])])?;
    Ok(images.into_iter().next().ok_or_else(|| Error::internal("pull made no image"))?)
}

/// Unpacks the layers as they come, from the lowest on, and hashes what needs no unpacking; afterwards every blob is what
/// its digest says.
fn take(
    store: &Store,
    remote: &Remote<'_>,
    image: &Image,
    blobs: &[Arriving],
    give_up: &(dyn Fn() + Sync),
    progress: &dyn Progress,
) -> Result<(), Failure> {
    // the host's trouble, such as a full disk, is the end of it; what is wrong with a blob may be mended
    let failed = |error: &Error| {
        if error.kind == Kind::Host {
            give_up()
        }
    };
    let find = |digest: &Digest| blobs.iter().find(|blob| blob.digest == *digest);
    let opened = Mutex::new(Vec::new());
    let opened = || opened.lock().unwrap_or_else(PoisonError::into_inner);
    // a normal user cannot make what is in layers, and may have the image all the same; what is unpacked whole is when it
    // is needed
    let mut unpacks = host::uid() == 0 && store.takes_overlay();
    while unpacks {
        let open = |layer: &LayerRef| -> Result<Blob<'_>> {
            let Some(blob) = find(&layer.digest) else { return store.blob(layer) };
            opened().push(layer.digest.clone());
            Ok(Box::new(blob.reader()))
        };
        let unpacked = store.layer_dirs_from(image, &open, &failed);
        unpacks = unpacked.is_err();
        let Err(Failed { error, layer }) = unpacked else { continue };
        let blob = layer.and_then(|layer| find(&image.layers[layer].digest));
        let Some(blob) = blob.filter(|_| error.kind == Kind::Image) else { return Err(error.into()) };
        if is_right(blob)? {
            blob.decide(Fate::Removed); // it is what its digest says, and not what the image says
            return Err(error.into());
        }
        mend(remote, blob, progress)?;
        opened().clear();
    }
    let opened = std::mem::take(&mut *opened());
    for blob in blobs.iter().filter(|blob| !opened.contains(&blob.digest)) {
        while !is_right(blob)? {
            mend(remote, blob, progress)?;
        }
    }
    Ok(())
}

fn is_right(blob: &Arriving) -> Result<bool> {
    Ok(blob.hash().map_err(|e| Error::image(e.to_string()))? == blob.digest)
}

/// What is wrong and has parts of an earlier pull is fetched once more, from the start.
fn mend(remote: &Remote<'_>, blob: &Arriving, progress: &dyn Progress) -> Result<(), Failure> {
    if blob.is_resumed() {
        blob.restart()?;
        return fetch::one(remote, blob, &AtomicBool::new(false), progress);
    }
    blob.decide(Fate::Removed);
    let is = blob.hash().map_err(|e| Error::image(e.to_string()))?;
    let error = Error::image(format!("digest mismatch: the content of {} is {is}", blob.digest));
    Err(error.hint("the data was damaged or changed on its way: fetch it again").into())
}

/// Stages the manifest for the platform, by way of an index where there is one.
fn manifest(
    ingest: &mut Ingest<'_>,
    remote: &Remote<'_>,
    reference: &Reference,
    platform: &Platform,
) -> Result<Digest, Failure> {
    let (_, first) = remote.get_manifest(remote::wanted(reference))?;
    // the hash decides, whatever the Docker-Content-Digest header says
    let expected = Expected { digest: reference.digest.as_ref(), size: None };
    if !looks_like_index(&first) {
        return Ok(ingest.add(&first[..], expected)?.0);
    }
    if let Some(pinned) = reference.digest.as_ref().filter(|pinned| Digest::of(&first) != **pinned) {
        return Err(Error::image(format!("digest mismatch: the content of {pinned} is {}", Digest::of(&first))).into());
    }
    let index: ImageIndex = archive::parse_index("index", &first)?;
    let chosen = platform::choose(index.manifests(), platform)?;
    let digest = digest_of(chosen)?;
    let (_, bytes) = remote.get_manifest(digest.as_str())?;
    let expected = Expected { digest: Some(&digest), size: Some(chosen.size()) };
    ingest.led(Digest::of(&first), digest.clone());
    Ok(ingest.add(&bytes[..], expected)?.0)
}

/// By what the document says of itself; the Content-Type header is not covered by the digest.
fn looks_like_index(bytes: &[u8]) -> bool {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    is_index(value.get("mediaType").and_then(serde_json::Value::as_str).unwrap_or_default(), bytes)
}

fn refuse_artifact(digest: &Digest, manifest: &ImageManifest) -> Result<()> {
    match store::artifact(manifest) {
        Some(kind) => Err(Error::image(format!("manifest {} is an artifact, {kind}, and no image", digest.short()))
            .hint("fetch it with the tool that it is made for")),
        None => Ok(()),
    }
}
