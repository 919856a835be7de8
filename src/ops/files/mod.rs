//! A container's files: how they are reached, running or not. A running one through its own root, by a descriptor
//! that its pidfd pins; a stopped one through an overlay that is attached nowhere, or in its copy of the image; nobody
//! starts it meanwhile.

pub mod commit;
pub mod copy;
mod paths;
pub mod tree;

use super::container::{self as containers, Container};
use super::own::{self, Own};
use super::record;
use crate::engine;
use crate::error::{Errno, Error, Result};
use crate::id::{HostPath, clean};
use crate::image::files::Ids;
use crate::image::{Image, Lower, Store};
use crate::mount::{apply, overlay, probe};
use crate::spec::request::{RunRequest, Source};
use crate::state::{Config, Roots, Status, container};
use crate::sys::fs::{self, Root};
use crate::sys::host;
use crate::sys::process::Identity;
use crate::sys::record::Lock;
use oci_spec::runtime::Spec;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A container that stays as it is, running or stopped, while its files are looked at.
struct Held<'a> {
    roots: &'a Roots,
    config: Config,
    request: RunRequest,
    init: Option<Identity>,
    /// In which its files are owned, as they are reached.
    ids: Ids,
    /// Keeps the pid of init its own.
    _pidfd: Option<OwnedFd>,
    /// Keeps a stopped one from being started.
    _turn: Option<Lock>,
}

/// What is to be done with the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

fn hold<'a>(roots: &'a Roots, word: &str) -> Result<Held<'a>> {
    if host::uid() != 0 {
        return Err(Error::user("reaching a container's files needs root").hint("sudo minirun …"));
    }
    let mut found = containers::find_settled(roots, word)?;
    let mut turn = None;
    if found.status != Status::Running {
        turn = container::turn(roots, &found.id)?;
        found = containers::find_settled(roots, found.id.as_str())?; // it may have been started meanwhile
    }
    let Container { status, config, life, .. } = found;
    let config = config.ok_or_else(|| {
        Error::host(format!("container {word} has no record: {}", containers::describe(&status))).hint("minirun rm")
    })?;
    let broken = |e| Error::host(format!("the record of container {} is broken: {e}", config.name));
    let request = config.request.parse().map_err(broken)?;
    let init = life.and_then(|life| life.init).filter(|_| status == Status::Running);
    let pidfd = init.as_ref().map(Identity::open).transpose()?;
    let turn = turn.filter(|_| init.is_none());
    // on disk they have the owners that they have inside
    let ids = if init.is_some() { ids_of(&config.spec.parse().map_err(broken)?) } else { Ids::SAME };
    Ok(Held { roots, config, request, init, ids, _pidfd: pidfd, _turn: turn })
}

fn ids_of(spec: &Spec) -> Ids {
    record::uid_maps(spec).first().map_or(Ids::SAME, |map| Ids { first: map.host_id(), count: map.size() })
}

