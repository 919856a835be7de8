//! From the specification's mounts, devices and paths to steps, in the order in which they must be done. Pure.

use super::options::{self, Attribute, Propagation};
use super::step::{Bind, DeviceKind, Step};
use crate::error::{Error, Result};
use crate::id::{ContainerPath, HostPath};
use crate::sys::process::Identity;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount, Spec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What the planner has to know of paths, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// What stands at a mount's target inside the image; a path that is not here is missing.
    pub targets: BTreeMap<String, Kind>,
    /// What a bind's source on the host is.
    pub sources: BTreeMap<String, Kind>,
    /// What stands at masked and read-only paths below /proc and /sys (as the host's own show).
    pub kernel: BTreeMap<String, Kind>,
    /// Whose root a bind's source is in, where that is another container's: `/proc/PID/root/dev/shm`.
    pub owners: BTreeMap<HostPath, Identity>,
    /// The tree that a bind's source lies in and may not lead out of, where containers have written into that.
    pub trees: BTreeMap<HostPath, HostPath>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Directory,
    /// Anything that is not a directory.
    File,
}

/// Where the container's root comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootSource {
    /// Unpacked layers, lowest first, with a place for changes.
    Overlay { lower: Vec<HostPath>, upper: HostPath, work: HostPath, volatile: bool },
    /// A directory as it is.
    Directory(HostPath),
}

/// The cgroup mounts as the container shall see them, where the specification asks for a mount of type `cgroup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupView {
    V2,
    /// (directory name, mount option) of each hierarchy, such as (`memory`, `memory`) and (`systemd`, `none,name=systemd`);
    /// `unified` where the host mounts cgroup2 beside them.
    V1 {
        hierarchies: Vec<(String, String)>,
        unified: bool,
    },
}

/// Where our program is bound that is a container's init: in /dev, which is new, so that no image needs a place for it.
pub const INIT_PATH: &str = "/dev/init";

/// All mount steps, from the cut with the host up to the pivot, which is left to the order of birth. `at` is the root's place on the host.
pub fn plan(spec: &Spec, root: &RootSource, at: &HostPath, view: &CgroupView, facts: &Facts) -> Result<Vec<Step>> {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let mut steps = vec![Step::Propagation { to: root_propagation(spec, mounts) }];
    steps.push(root_step(root, at));
    let mut covered: Vec<String> = Vec::new();
    for mount in mounts {
        let target = container_path(mount.destination())?;
        mount_steps(mount, &target, view, facts, &covered, &mut steps)?;
        covered.push(target.as_str().to_owned());
        // who binds a /dev has what is in it (runc: needsSetupDev)
        if target.as_str() == "/dev" && !parsed(mount).bind {
            device_steps(spec, &mut steps)?;
        }
    }
    steps.extend(working_directory(spec, facts, &covered)?);
    steps.extend(hidden(spec, facts)?);
    if spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly).unwrap_or(false) {
        steps.push(Step::Remount { path: container_path(Path::new("/"))?, attributes: vec![Attribute::Ro] });
    }
    Ok(steps)
}

/// The same mounts for an init of a user namespace whose root is `owner` on the host: what is to be opened for it, and
/// what it does itself, in the order of both. What lies below `own` is the container's alone. The devices it opens itself;
/// their owners are shown as they are, and so is ours, of our program.
pub fn lend(steps: Vec<Step>, owner: u32, own: &HostPath) -> (Vec<Step>, Vec<Step>) {
    let mut lent = Vec::new();
    let mut itself = Vec::new();
    for step in steps {
        let attach = match &step {
            Step::Overlay { .. } | Step::BindRoot { .. } => Step::AttachRoot,
            Step::Bind(Bind { source, target, recursive: false, .. }) if is_device(source, target) => step.clone(),
            Step::Bind(Bind { target, .. }) => Step::Attach { target: target.clone() },
            Step::Mount { fstype, target, .. } if fstype == "overlay" => Step::Attach { target: target.clone() },
            other => other.clone(),
        };
        match &step {
            _ if attach == step => {}
            Step::Bind(Bind { source, .. }) if source.as_path().starts_with(own.as_path()) => {
                lent.push(Step::Give { file: source.clone(), owner });
            }
            Step::Bind(Bind { target, .. }) if target.as_str() == INIT_PATH => {
                lent.push(Step::Lend { made: Box::new(step), owner: None });
            }
            _ => lent.push(Step::Lend { made: Box::new(step), owner: Some(owner) }),
        }
        itself.push(attach);
    }
    (lent, itself)
}

