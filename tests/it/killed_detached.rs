//! SIGKILL before any system call in a detached life: of the command in `run -d`, `stop`, `rm`, `rm -f` and `exec`, of
//! the monitor from its birth to its end, and of both at once. A sample of the calls, or all of them where hack/soak
//! asks, which prints a line of $MINIRUN_KILLS for each victim and command.

use crate::calls::{Call, Watched, by_process};
use crate::killed::{Kind, assert_reusable, host, listed, run};
use crate::support::command::{Running, eventually, output, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::snapshot::{Snapshot, processes, without};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const STOP: &[&str] = &["stop", "-t", "0", "web"];
const REMOVE: &[&str] = &["rm", "web"];
const REMOVE_RUNNING: &[&str] = &["rm", "-f", "web"];
const EXEC: &[&str] = &["exec", "web", "true"];

/// How many moments are tried of each victim where nobody soaks.
const SAMPLE: usize = 12;

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
    let listing = listing_of_a_life(&sweep.sandbox).swap_remove(0);
    sweep
        .each("run -d", &listing, |sandbox, call, kind| killed(sandbox, &run_detached(kind), call).then_some("run -d"));
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
    let sandbox = &sweep.sandbox;
    prepare(sandbox, command, Kind::Kept);
    let listing = listing(sandbox, command, |_| {}).swap_remove(0);
    sandbox.minirun(REMOVE_RUNNING);
    sweep.each(name, &listing, |sandbox, call, kind| {
        prepare(sandbox, command, kind);
        let already = processes(sandbox.pid);
        let killed = killed(sandbox, command, call);
        if command == EXEC {
            assert_no_other(&already, sandbox);
        }
        killed.then_some(name)
    });
    sweep.end();
}

fn monitor_killed(victim: Victim) {
    let mut sweep = Sweep::new(if victim == Victim::Both { "both" } else { "monitor" });
    let life = listing_of_a_life(&sweep.sandbox).swap_remove(1);
    for (name, end) in [("run -d, stop", STOP), ("run -d, rm -f", REMOVE_RUNNING)] {
        sweep.each(name, &life, |sandbox, call, kind| life_ends(sandbox, call, kind, victim, end));
    }
    prepare(&sweep.sandbox, EXEC, Kind::Removed);
    let exec = listing(&sweep.sandbox, EXEC, |_| {}).swap_remove(1);
    sweep.sandbox.minirun(REMOVE_RUNNING).expect_code(0);
    sweep.each("exec", &exec, |sandbox, call, kind| {
        prepare(sandbox, EXEC, kind);
        let already = processes(sandbox.pid);
        let mut watch = Watch::start(sandbox, EXEC, call, victim);
        let killed = watch.meets();
        watch.end();
        assert_no_other(&already, sandbox);
        killed.then_some("exec")
    });
    sweep.end();
}

/// The process that `exec` brought into the container ends, and whoever looked after it.
fn assert_no_other(already: &[String], sandbox: &Sandbox) {
    eventually("the container is alone again", seconds(5), || without(&processes(sandbox.pid), already).is_empty());
    assert!(without(already, &processes(sandbox.pid)).is_empty(), "the container lives");
}

/// A container is started and ended; at one of the two its monitor is killed.
fn life_ends(sandbox: &Sandbox, call: &Call, kind: Kind, victim: Victim, end: &[&str]) -> Option<&'static str> {
    let mut watch = Watch::start(sandbox, &run_detached(kind), call, victim);
    let mut met = watch.meets().then_some("run -d");
    if met.is_none() {
        watch.watched.running = sandbox.start(end);
        met = watch.meets().then_some(if end == STOP { "stop" } else { "rm -f" });
    }
    watch.end();
    met
}

/// strace waits for the moment of a monitor's death.
struct Watch {
    watched: Watched,
    victim: Victim,
    list: std::path::PathBuf,
}

impl Watch {
    fn start(sandbox: &Sandbox, command: &[&str], call: &Call, victim: Victim) -> Watch {
        let list = sandbox.path("moments");
        let signal = if victim == Victim::Both { "STOP" } else { "KILL" };
        Watch { watched: Watched::start(sandbox, command, &call.signal(signal), &list), victim, list }
    }

    fn said(&self, words: &str) -> bool {
        std::fs::read_to_string(&self.list).unwrap_or_default().contains(words)
    }

    /// Waits for the end of the command, and whether its monitor meets its death meanwhile.
    fn meets(&mut self) -> bool {
        let mut met = false;
        eventually("the command ends or the monitor stops", seconds(30), || {
            if self.victim == Victim::Both && !met && self.said("stopped by SIGSTOP") {
                met = true;
                kill(&[Some(self.watched.monitor), inside(&self.watched.running)]);
            }
            self.watched.running.child.try_wait().unwrap().is_some()
        });
        met || self.said("killed by SIGKILL")
    }

    fn end(mut self) {
        self.watched.strace.wait().unwrap();
        self.watched.running.output();
    }
}

