//! Containers that are started again by themselves: by which ends, how often, and until when.

use crate::adopted::kill_monitor;
use crate::detached::{does, inspect, monitor, pid, refused, row, up_alone};
use crate::support::command::{Running, eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::snapshot::Snapshot;
use serde_json::Value;

/// Counts its runs in a file of its own.
const COUNTED: &str = "echo run >>/runs; ";

fn restarting(sandbox: &Sandbox, policy: &str, then: &str) -> String {
    up_alone(sandbox, &["--name", "web", "--restart", policy], &["sh", "-c", &format!("{COUNTED}{then}")])
}

fn state(sandbox: &Sandbox) -> Value {
    inspect(sandbox, "web")["State"].clone()
}

/// How often it has run, from what it has written.
fn runs(sandbox: &Sandbox, id: &str) -> usize {
    let file = sandbox.path("root/containers").join(id).join("upper/runs");
    std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

fn is(sandbox: &Sandbox, status: &str) -> bool {
    row(sandbox, "web").is_some_and(|row| row.contains(status))
}

#[test]
fn it_is_started_again_until_it_is_stopped() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["run", "--rm", "--network", "none", "busybox", "true"]);
    let before = Snapshot::of(&sandbox);
    for policy in ["always", "unless-stopped"] {
        let id = restarting(&sandbox, policy, "exit 3");
        eventually("it has run three times", seconds(20), || runs(&sandbox, &id) >= 3);
        eventually("it waits for the next", seconds(20), || is(&sandbox, "Restarting (3)"));
        assert!(inspect(&sandbox, "web")["RestartCount"].as_u64().unwrap() >= 2);
        refused(&sandbox, &["rm", "web"], 1, "minirun rm -f web");
        does(&sandbox, &["stop", "web"]);
        assert!(is(&sandbox, "Exited (3)"));
        let stands = runs(&sandbox, &id);
        does(&sandbox, &["start", "web"]); // and from the beginning
        eventually("it goes on", seconds(20), || runs(&sandbox, &id) > stands);
        does(&sandbox, &["rm", "-f", "web"]);
        before.assert_same(&sandbox);
    }
}

#[test]
fn a_policy_says_after_which_end() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for (policy, then, times) in [
        ("on-failure:2", "exit 1", 3),
        ("on-failure", "[ $(wc -l </runs) -gt 2 ]", 3),
        ("on-failure", "exit 0", 1),
        ("no", "exit 1", 1),
    ] {
        let id = restarting(&sandbox, policy, then);
        eventually("it has ended", seconds(20), || runs(&sandbox, &id) == times && is(&sandbox, "Exited"));
        assert_eq!(inspect(&sandbox, "web")["RestartCount"], times - 1);
        does(&sandbox, &["rm", "web"]);
    }
    refused(&sandbox, &["run", "--rm", "--restart", "always", "busybox", "true"], 125, "--rm");
    refused(&sandbox, &["run", "--restart", "often", "busybox", "true"], 125, "often");
}

#[test]
fn killed_from_outside_it_comes_back_and_killed_by_us_it_does_not() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let id = restarting(&sandbox, "always", "exec sleep 1000");
    let up = |times| eventually("it runs", seconds(20), || runs(&sandbox, &id) == times && is(&sandbox, "Up"));
    up(1);
    sandbox.sh(&format!("kill -9 {}", pid(&sandbox, "web"))).expect_code(0);
    up(2);
    // with its monitor, too, once there is another one
    kill_monitor(&sandbox, "web");
    does(&sandbox, &["ps"]);
    sandbox.sh(&format!("kill -9 {}", pid(&sandbox, "web"))).expect_code(0);
    up(3);
    does(&sandbox, &["kill", "web"]);
    eventually("it has ended", seconds(20), || is(&sandbox, "Exited (137)"));
    assert_eq!(runs(&sandbox, &id), 3);
    does(&sandbox, &["start", "web"]);
    up(4);
    does(&sandbox, &["restart", "-t", "0", "web"]);
    up(5);
    does(&sandbox, &["rm", "-f", "web"]);
}