/// A node of the host's under its own name, as [`host_device`] binds it.
fn is_device(source: &HostPath, target: &ContainerPath) -> bool {
    source.as_str().starts_with("/dev/") && source.as_str() == target.as_str()
}

/// Private, unless a bind wants to hear of the host's mounts (slave) or the specification asks for another one.
fn root_propagation(spec: &Spec, mounts: &[Mount]) -> Propagation {
    let asked = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().clone());
    let asked = asked.and_then(|word| options::parse([word.as_str()]).propagation);
    let wanted = mounts.iter().filter_map(|m| parsed(m).propagation).find(|p| *p != Propagation::Private);
    asked.or(wanted).unwrap_or(Propagation::Private)
}

fn root_step(root: &RootSource, at: &HostPath) -> Step {
    match root.clone() {
        RootSource::Overlay { lower, upper, work, volatile } => {
            Step::Overlay { lower, upper, work, target: at.clone(), volatile }
        }
        RootSource::Directory(source) => Step::BindRoot { source, target: at.clone() },
    }
}

fn parsed(mount: &Mount) -> options::Options {
    options::parse(mount.options().as_deref().unwrap_or_default().iter().map(String::as_str))
}

fn container_path(path: &Path) -> Result<ContainerPath> {
    let text = path.to_str().ok_or_else(|| Error::user(format!("mount target {path:?} is not UTF-8")))?;
    ContainerPath::parse(text)
}

fn mount_steps(
    mount: &Mount,
    target: &ContainerPath,
    view: &CgroupView,
    facts: &Facts,
    covered: &[String],
    steps: &mut Vec<Step>,
) -> Result<()> {
    let options = parsed(mount);
    let fstype = mount.typ().as_deref().unwrap_or("none");
    let source = mount.source().as_ref().and_then(|s| s.to_str()).unwrap_or(fstype).to_owned();
    let kind = match (options.bind, facts.sources.get(&source)) {
        (true, None) => return Err(missing_source(&source)),
        (true, Some(kind)) => *kind,
        (false, _) => Kind::Directory,
    };
    steps.extend(mount_point(target, kind, facts, covered)?);
    let host_path = HostPath::parse(&source);
    let owner = host_path.as_ref().ok().and_then(|path| facts.owners.get(path));
    if let (true, Some(owner)) = (options.bind, owner) {
        let source = source.strip_prefix(&format!("/proc/{}/root", owner.pid)).unwrap_or(&source);
        let (owner, source, target) = (owner.clone(), ContainerPath::parse(source)?, target.clone());
        steps.push(Step::BindOfOther { owner, source, target });
    } else if options.bind {
        let source = host_path?;
        steps.push(Step::Bind(Bind {
            inside: facts.trees.get(&source).cloned(),
            source,
            target: target.clone(),
            recursive: options.recursive,
            attributes: options.attributes,
            recursive_attributes: options.recursive_attributes,
            propagation: options.propagation,
        }));
    } else if fstype == "cgroup" {
        steps.extend(cgroup_steps(target, &options.attributes, view)?);
    } else {
        let (target, attributes, data) = (target.clone(), options.attributes, options.data);
        steps.push(Step::Mount { fstype: fstype.to_owned(), source, target, attributes, data });
    }
    Ok(())
}

fn missing_source(source: &str) -> Error {
    Error::user(format!("cannot mount {source}: it does not exist on the host"))
        .hint("create it first, or give the path of something that is there")
}

/// The step that makes a mount point, where the image has none. Below another mount nothing is known beforehand,
/// and making what is there already does nothing.
fn mount_point(target: &ContainerPath, kind: Kind, facts: &Facts, covered: &[String]) -> Result<Option<Step>> {
    let path = target.clone();
    if path.as_str() == "/" {
        return Ok(None);
    }
    let below = covered.iter().any(|above| path.as_str().starts_with(&format!("{}/", above.trim_end_matches('/'))));
    let there = if below { None } else { facts.targets.get(path.as_str()) };
    match (there, kind) {
        (Some(Kind::Directory), Kind::Directory) | (Some(Kind::File), Kind::File) => Ok(None),
        (None, Kind::Directory) => Ok(Some(Step::MakeDirectory { path })),
        (None, Kind::File) => Ok(Some(Step::MakeFile { path })),
        (Some(Kind::Directory), Kind::File) => {
            Err(Error::user(format!("cannot mount a file over the directory {path} of the image"))
                .hint("name the file inside the container too, as in -v /host/file:/dir/file"))
        }
        (Some(Kind::File), Kind::Directory) => {
            Err(Error::user(format!("cannot mount a directory over the file {path} of the image"))
                .hint("choose another path inside the container"))
        }
    }
}

