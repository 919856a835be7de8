//! What a container uses, from the files of its cgroups: cgroup-v2.rst, cgroup-v1/memory.rst, cpuacct.rst, blkio-controller.rst.

use super::facts::Version;
use super::plan::Place;
use crate::sys::fs;

/// Everything since the container's start, or now. What nobody counts is 0 or `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on processors, in nanoseconds.
    pub cpu: u64,
    /// Bytes, without the page cache that goes at once when it is needed (as docker counts).
    pub memory: u64,
    pub memory_limit: Option<u64>,
    pub pids: u64,
    pub pids_limit: Option<u64>,
    /// Bytes from and to block devices.
    pub read: u64,
    pub written: u64,
}

pub fn read(place: &Place) -> Usage {
    let text = |controller: &str, v1: &str, v2: &str| {
        let (version, dir) = place.dir(controller)?;
        let file = if version == Version::V1 { v1 } else { v2 };
        fs::read_text(dir.child(file).as_path()).ok()
    };
    let number = |text: Option<String>| text.and_then(|text| text.trim().parse::<u64>().ok());
    let is_v1 = |controller: &str| place.dir(controller).is_some_and(|(version, _)| version == Version::V1);
    let cpu = text("cpuacct", "cpuacct.usage", "cpu.stat");
    let cpu = if is_v1("cpuacct") { number(cpu) } else { key(cpu.as_deref(), "usage_usec").map(|usec| usec * 1000) };
    let inactive = text("memory", "memory.stat", "memory.stat");
    let inactive = key(inactive.as_deref(), if is_v1("memory") { "total_inactive_file" } else { "inactive_file" });
    let memory = number(text("memory", "memory.usage_in_bytes", "memory.current")).unwrap_or(0);
    // v1 says "without limit" by the largest number of whole pages
    let limit =
        number(text("memory", "memory.limit_in_bytes", "memory.max")).filter(|limit| *limit < i64::MAX as u64 - 65_535);
    let io = text("blkio", "blkio.throttle.io_service_bytes_recursive", "io.stat").unwrap_or_default();
    let io = if is_v1("blkio") { io_v1(&io) } else { io_v2(&io) };
    Usage {
        cpu: cpu.unwrap_or(0),
        memory: memory.saturating_sub(inactive.unwrap_or(0)),
        memory_limit: limit,
        pids: number(text("pids", "pids.current", "pids.current")).unwrap_or(0),
        pids_limit: number(text("pids", "pids.max", "pids.max")),
        read: io.0,
        written: io.1,
    }
}

/// The number behind a key in a file of `key number` lines.
fn key(text: Option<&str>, key: &str) -> Option<u64> {
    text?.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// `8:0 Read 4096` of each device.
fn io_v1(text: &str) -> (u64, u64) {
    let sum = |word: &str| {
        let of_line = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            (words.next()? == word).then(|| words.next()?.parse::<u64>().ok()).flatten()
        };
        text.lines().filter_map(of_line).sum()
    };
    (sum("Read"), sum("Write"))
}

/// `8:0 rbytes=4096 wbytes=0 rios=…` of each device.
fn io_v2(text: &str) -> (u64, u64) {
    let sum = |key: &str| text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok()).sum();
    (sum("rbytes="), sum("wbytes="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::plan::V1Place;
    use crate::id::HostPath;

    fn files(dir: &std::path::Path, files: &[(&str, &str)]) -> HostPath {
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
        }
        HostPath::parse(dir.to_str().unwrap()).unwrap()
    }

    #[test]
    fn both_versions_say_the_same_in_other_words() {
        let (v1, v2) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let old = files(
            v1.path(),
            &[
                ("cpuacct.usage", "5000000\n"),
                ("memory.usage_in_bytes", "3000000\n"),
                ("memory.stat", "cache 9\ninactive_file 7\ntotal_inactive_file 1000000\n"),
                ("memory.limit_in_bytes", "4000000\n"),
                ("pids.current", "3\n"),
                ("pids.max", "20\n"),
                ("blkio.throttle.io_service_bytes_recursive", "8:0 Read 10\n8:0 Write 4\n8:16 Read 5\nTotal 19\n"),
            ],
        );
        let new = files(
            v2.path(),
            &[
                ("cpu.stat", "usage_usec 5000\nuser_usec 1\n"),
                ("memory.current", "3000000\n"),
                ("memory.stat", "anon 1\ninactive_file 1000000\n"),
                ("memory.max", "4000000\n"),
                ("pids.current", "3\n"),
                ("pids.max", "20\n"),
                ("io.stat", "8:0 rbytes=10 wbytes=4 rios=1\n8:16 rbytes=5 wbytes=0\n"),
            ],
        );
        let all = ["cpuacct", "memory", "pids", "blkio"].map(str::to_owned).to_vec();
        let want = Usage {
            cpu: 5_000_000,
            memory: 2_000_000,
            memory_limit: Some(4_000_000),
            pids: 3,
            pids_limit: Some(20),
            read: 15,
            written: 4,
        };
        assert_eq!(read(&Place { unified: None, v1: vec![V1Place { controllers: all, dir: old.clone() }] }), want);
        assert_eq!(read(&Place { unified: Some(new.clone()), v1: Vec::new() }), want);
        std::fs::write(old.child("memory.limit_in_bytes").as_path(), "9223372036854771712\n").unwrap();
        std::fs::write(new.child("memory.max").as_path(), "max\n").unwrap();
        let place = Place { unified: Some(new), v1: Vec::new() };
        assert_eq!(read(&place).memory_limit, None);
        assert_eq!(read(&Place::default()), Usage::default());
    }
}
