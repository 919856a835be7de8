//! What is wanted in an image: `recipe.toml`, read and checked. It says nothing about where packages come from.

pub mod check;

use minirun::error::{Error, Result};
use minirun::image::assemble::Compression;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One folder of images/. Paths are absolute, as the container sees them; modes are octal text.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The folder's name; the image is called `NAME:latest`.
    #[serde(skip)]
    pub name: String,
    /// The folder: `files` are taken from it.
    #[serde(skip)]
    pub dir: PathBuf,
    /// The name of the recipe whose layers lie below, beside this folder; `scratch` is none.
    #[serde(default = "scratch")]
    pub from: String,
    /// Debian's name for the release that the packages are of: `bookworm`.
    pub suite: Option<String>,
    /// Debian packages by their exact names. What they depend on is not looked at, unless `bootstrap` is there.
    #[serde(default)]
    pub packages: Vec<String>,
    /// A Debian that is installed, not unpacked: mmdebstrap sets up the essential packages, `packages` and what they
    /// depend on, and their scripts run.
    #[serde(default)]
    pub bootstrap: bool,
    #[serde(default)]
    pub files: Vec<FileRule>,
    #[serde(default)]
    pub links: Vec<LinkRule>,
    #[serde(default)]
    pub dirs: Vec<DirRule>,
    #[serde(default)]
    pub accounts: Accounts,
    /// Whom TLS is to trust: patterns of files of the packages (`/usr/share/ca-certificates/**.crt`) and files of the
    /// folder, in PEM, behind what the layers below trust. They become [`CA_BUNDLE`].
    #[serde(default)]
    pub ca_certificates: Vec<String>,
    /// Patterns of what packages bring and the image does not want, with all below; the last that matches decides,
    /// and one with `!` in front keeps.
    #[serde(default)]
    pub exclude: Vec<String>,
    #[serde(default)]
    pub env: Vec<String>,
    pub user: Option<String>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub workdir: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Seconds since 1970: the time of everything that has none of its own, and the latest that anything has.
    pub epoch: i64,
    /// `gz`, `zst` or `none`.
    #[serde(default, deserialize_with = "compression")]
    pub compression: Compression,
}

/// A file. Either `from` or `text` says what is in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRule {
    pub to: String,
    /// A file of the recipe's folder, or `builtin:hello`, the program that is in minirun.
    pub from: Option<String>,
    pub text: Option<String>,
    #[serde(default = "mode_644", deserialize_with = "octal")]
    pub mode: u32,
    #[serde(default)]
    pub uid: u32,
    #[serde(default)]
    pub gid: u32,
}

/// Symbolic links to one target: at `path`, or below `dir` for each of `names`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkRule {
    pub to: String,
    pub path: Option<String>,
    pub dir: Option<String>,
    #[serde(default)]
    pub names: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirRule {
    pub path: String,
    #[serde(default = "mode_755", deserialize_with = "octal")]
    pub mode: u32,
    #[serde(default)]
    pub uid: u32,
    #[serde(default)]
    pub gid: u32,
}

/// Becomes /etc/passwd and /etc/group, in this order; without any, neither is made.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    #[serde(default)]
    pub users: Vec<User>,
    #[serde(default)]
    pub groups: Vec<Group>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    #[serde(default = "nologin")]
    pub shell: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub name: String,
    pub gid: u32,
}

fn scratch() -> String {
    "scratch".to_owned()
}
fn nologin() -> String {
    "/sbin/nologin".to_owned()
}
fn mode_644() -> u32 {
    0o644
}
fn mode_755() -> u32 {
    0o755
}

/// Modes are written as everywhere else: `"1777"` is octal.
fn octal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(serde::de::Error::custom(format!("mode {text:?} is not octal, 7777 at most"))),
    }
}

fn compression<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Compression, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "gz" => Ok(Compression::Gzip),
        "zst" => Ok(Compression::Zstd),
        "none" => Ok(Compression::None),
        other => Err(serde::de::Error::custom(format!("compression {other:?} is none of gz, zst and none"))),
    }
}

pub const RECIPE: &str = "recipe.toml";

/// Where OpenSSL, Go, Python and most others look on Debian.
pub const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The `from` of the program that is in minirun (src/image/builtin.rs).
pub const BUILTIN_HELLO: &str = "builtin:hello";

