//! Containers that exist: `ps`, `rm`; finding and repairing them.

use super::{Silent, adopt, network};
use crate::error::{Errno, Error, Result};
use crate::id::{ContainerId, HostPath, Name};
use crate::net::publish::Published;
use crate::plan::step::Undo;
use crate::spec::JoinedNamespaces;
use crate::spec::request::{NamespaceMode, NetworkNamespace, RunRequest};
use crate::state::{Roots, Status, container, names};
use crate::sys::event;
use crate::sys::process::{self, Identity};
use crate::sys::record::Lock;
use crate::{cgroup, engine, facts};
use std::os::fd::AsFd as _;
use std::time::Duration;

pub(super) type Container = container::Container<Undo>;

/// The exit code of a container whose end nobody saw.
pub(super) const UNKNOWN_EXIT: u8 = 255;

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
    /// How it is, and since how many seconds, where that is known.
    pub status: String,
    pub since: Option<u64>,
    pub running: bool,
    /// `0.0.0.0:8080->80/tcp`
    pub ports: Vec<String>,
}

/// All containers, the newest first; a broken record is a row, not an error. One that runs without a monitor gets one.
pub fn list(roots: &Roots) -> Result<Vec<ContainerRow>> {
    let ports = network::published(roots);
    let mut all = all(roots)?;
    for one in all.iter_mut().filter(|one| one.is_orphan()) {
        // `ps` lists what it can; who names the container hears why
        drop(adopt::adopt(roots, &one.id));
        *one = container::load(roots, &one.id);
    }
    Ok(all.iter().map(|one| row(one, ports.get(&one.id))).collect())
}

fn row(container: &Container, ports: Option<&Vec<Published>>) -> ContainerRow {
    let config = container.config.as_ref();
    let moment = match container.status {
        Status::Running => container.started.as_ref().map(|started| &started.at),
        Status::Exited(_) => container.ended.as_ref().map(|ended| &ended.at),
        Status::Created | Status::Starting | Status::Dead | Status::Broken(_) => None,
    };
    ContainerRow {
        id: container.id.clone(),
        name: config.map_or_else(String::new, |c| c.name.to_string()),
        image: config.map_or_else(String::new, |c| c.image.clone()),
        command: config.map_or_else(Vec::new, |c| c.args.clone()),
        age: config.map_or(0, |c| super::seconds_since(&c.created)),
        status: describe(&container.status),
        since: moment.map(|moment| super::seconds_since(moment)),
        running: container.status == Status::Running,
        ports: ports.into_iter().flatten().map(|port| format!("{}->{}", port.listen(), inner_port(port))).collect(),
    }
}

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
        Status::Exited(Some(exit)) => format!("Exited ({})", exit.code()),
        Status::Exited(None) => "Exited (unknown)".to_owned(),
        Status::Dead => "Dead: minirun repair removes what is left".to_owned(),
        Status::Broken(why) => format!("Broken: {why}"),
    }
}

/// The namespaces of other containers that a request names, by path, and whose these are.
pub(super) fn joined(roots: &Roots, request: &RunRequest) -> Result<(JoinedNamespaces, Vec<(HostPath, Identity)>)> {
    let mut owners = Vec::new();
    let mut path = |name: Option<&str>, kind: &str| -> Result<Option<HostPath>> {
        let Some(name) = name else { return Ok(None) };
        let init = running(roots, name)?;
        let path = HostPath::parse(&format!("/proc/{}/ns/{kind}", init.pid))?;
        owners.push((path.clone(), init));
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
        pid: path(other(&modes.pid).as_deref(), "pid")?,
        ipc: path(other(&modes.ipc).as_deref(), "ipc")?,
        uts: path(other(&modes.uts).as_deref(), "uts")?,
        net: path(net, "net")?,
    };
    Ok((joined, owners))
}

