//! From what was asked, what the image says and what the host is, to the OCI runtime specification: the narrow waist.
//! Pure: reads no file, no environment, no clock; all it knows comes in as [`RunRequest`], image and [`SpecFacts`].

pub mod blkio;
pub mod defaults;
pub mod device;
pub mod env;
pub mod exec;
pub mod health;
pub mod image;
pub mod mount;
pub mod mounts;
pub mod process;
pub mod request;
pub mod resources;
pub mod restart;
pub mod security;
pub mod signal;
pub mod size;
pub mod sysctl;
pub mod tmpfs;
pub mod ulimit;
pub mod user;
pub mod volume;

pub use request::RunRequest;
pub use security::SeccompChoice;

use crate::error::{Error, Result};
use crate::id::{ContainerId, HostPath};
use device::DeviceNode;
use mount::{MountRequest, Propagation};
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType, Root, Spec};
use request::{NamespaceMode, NetworkNamespace, UserNamespace};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The version of the specification that we write.
const OCI_VERSION: &str = "1.2.0";

/// What `build` must know of the host, the image's root and this container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecFacts {
    pub id: ContainerId,
    /// The directory the root file system is (to be) at.
    pub rootfs: HostPath,
    /// The image's /etc/passwd and /etc/group, where they are regular files.
    pub passwd: Option<String>,
    pub group: Option<String>,
    /// Below the hierarchy's mount point: `/minirun/ID`.
    pub cgroup_path: String,
    pub host_hostname: String,
    pub generated_files: GeneratedFiles,
    /// The directory on the host of each volume, by its target (see [`mounts::volumes`]).
    pub volumes: BTreeMap<String, HostPath>,
    /// The layers of each image to be mounted, lowest first, by its target.
    pub images: BTreeMap<String, Vec<HostPath>>,
    /// The nodes that each --device and each limit of a device names, by the host path as given; none for a path that
    /// is no device.
    pub devices: BTreeMap<String, Vec<DeviceNode>>,
    /// Every node of the host's /dev: read for --privileged only.
    pub host_devices: Vec<DeviceNode>,
    /// Namespaces of other containers to join.
    pub joined: JoinedNamespaces,
    /// Our bounding set: `CAP_CHOWN` and so on.
    pub capabilities: BTreeSet<String>,
    /// Whether we have CAP_SYS_RESOURCE in the host's user namespace.
    pub sys_resource: bool,
    /// Our own hard limits, by name (`nofile`); `u64::MAX` is unlimited.
    pub hard_limits: BTreeMap<String, u64>,
    pub oom_score_adj: i32,
    /// CPUs online.
    pub cpus: u32,
    /// Whether the kernel has mount_setattr (5.12): recursive read-only.
    pub mount_setattr: bool,
    /// The /sys/devices/system/cpu/cpuN/thermal_throttle that exist.
    pub thermal_throttle: Vec<String>,
    pub lsm: Lsm,
    /// The caller; not root means a user namespace.
    pub caller: Caller,
    /// The ids of the host that are the container's, where it has a user namespace and the caller is root.
    pub ids: Option<IdRange>,
    /// Our static init on the host, for --init.
    pub init: Option<HostPath>,
}

/// The files of /etc that are made for this container; absent ones are not bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratedFiles {
    pub hosts: Option<HostPath>,
    pub hostname: Option<HostPath>,
    pub resolv_conf: Option<HostPath>,
}

/// Paths of namespaces to join: `/proc/PID/ns/net`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedNamespaces {
    pub pid: Option<HostPath>,
    pub ipc: Option<HostPath>,
    /// What belongs to that ipc namespace: `/proc/PID/root/dev/shm`.
    pub shm: Option<HostPath>,
    pub uts: Option<HostPath>,
    pub net: Option<HostPath>,
}

/// The security module that the host runs, of those that containers meet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lsm {
    #[default]
    None,
    AppArmor {
        /// `minirun-default`, where it is loaded.
        default_profile: Option<String>,
    },
    Selinux {
        process_label: String,
        mount_label: String,
    },
}

/// Who calls, and which ids are theirs (subuid(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    pub subuids: Vec<IdRange>,
    pub subgids: Vec<IdRange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    pub start: u32,
    pub count: u32,
}

impl Caller {
    pub fn rootless(&self) -> bool {
        self.uid != 0
    }
}

