//! The .deb files of locked packages: from a directory, from the cache, or by apt. What comes is checked against
//! the lock, whoever it comes from.

use crate::apt::{self, Apt, Sources};
use crate::deb::About;
use crate::lock::Locked;
use crate::recipe::Recipe;
use minirun::error::{Error, Result};
use minirun::id::hex;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

/// Where files may come from.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// Only from here: nothing is fetched.
    pub from_dir: Option<PathBuf>,
    /// What was fetched once is here: `$XDG_CACHE_HOME/minirun/debs`.
    pub cache: PathBuf,
    pub sources: Sources,
    pub dropped: Dropped,
}

/// What becomes of a locked version that the sources have no longer: a new point release, or another Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    Refuse,
    /// What the sources have now, in its place.
    TakeNewest,
}

/// The files, in the order of the packages. Asks apt only for what is not there.
pub fn locked(packages: &[Locked], recipe: &Recipe, shelf: &Shelf) -> Result<Vec<PathBuf>> {
    let dir = shelf.from_dir.as_deref().unwrap_or(&shelf.cache);
    let mut files = packages.iter().map(|package| find(package, dir)).collect::<Result<Vec<_>>>()?;
    let missing: Vec<&Locked> =
        packages.iter().zip(&files).filter(|(_, file)| file.is_none()).map(|(package, _)| package).collect();
    if !missing.is_empty() {
        if shelf.from_dir.is_some() {
            return Err(not_given(&missing, dir, recipe));
        }
        let apt = apt::configure(&shelf.sources, recipe.suite.as_deref().unwrap_or_default())?;
        let wanted: Vec<String> =
            missing.iter().map(|Locked { name, version, .. }| format!("{name}={version}")).collect();
        // All at once, for apt takes its time to start; once more with new package lists, for a version may be newer than
        // they are. Where that fails, one by one, which says what is wrong with which.
        if fetch(&apt, &wanted, &shelf.cache).is_err() && apt::may_update(&apt) && apt::update(&apt).is_ok() {
            let _said_below = fetch(&apt, &wanted, &shelf.cache);
        }
        for (package, file) in packages.iter().zip(&mut files).filter(|(_, file)| file.is_none()) {
            let fetched = find(package, dir)?;
            *file = Some(fetched.map_or_else(|| fetch_locked(&apt, package, &recipe.name, shelf), Ok)?);
        }
    }
    Ok(files.into_iter().flatten().collect())
}

/// Fetches what the sources have now into the cache, and says what it is; of a Debian that is to be installed, also what
/// the packages depend on.
pub fn newest(recipe: &Recipe, shelf: &Shelf) -> Result<Vec<Locked>> {
    let apt = apt::configure(&shelf.sources, recipe.suite.as_deref().unwrap_or_default())?;
    let names = if recipe.bootstrap { apt::closure(&apt, &recipe.packages)? } else { recipe.packages.clone() };
    fetch(&apt, &names, &shelf.cache)?.iter().map(|file| describe(file)).collect()
}

fn describe(file: &Path) -> Result<Locked> {
    let About { name, version, architecture, .. } = crate::deb::about(file)?;
    Ok(Locked { name, version, architecture, sha256: sha256(file)? })
}

