//! `diff` and `export`: a container's root as a whole, without what is mounted in it.

use super::copy::Out;
use super::{Held, hold};
use crate::error::{Error, Result, SysResult};
use crate::id::HostPath;
use crate::image::files::{self, ChangeKind, Mounts, pack_but};
use crate::image::skeleton;
use crate::mount::probe;
use crate::state::Roots;
use crate::sys::fs::{Root, exists, stat_fd};
use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A line of `diff`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffRow {
    /// `A`dded, `C`hanged, `D`eleted.
    pub letter: char,
    /// Absolute.
    pub path: String,
}

/// What a container has changed in its image, sorted.
pub fn diff(roots: &Roots, word: &str) -> Result<Vec<DiffRow>> {
    let held = hold(roots, word)?;
    let Some((_, layers)) = held.layers()? else {
        return Err(Error::user(format!("container {word} has no image to compare with"))
            .hint(format!("its root is the directory {} itself", held.config.image)));
    };
    let upper = held.upper();
    if !exists(upper.as_path()) {
        return Ok(Vec::new());
    }
    let lower = OwnedFd::from(probe::open_layers(&layers)?);
    let changes = files::changes(&OwnedFd::from(Root::open(upper.as_path())?), &lower)?;
    let letter = |kind| match kind {
        ChangeKind::Modified => 'C',
        ChangeKind::Added => 'A',
        ChangeKind::Deleted => 'D',
    };
    let row = |change: files::Change| DiffRow { letter: letter(change.kind), path: change.path.display().to_string() };
    Ok(changes.into_iter().map(row).collect())
}

/// What the lowest layer of every root alone has of it: neither the image nor the container.
fn added(held: &Held<'_>) -> Result<BTreeSet<PathBuf>> {
    let Some((_, layers)) = held.layers()? else { return Ok(BTreeSet::new()) };
    let upper = held.upper();
    let own = layers[1..].iter().chain(exists(upper.as_path()).then_some(&upper));
    let own = own.map(|dir| Root::open(dir.as_path())).collect::<SysResult<Vec<Root>>>()?;
    let paths = skeleton::DIRECTORIES.iter().chain(&skeleton::FILES).map(Path::new);
    let has = |root: &Root, path: &Path| {
        let found = root.name_fd(path).and_then(|found| stat_fd(&found));
        // a whiteout is none of theirs
        found.is_ok_and(|stat| stat.st_mode & libc::S_IFMT != libc::S_IFCHR)
    };
    Ok(paths.filter(|path| !own.iter().any(|root| has(root, path))).map(Path::to_owned).collect())
}

/// Where an export goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Stdout,
    /// Whole or not at all.
    File(HostPath),
}

/// Writes a container's root as a tar.
pub fn export(roots: &Roots, word: &str, output: &Output) -> Result<()> {
    let held = hold(roots, word)?;
    let root = held.bare()?.name_fd(Path::new("."))?;
    let added = added(&held)?;
    let write = |out: &mut dyn Write| {
        let out = BufWriter::with_capacity(128 << 10, out);
        pack_but(&added, out, &root, Path::new(""), Mounts::Leave, held.ids)
    };
    match output {
        Output::Stdout => write(&mut Out),
        Output::File(path) => {
            let failed = |e: std::io::Error| {
                Error::user(format!("cannot write {path}: {e}")).hint("-o takes a file in a directory that is there")
            };
            let dir = path.as_path().parent().unwrap_or(Path::new("/"));
            let mut file = tempfile::Builder::new().prefix(".export-").tempfile_in(dir).map_err(failed)?;
            write(file.as_file_mut())?;
            file.persist(path.as_path()).map(drop).map_err(|e| failed(e.error))
        }
    }
}
