//! What a network's containers are plugged into, as far as it is missing: the bridge, the host's own way into it, and
//! what the rules know of it. Pure.

use super::cables;
use super::entry::Entry;
use super::network::Network;
use super::plan::{BridgeFacts, NetworkFacts};
use super::shape::Segment;
use super::step::{Member, Netns, Step};
use crate::error::{Error, Result};
use crate::id::IfName;

/// What only somebody else can make must be there.
pub(super) fn check(of: &NetworkFacts) -> Result<()> {
    let network = &of.network;
    match (&network.shape.segment, &of.bridge) {
        (Segment::Foreign(link), None) => {
            Err(Error::user(format!("network {}: this host has no bridge {link}", network.name))
                .hint(format!("`ip link add {link} type bridge && ip link set {link} up` makes one")))
        }
        (Segment::Macvlan { parent, .. } | Segment::Ipvlan { parent, .. }, None) => {
            Err(Error::user(format!("network {}: this host has no link {parent}", network.name))
                .hint("`ip link` lists them"))
        }
        _ => Ok(()),
    }
}

/// The steps for a network that is bridged. Links go up last: by then they have their sysctls. What a network shares
/// with another one is made by that one's.
pub(super) fn steps(of: &NetworkFacts, ipv6: bool) -> Vec<Step> {
    let network = &of.network;
    let mut steps = Vec::new();
    if network.shape.segment == Segment::Bridge {
        let name = &network.bridge;
        if of.bridge.is_none() {
            let (name, mac, group, mtu) = (name.clone(), network.mac, network.group, network.shape.mtu);
            steps.push(Step::EnsureBridge { name, mac, group, mtu });
        }
        if !is_marked(of.bridge.as_ref(), network) {
            steps.push(Step::SetAlias { link: name.clone(), alias: network.mark.clone() });
        }
    }
    if network.shape.has_vlans() {
        steps.push(Step::FilterVlans { bridge: network.bridge.clone() });
    }
    if let (Some(gate), Some(vlan), None) = (&network.gate, network.shape.vlan, &of.router) {
        let (name, bridge, mac) = (gate.clone(), network.bridge.clone(), network.mac);
        steps.push(Step::JoinVlan { link: bridge.clone(), vlan, member: Member::Host });
        steps.push(Step::EnsureVlanLink { name, bridge, vlan, mac });
        steps.push(Step::SetAlias { link: gate.clone(), alias: network.mark.clone() });
    }
    if network.gate.is_some() && network.shape.segment == Segment::Bridge && !is_up(of.bridge.as_ref()) {
        let none = ipv6.then(|| sysctl(format!("net/ipv6/conf/{}/disable_ipv6", network.bridge), "1"));
        steps.extend(none); // the host is in its VLAN alone
        steps.push(Step::LinkUp { netns: Netns::Host, link: network.bridge.clone() });
    }
    router(of, ipv6, &mut steps);
    steps.extend(plug_in(of));
    steps
}

/// The link by which the host is in it.
fn router(of: &NetworkFacts, ipv6: bool, steps: &mut Vec<Step>) {
    let network = &of.network;
    let (name, there) = (network.router(), of.router.as_ref());
    let owned = network.shape.segment == Segment::Bridge || network.gate.is_some();
    if owned && !is_up(there) {
        steps.extend(sysctls(network, ipv6).into_iter().map(|(key, value)| sysctl(key, value)));
    }
    for address in network.gateways() {
        if there.is_none_or(|link| !link.addresses.contains(&address)) {
            steps.push(Step::AddAddress { netns: Netns::Host, link: name.clone(), address });
        }
    }
    if owned && !is_up(there) {
        steps.push(Step::LinkUp { netns: Netns::Host, link: name.clone() });
    }
}

/// What is set of the host's link into it; `ipv6` says whether the kernel has that.
pub(super) fn sysctls(network: &Network, ipv6: bool) -> Vec<(String, &'static str)> {
    let name = network.router();
    let mut sysctls = vec![(format!("net/ipv4/conf/{name}/route_localnet"), "1")];
    match (ipv6, network.has_ipv6_gateway()) {
        (false, _) => {}
        // nor the host's own link-local address, where it is not to be there
        (true, false) => sysctls.push((format!("net/ipv6/conf/{name}/disable_ipv6"), "1")),
        // a container's router advertisement must not become the host's route (CVE-2020-13401)
        (true, true) => sysctls.push((format!("net/ipv6/conf/{name}/accept_ra"), "0")),
    }
    if network.shape.proxy_arp {
        sysctls.push((format!("net/ipv4/conf/{name}/proxy_arp"), "1"));
        // else it waits up to 0.8 s with an answer, for others might be quicker
        sysctls.push((format!("net/ipv4/neigh/{name}/proxy_delay"), "0"));
    }
    sysctls
}

/// Plugs in again what a deleted bridge has let go, as it was.
pub(super) fn plug_in(of: &NetworkFacts) -> Vec<Step> {
    let (network, mut steps) = (&of.network, Vec::new());
    for cable in &of.loose {
        let link = cable.link.clone();
        steps.push(Step::PlugIn { link: link.clone(), bridge: network.bridge.clone() });
        steps.extend(cables::membership(&network.shape, &link));
        steps.extend(network.shape.isolated.then(|| Step::SetIsolated { link: link.clone() }));
        steps.extend(cable.hairpin.then_some(Step::SetHairpin { link }));
        let loan = network.loans.iter().find(|loan| loan.holder.container == cable.container);
        steps.extend(loan.into_iter().flat_map(|loan| cables::host_routes(&network.lease(loan))));
    }
    steps
}

fn is_up(link: Option<&BridgeFacts>) -> bool {
    link.is_some_and(|link| link.up)
}

fn is_marked(link: Option<&BridgeFacts>, network: &Network) -> bool {
    link.is_some_and(|link| link.alias.as_ref() == Some(&network.mark))
}

fn sysctl(key: String, value: &str) -> Step {
    Step::SetSysctl { netns: Netns::Host, key, value: value.into() }
}

/// What the sets hold of a network.
pub fn entries(network: &Network) -> Vec<Entry> {
    if !network.shape.is_routed() {
        return Vec::new();
    }
    let subnets = network.subnets.iter().map(|subnet| Entry::Subnet(subnet.net));
    if matches!(network.shape.segment, Segment::Shared(_)) && network.gate.is_none() {
        return subnets.collect(); // the link is another network's, and so is what the rules know of it
    }
    let link = network.router();
    let pass = |from: &IfName, to: &IfName| Entry::Pass(from.clone(), to.clone());
    let mut entries = vec![Entry::Bridge(link.clone())];
    entries.extend((!network.shape.isolated).then(|| pass(link, link)));
    // the other parts of its subnet
    entries.extend(network.beside.iter().flat_map(|other| [pass(link, other), pass(other, link)]));
    match network.leads_out() {
        true => entries.extend(network.shape.masquerade.then(|| Entry::Masquerade(link.clone()))),
        false => entries.push(Entry::Internal(link.clone())),
    }
    entries.extend(subnets);
    entries
}
