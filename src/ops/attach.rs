//! Standing in front of a container: its streams, its terminal, its signals, its end.

use super::Progress;
use super::container::{self, Container, UNKNOWN_EXIT};
use super::detach_keys::{DetachKeys, Typed};
use crate::error::{Errno, Error, Result, SysResult};
use crate::id::ContainerId;
use crate::monitor::protocol::{Attach, CHUNK, Event, Request, SOCKET, Stream, VERSION, stream_bytes};
use crate::monitor::spawn::Monitor;
use crate::state::{Roots, Status, events};
use crate::sys::event::{self, Signals};
use crate::sys::process::Exit;
use crate::sys::record::Lock;
use crate::sys::tty::{self, RawMode};
use crate::sys::{fs, socket};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// How it went: the program's end, and what could not be removed after it.
#[derive(Debug)]
pub(super) struct Outcome {
    /// `None` where nobody saw it.
    pub(super) exit: Option<Exit>,
    pub(super) left: Vec<Error>,
    /// What the program wrote, where it was to be collected.
    pub(super) output: Vec<u8>,
    /// It has not ended: the one in front of it has left.
    pub(super) detached: bool,
}

/// How a program ended for the one in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    /// Its code; 128+n for a signal.
    Exited(u8),
    /// It goes on, and was left by the detach keys.
    Left,
    /// It goes on without us, from its start on.
    Detached(ContainerId),
}

impl Ran {
    /// Says what could not be removed after it.
    pub(super) fn of(outcome: &Outcome, progress: &dyn Progress) -> Ran {
        for error in &outcome.left {
            progress.warn(&format!("not cleaned up: {error}"));
        }
        match outcome.detached {
            true => Ran::Left,
            false => Ran::Exited(outcome.exit.map_or(UNKNOWN_EXIT, |exit| exit.code())),
        }
    }
}

/// What a command in front of a program has to do with it.
#[derive(Debug, Clone, Default)]
pub struct Front {
    pub tty: bool,
    pub input: bool,
    /// The program's standard output is for us, and not for our caller.
    pub collect: bool,
    /// What is typed to leave a terminal.
    pub keys: DetachKeys,
    /// Our signals stay ours.
    pub keep_signals: bool,
    /// It ends when we do.
    pub attended: bool,
}

impl Front {
    /// What it wants of the monitor.
    pub(super) fn attach(&self) -> Attach {
        Attach { input: self.input, output: true }
    }
}

/// Waits until the program has started; its end, where it could not.
pub(super) fn await_start(monitor: &Monitor, progress: &dyn Progress) -> Result<()> {
    loop {
        match socket::receive_json::<Event>(&monitor.control)? {
            Some(Event::Step { line, why }) => {
                progress.trace(&line, &why)?;
                let _ = socket::send_json(&monitor.control, &Request::Next); // gone: the next message says so
            }
            Some(Event::Warning(warning)) => progress.warn(&warning),
            Some(Event::Started { .. }) => {
                progress.trace_ends();
                return Ok(());
            }
            Some(Event::Failed(error)) => {
                progress.trace_ends();
                return Err(error);
            }
            Some(Event::Hello { .. } | Event::Taken | Event::Checked { .. } | Event::Exited { .. }) => {}
            None => return Err(gone()),
        }
    }
}

fn gone() -> Error {
    Error::internal("the container's monitor ended without a word")
        .hint("see `minirun ps -a`; `minirun repair` removes what is left")
}

/// How long a monitor that has closed its socket may take to end, where that is what it does.
const CLOSING: Duration = Duration::from_secs(5);

fn let_go() -> Error {
    Error::host("nobody took the program's output for too long; it goes on without this command")
        .hint("`minirun logs` has all that a container says, `minirun wait` its exit code")
}

/// A connection to the monitor of a container that runs, by the directory of its life.
pub(super) fn connect(life: &Path, attach: Attach) -> Result<OwnedFd> {
    let socket = socket::connect_to(&fs::open_read(life)?, SOCKET)?;
    socket::send_json(&socket, &Request::Hello { version: VERSION, attach })?;
    Ok(socket)
}

/// Stands in front of a container that runs already, until it ends or is left; what it said before is in its log.
pub fn attach_to(roots: &Roots, word: &str, front: Front, progress: &dyn Progress) -> Result<Ran> {
    let found = container::find_settled(roots, word)?;
    if found.status != Status::Running {
        return Err(Error::user(format!("container {word} does not run: there is nothing to attach to"))
            .hint(format!("minirun start -a {word}, or minirun logs {word}")));
    }
    join(roots, &found, front, progress)
}

/// The same, for one that was found running.
pub(super) fn join(roots: &Roots, found: &Container, front: Front, progress: &dyn Progress) -> Result<Ran> {
    let (Some(config), Some(life)) = (&found.config, &found.life) else {
        return Err(Error::internal("a running container without records"));
    };
    let front = Front { tty: config.tty, input: front.input && config.interactive, ..front };
    let control = connect(roots.life(&found.id).as_path(), front.attach())?;
    events::container(roots, config, "attach", &[]);
    let monitor = Monitor { control, pidfd: life.monitor.open()? };
    Ok(Ran::of(&serve(&monitor, front, At::Running, None, progress)?, progress))
}

