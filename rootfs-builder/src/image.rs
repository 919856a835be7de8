//! A recipe built: its layers, those below it first, and the image in an OCI layout.

use crate::recipe::{self, Recipe};
use crate::tree::{self, Tree};
use crate::{apt, deb, fetch, lock};
use minirun::error::{Error, Result};
use minirun::id::HostPath;
use minirun::image::assemble::{self, Blob, Image, Layer};
use oci_spec::image::{Arch, ConfigBuilder, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder, Os};
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
    check_builtin(&recipes, &shelf.sources.architecture)?;
    // all packages before the first write: a missing one leaves no half-made layout
    let (mut packages, mut replaced) = (Vec::new(), Vec::new());
    for recipe in &recipes {
        let locked = lock::load(&recipe.dir, &recipe.name, &recipe.packages, &shelf.sources.architecture)?;
        let files = fetch::locked(&locked, &recipe.name, shelf)?;
        let found = files.iter().map(|file| deb::open(file)).collect::<Result<Vec<_>>>()?;
        let others = found.iter().zip(&locked).filter(|(found, locked)| found.version != locked.version);
        replaced.extend(others.map(|(new, old)| format!("{} {} in place of {}", new.name, new.version, old.version)));
        packages.push(found);
    }
    assemble::create_layout(output)?;
    let (mut layers, mut below) = (Vec::new(), Tree::new());
    for (recipe, packages) in recipes.iter().zip(&packages) {
        let epoch = epoch.unwrap_or(recipe.epoch);
        let entries = tree::layer(recipe, packages, &below, epoch)?;
        below.extend(entries.iter().map(|entry| (entry.path.clone(), entry.clone())));
        layers.push(assemble::add_layer(output, entries, Some(epoch), recipe.compression)?);
    }
    let config = configuration(&recipes, &layers, epoch, &shelf.sources.architecture)?;
    let image = Image { name: &format!("{}:latest", recipe.name), config, layers: &layers };
    Ok(Built { manifest: assemble::add_image(output, image)?, replaced })
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
            return Err(Error::user(format!("recipe {} builds on itself, or on too many others", recipe.name)));
        }
        recipes.push(recipe::load(&folder).map_err(|e| e.during(format!("recipe {}", recipe.name)))?);
    }
    recipes.reverse();
    Ok(recipes)
}

/// The topmost recipe that says something about a field decides it; environment and labels add up.
fn configuration(
    recipes: &[Recipe],
    layers: &[Layer],
    epoch: Option<i64>,
    architecture: &str,
) -> Result<ImageConfiguration> {
    let invalid = |e: oci_spec::OciSpecError| Error::internal(format!("image configuration: {e}"));
    fn last<T: Clone>(recipes: &[Recipe], field: impl Fn(&Recipe) -> Option<&T>) -> Option<T> {
        recipes.iter().rev().find_map(field).cloned()
    }
    let mut process = ConfigBuilder::default().build().map_err(invalid)?;
    process.set_user(last(recipes, |recipe| recipe.user.as_ref()));
    process.set_entrypoint(last(recipes, |recipe| recipe.entrypoint.as_ref()));
    process.set_cmd(last(recipes, |recipe| recipe.cmd.as_ref()));
    process.set_working_dir(last(recipes, |recipe| recipe.workdir.as_ref()));
    let env: Vec<String> = recipes.iter().flat_map(|recipe| recipe.env.clone()).collect();
    process.set_env(Some(env).filter(|env| !env.is_empty()));
    let labels: std::collections::HashMap<_, _> = recipes.iter().flat_map(|recipe| recipe.labels.clone()).collect();
    process.set_labels(Some(labels).filter(|labels| !labels.is_empty()));

    let mut history = Vec::new();
    for (recipe, _) in recipes.iter().zip(layers) {
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

/// Takes the versions that the sources have now into the lock beside the recipe. Without packages there is no lock.
pub fn lock(recipe: &Recipe, shelf: &fetch::Shelf) -> Result<Vec<lock::Locked>> {
    if recipe.packages.is_empty() {
        return Ok(Vec::new());
    }
    let packages = fetch::newest(&recipe.packages, shelf)?;
    lock::save(&recipe.dir, &recipe.name, packages.clone(), &shelf.sources.architecture)?;
    Ok(packages)
}

/// The recipe that a name or a path means, seen from the directory `here`.
pub fn recipe_of(name: &str, here: &Path) -> Result<Recipe> {
    recipe::load(&recipe::find(name, here)?)
}
