//! From the limits of a container and the host's hierarchies to steps. Pure.
//!
//! On v1 init joins each hierarchy itself by one write (`inside`); on v2 it is born in its cgroup (`into`,
//! CLONE_INTO_CGROUP). What a host cannot limit is a warning that names the controller and the file.

use super::devices;
use super::facts::{Hierarchies, Hierarchy, Level, Mode, Version, ancestors, clean};
use super::step::Step;
use super::table::{Entry, Limit, Names, limits};
use crate::error::{Error, Result};
use crate::id::HostPath;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPlan {
    /// In the monitor, before clone.
    pub prepare: Vec<Step>,
    /// In init, before anything else.
    pub inside: Vec<Step>,
    /// The v2 directory that init is born in, hybrid's unified one too.
    pub into: Option<HostPath>,
    pub place: Place,
    /// Limits that cannot be had here, one line each.
    pub warnings: Vec<String>,
}

/// Where a container's cgroups are: what `apply`'s readers and freezer take, to be kept in its record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub unified: Option<HostPath>,
    pub v1: Vec<V1Place>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct V1Place {
    pub controllers: Vec<String>,
    pub dir: HostPath,
}

impl Place {
    /// The directory that holds this controller's files, and its version.
    pub fn dir(&self, controller: &str) -> Option<(Version, &HostPath)> {
        let v1 = self.v1.iter().find(|place| place.controllers.iter().any(|c| c == controller));
        let v1 = v1.map(|place| (Version::V1, &place.dir));
        v1.or(self.unified.as_ref().map(|dir| (Version::V2, dir)))
    }
}

/// Controllers that a v2 cgroup gets where they are to be had, for `stats` reads their files.
const WANTED: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// The steps for a container's cgroup at `path`, below the topmost directory that we see of each hierarchy.
pub fn plan(resources: Option<&LinuxResources>, path: &str, host: &Hierarchies) -> Result<CgroupPlan> {
    let path = clean(path)?;
    let none = LinuxResources::default();
    let resources = resources.unwrap_or(&none);
    let names = Names { bfq: host.list.iter().any(|h| h.bfq) };
    let mut limits = limits(resources, names)?;
    let mut plan = directories(&path, host, &limits)?;
    plan.warnings.extend(drop_what_cannot_be(&mut limits, host, &path));
    for limit in &limits {
        let Some((hierarchy, entries)) = chosen(limit, host) else { continue };
        for entry in entries {
            check_cpuset(hierarchy, entry)?;
            let file = hierarchy.dir(&path).child(&entry.file);
            // what a v1 cpuset got for joining gives way to what was asked for
            plan.prepare.retain(|step| !(entry.controller == "cpuset" && writes(step, &file)));
            plan.prepare.push(Step::Write { file, value: entry.value.clone() });
        }
    }
    let given: &[LinuxDeviceCgroup] = resources.devices().as_deref().unwrap_or_default();
    plan.prepare.extend(device_steps(given, &path, host)?);
    plan.inside.push(Step::UnshareCgroupNamespace);
    Ok(plan)
}

/// The monitors' common cgroup, `monitors` below `root`: a monitor must not be counted with the caller that
/// started it, nor be killed with it.
pub fn join_monitors(host: &Hierarchies, root: &str) -> Result<CgroupPlan> {
    let mut plan = directories(&clean(&format!("{root}/monitors"))?, host, &[])?;
    for step in &mut plan.prepare {
        if let Step::Mkdir { dir, version: _ } = step {
            *step = Step::EnsureDir { dir: dir.clone() };
        }
    }
    Ok(plan)
}

/// How another process gets into a running container's cgroups, for `exec`: on v1 it joins itself, into v2's
/// (`Place::unified`) it is cloned.
pub fn join(place: &Place) -> Vec<Step> {
    place.v1.iter().map(|v1| Step::Join { file: v1.dir.child("tasks") }).collect()
}

/// Makes the directories, and says how init gets into them.
fn directories(path: &str, host: &Hierarchies, limits: &[Limit]) -> Result<CgroupPlan> {
    let mut plan = CgroupPlan {
        prepare: Vec::new(),
        inside: Vec::new(),
        into: None,
        place: Place::default(),
        warnings: Vec::new(),
    };
    for hierarchy in &host.list {
        if !hierarchy.writable {
            return Err(Error::host(format!("cgroup hierarchy {} is mounted read-only", hierarchy.mount))
                .hint("inside another container: give that one a writable cgroup mount (docker: --privileged)"));
        }
        let dir = hierarchy.dir(path);
        plan.prepare.extend(way_down(hierarchy, path, limits));
        plan.prepare.push(Step::Mkdir { dir: dir.clone(), version: hierarchy.version });
        match hierarchy.version {
            Version::V2 => {
                plan.into = Some(dir.clone());
                plan.place.unified = Some(dir);
            }
            Version::V1 => {
                if hierarchy.has("cpuset") {
                    plan.prepare.extend(copy_cpuset(hierarchy, path));
                }
                plan.inside.push(Step::Join { file: dir.child("tasks") });
                plan.place.v1.push(V1Place { controllers: hierarchy.controllers.clone(), dir });
            }
        }
    }
    Ok(plan)
}