/// Tells the monitor of a container, by the directory of its life, that the end which comes is wanted, and whether the
/// container stays then whatever it was made for; it has heard it.
pub(super) fn announce_end(life: &Path, stays: bool) -> Result<()> {
    tell(life, &Request::Ending { stays })
}

/// The monitor of a container, by the directory of its life, answers for names from now on.
pub(super) fn answer_names(life: &Path) -> Result<()> {
    tell(life, &Request::AnswerNames)
}

/// Says something to a monitor and waits until it was taken; one that goes away meanwhile has nothing to take.
fn tell(life: &Path, request: &Request) -> Result<()> {
    let socket = connect(life, Attach::default())?;
    socket::send_json(&socket, request)?;
    loop {
        if !event::readable_within(socket.as_fd(), Some(ANSWER))? {
            return Err(Error::host("the container's monitor does not answer").hint(HELD));
        }
        let Some((message, _)) = socket::receive(&socket)? else { return Ok(()) };
        match serde_json::from_slice(&message) {
            Ok(Event::Taken) => return Ok(()),
            Ok(Event::Failed(error)) => return Err(error),
            _ => {}
        }
    }
}

/// How long a monitor may take to answer: it has nothing else to do.
const ANSWER: Duration = Duration::from_secs(5);

/// What to do where one does not.
pub(super) const HELD: &str =
    "is a process named minirun-monitor stopped? `ps -eo pid,stat,comm` shows it; end it and try again";

/// Waits for the end of a container whose monitor we are connected to; `None` where the monitor went away first.
pub(super) fn await_end(socket: &OwnedFd) -> Result<Option<Option<Exit>>> {
    while let Some((message, _)) = socket::receive(socket)? {
        if let Ok(Event::Exited { exit, .. }) = serde_json::from_slice(&message) {
            return Ok(Some(exit));
        }
    }
    Ok(None)
}

/// When a command comes to stand in front of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Birth,
    Running,
}

/// Stays until the program has ended or is left. `turn` is let go when it has started.
pub(super) fn attach(monitor: &Monitor, front: Front, turn: Option<Lock>, progress: &dyn Progress) -> Result<Outcome> {
    serve(monitor, front, At::Birth, turn, progress)
}

fn serve(monitor: &Monitor, front: Front, at: At, turn: Option<Lock>, progress: &dyn Progress) -> Result<Outcome> {
    let signals = if front.keep_signals { Signals::window() } else { Signals::forwarded() }?;
    let input = if front.input { Input::BeforeStart } else { Input::Closed };
    let mut session = Session { monitor, front, turn, raw: None, input, output: Vec::new() };
    if at == At::Running {
        session.started()?;
        session.redraw();
    }
    loop {
        if let Some(end) = session.once(&signals, progress)? {
            drop(session.raw.take());
            return end.map(|outcome| Outcome { output: session.output, ..outcome });
        }
    }
}

type End = Result<Outcome>;

fn ended(exit: Option<Exit>, left: Vec<Error>) -> Outcome {
    Outcome { exit, left, output: Vec::new(), detached: false }
}

struct Session<'a> {
    monitor: &'a Monitor,
    front: Front,
    turn: Option<Lock>,
    raw: Option<RawMode>,
    input: Input,
    output: Vec<u8>,
}

/// Our standard input, on its way to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// A program that cannot be started must not have taken any.
    BeforeStart,
    Open,
    /// Some of it was sent; more when the monitor says that the program has it.
    Sent,
    Closed,
}

/// What becomes of the input after some was read.
enum Typing {
    Goes(Input),
    Leaves,
}

