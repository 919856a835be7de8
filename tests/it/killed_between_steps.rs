//! SIGKILL where no trace stops: before a system call of the command, from its first one on, and of the monitor, from
//! its birth to its last. strace lists the calls of a whole run, and in the next runs kills before one of them.

use crate::killed::{Kind, assert_reusable, assert_told, code, host, listed, run, soaks};
use crate::support::command::{Running, eventually, output, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::snapshot::{Snapshot, processes};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

/// A moment in the life of a process: before the `number`th call of this name.
#[derive(Debug, Clone, PartialEq)]
struct Call {
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
    /// Every call in a listing of strace, or, where nobody soaks, every `stride`th that changes something.
    fn all(listing: &str, stride: usize) -> Vec<Call> {
        let mut counts = HashMap::new();
        let mut calls = Vec::new();
        for line in listing.lines() {
            let Some((name, _)) = line.split_once('(').filter(|(name, _)| !name.contains(' ')) else { continue };
            let number = *counts.entry(name).and_modify(|count| *count += 1).or_insert(1);
            let changes = CHANGES.contains(&name) && (!name.starts_with("open") || line.contains("O_CREAT"));
            // the first execve is strace's own
            if changes || soaks() && !MEMORY.contains(&name) && name != "execve" {
                calls.push(Call { name: name.to_owned(), number });
            }
        }
        calls.into_iter().step_by(if soaks() { 1 } else { stride }).collect()
    }

    /// What makes strace kill the process there.
    fn killing(&self) -> [String; 4] {
        let Call { name, number } = self;
        ["-e".into(), format!("trace={name}"), "-e".into(), format!("inject={name}:signal=KILL:when={number}")]
    }
}

#[test]
fn a_listing_of_calls_is_read() {
    let listing = "execve(\"/m\") = 0\nmkdir(\"a\") = 0\nread(3) = 1\nopen(\"a\", O_RDONLY) = 3\n\
                   open(\"b\", O_RDWR|O_CREAT) = 4\n--- SIGCHLD {si_signo=SIGCHLD} ---\n+++ exited with 0 +++\n";
    let call = |name: &str, number| Call { name: name.into(), number };
    if !soaks() {
        assert_eq!(Call::all(listing, 1), [call("mkdir", 1), call("open", 2)]);
    }
}

#[test]
fn a_command_killed_at_any_call_leaves_nothing_that_is_in_the_way() {
    requires![root, tool("nft"), tool("strace")];
    let (sandbox, before) = host();
    let list = sandbox.path("calls");
    let traced = |options: &[String], kind: Kind| {
        let mut strace = sandbox.command("strace");
        strace.arg("-qq").arg("-o").arg(&list).args(options).arg(minirun_binary());
        output(strace.args(run(kind.flags(), &["true"])))
    };
    traced(&[], Kind::Removed).expect_code(0);
    let calls = Call::all(&std::fs::read_to_string(&list).unwrap(), 1);
    assert!(calls.len() > 20, "{calls:?}");

    for (n, call) in calls.iter().enumerate() {
        let kind = [Kind::Removed, Kind::Kept][n % 2];
        let said = traced(&call.killing(), kind);
        assert!([0, 137].contains(&said.code()), "{call:?}: {said}"); // 0: there was one call less this time
        assert_recovers(n, &sandbox, &before);
    }
}

#[test]
fn a_monitor_killed_at_any_call_leaves_nothing_that_is_in_the_way() {
    requires![root, tool("nft"), tool("strace")];
    let (sandbox, before) = host();
    let list = sandbox.path("calls");
    watched(&sandbox, &["-o".into(), list.display().to_string()], Kind::Removed).output().expect_code(0);
    let calls = Call::all(&std::fs::read_to_string(&list).unwrap(), 5);
    assert!(calls.len() > 20, "{calls:?}");

    for (n, call) in calls.iter().enumerate() {
        let kind = [Kind::Removed, Kind::Kept][n % 2];
        let running = watched(&sandbox, &[&call.killing()[..], &["-o".into(), "/dev/null".into()]].concat(), kind);
        if n % 3 == 0 {
            sandbox.minirun(&["repair"]).expect_code(0); // init has not noticed yet, or its program runs
        }
        let said = running.output();
        if said.code() != 0 {
            assert_told(&said); // 0: all was said before it was killed
        }
        assert_recovers(n, &sandbox, &before);
    }
}

/// A run whose monitor is under strace from its birth on: it is born in a frozen cgroup, and thawed when strace has it.
/// The command has ended, and whoever else is there may not have.
fn watched(sandbox: &Sandbox, options: &[String], kind: Kind) -> Running {
    let monitors = monitors(sandbox);
    let freeze = |value: &str| std::fs::write(monitors.join("cgroup.freeze"), value).unwrap();
    freeze("1");
    let mut running = sandbox.start(&run(kind.flags(), &["true"]));
    let mut born = String::new();
    eventually("the monitor is born", seconds(20), || {
        born = std::fs::read_to_string(monitors.join("cgroup.procs")).unwrap();
        !born.is_empty()
    });
    let status = format!("/proc/{}/status", born.trim());
    let mut strace = Command::new("strace").arg("-qq").args(options).args(["-p", born.trim()]).spawn().unwrap();
    eventually("strace has it", seconds(20), || !std::fs::read_to_string(&status).unwrap().contains("TracerPid:\t0\n"));
    freeze("0");
    code(&mut running);
    strace.wait().unwrap();
    running
}

/// The cgroup of all monitors in the v2 hierarchy, where they are born.
fn monitors(sandbox: &Sandbox) -> PathBuf {
    let branches = sandbox.cgroup_branches();
    let below = branches.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap()).map(|entry| entry.unwrap().path());
    let freezers = below.map(|dir| dir.join("monitors/cgroup.freeze")).find(|file| file.exists());
    freezers.expect("a cgroup v2 hierarchy").parent().unwrap().to_owned()
}

/// Whatever was killed: `ps` answers, name, address and port are free when a container that was kept is removed, and
/// repair leaves nothing.
fn assert_recovers(n: usize, sandbox: &Sandbox, before: &Snapshot) {
    let is_ours = |line: &String| line.contains("minirun-monitor");
    eventually("monitor and init have ended", seconds(20), || !processes(sandbox.pid).iter().any(is_ours));
    listed(sandbox);
    if n % 4 < 2 {
        sandbox.minirun(&["rm", "web"]); // most often there is none
        assert_reusable(sandbox);
    }
    sandbox.minirun(&["repair"]).expect_code(0);
    if listed(sandbox).contains("web") {
        sandbox.minirun(&["rm", "web"]).expect_code(0);
    }
    before.assert_same(sandbox);
}