/// docker makes a working directory that the image lacks; a file in its place is for chdir to refuse.
fn working_directory(spec: &Spec, facts: &Facts, covered: &[String]) -> Result<Option<Step>> {
    let Some(process) = spec.process() else { return Ok(None) };
    let path = container_path(process.cwd())?;
    match facts.targets.get(path.as_str()) {
        Some(Kind::File) => Ok(None),
        _ => mount_point(&path, Kind::Directory, facts, covered),
    }
}

fn cgroup_steps(target: &ContainerPath, attributes: &[Attribute], view: &CgroupView) -> Result<Vec<Step>> {
    let attributes = attributes.to_vec();
    let (hierarchies, unified) = match view {
        CgroupView::V2 => {
            let (fstype, source) = ("cgroup2".to_owned(), "cgroup".to_owned());
            return Ok(vec![Step::Mount { fstype, source, target: target.clone(), attributes, data: Vec::new() }]);
        }
        CgroupView::V1 { hierarchies, unified } => (hierarchies, *unified),
    };
    let writable: Vec<Attribute> = attributes.iter().copied().filter(|a| *a != Attribute::Ro).collect();
    let mut steps = vec![Step::Mount {
        fstype: "tmpfs".into(),
        source: "tmpfs".into(),
        target: target.clone(),
        attributes: writable,
        data: vec!["mode=755".into()],
    }];
    let v1 = hierarchies.iter().map(|(name, option)| (name.as_str(), "cgroup", Some(option.clone())));
    for (name, fstype, option) in v1.chain(unified.then_some(("unified", "cgroup2", None))) {
        let path = ContainerPath::parse(&format!("{}/{name}", target.as_str().trim_end_matches('/')))?;
        steps.push(Step::MakeDirectory { path: path.clone() });
        let data = option.iter().flat_map(|option| option.split(',')).map(str::to_owned).collect();
        let (fstype, source) = (fstype.to_owned(), "cgroup".to_owned());
        steps.push(Step::Mount { fstype, source, target: path, attributes: attributes.clone(), data });
    }
    steps.push(Step::Remount { path: target.clone(), attributes });
    Ok(steps)
}

