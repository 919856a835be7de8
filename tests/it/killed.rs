//! SIGKILL at every moment of a birth: what is left of a container when its command, its monitor or both are killed,
//! and who removes it.
//!
//! `--trace=step` is the hold: the monitor announces a step, and does it, or lets init do it, only when its command says
//! so; the command says so once for each line of its standard input. So after N lines the first N steps are done, the
//! next one is announced and not begun, and command, monitor and init stand still until one of them is killed.

use crate::support::command::{Output, Running, eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use crate::support::snapshot::Snapshot;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Instant;

/// All that two containers cannot both have is asked for by name, so that the next one wants the very same.
const TAKEN: [&str; 6] = ["--name", "web", "--ip", "172.18.0.9", "-p", "8080:80"];

/// Who removes what a killed monitor has left.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cleaner {
    NextCommand,
    Repair,
}

/// Whether the container was to be removed at its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Removed,
    Kept,
}

impl Kind {
    pub fn flags(self) -> &'static [&'static str] {
        if self == Kind::Removed { &["--rm"] } else { &[] }
    }
}

const VARIANTS: [(Kind, Cleaner); 4] = [
    (Kind::Removed, Cleaner::NextCommand),
    (Kind::Kept, Cleaner::Repair),
    (Kind::Removed, Cleaner::Repair),
    (Kind::Kept, Cleaner::NextCommand),
];

/// One variant at each point by turns; all of them where hack/soak asks.
fn variants(point: usize) -> Vec<(Kind, Cleaner)> {
    if soaks() { VARIANTS.to_vec() } else { vec![VARIANTS[point % VARIANTS.len()]] }
}

pub fn soaks() -> bool {
    std::env::var_os("MINIRUN_SOAK").is_some_and(|value| value == "1")
}

pub fn run<'a>(flags: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    [&["run"], flags, &TAKEN, &["busybox"], command].concat()
}

/// A host that has all that containers share, and how it looks without a container.
pub fn host() -> (Sandbox, Snapshot) {
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.minirun(&run(&["--rm"], &["true"])).expect_code(0);
    let before = Snapshot::of(&sandbox);
    (sandbox, before)
}

/// The same, and the number of steps to a container.
fn host_and_steps() -> (Sandbox, Snapshot, usize) {
    let (sandbox, before) = host();
    let steps = [Kind::Removed, Kind::Kept].map(|kind| {
        let traced = [kind.flags(), &["--trace"]].concat();
        announced(&sandbox.minirun(&run(&traced, &["true"])).expect_code(0).stderr)
    });
    sandbox.minirun(&["rm", "web"]).expect_code(0);
    before.assert_same(&sandbox);
    assert!(steps[0] > 50 && steps[0] == steps[1], "{steps:?}");
    (sandbox, before, steps[0])
}

fn announced(trace: &str) -> usize {
    trace.lines().filter(|line| line.starts_with("+ ")).count()
}

/// A container at a moment of its birth. Pids are the machine's.
struct Birth {
    running: Running,
    command: u32,
    monitor: u32,
    init: Option<u32>,
}

impl Birth {
    /// The first `done` steps are done and the next one is announced; where there is none, the program runs.
    fn at(done: usize, steps: usize, sandbox: &Sandbox, kind: Kind) -> Birth {
        let flags = [kind.flags(), &["--trace=step"]].concat();
        Birth::of(&run(&flags, &["sleep", "1000"]), done, steps, sandbox)
    }

