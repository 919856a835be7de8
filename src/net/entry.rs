//! What networks and containers put into our table's sets: each entry as `nft` writes it and as the kernel takes it.
//! Pure.

use super::publish::Published;
use super::ruleset::{ifname, sets, table};
use crate::id::IfName;
use crate::sys::nftables::{Data, Element, End, Existing, Transaction, Verdict};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// An element of one of the sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// Traffic to this bridge needs a permit.
    Bridge(IfName),
    /// Traffic from this bridge leaves under the host's address.
    Masquerade(IfName),
    /// From this bridge nothing goes anywhere else.
    Internal(IfName),
    /// Addresses behind our bridges.
    Subnet(IpNet),
    /// Traffic from the first to the second bridge passes.
    Pass(IfName, IfName),
    /// A published port and the id of the container that owns it.
    Port(Published, String),
}

impl Entry {
    pub fn set(&self) -> &'static str {
        match self {
            Entry::Bridge(_) => "bridges",
            Entry::Masquerade(_) => "masq",
            Entry::Internal(_) => "internal",
            Entry::Subnet(IpNet::V4(_)) => "subnets4",
            Entry::Subnet(IpNet::V6(_)) => "subnets6",
            Entry::Pass(..) => "verdicts",
            Entry::Port(port, _) => match (port.to.is_ipv4(), port.ip) {
                (true, None) => "pub4",
                (true, Some(_)) => "pub4a",
                (false, None) => "pub6",
                (false, Some(_)) => "pub6a",
            },
        }
    }

    /// As `nft` writes it between braces.
    pub fn text(&self) -> String {
        match self {
            Entry::Bridge(name) | Entry::Masquerade(name) | Entry::Internal(name) => format!("\"{name}\""),
            Entry::Subnet(net) => net.to_string(),
            Entry::Pass(from, to) => format!("\"{from}\" . \"{to}\" : accept"),
            Entry::Port(port, owner) => {
                format!("{} comment \"{owner}\" : {} . {}", key_text(port), port.to.ip(), port.to.port())
            }
        }
    }

    /// As the kernel takes it; an interval consists of two.
    pub fn elements(&self) -> Vec<Element> {
        match self {
            Entry::Bridge(name) | Entry::Masquerade(name) | Entry::Internal(name) => {
                vec![Element { key: ifname(name.as_str()), ..Element::default() }]
            }
            Entry::Subnet(net) => interval(net),
            Entry::Pass(from, to) => {
                let key = [ifname(from.as_str()), ifname(to.as_str())].concat();
                vec![Element { key, data: Some(Data::Verdict(Verdict::Accept)), ..Element::default() }]
            }
            Entry::Port(port, owner) => {
                let data = Data::Value([octets(port.to.ip()), padded(&port.to.port().to_be_bytes())].concat());
                let comment = Some(owner.clone());
                vec![Element { key: key(port), data: Some(data), comment, ..Element::default() }]
            }
        }
    }
}

/// The key of a published port as `nft` writes it.
pub fn key_text(port: &Published) -> String {
    let address = port.ip.map(|ip| format!("{ip} . ")).unwrap_or_default();
    format!("{address}{} . {}", port.protocol, port.port)
}

/// The key of a published port.
pub fn key(port: &Published) -> Vec<u8> {
    let address = port.ip.map(octets).unwrap_or_default();
    [address, padded(&[port.protocol.number()]), padded(&port.port.to_be_bytes())].concat()
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn interval(net: &IpNet) -> Vec<Element> {
    let first = Element { key: octets(net.network()), ..Element::default() };
    let behind = match net.broadcast() {
        IpAddr::V4(last) => u32::from(last).checked_add(1).map(|n| n.to_be_bytes().to_vec()),
        IpAddr::V6(last) => u128::from(last).checked_add(1).map(|n| n.to_be_bytes().to_vec()),
    };
    let end = behind.map(|key| Element { key, end: Some(End), ..Element::default() });
    [Some(first), end].into_iter().flatten().collect()
}

/// `add element …; add element …` for `nft`.
pub fn add_text(table: &str, entries: &[Entry]) -> String {
    let line = |entry: &Entry| format!("add element inet {table} {} {{ {} }}", entry.set(), entry.text());
    entries.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// Adds or removes entries in one transaction, those of one set in one message.
pub fn change(table: &str, entries: &[Entry], change: Change) -> Transaction {
    let mut transaction = Transaction::default();
    fill(&mut transaction, table, entries, change);
    transaction
}

/// The same behind what the transaction has already.
pub fn fill(transaction: &mut Transaction, table_name: &str, entries: &[Entry], change: Change) {
    let table = table(table_name);
    for (set, _) in sets() {
        let of_set = entries.iter().filter(|entry| entry.set() == set.name);
        let elements: Vec<Element> = of_set.flat_map(Entry::elements).collect();
        match change {
            Change::Add(existing) => transaction.add_elements(&table, set.name, &elements, existing),
            Change::Remove => transaction.delete_elements(&table, set.name, &elements),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Add(Existing),
    Remove,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::publish::Protocol;

    #[test]
    fn an_interval_ends_behind_its_last_address() {
        let ends = |net: &str| interval(&net.parse().unwrap()).into_iter().map(|e| e.key).collect::<Vec<_>>();
        assert_eq!(ends("172.18.0.0/16"), [vec![172, 18, 0, 0], vec![172, 19, 0, 0]]);
        assert_eq!(ends("255.255.255.0/24"), [vec![255, 255, 255, 0]]);
        assert_eq!(ends("fd00::/64")[1][..8], [0xfd, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_port_at_one_address_has_a_map_of_its_own() {
        let port = |ip: Option<&str>, to: &str| {
            let ip = ip.map(|ip| ip.parse().unwrap());
            Entry::Port(Published { ip, port: 8080, protocol: Protocol::Tcp, to: to.parse().unwrap() }, "web".into())
        };
        for (entry, set, text) in [
            (port(None, "172.18.0.2:80"), "pub4", "tcp . 8080 comment \"web\" : 172.18.0.2 . 80"),
            (
                port(Some("10.0.0.1"), "172.18.0.2:80"),
                "pub4a",
                "10.0.0.1 . tcp . 8080 comment \"web\" : 172.18.0.2 . 80",
            ),
            (port(None, "[fd00::2]:80"), "pub6", "tcp . 8080 comment \"web\" : fd00::2 . 80"),
            (port(Some("fd01::1"), "[fd00::2]:80"), "pub6a", "fd01::1 . tcp . 8080 comment \"web\" : fd00::2 . 80"),
        ] {
            assert_eq!((entry.set(), entry.text().as_str()), (set, text));
        }
    }
}
