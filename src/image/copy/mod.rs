//! `copy` and `save`: which places there are, as containers-transports(5) spells them, and images from one to another.

mod remote;

use super::archive::{Archive, Arrival, Files, Form, Local, Tree, offers, pick};
use super::ingest::Ingest;
use super::platform::Platform;
use super::progress::Progress;
use super::reference::Reference;
use super::registry::{Access, RegistryConfig};
use super::store::{Image, Store};
use super::transfer::{Destination, Name, Source, Transfer};
use crate::error::{Error, Result};
use crate::id::{Digest, HostPath};
use crate::sys::{at, fs};
use std::fs::File;
use std::io::Write;

/// Room for what has to be inflated and does not go into the store; where skopeo has it.
const SPOOL: &str = "/var/tmp";

/// Where an image is, or shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Our own store: a name or an id.
    Stored(String),
    /// `docker://`
    Registry(Reference),
    /// `oci:`, `oci-archive:`, `docker-archive:` and `dir:`, the last of which has no names.
    File { kind: Kind, path: HostPath, name: Option<String> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    OciDir,
    OciArchive,
    DockerArchive,
    DockerDir,
}

impl Kind {
    fn form(self) -> Form {
        match self {
            Kind::OciDir | Kind::OciArchive => Form::Oci,
            Kind::DockerArchive => Form::Docker,
            Kind::DockerDir => Form::Dir,
        }
    }
}

/// Of skopeo's places those that are not ours, and the way from there.
const FOREIGN: [(&str, &str); 4] = [
    ("containers-storage", "podman save IMAGE | minirun load"),
    ("docker-daemon", "docker save IMAGE | minirun load"),
    ("ostree", "skopeo copy"),
    ("sif", "skopeo copy"),
];

impl Place {
    /// `path` makes a path of this host of what is written.
    pub fn parse(text: &str, path: impl Fn(&str) -> Result<HostPath>) -> Result<Place> {
        let Some((transport, rest)) = text.split_once(':') else { return Ok(Place::Stored(text.to_owned())) };
        let kind = match transport {
            "docker" if rest.starts_with("//") => return Reference::parse(&rest[2..]).map(Place::Registry),
            "minirun" => return Ok(Place::Stored(rest.to_owned())),
            "dir" => return Ok(Place::File { kind: Kind::DockerDir, path: path(rest)?, name: None }),
            "oci" => Kind::OciDir,
            "oci-archive" => Kind::OciArchive,
            "docker-archive" => Kind::DockerArchive,
            other => match FOREIGN.iter().find(|(name, _)| *name == other) {
                Some((name, instead)) => {
                    return Err(Error::user(format!("images of {name} are not reached")).hint(*instead));
                }
                None => return Ok(Place::Stored(text.to_owned())),
            },
        };
        let (file, name) = rest.split_once(':').map_or((rest, None), |(file, name)| (file, Some(name)));
        let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(Place::File { kind, path: path(file)?, name })
    }
}

/// What a copy needs besides the two places.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// Where the store is, or would be.
    pub root: &'a HostPath,
    /// Of an index, the image for this; `None` takes all.
    pub platform: Option<&'a Platform>,
    pub registries: &'a RegistryConfig,
}