/// It waits for more than a second, and who waits is killed.
fn waits_in_vain(sandbox: &Sandbox) -> String {
    let id = restarting(sandbox, "always", "exit 3");
    let file = sandbox.path("root/containers").join(&id).join("ended.json");
    let ended = || serde_json::from_str(&std::fs::read_to_string(&file).unwrap_or_default()).unwrap_or(Value::Null);
    let long = |ended: &Value| ended["restarts"]["delay"].as_u64().unwrap_or(0) >= 1600;
    let mut waiting = Value::Null;
    eventually("it waits for a while", seconds(60), || {
        waiting = ended();
        long(&waiting) && is(sandbox, "Restarting")
    });
    sandbox.sh(&format!("kill -9 {}", waiting["again_by"]["pid"])).expect_code(0);
    eventually("nobody waits any more", seconds(20), || is(sandbox, "Exited (3)"));
    id
}

#[test]
fn where_who_waits_to_start_it_again_is_killed_the_next_command_starts_it() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let id = waits_in_vain(&sandbox);
    let (stands, count) = (runs(&sandbox, &id), inspect(&sandbox, "web")["RestartCount"].clone());
    eventually("it has run", seconds(20), || runs(&sandbox, &id) > stands);
    assert!(count.as_u64().unwrap() >= 5, "{count}: it is not the first start");
    does(&sandbox, &["rm", "-f", "web"]);
    for end in [&["stop", "web"][..], &["rm", "-f", "web"]] {
        let id = waits_in_vain(&sandbox);
        let started = || {
            does(&sandbox, &["events", "--since", "1h", "--until", "0s", "--filter", "event=start"])
                .stdout
                .lines()
                .count()
        };
        let (stands, starts) = (runs(&sandbox, &id), started());
        assert!(starts >= stands && starts > 4, "{starts} were told");
        does(&sandbox, &["container", "prune", "-f"]); // it is not over
        does(&sandbox, &["run", "--explain", "--volumes-from", "web", "busybox", "true"]);
        does(&sandbox, end);
        does(&sandbox, &["repair"]);
        if end[0] == "stop" {
            assert_eq!(inspect(&sandbox, "web")["State"]["Status"], "exited");
            assert_eq!(runs(&sandbox, &id), stands);
        }
        assert_eq!(started(), starts, "{end:?}");
        does(&sandbox, &["rm", "-f", "web"]);
    }
}

#[test]
fn what_cannot_be_started_again_says_why_and_is_left_alone() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let flags = ["run", "-d", "--name", "web", "--restart", "always", "-p", "8099:80", "busybox"];
    does(&sandbox, &[&flags[..], &["sh", "-c", "[ -e /once ] && exec sleep 1000; touch /once; exit 3"]].concat());
    eventually("it is up again", seconds(20), || !sandbox.in_pids("sleep 1000").is_empty() && is(&sandbox, "Up"));
    let file =
        sandbox.path("root/containers").join(inspect(&sandbox, "web")["Id"].as_str().unwrap()).join("ended.json");
    // its image goes meanwhile, as no command would let it: a start cannot even be planned
    let images = sandbox.path("root/images");
    std::fs::rename(&images, sandbox.path("gone")).unwrap();
    sandbox.sh(&format!("kill -9 {}", pid(&sandbox, "web"))).expect_code(0);
    let again_by = || -> Value {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        serde_json::from_str::<Value>(&text).map_or(Value::Bool(true), |ended| ended["again_by"].clone())
    };
    eventually("nobody tries any more", seconds(20), || again_by().is_null());
    let ended = state(&sandbox);
    assert!(ended["Error"].as_str().unwrap().contains("no image"), "{ended}");
    let _made_anew = std::fs::remove_dir_all(&images);
    std::fs::rename(sandbox.path("gone"), &images).unwrap();
    assert_eq!(state(&sandbox)["Status"], "exited");
    does(&sandbox, &["start", "web"]);
    assert!(is(&sandbox, "Up"));
}

#[test]
fn one_that_ends_while_it_is_stopped_stays_so() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for _ in 0..10 {
        let id = restarting(&sandbox, "always", "exit 3");
        eventually("it has run", seconds(20), || runs(&sandbox, &id) >= 2);
        does(&sandbox, &["stop", "web"]);
        let stands = runs(&sandbox, &id);
        assert_eq!(state(&sandbox)["Status"], "exited");
        assert_eq!(runs(&sandbox, &id), stands);
        does(&sandbox, &["rm", "web"]);
    }
}

