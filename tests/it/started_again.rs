//! Containers that are created, started, stopped and started again.

use crate::detached::{OBEDIENT, does, eventually_logs, inspect, refused, row, up_alone};
use crate::support::command::{eventually, seconds};
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
    let pid = inspect(&sandbox, "web")["State"]["Pid"].clone();
    does(&sandbox, &["start", "web"]); // it is
    assert_eq!(inspect(&sandbox, "web")["State"]["Pid"], pid);
    does(&sandbox, &["stop", "web"]);
    does(&sandbox, &["start", "web"]);
    eventually_logs(&sandbox, "web", "ready\ntold\nkept\nready\n"); // its log goes on, its file is there
    assert_ne!(inspect(&sandbox, "web")["State"]["Pid"], pid);

    refused(&sandbox, &["rm", "web"], 1, "minirun rm -f web");
    assert!(row(&sandbox, "web").unwrap().contains("Up"));
    let began = std::time::Instant::now();
    does(&sandbox, &["rm", "-f", "web"]);
    assert!(began.elapsed() < seconds(5), "{:?}", began.elapsed());
    before.assert_same(&sandbox);
}

#[test]
fn a_container_whose_program_has_ended_is_not_taken_for_one_that_runs() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    // its end lasts as long as its monitor is held
    let ending = || {
        up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
        let monitor = inspect(&sandbox, "web")["Host"]["MonitorPid"].to_string();
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
