//! From the process of an OCI spec to the steps that make init that process. Pure.
//!
//! The order is design.md's and runc's: limits and exec labels while /proc is still the host's (`inside_early`);
//! after pivot_root (`inside_late`) the filter goes where it can still be loaded: with no_new_privs after the identity,
//! as late as can be; without, before it, for loading then needs SYS_ADMIN (seccomp(2)).

use super::capabilities::{Caps, from_oci};
use super::rlimits::{Rlimit, capped};
use super::seccomp::{self, SeccompChoice};
use super::step::Step;
use crate::error::{Error, Result};
use oci_spec::runtime::{LinuxCapabilities, Process};
use serde::{Deserialize, Serialize};

/// What the planner knows of the host and of ourselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Our own permitted and bounding sets: what we may give.
    pub permitted: Caps,
    pub bounding: Caps,
    pub rlimits: Vec<Rlimit>,
    /// fs.nr_open
    pub nr_open: u64,
    pub oom_score_adj: i32,
    pub nice: i32,
    /// Major and minor number.
    pub kernel: (u32, u32),
    pub apparmor: bool,
    /// Those loaded, where the list can be read.
    pub apparmor_profiles: Vec<String>,
    pub selinux: bool,
    /// A user namespace that forbids setgroups(2) (user_namespaces(7)).
    pub setgroups_denied: bool,
    /// The directories /sys/devices/system/cpu/cpuN/thermal_throttle that exist.
    pub thermal_throttle: Vec<String>,
}

/// What an OCI process does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub seccomp: SeccompChoice,
    /// So many descriptors after 2 reach the program.
    pub preserve_fds: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityPlan {
    /// Before pivot_root, with the host's /proc.
    pub inside_early: Vec<Step>,
    /// After pivot_root, when no mount is left to be made.
    pub inside_late: Vec<Step>,
    pub warnings: Vec<String>,
}

/// The profile that `run` asks for where AppArmor is on and it is loaded.
pub const APPARMOR_PROFILE: &str = "minirun-default";

pub fn plan(process: &Process, request: &Request, facts: &Facts) -> Result<SecurityPlan> {
    let mut plan = SecurityPlan::default();
    plan.inside_early = early(process, facts, &mut plan.warnings)?;
    let sets = sets(process.capabilities().as_ref(), facts, &mut plan.warnings)?;
    let filter = seccomp::step(&request.seccomp, sets.bounding, facts.kernel)?;
    let identity = identity(process, &sets, facts, &mut plan.warnings);
    let late = &mut plan.inside_late;
    late.push(Step::NewSessionKeyring);
    if process.no_new_privileges() == Some(true) {
        late.push(Step::NoNewPrivileges);
        late.extend(identity);
        late.extend(last(request));
        late.extend(filter);
    } else {
        late.extend(filter);
        late.extend(identity);
        late.extend(last(request));
    }
    plan.warnings.extend(ignored(process));
    Ok(plan)
}

/// The profile to be written into a spec: ours where it is loaded, else none.
pub fn default_apparmor_profile(facts: &Facts) -> Option<String> {
    let loaded = facts.apparmor && facts.apparmor_profiles.iter().any(|profile| profile == APPARMOR_PROFILE);
    loaded.then(|| APPARMOR_PROFILE.to_owned())
}

fn early(process: &Process, facts: &Facts, warnings: &mut Vec<String>) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for wish in process.rlimits().iter().flatten() {
        let (limit, warning) = capped(wish, facts);
        steps.push(Step::Rlimit(limit));
        warnings.extend(warning);
    }
    steps.extend(oom_score_adj(process.oom_score_adj(), facts, warnings)?);
    if facts.nice != 0 {
        steps.push(Step::Nice { value: 0 });
    }
    if let Some(profile) = process.apparmor_profile().as_deref().filter(|p| !p.is_empty() && *p != "unconfined") {
        if !facts.apparmor {
            return Err(Error::host(format!(
                "AppArmor profile {profile} is asked for, and AppArmor is off on this host"
            ))
            .hint("--security-opt apparmor=unconfined"));
        }
        steps.push(Step::AppArmorOnExec { profile: line("AppArmor profile", profile)? });
    }
    if let Some(label) = process.selinux_label().as_deref().filter(|label| !label.is_empty()) {
        if !facts.selinux {
            return Err(Error::host(format!("SELinux label {label} is asked for, and SELinux is off on this host"))
                .hint("--security-opt label=disable"));
        }
        steps.push(Step::SelinuxOnExec { label: line("SELinux label", label)? });
    }
    Ok(steps)
}

fn line(what: &str, text: &str) -> Result<String> {
    if text.contains(['\n', '\0']) {
        return Err(Error::user(format!("invalid {what} {text:?}")));
    }
    Ok(text.to_owned())
}