impl Session<'_> {
    fn once(&mut self, signals: &Signals, progress: &dyn Progress) -> Result<Option<End>> {
        let stdin = std::io::stdin();
        let mut waiting: Vec<BorrowedFd<'_>> = vec![signals.as_fd(), self.monitor.control.as_fd()];
        if self.input == Input::Open {
            waiting.push(stdin.as_fd());
        }
        let ready = event::readable(&waiting)?;
        if ready[0]
            && let Some(signal) = self.signal(signals)?
        {
            progress.warn(match self.front.attended {
                true => "ended by a signal, and the program with it",
                false => "left by a signal; the program goes on, `minirun ps` shows its container",
            });
            return Ok(Some(Ok(ended(Some(Exit::Signal(signal)), Vec::new()))));
        }
        if ready.get(2) == Some(&true) {
            match self.read_input() {
                Typing::Goes(input) => self.input = input,
                Typing::Leaves => return Ok(Some(Ok(Outcome { detached: true, ..ended(None, Vec::new()) }))),
            }
        }
        if ready[1] { self.hear(progress) } else { Ok(None) }
    }

    fn hear(&mut self, progress: &dyn Progress) -> Result<Option<End>> {
        let Some((message, _)) = socket::receive(&self.monitor.control)? else {
            let ended = event::readable_within(self.monitor.pidfd.as_fd(), Some(CLOSING))?;
            return Ok(Some(Err(if ended { gone() } else { let_go() })));
        };
        if let Some((stream, bytes)) = stream_bytes(&message) {
            return self.write(stream, bytes, progress);
        }
        let event =
            serde_json::from_slice(&message).map_err(|e| Error::internal(format!("the monitor's word: {e}")))?;
        match event {
            Event::Step { line, why } => {
                progress.trace(&line, &why)?;
                // a monitor that is gone is heard of by the end of its messages
                let _ = socket::send_json(&self.monitor.control, &Request::Next);
            }
            Event::Warning(warning) => progress.warn(&warning),
            Event::Started { .. } => {
                progress.trace_ends();
                self.started()?;
            }
            Event::Taken if self.input == Input::Sent => self.input = Input::Open,
            Event::Hello { .. } | Event::Taken | Event::Checked { .. } => {}
            Event::Failed(error) => {
                progress.trace_ends();
                return Ok(Some(Err(error)));
            }
            Event::Exited { exit, left } => return Ok(Some(Ok(ended(exit, left)))),
        }
        Ok(None)
    }

    fn started(&mut self) -> Result<()> {
        drop(self.turn.take());
        if self.input == Input::BeforeStart {
            self.input = Input::Open;
        }
        if self.front.tty && tty::is_terminal(&std::io::stdin()) {
            self.raw = Some(RawMode::enter()?);
        }
        Ok(())
    }

    /// At a terminal a signal is ours, for those of the program are typed; gives the one that ends us.
    fn signal(&mut self, signals: &Signals) -> Result<Option<i32>> {
        while let Some(signal) = signals.next()? {
            let request = match (signal, self.front.tty) {
                (libc::SIGWINCH, false) => continue,
                (libc::SIGWINCH, true) => match tty::size(&std::io::stdin()) {
                    Ok(size) => Request::Resize(size),
                    Err(_) => continue,
                },
                (_, true) if matches!(signal, libc::SIGTERM | libc::SIGHUP | libc::SIGINT | libc::SIGQUIT) => {
                    return Ok(Some(signal));
                }
                (_, true) => continue,
                (_, false) => Request::Signal(signal),
            };
            let _ = socket::send_json(&self.monitor.control, &request); // gone: its last word is on the way
        }
        Ok(None)
    }

    /// Passes on what was typed or piped.
    fn read_input(&mut self) -> Typing {
        let mut bytes = vec![0; CHUNK];
        let length = event::read_some(&std::io::stdin(), &mut bytes).unwrap_or(0);
        if length == 0 {
            // gone: the next message says so
            let _ = socket::send_json(&self.monitor.control, &Request::EndOfInput);
            return Typing::Goes(Input::Closed);
        }
        bytes.truncate(length);
        let (bytes, leaves) = match self.raw.is_some().then(|| self.front.keys.filter(&bytes)) {
            None => (bytes, false),
            Some(Typed::Input(bytes)) => (bytes, false),
            Some(Typed::Detach(bytes)) => (bytes, true),
        };
        let sent = match bytes.is_empty() {
            true => return if leaves { Typing::Leaves } else { Typing::Goes(Input::Open) },
            false => socket::send(&self.monitor.control, &[&[Stream::Stdin as u8], &bytes[..]].concat(), None),
        };
        match (leaves, sent) {
            (true, _) => Typing::Leaves,
            (false, Ok(())) => Typing::Goes(Input::Sent),
            (false, Err(_)) => Typing::Goes(Input::Closed),
        }
    }

    /// Makes a full-screen program draw itself again, which it does when its terminal changes its size.
    fn redraw(&self) {
        let Some(size) = self.raw.as_ref().and_then(|_| tty::size(&std::io::stdin()).ok()) else { return };
        for rows in [size.rows.saturating_add(1), size.rows] {
            let _ = socket::send_json(&self.monitor.control, &Request::Resize(tty::Size { rows, ..size }));
        }
    }

    /// What the program says goes to our own streams. Where nobody reads them any more the program goes on, and we end
    /// as whoever writes into such a pipe does.
    fn write(&mut self, stream: Stream, bytes: &[u8], progress: &dyn Progress) -> Result<Option<End>> {
        if self.front.collect && stream == Stream::Stdout {
            self.output.extend_from_slice(bytes);
            return Ok(None);
        }
        let written: SysResult<()> = match stream {
            Stream::Stderr => event::write_all(&std::io::stderr(), bytes),
            Stream::Stdin | Stream::Stdout => event::write_all(&std::io::stdout(), bytes),
        };
        match written {
            Ok(()) => Ok(None),
            Err(e) if e.errno == Errno::EPIPE => {
                progress
                    .warn("nobody reads the output any more; the program goes on, `minirun ps` shows its container");
                Ok(Some(Ok(ended(Some(Exit::Signal(libc::SIGPIPE)), Vec::new()))))
            }
            Err(e) => Err(Error::from(e).during("writing the container's output")),
        }
    }
}
