//! Whom a graph is asked of: the kernel, for all that it knows; the records say whose a link is, and what is defined and
//! not there yet. Nothing is changed for it.

use super::{Bridge, Cable, Container, End, Graph, Host, Network, Owner, Port, Route, Subnet, Uplink, Vlan, Way};
use crate::error::{Error, Result};
use crate::id::{ContainerId, IfName, Name};
use crate::net::cables::eth;
use crate::net::entry::Entry as Rule;
use crate::net::names::{self, Realm};
use crate::net::network::{Loan, Network as Record};
use crate::net::plan::DEFAULT_NETWORK;
use crate::net::shape::Segment;
use crate::net::view::{self, Link, Space};
use crate::net::{port, record};
use crate::ops::{cgroups, container, inspect, network, networks};
use crate::plan::step::Undo;
use crate::state::{Roots, Status, container as records};
use crate::sys::host;
use crate::sys::netlink::Socket;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// What is to be drawn: these networks, by name or id, or all there are.
pub fn gather(roots: &Roots, words: &[String]) -> Result<Graph> {
    networks::refuse_without_root("drawing networks")?;
    let here = view::here()?;
    let realm = Realm { state: roots.state.clone() };
    let mut asked = Asked { realm, socket: Socket::netfilter()?, here: &here, vlans: BTreeMap::new() };
    let mut drawn = Vec::new();
    let mut containers = BTreeMap::new();
    for row in chosen(roots, words)? {
        let record = known(roots, &asked.realm, &Name::parse(&row.name)?)?;
        if record.shape.has_vlans() && asked.vlans.is_empty() {
            asked.vlans = view::vlans()?;
        }
        let network = asked.network(&row.id, &record)?;
        for loan in record.loans.iter().filter(|loan| network::is_alive(roots, &loan.holder)) {
            let id = &loan.holder.container;
            let seen = match containers.entry(id.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(Seen::of(roots, id)?),
            };
            asked.plug(seen, &record, &network, loan)?;
        }
        drawn.push(network);
    }
    let mut containers: Vec<Container> = containers.into_values().map(|seen| seen.container).collect();
    containers.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    for one in &mut containers {
        one.cables.sort_by_key(|cable| cable.inside.as_ref().map_or(u32::MAX, |inside| inside.index));
    }
    Ok(Graph { host: host_of(&here)?, networks: drawn, containers })
}

