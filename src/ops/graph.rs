//! `network graph`: the host's networks as they are at this moment, as plain data. The kernel is asked for all that it
//! knows; the records say whose a link is, and what is defined and not there yet. Nothing is changed for it.

use super::{cgroups, container, inspect, networks};
use crate::error::{Error, Result};
use crate::id::{ContainerId, Name};
use crate::net::cables::eth;
use crate::net::entry::Entry as Rule;
use crate::net::names::{self, Realm};
use crate::net::network::{Loan, Network as Record, Subnet as Lending};
use crate::net::plan::DEFAULT_NETWORK;
use crate::net::record;
use crate::net::shape::Segment;
use crate::net::view::{self, Link, Space};
use crate::plan::step::Undo;
use crate::state::{Roots, Status, container as records};
use crate::sys::host;
use crate::sys::netlink::Socket;
use ipnet::IpNet;
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};

/// All that is drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Graph {
    pub host: Host,
    pub networks: Vec<Network>,
    /// Those that are in one of these networks, by name.
    pub containers: Vec<Container>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Host {
    pub name: String,
    /// The links of the default routes.
    pub uplinks: Vec<Uplink>,
    /// net.ipv4.ip_forward
    pub ip_forward: bool,
    /// net.ipv6.conf.all.forwarding; `None` in a kernel without IPv6.
    pub ipv6_forwarding: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Uplink {
    pub name: String,
    pub index: u32,
    pub mac: Option<String>,
    pub addresses: Vec<IpNet>,
    pub gateways: Vec<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    pub name: String,
    /// 64 hex digits.
    pub id: String,
    pub internal: bool,
    /// Its packets go beyond the host's own networks.
    pub leads_out: bool,
    /// Under the host's address.
    pub masquerade: bool,
    /// Our table says so, too: somebody may have flushed it.
    pub masquerade_live: bool,
    pub subnets: Vec<Subnet>,
    /// `None` where no container has needed it yet.
    pub bridge: Option<Bridge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Subnet {
    pub net: IpNet,
    pub gateway: Option<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Bridge {
    pub name: String,
    pub index: u32,
    pub mac: Option<String>,
    pub mtu: u32,
    pub up: bool,
    pub addresses: Vec<IpNet>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    pub name: String,
    pub id: String,
    /// docker's word: running, paused, …
    pub state: String,
    /// One in each of the drawn networks that it is in, in the order of its own links.
    pub cables: Vec<Cable>,
    pub routes: Vec<Route>,
    pub ports: Vec<Port>,
}

impl Container {
    /// As people see it.
    pub fn short(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// A veth: both its ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cable {
    pub network: String,
    /// `None` where it is not there yet, or not any more.
    pub host: Option<End>,
    pub inside: Option<End>,
    /// What the link inside has; where it cannot be asked, what the container was lent.
    pub addresses: Vec<IpNet>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct End {
    pub name: String,
    pub index: u32,
    pub mac: Option<String>,
}

/// A default route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Route {
    pub via: Option<IpAddr>,
    /// The container's link.
    pub device: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Port {
    pub network: String,
    pub protocol: String,
    /// Where the host listens; 0.0.0.0 and :: are all its addresses.
    pub listen: SocketAddr,
    pub to: SocketAddr,
    /// Our table has it: where somebody has flushed that, nothing is published.
    pub live: bool,
}

/// What is to be drawn: these networks, by name or id, or all there are.
pub fn gather(roots: &Roots, words: &[String]) -> Result<Graph> {
    networks::refuse_without_root("drawing networks")?;
    let here = view::here()?;
    let mut asked = Asked { realm: Realm { state: roots.state.clone() }, socket: Socket::netfilter()?, here: &here };
    let mut drawn = Vec::new();
    let mut containers = BTreeMap::new();
    for row in chosen(roots, words)? {
        let name = Name::parse(&row.name)?;
        let live = record::load(&roots.state, &name)?;
        drawn.push(match &live {
            Some(live) => asked.network(&row.id, live)?,
            None => not_yet(roots, &row.id, &name)?,
        });
        for loan in live.iter().flat_map(|live| &live.loans) {
            if super::network::is_alive(roots, &loan.holder) {
                let id = &loan.holder.container;
                let seen = match containers.entry(id.clone()) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(Seen::of(roots, id)?),
                };
                asked.plug(seen, live.as_ref().map_or(&[], |live| &live.subnets), &drawn[drawn.len() - 1], loan)?;
            }
        }
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
        let mut rows: Vec<_> = networks::rows(roots)?.into_iter().filter(|row| row.driver == "bridge").collect();
        if rows.len() > 1 && record::load(&roots.state, &Name::parse(DEFAULT_NETWORK)?)?.is_none() {
            rows.retain(|row| row.name != DEFAULT_NETWORK);
        }
        return Ok(rows);
    }
    let mut rows: Vec<networks::NetworkRow> = Vec::new();
    for word in words {
        let row = networks::find(roots, word)?;
        if row.driver != "bridge" {
            return Err(Error::user(format!("network {} has no bridge, and nothing to draw", row.name))
                .hint("name others; without a name all are drawn"));
        }
        if rows.iter().all(|other| other.name != row.name) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// One that is defined, and that no container has needed since the host was started.
fn not_yet(roots: &Roots, id: &str, name: &Name) -> Result<Network> {
    let defined = record::definition(&roots.root, name)?;
    let subnets = defined.as_ref().map_or(&[][..], |defined| &defined.subnets);
    let internal = defined.as_ref().is_some_and(|defined| defined.shape.internal);
    // the default one chooses its subnets when it comes to be, each with a gateway
    let leads_out = !internal && (defined.is_none() || subnets.iter().any(|subnet| subnet.gateway.is_some()));
    Ok(Network {
        name: name.to_string(),
        id: id.to_owned(),
        internal,
        leads_out,
        masquerade: leads_out && defined.as_ref().is_none_or(|defined| defined.shape.masquerade),
        masquerade_live: false,
        subnets: subnets.iter().map(subnet).collect(),
        bridge: None,
    })
}

fn subnet(subnet: &Lending) -> Subnet {
    Subnet { net: subnet.net, gateway: subnet.gateway }
}

/// Whom the kernel's answers come from.
struct Asked<'a> {
    realm: Realm,
    socket: Socket,
    here: &'a Space,
}

impl Asked<'_> {
    fn network(&mut self, id: &str, live: &Record) -> Result<Network> {
        let owned =
            !matches!(live.shape.segment, Segment::Foreign(_) | Segment::Macvlan { .. } | Segment::Ipvlan { .. });
        let is_ours = |link: &&Link| {
            link.name == live.router().as_str()
                && (!owned || link.alias.as_ref().is_some_and(|alias| self.realm.is_mark(alias)))
        };
        let bridge = self.here.links.iter().find(is_ours).map(|link| Bridge {
            name: link.name.clone(),
            index: link.index,
            mac: link.mac.map(String::from),
            mtu: link.mtu,
            up: link.up,
            addresses: link.addresses.clone(),
        });
        Ok(Network {
            name: live.name.to_string(),
            id: id.to_owned(),
            internal: live.shape.internal,
            leads_out: live.leads_out(),
            masquerade: live.leads_out() && live.shape.masquerade,
            masquerade_live: view::has(&mut self.socket, &self.realm, &Rule::Masquerade(live.router().clone()))?,
            subnets: live.subnets.iter().map(subnet).collect(),
            bridge,
        })
    }

    /// Adds what a container has of a network.
    fn plug(&mut self, seen: &mut Seen, subnets: &[Lending], network: &Network, loan: &Loan) -> Result<()> {
        let mark = self.realm.container_mark(&loan.holder.container);
        let (host_end, inside_end) =
            (names::veth(&loan.holder.container.tag(self.realm.state.as_str()), loan.link)?, eth(loan.link)?);
        let plugged = |link: &&Link| link.alias.as_ref() == Some(&mark) && link.name == host_end.as_str();
        let host = self.here.links.iter().find(plugged);
        let inside = seen.links.iter().find(|link| link.name == inside_end.as_str());
        let lent = loan.addresses.iter().filter_map(|ip| {
            let of = subnets.iter().find(|subnet| subnet.net.contains(ip))?;
            IpNet::new(*ip, of.net.prefix_len()).ok()
        });
        seen.container.cables.push(Cable {
            network: network.name.clone(),
            host: host.map(end),
            inside: inside.map(end),
            addresses: inside.map_or_else(|| lent.collect(), |inside| inside.addresses.clone()),
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
        let route = |route: &view::DefaultRoute| Some(Route { via: route.via, device: device(route.device)? });
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
    for route in &here.routes {
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
