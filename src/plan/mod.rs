//! A plan: everything that will be done, as data, before anything is done. Pure: what it has to know of the system
//! comes in as [`Facts`]. Explain, run, roll-back, repair and the golden tests read the same plan.

mod order;
pub mod root;
pub mod step;
pub mod volume;

use crate::cgroup::plan::Place;
use crate::error::{Error, Result};
use crate::id::HostPath;
use crate::mount::plan::{CgroupView, RootSource};
use crate::sys::process::Identity;
use crate::sys::tty::Size;
use crate::{cgroup, mount, net, security};
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Process, Spec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use step::{IdMapFile, IdMapWriter, IdRange, Joined, Namespace, Step, Undo};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// By the monitor, before init exists; the last step is init's birth.
    pub prepare: Vec<Step>,
    /// By the monitor, while init does `inside`.
    pub host: Vec<Step>,
    /// By init, up to the barrier.
    pub inside: Vec<Step>,
    /// By init, from the barrier to exec.
    pub start: Vec<Step>,
}

/// The four parts of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Prepare,
    Host,
    Inside,
    Start,
}

impl Plan {
    pub fn phase(&self, phase: Phase) -> &[Step] {
        match phase {
            Phase::Prepare => &self.prepare,
            Phase::Host => &self.host,
            Phase::Inside => &self.inside,
            Phase::Start => &self.start,
        }
    }

    /// What removes everything that the steps leave on the host, in the order of the steps: to be run backwards.
    pub fn undo(&self) -> Vec<Undo> {
        [&self.prepare, &self.host, &self.inside, &self.start].into_iter().flatten().filter_map(Step::undo).collect()
    }
}

/// What the planner knows of the system; nothing else decides.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Facts {
    /// Ours; not 0 means that the kernel takes no id map from us but that of our own id.
    pub uid: u32,
    pub mount: mount::plan::Facts,
    pub cgroup: cgroup::facts::Hierarchies,
    pub security: security::plan::Facts,
    /// Whose the namespaces are that are joined by path.
    pub owners: BTreeMap<HostPath, Identity>,
}

/// What is to be born, besides what the specification says of it.
#[derive(Debug, Clone)]
pub struct Birth {
    /// The container's directory in the state root; `rootfs` in it becomes the root.
    pub state_dir: HostPath,
    pub root: RootSource,
    pub security: security::plan::Request,
    /// Directories to make, with their modes, and files to write for it (hosts, hostname, resolv.conf).
    pub directories: Vec<(HostPath, u32)>,
    pub files: Vec<(HostPath, String)>,
    /// Its image, to be copied to where `root` is.
    pub copy: Option<root::Copy>,
    /// To make and fill its volumes, where they are not there yet.
    pub volumes: Vec<volume::Step>,
    pub network: net::plan::NetPlan,
    /// The terminal's size, where one was asked for.
    pub console: Option<Size>,
}

/// A plan, and what the caller should be told (a limit that cannot be had, say).
#[derive(Debug)]
pub struct Planned {
    pub plan: Plan,
    pub warnings: Vec<String>,
    /// Where its cgroups will be; nowhere for what is no container.
    pub cgroups: Place,
}

/// The parts of a birth, to be put in order by [`order`].
struct Parts {
    directories: Vec<Step>,
    copy: Vec<Step>,
    volumes: Vec<Step>,
    shared_network: Vec<Step>,
    cgroup: Vec<Step>,
    clone: Step,
    to_init: Vec<Step>,
    id_maps: Vec<Step>,
    lent: Vec<Step>,
    release_id_maps: Vec<Step>,
    wait_id_maps: Vec<Step>,
    become_root: Vec<Step>,
    network: Vec<Step>,
    join: Vec<Step>,
    join_cgroup: Vec<Step>,
    session: Vec<Step>,
    early: Vec<Step>,
    limits: Vec<Step>,
    mounts: Vec<Step>,
    names: Vec<Step>,
    console: Vec<Step>,
    workdir: Vec<Step>,
    identity: Vec<Step>,
    exec: Step,
}

