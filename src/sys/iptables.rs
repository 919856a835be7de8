//! What iptables-legacy has in the kernel (ip_tables, beside nf_tables and unseen by it): whether its table `filter` drops
//! forwarded packets, and by which rules it lets those of a link through. Such a table can only be replaced whole, which
//! is left to its own program.
//!
//! The structures are those of linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h and
//! linux/netfilter/x_tables.h; they are bytes here, for an entry's length is known by itself alone.

use super::{named, named_raw};
use crate::error::{Errno, SysError, SysResult};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::ops::Range;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The policy of chain FORWARD is DROP.
    pub drops: bool,
    /// The rules that accept packets for their link alone; not those of INPUT and OUTPUT.
    pub accepts: Vec<Accept>,
}

/// `-i FROM -o TO -m comment --comment COMMENT -j ACCEPT`, each empty where it is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    pub from: String,
    pub to: String,
    pub comment: String,
}

/// The family's program, where it is installed.
pub fn program(family: Family) -> Option<PathBuf> {
    let places = ["/usr/sbin", "/sbin", "/usr/bin"];
    places.iter().map(|place| Path::new(place).join(family.tool())).find(|path| path.exists())
}

/// Executes the program as root's own, not from our caller's PATH. Where it fails, what it says of that.
pub fn execute(program: &Path, words: &[String]) -> SysResult<Result<(), String>> {
    let mut command = std::process::Command::new(program);
    command.args(words).env_clear().stdin(std::process::Stdio::null());
    let output = super::named_io(command.output(), || program.display().to_string())?;
    let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(if output.status.success() { Ok(()) } else { Err(said()) })
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
    pub fn tool(self) -> &'static str {
        match self {
            Family::V4 => "iptables-legacy",
            Family::V6 => "ip6tables-legacy",
        }
    }

    fn names(self) -> &'static str {
        match self {
            Family::V4 => "/proc/net/ip_tables_names",
            Family::V6 => "/proc/net/ip6_tables_names",
        }
    }

    fn entry(self) -> Entry {
        match self {
            Family::V4 => Entry { from: 16, to: 32, addresses: 0..16, flags: 80..84, target: 88, matches: 112 },
            Family::V6 => Entry { from: 64, to: 80, addresses: 0..64, flags: 128..133, target: 140, matches: 168 },
        }
    }
}

/// Where the parts of struct ipt_entry and of struct ip6t_entry are.
struct Entry {
    /// Names of the incoming and of the outgoing link.
    from: usize,
    to: usize,
    /// Addresses and their masks.
    addresses: Range<usize>,
    /// Protocol, flags and what is inverted.
    flags: Range<usize>,
    /// The target's offset, and the next entry's behind it.
    target: usize,
    /// The first match.
    matches: usize,
}

// IPT_SO_GET_INFO and IPT_SO_GET_ENTRIES, the same for IPv6
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
/// A table's name, in front of both answers.
const TABLE_NAME: usize = 32;
/// struct ipt_getinfo: name, valid hooks, five entries (where a chain begins), five underflows (where its policy is),
/// number, size.
const INFO: usize = 84;
const INFO_ENTRY: usize = 36;
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
    let place = family.entry();
    let policy = |hook: libc::c_int| number(info, INFO_UNDERFLOW + 4 * hook as usize).map(|at| at as usize);
    let begin = |hook: libc::c_int| number(info, INFO_ENTRY + 4 * hook as usize).map(|at| at as usize);
    let (input, output) = (libc::NF_INET_LOCAL_IN, libc::NF_INET_LOCAL_OUT);
    let local = [begin(input)?..=policy(input)?, begin(output)?..=policy(output)?];
    let forward = policy(libc::NF_INET_FORWARD)?;
    let mut filter = Filter::default();
    let mut at = 0;
    while at < entries.len() {
        let entry = &entries[at..];
        let target_at = usize::from(short(entry, place.target)?);
        let verdict = match entry.get(target_at + TARGET_NAME)? {
            0 => Some(number(entry, target_at + TARGET)? as i32), // the standard target has no name
            _ => None,
        };
        if at == forward {
            filter.drops = verdict == Some(DROP);
        }
        if verdict == Some(ACCEPT) && !local.iter().any(|chain| chain.contains(&at)) {
            filter.accepts.extend(accept(&place, entry, target_at));
        }
        match usize::from(short(entry, place.target + 2)?) {
            0 => return None,
            next => at += next,
        }
    }
    Some(filter)
}

