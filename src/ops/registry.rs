//! `pull`, `push`, `login`, `logout`.

use super::Progress;
use super::image::Bars;
use crate::error::{During as _, Errno, Error, Result};
use crate::id::{Digest, HostPath};
use crate::image::registry::{self, RegistryConfig};
use crate::image::{Image, Platform, Reference, Store};
use crate::state::{Roots, events};
use crate::sys::fs;

/// Whether one tag is meant or all of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tags {
    One,
    All,
}

/// What was pulled or pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The whole name: `docker.io/library/alpine:latest`.
    pub name: String,
    pub digest: Digest,
}

/// Pulls an image, or all of a repository, telling of each when it is there.
pub fn pull(
    roots: &Roots,
    name: &str,
    tags: Tags,
    platform: Option<&str>,
    progress: &dyn Progress,
    mut told: impl FnMut(&Moved) -> Result<()>,
) -> Result<()> {
    let names = match tags {
        Tags::One => vec![Reference::parse(name)?],
        Tags::All => registry::tags(&repository(name)?, &settings(roots)?)?,
    };
    for name in names {
        let image = pull_into(roots, &name, platform, progress)?;
        told(&Moved { name: name.to_string(), digest: image.digest_of(&name).clone() })?;
    }
    Ok(())
}

/// With `-a` a name has no tag: it would contradict.
fn repository(name: &str) -> Result<Reference> {
    Reference::repository(name)?.ok_or_else(|| {
        let bare = Reference::parse(name).map(|reference| reference.familiar_repository()).unwrap_or_default();
        Error::user(format!("{name} names one image, and --all-tags all"))
            .hint(format!("leave --all-tags out, or say {bare}"))
    })
}

pub(super) fn pull_one(roots: &Roots, name: &str, platform: Option<&str>, progress: &dyn Progress) -> Result<Image> {
    pull_into(roots, &Reference::parse(name)?, platform, progress)
}

fn pull_into(roots: &Roots, name: &Reference, platform: Option<&str>, progress: &dyn Progress) -> Result<Image> {
    refuse_scratch(name)?;
    let platform = platform.map(Platform::parse).transpose()?;
    let (config, store) = (settings(roots)?, Store::open(&roots.root)?);
    let image = registry::pull(&store, name, &config, platform.as_ref(), &Bars::new(progress))?;
    events::image(roots, &name.familiar(), "pull", &name.familiar_repository());
    Ok(image)
}

/// No registry has it: in a Dockerfile it stands for nothing at all, and docker keeps the name for that.
fn refuse_scratch(name: &Reference) -> Result<()> {
    match name.familiar_repository() == "scratch" {
        true => Err(Error::user("'scratch' is a reserved name: no registry has it")
            .hint("it is built in, and empty: minirun run -v ./program:/program scratch /program")),
        false => Ok(()),
    }
}

/// Pushes an image under a name, its own where none is given; or all tags of a repository that are here.
pub fn push(
    roots: &Roots,
    image: &str,
    name: Option<&str>,
    tags: Tags,
    progress: &dyn Progress,
    mut told: impl FnMut(&Moved) -> Result<()>,
) -> Result<()> {
    let (config, store) = (settings(roots)?, Store::open(&roots.root)?);
    let pairs: Vec<(Image, Reference)> = match tags {
        Tags::One => vec![(store.find(image)?, Reference::parse(name.unwrap_or(image))?)],
        Tags::All => {
            let pairs = store.tagged(&repository(image)?)?;
            if pairs.is_empty() {
                return Err(Error::user(format!("no image {image} here")).hint("`minirun images` lists what is here"));
            }
            pairs
        }
    };
    for (image, name) in pairs {
        refuse_scratch(&name)?;
        registry::push(&store, &image, &name, &config, &Bars::new(progress))?;
        events::image(roots, &image.id.to_string(), "push", &name.familiar());
        told(&Moved { name: name.to_string(), digest: image.digest_of(&name).clone() })?;
    }
    Ok(())
}

/// The file of settings for registries; none where there is no such file.
pub(super) fn registries(roots: &Roots) -> Result<RegistryConfig> {
    match fs::read_text(roots.config.as_path()) {
        Ok(text) => RegistryConfig::parse(&text).during(|| &roots.config),
        Err(e) if e.errno == Errno::ENOENT => Ok(RegistryConfig::default()),
        Err(e) => Err(e.into()),
    }
}

/// All that a registry is spoken to with: settings, logins, proxies.
pub(super) fn settings(roots: &Roots) -> Result<RegistryConfig> {
    let mut config = registries(roots)?;
    for logins in &roots.logins {
        if let Ok(json) = fs::read_text(logins.as_path()) {
            config.logins.add(&json).during(|| logins)?;
        }
    }
    config.proxies.clone_from(&roots.proxies);
    Ok(config)
}

/// Keeps name and password for a registry that takes them. Gives the file, for people.
pub fn login(roots: &Roots, server: &str, name: &str, password: &str) -> Result<HostPath> {
    let registry = registry_name(server)?;
    if name.is_empty() || name.contains(':') || password.is_empty() {
        return Err(Error::user("a login has a name without a colon, and a password").hint("minirun login --help"));
    }
    let file = login_file(roots)?;
    registry::check_login(&registry, name, password, &settings(roots)?)?;
    registry::keep_login(file, &registry, name, password)?;
    Ok(file.clone())
}

/// Forgets what `login` has kept; whether there was anything.
pub fn logout(roots: &Roots, server: &str) -> Result<bool> {
    registry::forget_login(login_file(roots)?, &registry_name(server)?)
}

fn login_file(roots: &Roots) -> Result<&HostPath> {
    let file = roots.logins.first();
    file.ok_or_else(|| Error::user("there is no file for logins").hint("set HOME, DOCKER_CONFIG or REGISTRY_AUTH_FILE"))
}

/// A registry as it stands in images' names; people paste its address.
fn registry_name(server: &str) -> Result<String> {
    let host = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let host = if host == "registry-1.docker.io" { "docker.io" } else { host };
    // a name with this registry in front is parsed as a whole: `x.y` is one, `x` would be a part of the path
    match Reference::parse(&format!("{host}/a/b")) {
        Ok(reference) if reference.registry == host || host == "index.docker.io" => Ok(reference.registry),
        _ => Err(Error::user(format!("{server:?} is no registry"))
            .hint("a registry is like docker.io, ghcr.io or host:5000")),
    }
}
