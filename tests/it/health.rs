//! Health checks: what they say of a container, and that they are as confined and as short-lived as they must be.

use crate::adopted::kill_monitor;
use crate::detached::{does, inspect, monitor, refused, row, up_alone};
use crate::support::command::{eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use crate::support::snapshot::Snapshot;

fn checked(sandbox: &Sandbox, flags: &[&str], check: &str) -> String {
    let health = ["--name", "web", "--health-interval", "100ms", "--health-cmd", check];
    up_alone(sandbox, &[&health, flags].concat(), &["sleep", "1000"])
}

#[track_caller]
fn eventually_is(sandbox: &Sandbox, status: &str) {
    eventually(status, seconds(20), || inspect(sandbox, "web")["State"]["Health"]["Status"] == status);
}

#[test]
fn a_container_is_as_well_as_its_check_says() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    checked(
        &sandbox,
        &["--health-retries", "2", "--health-start-period", "1h", "--health-start-interval", "100ms"],
        "echo looked; id -u; test -e /well",
    );
    assert!(row(&sandbox, "web").unwrap().contains("(health: starting)"));
    eventually("it fails and may", seconds(20), || {
        let health = inspect(&sandbox, "web")["State"]["Health"].clone();
        health["Log"].as_array().unwrap().len() == 5 && health["FailingStreak"] == 0 && health["Status"] == "starting"
    });
    does(&sandbox, &["exec", "web", "touch", "/well"]);
    eventually_is(&sandbox, "healthy");
    assert!(row(&sandbox, "web").unwrap().contains("(healthy)"));
    does(&sandbox, &["exec", "web", "rm", "/well"]);
    eventually_is(&sandbox, "unhealthy");
    assert!(row(&sandbox, "web").unwrap().contains("(unhealthy)"));
    let health = inspect(&sandbox, "web")["State"]["Health"].clone();
    let last = &health["Log"][4];
    assert_eq!((last["ExitCode"].as_i64(), last["Output"].as_str()), (Some(1), Some("looked\n0\n")), "{health}");
    assert!(health["FailingStreak"].as_u64() >= Some(2));
}

#[test]
fn a_check_that_takes_too_long_is_ended_and_has_failed() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    checked(&sandbox, &["--health-retries", "1", "--health-timeout", "300ms"], "exec sleep 999");
    eventually_is(&sandbox, "unhealthy");
    let health = inspect(&sandbox, "web")["State"]["Health"].clone();
    assert_eq!(health["Log"][0]["ExitCode"], -1);
    assert!(health["Log"][0]["Output"].as_str().unwrap().contains("exceeded timeout"), "{health}");
    eventually("never two at a time", seconds(20), || sandbox.in_pids("sleep 999").len() <= 1);
}

#[test]
fn what_a_check_leaves_running_does_not_hold_it_up() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    checked(&sandbox, &[], "[ -e /left ] || { touch /left; sleep 999 & }");
    eventually_is(&sandbox, "healthy");
}

#[test]
fn a_container_ends_in_the_midst_of_its_check() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["run", "--rm", "--network", "none", "busybox", "true"]);
    let before = Snapshot::of(&sandbox);
    for command in [&["rm", "-f", "web"][..], &["stop", "-t", "0", "web"]] {
        checked(&sandbox, &["--rm"], "exec sleep 999");
        eventually("its check runs", seconds(20), || sandbox.in_pids("sleep 999").len() == 1);
        does(&sandbox, command);
        before.assert_same(&sandbox);
    }
}

#[test]
fn another_monitor_goes_on_checking() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    checked(&sandbox, &["--health-retries", "1"], "test -e /well");
    eventually_is(&sandbox, "unhealthy");
    kill_monitor(&sandbox, "web");
    does(&sandbox, &["exec", "web", "touch", "/well"]);
    eventually_is(&sandbox, "healthy");
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for (flag, value) in [("--health-interval", "often"), ("--health-timeout", "-1s"), ("--health-start-period", "5")] {
        refused(&sandbox, &["run", flag, value, "busybox", "true"], 125, flag);
    }
    refused(&sandbox, &["run", "--no-healthcheck", "--health-retries", "1", "busybox", "true"], 125, "contradicts");
}

