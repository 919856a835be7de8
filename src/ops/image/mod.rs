//! `rmi`, `tag`, `load`, `import`; and the image of a run.

pub mod archives;
pub mod kernel;
pub mod told;
pub(super) mod users;

use super::container::Force;
use super::{Progress, registry};
use crate::engine::FOR_OTHERS;
use crate::error::{Errno, Error, Kind, Result};
use crate::id::{Digest, HostPath};
use crate::image::{
    Image, Lower, Platform, Reference, Store, archive, builtin::Builtin, foreign_architecture, host_architecture,
};
use crate::mount::probe;
use crate::spec::request::{Pull, RunRequest, Source};
use crate::state::{Roots, events};
use crate::sys::fs::{self, Root};
use crate::sys::record::Lock;
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::sync::{Mutex, PoisonError};

/// The image of a run, unpacked and open for looking into.
#[derive(Debug)]
pub(super) struct Found {
    /// `None` where it cannot be looked into: `--explain` for a normal user.
    pub(super) root: Option<Root>,
    pub(super) config: Option<ImageConfiguration>,
    /// `None` with `--rootfs`.
    pub(super) lower: Option<Lower>,
    pub(super) id: Option<Digest>,
    /// docker's Healthcheck, where the image has one.
    pub(super) health: Option<serde_json::Value>,
}

/// An error of a run, as its image has it.
pub(super) type Explains = Box<dyn Fn(Error) -> Error>;

impl Found {
    /// What it means that the kernel does not know a program's format (ENOEXEC), in an image for another processor. What
    /// has other reasons stays as it is.
    pub(super) fn explains(&self, spec: &Spec) -> Explains {
        let image = self.config.as_ref().and_then(foreign_architecture);
        let args = spec.process().as_ref().and_then(|process| process.args().as_ref());
        let command = args.and_then(|args| args.first()).cloned().unwrap_or_default();
        Box::new(move |error| match &image {
            Some(image) if error.is_errno(Errno::ENOEXEC) => {
                let host = host_architecture();
                let message = format!("cannot execute {command}: exec format error: image is {image}, host {host}");
                Error { message, hint: Some(FOR_OTHERS.to_owned()), ..error }
            }
            _ => error,
        })
    }
}

/// Finds the image of a request, pulls it where it is missing and may be pulled, and unpacks it. Nobody takes it away
/// while what is put into `held` is held.
pub(super) fn find(
    roots: &Roots,
    request: &RunRequest,
    held: &mut Option<Lock>,
    progress: &dyn Progress,
) -> Result<Found> {
    let name = match &request.source {
        Source::Rootfs(dir) => return rootfs(dir),
        Source::Image(name) => name,
    };
    let store = Store::open(&roots.root)?;
    if held.is_none() {
        *held = Some(store.hold_for_a_container()?);
    }
    let platform = platform(request)?;
    let image = match (request.pull, here(&store, name, platform.as_ref())) {
        (Pull::Always, here) => {
            let pulled = registry::pull_one(roots, name, request.platform.as_deref(), progress);
            match here {
                Ok(_) => pulled.map_err(|e| {
                    e.during("pulling it anew").hint("without --pull always the one that is here is taken")
                })?,
                Err(_) => pulled?,
            }
        }
        (_, Ok(image)) => image,
        (_, Err(_)) if let Some(builtin) = Builtin::of(name) => {
            let image = load_builtin(&store, roots, builtin)?;
            check_platform(&image, name, platform.as_ref())?;
            image
        }
        (Pull::Missing, Err(missing)) if missing.kind != Kind::User => {
            let pulled = registry::pull_one(roots, name, request.platform.as_deref(), progress);
            pulled.map_err(|e| match store.find(name) {
                Ok(_of_another_platform) => e.during(missing.message),
                Err(_) => e,
            })?
        }
        (_, Err(error)) => return Err(error),
    };
    let lower = store.lower(&image)?;
    let root = probe::open_layers(lower.dirs())?;
    Ok(Found {
        root: Some(root),
        id: Some(image.manifest.clone()),
        lower: Some(lower),
        config: Some(image.config),
        health: image.health,
    })
}

fn rootfs(dir: &HostPath) -> Result<Found> {
    let root = Root::open(dir.as_path())
        .map_err(|e| Error::user(format!("cannot use {dir} as root: {e}")).hint("--rootfs takes a directory"))?;
    Ok(Found { root: Some(root), config: None, lower: None, id: None, health: None })
}

