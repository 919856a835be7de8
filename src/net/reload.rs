//! From what the records say and what is on the host to the steps that make it so again, each with what was wrong in
//! words. Containers go on meanwhile: their own side of a cable keeps its addresses and routes. Pure.

use super::entry::Entry;
use super::network::Network;
use super::others;
use super::plan::{self, BridgeFacts, Cable, NetFacts, NetPlan, NetworkFacts};
use super::segment::{self, entries};
use super::shape::Segment;
use super::step::Step;
use crate::sys::nftables::{Contents, SetContents};
use std::collections::{BTreeMap, BTreeSet};

/// The host beside the records.
#[derive(Debug)]
pub struct Survey {
    /// Of the networks that are to be looked after.
    pub net: NetFacts,
    /// Those whose bridge has another MAC, group, MTU or sysctl than it was made with, by its name.
    pub changed: BTreeSet<String>,
    /// Our table as it is, where it is there, and as it would be if it were made now.
    pub is: Option<Contents>,
    pub should: Contents,
}

/// What our table holds of all networks and their containers.
pub fn content(networks: &[Network]) -> Vec<Entry> {
    networks.iter().flat_map(|network| [entries(network), plan::lent_ports(network, None)].concat()).collect()
}

/// The steps in `prepare`, and in `warnings` a line for each thing that was wrong. `all` are all networks, with the
/// loans of the living.
pub fn plan(survey: &Survey, all: &[Network]) -> NetPlan {
    let mut plan = NetPlan::default();
    let (facts, table) = (&survey.net, survey.net.realm.table());
    let entries = content(all);
    let wrong = match &survey.is {
        None => vec![format!("table {table} was missing")],
        Some(is) => {
            differences(is, &survey.should, &entries).iter().map(|one| format!("table {table}: {one}")).collect()
        }
    };
    if !wrong.is_empty() {
        plan.warnings.extend(wrong);
        plan.prepare.push(Step::ReplaceRuleset { table, entries });
        plan.prepare.extend(plan::forget_flows(all, None));
    }
    for of in facts.networks.iter().filter(|of| matches!(of.network.shape.segment, Segment::Foreign(_))) {
        if of.bridge.is_some() {
            plan.warnings.extend(of.loose.iter().map(unplugged));
            plan.prepare.extend(segment::plug_in(of));
        }
    }
    let mut routed: Vec<_> = facts.networks.iter().filter(|of| of.network.shape.is_routed()).collect();
    routed.sort_by_key(|of| of.network.shape.segment != Segment::Bridge);
    for of in routed {
        let network = &of.network;
        let bridge = &network.bridge;
        let changed = survey.changed.contains(network.name.as_str());
        // what was changed is made like a new one: each of these steps is done again without harm
        let known = |link: &Option<BridgeFacts>| link.clone().filter(|_| !changed);
        let (bridge_known, router) = (known(&of.bridge), known(&of.router));
        let is = NetworkFacts { bridge: bridge_known, router, loose: Vec::new(), ..of.clone() };
        let mut steps = segment::steps(&is, facts.ipv6_forwarding.is_some());
        let filtered = |step: &Step| matches!(step, Step::FilterVlans { .. }); // said each time, for it is not looked at
        if steps.iter().all(filtered) {
            steps.clear();
        }
        if !steps.is_empty() {
            let what = if of.bridge.is_none() { "missing" } else { "changed" };
            plan.warnings.push(format!("bridge {bridge} of network {} was {what}", network.name));
        }
        plan.prepare.append(&mut steps);
        plan.warnings.extend(of.loose.iter().map(unplugged));
        plan.prepare.extend(segment::plug_in(of));
        others::let_through(network, facts, &mut plan);
    }
    plan::forwarding(facts, &mut plan);
    plan
}

fn unplugged(cable: &Cable) -> String {
    format!("link {} of container {} was not plugged in as it should be", cable.link, cable.container.short())
}

/// What is not in the table as it should be, a line each.
fn differences(is: &Contents, should: &Contents, entries: &[Entry]) -> Vec<String> {
    let mut lines = Vec::new();
    if is.table != should.table {
        lines.push("its flags were changed".to_owned());
    }
    lines.extend(compare("chain", &is.chains, &should.chains));
    let definitions = |sets: &BTreeMap<String, SetContents>| -> BTreeMap<String, Vec<u8>> {
        sets.iter().map(|(name, set)| (name.clone(), set.definition.clone())).collect()
    };
    lines.extend(compare("set", &definitions(&is.sets), &definitions(&should.sets)));
    for (name, wanted) in &should.sets {
        let Some(set) = is.sets.get(name).filter(|set| set.definition == wanted.definition) else { continue };
        lines.extend(elements(name, set, wanted, entries));
    }
    let mut said = BTreeSet::new();
    lines.retain(|line| said.insert(line.clone())); // a port of both families is one
    lines
}

