//! Containers that exist: `ps`, `rm`, `inspect`; finding and repairing them.

use crate::engine;
use crate::error::{Error, Result};
use crate::id::{ContainerId, Name};
use crate::plan::step::Undo;
use crate::state::{Roots, Status, container, names};
use crate::sys::event;
use crate::sys::process::{self, Identity};
use std::os::fd::AsFd as _;
use std::time::Duration;

pub(super) type Container = container::Container<Undo>;

/// A line of `ps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRow {
    pub id: ContainerId,
    pub name: String,
    pub image: String,
    /// The command's words.
    pub command: Vec<String>,
    /// Seconds since it was made.
    pub age: u64,
    /// `Up 5 minutes`, `Exited (0) 2 hours ago`, `Broken: …`.
    pub status: String,
    pub running: bool,
    /// `-p` as given, with commas between.
    pub ports: String,
}

/// All containers, the newest first; a broken record is a row, not an error.
pub fn list(roots: &Roots) -> Result<Vec<ContainerRow>> {
    Ok(all(roots)?.iter().map(row).collect())
}

fn row(container: &Container) -> ContainerRow {
    let config = container.config.as_ref();
    let status = match &container.status {
        Status::Starting => "Starting".to_owned(),
        Status::Running => "Up".to_owned(),
        Status::Exited(Some(exit)) => format!("Exited ({})", exit.code()),
        Status::Exited(None) => "Exited (unknown)".to_owned(),
        Status::Dead => "Dead: minirun repair removes what is left".to_owned(),
        Status::Broken(why) => format!("Broken: {why}"),
    };
    ContainerRow {
        id: container.id.clone(),
        name: config.map_or_else(String::new, |c| c.name.to_string()),
        image: config.map_or_else(String::new, |c| c.image.clone()),
        command: config.map_or_else(Vec::new, |c| c.args.clone()),
        age: config.map_or(0, |c| super::seconds_since(&c.created)),
        status,
        running: container.status == Status::Running,
        ports: config.map_or_else(String::new, |c| c.publish.join(", ")),
    }
}

/// What docker's inspect shows, under docker's names.
pub fn inspect(roots: &Roots, word: &str) -> Result<serde_json::Value> {
    let container = match find(roots, word) {
        Ok(container) => container,
        Err(no_container) => return super::image::inspect(roots, word).map_err(|_| no_container),
    };
    let row = row(&container);
    let init = container.life.as_ref().and_then(|life| life.init.as_ref());
    let pid = init.filter(|_| row.running).map_or(0, |init| init.pid.0);
    let exit = match container.status {
        Status::Exited(Some(exit)) => exit.code(),
        _ => 0,
    };
    let config = container.config.as_ref();
    Ok(serde_json::json!({
        "Id": container.id,
        "Created": config.map(|c| &c.created),
        "Path": row.command.first(),
        "Args": row.command.get(1..),
        "State": { "Status": row.status, "Running": row.running, "Pid": pid, "ExitCode": exit },
        "Image": config.and_then(|c| c.image_id.as_ref()),
        "Name": row.name,
        "HostConfig": { "AutoRemove": config.is_some_and(|c| c.remove) },
        "Config": { "Image": row.image },
        "Spec": config.map(|c| &c.spec),
    }))
}

/// All containers, the newest first.
pub(super) fn all(roots: &Roots) -> Result<Vec<Container>> {
    let mut all: Vec<Container> = container::ids(roots)?.iter().map(|id| container::load(roots, id)).collect();
    all.sort_by(|a, b| created(b).cmp(created(a)));
    Ok(all)
}

fn created(container: &Container) -> &str {
    container.config.as_ref().map_or("", |config| &config.created)
}

/// The container that a word means: an exact name first, then an id or a prefix that only one has.
pub(super) fn find(roots: &Roots, word: &str) -> Result<Container> {
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

/// Whether what is in use is removed all the same: a running container is killed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    No,
    Yes,
}

/// Removes a container and all it left. One that runs is killed with force, and refused without.
pub fn remove(roots: &Roots, word: &str, force: Force) -> Result<()> {
    let container = find(roots, word)?;
    let busy = matches!(container.status, Status::Running | Status::Starting);
    if busy && force == Force::No {
        return Err(Error::user(format!("container {word} is running")).hint(format!("minirun rm -f {word}")));
    }
    if let (true, Some(life)) = (busy, &container.life) {
        end_now(life.init.as_ref(), &life.monitor)?;
    }
    clear(roots, &container::load(roots, &container.id))
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
    container::forget(roots, &container.id)?.remove()
}

pub(super) fn undo(container: &Container) -> Result<()> {
    let undos = container.life.as_ref().map(|life| life.undo.as_slice()).unwrap_or_default();
    match engine::undo(undos).errors.into_iter().next() {
        Some(error) => Err(error.during(format!("cleaning up container {}", container.id.short()))),
        None => Ok(()),
    }
}

/// Repairs a container if it is one that a killed process left.
pub(super) fn repair_one(roots: &Roots, container: &Container) -> Result<bool> {
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
pub(super) fn free_name(roots: &Roots, name: &Name) -> Result<()> {
    let Some(id) = names::holder(roots, name)? else { return Ok(()) };
    let holder = container::load(roots, &id);
    match (&holder.status, &holder.config, &holder.life) {
        (Status::Dead, None, None) => names::release(roots, name, &id),
        (Status::Dead, ..) => repair_one(roots, &holder).map(drop),
        _ => Ok(()),
    }
}
