//! `minirun run` as a person sees it: words, exit codes, terminal, signals.

use crate::detached::{does, row};
use crate::support::command::{eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use crate::support::snapshot::Snapshot;
use crate::support::terminal::Terminal;
use std::process::Command;

#[test]
fn hello_needs_no_image_and_no_network() {
    requires![root];
    let sandbox = Sandbox::new();
    let said = sandbox.minirun(&["run", "--rm", "--network", "none", "hello"]).expect_code(0);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(said.stdout.contains(kernel.trim()), "{said}");
}

#[test]
fn the_exit_code_is_the_programs_own() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for (args, code) in [
        (&["busybox", "true"][..], 0),
        (&["busybox", "sh", "-c", "exit 7"], 7),
        (&["busybox", "no-such-program"], 127),
        (&["busybox", "/no/such/program"], 127),
        (&["busybox", "/etc"], 126),
        (&["busybox", "/etc/passwd"], 126),
        (&["--no-such-flag", "busybox"], 125),
        (&["no-such-image-anywhere:1"], 125),
    ] {
        let all = [&["run", "--rm", "--network", "none", "--pull", "never"], args].concat();
        sandbox.minirun(&all).expect_code(code);
    }
}

#[test]
fn killed_from_outside_with_9_gives_137() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let running = sandbox.start(&["run", "--rm", "--network", "none", "busybox", "sleep", "1000"]);
    eventually("the program runs", seconds(20), || !sandbox.in_pids("sleep 1000").is_empty());
    for pid in sandbox.in_pids("sleep 1000") {
        Command::new("kill").args(["-9", &pid]).status().unwrap();
    }
    running.output().expect_code(137);
}

#[test]
fn signals_are_passed_on() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    let running = sandbox.start(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", script]);
    eventually("the trap is set", seconds(20), || !sandbox.in_pids("sleep 0.1").is_empty());
    Command::new("kill").args(["-TERM", &sandbox.inner_pid(&running).to_string()]).status().unwrap();
    let said = running.output().expect_code(9);
    assert_eq!(said.stdout, "ready\ngot it\n");
}

#[test]
fn standard_input_is_empty_without_i_and_passed_on_with_it() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for (flags, expected) in [(&[][..], "0"), (&["-i"], "5")] {
        let args = [&["run", "--rm", "--network", "none"], flags, &["busybox", "wc", "-c"]].concat();
        let mut running = sandbox.start(&args);
        if !flags.is_empty() {
            running.write("12345");
        }
        assert_eq!(running.output().text().trim(), expected, "{flags:?}");
    }
}

#[test]
fn an_init_of_our_own_passes_on_what_it_hears_and_reaps() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let run = |words: &[&str]| {
        sandbox.minirun(&[&["run", "--rm", "--init", "--network", "none", "busybox"][..], words].concat())
    };
    assert_eq!(run(&["sh", "-c", "exit 7"]).code(), 7);
    assert_eq!(run(&["sh", "-c", "kill -9 $$"]).code(), 137);
    assert_eq!(run(&["nosuch"]).expect_code(127).stdout, "");
    assert_eq!(
        run(&["sh", "-c", "cat /proc/1/comm; tr '\\0' ' ' </proc/1/cmdline"]).text(),
        "init\n/dev/init -- sh -c cat /proc/1/comm; tr '\\0' ' ' </proc/1/cmdline "
    );

    // an orphan that has ended: gone with an init, and without one for ever what is left of it
    for (name, flags) in [("with", &["--init"][..]), ("without", &[])] {
        let start = ["run", "-d", "--name", name, "--network", "none"];
        sandbox.minirun(&[&start[..], flags, &["busybox", "sleep", "1000"]].concat()).expect_code(0);
        let orphan = sandbox.minirun(&["exec", name, "sh", "-c", "sh -c 'sleep 1 >/dev/null & echo $!'"]).text();
        let state = format!("grep State /proc/{orphan}/status 2>/dev/null || echo gone");
        let expected = if name == "with" { "gone" } else { "Z (zombie)" };
        eventually(expected, seconds(20), || {
            sandbox.minirun(&["exec", name, "sh", "-c", &state]).stdout.contains(expected)
        });
    }
    sandbox.minirun(&["stop", "-t", "60", "with"]).expect_code(0);
    assert_eq!(sandbox.minirun(&["inspect", "-f", "{{.State.ExitCode}}", "with"]).text(), "143");

    let mut terminal = Terminal::start(&sandbox.minirun_command(&[
        "run",
        "--rm",
        "-it",
        "--init",
        "--network",
        "none",
        "busybox",
        "sh",
    ]));
    terminal.write("sleep 1000\n");
    terminal.expect("sleep 1000");
    eventually("it sleeps", seconds(20), || sandbox.sh("pgrep -x -f 'sleep 1000' | wc -l").stdout.trim() == "2");
    terminal.write("\x03");
    terminal.write("echo code-$?\n");
    terminal.expect("code-130");
    terminal.write("exit 5\n");
    assert_eq!(terminal.code(), 5);
}