#[test]
fn a_check_can_be_made_now_and_counts() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let health = ["--health-interval", "1h", "--health-retries", "1", "--health-cmd", "echo looked; test -e /well"];
    up_alone(&sandbox, &[&["--name", "web"][..], &health].concat(), &["sleep", "1000"]);
    up_alone(&sandbox, &["--name", "plain"], &["sleep", "1000"]);
    let with =
        |health: &str| does(&sandbox, &["ps", "--filter", &format!("health={health}"), "--format", "{{.Names}}"]);
    assert_eq!((with("starting").text(), with("none").text()), ("web".to_owned(), "plain".to_owned()));

    let said = sandbox.minirun(&["healthcheck", "run", "web"]).expect_code(1);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("unhealthy\n", "looked\n"));
    assert_eq!((with("unhealthy").text(), with("healthy").text()), ("web".to_owned(), String::new()));
    does(&sandbox, &["exec", "web", "touch", "/well"]);
    let said = does(&sandbox, &["healthcheck", "run", "web"]);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
    assert_eq!(with("healthy").text(), "web");
    let log = inspect(&sandbox, "web")["State"]["Health"]["Log"].clone();
    assert_eq!(log.as_array().unwrap().len(), 2, "{log}");

    refused(&sandbox, &["healthcheck", "run", "plain"], 1, "has no health check");
    refused(&sandbox, &["ps", "--filter", "health=fine"], 2, "health");
    does(&sandbox, &["pause", "web"]);
    refused(&sandbox, &["healthcheck", "run", "web"], 1, "paused");
    does(&sandbox, &["unpause", "web"]);
    does(&sandbox, &["stop", "-t", "0", "web"]);
    refused(&sandbox, &["healthcheck", "run", "web"], 1, "not running");
}

#[test]
fn each_that_asks_hears_of_a_check_that_began_after_it_had_asked() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let check = "echo >>/made; while test -e /wait; do sleep 0.01; done; test -e /well";
    up_alone(&sandbox, &["--name", "web", "--health-interval", "1h", "--health-cmd", check], &["sleep", "1000"]);
    does(&sandbox, &["exec", "web", "touch", "/wait"]);
    let first = sandbox.start(&["healthcheck", "run", "web"]);
    let made = || does(&sandbox, &["exec", "web", "sh", "-c", "wc -l </made || true"]).text();
    eventually("the first is being made", seconds(20), || made() == "1");
    let monitor = monitor(&sandbox, "web");
    let commands = || sandbox.sh(&format!("ls -l /proc/{monitor}/fd | grep -c socket:")).text().parse::<u32>().unwrap();
    let before = commands();
    let second = sandbox.start(&["healthcheck", "run", "web"]);
    let third = sandbox.start(&["healthcheck", "run", "web"]);
    eventually("all have asked", seconds(20), || commands() == before + 2);
    does(&sandbox, &["exec", "web", "sh", "-c", "touch /well; rm /wait"]);
    for asked in [first, second, third] {
        asked.output().expect_code(0);
    }
    assert!(matches!(made().as_str(), "2" | "3"), "not one for each");

    // one that ends while it is asked
    does(&sandbox, &["exec", "web", "touch", "/wait"]);
    let before = made();
    let asked = sandbox.start(&["healthcheck", "run", "web"]);
    eventually("it is being made", seconds(20), || made() != before);
    does(&sandbox, &["kill", "web"]);
    let said = asked.output().expect_code(1);
    // the kernel kills the check before the program's end can be seen
    assert!(said.stderr.contains("ended meanwhile") || said.stdout == "unhealthy\n", "{said}");
}
