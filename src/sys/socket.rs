//! Message sockets between our own processes: whole messages, descriptors with them, and the peer's end as EOF.

use super::{named, named_io};
use crate::error::{Errno, SysError, SysResult};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// A message is at most this long; a longer one is an error on both sides (an error text and a plan step fit ten times).
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Two connected ends that keep message boundaries (unix(7), SOCK_SEQPACKET), close-on-exec.
pub fn pair() -> SysResult<(OwnedFd, OwnedFd)> {
    let ends = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
    named(ends, || "socketpair(AF_UNIX, SOCK_SEQPACKET)".into())
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
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => return Ok(None),
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
