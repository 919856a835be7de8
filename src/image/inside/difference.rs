//! What is different in two root file systems. Contents are compared by what is in them, never by length and time alone;
//! what both have from one and the same layer is not looked at.

use super::tree::{Key, Node, Tree, name_of, parent_of};
use crate::error::Result;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `A`dded, `D`eleted, `M`odified, `R`enamed; `T` where the time alone is another.
    pub change: char,
    pub key: Key,
    /// Of what was renamed.
    pub from: Option<Key>,
    pub reasons: Vec<Reason>,
    /// By how many bytes it has grown.
    pub delta: i64,
    /// Which source of the second tree brought that.
    pub layer: Option<usize>,
}

/// Why a path differs: content, type, link, device, mode, owner, xattr. What there was and is, where that is short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub what: &'static str,
    pub was: Option<String>,
    pub is: Option<String>,
}

/// What is to be left out.
pub struct Options<'a> {
    pub ignored: &'a dyn Fn(&[u8]) -> bool,
    /// Times count.
    pub times: bool,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("times", &self.times).finish_non_exhaustive()
    }
}

/// The rows from `a` to `b`, sorted by path.
pub fn difference(a: &Tree, b: &Tree, options: &Options<'_>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    // directories whose time is another because of what is in them
    let mut explained: HashSet<Key> = HashSet::new();
    let (mut left, mut right) = (a.entries.iter().peekable(), b.entries.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some((one, _)), Some((other, _))) => one.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        let old = if order == Ordering::Greater { None } else { left.next() };
        let new = if order == Ordering::Less { None } else { right.next() };
        let Some((key, _)) = old.or(new) else { break };
        if (options.ignored)(key) {
            explained.insert(parent_of(key).to_vec());
            continue;
        }
        let row = match (old, new) {
            (Some((_, old)), None) => Some(alone('D', key, old, b.deleted.get(key).copied())),
            (None, Some((_, new))) => Some(alone('A', key, new, Some(new.layer))),
            (Some((_, old)), Some((_, new))) if !a.is_same(old, b, new) => both((a, key, old), (b, key, new), options)?,
            _ => None,
        };
        if row.as_ref().is_some_and(|row| row.change != 'T') {
            explained.insert(parent_of(key).to_vec());
        }
        rows.extend(row);
    }
    let is_dir = |key: &Key| b.get(key).is_some_and(Node::is_dir);
    rows.retain(|row| !(row.change == 'T' && is_dir(&row.key) && explained.contains(&row.key)));
    renames(a, b, &mut rows)?;
    Ok(rows)
}

fn alone(change: char, key: &Key, node: &Node, layer: Option<usize>) -> Row {
    let size = i64::try_from(node.size).unwrap_or(i64::MAX);
    let delta = if change == 'D' { -size } else { size };
    Row { change, key: key.clone(), from: None, reasons: Vec::new(), delta, layer }
}

/// A tree, a path in it and what stands there.
type Side<'a> = (&'a Tree, &'a [u8], &'a Node);

fn both(old: Side<'_>, new: Side<'_>, options: &Options<'_>) -> Result<Option<Row>> {
    let reasons = reasons(old, new, true)?;
    let (key, was, is) = (new.1, old.2, new.2);
    let change = match reasons.is_empty() {
        false => 'M',
        // the root's own time is that of its making
        true if options.times && was.time != is.time && !key.is_empty() => 'T',
        true => return Ok(None),
    };
    let delta = i128::from(is.size) - i128::from(was.size);
    let delta = i64::try_from(delta).unwrap_or(if delta < 0 { i64::MIN } else { i64::MAX });
    Ok(Some(Row { change, key: key.to_vec(), from: None, reasons, delta, layer: Some(is.layer) }))
}

