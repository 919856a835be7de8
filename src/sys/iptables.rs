//! What iptables-legacy has in the kernel (ip_tables, beside nf_tables and unseen by it): whether its table `filter` drops
//! forwarded packets, and for which links it has a rule that lets them through. Reads only.
//!
//! The structures are those of linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h and
//! linux/netfilter/x_tables.h; they are bytes here, for an entry's length is known by itself alone.

use super::{named, named_raw};
use crate::error::{Errno, SysError, SysResult};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The policy of chain FORWARD is DROP.
    pub drops: bool,
    /// Names of links that a rule accepts packets from, and to.
    pub accepts_from: BTreeSet<String>,
    pub accepts_to: BTreeSet<String>,
}

/// `None` where there is no such table: it is not asked for then, for a question would make it.
pub fn filter(family: Family) -> SysResult<Option<Filter>> {
    let names = match super::fs::read_text(Path::new(family.names())) {
        // a kernel without ip_tables, and a normal user
        Err(e) if [Errno::ENOENT, Errno::EACCES, Errno::EPERM].contains(&e.errno) => return Ok(None),
        names => names?,
    };
    if !names.lines().any(|name| name == "filter") {
        return Ok(None);
    }
    let domain = if family == Family::V4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let raw = socket(domain, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw);
    let socket = named(raw, || "socket(SOCK_RAW, IPPROTO_RAW)".into())?;
    let info = get(&socket, family, GET_INFO, vec![0; INFO])?;
    let size = number(&info, INFO_SIZE).unwrap_or_default();
    let mut question = vec![0; ENTRIES + size as usize];
    question[TABLE_NAME..TABLE_NAME + 4].copy_from_slice(&size.to_ne_bytes());
    let entries = get(&socket, family, GET_ENTRIES, question)?;
    let broken = || SysError { call: "getsockopt(IPT_SO_GET_ENTRIES)".into(), errno: Errno::EPROTO };
    parse(family, &info, &entries[ENTRIES..]).map(Some).ok_or_else(broken)
}

impl Family {
    fn names(self) -> &'static str {
        match self {
            Family::V4 => "/proc/net/ip_tables_names",
            Family::V6 => "/proc/net/ip6_tables_names",
        }
    }

    /// Of an entry: where the incoming link's name is, the outgoing one's, and the offset of the target.
    fn offsets(self) -> [usize; 3] {
        match self {
            Family::V4 => [16, 32, 88],
            Family::V6 => [64, 80, 140],
        }
    }
}

// IPT_SO_GET_INFO and IPT_SO_GET_ENTRIES, the same for IPv6
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
/// A table's name, in front of both answers.
const TABLE_NAME: usize = 32;
/// struct ipt_getinfo: name, valid hooks, five entries, five underflows (where a chain's policy is), number, size.
const INFO: usize = 84;
const INFO_UNDERFLOW: usize = 56;
const INFO_SIZE: usize = 80;
/// struct ipt_get_entries in front of its entries: name, size, and a gap, for counters of 64 bits are aligned.
const ENTRIES: usize = 40;
/// struct xt_entry_target, behind which a standard target has its verdict.
const TARGET: usize = 32;
const TARGET_NAME: usize = 2;
/// A verdict is -1 less what nf_tables calls it.
const DROP: i32 = -libc::NF_DROP - 1;
const ACCEPT: i32 = -libc::NF_ACCEPT - 1;
const LINK_NAME: usize = 16;

/// The question's name is that of the table; the answer takes its place.
fn get(socket: &OwnedFd, family: Family, option: libc::c_int, mut bytes: Vec<u8>) -> SysResult<Vec<u8>> {
    bytes[..6].copy_from_slice(b"filter");
    let mut length = bytes.len() as libc::socklen_t;
    let level = if family == Family::V4 { libc::SOL_IP } else { libc::SOL_IPV6 };
    // SAFETY: the kernel writes at most `length` bytes to `bytes`, which has as many and lives for the whole call.
    let done =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, bytes.as_mut_ptr().cast(), &raw mut length) };
    named_raw(done.into(), || format!("getsockopt(IPT_SO_GET, {option}, filter)"))?;
    Ok(bytes)
}

fn parse(family: Family, info: &[u8], entries: &[u8]) -> Option<Filter> {
    let [from, to, target] = family.offsets();
    let forward = number(info, INFO_UNDERFLOW + 4 * libc::NF_INET_FORWARD as usize)? as usize;
    let mut filter = Filter::default();
    let mut at = 0;
    while at < entries.len() {
        let entry = &entries[at..];
        let target_at = usize::from(short(entry, target)?);
        let verdict = match entry.get(target_at + TARGET_NAME)? {
            0 => Some(number(entry, target_at + TARGET)? as i32), // the standard target has no name
            _ => None,
        };
        if at == forward {
            filter.drops = verdict == Some(DROP);
        }
        if verdict == Some(ACCEPT) {
            filter.accepts_from.extend(link(entry, from));
            filter.accepts_to.extend(link(entry, to));
        }
        match usize::from(short(entry, target + 2)?) {
            0 => return None,
            next => at += next,
        }
    }
    Some(filter)
}

fn link(entry: &[u8], at: usize) -> Option<String> {
    let name = entry.get(at..at + LINK_NAME)?.split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry of IPv4 as the kernel lists it.
    fn entry(from: &str, verdict: i32) -> Vec<u8> {
        let mut entry = vec![0; 112 + TARGET + 8];
        entry[16..16 + from.len()].copy_from_slice(from.as_bytes());
        entry[88..90].copy_from_slice(&112_u16.to_ne_bytes());
        let length = entry.len() as u16;
        entry[90..92].copy_from_slice(&length.to_ne_bytes());
        entry[112 + TARGET..112 + TARGET + 4].copy_from_slice(&verdict.to_ne_bytes());
        entry
    }

    #[test]
    fn a_policy_is_told_from_rules() {
        let entries = [entry("", ACCEPT), entry("mr-0", ACCEPT), entry("mr-1", DROP), entry("", DROP)].concat();
        let mut info = vec![0; INFO];
        let policy_at = |info: &mut Vec<u8>, at: u32| {
            info[INFO_UNDERFLOW + 8..INFO_UNDERFLOW + 12].copy_from_slice(&at.to_ne_bytes());
        };
        policy_at(&mut info, 3 * 152);
        let found = parse(Family::V4, &info, &entries).unwrap();
        assert!(found.drops && found.accepts_to.is_empty());
        assert_eq!(found.accepts_from, BTreeSet::from(["mr-0".to_owned()]));
        policy_at(&mut info, 0);
        assert!(!parse(Family::V4, &info, &entries).unwrap().drops);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = parse(Family::V4, &bytes, &bytes);
            let _ = parse(Family::V6, &[0; INFO], &bytes);
        }
    }
}
