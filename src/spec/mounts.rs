//! The container's mounts in OCI's words: docker's own, the caller's, the image's volumes and the generated files of
//! /etc. Pure: the directories of volumes and the paths of generated files come as facts.

use super::mount::{BindMount, ImageMount, MountRequest, Propagation, Submounts, VolumeMount, clean};
use super::request::{INIT_PATH, NamespaceMode, RunRequest};
use super::{SpecFacts, defaults, tmpfs};
use crate::error::{Error, Result};
use crate::id::{ContainerPath, HostPath};
use crate::mount::step::lowerdir;
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::Mount;
use std::collections::BTreeSet;

/// First the kernel's file systems, parents before children; then all others by depth of their target, so that
/// nothing covers what was mounted before it.
pub(super) fn build(request: &RunRequest, image: Option<&ImageConfiguration>, facts: &SpecFacts) -> Result<Vec<Mount>> {
    let asked = asked(request, image, facts)?;
    let targets: BTreeSet<String> = asked.iter().map(target_of).collect();
    let mut mounts: Vec<Mount> =
        kernel_mounts(request, facts).into_iter().filter(|mount| !replaced(&target_of(mount), &targets)).collect();
    let mut others = asked;
    others.extend(generated(request, facts).into_iter().filter(|mount| !targets.contains(&target_of(mount))));
    others.extend(init_binary(request, facts));
    others.sort_by_key(|mount| mount.destination().components().count());
    mounts.extend(others);
    Ok(mounts)
}

fn target_of(mount: &Mount) -> String {
    mount.destination().to_string_lossy().into_owned()
}

/// A mount of the caller's on /dev/shm replaces ours; one on /dev replaces all below it, too (moby, WithMounts).
fn replaced(target: &str, asked: &BTreeSet<String>) -> bool {
    asked.contains(target) || (target.starts_with("/dev/") && asked.contains("/dev"))
}

fn oci_mount(target: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(target.into())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

/// docker's list (moby, oci/defaults.go). gid 5 is the group tty, as in every distribution; where it is not mapped,
/// devpts takes no gid.
fn kernel_mounts(request: &RunRequest, facts: &SpecFacts) -> Vec<Mount> {
    let access = if request.privileged { "rw" } else { "ro" };
    let mut devpts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if facts.maps_group(5) {
        devpts.push("gid=5");
    }
    let mut mounts = vec![
        oci_mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        oci_mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        oci_mount("/dev/pts", "devpts", "devpts", &devpts),
    ];
    mounts.extend(ipc_mounts(request, facts));
    mounts.push(oci_mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]));
    mounts.push(oci_mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]));
    mounts
}

/// /dev/shm and /dev/mqueue belong to the ipc namespace: who shares that shares them.
fn ipc_mounts(request: &RunRequest, facts: &SpecFacts) -> Vec<Mount> {
    const MQUEUE: [&str; 3] = ["nosuid", "noexec", "nodev"];
    let shm_bind = |source: &str| oci_mount("/dev/shm", "bind", source, &["rbind", "rprivate"]);
    match (&request.namespaces.ipc, &facts.joined.shm) {
        (NamespaceMode::Host, _) => vec![
            oci_mount("/dev/mqueue", "bind", "/dev/mqueue", &["rbind", "nosuid", "noexec", "nodev"]),
            shm_bind("/dev/shm"),
        ],
        (NamespaceMode::Container(_), Some(shm)) => {
            vec![oci_mount("/dev/mqueue", "mqueue", "mqueue", &MQUEUE), shm_bind(shm.as_str())]
        }
        (NamespaceMode::Private | NamespaceMode::Container(_), _) => {
            let size = format!("size={}", request.resources.shm_size.unwrap_or(defaults::SHM_SIZE));
            let shm = ["nosuid", "noexec", "nodev", "mode=1777", &size];
            vec![oci_mount("/dev/mqueue", "mqueue", "mqueue", &MQUEUE), oci_mount("/dev/shm", "tmpfs", "shm", &shm)]
        }
    }
}

/// All volumes of this container: the caller's, and one without a name for each VOLUME of the image that no mount of
/// the caller's takes. Whoever makes their directories asks here which.
pub fn volumes(request: &RunRequest, image: Option<&ImageConfiguration>) -> Result<Vec<VolumeMount>> {
    let taken: BTreeSet<&str> = request.mounts.iter().map(|mount| mount.target().as_str()).collect();
    let mut volumes: Vec<VolumeMount> = request
        .mounts
        .iter()
        .filter_map(|mount| match mount {
            MountRequest::Volume(volume) => Some(volume.clone()),
            MountRequest::Bind(_) | MountRequest::Tmpfs(_) | MountRequest::Image(_) => None,
        })
        .collect();
    let image_volumes =
        image.and_then(|i| i.config().as_ref()).and_then(|c| c.volumes().as_deref()).unwrap_or_default();
    // the image's map has no order of its own; ours is by path
    let paths: BTreeSet<String> = image_volumes.iter().map(|path| clean(path)).collect();
    for path in paths.iter().filter(|path| !taken.contains(path.as_str())) {
        let target = ContainerPath::parse(path).ok().filter(|target| target.as_str() != "/").ok_or_else(|| {
            Error::image(format!("{}: the image has the invalid volume {path:?}", request.source.as_str()))
        })?;
        volumes.push(VolumeMount {
            name: None,
            anonymous: false,
            target,
            read_only: false,
            copy: true,
            subpath: None,
            labels: Vec::new(),
            relabel: None,
        });
    }
    Ok(volumes)
}

