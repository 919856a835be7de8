//! A network and what it lends: subnets, addresses, holders. Pure data and its arithmetic; files are [`super::record`].

use super::names::{Generation, Mac, Realm};
use super::publish::Published;
use super::shape::{Segment, Shape};
use crate::error::{Error, Result};
use crate::id::{ContainerId, IfName, Name};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A bridge network: the content of its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub name: Name,
    /// What its containers are plugged into.
    pub bridge: IfName,
    /// The host's own link into its VLAN, which has the gateways' addresses; `None` where the bridge has them.
    #[serde(default)]
    pub gate: Option<IfName>,
    /// The links of networks that its subnet is shared with.
    #[serde(default)]
    pub beside: Vec<IfName>,
    pub mac: Mac,
    /// The group of its links, never 0.
    pub group: u32,
    /// Alias of the bridge and comment of its rules in other people's chains.
    pub mark: String,
    pub subnets: Vec<Subnet>,
    pub shape: Shape,
    pub loans: Vec<Loan>,
    /// Of the next loan.
    #[serde(default)]
    pub generation: Generation,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub net: IpNet,
    /// The bridge's own address; none means that the host is not in this subnet.
    pub gateway: Option<IpAddr>,
    /// Addresses are lent from here alone, where nobody asks for another one.
    #[serde(default)]
    pub range: Option<IpNet>,
    /// Lent to nobody: something else has them.
    #[serde(default)]
    pub reserved: Vec<IpAddr>,
    /// Where the search for a free address goes on, so that a freed one rests for a while.
    pub next: IpAddr,
}

/// What one container has of one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loan {
    pub holder: Holder,
    pub addresses: Vec<IpAddr>,
    pub mac: Mac,
    /// What the others of the network call it: its name first, then its aliases.
    #[serde(default)]
    pub names: Vec<String>,
    /// Which of the container's links leads here: eth0 is 0.
    #[serde(default)]
    pub link: usize,
    #[serde(default)]
    pub generation: Generation,
    /// Plugged in while it ran: no undo of its start knows the link.
    #[serde(default)]
    pub later: bool,
    /// Kept so that the rules can be rebuilt when somebody flushed them.
    pub published: Vec<Published>,
}

/// The process for which a container holds its lease: a number alone may be another process by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub container: ContainerId,
    pub pid: i32,
    /// Field 22 of /proc/PID/stat, clock ticks since boot.
    pub start_time: u64,
    /// /proc/sys/kernel/random/boot_id
    pub boot_id: String,
}

/// What a container gets of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub network: Name,
    pub bridge: IfName,
    pub group: u32,
    pub shape: Shape,
    /// With the subnet's prefix length.
    pub addresses: Vec<IpNet>,
    /// None where it leads nowhere.
    pub gateways: Vec<IpAddr>,
    pub mac: Mac,
    /// Which of the container's links it is: eth0 is 0.
    pub link: usize,
    pub generation: Generation,
    /// Other subnets of the network are behind the host and yet on the same wire.
    pub behind_host: bool,
}

/// What a request wants of one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub network: Name,
    /// These addresses instead of the next free ones, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// An address of this one, where the network has several of a family.
    pub subnet: Option<IpNet>,
    pub mac: Option<Mac>,
    /// What the others of the network call it; the container's own name stands first where it is known.
    #[serde(default)]
    pub names: Vec<String>,
    /// Which of the container's links it becomes: eth0 is 0.
    #[serde(default)]
    pub link: usize,
}

impl Attachment {
    /// The next free address of this network.
    pub fn any(network: Name) -> Attachment {
        Attachment { network, addresses: Vec::new(), subnet: None, mac: None, names: Vec::new(), link: 0 }
    }
}

impl Network {
    /// A network of nobody yet, whose containers reach the outside.
    pub fn new(realm: &Realm, name: &Name, subnets: Vec<Subnet>) -> Result<Network> {
        Ok(Network {
            name: name.clone(),
            bridge: realm.bridge(name)?,
            gate: None,
            beside: Vec::new(),
            mac: realm.bridge_mac(name),
            group: realm.group(name),
            mark: realm.network_mark(name),
            subnets,
            shape: Shape::default(),
            loans: Vec::new(),
            generation: Generation::default(),
        })
    }

