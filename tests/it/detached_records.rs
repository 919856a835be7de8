//! Records that are broken or lie: every container is still listed, what is ours goes, and no innocent process is hit.

use crate::detached::{does, inspect, monitor, refused, row, up, up_alone};
use crate::support::command::{eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use crate::support::snapshot::Snapshot;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Where a container has one of its records.
fn record(sandbox: &Sandbox, id: &str, file: &str) -> PathBuf {
    let root = if file == "life.json" { "state" } else { "root" };
    sandbox.path(root).join("containers").join(id).join(file)
}

fn edit(path: &PathBuf, change: impl Fn(&mut Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

#[test]
fn a_broken_record_hides_no_other_container_and_can_be_removed() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "other"], &["sleep", "1000"]);
    let flags = ["--name", "web", "--ip", "172.18.0.9", "-p", "8080:80"];
    does(&sandbox, &[&["run", "--rm"], &flags[..], &["busybox", "true"]].concat());
    let before = Snapshot::of(&sandbox);
    type Harm = fn(&PathBuf);
    let harms: [(&str, Harm); 5] = [
        ("corrupt", |path| std::fs::write(path, "\0\u{1}}{ no record").unwrap()),
        ("truncated", |path| {
            let whole = std::fs::read(path).unwrap();
            std::fs::write(path, &whole[..whole.len() / 2]).unwrap();
        }),
        ("empty", |path| std::fs::write(path, "").unwrap()),
        ("missing", |path| std::fs::remove_file(path).unwrap()),
        ("newer", |path| edit(path, |record| record["version"] = json!(99))),
    ];
    for file in ["config.json", "started.json", "life.json"] {
        for (harm, hurt) in harms {
            let id = up(&sandbox, &flags, &["sleep", "1000"]);
            hurt(&record(&sandbox, &id, file));
            let list = does(&sandbox, &["ps", "-a"]).stdout;
            assert!(list.contains("Up") && list.contains("other"), "{harm} {file}: {list}");
            for word in ["inspect", "stop", "logs"] {
                sandbox.minirun(&[word, &id]); // an answer, whatever it is
            }
            does(&sandbox, &["rm", "-f", &id]);
            before.assert_same(&sandbox);
        }
    }
    assert_eq!(inspect(&sandbox, "other")["State"]["Running"], true);
}

#[test]
fn a_running_container_is_not_removed_without_force_whatever_its_record_says() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let id = up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    let path = record(&sandbox, &id, "config.json");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, "{").unwrap();
    let said = sandbox.minirun(&["rm", &id]).expect_code(1);
    assert!(said.stderr.contains("minirun rm -f"), "{said}");
    // nor where nothing is known of its life but that it has a monitor
    let life = record(&sandbox, &id, "life.json");
    let away = life.with_extension("away");
    std::fs::rename(&life, &away).unwrap();
    let said = sandbox.minirun(&["rm", &id]).expect_code(1);
    assert!(said.stderr.contains("minirun rm -f"), "{said}");
    does(&sandbox, &["repair"]);
    std::fs::rename(&away, &life).unwrap();
    assert_eq!(sandbox.in_pids("sleep 1000").len(), 1);
    std::fs::write(&path, whole).unwrap(); // the control: it is whole again
    assert_eq!(inspect(&sandbox, "web")["State"]["Running"], true);
    does(&sandbox, &["rm", "-f", "web"]);
    assert!(sandbox.in_pids("sleep 1000").is_empty());
}

#[test]
fn a_broken_name_is_nobodys() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "other"], &["sleep", "1000"]);
    let link = sandbox.path("root").join("names/web");
    for harm in ["true", "echo no link >web", "ln -s ../../etc web", "ln -s 0123456789ab web"] {
        let id = up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
        std::fs::remove_file(&link).unwrap();
        sandbox.sh(&format!("cd {} && {harm}", link.parent().unwrap().display())).expect_code(0);
        assert!(row(&sandbox, "web").is_some() && row(&sandbox, "other").is_some(), "{harm}");
        sandbox.minirun(&["stop", "-t", "0", "web"]).expect_code(1);
        assert_eq!(inspect(&sandbox, &id)["State"]["Running"], true);
        does(&sandbox, &["rm", "-f", &id]);
        let _the_name_of_nobody = std::fs::remove_file(&link);
    }
    does(&sandbox, &["rm", "-f", "other"]);
}

