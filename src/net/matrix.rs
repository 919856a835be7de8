//! Who is to reach whom, and how, as a network's flags promise it: what `network check` asks the packets. Pure.

use super::names::Mac;
use super::network::{Loan, Network};
use super::segment::entries;
use super::shape::{MacvlanMode, Segment};
use crate::id::ContainerId;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One question: does this container reach that address?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub from: ContainerId,
    pub to: IpAddr,
    /// Whose address it is; `None` for the host's own, and for one outside.
    pub whose: Option<ContainerId>,
    pub promise: Promise,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promise {
    /// It answers; its packets arrive with this TTL, and `hop`, the next on the way, has this link address.
    Answer { ttl: u8, hop: IpAddr, mac: Option<Mac> },
    /// Nobody answers.
    Silence,
    /// The container has no route there.
    NoRoute,
}

/// What Linux sends with; a router takes one away.
const DIRECT: u8 = 64;
const ROUTED: u8 = DIRECT - 1;

/// Addresses that nobody has (RFC 5737, RFC 3849).
const OUTSIDE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

pub fn is_outside(address: IpAddr) -> bool {
    OUTSIDE.contains(&address)
}

/// A container's place in one network.
type Place<'a> = (&'a Network, &'a Loan);

/// All questions about the containers of `network`: to each other, to the host, to one container of every other network,
/// and to the outside where no way leads there. `all` are the networks that live, this one too.
pub fn cases(network: &Network, all: &[Network]) -> Vec<Case> {
    let mut cases = Vec::new();
    for loan in &network.loans {
        let from = &loan.holder.container;
        let places = places(all, from);
        let mut ask = |to: IpAddr, whose: Option<Place<'_>>| {
            if let Some(promise) = promise(&places, to, whose) {
                let whose = whose.map(|(_, loan)| loan.holder.container.clone());
                cases.push(Case { from: from.clone(), to, whose, promise });
            }
        };
        for gateway in network.gateways() {
            ask(gateway.addr(), None);
        }
        // who has no way out is asked for one; whether somebody outside answers is not ours to promise
        let family = |ip: &IpAddr| loan.addresses.iter().any(|own| own.is_ipv4() == ip.is_ipv4());
        for outside in OUTSIDE.into_iter().filter(family) {
            if promise(&places, outside, None) == Some(Promise::NoRoute) {
                ask(outside, None);
            }
        }
        for other in network.loans.iter().filter(|other| other.holder.container != *from) {
            other.addresses.iter().for_each(|to| ask(*to, Some((network, other))));
        }
        for elsewhere in all.iter().filter(|other| other.name != network.name) {
            let stranger = |loan: &&Loan| places.iter().all(|(_, own)| own.holder.container != loan.holder.container);
            if let Some(other) = elsewhere.loans.iter().find(stranger) {
                other.addresses.iter().for_each(|to| ask(*to, Some((elsewhere, other))));
            }
        }
    }
    cases
}

/// Where a container is, in the order of its links.
fn places<'a>(all: &'a [Network], container: &ContainerId) -> Vec<Place<'a>> {
    let of = |network: &'a Network| network.loans.iter().map(move |loan| (network, loan));
    let mut places: Vec<Place<'a>> =
        all.iter().flat_map(of).filter(|(_, loan)| loan.holder.container == *container).collect();
    places.sort_by_key(|(_, loan)| loan.link);
    places
}

/// `None` where nothing is promised: what others route is theirs.
fn promise(from: &[Place<'_>], to: IpAddr, whose: Option<Place<'_>>) -> Option<Promise> {
    // who is on one wire with it by another network answers that way
    let elsewhere = |(other, _): Place<'_>| {
        let wires = from.iter().filter(|(network, _)| network.bridge == other.bridge).count();
        wires > 1
    };
    if whose.is_some_and(elsewhere) {
        return None;
    }
    if let Some((network, _)) = from.iter().find(|(network, loan)| is_on_link(network, loan, to)) {
        return Some(on_link(network, to, whose));
    }
    let routed = |network: &Network| network.shape.routes.iter().any(|route| route.to.contains(&to));
    if from.iter().any(|(network, _)| routed(network)) {
        return None;
    }
    let default = from.iter().find_map(|(network, loan)| {
        let gateways = network.lease(loan).gateways;
        gateways.into_iter().find(|gateway| gateway.is_ipv4() == to.is_ipv4()).map(|gateway| (*network, gateway))
    });
    let Some((network, hop)) = default else { return Some(Promise::NoRoute) };
    if !network.shape.is_routed() {
        return None;
    }
    let Some((other, _)) = whose else { return Some(answer(DIRECT, hop, mac_of_host(network))) };
    match passes(network, other) {
        true => Some(answer(ROUTED, hop, mac_of_host(network))),
        false => Some(Promise::Silence),
    }
}

fn answer(ttl: u8, hop: IpAddr, mac: Option<Mac>) -> Promise {
    Promise::Answer { ttl, hop, mac }
}

/// Whether the container takes an address for a neighbour's.
fn is_on_link(network: &Network, loan: &Loan, to: IpAddr) -> bool {
    let own = network.lease(loan).addresses.iter().any(|address| address.contains(&to));
    let family = |ip: &IpAddr| ip.is_ipv4() == to.is_ipv4();
    let route = network.shape.routes.iter().any(|route| route.via.is_none() && route.to.contains(&to));
    own || (route && loan.addresses.iter().any(family))
}

