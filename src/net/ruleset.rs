//! Our nf_tables table: every set, chain and rule, once as nft's text and beside it as the kernel's expressions. Pure; a
//! test compares both faces in the kernel.
//!
//! A published port is one element of a map, so its price does not grow with their number, and a stale rule that
//! shadows a live one cannot exist (podman#27516, moby#32048).

use crate::id::IfName;
use crate::sys::nftables::{
    ByteOrder, Chain, Compare, Existing, Expr, Hook, Member, Set, Table, Transaction, Type, Verdict,
};

pub const INET: u8 = libc::NFPROTO_INET as u8;
const IPV4: u8 = libc::NFPROTO_IPV4 as u8;
const IPV6: u8 = libc::NFPROTO_IPV6 as u8;

/// One rule in both faces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub chain: &'static str,
    pub text: &'static str,
    pub exprs: Vec<Expr>,
}

/// The table in our family.
pub fn table(name: &str) -> Table<'_> {
    Table { family: INET, name }
}

/// The whole table as one transaction; refused with EEXIST where the table is there already.
pub fn create(name: &str) -> Transaction {
    let mut transaction = Transaction::default();
    transaction.add_table(&table(name), Existing::Refused);
    fill(&mut transaction, name);
    transaction
}

/// The whole table in place of whatever has its name: no packet sees the one gone and the other not yet there.
pub fn replace(name: &str) -> Transaction {
    let mut transaction = Transaction::default();
    transaction.add_table(&table(name), Existing::Wanted); // what is not there cannot be deleted
    transaction.delete_table(&table(name));
    transaction.add_table(&table(name), Existing::Refused);
    fill(&mut transaction, name);
    transaction
}

fn fill(transaction: &mut Transaction, name: &str) {
    let table = table(name);
    sets().iter().for_each(|(set, _)| transaction.add_set(&table, set));
    chains().iter().for_each(|(chain, _)| transaction.add_chain(&table, chain));
    rules().iter().for_each(|rule| transaction.append_rule(&table, rule.chain, &rule.exprs));
}

/// The same for `nft`.
pub fn text(name: &str) -> String {
    use std::fmt::Write as _;
    let mut text = format!("table inet {name} {{\n");
    for (set, definition) in sets() {
        let kind = if set.data.is_some() { "map" } else { "set" };
        let _ = writeln!(text, "  {kind} {} {{ {definition}; }}", set.name);
    }
    for (chain, hook) in chains() {
        let _ = writeln!(text, "  chain {} {{", chain.name);
        if !hook.is_empty() {
            let _ = writeln!(text, "    type {hook}; policy accept;");
        }
        for rule in rules().iter().filter(|rule| rule.chain == chain.name) {
            let _ = writeln!(text, "    {}", rule.text);
        }
        text.push_str("  }\n");
    }
    text + "}"
}

// nft's numbers of types (libnftables, enum datatypes); a concatenation shifts by six bits
const IPV4_ADDR: u32 = 7;
const IPV6_ADDR: u32 = 8;
const INET_PROTO: u32 = 12;
const INET_SERVICE: u32 = 13;
const IFNAME: u32 = 41;
/// NFT_DATA_VERDICT
const VERDICT: u32 = 0xffff_ff00;

/// A concatenation; each part takes a multiple of four bytes.
fn concat(parts: &[u32], length: u32) -> Type {
    Type { number: parts.iter().fold(0, |all, part| all << 6 | part), length, order: ByteOrder::Mixed }
}

