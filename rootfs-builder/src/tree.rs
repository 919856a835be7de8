//! One root out of packages and the recipe's own rules: what stands at which path. Reads files of packages and of the
//! recipe's folder, writes nothing.

use crate::deb::Package;
use crate::recipe::{Accounts, BUILTIN_HELLO, CA_BUNDLE, FileRule, Recipe, check};
use crate::{glob, trust};
use minirun::error::{Error, Result};
use minirun::image::assemble::{Content, Entry, EntryKind, Time};
use minirun::sys::fs::Root;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Entries by their path below the root.
pub type Tree = BTreeMap<PathBuf, Entry>;

/// The layer of a recipe; `below` is what the layers under it hold.
pub fn layer(recipe: &Recipe, packages: &[Package], below: &Tree, epoch: i64) -> Result<Vec<Entry>> {
    let brought = from_packages(packages)?;
    let mut tree = keep(&brought, &recipe.exclude);
    if !recipe.bootstrap {
        packages.iter().for_each(|package| put_package_data(&mut tree, package, epoch));
    }
    put_rules(&mut tree, recipe, epoch)?;
    if !recipe.ca_certificates.is_empty() {
        let bundle = trust::bundle(recipe, &brought, below)?;
        put(&mut tree, file(path_below_root(CA_BUNDLE)?, bundle, epoch));
    }
    add_merged_links(&mut tree, below, epoch);
    add_parents(&mut tree, below, epoch);
    check_links(&tree, &recipe.name)?;
    // a directory that is below already, just so, needs no second mention
    tree.retain(|path, entry| !below.get(path).is_some_and(|under| same_directory(under, entry)));
    Ok(tree.into_values().collect())
}

fn same_directory(a: &Entry, b: &Entry) -> bool {
    let directory = |entry: &Entry| matches!(entry.kind, EntryKind::Directory);
    directory(a) && directory(b) && (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid)
}

/// Directories that Debian merged into /usr (wiki.debian.org/UsrMerge).
const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32"];

/// `bin/sh` is `usr/bin/sh`: where the file is once /bin is a link.
fn merged(path: &Path) -> PathBuf {
    match path.components().next() {
        Some(Component::Normal(first)) if MERGED.iter().any(|name| first == *name) => Path::new("usr").join(path),
        _ => path.to_owned(),
    }
}

/// Debian 13's base-files brings `bin -> usr/bin` itself; we make these links where they are needed.
fn is_merge_link(entry: &Entry) -> bool {
    let target = Path::new("usr").join(&entry.path);
    let is_merged = MERGED.iter().any(|name| entry.path == Path::new(name));
    is_merged && matches!(&entry.kind, EntryKind::Symlink(to) if to.strip_prefix("/").unwrap_or(to) == target)
}

/// Everything the packages bring. A directory may come from several, a file only from one.
fn from_packages(packages: &[Package]) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut owners: BTreeMap<PathBuf, &str> = BTreeMap::new();
    for package in packages {
        for entry in package.entries.iter().filter(|entry| !is_merge_link(entry)) {
            let mut entry = Entry { path: merged(&entry.path), ..entry.clone() };
            if let EntryKind::Hardlink(target) = &mut entry.kind {
                *target = merged(target);
            }
            match tree.get(&entry.path) {
                Some(there) if same_kind(there, &entry) => continue,
                Some(_) => {
                    let (path, first) = (entry.path.display(), owners.get(&entry.path).copied().unwrap_or("?"));
                    return Err(Error::user(format!("/{path} is in {first} and in {}", package.about.name))
                        .hint("leave one of the packages out"));
                }
                None => {}
            }
            owners.insert(entry.path.clone(), &package.about.name);
            tree.insert(entry.path.clone(), entry);
        }
    }
    Ok(tree)
}

fn same_kind(a: &Entry, b: &Entry) -> bool {
    matches!((&a.kind, &b.kind), (EntryKind::Directory, EntryKind::Directory))
}

/// What the patterns leave, with the directories above it as their packages have them.
fn keep(tree: &Tree, exclude: &[String]) -> Tree {
    let stays = |path: &&PathBuf| !glob::excluded(exclude, &shown(path));
    let kept: BTreeSet<&Path> = tree.keys().filter(stays).flat_map(|path| path.ancestors()).collect();
    tree.iter()
        .filter(|(path, _)| kept.contains(path.as_path()))
        .map(|(path, entry)| (path.clone(), entry.clone()))
        .collect()
}