/// A rule that asks for nothing but a link, and may have a comment.
fn accept(place: &Entry, entry: &[u8], target: usize) -> Option<Accept> {
    let is_any = |range: &Range<usize>| entry.get(range.clone()).is_some_and(|part| part.iter().all(|byte| *byte == 0));
    if !is_any(&place.addresses) || !is_any(&place.flags) {
        return None;
    }
    // struct xt_entry_match: size, name, revision; then what it matches, here xt_comment_info: text of 256 bytes
    let comment = match entry.get(place.matches..target)? {
        [] => String::new(),
        only => {
            let size = usize::from(short(only, 0)?);
            let is_comment = size == only.len() && text(only.get(2..31)?) == "comment";
            is_comment.then(|| only.get(TARGET..).map(text)).flatten()?
        }
    };
    Some(Accept { from: link(entry, place.from)?, to: link(entry, place.to)?, comment })
}

fn link(entry: &[u8], at: usize) -> Option<String> {
    entry.get(at..at + LINK_NAME).map(text)
}

/// Up to the first NUL.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
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
    fn entry(from: &str, comment: &str, verdict: i32) -> Vec<u8> {
        let matches = if comment.is_empty() { 0 } else { TARGET + 256 };
        let target = 112 + matches;
        let mut entry = vec![0; target + TARGET + 8];
        entry[16..16 + from.len()].copy_from_slice(from.as_bytes());
        entry[88..90].copy_from_slice(&(target as u16).to_ne_bytes());
        let length = entry.len() as u16;
        entry[90..92].copy_from_slice(&length.to_ne_bytes());
        if matches > 0 {
            entry[112..114].copy_from_slice(&(matches as u16).to_ne_bytes());
            entry[114..121].copy_from_slice(b"comment");
            entry[112 + TARGET..112 + TARGET + comment.len()].copy_from_slice(comment.as_bytes());
        }
        entry[target + TARGET..target + TARGET + 4].copy_from_slice(&verdict.to_ne_bytes());
        entry
    }

    #[test]
    fn a_policy_is_told_from_rules() {
        let of_tcp = |mut entry: Vec<u8>| {
            entry[80] = libc::IPPROTO_TCP as u8;
            entry
        };
        let chains = [
            entry("mr-9", "", ACCEPT), // INPUT
            entry("", "", ACCEPT),
            entry("mr-0", "", ACCEPT), // FORWARD
            entry("mr-1", "", DROP),
            of_tcp(entry("mr-2", "", ACCEPT)),
            entry("mr-3", "ours", ACCEPT),
            entry("", "", DROP),
            entry("", "", ACCEPT), // OUTPUT
        ];
        let at = |index: usize| chains[..index].iter().map(Vec::len).sum::<usize>() as u32;
        let mut info = vec![0; INFO];
        let mut set = |place: usize, hook: libc::c_int, index: usize| {
            let place = place + 4 * hook as usize;
            info[place..place + 4].copy_from_slice(&at(index).to_ne_bytes());
        };
        for (hook, begin, end) in
            [(libc::NF_INET_LOCAL_IN, 0, 1), (libc::NF_INET_FORWARD, 2, 6), (libc::NF_INET_LOCAL_OUT, 7, 7)]
        {
            set(INFO_ENTRY, hook, begin);
            set(INFO_UNDERFLOW, hook, end);
        }
        let found = parse(Family::V4, &info, &chains.concat()).unwrap();
        let rule =
            |from: &str, comment: &str| Accept { from: from.into(), comment: comment.into(), ..Accept::default() };
        assert_eq!((found.drops, found.accepts), (true, vec![rule("mr-0", ""), rule("mr-3", "ours")]));
        let forward = INFO_UNDERFLOW + 4 * libc::NF_INET_FORWARD as usize;
        info[forward..forward + 4].copy_from_slice(&at(2).to_ne_bytes());
        assert!(!parse(Family::V4, &info, &chains.concat()).unwrap().drops);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = parse(Family::V4, &bytes, &bytes);
            let _ = parse(Family::V6, &[0; INFO], &bytes);
        }
    }
}