fn compare<T: PartialEq>(kind: &str, is: &BTreeMap<String, T>, should: &BTreeMap<String, T>) -> Vec<String> {
    let wanted = should.iter().filter_map(|(name, wanted)| match is.get(name) {
        None => Some(format!("{kind} {name} was missing")),
        Some(one) => (one != wanted).then(|| format!("{kind} {name} was changed")),
    });
    let others = is.keys().filter(|name| !should.contains_key(*name)).map(|name| format!("{kind} {name} is not ours"));
    wanted.chain(others).collect()
}

fn elements(name: &str, is: &SetContents, should: &SetContents, entries: &[Entry]) -> Vec<String> {
    let differs = |key: &Vec<u8>| is.elements.get(key) != should.elements.get(key);
    let lacks = |entry: &&Entry| entry.set() == name && entry.elements().iter().any(|one| differs(&one.key));
    let mut lines: Vec<String> = entries.iter().filter(lacks).map(missing).collect();
    if is.elements.keys().any(|key| !should.elements.contains_key(key)) {
        lines.push(format!("set {name} had elements that are nobody's"));
    }
    lines
}

fn missing(entry: &Entry) -> String {
    match entry {
        Entry::Port(port, owner) => {
            format!("port {port} of container {} was not published", owner.get(..12).unwrap_or(owner))
        }
        other => format!("{} was not in set {}", other.text(), other.set()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{HostPath, Name};
    use crate::net::names::Realm;
    use crate::net::network::Subnet;

    fn survey(is: Option<Contents>, bridge: bool, changed: bool) -> (Survey, Vec<Network>) {
        let realm = Realm { state: HostPath::parse("/run/minirun").unwrap() };
        let subnets = vec![Subnet::with_gateway("172.18.0.0/16".parse().unwrap())];
        let network = Network::new(&realm, &Name::parse("net").unwrap(), subnets).unwrap();
        let alias = Some(network.mark.clone());
        let facts = BridgeFacts { up: true, alias, addresses: network.gateways() };
        let of = NetworkFacts {
            network: network.clone(),
            bridge: bridge.then_some(facts.clone()),
            router: bridge.then_some(facts),
            entries: true,
            loose: Vec::new(),
        };
        let net = NetFacts {
            realm,
            ip_forward: true,
            ipv6_forwarding: Some(true),
            advertised: Vec::new(),
            table: is.is_some(),
            networks: vec![of],
            rebuild: Vec::new(),
            foreign: Vec::new(),
            firewalld: None,
            legacy: Vec::new(),
        };
        let changed = changed.then(|| "net".to_owned()).into_iter().collect();
        (Survey { net, changed, is, should: Contents::default() }, vec![network])
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        let (survey, all) = survey(Some(Contents::default()), true, false);
        assert_eq!(plan(&survey, &all), NetPlan::default());
    }

    #[test]
    fn a_missing_table_comes_back_in_one_step_and_a_bridge_whole() {
        let (one, all) = survey(None, true, false);
        let table = plan(&one, &all);
        assert!(matches!(&table.prepare[..], [Step::ReplaceRuleset { entries, .. }] if entries.len() == 4));
        assert_eq!(table.warnings, ["table minirun was missing"]);
        for (there, word) in [(false, "missing"), (true, "changed")] {
            let (one, all) = survey(Some(Contents::default()), there, there);
            let bridge = plan(&one, &all);
            let steps: Vec<String> = bridge.prepare.iter().map(|step| step.shell().to_string()).collect();
            let begins =
                ["ip link add mr-", "ip link set mr-", "echo 1", "echo 1", "ip address add", "ip link set mr-"];
            assert!(
                steps.len() == 6 && steps.iter().zip(begins).all(|(step, begin)| step.starts_with(begin)),
                "{steps:?}"
            );
            assert_eq!(bridge.warnings, [format!("bridge {} of network net was {word}", all[0].bridge)]);
        }
    }
}