/// The same for `--explain`: nothing is pulled, unpacked or made. Layers that were never unpacked cannot be looked into.
pub(super) fn look(roots: &Roots, request: &RunRequest) -> Result<Found> {
    let name = match &request.source {
        Source::Rootfs(dir) => return rootfs(dir),
        Source::Image(name) => name,
    };
    let store = Store::look(&roots.root);
    match here(&store, name, platform(request)?.as_ref()) {
        Ok(image) => {
            let (lower, unpacked) = store.expected_lower(&image);
            let root = if unpacked { probe::open_layers(lower.dirs()).ok() } else { None };
            let (id, config, lower) = (Some(image.manifest), Some(image.config), Some(lower));
            Ok(Found { root, id, lower, config, health: image.health })
        }
        Err(_) if let Some(builtin) = Builtin::of(name) => {
            let lower = match (builtin, store.takes_overlay()) {
                (_, false) => Lower::Whole(roots.root.child("layers").child(builtin.name())),
                (Builtin::Hello, true) => Lower::Layers(vec![store.skeleton(), roots.root.child("layers/l/hello")]),
                (Builtin::Scratch, true) => Lower::Layers(vec![store.skeleton()]),
            };
            Ok(Found { root: None, id: None, lower: Some(lower), config: Some(builtin.config()?), health: None })
        }
        Err(error) if error.is_errno(Errno::EACCES) => Err(error.during(format!("looking for image {name}")).hint(
            format!("these images are root's: sudo minirun run --explain {name} …, or try hello, which is built in"),
        )),
        Err(error) => Err(error.hint(format!("minirun pull {name}"))),
    }
}

/// The image of a name, for the platform where one is asked for; a digest in full is what a container was made from,
/// which may have lost its place in the index.
fn here(store: &Store, name: &str, platform: Option<&Platform>) -> Result<Image> {
    let image = Digest::parse(name).map_or_else(|_| store.find(name), |manifest| store.of_container(&manifest))?;
    check_platform(&image, name, platform)?;
    Ok(image)
}

fn platform(request: &RunRequest) -> Result<Option<Platform>> {
    request.platform.as_deref().map(Platform::parse).transpose()
}

/// An image for another platform is not what was asked for: its name may be that of another one elsewhere, its id not.
pub(super) fn check_platform(image: &Image, name: &str, wanted: Option<&Platform>) -> Result<()> {
    let is = Platform::of(&image.config);
    let Some(wanted) = wanted.filter(|wanted| !wanted.takes(&is)) else { return Ok(()) };
    let has_name = Reference::parse(name).is_ok_and(|name| image.names.contains(&name));
    let kind = if has_name { Kind::NotFound } else { Kind::User };
    Err(Error::new(kind, format!("image {name} is for {is}, not {wanted}"))
        .hint(format!("minirun pull --platform {wanted} {name}")))
}

/// The image of a name that is here, or in this program.
pub(super) fn find_here(store: &Store, roots: &Roots, name: &str) -> Result<Image> {
    match (store.find(name), Builtin::of(name)) {
        (Err(_), Some(builtin)) => load_builtin(store, roots, builtin),
        (found, _) => found,
    }
}

/// Puts an image that is built into this program into the store.
fn load_builtin(store: &Store, roots: &Roots, builtin: Builtin) -> Result<Image> {
    let dir = roots.state.child(&format!("builtin-{}", std::process::id()));
    let open = |_| fs::open_read(dir.as_path()).map_err(Error::from);
    let loaded =
        builtin.layout(&dir).and_then(open).and_then(|layout| archive::load(store, layout.into(), dir.as_str(), &()));
    fs::remove_tree(dir.as_path())?;
    loaded?;
    store.find(builtin.name())
}

/// What `rmi` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    Untagged(String),
    Deleted(Digest),
}

