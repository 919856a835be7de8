//! Containers that exist: finding, removing and repairing them.

use super::{Silent, adopt, attach, cgroups, life, network};
use crate::error::{Errno, Error, Kind, Result};
use crate::id::{ContainerId, HostPath, Name};
use crate::monitor::protocol::Attach;
use crate::net::publish::Published;
use crate::plan::step::Undo;
use crate::spec::JoinedNamespaces;
use crate::spec::request::{NamespaceMode, NetworkNamespace, RunRequest};
use crate::state::{Config, Roots, Status, container, events, names, volume};
use crate::sys::event;
use crate::sys::process::{self, Identity};
use crate::sys::record::Lock;
use crate::{cgroup, engine, facts};
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

pub(super) type Container = container::Container<Undo>;

/// The exit code of a container whose end nobody saw.
pub(super) const UNKNOWN_EXIT: u8 = events::UNKNOWN_EXIT;

/// `80/tcp`
pub(super) fn inner_port(port: &Published) -> String {
    format!("{}/{}", port.to.port(), port.protocol)
}

/// How a container is, in a few words.
pub(super) fn describe(status: &Status) -> String {
    match status {
        Status::Created => "Created".to_owned(),
        Status::Starting => "Starting".to_owned(),
        Status::Running => "Up".to_owned(),
        Status::Ending => "Ending".to_owned(),
        Status::Exited(Some(exit)) => format!("Exited ({})", exit.code()),
        Status::Exited(None) => "Exited (unknown)".to_owned(),
        Status::Restarting(exit) => format!("Restarting ({})", exit.map_or(UNKNOWN_EXIT, |exit| exit.code())),
        Status::Dead => "Dead: minirun repair removes what is left".to_owned(),
        Status::Broken(why) => format!("Broken: {why}"),
    }
}

/// The namespaces of other containers that a request names, by path, and whose these are.
pub(super) fn joined(roots: &Roots, request: &RunRequest) -> Result<(JoinedNamespaces, BTreeMap<HostPath, Identity>)> {
    let mut owners = BTreeMap::new();
    let mut path = |name: Option<&str>, what: &str| -> Result<Option<HostPath>> {
        let Some(name) = name else { return Ok(None) };
        let (_, init) = running(roots, name)?;
        let path = HostPath::parse(&format!("/proc/{}/{what}", init.pid))?;
        owners.insert(path.clone(), init);
        Ok(Some(path))
    };
    let other = |mode: &'_ NamespaceMode| match mode {
        NamespaceMode::Container(name) => Some(name.clone()),
        NamespaceMode::Private | NamespaceMode::Host => None,
    };
    let net = match request.network.namespace() {
        NetworkNamespace::Container(name) => Some(name),
        NetworkNamespace::Own | NetworkNamespace::Host => None,
    };
    let modes = &request.namespaces;
    let joined = JoinedNamespaces {
        pid: path(other(&modes.pid).as_deref(), "ns/pid")?,
        ipc: path(other(&modes.ipc).as_deref(), "ns/ipc")?,
        shm: path(other(&modes.ipc).as_deref(), "root/dev/shm")?,
        uts: path(other(&modes.uts).as_deref(), "ns/uts")?,
        net: path(net, "ns/net")?,
    };
    Ok((joined, owners))
}

/// A container that runs, and its init.
pub(super) fn running(roots: &Roots, word: &str) -> Result<(Container, Identity)> {
    let found = find_settled(roots, word)?;
    let init = found.life.as_ref().and_then(|life| life.init.clone());
    match (&found.status, init) {
        (Status::Running, Some(init)) => Ok((found, init)),
        (status, _) => Err(not_running(word, &describe(status).to_lowercase())),
    }
}