fn reasons((a, old_key, old): Side<'_>, (b, key, new): Side<'_>, content: bool) -> Result<Vec<Reason>> {
    let mut reasons = Vec::new();
    let mut add = |what, was: String, is: String| {
        if was != is {
            reasons.push(Reason { what, was: Some(was), is: Some(is) });
        }
    };
    if old.kind() != new.kind() {
        add("type", old.type_name().to_owned(), new.type_name().to_owned());
        return Ok(reasons);
    }
    let link = |node: &Node| node.target.as_ref().map(|to| to.to_string_lossy().into_owned()).unwrap_or_default();
    add("link", link(old), link(new));
    let device = |node: &Node| format!("{}:{}", libc::major(node.device), libc::minor(node.device));
    if matches!(new.kind(), libc::S_IFCHR | libc::S_IFBLK) {
        add("device", device(old), device(new));
    }
    // a link has no mode of its own
    if new.target.is_none() {
        add("mode", format!("{:04o}", old.mode & 0o7777), format!("{:04o}", new.mode & 0o7777));
    }
    add("owner", format!("{}:{}", old.uid, old.gid), format!("{}:{}", new.uid, new.gid));
    if new.is_file() && content {
        let differs = old.size != new.size || (new.size > 0 && a.fingerprint(old_key)? != b.fingerprint(key)?);
        if differs {
            reasons.insert(0, Reason { what: "content", was: None, is: None });
        }
    }
    if new.is_file() || new.is_dir() {
        let (was, is) = (a.xattrs(old_key, old)?, b.xattrs(key, new)?);
        let names: std::collections::BTreeSet<&Vec<u8>> = was.iter().chain(&is).map(|(name, _)| name).collect();
        for name in names {
            let value = |all: &[(Vec<u8>, Vec<u8>)]| all.iter().find(|(of, _)| of == name).map(attribute);
            let (was, is) = (value(&was), value(&is));
            if was != is {
                reasons.push(Reason { what: "xattr", was, is });
            }
        }
    }
    Ok(reasons)
}

/// `name=value`, the value in hexadecimal where it is no plain text.
fn attribute((name, value): &(Vec<u8>, Vec<u8>)) -> String {
    let plain = value.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
    let value = if plain { String::from_utf8_lossy(value).into_owned() } else { crate::id::hex(value) };
    format!("{}={value}", String::from_utf8_lossy(name))
}

/// A file that is gone, and one of the same content that is new, become one row: the new one's.
fn renames(a: &Tree, b: &Tree, rows: &mut Vec<Row>) -> Result<()> {
    let file =
        |tree: &Tree, row: &Row| tree.get(&row.key).filter(|node| node.is_file() && node.size > 0).map(|n| n.size);
    let mut gone: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.change == 'D') {
        if let Some(size) = file(a, row) {
            gone.entry(size).or_default().push(at);
        }
    }
    let mut prints: BTreeMap<usize, [u8; 32]> = BTreeMap::new();
    let mut taken = HashSet::new();
    for at in 0..rows.len() {
        let new = &rows[at];
        let Some(candidates) = file(b, new).filter(|_| new.change == 'A').and_then(|size| gone.get(&size)) else {
            continue;
        };
        let print = b.fingerprint(&new.key)?;
        let mut found = None;
        for old in candidates.iter().filter(|old| !taken.contains(*old)) {
            let key = &rows[*old].key;
            let of_old = match prints.get(old) {
                Some(print) => *print,
                None => a.fingerprint(key)?,
            };
            prints.insert(*old, of_old);
            let named_alike = name_of(key) == name_of(&new.key);
            if of_old == print && (found.is_none() || named_alike) {
                found = Some(*old);
                if named_alike {
                    break;
                }
            }
        }
        let Some(old) = found else { continue };
        taken.insert(old);
        let from = rows[old].key.clone();
        if let (Some(was), Some(is)) = (a.get(&from), b.get(&rows[at].key)) {
            let reasons = reasons((a, &from, was), (b, &rows[at].key, is), false)?;
            let row = &mut rows[at];
            (row.change, row.delta, row.reasons, row.from) = ('R', 0, reasons, Some(from));
        }
    }
    let mut at = 0..;
    rows.retain(|_| !at.next().is_some_and(|at| taken.contains(&at)));
    Ok(())
}
