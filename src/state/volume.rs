//! Volumes: `volumes/NAME` holds `volume.json` and `_data`, which containers have mounted. Whoever makes or removes one
//! holds the lock of `volumes`; whoever fills one holds its own. What a killed command was making is never taken for a
//! whole thing: a volume appears by a rename, and what it is filled with waits beside it until all of it is there.

use super::container::{self, Config, VolumeUse};
use super::events;
use super::roots::Roots;
use super::version;
use crate::error::{During as _, Errno, Error, Result};
use crate::id::{ContainerId, HostPath, Name};
use crate::sys::record::{self, Durability, Lock};
use crate::sys::{at, fs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format of the record. A newer one is not understood, and its volume is used all the same.
pub const VERSION: u32 = 1;

const RECORD: &str = "volume.json";
/// What containers have mounted.
pub const DATA: &str = "_data";
/// Held by whoever fills it.
const LOCK: &str = "lock";
/// A copy of what the image has, not yet whole.
const FILLING: &str = ".filling";
/// The same, whole: on its way into the data.
const FILLED: &str = ".filled";
const NEW: &str = ".new-";
const GONE: &str = ".gone-";

/// What is known of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub version: u32,
    pub name: Name,
    /// RFC 3339.
    pub created: String,
    pub labels: BTreeMap<String, String>,
    /// Nobody gave it a name: it was made for one container.
    pub anonymous: bool,
    /// It has got what an image has, once and for all.
    pub filled: bool,
}

/// A volume that is there.
#[derive(Debug)]
pub struct Volume {
    pub name: Name,
    /// An error where it cannot be read.
    pub record: Result<Record>,
}

/// What became of a volume that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    Removed,
    Missing,
    /// A container has it: its name.
    InUse(String),
}

/// A volume's directory in the store, `volumes`.
fn dir(store: &HostPath, name: &Name) -> HostPath {
    store.child(name.as_str())
}

/// What containers have mounted of a volume.
pub fn data(store: &HostPath, name: &Name) -> HostPath {
    dir(store, name).child(DATA)
}

/// Makes a volume where it is not there yet, and completes what a killed command has left of filling it. Whether it was
/// made now.
pub fn make(store: &HostPath, record: &Record) -> Result<bool> {
    let made = make_or_find(store, record).during(|| format!("making volume {}", record.name))?;
    let dir = dir(store, &record.name);
    if [FILLING, FILLED].iter().any(|name| fs::exists(dir.child(name).as_path())) {
        let _turn = Lock::exclusive(dir.child(LOCK).as_path())?; // waits for a fill that is going on
        settle(&dir)?;
    }
    Ok(made)
}

fn make_or_find(store: &HostPath, record: &Record) -> Result<bool> {
    const CLOSED: u32 = 0o701; // as docker's: who may pass finds what has a name they know
    fs::mkdir_all(store.as_path(), CLOSED)?;
    let _store = Lock::directory(store.as_path())?;
    let dir = dir(store, &record.name);
    if fs::exists(dir.as_path()) {
        return Ok(false);
    }
    let new = store.child(&format!("{NEW}{}", record.name));
    fs::remove_tree(new.as_path())?;
    fs::mkdir(new.as_path(), CLOSED)?;
    fs::chmod(new.as_path(), CLOSED)?;
    fs::mkdir(new.child(DATA).as_path(), 0o755)?;
    fs::chmod(new.child(DATA).as_path(), 0o755)?;
    fs::write_new(new.child(LOCK).as_path(), b"", 0o600)?;
    write(&new, record)?;
    fs::rename(new.as_path(), dir.as_path())?;
    Ok(true)
}

