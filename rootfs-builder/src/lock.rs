//! Which packages exactly: `recipe.lock` beside the recipe. Names, versions and digests; never where they come from.

use crate::recipe::Recipe;
use minirun::error::{Error, Result};
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    pub name: String,
    pub version: String,
    /// Debian's word for an architecture, or `all`.
    pub architecture: String,
    /// 64 hex digits, of the .deb file.
    pub sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LockFile {
    #[serde(default, rename = "package")]
    packages: Vec<Locked>,
}

pub fn path(folder: &Path) -> PathBuf {
    folder.join("recipe.lock")
}

/// What the lock says about the packages, for one architecture: in the recipe's order, and behind them, of a Debian that
/// is to be installed, what they depend on.
pub fn load(recipe: &Recipe, architecture: &str) -> Result<Vec<Locked>> {
    let Recipe { name, packages, .. } = recipe;
    if packages.is_empty() && !recipe.bootstrap {
        return Ok(Vec::new());
    }
    let path = path(&recipe.dir);
    let hint = format!("rootfs-builder lock {name}");
    let text = std::fs::read_to_string(&path)
        .map_err(|e| crate::failed("reading", &path, &e).hint(format!("`{hint}` writes it")))?;
    let locked = parse(&text).map_err(|e| e.during(path.display()).hint(format!("write it anew: `{hint}`")))?;
    let wanted = packages.iter().map(|package| pick(&locked, package, architecture, name));
    let mut wanted = wanted.collect::<Result<Vec<_>>>()?;
    let mut others = locked.into_iter().filter(|other| !packages.contains(&other.name));
    match others.next() {
        Some(other) if !recipe.bootstrap => {
            return Err(Error::user(format!(
                "recipe {name}: package {} is locked, and recipe.toml does not name it",
                other.name
            ))
            .hint(format!("add it to `packages`, or `{hint}` takes it out")));
        }
        other => wanted.extend(other.into_iter().chain(others).filter(|package| fits(package, architecture))),
    }
    Ok(wanted)
}

fn fits(package: &Locked, architecture: &str) -> bool {
    [architecture, "all"].contains(&package.architecture.as_str())
}

fn pick(locked: &[Locked], name: &str, architecture: &str, recipe: &str) -> Result<Locked> {
    let found = locked.iter().find(|package| package.name == name && fits(package, architecture));
    found.cloned().ok_or_else(|| {
        Error::user(format!("recipe {recipe}: package {name} is not locked for {architecture}"))
            .hint(format!("`rootfs-builder lock {recipe} --architecture {architecture}` adds it"))
    })
}

fn parse(text: &str) -> Result<Vec<Locked>> {
    let file: LockFile = toml::from_str(text).map_err(|e| Error::user(e.message().to_owned()))?;
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    for package in &file.packages {
        if package.sha256.len() != 64 || !package.sha256.bytes().all(digit) {
            return Err(Error::user(format!("the sha256 of {} is not 64 hex digits", package.name)));
        }
        let odd = |b: u8| !(b.is_ascii_alphanumeric() || b"+-.:~".contains(&b));
        if [&package.name, &package.version, &package.architecture].iter().any(|text| text.bytes().any(odd)) {
            return Err(Error::user(format!("package {:?} has a name or version that no package has", package.name)));
        }
    }
    let key = |package: &Locked| (package.name.clone(), package.architecture.clone());
    let mut seen = std::collections::BTreeSet::new();
    match file.packages.iter().find(|package| !seen.insert(key(package))) {
        Some(twice) => Err(Error::user(format!("package {} stands there twice", twice.name))),
        None => Ok(file.packages),
    }
}

/// Writes the lock: the new packages, and what stands there for other architectures. Of a Debian that is to be installed
/// these may have other packages.
pub fn save(recipe: &Recipe, new: Vec<Locked>, architecture: &str) -> Result<()> {
    let path = path(&recipe.dir);
    let old = std::fs::read_to_string(&path).ok().and_then(|text| parse(&text).ok()).unwrap_or_default();
    let others = |package: &Locked| {
        let named = new.iter().any(|other| other.name == package.name);
        !fits(package, architecture) && (named || recipe.bootstrap)
    };
    let mut packages: Vec<Locked> = old.into_iter().filter(others).collect();
    packages.extend(new);
    packages.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    std::fs::write(&path, render(&recipe.name, &packages)).map_err(|e| crate::failed("writing", &path, &e))
}

