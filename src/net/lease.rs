//! What a container is lent: the record of each of its networks is read, changed and written. The default network is
//! made at its first use. Makes no link and no rule.

use super::definition;
use super::names::Realm;
use super::network::{Attachment, Holder, Lease, Loan, Network, Subnet};
use super::plan::{DEFAULT_NETWORK, Mode, NetRequest, published, publishing};
use super::record::{self, Networks};
use super::shape::{Segment, Shape};
use super::subnet::{self, Used};
use crate::error::{Error, Result};
use crate::id::{ContainerId, HostPath, Name};
use std::net::IpAddr;

/// What lending looks at, besides the records.
#[allow(missing_debug_implementations)] // functions have none
pub struct Around<'a> {
    /// Where the definitions are.
    pub root: &'a HostPath,
    /// Whether a holder still is.
    pub alive: &'a dyn Fn(&Holder) -> bool,
    /// What the host uses (see [`super::probe::used`]); asked only where a network has to be made.
    pub used: &'a dyn Fn() -> Result<Vec<Used>>,
}

/// Lends the container what the request wants of each network, and notes it.
pub fn acquire(networks: &Networks, request: &NetRequest, holder: &Holder, around: &Around<'_>) -> Result<Vec<Lease>> {
    let (changed, leases) = lend(&networks.state, request, holder, around)?;
    for network in &changed {
        networks.save(network)?;
    }
    Ok(leases)
}

/// What [`acquire`] would give, and the networks as they would be; writes nothing and needs no lock.
pub fn peek(
    state: &HostPath,
    request: &NetRequest,
    holder: &Holder,
    around: &Around<'_>,
) -> Result<(Vec<Network>, Vec<Lease>)> {
    lend(state, request, holder, around)
}

fn lend(
    state: &HostPath,
    request: &NetRequest,
    holder: &Holder,
    around: &Around<'_>,
) -> Result<(Vec<Network>, Vec<Lease>)> {
    let (mut networks, mut leases) = (Vec::<Network>::new(), Vec::new());
    for want in attachments(request) {
        let mut network = live(state, &want.network, around)?;
        leases.push(lend_of(state, &mut network, want, holder, around)?);
        networks.push(network);
    }
    let ports = published(request, &leases)?;
    let through = publishing(&leases).and_then(|index| networks.get_mut(index));
    if let Some(loan) = through.and_then(|network| network.loans.last_mut()) {
        loan.published = ports;
    }
    // what they are plugged into may be another network's, which has to be there as well
    for index in 0..networks.len() {
        if let Segment::Shared(base) = networks[index].shape.segment.clone()
            && networks.iter().all(|network| network.name != base)
        {
            networks.push(live(state, &base, around)?);
        }
    }
    Ok((networks, leases))
}

/// The records of the networks that a container has leases of, and of those whose bridges they are on.
pub fn involved(state: &HostPath, leases: &[Lease]) -> Result<Vec<Network>> {
    let mut all: Vec<Network> = Vec::new();
    let bases = leases.iter().filter_map(|lease| match &lease.shape.segment {
        Segment::Shared(base) => Some(base),
        _ => None,
    });
    for name in leases.iter().map(|lease| &lease.network).chain(bases) {
        if all.iter().all(|network| network.name != *name) {
            all.extend(record::load(state, name)?);
        }
    }
    Ok(all)
}

/// An address that no network with the same subnet has lent.
fn lend_of(
    state: &HostPath,
    network: &mut Network,
    want: &Attachment,
    holder: &Holder,
    around: &Around<'_>,
) -> Result<Lease> {
    if !network.shape.proxy_arp {
        return network.lend(want, holder, around.alive);
    }
    let (all, _) = record::all(state)?;
    let others = all.iter().filter(|other| other.name != network.name && other.shape.proxy_arp);
    let alive = |loan: &&Loan| (around.alive)(&loan.holder);
    let of = |other: &Network| -> Vec<IpAddr> {
        let lent = other.loans.iter().filter(alive).flat_map(|loan| loan.addresses.clone());
        let own = other.subnets.iter().flat_map(|subnet| subnet.reserved.iter().copied().chain(subnet.gateway));
        lent.chain(own).collect()
    };
    let theirs: Vec<IpAddr> = others.flat_map(of).collect();
    let own: Vec<Vec<IpAddr>> = network.subnets.iter().map(|subnet| subnet.reserved.clone()).collect();
    for subnet in &mut network.subnets {
        let net = subnet.net;
        subnet.reserved.extend(theirs.iter().filter(|ip| net.contains(*ip)));
    }
    let lease = network.lend(want, holder, around.alive);
    network.subnets.iter_mut().zip(own).for_each(|(subnet, own)| subnet.reserved = own);
    lease
}