/// Fills a volume by `copy`, which writes into the directory that it is given, unless it was filled before or is not
/// empty. One at a time: the next one waits and finds it filled.
pub fn fill(store: &HostPath, name: &Name, copy: impl FnOnce(&HostPath) -> Result<()>) -> Result<()> {
    let dir = dir(store, name);
    let _turn = Lock::exclusive(dir.child(LOCK).as_path())?;
    settle(&dir)?;
    if load(store, name).is_none_or(|volume| volume.record.is_ok_and(|record| record.filled)) || !is_empty(&dir)? {
        return Ok(());
    }
    let filling = dir.child(FILLING);
    fs::mkdir(filling.as_path(), 0o700)?;
    copy(&filling).inspect_err(|_| drop(fs::remove_tree(filling.as_path())))?;
    let copied = at::open_root(filling.as_path())?;
    if !at::entries(at::open_root(filling.as_path())?)?.is_empty() {
        at::syncfs(&copied)?; // from here on it counts as whole, after a power cut too
    }
    fs::rename(filling.as_path(), dir.child(FILLED).as_path())?;
    settle(&dir)
}

fn is_empty(dir: &HostPath) -> Result<bool> {
    Ok(at::entries(at::open_root(dir.child(DATA).as_path())?)?.is_empty())
}

/// Removes a copy that was cut off, and brings one that is whole to its place. The data stays the same directory, for a
/// container may have it mounted; what that one has made meanwhile stays. For who holds the volume's lock.
fn settle(dir: &HostPath) -> Result<()> {
    fs::remove_tree(dir.child(FILLING).as_path())?;
    let filled = dir.child(FILLED);
    let from = match at::open_root(filled.as_path()) {
        Err(e) if e.errno == Errno::ENOENT => return Ok(()),
        from => from?,
    };
    let (to, stat) = (at::open_root(dir.child(DATA).as_path())?, at::stat_fd(&from)?);
    for (name, _) in at::entries(at::open_root(filled.as_path())?)? {
        if at::stat(&to, &name)?.is_none() {
            at::rename(&from, &name, &to, &name)?;
        }
    }
    at::chown_fd(&to, stat.st_uid, stat.st_gid)?;
    at::chmod_fd(&to, stat.st_mode & 0o7777)?;
    for name in at::xattr_names(&from)? {
        if let Some(value) = at::xattr(&from, &name)? {
            at::set_xattr(&to, &name, &value)?;
        }
    }
    at::set_times_fd(&to, at::Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec })?;
    if let Some(Ok(record)) = read(dir) {
        write(dir, &Record { filled: true, ..record })?;
    }
    Ok(fs::remove_tree(filled.as_path())?)
}

/// Removes a volume that no container has, besides `except`.
pub fn remove(roots: &Roots, name: &Name, except: Option<&ContainerId>) -> Result<Removal> {
    let store = roots.volumes();
    let gone = {
        let _store = match Lock::directory(store.as_path()) {
            Err(e) if e.errno == Errno::ENOENT => return Ok(Removal::Missing),
            lock => lock?,
        };
        let dir = dir(&store, name);
        if !fs::exists(dir.as_path()) {
            return Ok(Removal::Missing);
        }
        // a container writes down what it has before it makes it, so nobody comes between this look and the rename
        if let Some(user) = users(roots, except)?.remove(name).and_then(|users| users.into_iter().next()) {
            return Ok(Removal::InUse(user));
        }
        let gone = store.child(&format!("{GONE}{name}"));
        fs::remove_tree(gone.as_path())?;
        fs::rename(dir.as_path(), gone.as_path()).during(|| format!("removing volume {name}"))?;
        gone
    };
    events::volume(roots, name, "destroy");
    fs::remove_tree(gone.as_path()).during(|| format!("removing volume {name}"))?;
    Ok(Removal::Removed)
}

/// Removes the volumes without a name that a container had, for it goes with them. Those that another one has stay, and
/// so do all where nobody knows what others have.
pub fn remove_own(roots: &Roots, id: &ContainerId, had: &[VolumeUse]) -> Result<()> {
    let own: Vec<&Name> = had.iter().filter(|volume| volume.anonymous).map(|volume| &volume.name).collect();
    if own.is_empty() || users(roots, Some(id)).is_err() {
        return Ok(());
    }
    own.into_iter().try_for_each(|name| remove(roots, name, Some(id)).map(drop))
}

