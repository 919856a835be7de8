//! Answers a container's questions for names: those of the containers in its networks itself, all others by asking the
//! host's servers. It never waits: whoever is slow keeps nobody else from an answer.

mod connection;
mod datagrams;
mod known;

use crate::error::Result;
use crate::id::ContainerId;
use crate::net::dns::message::{self, Answer, DATAGRAM};
use crate::net::dns::zone::Verdict;
use crate::net::files;
use crate::net::network::{Loan, Network};
use crate::net::plan::has_names;
use crate::net::resolver::{self, Sockets};
use crate::state::{Config, Roots};
use crate::sys::event::{Interest, Ready};
use crate::sys::fs;
use crate::sys::netns::Visit;
use crate::sys::process::Pid;
use connection::{Connection, End};
use datagrams::{Asked, State};
use known::Known;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

/// So many questions are on their way at a time: each holds a descriptor of the 1024 that a process usually has. The
/// oldest gives way.
const ASKED: usize = 256;
const CONNECTIONS: usize = 64;
/// So many of them may ask for the same in other words: flags, upper case.
const SAME: usize = 16;
/// So many datagrams in a row, before somebody else's turn.
const ROW: usize = 64;
/// Where no descriptor is left, new connections wait for so long.
const DEAF: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Resolver<'a> {
    /// Opened in the network namespace of this process.
    init: Pid,
    /// `None` where the container is in no network that has names.
    sockets: Option<Sockets>,
    known: Known<'a>,
    asked: Vec<(Asked, State)>,
    connections: Vec<Connection>,
    deaf_until: Option<Instant>,
}

/// A socket of the resolver's.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spot {
    Datagrams,
    Listener,
    Asked(usize),
    Connection(usize, End),
}