/// A process that is none of ours, and who it is.
fn innocent(sandbox: &Sandbox) -> (String, Value) {
    let start = "sleep 555 </dev/null >/dev/null 2>&1 & until grep -q sleep /proc/$!/comm; do :; done; echo $!; cut -d' ' -f22 /proc/$!/stat; cat /proc/sys/kernel/random/boot_id";
    let said = sandbox.sh(start).text();
    let mut lines = said.lines();
    let pid = lines.next().unwrap().to_owned();
    let start_time: u64 = lines.next().unwrap().parse().unwrap();
    let boot_id = lines.next().unwrap();
    let identity = json!({ "pid": pid.parse::<i32>().unwrap(), "start_time": start_time, "boot_id": boot_id });
    (pid, identity)
}

#[test]
fn only_the_very_same_process_is_ever_signalled() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["run", "--rm", "--network", "none", "busybox", "true"]);
    let (pid, right) = innocent(&sandbox);
    let lives = |pid: &str| {
        sandbox.sh(&format!("grep -q sleep /proc/{pid}/comm && ! grep -q 'State:.Z' /proc/{pid}/status")).code() == 0
    };
    let before = Snapshot::of(&sandbox);
    let lie = |key: &'static str, value: Value| {
        let mut identity = right.clone();
        identity[key] = value;
        identity
    };
    let reused = lie("start_time", json!(right["start_time"].as_u64().unwrap() - 1));
    let rebooted = lie("boot_id", json!("00000000-0000-0000-0000-000000000000"));
    let commands = [&["stop", "-t", "0", "web"][..], &["kill", "web"], &["rm", "-f", "web"], &["repair"]];
    for (identity, who) in [(&reused, &["init"][..]), (&reused, &["monitor"]), (&rebooted, &["init", "monitor"])] {
        for command in commands {
            let id = up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
            edit(&record(&sandbox, &id, "life.json"), |life| who.iter().for_each(|who| life[who] = identity.clone()));
            sandbox.minirun(command);
            sandbox.minirun(&["rm", "-f", "web"]);
            assert!(lives(&pid), "{identity} {who:?} {command:?}");
            eventually("ours is gone", seconds(10), || sandbox.in_pids("sleep 1000").is_empty());
            before.assert_same(&sandbox);
        }
    }
    // the control: it is believed where pid, start time and boot are right, by every command that signals
    for command in &commands[..3] {
        let (pid, right) = innocent(&sandbox);
        let id = up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
        for file in ["life.json", "started.json"] {
            edit(&record(&sandbox, &id, file), |record| record["init"] = right.clone());
        }
        assert!(lives(&pid));
        does(&sandbox, command);
        eventually("it ends", seconds(10), || !lives(&pid));
        sandbox.minirun(&["rm", "-f", "web"]);
    }
    assert!(lives(&pid));
}

#[test]
fn a_monitor_that_is_held_is_named_where_its_container_cannot_be_removed() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let id = up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    let monitor = monitor(&sandbox, "web");
    std::fs::remove_file(record(&sandbox, &id, "life.json")).unwrap();
    sandbox.sh(&format!("kill -STOP {monitor}")).expect_code(0);
    refused(&sandbox, &["rm", "-f", "web"], 1, "minirun-monitor");
    sandbox.sh(&format!("kill -CONT {monitor}")).expect_code(0);
    does(&sandbox, &["rm", "-f", "web"]);
    assert!(sandbox.in_pids("sleep 1000").is_empty());
}

#[test]
fn what_goes_with_its_end_does_not_outlive_its_boot() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let create = |flags: &[&str]| {
        let words = [&["create", "--name", "web", "--network", "none"], flags, &["busybox", "sleep", "1000"]];
        let id = does(&sandbox, &words.concat()).text();
        let init = json!({ "pid": 1, "start_time": 1, "boot_id": "00000000-0000-0000-0000-000000000000" });
        let started = json!({ "version": 1, "init": init, "at": "2026-01-01T00:00:00Z" });
        std::fs::write(record(&sandbox, &id, "started.json"), started.to_string()).unwrap();
        assert!(row(&sandbox, "web").unwrap().contains("Exited (unknown)"));
    };
    create(&["--rm"]);
    create(&["--rm"]); // its name was free
    does(&sandbox, &["repair"]);
    assert_eq!(row(&sandbox, "web"), None);
    create(&[]); // the control
    does(&sandbox, &["repair"]);
    assert!(row(&sandbox, "web").unwrap().contains("Exited (unknown)"));
    refused(&sandbox, &["create", "--name", "web", "busybox", "true"], 125, "web");
}
