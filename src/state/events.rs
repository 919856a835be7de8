//! What has happened to containers, images, volumes and networks: a line of JSON each, in `events` below the state directory.
//! Whoever does the deed appends the line, with one write(2) and no lock: lines of several writers never mix (open(2),
//! O_APPEND). Nobody waits for it, and nothing fails because of it: where the line cannot be written it is dropped. A
//! reboot and `system reset` empty it. Who has entered a container never writes here: the path would be the container's.

use super::config::{Config, VolumeUse};
use super::{Roots, container, volume};
use crate::error::{Errno, Error, Result, SysResult};
use crate::id::{ContainerId, HostPath, Name};
use crate::sys::fs;
use crate::sys::process::Exit;
use crate::sys::record::Lock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;

/// The exit code of a container whose end nobody saw.
pub const UNKNOWN_EXIT: u8 = 255;

/// A file that is longer becomes the old one, in bytes: some thousands of events, and /run is memory.
const MAX: u64 = 1 << 20;

/// A line has no more text, in bytes; where it would have, what is longest goes.
const MAX_LINE: usize = 16 * 1024;

const NEW: &str = "log";
const OLD: &str = "log.1";

/// To what it has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Container,
    Image,
    Volume,
    Network,
}

impl Kind {
    /// docker's word.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Container => "container",
            Kind::Image => "image",
            Kind::Volume => "volume",
            Kind::Network => "network",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds since 1970.
    pub time: i64,
    pub kind: Kind,
    /// docker's word, such as `start` or `health_status: healthy`.
    pub action: String,
    /// A container's id, an image's id or name, a volume's name, a network's id.
    pub id: String,
    pub attributes: BTreeMap<String, String>,
}

/// Something has happened to a container: `more` is what docker tells of it besides name, image and labels.
pub fn container(roots: &Roots, config: &Config, action: &str, more: &[(&str, &str)]) {
    let labels = config.request.parse::<Labels>().unwrap_or_default().labels.into_iter();
    let own = [("image", config.image.as_str()), ("name", config.name.as_str())];
    let own = own.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    note(roots, event(Kind::Container, action, config.id.as_str(), labels.chain(own).collect()));
}

/// As much of a request as is told.
#[derive(Default, Deserialize)]
struct Labels {
    #[serde(default)]
    labels: Vec<(String, String)>,
}

/// It has ended; nobody knows how where there is no `exit`.
pub fn died(roots: &Roots, config: &Config, exit: Option<Exit>) {
    let code = exit.map_or(UNKNOWN_EXIT, Exit::code).to_string();
    container(roots, config, "die", &[("exitCode", &code)]);
}

/// A container is gone, whatever is still known of it.
pub fn destroyed(roots: &Roots, id: &ContainerId, config: Option<&Config>) {
    match config {
        Some(config) => container(roots, config, "destroy", &[]),
        None => note(roots, event(Kind::Container, "destroy", id.as_str(), BTreeMap::new())),
    }
}

/// Something has happened to an image: `name` is what it is called.
pub fn image(roots: &Roots, id: &str, action: &str, name: &str) {
    let attributes = [("name".to_owned(), name.to_owned())].into();
    note(roots, event(Kind::Image, action, id, attributes));
}

pub fn volume(roots: &Roots, name: &Name, action: &str) {
    let attributes = [("driver".to_owned(), "local".to_owned())].into();
    note(roots, event(Kind::Volume, action, name.as_str(), attributes));
}

/// Something has happened to a network, or between it and a container.
/// `driver` is docker's word for how it is built.
pub fn network(roots: &Roots, (id, name, driver): (&str, &Name, &str), action: &str, container: Option<&ContainerId>) {
    let own = [("name", name.as_str()), ("type", driver)];
    let all = own.into_iter().chain(container.map(|container| ("container", container.as_str())));
    let attributes = all.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    note(roots, event(Kind::Network, action, id, attributes));
}

/// Of a container's volumes those that are not there yet: they are made for it.
pub fn volumes_to_make(roots: &Roots, had: &[VolumeUse]) -> Vec<Name> {
    let missing = |had: &&VolumeUse| !fs::exists(volume::data(&roots.volumes(), &had.name).as_path());
    had.iter().filter(missing).map(|had| had.name.clone()).collect()
}

/// These were made, as far as they are there now.
pub fn volumes_made(roots: &Roots, names: &[Name]) {
    let made = names.iter().filter(|name| fs::exists(volume::data(&roots.volumes(), name).as_path()));
    made.for_each(|name| volume(roots, name, "create"));
}

