//! What containers say and hear: the log, readers that are slow or stuck, and `exec`.

use crate::detached::{does, eventually_logs, inspect, row, up_alone};
use crate::support::command::{Running, eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::terminal::Terminal;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

#[test]
fn the_log_keeps_both_streams_apart_and_in_order() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let script = "for i in 1 2 3; do echo out $i; sleep 0.5; echo err $i >&2; sleep 0.5; done; printf last";
    up_alone(&sandbox, &["--name", "web"], &["sh", "-c", script]);
    does(&sandbox, &["wait", "web"]);
    let said = does(&sandbox, &["logs", "web"]);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("out 1\nout 2\nout 3\nlast", "err 1\nerr 2\nerr 3\n"));
    let last = does(&sandbox, &["logs", "--tail", "2", "web"]);
    assert_eq!((last.stdout.as_str(), last.stderr.as_str()), ("last", "err 3\n"));
    assert_eq!(does(&sandbox, &["logs", "--tail", "0", "web"]).stdout, "");
    sandbox.minirun(&["logs", "--tail", "x", "web"]).expect_code(2);

    let timed = does(&sandbox, &["logs", "-t", "web"]).stdout;
    let lines: Vec<(&str, &str)> = timed.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert!(lines.is_sorted_by_key(|(time, _)| time.parse::<jiff::Timestamp>().unwrap()), "{timed}");
    assert_eq!(lines[2].1, "out 3");
    assert_eq!(does(&sandbox, &["logs", "--since", lines[2].0, "web"]).stdout, "out 3\nlast");
    assert_eq!(does(&sandbox, &["logs", "--until", lines[1].0, "web"]).stdout, "out 1\nout 2\n");
    assert_eq!(does(&sandbox, &["logs", "--since", "1h", "web"]).stdout, said.stdout);
    for before in ["2020-01-01", "2020-01-01T12:30", "2020-01-01T12:30:00Z", "1577836800"] {
        assert_eq!(does(&sandbox, &["logs", "--since", before, "web"]).stdout, said.stdout, "{before}");
        assert_eq!(does(&sandbox, &["logs", "--until", before, "web"]).stdout, "", "{before}");
    }
    assert_eq!(does(&sandbox, &["logs", "--until", "1h", "web"]).stdout, "");
}

#[test]
fn every_user_can_open_its_streams_by_name() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let script = "echo out >/dev/stdout; echo err >/dev/stderr; echo fd >/proc/self/fd/1";
    for user in ["0", "1234:567"] {
        up_alone(&sandbox, &["--name", "web", "-u", user], &["sh", "-c", &format!("{script}; sleep 1000")]);
        eventually_logs(&sandbox, "web", "fd");
        let err = || does(&sandbox, &["logs", "web"]).stderr.contains("err");
        eventually("the other stream is in the log, too", seconds(20), err);
        let said = does(&sandbox, &["logs", "web"]);
        assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("out\nfd\n", "err\n"), "{user}");
        let said = does(&sandbox, &["exec", "-u", user, "web", "sh", "-c", script]);
        assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("out\nfd\n", "err\n"), "exec -u {user}");
        does(&sandbox, &["rm", "-f", "web"]);
    }
}

#[test]
fn the_input_of_a_detached_container_stays_open_where_that_was_asked_for() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "open", "-i"], &["cat"]);
    up_alone(&sandbox, &["--name", "shut"], &["cat"]);
    assert_eq!(sandbox.minirun(&["wait", "shut"]).text(), "0");
    assert_eq!(inspect(&sandbox, "open")["State"]["Running"], true);
}

#[test]
fn following_a_log_ends_with_the_container() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let script = "echo first; while [ ! -e /go ]; do sleep 0.02; done; echo then; printf last";
    for flags in [&["--name", "web"][..], &["--name", "brief", "--rm"]] {
        let name = flags[1];
        up_alone(&sandbox, flags, &["sh", "-c", script]);
        eventually_logs(&sandbox, name, "first");
        let follow = sandbox.start(&["logs", "-f", "--tail", "1", name]);
        let follow = follow.until("it has shown what was there", seconds(20), |shown| shown == "first\n");
        does(&sandbox, &["exec", name, "touch", "/go"]);
        assert_eq!(follow.output().text(), "first\nthen\nlast");
    }
    assert_eq!(does(&sandbox, &["logs", "-f", "web"]).stdout, "first\nthen\nlast"); // it has ended already
    // whoever looks between its end and its monitor's
    for _ in 0..20 {
        up_alone(&sandbox, &["--name", "short"], &["sh", "-c", "echo up; exec sleep 1000"]);
        let follow = sandbox.start(&["logs", "-f", "short"]).until("it is heard", seconds(20), |text| text == "up\n");
        does(&sandbox, &["rm", "-f", "short"]);
        follow.output().expect_code(0);
    }
}

/// Numbered lines, a kilobyte each as they stand in the log.
const MANY: &str = "x=$(printf %0900d 0); i=0; while [ $i -lt $LINES ]; do i=$((i+1)); echo $i $x; done";