/// The plan of a container's birth.
pub fn build(spec: &Spec, birth: &Birth, facts: &Facts) -> Result<Planned> {
    let process = process_of(spec)?;
    let linux = spec.linux().as_ref();
    let path = linux.and_then(|l| l.cgroups_path().as_ref()).and_then(|p| p.to_str()).unwrap_or("minirun").to_owned();
    let resources = linux.and_then(|l| l.resources().as_ref());
    let mut cgroup = cgroup::plan::plan(resources, &path, &facts.cgroup)?;
    let mut security = security::plan::plan(process, &birth.security, &facts.security)?;
    let rootfs = birth.state_dir.child("rootfs");
    let view = cgroup_view(&facts.cgroup);
    let mut mounts = mount::plan::plan(spec, &birth.root, &rootfs, &view, &facts.mount)?;
    let (clone, join) = namespaces(spec, cgroup.into.clone(), &facts.owners)?;
    let id_maps = if makes_user_namespace(&clone) { id_maps(spec, facts.uid)? } else { Vec::new() };
    if id_maps.contains(&Step::DenySetgroups) {
        security.inside_late.retain(|step| !matches!(step, security::step::Step::Groups { .. }));
    }
    if facts.uid != 0 {
        // bpf(2) is not ours to call, and no device node can be made in a user namespace (user_namespaces(7))
        cgroup.prepare.retain(|step| !matches!(step, cgroup::step::Step::AttachDeviceFilter { .. }));
    }
    let owner = foreign_root(&id_maps, facts.uid);
    let (mut to_init, mut lent) = (Vec::new(), Vec::new());
    if let Some(owner) = owner {
        to_init = for_init(&mut security.inside_early, &mut cgroup.inside, &facts.security.rlimits);
        (lent, mounts) = mount::plan::lend(mounts, owner, &birth.state_dir);
    }
    let is_limit = |step: &mut security::step::Step| matches!(step, security::step::Step::Rlimit(_));
    let limits = security.inside_early.extract_if(.., is_limit).collect();
    let waits = |step: Step| if id_maps.is_empty() { Vec::new() } else { vec![step] };
    let parts = Parts {
        to_init,
        lent: wrap(lent, Step::Mount),
        release_id_maps: waits(Step::Release(step::Wait::IdMaps)),
        wait_id_maps: waits(Step::Wait(step::Wait::IdMaps)),
        become_root: owner.map(|_| Step::BecomeRoot).into_iter().collect(),
        directories: directories(birth, &rootfs),
        copy: birth.copy.clone().map(Step::CopyRoot).into_iter().collect(),
        volumes: wrap(birth.volumes.clone(), Step::Volume),
        shared_network: wrap(birth.network.prepare.clone(), Step::Net),
        cgroup: wrap(cgroup.prepare, Step::Cgroup),
        clone,
        id_maps,
        network: wrap(birth.network.host.clone(), Step::Net),
        join,
        join_cgroup: wrap(cgroup.inside, Step::Cgroup),
        session: vec![Step::NewSession],
        limits: wrap(limits, Step::Security),
        early: wrap(security.inside_early, Step::Security),
        mounts: wrap(mounts, Step::Mount),
        names: names(spec),
        console: birth.console.map(|size| Step::Console { size }).into_iter().collect(),
        workdir: vec![Step::WorkingDirectory { path: process.cwd().to_string_lossy().into_owned() }],
        identity: wrap(security.inside_late, Step::Security),
        exec: exec_step(process)?,
    };
    let warnings = [cgroup.warnings, security.warnings].concat();
    Ok(Planned { plan: order::birth(parts), warnings, cgroups: cgroup.place })
}

/// The plan of one more process in a container that runs: the same confinement as its first one.
pub fn build_exec(
    spec: &Spec,
    process: &Process,
    init: &Identity,
    security: &security::plan::Request,
    console: Option<Size>,
    facts: &Facts,
) -> Result<Planned> {
    let linux = spec.linux().as_ref();
    let path = linux.and_then(|l| l.cgroups_path().as_ref()).and_then(|p| p.to_str()).unwrap_or("minirun").to_owned();
    let cgroup = cgroup::plan::plan(None, &path, &facts.cgroup)?;
    let join = cgroup.inside.into_iter().filter(|step| matches!(step, cgroup::step::Step::Join { .. }));
    let security = security::plan::plan(process, security, &facts.security)?;
    let enter = |namespaces: &[Namespace]| vec![Step::Enter { init: init.clone(), namespaces: namespaces.to_vec() }];
    let mut most = vec![Namespace::Ipc, Namespace::Uts, Namespace::Net, Namespace::Pid, Namespace::Mount];
    let users = linux.and_then(|l| l.namespaces().as_ref()).into_iter().flatten();
    let foreign = users.clone().any(|one| one.typ() == LinuxNamespaceType::User) && facts.uid == 0;
    if foreign {
        most.insert(0, Namespace::User);
    }
    let prepare = [
        wrap(join.collect(), Step::Cgroup), // through the host's paths, so before its mounts are left
        wrap(security.inside_early, Step::Security), // through the host's /proc; inherited by the clone
        enter(&most),
        vec![Step::Clone { namespaces: Vec::new(), pid: None, cgroup: cgroup.into }], // only a child is in the pid namespace
    ];
    let inside = [
        if foreign { vec![Step::BecomeRoot] } else { Vec::new() },
        enter(&[Namespace::Cgroup]), // from inside of it nobody can be born into the cgroup (nsdelegate)
        vec![Step::NewSession],
        console.map(|size| Step::Console { size }).into_iter().collect(),
        vec![Step::WorkingDirectory { path: process.cwd().to_string_lossy().into_owned() }],
        wrap(security.inside_late, Step::Security),
    ];
    let start = vec![Step::Wait(step::Wait::Start), exec_step(process)?];
    let plan = Plan { prepare: prepare.concat(), host: Vec::new(), inside: inside.concat(), start };
    Ok(Planned { plan, warnings: security.warnings, cgroups: Place::default() })
}

