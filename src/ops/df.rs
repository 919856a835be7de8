//! `system df`: what everything takes on disk.

use super::container;
use super::image;
use super::list::containers::{self, ContainerRow, Wanted};
use super::list::images::{self, ImageRow};
use crate::error::Result;
use crate::id::{ContainerId, Digest, Name};
use crate::image::{Part, Store, Usage};
use crate::state::{Roots, volume};
use crate::sys::usage;
use std::collections::{BTreeMap, BTreeSet};

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

/// What images, containers and volumes take on disk: containers and volumes by the lengths of their files, the store by
/// its blocks, as du(1) counts.
pub fn df(roots: &Roots) -> Result<Vec<Taken>> {
    let sum = |kind, all: &[(bool, u64)]| Taken {
        kind,
        total: all.len(),
        active: all.iter().filter(|(active, _)| *active).count(),
        size: all.iter().map(|(_, size)| size).sum(),
        reclaimable: all.iter().filter(|(active, _)| !active).map(|(_, size)| size).sum(),
    };
    let used = image::users::known(roots)?.kept;
    let images = distinct(images::all(roots)?);
    let on_disk = Store::look(&roots.root).usage(&used)?;
    let part =
        |kind, total, active, of: Part| Taken { kind, total, active, size: of.bytes, reclaimable: of.reclaimable };
    let active = images.iter().filter(|row| used.contains(&row.digest)).count();
    let Usage { blobs, layers, unfinished } = on_disk;
    let of_containers: Vec<_> =
        container::all(roots)?.iter().map(|one| (one.status.is_alive(), size_of(roots, &one.id))).collect();
    let of_volumes: Vec<_> = volumes(roots)?.iter().map(|one| (one.users != Some(0), one.size)).collect();
    let mut rows = vec![
        part("Images", images.len(), active, blobs),
        sum("Containers", &of_containers),
        sum("Local Volumes", &of_volumes),
        part("Layers", layers.count, layers.needed, layers),
    ];
    // what is on its way in, or was
    rows.extend((unfinished.count > 0).then(|| part("Unfinished", unfinished.count, 0, unfinished)));
    Ok(rows)
}

/// An image in `system df -v`.
#[derive(Debug)]
pub struct OfImage {
    pub row: ImageRow,
    /// Bytes of the layers that another image has, too.
    pub shared: u64,
    /// How many containers were made from it.
    pub containers: usize,
}

/// A volume in `system df -v`.
#[derive(Debug)]
pub struct OfVolume {
    pub name: Name,
    /// How many containers have it; `None` where a record cannot be read: it may be any.
    pub users: Option<usize>,
    /// In bytes.
    pub size: u64,
}

/// Each one by itself.
#[derive(Debug)]
pub struct Each {
    pub images: Vec<OfImage>,
    pub containers: Vec<ContainerRow>,
    pub volumes: Vec<OfVolume>,
}

pub fn each(roots: &Roots) -> Result<Each> {
    let containers = containers::list(roots, &Wanted { all: true, sizes: true, ..Wanted::default() })?;
    let shared = shared(roots)?;
    let image = |row: ImageRow| OfImage {
        shared: shared.get(&row.digest).copied().unwrap_or(0),
        containers: containers.iter().filter(|one| one.image_id.as_ref() == Some(&row.digest)).count(),
        row,
    };
    let images = images::all(roots)?.into_iter().map(image).collect();
    Ok(Each { images, containers, volumes: volumes(roots)? })
}

/// How much of each image, by its manifest, other images have, too.
fn shared(roots: &Roots) -> Result<BTreeMap<Digest, u64>> {
    let images: Vec<_> = Store::look(&roots.root).list()?.into_iter().flatten().collect();
    let mut owners: BTreeMap<&Digest, usize> = BTreeMap::new();
    for image in &images {
        let layers: BTreeSet<&Digest> = image.layers.iter().map(|layer| &layer.digest).collect();
        layers.into_iter().for_each(|layer| *owners.entry(layer).or_default() += 1);
    }
    let of = |image: &crate::image::Image| {
        let others = image.layers.iter().filter(|layer| owners.get(&layer.digest).is_some_and(|owners| *owners > 1));
        (image.manifest.clone(), others.map(|layer| layer.size).sum())
    };
    Ok(images.iter().map(of).collect())
}

fn volumes(roots: &Roots) -> Result<Vec<OfVolume>> {
    let users = volume::users(roots, None).ok();
    let one = |name: Name| OfVolume {
        users: users.as_ref().map(|users| users.get(&name).map_or(0, Vec::len)),
        size: usage::of_tree(volume::data(&roots.volumes(), &name).as_path()).unwrap_or(0),
        name,
    };
    Ok(volume::all(&roots.volumes())?.into_iter().map(|volume| one(volume.name)).collect())
}

/// What a container has written, its log included.
pub(super) fn size_of(roots: &Roots, id: &ContainerId) -> u64 {
    usage::of_tree(roots.container(id).as_path()).unwrap_or(0)
}

/// One row for each image, whatever its names.
pub(super) fn distinct(rows: Vec<ImageRow>) -> Vec<ImageRow> {
    let mut seen = BTreeSet::new();
    rows.into_iter().filter(|row| seen.insert(row.digest.clone())).collect()
}
