//! How questions reach a resolver that does not listen at port 53: in a container's own namespace they are sent on to its
//! sockets. At port 53 itself, any name server that the container runs would find its address in use. Pure.

use crate::net::ruleset::{dport, equal, meta, network_header};
use crate::sys::nftables::{Chain, Existing, Expr, Hook, Table, Transaction};
use std::net::Ipv4Addr;

/// Where a container asks, as docker has it.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// domain (IANA).
const PORT: u16 = 53;
const IPV4: u8 = libc::NFPROTO_IPV4 as u8;

/// The ports at which the resolver listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub udp: u16,
    pub tcp: u16,
}

fn table() -> Table<'static> {
    Table { family: IPV4, name: "minirun" }
}

/// One transaction; what an earlier resolver has left is replaced.
pub fn transaction(ports: Ports) -> Transaction {
    let number = libc::NF_INET_LOCAL_OUT as u32;
    let chain = Chain { name: "output", hook: Some(Hook { kind: "nat", number, priority: -100 }) };
    let mut transaction = Transaction::default();
    transaction.add_table(&table(), Existing::Wanted);
    transaction.delete_table(&table());
    transaction.add_table(&table(), Existing::Refused);
    transaction.add_chain(&table(), &chain);
    for (protocol, port) in [(libc::IPPROTO_UDP, ports.udp), (libc::IPPROTO_TCP, ports.tcp)] {
        transaction.append_rule(&table(), "output", &rule(protocol as u8, port));
    }
    transaction
}

fn rule(protocol: u8, port: u16) -> Vec<Expr> {
    let address = ADDRESS.octets().to_vec();
    vec![
        network_header(16, 4, 1),
        equal(&address),
        meta(libc::NFT_META_L4PROTO, 1),
        equal(&[protocol]),
        dport(1),
        equal(&PORT.to_be_bytes()),
        Expr::Immediate { to: 1, value: address },
        Expr::Immediate { to: 2, value: port.to_be_bytes().to_vec() },
        Expr::Dnat { family: IPV4, address: 1, port: 2 },
    ]
}

/// The same for `nft`; the ports are words, for only the sockets know them.
pub fn text(udp: &str, tcp: &str) -> String {
    let rule = |protocol, port| format!("ip daddr {ADDRESS} {protocol} dport {PORT} dnat to {ADDRESS}:{port}");
    format!(
        "table ip minirun {{ chain output {{ type nat hook output priority -100; {}; {}; }} }}",
        rule("udp", udp),
        rule("tcp", tcp)
    )
}
