//! `update`: other limits, or another restart policy, for a container that is there; while it runs they hold at once.

use super::container::{self, Container};
use super::{Progress, record};
use crate::cgroup::step::Step;
use crate::cgroup::{self, apply};
use crate::error::{Error, Result};
use crate::facts;
use crate::spec::request::{Resources, RunRequest};
use crate::spec::restart::Restart;
use crate::spec::{self, JoinedNamespaces};
use crate::state::container as records;
use crate::state::{Raw, Roots, Status, events};
use oci_spec::runtime::{LinuxResources, Spec};

/// What is to be different; the rest stays.
#[derive(Debug, Clone, Default)]
pub struct UpdateRequest {
    pub resources: Resources,
    pub restart: Option<Restart>,
}

pub fn update(roots: &Roots, word: &str, wanted: &UpdateRequest, progress: &dyn Progress) -> Result<()> {
    let id = container::look_up(roots, word)?.id; // one that waits to be started again may be to wait no more
    let _turn = records::turn(roots, &id)?;
    let found = container::find_settled(roots, id.as_str())?;
    let broken = |e| Error::host(format!("the record of container {word} is broken: {e}"));
    let config = found.config.as_ref().ok_or_else(|| {
        Error::user(format!("the record of container {word} cannot be read")).hint(format!("minirun rm -f {word}"))
    })?;
    let old: RunRequest = config.request.parse().map_err(broken)?;
    let new = RunRequest {
        resources: changed(&old.resources, &wanted.resources),
        restart: wanted.restart.unwrap_or(old.restart),
        ..old.clone()
    };
    if new.remove && new.restart != Restart::No {
        return Err(Error::user("a container that goes with its end cannot have a restart policy")
            .hint("make it again without --rm"));
    }
    let (before, after) = (resources(roots, &found, &old)?, resources(roots, &found, &new)?);
    let mut spec: Spec = config.spec.parse().map_err(broken)?;
    if found.status == Status::Running {
        write(facts::cgroup_of(&spec), &before, &after, progress)?;
    }
    if let Some(linux) = spec.linux_mut() {
        linux.set_resources(Some(after));
    }
    let config = records::Config {
        request: Raw::of(&new)?,
        spec: Raw::of(&spec)?,
        restart: record::restart_policy(new.restart),
        ..config.clone()
    };
    records::write_config(roots, &config)?;
    events::container(roots, &config, "update", &[]);
    Ok(())
}

/// What is not said stays as it was said; what follows from it, as swap does from memory, follows again.
fn changed(old: &Resources, new: &Resources) -> Resources {
    Resources {
        memory: new.memory.or(old.memory),
        memory_swap: new.memory_swap.or(old.memory_swap),
        memory_reservation: new.memory_reservation.or(old.memory_reservation),
        nano_cpus: new.nano_cpus.or(old.nano_cpus),
        cpu_shares: new.cpu_shares.or(old.cpu_shares),
        cpu_period: new.cpu_period.or(old.cpu_period),
        cpu_quota: new.cpu_quota.or(old.cpu_quota),
        cpuset_cpus: new.cpuset_cpus.clone().or_else(|| old.cpuset_cpus.clone()),
        cpuset_mems: new.cpuset_mems.clone().or_else(|| old.cpuset_mems.clone()),
        pids_limit: new.pids_limit.or(old.pids_limit),
        blkio_weight: new.blkio_weight.or(old.blkio_weight),
        device_limits: old.device_limits.clone(),
        memory_swappiness: old.memory_swappiness,
        shm_size: old.shm_size,
        oom_score_adj: old.oom_score_adj,
    }
}

fn resources(roots: &Roots, found: &Container, request: &RunRequest) -> Result<LinuxResources> {
    let facts = facts::for_spec(roots, &found.id, request, None, JoinedNamespaces::default())?;
    spec::resources::build(request, &facts).map(|(resources, _devices)| resources)
}

/// Writes what is different into the cgroups' files; where one is refused, all are what they were.
fn write(path: &str, before: &LinuxResources, after: &LinuxResources, progress: &dyn Progress) -> Result<()> {
    let host = cgroup::probe::probe(path)?;
    let writes = |resources: &LinuxResources| -> Result<(Vec<Step>, Vec<String>)> {
        let plan = cgroup::plan::plan(Some(resources), path, &host)?;
        // not those of the directories above
        let is_limit = |step: &Step| matches!(step, Step::Write { file, .. } if file.as_str().contains(path));
        Ok((plan.prepare.into_iter().filter(is_limit).collect(), plan.warnings))
    };
    let ((old, _), (new, warnings)) = (writes(before)?, writes(after)?);
    warnings.iter().for_each(|warning| progress.warn(warning));
    let different: Vec<Step> = new.into_iter().filter(|step| !old.contains(step)).collect();
    write_in_some_order(different).inspect_err(|_| drop(write_in_some_order(old)))
}

/// A limit may be refused as long as another one is what it was: memory and swap must never be less than memory.
fn write_in_some_order(mut steps: Vec<Step>) -> Result<()> {
    while !steps.is_empty() {
        let mut refused = Vec::new();
        let mut why = None;
        let all = steps.len();
        for step in steps {
            if let Err(error) = apply::apply(&step, None) {
                why = Some(error.during(step.shell().doing()));
                refused.push(step);
            }
        }
        if let (Some(why), true) = (why, refused.len() == all) {
            return Err(why.hint("a container cannot get less memory than it uses"));
        }
        steps = refused;
    }
    Ok(())
}