pub(super) fn not_running(word: &str, is: &str) -> Error {
    Error::user(format!("container {word} is not running"))
        .hint(format!("it is {is}; `minirun start {word}` starts it"))
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

/// The container that a word means: an exact name first, then an id or a prefix that only one has. One that runs
/// without a monitor gets one, and what a killed process left of it is taken back.
pub(super) fn find(roots: &Roots, word: &str) -> Result<Container> {
    let found = look_up(roots, word)?;
    if found.is_orphan() {
        adopt::adopt(roots, &found.id)?;
        return Ok(container::load(roots, &found.id));
    }
    let gone = || Error::user(format!("no container {word}")).hint("`minirun ps -a` lists them all");
    if repair_one(roots, &found)? {
        let found: Container = container::load(roots, &found.id);
        return if found.config.is_some() { Ok(found) } else { Err(gone()) };
    }
    Ok(found)
}

/// The same, once it is neither on its way into life nor on its way out.
pub(super) fn find_settled(roots: &Roots, word: &str) -> Result<Container> {
    let mut found = find(roots, word)?;
    loop {
        match (&found.status, &found.life) {
            (Status::Starting, Some(life)) => _ = await_birth(roots, &found.id, &life.monitor, None)?,
            (Status::Ending, Some(life)) => await_monitor(&life.monitor)?,
            _ => return Ok(found),
        }
        found = find(roots, found.id.as_str())?;
    }
}

/// Waits until a container has been born or its monitor has given that up; false where it takes longer than `patience`.
pub(super) fn await_birth(
    roots: &Roots,
    id: &ContainerId,
    monitor: &Identity,
    patience: Option<Duration>,
) -> Result<bool> {
    let dir = roots.life(id);
    let end = patience.map(|patience| Instant::now() + patience);
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        // a monitor answers once its container is born; before that it may have no socket yet
        if let Ok(socket) = attach::connect(dir.as_path(), Attach::default()) {
            return Ok(event::readable_within(socket.as_fd(), left)?);
        }
        if ended_soon(monitor)? || left.is_some_and(|left| left.is_zero()) {
            return Ok(!monitor.is_alive());
        }
    }
}

/// Waits a moment for a monitor to end, before it is looked at again; whether it has.
pub(super) fn ended_soon(monitor: &Identity) -> Result<bool> {
    match monitor.open() {
        Ok(pidfd) => Ok(event::readable_within(pidfd.as_fd(), Some(Duration::from_millis(5)))?),
        Err(_) => Ok(true),
    }
}

pub(super) fn look_up(roots: &Roots, word: &str) -> Result<Container> {
    let word = word.strip_prefix('/').unwrap_or(word); // as `inspect` names it, and docker does
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
        (None, _) => {
            Err(Error::new(Kind::NotFound, format!("no container {word}")).hint("`minirun ps -a` lists them all"))
        }
    }
}

/// Ends the waiting of a container that is to be started again: it has ended, and was stopped.
pub(super) fn give_up_restart(roots: &Roots, found: &Container) -> Result<Container> {
    let _turn = container::turn(roots, &found.id)?;
    let found: Container = container::load(roots, &found.id);
    if let (Status::Restarting(_), Some(ended)) = (&found.status, &found.ended) {
        if let Some(Ok(pidfd)) = ended.again_by.as_ref().map(Identity::open) {
            process::send_signal(&pidfd, libc::SIGKILL).or_else(ignore_gone)?;
            event::readable_within(pidfd.as_fd(), None)?;
            container::sweep(roots)?; // it may have been at it
        }
        container::end(roots, &found.id, &container::Ended { asked: true, again_by: None, ..ended.clone() })?;
    }
    find(roots, found.id.as_str())
}

/// How long a monitor may take to clean up after its container before its command does that itself.
const MONITOR_PATIENCE: Duration = Duration::from_secs(6);

/// Whether what is in use is removed all the same: a running container is killed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    No,
    Yes,
}

/// What becomes of a container's volumes that nobody gave a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anonymous {
    Keep,
    Remove,
}

/// Removes a container and all it left. One that runs is killed with force, and refused without.
pub fn remove(roots: &Roots, word: &str, force: Force, volumes: Anonymous) -> Result<()> {
    remove_found(roots, look_up(roots, word)?, force, volumes)
}

/// The same for one that was found before, and may have gone meanwhile: that is what was wanted.
pub fn remove_by_id(roots: &Roots, id: &ContainerId, force: Force, volumes: Anonymous) -> Result<()> {
    remove_found(roots, container::load(roots, id), force, volumes)
}

