//! `network reload`: what all networks share is made as their records say, while their containers run.

use super::network::is_alive;
use super::networks::{find, refuse_without_root};
use crate::error::Result;
use crate::net::network::Network;
use crate::net::record::{self, Networks};
use crate::net::shape::Segment;
use crate::net::{apply, reload, survey};
use crate::state::Roots;
use crate::sys::fs;

/// Of these networks, or of all; a line for each thing that was not as it should be. The table is everybody's.
pub fn reload(roots: &Roots, names: &[String]) -> Result<Vec<String>> {
    refuse_without_root("reloading networks")?;
    let names: Vec<String> = names.iter().map(|word| find(roots, word).map(|row| row.name)).collect::<Result<_>>()?;
    if !fs::exists(roots.state.child("networks").as_path()) {
        return Ok(Vec::new());
    }
    let networks = Networks::lock(&roots.state)?;
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
    apply::apply(&plan.prepare, None, &mut apply::Held::default()).map_err(|failure| failure.error)?;
    Ok(plan.warnings)
}
