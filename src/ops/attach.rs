//! Standing in front of a container: its terminal, its signals, its end.

use super::Progress;
use crate::error::{Error, Result};
use crate::monitor::protocol::{Event, Request};
use crate::monitor::spawn::Monitor;
use crate::sys::event::{self, Signals};
use crate::sys::process::Exit;
use crate::sys::socket;
use crate::sys::tty::{self, RawMode};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// How it went: the program's end, and what could not be removed after it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) exit: Exit,
    pub(super) left: Vec<Error>,
}

/// As much as is moved at once between the two terminals.
const CHUNK: usize = 64 * 1024;

/// Stays until the program has ended. `console` is where the container's terminal comes from, if it has one.
pub(super) fn attach(monitor: &Monitor, console: Option<&OwnedFd>, progress: &dyn Progress) -> Result<Outcome> {
    let signals = Signals::forwarded()?;
    let mut session = Session { monitor, console, terminal: None, _raw: None, input_open: true, end: None };
    loop {
        if let (None, Some(end)) = (&session.terminal, session.end.take()) {
            return end;
        }
        session.once(&signals, progress)?;
    }
}

struct Session<'a> {
    monitor: &'a Monitor,
    /// Waited on until the terminal has come.
    console: Option<&'a OwnedFd>,
    terminal: Option<OwnedFd>,
    _raw: Option<RawMode>,
    input_open: bool,
    end: Option<Result<Outcome>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Source {
    Control,
    Signals,
    Console,
    Terminal,
    Input,
}

impl Session<'_> {
    fn once(&mut self, signals: &Signals, progress: &dyn Progress) -> Result<()> {
        let stdin = std::io::stdin();
        let mut waiting: Vec<(Source, BorrowedFd<'_>)> = vec![(Source::Signals, signals.as_fd())];
        if self.end.is_none() {
            waiting.push((Source::Control, self.monitor.control.as_fd()));
        }
        match (&self.terminal, self.console) {
            (Some(terminal), _) => {
                waiting.push((Source::Terminal, terminal.as_fd()));
                if self.input_open {
                    waiting.push((Source::Input, stdin.as_fd()));
                }
            }
            (None, Some(console)) => waiting.push((Source::Console, console.as_fd())),
            (None, None) => {}
        }
        let fds: Vec<BorrowedFd<'_>> = waiting.iter().map(|(_, fd)| *fd).collect();
        let ready = event::readable(&fds)?;
        let ready: Vec<Source> =
            waiting.iter().zip(ready).filter(|(_, ready)| *ready).map(|((source, _), _)| *source).collect();
        for source in ready {
            self.serve(source, signals, progress)?;
        }
        Ok(())
    }

    fn serve(&mut self, source: Source, signals: &Signals, progress: &dyn Progress) -> Result<()> {
        match source {
            Source::Control => self.control(progress),
            Source::Signals => self.signal(signals),
            Source::Console => self.console(),
            Source::Terminal => self.output(),
            Source::Input => self.input(),
        }
    }

    fn control(&mut self, progress: &dyn Progress) -> Result<()> {
        match socket::receive_json::<Event>(&self.monitor.control)? {
            Some(Event::Step { line, why }) => {
                progress.trace(&line, &why)?;
                socket::send_json(&self.monitor.control, &Request::Next)?;
            }
            Some(Event::Started { .. }) => {}
            Some(Event::Failed(error)) => self.end = Some(Err(error)),
            Some(Event::Exited { exit, left }) => self.end = Some(Ok(Outcome { exit, left })),
            None => {
                let error = Error::internal("the container's monitor ended without a word")
                    .hint("see `minirun ps -a`; `minirun repair` removes what is left");
                self.end = Some(Err(error));
            }
        }
        if self.end.is_some() && self.console.is_some() && self.terminal.is_none() {
            self.console = None;
        }
        Ok(())
    }

    fn signal(&mut self, signals: &Signals) -> Result<()> {
        while let Some(signal) = signals.next()? {
            match (&self.terminal, signal) {
                (Some(terminal), libc::SIGWINCH) => {
                    // a terminal that has just closed needs no size
                    let _ = tty::size(&std::io::stdin()).and_then(|size| tty::set_size(terminal, size));
                }
                (None, libc::SIGWINCH) => {}
                _ => drop(socket::send_json(&self.monitor.control, &Request::Signal(signal))),
            }
        }
        Ok(())
    }

    fn console(&mut self) -> Result<()> {
        let Some(console) = self.console.take() else { return Ok(()) };
        if let Some((_, Some(terminal))) = socket::receive(console)? {
            self._raw = tty::is_terminal(&std::io::stdin()).then(RawMode::enter).transpose()?;
            self.terminal = Some(terminal);
        }
        Ok(())
    }

    fn output(&mut self) -> Result<()> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        let mut buffer = [0; CHUNK];
        match event::read_some(terminal, &mut buffer)? {
            0 => {
                self.terminal = None;
                self._raw = None;
            }
            // a reader that has gone is no reason to stop the container
            length => drop(event::write_all(&std::io::stdout(), &buffer[..length])),
        }
        Ok(())
    }

    fn input(&mut self) -> Result<()> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        let mut buffer = [0; CHUNK];
        match event::read_some(&std::io::stdin(), &mut buffer)? {
            0 => self.input_open = false,
            length => drop(event::write_all(terminal, &buffer[..length])),
        }
        Ok(())
    }
}
