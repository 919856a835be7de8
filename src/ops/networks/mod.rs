//! `network ls`, `inspect`, `rm`, `prune`: networks as people handle them.

pub(super) mod broken;
mod create;

pub use create::{CreateRequest, create};

use crate::error::{Error, Kind, Result};
use crate::id::{Digest, Name};
use crate::net::network::{Loan, Network, Subnet};
use crate::net::plan::DEFAULT_NETWORK;
use crate::net::record::{self, Networks};
use crate::net::remove;
use crate::net::shape::Segment;
use crate::ops::container;
use crate::ops::list::filter::{self, Filter};
use crate::ops::network::{attachments, is_alive};
use crate::plan::step::Undo;
use crate::spec::request::RunRequest;
use crate::state::{Roots, container as records, events};
use crate::sys::host;
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn refuse_without_root(what: &str) -> Result<()> {
    if host::uid() == 0 {
        Ok(())
    } else {
        Err(Error::user(format!("{what} needs root")).hint("sudo minirun network …"))
    }
}

/// docker's option for the address at which ports are published that name none.
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";

/// Networks that are always there, and their drivers.
const BUILT_IN: [(&str, &str); 3] = [(DEFAULT_NETWORK, "bridge"), ("host", "host"), ("none", "null")];

/// A network as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRow {
    /// 64 hex digits.
    pub id: String,
    pub name: String,
    /// Empty where it is not known.
    pub driver: &'static str,
    pub ipv6: bool,
    pub internal: bool,
    pub built_in: bool,
    /// RFC 3339; nothing where it is built in or not known.
    pub created: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// Why its definition cannot be read: then the rest is what its bridge's record says, where there is one.
    pub broken: Option<String>,
}

/// What --filter of `ls` knows.
pub const FILTERS: [&str; 7] = ["name", "id", "driver", "label", "label!", "type", "dangling"];

/// The networks that pass, by name.
pub fn list(roots: &Roots, filters: &[String]) -> Result<Vec<NetworkRow>> {
    let filters = filter::parse(filters, &FILTERS)?;
    if let Some(filter) = filters.iter().find(|filter| filter.key == "type" && !TYPES.contains(&filter.value.as_str()))
    {
        return Err(Error::new(Kind::Usage, format!("invalid type {:?}", filter.value)).hint("builtin or custom"));
    }
    let used = match filters.iter().any(|filter| filter.key == "dangling") {
        true => used(roots)?,
        false => BTreeSet::new(),
    };
    let matches = |row: &NetworkRow, Filter { key, value }: &Filter| match key.as_str() {
        "name" => filter::name_matches(&row.name, value),
        "id" => row.id.starts_with(value),
        "driver" => row.driver == value,
        "label" => filter::has_label(&row.labels, value),
        "label!" => !filter::has_label(&row.labels, value),
        "type" => (value == "custom") != row.built_in,
        _ => !row.built_in && (matches!(value.as_str(), "true" | "1") != used.contains(&row.name)),
    };
    let mut rows = rows(roots)?;
    rows.retain(|row| filter::passes(&filters, |filter| matches(row, filter)));
    Ok(rows)
}

const TYPES: [&str; 2] = ["builtin", "custom"];

