//! A person at a terminal: a program on a pty, typed to and read from with a deadline.

use super::command::{eventually, seconds};
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

#[derive(Debug)]
pub struct Terminal {
    pub child: Child,
    master: File,
    screen: Arc<Mutex<String>>,
    /// Ends with the last program on the terminal.
    reader: JoinHandle<()>,
    /// How much of the screen was matched already.
    seen: usize,
}

/// Both ends of a pty of 37 rows and 101 columns, closed on exec: what openpty() gives is inherited by the programs that
/// other tests start meanwhile, and the screen would end with those.
fn pty() -> (File, File) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname_r(&master).unwrap();
    let slave = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(name).unwrap();
    let mut stty = Command::new("stty");
    stty.args(["rows", "37", "cols", "101"]).stdin(slave.try_clone().unwrap());
    assert!(stty.status().unwrap().success());
    (File::from(OwnedFd::from(master)), slave)
}

impl Terminal {
    /// Starts the command as leader of a session that has the pty as its controlling terminal.
    pub fn start(command: &Command) -> Terminal {
        let (master, slave) = pty();
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        session.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?)))).env("TERM", "dumb");
        session.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let child = session.spawn().unwrap();
        drop(session); // it holds the slave: the screen ends with the last program on it
        let screen = Arc::new(Mutex::new(String::new()));
        let mut from = master.try_clone().unwrap();
        let to = Arc::clone(&screen);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut bytes) {
                to.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Terminal { child, master, screen, reader, seen: 0 }
    }

    pub fn write(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the text appears after what was expected before.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let mut found = None;
        let end = std::time::Instant::now() + seconds(20);
        while found.is_none() {
            found = self.screen.lock().unwrap()[self.seen..].find(text);
            assert!(
                found.is_some() || std::time::Instant::now() < end,
                "{text:?} did not appear on {:?}",
                self.screen()
            );
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        self.seen += found.unwrap() + text.len();
    }

    /// Waits until anything stands on the screen.
    #[track_caller]
    pub fn expect_anything(&self) {
        eventually("something appears on the terminal", seconds(20), || !self.screen.lock().unwrap().is_empty());
    }

    /// Whether whoever reads from it gets lines, and sees what is typed.
    pub fn is_cooked(&self) -> bool {
        use nix::sys::termios::{LocalFlags, tcgetattr};
        tcgetattr(&self.master).unwrap().local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO)
    }

    pub fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    /// What stands there when the last program is gone.
    #[track_caller]
    pub fn whole_screen(&self) -> String {
        eventually("the terminal is let go", seconds(20), || self.reader.is_finished());
        self.screen()
    }

    /// Waits for the end and gives the exit code.
    #[track_caller]
    pub fn code(&mut self) -> i32 {
        let mut status = None;
        eventually("the program on the terminal ends", seconds(20), || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _waited_already = self.child.wait();
    }
}

#[test]
fn a_program_on_a_terminal_hears_and_is_heard() {
    let mut command = Command::new("bash");
    command.args(["-c", "tty -s && stty size && read -r word && echo got $word && exit 5"]);
    let mut terminal = Terminal::start(&command);
    terminal.expect("37 101");
    terminal.write("hello\n");
    terminal.expect("got hello");
    assert_eq!(terminal.code(), 5);
}
