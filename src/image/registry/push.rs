//! Push: an image of the store, byte for byte as it is here, into a registry. What the registry has is not sent.

use super::config::RegistryConfig;
use super::remote::{Access, Remote};
use crate::error::{During as _, Error, Result};
use crate::id::Digest;
use crate::image::Reference;
use crate::image::progress::{Counted, Progress};
use crate::image::store::{self, Image, Store, digest_of};
use oci_spec::image::MediaType;
use std::fs::File;
use std::io::Read;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Blobs on their way at the same time, as with docker.
const AT_ONCE: usize = 3;

/// Pushes `image` under the name `to`.
pub fn push(
    store: &Store,
    image: &Image,
    to: &Reference,
    config: &RegistryConfig,
    progress: &dyn Progress,
) -> Result<()> {
    let tag = match (&to.tag, &to.digest) {
        (Some(tag), None) => tag,
        _ => {
            return Err(Error::user("an image is pushed under a tag, not a digest").hint("minirun push IMAGE NAME:TAG"));
        }
    };
    let elsewhere = image.names.iter().filter(|name| name.registry == to.registry && name.repository != to.repository);
    let from: Vec<String> = elsewhere.map(|name| name.repository.clone()).collect();
    let pushed = || -> Result<()> {
        let remote = Remote::open(to, config, Access::Push { from: &from })?;
        let bytes = store.read_blob(&image.manifest)?;
        let manifest = store::parse_manifest(&image.manifest, &bytes)?;
        let mut blobs: Vec<(Digest, u64)> = Vec::new();
        for blob in manifest.layers().iter().chain([manifest.config()]) {
            let blob = (digest_of(blob)?, blob.size());
            if !blobs.contains(&blob) {
                blobs.push(blob);
            }
        }
        send_all(store, &remote, &blobs, progress)?;
        let media_type = manifest.media_type().clone().unwrap_or(MediaType::ImageManifest);
        remote.put_manifest(tag, media_type.as_ref(), &bytes)
    };
    pushed().during(|| format!("pushing {}", to.familiar()))
}

fn send_all(store: &Store, remote: &Remote<'_>, blobs: &[(Digest, u64)], progress: &dyn Progress) -> Result<()> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(blobs.len()) {
            scope.spawn(|| {
                while let Some((digest, size)) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(e) = send(store, remote, digest, *size, progress) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                        next.store(blobs.len(), Ordering::Relaxed); // the others would be sent for nothing
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn send(store: &Store, remote: &Remote<'_>, digest: &Digest, size: u64, progress: &dyn Progress) -> Result<()> {
    if !remote.has_blob(digest)? {
        let path = store.blob_path(digest);
        let open = || -> Result<Box<dyn Read + Send + '_>> {
            let file = File::open(path.as_path()).map_err(|e| Error::image(format!("blob {path}: {e}")))?;
            if !file.metadata().is_ok_and(|now| now.len() == size) {
                return Err(Error::image(format!("blob {path} has not the {size} bytes that it should have"))
                    .hint("minirun verify --repair, then load or pull the image again"));
            }
            Ok(Box::new(Counted::new(file, digest.short(), Some(size), progress)))
        };
        remote.put_blob(digest, size, &open)?;
    }
    progress.update(digest.short(), size, Some(size));
    Ok(())
}
