//! Containers that are created, started, stopped and started again.

use crate::detached::{OBEDIENT, does, eventually_logs, inspect, monitor, pid, refused, row, up_alone};
use crate::support::command::{Running, eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use crate::support::snapshot::Snapshot;

#[test]
fn created_started_stopped_and_started_again() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["run", "--rm", "busybox", "true"]);
    let before = Snapshot::of(&sandbox);
    let script = format!("cat /kept; echo kept >/kept; {OBEDIENT}");
    does(&sandbox, &["create", "--name", "web", "-p", "8080:80", "busybox", "sh", "-c", &script]);
    assert!(row(&sandbox, "web").unwrap().contains("Created"));
    assert_eq!(inspect(&sandbox, "web")["State"]["Status"], "created");
    assert_eq!(sandbox.minirun(&["wait", "web"]).text(), "0");
    does(&sandbox, &["start", "web"]);
    eventually_logs(&sandbox, "web", "ready");
    let first = pid(&sandbox, "web");
    does(&sandbox, &["start", "web"]); // it is
    assert_eq!(pid(&sandbox, "web"), first);
    does(&sandbox, &["stop", "web"]);
    does(&sandbox, &["start", "web"]);
    eventually_logs(&sandbox, "web", "ready\ntold\nkept\nready\n"); // its log goes on, its file is there
    assert_ne!(pid(&sandbox, "web"), first);

    refused(&sandbox, &["rm", "web"], 1, "minirun rm -f web");
    assert!(row(&sandbox, "web").unwrap().contains("Up"));
    let began = std::time::Instant::now();
    does(&sandbox, &["rm", "-f", "web"]);
    assert!(began.elapsed() < seconds(5), "{:?}", began.elapsed());
    before.assert_same(&sandbox);
}

/// A container that stands before its next step until its command goes on.
fn being_born(sandbox: &Sandbox) -> Running {
    let birth = ["run", "-d", "--name", "web", "--network", "none", "--trace=step", "busybox", "sleep", "1000"];
    let mut running = sandbox.start(&birth);
    running.write(&"\n".repeat(5));
    eventually("its birth is held", seconds(20), || {
        running.stderr().lines().filter(|line| line.starts_with("+ ")).count() == 6
    });
    assert!(row(sandbox, "web").unwrap().contains("Starting"));
    assert_eq!(inspect(sandbox, "web")["State"]["Status"], "starting");
    running
}

/// How many commands wait for a monitor to answer: of each listener, ss shows the connections in its queue.
fn waiting(sandbox: &Sandbox) -> usize {
    let queue = |line: &str| line.split_whitespace().nth(2).and_then(|count| count.parse::<usize>().ok());
    sandbox.sh("ss -Hxl").stdout.lines().filter(|line| line.contains("attach")).filter_map(queue).sum()
}

#[test]
fn a_container_that_is_being_born_is_waited_for() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for (command, then) in [
        (&["exec", "web", "true"][..], "Up"),
        (&["start", "web"], "Up"),
        (&["stop", "-t", "20", "web"], "Exited (137)"),
        (&["kill", "web"], "Exited (137)"),
    ] {
        let birth = being_born(&sandbox);
        let running = sandbox.start(command);
        eventually("it waits for the birth", seconds(20), || waiting(&sandbox) == 1);
        birth.output().expect_code(0);
        running.output().expect_code(0);
        eventually(then, seconds(20), || row(&sandbox, "web").unwrap().contains(then));
        does(&sandbox, &["rm", "-f", "web"]);
    }
}

#[test]
fn a_birth_that_takes_too_long_is_stopped() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["run", "--rm", "--network", "none", "busybox", "true"]);
    let before = Snapshot::of(&sandbox);
    for command in [&["stop", "-t", "0", "web"][..], &["rm", "-f", "web"]] {
        let birth = being_born(&sandbox);
        refused(&sandbox, &["rm", "web"], 1, "minirun rm -f web");
        does(&sandbox, command);
        assert_eq!(row(&sandbox, "web"), None);
        birth.output().expect_code(125);
        before.assert_same(&sandbox);
    }
}