/// Never below 0 unless asked for: what protects our caller (sshd has -1000) does not protect a container. Lowering
/// the score needs CAP_SYS_RESOURCE (proc_pid_oom_score_adj(5)).
fn oom_score_adj(wish: Option<i32>, facts: &Facts, warnings: &mut Vec<String>) -> Result<Option<Step>> {
    let wish = match wish {
        Some(value) if !(-1000..=1000).contains(&value) => {
            return Err(Error::user(format!("invalid oom_score_adj {value}")).hint("-1000 to 1000"));
        }
        Some(value) => value,
        None => facts.oom_score_adj.max(0),
    };
    if wish < facts.oom_score_adj && !facts.permitted.has(caps::Capability::CAP_SYS_RESOURCE) {
        warnings.push(format!(
            "oom_score_adj stays {} instead of {wish}: lowering it needs CAP_SYS_RESOURCE",
            facts.oom_score_adj
        ));
        return Ok(None);
    }
    Ok((wish != facts.oom_score_adj).then_some(Step::OomScoreAdj { value: wish }))
}

struct Sets {
    bounding: Caps,
    permitted: Caps,
    effective: Caps,
    inheritable: Caps,
    ambient: Caps,
}

/// No capabilities in the spec means none at all. What we do not have ourselves we cannot give: a warning, as in runc.
fn sets(wish: Option<&LinuxCapabilities>, facts: &Facts, warnings: &mut Vec<String>) -> Result<Sets> {
    let (mut sets, ours) = match wish {
        None => {
            return Ok(Sets {
                bounding: Caps::NONE,
                permitted: Caps::NONE,
                effective: Caps::NONE,
                inheritable: Caps::NONE,
                ambient: Caps::NONE,
            });
        }
        Some(wish) => {
            let sets = Sets {
                bounding: from_oci(wish.bounding().as_ref())?,
                permitted: from_oci(wish.permitted().as_ref())?,
                effective: from_oci(wish.effective().as_ref())?,
                inheritable: from_oci(wish.inheritable().as_ref())?,
                ambient: from_oci(wish.ambient().as_ref())?,
            };
            (sets, facts.permitted.and(facts.bounding))
        }
    };
    let asked = sets.bounding.or(sets.permitted).or(sets.effective).or(sets.inheritable).or(sets.ambient);
    let missing = asked.without(ours);
    if !missing.is_empty() {
        warnings.push(format!("capabilities {missing} are not given: minirun does not have them itself"));
    }
    for set in [&mut sets.bounding, &mut sets.permitted, &mut sets.effective, &mut sets.inheritable, &mut sets.ambient]
    {
        *set = set.and(ours);
    }
    // the kernel's own rules (capabilities(7)), so that capset cannot fail halfway
    sets.effective = sets.effective.and(sets.permitted);
    sets.ambient = sets.ambient.and(sets.permitted).and(sets.inheritable);
    Ok(sets)
}

fn identity(process: &Process, sets: &Sets, facts: &Facts, warnings: &mut Vec<String>) -> Vec<Step> {
    let user = process.user();
    let (uid, gid) = (user.uid(), user.gid());
    let mut steps = vec![Step::BoundingSet { keep: sets.bounding }];
    if uid != 0 {
        steps.push(Step::KeepCapabilities);
    }
    let given = user.additional_gids().as_deref().unwrap_or_default();
    if facts.setgroups_denied {
        if !given.is_empty() {
            warnings.push("supplementary groups are not set: this user namespace denies setgroups".to_owned());
        }
    } else {
        // the primary group is in the list: a file's negative group permissions count it (CVE-2022-36109)
        let mut gids = vec![gid];
        gids.extend(given.iter().filter(|other| **other != gid));
        steps.push(Step::Groups { gids });
    }
    steps.extend([Step::Gid { gid }, Step::Uid { uid }]);
    let Sets { permitted, effective, inheritable, .. } = *sets;
    steps.push(Step::CapabilitySets { permitted, effective, inheritable });
    if !sets.ambient.is_empty() {
        steps.push(Step::AmbientSet { caps: sets.ambient });
    }
    steps.push(Step::Umask { mask: user.umask().unwrap_or(0o022) & 0o777 });
    steps
}

/// What exec would hand on.
fn last(request: &Request) -> [Step; 3] {
    let from = 3u32.saturating_add(request.preserve_fds);
    [Step::ClearParentDeathSignal, Step::ResetSignals, Step::CloseOnExec { from }]
}