/// The health of a container is another one than it was.
pub fn health(roots: &Roots, id: &ContainerId, status: super::health::Status) {
    if let Ok(Some(config)) = container::config(roots, id) {
        container(roots, &config, &format!("health_status: {}", status.name()), &[]);
    }
}

fn event(kind: Kind, action: &str, id: &str, attributes: BTreeMap<String, String>) -> Event {
    let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    Event { time: now, kind, action: action.to_owned(), id: id.to_owned(), attributes }
}

fn note(roots: &Roots, event: Event) {
    let event = shortened(event);
    let Ok(json) = serde_json::to_string(&event) else { return };
    // what a full disk has cut before ends with the first of these two
    drop(append(&dir(roots), format!("\n{json}\n").as_bytes()));
}

/// Without what makes a line too long: the longest label first.
fn shortened(mut event: Event) -> Event {
    let length = |event: &Event| event.attributes.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    if event.action.len() > MAX_LINE / 4 {
        let end = (0..=MAX_LINE / 4).rev().find(|at| event.action.is_char_boundary(*at));
        event.action.truncate(end.unwrap_or(0));
    }
    while length(&event) > MAX_LINE / 2 {
        let longest = event.attributes.iter().max_by_key(|(key, value)| key.len() + value.len());
        let Some(key) = longest.map(|(key, _)| key.clone()) else { break };
        event.attributes.remove(&key);
    }
    event
}

fn append(dir: &HostPath, line: &[u8]) -> SysResult<()> {
    let path = dir.child(NEW);
    let mut file = match fs::open_append_existing(path.as_path()) {
        Err(e) if e.errno == Errno::ENOENT => {
            make(dir)?;
            fs::open_append(path.as_path())?
        }
        opened => opened?,
    };
    let written = file.write(line).and_then(|_| file.stream_position());
    if written.is_ok_and(|length| length > MAX) {
        turn_over(dir, &path)?;
    }
    Ok(())
}

/// Only the directory itself: where the state directory is gone, nothing is to be left there.
fn make(dir: &HostPath) -> SysResult<()> {
    match fs::mkdir(dir.as_path(), 0o700) {
        Err(e) if e.errno == Errno::EEXIST => Ok(()),
        made => made,
    }
}

/// The file becomes the old one. Several may want that at once: the first has the lock, and to the others the new file
/// is short.
fn turn_over(dir: &HostPath, path: &HostPath) -> SysResult<()> {
    let Some(_turn) = Lock::try_directory(dir.as_path())? else { return Ok(()) };
    match fs::stat(path.as_path())?.st_size.unsigned_abs() > MAX {
        true => fs::rename(path.as_path(), dir.child(OLD).as_path()),
        false => Ok(()),
    }
}

/// Where the files are.
pub fn dir(roots: &Roots) -> HostPath {
    roots.state.child("events")
}

/// Makes the directory, for who waits for the first event.
pub fn prepare(roots: &Roots) -> Result<()> {
    roots.make()?;
    Ok(make(&dir(roots))?)
}

/// Reads what is there, and then what is new.
#[derive(Debug)]
pub struct Reader {
    dir: HostPath,
    /// The old one first. It is read on, for a writer may have opened it just before it became that.
    files: Vec<Tail>,
}

#[derive(Debug)]
struct Tail {
    inode: u64,
    reader: BufReader<File>,
    /// A line that was not whole yet.
    line: Vec<u8>,
}

impl Reader {
    pub fn new(roots: &Roots) -> Reader {
        Reader { dir: dir(roots), files: Vec::new() }
    }

    /// All that has not been read, in the order in which it was written. A line that is broken is skipped.
    pub fn read(&mut self) -> Result<Vec<Event>> {
        // the new one first: where it becomes the old one meanwhile, it is only found twice
        let mut now = Vec::new();
        for name in [NEW, OLD] {
            now.extend(self.open(name)?);
        }
        now.reverse();
        let there: Vec<u64> = now.iter().map(|tail| tail.inode).collect();
        for tail in now {
            if !self.files.iter().any(|known| known.inode == tail.inode) {
                self.files.push(tail);
            }
        }
        let mut events = Vec::new();
        for file in &mut self.files {
            file.read(&mut events)?;
        }
        self.files.retain(|file| there.contains(&file.inode));
        Ok(events)
    }

    fn open(&self, name: &str) -> Result<Option<Tail>> {
        let file = match fs::open_read(self.dir.child(name).as_path()) {
            Ok(fd) => File::from(fd),
            Err(e) if e.errno == Errno::ENOENT => return Ok(None),
            Err(e) => return Err(Error::from(e).during("reading the events")),
        };
        let inode = file.metadata().map_err(|e| unreadable(&e))?.ino();
        Ok(Some(Tail { inode, reader: BufReader::new(file), line: Vec::new() }))
    }
}

