//! One connection of a container that asks by TCP: messages with their length in front (RFC 1035, 4.2.2), one question at
//! a time. A slow one makes nobody wait but itself.

use super::datagrams::deadline;
use super::known::Known;
use crate::net::dns::message::{self, Answer, LONGEST, Query};
use crate::net::dns::zone::Verdict;
use crate::sys::event::{Interest, Ready};
use crate::sys::netns;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

/// One that says nothing for so long is closed (RFC 7766, 6.2.3: a few seconds).
const IDLE: Duration = Duration::from_secs(10);
const CHUNK: usize = 4096;

#[derive(Debug)]
pub(super) struct Connection {
    client: Peer,
    /// The question that a server is asked.
    asked: Option<Asked>,
    pub(super) active: Instant,
    ended: bool,
    over: bool,
}

/// One end, with what came from it and what goes to it.
#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

#[derive(Debug)]
struct Asked {
    server: Peer,
    query: Query,
    message: Vec<u8>,
    servers: Vec<SocketAddr>,
    until: Instant,
}

/// The end at which something has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::monitor) enum End {
    Client,
    Server,
}

impl Peer {
    fn new(stream: TcpStream, outgoing: Vec<u8>) -> Peer {
        Peer { stream, incoming: Vec::new(), outgoing }
    }

    /// Reads what is there; false at the end.
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; CHUNK];
        match self.stream.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.incoming.extend_from_slice(&buffer[..length]);
                Ok(true)
            }
            Err(e) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&e.kind()) => Ok(true),
            Err(e) => Err(e),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        match self.stream.write(&self.outgoing) {
            Ok(length) => drop(self.outgoing.drain(..length)),
            Err(e) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&e.kind()) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// The first whole message.
    fn take(&mut self) -> Option<Vec<u8>> {
        let length = usize::from(message::id(&self.incoming)?); // two bytes, as an id
        let message = self.incoming.get(2..2 + length)?.to_vec();
        self.incoming.drain(..2 + length);
        Some(message)
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = message.len().min(LONGEST);
    [&(length as u16).to_be_bytes(), &message[..length]].concat()
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        let client = Peer::new(stream, Vec::new());
        Ok(Connection { client, asked: None, active: Instant::now(), ended: false, over: false })
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn deadline(&self) -> Instant {
        self.asked.as_ref().map_or(self.active + IDLE, |asked| asked.until)
    }

    /// Its client is not listened to while it has not taken the last answer, or waits for it.
    pub(super) fn interests(&self) -> Vec<(End, Interest<'_>)> {
        let waits = self.asked.is_some() || !self.client.outgoing.is_empty() || self.ended;
        let write = !self.client.outgoing.is_empty();
        let mut all = Vec::new();
        if !waits || write {
            all.push((End::Client, Interest { fd: self.client.stream.as_fd(), read: !waits, write }));
        }
        if let Some(Asked { server, .. }) = &self.asked {
            let write = !server.outgoing.is_empty();
            all.push((End::Server, Interest { fd: server.stream.as_fd(), read: !write, write }));
        }
        all
    }

    pub(super) fn hear(&mut self, end: End, ready: Ready, known: &mut Known<'_>) {
        match end {
            End::Client => self.client_is(ready),
            End::Server => self.server_is(ready),
        }
        self.go_on(known);
    }

    /// What takes too long: the server, or the client, which has nothing more to say.
    pub(super) fn too_late(&mut self, known: &mut Known<'_>) {
        match self.asked.take() {
            Some(asked) => self.ask_next(asked),
            None => self.over = true,
        }
        self.go_on(known);
    }

    fn client_is(&mut self, ready: Ready) {
        self.active = Instant::now();
        let written = if ready.write { self.client.write() } else { Ok(()) };
        let goes_on = match ready.read && self.client.outgoing.is_empty() {
            true => self.client.read(),
            false => Ok(!ready.read || ready.write), // it has ended while it is written to
        };
        self.over |= written.is_err() || goes_on.is_err();
        self.ended |= !goes_on.unwrap_or(false);
    }

    fn server_is(&mut self, ready: Ready) {
        let Some(mut asked) = self.asked.take() else { return };
        let server = &mut asked.server;
        let done = match server.outgoing.is_empty() {
            false if ready.write => server.write().map(|()| true),
            _ => server.read(),
        };
        match (server.take(), done) {
            (Some(answer), _)
                if message::answers(&answer, &asked.query)
                    && (asked.servers.is_empty() || !message::has_failed(&answer)) =>
            {
                self.active = Instant::now();
                self.client.outgoing.extend(framed(&answer));
            }
            (None, Ok(true)) => self.asked = Some(asked),
            _ => self.ask_next(asked),
        }
    }

    fn ask_next(&mut self, asked: Asked) {
        let Asked { query, message, servers, .. } = asked;
        self.ask(query, message, servers);
    }

    fn ask(&mut self, query: Query, message: Vec<u8>, servers: Vec<SocketAddr>) {
        let mut servers = servers.into_iter();
        while let Some(server) = servers.next() {
            if let Ok(stream) = netns::connect_now(server) {
                let server = Peer::new(stream.into(), framed(&message));
                let servers: Vec<SocketAddr> = servers.collect();
                let until = deadline(&servers);
                self.asked = Some(Asked { server, query, message, servers, until });
                return;
            }
        }
        self.client.outgoing.extend(framed(&query.reply(&Answer::Failed, LONGEST)));
    }

    /// Answers what came, one after the other; what is left of the connection is over when its client has ended.
    fn go_on(&mut self, known: &mut Known<'_>) {
        while !self.over && self.asked.is_none() && self.client.outgoing.is_empty() {
            let Some(message) = self.client.take() else { break };
            match message::parse(&message) {
                None => match message::malformed(&message) {
                    Some(reply) => self.client.outgoing.extend(framed(&reply)),
                    None => self.over = true,
                },
                Some(query) => match known.zone().look_up(&query) {
                    Verdict::Answer(answer) => self.client.outgoing.extend(framed(&query.reply(&answer, LONGEST))),
                    Verdict::Forward => self.ask(query, message, known.servers()),
                },
            }
            // most of the time it fits at once
            self.over |= self.client.write().is_err();
        }
        self.over |= self.ended && self.asked.is_none() && self.client.outgoing.is_empty();
    }
}
