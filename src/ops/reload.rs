//! `network reload`: what all networks share is made as their records say, while their containers run. Where much of it
//! is gone, other commands do it as well.

use super::network::is_alive;
use super::networks::{find, refuse_without_root};
use crate::error::Result;
use crate::net::network::Network;
use crate::net::record::{self, Networks};
use crate::net::shape::Segment;
use crate::net::{apply, reload, survey};
use crate::plan::step::Undo;
use crate::state::{Roots, container as records};
use crate::sys::{fs, host, netns};

/// Of these networks, or of all; a line for each thing that was not as it should be. The table is everybody's.
pub fn reload(roots: &Roots, names: &[String]) -> Result<Vec<String>> {
    refuse_without_root("reloading networks")?;
    let names: Vec<String> = names.iter().map(|word| find(roots, word).map(|row| row.name)).collect::<Result<_>>()?;
    if !fs::exists(roots.state.child("networks").as_path()) {
        return Ok(Vec::new());
    }
    again(roots, &Networks::lock(&roots.state)?, &names)
}

/// For a command that looks at networks or containers: where containers that run are cut off ([`survey::is_amiss`]), all is made as it should be. What was wrong, or why it goes on being so, in one line; nothing where all is
/// well, where somebody else is at the networks, and where we are not on their host.
pub fn notice(roots: &Roots) -> Option<String> {
    if host::uid() != 0 || !survey::is_amiss(&roots.state).unwrap_or(false) {
        return None;
    }
    match repair(roots) {
        Ok(lines) if lines.is_empty() => None,
        Ok(lines) => Some(format!("networks were repaired: {}", lines.join("; "))),
        Err(error) => Some(format!("networks are not as they should be, and that was not repaired: {error}")),
    }
}

fn repair(roots: &Roots) -> Result<Vec<String>> {
    let Some(networks) = Networks::try_lock(&roots.state)? else { return Ok(Vec::new()) };
    let (all, _) = record::all(&roots.state)?;
    let monitors = all.iter().flat_map(|network| &network.loans).filter_map(|loan| {
        let life = records::load::<Undo>(roots, &loan.holder.container).life?;
        life.monitor.is_alive().then_some(life.monitor)
    });
    // in another network namespace (`ip netns exec`) nothing of them is, and nothing shall come of that
    match monitors.into_iter().any(|monitor| netns::is_ours(&monitor)) {
        true => again(roots, &networks, &[]),
        false => Ok(Vec::new()),
    }
}

fn again(roots: &Roots, networks: &Networks, names: &[String]) -> Result<Vec<String>> {
    let (mut all, broken) = record::all(&roots.state)?;
    if let Some(error) = broken.into_iter().next() {
        return Err(error); // what it has published is not known, and would be lost
    }
    for network in &mut all {
        network.loans.retain(|loan| is_alive(roots, &loan.holder));
    }
    if all.is_empty() {
        return Ok(Vec::new()); // nothing is shared
    }
    let wanted = |network: &&Network| names.is_empty() || names.iter().any(|name| name == network.name.as_str());
    let mut chosen: Vec<Network> = all.iter().filter(wanted).cloned().collect();
    // what these are plugged into may be another one's
    let is_base =
        |network: &&Network| chosen.iter().any(|one| one.shape.segment == Segment::Shared(network.name.clone()));
    let bases: Vec<Network> = all.iter().filter(is_base).filter(|base| !chosen.contains(base)).cloned().collect();
    chosen.extend(bases);
    let plan = reload::plan(&survey::survey(&roots.state, &all, &chosen)?, &all);
    networks.intend(&plan)?;
    let mut held = apply::Held::default();
    apply::apply(&plan.prepare, None, &mut held).map_err(|failure| failure.error)?;
    Ok([plan.warnings, held.warnings].concat())
}