fn writes(step: &Step, file: &HostPath) -> bool {
    matches!(step, Step::Write { file: other, value: _ } if other == file)
}

/// The steps for the directories above the container's.
fn way_down(hierarchy: &Hierarchy, path: &str, limits: &[Limit]) -> Vec<Step> {
    let mut steps = Vec::new();
    let wanted = wanted(hierarchy, path, limits);
    for above in ancestors(path) {
        let level = hierarchy.level(above);
        if level.is_none() {
            steps.push(Step::EnsureDir { dir: hierarchy.dir(above) });
        }
        if hierarchy.version == Version::V1 && hierarchy.has("cpuset") && !above.is_empty() {
            let has = level.is_some_and(|level| !level.cpus.is_empty() && !level.mems.is_empty());
            steps.extend(if has { Vec::new() } else { copy_cpuset(hierarchy, above) });
        }
        if hierarchy.version == Version::V2 {
            steps.extend(enable(hierarchy, above, level, &wanted));
        }
    }
    steps
}

/// v2: what the container's cgroup shall have: what a limit needs and what `stats` reads, as far as it is to be had.
fn wanted(hierarchy: &Hierarchy, path: &str, limits: &[Limit]) -> Vec<String> {
    let needed = limits.iter().flat_map(|limit| &limit.v2).map(|entry| entry.controller.as_str());
    let can = |c: &&str| hierarchy.has(c) && barrier(hierarchy, path, c).is_none();
    let mut wanted: Vec<String> = WANTED.into_iter().chain(needed).filter(can).map(str::to_owned).collect();
    wanted.sort();
    wanted.dedup();
    wanted
}

/// Opens the way for the controllers in one directory, and empties it first where it holds our own processes.
fn enable(hierarchy: &Hierarchy, path: &str, level: Option<&Level>, wanted: &[String]) -> Vec<Step> {
    let enabled = level.map_or(&[] as &[String], |level| &level.enabled);
    let missing: Vec<String> = wanted.iter().filter(|c| !enabled.contains(c)).cloned().collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let dir = hierarchy.dir(path);
    let mut steps = Vec::new();
    if !may_have_both(hierarchy, path) && level.is_some_and(|level| level.occupied) {
        let leaf = dir.child(LEAF);
        steps.push(Step::EnsureDir { dir: leaf.clone() });
        steps.push(Step::MoveProcesses { from: dir.clone(), to: leaf });
    }
    steps.push(Step::EnableControllers { dir, controllers: missing });
    steps
}

/// Where our own processes go when they sit in a cgroup that must give controllers to its children.
const LEAF: &str = "minirun.outer";

/// The kernel's root cgroup alone may hold processes and give controllers (cgroup-v2.rst, no internal process constraint).
fn may_have_both(hierarchy: &Hierarchy, path: &str) -> bool {
    hierarchy.real_root && path.is_empty()
}

/// What keeps a v2 controller from the cgroup at `path`: the first directory above that does not hand it down and
/// cannot be made to: it is somebody else's, or full of somebody else's processes.
fn barrier(hierarchy: &Hierarchy, path: &str, controller: &str) -> Option<String> {
    let stops = |level: &&Level| {
        let ours = hierarchy.own.as_deref().is_some_and(|own| own.trim_matches('/') == level.path);
        let full = level.occupied && !may_have_both(hierarchy, &level.path) && !ours;
        !level.enabled.iter().any(|c| c == controller) && (level.foreign || full)
    };
    let level = ancestors(path).into_iter().filter_map(|above| hierarchy.level(above)).find(stops)?;
    let why = if level.foreign { "is not ours to change" } else { "holds processes itself" };
    Some(format!("cgroup {} {why}, so controller {controller} cannot be enabled below it", hierarchy.dir(&level.path)))
}

