//! Containers that exist: finding and removing them.

use super::{adopt, attach, cgroups, life, networks, remains, start};
use crate::error::{Error, Kind, Result};
use crate::id::{ContainerId, HostPath, Name};
use crate::monitor::protocol::Attach;
use crate::plan::step::Undo;
use crate::spec::JoinedNamespaces;
use crate::spec::request::{NamespaceMode, NetworkNamespace, RunRequest};
use crate::state::{Roots, Status, container, events, names};
use crate::sys::process::{self, Identity};
use crate::sys::{event, fs, record};
use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

pub(super) type Container = container::Container<Undo>;

/// The exit code of a container whose end nobody saw.
pub(super) const UNKNOWN_EXIT: u8 = events::UNKNOWN_EXIT;

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
        let (_, init) = if_running(find_as_it_is(roots, name)?, name)?;
        let path = HostPath::parse(&format!("/proc/{}/{what}", init.pid))?;
        owners.insert(path.clone(), init);
        Ok(Some(path))
    };
    let other = |mode: &'_ NamespaceMode| match mode {
        NamespaceMode::Container(name) => Some(name.clone()),
        NamespaceMode::Private | NamespaceMode::Host => None,
    };
    let net = match request.network.namespace() {
        NetworkNamespace::Container(name) => path(Some(name), "ns/net")?,
        NetworkNamespace::Path(file) => Some(network_namespace(file)?),
        NetworkNamespace::Own | NetworkNamespace::Host => None,
    };
    let modes = &request.namespaces;
    let joined = JoinedNamespaces {
        pid: path(other(&modes.pid).as_deref(), "ns/pid")?,
        ipc: path(other(&modes.ipc).as_deref(), "ns/ipc")?,
        shm: path(other(&modes.ipc).as_deref(), "root/dev/shm")?,
        uts: path(other(&modes.uts).as_deref(), "ns/uts")?,
        net,
    };
    Ok((joined, owners))
}

/// `--network ns:PATH`, as `ip netns add NAME` makes one at /run/netns/NAME.
fn network_namespace(file: &str) -> Result<HostPath> {
    let path = HostPath::parse(file)?;
    match fs::stat(path.as_path()).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG) {
        true => Ok(path),
        false => Err(Error::user(format!("no network namespace at {path}"))
            .hint("--network ns:/run/netns/NAME, after `ip netns add NAME`")),
    }
}

/// A container that runs, and its init.
pub(super) fn running(roots: &Roots, word: &str) -> Result<(Container, Identity)> {
    if_running(find_settled(roots, word)?, word)
}

