//! The kernel's tables of neighbours: one for each family of addresses, which all network namespaces share.

use crate::error::Result;
use crate::sys::netlink::{Dump, Socket};
use rtnetlink::packet_core::Parseable as _;
use rtnetlink::packet_route::neighbour_table::{NeighbourTableAttribute, NeighbourTableMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;

/// The table of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    pub ipv4: bool,
    /// gc_thresh3: as many entries it has at most.
    pub limit: u32,
    /// How often an entry found no place since the host was started.
    pub overflows: u64,
}

/// As they are now; the same is seen from every namespace (net/core/neighbour.c, neightbl_fill_info).
pub fn tables() -> Result<Vec<Table>> {
    let question = RouteNetlinkMessage::GetNeighbourTable(NeighbourTableMessage::default());
    let replies = Socket::route()?.ask_route(question, Dump::All).map_err(|e| e.named("RTM_GETNEIGHTBL"))?;
    let parsed = replies.iter().filter_map(|reply| NeighbourTableMessage::parse(&reply.body[..]).ok());
    Ok(parsed.filter_map(|message| table(&message)).collect())
}

/// `None` for what a table has of one link.
fn table(message: &NeighbourTableMessage) -> Option<Table> {
    let (mut limit, mut overflows) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourTableAttribute::Threshold3(most) => limit = Some(*most),
            NeighbourTableAttribute::Stats(stats) => overflows = Some(stats.table_fulls),
            _ => {}
        }
    }
    let ipv4 = match message.header.family {
        AddressFamily::Inet => true,
        AddressFamily::Inet6 => false,
        _ => return None,
    };
    Some(Table { ipv4, limit: limit?, overflows: overflows? })
}

/// Why an address of this family was not heard of meanwhile: its table had no place (the kernel says ENOBUFS, and to a
/// raw socket nothing: net/ipv4/raw.c, raw_sendmsg).
pub fn overflow(ip: IpAddr, before: &[Table], now: &[Table]) -> Option<String> {
    let of = |tables: &[Table]| tables.iter().find(|table| table.ipv4 == ip.is_ipv4()).copied();
    let (before, now) = (of(before)?, of(now)?);
    let family = if now.ipv4 { "ipv4" } else { "ipv6" };
    (now.overflows > before.overflows).then(|| {
        format!("the host's table of neighbours was full: net.{family}.neigh.default.gc_thresh3 is {}", now.limit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_full_meanwhile_is_named() {
        let table = |ipv4, overflows| Table { ipv4, limit: 1024, overflows };
        let before = [table(true, 3), table(false, 0)];
        let why = |ip: &str, now: &[Table]| overflow(ip.parse().unwrap(), &before, now);
        let full = [table(true, 3), table(false, 2)];
        assert_eq!(why("10.0.0.1", &full), None); // it was full before
        assert_eq!(
            why("fd00::1", &full).as_deref(),
            Some("the host's table of neighbours was full: net.ipv6.neigh.default.gc_thresh3 is 1024")
        );
        assert_eq!(why("fd00::1", &[]), None);
    }

    #[test]
    fn the_kernel_tells_its_tables() {
        let limit = |table: &Table| (table.ipv4, table.limit > 0);
        assert!(tables().unwrap().iter().map(limit).any(|known| known == (true, true)));
    }
}