pub(super) fn sets() -> Vec<(Set, &'static str)> {
    let name = Type { number: IFNAME, length: 16, order: ByteOrder::Host };
    let v4 = Type { number: IPV4_ADDR, length: 4, order: ByteOrder::Network };
    let v6 = Type { number: IPV6_ADDR, length: 16, order: ByteOrder::Network };
    let to4 = Some(concat(&[IPV4_ADDR, INET_SERVICE], 8));
    let to6 = Some(concat(&[IPV6_ADDR, INET_SERVICE], 20));
    let port = concat(&[INET_PROTO, INET_SERVICE], 8);
    let at4 = concat(&[IPV4_ADDR, INET_PROTO, INET_SERVICE], 12);
    let at6 = concat(&[IPV6_ADDR, INET_PROTO, INET_SERVICE], 24);
    let pairs = concat(&[IFNAME, IFNAME], 32);
    let verdict = Some(Type { number: VERDICT, length: 0, order: ByteOrder::Mixed });
    let interval = libc::NFT_SET_INTERVAL as u32;
    let set = |name, key, data, flags| Set { name, key, data, flags };
    vec![
        (set("pub4", port, to4, 0), "type inet_proto . inet_service : ipv4_addr . inet_service"),
        (set("pub4a", at4, to4, 0), "type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service"),
        (set("pub6", port, to6, 0), "type inet_proto . inet_service : ipv6_addr . inet_service"),
        (set("pub6a", at6, to6, 0), "type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service"),
        (set("bridges", name, None, 0), "type ifname"),
        (set("masq", name, None, 0), "type ifname"),
        (set("internal", name, None, 0), "type ifname"),
        (set("subnets4", v4, None, interval), "type ipv4_addr; flags interval"),
        (set("subnets6", v6, None, interval), "type ipv6_addr; flags interval"),
        (set("verdicts", pairs, verdict, 0), "type ifname . ifname : verdict"),
    ]
}

fn chains() -> Vec<(Chain, &'static str)> {
    let base = |name, kind, number: libc::c_int, priority| Chain {
        name,
        hook: Some(Hook { kind, number: number as u32, priority }),
    };
    vec![
        (base("guard", "filter", libc::NF_INET_PRE_ROUTING, -300), "filter hook prerouting priority -300"),
        (Chain { name: "publish", hook: None }, ""),
        (base("prerouting", "nat", libc::NF_INET_PRE_ROUTING, -100), "nat hook prerouting priority -100"),
        (base("output", "nat", libc::NF_INET_LOCAL_OUT, -100), "nat hook output priority -100"),
        (base("postrouting", "nat", libc::NF_INET_POST_ROUTING, 100), "nat hook postrouting priority 100"),
        (base("forward", "filter", libc::NF_INET_FORWARD, 0), "filter hook forward priority 0"),
    ]
}

