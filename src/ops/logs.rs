//! `logs`: what a container has said, from the files that its monitor writes; with `follow` until it ends.

use super::container;
use crate::error::{Error, Result};
use crate::id::{ContainerId, HostPath};
use crate::monitor::log::NAME;
use crate::state::{Roots, Status, container as records};
use crate::sys::watch::Watch;
use serde::Deserialize;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
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

/// `2026-01-31T12:00:00Z`, `1767225600.5` or, counted back from `now`, `1h30m`.
pub fn moment(text: &str, now: jiff::Timestamp) -> Result<jiff::Timestamp> {
    let absolute = || text.parse::<jiff::Timestamp>().ok();
    let seconds = || {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let part: String = part.chars().chain("000000000".chars()).take(9).collect();
        jiff::Timestamp::new(whole.parse().ok()?, part.parse().ok()?).ok()
    };
    let ago = || now.checked_sub(text.parse::<jiff::SignedDuration>().ok()?).ok();
    absolute().or_else(seconds).or_else(ago).ok_or_else(|| {
        Error::new(crate::error::Kind::Usage, format!("invalid time {text:?}"))
            .hint("2026-01-31T12:00:00Z, seconds since 1970, or 10m for ten minutes ago")
    })
}

/// Gives each entry to `sink` until there is no more, or `sink` wants none.
pub fn logs(
    roots: &Roots,
    word: &str,
    request: &LogRequest,
    sink: &mut dyn FnMut(&LogEntry) -> Result<()>,
) -> Result<()> {
    let id = container::find(roots, word)?.id;
    let dir = roots.container(&id);
    // looked at from before the first read on, so that nothing falls between
    let watch = if request.follow { Some(Watch::directory(dir.as_path())?) } else { None };
    let mut reader = None;
    let mut last: VecDeque<LogEntry> = VecDeque::new();
    let mut first = |entry: LogEntry| -> Result<()> {
        match request.tail {
            Some(tail) => {
                last.push_back(entry);
                if last.len() > tail {
                    last.pop_front();
                }
                Ok(())
            }
            None => sink(&entry),
        }
    };
    for path in files(&dir)? {
        if let Ok(file) = File::open(path.as_path()) {
            let mut open = Open::new(file);
            open.read(request, &mut first)?;
            reader = Some(open);
        }
    }
    for entry in &last {
        sink(entry)?;
    }
    match watch {
        Some(watch) => follow(roots, &id, &watch, reader, request, sink),
        None => Ok(()),
    }
}

/// The files there are, the oldest first.
fn files(dir: &HostPath) -> Result<Vec<HostPath>> {
    let number = |name: &str| match name.strip_prefix(NAME)?.strip_prefix('.') {
        Some(number) => number.parse::<u32>().ok(),
        None => (name == NAME).then_some(0),
    };
    let mut found: Vec<(u32, HostPath)> =
        crate::sys::fs::list(dir.as_path())?.iter().filter_map(|name| Some((number(name)?, dir.child(name)))).collect();
    found.sort_by_key(|one| std::cmp::Reverse(one.0));
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

    fn inode(&self) -> Option<u64> {
        self.reader.get_ref().metadata().ok().map(|meta| meta.ino())
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
    let newest = roots.container(id).child(NAME);
    let mut pass = |entry: LogEntry| sink(&entry);
    loop {
        // before the last look at the files: what is said after that is not the container's
        let now: container::Container = records::load(roots, id);
        let over = !matches!(now.status, Status::Running | Status::Starting);
        loop {
            if let Some(open) = &mut reader {
                open.read(request, &mut pass)?;
            }
            // a file that was put aside has been read to its end by now
            let inode = std::fs::metadata(newest.as_path()).ok().map(|meta| meta.ino());
            if inode.is_none() || inode == reader.as_ref().and_then(Open::inode) {
                break;
            }
            reader = File::open(newest.as_path()).ok().map(Open::new);
        }
        if over {
            return Ok(());
        }
        watch.changed()?;
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