/// A v1 cpuset is born without cpus and mems and cannot be joined like that (cpusets(7)): it gets those of the
/// nearest directory above that has some.
fn copy_cpuset(hierarchy: &Hierarchy, path: &str) -> Vec<Step> {
    let above = ancestors(path).into_iter().rev().filter_map(|p| hierarchy.level(p));
    let Some(from) = above.into_iter().find(|level| !level.cpus.is_empty() && !level.mems.is_empty()) else {
        return Vec::new();
    };
    [("cpuset.cpus", &from.cpus), ("cpuset.mems", &from.mems)]
        .into_iter()
        .map(|(file, value)| Step::Write { file: hierarchy.dir(path).child(file), value: value.clone() })
        .collect()
}

/// Where this limit is written: v1's files where a v1 hierarchy has the controller, else v2's.
fn chosen<'a>(limit: &'a Limit, host: &'a Hierarchies) -> Option<(&'a Hierarchy, &'a [Entry])> {
    let v1 = limit.v1.first().and_then(|entry| host.v1(&entry.controller));
    let v2 = || {
        let entry = limit.v2.first()?;
        // `cgroup.*` files are there without any controller
        host.unified().filter(|h| h.has(&entry.controller) || entry.controller == "cgroup")
    };
    v1.map(|hierarchy| (hierarchy, &*limit.v1)).or_else(|| v2().map(|hierarchy| (hierarchy, &*limit.v2)))
}

/// Why this host cannot have this limit; none where it can.
fn obstacle(limit: &Limit, host: &Hierarchies, path: &str) -> Option<String> {
    let Some((hierarchy, entries)) = chosen(limit, host) else {
        let v2 = limit.v2.first().filter(|_| host.unified().is_some_and(|h| !h.controllers.is_empty()));
        let entry = v2.or(limit.v1.first()).or(limit.v2.first())?;
        return Some(match (limit.v2.is_empty(), host.mode) {
            (true, Mode::V2) => format!("cgroup v2 has nothing like {}", entry.file),
            (_, _) => format!("there is no cgroup controller {} here for {}", entry.controller, entry.file),
        });
    };
    let entry = &entries[0];
    if hierarchy.version == Version::V1 {
        let uncounted = entry.file.starts_with("memory.memsw") && !hierarchy.swap_accounting;
        return uncounted.then(|| format!("the kernel has no {} (boot it with swapaccount=1)", entry.file));
    }
    barrier(hierarchy, path, &entry.controller).map(|why| format!("{why} for {}", entry.file))
}

/// One line for each limit that this host cannot have; the others stay.
fn drop_what_cannot_be(limits: &mut Vec<Limit>, host: &Hierarchies, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    limits.retain(|limit| {
        let obstacle = obstacle(limit, host, path);
        warnings.extend(obstacle.iter().map(|why| format!("the {} is not set: {why}", limit.what)));
        obstacle.is_none()
    });
    warnings
}

/// A list of processors that the cgroup above does not have fails late and with EINVAL; so it is said here.
fn check_cpuset(hierarchy: &Hierarchy, entry: &Entry) -> Result<()> {
    let Some(level) = hierarchy.levels.iter().rev().find(|level| !level.cpus.is_empty()) else { return Ok(()) };
    let available = match entry.file.as_str() {
        "cpuset.cpus" => &level.cpus,
        "cpuset.mems" => &level.mems,
        _ => return Ok(()),
    };
    let asked = ranges(&entry.value)
        .ok_or_else(|| Error::user(format!("invalid {} {:?}", entry.file, entry.value)).hint("for instance 0-2,4"))?;
    let has = ranges(available).unwrap_or_default();
    if !asked.iter().all(|(from, to)| has.iter().any(|(low, high)| low <= from && to <= high)) {
        return Err(Error::user(format!("{} {} is not available here", entry.file, entry.value))
            .hint(format!("available: {available}")));
    }
    Ok(())
}

/// `0-2,4` as inclusive ranges, neighbours joined; none where it is malformed (cpuset(7), list format).
fn ranges(list: &str) -> Option<Vec<(u32, u32)>> {
    let mut ranges = Vec::new();
    for part in list.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u32, u32) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        if from > to {
            return None;
        }
        ranges.push((from, to));
    }
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let joins = next.0 <= last.1.saturating_add(1);
        last.1 = if joins { last.1.max(next.1) } else { last.1 };
        joins
    });
    Some(ranges)
}

