//! A recipe built: its layers, those below it first, and the image in an OCI layout.

use crate::complete::{self, Start};
use crate::deb::{self, About, Package};
use crate::recipe::{self, Recipe};
use crate::tree::{self, Tree};
use crate::{apt, bootstrap, fetch, lock};
use minirun::error::{Error, Result};
use minirun::id::HostPath;
use minirun::image::assemble::{self, Blob, Compression, Image, Packer};
use oci_spec::image::{Arch, Config, ConfigBuilder, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder, Os};
use std::io::Write as _;
use std::path::Path;

/// More recipes than that, one on the other, are a circle.
const MOST_LAYERS: usize = 20;

/// An image that was built.
#[derive(Debug)]
pub struct Built {
    pub manifest: Blob,
    /// Packages that are not the locked ones: `tzdata 2 in place of 1`. Where there are any, the digest is another one.
    pub replaced: Vec<String>,
}

/// Builds the recipe and enters it in the layout `output`, which need not exist, as `NAME:latest`.
/// `epoch` stands in for the recipe's own (SOURCE_DATE_EPOCH).
pub fn build(recipe: &Recipe, shelf: &fetch::Shelf, epoch: Option<i64>, output: &HostPath) -> Result<Built> {
    check_output(output)?;
    let recipes = with_bases(recipe)?;
    let architecture = shelf.sources.architecture.as_str();
    check_builtin(&recipes, architecture)?;
    let process = process(&recipes)?;
    // all packages and trees before the first write: a mistake leaves no half-made layout
    let (mut parts, mut replaced, mut below) = (Vec::new(), Vec::new(), Tree::new());
    for recipe in &recipes {
        let epoch = epoch.unwrap_or(recipe.epoch);
        let packages = packages(recipe, shelf, epoch, &mut replaced)?;
        let entries = tree::layer(recipe, &packages, &below, epoch)?;
        below.extend(entries.iter().map(|entry| (entry.path.clone(), entry.clone())));
        parts.push((entries, epoch, recipe.compression));
    }
    let words = [process.entrypoint(), process.cmd()].into_iter().flatten().flatten().cloned().collect::<Vec<_>>();
    let path = process.env().iter().flatten().find_map(|line| line.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    complete::check(&below, &recipe.name, Some(&Start { words: &words, path }))?;

    assemble::create_layout(output)?;
    let mut layers = Vec::new();
    for (entries, epoch, compression) in parts {
        layers.push(match compression {
            Compression::Zstd => assemble::add_zstd_layer(output, entries, Some(epoch), zstd()?),
            Compression::Gzip | Compression::None => assemble::add_layer(output, entries, Some(epoch), compression),
        }?);
    }
    let config = configuration(&recipes, process, epoch, architecture)?;
    let image = Image { name: &format!("{}:latest", recipe.name), config, layers: &layers };
    Ok(Built { manifest: assemble::add_image(output, image)?, replaced })
}

/// Where runtimes look for a program where the image does not say (runc, containerd and minirun agree).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The locked packages, unpacked; of a Debian that is installed, one that is all of it. `replaced` is told what is not as
/// it was locked.
fn packages(recipe: &Recipe, shelf: &fetch::Shelf, epoch: i64, replaced: &mut Vec<String>) -> Result<Vec<Package>> {
    let architecture = &shelf.sources.architecture;
    let locked = lock::load(recipe, architecture)?;
    let files = fetch::locked(&locked, recipe, shelf)?;
    if !recipe.bootstrap {
        let packages = files.iter().map(|file| deb::open(file)).collect::<Result<Vec<_>>>()?;
        note(&locked, packages.iter().map(|package| &package.about), replaced);
        return Ok(packages);
    }
    let about = files.iter().map(|file| deb::about(file)).collect::<Result<Vec<_>>>()?;
    note(&locked, about.iter(), replaced);
    let entries = bootstrap::install(recipe, &files, architecture, epoch)?;
    let (name, architecture) = (recipe.name.clone(), architecture.clone());
    let about = About { name, version: String::new(), architecture, control: Vec::new(), md5sums: Vec::new() };
    Ok(vec![Package { about, entries }])
}

fn note<'a>(locked: &[lock::Locked], found: impl Iterator<Item = &'a About>, replaced: &mut Vec<String>) {
    let others = found.zip(locked).filter(|(found, locked)| found.version != locked.version);
    replaced.extend(others.map(|(new, old)| format!("{} {} in place of {}", new.name, new.version, old.version)));
}

