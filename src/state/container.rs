//! One container's records: written whole, read with suspicion, each with a version.

pub use super::config::{Config, ImageUse, LogLimits, RestartPolicy, Restarts, VolumeUse};
use super::{Raw, Roots, version};
use crate::error::{During as _, Errno, Error, Result};
use crate::id::{ContainerId, HostPath};
use crate::sys::fs;
use crate::sys::process::{self, Exit, Identity, Pid};
use crate::sys::record::{self, Durability, Lock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The format of all records here. This version reads it and the one before; a newer one is left alone.
pub const VERSION: u32 = 1;

/// That a container was started, at least once: its program runs, or has run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub version: u32,
    /// The last one that became its program.
    pub init: Identity,
    /// RFC 3339.
    pub at: String,
}

/// A container's life, generic in the undo that a higher layer defines: written before the first deed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life<U> {
    pub version: u32,
    pub id: ContainerId,
    pub monitor: Identity,
    /// Known once it was cloned.
    pub init: Option<Identity>,
    /// How to remove what it holds on the host, in the order of the deeds: to be run backwards.
    pub undo: Vec<U>,
    /// Where its cgroups are, in that domain's words.
    pub cgroups: Raw,
    #[serde(default)]
    pub restarts: Restarts,
    /// The container was there before this life, and stays where nothing comes of it.
    pub kept: bool,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub version: u32,
    /// `None` where nobody was there to see it.
    pub exit: Option<Exit>,
    /// RFC 3339.
    pub at: String,
    pub oom_killed: bool,
    /// Why it could not be started, where that is how it ended.
    pub error: Option<String>,
    /// Somebody wanted it to end.
    #[serde(default)]
    pub asked: bool,
    #[serde(default)]
    pub restarts: Restarts,
    /// The process that waits to start it again: who ends that ends the waiting.
    #[serde(default)]
    pub again_by: Option<Identity>,
}

impl Ended {
    /// Nobody saw how.
    pub fn unseen(at: &str) -> Ended {
        Ended {
            version: VERSION,
            exit: None,
            at: at.to_owned(),
            oom_killed: false,
            error: None,
            asked: false,
            restarts: Restarts::default(),
            again_by: None,
        }
    }
}

/// A container as its records show it.
#[derive(Debug, Clone)]
pub struct Container<U> {
    pub id: ContainerId,
    pub status: Status,
    /// `None` where the record is missing or cannot be read: it can still be removed.
    pub config: Option<Config>,
    pub life: Option<Life<U>>,
    pub started: Option<Started>,
    pub ended: Option<Ended>,
    /// Its monitor lived when it was looked at.
    pub monitored: bool,
}

impl<U> Container<U> {
    /// It runs, and nobody looks after it.
    pub fn is_orphan(&self) -> bool {
        self.status == Status::Running && !self.monitored
    }

    /// Somebody waits to start it again, or has waited and was killed.
    pub fn is_to_be_started_again(&self) -> bool {
        self.life.is_none() && self.ended.as_ref().is_some_and(|ended| ended.again_by.is_some())
    }

    /// It does not run, and is not about to.
    pub fn has_ended(&self) -> bool {
        matches!(self.status, Status::Created | Status::Exited(_) | Status::Dead) && !self.has_lost_its_restart()
    }

