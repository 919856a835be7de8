//! What is in a built image, a line each: `file 0755 0:0 /hello`. The expected content beside a recipe is this text;
//! sizes and times stay out of it, for they change with every version.

use minirun::error::{Error, Result};
use minirun::image::assemble::REF_NAME;
use oci_spec::image::{Digest, ImageIndex, ImageManifest, MediaType};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Lists the image `name` of the layout `dir`, sorted by path; without a name, the only one.
pub fn list(dir: &Path, name: Option<&str>) -> Result<String> {
    let mut lines = BTreeMap::new();
    for (digest, media_type) in layers(dir, name)? {
        let path = blob(dir, &digest);
        let bad = |e: std::io::Error| crate::failed("reading layer", &path, &e);
        let file = std::io::BufReader::new(File::open(&path).map_err(bad)?);
        let tar: Box<dyn Read> = match media_type {
            MediaType::ImageLayerGzip => Box::new(flate2::read::GzDecoder::new(file)),
            MediaType::ImageLayerZstd => Box::new(zstd::Decoder::with_buffer(file).map_err(bad)?),
            _ => Box::new(file),
        };
        let mut archive = tar::Archive::new(tar);
        for entry in archive.entries().map_err(bad)? {
            let (path, line) = entry.and_then(|entry| line(&entry)).map_err(bad)?;
            lines.insert(path, line);
        }
    }
    Ok(lines.into_values().collect())
}

fn line<R: Read>(entry: &tar::Entry<'_, R>) -> std::io::Result<(PathBuf, String)> {
    let header = entry.header();
    let path = entry.path()?.components().collect::<PathBuf>();
    let (kind, arrow) = match header.entry_type() {
        tar::EntryType::Directory => ("dir ", ""),
        tar::EntryType::Symlink => ("link", " -> "),
        tar::EntryType::Link => ("hard", " => "),
        tar::EntryType::Regular => ("file", ""),
        _ => ("node", ""),
    };
    let target = entry.link_name()?.map_or(String::new(), |target| target.display().to_string());
    let (mode, uid, gid) = (header.mode()?, header.uid()?, header.gid()?);
    let line = format!("{kind} {mode:04o} {uid}:{gid} /{}{arrow}{target}\n", path.display());
    Ok((path, line))
}

fn layers(dir: &Path, name: Option<&str>) -> Result<Vec<(Digest, MediaType)>> {
    let invalid = |e: oci_spec::OciSpecError| Error::image(format!("{} is no OCI layout: {e}", dir.display()));
    let index = ImageIndex::from_file(dir.join("index.json")).map_err(invalid)?;
    let named = |annotations: &Option<std::collections::HashMap<String, String>>| {
        annotations.as_ref().and_then(|all| all.get(REF_NAME)).map(String::as_str) == name
    };
    let mut images = index.manifests().iter().filter(|image| name.is_none() || named(image.annotations()));
    let (Some(image), None) = (images.next(), images.next()) else {
        return Err(Error::user(format!("{} does not hold just one image of that name", dir.display()))
            .hint("name one of those in index.json"));
    };
    let manifest = ImageManifest::from_file(blob(dir, image.digest())).map_err(invalid)?;
    Ok(manifest.layers().iter().map(|layer| (layer.digest().clone(), layer.media_type().clone())).collect())
}

fn blob(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs/sha256").join(digest.digest())
}
