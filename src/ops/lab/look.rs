//! What the packets say: an echo request from a place, who answered, and what a bystander heard of it.

use super::{Place, at_place};
use crate::error::Result;
use crate::net::names::Mac;
use crate::net::{record, view};
use crate::ops::container;
use crate::state::Roots;
use crate::sys::frames::{self, Ear};
use crate::sys::ping::{self, Echo};
use std::net::IpAddr;
use std::time::Duration;

/// One question.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    pub from: Place<'a>,
    pub to: IpAddr,
    /// A container that listens meanwhile.
    pub bystander: Option<&'a str>,
    /// Who does not answer within it is silent.
    pub patience: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// An answer with this TTL, by whose link address it came: a container's name, or `host`; `None` where its link
    /// address is nobody's, or not asked for since the address is behind a gateway.
    Answer {
        ttl: u8,
        by: Option<String>,
    },
    Silence,
    /// ENETUNREACH: no route leads there.
    NoRoute,
}

/// What a bystander heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    pub arp: bool,
    /// A request or an answer of ICMP.
    pub echo: bool,
}

/// Asks, and gives what came and what the bystander heard.
pub fn look(roots: &Roots, look: Look<'_>) -> Result<(Seen, Option<Heard>)> {
    let ear = look.bystander.map(|name| at_place(roots, Some(name), Ear::open)).transpose()?.transpose()?;
    let ask = || -> Result<_> { Ok((ping::echo(&[look.to], look.patience)?, view::neighbours()?)) };
    let (echoes, neighbours) = at_place(roots, look.from, ask)??;
    let mac = neighbours.iter().find(|(address, _)| *address == look.to).map(|(_, mac)| *mac);
    let seen = match echoes.first() {
        Some(Echo::Answer { ttl }) => Seen::Answer { ttl: *ttl, by: owner(roots, mac)? },
        Some(Echo::Refused(_)) => Seen::NoRoute,
        Some(Echo::Silence) | None => Seen::Silence,
    };
    let heard = |frames: frames::Heard| Heard { arp: frames.arp > 0, echo: frames.icmp > 0 };
    Ok((seen, ear.map(|ear| heard(ear.heard()))))
}

/// Whose link address it is.
fn owner(roots: &Roots, mac: Option<Mac>) -> Result<Option<String>> {
    let Some(mac) = mac else { return Ok(None) };
    let (networks, _) = record::all(&roots.state)?;
    if networks.iter().any(|network| network.mac == mac) {
        return Ok(Some("host".to_owned()));
    }
    let holds = |loan: &&crate::net::network::Loan| loan.mac == mac;
    let Some(loan) = networks.iter().flat_map(|network| &network.loans).find(holds) else { return Ok(None) };
    let all = container::all(roots)?;
    let holder = all.into_iter().find(|one| one.id == loan.holder.container);
    Ok(holder.and_then(|one| one.config).map(|config| config.name.to_string()))
}
