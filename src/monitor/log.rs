//! A container's output on disk, in the form of docker's json-file: a JSON object a line, `log.json` the newest. Where
//! it cannot be written, the container goes on.

use super::protocol::Stream;
use crate::id::HostPath;
use crate::state::LogLimits;
use crate::sys::fs;
use serde::Serialize;
use std::fs::File;
use std::io::Write as _;

/// The name of the newest file in a container's directory; older ones have `.1`, `.2` behind it.
pub const NAME: &str = "log.json";

/// A line that is longer is cut into several entries, the last of which ends with the newline: docker's limit.
const LINE_MAX: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Log {
    dir: HostPath,
    limits: LogLimits,
    /// Opened at the first output.
    file: Option<(File, u64)>,
    /// What came after the last newline, for each of the two streams.
    partial: [Vec<u8>; 2],
}

#[derive(Serialize)]
struct Entry<'a> {
    log: &'a str,
    stream: &'static str,
    time: &'a str,
}

impl Log {
    pub(super) fn new(dir: HostPath, limits: LogLimits) -> Log {
        Log { dir, limits, file: None, partial: [Vec::new(), Vec::new()] }
    }

    /// Notes what a stream has said at this moment.
    pub(super) fn append(&mut self, stream: Stream, bytes: &[u8]) -> std::io::Result<()> {
        let time = jiff::Timestamp::now().to_string();
        let mut partial = std::mem::take(&mut self.partial[index(stream)]);
        let mut text = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = LINE_MAX - partial.len().min(LINE_MAX - 1);
            let newline = rest.iter().take(room).position(|byte| *byte == b'\n').map(|at| at + 1);
            let take = newline.unwrap_or_else(|| room.min(rest.len()));
            partial.extend_from_slice(&rest[..take]);
            rest = &rest[take..];
            if newline.is_some() || partial.len() >= LINE_MAX {
                entry(&mut text, stream, &partial, &time)?;
                partial.clear();
            }
        }
        self.partial[index(stream)] = partial;
        self.write(&text)
    }

    /// Notes what has no newline yet: the program has ended.
    pub(super) fn finish(&mut self) -> std::io::Result<()> {
        let time = jiff::Timestamp::now().to_string();
        let mut text = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let partial = std::mem::take(&mut self.partial[index(stream)]);
            if !partial.is_empty() {
                entry(&mut text, stream, &partial, &time)?;
            }
        }
        self.write(&text)
    }

    /// Whole entries, in as many files as they need.
    fn write(&mut self, mut text: &[u8]) -> std::io::Result<()> {
        while !text.is_empty() {
            let most = usize::try_from(self.limits.size).unwrap_or(usize::MAX);
            let end = if text.len() <= most { text.len() } else { whole_entries(text, most) };
            self.write_some(&text[..end])?;
            text = &text[end..];
        }
        Ok(())
    }

    fn write_some(&mut self, text: &[u8]) -> std::io::Result<()> {
        if self.file.as_ref().is_some_and(|(_, size)| *size > 0 && size + text.len() as u64 > self.limits.size) {
            self.file = None;
            self.rotate()?;
        }
        if self.file.is_none() {
            let file = fs::open_append(self.dir.child(NAME).as_path()).map_err(|e| std::io::Error::from(e.errno))?;
            let size = file.metadata()?.len();
            self.file = Some((file, size));
        }
        let Some((file, size)) = &mut self.file else { return Ok(()) };
        file.write_all(text)?;
        *size += text.len() as u64;
        Ok(())
    }

    fn rotate(&self) -> std::io::Result<()> {
        let name = |number: u32| match number {
            0 => self.dir.child(NAME),
            number => self.dir.child(&format!("{NAME}.{number}")),
        };
        for number in (0..self.limits.files.saturating_sub(1)).rev() {
            match fs::rename(name(number).as_path(), name(number + 1).as_path()) {
                Err(e) if e.errno == crate::error::Errno::ENOENT => {}
                renamed => renamed.map_err(|e| std::io::Error::from(e.errno))?,
            }
        }
        if self.limits.files <= 1 {
            fs::unlink(name(0).as_path()).map_err(|e| std::io::Error::from(e.errno))?;
        }
        Ok(())
    }
}

/// Where the last entry ends that ends within `most` bytes; the first one's end where that is longer.
fn whole_entries(text: &[u8], most: usize) -> usize {
    let newline = |byte: &u8| *byte == b'\n';
    let last = text[..most].iter().rposition(newline).or_else(|| text.iter().position(newline));
    last.map_or(text.len(), |at| at + 1)
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdin | Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

fn entry(text: &mut Vec<u8>, stream: Stream, line: &[u8], time: &str) -> std::io::Result<()> {
    let stream = match stream {
        Stream::Stdin | Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    serde_json::to_writer(&mut *text, &Entry { log: &String::from_utf8_lossy(line), stream, time })?;
    text.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(dir: &std::path::Path, name: &str) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_are_kept_apart_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::new(HostPath::parse(dir.path().to_str().unwrap()).unwrap(), LogLimits::default());
        log.append(Stream::Stdout, b"one\ntw").unwrap();
        log.append(Stream::Stderr, b"\xff\n").unwrap();
        log.append(Stream::Stdout, b"o\n").unwrap();
        log.append(Stream::Stdout, &vec![b'x'; LINE_MAX + 1]).unwrap();
        log.finish().unwrap();
        let all = lines(dir.path(), NAME);
        let said: Vec<(&str, usize)> =
            all.iter().map(|l| (l["stream"].as_str().unwrap(), l["log"].as_str().unwrap().len())).collect();
        assert_eq!(said, [("stdout", 4), ("stderr", 4), ("stdout", 4), ("stdout", LINE_MAX), ("stdout", 1)]);
        assert_eq!(all[2]["log"], "two\n");
    }

    #[test]
    fn so_many_files_of_such_a_size() {
        let dir = tempfile::tempdir().unwrap();
        let limits = LogLimits { size: 200, files: 3 };
        let mut log = Log::new(HostPath::parse(dir.path().to_str().unwrap()).unwrap(), limits);
        for number in 0..20 {
            log.append(Stream::Stdout, format!("{number}\n").as_bytes()).unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["log.json", "log.json.1", "log.json.2"]);
        for name in names {
            assert!(std::fs::metadata(dir.path().join(name)).unwrap().len() <= limits.size);
        }
        assert_eq!(lines(dir.path(), NAME).last().unwrap()["log"], "19\n");
    }
}
