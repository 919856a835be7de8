//! Limits that hold, on v1 and v2 alike: memory, processes, processor time.

use crate::support::command::{eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use std::path::Path;

#[test]
fn a_program_that_eats_more_than_its_memory_is_killed() {
    requires![root, cgroup("memory")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let eat = |limit| {
        // tail keeps its whole input, for there is no line's end in it
        let script = "dd if=/dev/zero bs=1M count=200 2>/dev/null | tr '\\0' x | exec tail -n 1 >/dev/null";
        sandbox.minirun(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-m",
            limit,
            "--memory-swap",
            limit,
            "busybox",
            "sh",
            "-c",
            script,
        ])
    };
    eat("64m").expect_code(137);
    eat("600m").expect_code(0); // the control: it was the limit
}

#[test]
fn a_fork_loop_ends_at_the_limit() {
    requires![root, cgroup("pids")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let script = "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i + 1)); done; echo all $i";
    let run = |limit| {
        sandbox.minirun(&["run", "--rm", "--network", "none", "--pids-limit", limit, "busybox", "sh", "-c", script])
    };
    let said = run("20");
    assert!(said.stderr.contains("can't fork") && !said.stdout.contains("all"), "{said}");
    assert_eq!(run("60").text(), "all 40"); // the control
}

#[test]
fn half_a_processor_is_half_a_processor() {
    requires![root, cgroup("cpu")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let running = sandbox.start(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--cpus",
        "0.5",
        "busybox",
        "sh",
        "-c",
        "while :; do :; done",
    ]);
    eventually("the loop runs", seconds(20), || usage(&sandbox) > 0.1);
    let (began, before) = (std::time::Instant::now(), usage(&sandbox));
    eventually("a second of processor time is used", seconds(60), || usage(&sandbox) >= before + 1.0);
    let share = (usage(&sandbox) - before) / began.elapsed().as_secs_f64();
    drop(running);
    assert!(share < 0.6, "{share} processors");
}

#[test]
fn a_block_device_has_limits() {
    requires![root, cgroup("io")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let device = std::fs::read_dir("/sys/block").unwrap().flatten().next().expect("a block device");
    let numbers = std::fs::read_to_string(device.path().join("dev")).unwrap();
    let device = format!("/dev/{}", device.file_name().to_str().unwrap());
    let files = "cd /sys/fs/cgroup; cat io.max blkio/blkio.throttle.read_bps_device \
                 blkio/blkio.throttle.write_iops_device 2>/dev/null";
    let run = |flags: &[&str]| {
        let words = [&["run", "--rm", "--network", "none"], flags, &["busybox", "sh", "-c", files]].concat();
        sandbox.minirun(&words)
    };
    let (rate, count) = (format!("{device}:1mb"), format!("{device}:77"));
    let said = run(&["--device-read-bps", &rate, "--device-write-iops", &count]);
    for part in [numbers.trim(), "1048576", "77"] {
        assert!(said.stdout.contains(part), "{said}");
    }
    assert!(!run(&[]).stdout.contains(numbers.trim())); // the control
    let refused = run(&["--device-read-bps", "/dev/null:1mb"]).expect_code(125);
    assert!(refused.stderr.contains("/dev/null is no block device"), "{refused}");
}

#[test]
fn a_container_may_be_below_another_cgroup() {
    requires![root, cgroup("pids")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let start = |name: &str, parent: &str| {
        let words = ["run", "-d", "--name", name, "--network", "none", "--cgroup-parent", parent];
        sandbox.minirun(&[&words[..], &["-m", "64m", "busybox", "sleep", "1000"]].concat())
    };
    start("under", "batch/night").expect_code(0);
    let spec = |what: &str| sandbox.minirun(&["inspect", "-f", what, "under"]).text();
    assert!(spec("{{.Spec.linux.cgroupsPath}}").ends_with(&format!("/batch/night/{}", spec("{{.Id}}"))));
    for line in [
        &["exec", "under", "true"][..],
        &["update", "--pids-limit", "77", "under"],
        &["pause", "under"],
        &["unpause", "under"],
        &["stats", "--no-stream", "under"],
    ] {
        sandbox.minirun(line).expect_code(0);
    }
    sandbox.minirun(&["rm", "-f", "under"]).expect_code(0);
    let refused = start("nowhere", "/no/such/group").expect_code(125);
    assert!(refused.stderr.contains("there is no cgroup /no/such/group"), "{refused}");
}

/// Seconds of processor time that the busiest container's group has used.
fn usage(sandbox: &Sandbox) -> f64 {
    let used = sandbox.cgroup_branches().iter().map(|branch| busiest(branch, branch)).collect::<Vec<_>>();
    used.into_iter().fold(0.0, f64::max)
}

/// Of the leaf groups at and below `dir`, what the one has used that used most; 0 where the hierarchy counts no time.
fn busiest(branch: &Path, dir: &Path) -> f64 {
    let below: Vec<_> = std::fs::read_dir(dir).into_iter().flatten().flatten().filter(|e| e.path().is_dir()).collect();
    let is_containers = below.is_empty() && !dir.ends_with("init.scope") && dir != branch;
    let own = if is_containers { processor_seconds(dir).unwrap_or(0.0) } else { 0.0 };
    below.iter().map(|entry| busiest(branch, &entry.path())).fold(own, f64::max)
}

fn processor_seconds(group: &Path) -> Option<f64> {
    if let Ok(nanoseconds) = std::fs::read_to_string(group.join("cpuacct.usage")) {
        return Some(nanoseconds.trim().parse::<f64>().unwrap() / 1e9);
    }
    if !group.join("cgroup.controllers").exists() || !group.join("cpu.max").exists() {
        return None; // v1 without cpuacct, or the v2 side of a hybrid
    }
    let stat = std::fs::read_to_string(group.join("cpu.stat")).ok()?;
    let microseconds = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    Some(microseconds.parse::<f64>().unwrap() / 1e6)
}

#[test]
fn a_container_sees_its_own_limits() {
    requires![root, cgroup("memory"), cgroup("pids")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let script =
        "cd /sys/fs/cgroup; cat memory.max pids.max 2>/dev/null || cat memory/memory.limit_in_bytes pids/pids.max";
    let args = ["run", "--rm", "--network", "none", "-m", "64m", "--pids-limit", "20", "busybox", "sh", "-c", script];
    assert_eq!(sandbox.minirun(&args).text(), "67108864\n20");
}

#[test]
fn no_group_outlives_its_container() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let run = || sandbox.minirun(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", "sleep 1000 & exit 0"]);
    run().expect_code(0);
    let before = crate::support::snapshot::Snapshot::of(&sandbox);
    run().expect_code(0);
    before.assert_same(&sandbox);
}