/// Without words all that people have made; and the default one, once it is there or where there is no other.
fn chosen(roots: &Roots, words: &[String]) -> Result<Vec<networks::NetworkRow>> {
    if words.is_empty() {
        let mut rows: Vec<_> = networks::rows(roots)?.into_iter().filter(has_segment).collect();
        if rows.len() > 1 && record::load(&roots.state, &Name::parse(DEFAULT_NETWORK)?)?.is_none() {
            rows.retain(|row| row.name != DEFAULT_NETWORK);
        }
        return Ok(rows);
    }
    let mut rows: Vec<networks::NetworkRow> = Vec::new();
    for word in words {
        let row = networks::find(roots, word)?;
        if !has_segment(&row) {
            return Err(Error::user(format!("network {} has no bridge, and nothing to draw", row.name))
                .hint("name others; without a name all are drawn"));
        }
        if rows.iter().all(|other| other.name != row.name) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Whether anybody is plugged into anything there.
fn has_segment(row: &networks::NetworkRow) -> bool {
    matches!(row.driver, "bridge" | "macvlan" | "ipvlan")
}

/// What is recorded of a network; of one that no container has needed since the host was started, what is defined.
fn known(roots: &Roots, realm: &Realm, name: &Name) -> Result<Record> {
    if let Some(live) = record::load(&roots.state, name)? {
        return Ok(live);
    }
    match record::definition(&roots.root, name)? {
        Some(defined) => defined.network(realm, &[]),
        None => Record::new(realm, name, Vec::new()),
    }
}

/// Whom the kernel's answers come from.
struct Asked<'a> {
    realm: Realm,
    socket: Socket,
    here: &'a Space,
    /// Of the bridges' ports, where a network has some.
    vlans: BTreeMap<u32, Vec<port::Vlan>>,
}

impl Asked<'_> {
    fn network(&mut self, id: &str, of: &Record) -> Result<Network> {
        let shape = &of.shape;
        let (owner, mode) = match &shape.segment {
            Segment::Bridge => (Owner::This, None),
            Segment::Shared(other) => (Owner::Network(other.to_string()), None),
            Segment::Foreign(_) => (Owner::Host, None),
            Segment::Macvlan { mode, .. } => (Owner::Host, Some(mode.name())),
            Segment::Ipvlan { mode, .. } => (Owner::Host, Some(mode.name())),
        };
        // the default one chooses its subnets when it comes to be, each with a gateway
        let leads_out = of.leads_out() || of.subnets.is_empty();
        let masquerade = leads_out && shape.masquerade && shape.is_routed();
        Ok(Network {
            name: of.name.to_string(),
            id: id.to_owned(),
            driver: shape.driver().to_owned(),
            mode: mode.map(str::to_owned),
            segment: of.bridge.to_string(),
            routed: shape.is_routed(),
            internal: shape.internal,
            leads_out,
            masquerade,
            masquerade_live: view::has(&mut self.socket, &self.realm, &Rule::Masquerade(of.router().clone()))?,
            isolated: shape.isolated,
            proxy_arp: shape.proxy_arp,
            proxy_arp_live: view::proxy_arp(of.router()),
            vlan: shape.vlan,
            trunk: shape.trunk.clone(),
            routes: shape.routes.iter().map(|route| Way { to: route.to, via: route.via }).collect(),
            subnets: of.subnets.iter().map(|subnet| Subnet { net: subnet.net, gateway: subnet.gateway }).collect(),
            bridge: self.link(&of.bridge, owner == Owner::Host),
            gate: of.gate.as_ref().and_then(|gate| self.link(gate, false)),
            segment_of: owner,
        })
    }

    /// One of the host's, if it is ours or may be somebody else's.
    fn link(&self, name: &IfName, foreign: bool) -> Option<Bridge> {
        let is_it = |link: &&Link| {
            link.name == name.as_str()
                && (foreign || link.alias.as_ref().is_some_and(|alias| self.realm.is_mark(alias)))
        };
        self.here.links.iter().find(is_it).map(|link| Bridge {
            name: link.name.clone(),
            index: link.index,
            mac: link.mac.map(String::from),
            mtu: link.mtu,
            up: link.up,
            addresses: link.addresses.clone(),
        })
    }

    /// Adds what a container has of a network.
    fn plug(&mut self, seen: &mut Seen, of: &Record, network: &Network, loan: &Loan) -> Result<()> {
        let mark = self.realm.container_mark(&loan.holder.container);
        let (host_end, inside_end) = (
            names::veth(&loan.holder.container.tag(self.realm.state.as_str()), loan.generation, loan.link)?,
            eth(loan.link)?,
        );
        let inside = seen.links.iter().find(|link| link.name == inside_end.as_str());
        let plugged = |link: &&Link| match network.driver.as_str() {
            "bridge" => link.alias.as_ref() == Some(&mark) && link.name == host_end.as_str(),
            _ => link.name == network.segment && inside.is_some_and(|inside| inside.peer == Some(link.index)),
        };
        let host = self.here.links.iter().find(plugged);
        let lent = loan.addresses.iter().filter_map(|ip| {
            let of = of.subnets.iter().find(|subnet| subnet.net.contains(ip))?;
            IpNet::new(*ip, of.net.prefix_len()).ok()
        });
        let port = host.filter(|_| network.driver == "bridge");
        let vlans = port.and_then(|link| self.vlans.get(&link.index)).filter(|_| of.shape.has_vlans());
        seen.container.cables.push(Cable {
            network: network.name.clone(),
            host: host.map(end),
            inside: inside.map(end),
            addresses: inside.map_or_else(|| lent.collect(), |inside| inside.addresses.clone()),
            isolated: port.and_then(|link| link.port.as_ref()).is_some_and(|port| port.isolated),
            vlans: vlans.into_iter().flatten().map(|of| Vlan { id: of.id, tagged: of.tagged }).collect(),
        });
        for port in &loan.published {
            let entry = Rule::Port(port.clone(), names::owner(&loan.holder.container));
            seen.container.ports.push(Port {
                network: network.name.clone(),
                protocol: port.protocol.to_string(),
                listen: port.listen(),
                to: port.to,
                live: view::has(&mut self.socket, &self.realm, &entry)?,
            });
        }
        Ok(())
    }
}

fn end(link: &Link) -> End {
    End { name: link.name.clone(), index: link.index, mac: link.mac.map(String::from) }
}

/// A container, and the links of its namespace.
struct Seen {
    container: Container,
    links: Vec<Link>,
}

impl Seen {
    /// One that ends meanwhile has nothing inside.
    fn of(roots: &Roots, id: &ContainerId) -> Result<Seen> {
        let found: container::Container = records::load::<Undo>(roots, id);
        let paused = found.status == Status::Running && cgroups::is_frozen(&found);
        let init = found.life.as_ref().and_then(|life| life.init.as_ref());
        let space = init.map(view::of).transpose()?.flatten().unwrap_or_default();
        let device = |index: u32| space.links.iter().find(|link| link.index == index).map(|link| link.name.clone());
        let route = |route: &view::Route| Some(Route { to: route.to, via: route.via, device: device(route.device)? });
        let container = Container {
            name: found.config.as_ref().map_or(id.short().to_owned(), |config| config.name.to_string()),
            id: id.to_string(),
            state: inspect::word(&found.status, paused).to_owned(),
            cables: Vec::new(),
            routes: space.routes.iter().filter_map(route).collect(),
            ports: Vec::new(),
        };
        Ok(Seen { container, links: space.links })
    }
}

fn host_of(here: &Space) -> Result<Host> {
    let mut uplinks: Vec<Uplink> = Vec::new();
    for route in here.routes.iter().filter(|route| route.is_default()) {
        let Some(link) = here.links.iter().find(|link| link.index == route.device) else { continue };
        match uplinks.iter_mut().find(|uplink| uplink.index == link.index) {
            Some(known) => known.gateways.extend(route.via),
            None => uplinks.push(Uplink {
                name: link.name.clone(),
                index: link.index,
                mac: link.mac.map(String::from),
                addresses: link.addresses.clone(),
                gateways: route.via.into_iter().collect(),
            }),
        }
    }
    let (ip_forward, ipv6_forwarding) = view::forwarding();
    Ok(Host { name: host::hostname()?, uplinks, ip_forward, ipv6_forwarding })
}