fn on_link(network: &Network, to: IpAddr, whose: Option<Place<'_>>) -> Promise {
    let Some((other, loan)) = whose else { return answer(DIRECT, to, mac_of_host(network)) };
    let same_wire = other.bridge == network.bridge && other.shape.vlan == network.shape.vlan;
    if same_wire {
        let apart = network.shape.isolated && other.shape.isolated;
        return match &network.shape.segment {
            Segment::Macvlan { mode: MacvlanMode::Private | MacvlanMode::Vepa, .. } => Promise::Silence,
            Segment::Ipvlan { .. } => answer(DIRECT, to, None),
            _ if apart => Promise::Silence,
            _ => answer(DIRECT, to, Some(loan.mac)),
        };
    }
    // the host answers for it, with its own address
    match network.shape.proxy_arp && passes(network, other) {
        true => answer(ROUTED, to, mac_of_host(network)),
        false => Promise::Silence,
    }
}

/// The host's own in this network, where we gave it one.
fn mac_of_host(network: &Network) -> Option<Mac> {
    match network.shape.segment {
        Segment::Bridge => Some(network.mac),
        _ => network.gate.as_ref().map(|_| network.mac),
    }
}

/// Whether the rules let packets from one to the other.
fn passes(from: &Network, to: &Network) -> bool {
    use super::entry::Entry::Pass;
    let pass = Pass(from.router().clone(), to.router().clone());
    [entries(from), entries(to)].concat().contains(&pass)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{HostPath, Name};
    use crate::net::names::Realm;
    use crate::net::network::{Attachment, Holder, Subnet};
    use crate::net::shape::Route;

    fn network(name: &str, nets: &[&str], members: &[&str]) -> Network {
        let subnets = nets.iter().map(|net| Subnet::with_gateway(net.parse().unwrap())).collect();
        let name = Name::parse(name).unwrap();
        let mut network = Network::new(&realm(), &name, subnets).unwrap();
        for member in members {
            let (member, net) = member.split_once('@').map_or((*member, None), |(a, b)| (a, Some(b)));
            let container = ContainerId::parse(member).unwrap();
            let holder = Holder { container, pid: 1, start_time: 1, boot_id: "x".into() };
            let want =
                Attachment { subnet: net.map(|net| net.parse().unwrap()), ..Attachment::any(network.name.clone()) };
            network.lend(&want, &holder, &|_| true).unwrap();
        }
        network
    }

    fn realm() -> Realm {
        Realm { state: HostPath::parse("/run/minirun").unwrap() }
    }

    /// What is promised from `a` to an address.
    fn promised(all: &[Network], to: &str) -> Promise {
        let to: IpAddr = to.parse().unwrap();
        let all = cases(&all[0], all);
        all.into_iter().find(|case| case.from.as_str() == "a" && case.to == to).unwrap().promise
    }

    fn direct(to: &str, mac: Mac) -> Promise {
        answer(64, to.parse().unwrap(), Some(mac))
    }

    #[test]
    fn neighbours_answer_over_the_wire_and_strangers_do_not() {
        let (one, two) = (network("one", &["10.0.0.0/24"], &["a", "b"]), network("two", &["10.1.0.0/24"], &["c"]));
        let all = [one.clone(), two];
        assert_eq!(promised(&all, "10.0.0.3"), direct("10.0.0.3", one.loans[1].mac));
        assert_eq!(promised(&all, "10.0.0.1"), direct("10.0.0.1", one.mac));
        assert_eq!(promised(&all, "10.1.0.2"), Promise::Silence);
        let mut quiet = one;
        quiet.shape.internal = true;
        assert_eq!(promised(&[quiet.clone(), all[1].clone()], "10.1.0.2"), Promise::NoRoute);
        assert_eq!(promised(&[quiet], "192.0.2.1"), Promise::NoRoute);
        assert!(!cases(&all[0], &all).iter().any(|case| case.to == OUTSIDE[0]));
    }

    #[test]
    fn flags_change_what_is_promised() {
        let nets = ["10.0.0.0/24", "10.1.0.0/24"];
        let stick = network("lan", &nets, &["a", "x@10.1.0.0/24"]);
        let gateway = "10.0.0.1".parse().unwrap();
        assert_eq!(promised(std::slice::from_ref(&stick), "10.1.0.2"), answer(63, gateway, Some(stick.mac)));
        let mut onlink = stick.clone();
        onlink.shape.routes = nets.map(|net| Route { to: net.parse().unwrap(), via: None }).to_vec();
        assert_eq!(promised(&[onlink.clone()], "10.1.0.2"), direct("10.1.0.2", onlink.loans[1].mac));
        let mut apart = network("lan", &["10.0.0.0/24"], &["a", "b"]);
        apart.shape.isolated = true;
        assert_eq!(promised(&[apart], "10.0.0.3"), Promise::Silence);
        let mut bare = stick;
        bare.subnets.iter_mut().for_each(|subnet| subnet.gateway = None);
        assert_eq!(promised(&[bare], "10.1.0.2"), Promise::NoRoute);
    }

    #[test]
    fn the_host_answers_for_the_other_part_of_a_subnet() {
        let mut left = network("left", &["10.0.0.0/24"], &["a"]);
        let mut right = network("right", &["10.0.0.0/24"], &["b"]);
        right.loans[0].addresses = vec!["10.0.0.9".parse().unwrap()];
        assert_eq!(promised(&[left.clone(), right.clone()], "10.0.0.9"), Promise::Silence);
        (left.shape.proxy_arp, right.shape.proxy_arp) = (true, true);
        right.beside = vec![left.bridge.clone()];
        let by_host = answer(63, "10.0.0.9".parse().unwrap(), Some(left.mac));
        assert_eq!(promised(&[left, right], "10.0.0.9"), by_host);
    }
}