#[test]
fn a_monitor_that_does_not_answer_holds_nobody_up_for_ever() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    restarting(&sandbox, "always", "exec sleep 1000");
    let monitor = monitor(&sandbox, "web");
    sandbox.sh(&format!("kill -STOP {monitor}")).expect_code(0);
    refused(&sandbox, &["stop", "web"], 1, "does not answer");
    does(&sandbox, &["rm", "-f", "web"]);
    assert_eq!(row(&sandbox, "web"), None);
    assert!(sandbox.in_pids("sleep 1000").is_empty());
}

#[test]
fn killed_for_its_memory_it_comes_back() {
    requires![root, cgroup("memory")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let eats = "[ $(wc -l </runs) -gt 1 ] && exec sleep 1000; a=x; while :; do a=$a$a; done";
    let flags = ["--name", "web", "--restart", "on-failure", "-m", "32m"];
    let id = up_alone(&sandbox, &flags, &["sh", "-c", &format!("{COUNTED}{eats}")]);
    eventually("it is back", seconds(60), || runs(&sandbox, &id) == 2 && is(&sandbox, "Up"));
}

#[test]
fn after_a_reboot_those_are_started_that_shall_be() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let up = |name: &str, policy: &str, command: &[&str]| {
        up_alone(&sandbox, &["--name", name, "--restart", policy], command)
    };
    let sleep = &["sleep", "1000"][..];
    let ids: Vec<String> =
        [("a", "always"), ("b", "unless-stopped"), ("c", "always"), ("d", "unless-stopped"), ("e", "no")]
            .iter()
            .map(|(name, policy)| up(name, policy, sleep))
            .collect();
    does(&sandbox, &["stop", "-t", "0", "c", "d"]);
    does(&sandbox, &["create", "--name", "f", "--restart", "always", "--network", "none", "busybox", "sleep", "1000"]);
    // what a reboot leaves: no process, nothing below /run, records of another boot
    sandbox.sh("kill -9 $(pidof minirun-monitor); kill -9 $(pidof sleep)").expect_code(0);
    eventually("all are gone", seconds(20), || sandbox.in_pids("sleep 1000").is_empty());
    std::fs::remove_dir_all(sandbox.path("state")).unwrap();
    for id in &ids {
        let file = sandbox.path("root/containers").join(id).join("started.json");
        let text = std::fs::read_to_string(&file).unwrap();
        let mut started: Value = serde_json::from_str(&text).unwrap();
        started["init"]["boot_id"] = "00000000-0000-0000-0000-000000000000".into();
        std::fs::write(&file, started.to_string()).unwrap();
    }
    let said = does(&sandbox, &["start", "--restart-policy"]).stdout;
    let mut names: Vec<&str> = said.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "c"]);
    for (name, status) in [("a", "Up"), ("b", "Up"), ("c", "Up"), ("d", "Exited"), ("e", "Exited"), ("f", "Created")] {
        assert!(row(&sandbox, name).unwrap().contains(status), "{name}");
    }
    assert_eq!(does(&sandbox, &["start", "--restart-policy"]).stdout, ""); // all is as it shall be
}

#[test]
fn one_that_ends_before_its_monitor_is_told_is_stopped_all_the_same() {
    requires![root, tool("strace")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    // five restarts: before the sixth its monitor waits for seconds
    let id = restarting(&sandbox, "always", "[ $(wc -l </runs) -gt 5 ] && exec sleep 1000; exit 3");
    eventually("it stays up", seconds(30), || !sandbox.in_pids("sleep 1000").is_empty());
    let (init, list) = (pid(&sandbox, "web"), sandbox.path("list"));
    // it has looked at the container, and is about to tell its monitor
    let mut stop = sandbox.command("strace");
    stop.args(["-qq", "-e", "trace=socket", "-e", "inject=socket:signal=STOP:when=1", "-o"]).arg(&list);
    let stop = Running::start(stop.arg(minirun_binary()).args(["stop", "web"]));
    let stands = || std::fs::read_to_string(&list).unwrap_or_default().contains("stopped by SIGSTOP");
    eventually("the command stands still", seconds(20), stands);
    sandbox.sh(&format!("kill -9 {init}")).expect_code(0);
    eventually("the monitor waits", seconds(20), || is(&sandbox, "Restarting (137)"));
    sandbox.sh("kill -CONT $(pidof minirun)").expect_code(0);
    stop.output().expect_code(0);
    assert!(is(&sandbox, "Exited (137)"));
    assert_eq!(runs(&sandbox, &id), 6);
}