fn if_running(found: Container, word: &str) -> Result<(Container, Identity)> {
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
/// without a monitor gets one, one that nobody waits any more to start again is started, and what a killed process left
/// of it is taken back.
pub(super) fn find(roots: &Roots, word: &str) -> Result<Container> {
    let found = look_up(roots, word)?;
    if found.is_orphan() {
        adopt::adopt(roots, &found.id)?;
    } else if found.has_lost_its_restart() {
        start::start_in_place(roots, &found)?;
    } else if !remains::repair_one(roots, &found)? {
        return Ok(found);
    }
    let now: Container = container::load(roots, &found.id);
    match now.config.is_some() || now.life.is_some() {
        true => Ok(now),
        false => Err(Error::user(format!("no container {word}")).hint("`minirun ps -a` lists them all")),
    }
}

/// The same for one that is only looked at: nothing is started, adopted or taken back for that.
pub(super) fn find_as_it_is(roots: &Roots, word: &str) -> Result<Container> {
    settled(roots, look_up(roots, word)?, |found| Ok(container::load(roots, &found.id)))
}

/// The same, once it is neither on its way into life nor on its way out.
pub(super) fn find_settled(roots: &Roots, word: &str) -> Result<Container> {
    settled(roots, find(roots, word)?, |found| find(roots, found.id.as_str()))
}

fn settled(roots: &Roots, mut found: Container, again: impl Fn(&Container) -> Result<Container>) -> Result<Container> {
    loop {
        match (&found.status, &found.life) {
            (Status::Starting, Some(life)) => _ = await_birth(roots, &found.id, &life.monitor, None)?,
            (Status::Ending, Some(life)) => await_cleaned(roots, life)?,
            _ => return Ok(found),
        }
        found = again(&found)?;
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

/// The container that a word means, which is to end: one that is to be started again is not, and was stopped.
pub(super) fn find_to_end(roots: &Roots, word: &str) -> Result<Container> {
    let found = look_up(roots, word)?;
    match found.is_to_be_started_again() {
        true => give_up_restart(roots, &found),
        false => find(roots, word),
    }
}

/// Ends the waiting of a container that is to be started again: it has ended, and was stopped.
pub(super) fn give_up_restart(roots: &Roots, found: &Container) -> Result<Container> {
    let _turn = container::turn(roots, &found.id)?;
    let found: Container = container::load(roots, &found.id);
    if let (None, Some(ended)) = (&found.life, &found.ended) {
        if let Some(Ok(pidfd)) = ended.again_by.as_ref().map(Identity::open) {
            process::send_signal(&pidfd, libc::SIGKILL).or_else(ignore_gone)?;
            event::readable_within(pidfd.as_fd(), None)?;
            container::sweep(roots)?; // it may have been at it
        }
        container::end(roots, &found.id, &container::Ended { asked: true, again_by: None, ..ended.clone() })?;
    }
    find(roots, found.id.as_str())
}

/// How long a monitor may take to clean up after its container before its command does that itself. It waits for the
/// kernel and for other monitors' locks, which takes its time where hundreds end at once.
pub(super) const MONITOR_PATIENCE: Duration = Duration::from_secs(20);

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
        await_cleaned(roots, life)?;
        container = container::load(roots, &container.id);
    }
    if let (Status::Restarting(_), Force::Yes) = (&container.status, force) {
        container = give_up_restart(roots, &container)?;
    }
    let lives = container.life.as_ref().and_then(|life| life.init.as_ref()).is_some_and(Identity::is_alive);
    let busy = match container.status {
        Status::Running | Status::Starting | Status::Ending => true,
        Status::Dead | Status::Broken(_) => lives || remains::has_monitor(roots, &container),
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
        end_now(roots, life)?;
        container = container::load(roots, &container.id);
    }
    if container.is_to_be_started_again() {
        container = give_up_restart(roots, &container)?; // it had decided that before
    }
    let _turn = container::turn(roots, &container.id)?;
    let container = container::load(roots, &container.id);
    match container.status.is_alive() {
        true => remove_found(roots, container, force, volumes), // started meanwhile
        false => remains::clear(roots, &container, volumes),
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
pub(super) fn end_now(roots: &Roots, life: &container::Life<Undo>) -> Result<()> {
    let Some(init) = &life.init else { return kill_monitor(roots, life) };
    if let Ok(pidfd) = init.open() {
        process::send_signal(&pidfd, libc::SIGKILL).or_else(ignore_gone)?;
        event::readable_within(pidfd.as_fd(), Some(MONITOR_PATIENCE))?;
    }
    await_cleaned(roots, life)
}

/// Waits until a container's life is taken back: its monitor has ended, or forgotten it and waits to start another one.
/// A monitor that takes too long is killed.
pub(super) fn await_cleaned(roots: &Roots, life: &container::Life<Undo>) -> Result<()> {
    let end = Instant::now() + MONITOR_PATIENCE;
    while Instant::now() < end {
        let now: Container = container::load(roots, &life.id);
        if now.life.is_none_or(|now| now.monitor != life.monitor) || ended_soon(&life.monitor)? {
            return Ok(());
        }
    }
    kill_monitor(roots, life)
}

/// Kills a monitor, and removes the records that it was writing: nothing else would before the next `repair`.
fn kill_monitor(roots: &Roots, life: &container::Life<Undo>) -> Result<()> {
    let Ok(pidfd) = life.monitor.open() else { return Ok(()) }; // gone already is what is wanted
    if event::readable_within(pidfd.as_fd(), Some(Duration::ZERO))? {
        return Ok(());
    }
    process::send_signal(&pidfd, libc::SIGKILL).or_else(ignore_gone)?;
    if event::readable_within(pidfd.as_fd(), Some(MONITOR_PATIENCE))? {
        networks::broken::forget_unwritten(roots)?;
        // its life goes as a whole; who has the turn may be writing there
        if let Some(_turn) = container::try_turn(roots, &life.id)? {
            record::forget_unwritten(roots.container(&life.id).as_path())?;
        }
    }
    Ok(())
}

pub(super) fn ignore_gone(e: crate::error::SysError) -> Result<(), crate::error::SysError> {
    if e.errno == crate::error::Errno::ESRCH { Ok(()) } else { Err(e) }
}