impl<'a> Resolver<'a> {
    /// With the sockets that the container was born with.
    pub(super) fn new(roots: &'a Roots, config: &'a Config, init: Pid, sockets: Option<Sockets>) -> Resolver<'a> {
        let known = Known::new(roots, &config.id, config.dns.clone());
        Resolver { init, sockets, known, asked: Vec::new(), connections: Vec::new(), deaf_until: None }
    }

    /// The container has come into a network that has names, or its sockets died with another monitor.
    pub(super) fn open(&mut self) -> Result<()> {
        if self.sockets.is_none() {
            let visit = Visit::to(nix::unistd::Pid::from_raw(self.init.0))?;
            self.sockets = Some(resolver::open(&visit)?);
        }
        Ok(())
    }

    /// The same for a container whose monitor was killed, where it is in such a network.
    pub(super) fn reopen(&mut self, roots: &Roots, id: &ContainerId, loans: &[(Network, Loan)]) -> Result<()> {
        let names = loans.iter().map(|(network, _)| &network.name);
        let resolv_conf = fs::read_text(roots.life(id).child("resolv.conf").as_path()).unwrap_or_default();
        if has_names(names) || files::is_answered(&resolv_conf) { self.open() } else { Ok(()) }
    }

    /// When it wants to be asked again by itself.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let asked = self.asked.iter().map(|(asked, _)| asked.until);
        let connections = self.connections.iter().map(Connection::deadline);
        asked.chain(connections).chain(self.deaf_until).min()
    }

    pub(super) fn interests(&self) -> Vec<(Spot, Interest<'_>)> {
        let read = |fd| Interest { fd, read: true, write: false };
        let Some(sockets) = &self.sockets else { return Vec::new() };
        let mut all = vec![(Spot::Datagrams, read(sockets.datagrams.as_fd()))];
        if self.deaf_until.is_none() {
            all.push((Spot::Listener, read(sockets.connections.as_fd())));
        }
        let asked = self.asked.iter().enumerate();
        all.extend(asked.map(|(index, (asked, _))| (Spot::Asked(index), read(asked.socket.as_fd()))));
        for (index, connection) in self.connections.iter().enumerate() {
            all.extend(connection.interests().into_iter().map(|(end, of)| (Spot::Connection(index, end), of)));
        }
        all
    }

    /// Something has happened at a socket. Places stay as they are until [`Resolver::tick`].
    pub(super) fn hear(&mut self, spot: Spot, ready: Ready) {
        let Some(sockets) = &self.sockets else { return };
        match spot {
            Spot::Datagrams => {
                // no more than so many in a row
                (0..ROW).all(|_| datagram(&sockets.datagrams, &mut self.known, &mut self.asked));
            }
            Spot::Listener => self.accept(),
            Spot::Asked(index) => {
                if let Some((asked, state)) = self.asked.get_mut(index) {
                    *state = asked.hear(&sockets.datagrams);
                }
            }
            Spot::Connection(index, end) => {
                if let Some(connection) = self.connections.get_mut(index) {
                    connection.hear(end, ready, &mut self.known);
                }
            }
        }
    }

    /// Lets go what is over or has taken too long.
    pub(super) fn tick(&mut self) {
        let Some(sockets) = &self.sockets else { return };
        let now = Instant::now();
        for (asked, state) in self.asked.iter_mut().filter(|(asked, state)| *state == State::Open && asked.until <= now)
        {
            *state = asked.ask_next(&sockets.datagrams);
        }
        self.asked.retain(|(_, state)| *state == State::Open);
        while self.asked.len() > ASKED {
            self.asked.remove(0).0.fail(&sockets.datagrams);
        }
        for connection in self.connections.iter_mut().filter(|connection| connection.deadline() <= now) {
            connection.too_late(&mut self.known);
        }
        self.connections.retain(|connection| !connection.is_over());
        while self.connections.len() > CONNECTIONS {
            let oldest = (0..self.connections.len()).min_by_key(|index| self.connections[*index].active);
            self.connections.swap_remove(oldest.unwrap_or(0));
        }
        self.deaf_until = self.deaf_until.filter(|until| *until > now);
    }

    fn accept(&mut self) {
        let Some(sockets) = &self.sockets else { return };
        match sockets.connections.accept().and_then(|(stream, _)| Connection::new(stream)) {
            Ok(connection) => self.connections.push(connection),
            Err(e)
                if [ErrorKind::WouldBlock, ErrorKind::Interrupted, ErrorKind::ConnectionAborted]
                    .contains(&e.kind()) => {}
            Err(_) => self.deaf_until = Some(Instant::now() + DEAF),
        }
    }
}

/// Answers the next datagram, or hands it on; false where there is none.
fn datagram(socket: &UdpSocket, known: &mut Known<'_>, asked: &mut Vec<(Asked, State)>) -> bool {
    let mut buffer = [0; datagrams::LONGEST];
    let (length, from) = match socket.recv_from(&mut buffer) {
        Ok(received) => received,
        Err(e) => return e.kind() != ErrorKind::WouldBlock, // else: somebody whom we answered is gone
    };
    let bytes = &buffer[..length];
    let Some(query) = message::parse(bytes) else {
        if let Some(reply) = message::malformed(bytes) {
            let _ = socket.send_to(&reply, from);
        }
        return true;
    };
    let answer = match known.zone().look_up(&query) {
        Verdict::Answer(answer) => answer,
        Verdict::Forward
            if asked.iter_mut().any(|(other, state)| *state == State::Open && other.join(&query, bytes, from)) =>
        {
            return true;
        }
        // servers that ask each other in a circle would go on for ever
        Verdict::Forward if asked.iter().filter(|(other, _)| other.is_same(&query)).count() >= SAME => Answer::Failed,
        Verdict::Forward => match Asked::send(query.clone(), bytes, from, known.servers()) {
            Some(sent) => {
                asked.push((sent, State::Open));
                return true;
            }
            None => Answer::Failed,
        },
    };
    let _ = socket.send_to(&query.reply(&answer, DATAGRAM), from);
    true
}