fn device_steps(given: &[LinuxDeviceCgroup], path: &str, host: &Hierarchies) -> Result<Vec<Step>> {
    let rules = devices::rules(given)?;
    if let Some(hierarchy) = host.v1("devices") {
        let dir = hierarchy.dir(path);
        let write = |line: devices::Line| Step::Write { file: dir.child(line.file), value: line.value };
        return Ok(devices::lines(&rules)?.into_iter().map(write).collect());
    }
    match host.unified() {
        Some(hierarchy) => {
            Ok(vec![Step::AttachDeviceFilter { dir: hierarchy.dir(path), program: devices::program(&rules) }])
        }
        None => Err(Error::host("no cgroup controller devices is mounted, and no cgroup v2").hint(
            "devices cannot be kept from the container: mount -t cgroup -o devices devices /sys/fs/cgroup/devices",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::facts::parse;

    fn v2(root: &str, levels: &[(&str, &str, bool)]) -> Hierarchies {
        let mut host = parse("1 2 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/\n").unwrap();
        let h = &mut host.list[0];
        h.real_root = root == "real";
        h.controllers = ["cpu", "cpuset", "io", "memory", "pids"].map(str::to_owned).to_vec();
        h.levels = levels
            .iter()
            .map(|(path, enabled, occupied)| Level {
                path: (*path).to_owned(),
                enabled: crate::cgroup::facts::words(enabled),
                occupied: *occupied,
                ..Level::default()
            })
            .collect();
        host
    }

    /// A user's part of a host: memory was handed down, pids was not.
    fn delegated() -> Hierarchies {
        let mut host = v2("real", &[("", "memory", false), ("a", "", false)]);
        host.list[0].levels[0].foreign = true;
        host
    }

    fn v1() -> Hierarchies {
        let mounts: String = ["memory", "cpuset", "freezer", "pids", "devices", "name=systemd"]
            .map(|c| format!("1 2 0:3 / /cg/{} rw - cgroup cgroup rw,{c}\n", c.trim_start_matches("name=")))
            .concat();
        let own = "1:memory:/\n2:cpuset:/\n3:freezer:/\n4:pids:/\n5:devices:/\n6:name=systemd:/\n0::/\n";
        let mut host = parse(&mounts, own).unwrap();
        for h in host.list.iter_mut().filter(|h| h.has("cpuset")) {
            h.levels = vec![Level { cpus: "0-1".into(), mems: "0".into(), ..Level::default() }];
        }
        host
    }

    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    fn lines(steps: &[Step]) -> Vec<String> {
        steps.iter().map(|s| s.shell().to_string()).filter(|s| !s.contains("devices")).collect()
    }

    #[test]
    fn on_v2_controllers_are_opened_on_the_way_and_init_is_born_inside() {
        let host = v2("real", &[("", "cpu memory", false)]);
        let plan = plan(Some(&resources(r#"{"pids":{"limit":20}}"#)), "minirun/a", &host).unwrap();
        assert_eq!(
            lines(&plan.prepare)[..5],
            [
                "echo '+io +pids' > /sys/fs/cgroup/cgroup.subtree_control",
                "mkdir -p /sys/fs/cgroup/minirun",
                "echo '+cpu +io +memory +pids' > /sys/fs/cgroup/minirun/cgroup.subtree_control",
                "mkdir /sys/fs/cgroup/minirun/a",
                "echo 20 > /sys/fs/cgroup/minirun/a/pids.max",
            ]
        );
        assert!(matches!(plan.prepare.last(), Some(Step::AttachDeviceFilter { .. })));
        assert_eq!(plan.into.unwrap().as_str(), "/sys/fs/cgroup/minirun/a");
        assert_eq!(plan.inside, [Step::UnshareCgroupNamespace]);
        assert!(plan.warnings.is_empty());
    }

    #[test]
    fn inside_another_container_our_own_processes_move_to_a_leaf_first() {
        let plan = plan(None, "minirun/a", &v2("container", &[("", "", true)])).unwrap();
        assert_eq!(
            lines(&plan.prepare)[..3],
            [
                "mkdir -p /sys/fs/cgroup/minirun.outer",
                "while read -r pid; do echo $pid > /sys/fs/cgroup/minirun.outer/cgroup.procs; done < /sys/fs/cgroup/cgroup.procs",
                "echo '+cpu +io +memory +pids' > /sys/fs/cgroup/cgroup.subtree_control",
            ]
        );
    }

    #[test]
    fn a_limit_that_cannot_be_had_is_a_warning_that_names_controller_and_file() {
        let pids = r#"{"pids":{"limit":20}}"#;
        let other = v2("real", &[("", "cpu io memory pids", false), ("a", "", true)]);
        for (json, path, host, want) in [
            (
                pids,
                "a/b",
                other,
                "the pids limit is not set: cgroup /sys/fs/cgroup/a holds processes itself, so controller pids cannot be enabled below it for pids.max",
            ),
            (
                r#"{"pids":{"limit":20}}"#,
                "a/b",
                delegated(),
                "the pids limit is not set: cgroup /sys/fs/cgroup is not ours to change, so controller pids cannot be enabled below it for pids.max",
            ),
            (
                r#"{"memory":{"swappiness":1}}"#,
                "a/b",
                v2("real", &[]),
                "the swappiness is not set: cgroup v2 has nothing like memory.swappiness",
            ),
            (
                r#"{"cpu":{"quota":1}}"#,
                "a/b",
                v1(),
                "the cpu quota is not set: there is no cgroup controller cpu here for cpu.cfs_quota_us",
            ),
            (
                r#"{"unified":{"memory.high":"1"}}"#,
                "a/b",
                v1(),
                "the unified memory.high is not set: there is no cgroup controller memory here for memory.high",
            ),
        ] {
            let plan = plan(Some(&resources(json)), path, &host).unwrap();
            assert_eq!(plan.warnings, [want]);
        }
    }

    #[test]
    fn below_a_foreign_cgroup_there_is_what_was_handed_down() {
        let plan = plan(Some(&resources(r#"{"memory":{"limit":9}}"#)), "a/b", &delegated()).unwrap();
        assert_eq!(
            lines(&plan.prepare)[..3],
            [
                "echo +memory > /sys/fs/cgroup/a/cgroup.subtree_control",
                "mkdir /sys/fs/cgroup/a/b",
                "echo 9 > /sys/fs/cgroup/a/b/memory.max",
            ]
        );
        assert!(plan.warnings.is_empty());
    }

    #[test]
    fn exec_joins_where_the_container_is() {
        let place = plan(None, "m/a", &v1()).unwrap().place;
        assert_eq!(lines(&join(&place))[0], "echo 0 > /cg/memory/m/a/tasks");
    }

    #[test]
    fn on_v1_each_hierarchy_gets_a_directory_and_init_joins_them_itself() {
        let plan = plan(Some(&resources(r#"{"memory":{"limit":9},"cpu":{"cpus":"1"}}"#)), "m/a", &v1()).unwrap();
        let text = lines(&plan.prepare);
        for want in [
            "echo 0-1 > /cg/cpuset/m/cpuset.cpus",
            "echo 0 > /cg/cpuset/m/cpuset.mems",
            "echo 0 > /cg/cpuset/m/a/cpuset.mems",
            "echo 1 > /cg/cpuset/m/a/cpuset.cpus",
            "echo 9 > /cg/memory/m/a/memory.limit_in_bytes",
        ] {
            assert_eq!(text.iter().filter(|line| *line == want).count(), 1, "{want} in {text:#?}");
        }
        assert!(!text.contains(&"echo 0-1 > /cg/cpuset/m/a/cpuset.cpus".to_owned()));
        assert!(plan.prepare.contains(&Step::Write {
            file: HostPath::parse("/cg/devices/m/a/devices.deny").unwrap(),
            value: "a".into()
        }));
        let joins = lines(&plan.inside);
        assert_eq!(joins.len(), 6);
        assert_eq!(joins[0], "echo 0 > /cg/memory/m/a/tasks");
        assert_eq!(joins[5], "exec unshare --cgroup bash -eus");
        assert_eq!(plan.into, None);
        assert_eq!(plan.place.dir("pids").unwrap().1.as_str(), "/cg/pids/m/a");
    }

    #[test]
    fn processors_that_are_not_there_are_refused() {
        for (cpus, ok) in
            [("0", true), ("0-1", true), ("0,1", true), ("2", false), ("0-2", false), ("x", false), ("1-0", false)]
        {
            let resources = resources(&format!(r#"{{"cpu":{{"cpus":"{cpus}"}}}}"#));
            assert_eq!(plan(Some(&resources), "m/a", &v1()).is_ok(), ok, "{cpus}");
        }
    }

    #[test]
    fn monitors_share_one_directory_that_stays() {
        let plan = join_monitors(&v1(), "minirun").unwrap();
        assert!(plan.prepare.iter().all(|step| step.undo().is_none()));
        assert!(lines(&plan.inside).contains(&"echo 0 > /cg/memory/minirun/monitors/tasks".to_owned()));
    }

    #[test]
    fn a_hierarchy_that_cannot_be_written_is_an_error() {
        let mut host = v1();
        host.list[0].writable = false;
        assert!(plan(None, "m/a", &host).unwrap_err().message.contains("/cg/memory is mounted read-only"));
    }
}
