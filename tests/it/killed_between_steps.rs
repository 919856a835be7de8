//! SIGKILL where no trace stops: before a system call of the command, from its first one on, and of the monitor, from
//! its birth to its last. strace lists the calls of a whole run, and in the next runs kills before one of them.

use crate::calls::{Call, Watched};
use crate::killed::{Kind, assert_reusable, assert_told, code, host, listed, run};
use crate::support::command::{Running, eventually, output, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::snapshot::{Snapshot, processes};
use std::path::Path;

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
    let calls = Call::all(&std::fs::read_to_string(&list).unwrap());
    assert!(calls.len() > 20, "{calls:?}");

    for (n, call) in calls.iter().enumerate() {
        let kind = [Kind::Removed, Kind::Kept][n % 2];
        let said = traced(&call.signal("KILL"), kind);
        assert!([0, 137].contains(&said.code()), "{call:?}: {said}"); // 0: there was one call less this time
        assert_recovers(n, &sandbox, &before);
    }
}

#[test]
fn a_monitor_killed_at_any_call_leaves_nothing_that_is_in_the_way() {
    requires![root, tool("nft"), tool("strace")];
    let (sandbox, before) = host();
    let list = sandbox.path("calls");
    watched(&sandbox, &[], &list, Kind::Removed).output().expect_code(0);
    let calls = Call::sample(&std::fs::read_to_string(&list).unwrap(), 40);
    assert!(calls.len() > 20, "{calls:?}");

    for (n, call) in calls.iter().enumerate() {
        let kind = [Kind::Removed, Kind::Kept][n % 2];
        let running = watched(&sandbox, &call.signal("KILL"), Path::new("/dev/null"), kind);
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

/// A run whose monitor is under strace. The command has ended, and whoever else is there may not have.
fn watched(sandbox: &Sandbox, options: &[String], list: &Path, kind: Kind) -> Running {
    let mut watched = Watched::start(sandbox, &run(kind.flags(), &["true"]), options, list);
    code(&mut watched.running);
    watched.strace.output();
    watched.running
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