/// Three times gzip's speed, and smaller.
const ZSTD_LEVEL: i32 = 9;

/// zstd's own stream, emptied after each call. One thread: what several make depends on who is first.
struct Zstd(Option<zstd::stream::write::Encoder<'static, Vec<u8>>>);

fn zstd() -> Result<Box<dyn Packer>> {
    let encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL);
    let encoder = encoder.map_err(|e| Error::internal(format!("zstd cannot be started: {e}")))?;
    Ok(Box::new(Zstd(Some(encoder))))
}

impl Packer for Zstd {
    fn pack(&mut self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let encoder = self.0.as_mut().ok_or_else(|| std::io::Error::other("the stream has ended"))?;
        encoder.write_all(bytes)?;
        Ok(std::mem::take(encoder.get_mut()))
    }
    fn finish(&mut self) -> std::io::Result<Vec<u8>> {
        self.0.take().map_or_else(|| Ok(Vec::new()), zstd::stream::write::Encoder::finish)
    }
}

/// A directory that holds something else is not ours to write into.
fn check_output(output: &HostPath) -> Result<()> {
    let there = minirun::sys::fs::list(output.as_path())?;
    if there.is_empty() || there.iter().any(|name| name == "oci-layout") {
        return Ok(());
    }
    Err(Error::user(format!("{output} is neither empty nor an OCI layout")).hint("name a new directory"))
}

/// The program that is in minirun was compiled for one architecture, and is no use in an image of another.
fn check_builtin(recipes: &[Recipe], architecture: &str) -> Result<()> {
    let builtin =
        |recipe: &&Recipe| recipe.files.iter().any(|rule| rule.from.as_deref() == Some(recipe::BUILTIN_HELLO));
    match recipes.iter().find(builtin) {
        Some(recipe) if architecture != apt::host_architecture() => {
            let ours = apt::host_architecture();
            Err(Error::user(format!("recipe {} holds minirun's own program, which is {ours}", recipe.name))
                .hint(format!("build it on {architecture}, or without --architecture")))
        }
        Some(_) | None => Ok(()),
    }
}

/// The recipe and those it builds on, the lowest first.
fn with_bases(recipe: &Recipe) -> Result<Vec<Recipe>> {
    let mut recipes = vec![recipe.clone()];
    while let Some(folder) = recipes.last().and_then(recipe::base) {
        if recipes.len() == MOST_LAYERS {
            return Err(Error::user(format!("recipe {} builds on itself, or on too many others", recipe.name))
                .hint("follow `from` from folder to folder: one of them has to be scratch"));
        }
        recipes.push(recipe::load(&folder).map_err(|e| e.during(format!("recipe {}", recipe.name)))?);
    }
    recipes.reverse();
    Ok(recipes)
}

/// How the program is started: the topmost recipe that says something about a field decides it; labels add up, and so does
/// the environment by its names. An entry point of its own takes the arguments of one below away, as in a Dockerfile.
fn process(recipes: &[Recipe]) -> Result<Config> {
    let mut process = ConfigBuilder::default().build().map_err(invalid)?;
    for recipe in recipes {
        if recipe.entrypoint.is_some() {
            process.set_entrypoint(recipe.entrypoint.clone());
            process.set_cmd(None);
        }
        process.set_cmd(recipe.cmd.clone().or(process.cmd().clone()));
        process.set_user(recipe.user.clone().or(process.user().clone()));
        process.set_working_dir(recipe.workdir.clone().or(process.working_dir().clone()));
    }
    let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let mut env: Vec<String> = Vec::new();
    for line in recipes.iter().flat_map(|recipe| &recipe.env) {
        match env.iter_mut().find(|other| name(other) == name(line)) {
            Some(other) => other.clone_from(line),
            None => env.push(line.clone()),
        }
    }
    process.set_env(Some(env).filter(|env| !env.is_empty()));
    let labels: std::collections::HashMap<_, _> = recipes.iter().flat_map(|recipe| recipe.labels.clone()).collect();
    process.set_labels(Some(labels).filter(|labels| !labels.is_empty()));
    if let Some(user) = process.user() {
        recipe::check::user(recipes, user)?;
    }
    Ok(process)
}