/// All rules, in order. The guard belongs to route_localnet on our bridges: without it a neighbour could reach what
/// listens on 127.0.0.1, and a container could speak as 127.0.0.1 (CVE-2020-8558). A DNATed ::1 would hang, for IPv6 has
/// no route_localnet. The hairpin masquerade matches subnets, for `iifname` is empty in postrouting where br_netfilter
/// bridges a DNATed packet.
fn rules() -> Vec<Rule> {
    let rule = |chain, text, exprs: Vec<Vec<Expr>>| Rule { chain, text, exprs: exprs.concat() };
    let forwarded = || vec![lookup_name(libc::NFT_META_OIFNAME, "bridges", Member::Yes), ct_dnat()];
    let and = |mut first: Vec<Vec<Expr>>, rest: Vec<Vec<Expr>>| {
        first.extend(rest);
        first
    };
    let end = |verdict| vec![Expr::Verdict(verdict)];
    vec![
        rule("guard", "iifname != \"lo\" ip daddr 127.0.0.0/8 drop", vec![not_lo(), loopback(16), end(Verdict::Drop)]),
        rule("guard", "iifname != \"lo\" ip saddr 127.0.0.0/8 drop", vec![not_lo(), loopback(12), end(Verdict::Drop)]),
        rule("publish", "ip6 daddr ::1 return", vec![to_v6_loopback(), end(Verdict::Return)]),
        rule("publish", "dnat ip to ip daddr . meta l4proto . th dport map @pub4a", dnat4a()),
        rule("publish", "meta nfproto ipv4 dnat ip to meta l4proto . th dport map @pub4", dnat(IPV4, "pub4", 9)),
        rule("publish", "dnat ip6 to ip6 daddr . meta l4proto . th dport map @pub6a", dnat6a()),
        rule("publish", "meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @pub6", dnat(IPV6, "pub6", 2)),
        rule("prerouting", "fib daddr type local jump publish", to_local()),
        rule("output", "fib daddr type local jump publish", to_local()),
        rule(
            "postrouting",
            "oifname @bridges ct status dnat fib saddr type local masquerade",
            and(forwarded(), vec![local(FIB_SADDR), vec![Expr::Masquerade]]),
        ),
        rule(
            "postrouting",
            "oifname @bridges ct status dnat ip saddr @subnets4 masquerade",
            and(forwarded(), vec![address_in(IPV4, 12, 4, "subnets4"), vec![Expr::Masquerade]]),
        ),
        rule(
            "postrouting",
            "oifname @bridges ct status dnat ip6 saddr @subnets6 masquerade",
            and(forwarded(), vec![address_in(IPV6, 8, 16, "subnets6"), vec![Expr::Masquerade]]),
        ),
        rule(
            "postrouting",
            "iifname @masq oifname != @bridges masquerade",
            vec![
                lookup_name(libc::NFT_META_IIFNAME, "masq", Member::Yes),
                lookup_name(libc::NFT_META_OIFNAME, "bridges", Member::No),
                vec![Expr::Masquerade],
            ],
        ),
        // NF_CT_STATE_BIT: established 2, related 4
        rule(
            "forward",
            "ct state established,related accept",
            vec![ct_bits(libc::NFT_CT_STATE, 2 | 4), end(Verdict::Accept)],
        ),
        rule("forward", "iifname . oifname vmap @verdicts", verdicts()),
        // an address of ours that nobody has is nowhere else: without the whole subnet on one link (proxy ARP) the host's
        // default route would take it out; other bridges, whose packets br_netfilter shows us, are not ours to judge
        rule(
            "forward",
            "iifname @bridges oifname != @bridges ip daddr @subnets4 drop",
            vec![
                lookup_name(libc::NFT_META_IIFNAME, "bridges", Member::Yes),
                lookup_name(libc::NFT_META_OIFNAME, "bridges", Member::No),
                address_in(IPV4, 16, 4, "subnets4"),
                end(Verdict::Drop),
            ],
        ),
        // before what is published: that of another network is outside, too
        rule(
            "forward",
            "iifname @internal drop",
            vec![lookup_name(libc::NFT_META_IIFNAME, "internal", Member::Yes), end(Verdict::Drop)],
        ),
        rule("forward", "ct status dnat accept", vec![ct_dnat(), end(Verdict::Accept)]),
        rule(
            "forward",
            "oifname @bridges drop",
            vec![lookup_name(libc::NFT_META_OIFNAME, "bridges", Member::Yes), end(Verdict::Drop)],
        ),
    ]
}

// NFTA_FIB_F_SADDR and NFTA_FIB_F_DADDR, which libc lacks
const FIB_SADDR: u32 = 1;
const FIB_DADDR: u32 = 2;

pub(super) fn meta(key: libc::c_int, to: u32) -> Expr {
    Expr::Meta { key: key as u32, to }
}

pub(super) fn equal(value: &[u8]) -> Expr {
    Expr::Compare { register: 1, how: Compare::Equal, value: value.to_vec() }
}

pub(super) fn network_header(offset: u32, length: u32, to: u32) -> Expr {
    Expr::Payload { base: libc::NFT_PAYLOAD_NETWORK_HEADER as u32, offset, length, to }
}

/// Destination port of TCP, UDP and their like.
pub(super) fn dport(to: u32) -> Expr {
    Expr::Payload { base: libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32, offset: 2, length: 2, to }
}

fn family(family: u8) -> Vec<Expr> {
    vec![meta(libc::NFT_META_NFPROTO, 1), equal(&[family])]
}

