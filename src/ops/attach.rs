//! Standing in front of a container: its streams, its terminal, its signals, its end.

use super::Progress;
use crate::error::{Errno, Error, Result, SysResult};
use crate::monitor::protocol::{Attach, CHUNK, Event, Request, SOCKET, Stream, VERSION, stream_bytes};
use crate::monitor::spawn::Monitor;
use crate::sys::event::{self, Signals};
use crate::sys::process::Exit;
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
}

/// What a command in front of a program has to do with it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Front {
    pub(super) tty: bool,
    pub(super) input: bool,
    /// The program's standard output is for us, and not for our caller.
    pub(super) collect: bool,
}

impl Front {
    /// What it wants of the monitor.
    pub(super) fn attach(self) -> Attach {
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
            Some(Event::Started { .. }) => return Ok(()),
            Some(Event::Failed(error)) => return Err(error),
            Some(Event::Hello { .. } | Event::Taken | Event::Exited { .. }) => {}
            None => return Err(gone()),
        }
    }
}

fn gone() -> Error {
    Error::internal("the container's monitor ended without a word")
        .hint("see `minirun ps -a`; `minirun repair` removes what is left")
}

/// How long a monitor that has closed its socket may take to end, where that is what it does.
const CLOSING: Duration = Duration::from_secs(1);

fn let_go() -> Error {
    Error::host("nobody took the program's output for too long; it goes on without this command")
        .hint("`minirun logs` has all that a container says, `minirun wait` its exit code")
}

/// A connection to the monitor of a container that runs, by the directory of its life. It wants nothing of the streams.
pub(super) fn connect(life: &Path) -> Result<OwnedFd> {
    let socket = socket::connect_to(&fs::open_read(life)?, SOCKET)?;
    socket::send_json(&socket, &Request::Hello { version: VERSION, attach: Attach::default() })?;
    Ok(socket)
}

/// Waits for the end of a container whose monitor we are connected to; `None` where the monitor went away first.
pub(super) fn await_end(socket: &OwnedFd) -> Result<Option<Option<Exit>>> {
    while let Some((message, _)) = socket::receive(socket)? {
        if let Ok(Event::Exited { exit, .. }) = serde_json::from_slice(&message) {
            return Ok(Some(exit));
        }
    }
    Ok(None)
}

/// Stays until the program has ended.
pub(super) fn attach(monitor: &Monitor, front: Front, progress: &dyn Progress) -> Result<Outcome> {
    let signals = Signals::forwarded()?;
    let input = if front.input { Input::BeforeStart } else { Input::Closed };
    let mut session = Session { monitor, front, raw: None, input, output: Vec::new() };
    loop {
        if let Some(end) = session.once(&signals, progress)? {
            drop(session.raw.take());
            let (exit, left) = end?;
            return Ok(Outcome { exit, left, output: session.output });
        }
    }
}

type End = Result<(Option<Exit>, Vec<Error>)>;

struct Session<'a> {
    monitor: &'a Monitor,
    front: Front,
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

impl Session<'_> {
    fn once(&mut self, signals: &Signals, progress: &dyn Progress) -> Result<Option<End>> {
        let stdin = std::io::stdin();
        let mut waiting: Vec<BorrowedFd<'_>> = vec![signals.as_fd(), self.monitor.control.as_fd()];
        if self.input == Input::Open {
            waiting.push(stdin.as_fd());
        }
        let ready = event::readable(&waiting)?;
        if ready[0] {
            self.signal(signals)?;
        }
        if ready.get(2) == Some(&true) {
            self.read_input()?;
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
            Event::Started { .. } => self.started()?,
            Event::Taken if self.input == Input::Sent => self.input = Input::Open,
            Event::Hello { .. } | Event::Taken => {}
            Event::Failed(error) => return Ok(Some(Err(error))),
            Event::Exited { exit, left } => return Ok(Some(Ok((exit, left)))),
        }
        Ok(None)
    }

    fn started(&mut self) -> Result<()> {
        if self.input == Input::BeforeStart {
            self.input = Input::Open;
        }
        if self.front.tty && tty::is_terminal(&std::io::stdin()) {
            self.raw = Some(RawMode::enter()?);
        }
        Ok(())
    }

    fn signal(&mut self, signals: &Signals) -> Result<()> {
        while let Some(signal) = signals.next()? {
            let request = match (signal, self.front.tty) {
                (libc::SIGWINCH, false) => continue,
                (libc::SIGWINCH, true) => match tty::size(&std::io::stdin()) {
                    Ok(size) => Request::Resize(size),
                    Err(_) => continue,
                },
                _ => Request::Signal(signal),
            };
            let _ = socket::send_json(&self.monitor.control, &request); // gone: its last word is on the way
        }
        Ok(())
    }

    fn read_input(&mut self) -> Result<()> {
        let mut message = vec![0; CHUNK + 1];
        message[0] = Stream::Stdin as u8;
        let length = event::read_some(&std::io::stdin(), &mut message[1..]).unwrap_or(0);
        let sent = match length {
            0 => socket::send_json(&self.monitor.control, &Request::EndOfInput),
            length => socket::send(&self.monitor.control, &message[..=length], None),
        };
        self.input = if length > 0 && sent.is_ok() { Input::Sent } else { Input::Closed };
        Ok(())
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
                progress.warn("nobody reads the output any more; the container goes on, `minirun ps` shows it");
                Ok(Some(Ok((Some(Exit::Signal(libc::SIGPIPE)), Vec::new()))))
            }
            Err(e) => Err(Error::from(e).during("writing the container's output")),
        }
    }
}
