//! `image ls`, `image cat` and `image tree`: into an image without a shell, of any processor.

use super::{Opened, Shelf, Word, made_by};
use crate::error::{Error, Kind, Result};
use crate::image::inside::{Key, Node, shown};
use crate::ops::files::copy::Out;
use crate::state::Roots;

/// A line of `image ls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// `-rwxr-xr-x`
    pub mode: String,
    pub owner: String,
    pub size: u64,
    /// RFC 3339.
    pub modified: String,
    pub name: String,
    /// Of a symbolic link.
    pub target: Option<String>,
}

/// What is in a directory, or the file itself.
pub fn list(roots: &Roots, word: &Word, path: &str) -> Result<Vec<FileRow>> {
    let shelf = Shelf::new(roots);
    let opened = shelf.open(word)?;
    let tree = &opened.tree;
    match tree.find(path) {
        Some((key, node)) if node.is_dir() => {
            let name = |key: &Key| shown(key).rsplit('/').next().unwrap_or_default().to_owned();
            Ok(tree.children(&key).map(|(key, node)| row(name(key), node)).collect())
        }
        _ => match tree.locate(path.as_bytes()).and_then(|key| tree.get(&key)) {
            Some(node) => Ok(vec![row(path.to_owned(), node)]),
            None => Err(missing(&opened, path)),
        },
    }
}

fn missing(opened: &Opened<'_>, path: &str) -> Error {
    // the nearest directory that is there
    let mut above = path.trim_end_matches('/');
    while let Some((dir, _)) = above.rsplit_once('/') {
        above = dir;
        if opened.tree.find(dir).is_some_and(|(_, node)| node.is_dir()) {
            break;
        }
    }
    let above = if above.is_empty() || !above.starts_with('/') { "/" } else { above };
    Error::new(Kind::NotFound, format!("{} {} has no {path}", opened.kind, opened.name))
        .hint(format!("minirun image ls {} {above}", opened.name))
}

fn row(name: String, node: &Node) -> FileRow {
    let letter = match node.kind() {
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        libc::S_IFIFO => 'p',
        libc::S_IFSOCK => 's',
        _ => '-',
    };
    let time = jiff::Timestamp::from_second(node.time.seconds).unwrap_or_default();
    FileRow {
        mode: format!("{letter}{}", permissions(node.mode)),
        owner: format!("{}:{}", node.uid, node.gid),
        size: node.size,
        modified: time.to_string(),
        name,
        target: node.target.as_ref().map(|target| target.to_string_lossy().into_owned()),
    }
}

/// As ls(1) shows them.
fn permissions(mode: u32) -> String {
    let mut text = String::new();
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => unset,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Writes a file of it to the standard output.
pub fn print(roots: &Roots, word: &Word, path: &str) -> Result<()> {
    let shelf = Shelf::new(roots);
    let opened = shelf.open(word)?;
    let (key, node) = opened.tree.find(path).ok_or_else(|| missing(&opened, path))?;
    if !node.is_file() {
        return Err(Error::user(format!("{path} of {} is a {}", opened.name, node.type_name()))
            .hint(format!("minirun image ls {} {path}", opened.name)));
    }
    let mut file = opened.tree.open(&key)?;
    let failed = |e: std::io::Error| Error { errno: e.raw_os_error(), ..Error::host(format!("writing {path}: {e}")) };
    std::io::copy(&mut file, &mut Out).map(drop).map_err(failed)
}

/// What `image tree` shows.
#[derive(Debug)]
pub struct LayerTree {
    pub name: String,
    pub architecture: Option<String>,
    /// The lowest first.
    pub layers: Vec<LayerRow>,
    pub files: usize,
    pub size: u64,
    /// Bytes of lower layers that no container sees, for later ones overwrite or delete them.
    pub wasted: u64,
    /// In percent, as dive has it: of each path the smallest of its copies, by all of them.
    pub efficiency: f64,
    /// The paths that waste most: copies, bytes that nobody sees, path.
    pub worst: Vec<(usize, u64, String)>,
}

/// A line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRow {
    pub id: String,
    /// As it is stored; `None` of a container's changes.
    pub stored: Option<u64>,
    pub files: usize,
    pub bytes: u64,
    pub added: usize,
    pub changed: usize,
    pub deleted: usize,
    /// Of lower layers that it hides.
    pub hidden: u64,
    pub by: String,
}

/// So many of the paths that waste something.
const WORST: usize = 10;

/// The layers, and what of them is wasted.
pub fn layers(roots: &Roots, word: &Word) -> Result<LayerTree> {
    let shelf = Shelf::new(roots);
    let opened = shelf.open(word)?;
    if !opened.by_layer {
        return Err(Error::host(format!("the layers of {} {} are not kept apart", opened.kind, opened.name))
            .hint("the store must lie on a file system that can hold overlays: minirun info --check"));
    }
    let tree = &opened.tree;
    let stored: Vec<u64> = opened.image.iter().flat_map(|image| &image.layers).map(|layer| layer.size).collect();
    let named = made_by(&opened).into_iter().zip(&tree.sources).enumerate();
    let rows = named.map(|(at, ((id, by), source))| LayerRow {
        id,
        stored: stored.get(at).copied(),
        files: source.files,
        bytes: source.bytes,
        added: source.added,
        changed: source.changed,
        deleted: source.deleted,
        hidden: source.hidden,
        by,
    });
    let layers: Vec<LayerRow> = rows.collect();
    let all: f64 = layers.iter().map(|layer| layer.bytes as f64).sum();
    // dive counts what a deletion hides once more where a directory is deleted; here each copy counts once
    let lost: f64 = tree.wasted.values().map(|waste| (waste.all - waste.least) as f64).sum();
    let mut worst: Vec<_> = tree.wasted.iter().filter(|(_, waste)| waste.hidden > 0).collect();
    worst.sort_by_key(|(_, waste)| std::cmp::Reverse(waste.hidden));
    let worst = worst.into_iter().take(WORST).map(|(key, waste)| (waste.copies, waste.hidden, shown(key)));
    let (files, size) = tree.size();
    Ok(LayerTree {
        architecture: opened.image.as_ref().map(|image| image.config.architecture().to_string()),
        wasted: layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.hidden)),
        efficiency: if all > 0.0 { 100.0 * (all - lost).max(0.0) / all } else { 100.0 },
        worst: worst.collect(),
        files,
        size,
        layers,
        name: opened.name,
    })
}

#[test]
fn permissions_are_those_of_ls() {
    for (mode, want) in [(0o644, "rw-r--r--"), (0o4755, "rwsr-xr-x"), (0o2640, "rw-r-S---"), (0o1777, "rwxrwxrwt")] {
        assert_eq!(permissions(mode), want);
    }
}