    /// Lends one address of each family to `holder`. A container that has a loan already gets the same addresses, so
    /// that a restart changes nothing; a loan whose holder is not `alive` is free.
    pub fn lend(&mut self, want: &Attachment, holder: &Holder, alive: &dyn Fn(&Holder) -> bool) -> Result<Lease> {
        if let Some(foreign) = want.subnet.filter(|net| !self.subnets.iter().any(|subnet| subnet.net == *net)) {
            return Err(Error::user(format!("{foreign} is no subnet of network {}", self.name))
                .hint(format!("it has {}", self.subnet_words())));
        }
        let old = self.take_back(&holder.container);
        let mut addresses = Vec::new();
        for index in
            [true, false].into_iter().filter_map(|v4| self.subnet_for(v4, want, old.as_ref())).collect::<Vec<_>>()
        {
            let subnet = &self.subnets[index];
            let asked = want.addresses.iter().find(|ip| subnet.net.contains(*ip)).copied();
            let had = old.iter().flat_map(|loan| &loan.addresses).find(|ip| subnet.net.contains(*ip)).copied();
            let address = match asked.or(had) {
                Some(ip) => self.lend_exact(index, ip, alive)?,
                None => self.lend_next(index, alive)?,
            };
            addresses.push(address);
        }
        if let Some(foreign) = want.addresses.iter().find(|ip| !addresses.contains(ip)) {
            return Err(self.not_mine(*foreign));
        }
        let mac = want.mac.or(old.map(|loan| loan.mac)).unwrap_or_else(|| Mac::of_address(addresses[0]));
        let loan = Loan {
            holder: holder.clone(),
            addresses,
            mac,
            names: want.names.clone(),
            link: want.link,
            generation: self.generation,
            later: false,
            published: Vec::new(),
        };
        self.generation = self.generation.next();
        let lease = self.lease(&loan);
        self.loans.push(loan);
        Ok(lease)
    }

    /// The link address that a container has for itself; none where all share their parent's.
    pub fn own_mac(&self, loan: &Loan) -> Option<Mac> {
        (!matches!(self.shape.segment, Segment::Ipvlan { .. })).then_some(loan.mac)
    }

    /// Removes the container's loan.
    pub fn take_back(&mut self, container: &ContainerId) -> Option<Loan> {
        let index = self.loans.iter().position(|loan| loan.holder.container == *container)?;
        Some(self.loans.remove(index))
    }

    /// Whether the host is in it, with an address of IPv6.
    pub fn has_ipv6_gateway(&self) -> bool {
        self.gateways().iter().any(|gateway| matches!(gateway, IpNet::V6(_)))
    }

    /// Whether its packets go anywhere else.
    pub fn leads_out(&self) -> bool {
        !self.shape.internal && self.subnets.iter().any(|subnet| subnet.gateway.is_some())
    }

    /// Whether the host hands on packets for it: to the outside, or between the bridges that its subnet lies on.
    pub fn is_forwarded(&self) -> bool {
        self.shape.is_routed() && (self.leads_out() || self.shape.proxy_arp)
    }

    /// The host's own addresses in it. Where its subnet lies on other bridges, too, they give no route to all of it.
    pub fn gateways(&self) -> Vec<IpNet> {
        let length = |net: &IpNet| if self.shape.proxy_arp { net.max_prefix_len() } else { net.prefix_len() };
        let with_prefix = |subnet: &Subnet| IpNet::new(subnet.gateway?, length(&subnet.net)).ok();
        match self.shape.is_routed() {
            true => self.subnets.iter().filter_map(with_prefix).collect(),
            false => Vec::new(), // its gateways are others
        }
    }

    /// The link by which the host is in it, and which the rules know.
    pub fn router(&self) -> &IfName {
        self.gate.as_ref().unwrap_or(&self.bridge)
    }

