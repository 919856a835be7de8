//! `save`, `copy` and `verify`.

use super::{Bars, check_platform};
use crate::error::{Error, Result};
use crate::id::{Digest, HostPath};
use crate::image::copy::{self, Kind, Means, Place};
use crate::image::registry::RegistryConfig;
use crate::image::{Image, Platform, Reference, Store, Verdict};
use crate::ops::Progress;
use crate::ops::files::copy::Out;
use crate::ops::files::tree::Output;
use crate::ops::registry;
use crate::state::{Roots, events};

/// The formats of `save`, by podman's names.
pub const FORMATS: [&str; 4] = ["docker-archive", "oci-archive", "oci-dir", "docker-dir"];

/// Writes images into an archive or directory; an image under several of its names is there once.
pub fn save(roots: &Roots, images: &[String], format: &str, to: &Output, progress: &dyn Progress) -> Result<()> {
    let kind = match format {
        "docker-archive" => Kind::DockerArchive,
        "oci-archive" => Kind::OciArchive,
        "oci-dir" => Kind::OciDir,
        "docker-dir" => Kind::DockerDir,
        other => {
            return Err(Error::user(format!("unknown format {other}")).hint(format!("one of {}", FORMATS.join(", "))));
        }
    };
    let store = Store::open(&roots.root)?;
    let mut found: Vec<(Image, Vec<Reference>)> = Vec::new();
    for (image, name) in named(&store, images)? {
        match found.iter_mut().find(|(seen, _)| seen.manifest == image.manifest) {
            Some((_, names)) => names.extend(name.filter(|name| !names.contains(name))),
            None => found.push((image, name.into_iter().collect())),
        }
    }
    let to = match to {
        Output::Stdout => Err(Box::new(Out) as Box<dyn std::io::Write>),
        Output::File(path) => Ok(path),
    };
    copy::save(&store, &found, kind, to, &Bars::new(progress))?;
    for (image, _) in &found {
        events::image(roots, &image.id.to_string(), "save", &image.label());
    }
    Ok(())
}

/// What the words stand for: one without a tag for all tags of its repository, an id for an image without a name, both
/// as docker does it.
fn named(store: &Store, words: &[String]) -> Result<Vec<(Image, Option<Reference>)>> {
    let mut all = Vec::new();
    for word in words {
        let repository = Reference::repository(word).ok().flatten();
        let tagged = repository.map_or_else(|| Ok(Vec::new()), |repository| store.tagged(&repository))?;
        if tagged.is_empty() {
            let image = store.find(word)?;
            let name = Reference::parse(word).ok().filter(|name| image.names.contains(name));
            all.push((image, name));
        }
        all.extend(tagged.into_iter().map(|(image, name)| (image, Some(name))));
    }
    Ok(all)
}

/// One `copy`: `all` takes every platform of an image that is for several.
#[derive(Debug)]
pub struct Copying {
    pub from: Place,
    pub to: Place,
    pub platform: Option<String>,
    pub all: bool,
}

/// Copies an image; gives the digest of its manifest, or index, where it is now.
pub fn copy(roots: &Roots, copying: &Copying, progress: &dyn Progress) -> Result<Digest> {
    let wanted = copying.platform.as_deref().map(Platform::parse).transpose()?;
    if let (Place::Stored(name), Some(_)) = (&copying.from, &wanted) {
        check_platform(&Store::open(&roots.root)?.find(name)?, name, wanted.as_ref())?;
    }
    let platform = wanted.unwrap_or_else(Platform::host);
    let remote = [&copying.from, &copying.to].iter().any(|place| matches!(place, Place::Registry(_)));
    let registries = if remote { registry::settings(roots)? } else { RegistryConfig::default() };
    let means = Means { root: &roots.root, platform: (!copying.all).then_some(&platform), registries: &registries };
    let digest = copy::copy(&copying.from, &copying.to, means, &Bars::new(progress))?;
    if let Place::Stored(name) = &copying.to {
        events::image(roots, &digest.to_string(), "load", name);
    }
    Ok(digest)
}

/// The place that is written so; `path` makes a path of this host of what is written.
pub fn place(text: &str, path: impl Fn(&str) -> Result<HostPath>) -> Result<Place> {
    Place::parse(text, path)
}

/// What of the images is as its digests say: of these, or of all.
pub fn verify(roots: &Roots, images: &[String], progress: &dyn Progress) -> Result<Vec<Verdict>> {
    Store::open(&roots.root)?.verify(images, &Bars::new(progress))
}

/// Removes the blobs that were found damaged.
pub fn repair(roots: &Roots, verdicts: &[Verdict]) -> Result<Vec<Digest>> {
    Store::open(&roots.root)?.remove_damaged(verdicts)
}
