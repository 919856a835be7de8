//! The names that one container sees: those of the containers in its networks, by name, alias and id, each alone and
//! with its network's name behind it. Pure.

use super::message::{self, A, AAAA, ANY, Answer, PTR, Query};
use crate::id::ContainerId;
use crate::net::names::HOST_NAMES;
use crate::net::network::{Loan, Network};
use crate::net::plan::DEFAULT_NETWORK;
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;

/// What is known in the networks of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    names: HashMap<String, Vec<IpAddr>>,
    addresses: HashMap<IpAddr, String>,
    /// Nobody else knows the names of addresses in these.
    subnets: Vec<IpNet>,
    /// Others are asked for what is not known. In networks that lead nowhere they are not: a question carries words out
    /// (CVE-2024-29018).
    pub asks_others: bool,
}

/// What is to be done with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Answer(Answer),
    /// It is somebody else's.
    Forward,
}

impl Zone {
    /// Of these networks, those that lend to `container`. The default network has no names, as with docker.
    pub fn of(networks: &[Network], container: &ContainerId) -> Zone {
        let mut zone = Zone::default();
        let holds = |network: &&Network| network.loans.iter().any(|loan| loan.holder.container == *container);
        for network in networks.iter().filter(holds) {
            zone.asks_others |= network.leads_out();
            zone.add_host(network);
            if network.name.as_str() != DEFAULT_NETWORK {
                zone.subnets.extend(network.subnets.iter().map(|subnet| subnet.net));
                network.loans.iter().for_each(|loan| zone.add(network, loan));
            }
        }
        zone
    }

    fn add_host(&mut self, network: &Network) {
        if network.leads_out() && network.shape.is_routed() {
            for name in HOST_NAMES {
                self.names.entry(name.to_owned()).or_default().extend(network.gateways().iter().map(IpNet::addr));
            }
        }
    }

    fn add(&mut self, network: &Network, loan: &Loan) {
        let id = &loan.holder.container;
        let own = loan.names.iter().map(|name| name.to_ascii_lowercase());
        let all = own.chain([id.short().to_owned(), id.as_str().to_owned()]);
        for name in all {
            for name in [format!("{name}.{}", network.name.as_str().to_ascii_lowercase()), name] {
                let addresses = self.names.entry(name).or_default();
                addresses
                    .extend(loan.addresses.iter().filter(|ip| !addresses.contains(ip)).copied().collect::<Vec<_>>());
            }
        }
        let name = loan.names.first().map_or(id.short(), String::as_str);
        let whole = format!("{name}.{}", network.name);
        self.addresses.extend(loan.addresses.iter().map(|ip| (*ip, whole.clone())));
    }

    /// What is said to a question. Addresses of one name take turns at the first place, by the question's number.
    pub fn look_up(&self, query: &Query) -> Verdict {
        if !query.is_standard() {
            return Verdict::Answer(Answer::Unknown);
        }
        if !query.is_internet() {
            return self.somebody_else();
        }
        if query.kind == PTR
            && let Some(ip) = message::reversed(&query.name)
        {
            return match self.addresses.get(&ip) {
                Some(name) => Verdict::Answer(Answer::Name(name.clone())),
                None if self.subnets.iter().any(|net| net.contains(&ip)) => Verdict::Answer(Answer::NoSuchName),
                None => self.somebody_else(),
            };
        }
        let Some(all) = self.names.get(&query.name) else { return self.somebody_else() };
        let asked = |ip: &&IpAddr| query.kind == ANY || query.kind == if ip.is_ipv4() { A } else { AAAA };
        let mut addresses: Vec<IpAddr> = all.iter().filter(asked).copied().collect();
        if !addresses.is_empty() {
            let turn = usize::from(query.id) % addresses.len();
            addresses.rotate_left(turn);
        }
        Verdict::Answer(Answer::Addresses(addresses))
    }

