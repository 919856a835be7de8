//! The merged root as data: every path with what stands there and the layer that it comes from. It is what overlayfs
//! would show of the same directories (Documentation/filesystems/overlayfs.rst), found without a mount, and it is the
//! only way to the files: a path is resolved in the data, and then opened by plain names below its layer's descriptor.

mod look;

use crate::error::{Errno, Error, Result};
use crate::id::HostPath;
use crate::image::layer::{is_opaque, is_whiteout, kind};
use crate::sys::at;
use nix::sys::stat::FileStat;
use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// A path below the root, its names separated by NUL: sorted bytewise, all below a directory follows it at once. The
/// empty one is the root.
pub type Key = Vec<u8>;

/// A descriptor is held for each level, and a process has 1024 of them by default.
const MAX_DEPTH: usize = 900;
/// As many files as the largest images have, ten times over; each takes about 200 bytes of memory.
const MAX_ENTRIES: usize = 4_000_000;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// With the type.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of a regular file, else 0.
    pub size: u64,
    pub time: at::Time,
    /// Of a device.
    pub device: u64,
    /// Of a symbolic link.
    pub target: Option<OsString>,
    /// Which of the tree's sources holds it.
    pub layer: usize,
    inode: (u64, u64),
    has_twins: bool,
}

impl Node {
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    pub fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    pub fn is_file(&self) -> bool {
        self.kind() == libc::S_IFREG
    }

    /// A regular file that somebody may execute.
    pub fn is_program(&self) -> bool {
        self.is_file() && self.mode & 0o111 != 0
    }

    /// A regular file that gives who executes it another user's or group's rights.
    pub fn is_setuid(&self) -> bool {
        self.is_program() && (self.mode & libc::S_ISUID != 0 || self.mode & 0o2010 == 0o2010)
    }

    /// What a file type is called.
    pub fn type_name(&self) -> &'static str {
        match self.kind() {
            libc::S_IFREG => "file",
            libc::S_IFDIR => "directory",
            libc::S_IFLNK => "link",
            libc::S_IFCHR | libc::S_IFBLK => "device",
            libc::S_IFIFO => "FIFO",
            _ => "socket",
        }
    }
}

/// How a directory is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A layer for overlayfs, with its whiteouts.
    Layer,
    /// As it is.
    Plain,
}

/// One layer, and its share in the whole.
#[derive(Debug)]
pub struct Source {
    /// Sources with the same name hold the same.
    pub name: String,
    root: OwnedFd,
    /// What it holds besides directories, and the bytes of that.
    pub files: usize,
    pub bytes: u64,
    /// What it does to the layers below.
    pub added: usize,
    pub changed: usize,
    pub deleted: usize,
    /// Bytes of lower layers that it hides.
    pub hidden: u64,
}

/// A file of which several layers have a copy, or that a later layer deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waste {
    pub copies: usize,
    /// Bytes of all its copies; of the smallest, where a deletion counts as one of none; and of those that nobody sees.
    pub all: u64,
    pub least: u64,
    pub hidden: u64,
}

/// A root file system.
#[derive(Debug, Default)]
pub struct Tree {
    /// Lowest first.
    pub sources: Vec<Source>,
    pub entries: BTreeMap<Key, Node>,
    /// Which layer deleted what is no more.
    pub deleted: BTreeMap<Key, usize>,
    pub wasted: BTreeMap<Key, Waste>,
}

/// The key of a path as people write it; its links, `.` and `..` are left as they are.
pub fn key(path: &str) -> Key {
    let names: Vec<&[u8]> = path.as_bytes().split(|b| *b == b'/').filter(|name| !name.is_empty()).collect();
    names.join(&0)
}

/// The path as people read it.
pub fn shown(key: &[u8]) -> String {
    let mut path = vec![b'/'];
    path.extend(key.iter().map(|b| if *b == 0 { b'/' } else { *b }));
    String::from_utf8_lossy(&path).into_owned()
}

/// The path as the kernel takes it, from the root on.
pub(super) fn path(key: &[u8]) -> PathBuf {
    let bytes: Vec<u8> = [b'/'].into_iter().chain(key.iter().map(|b| if *b == 0 { b'/' } else { *b })).collect();
    PathBuf::from(OsString::from_vec(bytes))
}

/// The last name.
pub fn name_of(key: &[u8]) -> &[u8] {
    key.rsplit(|b| *b == 0).next().unwrap_or_default()
}

pub(super) fn parent_of(key: &[u8]) -> &[u8] {
    key.iter().rposition(|b| *b == 0).map_or(&[], |at| &key[..at])
}

pub(super) fn join(dir: &[u8], name: &[u8]) -> Key {
    if dir.is_empty() { name.to_vec() } else { [dir, &[0], name].concat() }
}

impl Tree {
    /// The merged tree of these directories, each with its name, the lowest first.
    pub fn of(dirs: &[(String, HostPath, Form)]) -> Result<Tree> {
        let mut tree = Tree::default();
        for (name, dir, form) in dirs {
            let root = at::open_root(dir.as_path()).map_err(|e| unreadable(e.into(), dir.as_str()))?;
            let name = name.clone();
            let (files, bytes, added, changed, deleted, hidden) = (0, 0, 0, 0, 0, 0);
            tree.sources.push(Source { name, root, files, bytes, added, changed, deleted, hidden });
            tree.apply(*form).map_err(|e| unreadable(e, dir.as_str()))?;
        }
        Ok(tree)
    }

