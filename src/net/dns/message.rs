//! DNS messages (RFC 1035, 4): as much as a resolver needs that answers for few names and hands on all others as they
//! came. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Types of records (RFC 1035, 3.2.2; RFC 3596).
pub const A: u16 = 1;
pub const PTR: u16 = 12;
pub const AAAA: u16 = 28;
/// QTYPE ANY: all that is there.
pub const ANY: u16 = 255;

/// The only class that is in use.
const INTERNET: u16 = 1;
const HEADER: usize = 12;
/// All that a question may take: a name and two numbers.
const LONGEST_NAME: usize = 255;
/// What goes in one datagram where nothing else was agreed on (RFC 1035, 2.3.4).
pub const DATAGRAM: usize = 512;
/// What goes over TCP: the length before the message has two bytes (RFC 1035, 4.2.2).
pub const LONGEST: usize = 65535;
/// Seconds that an answer may be kept: a container may be gone the next moment.
const TTL: u32 = 0;

/// Bits of the header's flags.
const RESPONSE: u16 = 1 << 15;
const OPCODE: u16 = 0b1111 << 11;
const AUTHORITATIVE: u16 = 1 << 10;
const TRUNCATED: u16 = 1 << 9;
const RECURSION_DESIRED: u16 = 1 << 8;
const RECURSION_AVAILABLE: u16 = 1 << 7;

/// A question as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub id: u16,
    flags: u16,
    /// In lower case, without the last dot.
    pub name: String,
    pub kind: u16,
    class: u16,
    /// Its bytes, for they are repeated in the answer as they were.
    question: Vec<u8>,
}

/// What is said to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Of the family that was asked for. None is an answer, too: the name has no address of that family.
    Addresses(Vec<IpAddr>),
    /// The name of an address.
    Name(String),
    /// There is no such name (NXDOMAIN).
    NoSuchName,
    /// Nobody could be asked (SERVFAIL).
    Failed,
    /// Not a question of a kind that is answered here (NOTIMP).
    Unknown,
}

/// `None` where it is none that can be answered: too short, an answer itself, not one question.
pub fn parse(bytes: &[u8]) -> Option<Query> {
    let (id, flags, questions) = (number(bytes, 0)?, number(bytes, 2)?, number(bytes, 4)?);
    if flags & RESPONSE != 0 || questions != 1 {
        return None;
    }
    let (name, end) = name(bytes, HEADER)?;
    let (kind, class) = (number(bytes, end)?, number(bytes, end + 2)?);
    Some(Query { id, flags, name, kind, class, question: bytes.get(HEADER..end + 4)?.to_vec() })
}

/// What is said to a message that [`parse`] makes nothing of: its id and FORMERR, without a question (RFC 1035, 4.1.1).
/// `None` where it has no header, or is an answer itself: two resolvers would tell each other so for ever.
pub fn malformed(bytes: &[u8]) -> Option<Vec<u8>> {
    let flags = number(bytes.get(..HEADER)?, 2)?;
    let said = RESPONSE | RECURSION_AVAILABLE | flags & (OPCODE | RECURSION_DESIRED) | 1;
    let numbers = [id(bytes)?, said, 0, 0, 0, 0];
    (flags & RESPONSE == 0).then(|| numbers.into_iter().flat_map(u16::to_be_bytes).collect())
}

/// The id of any message.
pub fn id(bytes: &[u8]) -> Option<u16> {
    number(bytes, 0)
}

/// Whether `answer` is an answer to `query`: of its id, and of its question where it repeats one.
pub fn answers(answer: &[u8], query: &Query) -> bool {
    let same = |question: &[u8]| question.eq_ignore_ascii_case(&query.question);
    id(answer) == Some(query.id)
        && number(answer, 2).is_some_and(|flags| flags & RESPONSE != 0)
        && match number(answer, 4) {
            Some(0) => true,
            _ => answer.get(HEADER..HEADER + query.question.len()).is_some_and(same),
        }
}

/// Whether a server could not say (SERVFAIL), does not know how (NOTIMP) or would not (REFUSED).
pub fn has_failed(answer: &[u8]) -> bool {
    number(answer, 2).is_some_and(|flags| [2, 4, 5].contains(&(flags & 0xf)))
}

/// A name of labels, as a question has it: nothing there refers to what came before.
fn name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut text) = (start, String::new());
    loop {
        let length = usize::from(*bytes.get(at)?);
        if length == 0 {
            return Some((text, at + 1));
        }
        if length > 63 || at - start + length > LONGEST_NAME {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&String::from_utf8_lossy(bytes.get(at + 1..=at + length)?).to_ascii_lowercase());
        at += 1 + length;
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

impl Query {
    /// Whether its flags say that it is an ordinary question.
    pub fn is_standard(&self) -> bool {
        self.flags & OPCODE == 0
    }

    /// Whether it is asked of the Internet's names, and not of another class (RFC 1035, 3.2.4).
    pub fn is_internet(&self) -> bool {
        [INTERNET, ANY].contains(&self.class)
    }

    /// The answer's message of at most `limit` bytes. Where not all fits, it says so, and the asker comes by TCP.
    pub fn reply(&self, answer: &Answer, limit: usize) -> Vec<u8> {
        let mut records: Vec<Vec<u8>> = match answer {
            Answer::Addresses(addresses) => addresses.iter().map(|ip| address_record(*ip)).collect(),
            Answer::Name(name) => vec![record(PTR, &labels(name))],
            Answer::NoSuchName | Answer::Failed | Answer::Unknown => Vec::new(),
        };
        let mut room = limit.saturating_sub(HEADER + self.question.len());
        let fitting = records.iter().take_while(|record| match room.checked_sub(record.len()) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        });
        let fitting = fitting.count();
        let truncated = if fitting < records.len() { TRUNCATED } else { 0 };
        records.truncate(fitting);
        let code: u16 = match answer {
            Answer::Addresses(_) | Answer::Name(_) => 0,
            Answer::Failed => 2,
            Answer::NoSuchName => 3,
            Answer::Unknown => 4,
        };
        let repeated = self.flags & (OPCODE | RECURSION_DESIRED);
        let flags = RESPONSE | AUTHORITATIVE | RECURSION_AVAILABLE | repeated | truncated | code;
        let mut bytes = Vec::with_capacity(limit.min(DATAGRAM));
        for number in [self.id, flags, 1, records.len() as u16, 0, 0] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(&self.question);
        bytes.extend(records.concat());
        bytes
    }
}

