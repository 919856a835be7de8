//! `diff A B`: what is different in two root file systems.

use super::{Shelf, Word, made_by};
use crate::error::{Error, Result};
use crate::image::inside::{self, Options, Reason, Tree, name_of, packages, shown, unified};
use crate::ops::list::filter::glob;
use crate::state::Roots;
use std::collections::BTreeMap;

/// One `minirun diff A B`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffRequest {
    pub a: Word,
    pub b: Word,
    /// Patterns of paths that do not count, nor what is below them; one without a slash is of names anywhere.
    pub ignore: Vec<String>,
    /// Whether files differ whose time alone does.
    pub times: Times,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    Count,
    Ignored,
}

/// What was found.
#[derive(Debug)]
pub struct Difference {
    pub rows: Vec<Change>,
    /// `None` where a database of them cannot be read.
    pub packages: Option<Vec<PackageChange>>,
    /// Files that give who executes them another one's rights, and did not do so before.
    pub setuid: Vec<String>,
    /// What the layers of the second are called and were made by, the lowest first.
    pub layers: Vec<(String, String)>,
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `A`dded, `D`eleted, `M`odified, `R`enamed, `T` for the time alone.
    pub letter: char,
    pub path: String,
    /// Where it was, of what was renamed.
    pub from: Option<String>,
    pub reasons: Vec<Reason>,
    /// By how many bytes it has grown.
    pub delta: i64,
    /// Which layer of the second brought that, from 0.
    pub layer: Option<usize>,
}

/// A package that is new, gone, or has another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageChange {
    pub name: String,
    pub was: Option<String>,
    pub is: Option<String>,
}

pub fn difference(roots: &Roots, request: &DiffRequest) -> Result<Difference> {
    let shelf = Shelf::new(roots);
    let (a, b) = (shelf.open(&request.a)?, shelf.open(&request.b)?);
    let ignored = |key: &[u8]| is_ignored(&request.ignore, key);
    let options = Options { ignored: &ignored, times: request.times == Times::Count };
    let found = inside::difference(&a.tree, &b.tree, &options)?;
    let setuid = found.iter().filter(|row| row.change != 'D').filter(|row| {
        let gives = |tree: &Tree, key: &[u8]| tree.get(key).is_some_and(inside::Node::is_setuid);
        gives(&b.tree, &row.key) && !gives(&a.tree, row.from.as_ref().unwrap_or(&row.key))
    });
    let setuid = setuid.map(|row| shown(&row.key)).collect();
    let rows = found.into_iter().map(|row| Change {
        letter: row.change,
        path: shown(&row.key),
        from: row.from.as_deref().map(shown),
        reasons: row.reasons,
        delta: row.delta,
        layer: row.layer,
    });
    let rows = rows.collect();
    Ok(Difference { rows, packages: package_changes(&a.tree, &b.tree), setuid, layers: made_by(&b) })
}

/// Whether a pattern is that of the path or of a directory above it.
fn is_ignored(patterns: &[String], key: &[u8]) -> bool {
    if patterns.is_empty() {
        return false;
    }
    let ends = (0..key.len()).filter(|at| key[*at] == 0).chain([key.len()]);
    ends.map(|end| &key[..end]).any(|above| {
        let (path, name) = (shown(above), String::from_utf8_lossy(name_of(above)));
        patterns.iter().any(|pattern| match pattern.contains('/') {
            true => glob(&format!("/{}", pattern.trim_matches('/')), &path),
            false => glob(pattern, &name),
        })
    })
}

fn package_changes(a: &Tree, b: &Tree) -> Option<Vec<PackageChange>> {
    let list = |tree: &Tree| packages(tree).map_or_else(|| Some(BTreeMap::new()), |found| found.list);
    let (was, is) = (list(a)?, list(b)?);
    let mut all: BTreeMap<&String, (Option<&String>, Option<&String>)> = BTreeMap::new();
    was.iter().for_each(|(name, version)| all.entry(name).or_default().0 = Some(version));
    is.iter().for_each(|(name, version)| all.entry(name).or_default().1 = Some(version));
    let changed = all.into_iter().filter(|(_, (was, is))| was != is);
    let change = |(name, (was, is)): (&String, (Option<&String>, Option<&String>))| PackageChange {
        name: name.clone(),
        was: was.cloned(),
        is: is.cloned(),
    };
    Some(changed.map(change).collect())
}

/// Texts up to here are compared line by line.
const MAX_TEXT: u64 = 8 << 20;

/// One file of both as diff(1) -u shows it; nothing where it is the same. A file that only one has is empty in the other.
pub fn content(roots: &Roots, a: &Word, b: &Word, path: &str) -> Result<String> {
    let shelf = Shelf::new(roots);
    let mut texts = Vec::new();
    for word in [a, b] {
        let opened = shelf.open(word)?;
        let found = opened.tree.find(path);
        let text = match &found {
            None => None,
            Some((key, node)) if node.is_file() && node.size <= MAX_TEXT => Some(opened.tree.read_key(key, MAX_TEXT)?),
            Some((_, node)) => {
                let what = if node.is_file() { "file of more than 8 MiB" } else { node.type_name() };
                return Err(
                    Error::user(format!("{path} of {} is a {what}", word.text)).hint("--content takes a text file")
                );
            }
        };
        texts.push(text);
    }
    let [was, is] = &texts[..] else { return Err(Error::internal("two words, and not two texts")) };
    if was.is_none() && is.is_none() {
        return Err(Error::user(format!("neither {} nor {} has {path}", a.text, b.text))
            .hint(format!("minirun diff {} {} lists what differs", a.text, b.text)));
    }
    let name = |word: &Word, text: &Option<Vec<u8>>| match text {
        Some(_) => format!("{}:{path}", word.text),
        None => "/dev/null".to_owned(),
    };
    let (was_name, is_name) = (name(a, was), name(b, is));
    let (was, is) = (was.as_deref().unwrap_or_default(), is.as_deref().unwrap_or_default());
    if was != is && (was.contains(&0) || is.contains(&0)) {
        return Ok(format!("Binary files {was_name} and {is_name} differ\n"));
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(unified(&was_name, &text(was), &is_name, &text(is)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::inside::key;

    #[test]
    fn a_pattern_hides_what_is_below_it() {
        let ignored = |pattern: &str, path: &str| is_ignored(&[pattern.to_owned()], &key(path));
        for (pattern, path, want) in [
            ("/var/cache", "/var/cache/apt/x", true),
            ("/var/cache", "/var/cache", true),
            ("/var/cache", "/var/cached", false),
            ("var/*/apt", "/var/cache/apt/x", true),
            ("/var/*", "/var", false),
            ("*.pyc", "/usr/lib/a.pyc", true),
            ("__pycache__", "/usr/__pycache__/x", true),
            ("*.pyc", "/usr/lib/a.py", false),
        ] {
            assert_eq!(ignored(pattern, path), want, "{pattern} {path}");
        }
    }
}
