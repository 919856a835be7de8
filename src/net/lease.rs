//! What a container is lent: the record of each of its networks is read, changed and written. The default network is
//! made at its first use. Makes no link and no rule.

use super::names::Realm;
use super::network::{Attachment, Holder, Lease, Loan, Network, Subnet};
use super::plan::{DEFAULT_NETWORK, Mode, NetRequest, published, publishing};
use super::record::{self, Networks};
use super::subnet::{self, Used};
use crate::error::{Error, Result};
use crate::id::{ContainerId, HostPath, Name};

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
        leases.push(network.lend(want, holder, around.alive)?);
        networks.push(network);
    }
    let ports = published(request, &leases)?;
    let through = publishing(&leases).and_then(|index| networks.get_mut(index));
    if let Some(loan) = through.and_then(|network| network.loans.last_mut()) {
        loan.published = ports;
    }
    Ok((networks, leases))
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
            let taken = taken(state, name, around)?;
            let again = format!("minirun network rm {name}, and make it again");
            let check = |one: &Subnet| {
                subnet::check(&one.net, &taken).map_err(|e| e.during(format!("network {name}")).hint(&again))
            };
            definition.subnets.iter().try_for_each(check)?;
            definition.network(&Realm { state: state.clone() })
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
    let used = taken(state, name, around)?;
    Network::new(&realm, name, vec![Subnet::with_gateway(subnet::choose(&used)?)])
}

/// What a new network of this name may not have: what other networks have, and what the host uses. A bridge of its own
/// that outlived its record is taken over as it is.
pub fn taken(state: &HostPath, name: &Name, around: &Around<'_>) -> Result<Vec<Used>> {
    let realm = Realm { state: state.clone() };
    let bridge = realm.bridge(name)?;
    let mut taken = Vec::new();
    let (live, _) = record::all(state)?;
    let (defined, _) = record::definitions(around.root)?;
    let defined = defined.iter().filter(|one| live.iter().all(|network| network.name != one.name));
    let subnets = live.iter().map(|one| (&one.name, &one.subnets)).chain(defined.map(|one| (&one.name, &one.subnets)));
    for (other, subnets) in subnets.filter(|(other, _)| *other != name) {
        let by = format!("network {other}");
        taken.extend(subnets.iter().map(|subnet| Used { net: subnet.net, by: by.clone() }));
    }
    taken.extend((around.used)()?.into_iter().filter(|used| !used.by.ends_with(bridge.as_str())));
    Ok(taken)
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
        let request = NetRequest { mode, publish: Vec::new(), sysctls: Vec::new() };
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
