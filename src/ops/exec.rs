//! `exec`: one more process in a container that runs, through a monitor of its own.

use super::attach::{self, Front, Ran};
use super::detach_keys::DetachKeys;
use super::run::{self, size_of_terminal};
use super::{Progress, cgroups, container, record};
use crate::error::{Error, Result};
use crate::facts;
use crate::monitor::protocol::{Attach, Task};
use crate::monitor::spawn::Handed;
use crate::mount::probe;
use crate::plan;
use crate::spec::exec::{self, ExecRequest};
use crate::spec::user;
use crate::state::{Roots, events};
use crate::sys::fs::Root;
use crate::sys::host;
use oci_spec::runtime::Spec;
use std::path::PathBuf;

/// Runs a command in a container to its end, or with `detach` until it has started.
pub fn exec(roots: &Roots, request: &ExecRequest, progress: &dyn Progress) -> Result<Ran> {
    if host::uid() != 0 {
        return Err(Error::user("entering a container needs root").hint("sudo minirun exec …"));
    }
    let (found, init) = container::running(roots, &request.container)?;
    if cgroups::is_frozen(&found) {
        return Err(Error::user(format!("container {} is paused", request.container))
            .hint(format!("minirun unpause {}", request.container)));
    }
    let config = found.config.as_ref().ok_or_else(|| Error::internal("a running container without a record"))?;
    // held while its root is looked at, so that the pid stays its own
    let _pidfd = init.open()?;
    let root = Root::open(&PathBuf::from(format!("/proc/{}/root", init.pid)))?;
    let (passwd, group) = (probe::text(&root, "/etc/passwd")?, probe::text(&root, "/etc/group")?);
    let broken = |e| Error::host(format!("the record of container {} is broken: {e}", config.name));
    let spec: Spec = config.spec.parse().map_err(broken)?;
    let security = config.security.parse().map_err(broken)?;
    let process = exec::process(
        &spec,
        &config.name,
        request,
        passwd.as_deref(),
        group.as_deref(),
        &host::bounding_capabilities(),
    )?;
    match record::uid_maps(&spec) {
        [] => {}
        maps => user::check_ids(process.user(), maps.iter().map(|map| u64::from(map.size())).sum())?,
    }
    let facts = facts::for_exec(facts::cgroup_of(&spec))?;
    let console = request.tty.then(size_of_terminal);
    let planned = plan::build_exec(&spec, &process, &init, &security, console, &facts)?;
    let keys = DetachKeys::parse(request.detach_keys.as_deref().unwrap_or_default())?;
    let front = Front { tty: request.tty, input: request.interactive, keys, ..Front::default() };
    let (tty, interactive, uid) = (request.tty, request.interactive, record::on_host(&spec, process.user().uid()));
    let task = Task::Exec { plan: planned.plan, tty, interactive, uid };
    let attach = if request.detach { Attach::default() } else { front.attach() };
    let monitor =
        super::spawn_monitor(roots, super::order(roots, task, attach, false), &Handed::default(), &facts.cgroup)?;
    let (id, line) = (run::new_id()?.to_string(), process.args().clone().unwrap_or_default().join(" "));
    let tell = |action: &str, more: &[(&str, &str)]| {
        events::container(roots, config, action, &[&[("execID", id.as_str())], more].concat());
    };
    tell(&format!("exec_create: {line}"), &[]);
    tell(&format!("exec_start: {line}"), &[]);
    if request.detach {
        return attach::await_start(&monitor, progress).map(|()| Ran::Detached(found.id));
    }
    let outcome = attach::attach(&monitor, front, None, progress)?;
    // by us and not by the monitor, which is in the container's mount namespace, where our paths are the container's
    if let Some(exit) = outcome.exit.filter(|_| !outcome.detached) {
        tell("exec_die", &[("exitCode", &exit.code().to_string())]);
    }
    Ok(Ran::of(&outcome, progress))
}
