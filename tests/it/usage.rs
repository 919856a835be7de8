//! What containers use and what runs in them, and other limits for those that run.

use crate::detached::{OBEDIENT, does, eventually_logs, inspect, pid, refused, row, up, up_alone};
use crate::support::command::{eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;

/// A cgroup file of a container, by its name on v1 and on v2.
fn cgroup_file(sandbox: &Sandbox, v1: &str, v2: &str) -> String {
    let dirs = inspect(sandbox, "web")["Host"]["Cgroups"].clone();
    let dirs = dirs.as_array().unwrap().iter().map(|dir| dir.as_str().unwrap());
    let files: Vec<String> = dirs.flat_map(|dir| [v1, v2].map(|file| format!("{dir}/{file}"))).collect();
    sandbox.sh(&format!("cat {} 2>/dev/null", files.join(" "))).stdout.trim().to_owned()
}

#[test]
fn limits_change_under_a_running_container() {
    requires![root, cgroup("memory"), cgroup("pids"), cgroup("cpu")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let memory = || cgroup_file(&sandbox, "memory.limit_in_bytes", "memory.max");
    up_alone(&sandbox, &["--name", "web", "-m", "64m", "--pids-limit", "20"], &["sleep", "1000"]);
    assert_eq!(memory(), (64 << 20).to_string());
    for limit in [128, 32, 512] {
        does(&sandbox, &["update", "-m", &format!("{limit}m"), "web"]); // swap goes with it, up and down
        assert_eq!(memory(), (limit << 20).to_string());
    }
    does(&sandbox, &["update", "--pids-limit", "30", "--cpus", "0.5", "web"]);
    assert_eq!(cgroup_file(&sandbox, "pids.max", "pids.max").lines().next(), Some("30"));
    assert_eq!(memory(), (512 << 20).to_string()); // what was not named stays
    let host = &inspect(&sandbox, "web")["HostConfig"];
    assert_eq!((host["Memory"].as_i64(), host["PidsLimit"].as_i64()), (Some(512 << 20), Some(30)));
    // and what is refused changes nothing
    refused(&sandbox, &["update", "-m", "1m", "web"], 1, "6");
    refused(&sandbox, &["update", "-m", "256m", "--cpuset-cpus", "4095", "web"], 1, "4095");
    assert_eq!(memory(), (512 << 20).to_string());
    // it is what the next start has
    does(&sandbox, &["stop", "-t", "0", "web"]);
    does(&sandbox, &["update", "-m", "96m", "web"]);
    does(&sandbox, &["start", "web"]);
    assert_eq!(memory(), (96 << 20).to_string());
}

#[test]
fn another_policy_holds_for_the_next_end() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let kill = || sandbox.sh(&format!("kill -9 {}", pid(&sandbox, "web"))).expect_code(0);
    up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    does(&sandbox, &["update", "--restart", "always", "web"]);
    let first = pid(&sandbox, "web");
    kill();
    eventually("it is back", seconds(20), || {
        let state = inspect(&sandbox, "web")["State"].clone();
        state["Running"] == true && state["Pid"] != first
    });
    does(&sandbox, &["update", "--restart", "no", "web"]);
    kill();
    eventually("it stays ended", seconds(20), || row(&sandbox, "web").unwrap().contains("Exited (137)"));
    up_alone(&sandbox, &["--name", "goes", "--rm"], &["sleep", "1000"]);
    refused(&sandbox, &["update", "--restart", "always", "goes"], 1, "--rm");
}

#[test]
fn stats_show_what_is_used() {
    requires![root, cgroup("memory"), cgroup("pids"), cgroup("cpu"), tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up(&sandbox, &["--name", "busy", "-m", "64m"], &["sh", "-c", "while :; do :; done"]);
    up_alone(&sandbox, &["--name", "idle"], &["sleep", "1000"]);
    up_alone(&sandbox, &["--name", "ended"], &["true"]);
    does(&sandbox, &["wait", "ended"]);
    let all = does(&sandbox, &["stats", "--no-stream"]).stdout;
    let row = |name: &str| -> Vec<String> {
        let line = all.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {all}"));
        line.split("   ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
    };
    assert!(all.starts_with("CONTAINER ID") && !all.contains("ended"), "{all}");
    let share = |name: &str| row(name)[2].trim_end_matches('%').parse::<f64>().unwrap();
    assert!(share("busy") > share("idle").max(1.0), "{all}");
    assert!(row("busy")[3].ends_with("/ 64MiB"), "{all}");
    assert!(!row("busy")[5].starts_with("0B / 0B") && row("idle")[5] == "0B / 0B", "{all}");
    assert_eq!(row("idle")[7], "1", "{all}");
    let one = does(&sandbox, &["stats", "--no-stream", "ended"]).stdout;
    assert!(one.lines().count() == 2 && one.contains("0.00%"), "{one}");
    let format = ["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "idle"];
    assert_eq!(does(&sandbox, &format).stdout, "idle 1\n");
    refused(&sandbox, &["stats", "--no-stream", "nobody"], 1, "no container nobody");
}

#[test]
fn top_shows_the_processes() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web", "-u", "1234"], &["sh", "-c", &format!("sleep 999 & {OBEDIENT}")]);
    eventually_logs(&sandbox, "web", "ready");
    eventually("it sleeps", seconds(20), || does(&sandbox, &["top", "web"]).stdout.contains("sleep 999"));
    let said = does(&sandbox, &["top", "web"]).stdout;
    let header: Vec<&str> = said.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    let line = said.lines().find(|line| line.ends_with("sleep 999")).unwrap();
    let pid = pid(&sandbox, "web").to_string();
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((cells[0], cells[2]), ("1234", pid.as_str()), "{said}");
    let said = does(&sandbox, &["top", "web", "-eo", "pid,comm"]).stdout;
    assert!(said.contains("sleep") && !said.contains("minirun"), "{said}");
    refused(&sandbox, &["top", "web", "-eo", "comm"], 1, "PID");
    refused(&sandbox, &["top", "web", "--no-such-option"], 1, "ps");
    does(&sandbox, &["stop", "-t", "0", "web"]);
    refused(&sandbox, &["top", "web"], 1, "not running");
}
