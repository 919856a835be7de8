//! The planner's only eyes: everything that `spec` and `plan` must know of the host, the image and this container is
//! read here, before they run. Reads; changes nothing.

use crate::error::{Error, Kind, Result};
use crate::id::{ContainerId, HostPath, Name};
use crate::mount::probe;
use crate::spec::device::{DeviceKind, DeviceNode};
use crate::spec::mount::{MountRequest, VolumeMount};
use crate::spec::{Caller, GeneratedFiles, IdRange, JoinedNamespaces, Lsm, RunRequest, SpecFacts};
use crate::state::roots::DEFAULT_STATE;
use crate::state::{Roots, volume};
use crate::sys::fs::{self, Root};
use crate::sys::host;
use crate::sys::process::Identity;
use crate::{cgroup, mount, plan, security};
use oci_spec::runtime::Spec;
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::path::Path;

/// The cgroup below which all containers of these roots live; other roots than the usual ones have their own.
pub fn cgroup_parent(roots: &Roots) -> String {
    match roots.state.as_str() {
        DEFAULT_STATE => "minirun".to_owned(),
        other => format!("minirun-{}", &crate::id::hex(&sha2::Sha256::digest(other))[..10]),
    }
}

/// A container's cgroup, below each hierarchy. `parent` is `--cgroup-parent`.
pub fn cgroup_path(roots: &Roots, id: &ContainerId, parent: Option<&str>) -> String {
    match parent {
        Some(parent) if parent.starts_with('/') => format!("{}/{id}", parent.trim_end_matches('/')),
        Some(parent) => format!("/{}/{}/{id}", cgroup_parent(roots), parent.trim_end_matches('/')),
        None => format!("/{}/{id}", cgroup_parent(roots)),
    }
}

/// The cgroup that a container's specification was made with.
pub fn cgroup_of(spec: &Spec) -> &str {
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    path.and_then(Path::to_str).unwrap_or_default()
}

/// What `spec::build` must know. `image` is the image's root, where it could be looked into.
pub fn for_spec(
    roots: &Roots,
    id: &ContainerId,
    request: &RunRequest,
    image: Option<&Root>,
    joined: JoinedNamespaces,
) -> Result<SpecFacts> {
    let life = roots.life(id);
    let capabilities = host::bounding_capabilities();
    let text = |path| image.map_or(Ok(None), |root| probe::text(root, path));
    Ok(SpecFacts {
        id: id.clone(),
        rootfs: life.child("rootfs"),
        passwd: text("/etc/passwd")?,
        group: text("/etc/group")?,
        cgroup_path: cgroup_path(roots, id, request.cgroup_parent.as_deref()),
        host_hostname: host::hostname()?,
        generated_files: generated_files(&life),
        volumes: volumes(roots, request),
        images: BTreeMap::new(), // whoever has looked them up says where they are
        devices: devices(request)?,
        host_devices: if request.privileged { nodes_below(Path::new("/dev")) } else { Vec::new() },
        joined,
        sys_resource: capabilities.contains("CAP_SYS_RESOURCE"),
        capabilities,
        hard_limits: host::hard_limits()?.into_iter().map(|(name, hard)| (name.to_owned(), hard)).collect(),
        oom_score_adj: number("/proc/self/oom_score_adj").unwrap_or(0),
        cpus: host::cpus()?,
        mount_setattr: kernel_at_least(5, 12)?,
        thermal_throttle: thermal_throttle(),
        lsm: lsm(),
        caller: caller()?,
        ids: None, // whoever takes them says which
        init: request.init.then(program).transpose()?,
    })
}

/// What `plan::build` must know.
pub fn for_plan(
    spec: &Spec,
    image: Option<&Root>,
    cgroup: &str,
    owners: BTreeMap<HostPath, Identity>,
) -> Result<plan::Facts> {
    Ok(plan::Facts {
        uid: host::uid(),
        mount: probe::facts(spec, image, owners.clone()),
        cgroup: cgroup::probe::probe(cgroup)?,
        security: security::probe::probe()?,
        owners,
    })
}

/// What `plan::build_exec` must know: nothing is mounted.
pub fn for_exec(cgroup: &str) -> Result<plan::Facts> {
    Ok(plan::Facts {
        uid: host::uid(),
        mount: mount::plan::Facts::default(),
        cgroup: cgroup::probe::probe(cgroup)?,
        security: security::probe::probe()?,
        owners: BTreeMap::new(),
    })
}

/// Where each volume of the container's is, or will be, on the host.
fn volumes(roots: &Roots, request: &RunRequest) -> BTreeMap<String, HostPath> {
    let place = |mount: &MountRequest| {
        let MountRequest::Volume(volume) = mount else { return None };
        Some((volume.target.as_str().to_owned(), volume_place(roots, volume, volume.name.as_ref()?)))
    };
    request.mounts.iter().filter_map(place).collect()
}

/// Where what is mounted of a volume lies.
pub fn volume_place(roots: &Roots, mount: &VolumeMount, name: &Name) -> HostPath {
    let data = volume::data(&roots.volumes(), name);
    mount.subpath.iter().fold(data, |data, below| data.child(below))
}

fn generated_files(life: &HostPath) -> GeneratedFiles {
    let file = |name| Some(life.child(name));
    GeneratedFiles { hosts: file("hosts"), hostname: file("hostname"), resolv_conf: file("resolv.conf") }
}

fn number(path: &str) -> Option<i32> {
    fs::read_text(Path::new(path)).ok()?.trim().parse().ok()
}