fn remove_found(roots: &Roots, mut container: Container, force: Force, volumes: Anonymous) -> Result<()> {
    if let (Status::Ending, Some(life)) = (&container.status, &container.life) {
        await_monitor(&life.monitor)?;
        container = container::load(roots, &container.id);
    }
    if let (Status::Restarting(_), Force::Yes) = (&container.status, force) {
        container = give_up_restart(roots, &container)?;
    }
    let lives = container.life.as_ref().and_then(|life| life.init.as_ref()).is_some_and(Identity::is_alive);
    let busy = match container.status {
        Status::Running | Status::Starting | Status::Ending => true,
        Status::Dead | Status::Broken(_) => lives || has_monitor(roots, &container),
        Status::Restarting(_) => true,
        Status::Created | Status::Exited(_) => false,
    };
    if busy && force == Force::No {
        let name = container.config.as_ref().map_or(container.id.short(), |config| config.name.as_str());
        return Err(Error::user(format!("container {name} is running")).hint(format!("minirun rm -f {name}")));
    }
    if let (true, Some(life)) = (busy, &container.life) {
        // a monitor that does not listen does not start it again either
        let _ = life::announce_end(roots, &container, false);
        cgroups::thaw(&container)?; // a signal waits for that on cgroup v1
        end_now(life)?;
    }
    let _turn = container::turn(roots, &container.id)?;
    let container = container::load(roots, &container.id);
    match container.status.is_alive() {
        true => remove_found(roots, container, force, volumes), // started meanwhile
        false => clear(roots, &container, volumes),
    }
}

/// Kills the program of a container that runs, and waits for nothing: the ends of many overlap before each is waited
/// for by [`remove_by_id`], which does this again where it has failed. `None` where none of that name runs.
pub fn kill(roots: &Roots, word: &str) -> Option<ContainerId> {
    let found = look_up(roots, word).ok().filter(|found| found.status == Status::Running)?;
    let _ = life::announce_end(roots, &found, false); // `remove` does all of it again
    if let Some(Ok(pidfd)) = found.life.as_ref().and_then(|life| life.init.as_ref()).map(Identity::open) {
        life::signal(roots, &found, &pidfd, libc::SIGKILL).ok();
        drop(cgroups::thaw(&found));
    }
    Some(found.id)
}

/// Kills a container's init, and gives its monitor time to clean up. A monitor that does not, or that has no init to
/// wait for, is killed too.
pub(super) fn end_now(life: &container::Life<Undo>) -> Result<()> {
    let Some(init) = &life.init else { return await_end(&life.monitor, Duration::ZERO) };
    if let Ok(pidfd) = init.open() {
        process::send_signal(&pidfd, libc::SIGKILL).or_else(ignore_gone)?;
        event::readable_within(pidfd.as_fd(), Some(MONITOR_PATIENCE))?;
    }
    await_monitor(&life.monitor)
}

/// Waits for a monitor to clean up and end; one that takes too long is killed.
pub(super) fn await_monitor(monitor: &Identity) -> Result<()> {
    await_end(monitor, MONITOR_PATIENCE)
}

fn await_end(monitor: &Identity, patience: Duration) -> Result<()> {
    let Ok(pidfd) = monitor.open() else { return Ok(()) }; // gone already is what is wanted
    if !event::readable_within(pidfd.as_fd(), Some(patience))? {
        process::send_signal(&pidfd, libc::SIGKILL).or_else(ignore_gone)?;
        event::readable_within(pidfd.as_fd(), Some(MONITOR_PATIENCE))?;
    }
    Ok(())
}

pub(super) fn ignore_gone(e: crate::error::SysError) -> Result<(), crate::error::SysError> {
    if e.errno == crate::error::Errno::ESRCH { Ok(()) } else { Err(e) }
}

/// Undoes what a container holds and forgets it; its records stay where something could not be undone.
fn clear(roots: &Roots, container: &Container, volumes: Anonymous) -> Result<()> {
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
fn has_monitor(roots: &Roots, container: &Container) -> bool {
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
