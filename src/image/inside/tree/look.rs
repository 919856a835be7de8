//! What is asked of a merged root: entries, paths with their links, contents.

use super::{Key, Node, Tree, join, parent_of, shown};
use crate::error::{Errno, Error, Result};
use crate::image::layer::{Attributes, kind};
use crate::sys::{at, data};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// As many links as the kernel follows in one path (include/linux/namei.h, MAXSYMLINKS).
const MAX_LINKS: usize = 40;
/// The kernel takes less than 4096 bytes as one path.
const LONGEST_PATH: usize = 4000;

/// Paths of a tree, sorted.
type Entries<'a> = Box<dyn Iterator<Item = (&'a Key, &'a Node)> + 'a>;

impl Tree {
    pub fn get(&self, key: &[u8]) -> Option<&Node> {
        self.entries.get(key)
    }

    /// All that is below a directory, however deep.
    pub fn below<'a>(&'a self, key: &[u8]) -> Entries<'a> {
        let start = if key.is_empty() { Key::new() } else { join(key, b"") };
        let prefix = start.clone();
        let from = if key.is_empty() { Bound::Excluded(start) } else { Bound::Included(start) };
        Box::new(self.entries.range((from, Bound::Unbounded)).take_while(move |(key, _)| key.starts_with(&prefix)))
    }

    /// What stands in a directory itself.
    pub fn children<'a>(&'a self, key: &[u8]) -> Entries<'a> {
        let parent = key.to_vec();
        Box::new(self.below(key).filter(move |(key, _)| parent_of(key) == parent && !key.is_empty()))
    }

    /// The path that another one leads to when all links are followed, each inside the root. `None` where nothing is,
    /// or the links have no end.
    pub fn resolve(&self, path: &[u8]) -> Option<Key> {
        self.walk(path, true)
    }

    /// The same, but a link at the end stays.
    pub fn locate(&self, path: &[u8]) -> Option<Key> {
        self.walk(path, false)
    }

    fn walk(&self, path: &[u8], follow_last: bool) -> Option<Key> {
        let names = |path: &[u8]| path.split(|b| matches!(b, b'/' | 0)).rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
        let (mut left, mut at, mut links) = (names(path), Key::new(), 0);
        while let Some(name) = left.pop() {
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    at = parent_of(&at).to_vec();
                    continue;
                }
                _ => {}
            }
            let next = join(&at, &name);
            let node = self.entries.get(&next)?;
            match &node.target {
                Some(target) if follow_last || left.iter().any(|name| !name.is_empty()) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    let target = target.as_bytes();
                    if target.starts_with(b"/") {
                        at.clear();
                    }
                    left.extend(names(target));
                }
                _ if !node.is_dir() && left.iter().any(|name| !name.is_empty()) => return None,
                _ => at = next,
            }
        }
        Some(at)
    }

    /// What a path leads to.
    pub fn find(&self, path: &str) -> Option<(Key, &Node)> {
        let key = self.resolve(path.as_bytes())?;
        let node = self.get(&key)?;
        Some((key, node))
    }

    /// What a path leads to, where that is a regular file.
    pub fn file(&self, path: &str) -> Option<(Key, &Node)> {
        self.find(path).filter(|(_, node)| node.is_file())
    }

    /// The first bytes of the regular file that a path leads to; `None` where there is none.
    pub fn read(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        let (key, _) = self.file(path)?;
        self.read_key(&key, limit).ok()
    }

    pub fn read_key(&self, key: &[u8], limit: u64) -> Result<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let read = self.open(key)?.take(limit).read_to_end(&mut bytes);
        read.map_err(|e| Error::host(format!("read {}: {e}", shown(key))))?;
        Ok(bytes)
    }

    /// Opens a regular file of the tree.
    pub fn open(&self, key: &[u8]) -> Result<File> {
        let node = self.entries.get(key).filter(|node| node.is_file());
        let node = node.ok_or_else(|| Error::user(format!("{} is no regular file", shown(key))))?;
        let failed = |e| Error::from(e).during(shown(key));
        let (dir, name) = self.dir_of(node, key)?;
        let file = at::open_file(dir.as_ref().unwrap_or(&self.sources[node.layer].root), &name).map_err(failed)?;
        // it may have been exchanged since it was looked at
        match kind(&at::stat_fd(&file)?) == libc::S_IFREG {
            true => Ok(file),
            false => Err(Error::host(format!("{} has changed meanwhile", shown(key)))),
        }
    }

    /// A directory that is near enough for the rest of the path, where the root is not.
    fn dir_of(&self, node: &Node, key: &[u8]) -> Result<(Option<OwnedFd>, OsString)> {
        let mut path: Vec<u8> = key.iter().map(|b| if *b == 0 { b'/' } else { *b }).collect();
        let mut dir = None;
        while path.len() > LONGEST_PATH {
            let Some(slash) = path[..LONGEST_PATH].iter().rposition(|b| *b == b'/') else { break };
            let rest = path.split_off(slash + 1);
            let from = dir.as_ref().unwrap_or(&self.sources[node.layer].root);
            dir = Some(at::open_dir(from, OsStr::from_bytes(&path[..slash]))?);
            path = rest;
        }
        Ok((dir, OsString::from_vec(path)))
    }

    /// The extended attributes of a file or directory that an image may have.
    pub(in super::super) fn xattrs(&self, key: &[u8], node: &Node) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut xattrs = if node.is_file() {
            Attributes::read(&self.open(key)?)?.xattrs
        } else if node.is_dir() && !key.is_empty() {
            let (dir, name) = self.dir_of(node, key)?;
            match at::open_dir(dir.as_ref().unwrap_or(&self.sources[node.layer].root), &name) {
                Err(e) if e.errno == Errno::EXDEV => Vec::new(), // a mount point
                dir => Attributes::read(&dir?)?.xattrs,
            }
        } else {
            Vec::new()
        };
        xattrs.sort();
        Ok(xattrs)
    }

    /// What tells the content of a file from that of any other file of its length. A hole costs nothing to read.
    pub(in super::super) fn fingerprint(&self, key: &[u8]) -> Result<[u8; 32]> {
        let mut hash = Sha256::new();
        data::blocks(&self.open(key)?, &mut |number, bytes| {
            hash.update(number.to_le_bytes());
            hash.update(bytes);
        })
        .map_err(|e| Error::from(e).during(shown(key)))?;
        Ok(hash.finalize().into())
    }

    /// Whether two nodes under one path are one and the same file.
    pub(in super::super) fn is_same(&self, node: &Node, other: &Tree, of_other: &Node) -> bool {
        node.inode == of_other.inode || self.sources[node.layer].name == other.sources[of_other.layer].name
    }

    /// How many there are besides directories, and the bytes of them; a file with several names counts once in those.
    pub fn size(&self) -> (usize, u64) {
        let mut seen = HashSet::new();
        let files = self.entries.values().filter(|node| !node.is_dir());
        files.fold((0, 0), |(count, bytes): (usize, u64), node| {
            let first = !node.has_twins || seen.insert(node.inode);
            (count + 1, bytes.saturating_add(if first { node.size } else { 0 }))
        })
    }

    /// How many programs there are; one with several names counts once.
    pub fn programs(&self) -> usize {
        let programs = self.entries.values().filter(|node| node.is_program());
        programs.map(|node| node.inode).collect::<HashSet<_>>().len()
    }
}
