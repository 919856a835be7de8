//! Mounts that are made for an init in a user namespace of its own: opened by who may, and shown in that one's ids.
//! On disk everything belongs to whom it belonged, so that no layer and no volume is copied or changed owner for it.

use super::apply::{bound, new, overlay, parameters};
use super::step::Step;
use crate::error::{Errno, Error, Result};
use crate::id::HostPath;
use crate::sys::credentials::as_file_owner;
use crate::sys::mount::{self, Parameter};
use crate::sys::process::Pid;
use crate::sys::{at, fs};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

/// What the step makes, attached nowhere. `owner` is the namespace's root on the host.
pub(super) fn made(step: &Step, owner: u32, init: Option<Pid>) -> Result<OwnedFd> {
    let init = init.ok_or_else(|| Error::internal("a step that needs init before there is one"))?;
    let ids = fs::open_read(Path::new(&format!("/proc/{init}/ns/user")))?;
    match step {
        Step::Overlay { lower, upper, work, target: _, volatile } => {
            let lower = Mapped::all(lower, &ids)?;
            // both in one mount (overlayfs.rst, "Upper and lower")
            let (dir, name) = parent(upper)?;
            let dir = Mapped::new(&dir, &ids)?;
            let (upper, work) = (dir.path()?.child(name), dir.path()?.child(parent(work)?.1));
            // the overlay writes as who has made it
            as_file_owner(owner, owner, || overlay(&paths(&lower)?, Some((&upper, &work)), *volatile))?
        }
        Step::BindRoot { source, .. } => {
            let tree = mount::open_tree(source.as_path(), true)?;
            map(&tree, &ids, true, source)?;
            Ok(tree)
        }
        Step::Bind(bind) => bound(bind, Some(&ids)),
        Step::Mount { fstype, source, data, attributes, .. } => {
            let (lower, data): (Vec<_>, Vec<_>) = data.iter().partition(|word| word.starts_with("lowerdir="));
            let highest_first = lower.iter().flat_map(|word| layers(&word["lowerdir=".len()..]));
            let lower = highest_first.map(|dir| HostPath::parse(&dir)).collect::<Result<Vec<_>>>()?;
            let lower = Mapped::all(&lower, &ids)?;
            let places = paths(&lower)?;
            let data: Vec<String> = data.into_iter().cloned().collect();
            let mut all = parameters(source, &data);
            all.extend(places.iter().map(|dir| Parameter::Text("lowerdir+", dir.as_str())));
            new(fstype, &all, attributes)
        }
        _ => Err(Error::internal("a step whose mount cannot be lent")),
    }
}

/// A file of ours that becomes the container's. Its file system need not know idmapped mounts: it lies in /run.
pub(super) fn given(file: &HostPath, owner: u32) -> Result<OwnedFd> {
    let tree = mount::open_tree(file.as_path(), false)?;
    at::chown_fd(&fs::open_read(file.as_path())?, owner, owner)?;
    Ok(tree)
}

/// A copy of a directory's mount in other ids; it has a path as long as this is held.
struct Mapped(OwnedFd);

impl Mapped {
    fn new(dir: &HostPath, ids: &OwnedFd) -> Result<Mapped> {
        let tree = mount::open_tree(dir.as_path(), false)?;
        map(&tree, ids, false, dir)?;
        Ok(Mapped(tree))
    }

    fn all(dirs: &[HostPath], ids: &OwnedFd) -> Result<Vec<Mapped>> {
        dirs.iter().map(|dir| Mapped::new(dir, ids)).collect()
    }

    fn path(&self) -> Result<HostPath> {
        HostPath::parse(&format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

fn paths(mapped: &[Mapped]) -> Result<Vec<HostPath>> {
    mapped.iter().map(Mapped::path).collect()
}

pub(super) fn map(tree: &OwnedFd, ids: &OwnedFd, recursive: bool, source: &HostPath) -> Result<()> {
    mount::map_ids(tree, ids, recursive).map_err(|e| {
        let errno = e.errno;
        let error = Error::from(e).during(format!("{source} in the ids of a user namespace"));
        match errno {
            Errno::EINVAL => error.hint(
                "its file system must know idmapped mounts (ext4, xfs and btrfs do, tmpfs since Linux 6.3, most network file \
                 systems do not), and so must what is mounted below it; or run it without --userns",
            ),
            _ => error,
        }
    })
}

fn parent(path: &HostPath) -> Result<(HostPath, &str)> {
    let (dir, name) = path.as_str().rsplit_once('/').unwrap_or_default();
    Ok((HostPath::parse(dir)?, name))
}

/// The directories of an overlay's `lowerdir`: `:` stands between them, and `\` before one that does not.
fn layers(text: &str) -> Vec<String> {
    let mut dirs = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, dirs.last_mut()) {
            (':', _) => dirs.push(String::new()),
            ('\\', Some(dir)) => dir.extend(chars.next()),
            (c, Some(dir)) => dir.push(c),
            (_, None) => {}
        }
    }
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_may_stand_in_a_layers_name() {
        assert_eq!(layers(r"/a\:b:/c\\d"), ["/a:b", r"/c\d"]);
    }
}
