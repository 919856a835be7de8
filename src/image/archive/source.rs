//! What images a layout, an archive or a directory of skopeo's holds, and each of them as a source.

use super::files::{Files, normal};
use super::{Blob, manifest_bytes, parse, parse_index};
use crate::error::{Error, Result};
use crate::id::Digest;
use crate::image::index::{FULL_NAME, REF_NAME};
use crate::image::layer;
use crate::image::platform::{self, Platform};
use crate::image::reference::Reference;
use crate::image::store::{digest_of, typed_config};
use crate::image::transfer::{DAMAGED, Name, Source};
use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{BufReader, Read};

/// How the pieces of images are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::image) enum Form {
    /// An OCI layout: `blobs/sha256/HEX`.
    Oci,
    /// docker's and podman's `save`: by manifest.json.
    Docker,
    /// skopeo's `dir:`: manifest.json, and each blob by its digits.
    Dir,
}

/// An image that is there.
#[derive(Debug)]
pub(in crate::image) struct Offer {
    pub names: Vec<Name>,
    what: What,
}

#[derive(Debug)]
enum What {
    /// One image, for several platforms perhaps.
    Oci(Vec<Descriptor>),
    Docker(DockerImage),
    Dir,
}

/// One image of a docker-archive (moby, image/tarexport/tarexport.go, manifestItem).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The form by what is there. A layout wins where an archive is both, for it keeps the manifests' digests.
pub(in crate::image) fn form(files: &Files) -> Result<Form> {
    if files.get("index.json")?.is_some() {
        return Ok(Form::Oci);
    }
    match files.text("manifest.json")? {
        Some(text) if text.trim_ascii_start().starts_with(b"{") => Ok(Form::Dir),
        Some(_) => Ok(Form::Docker),
        None => Err(Error::image("it has neither index.json nor manifest.json")
            .hint("a plain root file system comes in by `minirun import FILE NAME`")),
    }
}

/// All images; what they consist of is not looked at yet.
pub(in crate::image) fn offers(files: &Files, form: Form) -> Result<Vec<Offer>> {
    let need = |name: &str| files.text(name)?.ok_or_else(|| Error::image(format!("{name} is missing")));
    let offers = match form {
        Form::Oci => layout(&parse_index("index.json", &need("index.json")?)?),
        Form::Docker => parse::<Vec<DockerImage>>("manifest.json", &need("manifest.json")?)?
            .into_iter()
            .map(|image| {
                let tags = image.repo_tags.iter().flatten();
                let names =
                    tags.map(|tag| Reference::parse(tag).map(|name| Name::from(&name))).collect::<Result<_>>()?;
                Ok(Offer { names, what: What::Docker(image) })
            })
            .collect::<Result<_>>()?,
        Form::Dir => vec![Offer { names: Vec::new(), what: What::Dir }],
    };
    if offers.is_empty() { Err(Error::image("it holds no image")) } else { Ok(offers) }
}

/// The image of a name, or the only one.
pub(in crate::image) fn pick(mut offers: Vec<Offer>, wanted: Option<&str>) -> Result<Offer> {
    let list: Vec<String> = offers.iter().flat_map(|offer| &offer.names).map(|name| name.text.clone()).collect();
    let there = || format!("there is {}", if list.is_empty() { "no name at all".to_owned() } else { list.join(", ") });
    let at = match (wanted, offers.len()) {
        (None, 1) => Some(0),
        (None, several) => {
            return Err(
                Error::user(format!("it holds {several} images")).hint(format!("name one behind a colon: {}", there()))
            );
        }
        (Some(wanted), _) => {
            // skopeo's own spelling of "the third", for images without a name
            let number = wanted.strip_prefix('@').and_then(|number| number.parse().ok());
            let full = Reference::parse(wanted).ok();
            let is = |name: &Name| name.text == wanted || (full.is_some() && name.full == full);
            number.or_else(|| offers.iter().position(|offer| offer.names.iter().any(is)))
        }
    };
    match at {
        Some(at) if at < offers.len() => Ok(offers.swap_remove(at)),
        _ => Err(Error::user(format!("it holds no image {}", wanted.unwrap_or_default())).hint(there())),
    }
}

fn layout(index: &ImageIndex) -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    for descriptor in index.manifests().iter().filter(|d| !platform::is_attestation(d)) {
        let name = name_of(descriptor);
        let same = |offer: &&mut Offer| match &offer.what {
            What::Oci(group) => offer.names.first() == name.as_ref() && same_image(&group[0], descriptor),
            _ => false,
        };
        match offers.iter_mut().find(same).map(|offer| &mut offer.what) {
            Some(What::Oci(group)) => group.push(descriptor.clone()),
            _ => offers.push(Offer { names: name.into_iter().collect(), what: What::Oci(vec![descriptor.clone()]) }),
        }
    }
    offers
}

/// Whether two entries of an index are one image for two processors.
fn same_image(a: &Descriptor, b: &Descriptor) -> bool {
    a.platform().is_some() && b.platform().is_some() && a.platform() != b.platform()
}

fn name_of(descriptor: &Descriptor) -> Option<Name> {
    let annotations = descriptor.annotations().as_ref()?;
    let text = [REF_NAME, FULL_NAME].iter().find_map(|key| annotations.get(*key))?;
    let full = [FULL_NAME, REF_NAME].iter().find_map(|key| Reference::parse(annotations.get(*key)?).ok());
    Some(Name { text: text.clone(), full })
}

/// An image of a layout, archive or directory, to be copied from.
#[derive(Debug)]
pub(in crate::image) struct Local<'f> {
    files: &'f Files,
    form: Form,
    top: Vec<u8>,
    /// Of a docker-archive, whose pieces are not called by their digests.
    paths: BTreeMap<Digest, String>,
}

