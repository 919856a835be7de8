//! The names and marks of what we make in namespaces that we share with others. All are derived from the state root, so
//! that two state roots on one host never meet. Pure.

use crate::error::{Error, Result};
use crate::id::{ContainerId, HostPath, IfName, Name, hex};
use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::net::IpAddr;

/// The state root whose table has the plain name.
const DEFAULT_STATE_ROOT: &str = "/run/minirun";

/// Names of the host that containers know: ours and docker's.
pub const HOST_NAMES: [&str; 2] = ["host.minirun.internal", "host.docker.internal"];

/// The state root (/run/minirun) as the origin of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Realm {
    pub state: HostPath,
}

impl Realm {
    /// `minirun` for the default state root, else with ten digits of its hash.
    pub fn table(&self) -> String {
        match self.state.as_str().trim_end_matches('/') {
            DEFAULT_STATE_ROOT => "minirun".to_owned(),
            _ => format!("minirun_{}", self.tag()),
        }
    }

    /// `mr-` and ten digits.
    pub fn bridge(&self, network: &Name) -> Result<IfName> {
        IfName::parse(&format!("mr-{}", self.digits(&format!("network {network}"))))
    }

    /// The host's link into the VLAN of a network.
    pub fn vlan_link(&self, network: &Name) -> Result<IfName> {
        IfName::parse(&format!("mr-{}", self.digits(&format!("vlan of network {network}"))))
    }

    /// The group of all veths of a network: `ip link show group N`. Never 0, which is everybody's.
    pub fn group(&self, network: &Name) -> u32 {
        let hash = self.hash(&format!("group {network}"));
        u32::from_be_bytes([hash[0] & 0x7f, hash[1], hash[2], hash[3]]).max(1)
    }

    pub fn bridge_mac(&self, network: &Name) -> Mac {
        Mac::from_hash(&self.hash(&format!("mac {network}")))
    }

    /// A subnet of a network that nobody else is likely to have (RFC 4193, 3.2: 40 bits that mean nothing).
    pub fn unique_local(&self, network: &Name, attempt: u8) -> Ipv6Net {
        let hash = self.hash(&format!("unique local {network} {attempt}"));
        let mut octets = [0_u8; 16];
        octets[0] = 0xfd;
        octets[1..6].copy_from_slice(&hash[..5]);
        Ipv6Net::new_assert(octets.into(), 64)
    }

    /// Alias of a bridge, and comment of its rules in other people's chains.
    pub fn network_mark(&self, network: &Name) -> String {
        mark(&format!("minirun {} network {network}", self.tag()))
    }

    /// Alias of a container's veth.
    pub fn container_mark(&self, container: &ContainerId) -> String {
        mark(&format!("minirun {} {container}", self.tag()))
    }

    /// Whether an alias is [`Realm::container_mark`] of some container.
    pub fn is_container_mark(&self, alias: &str) -> bool {
        let rest = alias.strip_prefix(&format!("minirun {} ", self.tag()));
        rest.is_some_and(|id| !id.starts_with("network "))
    }

    /// Whether an alias is a mark of this state root.
    pub fn is_mark(&self, alias: &str) -> bool {
        alias.starts_with(&format!("minirun {} ", self.tag()))
    }

    fn tag(&self) -> String {
        self.digits("")
    }

    fn digits(&self, what: &str) -> String {
        hex(&self.hash(what))[..10].to_owned()
    }

    fn hash(&self, what: &str) -> [u8; 32] {
        Sha256::digest(format!("{}\0{what}", self.state.as_str().trim_end_matches('/'))).into()
    }
}

/// What fits an nft comment (127 bytes), and so an alias (255) too; ids given by an engine may be longer.
fn mark(text: &str) -> String {
    text[..text.len().min(crate::sys::nftables::COMMENT_MAX)].to_owned()
}

/// Comment of a container's published ports.
pub fn owner(container: &ContainerId) -> String {
    mark(container.as_str())
}

/// Tells the links of one start of a container from those of the start before, which may still be there: a network
/// namespace dies asynchronously, and who ends the old start deletes them by their names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "char", into = "char")] // of one length: a record stays as long as it is
pub struct Generation(u8);

impl Generation {
    /// A network counts its loans: a container's next one comes round to the same only after 36.
    #[must_use]
    pub fn next(self) -> Generation {
        Generation((self.0 + 1) % 36)
    }
}

impl From<Generation> for char {
    fn from(generation: Generation) -> char {
        char::from_digit(generation.0.into(), 36).unwrap_or('0')
    }
}

impl TryFrom<char> for Generation {
    type Error = Error;
    fn try_from(digit: char) -> Result<Generation> {
        let number = digit.to_digit(36).filter(|_| !digit.is_ascii_uppercase());
        let number = number.and_then(|number| u8::try_from(number).ok());
        number.map(Generation).ok_or_else(|| Error::internal(format!("{digit:?} is no generation")))
    }
}

