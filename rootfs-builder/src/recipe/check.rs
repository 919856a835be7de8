//! What a recipe may not say: each mistake is one error with what is wrong, why, and what to write instead. Pure.

use super::{FileRule, LinkRule, Recipe};
use minirun::error::{Error, Result};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// What is wrong, and what to do about it.
type Mistake = (String, &'static str);

/// Looks at a recipe for itself; what needs those it builds on is for [`user`].
pub fn recipe(recipe: &Recipe) -> Result<()> {
    let found = packages(recipe)
        .and_then(|()| from(recipe))
        .and_then(|()| paths(recipe))
        .and_then(|()| recipe.files.iter().try_for_each(file))
        .and_then(|()| recipe.links.iter().try_for_each(link))
        .and_then(|()| accounts(recipe))
        .and_then(|()| trust(recipe))
        .and_then(|()| recipe.exclude.iter().try_for_each(|pattern| exclude(pattern)))
        .and_then(|()| process(recipe))
        .and_then(|()| epoch(recipe.epoch));
    found.map_err(|(what, next)| Error::user(format!("recipe {}: {what}", recipe.name)).hint(next))
}

fn packages(recipe: &Recipe) -> Result<(), Mistake> {
    for package in &recipe.packages {
        if !is_package(package) {
            return Err((
                format!("{package:?} is not the name of a Debian package"),
                "names are as apt has them: libc6",
            ));
        }
    }
    if let Some(twice) = twice(recipe.packages.iter()) {
        return Err((format!("package {twice} stands there twice"), "leave one of them out"));
    }
    let suite = recipe.suite.as_deref();
    if suite.is_none() && (recipe.bootstrap || !recipe.packages.is_empty()) {
        return Err(("it has packages and does not say of which Debian".into(), "add a line: suite = \"bookworm\""));
    }
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    match suite.filter(|suite| suite.is_empty() || suite.starts_with('-') || !suite.bytes().all(plain)) {
        Some(odd) => {
            Err((format!("suite {odd:?} is not the name of a release"), "Debian's names are bookworm, trixie, sid"))
        }
        None => Ok(()),
    }
}

/// Debian policy 5.6.1: lower case, digits, `+`, `-`, `.`. Anything else could be an option or a path to apt.
fn is_package(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && name.len() >= 2 && name.bytes().all(allowed)
}

fn from(recipe: &Recipe) -> Result<(), Mistake> {
    const BESIDE: &str = "name a folder beside this one, or scratch";
    let from = &recipe.from;
    if from.is_empty() || from.contains('/') || from.starts_with('.') {
        return Err((format!("from {from:?} is not the name of a folder"), BESIDE));
    }
    if *from == recipe.name {
        return Err(("it builds on itself".into(), BESIDE));
    }
    if recipe.bootstrap && from != "scratch" {
        return Err((
            format!("bootstrap makes a whole root, and from = {from:?} has one already"),
            "leave out one of them",
        ));
    }
    Ok(())
}

/// All paths that the recipe names are absolute, and each is named once.
fn paths(recipe: &Recipe) -> Result<(), Mistake> {
    let files = recipe.files.iter().map(|rule| rule.to.clone());
    let dirs = recipe.dirs.iter().map(|rule| rule.path.clone());
    let links = recipe.links.iter().flat_map(link_paths);
    let mut seen = BTreeSet::new();
    for text in files.chain(dirs).chain(links) {
        let path = below_root(&text)?;
        if !seen.insert(path) {
            return Err((format!("{text} is there twice among files, links and dirs"), "leave one of them out"));
        }
    }
    Ok(())
}

/// The path below the root of one that is absolute and has neither `.` nor `..`.
pub fn below_root(text: &str) -> Result<PathBuf, Mistake> {
    let path: PathBuf = Path::new(text.strip_prefix('/').unwrap_or_default()).components().collect();
    let normal = path.components().all(|part| matches!(part, Component::Normal(_)));
    if path.as_os_str().is_empty() || !normal || text.contains('\0') {
        return Err((format!("{text:?} is not an absolute path"), "write it as the container sees it, without `..`"));
    }
    Ok(path)
}

/// The paths of a link rule.
pub fn link_paths(rule: &LinkRule) -> Vec<String> {
    let below = rule.dir.iter().flat_map(|dir| rule.names.iter().map(move |name| format!("{dir}/{name}")));
    rule.path.clone().into_iter().chain(below).collect()
}

fn file(rule: &FileRule) -> Result<(), Mistake> {
    match (&rule.from, &rule.text) {
        (Some(_), None) | (None, Some(_)) => Ok(()),
        (None, None) => {
            Err((format!("file {} has no content", rule.to), "say `from`, a file of the folder, or `text`"))
        }
        (Some(_), Some(_)) => Err((format!("file {} has two contents", rule.to), "leave out `from` or `text`")),
    }
}

fn link(rule: &LinkRule) -> Result<(), Mistake> {
    if rule.to.is_empty() {
        return Err(("a link leads nowhere".into(), "say what it leads to: to = \"busybox\""));
    }
    if rule.path.is_some() == rule.dir.is_some() || rule.dir.is_some() == rule.names.is_empty() {
        return Err((
            format!("the link to {} has no place, or two", rule.to),
            "say either `path`, or `dir` and `names`",
        ));
    }
    Ok(())
}

fn accounts(recipe: &Recipe) -> Result<(), Mistake> {
    let (users, groups) = (&recipe.accounts.users, &recipe.accounts.groups);
    let fields = users.iter().flat_map(|user| [&user.name, &user.home, &user.shell]);
    for text in fields.chain(groups.iter().map(|group| &group.name)) {
        // passwd(5): in a field it would make another account
        if text.is_empty() || text.contains([':', '\n', '\0']) {
            return Err((
                format!("account field {text:?} is empty, or holds a colon or a line's end"),
                "write a plain name",
            ));
        }
    }
    let twice = twice(users.iter().map(|user| &user.name)).or(twice(groups.iter().map(|group| &group.name)));
    twice.map_or(Ok(()), |name| Err((format!("account {name} is there twice"), "leave one of them out")))
}

fn trust(recipe: &Recipe) -> Result<(), Mistake> {
    for text in &recipe.ca_certificates {
        if text.is_empty() || Path::new(text).components().any(|part| part == Component::ParentDir) {
            let next = "name a file of the recipe's folder, or a pattern of files of the packages";
            return Err((format!("ca_certificates {text:?} is neither of the packages nor of the folder"), next));
        }
    }
    Ok(())
}

fn exclude(pattern: &str) -> Result<(), Mistake> {
    if pattern.strip_prefix('!').unwrap_or(pattern).starts_with('/') {
        return Ok(());
    }
    Err((format!("exclude {pattern:?} matches nothing: paths are absolute"), "begin it with `/`, or `!/` to keep"))
}

/// How the program is started.
fn process(recipe: &Recipe) -> Result<(), Mistake> {
    for line in &recipe.env {
        if line.find('=').is_none_or(|at| at == 0) || line.contains('\0') {
            return Err((format!("env {line:?} is not of the form NAME=value"), "write \"NAME=value\""));
        }
    }
    if let Some(name) = twice(recipe.env.iter().map(|line| line.split('=').next().unwrap_or_default())) {
        return Err((format!("env sets {name} twice"), "leave one of them out"));
    }
    for (field, words) in [("entrypoint", &recipe.entrypoint), ("cmd", &recipe.cmd)] {
        if words.as_ref().is_some_and(|words| words.first().is_none_or(String::is_empty)) {
            return Err((format!("{field} names no program"), "name one, or leave the field out"));
        }
    }
    if let Some(odd) = recipe.workdir.as_deref().filter(|dir| *dir != "/" && below_root(dir).is_err()) {
        return Err((format!("workdir {odd:?} is not an absolute path"), "write it as the container sees it"));
    }
    if recipe.labels.keys().any(String::is_empty) {
        return Err(("a label has no name".into(), "write [labels], then \"name\" = \"value\""));
    }
    if let Some(odd) = recipe.user.as_deref().filter(|user| user.is_empty() || user.split(':').any(str::is_empty)) {
        return Err((
            format!("user {odd:?} is not of the form USER or USER:GROUP"),
            "write a name or a number: \"65532\"",
        ));
    }
    Ok(())
}

/// As RFC 3339 can write it: up to the end of the year 9999.
const LATEST_EPOCH: i64 = 253_402_300_799;

fn epoch(seconds: i64) -> Result<(), Mistake> {
    if (0..=LATEST_EPOCH).contains(&seconds) {
        return Ok(());
    }
    Err((
        format!("epoch {seconds} is no time that can be written"),
        "write seconds since 1970, as `date +%s` prints them",
    ))
}

fn twice<T: Ord + Clone>(items: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = BTreeSet::new();
    items.into_iter().find(|item| !seen.insert(item.clone()))
}

/// `user` is somebody whom the image knows: a number, or a name of the topmost accounts. `recipes` has the lowest first.
/// A bootstrapped Debian has accounts of its own, and is not asked.
pub fn user(recipes: &[Recipe], user: &str) -> Result<()> {
    let topmost = recipes.iter().rev().map(|recipe| &recipe.accounts).find(|accounts| !accounts.users.is_empty());
    let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
    let number = |text: &str| text.parse::<u32>().is_ok();
    let known = number(name) || topmost.is_some_and(|all| all.users.iter().any(|user| user.name == name));
    let group_known =
        |group: &str| number(group) || topmost.is_some_and(|all| all.groups.iter().any(|other| other.name == group));
    if (known && group.is_none_or(group_known)) || recipes.iter().any(|recipe| recipe.bootstrap) {
        return Ok(());
    }
    let recipe = recipes.last().map_or("", |recipe| recipe.name.as_str());
    Err(Error::user(format!("recipe {recipe}: user {user:?} is in no [accounts] of the image"))
        .hint("add it there, or write numbers: \"65532:65532\""))
}

#[cfg(test)]
mod tests {
    use super::super::tests::parsed;
    use super::*;

    #[test]
    fn every_mistake_says_what_is_wrong_and_what_to_write() {
        for (text, what, next) in [
            ("", "line 1: missing field `epoch`", "explains the fields"),
            ("epoch = 1\nepohc = 2", "line 2: unknown field `epohc`", "explains the fields"),
            ("epoch = 1\n\nenv = 'A=1'", "line 3: invalid type", "explains the fields"),
            ("epoch = ", "line 1: ", "explains the fields"),
            ("epoch = 1\ncompression = 'xz'", "line 2: compression \"xz\" is none of gz, zst and none", "explains"),
            ("epoch = 1\n[[dirs]]\npath = '/a'\nmode = '1888'", "line 4: mode \"1888\" is not octal", "explains"),
            ("epoch = -1", "epoch -1 is no time", "date +%s"),
            ("epoch = 253402300800", "is no time", "date +%s"),
            ("epoch = 1\npackages = ['a']", "\"a\" is not the name of a Debian package", "as apt has them"),
            ("epoch = 1\npackages = ['--simulate']", "\"--simulate\" is not the name", "as apt has them"),
            ("epoch = 1\npackages = ['../x']", "\"../x\" is not the name", "as apt has them"),
            ("epoch = 1\npackages = ['aa', 'b1', 'aa']", "package aa stands there twice", "leave one"),
            ("epoch = 1\npackages = ['aa']", "does not say of which Debian", "suite = \"bookworm\""),
            ("epoch = 1\nbootstrap = true", "does not say of which Debian", "suite = \"bookworm\""),
            ("epoch = 1\nsuite = 'book worm'", "suite \"book worm\" is not", "bookworm, trixie"),
            ("epoch = 1\nfrom = '../x'", "from \"../x\" is not the name of a folder", "beside this one"),
            ("epoch = 1\nfrom = ''", "from \"\" is not the name", "beside this one"),
            ("epoch = 1\nfrom = 'test'", "it builds on itself", "beside this one"),
            ("epoch = 1\nfrom = 'x'\nbootstrap = true\nsuite = 'sid'", "has one already", "leave out one"),
            ("epoch = 1\n[[files]]\nto = '/a'", "file /a has no content", "say `from`"),
            ("epoch = 1\n[[files]]\nto = '/a'\ntext = ''\nfrom = 'x'", "file /a has two contents", "leave out"),
            ("epoch = 1\n[[files]]\nto = 'a'\ntext = ''", "\"a\" is not an absolute path", "as the container sees it"),
            ("epoch = 1\n[[dirs]]\npath = '/a/../b'", "\"/a/../b\" is not an absolute path", "without `..`"),
            ("epoch = 1\n[[dirs]]\npath = '/'", "\"/\" is not an absolute path", "as the container sees it"),
            ("epoch = 1\n[[dirs]]\npath = '/a'\n[[files]]\nto = '/a/'\ntext = ''", "/a is there twice", "leave one"),
            ("epoch = 1\n[[links]]\nto = 'a'\ndir = '/b'", "has no place, or two", "`dir` and `names`"),
            ("epoch = 1\n[[links]]\nto = 'a'\ndir = '/b'\npath = '/c'\nnames = ['d']", "or two", "either `path`"),
            ("epoch = 1\n[[links]]\nto = ''\npath = '/c'", "a link leads nowhere", "leads to"),
            (
                "epoch = 1\n[[accounts.groups]]\nname = \"a:b\"\ngid = 1",
                "\"a:b\" is empty, or holds a colon",
                "plain name",
            ),
            (
                "epoch = 1\n[accounts]\ngroups = [{ name = 'a', gid = 1 }, { name = 'a', gid = 2 }]",
                "account a is there twice",
                "leave one",
            ),
            (
                "epoch = 1\nca_certificates = ['../mine.pem']",
                "neither of the packages nor of the folder",
                "name a file",
            ),
            ("epoch = 1\nexclude = ['usr/share/doc']", "matches nothing: paths are absolute", "begin it with `/`"),
            ("epoch = 1\nenv = ['PATH']", "env \"PATH\" is not of the form", "NAME=value"),
            ("epoch = 1\nenv = ['=x']", "env \"=x\" is not of the form", "NAME=value"),
            ("epoch = 1\nenv = ['A=1', 'A=2']", "env sets A twice", "leave one"),
            ("epoch = 1\ncmd = []", "cmd names no program", "leave the field out"),
            ("epoch = 1\nentrypoint = ['']", "entrypoint names no program", "leave the field out"),
            ("epoch = 1\nworkdir = 'app'", "workdir \"app\" is not an absolute path", "as the container sees it"),
            ("epoch = 1\nuser = 'a:'", "user \"a:\" is not of the form", "65532"),
            ("epoch = 1\n[labels]\n'' = 'x'", "a label has no name", "[labels]"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.message.starts_with("recipe test: ") && error.message.contains(what), "{what}: {error}");
            assert!(!error.message.contains('\n'), "one line: {error}");
            let hint = error.hint.unwrap();
            assert!(hint.contains(next), "{next}: {hint}");
        }
    }

    #[test]
    fn a_recipe_may_say_all_of_this() {
        let text = "epoch = 1\nsuite = 'bookworm'\npackages = ['libc6', 'g++']\nfrom = 'static'\nuser = '65532:0'\n\
            env = ['A=', 'B=x=y']\nworkdir = '/'\nexclude = ['/a', '!/a/b']\nca_certificates = ['mine.pem', '/c/**.crt']";
        parsed(text).unwrap();
    }

    #[test]
    fn a_user_is_a_number_or_somebody_the_image_knows() {
        let below = parsed(
            "epoch = 1\n[accounts]\nusers = [{ name = 'a', uid = 7, gid = 7, home = '/' }]\n\
            groups = [{ name = 'g', gid = 7 }]",
        );
        let recipes = [below.unwrap(), parsed("epoch = 1").unwrap()];
        for known in ["a", "a:g", "a:9", "0", "7:g"] {
            user(&recipes, known).unwrap();
        }
        for unknown in ["b", "a:h", "99999999999"] {
            let error = user(&recipes, unknown).unwrap_err();
            assert!(error.message.contains("is in no [accounts]") && error.hint.is_some(), "{error}");
        }
        user(&[parsed("epoch = 1\nbootstrap = true\nsuite = 'sid'").unwrap()], "root").unwrap();
    }
}
