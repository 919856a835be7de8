//! `rmi`, `load`, `import`, `demo kernel`; and the image of a run.

use super::container::{self, Force};
use super::{Progress, registry, run};
use crate::error::{Errno, Error, Result};
use crate::id::{ContainerPath, Digest, HostPath};
use crate::image::{Image, Reference, Store, archive, builtin, short_link};
use crate::mount::probe;
use crate::spec::mount::{BindMount, MountRequest, Propagation, Submounts};
use crate::spec::request::{Pull, RunRequest, Source};
use crate::state::{Roots, events};
use crate::sys::fs::{self, Root};
use crate::sys::host;
use oci_spec::image::ImageConfiguration;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The image of a run, unpacked and open for looking into.
#[derive(Debug)]
pub(super) struct Found {
    /// `None` where it cannot be looked into: `--explain` for a normal user.
    pub(super) root: Option<Root>,
    pub(super) config: Option<ImageConfiguration>,
    /// Lowest first; none with `--rootfs`.
    pub(super) layers: Vec<HostPath>,
    pub(super) id: Option<Digest>,
    /// docker's Healthcheck, where the image has one.
    pub(super) health: Option<serde_json::Value>,
}

/// Finds the image of a request, pulls it where it is missing and may be pulled, and unpacks it.
pub(super) fn find(roots: &Roots, request: &RunRequest, progress: &dyn Progress) -> Result<Found> {
    let name = match &request.source {
        Source::Rootfs(dir) => return rootfs(dir),
        Source::Image(name) => name,
    };
    let store = Store::open(&roots.root)?;
    let image = match (request.pull, store.find(name)) {
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
        (_, Err(_)) if is_hello(name) => load_hello(&store, roots)?,
        (Pull::Missing, Err(_)) => registry::pull_one(roots, name, request.platform.as_deref(), progress)?,
        (_, Err(error)) => return Err(error),
    };
    let dirs = store.layer_dirs(&image)?;
    let layers: Vec<HostPath> = [store.skeleton()].into_iter().chain(dirs.iter().map(short_link)).collect();
    let root = probe::open_layers(&layers)?;
    Ok(Found {
        root: Some(root),
        id: Some(image.manifest.clone()),
        layers,
        config: Some(image.config),
        health: image.health,
    })
}

fn rootfs(dir: &HostPath) -> Result<Found> {
    let root = Root::open(dir.as_path())
        .map_err(|e| Error::user(format!("cannot use {dir} as root: {e}")).hint("--rootfs takes a directory"))?;
    Ok(Found { root: Some(root), config: None, layers: Vec::new(), id: None, health: None })
}

/// The same for `--explain`: nothing is pulled, unpacked or made. Layers that were never unpacked cannot be looked into.
pub(super) fn look(roots: &Roots, request: &RunRequest) -> Result<Found> {
    let name = match &request.source {
        Source::Rootfs(dir) => return rootfs(dir),
        Source::Image(name) => name,
    };
    let store = Store::look(&roots.root);
    match store.find(name) {
        Ok(image) => {
            let (dirs, unpacked) = store.expected_dirs(&image);
            let layers: Vec<HostPath> = [store.skeleton()].into_iter().chain(dirs.iter().map(short_link)).collect();
            let root = if unpacked { probe::open_layers(&layers).ok() } else { None };
            Ok(Found { root, id: Some(image.manifest), layers, config: Some(image.config), health: image.health })
        }
        Err(_) if is_hello(name) => {
            let layers = vec![store.skeleton(), roots.root.child("layers/l/hello")];
            Ok(Found { root: None, id: None, layers, config: Some(builtin::hello_config()?), health: None })
        }
        Err(error) if error.is_errno(Errno::EACCES) => Err(error.during(format!("looking for image {name}")).hint(
            format!("these images are root's: sudo minirun run --explain {name} …, or try hello, which is built in"),
        )),
        Err(error) => Err(error.hint(format!("minirun pull {name}"))),
    }
}

fn is_hello(name: &str) -> bool {
    Reference::parse(name).is_ok_and(|name| name.familiar() == builtin::HELLO_NAME || name.familiar() == "hello")
}