#[test]
fn a_log_is_at_most_three_files_and_keeps_the_last_lines() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web", "-e", "LINES=36000"], &["sh", "-c", MANY]);
    does(&sandbox, &["wait", "web"]);
    let newest = inspect(&sandbox, "web")["LogPath"].as_str().unwrap().to_owned();
    let sizes = sandbox.sh(&format!("stat -c %s {newest}*")).text();
    let sizes: Vec<u64> = sizes.lines().map(|size| size.parse().unwrap()).collect();
    assert!(sizes.len() == 3 && sizes.iter().all(|size| *size <= 10 << 20), "{sizes:?}");
    let all = does(&sandbox, &["logs", "web"]).stdout;
    let numbers: Vec<u32> = all.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, (36001 - numbers.len() as u32..=36000).collect::<Vec<_>>());
    assert!(numbers.len() > 20000, "{}", numbers.len());
    assert!(does(&sandbox, &["logs", "--tail", "1", "web"]).stdout.starts_with("36000 "));
}

#[test]
fn following_loses_nothing_when_files_are_put_aside() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let script = format!("while [ ! -e /go ]; do sleep 0.02; done; {MANY}");
    up_alone(&sandbox, &["--name", "web", "-e", "LINES=15000"], &["sh", "-c", &script]);
    let follow = sandbox.start(&["logs", "-f", "web"]);
    does(&sandbox, &["exec", "web", "touch", "/go"]);
    let all = follow.output().text();
    let numbers: Vec<u32> = all.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, (1..=15000).collect::<Vec<_>>());
}

#[test]
fn a_reader_that_is_stuck_holds_no_container_up() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let script = format!("{MANY}; touch /done; sleep 1000");
    for stuck in ["a pipe that nobody reads", "a command that is stopped"] {
        let args = ["run", "--name", "web", "--network", "none", "-e", "LINES=2000", "busybox", "sh", "-c", &script];
        let mut run = sandbox.minirun_command(&args);
        let mut run = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        if stuck.contains("stopped") {
            // the whole way into the sandbox: bash has become nsenter, which waits for the command
            eventually("it runs", seconds(20), || row(&sandbox, "web").is_some_and(|row| row.contains("Up")));
            let stop = format!("kill -STOP $(cat /proc/{0}/task/{0}/children)", run.id());
            assert!(Command::new("bash").args(["-c", &stop]).status().unwrap().success());
        }
        let is_done = || sandbox.minirun(&["exec", "web", "test", "-e", "/done"]).code() == 0;
        eventually(&format!("in front of {stuck} it goes on"), seconds(20), is_done);
        let lines = || does(&sandbox, &["logs", "web"]).stdout.lines().count();
        eventually(&format!("all is in the log in front of {stuck}"), seconds(20), || lines() == 2000);
        does(&sandbox, &["rm", "-f", "web"]);
        let _gone_already = run.kill();
        run.wait().unwrap();
    }
}

#[test]
fn a_slow_reader_gets_everything() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let args = ["run", "--rm", "--network", "none", "-e", "LINES=2000", "busybox", "sh", "-c", MANY];
    let mut run = sandbox.minirun_command(&args);
    let mut slow = sandbox.command("bash");
    slow.args(["-c", "n=0; while read -r i _; do n=$((n + 1)); [ $i = $n ] || exit 1; [ $((n % 500)) != 0 ] || sleep 0.5; done; echo $n"]);
    let mut run = run.stdout(Stdio::piped()).spawn().unwrap();
    let slow = Running::start(slow.stdin(run.stdout.take().unwrap()));
    assert_eq!(slow.output().text(), "2000");
    assert!(run.wait().unwrap().success());
}

#[test]
fn a_log_goes_whole_into_a_pipe_that_does_not_wait() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web"], &["sh", "-c", "seq 100000"]);
    does(&sandbox, &["wait", "web"]);
    let said = does(&sandbox, &["logs", "web"]).stdout;
    let (mut reader, writer) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    let mut logs = sandbox.minirun_command(&["logs", "web"]).stdout(writer.try_clone().unwrap()).spawn().unwrap();
    eventually("the pipe is full", seconds(20), || {
        let mut pipe = [nix::poll::PollFd::new(writer.as_fd(), nix::poll::PollFlags::POLLOUT)];
        nix::poll::poll(&mut pipe, 0_u8).unwrap() == 0
    });
    drop(writer);
    let mut read = String::new();
    reader.read_to_string(&mut read).unwrap();
    assert!(logs.wait().unwrap().success());
    assert_eq!(read.len(), said.len());
    assert!(read == said);
}

#[test]
fn a_command_let_go_for_its_reader_says_so() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let script = format!("{MANY}; touch /done; sleep 1000");
    let args = ["run", "--name", "web", "--network", "none", "-e", "LINES=2000", "busybox", "sh", "-c", &script];
    let mut run = sandbox.minirun_command(&args);
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut reader = run.stdout.take().unwrap();
    let is_done = || sandbox.minirun(&["exec", "web", "test", "-e", "/done"]).code() == 0;
    eventually("the container goes on", seconds(20), is_done);
    let reading = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let said = std::io::read_to_string(run.stderr.take().unwrap()).unwrap();
    assert!(!run.wait().unwrap().success());
    reading.join().unwrap().unwrap();
    assert!(said.contains("goes on") && said.contains("minirun logs"), "{said}");
    assert!(row(&sandbox, "web").unwrap().contains("Up"));
}