impl SpecFacts {
    /// Whether this group of the container's exists on the host side of its map.
    fn maps_group(&self, gid: u32) -> bool {
        let mapped: u64 = self.caller.subgids.iter().map(|range| u64::from(range.count)).sum();
        match self.ids {
            _ if self.caller.rootless() => u64::from(gid) <= mapped,
            Some(ids) => gid < ids.count,
            None => true,
        }
    }

    /// Whether the container has a user namespace of its own.
    fn own_users(&self) -> bool {
        self.caller.rootless() || self.ids.is_some()
    }
}

/// The whole specification of one container. seccomp is left out: [`security::seccomp`] says which filter it is to be.
pub fn build(request: &RunRequest, image: Option<&ImageConfiguration>, facts: &SpecFacts) -> Result<Spec> {
    let mut root = Root::default();
    root.set_path(facts.rootfs.as_path().to_owned()).set_readonly(Some(request.read_only));
    let hostname = process::hostname(request, facts)?.into_owned();
    let own_uts = request.namespaces.uts == NamespaceMode::Private;
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.to_owned())
        .set_root(Some(root))
        .set_mounts(Some(mounts::build(request, image, facts)?))
        .set_process(Some(process::build(request, image, facts)?))
        .set_hostname(own_uts.then_some(hostname))
        .set_domainname(request.domainname.clone().filter(|_| own_uts))
        .set_annotations(Some(request.annotations.iter().cloned().collect()))
        .set_linux(Some(linux(request, facts)?));
    Ok(spec)
}

/// What will be less than asked for; the container starts all the same.
pub fn warnings(request: &RunRequest, facts: &SpecFacts) -> Vec<String> {
    process::limit_warnings(request, facts)
}

/// A bundle's config.json.
pub fn read_config(text: &str) -> Result<Spec> {
    let spec: Spec = serde_json::from_str(text)
        .map_err(|e| Error::user(format!("config.json: {e}")).hint("see the OCI runtime specification, config.md"))?;
    let major = spec.version().split('.').next();
    if major != Some("1") {
        return Err(Error::user(format!("config.json: ociVersion {:?} is not 1.x", spec.version())));
    }
    Ok(spec)
}

fn linux(request: &RunRequest, facts: &SpecFacts) -> Result<Linux> {
    let (resources, devices) = resources::build(request, facts)?;
    let unmasked = security::unmasked(request);
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(request, facts)?))
        .set_sysctl(Some(sysctls(request, facts)?))
        .set_resources(Some(resources))
        .set_devices(Some(devices))
        .set_cgroups_path(Some(facts.cgroup_path.clone().into()))
        .set_masked_paths(Some(if unmasked { Vec::new() } else { masked_paths(facts) }))
        .set_readonly_paths(Some(if unmasked { Vec::new() } else { owned(&defaults::READONLY_PATHS) }))
        .set_rootfs_propagation(mounts::root_propagation(request).map(str::to_owned))
        .set_mount_label(security::selinux(request, facts).map(|(_, mount)| mount));
    if facts.caller.rootless() {
        let ranges = |own: u32, subordinate: &[IdRange]| [&[IdRange { start: own, count: 1 }], subordinate].concat();
        linux
            .set_uid_mappings(Some(id_map(&ranges(facts.caller.uid, &facts.caller.subuids))?))
            .set_gid_mappings(Some(id_map(&ranges(facts.caller.gid, &facts.caller.subgids))?));
    } else if let Some(ids) = facts.ids {
        linux.set_uid_mappings(Some(id_map(&[ids])?)).set_gid_mappings(Some(id_map(&[ids])?));
    }
    Ok(linux)
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn masked_paths(facts: &SpecFacts) -> Vec<String> {
    owned(&defaults::MASKED_PATHS).into_iter().chain(facts.thermal_throttle.iter().cloned()).collect()
}