/// Puts the image that is built into this program into the store.
fn load_hello(store: &Store, roots: &Roots) -> Result<Image> {
    let dir = roots.state.child(&format!("hello-{}", std::process::id()));
    let loaded = builtin::hello_layout(&dir).and_then(|_| archive::load(store, dir.as_path(), &()));
    fs::remove_tree(dir.as_path())?;
    loaded?;
    store.find(builtin::HELLO_NAME)
}

/// What `rmi` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    Untagged(String),
    Deleted(Digest),
}

pub fn remove(roots: &Roots, image: &str, force: Force) -> Result<Vec<Removed>> {
    let in_use: BTreeSet<Digest> = match force {
        Force::Yes => BTreeSet::new(),
        Force::No => super::used_images(roots)?,
    };
    let store = Store::open(&roots.root)?;
    let id = store.find(image).map_or_else(|_| image.to_owned(), |found| found.id.to_string());
    let removed = store.remove(image, &in_use)?;
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

/// A line of `history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// The image's, on the last step alone.
    pub id: Option<Digest>,
    /// Seconds since it was made, where the image says.
    pub age: Option<u64>,
    /// The same in RFC 3339.
    pub created: Option<String>,
    pub by: String,
    /// Bytes of its layer as it is stored.
    pub size: u64,
    pub comment: String,
}

/// The steps by which an image says it was made, the last first.
pub fn history(roots: &Roots, name: &str) -> Result<Vec<HistoryRow>> {
    let image = Store::open(&roots.root)?.find(name)?;
    let mut sizes = image.layers.iter().map(|layer| layer.size);
    let mut rows: Vec<HistoryRow> = Vec::new();
    for step in image.config.history().iter().flatten() {
        rows.push(HistoryRow {
            id: None,
            age: step.created().as_deref().map(super::seconds_since),
            created: step.created().clone(),
            by: step.created_by().clone().unwrap_or_default(),
            size: if step.empty_layer() == Some(true) { 0 } else { sizes.next().unwrap_or(0) },
            comment: step.comment().clone().unwrap_or_default(),
        });
    }
    // layers that the history does not tell of
    let untold =
        |size| HistoryRow { id: None, age: None, created: None, by: String::new(), size, comment: String::new() };
    rows.extend(sizes.map(untold));
    if let Some(last) = rows.last_mut() {
        last.id = Some(image.id);
    }
    rows.reverse();
    Ok(rows)
}

/// What docker's inspect shows of an image.
pub(super) fn inspect(roots: &Roots, name: &str) -> Result<serde_json::Value> {
    let image = Store::open(&roots.root)?.find(name)?;
    let repositories: BTreeSet<String> = image.names.iter().map(Reference::familiar_repository).collect();
    // what an image does not say is empty, not missing: templates name it all the same
    let mut config = serde_json::json!({
        "User": "", "Env": [], "Cmd": null, "Entrypoint": null, "WorkingDir": "", "Labels": {}
    });
    if let Ok(serde_json::Value::Object(said)) = serde_json::to_value(image.config.config()) {
        said.into_iter().for_each(|(name, value)| config[name] = value);
    }
    if let Some(health) = image.health.clone() {
        config["Healthcheck"] = health;
    }
    Ok(serde_json::json!({
        "Id": image.id,
        "RepoTags": image.names.iter().map(Reference::familiar).collect::<Vec<_>>(),
        "RepoDigests": repositories.iter().map(|name| format!("{name}@{}", image.manifest)).collect::<Vec<_>>(),
        "Digest": image.manifest,
        "Created": image.config.created(),
        "Architecture": image.config.architecture().to_string(),
        "Os": image.config.os().to_string(),
        "Size": image.size(),
        "Config": config,
        "RootFS": { "Type": "layers", "Layers": image.layers.iter().map(|l| &l.diff_id).collect::<Vec<_>>() },
    }))
}

/// Where an archive comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Stdin,
    /// A file, or for `load` the directory of an OCI layout.
    Path(HostPath),
}

/// The names of what was loaded, or digests where there is no name.
pub fn load(roots: &Roots, input: &Input, progress: &dyn Progress) -> Result<Vec<String>> {
    let store = Store::open(&roots.root)?;
    let images = match input {
        Input::Stdin => archive::load_stream(&store, std::io::stdin(), "standard input")?,
        Input::Path(path) => archive::load(&store, path.as_path(), &Bars::new(progress))?,
    };
    images.iter().for_each(|image| events::image(roots, &image.id.to_string(), "load", &image.label()));
    Ok(images.iter().map(Image::label).collect())
}

