//! SIGKILL before any system call in a detached life: of the command in `run -d`, `stop`, `rm`, `rm -f` and `exec`, of
//! the monitor from its birth to its end, and of both at once. A sample of the calls, or all of them where hack/soak
//! asks.

use crate::calls::{Call, Watched, by_process};
use crate::killed::{Kind, listed, run};
use crate::support::command::{Running, eventually, output, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::snapshot::{processes, without};
use crate::sweep::Sweep;
use std::path::Path;
use std::process::{Command, Stdio};

const STOP: &[&str] = &["stop", "-t", "0", "web"];
const REMOVE: &[&str] = &["rm", "web"];
const REMOVE_RUNNING: &[&str] = &["rm", "-f", "web"];
const EXEC: &[&str] = &["exec", "web", "true"];

const BOTH_KINDS: [Kind; 2] = [Kind::Removed, Kind::Kept];

fn run_detached(kind: Kind) -> Vec<&'static str> {
    run(&[&["-d"][..], kind.flags()].concat(), &["sleep", "1000"])
}

/// The container as the command wants it.
fn prepare(sandbox: &Sandbox, command: &[&str], kind: Kind) {
    sandbox.minirun(&run_detached(if command == REMOVE { Kind::Kept } else { kind })).expect_code(0);
    if command == REMOVE {
        sandbox.minirun(STOP).expect_code(0);
    }
}

/// Who is killed with the monitor.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    Monitor,
    /// The command that is at work at that moment too.
    Both,
}

#[test]
fn run_detached_may_be_killed_at_any_call() {
    requires![root, tool("nft"), tool("strace")];
    let mut sweep = Sweep::new("command");
    let listing = listing_of_a_life(&sweep.sandbox, Kind::Removed, STOP).swap_remove(0);
    sweep.each("run -d", &listing, &BOTH_KINDS, |sandbox, call, kind| {
        killed(sandbox, &run_detached(kind), call).then_some("run -d")
    });
    sweep.end();
}

#[test]
fn stop_may_be_killed_at_any_call() {
    requires![root, tool("nft"), tool("strace")];
    command_killed("stop", STOP);
}

#[test]
fn rm_may_be_killed_at_any_call() {
    requires![root, tool("nft"), tool("strace")];
    command_killed("rm", REMOVE);
}

#[test]
fn rm_of_a_running_container_may_be_killed_at_any_call() {
    requires![root, tool("nft"), tool("strace")];
    command_killed("rm -f", REMOVE_RUNNING);
}

#[test]
fn exec_may_be_killed_at_any_call() {
    requires![root, tool("nft"), tool("strace")];
    command_killed("exec", EXEC);
}

#[test]
fn a_monitor_may_be_killed_at_any_call() {
    requires![root, tool("nft"), tool("strace")];
    monitor_killed(Victim::Monitor);
}

#[test]
fn monitor_and_command_may_be_killed_at_once_at_any_call() {
    requires![root, tool("nft"), tool("strace")];
    monitor_killed(Victim::Both);
}

fn command_killed(name: &'static str, command: &[&str]) {
    let mut sweep = Sweep::new("command");
    // a command has other calls where the container goes with its end
    let kinds = if command == STOP || command == REMOVE_RUNNING { &BOTH_KINDS[..] } else { &[Kind::Kept] };
    for kind in kinds {
        prepare(&sweep.sandbox, command, *kind);
        let listing = listing(&sweep.sandbox, command, |_| {}).swap_remove(0);
        sweep.sandbox.minirun(REMOVE_RUNNING); // most often it is gone
        sweep.each(name, &listing, &[*kind], |sandbox, call, kind| {
            kill_command(sandbox, command, call, kind).then_some(name)
        });
    }
    sweep.end();
}

fn kill_command(sandbox: &Sandbox, command: &[&str], call: &Call, kind: Kind) -> bool {
    prepare(sandbox, command, kind);
    let already = processes(sandbox.pid);
    let killed = killed(sandbox, command, call);
    if command == EXEC {
        assert_no_other(&already, sandbox);
    }
    killed
}

fn monitor_killed(victim: Victim) {
    let mut sweep = Sweep::new(if victim == Victim::Both { "both" } else { "monitor" });
    for (name, end, kind) in [("run -d, stop", STOP, Kind::Kept), ("run -d, rm -f", REMOVE_RUNNING, Kind::Removed)] {
        let life = listing_of_a_life(&sweep.sandbox, kind, end).swap_remove(1);
        sweep.sandbox.minirun(REMOVE_RUNNING); // where it is kept
        sweep.each(name, &life, &[kind], |sandbox, call, kind| life_ends(sandbox, call, kind, victim, end));
    }
    prepare(&sweep.sandbox, EXEC, Kind::Removed);
    let exec = listing(&sweep.sandbox, EXEC, |_| {}).swap_remove(1);
    sweep.sandbox.minirun(REMOVE_RUNNING).expect_code(0);
    sweep.each("exec", &exec, &BOTH_KINDS, |sandbox, call, kind| {
        prepare(sandbox, EXEC, kind);
        let already = processes(sandbox.pid);
        let killed = Watch::start(sandbox, EXEC, call, victim).end();
        assert_no_other(&already, sandbox);
        killed.then_some("exec")
    });
    sweep.end();
}

