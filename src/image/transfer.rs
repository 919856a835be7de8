//! One image from one place to another: a source gives manifests and blobs, a destination takes them, and what is
//! between is the same for a load, a save, a pull, a push and a copy. Manifests are checked here, blobs by whoever
//! keeps them. Nothing is copied that the destination has.

use super::archive::{Blob, INDEX, MANIFEST, is_index, parse, parse_index};
use super::layer;
use super::platform::{self, Platform};
use super::progress::{Counted, Progress};
use super::reference::Reference;
use super::store::{self, digest_of};
use crate::error::{Error, Result};
use crate::id::Digest;
use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use serde_json::Value;
use std::io::{self, BufReader, Read};

/// index.json → index → manifest is what tools make; more than this is a cycle or a joke.
const MAX_NESTING: usize = 4;
pub(super) const DAMAGED: &str = "the data was damaged or changed on its way: fetch it again";

/// Gives the bytes of a blob.
pub(super) type Open<'o> = &'o (dyn Fn() -> Result<Box<dyn Read + Send + 'o>> + 'o);

/// Where one image comes from.
pub(super) trait Source {
    /// The manifest or index of this digest, or without one what the source's name stands for. Not checked, but not
    /// longer than a manifest may be.
    fn manifest(&self, digest: Option<&Digest>) -> Result<Vec<u8>>;
    /// Not checked either.
    fn blob(&self, digest: &Digest, size: u64) -> Result<Box<dyn Read + Send + '_>>;
}

/// Where images go. What was put is there for others when all is finished.
pub(super) trait Destination {
    fn has(&mut self, blob: &Digest) -> Result<bool>;
    /// `open` gives the data from the start, as often as it must be tried. Keeps nothing where it is not what its digest
    /// and size say.
    fn put_blob(&mut self, digest: &Digest, size: u64, open: Open<'_>) -> Result<()>;
    /// A manifest or index whose pieces are there. `names` are its own; `None` where it is a piece of an index.
    fn put_manifest(&mut self, bytes: &[u8], names: Option<&[Name]>) -> Result<()>;
    fn finish(self: Box<Self>) -> Result<()>;
    /// Whether its readers read layers in zstd, and whether they read indexes.
    fn takes(&self) -> Takes {
        Takes { zstd: true, index: true }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Takes {
    pub zstd: bool,
    pub index: bool,
}

/// What an image shall be called: in an OCI layout that is any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub text: String,
    pub full: Option<Reference>,
}

impl From<&Reference> for Name {
    fn from(name: &Reference) -> Name {
        Name { text: name.familiar(), full: Some(name.clone()) }
    }
}

/// A copy under way.
pub(super) struct Transfer<'a> {
    pub from: &'a dyn Source,
    pub to: &'a mut dyn Destination,
    /// Of an index, the image for this; `None` takes them all.
    pub platform: Option<&'a Platform>,
    pub progress: &'a dyn Progress,
}

impl Transfer<'_> {
    /// Copies the image; gives the digest of the manifest that it has at the destination.
    pub(super) fn run(&mut self, names: &[Name]) -> Result<Digest> {
        let bytes = self.from.manifest(None)?;
        self.manifest(bytes, Some(names), 0)
    }

    fn manifest(&mut self, bytes: Vec<u8>, names: Option<&[Name]>, depth: usize) -> Result<Digest> {
        if depth > MAX_NESTING {
            return Err(Error::image("indexes within indexes without end"));
        }
        if !is_index_document(&bytes) {
            let bytes = self.image(bytes)?;
            self.to.put_manifest(&bytes, names)?;
            return Ok(Digest::of(&bytes));
        }
        let index: ImageIndex = parse_index("index", &bytes)?;
        let said: Value = parse("index", &bytes)?;
        if said.get("layers").or(said.get("config")).is_some() {
            // CVE-2021-41190: one document, two meanings
            return Err(Error::image(format!("{} is both a manifest and an index", Digest::of(&bytes))));
        }
        if let Some(platform) = self.platform {
            let chosen = digest_of(platform::choose(index.manifests(), platform)?)?;
            let bytes = self.fetch(&chosen)?;
            return self.manifest(bytes, names, depth + 1);
        }
        if !self.to.takes().index {
            return Err(Error::user("it cannot keep images for several platforms").hint("leave out --all"));
        }
        for descriptor in index.manifests() {
            let bytes = self.fetch(&digest_of(descriptor)?)?;
            self.manifest(bytes, None, depth + 1)?;
        }
        self.to.put_manifest(&bytes, names)?;
        Ok(Digest::of(&bytes))
    }

