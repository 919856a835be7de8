//! Frames that come by at a link, as tcpdump sees them (packet(7)). Needs CAP_NET_RAW over the network namespace.

use super::named;
use crate::error::SysResult;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socket};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// How many frames of two kinds have come in, or gone out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    pub arp: usize,
    /// ICMP over IPv4.
    pub icmp: usize,
}

/// Listens at all links of the network namespace in which it was made.
#[derive(Debug)]
pub struct Ear(OwnedFd);

impl Ear {
    pub fn open() -> SysResult<Ear> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let call = || "socket(AF_PACKET, SOCK_RAW, ETH_P_ALL)".into();
        let fd =
            named(socket(AddressFamily::Packet, SockType::Raw, flags, nix::sys::socket::SockProtocol::EthAll), call)?;
        Ok(Ear(fd))
    }

    /// What has come by until now, and was not told of before.
    pub fn heard(&self) -> Heard {
        const ARP: [u8; 2] = [0x08, 0x06]; // include/uapi/linux/if_ether.h
        const IPV4: [u8; 2] = [0x08, 0x00];
        const PROTOCOL: usize = 14 + 9; // the header of Ethernet, then RFC 791, 3.1
        const ICMP: u8 = 1;
        let mut heard = Heard::default();
        let mut frame = [0_u8; 64];
        while let Ok(length @ 1..) = recv(self.0.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            let frame = &frame[..length];
            match frame.get(12..14) {
                Some(kind) if kind == ARP => heard.arp += 1,
                Some(kind) if kind == IPV4 && frame.get(PROTOCOL) == Some(&ICMP) => heard.icmp += 1,
                _ => {}
            }
        }
        heard
    }
}