/// A name as the kernel compares it: sixteen bytes, filled up with NUL.
pub fn ifname(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn not_lo() -> Vec<Expr> {
    let value = ifname("lo");
    vec![meta(libc::NFT_META_IIFNAME, 1), Expr::Compare { register: 1, how: Compare::Differs, value }]
}

/// 127.0.0.0/8 is the first byte of the address.
fn loopback(offset: u32) -> Vec<Expr> {
    [family(IPV4), vec![network_header(offset, 1, 1), equal(&[127])]].concat()
}

fn to_v6_loopback() -> Vec<Expr> {
    let loopback = std::net::Ipv6Addr::LOCALHOST.octets();
    [family(IPV6), vec![network_header(24, 16, 1), equal(&loopback)]].concat()
}

/// Registers of the parts of a concatenation: 4 bytes each from register 1 (8) on, so the second is 9, the third 10;
/// behind an IPv6 address 2 (12), then 13.
fn dnat(proto: u8, set: &'static str, port: u32) -> Vec<Vec<Expr>> {
    let key = vec![meta(libc::NFT_META_L4PROTO, 1), dport(9), Expr::Map { set, key: 1, to: 1 }];
    vec![family(proto), key, vec![Expr::Dnat { family: proto, address: 1, port }]]
}

fn dnat4a() -> Vec<Vec<Expr>> {
    let key = vec![network_header(16, 4, 1), meta(libc::NFT_META_L4PROTO, 9), dport(10)];
    let map = Expr::Map { set: "pub4a", key: 1, to: 1 };
    vec![family(IPV4), key, vec![map, Expr::Dnat { family: IPV4, address: 1, port: 9 }]]
}

fn dnat6a() -> Vec<Vec<Expr>> {
    let key = vec![network_header(24, 16, 1), meta(libc::NFT_META_L4PROTO, 2), dport(13)];
    let map = Expr::Map { set: "pub6a", key: 1, to: 1 };
    vec![family(IPV6), key, vec![map, Expr::Dnat { family: IPV6, address: 1, port: 2 }]]
}

/// RTN_LOCAL is 2.
fn local(flags: u32) -> Vec<Expr> {
    vec![Expr::FibType { flags, to: 1 }, equal(&2_u32.to_ne_bytes())]
}

fn to_local() -> Vec<Vec<Expr>> {
    vec![local(FIB_DADDR), vec![Expr::Verdict(Verdict::Jump("publish"))]]
}

fn lookup_name(key: libc::c_int, set: &'static str, member: Member) -> Vec<Expr> {
    vec![meta(key, 1), Expr::Lookup { set, key: 1, member }]
}

fn address_in(proto: u8, offset: u32, length: u32, set: &'static str) -> Vec<Expr> {
    let lookup = Expr::Lookup { set, key: 1, member: Member::Yes };
    [family(proto), vec![network_header(offset, length, 1), lookup]].concat()
}

fn ct_bits(key: libc::c_int, bits: u32) -> Vec<Expr> {
    let mask = bits.to_ne_bytes().to_vec();
    let set = Expr::Compare { register: 1, how: Compare::Differs, value: vec![0; 4] };
    vec![Expr::Ct { key: key as u32, to: 1 }, Expr::Mask { register: 1, mask }, set]
}

/// IPS_DST_NAT
fn ct_dnat() -> Vec<Expr> {
    ct_bits(libc::NFT_CT_STATUS, 0x20)
}

fn verdicts() -> Vec<Vec<Expr>> {
    let (from, to) = (meta(libc::NFT_META_IIFNAME, 1), meta(libc::NFT_META_OIFNAME, 2));
    vec![vec![from, to, Expr::Map { set: "verdicts", key: 1, to: libc::NFT_REG_VERDICT as u32 }]]
}

/// A rule that lets packets of one of our bridges through somebody else's chain.
pub fn allow(key: Direction, bridge: &IfName) -> Vec<Expr> {
    let key = match key {
        Direction::From => libc::NFT_META_IIFNAME,
        Direction::To => libc::NFT_META_OIFNAME,
    };
    vec![meta(key, 1), equal(&ifname(bridge.as_str())), Expr::Verdict(Verdict::Accept)]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    From,
    To,
}