    fn fetch(&mut self, digest: &Digest) -> Result<Vec<u8>> {
        let bytes = self.from.manifest(Some(digest))?;
        match Digest::of(&bytes) {
            is if is == *digest => Ok(bytes),
            is => Err(Error::image(format!("digest mismatch: the content of {digest} is {is}")).hint(DAMAGED)),
        }
    }

    /// Copies what a manifest needs; gives the manifest, which is another where layers had to be inflated.
    fn image(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let parsed = store::parse_manifest(&Digest::of(&bytes), &bytes)?;
        if parsed.config().size() > store::MAX_METADATA {
            return Err(Error::image(format!("a configuration of {} bytes", parsed.config().size())));
        }
        self.blob(parsed.config())?;
        let mut changed: Vec<(usize, Blob)> = Vec::new();
        for (at, layer) in parsed.layers().iter().enumerate() {
            match layer.media_type() == &MediaType::ImageLayerZstd && !self.to.takes().zstd {
                true => changed.push((at, self.inflated(layer)?)),
                false => self.blob(layer)?,
            }
        }
        if changed.is_empty() {
            return Ok(bytes);
        }
        let mut manifest: Value = parse("manifest", &bytes)?;
        for (at, blob) in changed {
            manifest["layers"][at] = serde_json::to_value(blob).map_err(|e| Error::internal(e.to_string()))?;
        }
        serde_json::to_vec(&manifest).map_err(|e| Error::internal(e.to_string()))
    }

    fn blob(&mut self, blob: &Descriptor) -> Result<()> {
        let (digest, size) = (digest_of(blob)?, blob.size());
        if self.to.has(&digest)? {
            return Ok(());
        }
        let (from, progress) = (self.from, self.progress);
        let open = || -> Result<Box<dyn Read + Send + '_>> {
            Ok(Box::new(Counted::new(from.blob(&digest, size)?, digest.short(), Some(size), progress)))
        };
        self.to.put_blob(&digest, size, &open)
    }

    /// Copies a layer as the plain tar that it inflates to. It is read twice, for a size stands before its data.
    fn inflated(&mut self, layer: &Descriptor) -> Result<Blob> {
        let (digest, stored) = (digest_of(layer)?, layer.size());
        let data = self.from.blob(&digest, stored)?;
        let unread = |e: io::Error| Error::image(e.to_string());
        let (size, sums) = layer::in_parallel(data, |plain| io::copy(plain, &mut io::sink()).map_err(unread))?;
        if sums.digest != digest {
            let error = Error::image(format!("digest mismatch: the content of {digest} is {}", sums.digest));
            return Err(error.hint(DAMAGED));
        }
        if !self.to.has(&sums.diff_id)? {
            let from = self.from;
            let open = || -> Result<Box<dyn Read + Send + '_>> {
                let data = BufReader::new(from.blob(&digest, stored)?);
                Ok(layer::inflated(data).map_err(|e| Error::image(e.to_string()))?.0)
            };
            self.to.put_blob(&sums.diff_id, size, &open)?;
        }
        Ok(Blob { media_type: MediaType::ImageLayer, digest: sums.diff_id, size })
    }
}

/// What a manifest or index is, in its own words where it says so.
pub(super) fn media_type(bytes: &[u8]) -> String {
    let said: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let unsaid = if is_index_document(bytes) { INDEX } else { MANIFEST };
    said["mediaType"].as_str().unwrap_or(unsaid).to_owned()
}

/// By what the document says of itself; a Content-Type header is not covered by the digest.
pub(super) fn is_index_document(bytes: &[u8]) -> bool {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    is_index(value.get("mediaType").and_then(Value::as_str).unwrap_or_default(), bytes)
}
