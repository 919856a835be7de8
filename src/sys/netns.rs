//! Network namespaces: work done inside another one, and ports held in ours. Starts no process.

use super::process::Identity;
use super::{named, named_io};
use crate::error::{Errno, SysResult};
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, setsockopt, sockopt};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

/// The way into another process's network namespace and back. A network namespace is a property of the thread
/// (setns(2)), so a child process for it (0.5 ms) is not needed.
#[derive(Debug)]
pub struct Visit {
    own: OwnedFd,
    other: OwnedFd,
    /// Whose namespace the other one is, for errors.
    of: String,
}

impl Visit {
    /// `pid` is a child of ours that is not reaped, so its number cannot have been given to another process.
    pub fn to(pid: Pid) -> SysResult<Visit> {
        let own = open("/proc/thread-self/ns/net")?;
        Ok(Visit { own, other: open(&format!("/proc/{pid}/ns/net"))?, of: pid.to_string() })
    }

    /// Into a new namespace that nobody else is in: it goes with the last descriptor of it, this one and its sockets'.
    pub fn to_new() -> SysResult<Visit> {
        let own = open("/proc/thread-self/ns/net")?;
        named(unshare(CloneFlags::CLONE_NEWNET), || "unshare(CLONE_NEWNET)".into())?;
        let other = open("/proc/thread-self/ns/net");
        go_back(&own);
        Ok(Visit { own, other: other?, of: "new".into() })
    }

    /// `None` where it has ended: looked at once its namespace is held, so that the pid cannot change hands between.
    pub fn to_running(process: &Identity) -> SysResult<Option<Visit>> {
        match Visit::to(Pid::from_raw(process.pid.0)) {
            Err(e) if [Errno::ENOENT, Errno::ESRCH].contains(&e.errno) => Ok(None),
            visit => Ok(Some(visit?).filter(|_| process.is_alive())),
        }
    }

    /// Runs `work` with this thread in that namespace. Sockets that it opens stay there; /proc/sys/net follows the
    /// thread as well (net/sysctl_net.c).
    pub fn inside<T>(&self, work: impl FnOnce() -> T) -> SysResult<T> {
        enter(&self.other, || format!("setns(/proc/{}/ns/net, CLONE_NEWNET)", self.of))?;
        let result = work();
        go_back(&self.own);
        Ok(result)
    }
}

/// Whether a process is in our network namespace, and lives.
pub fn is_ours(process: &Identity) -> bool {
    let of = |name: &str| super::fs::stat(Path::new(&format!("/proc/{name}/ns/net"))).map(|stat| stat.st_ino);
    let same = matches!((of("thread-self"), of(&process.pid.to_string())), (Ok(own), Ok(other)) if own == other);
    same && process.is_alive()
}

fn go_back(own: &OwnedFd) {
    if let Err(error) = enter(own, || "setns(own, CLONE_NEWNET)".into()) {
        // All that this process does from here on would happen in the other namespace instead of the host's, so no
        // error path may run. Nothing but a lost privilege can cause it. (panic is abort here.)
        panic!("cannot return to the host's network namespace: {error}");
    }
}

fn open(path: &str) -> SysResult<OwnedFd> {
    let fd = super::fs::open(Path::new(path), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
    named(fd, || format!("open({path:?})"))
}

fn enter(netns: &OwnedFd, call: impl FnOnce() -> String) -> SysResult<()> {
    named(setns(netns, CloneFlags::CLONE_NEWNET), call)
}

/// The transport of a held port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Stream,
    Datagram,
    /// SCTP (RFC 9260).
    Association,
}

/// Binds a socket and does not listen on it: other programs meet EADDRINUSE, and a connection that no rule diverts
/// (from ::1, say) is refused instead of hanging. Port 0 takes a free one; see [`port`].
pub fn bind(transport: Transport, address: SocketAddr) -> SysResult<OwnedFd> {
    match bind_once(transport, address, Reuse::No) {
        // connections of a server that is gone stand in TIME_WAIT for a minute; a listening socket is still refused
        Err(e) if e.errno == Errno::EADDRINUSE && transport == Transport::Stream => {
            let fd = bind_once(transport, address, Reuse::Yes)?;
            // shared with those alone: a server that allows reuse, as most do, would be bound beside it and hear nothing
            named(setsockopt(&fd, sockopt::ReuseAddr, &false), || format!("setsockopt({address}, SO_REUSEADDR)"))?;
            Ok(fd)
        }
        done => done,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reuse {
    Yes,
    No,
}

fn bind_once(transport: Transport, address: SocketAddr, reuse: Reuse) -> SysResult<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let (kind, protocol) = match transport {
        Transport::Stream => (SockType::Stream, SockProtocol::Tcp),
        Transport::Datagram => (SockType::Datagram, SockProtocol::Udp),
        Transport::Association => (SockType::Stream, SockProtocol::Sctp),
    };
    let call = || format!("bind({protocol:?}, {address})");
    let fd = named(nix::sys::socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol), call)?;
    if address.is_ipv6() {
        named(setsockopt(&fd, sockopt::Ipv6V6Only, &true), call)?;
    }
    if reuse == Reuse::Yes {
        named(setsockopt(&fd, sockopt::ReuseAddr, &true), call)?;
    }
    named(nix::sys::socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(address)), call)?;
    Ok(fd)
}

/// A stream on its way to `address`: it can be written to when it is there. Neither this nor what follows waits.
pub fn connect_now(address: SocketAddr) -> SysResult<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let call = || format!("connect(TCP, {address})");
    let fd = named(nix::sys::socket::socket(family, SockType::Stream, flags, SockProtocol::Tcp), call)?;
    match nix::sys::socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
        Err(Errno::EINPROGRESS) => Ok(fd),
        done => named(done, call).map(|()| fd),
    }
}

/// The port to which a socket is bound.
pub fn port(fd: &OwnedFd) -> SysResult<u16> {
    let socket = named_io(fd.try_clone().map(std::net::UdpSocket::from), || "dup(socket)".into())?;
    named_io(socket.local_addr(), || "getsockname(socket)".into()).map(|address| address.port())
}
