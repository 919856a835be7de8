//! Standing in front of a container: attached when it starts or later, left by keys, come back to.

use crate::detached::{OBEDIENT, does, eventually_logs, inspect, pid, refused, row, up_alone};
use crate::support::command::{Running, eventually, output, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::terminal::Terminal;

#[test]
fn a_terminal_is_left_by_its_keys_and_come_back_to() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let run = ["run", "-it", "--name", "web", "--network", "none", "busybox", "sh"];
    let mut first = Terminal::start(&sandbox.minirun_command(&run));
    first.write("A=kept; stty size\n");
    first.expect("37 101");
    first.write("\x10\x11");
    assert_eq!(first.code(), 0);
    assert!(row(&sandbox, "web").unwrap().contains("Up"));

    // two in front of it: both see the same, and each may type
    let attach = sandbox.minirun_command(&["attach", "--detach-keys", "ctrl-a,d", "web"]);
    let (mut second, mut third) = (Terminal::start(&attach), Terminal::start(&attach));
    second.expect("# "); // the shell draws its prompt again
    third.expect("# ");
    second.write("echo $A-$A\n");
    second.expect("kept-kept");
    third.expect("kept-kept");
    second.write("\x01d");
    assert_eq!(second.code(), 0);
    third.write("exit 7\n");
    assert_eq!(third.code(), 7);
    assert!(row(&sandbox, "web").unwrap().contains("Exited (7)"));

    refused(&sandbox, &["attach", "web"], 1, "does not run");
    let mut again = Terminal::start(&sandbox.minirun_command(&["start", "-ai", "web"]));
    again.write("exit 3\n");
    assert_eq!(again.code(), 3);
}

#[test]
fn a_terminal_is_what_it_was_however_its_command_ends() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for end in ["exit", "kill -9 $(pgrep -x minirun)", "kill -TERM $(pgrep -x minirun)"] {
        let run = [
            "run",
            "--rm",
            "-it",
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            "trap 'exit 0' TERM; echo ready; while read -r line; do $line; done",
        ];
        let mut terminal = Terminal::start(&sandbox.minirun_command(&run));
        terminal.expect("ready");
        eventually("it is raw", seconds(20), || !terminal.is_cooked());
        match end {
            "exit" => terminal.write("exit\n"),
            kill => drop(sandbox.sh(kill).expect_code(0)),
        }
        eventually(end, seconds(20), || terminal.is_cooked());
        terminal.write("exit\n"); // a container whose command was killed goes on
        eventually("all of it has ended", seconds(20), || {
            sandbox.sh("pgrep minirun").code() != 0 || end.starts_with("kill")
        });
        sandbox.sh("kill -9 $(pidof minirun-monitor); true").expect_code(0);
        does(&sandbox, &["repair"]);
    }
}

#[test]
fn who_attaches_hears_from_then_on_and_passes_signals_on() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web"], &["sh", "-c", OBEDIENT]);
    eventually_logs(&sandbox, "web", "ready");
    let keeps = sandbox.start(&["attach", "--sig-proxy=false", "web"]);
    let passes = sandbox.start(&["attach", "web"]);
    let attached = || sandbox.sh("ss -Hx state connected").stdout.matches("/attach ").count();
    eventually("both stand in front of it", seconds(20), || attached() == 2);
    let waits = |of: &Running| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", sandbox.inner_pid(of))).unwrap();
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
        u64::from_str_radix(blocked, 16).unwrap() & 1 << 14 != 0
    };
    eventually("one waits for SIGTERM", seconds(20), || waits(&passes));
    let signal = |of: &Running| {
        let pid = sandbox.inner_pid(of).to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    };
    signal(&keeps);
    let said = keeps.output();
    assert_ne!(said.code(), 9, "{said}");
    assert!(row(&sandbox, "web").unwrap().contains("Up"));
    signal(&passes);
    let said = passes.output();
    assert_eq!((said.code(), said.stdout.as_str()), (9, "told\n"), "{said}");
}

#[test]
fn input_goes_to_a_container_that_has_one() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let pipe = |name: &str| {
        let script =
            format!("printf 'one\\ntwo\\n' | {} start -ai {name}", crate::support::sandbox::minirun_binary().display());
        sandbox.sh(&script).expect_code(0).stdout
    };
    does(&sandbox, &["create", "-i", "--name", "open", "--network", "none", "busybox", "cat"]);
    assert_eq!(pipe("open"), "one\ntwo\n");
    does(&sandbox, &["create", "--name", "shut", "--network", "none", "busybox", "cat"]);
    assert_eq!(pipe("shut"), ""); // the control
    does(&sandbox, &["create", "--name", "seven", "--network", "none", "busybox", "sh", "-c", "echo said; exit 7"]);
    let said = sandbox.minirun(&["start", "-a", "seven"]).expect_code(7);
    assert_eq!(said.stdout, "said\n");
    refused(&sandbox, &["start", "-a", "seven", "open"], 2, "only one");
}