/// Links of /dev that every Unix program may expect (runtime-spec, config-linux.md, "Default Devices" and
/// "Dev symbolic links").
const DEV_LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// The device nodes that every container has (runtime-spec, config-linux.md, "Default Devices").
const DEFAULT_DEVICES: [(&str, u64, u64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

fn device_steps(spec: &Spec, steps: &mut Vec<Step>) -> Result<()> {
    let bound = !spec.linux().as_ref().and_then(|linux| linux.uid_mappings().as_ref()).is_none_or(Vec::is_empty);
    for (path, major, minor) in DEFAULT_DEVICES {
        let (path, kind) = (ContainerPath::parse(path)?, DeviceKind::Char);
        if bound {
            steps.extend(host_device(&path)?);
            continue;
        }
        steps.push(Step::Device { path, kind, major, minor, mode: 0o666, uid: 0, gid: 0 });
    }
    let asked = spec.linux().as_ref().and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    // the host's own /dev/ptmx, which --privileged asks for, gives way to that of the new devpts
    let ours = DEFAULT_DEVICES.iter().map(|(path, ..)| *path).chain(DEV_LINKS.iter().map(|(path, _)| *path));
    let ours: Vec<&Path> = ours.map(Path::new).collect();
    for device in asked.iter().filter(|device| !ours.contains(&device.path().as_path())) {
        let above = device.path().parent().filter(|above| *above != Path::new("/dev"));
        if let Some(above) = above {
            steps.push(Step::MakeDirectory { path: container_path(above)? });
        }
        if bound {
            steps.extend(host_device(&container_path(device.path())?)?);
        } else {
            steps.push(device_step(device)?);
        }
    }
    for (path, to) in DEV_LINKS {
        steps.push(Step::Symlink { path: ContainerPath::parse(path)?, to: to.to_owned() });
    }
    Ok(())
}

/// In a user namespace no device node can be made (mknod(2), EPERM): the host's own is bound.
fn host_device(path: &ContainerPath) -> Result<[Step; 2]> {
    let bind = Bind {
        source: HostPath::parse(path.as_str())?,
        inside: None,
        target: path.clone(),
        recursive: false,
        attributes: Vec::new(),
        recursive_attributes: false,
        propagation: None,
    };
    Ok([Step::MakeFile { path: path.clone() }, Step::Bind(bind)])
}

fn device_step(device: &LinuxDevice) -> Result<Step> {
    let kind = match device.typ() {
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::P => DeviceKind::Fifo,
        LinuxDeviceType::C | LinuxDeviceType::U | LinuxDeviceType::A => DeviceKind::Char,
    };
    Ok(Step::Device {
        path: container_path(device.path())?,
        kind,
        major: device.major() as u64,
        minor: device.minor() as u64,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

/// Masked and read-only paths, those that exist.
fn hidden(spec: &Spec, facts: &Facts) -> Result<Vec<Step>> {
    let Some(linux) = spec.linux() else { return Ok(Vec::new()) };
    let kind = |path: &String| facts.kernel.get(path).or_else(|| facts.targets.get(path)).copied();
    let mut steps = Vec::new();
    for path in linux.readonly_paths().as_deref().unwrap_or_default().iter().filter(|path| kind(path).is_some()) {
        steps.push(Step::ReadOnly { path: ContainerPath::parse(path)? });
    }
    let mut first: Option<ContainerPath> = None;
    for masked in linux.masked_paths().as_deref().unwrap_or_default() {
        let path = ContainerPath::parse(masked)?;
        match kind(masked) {
            None => {}
            Some(Kind::File) => steps.push(Step::MaskFile { path }),
            Some(Kind::Directory) => {
                steps.push(Step::MaskDirectory { path: path.clone(), like: first.clone() });
                first.get_or_insert(path);
            }
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::Pid;

    fn web() -> Identity {
        Identity { pid: Pid(7), start_time: 1, boot_id: "x".into() }
    }

    fn facts() -> Facts {
        let directory = |path: &str| (path.to_owned(), Kind::Directory);
        Facts {
            targets: [directory("/proc"), ("/etc/hosts".to_owned(), Kind::File)].into(),
            sources: [directory("/src"), directory("/proc/7/root/dev/shm"), ("/hosts".to_owned(), Kind::File)].into(),
            kernel: [directory("/proc/acpi"), directory("/sys/firmware"), ("/proc/kcore".to_owned(), Kind::File)]
                .into(),
            owners: [(HostPath::parse("/proc/7/root/dev/shm").unwrap(), web())].into(),
            trees: BTreeMap::new(),
        }
    }

    fn lines(config: serde_json::Value, view: &CgroupView) -> Result<Vec<String>> {
        let spec: Spec = serde_json::from_value(config).unwrap();
        let root = RootSource::Directory(HostPath::parse("/bundle/rootfs").unwrap());
        let at = HostPath::parse("/run/r").unwrap();
        let steps = plan(&spec, &root, &at, view, &facts())?;
        Ok(steps.iter().map(|step| step.shell().to_string()).collect())
    }

    fn spec_with(mounts: &serde_json::Value, linux: &serde_json::Value) -> serde_json::Value {
        serde_json::json!({ "ociVersion": "1.0.2", "root": { "path": "/" }, "mounts": mounts, "linux": linux })
    }

    #[test]
    fn only_missing_mount_points_are_made() {
        let mounts = serde_json::json!([
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"] },
            { "destination": "/data", "type": "bind", "source": "/src", "options": ["rbind", "ro"] },
            { "destination": "/etc/hosts", "type": "bind", "source": "/hosts", "options": ["bind"] },
            { "destination": "/data/in", "type": "tmpfs", "source": "tmpfs", "options": [] },
        ]);
        let got = lines(spec_with(&mounts, &serde_json::json!({})), &CgroupView::V2).unwrap();
        let want = [
            "mount --make-rprivate /",
            "mount --rbind /bundle/rootfs /run/r",
            r#"mount -t proc -o nosuid proc "$R/proc""#,
            r#"mkdir -p "$R/data""#,
            r#"mount --rbind /src "$R/data" && mount -o remount,bind,ro "$R/data""#,
            r#"mount --bind /hosts "$R/etc/hosts""#,
            r#"mkdir -p "$R/data/in""#,
            r#"mount -t tmpfs tmpfs "$R/data/in""#,
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn what_belongs_to_another_container_is_taken_from_its_own_mounts() {
        let bind = |source| {
            let mounts = serde_json::json!([{ "destination": "/dev/shm", "source": source, "options": ["rbind"] }]);
            lines(spec_with(&mounts, &serde_json::json!({})), &CgroupView::V2).unwrap().pop().unwrap()
        };
        assert!(bind("/proc/7/root/dev/shm").starts_with("# no shell tool: /dev/shm of process 7 "));
        assert_eq!(bind("/src"), r#"mount --rbind /src "$R/dev/shm""#);
    }

    #[test]
    fn no_node_is_made_where_one_stands() {
        let ptmx = serde_json::json!({ "devices": [{ "path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2 }] });
        let dev = |kind: &str, options| serde_json::json!([{ "destination": "/dev", "type": kind, "source": "/src", "options": options }]);
        let fresh = lines(spec_with(&dev("tmpfs", vec!["mode=755"]), &ptmx), &CgroupView::V2).unwrap();
        assert!(fresh.contains(&r#"ln -s pts/ptmx "$R/dev/ptmx""#.to_owned()), "{fresh:?}");
        assert!(!fresh.iter().any(|line| line.contains("mknod") && line.contains("ptmx")), "{fresh:?}");
        let bound = lines(spec_with(&dev("bind", vec!["rbind"]), &ptmx), &CgroupView::V2).unwrap();
        assert!(!bound.iter().any(|line| line.contains("mknod") || line.contains("ln -s")), "{bound:?}");
    }

    #[test]
    fn directories_that_are_hidden_share_one_empty_one() {
        let linux = serde_json::json!({
            "maskedPaths": ["/proc/acpi", "/proc/nothing", "/sys/firmware", "/proc/kcore"]
        });
        let got = lines(spec_with(&serde_json::json!([]), &linux), &CgroupView::V2).unwrap();
        let want = [
            r#"mount -t tmpfs -o ro,nr_blocks=1,nr_inodes=1 tmpfs "$R/proc/acpi""#,
            r#"mount --bind "$R/proc/acpi" "$R/sys/firmware""#,
            r#"mount --bind /dev/null "$R/proc/kcore""#,
        ];
        assert_eq!(got[2..5], want);
    }

    #[test]
    fn a_v1_view_is_a_tmpfs_of_hierarchies_that_ends_read_only() {
        let mounts = serde_json::json!([
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"] }
        ]);
        let view = CgroupView::V1 { hierarchies: vec![("memory".into(), "memory".into())], unified: true };
        let got = lines(spec_with(&mounts, &serde_json::json!({})), &view).unwrap();
        let want = [
            r#"mkdir -p "$R/sys/fs/cgroup""#,
            r#"mount -t tmpfs -o nosuid,mode=755 tmpfs "$R/sys/fs/cgroup""#,
            r#"mkdir -p "$R/sys/fs/cgroup/memory""#,
            r#"mount -t cgroup -o ro,nosuid,memory cgroup "$R/sys/fs/cgroup/memory""#,
            r#"mkdir -p "$R/sys/fs/cgroup/unified""#,
            r#"mount -t cgroup2 -o ro,nosuid cgroup "$R/sys/fs/cgroup/unified""#,
            r#"mount -o remount,bind,ro,nosuid "$R/sys/fs/cgroup""#,
        ];
        assert_eq!(got[2..9], want);
    }

    #[test]
    fn what_cannot_be_mounted_is_refused_before_anything_is_done() {
        for (source, target, want) in [
            ("/nowhere", "/x", "cannot mount /nowhere: it does not exist on the host"),
            ("/hosts", "/proc", "cannot mount a file over the directory /proc of the image"),
            ("/src", "/etc/hosts", "cannot mount a directory over the file /etc/hosts of the image"),
        ] {
            let mounts = serde_json::json!([{ "destination": target, "source": source, "options": ["bind"] }]);
            let error = lines(spec_with(&mounts, &serde_json::json!({})), &CgroupView::V2).unwrap_err();
            assert_eq!(error.to_string(), want);
        }
    }
}