fn render(recipe: &str, packages: &[Locked]) -> String {
    let mut text = format!("# written by `rootfs-builder lock {recipe}`\n");
    for Locked { name, version, architecture, sha256 } in packages {
        let _ = write!(
            text,
            "\n[[package]]\nname = \"{name}\"\nversion = \"{version}\"\narchitecture = \"{architecture}\"\nsha256 = \"{sha256}\"\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(name: &str, architecture: &str, version: &str) -> Locked {
        Locked { name: name.into(), version: version.into(), architecture: architecture.into(), sha256: "0".repeat(64) }
    }

    /// A recipe in the folder `x` of a directory, with these packages.
    fn recipe(dir: &Path, text: &str) -> Recipe {
        let folder = dir.join("x");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("recipe.toml"), format!("epoch = 1\nsuite = 'sid'\n{text}")).unwrap();
        crate::recipe::load(&folder).unwrap()
    }

    #[test]
    fn a_new_lock_keeps_what_is_locked_for_other_architectures() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = recipe(dir.path(), "packages = ['a1', 'b1']");
        save(&recipe, vec![locked("a1", "arm64", "1"), locked("gone", "arm64", "1")], "arm64").unwrap();
        save(&recipe, vec![locked("b1", "all", "1:2~3"), locked("a1", "amd64", "2")], "amd64").unwrap();
        let load = |arch| load(&recipe, arch).unwrap();
        assert_eq!(load("amd64"), [locked("a1", "amd64", "2"), locked("b1", "all", "1:2~3")]);
        assert_eq!(load("arm64"), [locked("a1", "arm64", "1"), locked("b1", "all", "1:2~3")]);
        assert!(!std::fs::read_to_string(path(&recipe.dir)).unwrap().contains("gone"));
    }

    #[test]
    fn a_lock_and_a_recipe_that_drifted_apart_name_the_command_that_joins_them() {
        let dir = tempfile::tempdir().unwrap();
        let both = recipe(dir.path(), "packages = ['a1', 'b1']");
        let error = load(&both, "amd64").unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("`rootfs-builder lock x` writes it"));
        save(&both, vec![locked("a1", "arm64", "1"), locked("b1", "arm64", "1")], "arm64").unwrap();
        let error = load(&both, "amd64").unwrap_err();
        assert_eq!(error.to_string(), "recipe x: package a1 is not locked for amd64");
        assert_eq!(error.hint.as_deref(), Some("`rootfs-builder lock x --architecture amd64` adds it"));
        let one = recipe(dir.path(), "packages = ['a1']");
        let error = load(&one, "arm64").unwrap_err();
        assert_eq!(error.to_string(), "recipe x: package b1 is locked, and recipe.toml does not name it");
        assert!(error.hint.unwrap().contains("`rootfs-builder lock x`"));
        assert!(load(&recipe(dir.path(), ""), "amd64").unwrap().is_empty());
    }

    #[test]
    fn a_debian_to_be_installed_locks_what_its_packages_depend_on() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = recipe(dir.path(), "bootstrap = true\npackages = ['b1']");
        save(&recipe, vec![locked("a1", "arm64", "1"), locked("b1", "all", "1"), locked("c1", "arm64", "1")], "arm64")
            .unwrap();
        save(&recipe, vec![locked("a1", "amd64", "2"), locked("b1", "all", "2")], "amd64").unwrap();
        assert_eq!(load(&recipe, "amd64").unwrap(), [locked("b1", "all", "2"), locked("a1", "amd64", "2")]);
        let arm = [locked("b1", "all", "2"), locked("a1", "arm64", "1"), locked("c1", "arm64", "1")];
        assert_eq!(load(&recipe, "arm64").unwrap(), arm);
    }

    #[test]
    fn a_lock_that_was_tampered_with_is_refused() {
        for text in
            ["[[package]]\nname = 'a'", "[[package]]\nname = 'a'\nversion = '../1'\narchitecture = 'all'\nsha256 = ''"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        let twice = render("x", &[locked("a", "all", "1"), locked("a", "all", "2")]);
        assert!(parse(&twice).unwrap_err().message.contains("a stands there twice"));
        let escape = render("x", &[locked("a", "all", "../1")]);
        assert!(parse(&escape).unwrap_err().message.contains("that no package has"));
    }
}
