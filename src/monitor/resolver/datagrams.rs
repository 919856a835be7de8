//! Questions that came as datagrams and were handed on: whom they came from, whom they were sent to, and until when
//! that one may take.

use crate::net::dns::message::{self, Answer, DATAGRAM, Query};
use std::io::{ErrorKind, Result};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// As much as a datagram can have (EDNS, RFC 6891).
pub(super) const LONGEST: usize = 65535;
/// How long a server may take where another one could be asked, and the last one. Less together than what C libraries
/// wait for us, 5 s (resolv.conf(5)), with the usual two servers.
const NEXT: Duration = Duration::from_millis(1500);
const LAST: Duration = Duration::from_secs(3);

/// So many may wait for one answer, besides who asked first.
const ALSO: usize = 1024;

/// A question on its way.
#[derive(Debug)]
pub(super) struct Asked {
    /// Connected to the server, from a port of its own that nobody can guess (RFC 5452).
    pub(super) socket: UdpSocket,
    query: Query,
    bytes: Vec<u8>,
    from: SocketAddr,
    /// Others who ask the very same, and their numbers.
    also: Vec<(u16, SocketAddr)>,
    /// Those that have not been asked yet.
    servers: Vec<SocketAddr>,
    pub(super) until: Instant,
}

/// What has become of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Over,
}

impl Asked {
    /// Sends it to the first server that takes it; without one, it has failed.
    pub(super) fn send(query: Query, bytes: &[u8], from: SocketAddr, servers: Vec<SocketAddr>) -> Option<Asked> {
        let mut servers = servers.into_iter();
        while let Some(server) = servers.next() {
            if let Ok(socket) = connected(server, bytes) {
                let servers: Vec<SocketAddr> = servers.collect();
                let until = deadline(&servers);
                return Some(Asked { socket, query, bytes: bytes.to_vec(), from, also: Vec::new(), servers, until });
            }
        }
        None
    }

    /// Somebody asks the same, byte for byte but for the number, and gets the same answer; false where it is another
    /// question, or too many wait for it.
    pub(super) fn join(&mut self, query: &Query, bytes: &[u8], from: SocketAddr) -> bool {
        let same = self.bytes.get(2..) == bytes.get(2..) && self.also.len() < ALSO;
        if same {
            self.also.push((query.id, from));
        }
        same
    }

    /// Whether the same is asked.
    pub(super) fn is_same(&self, query: &Query) -> bool {
        (self.query.kind, &self.query.name) == (query.kind, &query.name)
    }

    /// The server has something to say, or its host that nobody is there.
    pub(super) fn hear(&mut self, to: &UdpSocket) -> State {
        let mut buffer = [0; LONGEST];
        match self.socket.recv(&mut buffer) {
            // one that cannot say leaves it to the next
            Ok(length)
                if !self.servers.is_empty()
                    && message::answers(&buffer[..length], &self.query)
                    && message::has_failed(&buffer[..length]) =>
            {
                self.ask_next(to)
            }
            Ok(length) if message::answers(&buffer[..length], &self.query) => {
                self.reply(&mut buffer[..length], to);
                State::Over
            }
            Ok(_) => State::Open, // not an answer to this
            Err(e) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&e.kind()) => State::Open,
            Err(_) => self.ask_next(to),
        }
    }

    /// The server did not answer in time.
    pub(super) fn ask_next(&mut self, to: &UdpSocket) -> State {
        let servers = std::mem::take(&mut self.servers);
        match Asked::send(self.query.clone(), &self.bytes, self.from, servers) {
            Some(next) => {
                *self = Asked { also: std::mem::take(&mut self.also), ..next };
                State::Open
            }
            None => {
                self.fail(to);
                State::Over
            }
        }
    }

    pub(super) fn fail(&self, to: &UdpSocket) {
        self.reply(&mut self.query.reply(&Answer::Failed, DATAGRAM), to);
    }

    /// To all who ask; some may be gone.
    fn reply(&self, message: &mut [u8], to: &UdpSocket) {
        for (id, from) in std::iter::once((self.query.id, self.from)).chain(self.also.iter().copied()) {
            message[..2].copy_from_slice(&id.to_be_bytes());
            let _ = to.send_to(message, from);
        }
    }
}

/// When the server that is asked has taken too long, with these left.
pub(super) fn deadline(left: &[SocketAddr]) -> Instant {
    Instant::now() + if left.is_empty() { LAST } else { NEXT }
}

fn connected(server: SocketAddr, bytes: &[u8]) -> Result<UdpSocket> {
    let any = if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind::<SocketAddr>(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(server)?;
    socket.send(bytes)?;
    Ok(socket)
}
