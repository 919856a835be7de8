//! An OCI image layout of somebody else's: one image of it, found and checked without taking it into the store. Nothing
//! in it is trusted: every file is a regular one reached without a link, is bounded, and is what its digest says.

use super::archive;
use super::index::{FULL_NAME, REF_NAME};
use super::platform::{self, Platform};
use super::reference::Reference;
use super::store::{self, Image, digest_of};
use crate::error::{During as _, Error, Result};
use crate::id::{Digest, HostPath};
use crate::sys::at;
use oci_spec::image::{Descriptor, ImageIndex};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

/// index.json → index → manifest is what tools make; more than this is a cycle or a joke.
const MAX_NESTING: usize = 4;

/// Opens the blob that shall have this digest, from the layout `root`; what it is, who reads it finds out.
pub(super) fn open_blob(root: &OwnedFd, digest: &Digest) -> Result<File> {
    open(root, &format!("blobs/sha256/{}", digest.hex())).during(|| format!("blob {digest}"))
}

fn open(root: &OwnedFd, path: &str) -> Result<File> {
    let file = at::open_file(root, path.as_ref()).map_err(|e| Error::image(e.to_string()))?;
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return Err(Error::image(format!("{path} is no file")));
    }
    Ok(file)
}

fn read(root: &OwnedFd, path: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open(root, path)?.take(store::MAX_METADATA + 1).read_to_end(&mut bytes);
    read.map_err(|e| Error::image(format!("{path}: {e}")))?;
    if bytes.len() as u64 > store::MAX_METADATA {
        return Err(Error::image(format!("{path} has more than {} bytes", store::MAX_METADATA)));
    }
    Ok(bytes)
}

fn read_blob(root: &OwnedFd, digest: &Digest) -> Result<Vec<u8>> {
    let bytes = read(root, &format!("blobs/sha256/{}", digest.hex()))?;
    match Digest::of(&bytes) {
        is if is == *digest => Ok(bytes),
        is => Err(Error::image(format!("digest mismatch: the content of {digest} is {is}"))),
    }
}

/// The image of a layout directory that has this name there; without one, the only image. Gives the layout as well.
pub fn find(dir: &HostPath, name: Option<&str>, platform: &Platform) -> Result<(OwnedFd, Image)> {
    let root = at::open_root(dir.as_path()).map_err(|e| Error::user(e.to_string()).hint("is the path right?"))?;
    let image = find_in(&root, name, platform).during(|| format!("layout {dir}"));
    let image = image.map_err(|e| e.hint("an OCI layout has index.json and blobs/ (skopeo copy … oci:DIR:TAG)"))?;
    Ok((root, image))
}

fn find_in(root: &OwnedFd, name: Option<&str>, platform: &Platform) -> Result<Image> {
    let mut index: ImageIndex = archive::parse_index("index.json", &read(root, "index.json")?)?;
    let named: Vec<Descriptor> = index.manifests().iter().filter(|d| fits(d, name)).cloned().collect();
    let several = |d: &Descriptor| d.platform().is_none() || names(d) != names(&named[0]);
    if named.is_empty() || (named.len() > 1 && named.iter().any(several)) {
        let mut all: Vec<String> = index.manifests().iter().flat_map(names).collect();
        all.dedup();
        let what = name.map_or_else(|| "more than one image".to_owned(), |name| format!("no image {name}"));
        let what = if index.manifests().is_empty() { "no image".to_owned() } else { what };
        return Err(Error::image(format!("it holds {what}")).hint(format!("its names: {}", all.join(", "))));
    }
    index.set_manifests(named);
    let mut depth = 0;
    loop {
        let chosen = match &index.manifests()[..] {
            [only] => only,
            several => platform::choose(several, platform)?,
        };
        let digest = digest_of(chosen)?;
        let bytes = read_blob(root, &digest)?;
        if !archive::is_index(chosen.media_type().as_ref(), &bytes) {
            return store::parse_image(Vec::new(), &bytes, |digest| read_blob(root, digest));
        }
        depth += 1;
        if depth > MAX_NESTING {
            return Err(Error::image("indexes within indexes without end"));
        }
        index = archive::parse(digest.as_str(), &bytes)?;
        index.set_manifests(vec![platform::choose(index.manifests(), platform)?.clone()]);
    }
}

fn names(descriptor: &Descriptor) -> Vec<String> {
    let annotations = descriptor.annotations().iter();
    annotations.flat_map(|all| [REF_NAME, FULL_NAME].into_iter().find_map(|key| all.get(key).cloned())).collect()
}

fn fits(descriptor: &Descriptor, name: Option<&str>) -> bool {
    let Some(name) = name else { return !platform::is_attestation(descriptor) };
    let same = |said: &String| {
        said == name || matches!((Reference::parse(said), Reference::parse(name)), (Ok(a), Ok(b)) if a == b)
    };
    let annotations = descriptor.annotations().iter();
    annotations.flat_map(|all| [REF_NAME, FULL_NAME].into_iter().filter_map(|key| all.get(key))).any(same)
}