#[test]
fn exec_is_a_program_with_its_own_streams_and_exit_code() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web", "-e", "OF=container"], &["sleep", "1000"]);
    for (flags, command, code, expected) in [
        (&[][..], &["sh", "-c", "exit 7"][..], 7, ""),
        (&[], &["no-such-program"], 127, ""),
        (&[], &["/etc"], 126, ""),
        (&[], &["sh", "-c", "kill -9 $$"], 137, ""),
        (&["-u", "1234:567"], &["sh", "-c", "id -u; id -g"], 0, "1234\n567\n"),
        (&["-u", "nobody"], &["id", "-un"], 0, "nobody\n"),
        (&["-w", "/etc"], &["pwd"], 0, "/etc\n"),
        (&["-e", "A=b c"], &["sh", "-c", "echo $A of $OF"], 0, "b c of container\n"),
        (&[], &["wc", "-c"], 0, "0\n"),
        (&[], &["cat", "/proc/1/comm"], 0, "sleep\n"),
        (&["--no-such-flag"], &["true"], 125, ""),
        (&["-u", "nobody-knows"], &["true"], 125, ""),
        (&[], &["sh", "-c", "grep Seccomp: /proc/self/status | cut -f2"], 0, "2\n"),
        (&["-d"], &["no-such-program"], 127, ""),
    ] {
        let said = sandbox.minirun(&[&["exec"], flags, &["web"], command].concat()).expect_code(code);
        assert_eq!(said.stdout, expected, "{flags:?} {command:?}");
    }
    let apart = does(&sandbox, &["exec", "web", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((apart.stdout.as_str(), apart.stderr.as_str()), ("out\n", "err\n"));
    sandbox.minirun(&["exec", "nobody", "true"]).expect_code(125);
    assert_eq!(does(&sandbox, &["logs", "web"]).stdout, "", "it is none of the container's words");

    let mut cat = sandbox.start(&["exec", "-i", "web", "cat"]);
    cat.write("one\n");
    let mut cat = cat.until("it has come back", seconds(20), |said| said == "one\n");
    cat.write("two\n");
    assert_eq!(cat.output().text(), "one\ntwo");
    assert!(row(&sandbox, "web").unwrap().contains("Up"));
}

#[test]
fn input_that_nobody_reads_hides_no_exit_code() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    let binary = minirun_binary();
    for command in ["exec -i web", "run -i --rm --network none busybox"] {
        let one = format!("yes | {} {command} sh -c 'exit 5'; [ $? = 5 ] || exit 1", binary.display());
        sandbox.sh(&format!("for i in 1 2 3 4 5 6 7 8 9 10; do {one}; done")).expect_code(0);
    }
}

#[test]
fn exec_ends_with_its_program_and_not_with_what_that_leaves_behind() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    // one that is silent, and one that is not
    assert_eq!(does(&sandbox, &["exec", "web", "sh", "-c", "sleep 999 & echo here"]).stdout, "here\n");
    does(&sandbox, &["exec", "web", "sh", "-c", "yes & exit 0"]);
    let left = does(&sandbox, &["exec", "web", "ps"]).stdout;
    assert!(left.contains("sleep 999"), "{left}");
}

#[test]
fn a_container_ends_with_its_program_whoever_else_writes() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    // beside the host's processes nobody kills what process 1 leaves behind, but its cgroup's end
    up_alone(&sandbox, &["--name", "web", "--pid", "host"], &["sh", "-c", "yes & exit 5"]);
    assert_eq!(does(&sandbox, &["wait", "web"]).stdout, "5\n");
    eventually("nothing runs on", seconds(20), || sandbox.in_pids("yes").is_empty());
}

#[test]
fn exec_can_have_a_terminal() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    let mut terminal = Terminal::start(&sandbox.minirun_command(&["exec", "-it", "web", "sh"]));
    terminal.expect("# ");
    terminal.write("tty; stty size\n");
    terminal.expect("/dev/pts/0");
    terminal.expect("37 101");
    terminal.write("sleep 999\n");
    eventually("sleep runs", seconds(20), || !sandbox.in_pids("sleep 999").is_empty());
    terminal.write("\x03"); // ctrl-c ends sleep, and the shell goes on
    terminal.write("echo still $((40 + 2)); exit 3\n");
    terminal.expect("still 42");
    assert_eq!(terminal.code(), 3);
    let said = sandbox.minirun(&["exec", "-it", "web", "sh"]).expect_code(125);
    assert!(said.stderr.contains("terminal") && said.stderr.contains("hint: "), "{said}");
}

#[test]
fn a_detached_container_can_have_a_terminal() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web", "-t"], &["sh", "-c", "tty; stty size; sleep 1000"]);
    eventually_logs(&sandbox, "web", "/dev/pts/0\r\n24 80\r\n");
    assert_eq!(inspect(&sandbox, "web")["Config"]["Tty"], true);
}
