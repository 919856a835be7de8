//! The sockets at which a container's questions arrive: bound in its namespace, and held by its monitor.

use super::dns::redirect::{self, ADDRESS, Ports};
use crate::error::{During as _, Error, Result};
use crate::sys::netlink::Socket;
use crate::sys::netns::Visit;
use std::io;
use std::net::{TcpListener, UdpSocket};

/// They keep the namespace: to be closed as soon as its init is dead.
#[derive(Debug)]
pub struct Sockets {
    pub datagrams: UdpSocket,
    pub connections: TcpListener,
}

/// Opens them in a namespace whose lo is up, and sends questions there. What another resolver has left is replaced.
pub fn open(visit: &Visit) -> Result<Sockets> {
    let bound = |e: io::Error| Error::host(format!("a resolver's socket at {ADDRESS}: {e}"));
    visit
        .inside(|| {
            let sockets = bind().map_err(bound)?;
            let port = |address: io::Result<std::net::SocketAddr>| address.map(|address| address.port());
            let udp = port(sockets.datagrams.local_addr()).map_err(bound)?;
            let tcp = port(sockets.connections.local_addr()).map_err(bound)?;
            let sent = redirect::transaction(Ports { udp, tcp }).commit(&mut Socket::netfilter()?);
            sent.map_err(|refused| refused.named("NFT_MSG_NEWRULE(minirun output)"))
                .during(|| "redirecting port 53 to the resolver of the container")?;
            Ok(sockets)
        })
        .map_err(Error::from)?
}

fn bind() -> io::Result<Sockets> {
    let datagrams = UdpSocket::bind((ADDRESS, 0))?;
    let connections = TcpListener::bind((ADDRESS, 0))?;
    datagrams.set_nonblocking(true)?;
    connections.set_nonblocking(true)?;
    Ok(Sockets { datagrams, connections })
}