/// The host's end of a container's link in its `index`th network: 14 or 15 bytes (IFNAMSIZ is 16). `tag` is the
/// container's.
pub fn veth(tag: &str, generation: Generation, index: usize) -> Result<IfName> {
    let start = format!("mrv{tag}{}", char::from(generation));
    match index {
        0 => IfName::parse(&start),
        n => IfName::parse(&format!("{start}{}", char::from(b'a'.saturating_add(n as u8)))),
    }
}

/// An Ethernet address, as six pairs of hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// Locally administered, unicast (IEEE 802c); then `m`, so that ours are told from docker's 02:42.
const PREFIX: [u8; 2] = [0x02, 0x6d];

impl Mac {
    pub fn parse(text: &str) -> Result<Mac> {
        let bad = || {
            Error::user(format!("invalid MAC address {text:?}"))
                .hint("six pairs of hex digits, the first even: 02:6d:00:00:00:01")
        };
        let pair = |p: &str| match p.len() {
            2 if p.bytes().all(|b| b.is_ascii_hexdigit()) => u8::from_str_radix(p, 16).ok(),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.split(':').map(pair).collect();
        let mac: [u8; 6] = bytes.and_then(|b| b.try_into().ok()).ok_or_else(bad)?;
        let multicast = mac[0] & 1 == 1;
        if multicast || mac == [0; 6] { Err(bad()) } else { Ok(Mac(mac)) }
    }

    /// An address's own: whoever gets a freed address has the neighbours' caches right.
    pub fn of_address(address: IpAddr) -> Mac {
        match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                Mac([PREFIX[0], PREFIX[1], a, b, c, d])
            }
            IpAddr::V6(v6) => Mac::from_hash(&Sha256::digest(v6.octets()).into()),
        }
    }

    pub fn of_link(name: &IfName) -> Mac {
        Mac::from_hash(&Sha256::digest(name.as_str()).into())
    }

    fn from_hash(hash: &[u8; 32]) -> Mac {
        Mac([PREFIX[0], PREFIX[1], hash[0], hash[1], hash[2], hash[3]])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl TryFrom<String> for Mac {
    type Error = Error;
    fn try_from(text: String) -> Result<Mac> {
        Mac::parse(&text)
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm(state: &str) -> Realm {
        Realm { state: HostPath::parse(state).unwrap() }
    }

    #[test]
    fn two_state_roots_share_no_name() {
        let (a, b) = (realm("/run/minirun"), realm("/run/other"));
        let network = Name::parse("bridge").unwrap();
        let id = ContainerId::parse("web").unwrap();
        assert_ne!(a.table(), b.table());
        assert_ne!(a.bridge(&network).unwrap(), b.bridge(&network).unwrap());
        assert_ne!(a.group(&network), b.group(&network));
        assert_ne!(a.bridge_mac(&network), b.bridge_mac(&network));
        assert_ne!(a.container_mark(&id), b.container_mark(&id));
        assert_eq!(a.table(), "minirun");
        assert!(a.is_container_mark(&a.container_mark(&id)));
        assert!(!a.is_container_mark(&b.container_mark(&id)));
        assert!(!a.is_container_mark(&a.network_mark(&network)));
        assert_eq!(a.table(), realm("/run/minirun/").table());
    }

    #[test]
    fn links_fit_fifteen_bytes() {
        let id = ContainerId::parse("web").unwrap();
        let tag = id.tag("/run/minirun");
        let veth = |generation, index| veth(&tag, generation, index).unwrap();
        let mut generation = Generation::default();
        for _ in 0..40 {
            assert!([0, 1, 9].iter().all(|index| veth(generation, *index).as_str().len() <= 15));
            assert_ne!(veth(generation, 1), veth(generation, 2));
            assert_ne!(veth(generation, 1), veth(generation.next(), 1));
            generation = generation.next();
        }
    }

    #[test]
    fn a_mac_is_six_pairs_and_unicast() {
        assert_eq!(Mac::parse("02:6D:ac:12:00:02").unwrap().to_string(), "02:6d:ac:12:00:02");
        assert_eq!(Mac::of_address("172.18.0.2".parse().unwrap()).to_string(), "02:6d:ac:12:00:02");
        for bad in
            ["", "02:6d:ac:12:00", "02:6d:ac:12:00:02:03", "2:6d:ac:12:00:02", "01:00:00:00:00:00", "+2:6d:ac:12:0:2"]
        {
            assert!(Mac::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn marks_fit_a_comment() {
        let id = ContainerId::parse(&"x".repeat(1024)).unwrap();
        assert_eq!(realm("/run/minirun").container_mark(&id).len(), 127);
        assert_eq!(owner(&id).len(), 127);
    }
}