#[test]
fn the_two_outputs_stay_apart() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let args = ["run", "--rm", "--network", "none", "busybox", "sh", "-c", "echo out; echo err >&2"];
    let said = sandbox.minirun(&args).expect_code(0);
    assert_eq!(said.stdout, "out\n");
    assert!(said.stderr.ends_with("err\n"), "{said}"); // a warning of ours may stand before it
}

#[test]
fn a_shell_on_a_terminal_has_job_control() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let command = sandbox.minirun_command(&["run", "--rm", "-it", "--network", "none", "busybox", "sh"]);
    let mut terminal = Terminal::start(&command);
    terminal.expect("# ");
    terminal.write("tty; stty size\n");
    terminal.expect("/dev/pts/0");
    terminal.expect("37 101"); // the size was set before the program began
    terminal.write("sleep 1000\n");
    eventually("sleep runs", seconds(20), || !sandbox.in_pids("sleep 1000").is_empty());
    terminal.write("\x1a"); // ctrl-z
    terminal.expect("Stopped");
    terminal.write("bg; jobs; kill %1; wait\n");
    terminal.expect("Running");
    // another one than the first, which may be dying still
    terminal.write("sleep 1001\n");
    eventually("sleep runs", seconds(20), || !sandbox.in_pids("sleep 1001").is_empty());
    terminal.write("\x03"); // ctrl-c ends sleep, and the shell goes on
    terminal.write("echo still $((40 + 2)); exit 3\n");
    terminal.expect("still 42");
    assert_eq!(terminal.code(), 3);
    assert!(!terminal.screen().contains("can't access tty"), "{}", terminal.screen());
}

#[test]
fn the_terminals_modes_are_restored() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let binary = crate::support::sandbox::minirun_binary();
    let script = format!(
        "before=$(stty -g); {} run --rm -it --network none busybox true; [ \"$(stty -g)\" = \"$before\" ] && echo restored",
        binary.display()
    );
    let mut command = sandbox.command("bash");
    command.args(["-c", &script]);
    Terminal::start(&command).expect("restored");
}

#[test]
fn a_terminal_is_asked_for_only_where_one_is() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let said = sandbox.minirun(&["run", "--rm", "-t", "busybox", "true"]).expect_code(125);
    assert!(said.stderr.contains("terminal") && said.stderr.contains("hint: "), "{said}");
}

#[test]
fn the_container_is_where_and_who_it_was_told_to_be() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for (flags, script, expected) in [
        (&["--hostname", "ahost"][..], "hostname", "ahost"),
        (&["-w", "/made/for/it"], "pwd", "/made/for/it"),
        (&["-e", "A=b c"], "echo \"$A\"", "b c"),
        (&["-u", "1234:567"], "id -u; id -g", "1234\n567"),
        (&["--read-only"], "touch /x 2>/dev/null || echo refused", "refused"),
        (&["--tmpfs", "/scratch"], "touch /scratch/x && echo written", "written"),
        (&[], "echo $$", "1"),
        (&[], "cd /proc; set -- [0-9]*; echo $#", "1"),
        (&[], "grep -c . /proc/self/cgroup >/dev/null; cat /proc/1/comm; :", "sh"),
        (&["--cap-drop", "ALL"], "grep CapEff /proc/self/status | cut -f2", "0000000000000000"),
        (&[], "grep CapEff /proc/self/status | cut -f2", "00000000800405fb"),
        (&[], "grep Seccomp: /proc/self/status | cut -f2", "2"),
        (&["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status | cut -f2", "1"),
        (&[], "ls /proc/self/fd | wc -l", "4"), // 0, 1, 2 and the directory itself
    ] {
        let args = [&["run", "--rm", "--network", "none"], flags, &["busybox", "sh", "-c", script]].concat();
        assert_eq!(sandbox.minirun(&args).text(), expected, "{flags:?} {script}");
    }
}