/// Init of a container that runs.
pub(super) fn running(roots: &Roots, word: &str) -> Result<Identity> {
    let found = find(roots, word)?;
    match (&found.status, found.life.and_then(|life| life.init)) {
        (Status::Running, Some(init)) => Ok(init),
        (status, _) => Err(Error::user(format!("container {word} is not running"))
            .hint(format!("it is {}; `minirun start {word}` starts it", describe(status).to_lowercase()))),
    }
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

/// The same; one whose program has ended has ended, and its monitor too.
pub(super) fn find_settled(roots: &Roots, word: &str) -> Result<Container> {
    let found = find(roots, word)?;
    let Some(monitor) = found.ending() else { return Ok(found) };
    await_monitor(monitor, false)?;
    find(roots, found.id.as_str())
}

fn look_up(roots: &Roots, word: &str) -> Result<Container> {
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
    let mut container = look_up(roots, word)?;
    if let Some(monitor) = container.ending() {
        await_monitor(monitor, false)?;
        container = container::load(roots, &container.id);
    }
    let lives = container.life.as_ref().and_then(|life| life.init.as_ref()).is_some_and(Identity::is_alive);
    let busy = match container.status {
        Status::Running | Status::Starting => true,
        Status::Dead | Status::Broken(_) => lives || has_monitor(roots, &container),
        Status::Created | Status::Exited(_) => false,
    };
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
    if let Some(Ok(pidfd)) = init.map(Identity::open) {
        process::send_signal(&pidfd, libc::SIGKILL).or_else(ignore_gone)?;
        event::ended_within(pidfd.as_fd(), MONITOR_PATIENCE)?;
    }
    await_monitor(monitor, init.is_none())
}

/// Waits for a monitor to end; one that takes too long, or that has nobody to wait for, is killed.
pub(super) fn await_monitor(monitor: &Identity, at_once: bool) -> Result<()> {
    let Ok(pidfd) = monitor.open() else { return Ok(()) }; // gone already is what is wanted
    if at_once || !event::ended_within(pidfd.as_fd(), MONITOR_PATIENCE)? {
        process::send_signal(&pidfd, libc::SIGKILL).or_else(ignore_gone)?;
        event::ended_within(pidfd.as_fd(), MONITOR_PATIENCE)?;
    }
    Ok(())
}

pub(super) fn ignore_gone(e: crate::error::SysError) -> Result<(), crate::error::SysError> {
    if e.errno == crate::error::Errno::ESRCH { Ok(()) } else { Err(e) }
}

/// Undoes what a container holds and forgets it; its records stay where something could not be undone.
fn clear(roots: &Roots, container: &Container) -> Result<()> {
    undo(roots, container)?;
    let gone = container::forget(roots, &container.id)?;
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
    let path = facts::cgroup_path(roots, &container.id);
    let groups = cgroup::plan::plan(None, &path, &cgroup::probe::probe(&path)?)?.prepare;
    let undos: Vec<Undo> = groups.iter().filter_map(cgroup::step::Step::undo).map(Undo::Cgroup).collect();
    undo_all(&container.id, &undos)?;
    match Lock::directory(roots.container(&container.id).as_path()) {
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
            let kept = container.life.as_ref().is_none_or(|life| life.kept);
            match &container.config {
                Some(config) if (container.started.is_some() || kept) && !config.remove => {
                    undo(roots, container)?;
                    match container.started {
                        Some(_) => container::end_unseen(roots, &container.id, &super::now())?,
                        None => container::forget_life(roots, &container.id)?,
                    }
                }
                _ => clear(roots, container)?,
            }
            Ok(true)
        }
        // its end is written down or lies in another boot, and its monitor died before it had cleaned up
        Status::Exited(_) if container.life.is_some() && monitor_is_dead => {
            undo(roots, container)?;
            match (&container.config, &container.ended) {
                (Some(config), _) if config.remove => clear(roots, container)?,
                (_, None) => container::end_unseen(roots, &container.id, &super::now())?,
                (_, Some(_)) => container::forget_life(roots, &container.id)?,
            }
            Ok(true)
        }
        Status::Created | Status::Exited(_) | Status::Running | Status::Starting | Status::Broken(_) => Ok(false),
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
