//! Message sockets between our own processes: whole messages, descriptors with them, and the peer's end as EOF.

use super::{named, named_io};
use crate::error::{Errno, SysError, SysResult};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind,
    connect, listen, recvmsg, sendmsg, socket, socketpair,
};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

/// A message is at most this long; a longer one is an error on both sides (an error text and a plan step fit ten times).
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Two connected ends that keep message boundaries (unix(7), SOCK_SEQPACKET), close-on-exec.
pub fn pair() -> SysResult<(OwnedFd, OwnedFd)> {
    let ends = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
    named(ends, || "socketpair(AF_UNIX, SOCK_SEQPACKET)".into())
}

/// The address of a socket file in a directory of any depth: sun_path has 108 bytes (unix(7)), so the way leads through
/// a descriptor of the directory.
fn address(dir: &OwnedFd, name: &str) -> SysResult<UnixAddr> {
    let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    named(UnixAddr::new(Path::new(&path)), || format!("sockaddr_un({path:?})"))
}

fn seqpacket(flags: SockFlag) -> SysResult<OwnedFd> {
    let made = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | flags, None);
    named(made, || "socket(AF_UNIX, SOCK_SEQPACKET)".into())
}

/// Listens at a file that must not be there yet; accepting does not wait.
pub fn listen_at(dir: &OwnedFd, name: &str) -> SysResult<OwnedFd> {
    let listener = seqpacket(SockFlag::SOCK_NONBLOCK)?;
    named(bind(listener.as_raw_fd(), &address(dir, name)?), || format!("bind({name:?})"))?;
    named(Backlog::new(64).and_then(|backlog| listen(&listener, backlog)), || format!("listen({name:?})"))?;
    Ok(listener)
}

/// ENOENT or ECONNREFUSED where nobody listens.
pub fn connect_to(dir: &OwnedFd, name: &str) -> SysResult<OwnedFd> {
    let client = seqpacket(SockFlag::empty())?;
    named(connect(client.as_raw_fd(), &address(dir, name)?), || format!("connect({name:?})"))?;
    Ok(client)
}

/// The next caller, where there is one.
pub fn accept(listener: &OwnedFd) -> SysResult<Option<OwnedFd>> {
    match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
        Err(Errno::EAGAIN | Errno::ECONNABORTED | Errno::EINTR) => Ok(None),
        // SAFETY: the kernel has just made this descriptor; nobody else owns it.
        accepted => named(accepted, || "accept4()".into()).map(|fd| Some(unsafe { OwnedFd::from_raw_fd(fd) })),
    }
}

/// Sends one message made of these parts unless that would wait; false where it would. EPIPE where the peer is gone.
pub fn try_send(socket: &impl AsFd, parts: &[&[u8]]) -> SysResult<bool> {
    let io: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    loop {
        match sendmsg::<()>(socket.as_fd().as_raw_fd(), &io, &[], flags, None) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(false),
            done => return named(done, || "sendmsg()".into()).map(|_| true),
        }
    }
}

/// Sends one message, with a descriptor if one is given. EPIPE where the peer is gone.
pub fn send(socket: &impl AsFd, message: &[u8], fd: Option<&dyn AsFdDyn>) -> SysResult<()> {
    let fds: Vec<RawFd> = fd.map(AsFdDyn::raw).into_iter().collect();
    let control = [ControlMessage::ScmRights(&fds)];
    let control = if fds.is_empty() { &control[..0] } else { &control[..] };
    loop {
        let io = [IoSlice::new(message)];
        match sendmsg::<()>(socket.as_fd().as_raw_fd(), &io, control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            done => return named(done, || "sendmsg()".into()).map(drop),
        }
    }
}

/// Object-safe view of a descriptor.
pub trait AsFdDyn {
    fn raw(&self) -> RawFd;
}

impl<T: AsFd> AsFdDyn for T {
    fn raw(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Receives one message and the descriptor that came with it; `None` where the peer is gone.
pub fn receive(socket: &impl AsFd) -> SysResult<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut buffer = vec![0_u8; MESSAGE_MAX];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let raw = socket.as_fd().as_raw_fd();
    let (length, fd) = loop {
        let mut io = [IoSliceMut::new(&mut buffer)];
        match recvmsg::<()>(raw, &mut io, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            // a peer that went away and had not read all is told of once, before its own last messages (net/unix/af_unix.c)
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(errno) => return named(Err(errno), || "recvmsg()".into()),
            Ok(message) => break (message.bytes, received_fd(&message)?),
        }
    };
    if length == 0 {
        return Ok(None);
    }
    buffer.truncate(length);
    Ok(Some((buffer, fd)))
}

fn received_fd(message: &nix::sys::socket::RecvMsg<'_, '_, ()>) -> SysResult<Option<OwnedFd>> {
    let control = named(message.cmsgs(), || "recvmsg()".into())?;
    for part in control {
        if let ControlMessageOwned::ScmRights(fds) = part {
            // SAFETY: the kernel has just installed these descriptors for this message; nobody else owns them.
            return Ok(fds.first().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }));
        }
    }
    Ok(None)
}

/// Sends a value as JSON.
pub fn send_json<T: serde::Serialize>(socket: &impl AsFd, value: &T) -> SysResult<()> {
    let bytes = serde_json::to_vec(value).map_err(|_| SysError { call: "sendmsg()".into(), errno: Errno::EINVAL })?;
    send(socket, &bytes, None)
}

/// Receives a value as JSON; `None` where the peer is gone.
pub fn receive_json<T: serde::de::DeserializeOwned>(socket: &impl AsFd) -> SysResult<Option<T>> {
    let Some((bytes, _)) = receive(socket)? else { return Ok(None) };
    let parsed = serde_json::from_slice(&bytes).map_err(std::io::Error::other);
    named_io(parsed, || "recvmsg()".into()).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_comes_from_a_peer_that_has_not_read_all() {
        let (a, b) = pair().unwrap();
        send(&a, b"unread", None).unwrap();
        send(&b, b"last", None).unwrap();
        drop(b);
        assert_eq!(receive(&a).unwrap().unwrap().0, b"last");
        assert!(receive(&a).unwrap().is_none());
    }

    #[test]
    fn messages_stay_whole_and_carry_a_descriptor() {
        let (a, b) = pair().unwrap();
        let (read, write) = std::io::pipe().unwrap();
        send(&a, b"one", None).unwrap();
        send(&a, b"two", Some(&write)).unwrap();
        drop((a, write));
        assert_eq!(receive(&b).unwrap().unwrap().0, b"one");
        let (bytes, fd) = receive(&b).unwrap().unwrap();
        assert_eq!(bytes, b"two");
        drop(fd.unwrap());
        assert_eq!(std::io::read_to_string(read).unwrap(), "");
        assert!(receive(&b).unwrap().is_none());
    }
}