    /// It was to be started again in this boot, and who waited for that was killed.
    pub fn has_lost_its_restart(&self) -> bool {
        let Some(by) = self.ended.as_ref().and_then(|ended| ended.again_by.as_ref()) else { return false };
        let wanted = self.config.as_ref().is_some_and(|config| config.restart != RestartPolicy::No);
        let same_boot = || process::boot_id().is_ok_and(|now| now == by.boot_id);
        wanted && matches!(self.status, Status::Exited(_)) && self.life.is_none() && same_boot()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It was never started.
    Created,
    /// Its monitor is at work on it, and its program does not run yet.
    Starting,
    Running,
    /// Its program has ended, and its monitor cleans up after it.
    Ending,
    /// It ended; who saw it wrote down how.
    Exited(Option<Exit>),
    /// It ended, and is started again after a while.
    Restarting(Option<Exit>),
    /// It has no monitor, no program and no record of an end: something was killed. `repair` removes what it left.
    Dead,
    /// Its record cannot be read; the text says why.
    Broken(String),
}

impl Status {
    /// It holds things on the host, and somebody looks after them or is about to.
    pub fn is_alive(&self) -> bool {
        matches!(self, Status::Starting | Status::Running | Status::Ending)
    }
}

/// Writes a new container's records, before anything else of it is made: its intent. The name must be claimed next.
/// The life appears whole or not at all: whoever finds the container finds who is at work on it.
pub fn begin<U: Serialize>(roots: &Roots, config: &Config, life: &Life<U>) -> Result<()> {
    let making = || format!("making container {}", config.id.short());
    let (dir, state) = (roots.container(&config.id), roots.life(&config.id));
    let new = roots.state.child("containers").child(&unborn(&life.monitor));
    fs::mkdir(new.as_path(), 0o700).during(making)?;
    write(&new.child("life.json"), life, Durability::Memory)?;
    fs::rename(new.as_path(), state.as_path()).during(making)?;
    fs::mkdir(dir.as_path(), 0o700).during(making)?;
    // a container that goes with its end need not outlive a power cut
    let durability = if config.remove { Durability::Memory } else { Durability::Disk };
    write(&dir.child("config.json"), config, durability)
}

const UNBORN: &str = ".unborn-";

/// The directory of a life that is being written, named by its writer.
fn unborn(writer: &Identity) -> String {
    format!("{UNBORN}{}-{}", writer.pid, writer.start_time)
}

/// Removes what no container's name leads to: lives whose writer was killed while it wrote them, and what is left of
/// forgotten containers. Gives how many there were.
pub fn sweep(roots: &Roots) -> Result<usize> {
    let dir = roots.state.child("containers");
    let mut forgotten = BTreeSet::new();
    for dir in [&roots.root, &roots.state].map(|parent| parent.child("containers")) {
        for name in fs::list(dir.as_path())?.into_iter().filter(|name| name.starts_with(GONE)) {
            fs::remove_tree(dir.child(&name).as_path())?;
            forgotten.insert(name);
        }
    }
    for name in fs::list(dir.as_path())? {
        let Some((pid, start)) = name.strip_prefix(UNBORN).and_then(|writer| writer.split_once('-')) else { continue };
        // one that nobody has waited for yet has still a start time, and writes no more
        let same = pid.parse().ok().and_then(|pid| Identity::of(Pid(pid)).ok()).filter(Identity::is_alive);
        if same.is_none_or(|writer| writer.start_time.to_string() != start) {
            fs::remove_tree(dir.child(&name).as_path())?;
            forgotten.insert(name);
        }
    }
    Ok(forgotten.len())
}

/// The life of a container that exists, before its start: it appears whole, in the place of one that has ended.
pub fn revive<U: Serialize>(roots: &Roots, life: &Life<U>) -> Result<()> {
    let starting = || format!("starting container {}", life.id.short());
    let (dir, state) = (roots.container(&life.id), roots.life(&life.id));
    let new = roots.state.child("containers").child(&unborn(&life.monitor));
    fs::mkdir(new.as_path(), 0o700).during(starting)?;
    write(&new.child("life.json"), life, Durability::Memory)?;
    fs::rename(new.as_path(), state.as_path()).during(starting)?;
    Ok(fs::unlink(dir.child("ended.json").as_path())?)
}

/// Whoever starts or removes a container that is there does so alone, for as long as they hold this. `None` where it is
/// gone.
pub fn turn(roots: &Roots, id: &ContainerId) -> Result<Option<Lock>> {
    match Lock::exclusive(roots.container(id).child("turn").as_path()) {
        Err(e) if e.errno == Errno::ENOENT => Ok(None),
        taken => Ok(taken.map(Some)?),
    }
}

/// The same, but only where nobody else is at it.
pub fn try_turn(roots: &Roots, id: &ContainerId) -> Result<Option<Lock>> {
    match Lock::try_exclusive(roots.container(id).child("turn").as_path()) {
        Err(e) if e.errno == Errno::ENOENT => Ok(None),
        taken => Ok(taken?),
    }
}

/// Notes that init has become a container's program.
pub fn write_started(roots: &Roots, id: &ContainerId, init: &Identity, at: &str) -> Result<()> {
    let started = Started { version: VERSION, init: init.clone(), at: at.to_owned() };
    write(&roots.container(id).child("started.json"), &started, Durability::Memory)
}

/// Replaces a container's configuration.
pub fn write_config(roots: &Roots, config: &Config) -> Result<()> {
    write(&roots.container(&config.id).child("config.json"), config, Durability::Disk)
}

/// Which file a container's configuration is in, by inode and time: another one after each change. `None` where there
/// is none.
pub fn config_file(roots: &Roots, id: &ContainerId) -> Option<(u64, i64, i64)> {
    let stat = fs::stat(roots.container(id).child("config.json").as_path()).ok()?;
    Some((stat.st_ino, stat.st_mtime, stat.st_mtime_nsec))
}

/// The configuration that a container has got meanwhile (another name, another policy), where it is not in the file any
/// more in which it was.
pub fn changed_config(roots: &Roots, config: &Config, file: Option<(u64, i64, i64)>) -> Option<Config> {
    let same = config_file(roots, &config.id) == file;
    if same { None } else { read(&roots.container(&config.id).child("config.json")).ok().flatten() }
}

/// Replaces the record of a container's life.
pub fn write_life<U: Serialize>(roots: &Roots, life: &Life<U>) -> Result<()> {
    write(&roots.life(&life.id).child("life.json"), life, Durability::Memory)
}

/// Records how a container ended.
pub fn end(roots: &Roots, id: &ContainerId, ended: &Ended) -> Result<()> {
    write(&roots.container(id).child("ended.json"), ended, Durability::Disk)
}

/// Forgets a container's life at once: nothing of it is left on the host.
pub fn forget_life(roots: &Roots, id: &ContainerId) -> Result<()> {
    Gone(put_away(&roots.life(id), &roots.state, id)?.into_iter().collect()).remove()
}

/// Records that a container ended and nobody saw how, for its monitor is dead. What that one was writing meanwhile goes,
/// and its life too.
pub fn end_unseen(roots: &Roots, id: &ContainerId, at: &str) -> Result<()> {
    record::forget_unwritten(roots.container(id).as_path())?;
    end(roots, id, &Ended::unseen(at))?;
    forget_life(roots, id)
}

/// Forgets a container: from here on it does not exist. Its directories have other names and wait to be removed, which
/// takes longer. Gone already is success.
pub fn forget(roots: &Roots, id: &ContainerId) -> Result<Gone> {
    // the life goes last: while it stands, whoever finds it knows what to undo
    let dirs = [(roots.container(id), &roots.root), (roots.life(id), &roots.state)];
    let gone = dirs.iter().map(|(dir, parent)| put_away(dir, parent, id)).collect::<Result<Vec<_>>>()?;
    Ok(Gone(gone.into_iter().flatten().collect()))
}

/// Gives a directory of a container the name under which it waits to be removed. What waits there already goes.
fn put_away(dir: &HostPath, parent: &HostPath, id: &ContainerId) -> Result<Option<HostPath>> {
    let place = parent.child("containers").child(&format!("{GONE}{id}"));
    let renamed = match fs::rename(dir.as_path(), place.as_path()) {
        Err(e) if matches!(e.errno, Errno::ENOTEMPTY | Errno::EEXIST) => {
            fs::remove_tree(place.as_path())?;
            fs::rename(dir.as_path(), place.as_path())
        }
        renamed => renamed,
    };
    match renamed {
        Err(e) if e.errno == Errno::ENOENT => Ok(None),
        renamed => Ok(renamed.map(|()| Some(place))?),
    }
}

const GONE: &str = ".gone-";

/// What is left of a forgotten container.
#[derive(Debug, Default)]
#[must_use]
pub struct Gone(Vec<HostPath>);

impl Gone {
    pub fn remove(&self) -> Result<()> {
        Ok(self.0.iter().try_for_each(|dir| fs::remove_tree(dir.as_path()))?)
    }
}

/// The ids of all containers, those with a life alone too.
pub fn ids(roots: &Roots) -> Result<Vec<ContainerId>> {
    let mut names = fs::list(roots.root.child("containers").as_path())?;
    names.extend(fs::list(roots.state.child("containers").as_path())?);
    names.sort();
    names.dedup();
    Ok(names.iter().filter(|name| !name.starts_with('.')).filter_map(|name| ContainerId::parse(name).ok()).collect())
}

/// A container by its id; never fails, for one broken record must not hide the others.
pub fn load<U: DeserializeOwned>(roots: &Roots, id: &ContainerId) -> Container<U> {
    let dir = roots.container(id);
    let config = read::<Config>(&dir.child("config.json"));
    let life = read::<Life<U>>(&roots.life(id).child("life.json"));
    let started = read::<Started>(&dir.child("started.json"));
    let ended = read::<Ended>(&dir.child("ended.json"));
    let broken = [config.as_ref().err(), life.as_ref().err(), started.as_ref().err(), ended.as_ref().err()];
    let why = broken.into_iter().flatten().next().map(ToString::to_string);
    let (config, life) = (config.ok().flatten(), life.ok().flatten());
    let (started, ended) = (started.ok().flatten(), ended.ok().flatten());
    let monitored = life.as_ref().is_some_and(|life| life.monitor.is_alive());
    let status = match (why, &config) {
        (Some(why), _) => Status::Broken(why),
        (None, config) => status(config.is_some(), life.as_ref(), monitored, started.as_ref(), ended.as_ref()),
    };
    Container { id: id.clone(), status, config, life, started, ended, monitored }
}

/// What a container was made from; `None` where it has no such record.
pub fn config(roots: &Roots, id: &ContainerId) -> Result<Option<Config>> {
    read(&roots.container(id).child("config.json"))
}

fn status<U>(
    config: bool,
    life: Option<&Life<U>>,
    monitored: bool,
    started: Option<&Started>,
    ended: Option<&Ended>,
) -> Status {
    let of_another_boot = |process: &Identity| process::boot_id().is_ok_and(|now| now != process.boot_id);
    if let Some(life) = life {
        match &life.init {
            // without a monitor it does not stand at its barrier, for that ends with the monitor
            Some(init) if init.is_alive() => {
                let born = !monitored || started.is_some_and(|started| started.init == *init);
                return if born { Status::Running } else { Status::Starting };
            }
            Some(_) if monitored => return Status::Ending,
            None if monitored => return Status::Starting,
            _ => {}
        }
    }
    match (life, ended) {
        (None, Some(ended)) if ended.again_by.as_ref().is_some_and(Identity::is_alive) => {
            Status::Restarting(ended.exit)
        }
        (_, Some(ended)) => Status::Exited(ended.exit),
        (None, None) if config && started.is_none() => Status::Created,
        (Some(life), None) if of_another_boot(&life.monitor) => Status::Exited(None),
        (None, None) if config && started.is_some_and(|started| of_another_boot(&started.init)) => Status::Exited(None),
        _ => Status::Dead,
    }
}

fn write<T: Serialize>(path: &HostPath, value: &T, durability: Durability) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(|e| Error::internal(format!("{path}: {e}")))?;
    record::write(path.as_path(), &bytes, durability).during(|| "writing a container's record")
}

