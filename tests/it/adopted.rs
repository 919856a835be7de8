//! Containers whose monitor was killed: they go on, and the next command gives them another one.

use crate::detached::{OBEDIENT, does, eventually_logs, inspect, monitor, pid, row, up, up_alone};
use crate::support::command::{eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use crate::support::snapshot::Snapshot;

/// Kills the monitor of a container, and gives its pid.
pub fn kill_monitor(sandbox: &Sandbox, name: &str) -> u64 {
    let monitor = monitor(sandbox, name);
    sandbox.sh(&format!("kill -9 {monitor}; while kill -0 {monitor} 2>/dev/null; do sleep 0.01; done")).expect_code(0);
    monitor
}

fn monitors(sandbox: &Sandbox) -> usize {
    sandbox.sh("cat /proc/[0-9]*/comm").stdout.matches("minirun-monitor").count()
}

/// Whether exactly one other monitor looks after it.
fn assert_adopted(sandbox: &Sandbox, name: &str, killed: u64) {
    assert_ne!(monitor(sandbox, name), killed);
    // that of an exec may still be on its way to its end
    eventually("there is one monitor", seconds(20), || monitors(sandbox) == 1);
}

#[test]
fn every_command_finds_it_a_monitor_and_it_goes_on() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let script = "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.02; done";
    up_alone(&sandbox, &["--name", "web"], &["sh", "-c", script]);
    let before = pid(&sandbox, "web");
    for command in [
        &["ps"][..],
        &["exec", "web", "true"],
        &["logs", "web"],
        &["inspect", "web"],
        &["port", "web"],
        &["kill", "-s", "CONT", "web"],
        &["start", "web"],
    ] {
        let killed = kill_monitor(&sandbox, "web");
        does(&sandbox, command);
        assert_adopted(&sandbox, "web", killed);
        let said = does(&sandbox, &["logs", "--tail", "1", "web"]).stdout;
        eventually("its words go on into the log", seconds(20), || {
            does(&sandbox, &["logs", "--tail", "1", "web"]).stdout != said
        });
    }
    assert_eq!(pid(&sandbox, "web"), before);
    let log = does(&sandbox, &["logs", "web"]).stdout;
    let numbers: Vec<u32> = log.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "nothing comes twice: {numbers:?}");
    // each of the seven may have died between reading a line and writing it down
    let lost = numbers.last().unwrap() - numbers.len() as u32;
    assert!(lost <= 7, "{lost} lines are lost: {numbers:?}");
}

#[test]
fn what_it_says_without_a_monitor_is_not_lost() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let shared = sandbox.path("shared");
    std::fs::create_dir(&shared).unwrap();
    let volume = format!("{}:/in", shared.display());
    let script = "wait() { while [ ! -e /in/$1 ]; do sleep 0.02; done; }
        echo before; wait killed; echo meanwhile; echo apart >&2; touch /in/said; wait adopted; printf after";
    up_alone(&sandbox, &["--name", "web", "-v", &volume], &["sh", "-c", script]);
    eventually_logs(&sandbox, "web", "before");
    kill_monitor(&sandbox, "web");
    std::fs::write(shared.join("killed"), "").unwrap();
    eventually("it says something", seconds(20), || shared.join("said").exists());
    does(&sandbox, &["ps"]);
    std::fs::write(shared.join("adopted"), "").unwrap();
    assert_eq!(sandbox.minirun(&["wait", "web"]).text(), "0");
    let said = does(&sandbox, &["logs", "web"]);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("before\nmeanwhile\nafter", "apart\n"));
}

#[test]
fn who_follows_its_log_or_waits_for_it_does_so_to_the_end() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web"], &["sh", "-c", OBEDIENT]);
    eventually_logs(&sandbox, "web", "ready");
    for command in [&["logs", "-f", "web"][..], &["wait", "web"]] {
        let running = sandbox.start(command);
        let is_ready = || match command[0] {
            "wait" => sandbox.in_network("ss -xH state established | grep -q /attach").code() == 0,
            _ => sandbox.sh("readlink /proc/*/fd/*").stdout.contains("inotify"),
        };
        eventually("the command waits", seconds(20), is_ready);
        kill_monitor(&sandbox, "web");
        eventually("the command finds another monitor", seconds(20), || monitors(&sandbox) == 1);
        does(&sandbox, &["kill", "-s", "TERM", "web"]);
        assert!(running.output().text().ends_with(if command[0] == "wait" { "9" } else { "ready\ntold" }));
        does(&sandbox, &["start", "web"]);
        eventually_logs(&sandbox, "web", "told\nready");
    }
}

