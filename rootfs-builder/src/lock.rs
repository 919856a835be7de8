//! Which packages exactly: `recipe.lock` beside the recipe. Names, versions and digests; never where they come from.

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

/// What the lock says about the packages, for one architecture, in the recipe's order.
pub fn load(folder: &Path, recipe: &str, packages: &[String], architecture: &str) -> Result<Vec<Locked>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let path = path(folder);
    let hint = format!("rootfs-builder lock {recipe}");
    let text = std::fs::read_to_string(&path)
        .map_err(|e| crate::failed("reading", &path, &e).hint(format!("`{hint}` writes it")))?;
    let locked = parse(&text).map_err(|e| e.during(path.display()).hint(format!("write it anew: `{hint}`")))?;
    packages.iter().map(|name| pick(&locked, name, architecture, recipe)).collect()
}

fn pick(locked: &[Locked], name: &str, architecture: &str, recipe: &str) -> Result<Locked> {
    let fits =
        |package: &&Locked| package.name == name && [architecture, "all"].contains(&package.architecture.as_str());
    locked.iter().find(fits).cloned().ok_or_else(|| {
        Error::user(format!("recipe {recipe}: package {name} is not locked for {architecture}"))
            .hint(format!("`rootfs-builder lock {recipe}` adds it"))
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
    Ok(file.packages)
}

/// Writes the lock: the new packages, and what stands there for other architectures.
pub fn save(folder: &Path, recipe: &str, new: Vec<Locked>, architecture: &str) -> Result<()> {
    let path = path(folder);
    let old = std::fs::read_to_string(&path).ok().and_then(|text| parse(&text).ok()).unwrap_or_default();
    let others = |package: &Locked| {
        let renewed = [architecture, "all"].contains(&package.architecture.as_str());
        !renewed && new.iter().any(|other| other.name == package.name)
    };
    let mut packages: Vec<Locked> = old.into_iter().filter(others).collect();
    packages.extend(new);
    packages.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    std::fs::write(&path, render(recipe, &packages)).map_err(|e| crate::failed("writing", &path, &e))
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

    #[test]
    fn a_new_lock_keeps_what_is_locked_for_other_architectures() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), "x", vec![locked("a", "arm64", "1"), locked("gone", "arm64", "1")], "arm64").unwrap();
        save(dir.path(), "x", vec![locked("b", "all", "1:2~3"), locked("a", "amd64", "2")], "amd64").unwrap();
        let load = |arch| load(dir.path(), "x", &["a".into(), "b".into()], arch).unwrap();
        assert_eq!(load("amd64"), [locked("a", "amd64", "2"), locked("b", "all", "1:2~3")]);
        assert_eq!(load("arm64"), [locked("a", "arm64", "1"), locked("b", "all", "1:2~3")]);
        assert!(!std::fs::read_to_string(path(dir.path())).unwrap().contains("gone"));
    }

    #[test]
    fn what_is_not_locked_names_the_command_that_locks_it() {
        let dir = tempfile::tempdir().unwrap();
        let error = load(dir.path(), "x", &["a".into()], "amd64").unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("`rootfs-builder lock x` writes it"));
        save(dir.path(), "x", vec![locked("a", "arm64", "1")], "arm64").unwrap();
        let error = load(dir.path(), "x", &["a".into()], "amd64").unwrap_err();
        assert_eq!(error.to_string(), "recipe x: package a is not locked for amd64");
        assert!(load(dir.path(), "x", &[], "amd64").unwrap().is_empty());
    }

    #[test]
    fn a_lock_that_was_tampered_with_is_refused() {
        for text in
            ["[[package]]\nname = 'a'", "[[package]]\nname = 'a'\nversion = '../1'\narchitecture = 'all'\nsha256 = ''"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        let escape = render("x", &[locked("a", "all", "../1")]);
        assert!(parse(&escape).unwrap_err().message.contains("that no package has"));
    }
}
