//! `diff` and `export`: a container's root as a whole, without what is mounted in it.

use super::copy::Out;
use super::{Held, hold};
use crate::error::{Error, Result};
use crate::id::HostPath;
use crate::image::files::{self, Change, ChangeKind, Mounts, pack_but};
use crate::image::inside::{Form, Tree, changes_between};
use crate::image::{Lower, Store};
use crate::mount::probe;
use crate::ops::own::Own;
use crate::state::Roots;
use crate::sys::fs::Root;
use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

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
    let Some((_, lower)) = held.lower()? else {
        return Err(Error::user(format!("container {word} has no image to compare with"))
            .hint(format!("its root is the directory {} itself", held.config.image)));
    };
    let changes = match held.own() {
        Own::Nothing => Vec::new(),
        Own::Upper(upper) => {
            let below = OwnedFd::from(probe::open_layers(lower.dirs())?);
            files::changes(&OwnedFd::from(Root::open(upper.as_path())?), &below)?
        }
        Own::Copy(copy) => changes_of_copy(&held, &lower, &copy)?,
    };
    let letter = |kind| match kind {
        ChangeKind::Modified => 'C',
        ChangeKind::Added => 'A',
        ChangeKind::Deleted => 'D',
    };
    let row = |change: Change| DiffRow { letter: letter(change.kind), path: change.path.display().to_string() };
    Ok(changes.into_iter().map(row).collect())
}

/// The same by a comparison of all that is in both.
pub(super) fn changes_of_copy(held: &Held<'_>, lower: &Lower, copy: &HostPath) -> Result<Vec<Change>> {
    let one = |dir: &HostPath, form| (dir.to_string(), dir.clone(), form);
    let mut image: Vec<_> = lower.of_image().iter().map(|dir| one(dir, form(lower))).collect();
    image.insert(0, one(&Store::look(&held.roots.root).skeleton(), Form::Plain)); // it is in the copy, too
    changes_between(&Tree::of(&image)?, &Tree::of(&[one(copy, Form::Plain)])?)
}

/// How the directories of an image are to be read.
pub(in crate::ops) fn form(lower: &Lower) -> Form {
    match lower {
        Lower::Layers(_) => Form::Layer,
        Lower::Whole(_) => Form::Plain,
    }
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
    let added = held.lower()?.map_or_else(|| Ok(BTreeSet::new()), |(_, lower)| held.own().added(&lower))?;
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