pub fn remove(roots: &Roots, image: &str, force: Force) -> Result<Vec<Removed>> {
    let users = users::all(roots)?;
    let store = Store::open(&roots.root)?;
    let id = store.find(image).map_or_else(|_| image.to_owned(), |found| found.id.to_string());
    let kept = || users::all(roots).map(|users| users.kept);
    let removed = store.remove(image, &kept, |manifest| users.let_go(image, manifest, force))?;
    let untagged = removed.untagged.iter().map(|name| Removed::Untagged(name.familiar()));
    let removed: Vec<Removed> = untagged.chain(removed.deleted.into_iter().map(Removed::Deleted)).collect();
    for one in &removed {
        match one {
            Removed::Untagged(name) => events::image(roots, &id, "untag", name),
            Removed::Deleted(digest) => events::image(roots, &digest.to_string(), "delete", &digest.to_string()),
        }
    }
    Ok(removed)
}

/// Gives an image one more name.
pub fn tag(roots: &Roots, image: &str, name: &str) -> Result<()> {
    let name = Reference::parse(name)?;
    if name.digest.is_some() {
        return Err(Error::user("an image is not named by its digest").hint("minirun tag IMAGE NAME:TAG"));
    }
    let store = Store::open(&roots.root)?;
    let image = store.find(image)?;
    store.tag(&image, &name)?;
    events::image(roots, &image.id.to_string(), "tag", &name.familiar());
    Ok(())
}

/// Where an archive comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Stdin,
    /// A file, or for `load` the directory of an OCI layout.
    Path(HostPath),
}

/// What is to be read, and what it is called.
fn open(input: &Input) -> Result<(File, &str)> {
    match input {
        // by its descriptor: a file that was redirected is read as a file
        Input::Stdin => {
            let stdin = std::io::stdin().as_fd().try_clone_to_owned();
            stdin.map(|fd| (fd.into(), "standard input")).map_err(|e| Error::host(format!("the standard input: {e}")))
        }
        Input::Path(path) => File::open(path.as_path())
            .map(|file| (file, path.as_str()))
            .map_err(|e| Error::user(format!("cannot open {path}: {e}")).hint("is the path right?")),
    }
}

/// The names of what was loaded, or digests where there is no name.
pub fn load(roots: &Roots, input: &Input, progress: &dyn Progress) -> Result<Vec<String>> {
    let store = Store::open(&roots.root)?;
    let (file, what) = open(input)?;
    let images = archive::load(&store, file, what, &Bars::new(progress))?;
    images.iter().for_each(|image| events::image(roots, &image.id.to_string(), "load", &image.label()));
    let names = images.iter().flat_map(|image| match image.names.as_slice() {
        [] => vec![image.label()],
        names => names.iter().map(Reference::familiar).collect(),
    });
    Ok(names.collect())
}

/// One `minirun import`.
#[derive(Debug)]
pub struct ImportRequest {
    pub name: Option<String>,
    /// Lines of a Dockerfile.
    pub changes: Vec<String>,
    pub message: Option<String>,
    pub platform: Option<String>,
}

/// A root file system as a tar becomes an image of one layer.
pub fn import(roots: &Roots, input: &Input, request: &ImportRequest) -> Result<Digest> {
    let store = Store::open(&roots.root)?;
    let name = Reference::parse(request.name.as_deref().unwrap_or("imported"))?;
    let platform = request.platform.as_deref().map_or_else(|| Ok(Platform::host()), Platform::parse)?;
    let import =
        archive::Import { name: &name, changes: &request.changes, message: request.message.as_deref(), platform };
    let (file, what) = open(input)?;
    let image = archive::import(&store, file, what, &import)?;
    events::image(roots, &image.id.to_string(), "import", &name.familiar());
    Ok(image.id)
}

/// The image domain's progress, told to the command line: how far each item had come.
pub(super) struct Bars<'a> {
    progress: &'a dyn Progress,
    done: Mutex<BTreeMap<String, u64>>,
}

impl<'a> Bars<'a> {
    pub(super) fn new(progress: &'a dyn Progress) -> Bars<'a> {
        Bars { progress, done: Mutex::default() }
    }
}

impl crate::image::Progress for Bars<'_> {
    fn update(&self, item: &str, done: u64, total: Option<u64>) {
        let mut all = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(item).copied();
        if before.is_none() {
            self.progress.begin(item, total);
        }
        let before = before.unwrap_or(0);
        self.progress.advance(item, done.saturating_sub(before));
        if total == Some(done) {
            self.progress.end(item);
        }
        all.insert(item.to_owned(), done.max(before)); // what is fetched once more is not counted twice
    }
}