pub(super) fn rows(roots: &Roots) -> Result<Vec<NetworkRow>> {
    let built_in = BUILT_IN.iter().map(|(name, driver)| NetworkRow {
        id: built_in_id(roots, name),
        name: (*name).to_owned(),
        driver,
        ipv6: false,
        internal: false,
        built_in: true,
        created: None,
        labels: BTreeMap::new(),
        broken: None,
    });
    let (defined, _) = record::definitions(&roots.root)?;
    let own = defined.into_iter().map(|one| NetworkRow {
        ipv6: has_ipv6(one.subnets.iter().map(|subnet| subnet.net)),
        id: one.id,
        name: one.name.to_string(),
        driver: one.shape.driver(),
        internal: one.shape.internal,
        built_in: false,
        created: Some(one.created),
        labels: one.labels,
        broken: None,
    });
    let broken = record::broken_definitions(&roots.root)?.into_iter().map(|(name, why)| {
        let live = record::load(&roots.state, &name).ok().flatten();
        NetworkRow {
            id: built_in_id(roots, name.as_str()),
            name: name.to_string(),
            driver: live.as_ref().map_or("", |live| live.shape.driver()),
            ipv6: live.as_ref().is_some_and(|live| has_ipv6(live.subnets.iter().map(|subnet| subnet.net))),
            internal: live.as_ref().is_some_and(|live| live.shape.internal),
            built_in: false,
            created: None,
            labels: BTreeMap::new(),
            broken: Some(why.message),
        }
    });
    let mut rows: Vec<NetworkRow> = built_in.chain(own).chain(broken).collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

fn has_ipv6(mut subnets: impl Iterator<Item = IpNet>) -> bool {
    subnets.any(|net| net.addr().is_ipv6())
}

fn built_in_id(roots: &Roots, name: &str) -> String {
    Digest::of(format!("{}\0network {name}", roots.state).as_bytes()).hex().to_owned()
}

/// The one that a name, an id or its unique beginning means.
pub(super) fn find(roots: &Roots, word: &str) -> Result<NetworkRow> {
    let rows = rows(roots)?;
    if let Some(row) = rows.iter().find(|row| row.name == word) {
        return Ok(row.clone());
    }
    let mut by_id = rows.into_iter().filter(|row| !word.is_empty() && row.id.starts_with(word));
    match (by_id.next(), by_id.next()) {
        (Some(row), None) => Ok(row),
        (Some(_), Some(_)) => {
            Err(Error::user(format!("more than one network's id begins with {word}")).hint("give more digits"))
        }
        (None, _) => Err(Error::new(Kind::NotFound, format!("no network {word}"))
            .hint("`minirun network ls` lists them all, `minirun network create` makes one")),
    }
}

/// The id and name of the one that a word means, and containers may be in.
pub(super) fn named(roots: &Roots, word: &str) -> Result<(String, Name)> {
    let word = if word == "default" { DEFAULT_NETWORK } else { word };
    let row = find(roots, word)?;
    let name = Name::parse(&row.name)?;
    if row.broken.is_some() {
        record::definition(&roots.root, &name)?; // which says why
    }
    match row.driver {
        "bridge" | "macvlan" | "ipvlan" => Ok((row.id, name)),
        _ => Err(Error::user(format!("{} is no network that a running container can come into or leave", row.name))
            .hint(format!("make the container again with --network {}", row.name))),
    }
}

/// What docker's inspect shows of a network; and beside it, under `Host`, where the host has it.
pub fn inspect(roots: &Roots, word: &str) -> Result<Value> {
    let row = find(roots, word)?;
    let name = Name::parse(&row.name)?;
    let live = record::load(&roots.state, &name)?;
    let defined = record::definition(&roots.root, &name)?;
    let subnets = live.as_ref().map(|live| &live.subnets).or(defined.as_ref().map(|defined| &defined.subnets));
    let subnets: &[Subnet] = subnets.map_or(&[], Vec::as_slice);
    let mtu = live.as_ref().and_then(|live| live.shape.mtu).or(defined.as_ref().and_then(|defined| defined.shape.mtu));
    let masquerade = defined.as_ref().is_none_or(|defined| defined.shape.masquerade);
    let mut options = Map::new();
    options.extend(mtu.map(|mtu| ("com.docker.network.driver.mtu".to_owned(), mtu.to_string().into())));
    let at = defined.as_ref().and_then(|defined| defined.shape.publish_at);
    options.extend(at.map(|at| (HOST_BINDING.to_owned(), at.to_string().into())));
    if row.driver == "bridge" {
        let key = "com.docker.network.bridge.enable_ip_masquerade".to_owned();
        options.insert(key, masquerade.to_string().into());
    }
    let loans = live.iter().flat_map(|live| live.loans.iter().map(move |loan| (live, loan)));
    let containers: Map<String, Value> = loans
        .filter(|(_, loan)| is_alive(roots, &loan.holder))
        .map(|(live, loan)| (loan.holder.container.to_string(), endpoint(roots, live, loan)))
        .collect();
    Ok(json!({
        "Name": row.name,
        "Id": row.id,
        "Created": row.created.as_deref().unwrap_or("0001-01-01T00:00:00Z"),
        "Scope": "local",
        "Driver": row.driver,
        "EnableIPv4": subnets.iter().any(|subnet| subnet.net.addr().is_ipv4()),
        "EnableIPv6": subnets.iter().any(|subnet| subnet.net.addr().is_ipv6()),
        "IPAM": { "Driver": "default", "Options": null, "Config": subnets.iter().map(ipam).collect::<Vec<_>>() },
        "Internal": row.internal,
        "Attachable": false,
        "Ingress": false,
        "Containers": containers,
        "Options": options,
        "Labels": row.labels,
        "Shape": defined.as_ref().map(|defined| &defined.shape),
        "Host": live.as_ref().map(|live| json!({ "Bridge": live.bridge, "Mac": live.mac, "Group": live.group })),
    }))
}

fn ipam(subnet: &Subnet) -> Value {
    // an empty text, as docker's, and not nothing: templates name it all the same
    let mut config = json!({
        "Subnet": subnet.net,
        "IPRange": subnet.range.map(|range| range.to_string()).unwrap_or_default(),
        "Gateway": subnet.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
    });
    if !subnet.reserved.is_empty() {
        let numbered = subnet.reserved.iter().enumerate().map(|(at, ip)| (format!("reserved{at}"), json!(ip)));
        config["AuxiliaryAddresses"] = numbered.collect::<Map<_, _>>().into();
    }
    config
}

fn endpoint(roots: &Roots, of: &Network, loan: &Loan) -> Value {
    let with_prefix = |v4: bool| {
        let ip = loan.addresses.iter().find(|ip| ip.is_ipv4() == v4)?;
        let subnet = of.subnets.iter().find(|subnet| subnet.net.contains(ip))?;
        Some(format!("{ip}/{}", subnet.net.prefix_len()))
    };
    let config = records::load::<Undo>(roots, &loan.holder.container).config;
    json!({
        "Name": config.map(|config| config.name),
        "EndpointID": Digest::of(format!("{} {}", loan.holder.container, loan.mac).as_bytes()).hex(),
        "MacAddress": of.own_mac(loan).map(|mac| mac.to_string()).unwrap_or_default(),
        "IPv4Address": with_prefix(true).unwrap_or_default(),
        "IPv6Address": with_prefix(false).unwrap_or_default(),
    })
}

/// Removes a network that no container is in; gives its name.
pub fn remove(roots: &Roots, word: &str) -> Result<String> {
    refuse_without_root("removing a network")?;
    let row = find(roots, word)?;
    if row.built_in {
        return Err(Error::user(format!("network {} is built in and cannot be removed", row.name))
            .hint("`minirun system reset` removes all that minirun has made"));
    }
    let name = Name::parse(&row.name)?;
    let networks = Networks::lock(&roots.state)?;
    let (all, _) = record::definitions(&roots.root)?;
    if let Some(other) = all.iter().find(|other| other.shape.segment == Segment::Shared(name.clone())) {
        return Err(Error::user(format!("network {} is on the bridge of network {name}", other.name))
            .hint(format!("minirun network rm {} first", other.name)));
    }
    match record::load(&roots.state, &name) {
        Ok(Some(live)) => {
            remove::check_unused(&live, &|holder| is_alive(roots, holder))?;
            if let Some(error) = remove::remove_network(&networks, &live).into_iter().next() {
                return Err(error.during(format!("removing network {name}")));
            }
        }
        Ok(None) => {}
        Err(error) if record::is_newer(&error) => return Err(error),
        Err(_) => broken::remove_unknown(roots, &networks, &name)?,
    }
    networks.undefine(&roots.root, &name)?;
    events::network(roots, (&row.id, &name, row.driver), "destroy", None);
    Ok(row.name)
}

/// Removes the networks that no container has, running or not, and that pass; gives their names. Where all are asked
/// for, what the host has of the default one goes as well: the next container makes it again.
pub fn prune(roots: &Roots, filters: &[String]) -> Result<Vec<String>> {
    refuse_without_root("removing networks")?;
    let wanted = super::prune::Wanted::parse(filters)?;
    let used = used(roots)?;
    let mut removed = Vec::new();
    let (all, _) = record::definitions(&roots.root)?;
    let base = |row: &NetworkRow| {
        all.iter().any(|one| matches!(&one.shape.segment, Segment::Shared(base) if base.as_str() == row.name))
    };
    let mut rows = rows(roots)?;
    rows.sort_by_key(base); // whoever is on another one's bridge goes first
    let may_go = |row: &NetworkRow| !row.built_in && row.broken.is_none() && !used.contains(&row.name);
    for row in rows.into_iter().filter(may_go) {
        if wanted.passes(row.created.as_deref(), Some(&row.labels)) {
            match remove(roots, &row.name) {
                // somebody has it meanwhile
                Err(error) if error.kind == Kind::User => {}
                gone => removed.push(gone?),
            }
        }
    }
    if filters.is_empty() {
        let networks = Networks::lock(&roots.state)?;
        let default = record::load(&roots.state, &Name::parse(DEFAULT_NETWORK)?).ok().flatten();
        if let Some(idle) = default.filter(|live| live.loans.iter().all(|loan| !is_alive(roots, &loan.holder))) {
            remove::remove_network(&networks, &idle).into_iter().next().map_or(Ok(()), Err)?;
        }
    }
    Ok(removed)
}

/// The names of those that a container has, running or not.
fn used(roots: &Roots) -> Result<BTreeSet<String>> {
    Ok(asked(roots)?.into_iter().flat_map(|(_, names)| names).collect())
}

/// The containers whose requests can be read, and the networks that each names.
fn asked(roots: &Roots) -> Result<Vec<(container::Container, BTreeSet<String>)>> {
    let names = |one: &container::Container| {
        let request: RunRequest = one.config.as_ref()?.request.parse().ok()?;
        let wanted = attachments(&request.network).ok()?;
        Some(wanted.into_iter().map(|one| one.network.to_string()).collect())
    };
    Ok(container::all(roots)?.into_iter().filter_map(|one| names(&one).map(|names| (one, names))).collect())
}