/// A root file system as a tar becomes an image of one layer with this name; each change is a line of a Dockerfile.
pub fn import(roots: &Roots, input: &Input, name: Option<&str>, changes: &[String]) -> Result<Digest> {
    let store = Store::open(&roots.root)?;
    let name = name.map_or_else(|| Reference::parse("imported"), Reference::parse)?;
    let image = match input {
        Input::Stdin => archive::import(&store, std::io::stdin(), "standard input", &name, changes)?,
        Input::Path(path) => {
            let file = fs::open_read(path.as_path()).map(std::fs::File::from);
            let file = file.map_err(|e| Error::user(format!("cannot open {path}: {e}")).hint("is the path right?"))?;
            archive::import(&store, file, path.as_str(), &name, changes)?
        }
    };
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

/// A line of `demo kernel`: what one root file system sees of the kernel and says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRow {
    /// `host`, or the image.
    pub place: String,
    /// `uname -r`.
    pub release: String,
    /// /proc/version.
    pub version: String,
    pub boot_id: String,
    /// PRETTY_NAME of its os-release.
    pub distribution: Option<String>,
}

/// The host first, then each image, in which nothing of the image itself is run: a tool of ours is mounted into it.
pub fn demo_kernel(roots: &Roots, images: &[String], progress: &dyn Progress) -> Result<Vec<KernelRow>> {
    let text = |path: &str| fs::read_text(Path::new(path)).map(|text| text.trim().to_owned());
    let mut rows = vec![KernelRow {
        place: "host".to_owned(),
        release: host::kernel_release()?,
        version: text("/proc/version")?,
        boot_id: text("/proc/sys/kernel/random/boot_id")?,
        distribution: text("/etc/os-release").ok().and_then(|text| pretty_name(&text)),
    }];
    roots.make()?;
    let tool = roots.state.child(&format!("tool-{}", std::process::id()));
    fs::write_new(tool.as_path(), builtin::HELLO, 0o755)?;
    let seen: Result<Vec<_>> = images.iter().map(|image| kernel_of(roots, image, &tool, progress)).collect();
    fs::unlink(tool.as_path())?;
    rows.extend(seen?);
    Ok(rows)
}

fn kernel_of(roots: &Roots, image: &str, tool: &HostPath, progress: &dyn Progress) -> Result<KernelRow> {
    const PLACE: &str = "/.minirun-tool";
    let mut request = RunRequest::new(Source::Image(image.to_owned()));
    request.remove = true;
    request.network.mode = Some("none".to_owned());
    request.entrypoint = Some(vec![PLACE.to_owned()]);
    request.command = vec!["--kernel".to_owned()];
    request.mounts = vec![MountRequest::Bind(tool_mount(tool, PLACE)?)];
    let root = find(roots, &request, progress)?.root;
    let os_release = root.as_ref().map(|root| probe::text(root, "/etc/os-release")).transpose()?.flatten();
    let outcome = run::run_collecting(roots, &request, progress)?;
    let output = String::from_utf8_lossy(&outcome.output).into_owned();
    match (outcome.exit.map_or(container::UNKNOWN_EXIT, |exit| exit.code()), kernel_words(&output)) {
        (0, Some([release, version, boot_id])) => Ok(KernelRow {
            place: image.to_owned(),
            release,
            version,
            boot_id,
            distribution: os_release.and_then(|text| pretty_name(&text)),
        }),
        (code, _) => Err(Error::internal(format!("the tool in image {image} ended with {code}: {output:?}"))),
    }
}

/// What follows the labels of `hello --kernel`: release, version, boot id.
fn kernel_words(output: &str) -> Option<[String; 3]> {
    let words = output.lines().map(|line| line.split_once(": ").map(|(_label, word)| word.to_owned()));
    words.collect::<Option<Vec<_>>>()?.try_into().ok()
}

fn tool_mount(tool: &HostPath, place: &str) -> Result<BindMount> {
    Ok(BindMount {
        source: tool.clone(),
        target: ContainerPath::parse(place)?,
        read_only: true,
        submounts: Submounts::Leave,
        propagation: Propagation::Rprivate,
        relabel: None,
        create_source: false,
    })
}

/// PRETTY_NAME of os-release(5).
pub(super) fn pretty_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}