/// Copies one image; gives the digest of the manifest, or index, that it has there.
pub fn copy(from: &Place, to: &Place, means: Means<'_>, progress: &dyn Progress) -> Result<Digest> {
    let store = match (from, to) {
        (Place::Stored(_), _) | (_, Place::Stored(_)) => Some(Store::open(means.root)?),
        _ => None,
    };
    let stored = || store.as_ref().ok_or_else(|| Error::internal("a place without a store"));
    let _held = store.as_ref().map(Store::hold).transpose()?;
    let files;
    let (local, registry);
    let source: &dyn Source = match from {
        Place::Stored(name) => {
            let image = stored()?.find(name)?;
            files = Files::Layout(at::open_root(stored()?.images().as_path())?);
            local = Local::stored(&files, stored()?.read_blob(&image.manifest)?);
            &local
        }
        Place::File { kind, path, name } => {
            let input = open(path)?;
            let spool = match to {
                Place::Stored(_) => stored()?.images(),
                _ => HostPath::parse(SPOOL)?,
            };
            files = Files::open(input, path.as_str(), spool.as_path(), progress).map_err(|e| e.during(path))?;
            // one of docker 25 or ours is a layout, too, and keeps the manifest; `@2` counts in docker's list
            let is_both = *kind == Kind::DockerArchive && !name.as_ref().is_some_and(|name| name.starts_with('@'));
            let form = if is_both && files.get("index.json")?.is_some() { Form::Oci } else { kind.form() };
            let offer = offers(&files, form).and_then(|offers| pick(offers, name.as_deref()));
            let offer = offer.map_err(|e| e.during(path))?;
            local = Local::open(&files, &offer, means.platform).map_err(|e| e.during(path))?;
            &local
        }
        Place::Registry(name) => {
            registry = remote::End::open(name, means.registries, Access::Pull)?;
            &registry
        }
    };
    let mut names = Vec::new();
    let mut destination: Box<dyn Destination + '_> = match to {
        Place::Stored(name) => {
            names.push(Name::from(&Reference::parse(name)?));
            Box::new(Arrival { ingest: Ingest::begin(stored()?)?, manifests: Vec::new() })
        }
        Place::File { kind, path, name } => {
            if let Some(name) = name {
                names.push(match kind {
                    Kind::DockerArchive => Name::from(&Reference::parse(name)?),
                    _ => Name { text: name.clone(), full: None },
                });
            }
            create(*kind, path)?
        }
        Place::Registry(name) => Box::new(remote::End::open(name, means.registries, Access::Push { from: &[] })?),
    };
    let transfer = Transfer { from: source, to: &mut *destination, platform: means.platform, progress }.run(&names);
    let digest = transfer?;
    destination.finish()?;
    Ok(digest)
}

fn open(path: &HostPath) -> Result<File> {
    fs::open_read(path.as_path())
        .map(File::from)
        .map_err(|e| Error::user(format!("cannot open {path}: {}", e.errno.desc().to_lowercase())))
}

fn create(kind: Kind, path: &HostPath) -> Result<Box<dyn Destination>> {
    Ok(match kind {
        Kind::OciDir | Kind::DockerDir => Box::new(Tree::open(path, kind.form())?),
        Kind::OciArchive | Kind::DockerArchive => Box::new(Archive::create(path, kind.form())?),
    })
}

/// Writes images of the store, each with the names it is saved by, whole or not at all; `out` is for archives alone.
pub fn save(
    store: &Store,
    images: &[(Image, Vec<Reference>)],
    kind: Kind,
    to: Result<&HostPath, Box<dyn Write>>,
    progress: &dyn Progress,
) -> Result<()> {
    let _held = store.hold()?;
    let files = Files::Layout(at::open_root(store.images().as_path())?);
    let mut destination: Box<dyn Destination> = match (to, kind) {
        (Ok(path), _) => create(kind, path)?,
        (Err(out), Kind::OciArchive | Kind::DockerArchive) => Box::new(Archive::stream(out, kind.form())),
        (Err(_), Kind::OciDir | Kind::DockerDir) => {
            return Err(Error::user("a directory cannot be written to the standard output").hint("name it by -o DIR"));
        }
    };
    for (image, names) in images {
        let from = Local::stored(&files, store.read_blob(&image.manifest)?);
        let names: Vec<Name> = names.iter().map(Name::from).collect();
        Transfer { from: &from, to: &mut *destination, platform: None, progress }
            .run(&names)
            .map_err(|e| e.during(format!("saving {}", image.label())))?;
    }
    destination.finish()
}

#[cfg(test)]
mod tests;
