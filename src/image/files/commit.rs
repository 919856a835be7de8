//! A container's changes as a layer on its image (OCI image-spec, layer.md): `.wh.NAME` for what is deleted,
//! `.wh..wh..opq` in a directory that hides the one below.

use super::changes::{Change, ChangeKind, hides, refuse_references};
use super::pack::{Links, Xattrs, entry};
use super::walk::{self, Found, Mounts};
use crate::error::{Error, Result};
use crate::id::Digest;
use crate::image::archive::{Blob, add_manifest};
use crate::image::assemble::{self, Compression, Content, Entry, EntryKind, Time};
use crate::image::ingest::{Expected, Ingest};
use crate::image::layer::{Attributes, is_opaque};
use crate::image::reference::Reference;
use crate::image::store::{Image, Store};
use crate::sys::at;
use crate::sys::fs::{self, Root};
use oci_spec::image::{ImageConfiguration, MediaType};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A new image: a layer on the ones of `base`.
#[derive(Debug)]
pub struct Commit<'a> {
    pub base: Option<&'a Image>,
    pub layer: Vec<Entry>,
    /// Its list of layers is filled in.
    pub config: ImageConfiguration,
    /// docker's `config.Healthcheck`, which OCI's configuration does not know.
    pub health: Option<serde_json::Value>,
    pub name: Option<&'a Reference>,
}

/// Puts it into the store, whole or not at all.
pub fn commit(store: &Store, commit: Commit<'_>) -> Result<Image> {
    let Commit { base, layer, mut config, health, name } = commit;
    let mut ingest = Ingest::begin(store)?;
    let layout = ingest.fresh_path()?;
    assemble::create_layout(&layout)?;
    let made = assemble::add_layer(&layout, layer, None, Compression::Gzip)?;
    let path = layout.child("blobs/sha256").child(made.blob.digest.hex());
    let file = File::from(fs::open_read(path.as_path())?);
    ingest.add(file, Expected { digest: Some(&made.blob.digest), size: Some(made.blob.size) })?;

    let below = base.map_or(&[][..], |image| &image.layers);
    let diff_ids = below.iter().map(|layer| &layer.diff_id).chain([&made.diff_id]).map(ToString::to_string).collect();
    config.rootfs_mut().set_diff_ids(diff_ids);
    let mut blobs: Vec<Blob> = below
        .iter()
        .map(|l| Blob { media_type: MediaType::from(l.media_type.as_str()), digest: l.digest.clone(), size: l.size })
        .collect();
    blobs.push(Blob {
        media_type: made.compression.media_type(),
        digest: made.blob.digest.clone(),
        size: made.blob.size,
    });
    let mut config = serde_json::to_value(&config).map_err(|e| Error::internal(format!("a configuration: {e}")))?;
    if let Some(health) = health {
        config["config"]["Healthcheck"] = health;
    }
    let config: Digest = ingest.add_bytes(&assemble::canonical_json(&config)?)?;
    let manifest = add_manifest(&mut ingest, &config, blobs)?;
    let images = ingest.commit(&[(manifest, name.into_iter().cloned().collect())])?;
    images.into_iter().next().ok_or_else(|| Error::internal("commit made no image"))
}

/// The entries of a layer that makes the same changes as an upper directory of overlayfs.
pub fn layer_entries(upper: &Arc<Root>) -> Result<Vec<Entry>> {
    let (mut entries, mut links) = (Vec::new(), Links::default());
    walk::each(&upper.name_fd(Path::new("."))?, Path::new(""), Mounts::Leave, &mut |found| {
        refuse_references(found)?;
        let name = found.path.file_name().unwrap_or_default();
        if hides(found)? {
            let mut hidden = OsString::from(".wh.");
            hidden.push(name);
            entries.push(mark(found.path.with_file_name(hidden), found));
            return Ok(());
        }
        refuse_mark(found.path)?;
        if found.dir.map(is_opaque).transpose()? == Some(true) {
            entries.push(mark(found.path.join(".wh..wh..opq"), found));
        }
        entries.extend(entry(found, &mut links, |found| later(upper, found))?);
        Ok(())
    })?;
    Ok(entries)
}

/// The entries of a layer that makes these changes, which have made `root` what it is. That of the root comes with them.
pub fn changed_entries(root: &Arc<Root>, changes: &[Change]) -> Result<Vec<Entry>> {
    let mut deleted: BTreeMap<PathBuf, Vec<OsString>> = BTreeMap::new();
    let mut changed = BTreeSet::from([PathBuf::new()]);
    for change in changes {
        let path = change.path.strip_prefix("/").unwrap_or(&change.path).to_owned();
        match (change.kind, path.parent(), path.file_name()) {
            (ChangeKind::Deleted, Some(dir), Some(name)) => {
                let mut hidden = OsString::from(".wh.");
                hidden.push(name);
                deleted.entry(dir.to_owned()).or_default().push(hidden);
            }
            _ => drop(changed.insert(path)),
        }
    }
    let (mut entries, mut links) = (Vec::new(), Links::default());
    walk::each(&root.name_fd(Path::new("."))?, Path::new(""), Mounts::Leave, &mut |found| {
        if changed.contains(found.path) {
            refuse_mark(found.path)?;
            entries.extend(entry(found, &mut links, |found| later(root, found))?);
        }
        let gone = deleted.get(found.path).into_iter().flatten();
        entries.extend(gone.map(|hidden| mark(found.path.join(hidden), found)));
        Ok(())
    })?;
    Ok(entries)
}

/// A name that would delete another one.
fn refuse_mark(path: &Path) -> Result<()> {
    match path.file_name().is_some_and(|name| name.as_bytes().starts_with(b".wh.")) {
        true => Err(Error::user(format!("/{} cannot be in an image", path.display()))
            .hint("names that begin with `.wh.` mean deleted files there: rename it")),
        false => Ok(()),
    }
}

/// The entries of a layer that is a whole root.
pub fn flat_entries(root: &Arc<Root>) -> Result<Vec<Entry>> {
    let (mut entries, mut links) = (Vec::new(), Links::default());
    walk::each(&root.name_fd(Path::new("."))?, Path::new(""), Mounts::Leave, &mut |found| {
        entries.extend(entry(found, &mut links, |found| later(root, found))?);
        Ok(())
    })?;
    Ok(entries)
}

/// A file's bytes are read when its turn comes, for a layer has more files than a process descriptors.
fn later(root: &Arc<Root>, found: &Found<'_>) -> Result<(Content, Xattrs)> {
    let xattrs = Attributes::read(&at::reopen_file(found.fd)?)?.xattrs;
    Ok((Content::Inside { root: root.clone(), path: found.path.to_owned() }, xattrs))
}

fn mark(path: PathBuf, of: &Found<'_>) -> Entry {
    Entry {
        path,
        kind: EntryKind::File(Content::Bytes(Vec::new())),
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Time { seconds: of.stat.st_mtime, nanoseconds: of.stat.st_mtime_nsec as u32 },
        xattrs: BTreeMap::new(),
    }
}