/// As patterns and people write it.
pub(crate) fn shown(path: &Path) -> String {
    format!("/{}", path.display())
}

/// distroless's place for what is installed, which scanners read: no dpkg is there to need its database.
fn put_package_data(tree: &mut Tree, package: &Package, epoch: i64) {
    let status = PathBuf::from("var/lib/dpkg/status.d");
    put(tree, file(status.join(&package.about.name), package.about.control.clone(), epoch));
    let sums = String::from_utf8_lossy(&package.about.md5sums);
    let there =
        |line: &&str| line.split_once("  ").is_some_and(|(_, path)| tree.contains_key(&merged(Path::new(path))));
    let sums: String = sums.lines().filter(there).flat_map(|line| [line, "\n"]).collect();
    put(tree, file(status.join(format!("{}.md5sums", package.about.name)), sums.into_bytes(), epoch));
}

/// What the recipe says itself. It may replace what a package brought.
fn put_rules(tree: &mut Tree, recipe: &Recipe, epoch: i64) -> Result<()> {
    for rule in &recipe.dirs {
        let path = path_below_root(&rule.path)?;
        let entry = Entry { mode: rule.mode, uid: rule.uid, gid: rule.gid, ..plain(path, EntryKind::Directory, epoch) };
        put(tree, entry);
    }
    if !recipe.accounts.users.is_empty() || !recipe.accounts.groups.is_empty() {
        put(tree, file("etc/passwd".into(), passwd(&recipe.accounts).into_bytes(), epoch));
        put(tree, file("etc/group".into(), group(&recipe.accounts).into_bytes(), epoch));
    }
    for rule in &recipe.files {
        let kind = EntryKind::File(content(rule, recipe)?);
        let entry = plain(path_below_root(&rule.to)?, kind, epoch);
        put(tree, Entry { mode: rule.mode, uid: rule.uid, gid: rule.gid, ..entry });
    }
    for rule in &recipe.links {
        for path in check::link_paths(rule) {
            let kind = EntryKind::Symlink(PathBuf::from(&rule.to));
            put(tree, Entry { mode: 0o777, ..plain(path_below_root(&path)?, kind, epoch) });
        }
    }
    Ok(())
}

fn put(tree: &mut Tree, entry: Entry) {
    tree.insert(entry.path.clone(), entry);
}

fn plain(path: PathBuf, kind: EntryKind, epoch: i64) -> Entry {
    let mode = if matches!(kind, EntryKind::Directory) { 0o755 } else { 0o644 };
    Entry { path, kind, mode, uid: 0, gid: 0, mtime: Time::from_seconds(epoch), xattrs: [].into() }
}

fn file(path: PathBuf, bytes: Vec<u8>, epoch: i64) -> Entry {
    plain(path, EntryKind::File(Content::Bytes(bytes)), epoch)
}

/// A path of the recipe, where it is once `/usr` is merged.
fn path_below_root(text: &str) -> Result<PathBuf> {
    check::below_root(text).map(|path| merged(&path)).map_err(|(what, next)| Error::user(what).hint(next))
}

fn content(rule: &FileRule, recipe: &Recipe) -> Result<Content> {
    match &rule.from {
        Some(from) if from == BUILTIN_HELLO => Ok(Content::Bytes(minirun::image::builtin::HELLO.to_vec())),
        Some(from) => own_file(recipe, from, &rule.to),
        None => Ok(Content::Bytes(rule.text.clone().unwrap_or_default().into_bytes())),
    }
}

/// A regular file of the recipe's folder; `wanted` is what it is to become.
pub(crate) fn own_file(recipe: &Recipe, name: &str, wanted: &str) -> Result<Content> {
    let path = PathBuf::from(name);
    let content = Content::Inside { root: Arc::new(Root::open(&recipe.dir)?), path };
    let bad = |e: Error| {
        e.during(format!("recipe {}: {wanted} is to be {name}", recipe.name))
            .hint(format!("put a regular file of that name into {}", recipe.dir.display()))
    };
    content.open().map(drop).map_err(bad)?;
    Ok(content)
}