    /// Of which of its subnets of a family an address is lent: of the wanted one, else of that of before, else the first.
    fn subnet_for(&self, v4: bool, want: &Attachment, old: Option<&Loan>) -> Option<usize> {
        let position = |test: &dyn Fn(&IpNet) -> bool| {
            self.subnets.iter().position(|subnet| subnet.net.network().is_ipv4() == v4 && test(&subnet.net))
        };
        let holds = |addresses: &[IpAddr]| position(&|net| addresses.iter().any(|ip| net.contains(ip)));
        holds(&want.addresses)
            .or_else(|| position(&|net| want.subnet == Some(*net)))
            .or_else(|| old.and_then(|old| holds(&old.addresses)))
            .or_else(|| position(&|_| true))
    }

    fn subnet_words(&self) -> String {
        self.subnets.iter().map(|subnet| subnet.net.to_string()).collect::<Vec<_>>().join(" and ")
    }

    /// What the container has of it by this loan.
    pub fn lease(&self, loan: &Loan) -> Lease {
        let subnet_of = |ip: &IpAddr| self.subnets.iter().find(|subnet| subnet.net.contains(ip));
        let with_prefix = |ip: &IpAddr| subnet_of(ip).and_then(|s| IpNet::new(*ip, s.net.prefix_len()).ok());
        Lease {
            network: self.name.clone(),
            bridge: self.bridge.clone(),
            group: self.group,
            shape: self.shape.clone(),
            addresses: loan.addresses.iter().filter_map(with_prefix).collect(),
            gateways: match self.shape.internal {
                true => Vec::new(), // it leads nowhere
                false => loan.addresses.iter().filter_map(|ip| subnet_of(ip)?.gateway).collect(),
            },
            mac: loan.mac,
            link: loan.link,
            generation: loan.generation,
            behind_host: self.gateways().iter().filter(|gateway| gateway.addr().is_ipv4()).count() > 1,
        }
    }

    fn lend_exact(&mut self, index: usize, ip: IpAddr, alive: &dyn Fn(&Holder) -> bool) -> Result<IpAddr> {
        let subnet = &self.subnets[index];
        if subnet.gateway == Some(ip) {
            return Err(Error::user(format!("address {ip} is the gateway of network {}", self.name))
                .hint("choose another address"));
        }
        if subnet.reserved.contains(&ip) {
            return Err(Error::user(format!("address {ip} of network {} is reserved", self.name))
                .hint("something else has it: choose another address"));
        }
        if !usable(&subnet.net, ip) {
            return Err(Error::user(format!("address {ip} names subnet {} itself", subnet.net)));
        }
        match self.loans.iter().position(|loan| loan.addresses.contains(&ip)) {
            // the ports of the dead lead there until they are taken back
            Some(taken) if !self.loans[taken].published.is_empty() || alive(&self.loans[taken].holder) => {
                let owner = self.loans[taken].holder.container.short();
                Err(Error::user(format!("address {ip} is in use by container {owner}"))
                    .hint("choose another address, or leave the choice to minirun"))
            }
            Some(dead) => {
                self.loans.remove(dead);
                Ok(ip)
            }
            None => Ok(ip),
        }
    }

    /// The next address behind the last that was given; those of the dead are taken when the search meets them.
    fn lend_next(&mut self, index: usize, alive: &dyn Fn(&Holder) -> bool) -> Result<IpAddr> {
        let Subnet { net, range, next, .. } = self.subnets[index];
        let lendable = |ip: IpAddr| usable(&net, ip) && range.is_none_or(|range| range.contains(&ip));
        let first = range.map_or(net.network(), |range| range.network());
        let first = if usable(&net, first) { first } else { following(first) };
        let mut candidate = next;
        // at least one of this many is free, if there are as many: the loans, the reserved, the gateway, first and last
        for _ in 0..self.loans.len() + self.subnets[index].reserved.len() + 4 {
            if !lendable(candidate) {
                candidate = first;
            }
            let next = following(candidate);
            if lendable(candidate)
                && let Ok(address) = self.lend_exact(index, candidate, alive)
            {
                self.subnets[index].next = next;
                return Ok(address);
            }
            candidate = next;
        }
        Err(Error::user(format!("network {} has no free address in {}", self.name, range.unwrap_or(net)))
            .hint("remove containers, or make a network with a larger subnet"))
    }

    fn not_mine(&self, ip: IpAddr) -> Error {
        Error::user(format!("address {ip} is not in network {}", self.name))
            .hint(format!("its addresses are those of {}", self.subnet_words()))
    }
}