fn configuration(
    recipes: &[Recipe],
    process: Config,
    epoch: Option<i64>,
    architecture: &str,
) -> Result<ImageConfiguration> {
    let mut history = Vec::new();
    for recipe in recipes {
        let created = assemble::rfc3339(epoch.unwrap_or(recipe.epoch))?;
        let by = format!("rootfs-builder build {}", recipe.name);
        history.push(HistoryBuilder::default().created(created).created_by(by).build().map_err(invalid)?);
    }
    let newest = recipes.iter().map(|recipe| epoch.unwrap_or(recipe.epoch)).max().unwrap_or(0);
    ImageConfigurationBuilder::default()
        .created(assemble::rfc3339(newest)?)
        .architecture(Arch::from(architecture))
        .os(Os::Linux)
        .config(process)
        .history(history)
        .build()
        .map_err(invalid)
}

#[allow(clippy::needless_pass_by_value)] // as map_err wants it
fn invalid(e: oci_spec::OciSpecError) -> Error {
    Error::internal(format!("image configuration: {e}"))
}

/// Takes the versions that the sources have now into the lock beside the recipe. Without packages there is no lock.
pub fn lock(recipe: &Recipe, shelf: &fetch::Shelf) -> Result<Vec<lock::Locked>> {
    if recipe.packages.is_empty() && !recipe.bootstrap {
        return Ok(Vec::new());
    }
    let mut packages = fetch::newest(recipe, shelf)?;
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    lock::save(recipe, packages.clone(), &shelf.sources.architecture)?;
    Ok(packages)
}

/// Fails where the sources have something else than what is locked.
pub fn check_lock(recipe: &Recipe, shelf: &fetch::Shelf) -> Result<()> {
    let locked = lock::load(recipe, &shelf.sources.architecture)?;
    if locked.is_empty() {
        return Ok(());
    }
    let newest = fetch::newest(recipe, shelf)?;
    let version = |list: &[lock::Locked], name: &str| {
        list.iter().find(|package| package.name == name).map_or("none".to_owned(), |package| package.version.clone())
    };
    let names: std::collections::BTreeSet<&str> =
        locked.iter().chain(&newest).map(|package| package.name.as_str()).collect();
    let changed = |name: &&str| {
        let (old, new) = (version(&locked, name), version(&newest, name));
        (old != new).then(|| format!("{name} {new} in place of {old}"))
    };
    let changes: Vec<String> = names.iter().filter_map(changed).collect();
    if changes.is_empty() {
        return Ok(());
    }
    Err(Error::user(format!("recipe {}: the sources have {}", recipe.name, changes.join(", ")))
        .hint(format!("`rootfs-builder lock {}` takes them", recipe.name)))
}

/// A recipe in a line.
#[derive(Debug)]
pub struct Summary {
    pub from: String,
    /// Its own and those below.
    pub packages: usize,
    pub user: String,
    /// What is started: entry point and arguments.
    pub words: Vec<String>,
}

pub fn summary(recipe: &Recipe, architecture: &str) -> Result<Summary> {
    let packages_of = |recipe: &Recipe| match lock::load(recipe, architecture) {
        Ok(locked) if recipe.bootstrap => locked.len(),
        Ok(_) | Err(_) => recipe.packages.len(), // of a Debian that is installed those that are named, until it is locked
    };
    let recipes = with_bases(recipe)?;
    let process = process(&recipes)?;
    Ok(Summary {
        from: recipe.from.clone(),
        packages: recipes.iter().map(packages_of).sum(),
        user: process.user().clone().unwrap_or_else(|| "root".to_owned()),
        words: [process.entrypoint(), process.cmd()].into_iter().flatten().flatten().cloned().collect(),
    })
}

/// The recipe that a name or a path means, seen from the directory `here`.
pub fn recipe_of(name: &str, here: &Path) -> Result<Recipe> {
    recipe::load(&recipe::find(name, here)?)
}