fn wrap<T>(steps: Vec<T>, into: impl Fn(T) -> Step) -> Vec<Step> {
    steps.into_iter().map(into).collect()
}

fn process_of(spec: &Spec) -> Result<&Process> {
    spec.process()
        .as_ref()
        .ok_or_else(|| Error::user("the configuration has no process").hint("add `process` with `args`"))
}

fn directories(birth: &Birth, rootfs: &HostPath) -> Vec<Step> {
    let rootfs = (rootfs.clone(), 0o700);
    let directories = birth.directories.iter().chain([&rootfs]);
    let directories = directories.map(|(path, mode)| Step::MakeDirectory { path: path.clone(), mode: *mode });
    let files =
        birth.files.iter().map(|(path, content)| Step::WriteFile { path: path.clone(), content: content.clone() });
    directories.chain(files).collect()
}

/// The clone with every new namespace, and the steps that join the ones given by path. The cgroup namespace is made
/// by a cgroup step: in the clone its root would be the monitor's cgroup. A pid namespace is joined by the clone, for
/// only children are in it (pid_namespaces(7)).
fn namespaces(
    spec: &Spec,
    cgroup: Option<HostPath>,
    owners: &BTreeMap<HostPath, Identity>,
) -> Result<(Step, Vec<Step>)> {
    let (mut new, mut pid, mut join) = (Vec::new(), None, Vec::new());
    let asked = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    for one in asked {
        let Some(namespace) = kind(one.typ())? else { continue };
        let Some(path) = one.path() else {
            new.push(namespace);
            continue;
        };
        let path = HostPath::parse(&path.to_string_lossy())?;
        let owner = owners.get(&path).cloned();
        match namespace {
            Namespace::Pid => pid = Some(Joined { path, owner }),
            _ => join.push(Step::JoinNamespace { namespace, of: Joined { path, owner } }),
        }
    }
    new.sort();
    Ok((Step::Clone { namespaces: new, pid, cgroup }, join))
}

fn makes_user_namespace(clone: &Step) -> bool {
    matches!(clone, Step::Clone { namespaces, .. } if namespaces.contains(&Namespace::User))
}

/// The maps of a new user namespace.
fn id_maps(spec: &Spec, caller: u32) -> Result<Vec<Step>> {
    let linux = spec.linux().as_ref();
    let ranges = |maps: Option<&Vec<LinuxIdMapping>>| -> Vec<IdRange> {
        let range =
            |map: &LinuxIdMapping| IdRange { inside: map.container_id(), outside: map.host_id(), count: map.size() };
        maps.into_iter().flatten().map(range).collect()
    };
    let uids = ranges(linux.and_then(|linux| linux.uid_mappings().as_ref()));
    let gids = ranges(linux.and_then(|linux| linux.gid_mappings().as_ref()));
    if uids.is_empty() || gids.is_empty() {
        return Err(Error::user("a user namespace without id maps").hint("add `uidMappings` and `gidMappings`"));
    }
    let own = |ranges: &[IdRange]| matches!(ranges, [IdRange { count: 1, .. }]);
    let writer = |ranges: &[IdRange]| match caller {
        0 => IdMapWriter::Monitor,
        _ if own(ranges) => IdMapWriter::Monitor,
        _ => IdMapWriter::Newidmap,
    };
    let (uid_writer, gid_writer) = (writer(&uids), writer(&gids));
    // newgidmap(1) does that itself where it must
    let deny = (caller != 0 && gid_writer == IdMapWriter::Monitor).then_some(Step::DenySetgroups);
    Ok(deny
        .into_iter()
        .chain([
            Step::IdMap { file: IdMapFile::UidMap, ranges: uids, writer: uid_writer },
            Step::IdMap { file: IdMapFile::GidMap, ranges: gids, writer: gid_writer },
        ])
        .collect())
}