/// What the specification knows and we do not do is said.
fn ignored(process: &Process) -> Vec<String> {
    [
        ("scheduler", process.scheduler().is_some()),
        ("ioPriority", process.io_priority().is_some()),
        ("execCPUAffinity", process.exec_cpu_affinity().is_some()),
    ]
    .iter()
    .filter(|(_, asked)| *asked)
    .map(|(what, _)| format!("process.{what} is not applied"))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use caps::Capability;

    fn process(json: &str) -> Process {
        let mut value = serde_json::json!({"cwd": "/", "user": {"uid": 0, "gid": 0}});
        let more: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).unwrap();
        value.as_object_mut().unwrap().extend(more);
        serde_json::from_value(value).unwrap()
    }

    fn root() -> Facts {
        Facts { permitted: Caps::all(), bounding: Caps::all(), nr_open: 1 << 20, kernel: (6, 1), ..Facts::default() }
    }

    fn request() -> Request {
        Request { seccomp: SeccompChoice::Default, preserve_fds: 0 }
    }

    fn at(steps: &[Step], find: impl Fn(&Step) -> bool) -> usize {
        steps.iter().position(find).unwrap()
    }

    #[test]
    fn the_filter_is_loaded_where_it_still_can_be() {
        let is_filter = |s: &Step| matches!(s, Step::Seccomp { .. });
        let is_uid = |s: &Step| matches!(s, Step::Uid { .. });
        for (json, filter_first) in [("{}", true), (r#"{"noNewPrivileges":true}"#, false)] {
            let steps = plan(&process(json), &request(), &root()).unwrap().inside_late;
            assert_eq!(at(&steps, is_filter) < at(&steps, is_uid), filter_first, "{json}");
            assert_eq!(steps.contains(&Step::NoNewPrivileges), !filter_first);
        }
        let steps = plan(&process(r#"{"noNewPrivileges":true}"#), &request(), &root()).unwrap().inside_late;
        assert!(is_filter(steps.last().unwrap()));
    }

    #[test]
    fn the_identity_has_its_order() {
        let json = r#"{"user":{"uid":1000,"gid":5,"additionalGids":[7,5,7]},
            "capabilities":{"bounding":["CAP_CHOWN"],"permitted":["CAP_CHOWN"],"inheritable":["CAP_CHOWN"],"ambient":["CAP_CHOWN","CAP_KILL"]}}"#;
        let request = Request { seccomp: SeccompChoice::Unconfined, preserve_fds: 2 };
        let chown: Caps = [Capability::CAP_CHOWN].into_iter().collect();
        let late = plan(&process(json), &request, &root()).unwrap().inside_late;
        assert_eq!(
            late,
            [
                Step::NewSessionKeyring,
                Step::BoundingSet { keep: chown },
                Step::KeepCapabilities,
                Step::Groups { gids: vec![5, 7, 7] },
                Step::Gid { gid: 5 },
                Step::Uid { uid: 1000 },
                Step::CapabilitySets { permitted: chown, effective: Caps::NONE, inheritable: chown },
                Step::AmbientSet { caps: chown },
                Step::Umask { mask: 0o022 },
                Step::ClearParentDeathSignal,
                Step::ResetSignals,
                Step::CloseOnExec { from: 5 },
            ]
        );
    }

    #[test]
    fn what_we_do_not_have_is_not_given_and_said() {
        let facts =
            Facts { permitted: Caps::all().without([Capability::CAP_SYS_RESOURCE].into_iter().collect()), ..root() };
        let json = r#"{"capabilities":{"bounding":["CAP_SYS_RESOURCE","CAP_KILL"],"permitted":["CAP_SYS_RESOURCE"]}}"#;
        let plan = plan(&process(json), &request(), &facts).unwrap();
        assert_eq!(plan.warnings, ["capabilities sys_resource are not given: minirun does not have them itself"]);
        assert!(plan.inside_late.contains(&Step::BoundingSet { keep: [Capability::CAP_KILL].into_iter().collect() }));
    }

    #[test]
    fn a_protection_that_cannot_be_had_is_an_error() {
        for json in [r#"{"apparmorProfile":"x"}"#, r#"{"selinuxLabel":"a:b:c:d"}"#, r#"{"oomScoreAdj":1001}"#] {
            assert!(plan(&process(json), &request(), &root()).is_err(), "{json}");
        }
        assert!(plan(&process(r#"{"apparmorProfile":"unconfined"}"#), &request(), &root()).is_ok());
    }

    #[test]
    fn the_oom_score_is_never_our_callers_protection() {
        let poor = Facts { permitted: Caps::NONE, ..root() };
        for (wish, current, facts, want) in [
            (None, 0, root(), None),
            (None, -1000, root(), Some(0)),
            (None, 500, root(), None),
            (Some(-5), 0, root(), Some(-5)),
            (Some(5), 0, poor.clone(), Some(5)),
            (Some(0), 500, poor, None),
        ] {
            let facts = Facts { oom_score_adj: current, ..facts };
            let step = oom_score_adj(wish, &facts, &mut Vec::new()).unwrap();
            assert_eq!(step, want.map(|value| Step::OomScoreAdj { value }), "{wish:?} {current}");
        }
    }
}
