//! The system calls of a process as strace lists them, and strace as the killer before one of them.

use crate::killed::soaks;
use crate::support::command::{Running, eventually, seconds};
use crate::support::sandbox::Sandbox;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A moment in the life of a process: before the `number`th call of this name.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    name: String,
    number: usize,
}

/// Between two of these, all moments are one for the world outside. An `open` is one where it may make a file.
const CHANGES: &[&str] = &[
    "chmod",
    "clone3",
    "connect",
    "execveat",
    "flock",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "open",
    "openat",
    "rename",
    "renameat",
    "rmdir",
    "sendmsg",
    "sendto",
    "setns",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "write",
];

/// What a process does with its own memory concerns nobody else.
const MEMORY: &[&str] = &["brk", "mmap", "mprotect", "munmap", "madvise", "mremap"];

impl Call {
    /// Every call in a listing of one process, or, where nobody soaks, every one that changes something.
    pub fn all(listing: &str) -> Vec<Call> {
        let calls = listed(listing).into_iter();
        calls.filter(|(_, changes)| *changes || soaks()).map(|(call, _)| call).collect()
    }

    /// All of them where somebody soaks; at most so many otherwise, spread evenly over those that change something, and
    /// over the others too where these are few.
    pub fn sample(listing: &str, most: usize) -> Vec<Call> {
        let mut calls = Call::all(listing);
        if calls.len() < most {
            calls = listed(listing).into_iter().map(|(call, _)| call).collect();
        }
        let stride = if soaks() { 1 } else { calls.len().div_ceil(most).max(1) };
        calls.into_iter().skip(stride / 2).step_by(stride).collect()
    }

    /// What makes strace send this signal to the process there: KILL before the call, STOP before the next one.
    pub fn signal(&self, signal: &str) -> [String; 4] {
        let Call { name, number } = self;
        ["-e".into(), format!("trace={name}"), "-e".into(), format!("inject={name}:signal={signal}:when={number}")]
    }
}

/// How often a call that is the same to the letter is another moment. More is a loop that waits for the kernel, and goes
/// round some other number of times when nobody lists it.
const ROUNDS: usize = 20;

/// The calls in a listing, and whether they change something.
fn listed(listing: &str) -> Vec<(Call, bool)> {
    let (mut counts, mut rounds) = (HashMap::new(), HashMap::new());
    let mut calls = Vec::new();
    for line in listing.lines() {
        let Some((name, _)) = line.split_once('(').filter(|(name, _)| !name.contains(' ')) else { continue };
        let number = *counts.entry(name).and_modify(|count| *count += 1).or_insert(1);
        let changes = CHANGES.contains(&name) && (!name.starts_with("open") || line.contains("O_CREAT"));
        // the first execve is strace's own
        let round = *rounds.entry(line).and_modify(|count| *count += 1).or_insert(1);
        if !MEMORY.contains(&name) && name != "execve" && round <= ROUNDS {
            calls.push((Call { name: name.to_owned(), number }, changes));
        }
    }
    calls
}

/// A listing of `strace -f` as one of each process, in the order in which they were born.
pub fn by_process(listing: &str) -> Vec<String> {
    let mut processes: Vec<(&str, String)> = Vec::new();
    for (pid, call) in listing.lines().filter_map(|line| line.split_once(' ')) {
        let at = processes.iter().position(|(known, _)| *known == pid).unwrap_or_else(|| {
            processes.push((pid, String::new()));
            processes.len() - 1
        });
        processes[at].1.extend([call.trim_start(), "\n"]);
    }
    processes.into_iter().map(|(_, calls)| calls).collect()
}

/// strace on a process that runs; returns when strace has it.
pub fn attach(pid: u32, options: &[String], list: &Path) -> Running {
    let status = format!("/proc/{pid}/status");
    let mut strace = Command::new("strace");
    strace.arg("-qq").args(options).arg("-o").arg(list).args(["-p", &pid.to_string()]);
    let strace = Running::start(&mut strace);
    eventually("strace has it", seconds(20), || {
        std::fs::read_to_string(&status).map_or(true, |status| !status.contains("TracerPid:\t0\n"))
    });
    strace
}

/// A command whose monitor is under strace from its birth on.
#[derive(Debug)]
pub struct Watched {
    pub running: Running,
    pub monitor: u32,
    pub strace: Running,
}

impl Watched {
    /// The monitor is born in a frozen cgroup, and thawed when strace has it.
    pub fn start(sandbox: &Sandbox, args: &[&str], options: &[String], list: &Path) -> Watched {
        let monitors = monitors(sandbox);
        let freeze = |value: &str| std::fs::write(monitors.join("cgroup.freeze"), value).unwrap();
        let procs = || std::fs::read_to_string(monitors.join("cgroup.procs")).unwrap();
        let others = procs();
        freeze("1");
        let running = sandbox.start(args);
        let mut born = None;
        eventually("the monitor is born", seconds(20), || {
            let procs = procs();
            born = procs.lines().find(|pid| !others.lines().any(|other| other == *pid)).map(str::to_owned);
            born.is_some()
        });
        let monitor = born.unwrap().parse().unwrap();
        let strace = attach(monitor, options, list);
        freeze("0");
        Watched { running, monitor, strace }
    }
}

/// The cgroup of all monitors in the v2 hierarchy, where they are born.
fn monitors(sandbox: &Sandbox) -> PathBuf {
    let branches = sandbox.cgroup_branches();
    let below = branches.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap()).map(|entry| entry.unwrap().path());
    let freezers = below.map(|dir| dir.join("monitors/cgroup.freeze")).find(|file| file.exists());
    freezers.expect("a cgroup v2 hierarchy").parent().unwrap().to_owned()
}

#[test]
fn a_listing_of_calls_is_read() {
    let listing = "execve(\"/m\") = 0\nmkdir(\"a\") = 0\nread(3) = 1\nopen(\"a\", O_RDONLY) = 3\n\
                   open(\"b\", O_RDWR|O_CREAT) = 4\n--- SIGCHLD {si_signo=SIGCHLD} ---\n+++ exited with 0 +++\n";
    let call = |name: &str, number| Call { name: name.into(), number };
    if !soaks() {
        assert_eq!(Call::all(listing), [call("mkdir", 1), call("open", 2)]);
        assert_eq!(Call::sample(listing, 1), [call("open", 2)]);
    }
}

#[test]
fn a_loop_is_a_few_moments() {
    let (waits, goes_on) = ("write(3, \"FROZEN\") = 6\n".repeat(500), "write(3, \"THAWED\") = 6\n");
    let calls = listed(&format!("{waits}{goes_on}"));
    assert_eq!((calls.len(), calls.last().unwrap().0.number), (ROUNDS + 1, 501));
}

#[test]
fn the_calls_of_two_processes_are_told_apart() {
    let listing = "7  mkdir(\"a\" <unfinished ...>\n12 rmdir(\"b\") = 0\n7  <... mkdir resumed>) = 0\n";
    assert_eq!(by_process(listing), ["mkdir(\"a\" <unfinished ...>\n<... mkdir resumed>) = 0\n", "rmdir(\"b\") = 0\n"]);
}