/// The process that `exec` brought into the container ends, and whoever looked after it.
fn assert_no_other(already: &[String], sandbox: &Sandbox) {
    eventually("the container is alone again", seconds(20), || without(&processes(sandbox.pid), already).is_empty());
    assert!(without(already, &processes(sandbox.pid)).is_empty(), "the container lives");
}

/// A container is started and ended; at one of the two its monitor is killed.
fn life_ends(sandbox: &Sandbox, call: &Call, kind: Kind, victim: Victim, end: &[&str]) -> Option<&'static str> {
    let mut watch = Watch::start(sandbox, &run_detached(kind), call, victim);
    let mut at = "run -d";
    watch.command_ends();
    if !watch.killed {
        watch.watched.running = sandbox.start(end);
        at = if end == STOP { "stop" } else { "rm -f" };
    }
    watch.end().then_some(at)
}

/// strace waits for the moment of a monitor's death.
struct Watch {
    watched: Watched,
    victim: Victim,
    list: std::path::PathBuf,
    killed: bool,
}

impl Watch {
    fn start(sandbox: &Sandbox, command: &[&str], call: &Call, victim: Victim) -> Watch {
        let list = sandbox.path("moments");
        let signal = if victim == Victim::Both { "STOP" } else { "KILL" };
        Watch { watched: Watched::start(sandbox, command, &call.signal(signal), &list), victim, list, killed: false }
    }

    /// Whether the monitor has met its death; one that stands still meets it now, and its command with it.
    fn meets(&mut self) -> bool {
        let list = std::fs::read_to_string(&self.list).unwrap_or_default();
        if self.victim == Victim::Both && !self.killed && list.contains("stopped by SIGSTOP") {
            self.killed = true;
            kill(&[Some(self.watched.monitor), inside(&self.watched.running)]);
        }
        self.killed |= list.contains("killed by SIGKILL");
        self.killed
    }

    fn command_ends(&mut self) {
        eventually("the command ends or the monitor stops", seconds(30), || {
            self.meets();
            self.watched.running.has_ended()
        });
    }

    /// Waits for the ends of both, and says whether the monitor was killed: it may outlive its command for some calls.
    fn end(mut self) -> bool {
        self.command_ends();
        eventually("the monitor ends", seconds(30), || {
            self.meets();
            self.watched.strace.has_ended()
        });
        self.watched.running.output();
        self.killed
    }
}

/// What the command inside is, as long as it is.
fn inside(running: &Running) -> Option<u32> {
    let path = format!("/proc/{0}/task/{0}/children", running.child.id());
    std::fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

fn kill(pids: &[Option<u32>]) {
    let pids = pids.iter().flatten().map(u32::to_string);
    let _gone_already = Command::new("kill").arg("-9").args(pids).stderr(Stdio::null()).status().unwrap();
}

fn strace(sandbox: &Sandbox, options: &[String], list: &Path, command: &[&str]) -> Command {
    let mut strace = sandbox.command("strace");
    strace.arg("-q").args(options).arg("-o").arg(list).arg(minirun_binary()).args(command);
    strace
}

/// Whether the command was there to be killed at that call.
fn killed(sandbox: &Sandbox, command: &[&str], call: &Call) -> bool {
    let said = output(&mut strace(sandbox, &call.signal("KILL"), Path::new("/dev/null"), command));
    assert!([0, 137].contains(&said.code()), "{call:?}: {said}"); // 0: there was one call less this time
    said.code() == 137
}

/// The calls of a command and of what it starts, one listing for each process. What has to be done meanwhile that
/// they all end is the caller's.
fn listing(sandbox: &Sandbox, command: &[&str], meanwhile: impl Fn(&Sandbox)) -> Vec<String> {
    let list = sandbox.path("calls");
    let running = Running::start(&mut strace(sandbox, &["-f".into()], &list, command));
    meanwhile(sandbox);
    running.output().expect_code(0);
    by_process(&std::fs::read_to_string(&list).unwrap())
}

fn listing_of_a_life(sandbox: &Sandbox, kind: Kind, end: &[&str]) -> Vec<String> {
    listing(sandbox, &run_detached(kind), |sandbox| {
        eventually("the container is up", seconds(20), || listed(sandbox).contains("Up"));
        sandbox.minirun(end).expect_code(0);
    })
}
