//! `network check`: asks the packets whether a network keeps what its flags promise. Sent from inside each container by
//! this program, for an image may have no tools.

use super::{container, networks};
use crate::error::{Error, Result};
use crate::id::{ContainerId, Name};
use crate::net::matrix::{self, Case, Promise};
use crate::net::names::Mac;
use crate::net::network::Network;
use crate::net::{neighbours, record, view};
use crate::state::{Roots, Status};
use crate::sys::ping::{self, Echo};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Who does not answer is silent after that. A neighbour's link address is found in a millisecond, and asked for three
/// times, a second apart.
const PATIENCE: Duration = Duration::from_secs(3);

const SILENCE: &str = "silence";

/// One question, what was promised and what has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub network: String,
    pub from: String,
    /// A container's name, or `host`.
    pub to: String,
    pub address: IpAddr,
    pub promised: String,
    pub seen: String,
    pub kept: bool,
}

/// Checks these networks, or all that live.
pub fn check(roots: &Roots, words: &[String]) -> Result<Vec<Checked>> {
    networks::refuse_without_root("checking networks")?;
    let wanted: Vec<Name> = words.iter().map(|word| Ok(networks::named(roots, word)?.1)).collect::<Result<_>>()?;
    let (mut all, _) = record::all(&roots.state)?;
    let running: BTreeMap<ContainerId, container::Container> = container::all(roots)?
        .into_iter()
        .filter(|one| one.status == Status::Running)
        .map(|one| (one.id.clone(), one))
        .collect();
    for network in &mut all {
        network.loans.retain(|loan| running.contains_key(&loan.holder.container));
    }
    let mut by_name: Vec<(&ContainerId, &container::Container)> = running.iter().collect();
    by_name.sort_by_key(|(id, _)| name(id, &running));
    let mut checked = Vec::new();
    let tables = neighbours::tables()?;
    let asked = |network: &&Network| wanted.is_empty() || wanted.contains(&network.name);
    for network in all.iter().filter(asked) {
        let cases = matrix::cases(network, &all);
        for (id, one) in &by_name {
            let of: Vec<&Case> = cases.iter().filter(|case| case.from == **id).collect();
            if !of.is_empty() {
                checked.extend(ask(network, one, &of, &running)?);
            }
        }
    }
    if checked.iter().any(|one| !one.kept) {
        let now = neighbours::tables()?;
        for one in checked.iter_mut().filter(|one| !one.kept && one.seen == SILENCE) {
            let full = neighbours::overflow(one.address, &tables, &now);
            one.seen.extend(full.map(|full| format!("; {full}")));
        }
    }
    Ok(checked)
}

fn name(id: &ContainerId, running: &BTreeMap<ContainerId, container::Container>) -> String {
    let config = running.get(id).and_then(|one| one.config.as_ref());
    config.map_or_else(|| id.short().to_owned(), |config| config.name.to_string())
}

/// All questions of one container, at once.
fn ask(
    network: &Network,
    one: &container::Container,
    cases: &[&Case],
    running: &BTreeMap<ContainerId, container::Container>,
) -> Result<Vec<Checked>> {
    let targets: Vec<IpAddr> = cases.iter().map(|case| case.to).collect();
    let init = one.life.as_ref().and_then(|life| life.init.as_ref());
    let gone = || Error::user(format!("container {} has just ended", name(&one.id, running))).hint("check again");
    let inside = view::ask(init.ok_or_else(gone)?, || ping::echo(&targets, PATIENCE))?;
    let (echoes, neighbours) = inside.ok_or_else(gone)?;
    let row = |(case, echo): (&&Case, Echo)| Checked {
        network: network.name.to_string(),
        from: name(&one.id, running),
        to: match &case.whose {
            Some(id) => name(id, running),
            None if matrix::is_outside(case.to) => "outside".to_owned(),
            None => "host".to_owned(),
        },
        address: case.to,
        promised: words(&case.promise),
        seen: seen(&case.promise, echo, &neighbours),
        kept: is_kept(&case.promise, echo, &neighbours),
    };
    Ok(cases.iter().zip(echoes).map(row).collect())
}

fn is_kept(promise: &Promise, echo: Echo, neighbours: &[(IpAddr, Mac)]) -> bool {
    match (promise, echo) {
        (Promise::Answer { ttl, hop, mac }, Echo::Answer { ttl: seen }) => {
            *ttl == seen && mac.is_none_or(|mac| neighbours.contains(&(*hop, mac)))
        }
        (Promise::Silence, Echo::Silence) | (Promise::NoRoute, Echo::Refused(_)) => true,
        _ => false,
    }
}

fn words(promise: &Promise) -> String {
    match promise {
        Promise::Answer { ttl, mac, .. } => {
            let from = mac.map(|mac| format!(" by {mac}")).unwrap_or_default();
            format!("answer, TTL {ttl}{from}")
        }
        Promise::Silence => SILENCE.to_owned(),
        Promise::NoRoute => "no route".to_owned(),
    }
}

fn seen(promise: &Promise, echo: Echo, neighbours: &[(IpAddr, Mac)]) -> String {
    match echo {
        Echo::Answer { ttl } => {
            let hop = match promise {
                Promise::Answer { hop, mac: Some(_), .. } => neighbours.iter().find(|(ip, _)| ip == hop),
                _ => None,
            };
            let from = hop.map(|(_, mac)| format!(" by {mac}")).unwrap_or_default();
            format!("answer, TTL {ttl}{from}")
        }
        Echo::Silence => SILENCE.to_owned(),
        Echo::Refused(_) => "no route".to_owned(),
    }
}
