//! `network create`: from the command line's words to what is kept.

use super::{BUILT_IN, HOST_BINDING, named, refuse_without_root};
use crate::error::{Error, Result};
use crate::id::{IfName, Name, hex};
use crate::net::definition::{self, Definition, Wish};
use crate::net::lease::{self, Around, Place};
use crate::net::names::{Mac, Realm};
use crate::net::network::Holder;
use crate::net::record::{self, Networks};
use crate::net::shape::{IpvlanMode, MacvlanMode, Route, Segment, Shape, vlan};
use crate::net::step::Step;
use crate::net::{apply, probe};
use crate::ops::network::is_alive;
use crate::state::{Roots, events};
use crate::sys::host;
use crate::sys::netns::Visit;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// One `network create`, in the command line's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateRequest {
    pub name: String,
    pub driver: Option<String>,
    pub subnets: Vec<String>,
    pub gateways: Vec<String>,
    pub ranges: Vec<String>,
    /// `ADDRESS`, or docker's `NAME=ADDRESS`.
    pub reserved: Vec<String>,
    pub no_gateway: bool,
    pub no_masquerade: bool,
    pub internal: bool,
    pub isolate: bool,
    pub proxy_arp: bool,
    /// `NET[,GATEWAY]`
    pub routes: Vec<String>,
    /// Another network's name, or a bridge of the host's.
    pub bridge: Option<String>,
    pub vlan: Option<String>,
    /// Numbers, several in one word too.
    pub trunk: Vec<String>,
    /// Where nobody says: if the host has IPv6.
    pub ipv6: Option<bool>,
    /// Without IPv4.
    pub ipv6_alone: bool,
    pub mtu: Option<u32>,
    pub labels: Vec<(String, String)>,
    /// docker's and podman's `KEY=VALUE` for the driver.
    pub options: Vec<String>,
}

/// Makes a network; gives its id. On the host it comes to be with its first container.
pub fn create(roots: &Roots, request: &CreateRequest) -> Result<String> {
    refuse_without_root("making a network")?;
    let name = Name::parse(&request.name).map_err(|e| e.during("network"))?;
    if BUILT_IN.iter().any(|(known, _)| *known == name.as_str()) || name.as_str() == "default" {
        return Err(Error::user(format!("network {name} is built in")).hint("choose another name"));
    }
    let mut wish = wish(request)?;
    roots.make()?;
    let networks = Networks::lock(&roots.state)?;
    if record::definition(&roots.root, &name)?.is_some() {
        return Err(Error::user(format!("there is a network {name} already"))
            .hint(format!("minirun network rm {name}, or choose another name")));
    }
    let (all, _) = record::definitions(&roots.root)?;
    on_another(roots, &mut wish, request, &all)?;
    combination(&wish, &all)?;
    try_vlans(&wish.shape)?;
    if let Segment::Macvlan { parent, .. } | Segment::Ipvlan { parent, .. } = &wish.shape.segment {
        // the host's own, where they are in the subnet: nobody else may have them
        wish.own = probe::addresses_of(parent)?;
    }
    let alive = |holder: &Holder| is_alive(roots, holder);
    let around = Around { root: &roots.root, alive: &alive, used: &probe::used };
    let beside = definition::beside(&all, &name, &wish.shape, &wish.subnets);
    let taken = lease::taken(&roots.state, &Place { name: &name, shape: &wish.shape, beside: &beside }, &around)?;
    let realm = Realm { state: roots.state.clone() };
    let definition = Definition {
        id: hex(&host::random::<32>()?),
        created: crate::ops::now(),
        labels: wish.labels.clone(),
        subnets: definition::subnets(&wish, &name, &realm, &taken)?,
        shape: wish.shape,
        name,
    };
    networks.define(&roots.root, &definition)?;
    let Definition { id, name, shape, .. } = &definition;
    events::network(roots, (id, name, shape.driver()), "create", None);
    Ok(definition.id)
}

