//! The planner's eyes for paths: what stands at mount targets inside an image, and at bind sources on the host.
//! Reads only; leaves nothing, for several layers are looked at through an overlay that is attached nowhere.

use super::overlay::overlay;
use super::plan::{Facts, Kind};
use crate::error::{Errno, Error, Result};
use crate::id::HostPath;
use crate::sys::fs::{self, Root};
use crate::sys::process::Identity;
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use std::path::Path;

/// The merged tree of layers (lowest first), for looking into it.
pub fn open_layers(layers: &[HostPath]) -> Result<Root> {
    match layers {
        [] => Err(Error::image("the image has no layers")),
        [one] => Ok(Root::open(one.as_path())?),
        many => Ok(Root::from_fd(overlay(many, None, false)?)),
    }
}

/// What the planner wants to know of the paths in a specification. Without `image` nothing is known of its inside.
pub fn facts(spec: &Spec, image: Option<&Root>, owners: BTreeMap<HostPath, Identity>) -> Facts {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let linux = spec.linux().as_ref();
    let hidden = |paths: Option<&Vec<String>>| paths.cloned().unwrap_or_default();
    let masked = hidden(linux.and_then(|l| l.masked_paths().as_ref()));
    let read_only = hidden(linux.and_then(|l| l.readonly_paths().as_ref()));
    let targets = mounts.iter().map(|m| m.destination().to_string_lossy().into_owned()).chain(masked.iter().cloned());
    let targets = targets.chain(spec.process().iter().map(|p| p.cwd().to_string_lossy().into_owned()));
    let sources = mounts.iter().filter_map(|m| m.source().as_ref()).filter(|source| source.is_absolute());
    let kernel = masked.iter().chain(&read_only).filter(|p| p.starts_with("/proc/") || p.starts_with("/sys/"));
    Facts {
        targets: image.map_or_else(BTreeMap::new, |root| found(targets, |path| root.stat(Path::new(path)).ok())),
        sources: found(sources.map(|p| p.to_string_lossy().into_owned()), |path| fs::stat(Path::new(path)).ok()),
        kernel: found(kernel.cloned(), |path| fs::stat(Path::new(path)).ok()),
        owners,
        trees: BTreeMap::new(),
    }
}

fn found(paths: impl Iterator<Item = String>, stat: impl Fn(&str) -> Option<libc::stat>) -> BTreeMap<String, Kind> {
    let kind = |stat: libc::stat| match stat.st_mode & libc::S_IFMT {
        libc::S_IFDIR => Kind::Directory,
        _ => Kind::File,
    };
    paths.filter_map(|path| stat(&path).map(|stat| (path, kind(stat)))).collect()
}

/// /etc/passwd or /etc/group of an image: as long as these files are on the largest hosts, and no longer.
const ACCOUNTS_MAX: u64 = 16 << 20;

/// A text file of the image; `None` where it is missing. Anything but a regular file is refused (CVE-2024-9676).
pub fn text(root: &Root, path: &str) -> Result<Option<String>> {
    match root.read(Path::new(path), ACCOUNTS_MAX) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(e) => Err(Error::image(format!("cannot read {path} of the image: {e}"))
            .hint("it must be a regular file of at most 16 MiB")),
    }
}
