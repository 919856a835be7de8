//! The loop of a monitor while its program runs: output to the log and to the commands in front of it, input and signals
//! from them, until the program has ended and its last word is out.

use super::client::{Client, Clients, Said};
use super::health::{Answer, Checks};
use super::log::Log;
use super::protocol::{CHUNK, Event, Request};
use super::resolver::{Resolver, Spot};
use super::streams::Streams;
use crate::error::{Error, Result};
use crate::sys::event::{self, Interest, Read, Ready};
use crate::sys::process;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Instant;

/// In bytes: as much as a pipe holds at most that its program has not enlarged as root (pipe(7)).
const LAST_WORDS: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Session<'a> {
    pub(super) pidfd: &'a OwnedFd,
    pub(super) streams: Streams,
    pub(super) log: Option<Log>,
    checks: Option<Checks<'a>>,
    /// Answers for names, where the container has networks of one's own.
    pub(super) names: Option<Resolver<'a>>,
    pub(super) clients: &'a mut Clients,
    /// Input on its way to the program.
    pending: Option<Pending>,
    /// It ends when no command stands in front of it any more.
    pub(super) attended: bool,
    /// Its end is wanted.
    pub(super) asked: bool,
    /// The container is not removed when it ends.
    pub(super) stays: bool,
    /// Why the log could not be written, the first time.
    pub(super) log_error: Option<std::io::Error>,
}

/// Bytes that the program has not taken yet, and the command that waits for word of it.
#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    done: usize,
    /// The socket's number: commands come and go, and so do their places in the list.
    from: i32,
}

/// What a descriptor in the poll stands for.
#[derive(Debug, Clone, Copy)]
enum Who {
    Program,
    Listener,
    Input,
    Source(usize),
    Client(usize),
    Check,
    Name(Spot),
}