/// The networks that a request names.
pub fn attachments(request: &NetRequest) -> &[Attachment] {
    match &request.mode {
        Mode::Networks(attachments) => attachments,
        Mode::None | Mode::Host | Mode::Container(_) | Mode::Path(_) => &[],
    }
}

/// Takes back what the container was lent, of one network or of all. None is left of what it had is success.
pub fn release(networks: &Networks, container: &ContainerId, only: Option<&Name>) -> Result<Vec<Loan>> {
    let mut loans = Vec::new();
    let (all, _) = record::all(&networks.state)?;
    for mut network in all.into_iter().filter(|network| only.is_none_or(|name| network.name == *name)) {
        if let Some(loan) = network.take_back(container) {
            networks.save(&network)?;
            loans.push(loan);
        }
    }
    Ok(loans)
}

/// A network as it is, or as its definition has it; the default one as it would be.
fn live(state: &HostPath, name: &Name, around: &Around<'_>) -> Result<Network> {
    if let Some(network) = record::load(state, name)? {
        return Ok(network);
    }
    match record::definition(around.root, name)? {
        Some(definition) => {
            // what the host has may be another since it was made: a reboot, a VPN
            let (all, _) = record::definitions(around.root)?;
            let (shape, nets): (_, Vec<_>) =
                (&definition.shape, definition.subnets.iter().map(|one| one.net).collect());
            let beside = definition::beside(&all, name, shape, &nets);
            let taken = taken(state, &Place { name, shape, beside: &beside }, around)?;
            let again = format!("minirun network rm {name}, and make it again");
            let check = |one: &Subnet| {
                subnet::check(&one.net, &taken).map_err(|e| e.during(format!("network {name}")).hint(&again))
            };
            definition.subnets.iter().try_for_each(check)?;
            definition.network(&Realm { state: state.clone() }, &beside)
        }
        None if name.as_str() == DEFAULT_NETWORK => default_network(state, name, around),
        None => Err(missing(name)),
    }
}

pub fn missing(name: &Name) -> Error {
    Error::user(format!("network {name} not found"))
        .hint(format!("`minirun network create {name}` makes it, `minirun network ls` lists what is there"))
}

fn default_network(state: &HostPath, name: &Name, around: &Around<'_>) -> Result<Network> {
    let realm = Realm { state: state.clone() };
    let place = Place { name, shape: &Shape::default(), beside: &[] };
    let used = taken(state, &place, around)?;
    Network::new(&realm, name, vec![Subnet::with_gateway(subnet::choose(&used)?)])
}

/// What a new network of this name may not have: what other networks have, and what the host uses. A bridge of its own
/// that outlived its record is taken over as it is.
pub fn taken(state: &HostPath, place: &Place<'_>, around: &Around<'_>) -> Result<Vec<Used>> {
    let realm = Realm { state: state.clone() };
    let own = own_links(&realm, place)?;
    let mut taken = Vec::new();
    let (live, _) = record::all(state)?;
    let (defined, _) = record::definitions(around.root)?;
    let defined = defined.iter().filter(|one| live.iter().all(|network| network.name != one.name));
    let subnets = live.iter().map(|one| (&one.name, &one.subnets)).chain(defined.map(|one| (&one.name, &one.subnets)));
    for (other, subnets) in subnets.filter(|(other, _)| *other != place.name && !place.beside.contains(other)) {
        let by = format!("network {other}");
        taken.extend(subnets.iter().map(|subnet| Used { net: subnet.net, by: by.clone() }));
    }
    let is_own = |used: &Used| used.by.rsplit(' ').next().is_some_and(|link| own.iter().any(|own| own == link));
    // of those that it may share a subnet with, that one alone
    taken.extend((around.used)()?.into_iter().filter(|used| !is_own(used)));
    Ok(taken)
}

/// A network that is to have subnets.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub name: &'a Name,
    pub shape: &'a Shape,
    /// Networks that it may share its subnet with.
    pub beside: &'a [Name],
}

