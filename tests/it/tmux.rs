//! A person before a whole terminal, which tmux draws: its size and what becomes of it, full-screen programs, several
//! in front of one container, and what a killed command leaves on the screen.

use crate::support::command::{Output, eventually, output, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use std::path::PathBuf;

/// A terminal of 100 x 30 with a shell of the host's on it, whose prompt is `host$`; `m` is minirun.
struct Screen<'a> {
    sandbox: &'a Sandbox,
    socket: PathBuf,
}

impl Screen<'_> {
    /// The server is a process of the sandbox's, and goes with it.
    fn start<'a>(sandbox: &'a Sandbox, name: &str) -> Screen<'a> {
        let screen = Screen { sandbox, socket: sandbox.path(name) };
        let rc = sandbox.path("bashrc");
        std::fs::write(&rc, format!("PS1='host$ '\nm() {{ {} \"$@\"; }}\n", minirun_binary().display())).unwrap();
        let shell = format!("exec bash --rcfile {} -i", rc.display());
        screen.tmux(&["-f", "/dev/null", "new-session", "-d", "-s", "s", "-x", "100", "-y", "30", &shell]);
        screen.shows("host$");
        screen
    }

    #[track_caller]
    fn tmux(&self, args: &[&str]) -> Output {
        let mut tmux = self.sandbox.command("tmux");
        tmux.env("TERM", "xterm").env("SHELL", "/bin/bash").env("LC_ALL", "C.UTF-8").arg("-S").arg(&self.socket);
        output(tmux.args(args)).expect_code(0)
    }

    /// Types a line, or a key by tmux's name: `C-c`.
    #[track_caller]
    fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-t", "s", "-l", line]);
        self.key("Enter");
    }

    #[track_caller]
    fn key(&self, name: &str) {
        self.tmux(&["send-keys", "-t", "s", name]);
    }

    #[track_caller]
    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-t", "s"]).stdout
    }

    #[track_caller]
    fn shows(&self, text: &str) {
        eventually(&format!("{text:?} on the screen:\n{}", self.screen()), seconds(30), || {
            self.screen().contains(text)
        });
    }

    /// The last line that is not empty.
    #[track_caller]
    fn ends_with(&self, text: &str) {
        eventually(&format!("{text:?} at the end of:\n{}", self.screen()), seconds(30), || {
            self.screen().trim_end().lines().next_back().is_some_and(|line| line.trim_end() == text)
        });
    }
}

#[test]
fn its_size_is_right_from_the_first_line_and_follows_the_window() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let screen = Screen::start(&sandbox, "one");
    let script = "stty size; while read -r line; do stty size; done";
    screen.types(&format!("m run --rm -it --network none busybox sh -c '{script}'"));
    screen.shows("30 100");
    screen.tmux(&["resize-window", "-t", "s", "-x", "70", "-y", "20"]);
    eventually("the container hears of it", seconds(30), || {
        screen.key("Enter");
        screen.screen().contains("20 70")
    });
    screen.key("C-c");
    screen.ends_with("^Chost$"); // the shell's own echo
}

#[test]
fn a_full_screen_program_draws_and_leaves_the_shell_as_it_was() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let screen = Screen::start(&sandbox, "one");
    screen.types("m run --rm -it --network none busybox sh -c 'vi /tmp/text; echo it says: $(cat /tmp/text)'");
    screen.shows("~"); // vi's empty lines
    screen.tmux(&["send-keys", "-t", "s", "-l", "iwritten by hand"]);
    screen.shows("written by hand");
    screen.key("Escape");
    screen.shows("- /tmp/text"); // the key is known to be alone after a while
    screen.types(":wq");
    screen.shows("it says: written by hand");
    screen.ends_with("host$");
}

#[test]
fn ctrl_c_is_the_programs_and_not_the_commands() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let screen = Screen::start(&sandbox, "one");
    screen.types("m run --rm -it --network none busybox sh; echo ended $?");
    screen.ends_with("/ #");
    screen.types("sleep 1000");
    eventually("it sleeps", seconds(20), || !sandbox.in_pids("sleep 1000").is_empty());
    screen.key("C-c");
    screen.ends_with("/ #");
    screen.types("echo code $?");
    screen.shows("code 130");
    screen.types("exit 4");
    screen.shows("ended 4");
}

#[test]
fn two_see_the_same_and_each_leaves_when_they_like() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let (one, two) = (Screen::start(&sandbox, "one"), Screen::start(&sandbox, "two"));
    one.types("m run -it --name both --network none busybox sh");
    one.ends_with("/ #");
    two.types("m attach both");
    two.ends_with("/ #"); // drawn anew for who comes later
    two.types("echo from-$((1 + 1))");
    one.shows("from-2");
    two.shows("from-2");
    one.key("C-p");
    one.key("C-q");
    one.shows("left, and it goes on");
    one.ends_with("host$");
    two.types("exit 3");
    two.ends_with("host$");
    one.types("m wait both");
    one.shows("3");
}

#[test]
fn the_shell_is_usable_after_the_command_was_killed() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let screen = Screen::start(&sandbox, "one");
    screen.types("m run -it --name killed --network none busybox sh");
    screen.ends_with("/ #");
    sandbox.sh("kill -9 $(pgrep -x minirun)").expect_code(0);
    screen.shows("Killed");
    // what is typed is seen, and whole lines are read
    screen.types("echo back-$((40 + 2))");
    screen.shows("host$ echo back-$((40 + 2))");
    screen.shows("back-42");
    screen.types("stty -a | tr ' ' '\\n' | grep -xE -- '-?(icanon|echo|isig|opost|onlcr);?' | tr '\\n' ' '");
    eventually("its modes", seconds(30), || {
        let screen = screen.screen();
        ["isig", "icanon", "echo", "opost", "onlcr"].iter().all(|mode| screen.contains(&format!("{mode} ")))
            && !screen.contains("-icanon ")
    });
    screen.types("m attach killed");
    screen.ends_with("/ #");
    screen.types("exit");
    screen.ends_with("host$");
}