impl Tail {
    fn read(&mut self, events: &mut Vec<Event>) -> Result<()> {
        loop {
            let length = self.reader.read_until(b'\n', &mut self.line).map_err(|e| unreadable(&e))?;
            if length == 0 || self.line.last() != Some(&b'\n') {
                return Ok(());
            }
            events.extend(serde_json::from_slice::<Event>(&self.line).ok());
            self.line.clear();
        }
    }
}

fn unreadable(error: &std::io::Error) -> Error {
    Error::host(format!("reading the events: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(dir: &tempfile::TempDir) -> Roots {
        let place = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            HostPath::parse(path.to_str().unwrap()).unwrap()
        };
        let (root, state) = (place("root"), place("state"));
        Roots { config: root.child("config.toml"), root, state, logins: Vec::new(), proxies: Default::default() }
    }

    fn ids(events: &[Event]) -> Vec<&str> {
        events.iter().map(|event| event.id.as_str()).collect()
    }

    #[test]
    fn what_was_noted_is_read_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(&dir);
        let mut reader = Reader::new(&roots);
        assert!(reader.read().unwrap().is_empty());
        image(&roots, "a", "pull", "x");
        image(&roots, "b", "tag", "x");
        let events = reader.read().unwrap();
        assert_eq!((ids(&events), events[1].action.as_str()), (vec!["a", "b"], "tag"));
        image(&roots, "c", "untag", "x");
        assert_eq!(ids(&reader.read().unwrap()), ["c"]);
        assert!(reader.read().unwrap().is_empty());
    }

    #[test]
    fn the_log_has_two_files_of_a_size_and_a_reader_loses_nothing_between_them() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(&dir);
        let mut reader = Reader::new(&roots);
        let (mut seen, name) = (Vec::new(), "n".repeat(4000));
        for at in 0..1000 {
            image(&roots, &at.to_string(), "tag", &name);
            if at % 50 == 0 {
                seen.extend(reader.read().unwrap());
            }
        }
        seen.extend(reader.read().unwrap());
        let wanted: Vec<String> = (0..1000).map(|at| at.to_string()).collect();
        assert_eq!(ids(&seen), wanted);
        let size = |name: &str| std::fs::metadata(dir.path().join("state/events").join(name)).unwrap().len();
        assert!(size(OLD) > MAX && size(OLD) < MAX + 8192 && size(NEW) <= MAX, "{} {}", size(OLD), size(NEW));
        assert_eq!(std::fs::read_dir(dir.path().join("state/events")).unwrap().count(), 2);
    }

    #[test]
    fn writers_at_once_lose_and_tear_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(&dir);
        let name = "n".repeat(3000);
        // as much as the two files hold together
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let (roots, name) = (&roots, &name);
                scope.spawn(move || (0..150).for_each(|at| image(roots, &format!("{writer}.{at}"), "tag", name)));
            }
        });
        let events = Reader::new(&roots).read().unwrap();
        assert_eq!(events.len(), 600);
        assert!(dir.path().join("state/events/log.1").exists());
        for writer in 0..4 {
            let own: Vec<&Event> = events.iter().filter(|e| e.id.starts_with(&format!("{writer}."))).collect();
            assert!(own.iter().enumerate().all(|(at, event)| event.id == format!("{writer}.{at}")));
        }
    }

    #[test]
    fn what_was_cut_does_not_spoil_what_follows() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(&dir);
        image(&roots, "a", "tag", "x");
        let path = dir.path().join("state/events/log");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole, &whole[..20]].concat()).unwrap();
        image(&roots, "b", "tag", "x");
        assert_eq!(ids(&Reader::new(&roots).read().unwrap()), ["a", "b"]);
    }

    #[test]
    fn where_nothing_can_be_written_nothing_happens() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(&dir);
        std::fs::remove_dir(dir.path().join("state")).unwrap();
        image(&roots, "x", "tag", "x");
        assert!(!dir.path().join("state").exists());
        std::fs::write(dir.path().join("state"), "no directory").unwrap();
        image(&roots, "x", "tag", "x");
    }

    #[test]
    fn a_line_has_a_length() {
        let attributes = (0..9).map(|at| (at.to_string(), "x".repeat(2000 * at))).collect();
        let event = shortened(event(Kind::Container, &"ä".repeat(9000), "x", attributes));
        assert!(serde_json::to_string(&event).unwrap().len() < MAX_LINE);
        assert!(event.attributes.contains_key("1") && !event.attributes.contains_key("8"));
    }
}
