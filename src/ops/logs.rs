//! `logs`: what a container has said, from the files that its monitor writes; with `follow` until it ends.

use super::{adopt, container};
use crate::error::{Error, Result};
use crate::id::{ContainerId, HostPath};
use crate::monitor::log::NAME;
use crate::state::{Roots, container as records};
use crate::sys::event;
use crate::sys::watch::Watch;
use serde::Deserialize;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

/// What is wanted of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Goes on until the container ends.
    pub follow: bool,
    /// So many of the last entries that were there at first; all where absent.
    pub tail: Option<usize>,
    /// RFC 3339, UTC with nine digits or less: entries before are left out.
    pub since: Option<jiff::Timestamp>,
    pub until: Option<jiff::Timestamp>,
}

/// One entry of the log: a line, or a part of a long one.
#[derive(Debug, Deserialize)]
pub struct LogEntry {
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    pub time: String,
}

/// This moment.
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// `2026-01-31T12:00:00Z`, `2026-01-31` or `2026-01-31T12:00` (UTC, as our times are), `1767225600.5` or, counted back
/// from `now`, `1h30m`.
pub fn moment(text: &str, now: jiff::Timestamp) -> Result<jiff::Timestamp> {
    let without_zone = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let absolute = || text.parse::<jiff::Timestamp>().ok().or_else(|| without_zone().map(|zoned| zoned.timestamp()));
    let seconds = || {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let part: String = part.chars().chain("000000000".chars()).take(9).collect();
        jiff::Timestamp::new(whole.parse().ok()?, part.parse().ok()?).ok()
    };
    let ago = || now.checked_sub(text.parse::<jiff::SignedDuration>().ok()?).ok();
    absolute().or_else(seconds).or_else(ago).ok_or_else(|| {
        Error::new(crate::error::Kind::Usage, format!("invalid time {text:?}"))
            .hint("2026-01-31, 2026-01-31T12:00:00Z, seconds since 1970, or 10m for ten minutes ago")
    })
}

/// Gives each entry to `sink` until there is no more, or `sink` wants none.
pub fn logs(
    roots: &Roots,
    word: &str,
    request: &LogRequest,
    sink: &mut dyn FnMut(&LogEntry) -> Result<()>,
) -> Result<()> {
    let found = container::find(roots, word)?;
    if found.config.is_some_and(|config| config.log.is_none()) {
        return Err(Error::user(format!("container {word} keeps no log: it was made with --log-driver none"))
            .hint(format!("minirun attach {word} shows what it says from now on")));
    }
    let id = found.id;
    let dir = roots.container(&id);
    // looked at from before the first read on, so that nothing falls between
    let watch = if request.follow { Some(Watch::directory(dir.as_path())?) } else { None };
    let mut reader = None;
    let mut last: VecDeque<LogEntry> = VecDeque::new();
    read_all(&dir, &mut reader, request, &mut |entry| match request.tail {
        Some(tail) => {
            last.push_back(entry);
            if last.len() > tail {
                last.pop_front();
            }
            Ok(())
        }
        None => sink(&entry),
    })?;
    for entry in &last {
        sink(entry)?;
    }
    match watch {
        Some(watch) => follow(roots, &id, &watch, reader, request, sink),
        None => Ok(()),
    }
}

/// Everything that is there now and has not been read, through as many files as there are.
fn read_all(
    dir: &HostPath,
    reader: &mut Option<Open>,
    request: &LogRequest,
    sink: &mut dyn FnMut(LogEntry) -> Result<()>,
) -> Result<()> {
    loop {
        // looked for before the read: where there is a newer file, nothing more comes into the one that is open
        let newer = newer(dir, reader.as_ref())?;
        if let Some(open) = reader {
            open.read(request, sink)?;
        }
        match newer {
            Some(file) => *reader = Some(Open::new(file)),
            None => return Ok(()),
        }
    }
}