/// passwd(5).
fn passwd(accounts: &Accounts) -> String {
    accounts.users.iter().fold(String::new(), |mut text, user| {
        let _ = writeln!(text, "{0}:x:{1}:{2}:{0}:{3}:{4}", user.name, user.uid, user.gid, user.home, user.shell);
        text
    })
}

/// group(5).
fn group(accounts: &Accounts) -> String {
    accounts.groups.iter().fold(String::new(), |mut text, group| {
        let _ = writeln!(text, "{}:x:{}:", group.name, group.gid);
        text
    })
}

/// /bin → usr/bin and the like, for each such directory that is there.
fn add_merged_links(tree: &mut Tree, below: &Tree, epoch: i64) {
    for name in MERGED {
        let target = Path::new("usr").join(name);
        let there = tree.keys().any(|path| path.starts_with(&target));
        if there && !below.contains_key(Path::new(name)) {
            put(tree, Entry { mode: 0o777, ..plain(name.into(), EntryKind::Symlink(target), epoch) });
        }
    }
}

/// A layer that names a path names the directories above it: nobody is to guess their mode.
fn add_parents(tree: &mut Tree, below: &Tree, epoch: i64) {
    let above = |path: &PathBuf| path.ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>();
    let missing: BTreeSet<PathBuf> = tree.keys().flat_map(above).filter(|path| !path.as_os_str().is_empty()).collect();
    for path in missing {
        if !tree.contains_key(&path) && !below.contains_key(&path) {
            put(tree, plain(path, EntryKind::Directory, epoch));
        }
    }
}

