//! `debug`: a shell beside a container that has none, which leaves nothing behind.

use crate::detached::{does, monitor, pid, refused, row, up_alone};
use crate::support::command::{eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::snapshot::Snapshot;
use crate::support::terminal::Terminal;

/// A sandbox with busybox, and with `bare`: one program, `/sleep`, and nothing else.
fn with_bare() -> Sandbox {
    let sandbox = Sandbox::with_images(&["busybox"]);
    let dir = sandbox.path("bare");
    std::fs::create_dir(&dir).unwrap();
    let (minirun, dir) = (minirun_binary().display().to_string(), dir.display().to_string());
    let program =
        format!("{minirun} run --rm --network none busybox cat /bin/busybox >{dir}/sleep && chmod +x {dir}/sleep");
    sandbox.sh(&format!("{program} && tar -C {dir} -c . | {minirun} import - bare")).expect_code(0);
    sandbox
}

#[track_caller]
fn bare_up(sandbox: &Sandbox, name: &str, flags: &[&str]) {
    let run = [&["run", "-d", "--name", name, "--network", "none"], flags, &["bare", "/sleep", "1000"]].concat();
    does(sandbox, &run);
}

#[track_caller]
fn debug(sandbox: &Sandbox, flags: &[&str], name: &str, script: &str) -> String {
    let args = [&["debug"], flags, &[name, "sh", "-c", script]].concat();
    does(sandbox, &args).stdout
}

#[test]
fn who_looks_for_a_shell_where_there_is_none_hears_of_debug() {
    requires![root];
    let sandbox = with_bare();
    bare_up(&sandbox, "web", &[]);
    let run = ["run", "--rm", "--network", "none"];
    for shell in ["sh", "/bin/sh", "bash", "/bin/bash"] {
        for args in [&["exec", "web", shell, "-c", "true"][..], &[&run[..], &["bare", shell]].concat()] {
            refused(&sandbox, args, 127, "no shell in this image: try `minirun debug");
        }
    }
    refused(&sandbox, &["exec", "web", "ls"], 127, "not found"); // the control: this is no shell
    let said = sandbox.minirun(&["exec", "web", "ls"]);
    assert!(!said.stderr.contains("no shell"), "{said}");
    assert_eq!(debug(&sandbox, &[], "web", "echo $((6 * 7))"), "42\n");
}

#[test]
fn it_sees_what_the_container_sees_and_has_files_of_its_own() {
    requires![root];
    let sandbox = with_bare();
    bare_up(&sandbox, "web", &["--hostname", "bare-host", "--ipc", "shareable", "--tmpfs", "/scratch"]);
    let before = pid(&sandbox, "web");
    for (kind, shared) in [("pid", true), ("net", true), ("ipc", true), ("uts", true), ("user", true), ("mnt", false)] {
        let own = debug(&sandbox, &[], "web", &format!("readlink /proc/self/ns/{kind}"));
        let theirs = sandbox.sh(&format!("readlink /proc/{before}/ns/{kind}")).stdout;
        assert_eq!(own == theirs, shared, "{kind}");
    }
    assert!(debug(&sandbox, &[], "web", "ps").contains("1 root     /sleep 1000"));
    assert_eq!(debug(&sandbox, &[], "web", "hostname; echo $HOSTNAME; pwd; id -u"), "bare-host\nbare-host\n/\n0\n");
    assert!(debug(&sandbox, &[], "web", "cat /etc/hostname; cat /etc/resolv.conf").contains("bare-host"));

    // the container's files: all that is mounted there, too, and it is written to what it has itself
    let script = "ls -d /sleep 2>/dev/null; ls /proc/1/root/sleep && echo kept >/proc/1/root/scratch/note";
    assert_eq!(debug(&sandbox, &[], "web", script), "/proc/1/root/sleep\n");
    assert_eq!(debug(&sandbox, &[], "web", "cat /proc/1/root/scratch/note"), "kept\n");
    // its own go with it
    assert_eq!(debug(&sandbox, &[], "web", "echo x >/note; cat /note"), "x\n");
    assert_eq!(debug(&sandbox, &[], "web", "ls /note 2>&1 || :; ls /proc/1/root/note 2>&1 || :").lines().count(), 2);
    assert!(!does(&sandbox, &["diff", "web"]).stdout.contains("note"));

    // while it stands still, too
    does(&sandbox, &["pause", "web"]);
    assert!(debug(&sandbox, &[], "web", "ps").contains("/sleep 1000"));
    does(&sandbox, &["unpause", "web"]);
    assert_eq!(pid(&sandbox, "web"), before);
}

#[test]
fn it_has_a_command_an_image_and_input_as_exec_has() {
    requires![root];
    let sandbox = with_bare();
    bare_up(&sandbox, "web", &[]);
    for (args, code) in [
        (&["debug", "web", "sh", "-c", "exit 7"][..], 7),
        (&["debug", "web", "sh", "-c", "kill -9 $$"], 137),
        (&["debug", "web", "no-such-program"], 127),
        (&["debug", "web", "/etc/passwd"], 126),
        (&["debug", "--image", "bare", "web", "/sleep", "0"], 0),
    ] {
        assert_eq!(sandbox.minirun(args).code(), code, "{args:?}");
    }
    refused(&sandbox, &["debug", "--image", "bare", "web"], 127, "no shell in this image");
    refused(&sandbox, &["debug", "-t", "web"], 125, "needs a terminal");
    refused(&sandbox, &["debug", "nobody"], 125, "no container nobody");
    let piped = |flags: &str| {
        let script = format!("printf 'hostname -i\nexit 9\n' | {} debug {flags} web", minirun_binary().display());
        sandbox.sh(&script).code()
    };
    assert_eq!((piped("-i"), piped("")), (9, 0));
    let said = debug(&sandbox, &["-e", "A=1", "-w", "/tmp", "-u", "65534"], "web", "echo $A; pwd; id -u");
    assert_eq!(said, "1\n/tmp\n65534\n");
    does(&sandbox, &["stop", "-t", "0", "web"]);
    refused(&sandbox, &["debug", "web"], 125, "container web is not running");
    assert!(sandbox.minirun(&["debug", "web"]).stderr.contains("`minirun start web`"));
}

#[test]
fn it_may_look_into_processes_and_else_no_more_than_the_container_may() {
    requires![root];
    let sandbox = with_bare();
    let capabilities = |flags: &[&str], name: &str| {
        let text = debug(&sandbox, flags, name, "grep CapBnd /proc/self/status");
        u64::from_str_radix(text.split_whitespace().last().unwrap(), 16).unwrap()
    };
    const PTRACE: u64 = 1 << 19; // include/uapi/linux/capability.h
    bare_up(&sandbox, "web", &["--user", "1000", "--cap-drop", "ALL", "--cap-add", "CHOWN"]);
    assert_eq!(capabilities(&[], "web"), 1 | PTRACE);
    assert_eq!(capabilities(&["--cap-add", "NET_RAW"], "web"), 1 | PTRACE | 1 << 13);
    // what that is for: root's tools see into a process of another user's
    assert_eq!(debug(&sandbox, &[], "web", "ls /proc/1/root/sleep"), "/proc/1/root/sleep\n");
    let all = debug(&sandbox, &["--privileged"], "web", "grep -c . /proc/sys/kernel/hostname; ls /dev/full");
    assert_eq!(all, "1\n/dev/full\n");
    assert!(capabilities(&["--privileged"], "web").count_ones() > 30);
    let seccomp =
        |name: &str| debug(&sandbox, &[], name, "grep -e NoNewPrivs -e Seccomp: /proc/self/status | tr -d '\\n'");
    assert_eq!(seccomp("web"), "NoNewPrivs:\t0Seccomp:\t2");
    bare_up(&sandbox, "open", &["--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges"]);
    assert_eq!(seccomp("open"), "NoNewPrivs:\t1Seccomp:\t0");

    // among the host's processes it would see into all of them
    bare_up(&sandbox, "shares", &["--pid", "host"]);
    let said = does(&sandbox, &["debug", "shares", "grep", "CapBnd", "/proc/self/status"]);
    assert!(said.stderr.contains("CAP_SYS_PTRACE"), "{said}");
    assert!(said.stdout.trim_end().ends_with("00000000800405fb"), "{said}");
}

#[test]
fn a_person_at_a_terminal_is_told_where_the_files_are() {
    requires![root];
    let sandbox = with_bare();
    bare_up(&sandbox, "web", &[]);
    let before = Snapshot::of(&sandbox);
    let mut terminal = Terminal::start(&sandbox.minirun_command(&["debug", "web"]));
    terminal.expect("the files of web are below /proc/1/root, those here are busybox's");
    terminal.write("stty size; ls /proc/1/root\n");
    terminal.expect("37 101");
    terminal.expect("sleep");
    terminal.write("\x10\x11"); // docker's detach keys are nothing here
    terminal.write("\x15exit 5\n");
    assert_eq!(terminal.code(), 5);
    before.assert_same(&sandbox);
    // pid 1 of what it shares may be another one
    does(
        &sandbox,
        &["run", "-d", "--name", "second", "--network", "none", "--pid", "container:web", "bare", "/sleep", "999"],
    );
    let mut terminal = Terminal::start(&sandbox.minirun_command(&["debug", "second"]));
    terminal.expect("below /proc/");
    terminal.write("P=$(pidof sleep | tr ' ' '\\n' | grep -v '^1$'); echo $P-$(readlink /proc/$P/exe); exit\n");
    terminal.expect("-/sleep");
    let screen = terminal.screen();
    let told = screen.split("below /proc/").nth(1).unwrap().split('/').next().unwrap();
    assert!(told != "1" && screen.contains(&format!("{told}-/sleep")), "{screen}");
}

/// The sandbox as it is with `web` running and no debug beside it, and the wait until it is so again.
#[track_caller]
fn same_again(sandbox: &Sandbox, before: &Snapshot, what: &str) {
    eventually(what, seconds(20), || {
        does(sandbox, &["ps", "-a"]).stdout.lines().count() == 2 && sandbox.in_pids("sleep 998").is_empty()
    });
    eventually("its monitor is gone", seconds(20), || sandbox.sh("pgrep -xc minirun-monitor").stdout.trim() == "1");
    eprintln!("left by {what}?");
    before.assert_same(sandbox);
    assert!(row(sandbox, "web").unwrap().contains("Up"));
}

#[test]
fn however_it_ends_nothing_is_left_and_the_container_goes_on() {
    requires![root];
    let sandbox = with_bare();
    bare_up(&sandbox, "web", &[]);
    does(&sandbox, &["debug", "web", "true"]);
    does(&sandbox, &["repair"]);
    let before = Snapshot::of(&sandbox);
    let long = ["debug", "web", "sh", "-c", "echo ready; exec sleep 998"];
    let ready = || {
        let running = sandbox.start(&long);
        running.until("it runs", seconds(20), |said| said.contains("ready"))
    };
    // its command is killed
    let running = ready();
    let (pid, ps) = (sandbox.inner_pid(&running), does(&sandbox, &["ps"]).stdout);
    assert!(ps.contains("busybox") && ps.lines().count() == 3, "{ps}");
    let kill = |pid: &str| assert!(std::process::Command::new("kill").args(["-9", pid]).status().unwrap().success());
    kill(&pid.to_string());
    assert_eq!(running.output().code(), 137);
    same_again(&sandbox, &before, "kill -9 of its command");
    // its monitor is killed: what is left goes with the next repair
    let running = ready();
    let label = does(&sandbox, &["ps", "-q", "--filter", "label=minirun.debug=web"]).text();
    sandbox.sh(&format!("kill -9 {}", monitor(&sandbox, &label))).expect_code(0);
    running.output().expect_code(125);
    assert!(does(&sandbox, &["repair"]).stdout.contains(&label));
    same_again(&sandbox, &before, "kill -9 of its monitor, and repair");
    // or with the next command that meets it
    let running = ready();
    let label = does(&sandbox, &["ps", "-q", "--filter", "label=minirun.debug=web"]).text();
    sandbox.sh(&format!("kill -9 {}", monitor(&sandbox, &label))).expect_code(0);
    running.output().expect_code(125);
    let _either_way = sandbox.minirun(&["logs", &label]);
    same_again(&sandbox, &before, "kill -9 of its monitor, and a command");
    // by itself, with something of it left behind: that is killed, and pid 1's to reap, as an orphan of exec is
    does(&sandbox, &["debug", "web", "sh", "-c", "sleep 997 >/dev/null 2>&1 & exit 0"]);
    assert!(sandbox.in_pids("sleep 997").is_empty());
    // the container's end is its end
    let running = ready();
    does(&sandbox, &["stop", "-t", "0", "web"]);
    running.output().expect_code(137);
    eventually("it has gone", seconds(20), || does(&sandbox, &["ps", "-a"]).stdout.lines().count() == 2);
}

#[test]
fn what_others_run_does_not_end_with_its_command() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let run = ["run", "--rm", "--name", "web", "--network", "none", "busybox", "sh", "-c", "echo ready; sleep 1000"];
    let running = sandbox.start(&run).until("it runs", seconds(20), |said| said.contains("ready"));
    let pid = sandbox.inner_pid(&running).to_string();
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    drop(running);
    up_alone(&sandbox, &["--name", "other"], &["sleep", "1000"]);
    assert!(row(&sandbox, "web").unwrap().contains("Up"));
}