/// Who the root of the new user namespace is on the host, where that is not our caller: init has no right then to
/// anything of the host's, and we have to everything.
fn foreign_root(id_maps: &[Step], caller: u32) -> Option<u32> {
    let uids = id_maps.iter().find_map(|step| match step {
        Step::IdMap { file: IdMapFile::UidMap, ranges, .. } => Some(ranges),
        _ => None,
    });
    let root = uids?.iter().find(|range| range.inside == 0)?.outside;
    (caller == 0 && root != caller).then_some(root)
}

/// What root of the host does to init, for init itself may not: out of both lists, but for limits. Those are raised from
/// outside, and lowered by init when it has all its descriptors.
fn for_init(
    security: &mut Vec<security::step::Step>,
    cgroup: &mut Vec<cgroup::step::Step>,
    ours: &[security::rlimits::Rlimit],
) -> Vec<Step> {
    use {cgroup::step::Step as Cgroup, security::step::Step as Security};
    let to_init = |step| Step::Security(Security::ToInit(Box::new(step)));
    let raised = security.iter().filter_map(|step| match step {
        Security::Rlimit(wish) => match ours.iter().find(|limit| limit.resource == wish.resource) {
            Some(ours) if ours.hard >= wish.hard => None,
            Some(ours) => Some(to_init(Security::Rlimit(security::rlimits::Rlimit { soft: ours.soft, ..*wish }))),
            None => Some(to_init(step.clone())),
        },
        _ => None,
    });
    let mut all: Vec<Step> = raised.collect();
    let scores = |step: &mut Security| matches!(step, Security::OomScoreAdj { .. } | Security::Nice { .. });
    all.extend(security.extract_if(.., scores).map(to_init));
    let joins = cgroup.extract_if(.., |step| matches!(step, Cgroup::Join { .. })).map(|step| match step {
        Cgroup::Join { file } => Step::Cgroup(Cgroup::MoveInit { file }),
        other => Step::Cgroup(other),
    });
    all.extend(joins);
    all
}

fn kind(of: LinuxNamespaceType) -> Result<Option<Namespace>> {
    Ok(Some(match of {
        LinuxNamespaceType::User => Namespace::User,
        LinuxNamespaceType::Mount => Namespace::Mount,
        LinuxNamespaceType::Pid => Namespace::Pid,
        LinuxNamespaceType::Network => Namespace::Net,
        LinuxNamespaceType::Ipc => Namespace::Ipc,
        LinuxNamespaceType::Uts => Namespace::Uts,
        LinuxNamespaceType::Cgroup => return Ok(None),
        LinuxNamespaceType::Time => {
            return Err(Error::user("a time namespace was asked for").hint("minirun does not make them yet"));
        }
    }))
}

fn names(spec: &Spec) -> Vec<Step> {
    let hostname = spec.hostname().clone().map(|name| Step::Hostname { name });
    let domainname = spec.domainname().clone().map(|name| Step::Domainname { name });
    let sysctls = spec.linux().as_ref().and_then(|linux| linux.sysctl().clone()).unwrap_or_default();
    let mut sysctls: Vec<_> = sysctls.into_iter().map(|(key, value)| Step::Sysctl { key, value }).collect();
    sysctls.sort_by_key(|step| step.shell().to_string());
    hostname.into_iter().chain(domainname).chain(sysctls).collect()
}

fn exec_step(process: &Process) -> Result<Step> {
    let args = process.args().clone().unwrap_or_default();
    if args.is_empty() {
        return Err(Error::user("no command to run").hint("give one after the image's name"));
    }
    Ok(Step::Exec { args, env: process.env().clone().unwrap_or_default() })
}

/// The hierarchies as the container shall see them: under the names that the host gives them.
fn cgroup_view(host: &cgroup::facts::Hierarchies) -> CgroupView {
    use cgroup::facts::{Mode, Version};
    if host.mode == Mode::V2 {
        return CgroupView::V2;
    }
    let v1 = host.list.iter().filter(|h| h.version == Version::V1).map(|h| {
        let name = h.mount.as_str().rsplit('/').next().unwrap_or_default().to_owned();
        let option = h.name.as_ref().map_or_else(|| h.controllers.join(","), |name| format!("none,name={name}"));
        (name, option)
    });
    CgroupView::V1 { hierarchies: v1.collect(), unified: host.unified().is_some() }
}