/// A hard link needs its target, and what lies below a path needs a directory there.
fn check_links(tree: &Tree, recipe: &str) -> Result<()> {
    for (path, entry) in tree {
        if let EntryKind::Hardlink(target) = &entry.kind
            && !tree.contains_key(target)
        {
            return Err(Error::user(format!("{} is a hard link to {}", shown(path), shown(target)))
                .hint(format!("recipe {recipe} excludes one of them: exclude both or none")));
        }
        let blocked = |above: &&Path| tree.get(*above).is_some_and(|entry| !matches!(entry.kind, EntryKind::Directory));
        if let Some(above) = path.ancestors().skip(1).find(blocked) {
            return Err(Error::user(format!(
                "{} cannot be below {}, which is no directory",
                shown(path),
                shown(above)
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const EPOCH: i64 = 100;

    fn package(name: &str, data: &[(&str, &str)]) -> Package {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&crate::deb::tests::deb(name, "1", data)).unwrap();
        crate::deb::open(file.path()).unwrap()
    }

    fn recipe(text: &str) -> Recipe {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("recipe.toml"), format!("epoch = {EPOCH}\n{text}")).unwrap();
        std::fs::write(dir.path().join("own"), "own").unwrap();
        crate::recipe::load(&dir.keep()).unwrap()
    }

    fn paths(entries: &[Entry]) -> Vec<String> {
        let target = |entry: &Entry| match &entry.kind {
            EntryKind::Symlink(target) => format!(" -> {}", target.display()),
            _ => String::new(),
        };
        entries.iter().map(|entry| format!("{}{}", entry.path.display(), target(entry))).collect()
    }

    fn bytes(entries: &[Entry], path: &str) -> String {
        let entry = entries.iter().find(|entry| entry.path == Path::new(path)).unwrap();
        let EntryKind::File(Content::Bytes(bytes)) = &entry.kind else { panic!("{path}") };
        String::from_utf8(bytes.clone()).unwrap()
    }

    #[test]
    fn usr_is_merged_and_parents_are_named() {
        let mut packages = [package("a", &[("./bin/x", "1"), ("./usr/lib/y", "")]), package("b", &[("./sbin/", "")])];
        packages[1].entries.push(plain("bin".into(), EntryKind::Symlink("usr/bin".into()), 1));
        packages[1].entries.push(plain("lib64".into(), EntryKind::Symlink("/usr/lib64".into()), 1));
        let entries = layer(&recipe("[[links]]\nto = 'x'\ndir = '/bin'\nnames = ['z']"), &packages, &Tree::new(), 1);
        let list = paths(&entries.unwrap());
        let status = ["a", "a.md5sums", "b", "b.md5sums"].map(|name| format!("var/lib/dpkg/status.d/{name}"));
        let want =
            ["bin -> usr/bin", "lib -> usr/lib", "sbin -> usr/sbin", "usr", "usr/bin", "usr/bin/x", "usr/bin/z -> x"];
        let want = want.into_iter().chain(["usr/lib", "usr/lib/y", "usr/sbin", "var", "var/lib", "var/lib/dpkg"]);
        let want: Vec<String> = want.chain(["var/lib/dpkg/status.d"]).map(String::from).chain(status).collect();
        assert_eq!(list, want);
    }

    #[test]
    fn excluded_files_are_neither_there_nor_in_the_sums() {
        let data =
            [("./usr/share/doc/a/", ""), ("./usr/share/doc/a/README", "r"), ("./usr/share/doc/a/copyright", "c")];
        let packages = [package("a", &data)];
        let recipe = recipe("exclude = ['/usr/share/doc', '!/usr/share/doc/*/copyright']");
        let entries = layer(&recipe, &packages, &Tree::new(), EPOCH).unwrap();
        let list = paths(&entries);
        assert!(list.contains(&"usr/share/doc/a/copyright".to_owned()));
        assert!(!list.contains(&"usr/share/doc/a/README".to_owned()));
        assert_eq!(
            bytes(&entries, "var/lib/dpkg/status.d/a.md5sums").lines().count(),
            2,
            "the directory and copyright"
        );
    }

    #[test]
    fn files_come_from_the_folder_the_text_the_packages_or_minirun() {
        let text = "\
            [[files]]\nto = '/text'\ntext = 'T'\n\
            [[files]]\nto = '/hello'\nfrom = 'builtin:hello'\nmode = '0755'\n\
            [[files]]\nto = '/own'\nfrom = 'own'\n\
            [accounts]\nusers = [{ name = 'root', uid = 0, gid = 0, home = '/root' }]\ngroups = [{ name = 'root', gid = 0 }]";
        let entries = layer(&recipe(text), &[], &Tree::new(), EPOCH).unwrap();
        assert_eq!(bytes(&entries, "text"), "T");
        assert_eq!(bytes(&entries, "etc/passwd"), "root:x:0:0:root:/root:/sbin/nologin\n");
        assert_eq!(bytes(&entries, "etc/group"), "root:x:0:\n");
        assert!(entries.iter().all(|entry| entry.mtime <= Time::from_seconds(EPOCH)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let a = || package("a", &[("./f", "1")]);
        let refused = |recipe_text: &str, packages: &[Package], want: &str| {
            let error = layer(&recipe(recipe_text), packages, &Tree::new(), EPOCH).unwrap_err();
            assert!(error.message.contains(want), "{want}: {error}");
        };
        refused("", &[a(), package("b", &[("./f", "2")])], "/f is in a and in b");
        refused("[[dirs]]\npath = '/f/g'", &[a()], "/f/g cannot be below /f");
        refused("[[files]]\nto = '/x'\nfrom = 'nothing'", &[], ": /x is to be nothing: ");
        refused("[[files]]\nto = '/x'\nfrom = '.'", &[], "is not a regular file");
    }

    #[test]
    fn a_layer_does_not_repeat_the_directories_below_it() {
        let dirs = "[[dirs]]\npath = '/bin'\n[[dirs]]\npath = '/etc'\n";
        let below: Tree = layer(&recipe(dirs), &[], &Tree::new(), EPOCH)
            .unwrap()
            .into_iter()
            .map(|entry| (entry.path.clone(), entry))
            .collect();
        let text = "[[files]]\nto = '/etc/x'\ntext = ''\n[[files]]\nto = '/bin/y'\ntext = ''\n[[dirs]]\npath = '/etc'";
        let above = layer(&recipe(text), &[], &below, EPOCH).unwrap();
        assert_eq!(paths(&above), ["etc/x", "usr/bin/y"]);
        let stricter = layer(&recipe("[[dirs]]\npath = '/etc'\nmode = '0700'"), &[], &below, EPOCH).unwrap();
        assert_eq!(paths(&stricter), ["etc"]);
    }
}
