//! `prune` and `df`: what nobody uses any more, and what everything takes.

use super::container::{self, Anonymous, Force};
use super::image::{self, Removed};
use super::list::images::{self, ImageRow};
use crate::error::Result;
use crate::id::ContainerId;
use crate::state::{Roots, Status, volume};
use crate::sys::usage;
use std::collections::BTreeSet;

/// What was removed, and how many bytes that gave back.
#[derive(Debug)]
pub struct Pruned<T> {
    pub removed: Vec<T>,
    pub reclaimed: u64,
}

/// Removes all containers that do not run. One that somebody starts meanwhile stays.
pub fn containers(roots: &Roots) -> Result<Pruned<ContainerId>> {
    let mut pruned = Pruned { removed: Vec::new(), reclaimed: 0 };
    for one in container::all(roots)? {
        if !matches!(one.status, Status::Created | Status::Exited(_) | Status::Dead) {
            continue;
        }
        let size = size_of(roots, &one.id);
        if container::remove(roots, one.id.as_str(), Force::No, Anonymous::Keep).is_ok() {
            pruned.removed.push(one.id);
            pruned.reclaimed += size;
        }
    }
    Ok(pruned)
}

/// Removes the images without a name that no container was made from, or with `all` those with one, too.
pub fn images(roots: &Roots, all: bool) -> Result<Pruned<Removed>> {
    let used = super::used_images(roots)?;
    let mut pruned = Pruned { removed: Vec::new(), reclaimed: 0 };
    for row in distinct(images::all(roots)?) {
        if used.contains(&row.digest) || !(all || row.repository == "<none>") {
            continue;
        }
        pruned.removed.extend(image::remove(roots, &row.digest.to_string(), Force::No)?);
        pruned.reclaimed += row.size;
    }
    Ok(pruned)
}

/// A line of `system df`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub kind: &'static str,
    pub total: usize,
    pub active: usize,
    /// In bytes.
    pub size: u64,
    /// What a prune of all that is not active would give back.
    pub reclaimable: u64,
}

/// What images, containers and volumes take on disk.
pub fn df(roots: &Roots) -> Result<Vec<Taken>> {
    let sum = |kind, all: &[(bool, u64)]| Taken {
        kind,
        total: all.len(),
        active: all.iter().filter(|(active, _)| *active).count(),
        size: all.iter().map(|(_, size)| size).sum(),
        reclaimable: all.iter().filter(|(active, _)| !active).map(|(_, size)| size).sum(),
    };
    let used = super::used_images(roots)?;
    let of_images: Vec<_> =
        distinct(images::all(roots)?).iter().map(|row| (used.contains(&row.digest), row.size)).collect();
    let of_containers: Vec<_> =
        container::all(roots)?.iter().map(|one| (one.status.is_alive(), size_of(roots, &one.id))).collect();
    // where a container's record cannot be read it may have any of them
    let users = volume::users(roots, None);
    let of_volumes: Vec<_> = volume::all(&roots.volumes())?
        .iter()
        .map(|one| {
            let data = volume::data(&roots.volumes(), &one.name);
            (
                users.as_ref().map_or(true, |users| users.contains_key(&one.name)),
                usage::of_tree(data.as_path()).unwrap_or(0),
            )
        })
        .collect();
    Ok(vec![sum("Images", &of_images), sum("Containers", &of_containers), sum("Local Volumes", &of_volumes)])
}

/// What a container has written, its log included.
fn size_of(roots: &Roots, id: &ContainerId) -> u64 {
    usage::of_tree(roots.container(id).as_path()).unwrap_or(0)
}

/// One row for each image, whatever its names.
fn distinct(rows: Vec<ImageRow>) -> Vec<ImageRow> {
    let mut seen = BTreeSet::new();
    rows.into_iter().filter(|row| seen.insert(row.digest.clone())).collect()
}