/// A file of that package with the right digest; others of the same name are passed over.
fn find(package: &Locked, dir: &Path) -> Result<Option<PathBuf>> {
    let prefix = format!("{}_", package.name);
    let fits = |name: &str| name.starts_with(&prefix) && name.ends_with(".deb");
    for name in minirun::sys::fs::list(dir)?.iter().filter(|name| fits(name)) {
        let path = dir.join(name);
        if sha256(&path)? == package.sha256 {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn not_given(missing: &[&Locked], dir: &Path, recipe: &Recipe) -> Error {
    let (dir, Locked { name, version, .. }) = (dir.display(), missing[0]);
    let more = if missing.len() > 1 { format!(", nor of {} others", missing.len() - 1) } else { String::new() };
    Error::user(format!("{dir} has no file of package {name} {version} with the locked digest{more}")).hint(format!(
        "put it there; where there is a network, `rootfs-builder build {} --cache {dir} --output DIR` does",
        recipe.name
    ))
}

fn fetch_locked(apt: &Apt, package: &Locked, recipe: &str, shelf: &Shelf) -> Result<PathBuf> {
    let Locked { name, version, .. } = package;
    let file = match fetch_one(apt, &[format!("{name}={version}")], &shelf.cache) {
        Ok(file) => file,
        Err(e) if shelf.dropped == Dropped::TakeNewest && vanished(&e) => {
            return fetch_one(apt, std::slice::from_ref(name), &shelf.cache);
        }
        Err(e) => return Err(gone(e, package, recipe)),
    };
    let found = sha256(&file)?;
    if found == package.sha256 {
        return Ok(file);
    }
    let _ = std::fs::remove_file(&file);
    Err(Error::image(format!("package {name} {version} has digest {found}, locked is {}", package.sha256))
        .hint(format!("the sources are not what they were: `rootfs-builder lock {recipe}` accepts them")))
}

fn gone(e: Error, package: &Locked, recipe: &str) -> Error {
    let Locked { name, version, .. } = package;
    if !vanished(&e) {
        return e.hint("is the network there? .deb files can be given with --from-dir");
    }
    Error::host(format!("package {name} {version} is locked, and the sources no longer have it: {}", e.message))
        .hint(format!("`rootfs-builder lock {recipe}` takes the version they have now"))
}

/// apt's words: "Version '1' for 'x' was not found", "Unable to locate package x", "404  Not Found", and of a version
/// that is installed "Can't find a source to download version '1' of 'x'".
fn vanished(e: &Error) -> bool {
    ["not found", "Not Found", "Unable to locate", "Can't find a source"].iter().any(|words| e.message.contains(words))
}

fn fetch_one(apt: &Apt, wanted: &[String], cache: &Path) -> Result<PathBuf> {
    fetch(apt, wanted, cache)?.pop().ok_or_else(|| Error::host(format!("apt-get fetched nothing for {wanted:?}")))
}

/// Fetches into a directory of its own inside the cache, then renames: the cache never holds half a file.
/// `wanted` are names, or `NAME=VERSION`; the files come in no order.
fn fetch(apt: &Apt, wanted: &[String], cache: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(cache).map_err(|e| crate::failed("making", cache, &e))?;
    let own = tempfile::tempdir_in(cache).map_err(|e| crate::failed("making a directory in", cache, &e))?;
    let mut files = apt::download(apt, wanted, own.path())?;
    for file in &mut files {
        let kept = cache.join(file.file_name().unwrap_or_default());
        std::fs::rename(&file, &kept).map_err(|e| crate::failed("renaming to", &kept, &e))?;
        *file = kept;
    }
    Ok(files)
}

pub(crate) fn sha256(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let copied = std::fs::File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hash));
    copied.map_err(|e| crate::failed("reading", path, &e))?;
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(dir: &Path) -> Shelf {
        let sources = Sources { mirror: None, architecture: "amd64".into(), cache: dir.into() };
        Shelf { from_dir: Some(dir.into()), cache: dir.join("cache"), sources, dropped: Dropped::Refuse }
    }

    fn recipe(dir: &Path) -> Recipe {
        std::fs::write(dir.join("recipe.toml"), "epoch = 1").unwrap();
        crate::recipe::load(dir).unwrap()
    }

    #[test]
    fn a_directory_of_packages_needs_no_network() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a_1_all.deb"), "other").unwrap();
        std::fs::write(dir.path().join("a_2_all.deb"), crate::deb::tests::deb("a", "2", &[])).unwrap();
        let package = describe(&dir.path().join("a_2_all.deb")).unwrap();
        let recipe = recipe(dir.path());
        let found = locked(std::slice::from_ref(&package), &recipe, &shelf(dir.path())).unwrap();
        assert_eq!(found, [dir.path().join("a_2_all.deb")]);
        let changed = Locked { sha256: "0".repeat(64), ..package };
        let error = locked(&[changed.clone(), changed], &recipe, &shelf(dir.path())).unwrap_err();
        let want = "has no file of package a 2 with the locked digest, nor of 1 others";
        assert!(error.message.contains(want) && error.hint.unwrap().contains("--cache"), "{want}");
    }

    #[test]
    fn a_version_that_vanished_names_the_command_that_locks_anew() {
        let package =
            Locked { name: "a".into(), version: "1".into(), architecture: "all".into(), sha256: String::new() };
        for words in ["Version '1' for 'a' was not found", "Can't find a source to download version '1' of 'a:amd64'"] {
            let error = gone(Error::host(words), &package, "x");
            assert!(error.message.contains("the sources no longer have it"));
            assert_eq!(error.hint.as_deref(), Some("`rootfs-builder lock x` takes the version they have now"));
        }
        let error = gone(Error::host("Could not resolve 'm'"), &package, "x");
        assert!(error.hint.unwrap().contains("--from-dir"));
    }
}