impl Held<'_> {
    /// Its root as its processes see it, with what is mounted there.
    fn inside(&self, access: Access) -> Result<Root> {
        let Some(init) = &self.init else { return self.at_rest(access) };
        let root = Root::open(Path::new(&format!("/proc/{}/root", init.pid)))?;
        match init.is_alive() {
            true => Ok(root),
            false => Err(Error::user(format!("container {} has ended meanwhile", self.config.name)).hint("try again")),
        }
    }

    /// Its root without what is mounted there.
    fn bare(&self) -> Result<Root> {
        match &self.init {
            Some(init) => Ok(Root::from_fd(apply::root_of(init)?)),
            None => self.at_rest(Access::Read),
        }
    }

    fn at_rest(&self, access: Access) -> Result<Root> {
        let Some((_, lower)) = self.lower()? else { return self.directory() };
        match (self.own(), &lower, access) {
            (Own::Copy(dir), ..) => Ok(Root::open(dir.as_path())?),
            (Own::Upper(upper), lower, Access::Read) => {
                let layers: Vec<HostPath> = lower.dirs().iter().cloned().chain([upper]).collect();
                probe::open_layers(&layers)
            }
            (Own::Nothing, lower, Access::Read) => probe::open_layers(lower.dirs()),
            (Own::Nothing, Lower::Whole(image), Access::Write) => {
                let copy = own::to_make(self.roots, &self.config.id, image, self.request.remove);
                engine::copy_root(&copy)?;
                Ok(Root::open(copy.to.as_path())?)
            }
            (own, lower, Access::Write) => self.overlay(lower.dirs(), &own),
        }
    }

    /// Its root with a place for changes, which is made where it is missing.
    fn overlay(&self, layers: &[HostPath], own: &Own) -> Result<Root> {
        let id = &self.config.id;
        let (upper, work) = (own::upper(self.roots, id), own::work(self.roots, id));
        if *own == Own::Nothing {
            let mode = probe::open_layers(layers)?.stat(Path::new("/"))?.st_mode & 0o7777;
            fs::mkdir_all(work.as_path(), 0o700)?;
            fs::mkdir(upper.as_path(), mode)?;
            fs::chmod(upper.as_path(), mode)?;
        }
        Ok(Root::from_fd(overlay::overlay(layers, Some((&upper, &work)), false)?))
    }

    /// The directory of `--rootfs`.
    fn directory(&self) -> Result<Root> {
        let Source::Rootfs(dir) = &self.request.source else {
            return Err(Error::internal("a container without layers and without a directory"));
        };
        Root::open(dir.as_path()).map_err(|e| Error::user(format!("cannot open the root {dir}: {e}")))
    }

    /// The image it was made from and what is below its changes; `None` with `--rootfs`.
    fn lower(&self) -> Result<Option<(Image, Lower)>> {
        let Some(id) = &self.config.image_id else { return Ok(None) };
        let store = Store::open(&self.roots.root)?;
        let image = store.of_container(id).map_err(|e| {
            let error = e.during(format!("the image {} of container {}", self.config.image, self.config.name));
            error.hint(format!("minirun pull {}", self.config.image))
        })?;
        let lower = store.lower(&image)?;
        Ok(Some((image, lower)))
    }

    fn own(&self) -> Own {
        own::own(self.roots, &self.config.id)
    }

    /// The root in which a path is to be looked up, and the path in it. In a stopped container nothing is mounted: a
    /// path below one of its directories from the host is looked up there.
    fn reach(&self, path: &str, access: Access) -> Result<(Root, String)> {
        let mount = if self.init.is_none() { self.mount_at(path)? } else { None };
        let Some((source, rest, read_only)) = mount else {
            if access == Access::Write && self.init.is_none() && self.request.read_only {
                return Err(read_only_error(&self.config));
            }
            return Ok((self.inside(access)?, path.to_owned()));
        };
        if access == Access::Write && read_only {
            return Err(Error::user(format!("{path} lies in a volume that is mounted read-only"))
                .hint(format!("copy it to {source} on the host")));
        }
        Ok((Root::open(source.as_path())?, rest))
    }

    /// The directory of the host that would be mounted above a path, what is left of the path, and whether it may only
    /// be read.
    fn mount_at(&self, path: &str) -> Result<Option<(HostPath, String, bool)>> {
        let broken = |e| Error::host(format!("the record of container {} is broken: {e}", self.config.name));
        let spec: Spec = self.config.spec.parse().map_err(broken)?;
        let plain = clean(path);
        let mut best: Option<(HostPath, String, bool)> = None;
        let mut longest = 0;
        for mount in spec.mounts().iter().flatten() {
            let target = clean(&mount.destination().to_string_lossy());
            let Some(rest) = paths::below(&plain, &target) else { continue };
            let source = mount.source().as_ref().filter(|source| source.is_absolute());
            let Some(source) = source.and_then(|source| HostPath::parse(&source.to_string_lossy()).ok()) else {
                continue;
            };
            let ours = source.as_path().starts_with(self.roots.state.as_path());
            let directory = fs::stat(source.as_path()).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR);
            if ours || !directory || target.len() < longest {
                continue;
            }
            longest = target.len();
            let slash = if path.ends_with('/') || path.ends_with("/.") { "/." } else { "" };
            let read_only = mount.options().iter().flatten().any(|option| matches!(option.as_str(), "ro" | "rro"));
            best = Some((source, format!("/{rest}{slash}"), read_only));
        }
        Ok(best)
    }
}

fn read_only_error(config: &Config) -> Error {
    Error::user(format!("the root of container {} is read-only", config.name))
        .hint("copy into one of its volumes, or run it without --read-only")
}

/// Whether an error means that there is no such path.
fn is_missing(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENOTDIR)
}