#[test]
fn what_is_written_and_read_is_the_same_to_the_last_byte() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    let through = |command: &str, mebibytes: u32| {
        let minirun = minirun_binary();
        let script = format!(
            "set -o pipefail; rm -f sent; head -c {mebibytes}M /dev/urandom | tee >(sha256sum >sent) | {} {command} cat | \
             sha256sum; until [ -s sent ]; do sleep 0.01; done; cat sent",
            minirun.display()
        );
        let said = output(sandbox.command("bash").args(["-c", &format!("cd \"$MINIRUN_STATE\"/..; {script}")])).text();
        let sums: Vec<&str> = said.lines().collect();
        assert_eq!((sums.len(), sums[0]), (2, sums[1]), "{command}: {said}");
    };
    through("run --rm -i --network none --log-driver none busybox", 128);
    through("run --rm -i --network none busybox", 8); // and into a log of JSON
    through("exec -i web", 128);
}

#[test]
fn what_is_paused_stands_still() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let count = "i=0; while :; do i=$((i + 1)); echo $i >/dev/shm/count; done";
    let paused = || {
        up_alone(&sandbox, &["--name", "web"], &["sh", "-c", count]);
        does(&sandbox, &["pause", "web"]);
        assert!(row(&sandbox, "web").unwrap().contains("(Paused)"));
        assert_eq!(inspect(&sandbox, "web")["State"]["Status"], "paused");
    };
    paused();
    let pid = pid(&sandbox, "web").to_string();
    let number = || sandbox.sh(&format!("cat /proc/{pid}/root/dev/shm/count")).stdout;
    let stands = number();
    assert_eq!(number(), stands);
    refused(&sandbox, &["pause", "web"], 1, "minirun unpause web");
    refused(&sandbox, &["exec", "web", "true"], 125, "minirun unpause web");
    does(&sandbox, &["unpause", "web"]);
    eventually("it goes on", seconds(20), || number() != stands && !number().is_empty());
    refused(&sandbox, &["unpause", "web"], 1, "not paused");
    does(&sandbox, &["rm", "-f", "web"]);
    // whatever ends it reaches it
    for command in [&["stop", "-t", "0", "web"][..], &["kill", "web"], &["rm", "-f", "web"]] {
        paused();
        does(&sandbox, command);
        eventually("it has ended", seconds(20), || row(&sandbox, "web").is_none_or(|row| row.contains("Exited")));
        sandbox.minirun(&["rm", "-f", "web"]);
    }
}

#[test]
fn a_container_gets_another_name() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let id = up_alone(&sandbox, &["--name", "web", "--rm"], &["sleep", "1000"]);
    up_alone(&sandbox, &["--name", "other"], &["sleep", "1000"]);
    refused(&sandbox, &["rename", "web", "other"], 1, "is taken");
    refused(&sandbox, &["rename", "web", "web"], 1, "already");
    refused(&sandbox, &["rename", "web", "no/name"], 1, "name");
    does(&sandbox, &["rename", "web", "new"]);
    assert_eq!(inspect(&sandbox, "new")["Id"], id.as_str());
    assert_eq!(row(&sandbox, "web"), None);
    up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]); // its old name is free
    does(&sandbox, &["stop", "-t", "0", "new"]); // and goes with its end, with the new name
    up_alone(&sandbox, &["--name", "new"], &["sleep", "1000"]);
}

#[test]
fn restarted_it_is_the_same_container() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let flags = ["--name", "web", "--rm", "-p", "8080:80"];
    let script = format!("echo x >>/kept; cat /kept; {OBEDIENT}");
    let id = crate::detached::up(&sandbox, &flags, &["sh", "-c", &script]);
    eventually_logs(&sandbox, "web", "ready");
    does(&sandbox, &["restart", "web"]);
    eventually_logs(&sandbox, "web", "told\nx\nx\nready\n"); // one that goes with its end is still there
    assert_eq!(inspect(&sandbox, "web")["Id"], id.as_str());
    does(&sandbox, &["stop", "web"]);
    assert_eq!(row(&sandbox, "web"), None);
    refused(&sandbox, &["restart", "web"], 1, "no container web");
    up_alone(&sandbox, &["--name", "web"], &["true"]);
    does(&sandbox, &["wait", "web"]);
    does(&sandbox, &["restart", "web"]); // one that has ended is started
}

#[test]
fn what_a_container_was_made_with_says_how_it_is_stopped_and_kept() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(
        &sandbox,
        &["--name", "web", "--stop-timeout", "0", "--log-driver", "none"],
        &["sh", "-c", "trap '' TERM; echo said; while :; do sleep 0.1; done"],
    );
    refused(&sandbox, &["logs", "web"], 1, "--log-driver none");
    does(&sandbox, &["stop", "web"]); // at once
    assert!(row(&sandbox, "web").unwrap().contains("Exited (137)"));
    let log = sandbox.path("root/containers").join(inspect(&sandbox, "web")["Id"].as_str().unwrap()).join("log.json");
    assert!(!log.exists());
    let flags = ["--name", "much", "--log-opt", "max-size=10k", "--log-opt", "max-file=2"];
    up_alone(&sandbox, &flags, &["seq", "10000"]);
    does(&sandbox, &["wait", "much"]);
    let kept = does(&sandbox, &["logs", "much"]).stdout;
    assert!(kept.ends_with("9999\n10000\n") && kept.lines().count() < 1000, "{}", kept.lines().count());
    for (flag, value) in [("--log-driver", "syslog"), ("--log-opt", "max-size=many"), ("--log-opt", "bogus=1")] {
        refused(&sandbox, &["run", flag, value, "busybox", "true"], 125, value);
    }
}