impl<'a> Session<'a> {
    pub(super) fn new(
        pidfd: &'a OwnedFd,
        streams: Streams,
        log: Option<Log>,
        checks: Option<Checks<'a>>,
        clients: &'a mut Clients,
    ) -> Session<'a> {
        Session {
            pidfd,
            streams,
            log,
            checks,
            names: None,
            clients,
            pending: None,
            attended: false,
            asked: false,
            stays: false,
            log_error: None,
        }
    }

    /// Serves until the program has ended.
    pub(super) fn serve(&mut self) -> Result<()> {
        while !self.once()? {}
        self.names = None; // its sockets would keep the network namespace
        if let Some(checks) = self.checks.take() {
            checks.end();
        }
        self.drain();
        Ok(())
    }

    /// Waits for something to happen and answers it; true when the program has ended.
    fn once(&mut self) -> Result<bool> {
        if self.attended && !self.clients.any_in_front() {
            self.attended = false; // once is enough
            (self.asked, self.stays) = (true, false);
            // where it has just ended, that is what is wanted
            let _ = process::send_signal(self.pidfd, libc::SIGKILL);
        }
        let (who, interests) = self.interests();
        let checks = self.checks.as_ref().and_then(Checks::deadline);
        let deadlines = [self.clients.deadline(), checks, self.names.as_ref().and_then(Resolver::deadline)];
        let deadline = deadlines.into_iter().flatten().min();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let ready = event::wait(&interests, left)?;
        let mut ended = false;
        for (who, ready) in who.into_iter().zip(ready) {
            match who {
                Who::Program => ended = ready.read,
                Who::Listener if ready.read => self.clients.accept_all(self.streams.listener.as_ref()),
                Who::Input if ready.read || ready.write => self.feed(),
                Who::Source(index) if ready.read => _ = self.pump(index),
                Who::Client(index) => self.client(index, ready),
                Who::Check if ready.read => {
                    let answer = self.checks.as_mut().and_then(Checks::hear);
                    self.answer(answer);
                }
                Who::Name(spot) if ready.read || ready.write => {
                    if let Some(names) = &mut self.names {
                        names.hear(spot, ready);
                    }
                }
                Who::Listener | Who::Input | Who::Source(_) | Who::Check | Who::Name(_) => {}
            }
        }
        if let Some(names) = &mut self.names {
            names.tick();
        }
        self.clients.let_go();
        let answer = self.checks.as_mut().and_then(Checks::tick);
        self.answer(answer);
        Ok(ended)
    }

    /// Where a command is behind, the program's output stays in its pipe until it has caught up or is let go.
    fn interests(&self) -> (Vec<Who>, Vec<Interest<'_>>) {
        let behind = self.clients.deadline().is_some();
        let mut all: Vec<(Who, Interest<'_>)> = Vec::new();
        let mut add = |who, fd, read, write| all.push((who, Interest { fd, read, write }));
        add(Who::Program, self.pidfd.as_fd(), true, false);
        if let Some(listener) = &self.streams.listener {
            add(Who::Listener, listener.as_fd(), true, false);
        }
        for (index, client) in self.clients.0.iter().enumerate() {
            add(Who::Client(index), client.socket.as_fd(), true, client.deadline().is_some());
        }
        if let (Some(input), Some(_)) = (&self.streams.input, &self.pending) {
            add(Who::Input, input.as_fd(), false, true);
        }
        if !behind {
            for (index, source) in self.streams.sources.iter().enumerate() {
                add(Who::Source(index), source.fd.as_fd(), true, false);
            }
        }
        let checks = self.checks.iter().flat_map(Checks::interests);
        all.extend(checks.map(|interest| (Who::Check, interest)));
        let names = self.names.iter().flat_map(Resolver::interests);
        all.extend(names.map(|(spot, interest)| (Who::Name(spot), interest)));
        all.into_iter().unzip()
    }

    /// One read of what the program says, and how long it was; 0 where there is nothing more now.
    fn pump(&mut self, index: usize) -> usize {
        let mut buffer = [0; CHUNK];
        let Some(source) = self.streams.sources.get(index) else { return 0 };
        match source.read(&mut buffer) {
            Read::Bytes(length) => {
                let stream = source.stream;
                let logged = self.log.as_mut().map_or(Ok(()), |log| log.append(stream, &buffer[..length]));
                self.log_error = self.log_error.take().or(logged.err());
                self.clients.output(stream, &buffer[..length]);
                length
            }
            Read::Nothing => 0,
            Read::End => {
                self.streams.sources.remove(index);
                0
            }
        }
    }

    fn client(&mut self, index: usize, ready: Ready) {
        let Some(client) = self.clients.0.get_mut(index) else { return };
        if ready.write {
            client.flush();
        }
        if !ready.read {
            return;
        }
        match client.hear() {
            Said::Nothing | Said::Request(Request::Next) => {}
            Said::Request(Request::Hello { attach, .. }) => client.attach = attach,
            // a signal to a process that has just ended reaches nobody, as with kill(2)
            Said::Request(Request::Signal(signal)) => drop(process::send_signal(self.pidfd, signal)),
            Said::Request(Request::Ending { stays }) => {
                (self.asked, self.stays) = (true, stays);
                client.tell(&Event::Taken);
            }
            Said::Request(Request::AnswerNames) => match self.names.as_mut().map_or(Ok(()), Resolver::open) {
                Ok(()) => client.tell(&Event::Taken),
                Err(error) => client.tell(&Event::Failed(error)),
            },
            Said::Request(Request::Check) => match &mut self.checks {
                Some(checks) => checks.ask(client.socket.as_raw_fd()),
                None => client.tell(&Event::Failed(Error::user("the container has no health check"))),
            },
            Said::Request(Request::Resize(size)) => self.streams.resize(size),
            Said::Request(Request::EndOfInput) => {
                if client.attach.input && self.streams.terminal.is_none() {
                    self.streams.input = None;
                }
            }
            Said::Input(bytes) if client.attach.input => {
                // a command sends more only when the last was taken; two of them may meet, and then go one by one
                match &mut self.pending {
                    Some(pending) => pending.bytes.extend_from_slice(&bytes),
                    None => self.pending = Some(Pending { bytes, done: 0, from: client.socket.as_raw_fd() }),
                }
                self.feed();
            }
            Said::Input(_) => {}
        }
    }

    /// To those that have asked for a check and are still there.
    fn answer(&mut self, answer: Option<Answer>) {
        let Some(Answer { to, said }) = answer else { return };
        let asked = |client: &&mut Client| to.contains(&client.socket.as_raw_fd());
        self.clients.0.iter_mut().filter(asked).for_each(|client| client.tell(&said));
    }

    /// Hands input on, as far as the program takes it.
    fn feed(&mut self) {
        let Some(pending) = &mut self.pending else { return };
        // a program that has closed its input takes all of it and reads none, as with a shell's pipe
        let rest = pending.bytes.len() - pending.done;
        let taken = match &self.streams.input {
            Some(input) => event::write_now(input, &pending.bytes[pending.done..]),
            None => Ok(rest),
        };
        pending.done += match taken {
            Ok(taken) => taken,
            Err(_) => {
                self.streams.input = None;
                rest
            }
        };
        if pending.done == pending.bytes.len() {
            let from = pending.from;
            self.pending = None;
            if let Some(client) = self.clients.0.iter_mut().find(|client| client.socket.as_raw_fd() == from) {
                client.tell(&Event::Taken);
            }
        }
    }

    /// The program has ended: what it said last goes out, to everybody who takes it in time. Others may have its streams
    /// still and write on: what they say after it is nobody's.
    fn drain(&mut self) {
        let mut index = 0;
        while index < self.streams.sources.len() {
            let (open, mut left) = (self.streams.sources.len(), LAST_WORDS);
            while left > 0 {
                self.clients.catch_up();
                match self.pump(index) {
                    0 => break,
                    length => left = left.saturating_sub(length),
                }
            }
            if self.streams.sources.len() == open {
                index += 1; // else it has ended, and the next one has its place
            }
        }
        self.clients.catch_up();
        let finished = self.log.as_mut().map_or(Ok(()), Log::finish);
        self.log_error = self.log_error.take().or(finished.err());
    }
}