fn wish(request: &CreateRequest) -> Result<Wish> {
    let bridged = matches!(request.driver.as_deref(), None | Some("" | "bridge"));
    let mut wish = Wish {
        subnets: all("--subnet", "10.1.0.0/24", &request.subnets)?,
        gateways: all("--gateway", "10.1.0.1", &request.gateways)?,
        ranges: all("--ip-range", "10.1.0.128/25", &request.ranges)?,
        // whoever is in VLANs by tags alone has no gateway without one
        no_gateway: request.no_gateway
            || (request.vlan.is_none() && !request.trunk.is_empty())
            || gateway_is_isolated(request)?,
        ipv6: request
            .ipv6
            .unwrap_or_else(|| request.ipv6_alone || (bridged && !request.proxy_arp && probe::has_ipv6())),
        ipv6_alone: request.ipv6_alone,
        labels: request.labels.iter().cloned().collect(),
        shape: shape(request)?,
        ..Wish::default()
    };
    let plain = |word: &String| word.split_once('=').map_or(word.as_str(), |(_, address)| address).to_owned();
    let reserved: Vec<String> = request.reserved.iter().map(plain).collect();
    wish.reserved = all("--aux-address", "10.1.0.9", &reserved)?;
    if wish.ipv6_alone && (!wish.ipv6 || wish.subnets.iter().any(|net| net.addr().is_ipv4())) {
        return Err(Error::user("--ipv4=false leaves IPv6 alone").hint("leave out --ipv6=false and subnets of IPv4"));
    }
    let wants_ipv6 =
        wish.ipv6_alone || request.ipv6 == Some(true) || wish.subnets.iter().any(|net| net.addr().is_ipv6());
    if wants_ipv6 && request.proxy_arp {
        return Err(Error::user("--proxy-arp is for IPv4").hint("leave out --ipv6 and IPv6 subnets"));
    }
    if wants_ipv6 && !probe::has_ipv6() {
        return Err(
            Error::user("this host has no IPv6").hint("leave out --ipv6, or `sysctl net.ipv6.conf.all.disable_ipv6=0`")
        );
    }
    Ok(wish)
}

/// docker's gateway mode `isolated`: the host has no address in the network. Here that goes for both families or none.
fn gateway_is_isolated(request: &CreateRequest) -> Result<bool> {
    let asked = |family: &str| request.options.iter().any(|word| *word == format!("{GATEWAY_MODE}{family}=isolated"));
    let has_ipv6 = request.ipv6 == Some(true) || request.subnets.iter().any(|net| net.contains(':'));
    let wrong = |why: &str, hint: &str| Err(Error::user(format!("gateway mode isolated {why}")).hint(hint));
    match (asked("4"), asked("6")) {
        (false, false) => Ok(false),
        _ if !request.internal => wrong("is for a network that leads nowhere", "add --internal"),
        (true, ipv6) if ipv6 || !has_ipv6 => Ok(true),
        _ => wrong(
            "is for IPv4 and IPv6, or for neither",
            "give it for both: gateway_mode_ipv4 and gateway_mode_ipv6, or --no-gateway",
        ),
    }
}

/// A kernel that keeps no VLANs apart is met here, and not by the network's first container: a bridge of nobody's is told
/// to.
fn try_vlans(shape: &Shape) -> Result<()> {
    if !shape.has_vlans() {
        return Ok(());
    }
    let bridge = IfName::parse("br0")?;
    let make = Step::EnsureBridge { name: bridge.clone(), mac: Mac::of_link(&bridge), group: 1, mtu: None };
    let steps = [make, Step::FilterVlans { bridge }];
    let tried = Visit::to_new()?.inside(|| apply::apply(&steps, None, &mut apply::Held::default()))?;
    tried.map_err(|failure| failure.error)
}