/// The names of the containers that have a volume, by volume; `except` has none. A container whose record cannot be
/// read may have any.
pub fn users(roots: &Roots, except: Option<&ContainerId>) -> Result<BTreeMap<Name, Vec<String>>> {
    let mut users: BTreeMap<Name, Vec<String>> = BTreeMap::new();
    for id in container::ids(roots)?.iter().filter(|id| Some(*id) != except) {
        let config = container::config(roots, id).map_err(|e| {
            e.during(format!("which volumes container {} has", id.short()))
                .hint(format!("minirun rm -f {}", id.short()))
        })?;
        let Some(Config { name, volumes, .. }) = config else { continue };
        for volume in volumes {
            users.entry(volume.name).or_default().push(name.to_string());
        }
    }
    Ok(users)
}

/// All volumes, by name; one whose record is broken is one of them.
pub fn all(store: &HostPath) -> Result<Vec<Volume>> {
    let names = fs::list(store.as_path())?;
    Ok(names.iter().filter_map(|name| Name::parse(name).ok()).filter_map(|name| load(store, &name)).collect())
}

/// A volume; `None` where there is none of that name.
pub fn load(store: &HostPath, name: &Name) -> Option<Volume> {
    let dir = dir(store, name);
    if !fs::exists(dir.as_path()) {
        return None;
    }
    let missing = || Err(Error::host(format!("{dir}/{RECORD} is missing")).hint(format!("minirun volume rm {name}")));
    let record = read(&dir).unwrap_or_else(missing).map_err(|e| e.during(format!("volume {name}")));
    Some(Volume { name: name.clone(), record })
}

/// Removes what killed commands have left; how many things there were.
pub fn sweep(store: &HostPath) -> Result<usize> {
    let _store = match Lock::directory(store.as_path()) {
        Err(e) if e.errno == Errno::ENOENT => return Ok(0),
        lock => lock?,
    };
    let mut swept = 0;
    for name in fs::list(store.as_path())? {
        let path = store.child(&name);
        if name.starts_with(NEW) || name.starts_with(GONE) {
            fs::remove_tree(path.as_path())?;
            swept += 1;
        } else if [FILLING, FILLED].iter().any(|part| fs::exists(path.child(part).as_path()))
            && let Some(_turn) = Lock::try_exclusive(path.child(LOCK).as_path())?
        {
            settle(&path)?;
            swept += 1;
        }
        if Name::parse(&name).is_ok()
            && let Some(_turn) = Lock::try_exclusive(path.child(LOCK).as_path())?
        {
            swept += record::forget_unwritten(path.as_path())?;
        }
    }
    Ok(swept)
}

fn write(dir: &HostPath, record: &Record) -> Result<()> {
    let bytes = serde_json::to_vec(record).map_err(|e| Error::internal(format!("{dir}: {e}")))?;
    // one that goes with its container need not outlive a power cut
    let durability = if record.anonymous { Durability::Memory } else { Durability::Disk };
    record::write(dir.child(RECORD).as_path(), &bytes, durability).during(|| "writing a volume's record")
}

