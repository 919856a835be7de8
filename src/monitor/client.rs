//! A command in front of a container. It may be slow, and then the others wait a little; it may be stuck, and then it is
//! let go: a container never stands still for a reader.

use super::protocol::{Attach, Event, Request, Stream, VERSION, stream_bytes};
use crate::sys::event::{self, Interest};
use crate::sys::socket;
use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// How long a command may take nothing before its output is dropped. A pipe's reader that thinks longer finds the rest
/// in the log.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: OwnedFd,
    pub(super) attach: Attach,
    /// Messages that the socket had no room for.
    waiting: VecDeque<Vec<u8>>,
    /// Since when the first of them waits.
    since: Option<Instant>,
    gone: bool,
}

/// All commands in front of one container.
#[derive(Debug, Default)]
pub(super) struct Clients(pub(super) Vec<Client>);

impl Clients {
    pub(super) fn output(&mut self, stream: Stream, bytes: &[u8]) {
        self.0.iter_mut().for_each(|client| client.output(stream, bytes));
    }

    /// Whether a command takes what the program says.
    pub(super) fn any_in_front(&self) -> bool {
        self.0.iter().any(|client| client.attach.output && !client.gone)
    }

    /// When the first of those that are behind is let go; `None` where all have everything.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().filter_map(Client::deadline).min()
    }

    /// Takes in those that have connected.
    pub(super) fn accept_all(&mut self, listener: Option<&OwnedFd>) {
        while let Some(Ok(Some(socket))) = listener.map(socket::accept) {
            self.0.push(Client::connected(socket));
        }
    }

    /// Tells everybody, and waits until they have it or are let go.
    pub(super) fn tell(&mut self, event: &Event) {
        self.0.iter_mut().for_each(|client| client.tell(event));
        self.catch_up();
    }

    /// Waits until all have everything or are let go.
    pub(super) fn catch_up(&mut self) {
        while let Some(deadline) = self.deadline() {
            let mut interests: Vec<Interest<'_>> = Vec::new();
            for client in &self.0 {
                let write = client.deadline().is_some();
                interests.push(Interest { fd: client.socket.as_fd(), read: false, write });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // a poll that fails would fail again
            let Ok(ready) = event::wait(&interests, Some(left)) else { return };
            for (client, ready) in self.0.iter_mut().zip(ready) {
                if ready.write || ready.read {
                    client.flush();
                }
            }
            self.let_go();
        }
    }

    /// Forgets those that went away or take nothing.
    pub(super) fn let_go(&mut self) {
        let now = Instant::now();
        self.0.retain(|client| !client.gone && client.deadline().is_none_or(|deadline| deadline > now));
    }
}

/// What has come from a command.
#[derive(Debug)]
pub(super) enum Said {
    Input(Vec<u8>),
    Request(Request),
    Nothing,
}

impl Client {
    pub(super) fn new(socket: OwnedFd, attach: Attach) -> Client {
        Client { socket, attach, waiting: VecDeque::new(), since: None, gone: false }
    }

    /// One that has just connected: it says first what it wants.
    pub(super) fn connected(socket: OwnedFd) -> Client {
        let mut client = Client::new(socket, Attach::default());
        client.tell(&Event::Hello { version: VERSION });
        client
    }

    pub(super) fn output(&mut self, stream: Stream, bytes: &[u8]) {
        if self.attach.output {
            self.send(&[&[stream as u8], bytes]);
        }
    }

    pub(super) fn tell(&mut self, event: &Event) {
        if let Ok(bytes) = serde_json::to_vec(event) {
            self.send(&[&bytes]);
        }
    }

    fn send(&mut self, parts: &[&[u8]]) {
        if self.gone {
            return;
        }
        if self.waiting.is_empty() {
            match socket::try_send(&self.socket, parts) {
                Ok(true) => return,
                Ok(false) => self.since = Some(Instant::now()),
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
        self.waiting.push_back(parts.concat());
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some(first) = self.waiting.front() {
            match socket::try_send(&self.socket, &[first]) {
                Ok(true) => {
                    self.waiting.pop_front();
                    self.since = Some(Instant::now());
                }
                Ok(false) => return,
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
        }
        self.waiting.clear();
        self.since = None;
    }

    /// The time after which it is let go, where something waits for it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.since.filter(|_| !self.gone).map(|since| since + PATIENCE)
    }

    /// One message of its.
    pub(super) fn hear(&mut self) -> Said {
        let Ok(Some((message, _))) = socket::receive(&self.socket) else {
            self.gone = true;
            return Said::Nothing;
        };
        match stream_bytes(&message) {
            Some((Stream::Stdin, bytes)) => Said::Input(bytes.to_vec()),
            Some(_) => Said::Nothing,
            // a message that this version does not know is of a newer one, and none of our business
            None => serde_json::from_slice(&message).map_or(Said::Nothing, Said::Request),
        }
    }
}