fn all<T: FromStr>(flag: &str, example: &str, words: &[String]) -> Result<Vec<T>> {
    let wrong = |word| Error::user(format!("invalid {flag} {word:?}")).hint(format!("it takes one like {example}"));
    words.iter().map(|word| word.parse().map_err(|_| wrong(word))).collect()
}

/// From flags, docker's and podman's `-o KEY=VALUE`, and the driver.
fn shape(request: &CreateRequest) -> Result<Shape> {
    let numbers = request.trunk.iter().flat_map(|word| word.split(','));
    let mut shape = Shape {
        mtu: request.mtu,
        masquerade: !request.no_masquerade,
        internal: request.internal,
        isolated: request.isolate,
        proxy_arp: request.proxy_arp,
        publish_at: None,
        routes: request.routes.iter().map(|word| Route::parse(word)).collect::<Result<_>>()?,
        segment: Segment::Bridge,
        vlan: request.vlan.as_deref().map(vlan).transpose()?,
        trunk: numbers.map(vlan).collect::<Result<_>>()?,
    };
    let mut driver = Driver::default();
    for word in &request.options {
        option(&mut shape, &mut driver, word)?;
    }
    let parent = || {
        let none = || {
            Error::user("this driver needs a link of the host's").hint("-o parent=eth0; `ip link` lists what there is")
        };
        let name = IfName::parse(driver.parent.as_deref().ok_or_else(none)?)?;
        match probe::is_link(&name)? {
            true => Ok(name),
            false => Err(Error::user(format!("-o parent: this host has no link {name}")).hint("`ip link` lists them")),
        }
    };
    shape.segment = match request.driver.as_deref() {
        None | Some("" | "bridge") => {
            refuse(driver.parent.is_some(), "-o parent", "bridge")?;
            return refuse(driver.mode.is_some(), "-o mode", "bridge").map(|()| shape);
        }
        Some("macvlan") => {
            let mode = driver.mode.as_deref().map_or(Ok(MacvlanMode::default()), MacvlanMode::parse)?;
            Segment::Macvlan { parent: parent()?, mode }
        }
        Some("ipvlan") => {
            let mode = driver.mode.as_deref().map_or(Ok(IpvlanMode::default()), IpvlanMode::parse)?;
            Segment::Ipvlan { parent: parent()?, mode }
        }
        Some(other) => {
            return Err(Error::user(format!("networks of driver {other:?} are not supported"))
                .hint("bridge, macvlan and ipvlan are; for the host's own network: run --network host"));
        }
    };
    for (given, flag) in [
        (shape.isolated, "--isolate"),
        (shape.proxy_arp, "--proxy-arp"),
        (shape.vlan.is_some(), "--vlan"),
        (!shape.trunk.is_empty(), "--vlan-trunk"),
        // what else is on that wire is not ours to keep away
        (shape.internal, "--internal"),
        (shape.publish_at.is_some(), "-o host_binding_ipv4"),
        (request.bridge.is_some(), "--bridge"),
    ] {
        refuse(given, flag, shape.driver())?;
    }
    Ok(shape)
}

fn refuse(given: bool, flag: &str, driver: &str) -> Result<()> {
    match given {
        true => Err(Error::user(format!("{flag} is not for networks of driver {driver}")).hint("leave it out")),
        false => Ok(()),
    }
}

/// What is for macvlan and ipvlan.
#[derive(Default)]
struct Driver {
    parent: Option<String>,
    mode: Option<String>,
}

/// Followed by the family.
const GATEWAY_MODE: &str = "com.docker.network.bridge.gateway_mode_ipv";