/// Links whose addresses and routes are its own.
fn own_links(realm: &Realm, place: &Place<'_>) -> Result<Vec<String>> {
    let mut links = vec![realm.bridge(place.name)?, realm.vlan_link(place.name)?];
    if let Segment::Shared(base) = &place.shape.segment {
        links.push(realm.bridge(base)?);
    }
    for other in place.beside {
        links.push(realm.bridge(other)?);
    }
    match &place.shape.segment {
        Segment::Bridge | Segment::Shared(_) => {}
        Segment::Foreign(link) | Segment::Macvlan { parent: link, .. } | Segment::Ipvlan { parent: link, .. } => {
            links.push(link.clone());
        }
    }
    Ok(links.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::publish::Publish;

    fn state(dir: &tempfile::TempDir) -> HostPath {
        HostPath::parse(dir.path().to_str().unwrap()).unwrap()
    }

    fn holder(container: &str) -> Holder {
        Holder { container: ContainerId::parse(container).unwrap(), pid: 1, start_time: 1, boot_id: "x".into() }
    }

    fn nothing_used() -> Result<Vec<Used>> {
        Ok(Vec::new())
    }

    fn quiet<'a>(root: &'a HostPath) -> Around<'a> {
        Around { root, alive: &|_| true, used: &nothing_used }
    }

    fn address(leases: &[Lease]) -> String {
        leases[0].addresses[0].to_string()
    }

    #[test]
    fn a_peek_writes_nothing_and_says_what_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let request = NetRequest::bridge(Publish::parse("8080:80").unwrap()).unwrap();
        let (networks, peeked) = peek(&state(&dir), &request, &holder("a"), &quiet(&state(&dir))).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let locked = Networks::lock(&state(&dir)).unwrap();
        let leases = acquire(&locked, &request, &holder("a"), &quiet(&locked.state)).unwrap();
        assert_eq!(leases, peeked);
        assert_eq!(record::load(&locked.state, &leases[0].network).unwrap().as_ref(), networks.first());
        assert_eq!(networks[0].loans[0].published[0].to.to_string(), "172.18.0.2:80");
    }

    #[test]
    fn two_containers_have_two_addresses_until_one_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let locked = Networks::lock(&state(&dir)).unwrap();
        let request = NetRequest::bridge(Vec::new()).unwrap();
        let acquire = |container| acquire(&locked, &request, &holder(container), &quiet(&locked.state)).unwrap();
        assert_eq!(address(&acquire("a")), "172.18.0.2/16");
        assert_eq!(address(&acquire("b")), "172.18.0.3/16");
        assert_eq!(release(&locked, &holder("a").container, None).unwrap().len(), 1);
        assert!(release(&locked, &holder("a").container, None).unwrap().is_empty());
        let network = record::load(&locked.state, &Name::parse(DEFAULT_NETWORK).unwrap()).unwrap().unwrap();
        assert_eq!(network.loans.len(), 1);
    }

    #[test]
    fn the_default_subnet_avoids_the_hosts_routes_but_not_its_own_bridge() {
        let dir = tempfile::tempdir().unwrap();
        let realm = Realm { state: state(&dir) };
        let bridge = realm.bridge(&Name::parse(DEFAULT_NETWORK).unwrap()).unwrap();
        let request = NetRequest::bridge(Vec::new()).unwrap();
        for (device, wanted) in [("tun0", "172.19.0.2/16"), (bridge.as_str(), "172.18.0.2/16")] {
            let used = || Ok(vec![Used { net: "172.18.0.0/16".parse().unwrap(), by: format!("route via {device}") }]);
            let around = Around { used: &used, ..quiet(&realm.state) };
            let (_, leases) = peek(&realm.state, &request, &holder("a"), &around).unwrap();
            assert_eq!(address(&leases), wanted, "{device}");
        }
    }

    #[test]
    fn a_missing_network_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mode = Mode::Networks(vec![Attachment::any(Name::parse("web").unwrap())]);
        let request = NetRequest { mode, publish: Vec::new(), sysctls: Vec::new(), forwards: false };
        let error = peek(&state(&dir), &request, &holder("a"), &quiet(&state(&dir))).unwrap_err();
        assert_eq!(error.message, "network web not found");
    }

    #[test]
    fn a_broken_record_does_not_hide_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let locked = Networks::lock(&state(&dir)).unwrap();
        let request = NetRequest::bridge(Vec::new()).unwrap();
        acquire(&locked, &request, &holder("a"), &quiet(&locked.state)).unwrap();
        std::fs::write(dir.path().join("networks/broken.json"), "{").unwrap();
        std::fs::write(dir.path().join("networks/newer.json"), r#"{"version": 99}"#).unwrap();
        let (networks, errors) = record::all(&locked.state).unwrap();
        assert_eq!((networks.len(), errors.len()), (1, 2));
        assert!(errors[1].message.contains("is of version 99"), "{}", errors[1].message);
    }
}