#[test]
fn a_directory_of_the_hosts_is_shared() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let dir = sandbox.path("shared");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("given"), "from the host").unwrap();
    let volume = format!("{}:/in", dir.display());
    let script = "cat /in/given && echo from inside >/in/taken";
    let args = ["run", "--rm", "--network", "none", "-v", &volume, "busybox", "sh", "-c", script];
    assert_eq!(sandbox.minirun(&args).text(), "from the host");
    assert_eq!(std::fs::read_to_string(dir.join("taken")).unwrap(), "from inside\n");
    let read_only = format!("{volume}:ro");
    let args = ["run", "--rm", "--network", "none", "-v", &read_only, "busybox", "touch", "/in/x"];
    assert_ne!(sandbox.minirun(&args).code(), 0);
}

#[test]
fn a_directory_runs_without_an_image() {
    requires![root, tool("busybox")];
    let sandbox = Sandbox::new();
    let root = sandbox.path("rootfs");
    sandbox.sh(&format!("mkdir -p {0}/bin && cp $(command -v busybox) {0}/bin/busybox", root.display())).expect_code(0);
    let args = ["run", "--rm", "--network", "none", "--rootfs", root.to_str().unwrap(), "/bin/busybox", "echo", "here"];
    assert_eq!(sandbox.minirun(&args).text(), "here");
}

#[test]
fn explain_does_nothing_and_needs_no_root() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    // the planner looks into the image, so its layers are unpacked, as they would be once for all by any run
    sandbox.minirun(&["run", "--rm", "--network", "none", "busybox", "true"]).expect_code(0);
    let before = Snapshot::of(&sandbox);
    let args = ["run", "--rm", "--explain", "-p", "8080:80", "busybox", "httpd", "-f"];
    let said = sandbox.minirun(&args).expect_code(0);
    for word in ["pivot_root", "ip link add", "mount"] {
        assert!(said.stdout.contains(word), "{word}: {said}");
    }
    before.assert_same(&sandbox);
}

#[test]
fn nothing_is_left_of_a_run_without_network() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let warm = ["run", "--rm", "--network", "none", "busybox", "true"];
    sandbox.minirun(&warm).expect_code(0); // groups and directories that all containers share stay
    let before = Snapshot::of(&sandbox);
    for script in
        ["exit 0", "exit 3", "mkdir -p /a/b/c; dd if=/dev/zero of=/big bs=1M count=5 2>/dev/null; sleep 1000 & exit 0"]
    {
        sandbox.minirun(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", script]);
        before.assert_same(&sandbox);
    }
}

#[test]
fn a_signal_at_a_terminal_ends_the_command_and_not_the_program() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for signal in ["TERM", "HUP", "INT"] {
        let run =
            ["run", "-it", "--name", signal, "--network", "none", "busybox", "sh", "-c", "echo up; exec sleep 1000"];
        let mut terminal = Terminal::start(&sandbox.minirun_command(&run));
        terminal.expect("up");
        let pid = sandbox.sh(&format!("pgrep -o -f 'minirun run -it --name {signal}'")).text();
        sandbox.sh(&format!("kill -{signal} {pid}")).expect_code(0);
        terminal.expect("the program goes on");
        assert_eq!(
            terminal.code(),
            128 + if signal == "TERM" {
                15
            } else if signal == "HUP" {
                1
            } else {
                2
            }
        );
        assert!(row(&sandbox, signal).is_some_and(|row| row.contains("Up")), "{signal}");
    }
}

#[test]
fn a_small_limit_is_the_programs_and_not_ours() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let run = [
        "run",
        "--rm",
        "--network",
        "none",
        "--ulimit",
        "nofile=10:12",
        "busybox",
        "sh",
        "-c",
        "ulimit -n; ulimit -Hn",
    ];
    assert_eq!(does(&sandbox, &run).stdout, "10\n12\n");
}