/// The file after the one that is open; the oldest where none is or where that one is gone.
fn newer(dir: &HostPath, open: Option<&Open>) -> Result<Option<File>> {
    let inode = |file: &File| file.metadata().ok().map(|meta| meta.ino());
    let open = open.and_then(|open| inode(open.reader.get_ref()));
    let mut newer = None;
    // a file gets a higher number while we look, and never a lower one: so none is missed
    for file in files(dir)?.iter().filter_map(|path| File::open(path.as_path()).ok()) {
        if open.is_some() && inode(&file) == open {
            return Ok(newer);
        }
        newer = Some(file);
    }
    Ok(newer)
}

/// The files there are, the newest first.
fn files(dir: &HostPath) -> Result<Vec<HostPath>> {
    let number = |name: &str| match name.strip_prefix(NAME)?.strip_prefix('.') {
        Some(number) => number.parse::<u32>().ok(),
        None => (name == NAME).then_some(0),
    };
    let mut found: Vec<(u32, HostPath)> =
        crate::sys::fs::list(dir.as_path())?.iter().filter_map(|name| Some((number(name)?, dir.child(name)))).collect();
    found.sort_by_key(|one| one.0);
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

struct Open {
    reader: BufReader<File>,
    /// A line that was not whole yet.
    line: Vec<u8>,
}

impl Open {
    fn new(file: File) -> Open {
        Open { reader: BufReader::new(file), line: Vec::new() }
    }

    /// Everything that is whole and has not been read.
    fn read(&mut self, request: &LogRequest, sink: &mut dyn FnMut(LogEntry) -> Result<()>) -> Result<()> {
        loop {
            let length = self.reader.read_until(b'\n', &mut self.line);
            let length = length.map_err(|e| Error::host(format!("reading the container's log: {e}")))?;
            if length == 0 || self.line.last() != Some(&b'\n') {
                return Ok(());
            }
            // a line that a full disk has cut is skipped: the others are still good
            if let Ok(entry) = serde_json::from_slice::<LogEntry>(&self.line)
                && request.wants(&entry)
            {
                sink(entry)?;
            }
            self.line.clear();
        }
    }
}

impl LogRequest {
    fn wants(&self, entry: &LogEntry) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Ok(time) = entry.time.parse::<jiff::Timestamp>() else { return true };
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }
}

fn follow(
    roots: &Roots,
    id: &ContainerId,
    watch: &Watch,
    mut reader: Option<Open>,
    request: &LogRequest,
    sink: &mut dyn FnMut(&LogEntry) -> Result<()>,
) -> Result<()> {
    let dir = roots.container(id);
    loop {
        // before the last look at the files: what is said after that is not the container's
        let mut now: container::Container = records::load(roots, id);
        if now.is_orphan() {
            // who follows a log does it to the end, whatever becomes of the monitor; where it gets none, the log waits
            drop(adopt::adopt(roots, id));
            now = records::load(roots, id);
        }
        read_all(&dir, &mut reader, request, &mut |entry| sink(&entry))?;
        if !now.status.is_alive() || request.until.is_some_and(|until| until <= self::now()) {
            return Ok(());
        }
        let monitor = now.life.and_then(|life| life.monitor.open().ok());
        if now.monitored && monitor.is_none() {
            continue; // it has ended since, and has written its last
        }
        let both = std::iter::once(watch.as_fd()).chain(monitor.as_ref().map(|fd| fd.as_fd()));
        let waiting: Vec<_> = both.map(|fd| event::Interest { fd, read: true, write: false }).collect();
        let patience = request.until.map(|until| until.duration_since(self::now()).unsigned_abs());
        if event::wait(&waiting, patience)?[0].read {
            watch.changed()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_a_number_or_a_while_ago() {
        let now: jiff::Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (text, want) in [
            ("2026-01-31T11:59:00Z", Some("2026-01-31T11:59:00Z")),
            ("1769860740.25", Some("2026-01-31T11:59:00.25Z")),
            ("1m", Some("2026-01-31T11:59:00Z")),
            ("1h30m", Some("2026-01-31T10:30:00Z")),
            ("yesterday", None),
        ] {
            assert_eq!(moment(text, now).ok().map(|moment| moment.to_string()).as_deref(), want, "{text}");
        }
    }
}
