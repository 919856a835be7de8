//! Programs as the tests run them: with a deadline, with what they said in the message when something is wrong.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a program of a test may take on an idle machine, in seconds: a bound against hanging, not a measurement.
pub const PATIENCE: u64 = 60;

/// Seconds as the machine at hand needs them: one that runs other tests at the same time is a few times slower than an
/// idle one; a guest without hardware help is up to 25 times slower, and its runner says so in MINIRUN_SLOWNESS.
pub fn seconds(seconds: u64) -> Duration {
    let slowness = std::env::var("MINIRUN_SLOWNESS").map_or(3, |text| text.parse().unwrap());
    Duration::from_secs(seconds * slowness)
}

/// Asks until the answer is yes, or panics after the deadline with what was waited for.
pub fn eventually(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Output {
    pub command: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The exit code, 128 and the signal's number where one killed it.
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt as _;
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap())
    }

    /// Panics with everything it said unless it ended with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Output {
        assert_eq!(self.code(), code, "{self}");
        self
    }

    /// Standard output of a program that must have succeeded, without the last newline.
    #[track_caller]
    pub fn text(self) -> String {
        self.expect_code(0).stdout.trim_end_matches('\n').to_owned()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let command = self.command.rsplit(" \"--\" ").next().unwrap(); // what goes before only leads into a sandbox
        write!(f, "{command}\nended with {}\nstdout: {}\nstderr: {}", self.status, self.stdout, self.stderr)
    }
}

/// Runs to the end; standard input is empty. Panics where it takes more than PATIENCE.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    Running::start(command.stdin(Stdio::null())).output()
}

/// A program that runs, its output being collected. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    pub child: Child,
    command: String,
    stdout: Collected,
    stderr: Collected,
}

/// What a pipe has brought so far, and the thread that reads it.
#[derive(Debug)]
struct Collected(Arc<Mutex<Vec<u8>>>, JoinHandle<()>);

impl Running {
    #[track_caller]
    pub fn start(command: &mut Command) -> Running {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdout = Collected::from(child.stdout.take().unwrap());
        let stderr = Collected::from(child.stderr.take().unwrap());
        Running { child, command: format!("{command:?}"), stdout, stderr }
    }

    /// Writes to its standard input, which must have been a pipe.
    pub fn write(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the answer is yes; panics with what the program said where it ends before that.
    #[track_caller]
    pub fn until(mut self, what: &str, deadline: Duration, mut condition: impl FnMut(&str) -> bool) -> Running {
        let mut ended = false;
        eventually(what, deadline, || {
            ended = self.has_ended();
            ended || condition(&self.stdout.text())
        });
        if ended {
            panic!("it ended before this: {what}: {}", self.output());
        }
        self
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Closes its standard input and waits for its end.
    #[track_caller]
    pub fn output(mut self) -> Output {
        drop(self.child.stdin.take());
        let end = Instant::now() + seconds(PATIENCE);
        let mut hung = false;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end && !hung {
                hung = true;
                self.child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        // Whoever has inherited a pipe of a killed program may hold it for ever; the others end with their program.
        let ended = |side: &Collected| hung || side.1.is_finished();
        eventually("the end of the program's output", seconds(PATIENCE), || ended(&self.stdout) && ended(&self.stderr));
        let output = Output {
            command: std::mem::take(&mut self.command),
            status,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        };
        assert!(!hung, "killed, for it did not end: {output}");
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _waited_already = self.child.wait();
    }
}

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static) -> Collected {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut some) {
                to.lock().unwrap().extend_from_slice(&some[..length]);
            }
        });
        Collected(bytes, thread)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

#[test]
fn a_programs_words_and_end_are_seen() {
    let said = output(Command::new("bash").args(["-c", "echo out; echo err >&2; exit 3"])).expect_code(3);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(output(Command::new("bash").args(["-c", "kill -9 $$"])).code(), 137);
}