    fn of(args: &[&str], done: usize, steps: usize, sandbox: &Sandbox) -> Birth {
        let mut running = sandbox.start(args);
        running.write(&"\n".repeat(done));
        eventually(&format!("{done} steps of {steps}"), seconds(20), || {
            announced(&running.stderr()) == steps.min(done + 1)
                && (done < steps || !sandbox.in_pids("sleep 1000").is_empty())
        });
        let command = sandbox.inner_pid(&running);
        let monitor = children(command)[0];
        assert_eq!(comm(monitor), "minirun-monitor");
        Birth { running, command, monitor, init: children(monitor).first().copied() }
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn comm(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim().to_owned()
}

fn kill(pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    assert!(Command::new("kill").arg("-9").args(pids).status().unwrap().success());
}

fn assert_ends(pid: u32) {
    eventually("it ends by itself", seconds(20), || !std::path::Path::new(&format!("/proc/{pid}")).exists());
}

/// The code of a command whose program may go on, and have its streams.
pub fn code(running: &mut Running) -> i32 {
    let mut status = None;
    eventually("the command ends", seconds(20), || {
        status = running.child.try_wait().unwrap();
        status.is_some()
    });
    let status = status.unwrap();
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap()
}

/// `ps -a` at once, whatever was killed.
pub fn listed(sandbox: &Sandbox) -> String {
    let began = Instant::now();
    let said = sandbox.minirun(&["ps", "-a"]).expect_code(0);
    assert!(began.elapsed() < seconds(5), "{:?}", began.elapsed());
    said.stdout
}

/// Name, address and port are free: another container has them, and leaves nothing.
pub fn assert_reusable(sandbox: &Sandbox) {
    sandbox.minirun(&run(&["--rm"], &["true"])).expect_code(0);
}

fn assert_cleaned(cleaner: Cleaner, sandbox: &Sandbox, before: &Snapshot) {
    match cleaner {
        Cleaner::NextCommand => assert_reusable(sandbox),
        Cleaner::Repair => drop(sandbox.minirun(&["repair"]).expect_code(0)),
    }
    before.assert_same(sandbox);
}

/// The end of a command whose monitor was killed: it says what happened and what to do.
pub fn assert_told(said: &Output) {
    assert!(said.code() != 0 && said.stderr.contains("monitor") && said.stderr.contains("minirun repair"), "{said}");
}

#[test]
fn a_command_killed_after_any_step_leaves_nothing() {
    requires![root, tool("nft")];
    let (sandbox, before, steps) = host_and_steps();
    for done in 0..steps {
        for (kind, _) in variants(done) {
            let birth = Birth::at(done, steps, &sandbox, kind);
            kill(&[birth.command]);
            birth.running.output().expect_code(137);
            assert_ends(birth.monitor);
            before.assert_same(&sandbox);
        }
    }
    assert_reusable(&sandbox);
}

#[test]
fn what_a_monitor_killed_after_any_step_leaves_goes_with_the_next_command_or_repair() {
    requires![root, tool("nft")];
    let (sandbox, before, steps) = host_and_steps();
    for done in 0..steps {
        for (kind, cleaner) in variants(done) {
            let birth = Birth::at(done, steps, &sandbox, kind);
            kill(&[birth.monitor]);
            birth.init.into_iter().for_each(assert_ends);
            assert_told(&birth.running.output());
            after_the_monitor(cleaner, &sandbox, &before);
        }
    }
}

#[test]
fn both_killed_at_once_after_any_step_is_no_worse() {
    requires![root, tool("nft")];
    let (sandbox, before, steps) = host_and_steps();
    // to the world it is the monitor's death, whose every step is tried above; what differs is that nobody is told
    for done in (0..steps).step_by(if soaks() { 1 } else { 3 }) {
        for (kind, cleaner) in variants(done) {
            let birth = Birth::at(done, steps, &sandbox, kind);
            let pids = [birth.monitor, birth.command].map(|pid| pid.to_string());
            let _may_have_ended_between = Command::new("kill").arg("-9").args(pids).status().unwrap();
            birth.init.into_iter().for_each(assert_ends);
            let said = birth.running.output();
            assert!(matches!(said.code(), 137 | 125), "{said}");
            after_the_monitor(cleaner, &sandbox, &before);
        }
    }
}

fn after_the_monitor(cleaner: Cleaner, sandbox: &Sandbox, before: &Snapshot) {
    let list = listed(sandbox);
    assert!(list.contains("web") && list.contains("Dead"), "{list}");
    assert_cleaned(cleaner, sandbox, before);
}

/// What all containers share is made by the first one, and goes with `system reset`. A directory as root, for an image
/// would have to be loaded again each time.
#[test]
fn a_killed_first_run_leaves_a_network_that_works_and_can_be_removed() {
    requires![root, tool("nft"), tool("busybox")];
    let sandbox = Sandbox::new();
    let rootfs = sandbox.path("rootfs");
    let copy = format!("mkdir -p {0}/bin && cp $(command -v busybox) {0}/bin/busybox", rootfs.display());
    sandbox.sh(&copy).expect_code(0);
    let before = Snapshot::of(&sandbox);
    let root = ["--rootfs", rootfs.to_str().unwrap(), "/bin/busybox"];
    let (held, free) = (["run", "--rm", "--trace=step"], ["run", "--rm"]);
    let mut shared = 0;
    // its own directories, what is shared, its own cgroups
    for done in 0.. {
        let args = [&held[..], &TAKEN, &root, &["sleep", "1000"]].concat();
        let birth = Birth::of(&args, done, usize::MAX, &sandbox);
        kill(&[if done % 2 == 0 { birth.command } else { birth.monitor }]);
        let trace = birth.running.output().stderr;
        let next = trace.lines().rfind(|line| line.starts_with("+ ")).unwrap();
        assert_ends(birth.monitor); // it takes back what it has done, where it was not killed
        sandbox.minirun(&[&free[..], &TAKEN, &root, &["true"]].concat()).expect_code(0);
        sandbox.minirun(&["system", "reset", "--yes"]).expect_code(0);
        before.assert_same(&sandbox);
        shared += usize::from(["nft ", "mr-", "ip_forward"].iter().any(|word| next.contains(word)));
        if next.contains("/cgroup/") {
            break;
        }
    }
    assert!(shared > 5, "{shared}");
}

#[test]
fn a_program_outlives_its_command_and_its_monitor() {
    requires![root, tool("nft")];
    let (sandbox, before, steps) = host_and_steps();
    let (command, monitor) = (|b: &Birth| vec![b.command], |b: &Birth| vec![b.monitor]);
    // in this order: a monitor does not end with its command, but a command with its monitor
    let both = |b: &Birth| vec![b.command, b.monitor];
    for victims in [&command as &dyn Fn(&Birth) -> Vec<u32>, &monitor, &both] {
        for kind in [Kind::Removed, Kind::Kept] {
            let mut birth = Birth::at(steps, steps, &sandbox, kind);
            kill(&victims(&birth));
            let code = code(&mut birth.running);
            let is_told = || birth.running.stderr().contains("minirun repair");
            eventually("the command says what happened", seconds(20), || code == 137 || is_told());
            sandbox.minirun(&["repair"]).expect_code(0); // what lives is not touched
            assert!(listed(&sandbox).contains("Up"));
            assert_eq!(sandbox.in_pids("sleep 1000").len(), 1);
            sandbox.minirun(&["rm", "-f", "web"]).expect_code(0);
            before.assert_same(&sandbox);
        }
    }
    assert_reusable(&sandbox);
}

#[test]
fn a_program_that_ends_without_a_monitor_leaves_nothing_but_itself() {
    requires![root, tool("nft")];
    let (sandbox, before, steps) = host_and_steps();
    for (kind, cleaner) in VARIANTS {
        let birth = Birth::at(steps, steps, &sandbox, kind);
        kill(&[birth.monitor]);
        kill(&[birth.init.unwrap()]);
        assert_told(&birth.running.output());
        assert_ends(birth.init.unwrap());
        assert!(listed(&sandbox).contains("Dead"));
        if kind == Kind::Kept {
            sandbox.minirun(&["rm", "web"]).expect_code(0);
        }
        assert_cleaned(cleaner, &sandbox, &before);
    }
}