#[test]
fn many_that_start_one_container_start_it_once() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["run", "--rm", "busybox", "true"]);
    let before = Snapshot::of(&sandbox);
    does(&sandbox, &["create", "--name", "web", "-p", "8080:80", "busybox", "sleep", "1000"]);
    for _ in 0..3 {
        let starts: Vec<_> = (0..8).map(|_| sandbox.start(&["start", "web"])).collect();
        starts.into_iter().for_each(|start| drop(start.output().expect_code(0)));
        assert_eq!(sandbox.in_pids("sleep 1000").len(), 1);
        assert_eq!(does(&sandbox, &["port", "web"]).text(), "80/tcp -> 0.0.0.0:8080");
        does(&sandbox, &["stop", "-t", "0", "web"]);
    }
    does(&sandbox, &["rm", "web"]);
    before.assert_only(&sandbox, |line| line.contains("/state/networks/bridge.json "));
}

#[test]
fn what_goes_with_its_end_goes_when_it_cannot_be_started() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for (flags, left) in [(&["--rm"][..], false), (&[], true)] {
        let create = [&["create", "--name", "lost", "--network", "none"], flags, &["busybox", "no-such-program"]];
        does(&sandbox, &create.concat());
        refused(&sandbox, &["start", "lost"], 1, "no-such-program");
        assert_eq!(row(&sandbox, "lost").is_some(), left);
    }
}

#[test]
fn a_container_whose_program_has_ended_is_not_taken_for_one_that_runs() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    // its end lasts as long as its monitor is held
    let ending = || {
        up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
        let monitor = monitor(&sandbox, "web");
        sandbox.sh(&format!("kill -STOP {monitor}")).expect_code(0);
        does(&sandbox, &["kill", "web"]);
        eventually("it has ended", seconds(20), || !row(&sandbox, "web").unwrap().contains("Up"));
        monitor
    };
    for (command, then) in [(["start", "web"], "Up"), (["stop", "web"], "Exited (137)")] {
        let monitor = ending();
        let running = sandbox.start(&command);
        let waits = || sandbox.sh("readlink /proc/*/fd/*").stdout.matches("[pidfd]").count() > 1;
        eventually("it waits for the monitor", seconds(20), waits);
        sandbox.sh(&format!("kill -CONT {monitor}")).expect_code(0);
        running.output().expect_code(0);
        assert!(row(&sandbox, "web").unwrap().contains(then), "{command:?}");
        does(&sandbox, &["rm", "-f", "web"]);
    }
    let monitor = ending();
    let rm = sandbox.start(&["rm", "web"]);
    sandbox.sh(&format!("kill -CONT {monitor}")).expect_code(0);
    rm.output().expect_code(0);
    assert_eq!(row(&sandbox, "web"), None);
}

#[test]
fn a_container_that_cannot_be_started_again_stays_and_says_why() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let source = sandbox.path("source");
    std::fs::create_dir(&source).unwrap();
    let volume = format!("{}:/in", source.display());
    does(&sandbox, &["create", "--name", "web", "--network", "none", "-v", &volume, "busybox", "sleep", "1000"]);
    std::fs::remove_dir(&source).unwrap();
    let said = sandbox.minirun(&["start", "web"]).expect_code(1);
    assert!(said.stderr.contains(source.to_str().unwrap()), "{said}");
    assert!(row(&sandbox, "web").is_some());
    std::fs::create_dir(&source).unwrap();
    does(&sandbox, &["start", "web"]);
    assert!(row(&sandbox, "web").unwrap().contains("Up"));

    does(&sandbox, &["create", "--name", "lost", "--network", "none", "busybox", "no-such-program"]);
    sandbox.minirun(&["start", "lost"]);
    let state = inspect(&sandbox, "lost")["State"].clone();
    assert_eq!(state["ExitCode"], 127);
    assert!(state["Error"].as_str().unwrap().contains("no-such-program"), "{state}");
    does(&sandbox, &["rm", "lost"]);
}
