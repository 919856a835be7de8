//! Echo requests (RFC 792; RFC 4443, 4.1), all at once, and what comes back. Raw sockets: needs CAP_NET_RAW over the
//! network namespace.

use super::{event, named};
use crate::error::{Errno, SysResult};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recvmsg, sendto,
    setsockopt, socket, sockopt,
};
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// With the TTL (or hop limit) that it had when it arrived.
    Answer { ttl: u8 },
    /// Nothing in time.
    Silence,
    /// There is no way there: ENETUNREACH, for want of a route.
    Refused(Errno),
}

/// A request is sent again where nothing has come for so long: a neighbour that was not known may take a moment.
const AGAIN: Duration = Duration::from_millis(200);

/// More messages do not lie in a socket's buffer (net.core.rmem_default): a flood keeps nobody here for ever.
const QUEUED: usize = 1024;

/// Asks all of them, and waits until each has answered or the time is up. From this thread's network namespace.
pub fn echo(targets: &[IpAddr], patience: Duration) -> SysResult<Vec<Echo>> {
    let mut results = vec![Echo::Silence; targets.len()];
    for ipv4 in [true, false] {
        if targets.iter().any(|target| target.is_ipv4() == ipv4) {
            echo_family(targets, ipv4, patience, &mut results)?;
        }
    }
    Ok(results)
}

fn echo_family(targets: &[IpAddr], ipv4: bool, patience: Duration, results: &mut [Echo]) -> SysResult<()> {
    let socket = open(ipv4)?;
    let id = std::process::id() as u16;
    let end = Instant::now() + patience;
    let mut again = Instant::now();
    let silent = |results: &[Echo]| {
        (0..targets.len()).any(|index| targets[index].is_ipv4() == ipv4 && results[index] == Echo::Silence)
    };
    while silent(results) && Instant::now() < end {
        if Instant::now() >= again {
            for (index, target) in targets.iter().enumerate().filter(|(_, target)| target.is_ipv4() == ipv4) {
                if results[index] == Echo::Silence {
                    send(&socket, *target, id, index as u16)
                        .unwrap_or_else(|errno| results[index] = Echo::Refused(errno));
                }
            }
            again += AGAIN;
        }
        let left = end.min(again).saturating_duration_since(Instant::now());
        event::readable_within(socket.as_fd(), Some(left))?;
        // all that is there: a raw socket hears every echo of the namespace, and ours may lie behind many others
        (0..QUEUED).all(|_| receive(&socket, targets, ipv4, id, results));
    }
    Ok(())
}

fn open(ipv4: bool) -> SysResult<OwnedFd> {
    let (family, protocol) = match ipv4 {
        true => (AddressFamily::Inet, SockProtocol::Icmp),
        false => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let call = || format!("socket({family:?}, SOCK_RAW, {protocol:?})");
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = named(socket(family, SockType::Raw, flags, protocol), call)?;
    match ipv4 {
        true => named(setsockopt(&fd, sockopt::Ipv4RecvTtl, &true), call)?,
        false => named(setsockopt(&fd, sockopt::Ipv6RecvHopLimit, &true), call)?,
    }
    Ok(fd)
}

/// ICMP_ECHO is 8, ICMPV6_ECHO_REQUEST 128.
fn send(socket: &OwnedFd, target: IpAddr, id: u16, sequence: u16) -> Result<(), Errno> {
    let mut packet = vec![if target.is_ipv4() { 8 } else { 128 }, 0, 0, 0];
    packet.extend(id.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend(*b"minirun!");
    if target.is_ipv4() {
        let sum = checksum(&packet); // that of IPv6 is the kernel's work, for it covers the addresses
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    let address = SockaddrStorage::from(SocketAddr::new(target, 0));
    match sendto(socket.as_raw_fd(), &packet, &address, MsgFlags::MSG_NOSIGNAL) {
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => Ok(()), // it is sent again
        done => done.map(drop),
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = pairs.sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// One message: an answer to one of our requests, or somebody else's; false where there is none.
fn receive(socket: &OwnedFd, targets: &[IpAddr], ipv4: bool, id: u16, results: &mut [Echo]) -> bool {
    let mut buffer = [0_u8; 512];
    let mut space = nix::cmsg_space!(libc::c_int);
    let mut io = [IoSliceMut::new(&mut buffer)];
    let Ok(message) = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut io, Some(&mut space), MsgFlags::empty())
    else {
        return false;
    };
    let limit = message.cmsgs().ok().and_then(|mut all| {
        all.find_map(|one| match one {
            ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => u8::try_from(ttl).ok(),
            _ => None,
        })
    });
    let from = message.address.and_then(|from| {
        let v4 = from.as_sockaddr_in().map(|from| IpAddr::from(from.ip()));
        v4.or_else(|| from.as_sockaddr_in6().map(|from| IpAddr::from(from.ip())))
    });
    let length = message.bytes;
    let bytes = &buffer[..length];
    // a raw socket of IPv4 gives its header, too; its first half byte is the version, its second the length in words
    let body =
        if ipv4 { bytes.get(usize::from(bytes.first().map_or(0, |first| first & 0xf)) * 4..) } else { Some(bytes) };
    let (reply, Some([kind, _, _, _, id_high, id_low, high, low, ..])) = (if ipv4 { 0 } else { 129 }, body) else {
        return true;
    };
    let index = usize::from(u16::from_be_bytes([*high, *low]));
    let ours = *kind == reply && u16::from_be_bytes([*id_high, *id_low]) == id && targets.get(index).copied() == from;
    if let (true, Some(ttl)) = (ours, limit) {
        results[index] = Echo::Answer { ttl };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_makes_the_sum_nothing() {
        let mut packet = vec![8, 0, 0, 0, 1, 2, 3, 4, 5];
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&packet), 0);
    }

    #[test]
    fn loopback_answers_in_both_families() {
        let all: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        if nix::unistd::geteuid().is_root() {
            let got = echo(&all, Duration::from_secs(5)).unwrap();
            assert_eq!(got[0], Echo::Answer { ttl: 64 });
            assert!(
                [Echo::Answer { ttl: 64 }, Echo::Refused(Errno::EADDRNOTAVAIL), Echo::Refused(Errno::ENETUNREACH)]
                    .contains(&got[1])
            );
        }
    }

    #[test]
    fn what_has_come_in_time_is_heard_to_the_last() {
        if nix::unistd::geteuid().is_root() {
            let all: Vec<IpAddr> = (1..=100).map(|last| [127, 0, 0, last].into()).collect();
            // the time is up when the last question is out, and each answer is there by then; where not even the first
            // got out in time it is asked again
            let answers = |got: &[Echo]| got.iter().filter(|echo| matches!(echo, Echo::Answer { .. })).count();
            let best = (0..20).map(|_| answers(&echo(&all, Duration::from_micros(50)).unwrap())).max();
            assert_eq!(best, Some(100));
        }
    }
}