/// `None` where the file is missing.
fn read<T: DeserializeOwned>(path: &HostPath) -> Result<Option<T>> {
    let bytes = match fs::read(path.as_path()) {
        Err(e) if e.errno == Errno::ENOENT => return Ok(None),
        bytes => bytes?,
    };
    version::parse(&bytes, VERSION, "minirun rm removes it").map(Some).map_err(|error| error.during(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Name;

    fn roots(dir: &tempfile::TempDir) -> Roots {
        let path = |name: &str| HostPath::parse(dir.path().join(name).to_str().unwrap()).unwrap();
        let roots = Roots {
            root: path("root"),
            state: path("state"),
            config: path("config"),
            logins: Vec::new(),
            proxies: Default::default(),
        };
        roots.make().unwrap();
        roots
    }

    fn config(id: &str) -> Config {
        Config {
            version: VERSION,
            id: ContainerId::parse(id).unwrap(),
            name: Name::parse("web").unwrap(),
            image: "busybox".into(),
            image_id: None,
            images: Vec::new(),
            dns: Vec::new(),
            args: vec!["sh".into()],
            created: "2026-01-01T00:00:00Z".into(),
            attended: false,
            remove: false,
            tty: false,
            interactive: false,
            stop_signal: 15,
            stop_timeout: None,
            restart: RestartPolicy::No,
            health: None,
            log: Some(LogLimits::default()),
            uid: 0,
            volumes: Vec::new(),
            request: Raw::default(),
            spec: Raw::default(),
            security: Raw::default(),
        }
    }

    fn life(id: &str, monitor: Identity) -> Life<String> {
        Life {
            version: VERSION,
            id: ContainerId::parse(id).unwrap(),
            monitor,
            init: None,
            undo: vec!["x".into()],
            cgroups: Raw::default(),
            restarts: Restarts::default(),
            kept: false,
        }
    }

    #[test]
    fn a_container_is_starting_then_dead_or_exited() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(&dir);
        let me = Identity::of_self().unwrap();
        let id = ContainerId::parse("a").unwrap();
        begin(&roots, &config("a"), &life("a", me.clone())).unwrap();
        assert_eq!(load::<String>(&roots, &id).status, Status::Starting);
        let other = Identity { pid: Pid(me.pid.0), start_time: 1, ..me };
        write_life(&roots, &life("a", other)).unwrap();
        assert_eq!(load::<String>(&roots, &id).status, Status::Dead);
        let exit = Some(Exit::Code(7));
        end(&roots, &id, &Ended { exit, ..Ended::unseen("") }).unwrap();
        assert_eq!(load::<String>(&roots, &id).status, Status::Exited(Some(Exit::Code(7))));
        drop(forget(&roots, &id).unwrap()); // killed before it was removed
        assert!(ids(&roots).unwrap().is_empty());
        assert_eq!((sweep(&roots).unwrap(), sweep(&roots).unwrap()), (1, 0));
        forget(&roots, &id).unwrap().remove().unwrap();
    }

    #[test]
    fn it_runs_when_its_program_has_begun_and_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(&dir);
        let me = Identity::of_self().unwrap();
        let gone = Identity { start_time: 1, ..me.clone() };
        let id = ContainerId::parse("a").unwrap();
        begin(&roots, &config("a"), &life("a", me.clone())).unwrap();
        write_started(&roots, &id, &gone, "").unwrap(); // of an earlier life
        let status = |monitor: &Identity, init: &Identity| {
            write_life(&roots, &Life { init: Some(init.clone()), ..life("a", monitor.clone()) }).unwrap();
            load::<String>(&roots, &id).status
        };
        assert_eq!(status(&me, &me), Status::Starting);
        assert_eq!(status(&gone, &me), Status::Running); // killed before it wrote that down
        write_started(&roots, &id, &me, "").unwrap();
        assert_eq!(status(&me, &me), Status::Running);
        assert_eq!(status(&me, &gone), Status::Ending);
        assert_eq!(status(&gone, &gone), Status::Dead);
    }

    #[test]
    fn it_is_restarting_as_long_as_somebody_waits_to_start_it() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(&dir);
        let me = Identity::of_self().unwrap();
        let id = ContainerId::parse("a").unwrap();
        begin(&roots, &config("a"), &life("a", me.clone())).unwrap();
        forget_life(&roots, &id).unwrap();
        for (by, status) in
            [(me.clone(), Status::Restarting(None)), (Identity { start_time: 1, ..me }, Status::Exited(None))]
        {
            end(&roots, &id, &Ended { again_by: Some(by), ..Ended::unseen("") }).unwrap();
            assert_eq!(load::<String>(&roots, &id).status, status);
        }
    }

    #[test]
    fn without_a_life_it_was_never_started_or_not_in_this_boot_or_lost() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(&dir);
        let id = ContainerId::parse("a").unwrap();
        begin(&roots, &config("a"), &life("a", Identity::of_self().unwrap())).unwrap();
        forget_life(&roots, &id).unwrap();
        let now = Identity::of_self().unwrap();
        let another = Identity { boot_id: "another".into(), ..now.clone() };
        for (init, status) in
            [(None, Status::Created), (Some(another), Status::Exited(None)), (Some(now), Status::Dead)]
        {
            if let Some(init) = init {
                write_started(&roots, &id, &init, "").unwrap();
            }
            assert_eq!(load::<String>(&roots, &id).status, status);
        }
        let mut other = life("a", Identity::of_self().unwrap());
        other.monitor.boot_id = "another".into();
        revive(&roots, &other).unwrap();
        assert_eq!(load::<String>(&roots, &id).status, Status::Exited(None));
    }

    #[test]
    fn a_life_goes_where_another_one_waits_to_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(&dir);
        let life = life("a", Identity::of_self().unwrap());
        begin(&roots, &config("a"), &life).unwrap();
        put_away(&roots.life(&life.id), &roots.state, &life.id).unwrap(); // killed before it was removed
        revive(&roots, &life).unwrap();
        forget_life(&roots, &life.id).unwrap();
        assert!(fs::list(roots.state.child("containers").as_path()).unwrap().is_empty());
        forget_life(&roots, &life.id).unwrap();
    }

    #[test]
    fn a_life_that_was_never_written_goes_when_its_writer_is_dead() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(&dir);
        let me = Identity::of_self().unwrap();
        for writer in [me.clone(), Identity { start_time: 1, ..me }] {
            fs::mkdir(roots.state.child("containers").child(&unborn(&writer)).as_path(), 0o700).unwrap();
        }
        assert!(ids(&roots).unwrap().is_empty());
        assert_eq!(sweep(&roots).unwrap(), 1);
        assert_eq!(sweep(&roots).unwrap(), 0);
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // a process that ends and is not waited for
    fn a_writer_that_nobody_has_waited_for_is_dead() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(&dir);
        let mut zombie = std::process::Command::new("true").spawn().unwrap();
        let writer = Identity::of(Pid(zombie.id() as i32)).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while writer.is_alive() && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        fs::mkdir(roots.state.child("containers").child(&unborn(&writer)).as_path(), 0o700).unwrap();
        assert_eq!(sweep(&roots).unwrap(), 1);
        zombie.wait().unwrap();
    }

    #[test]
    fn a_broken_or_newer_record_is_shown_and_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(&dir);
        for id in ["a", "b", "c"] {
            begin(&roots, &config(id), &life(id, Identity::of_self().unwrap())).unwrap();
        }
        let path = |id: &str| roots.container(&ContainerId::parse(id).unwrap()).child("config.json");
        std::fs::write(path("a").as_path(), "{\"version\": 1, \"id").unwrap();
        std::fs::write(path("b").as_path(), "{\"version\": 99}").unwrap();
        let all: Vec<_> = ids(&roots).unwrap().iter().map(|id| load::<String>(&roots, id)).collect();
        assert!(matches!(&all[0].status, Status::Broken(why) if why.contains("broken")));
        assert!(matches!(&all[1].status, Status::Broken(why) if why.contains("newer")));
        assert_eq!(all[2].status, Status::Starting);
    }
}