/// What the command inside is, as long as it is.
fn inside(running: &Running) -> Option<u32> {
    let path = format!("/proc/{0}/task/{0}/children", running.child.id());
    std::fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

fn kill(pids: &[Option<u32>]) {
    let pids = pids.iter().flatten().map(u32::to_string);
    let _gone_already = Command::new("kill").arg("-9").args(pids).status().unwrap();
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

fn listing_of_a_life(sandbox: &Sandbox) -> Vec<String> {
    listing(sandbox, &run_detached(Kind::Removed), |sandbox| {
        eventually("the container is up", seconds(20), || listed(sandbox).contains("Up"));
        sandbox.minirun(STOP).expect_code(0);
    })
}

/// How it looked after the kills of one command, and what resisted.
#[derive(Debug, Default)]
struct Tally {
    calls: usize,
    kills: usize,
    lives: usize,
    kept: usize,
    left: usize,
    failed: usize,
}

/// Kills at one moment after another, on a host that has to look in the end as it did before.
struct Sweep {
    victim: &'static str,
    sandbox: Sandbox,
    before: Snapshot,
    tallies: BTreeMap<&'static str, Tally>,
    failed: Vec<String>,
}

impl Sweep {
    fn new(victim: &'static str) -> Sweep {
        let (sandbox, before) = host();
        Sweep { victim, sandbox, before, tallies: BTreeMap::new(), failed: Vec::new() }
    }

    /// `kill` gives the command in which somebody was killed, if somebody was.
    fn each(
        &mut self,
        name: &'static str,
        listing: &str,
        kill: impl Fn(&Sandbox, &Call, Kind) -> Option<&'static str>,
    ) {
        let _left_by_strace = std::fs::remove_file(self.sandbox.path("calls"));
        let calls = Call::sample(listing, SAMPLE);
        assert!(calls.len() > 3, "{name}: {calls:?}");
        for (n, call) in calls.iter().enumerate() {
            let kind = [Kind::Removed, Kind::Kept][n % 2];
            let tried = catch_unwind(AssertUnwindSafe(|| {
                let command = kill(&self.sandbox, call, kind);
                (command, recovers(n / 2, &self.sandbox, &self.before))
            }));
            let command = tried.as_ref().ok().and_then(|(command, _)| *command);
            let tally = self.tallies.entry(command.unwrap_or(name)).or_default();
            tally.calls += 1;
            match tried {
                Ok((None, _)) => {} // there was one call less this time
                Ok((Some(_), after)) => {
                    tally.kills += 1;
                    match after {
                        After::Nothing => {}
                        After::Lives => tally.lives += 1,
                        After::Kept => tally.kept += 1,
                        After::Left => tally.left += 1,
                    }
                }
                Err(panic) => {
                    tally.failed += 1;
                    let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                    self.failed.push(format!("{} in {name} at {call:?} ({kind:?}, {n}): {why}", self.victim));
                    (self.sandbox, self.before) = host();
                }
            }
        }
    }

    /// Hands the table on, and says all that was left.
    fn end(self) {
        if let Some(path) = std::env::var_os("MINIRUN_KILLS") {
            let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
            for (command, tally) in &self.tallies {
                let Tally { calls, kills, lives, kept, left, failed } = tally;
                let numbers = [calls, kills, lives, kept, left, failed].map(usize::to_string).join("\t");
                writeln!(file, "{}\t{command}\t{numbers}", self.victim).unwrap();
            }
        }
        assert!(self.failed.is_empty(), "{}", self.failed.join("\n\n"));
    }
}

/// What there is of the container after a kill.
#[derive(Debug, Clone, Copy, PartialEq)]
enum After {
    Nothing,
    Lives,
    /// It is stopped, or was never started, and holds nothing.
    Kept,
    Left,
}

fn after(sandbox: &Sandbox, before: &Snapshot, list: &str) -> After {
    if list.contains("Up") {
        return After::Lives;
    }
    let kept = list.contains("Exited") || list.contains("Created");
    // the kernel takes a network namespace down some time after its last process
    let end = Instant::now() + seconds(1);
    loop {
        let changes = before.changes(&Snapshot::of(sandbox));
        if changes.iter().all(|line| kept && line.starts_with("+ minirun root: ")) {
            return if kept { After::Kept } else { After::Nothing };
        }
        if Instant::now() > end {
            return After::Left;
        }
    }
}

/// Whatever was killed: `ps` answers, name, address and port are free when a container that stays is removed, and repair
/// leaves nothing but such a container.
fn recovers(n: usize, sandbox: &Sandbox, before: &Snapshot) -> After {
    let mut list = listed(sandbox);
    eventually("nobody is at work on it", seconds(20), || {
        list = listed(sandbox);
        !list.contains("Starting")
    });
    let after = after(sandbox, before, &list);
    let stays = |list: &str| ["Up", "Exited", "Created"].iter().any(|word| list.contains(word));
    if n % 2 == 0 {
        if stays(&list) {
            sandbox.minirun(REMOVE_RUNNING).expect_code(0);
        }
        assert_reusable(sandbox);
    }
    sandbox.minirun(&["repair"]).expect_code(0);
    let list = listed(sandbox);
    if list.contains("web") {
        assert!(stays(&list), "{list}");
        if !list.contains("Up") {
            before.assert_only(sandbox, |line| line.starts_with("+ minirun root: "));
        }
        sandbox.minirun(REMOVE_RUNNING).expect_code(0);
    }
    before.assert_same(sandbox);
    after
}
