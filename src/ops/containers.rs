//! Containers that exist: finding, listing, removing, repairing.

use crate::engine;
use crate::error::{Error, Result};
use crate::id::{ContainerId, Name};
use crate::plan::step::Undo;
use crate::state::{Roots, Status, container, names};
use crate::sys::event;
use crate::sys::process::{self, Identity};
use std::os::fd::AsFd as _;
use std::time::Duration;

pub type Container = container::Container<Undo>;

/// All containers, the newest first.
pub fn list(roots: &Roots) -> Result<Vec<Container>> {
    let mut all: Vec<Container> = container::ids(roots)?.iter().map(|id| container::load(roots, id)).collect();
    all.sort_by(|a, b| created(b).cmp(created(a)));
    Ok(all)
}

fn created(container: &Container) -> &str {
    container.config.as_ref().map_or("", |config| &config.created)
}

/// The container that a word means: an exact name first, then an id or a prefix that only one has.
pub fn find(roots: &Roots, word: &str) -> Result<Container> {
    if let Some(id) = Name::parse(word).ok().and_then(|name| names::holder(roots, &name).transpose()).transpose()? {
        return Ok(container::load(roots, &id));
    }
    let ids = container::ids(roots)?;
    let mut found = ids.iter().filter(|id| id.as_str().starts_with(word) && !word.is_empty());
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(container::load(roots, id)),
        (Some(_), Some(_)) => {
            Err(Error::user(format!("more than one container's id begins with {word}")).hint("give more digits"))
        }
        (None, _) => Err(Error::user(format!("no container {word}")).hint("`minirun ps -a` lists them all")),
    }
}

/// How long a monitor may take to clean up after its container before its command does that itself.
const MONITOR_PATIENCE: Duration = Duration::from_secs(5);

/// Removes a container and all it left. One that runs is killed with `force`, and refused without.
pub fn remove(roots: &Roots, word: &str, force: bool) -> Result<ContainerId> {
    let container = find(roots, word)?;
    let busy = matches!(container.status, Status::Running | Status::Starting);
    if busy && !force {
        return Err(Error::user(format!("container {word} is running")).hint(format!("minirun rm -f {word}")));
    }
    if let (true, Some(life)) = (busy, &container.life) {
        end_now(life.init.as_ref(), &life.monitor)?;
    }
    clear(roots, &container::load(roots, &container.id))?;
    Ok(container.id)
}

/// Kills a container's init, and gives its monitor time to clean up; one that does not is killed too.
fn end_now(init: Option<&Identity>, monitor: &Identity) -> Result<()> {
    for (identity, kill) in [(init, true), (Some(monitor), init.is_none())] {
        // gone already is what is wanted
        let Some(Ok(pidfd)) = identity.map(Identity::open) else { continue };
        if kill {
            process::send_signal(&pidfd, libc::SIGKILL).or_else(ignore_gone)?;
        }
        if !event::ended_within(pidfd.as_fd(), MONITOR_PATIENCE)? {
            process::send_signal(&pidfd, libc::SIGKILL).or_else(ignore_gone)?;
            event::ended_within(pidfd.as_fd(), MONITOR_PATIENCE)?;
        }
    }
    Ok(())
}

fn ignore_gone(e: crate::error::SysError) -> Result<(), crate::error::SysError> {
    if e.errno == crate::error::Errno::ESRCH { Ok(()) } else { Err(e) }
}

/// Undoes what a container holds and forgets it; its records stay where something could not be undone.
fn clear(roots: &Roots, container: &Container) -> Result<()> {
    undo(container)?;
    for (name, id) in names::all(roots)? {
        if id == container.id {
            names::release(roots, &name, &id)?;
        }
    }
    container::forget(roots, &container.id)
}

fn undo(container: &Container) -> Result<()> {
    let undos = container.life.as_ref().map(|life| life.undo.as_slice()).unwrap_or_default();
    match engine::undo(undos).into_iter().next() {
        Some(error) => Err(error.during(format!("cleaning up container {}", container.id.short()))),
        None => Ok(()),
    }
}

/// What `repair` did.
#[derive(Debug, Default)]
pub struct Repaired {
    /// Containers that a killed process had left; those that had run are ended now, the others gone.
    pub containers: Vec<ContainerId>,
    /// Names that belonged to no container.
    pub names: Vec<Name>,
    pub errors: Vec<Error>,
}

/// Removes what killed commands and monitors left. What lives is not touched; doing it twice changes nothing.
pub fn repair(roots: &Roots) -> Result<Repaired> {
    let mut repaired = Repaired::default();
    container::forget_unborn(roots)?;
    for container in list(roots)? {
        match repair_one(roots, &container) {
            Ok(false) => {}
            Ok(true) => repaired.containers.push(container.id),
            Err(error) => repaired.errors.push(error),
        }
    }
    for (name, id) in names::all(roots)? {
        let there = container::load::<Undo>(roots, &id);
        if there.status == Status::Dead && there.config.is_none() {
            names::release(roots, &name, &id)?;
            repaired.names.push(name);
        }
    }
    Ok(repaired)
}

/// Repairs a container if it is one that a killed process left.
pub fn repair_one(roots: &Roots, container: &Container) -> Result<bool> {
    let monitor_is_dead = container.life.as_ref().is_none_or(|life| !life.monitor.is_alive());
    match &container.status {
        Status::Dead => {
            let had_run = container.life.as_ref().is_none_or(|life| life.init.is_some());
            match &container.config {
                Some(config) if had_run && !config.remove => {
                    undo(container)?;
                    container::end(roots, &container.id, None, &super::now())?;
                }
                _ => clear(roots, container)?,
            }
            Ok(true)
        }
        // its end is written down, and its monitor died before it had cleaned up
        Status::Exited(_) if container.life.is_some() && monitor_is_dead => {
            undo(container)?;
            crate::sys::fs::remove_tree(roots.life(&container.id).as_path())?;
            Ok(true)
        }
        Status::Exited(_) | Status::Running | Status::Starting | Status::Broken(_) => Ok(false),
    }
}

/// Makes sure that a name can be taken, as far as a killed process has it.
pub fn free_name(roots: &Roots, name: &Name) -> Result<()> {
    let Some(id) = names::holder(roots, name)? else { return Ok(()) };
    let holder = container::load(roots, &id);
    match (&holder.status, &holder.config, &holder.life) {
        (Status::Dead, None, None) => names::release(roots, name, &id),
        (Status::Dead, ..) => repair_one(roots, &holder).map(drop),
        _ => Ok(()),
    }
}