/// `-o KEY=VALUE`: what docker's drivers and podman's netavark have of it, as far as it is here.
fn option(shape: &mut Shape, driver: &mut Driver, word: &str) -> Result<()> {
    let bad = |what: &str| {
        Error::user(format!("{what} {word:?}"))
            .hint("there are parent=, mode=, and com.docker.network… driver.mtu=, bridge.enable_icc=, bridge.host_binding_ipv4=")
    };
    let (key, value) = word.split_once('=').ok_or_else(|| bad("invalid option"))?;
    let truth = || match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(bad("invalid option")),
    };
    match key {
        "com.docker.network.driver.mtu" | "mtu" => shape.mtu = Some(value.parse().map_err(|_| bad("invalid option"))?),
        "com.docker.network.bridge.enable_ip_masquerade" => shape.masquerade = truth()?,
        "com.docker.network.bridge.enable_icc" => shape.isolated = !truth()?,
        HOST_BINDING => {
            let at: Ipv4Addr = value.parse().map_err(|_| bad("invalid option"))?;
            shape.publish_at = Some(at).filter(|at| !at.is_unspecified()); // that is all of them
        }
        "vlan" => shape.vlan = Some(vlan(value)?),
        "parent" => driver.parent = Some(value.to_owned()),
        "mode" | "macvlan_mode" | "ipvlan_mode" => driver.mode = Some(value.to_owned()),
        "isolate" => {} // podman's, for networks that do not reach each other: here none does
        _ if is_so(key, value) => {}
        _ if instead(key).is_some() => {
            return Err(Error::user(format!("option {key} is not supported")).hint(instead(key).unwrap_or_default()));
        }
        _ => return Err(bad("there is no option")),
    }
    Ok(())
}

/// What docker's options say that is so here anyway, or is looked at elsewhere.
fn is_so(key: &str, value: &str) -> bool {
    match key.strip_prefix("com.docker.network.").unwrap_or_default() {
        "bridge.gateway_mode_ipv4" | "bridge.gateway_mode_ipv6" => ["", "nat", "isolated"].contains(&value),
        "bridge.inhibit_ipv4" | "bridge.default_bridge" => ["false", "0"].contains(&value),
        "bridge.host_binding_ipv6" => value == "::",
        "container_iface_prefix" => value == "eth",
        _ => false,
    }
}

/// docker's options that are flags here, or that nothing needs.
fn instead(key: &str) -> Option<&'static str> {
    Some(match key.strip_prefix("com.docker.network.")? {
        "bridge.name" => "leave it out: `network inspect` shows its name; a bridge that is there: --bridge NAME",
        "bridge.gateway_mode_ipv4" | "bridge.gateway_mode_ipv6" => {
            "nat and isolated are; --no-masquerade keeps their own addresses, and published ports stay the host's"
        }
        "bridge.inhibit_ipv4" => "--no-gateway",
        "bridge.default_bridge" => "leave it out: the default network is there, and is bridge",
        "bridge.host_binding_ipv6" => "-p [ADDRESS]:8080:80 says it for each port",
        "bridge.trusted_host_interfaces" => "leave it out: what is not published is not reached from outside",
        "container_iface_prefix" => "leave it out: its links are eth0, eth1 and so on",
        _ => return None,
    })
}