impl Subnet {
    /// A subnet whose first address is the bridge's.
    pub fn with_gateway(net: IpNet) -> Subnet {
        let gateway = following(net.network());
        Subnet { net, gateway: Some(gateway), range: None, reserved: Vec::new(), next: following(gateway) }
    }
}

/// Neither the network's own address nor, in IPv4, its broadcast address.
pub(super) fn usable(net: &IpNet, ip: IpAddr) -> bool {
    net.contains(&ip) && ip != net.network() && (ip.is_ipv6() || ip != net.broadcast())
}

pub(super) fn following(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => IpAddr::V4(u32::from(v4).wrapping_add(1).into()),
        IpAddr::V6(v6) => IpAddr::V6(u128::from(v6).wrapping_add(1).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(nets: &[&str]) -> Network {
        Network {
            name: Name::parse("bridge").unwrap(),
            bridge: IfName::parse("mr-0123456789").unwrap(),
            gate: None,
            beside: Vec::new(),
            mac: Mac([2, 0x6d, 0, 0, 0, 1]),
            group: 7,
            mark: "minirun x network bridge".into(),
            subnets: nets.iter().map(|net| Subnet::with_gateway(net.parse().unwrap())).collect(),
            shape: Shape::default(),
            loans: Vec::new(),
            generation: Generation::default(),
        }
    }

    fn holder(container: &str) -> Holder {
        let container = ContainerId::parse(container).unwrap();
        Holder { container, pid: 1, start_time: 1, boot_id: "x".into() }
    }

    fn any() -> Attachment {
        Attachment::any(Name::parse("bridge").unwrap())
    }

    fn lend(network: &mut Network, container: &str) -> Result<String> {
        let lease = network.lend(&any(), &holder(container), &|_| true)?;
        Ok(lease.addresses[0].to_string())
    }

    #[test]
    fn addresses_are_lent_in_order_and_rest_when_given_back() {
        let mut net = network(&["172.18.0.0/16"]);
        assert_eq!(lend(&mut net, "a").unwrap(), "172.18.0.2/16");
        assert_eq!(lend(&mut net, "b").unwrap(), "172.18.0.3/16");
        assert!(net.take_back(&holder("a").container).is_some());
        assert_eq!(lend(&mut net, "c").unwrap(), "172.18.0.4/16");
    }

    #[test]
    fn a_restarted_container_keeps_its_address() {
        let mut net = network(&["172.18.0.0/16"]);
        lend(&mut net, "a").unwrap();
        lend(&mut net, "b").unwrap();
        assert_eq!(lend(&mut net, "a").unwrap(), "172.18.0.2/16");
        assert_eq!(net.loans.len(), 2);
    }

    #[test]
    fn a_full_subnet_says_so_and_a_dead_holder_makes_room() {
        let mut net = network(&["10.0.0.0/29"]);
        for container in ["a", "b", "c", "d", "e"] {
            lend(&mut net, container).unwrap();
        }
        let error = lend(&mut net, "f").unwrap_err();
        assert_eq!(error.message, "network bridge has no free address in 10.0.0.0/29");
        let lease = net.lend(&any(), &holder("f"), &|h| h.container.as_str() != "c").unwrap();
        assert_eq!(lease.addresses[0].to_string(), "10.0.0.4/29");
        assert_eq!(net.loans.len(), 5);
    }

    #[test]
    fn one_address_of_each_family_is_lent() {
        let mut net = network(&["172.18.0.0/16", "fd00:1::/64", "10.0.0.0/24"]);
        let lease = net.lend(&any(), &holder("a"), &|_| true).unwrap();
        let text: Vec<String> = lease.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["172.18.0.2/16", "fd00:1::2/64"]);
        assert_eq!(lease.gateways.len(), 2);
        assert_eq!(lease.mac.to_string(), "02:6d:ac:12:00:02");
    }

    #[test]
    fn of_several_subnets_of_a_family_one_is_chosen() {
        let mut net = network(&["192.168.0.0/24", "192.168.1.0/24"]);
        let lend = |net: &mut Network, want: Attachment, container| {
            net.lend(&want, &holder(container), &|_| true).map(|lease| lease.addresses[0].to_string())
        };
        assert_eq!(lend(&mut net, any(), "a").unwrap(), "192.168.0.2/24");
        let second = Attachment { subnet: Some("192.168.1.0/24".parse().unwrap()), ..any() };
        assert_eq!(lend(&mut net, second, "b").unwrap(), "192.168.1.2/24");
        let exact = Attachment { addresses: vec!["192.168.1.20".parse().unwrap()], ..any() };
        assert_eq!(lend(&mut net, exact, "c").unwrap(), "192.168.1.20/24");
        assert_eq!(lend(&mut net, any(), "c").unwrap(), "192.168.1.20/24"); // as before
        let none = Attachment { subnet: Some("10.0.0.0/8".parse().unwrap()), ..any() };
        assert_eq!(lend(&mut net, none, "d").unwrap_err().message, "10.0.0.0/8 is no subnet of network bridge");
    }

    #[test]
    fn only_the_range_is_lent_and_nothing_that_is_reserved() {
        let mut net = network(&["10.0.0.0/24"]);
        net.subnets[0].range = Some("10.0.0.8/30".parse().unwrap());
        net.subnets[0].reserved = vec!["10.0.0.9".parse().unwrap()];
        let lent: Vec<String> = ["a", "b", "c"].map(|container| lend(&mut net, container).unwrap()).into();
        assert_eq!(lent, ["10.0.0.8/24", "10.0.0.10/24", "10.0.0.11/24"]);
        assert_eq!(lend(&mut net, "d").unwrap_err().message, "network bridge has no free address in 10.0.0.8/30");
        let want = |ip: &str| Attachment { addresses: vec![ip.parse().unwrap()], ..any() };
        assert!(net.lend(&want("10.0.0.200"), &holder("d"), &|_| true).is_ok());
        assert!(net.lend(&want("10.0.0.9"), &holder("e"), &|_| true).unwrap_err().message.contains("reserved"));
    }

    #[test]
    fn an_internal_network_has_no_way_out() {
        let mut net = network(&["10.0.0.0/24"]);
        net.shape.internal = true;
        assert_eq!(net.lend(&any(), &holder("a"), &|_| true).unwrap().gateways, [] as [IpAddr; 0]);
        assert_eq!(net.gateways().len(), 1); // for the host
    }

    #[test]
    fn a_wanted_address_is_checked() {
        let mut net = network(&["172.18.0.0/16"]);
        lend(&mut net, "a").unwrap();
        for (address, reason) in [
            ("172.18.0.1", "address 172.18.0.1 is the gateway of network bridge"),
            ("172.18.0.2", "address 172.18.0.2 is in use by container a"),
            ("172.18.0.0", "address 172.18.0.0 names subnet 172.18.0.0/16 itself"),
            ("172.18.255.255", "address 172.18.255.255 names subnet 172.18.0.0/16 itself"),
            ("10.0.0.1", "address 10.0.0.1 is not in network bridge"),
            ("fd00::1", "address fd00::1 is not in network bridge"),
        ] {
            let want = Attachment { addresses: vec![address.parse().unwrap()], ..any() };
            assert_eq!(net.clone().lend(&want, &holder("b"), &|_| true).unwrap_err().message, reason);
        }
        let want = Attachment { addresses: vec!["172.18.7.7".parse().unwrap()], ..any() };
        assert_eq!(net.lend(&want, &holder("b"), &|_| true).unwrap().addresses[0].to_string(), "172.18.7.7/16");
    }

    proptest::proptest! {
        #[test]
        fn no_address_is_lent_twice(ops in proptest::collection::vec((0..12_u8, proptest::bool::ANY), 1..60)) {
            let mut net = network(&["10.0.0.0/28"]);
            for (container, take) in ops {
                let container = format!("c{container}");
                if take {
                    let _ = lend(&mut net, &container);
                } else {
                    net.take_back(&holder(&container).container);
                }
                let mut lent: Vec<_> = net.loans.iter().flat_map(|l| l.addresses.clone()).collect();
                let all = lent.len();
                lent.sort();
                lent.dedup();
                proptest::prop_assert_eq!(lent.len(), all);
                proptest::prop_assert!(!lent.contains(&"10.0.0.1".parse().unwrap()));
            }
        }
    }
}