/// `None` where there is none.
fn read(dir: &HostPath) -> Option<Result<Record>> {
    let bytes = match fs::read(dir.child(RECORD).as_path()) {
        Err(e) if e.errno == Errno::ENOENT => return None,
        Err(e) => return Some(Err(e.into())),
        Ok(bytes) => bytes,
    };
    Some(version::parse(&bytes, VERSION, "its data is used all the same; minirun volume rm removes it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(dir: &tempfile::TempDir) -> HostPath {
        HostPath::parse(dir.path().join("volumes").to_str().unwrap()).unwrap()
    }

    fn record(name: &str) -> Record {
        Record {
            version: VERSION,
            name: Name::parse(name).unwrap(),
            created: "2026-01-01T00:00:00Z".into(),
            labels: BTreeMap::new(),
            anonymous: false,
            filled: false,
        }
    }

    fn write_file(dir: &HostPath, name: &str) -> Result<()> {
        Ok(fs::write_new(dir.child(name).as_path(), name.as_bytes(), 0o644)?)
    }

    #[test]
    fn a_volume_is_made_once_and_filled_once() {
        let tmp = tempfile::tempdir().unwrap();
        let (store, a) = (store(&tmp), record("a"));
        assert!(make(&store, &a).unwrap() && !make(&store, &a).unwrap());
        let data = data(&store, &a.name);
        fill(&store, &a.name, |dir| write_file(dir, "one")).unwrap();
        fill(&store, &a.name, |_| panic!("it is filled")).unwrap();
        std::fs::remove_file(data.child("one").as_path()).unwrap();
        fill(&store, &a.name, |_| panic!("it was used")).unwrap();
        assert!(load(&store, &a.name).unwrap().record.unwrap().filled);
        make(&store, &record("b")).unwrap();
        write_file(&super::data(&store, &record("b").name), "own").unwrap();
        fill(&store, &record("b").name, |_| panic!("it is not empty")).unwrap();
    }

    #[test]
    fn a_copy_that_fails_or_is_cut_off_leaves_an_empty_volume() {
        let tmp = tempfile::tempdir().unwrap();
        let (store, a) = (store(&tmp), record("a"));
        make(&store, &a).unwrap();
        fill(&store, &a.name, |dir| {
            write_file(dir, "half")?;
            Err(Error::host("full"))
        })
        .unwrap_err();
        let own = dir(&store, &a.name);
        assert_eq!(fs::list(own.as_path()).unwrap(), [DATA, LOCK, RECORD]);
        std::fs::create_dir(own.child(FILLING).as_path()).unwrap();
        write_file(&own.child(FILLING), "half").unwrap();
        make(&store, &a).unwrap();
        assert_eq!(fs::list(own.child(DATA).as_path()).unwrap(), [""; 0]);
        fill(&store, &a.name, |dir| write_file(dir, "whole")).unwrap();
        assert_eq!(fs::list(own.child(DATA).as_path()).unwrap(), ["whole"]);
    }

    #[test]
    fn a_whole_copy_comes_to_its_place_whoever_is_next() {
        let tmp = tempfile::tempdir().unwrap();
        let (store, a) = (store(&tmp), record("a"));
        make(&store, &a).unwrap();
        let own = dir(&store, &a.name);
        std::fs::create_dir(own.child(FILLED).as_path()).unwrap();
        fs::chmod(own.child(FILLED).as_path(), 0o1777).unwrap();
        write_file(&own.child(FILLED), "two").unwrap();
        write_file(&own.child(DATA), "one").unwrap();
        assert_eq!((sweep(&store).unwrap(), sweep(&store).unwrap()), (1, 0));
        assert_eq!(fs::list(own.child(DATA).as_path()).unwrap(), ["one", "two"]);
        assert_eq!(fs::stat(own.child(DATA).as_path()).unwrap().st_mode & 0o7777, 0o1777);
        assert!(load(&store, &a.name).unwrap().record.unwrap().filled);
    }

    #[test]
    fn a_broken_record_hides_no_other_volume() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        for name in ["a", "b", "c"] {
            make(&store, &record(name)).unwrap();
        }
        std::fs::write(store.child("b").child(RECORD).as_path(), "{").unwrap();
        std::fs::write(store.child("c").child(RECORD).as_path(), r#"{"version": 99}"#).unwrap();
        std::fs::create_dir(store.child(".new-x").as_path()).unwrap();
        let whole: Vec<bool> = all(&store).unwrap().iter().map(|volume| volume.record.is_ok()).collect();
        assert_eq!(whole, [true, false, false]);
    }
}
