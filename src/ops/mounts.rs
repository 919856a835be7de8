//! Which mounts a new container has, in the end: its own, those of the containers that it names, and the image's
//! volumes, each volume with its name. What is found here stands in the container's record, and holds when it is
//! started again.

use super::container;
use super::image::Found;
use crate::error::{During as _, Error, Kind, Result};
use crate::facts;
use crate::id::{Digest, HostPath, Name};
use crate::image::seed;
use crate::mount::plan::{Kind as FileKind, RootSource};
use crate::plan::volume::Step;
use crate::spec::mount::{ImageMount, MountRequest, VolumeMount};
use crate::spec::mounts;
use crate::spec::request::{RunRequest, Source, VolumesFrom};
use crate::state::{ImageUse, Roots, VolumeUse, volume};
use crate::sys::fs::Root;
use crate::sys::host;
use oci_spec::image::ImageConfiguration;
use std::collections::BTreeMap;
use std::path::Path;

/// The request with all that was looked up: nothing in it is another container's or without a name any more.
pub(super) fn resolve(roots: &Roots, request: &RunRequest, image: Option<&ImageConfiguration>) -> Result<RunRequest> {
    let mut whole = RunRequest { volumes_from: Vec::new(), ..request.clone() };
    for from in &request.volumes_from {
        let theirs = mounts_of(roots, from).map_err(|e| e.during(format!("--volumes-from {}", from.container)))?;
        for mount in theirs {
            // what the caller mounts there wins, then the container that is named last
            if !request.mounts.iter().any(|own| own.target() == mount.target()) {
                whole.mounts.retain(|earlier| earlier.target() != mount.target());
                whole.mounts.push(mount);
            }
        }
    }
    let volumes = mounts::volumes(&whole, image)?;
    whole.mounts.retain(|mount| !matches!(mount, MountRequest::Volume(_)));
    for volume in volumes {
        let volume = match &volume.name {
            Some(_) => volume,
            None => VolumeMount { name: Some(made_up()?), anonymous: true, ..volume },
        };
        whole.mounts.push(MountRequest::Volume(volume));
    }
    Ok(whole)
}

/// What another container has mounted of the host's and of volumes; it need not run.
fn mounts_of(roots: &Roots, from: &VolumesFrom) -> Result<Vec<MountRequest>> {
    let found = container::find_as_it_is(roots, &from.container)?;
    let config = found
        .config
        .ok_or_else(|| Error::user("its record cannot be read").hint(format!("minirun inspect {}", from.container)))?;
    let theirs: RunRequest = config
        .request
        .parse()
        .map_err(|e| Error::host(format!("its record is broken: {e}")).hint("name the volumes with -v"))?;
    let mount = |mount| match mount {
        MountRequest::Bind(mut bind) => {
            bind.read_only |= from.read_only;
            Some(MountRequest::Bind(bind))
        }
        MountRequest::Volume(mut volume) => {
            volume.read_only |= from.read_only;
            volume.copy = false; // it has been filled by its first container
            Some(MountRequest::Volume(volume))
        }
        MountRequest::Image(image) => Some(MountRequest::Image(image)),
        MountRequest::Tmpfs(_) => None, // it is that container's own
    };
    Ok(theirs.mounts.into_iter().filter_map(mount).collect())
}

/// The name of a volume that was given none: 64 hex digits, as docker's.
pub(super) fn made_up() -> Result<Name> {
    Name::parse(&crate::id::hex(&host::random::<32>()?))
}

fn volumes(request: &RunRequest) -> impl Iterator<Item = (&VolumeMount, &Name)> {
    request.mounts.iter().filter_map(|mount| match mount {
        MountRequest::Volume(volume) => Some((volume, volume.name.as_ref()?)),
        MountRequest::Bind(_) | MountRequest::Tmpfs(_) | MountRequest::Image(_) => None,
    })
}

