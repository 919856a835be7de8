//! What is left of a container, by its end or by a killed process: taken back, and where nothing keeps it, forgotten.

use super::container::{Anonymous, Container, MONITOR_PATIENCE};
use super::{Silent, attach, network};
use crate::error::{Errno, Error, Result};
use crate::id::{ContainerId, Name};
use crate::plan::step::Undo;
use crate::state::{Config, Roots, Status, container, events, names, volume};
use crate::sys::record::Lock;
use crate::{cgroup, engine, facts};
use oci_spec::runtime::Spec;

/// Undoes what a container holds and forgets it; its records stay where something could not be undone.
pub(super) fn clear(roots: &Roots, container: &Container, volumes: Anonymous) -> Result<()> {
    undo(roots, container)?;
    if let Some(config) = container.config.as_ref().filter(|config| config.remove || volumes == Anonymous::Remove) {
        volume::remove_own(roots, &container.id, &config.volumes)?;
    }
    let gone = container::forget(roots, &container.id)?;
    events::destroyed(roots, &container.id, container.config.as_ref());
    for (name, id) in names::all(roots)? {
        if id == container.id {
            names::release(roots, &name, &id)?;
        }
    }
    gone.remove()
}

fn undo(roots: &Roots, container: &Container) -> Result<()> {
    let Some(life) = &container.life else { return undo_unknown(roots, container) };
    undo_all(&container.id, &life.undo)
}

fn undo_all(id: &ContainerId, undos: &[Undo]) -> Result<()> {
    match engine::undo(undos).errors.into_iter().next() {
        Some(error) => Err(error.during(format!("cleaning up container {}", id.short()))),
        None => Ok(()),
    }
}

/// Undoes what a container holds whose life was lost: its id leads to its cgroups, and with its processes go its
/// namespaces. A monitor that lives does the rest.
fn undo_unknown(roots: &Roots, container: &Container) -> Result<()> {
    if !matches!(container.status, Status::Dead | Status::Broken(_)) {
        return Ok(()); // it has none, and so holds nothing
    }
    let spec = container.config.as_ref().and_then(|config| config.spec.parse::<Spec>().ok());
    let path = match &spec {
        Some(spec) => facts::cgroup_of(spec).to_owned(),
        None => facts::cgroup_path(roots, &container.id, None),
    };
    let groups = cgroup::plan::plan(None, &path, &cgroup::probe::probe(&path)?)?.prepare;
    let undos: Vec<Undo> = groups.iter().filter_map(cgroup::step::Step::undo).map(Undo::Cgroup).collect();
    undo_all(&container.id, &undos)?;
    match Lock::directory_within(roots.container(&container.id).as_path(), MONITOR_PATIENCE) {
        Err(e) if e.errno == Errno::EWOULDBLOCK => {
            return Err(Error::host(format!("the monitor of container {} does not end", container.id.short()))
                .hint(attach::HELD));
        }
        Err(e) if e.errno != Errno::ENOENT => return Err(e.into()),
        _it_has_ended => {}
    }
    network::give_back(roots, &container.id, &Silent);
    Ok(())
}

/// Whether a monitor looks after a container, whatever its records say.
pub(super) fn has_monitor(roots: &Roots, container: &Container) -> bool {
    matches!(Lock::try_directory(roots.container(&container.id).as_path()), Ok(None))
}

/// Repairs a container if it is one that a killed process left.
pub(super) fn repair_one(roots: &Roots, container: &Container) -> Result<bool> {
    let monitor_is_dead = container.life.as_ref().is_none_or(|life| !life.monitor.is_alive());
    match &container.status {
        Status::Dead if container.life.is_none() && has_monitor(roots, container) => Ok(false), // it lives
        Status::Dead => {
            undo(roots, container)?;
            died_unseen(roots, container);
            let kept = container.life.as_ref().is_none_or(|life| life.kept);
            match &container.config {
                Some(config) if (container.started.is_some() || kept) && !config.remove => match container.started {
                    Some(_) => container::end_unseen(roots, &container.id, &super::now())?,
                    None => container::forget_life(roots, &container.id)?,
                },
                _ => clear(roots, container, Anonymous::Remove)?, // it never was, and they held nothing
            }
            Ok(true)
        }
        // its end is written down or lies in another boot, and its monitor died before it had cleaned up
        Status::Exited(_) if container.life.is_some() && monitor_is_dead => {
            undo(roots, container)?;
            died_unseen(roots, container);
            match (&container.config, &container.ended) {
                (Some(config), _) if config.remove => clear(roots, container, Anonymous::Remove)?,
                (_, None) => container::end_unseen(roots, &container.id, &super::now())?,
                (_, Some(_)) => container::forget_life(roots, &container.id)?,
            }
            Ok(true)
        }
        // one that goes with its end, which was in another boot
        Status::Exited(None) if container.config.as_ref().is_some_and(|config| config.remove) => {
            clear(roots, container, Anonymous::Remove).map(|()| true)
        }
        _ => Ok(false),
    }
}

/// Tells of an end that nobody saw, where there was one.
fn died_unseen(roots: &Roots, container: &Container) {
    let (Some(config), Some(life), None) = (&container.config, &container.life, &container.ended) else { return };
    if life.init.is_some() && life.init.as_ref() == container.started.as_ref().map(|started| &started.init) {
        events::died(roots, config, None);
    }
}

/// Forgets a container that could not be made.
pub(super) fn forget_unborn(roots: &Roots, config: &Config) -> Result<()> {
    volume::remove_own(roots, &config.id, &config.volumes)?;
    let gone = container::forget(roots, &config.id)?;
    if names::release(roots, &config.name, &config.id)? {
        events::destroyed(roots, &config.id, Some(config));
    }
    gone.remove()
}

/// Makes sure that a name can be taken, as far as a killed process has it.
pub(super) fn free_name(roots: &Roots, name: &Name) -> Result<()> {
    let Some(id) = names::holder(roots, name)? else { return Ok(()) };
    let holder = container::load(roots, &id);
    match (&holder.status, &holder.config, &holder.life) {
        (Status::Dead, None, None) => names::release(roots, name, &id).map(drop),
        _ => repair_one(roots, &holder).map(drop),
    }
}