    /// Puts the last source on top of what is there.
    fn apply(&mut self, form: Form) -> Result<()> {
        let layer = self.sources.len() - 1;
        let root = at::open_dir(&self.sources[layer].root, OsStr::new("."))?;
        let mut seen = HashSet::new();
        let mut levels = vec![self.enter(Key::new(), root, form)?];
        while let Some(top) = levels.last_mut() {
            let Some(name) = top.names.next() else {
                levels.pop();
                continue;
            };
            let Some(stat) = at::stat(&top.dir, &name)? else { continue };
            let key = join(&top.key, name.as_bytes());
            if form == Form::Layer && is_whiteout(&stat) {
                self.delete(&key, layer);
            } else if kind(&stat) == libc::S_IFDIR {
                match at::open_dir(&top.dir, &name) {
                    Ok(dir) if levels.len() < MAX_DEPTH => levels.push(self.enter(key, dir, form)?),
                    Ok(_) => return Err(Error::image(format!("directories more than {MAX_DEPTH} deep"))),
                    // another file system is mounted there: an empty directory
                    Err(e) if e.errno == Errno::EXDEV => self.put(key, node(&stat, None, layer), true),
                    Err(e) => return Err(Error::from(e).during(shown(&key))),
                }
            } else {
                let link = kind(&stat) == libc::S_IFLNK;
                let target = if link { Some(at::readlink(&top.dir, &name)?) } else { None };
                let node = node(&stat, target, layer);
                let first = !node.has_twins || seen.insert(node.inode);
                self.put(key, node, first);
            }
            if self.entries.len() > MAX_ENTRIES {
                return Err(Error::image(format!("more than {MAX_ENTRIES} files")));
            }
        }
        Ok(())
    }

    /// A directory is put in its place before what it holds.
    fn enter(&mut self, key: Key, dir: OwnedFd, form: Form) -> Result<Level> {
        let layer = self.sources.len() - 1;
        if form == Form::Layer {
            if is_opaque(&dir)? {
                self.delete_below(&key, layer);
            }
            if at::xattr(&dir, b"trusted.overlay.redirect")?.is_some() {
                return Err(Error::host(format!("{} was renamed, and this host keeps that by reference", shown(&key)))
                    .hint("echo N >/sys/module/overlay/parameters/redirect_dir, for containers made from now on"));
            }
        }
        self.put(key.clone(), node(&at::stat_fd(&dir)?, None, layer), true);
        let names = at::entries(at::open_dir(&dir, OsStr::new("."))?)?.into_iter().map(|(name, _)| name);
        Ok(Level { dir, key, names: names.collect::<Vec<_>>().into_iter() })
    }

    /// `first`: its bytes are not counted yet under another name.
    fn put(&mut self, key: Key, new: Node, first: bool) {
        let layer = new.layer;
        let old = self.entries.get(&key).map(|old| (old.is_dir(), old.is_file().then_some(old.size)));
        if old.is_some_and(|(dir, _)| dir) && !new.is_dir() {
            self.delete_below(&key, layer);
        }
        let source = &mut self.sources[layer];
        if !new.is_dir() {
            source.files += 1;
            source.bytes = source.bytes.saturating_add(if first { new.size } else { 0 });
        }
        match old {
            None => source.added += usize::from(!key.is_empty()),
            Some((dir, _)) => source.changed += usize::from(!(dir && new.is_dir())),
        }
        if let Some((_, Some(size))) = old {
            self.waste(&key, size, new.size, layer);
        }
        self.deleted.remove(&key);
        self.entries.insert(key, new);
    }

    fn delete(&mut self, key: &[u8], layer: usize) {
        self.delete_below(key, layer);
        self.delete_one(key, layer);
    }

    fn delete_below(&mut self, key: &[u8], layer: usize) {
        let below: Vec<Key> = self.below(key).map(|(key, _)| key.clone()).collect();
        below.iter().for_each(|key| self.delete_one(key, layer));
    }

    fn delete_one(&mut self, key: &[u8], layer: usize) {
        let Some(old) = self.entries.remove(key) else { return };
        self.sources[layer].deleted += 1;
        if old.is_file() {
            self.waste(key, old.size, 0, layer);
        }
        self.deleted.insert(key.to_vec(), layer);
    }

    /// A copy of `old` bytes is hidden by one of `new` bytes.
    fn waste(&mut self, key: &[u8], old: u64, new: u64, layer: usize) {
        let hidden = &mut self.sources[layer].hidden;
        *hidden = hidden.saturating_add(old);
        let waste = self.wasted.entry(key.to_vec()).or_insert(Waste { copies: 1, all: old, least: old, hidden: 0 });
        waste.copies += 1;
        waste.all = waste.all.saturating_add(new);
        waste.least = waste.least.min(new);
        waste.hidden = waste.hidden.saturating_add(old);
    }
}

struct Level {
    dir: OwnedFd,
    key: Key,
    names: std::vec::IntoIter<OsString>,
}

fn node(stat: &FileStat, target: Option<OsString>, layer: usize) -> Node {
    let size = if kind(stat) == libc::S_IFREG { stat.st_size.unsigned_abs() } else { 0 };
    Node {
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size,
        time: at::Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec },
        device: stat.st_rdev,
        target,
        layer,
        inode: (stat.st_dev, stat.st_ino),
        has_twins: stat.st_nlink > 1 && kind(stat) != libc::S_IFDIR,
    }
}

fn unreadable(error: Error, dir: &str) -> Error {
    match error.is_errno(Errno::EACCES) {
        true => error.during(dir).hint("root may read it: sudo minirun …"),
        false => error.during(dir),
    }
}