impl<'f> Local<'f> {
    pub(in crate::image) fn open(files: &'f Files, offer: &Offer, platform: Option<&Platform>) -> Result<Local<'f>> {
        let (form, top, paths) = match &offer.what {
            What::Oci(group) => {
                let host = Platform::host();
                let descriptor = match &group[..] {
                    [only] => only,
                    several => platform::choose(several, platform.unwrap_or(&host))?,
                };
                (Form::Oci, checked(files, descriptor)?, BTreeMap::new())
            }
            What::Docker(image) => {
                let (manifest, paths) = docker(files, image)?;
                (Form::Docker, manifest, paths)
            }
            What::Dir => (Form::Dir, files.text("manifest.json")?.unwrap_or_default(), BTreeMap::new()),
        };
        Ok(Local { files, form, top, paths })
    }

    /// An image of a layout of ours, by its manifest.
    pub(in crate::image) fn stored(files: &'f Files, manifest: Vec<u8>) -> Local<'f> {
        Local { files, form: Form::Oci, top: manifest, paths: BTreeMap::new() }
    }

    fn path(&self, digest: &Digest) -> String {
        match (self.form, self.paths.get(digest)) {
            (_, Some(path)) => path.clone(),
            (Form::Dir, None) => digest.hex().to_owned(),
            (Form::Oci | Form::Docker, None) => blob_path(digest),
        }
    }
}

impl Source for Local<'_> {
    fn manifest(&self, digest: Option<&Digest>) -> Result<Vec<u8>> {
        let Some(digest) = digest else { return Ok(self.top.clone()) };
        let path = match self.form {
            Form::Dir => format!("{}.manifest.json", digest.hex()),
            Form::Oci | Form::Docker => self.path(digest),
        };
        self.files.text(&path)?.ok_or_else(|| Error::image(format!("{path} is missing")))
    }

    fn blob(&self, digest: &Digest, size: u64) -> Result<Box<dyn Read + Send + '_>> {
        let (reader, is) = self.files.need(&self.path(digest))?;
        if is == size { Ok(reader) } else { Err(wrong_size(digest, is, size)) }
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn wrong_size(digest: &Digest, is: u64, wanted: u64) -> Error {
    Error::image(format!("blob {digest} has {is} bytes, not {wanted}")).hint(DAMAGED)
}

/// The manifest that an index of a layout names.
fn checked(files: &Files, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let digest = digest_of(descriptor)?;
    let path = blob_path(&digest);
    let bytes = files.text(&path)?.ok_or_else(|| Error::image(format!("{path} is missing")))?;
    match (Digest::of(&bytes), bytes.len() as u64) {
        (is, _) if is != digest => {
            Err(Error::image(format!("digest mismatch: the content of {digest} is {is}")).hint(DAMAGED))
        }
        (_, size) if size != descriptor.size() => Err(wrong_size(&digest, size, descriptor.size())),
        _ => Ok(bytes),
    }
}

/// The manifest that an image of a docker-archive would have, and where its pieces are.
fn docker(files: &Files, image: &DockerImage) -> Result<(Vec<u8>, BTreeMap<Digest, String>)> {
    let place = |path: &str| normal("", path).ok_or_else(|| Error::image(format!("{path:?} is outside the archive")));
    let path = place(&image.config)?;
    let text = files.text(&path)?.ok_or_else(|| Error::image(format!("{path} is missing")))?;
    let parsed = typed_config(parse(&image.config, &text)?);
    let parsed = parsed.map_err(|e| Error::image(format!("{}: {e}", image.config)))?;
    let (diff_ids, layers) = (parsed.rootfs().diff_ids(), image.layers.as_deref().unwrap_or_default());
    if diff_ids.len() != layers.len() {
        let (layers, ids) = (layers.len(), diff_ids.len());
        return Err(Error::image(format!("{} has {layers} layers and {ids} diff ids", image.config)));
    }
    let config = Blob { media_type: MediaType::ImageConfig, digest: Digest::of(&text), size: text.len() as u64 };
    let mut paths = BTreeMap::from([(config.digest.clone(), path)]);
    let mut seen: BTreeMap<(String, &String), Blob> = BTreeMap::new();
    let mut blobs: Vec<Blob> = Vec::new();
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let path = place(layer)?;
        let blob = match seen.get(&(path.clone(), diff_id)) {
            Some(blob) => blob.clone(),
            None => described(files, &path, &Digest::parse(diff_id)?)?,
        };
        paths.insert(blob.digest.clone(), path.clone());
        seen.insert((path, diff_id), blob.clone());
        blobs.push(blob);
    }
    Ok((manifest_bytes(config, blobs)?, paths))
}

/// A layer that carries no digest of its own: its diff id must be the configuration's. One that is not compressed is
/// looked at when it is copied.
fn described(files: &Files, path: &str, diff_id: &Digest) -> Result<Blob> {
    let (reader, size) = files.need(path)?;
    let (_, compression) = layer::inflated(BufReader::new(reader)).map_err(|e| Error::image(format!("{path}: {e}")))?;
    let media_type = compression.media_type();
    if media_type == MediaType::ImageLayer {
        return Ok(Blob { media_type, digest: diff_id.clone(), size });
    }
    let (_, sums) = layer::in_parallel(files.need(path)?.0, |_| Ok(()))?;
    if sums.diff_id != *diff_id {
        return Err(Error::image(format!("digest mismatch: a layer is {}, not {diff_id}", sums.diff_id)));
    }
    Ok(Blob { media_type, digest: sums.digest, size })
}