/// A namespace of each kind of our own, but those shared with the host or with another container. Mount and cgroup
/// namespaces are always our own.
fn namespaces(request: &RunRequest, facts: &SpecFacts) -> Result<Vec<LinuxNamespace>> {
    check_user_namespace(request)?;
    let network = match request.network.namespace() {
        NetworkNamespace::Own => NamespaceMode::Private,
        NetworkNamespace::Host => NamespaceMode::Host,
        NetworkNamespace::Container(other) | NetworkNamespace::Path(other) => {
            NamespaceMode::Container(other.to_owned())
        }
    };
    let (modes, joined) = (&request.namespaces, &facts.joined);
    let private = NamespaceMode::Private;
    let mut namespaces = Vec::new();
    for (kind, mode, path) in [
        (LinuxNamespaceType::Mount, &private, &None),
        (LinuxNamespaceType::Pid, &modes.pid, &joined.pid),
        (LinuxNamespaceType::Network, &network, &joined.net),
        (LinuxNamespaceType::Ipc, &modes.ipc, &joined.ipc),
        (LinuxNamespaceType::Uts, &modes.uts, &joined.uts),
        (LinuxNamespaceType::Cgroup, &private, &None),
    ] {
        namespaces.extend(namespace(kind, mode, path)?);
    }
    if facts.own_users() {
        namespaces.extend(namespace(LinuxNamespaceType::User, &private, &None)?);
    }
    Ok(namespaces)
}

/// Root of a user namespace has no right to what belongs to another one, and the kernel mounts neither /sys nor
/// /dev/mqueue for it.
fn check_user_namespace(request: &RunRequest) -> Result<()> {
    let shared = [
        ("network", request.network.namespace() != NetworkNamespace::Own),
        ("processes", request.namespaces.pid != NamespaceMode::Private),
        ("System V IPC", request.namespaces.ipc != NamespaceMode::Private),
        ("host name", matches!(request.namespaces.uts, NamespaceMode::Container(_))),
    ];
    if request.namespaces.user == UserNamespace::Host {
        return Ok(());
    }
    if let Some((what, _)) = shared.iter().find(|(_, shared)| *shared) {
        return Err(Error::user(format!("a container with ids of its own has also its own {what}"))
            .hint("leave out --userns, or the flag that shares them"));
    }
    // no node can be made in a user namespace: the host's own is bound
    if let Some(device) = request.devices.iter().find(|device| device.host.as_str() != device.container.as_str()) {
        return Err(Error::user(format!("with --userns the device {} keeps its name", device.host))
            .hint(format!("--device {}", device.host)));
    }
    // what its root mounts there would be mounted on the host
    let reaches_out = |mount: &MountRequest| {
        let MountRequest::Bind(bind) = mount else { return false };
        matches!(bind.propagation, Propagation::Shared | Propagation::Rshared)
    };
    match request.mounts.iter().any(reaches_out) {
        false => Ok(()),
        true => Err(Error::user("with --userns nothing that is mounted inside may appear on the host")
            .hint("use rslave or rprivate in place of rshared")),
    }
}

fn namespace(
    kind: LinuxNamespaceType,
    mode: &NamespaceMode,
    joined: &Option<HostPath>,
) -> Result<Option<LinuxNamespace>> {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind);
    match (mode, joined) {
        (NamespaceMode::Host, _) => return Ok(None),
        (NamespaceMode::Private, _) => {}
        (NamespaceMode::Container(_), Some(path)) => {
            namespace.set_path(Some(path.as_path().to_owned()));
        }
        (NamespaceMode::Container(name), None) => {
            return Err(Error::internal(format!("the {kind} namespace of container {name} was not looked up")));
        }
    }
    Ok(Some(namespace))
}

fn sysctls(request: &RunRequest, facts: &SpecFacts) -> Result<HashMap<String, String>> {
    let defaults = sysctl::defaults(request, facts.own_users());
    let mut settings: HashMap<String, String> =
        defaults.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    for (key, value) in &request.sysctls {
        sysctl::check_namespace(key, request)?;
        settings.insert(key.clone(), value.clone());
    }
    Ok(settings)
}

/// The first of these ids is root inside, and the others follow.
fn id_map(ranges: &[IdRange]) -> Result<Vec<LinuxIdMapping>> {
    let mut next = 0_u32;
    let mut mappings = Vec::new();
    for range in ranges {
        let mapping = LinuxIdMappingBuilder::default().container_id(next).host_id(range.start).size(range.count);
        mappings.push(built(mapping.build())?);
        next = next.saturating_add(range.count);
    }
    Ok(mappings)
}

/// oci-spec's builders fail for a missing field only, and these have defaults for all.
fn built<T>(part: std::result::Result<T, oci_spec::OciSpecError>) -> Result<T> {
    part.map_err(|e| Error::internal(format!("building the specification: {e}")))
}

#[cfg(test)]
pub(crate) mod tests;
