//! What is wanted in an image: `recipe.toml`, read and checked. It says nothing about where packages come from.

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
    /// Debian packages by their exact names. What they depend on is not looked at.
    #[serde(default)]
    pub packages: Vec<String>,
    #[serde(default)]
    pub files: Vec<FileRule>,
    #[serde(default)]
    pub links: Vec<LinkRule>,
    #[serde(default)]
    pub dirs: Vec<DirRule>,
    #[serde(default)]
    pub accounts: Accounts,
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
    #[serde(default)]
    pub compression: Compression,
}

/// A file. Exactly one of `from`, `text` and `concat` says what is in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRule {
    pub to: String,
    /// A file of the recipe's folder, or `builtin:hello`, the program that is in minirun.
    pub from: Option<String>,
    pub text: Option<String>,
    /// A pattern: all matching files of the packages, one behind the other by path.
    pub concat: Option<String>,
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

pub const RECIPE: &str = "recipe.toml";

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
    let text = std::fs::read_to_string(&path).map_err(|e| crate::failed("reading", &path, &e))?;
    let dir = folder.canonicalize().map_err(|e| crate::failed("finding", folder, &e))?;
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or("image").to_owned();
    parse(&text, name, dir)
}

/// The folder of the recipe that this one builds on.
pub fn base(recipe: &Recipe) -> Option<PathBuf> {
    let beside = recipe.dir.parent().unwrap_or(Path::new("/"));
    (recipe.from != scratch()).then(|| beside.join(&recipe.from))
}

fn parse(text: &str, name: String, dir: PathBuf) -> Result<Recipe> {
    let recipe: Recipe = toml::from_str(text)
        .map_err(|e| Error::user(format!("recipe {name}: {}", e.to_string().trim_end().replace('\n', "\n  "))))?;
    let recipe = Recipe { name, dir, ..recipe };
    check(&recipe).map_err(|what| Error::user(format!("recipe {}: {what}", recipe.name)))?;
    Ok(recipe)
}

fn check(recipe: &Recipe) -> Result<(), String> {
    for package in &recipe.packages {
        check_package(package)?;
    }
    if recipe.from.contains('/') || recipe.from.starts_with('.') {
        return Err(format!("from {:?} is not the name of a folder beside this one", recipe.from));
    }
    for rule in &recipe.files {
        let sources = [&rule.from, &rule.text, &rule.concat].into_iter().flatten().count();
        if sources != 1 {
            return Err(format!("file {} needs one of from, text and concat", rule.to));
        }
    }
    for rule in &recipe.links {
        if rule.path.is_some() == rule.dir.is_some() || rule.dir.is_some() == rule.names.is_empty() {
            return Err(format!("a link to {} needs either path, or dir and names", rule.to));
        }
    }
    for text in recipe.accounts.users.iter().flat_map(|user| [&user.name, &user.home, &user.shell]) {
        check_field(text)?;
    }
    recipe.accounts.groups.iter().try_for_each(|group| check_field(&group.name))
}

/// Debian policy 5.6.1: lower case, digits, `+`, `-`, `.`. Anything else could be an option or a path to apt.
fn check_package(name: &str) -> Result<(), String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && name.len() >= 2 && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(format!("{name:?} is not the name of a Debian package"))
    }
}

/// passwd(5): a colon or a line's end in a field would make another account.
fn check_field(text: &str) -> Result<(), String> {
    if text.contains([':', '\n']) {
        Err(format!("account field {text:?} holds a colon or a line's end"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Recipe> {
        parse(text, "test".into(), "/images/test".into())
    }

    #[test]
    fn what_is_not_said_has_a_plain_default() {
        let recipe = parsed("epoch = 1\n[[dirs]]\npath = '/a'\n[[files]]\nto = '/b'\ntext = ''").unwrap();
        assert_eq!((recipe.from.as_str(), recipe.compression), ("scratch", Compression::Gzip));
        assert_eq!((recipe.dirs[0].mode, recipe.files[0].mode), (0o755, 0o644));
        assert!(base(&recipe).is_none());
        assert_eq!(base(&parsed("epoch = 1\nfrom = 'static'").unwrap()).unwrap(), Path::new("/images/static"));
    }

    #[test]
    fn mistakes_are_refused_with_what_is_wrong() {
        for (text, want) in [
            ("", "missing field `epoch`"),
            ("epoch = 1\nepohc = 2", "unknown field `epohc`"),
            ("epoch = 1\npackages = ['--simulate']", "\"--simulate\" is not the name of a Debian package"),
            ("epoch = 1\npackages = ['../x']", "not the name of a Debian package"),
            ("epoch = 1\nfrom = '../x'", "not the name of a folder"),
            ("epoch = 1\n[[dirs]]\npath = '/a'\nmode = '1888'", "mode \"1888\" is not octal"),
            ("epoch = 1\n[[files]]\nto = '/a'", "file /a needs one of from, text and concat"),
            ("epoch = 1\n[[files]]\nto = '/a'\ntext = ''\nfrom = 'x'", "file /a needs one of"),
            ("epoch = 1\n[[links]]\nto = 'a'\ndir = '/b'", "needs either path, or dir and names"),
            ("epoch = 1\n[[accounts.groups]]\nname = \"a:b\"\ngid = 1", "holds a colon"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.message.starts_with("recipe test: ") && error.message.contains(want), "{want}: {error}");
        }
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
    }
}