/// Finds a recipe: a folder that holds one, or a name below `images/` here or in a directory above.
pub fn find(name: &str, here: &Path) -> Result<PathBuf> {
    let folder = here.join(name);
    if name.contains('/') || name == "." {
        return if folder.join(RECIPE).is_file() { Ok(folder) } else { Err(no_recipe(name)) };
    }
    let below = |dir: &Path| Some(dir.join("images").join(name)).filter(|folder| folder.join(RECIPE).is_file());
    here.ancestors().find_map(below).ok_or_else(|| no_recipe(name))
}

fn no_recipe(name: &str) -> Error {
    Error::user(format!("no recipe {name}"))
        .hint("name a folder of images/, or the path of a folder that holds a recipe.toml")
}

/// Reads the recipe of a folder.
pub fn load(folder: &Path) -> Result<Recipe> {
    let path = folder.join(RECIPE);
    let text = std::fs::read_to_string(&path).map_err(|e| {
        crate::failed("reading", &path, &e).hint("name a folder that holds a recipe.toml of text in UTF-8")
    })?;
    let dir = folder.canonicalize().map_err(|e| crate::failed("finding", folder, &e))?;
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or("image").to_owned();
    parse(&text, name, dir)
}

/// The names of all recipes of `images/`, here or in a directory above.
pub fn all(here: &Path) -> Result<Vec<String>> {
    let images = here.ancestors().map(|dir| dir.join("images")).find(|dir| dir.is_dir());
    let images = images.ok_or_else(|| {
        Error::user(format!("there is no folder images in {} or above", here.display()))
            .hint("run it in a clone of minirun, or name the path of a folder with a recipe.toml")
    })?;
    let mut names = minirun::sys::fs::list(&images)?;
    names.retain(|name| images.join(name).join(RECIPE).is_file());
    names.sort();
    Ok(names)
}

/// The folder of the recipe that this one builds on.
pub fn base(recipe: &Recipe) -> Option<PathBuf> {
    let beside = recipe.dir.parent().unwrap_or(Path::new("/"));
    (recipe.from != scratch()).then(|| beside.join(&recipe.from))
}

fn parse(text: &str, name: String, dir: PathBuf) -> Result<Recipe> {
    let recipe: Recipe = toml::from_str(text).map_err(|e| unreadable(&name, text, &e))?;
    let recipe = Recipe { name, dir, ..recipe };
    check::recipe(&recipe)?;
    Ok(recipe)
}

/// In one line: which line of the recipe, and what is wrong with it.
fn unreadable(name: &str, text: &str, e: &toml::de::Error) -> Error {
    let line = e.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1);
    let what = e.message().trim_end().replace('\n', "; ");
    Error::user(format!("recipe {name}: line {line}: {what}")).hint("images/README.md explains the fields")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) fn parsed(text: &str) -> Result<Recipe> {
        parse(text, "test".into(), "/images/test".into())
    }

    #[test]
    fn what_is_not_said_has_a_plain_default() {
        let recipe = parsed("epoch = 1\n[[dirs]]\npath = '/a'\n[[files]]\nto = '/b'\ntext = ''").unwrap();
        assert_eq!((recipe.from.as_str(), recipe.compression), ("scratch", Compression::Gzip));
        assert_eq!(parsed("epoch = 1\ncompression = 'zst'").unwrap().compression, Compression::Zstd);
        assert_eq!((recipe.dirs[0].mode, recipe.files[0].mode), (0o755, 0o644));
        assert!(base(&recipe).is_none());
        assert_eq!(base(&parsed("epoch = 1\nfrom = 'static'").unwrap()).unwrap(), Path::new("/images/static"));
    }

    #[test]
    fn a_recipe_is_found_from_below() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("images/x");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(RECIPE), "epoch = 1").unwrap();
        let deep = top.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        assert_eq!(find("x", &deep).unwrap(), folder);
        assert_eq!(find("images/x", top.path()).unwrap(), folder);
        assert!(find("y", &deep).unwrap_err().to_string().contains("no recipe y"));
        assert_eq!(load(&folder).unwrap().name, "x");
        std::fs::create_dir(top.path().join("images/a")).unwrap();
        assert_eq!(all(&deep).unwrap(), ["x"], "a has no recipe");
    }
}