fn address_record(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => record(A, &v4.octets()),
        IpAddr::V6(v6) => record(AAAA, &v6.octets()),
    }
}

/// A record of the name in the question, to which its first two bytes refer (RFC 1035, 4.1.4).
fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = (0xc000 | HEADER as u16).to_be_bytes().to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend(INTERNET.to_be_bytes());
    bytes.extend(TTL.to_be_bytes());
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        let label = &label.as_bytes()[..label.len().min(63)];
        bytes.push(label.len() as u8);
        bytes.extend(label);
    }
    bytes.push(0);
    bytes
}

/// The address that a name under in-addr.arpa or ip6.arpa stands for (RFC 1035, 3.5; RFC 3596, 2.5).
pub fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(v4) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<u8> = v4.split('.').rev().map(|part| part.parse().ok()).collect::<Option<_>>()?;
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(parts).ok()?).into());
    }
    let nibbles = name.strip_suffix(".ip6.arpa")?;
    let digits: Vec<u8> = nibbles
        .split('.')
        .rev()
        .map(|digit| u8::from_str_radix(digit, 16).ok().filter(|d| *d < 16))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    (digits.len() == 32).then_some(())?;
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(labels(name));
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes
    }

    #[test]
    fn an_answer_repeats_the_question_and_refers_to_it() {
        let bytes = asked("Db.Net", A);
        let query = parse(&bytes).unwrap();
        assert_eq!((query.id, query.name.as_str(), query.kind), (0x1234, "db.net", A));
        let reply = query.reply(&Answer::Addresses(vec!["10.0.0.2".parse().unwrap()]), DATAGRAM);
        assert_eq!(reply[..12], [0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(reply[12..bytes.len()], bytes[12..]); // in the case in which it was asked (draft-vixie-dnsext-dns0x20)
        assert_eq!(reply[bytes.len()..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 0, 0, 2]);
        assert!(answers(&reply, &query));
        let other = parse(&asked("web.net", A)).unwrap();
        assert!(!answers(&reply, &other) && !answers(&bytes, &query));
    }

    #[test]
    fn what_does_not_fit_a_datagram_is_cut_between_records_and_says_so() {
        let query = parse(&asked("many", A)).unwrap();
        let all = Answer::Addresses((0..100).map(|n| IpAddr::from([10, 0, 0, n])).collect());
        let cut = query.reply(&all, DATAGRAM);
        assert!(cut.len() <= DATAGRAM && number(&cut, 2).unwrap() & TRUNCATED != 0);
        assert_eq!(usize::from(number(&cut, 6).unwrap()), (DATAGRAM - 12 - 10) / 16);
        let whole = query.reply(&all, LONGEST);
        assert_eq!((number(&whole, 6), number(&whole, 2).unwrap() & TRUNCATED), (Some(100), 0));
    }

    #[test]
    fn every_outcome_has_its_code() {
        let query = parse(&asked("db", AAAA)).unwrap();
        for (answer, code) in
            [(Answer::Addresses(Vec::new()), 0), (Answer::Failed, 2), (Answer::NoSuchName, 3), (Answer::Unknown, 4)]
        {
            assert_eq!(query.reply(&answer, DATAGRAM)[3] & 0xf, code);
        }
    }

    #[test]
    fn a_malformed_question_is_told_so_and_an_answer_is_not() {
        let mut bytes = asked("db", A);
        bytes.truncate(bytes.len() - 1);
        assert_eq!(parse(&bytes), None);
        assert_eq!(malformed(&bytes).unwrap(), [0x12, 0x34, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(malformed(&bytes[..11]), None);
        bytes[2] |= 0x80;
        assert_eq!(malformed(&bytes), None);
    }

    #[test]
    fn an_address_is_read_from_its_name() {
        for (name, want) in [
            ("2.0.18.172.in-addr.arpa", Some("172.18.0.2")),
            ("0.18.172.in-addr.arpa", None),
            ("256.0.18.172.in-addr.arpa", None),
            ("2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa", Some("fd00:1::2")),
            ("2.0.ip6.arpa", None),
            ("example.com", None),
        ] {
            assert_eq!(reversed(name), want.map(|ip| ip.parse().unwrap()), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = (id(&bytes), malformed(&bytes), reversed(&String::from_utf8_lossy(&bytes)));
            if let Some(query) = parse(&bytes) {
                prop_assert!(query.reply(&Answer::Addresses(vec!["fd00::1".parse().unwrap()]), DATAGRAM).len() <= DATAGRAM);
                answers(&bytes, &query);
            }
        }
    }
}
