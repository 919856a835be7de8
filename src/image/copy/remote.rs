//! A repository of a registry as one end of a copy.

use crate::error::{Error, Result};
use crate::id::Digest;
use crate::image::reference::Reference;
use crate::image::registry::{Access, RegistryConfig, Remote};
use crate::image::transfer::{DAMAGED, Destination, Name, Open, Source, media_type};
use std::io::Read;

pub(super) struct End<'a> {
    remote: Remote<'a>,
    /// The tag, or the digest that was asked for.
    name: String,
    digest: Option<Digest>,
}

impl<'a> End<'a> {
    pub(super) fn open(reference: &Reference, config: &'a RegistryConfig, access: Access<'_>) -> Result<End<'a>> {
        let Reference { tag, digest, .. } = reference;
        if digest.is_some() && matches!(access, Access::Push { .. }) {
            return Err(Error::user("an image is pushed under a tag, not a digest").hint("docker://NAME:TAG"));
        }
        let name = digest.as_ref().map(Digest::as_str).or(tag.as_deref()).unwrap_or("latest").to_owned();
        Ok(End { remote: Remote::open(reference, config, access)?, name, digest: digest.clone() })
    }
}

impl Source for End<'_> {
    fn manifest(&self, digest: Option<&Digest>) -> Result<Vec<u8>> {
        let (_, bytes) = self.remote.manifest(digest.map_or(self.name.as_str(), Digest::as_str))?;
        match (digest, &self.digest) {
            (None, Some(pinned)) if Digest::of(&bytes) != *pinned => {
                let is = Digest::of(&bytes);
                Err(Error::image(format!("digest mismatch: the content of {pinned} is {is}")).hint(DAMAGED))
            }
            _ => Ok(bytes),
        }
    }

    fn blob(&self, digest: &Digest, size: u64) -> Result<Box<dyn Read + Send + '_>> {
        self.remote.blob(digest, size)
    }
}

impl Destination for End<'_> {
    fn has(&mut self, blob: &Digest) -> Result<bool> {
        self.remote.has_blob(blob)
    }

    fn put_blob(&mut self, digest: &Digest, size: u64, open: Open<'_>) -> Result<()> {
        self.remote.put_blob(digest, size, open)
    }

    fn put_manifest(&mut self, bytes: &[u8], names: Option<&[Name]>) -> Result<()> {
        let digest = Digest::of(bytes);
        let name = if names.is_some() { self.name.as_str() } else { digest.as_str() };
        self.remote.put_manifest(name, &media_type(bytes), bytes)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