    fn somebody_else(&self) -> Verdict {
        if self.asks_others { Verdict::Forward } else { Verdict::Answer(Answer::Failed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{HostPath, Name};
    use crate::net::names::Realm;
    use crate::net::network::{Attachment, Holder, Subnet};

    fn id(digit: char) -> ContainerId {
        ContainerId::parse(&digit.to_string().repeat(64)).unwrap()
    }

    fn network(name: &str, nets: &[&str], members: &[(char, &[&str])]) -> Network {
        let subnets = nets.iter().map(|net| Subnet::with_gateway(net.parse().unwrap())).collect();
        let realm = Realm { state: HostPath::parse("/run/minirun").unwrap() };
        let name = Name::parse(name).unwrap();
        let mut network = Network::new(&realm, &name, subnets).unwrap();
        for (digit, names) in members {
            let holder = Holder { container: id(*digit), pid: 1, start_time: 1, boot_id: "x".into() };
            network.lend(&Attachment::any(name.clone()), &holder, &|_| true).unwrap();
            network.loans.last_mut().unwrap().names = names.iter().map(|name| (*name).to_owned()).collect();
        }
        network
    }

    fn ask(zone: &Zone, name: &str, kind: u16) -> Verdict {
        let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.extend([0, 0, kind as u8, 0, 1]);
        zone.look_up(&message::parse(&bytes).unwrap())
    }

    fn addresses(list: &[&str]) -> Verdict {
        Verdict::Answer(Answer::Addresses(list.iter().map(|ip| ip.parse().unwrap()).collect()))
    }

    #[test]
    fn a_container_is_known_by_name_alias_and_id_in_its_networks() {
        let web = network("web", &["10.0.0.0/24", "fd00:1::/64"], &[('a', &["One", "db"]), ('b', &["two", "db"])]);
        let other = network("other", &["10.1.0.0/24"], &[('c', &["three"])]);
        let zone = Zone::of(&[web, other], &id('a'));
        for (name, kind, want) in [
            ("one", A, addresses(&["10.0.0.2"])),
            ("ONE.web", A, addresses(&["10.0.0.2"])),
            ("one", AAAA, addresses(&["fd00:1::2"])),
            ("bbbbbbbbbbbb", A, addresses(&["10.0.0.3"])),
            ("db", A, addresses(&["10.0.0.2", "10.0.0.3"])),
            ("two", 15, addresses(&[])), // it is there, and has no record of that kind
            ("host.docker.internal", A, addresses(&["10.0.0.1"])),
            ("three", A, Verdict::Forward),
            ("3.0.0.10.in-addr.arpa", PTR, Verdict::Answer(Answer::Name("two.web".into()))),
            ("9.0.0.10.in-addr.arpa", PTR, Verdict::Answer(Answer::NoSuchName)),
            ("8.8.8.8.in-addr.arpa", PTR, Verdict::Forward),
        ] {
            assert_eq!(ask(&zone, name, kind), want, "{name}");
        }
    }

    #[test]
    fn a_network_that_leads_nowhere_asks_nobody() {
        let mut quiet = network("quiet", &["10.0.0.0/24"], &[('a', &["one"])]);
        quiet.shape.internal = true;
        let zone = Zone::of(std::slice::from_ref(&quiet), &id('a'));
        assert_eq!(ask(&zone, "example.com", A), Verdict::Answer(Answer::Failed));
        assert_eq!(ask(&zone, "host.docker.internal", A), Verdict::Answer(Answer::Failed));
        assert_eq!(ask(&zone, "one", A), addresses(&["10.0.0.2"]));
        let both = Zone::of(&[quiet, network("web", &["10.1.0.0/24"], &[('a', &["one"])])], &id('a'));
        assert_eq!(ask(&both, "example.com", A), Verdict::Forward);
    }

    #[test]
    fn the_default_network_has_no_names() {
        let bridge = network("bridge", &["10.0.0.0/24"], &[('a', &["one"]), ('b', &["two"])]);
        let zone = Zone::of(&[bridge], &id('a'));
        assert_eq!(ask(&zone, "two", A), Verdict::Forward);
        assert_eq!(ask(&zone, "host.minirun.internal", A), addresses(&["10.0.0.1"]));
    }
}