fn devices(request: &RunRequest) -> Result<BTreeMap<String, Vec<DeviceNode>>> {
    let mut found = BTreeMap::new();
    let limited = request.resources.device_limits.iter().map(|limit| &limit.device);
    for device in request.devices.iter().map(|device| &device.host).chain(limited) {
        let path = device.as_path();
        let stat = fs::stat(path).map_err(|e| {
            let error = Error::from(e).during(format!("device {device}")).kind(Kind::User);
            error.hint("name a device of this host; --device takes a directory of devices, too")
        })?;
        let nodes = match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => nodes_below(path),
            _ => node(path).into_iter().collect(),
        };
        found.insert(device.as_str().to_owned(), nodes);
    }
    Ok(found)
}

/// The device nodes below a directory of the host, without those that every container has of its own.
fn nodes_below(dir: &Path) -> Vec<DeviceNode> {
    const OWN: [&str; 5] = ["pts", "shm", "mqueue", "fd", "console"];
    let names = fs::list(dir).unwrap_or_default();
    let mut nodes = Vec::new();
    for name in names.iter().filter(|name| !OWN.contains(&name.as_str())) {
        let path = dir.join(name);
        match fs::lstat(&path).map(|stat| stat.st_mode & libc::S_IFMT) {
            Ok(libc::S_IFDIR) => nodes.extend(nodes_below(&path)),
            Ok(libc::S_IFCHR | libc::S_IFBLK) => nodes.extend(node(&path)),
            Ok(_) | Err(_) => {}
        }
    }
    nodes
}

fn node(path: &Path) -> Option<DeviceNode> {
    let stat = fs::stat(path).ok()?;
    let kind = match stat.st_mode & libc::S_IFMT {
        libc::S_IFCHR => DeviceKind::Char,
        libc::S_IFBLK => DeviceKind::Block,
        _ => return None,
    };
    Some(DeviceNode {
        path: HostPath::parse(path.to_str()?).ok()?,
        kind,
        major: i64::from(libc::major(stat.st_rdev)),
        minor: i64::from(libc::minor(stat.st_rdev)),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
    })
}

/// This program, which is a container's init, too. (A monitor does not see it: it was re-executed from elsewhere.)
pub fn program() -> Result<HostPath> {
    HostPath::parse(&fs::read_link(Path::new("/proc/self/exe"))?)
}

/// Whether the kernel is of this version or newer.
fn kernel_at_least(major: u32, minor: u32) -> Result<bool> {
    let release = host::kernel_release()?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    Ok((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor))
}

fn thermal_throttle() -> Vec<String> {
    const CPUS: &str = "/sys/devices/system/cpu";
    let names = fs::list(Path::new(CPUS)).unwrap_or_default();
    let cpus = names.iter().filter(|n| n.strip_prefix("cpu").is_some_and(|n| n.parse::<u32>().is_ok()));
    cpus.map(|n| format!("{CPUS}/{n}/thermal_throttle")).filter(|path| fs::exists(Path::new(path))).collect()
}

/// The security module, and the profile of ours that is loaded (apparmor_parser(8) shows it in `profiles`).
fn lsm() -> Lsm {
    let enabled = fs::read_text(Path::new("/sys/module/apparmor/parameters/enabled")).unwrap_or_default();
    if enabled.trim() == "Y" {
        let loaded = fs::read_text(Path::new("/sys/kernel/security/apparmor/profiles")).unwrap_or_default();
        let ours = loaded.lines().any(|line| line.starts_with("minirun-default "));
        return Lsm::AppArmor { default_profile: ours.then(|| "minirun-default".to_owned()) };
    }
    if fs::exists(Path::new("/sys/fs/selinux/enforce")) {
        let label = |kind: &str| format!("system_u:{kind}:s0");
        return Lsm::Selinux {
            process_label: label("system_r:container_t"),
            mount_label: label("object_r:container_file_t"),
        };
    }
    Lsm::None
}

fn caller() -> Result<Caller> {
    let (uid, gid) = (host::uid(), host::gid());
    if uid == 0 {
        return Ok(Caller::default());
    }
    let passwd = fs::read_text(Path::new("/etc/passwd")).unwrap_or_default();
    let name = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()));
    let name = name.and_then(|line| line.split(':').next()).unwrap_or_default().to_owned();
    let ranges = |path: &str| sub_ids(&fs::read_text(Path::new(path)).unwrap_or_default(), &name, uid);
    Ok(Caller { uid, gid, subuids: ranges("/etc/subuid"), subgids: ranges("/etc/subgid") })
}

/// The ranges of one user in subuid(5) or subgid(5), by name or by number.
fn sub_ids(text: &str, name: &str, uid: u32) -> Vec<IdRange> {
    let number = uid.to_string();
    let range = |line: &str| {
        let mut parts = line.split(':');
        let owner = parts.next()?;
        let (start, count) = (parts.next()?.parse().ok()?, parts.next()?.trim().parse().ok()?);
        (owner == number || (!name.is_empty() && owner == name)).then_some(IdRange { start, count })
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ids_go_by_name_and_by_number() {
        let text = "alice:100000:65536\nbob:200000:65536\n1000:300000:10\nbroken\n";
        let alice = sub_ids(text, "alice", 1000);
        assert_eq!(alice, [IdRange { start: 100_000, count: 65536 }, IdRange { start: 300_000, count: 10 }]);
        assert_eq!(sub_ids(text, "", 7), []);
    }

    #[test]
    fn other_roots_have_another_cgroup() {
        let roots = |state: &str| Roots {
            root: HostPath::parse("/var/lib/minirun").unwrap(),
            state: HostPath::parse(state).unwrap(),
            config: HostPath::parse("/etc/minirun/config.toml").unwrap(),
            logins: Vec::new(),
            proxies: Default::default(),
        };
        assert_eq!(cgroup_parent(&roots("/run/minirun")), "minirun");
        assert_ne!(cgroup_parent(&roots("/tmp/a")), cgroup_parent(&roots("/tmp/b")));
    }
}