/// `--bridge`: what another network says of a bridge holds for all that are on it.
fn on_another(roots: &Roots, wish: &mut Wish, request: &CreateRequest, all: &[Definition]) -> Result<()> {
    let Some(word) = &request.bridge else { return Ok(()) };
    let Ok((_, name)) = named(roots, word) else { return on_the_hosts(roots, wish, word, all) };
    let known = all.iter().find(|one| one.name == name);
    let base = known.map_or_else(Shape::default, |base| base.shape.clone());
    wish.shape.segment = match &base.segment {
        Segment::Bridge => Segment::Shared(name.clone()),
        Segment::Shared(_) | Segment::Foreign(_) => base.segment.clone(),
        Segment::Macvlan { .. } | Segment::Ipvlan { .. } => {
            return Err(Error::user(format!("--bridge {word}: that network has no bridge")).hint("leave out --bridge"));
        }
    };
    if wish.shape.vlan.is_some() || !wish.shape.trunk.is_empty() {
        return Ok(()); // a link of its own, or none of the host's
    }
    // the rules know the link alone, which is one for both
    if wish.shape.isolated && !base.isolated {
        return Err(Error::user(format!(
            "--isolate: the containers of network {name} on this bridge are not isolated"
        ))
        .hint("leave out --bridge, or put it into a VLAN of its own: --vlan 10"));
    }
    let has = |v4: bool| {
        known.is_none_or(|base| base.subnets.iter().any(|s| s.net.addr().is_ipv4() == v4 && s.gateway.is_some()))
    };
    let leads_out = known.is_none_or(|base| base.subnets.iter().any(|subnet| subnet.gateway.is_some()));
    if leads_out == wish.no_gateway {
        let (is, flag) = if leads_out { ("has a", "without") } else { ("has no", "with") };
        return Err(Error::user(format!("network {name} {is} gateway, and the bridge is one for both"))
            .hint(format!("make it {flag} --no-gateway")));
    }
    let has_ipv6 = known.is_some() && has(false);
    if wish.ipv6 && !has_ipv6 {
        if request.ipv6 == Some(true) || wish.subnets.iter().any(|net| net.addr().is_ipv6()) {
            return Err(Error::user(format!("network {name} has no IPv6, and the bridge is one for both"))
                .hint("leave out --ipv6 and IPv6 subnets"));
        }
        wish.ipv6 = false;
    }
    (wish.shape.internal, wish.shape.masquerade, wish.shape.isolated) = (base.internal, base.masquerade, base.isolated);
    Ok(())
}

/// A bridge that somebody else has made.
fn on_the_hosts(roots: &Roots, wish: &mut Wish, word: &str, all: &[Definition]) -> Result<()> {
    let realm = Realm { state: roots.state.clone() };
    let is_its = |one: &&Definition| realm.bridge(&one.name).is_ok_and(|bridge| bridge.as_str() == word);
    if let Some(ours) = all.iter().find(is_its) {
        return Err(Error::user(format!("--bridge {word}: that is the bridge of network {}", ours.name))
            .hint(format!("--bridge {}", ours.name)));
    }
    let bridge = IfName::parse(word)?;
    if !probe::is_bridge(word)? {
        return Err(Error::user(format!("--bridge {word}: neither a network nor a bridge of this host"))
            .hint("`minirun network ls` lists networks, `ip link show type bridge` bridges"));
    }
    if wish.shape.internal {
        return Err(Error::user("--internal is not for a bridge of the host's: what leads out there is the host's")
            .hint("--no-gateway gives its containers no default route"));
    }
    if wish.shape.has_vlans() && !probe::filters_vlans(&bridge)? {
        return Err(Error::user(format!("bridge {word} does not look at VLANs"))
            .hint(format!("`ip link set {word} type bridge vlan_filtering 1 vlan_default_pvid 1` lets it")));
    }
    wish.shape.segment = Segment::Foreign(bridge);
    Ok(())
}

/// What does not go together, or not twice on one bridge.
fn combination(wish: &Wish, all: &[Definition]) -> Result<()> {
    let shape = &wish.shape;
    if let Some(both) = shape.vlan.filter(|vlan| shape.trunk.contains(vlan)) {
        return Err(Error::user(format!("VLAN {both} is given with and without tags")).hint("leave out one of the two"));
    }
    if shape.proxy_arp && (shape.segment != Segment::Bridge || shape.has_vlans()) {
        return Err(
            Error::user("--proxy-arp is for a network with a bridge of its own").hint("leave out --bridge and --vlan")
        );
    }
    let on_it = |one: &&Definition| match &shape.segment {
        Segment::Shared(base) => one.name == *base || one.shape.segment == shape.segment,
        Segment::Foreign(_) => one.shape.segment == shape.segment,
        _ => false,
    };
    match all.iter().filter(on_it).find(|one| shape.vlan.is_some() && one.shape.vlan == shape.vlan) {
        Some(other) => Err(Error::user(format!("network {} is in this VLAN of the bridge already", other.name))
            .hint("choose another number")),
        None => Ok(()),
    }
}
