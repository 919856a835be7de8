//! Images from files: an OCI layout (a directory, or a tar of one), a docker-archive (`docker save`, `podman save`),
//! and a plain rootfs. Outside plain, gzip or zstd. A wrong digest, a missing piece or a broken tar leaves nothing
//! in the store. Never follows a link out of a layout.

use super::change;
use super::index::{FULL_NAME, REF_NAME};
use super::ingest::{Expected, Ingest};
use super::layer::{self, TarStream};
use super::platform::{self, Platform};
use super::progress::{Counted, Progress};
use super::reference::Reference;
use super::store::{self, Image, Store, digest_of};
use crate::error::{Errno, Error, Result};
use crate::id::Digest;
use crate::sys::at;
use oci_spec::image::{Arch, Config, Descriptor, ImageIndex, MediaType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

/// index.json → index → manifest is what tools make; more than this is a cycle or a joke.
const MAX_NESTING: usize = 4;
/// Members of an archive: 500 layers with three files each, and many images.
const MAX_MEMBERS: usize = 100_000;
/// A link to a link to a layer: docker wrote one, never two.
const MAX_LINKS: usize = 4;
const HINT: &str = "the archive is damaged or no image: make it again (docker save, podman save, skopeo copy)";

/// Loads all images of a layout directory or an archive file. Gives the images, with the names they came with.
pub fn load(store: &Store, path: &Path, progress: &dyn Progress) -> Result<Vec<Image>> {
    let cannot = |e: std::io::Error| Error::user(format!("cannot open {}: {e}", path.display()));
    let file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    let what = path.display().to_string();
    if metadata.is_dir() {
        let mut ingest = Ingest::begin(store)?;
        let mut files = Files::Layout(file.into());
        return images(&mut ingest, &mut files)
            .and_then(|images| ingest.commit(&images))
            .map_err(|e| e.during(format!("loading {what}")).hint(HINT));
    }
    let total = metadata.is_file().then_some(metadata.len());
    load_stream(store, Counted::new(file, &what, total, progress), &what)
}

/// Loads all images of an archive that can only be read once; `what` names it in errors.
pub fn load_stream(store: &Store, archive: impl Read + Send, what: &str) -> Result<Vec<Image>> {
    let mut ingest = Ingest::begin(store)?;
    read_archive(&mut ingest, archive)
        .and_then(|mut files| images(&mut ingest, &mut files))
        .and_then(|images| ingest.commit(&images))
        .map_err(|e| e.during(format!("loading {what}")).hint(HINT))
}

/// Makes an image of one layer from the tar of a root file system; `changes` are lines of a Dockerfile.
pub fn import(store: &Store, tar: impl Read + Send, what: &str, name: &Reference, changes: &[String]) -> Result<Image> {
    let mut config = Config::default();
    changes.iter().try_for_each(|line| change::apply(&mut config, line))?;
    let config = serde_json::to_value(config).map_err(|e| Error::internal(format!("an image's configuration: {e}")))?;
    let mut ingest = Ingest::begin(store)?;
    import_into(&mut ingest, tar, &config)
        .and_then(|manifest| ingest.commit(&[(manifest, vec![name.clone()])]))
        .and_then(|images| images.into_iter().next().ok_or_else(|| Error::internal("import made no image")))
        .map_err(|e| e.during(format!("importing {what}")).hint("it must be a tar, plain or with gzip or zstd"))
}

type Manifests = Vec<(Digest, Vec<Reference>)>;

/// What an archive's member is.
#[derive(Debug)]
enum Node {
    File(Digest),
    Link(String),
}

/// Where the pieces come from.
#[derive(Debug)]
enum Files {
    Layout(OwnedFd),
    /// All files are staged already.
    Archive(BTreeMap<String, Node>),
}

impl Files {
    /// Stages a file and gives its digest; `None` where there is no such file.
    fn stage(&mut self, ingest: &mut Ingest<'_>, path: &str, expected: Expected<'_>) -> Result<Option<Digest>> {
        match self {
            Files::Layout(root) => {
                let file = match at::open_file(root, path.as_ref()) {
                    Err(e) if e.errno == Errno::ENOENT => return Ok(None),
                    Err(e) if e.errno == Errno::ELOOP => return Err(Error::image(format!("{path} is a link"))),
                    file => file?,
                };
                if !file.metadata().is_ok_and(|m| m.is_file()) {
                    return Err(Error::image(format!("{path} is no file")));
                }
                ingest.add(file, expected).map(|(digest, _)| Some(digest))
            }
            Files::Archive(nodes) => {
                let Some(digest) = find(nodes, path) else { return Ok(None) };
                match expected.digest {
                    Some(wanted) if *wanted != digest => {
                        Err(Error::image(format!("digest mismatch: the content of {wanted} is {digest}")))
                    }
                    _ => Ok(Some(digest)),
                }
            }
        }
    }

    fn need(&mut self, ingest: &mut Ingest<'_>, path: &str, expected: Expected<'_>) -> Result<Digest> {
        self.stage(ingest, path, expected)?.ok_or_else(|| Error::image(format!("{path} is missing")))
    }

    /// Stages the blob of a descriptor of a layout.
    fn blob(&mut self, ingest: &mut Ingest<'_>, descriptor: &Descriptor) -> Result<Digest> {
        let digest = digest_of(descriptor)?;
        if !ingest.has(&digest) {
            let expected = Expected { digest: Some(&digest), size: Some(descriptor.size()) };
            self.need(ingest, &format!("blobs/sha256/{}", digest.hex()), expected)?;
        }
        Ok(digest)
    }
}

fn find(nodes: &BTreeMap<String, Node>, path: &str) -> Option<Digest> {
    let mut path = path.to_owned();
    for _ in 0..=MAX_LINKS {
        match nodes.get(&path)? {
            Node::File(digest) => return Some(digest.clone()),
            Node::Link(target) => path.clone_from(target),
        }
    }
    None
}

/// Stages every file of the archive, in one pass, for its index may stand last.
fn read_archive(ingest: &mut Ingest<'_>, archive: impl Read + Send) -> Result<Files> {
    // what could not be read is in the tar package's words, byte for byte, and tells nobody anything
    let broken = |e: std::io::Error| match e.to_string() {
        text if text.contains("cksum") => Error::image("it is no tar archive, or a header in it is damaged"),
        text => Error::image(text),
    };
    let (plain, _) = layer::inflated(BufReader::with_capacity(256 << 10, archive)).map_err(broken)?;
    let mut tar = TarStream::new(plain);
    let mut nodes = BTreeMap::new();
    while let Some(member) = tar.next().map_err(broken)? {
        let Some(path) = std::str::from_utf8(&member.path).ok().and_then(|path| normal("", path)) else { continue };
        if member.kind.is_file() {
            let expected = Expected { digest: None, size: Some(member.size) };
            let (digest, _) = ingest.add(&mut tar, expected).map_err(|e| e.during(&path))?;
            nodes.insert(path, Node::File(digest));
        } else if member.kind.is_symlink() || member.kind.is_hard_link() {
            let dir = if member.kind.is_symlink() { path.rsplit_once('/').map_or("", |(dir, _)| dir) } else { "" };
            if let Some(target) = std::str::from_utf8(&member.link).ok().and_then(|target| normal(dir, target)) {
                nodes.insert(path, Node::Link(target));
            }
        }
        if nodes.len() > MAX_MEMBERS {
            return Err(Error::image(format!("more than {MAX_MEMBERS} files")));
        }
    }
    Ok(Files::Archive(nodes))
}

/// A path without `.`, `..` and double slashes; `None` where it leaves the archive. Only ever a key, never opened.
fn normal(dir: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in dir.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Stages what the images need and gives their manifests. A layout wins where an archive is both, for it keeps the
/// manifests' digests.
fn images(ingest: &mut Ingest<'_>, files: &mut Files) -> Result<Manifests> {
    if let Some(index) = files.stage(ingest, "index.json", Expected::default())? {
        return layout(ingest, files, &index);
    }
    match files.stage(ingest, "manifest.json", Expected::default())? {
        Some(manifest) => docker_archive(ingest, files, &manifest),
        None => Err(Error::image("it has neither index.json nor manifest.json")
            .hint("a plain root file system comes in by `minirun import FILE NAME`")),
    }
}

fn layout(ingest: &mut Ingest<'_>, files: &mut Files, index: &Digest) -> Result<Manifests> {
    let index: ImageIndex = parse("index.json", &ingest.read(index)?)?;
    let mut groups: Vec<(Option<Reference>, Vec<Descriptor>)> = Vec::new();
    for descriptor in index.manifests().iter().filter(|d| !platform::is_attestation(d)) {
        let name = name_of(descriptor);
        match groups.iter_mut().find(|(seen, group)| *seen == name && same_image(&group[0], descriptor)) {
            Some((_, group)) => group.push(descriptor.clone()),
            None => groups.push((name, vec![descriptor.clone()])),
        }
    }
    let mut manifests: Manifests = Vec::new();
    for (name, group) in groups {
        let descriptor = match &group[..] {
            [only] => only,
            several => platform::choose(several, &Platform::host())?,
        };
        let manifest = manifest(ingest, files, descriptor, 0)?;
        match manifests.iter_mut().find(|(seen, _)| *seen == manifest) {
            Some((_, names)) => names.extend(name),
            None => manifests.push((manifest, name.into_iter().collect())),
        }
    }
    if manifests.is_empty() {
        return Err(Error::image("it holds no image"));
    }
    Ok(manifests)
}

/// Whether two entries of an index are one image for two processors.
fn same_image(a: &Descriptor, b: &Descriptor) -> bool {
    a.platform().is_some() && b.platform().is_some() && a.platform() != b.platform()
}

fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    let annotations = descriptor.annotations().as_ref()?;
    [FULL_NAME, REF_NAME].iter().find_map(|key| Reference::parse(annotations.get(*key)?).ok())
}

/// Stages the image of a descriptor, through indexes, and gives its manifest.
fn manifest(ingest: &mut Ingest<'_>, files: &mut Files, descriptor: &Descriptor, depth: usize) -> Result<Digest> {
    if depth > MAX_NESTING {
        return Err(Error::image("indexes within indexes without end"));
    }
    let digest = files.blob(ingest, descriptor)?;
    let bytes = ingest.read(&digest)?;
    if is_index(descriptor.media_type().as_ref(), &bytes) {
        let index: ImageIndex = parse(digest.as_str(), &bytes)?;
        let chosen = platform::choose(index.manifests(), &Platform::host())?;
        return manifest(ingest, files, chosen, depth + 1);
    }
    let parsed = store::parse_manifest(&digest, &bytes)?;
    files.blob(ingest, parsed.config())?;
    for layer in parsed.layers() {
        files.blob(ingest, layer)?;
    }
    Ok(digest)
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

/// One image of a docker-archive (moby, image/tarexport/tarexport.go, manifestItem).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn docker_archive(ingest: &mut Ingest<'_>, files: &mut Files, manifest: &Digest) -> Result<Manifests> {
    let images: Vec<DockerImage> = parse("manifest.json", &ingest.read(manifest)?)?;
    if images.is_empty() {
        return Err(Error::image("it holds no image"));
    }
    images.iter().map(|image| docker_image(ingest, files, image)).collect()
}

fn docker_image(ingest: &mut Ingest<'_>, files: &mut Files, image: &DockerImage) -> Result<(Digest, Vec<Reference>)> {
    let path = |path: &str| normal("", path).ok_or_else(|| Error::image(format!("{path:?} is outside the archive")));
    let config = files.need(ingest, &path(&image.config)?, Expected::default())?;
    let parsed: oci_spec::image::ImageConfiguration = parse(&image.config, &ingest.read(&config)?)?;
    let diff_ids = parsed.rootfs().diff_ids();
    if diff_ids.len() != image.layers.len() {
        let (layers, ids) = (image.layers.len(), diff_ids.len());
        return Err(Error::image(format!("{} has {layers} layers and {ids} diff ids", image.config)));
    }
    let mut layers = Vec::new();
    for (layer, diff_id) in image.layers.iter().zip(diff_ids) {
        let digest = files.need(ingest, &path(layer)?, Expected::default())?;
        layers.push(described_layer(ingest, digest, &Digest::parse(diff_id)?)?);
    }
    let names = image.repo_tags.iter().flatten().map(|tag| Reference::parse(tag)).collect::<Result<_>>()?;
    Ok((add_manifest(ingest, &config, layers)?, names))
}

/// A layer that carries no digest of its own: its diff id must be the configuration's.
fn described_layer(ingest: &Ingest<'_>, digest: Digest, diff_id: &Digest) -> Result<Blob> {
    let mut file = ingest.open(&digest)?;
    let size = file.metadata().map_err(|e| Error::host(e.to_string()))?.len();
    let mut media_type = MediaType::ImageLayer;
    if digest != *diff_id {
        let (_, compression) = layer::inflated(BufReader::new(&mut file)).map_err(|e| Error::image(e.to_string()))?;
        media_type = compression.media_type();
        let (_, sums) = layer::in_parallel(ingest.open(&digest)?, |_| Ok(()))?;
        if sums.diff_id != *diff_id {
            return Err(Error::image(format!("digest mismatch: a layer is {}, not {diff_id}", sums.diff_id)));
        }
    }
    Ok(Blob { media_type, digest, size })
}

/// A descriptor with its fields in the order in which everybody writes them.
#[derive(Debug, Serialize)]
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
    let manifest = Manifest {
        schema_version: 2,
        media_type: MediaType::ImageManifest,
        config: Blob { media_type: MediaType::ImageConfig, digest: config.clone(), size },
        layers,
    };
    let bytes = serde_json::to_vec(&manifest).map_err(|e| Error::internal(e.to_string()))?;
    ingest.add_bytes(&bytes)
}

fn import_into(ingest: &mut Ingest<'_>, tar: impl Read + Send, config: &serde_json::Value) -> Result<Digest> {
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
    let config = serde_json::json!({
        "created": jiff::Timestamp::now().to_string(),
        "architecture": Arch::default().to_string(),
        "os": "linux",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [sums.diff_id] },
        "history": [{ "created_by": "minirun import" }],
    });
    let config = ingest.add_bytes(config.to_string().as_bytes())?;
    add_manifest(ingest, &config, vec![Blob { media_type: compression.media_type(), digest, size }])
}

#[cfg(test)]
mod tests;