/// What the caller and the image asked for; no two on one target.
fn asked(request: &RunRequest, image: Option<&ImageConfiguration>, facts: &SpecFacts) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for mount in &request.mounts {
        match mount {
            MountRequest::Bind(mount) => mounts.push(bind(mount, facts)?),
            MountRequest::Tmpfs(mount) => {
                let options = tmpfs::oci_options(mount);
                let options: Vec<&str> = options.iter().map(String::as_str).collect();
                mounts.push(oci_mount(mount.target.as_str(), "tmpfs", "tmpfs", &options));
            }
            MountRequest::Image(mount) => mounts.push(image_mount(mount, facts)?),
            MountRequest::Volume(_) => {}
        }
    }
    for volume in volumes(request, image)? {
        mounts.push(volume_bind(&volume, facts)?);
    }
    let mut targets = BTreeSet::new();
    match mounts.iter().map(target_of).find(|target| !targets.insert(target.clone())) {
        Some(twice) => Err(Error::user(format!("two mounts on {twice}")).hint("give each mount a target of its own")),
        None => Ok(mounts),
    }
}

fn bind(mount: &BindMount, facts: &SpecFacts) -> Result<Mount> {
    if mount.submounts == Submounts::ReadOnly && !facts.mount_setattr {
        return Err(Error::host(format!("cannot make {} read-only with all below it", mount.source))
            .hint("bind-recursive=readonly needs Linux 5.12; readonly alone covers the mount itself"));
    }
    let mut options = vec![if mount.submounts == Submounts::Leave { "bind" } else { "rbind" }];
    if mount.read_only {
        let deep = matches!(mount.submounts, Submounts::Follow | Submounts::ReadOnly);
        options.push(if deep && facts.mount_setattr { "rro" } else { "ro" });
    }
    options.push(mount.propagation.as_str());
    Ok(oci_mount(mount.target.as_str(), "bind", mount.source.as_str(), &options))
}

fn volume_bind(volume: &VolumeMount, facts: &SpecFacts) -> Result<Mount> {
    let Some(directory) = facts.volumes.get(volume.target.as_str()) else {
        return Err(Error::internal(format!("no directory was made for the volume at {}", volume.target)));
    };
    let options: &[&str] = if volume.read_only { &["rbind", "ro", "rprivate"] } else { &["rbind", "rprivate"] };
    Ok(oci_mount(volume.target.as_str(), "bind", directory.as_str(), options))
}

/// One layer is bound; several are an overlay that takes no changes.
fn image_mount(mount: &ImageMount, facts: &SpecFacts) -> Result<Mount> {
    let target = mount.target.as_str();
    match facts.images.get(target).map(Vec::as_slice) {
        None | Some([]) => Err(Error::image(format!("{} has no layer to mount at {target}", mount.source))),
        Some([layer]) => Ok(oci_mount(target, "bind", layer.as_str(), &["bind", "ro", "rprivate"])),
        Some(layers) => {
            let lower = format!("lowerdir={}", lowerdir(layers));
            Ok(oci_mount(target, "overlay", "overlay", &["ro", &lower]))
        }
    }
}

/// The files of /etc that only the run knows; read-only where the root is.
fn generated(request: &RunRequest, facts: &SpecFacts) -> Vec<Mount> {
    let options: &[&str] = if request.read_only { &["rbind", "ro", "rprivate"] } else { &["rbind", "rprivate"] };
    let files = &facts.generated_files;
    let bind = |target: &str, file: &Option<HostPath>| {
        file.as_ref().map(|file| oci_mount(target, "bind", file.as_str(), options))
    };
    [
        bind("/etc/resolv.conf", &files.resolv_conf),
        bind("/etc/hostname", &files.hostname),
        bind("/etc/hosts", &files.hosts),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn init_binary(request: &RunRequest, facts: &SpecFacts) -> Option<Mount> {
    let init = facts.init.as_ref().filter(|_| request.init)?;
    Some(oci_mount(INIT_PATH, "bind", init.as_str(), &["bind", "ro", "rprivate"]))
}

/// How the root itself propagates: mounts made on the host later show up in a slave, and both ways in a shared one,
/// only if the root lets them through (moby, WithMounts).
pub(super) fn root_propagation(request: &RunRequest) -> Option<&'static str> {
    let binds = || {
        request.mounts.iter().filter_map(|mount| match mount {
            MountRequest::Bind(bind) => Some(bind.propagation),
            MountRequest::Volume(_) | MountRequest::Tmpfs(_) | MountRequest::Image(_) => None,
        })
    };
    if binds().any(|p| matches!(p, Propagation::Shared | Propagation::Rshared)) {
        return Some("shared");
    }
    binds().any(|p| matches!(p, Propagation::Slave | Propagation::Rslave)).then_some("rslave")
}
