//! Mounts that are made for an init in a user namespace of its own: opened by who may, and shown in that one's ids.
//! On disk everything belongs to whom it belonged, so that no layer and no volume is copied or changed owner for it.

use super::apply::{bound, of_its_own, parameters};
use super::options::Attribute;
use super::overlay;
use super::step::Step;
use crate::error::{Errno, Error, Result};
use crate::id::HostPath;
use crate::sys::credentials::as_file_owner;
use crate::sys::mount::{self, Parameter};
use crate::sys::process::{Pid, known};
use crate::sys::{at, fs};
use std::os::fd::OwnedFd;
use std::path::Path;

/// What the step makes, attached nowhere. `owner` is the namespace's root on the host, where its ids are to be shown.
pub(super) fn made(step: &Step, owner: Option<u32>, init: Option<Pid>) -> Result<OwnedFd> {
    let owner = match (owner, step) {
        (Some(owner), _) => owner,
        (None, Step::Bind(bind)) => return bound(bind, None),
        (None, _) => return Err(Error::internal("only a part of the host can be lent as it is")),
    };
    let ids = fs::open_read(Path::new(&format!("/proc/{}/ns/user", known(init)?)))?;
    match step {
        Step::Overlay { lower, upper, work, target: _, volatile } => {
            let volatile = volatile.then_some(Parameter::Flag("volatile"));
            let more = [Parameter::Text("source", "overlay")].into_iter().chain(volatile).collect();
            stacked(lower, Some((upper, work)), more, &[], owner, &ids)
        }
        Step::BindRoot { source, .. } => {
            let tree = mount::open_tree(source.as_path(), true)?;
            map(&tree, &ids, true, source)?;
            Ok(tree)
        }
        Step::Bind(bind) => bound(bind, Some(&ids)),
        Step::Mount { fstype: _, source, data, attributes, .. } => {
            let (lower, data): (Vec<_>, Vec<_>) = data.iter().partition(|word| word.starts_with("lowerdir="));
            let lower = lower.iter().flat_map(|word| layers(&word["lowerdir=".len()..])).rev();
            let lower = lower.map(|dir| HostPath::parse(&dir)).collect::<Result<Vec<_>>>()?;
            let data: Vec<String> = data.into_iter().cloned().collect();
            stacked(&lower, None, parameters(source, &data), attributes, owner, &ids)
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

/// Layers (lowest first) as one tree. An overlay is made of mounts with a name: before Linux 6.15 it takes none that is
/// attached nowhere (fs/namespace.c, clone_private_mount).
fn stacked(
    lower: &[HostPath],
    changes: Option<(&HostPath, &HostPath)>,
    more: Vec<Parameter<'_>>,
    attributes: &[Attribute],
    owner: u32,
    ids: &OwnedFd,
) -> Result<OwnedFd> {
    mount::in_a_copy(|place| {
        let mut all = more;
        let name = |dir: &HostPath, name: &str| {
            let tree = mount::open_tree(dir.as_path(), false)?;
            map(&tree, ids, false, dir)?;
            Ok::<_, Error>(mount::attach(&tree, &place.mkdir_all(Path::new(name), 0o700)?)?)
        };
        let names: Vec<String> = (0..lower.len()).map(overlay::short_name).collect();
        lower.iter().zip(&names).try_for_each(|(dir, short)| name(dir, short))?;
        let highest_first: Vec<&str> = names.iter().rev().map(String::as_str).collect();
        let joined = highest_first.join(":");
        all.extend(overlay::layers(&joined, highest_first.iter().copied()));
        let changed = match changes {
            Some((upper, work)) => {
                let ((dir, upper), (_, work)) = (parent(upper)?, parent(work)?);
                Some((dir, format!("changes/{upper}"), format!("changes/{work}")))
            }
            None => None,
        };
        if let Some((dir, upper, work)) = &changed {
            name(dir, "changes")?; // both in one mount (overlayfs.rst, "Upper and lower")
            all.extend([Parameter::Text("upperdir", upper), Parameter::Text("workdir", work)]);
        }
        // it writes as who has made it, and in these ids that must be somebody
        let (all, bits) = (of_its_own(all, attributes), Attribute::bits(attributes));
        let made = as_file_owner(owner, owner, || overlay::made(&all, bits, Some(place)))?;
        made.map_err(|e| match e.is_errno(Errno::EINVAL) && e.hint.is_none() {
            true => e.hint("an overlay in other ids needs Linux 5.19 or newer"),
            false => e,
        })
    })
}

pub(super) fn map(tree: &OwnedFd, ids: &OwnedFd, recursive: bool, source: &HostPath) -> Result<()> {
    mount::map_ids(tree, ids, recursive).map_err(|e| {
        let errno = e.errno;
        let error = Error::from(e).during(format!("{source} in the ids of a user namespace"));
        match errno {
            Errno::ENOSYS => error.hint("--userns needs Linux 5.19 or newer"),
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