/// The same for the container's record.
pub(super) fn uses(request: &RunRequest) -> Vec<VolumeUse> {
    let one = |(volume, name): (&VolumeMount, &Name)| VolumeUse {
        name: name.clone(),
        target: volume.target.clone(),
        anonymous: volume.anonymous,
    };
    volumes(request).map(one).collect()
}

/// The images that it has mounted, for the container's record.
pub(super) fn image_uses(request: &RunRequest) -> Vec<ImageUse> {
    let one = |mount: &MountRequest| {
        let MountRequest::Image(ImageMount { source, id, target }) = mount else { return None };
        Some(ImageUse { image: source.clone(), id: id.clone()?, target: target.clone() })
    };
    request.mounts.iter().filter_map(one).collect()
}

/// Looks up each image that is to be mounted, as that of the container is, and notes which it is: the layers of each,
/// lowest first, by its target.
pub(super) fn images(
    request: &mut RunRequest,
    mut find: impl FnMut(&RunRequest) -> Result<Found>,
) -> Result<BTreeMap<String, Vec<HostPath>>> {
    let mut layers = BTreeMap::new();
    let (pull, platform) = (request.pull, request.platform.clone());
    for mount in &mut request.mounts {
        let MountRequest::Image(mount) = mount else { continue };
        let name = mount.id.as_ref().map_or_else(|| mount.source.clone(), Digest::to_string);
        let wanted = RunRequest { pull, platform: platform.clone(), ..RunRequest::new(Source::Image(name)) };
        let found = find(&wanted).during(|| format!("the mount at {}", mount.target))?;
        mount.id = found.id;
        let dirs = found.lower.as_ref().map(|lower| lower.of_image().to_vec());
        layers.insert(mount.target.to_string(), dirs.unwrap_or_default());
    }
    Ok(layers)
}

/// How its volumes come to be. `image` is the root to copy from, where it can be looked into; `source` says where that is.
pub(super) fn steps(
    roots: &Roots,
    request: &RunRequest,
    image: Option<&Root>,
    source: &RootSource,
) -> Result<Vec<Step>> {
    let store = roots.volumes();
    let mut steps = Vec::new();
    for (volume, name) in volumes(request) {
        let (store, name) = (store.clone(), name.clone());
        steps.push(Step::Make {
            store: store.clone(),
            name: name.clone(),
            labels: volume.labels.clone(),
            anonymous: volume.anonymous,
            created: super::now(),
        });
        let has_content = image.map_or(Ok(true), |root| seed::has_directory(root, &volume.target))?;
        // one that is filled may be removed until it is ours, and is new then
        if volume.copy && volume.subpath.is_none() && has_content {
            steps.push(Step::Fill { store, name, image: source.clone(), target: volume.target.clone() });
        }
    }
    Ok(steps)
}

/// What is mounted of a volume.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: HostPath,
    pub(super) kind: FileKind,
    data: HostPath,
}

impl Place {
    /// A path inside of a volume, and the volume: containers may have put links on its way.
    pub(super) fn tree(&self) -> Option<(HostPath, HostPath)> {
        (self.path != self.data).then(|| (self.path.clone(), self.data.clone()))
    }
}

/// What the planner would find of the volumes: they may not be there yet.
pub(super) fn places(roots: &Roots, request: &RunRequest) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for (mount, name) in volumes(request) {
        let data = volume::data(&roots.volumes(), name);
        let Some(below) = &mount.subpath else {
            places.push(Place { path: data.clone(), kind: FileKind::Directory, data });
            continue;
        };
        let stat = Root::open(data.as_path()).and_then(|root| root.stat(Path::new(below)));
        let stat = stat.map_err(|e| {
            let error = Error::from(e).during(format!("volume-subpath {below} of volume {name}")).kind(Kind::User);
            error.hint("it must be there: mount the whole volume once and make it")
        })?;
        let kind = match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => FileKind::Directory,
            _ => FileKind::File,
        };
        places.push(Place { path: facts::volume_place(roots, mount, name), kind, data });
    }
    Ok(places)
}