#[test]
fn its_end_is_known_and_nothing_is_left() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    // an address by name, for the network's record says which was lent last
    does(&sandbox, &["run", "--rm", "-p", "8080:80", "--ip", "172.18.0.9", "busybox", "true"]);
    let before = Snapshot::of(&sandbox);
    let flags = ["--name", "web", "-p", "8080:80", "--ip", "172.18.0.9", "-m", "64m"];
    for (adopter, end, code) in [
        (&["ps"][..], &["stop", "web"][..], "9"),
        (&["stop", "web"], &["ps"], "9"),
        (&["ps"], &["kill", "web"], "137"),
        (&["kill", "web"], &["ps"], "137"),
    ] {
        up(&sandbox, &flags, &["sh", "-c", OBEDIENT]);
        eventually_logs(&sandbox, "web", "ready");
        kill_monitor(&sandbox, "web");
        does(&sandbox, adopter);
        does(&sandbox, end);
        assert_eq!(sandbox.minirun(&["wait", "web"]).text(), code, "{adopter:?} {end:?}");
        assert_eq!(inspect(&sandbox, "web")["State"]["ExitCode"].to_string(), code);
        does(&sandbox, &["rm", "web"]);
        before.assert_same(&sandbox);
    }
    for adopter in [&["ps"][..], &["version"]] {
        up(&sandbox, &flags, &["sleep", "1000"]);
        kill_monitor(&sandbox, "web");
        does(&sandbox, adopter);
        does(&sandbox, &["rm", "-f", "web"]);
        before.assert_same(&sandbox);
    }
    up(&sandbox, &[&flags[..], &["--rm"]].concat(), &["sh", "-c", OBEDIENT]);
    eventually_logs(&sandbox, "web", "ready");
    kill_monitor(&sandbox, "web");
    does(&sandbox, &["stop", "web"]);
    assert!(row(&sandbox, "web").is_none());
    before.assert_same(&sandbox);
}

#[test]
fn many_commands_at_once_give_it_one_monitor() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    let killed = kill_monitor(&sandbox, "web");
    let args: Vec<_> = (0..6).map(|_| sandbox.start(&["exec", "web", "true"])).collect();
    args.into_iter().for_each(|running| drop(running.output().expect_code(0)));
    assert_adopted(&sandbox, "web", killed);
}

#[test]
fn its_ports_stay_its_own() {
    requires![root, tool("nft"), tool("ss"), tool("perl")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let flags = ["--name", "web", "-p", "8080:80", "-p", "8081:81", "-p", "127.0.0.1:8082:82/udp"];
    up(&sandbox, &flags, &["sleep", "1000"]);
    let is_kept = || {
        let bind = "socket(S, PF_INET, SOCK_STREAM, 0) && bind(S, sockaddr_in(8080, INADDR_ANY)) || print $!";
        let tcp = sandbox.in_network(&format!("perl -MSocket -e '{bind}'")).stdout == "Address already in use";
        let udp = sandbox.in_network("ss -Huan 'sport = :8082'").stdout.contains("127.0.0.1:8082");
        [tcp, udp]
    };
    assert_eq!(is_kept(), [true; 2]);
    kill_monitor(&sandbox, "web");
    assert_eq!(is_kept(), [false; 2]);
    // somebody else takes one of them meanwhile
    sandbox.sh("busybox nc -l -p 8081 </dev/null >/dev/null 2>&1 &").expect_code(0);
    eventually("it listens", seconds(20), || sandbox.sh("ss -Hltn 'sport = :8081'").stdout.contains("8081"));
    does(&sandbox, &["ps"]);
    assert_eq!(is_kept(), [true; 2]);
    let id = inspect(&sandbox, "web")["Id"].as_str().unwrap().to_owned();
    let notes = std::fs::read_to_string(sandbox.path("root/containers").join(id).join("monitor.log")).unwrap();
    assert!(notes.contains("port 8081/tcp is not kept from other programs"), "{notes}");
    assert!(!notes.contains("8080"), "{notes}");
    does(&sandbox, &["rm", "-f", "web"]);
    assert_eq!(is_kept(), [false; 2]);
}
