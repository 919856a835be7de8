//! The links of a container that runs on those of the host's (macvlan, ipvlan): without an end on the host, they are
//! unplugged inside.

use super::cables;
use super::link;
use super::names;
use super::network::Lease;
use super::shape::Segment;
use super::undo::find_link;
use crate::error::{Errno, Result};
use crate::id::IfName;
use crate::sys::netlink::{self, Batch, Socket};
use crate::sys::netns::Visit;
use crate::sys::process::Identity;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};

/// Deletes what a container has on the host's link of a network that it leaves, and nothing where that network has none
/// or the container has ended. A link is the container's to rename, and to put others on, which the kernel then puts on
/// the host's (drivers/net/macvlan.c, macvlan_common_newlink): all go but those of its other networks, `left`.
pub fn unplug(init: &Identity, lost: &Lease, left: &[Lease], tag: &str) -> Result<()> {
    let (Segment::Macvlan { parent, .. } | Segment::Ipvlan { parent, .. }) = &lost.shape.segment else {
        return Ok(());
    };
    let parent = find_link(&mut Socket::route()?, parent)?.map(|link| link.header.index);
    // who was killed while it was plugged in has left it under the name that it came by
    let names = [names::veth(tag, lost.generation, lost.link)?, cables::eth(lost.link)?];
    let kept: Vec<IfName> = left.iter().map(|lease| cables::eth(lease.link)).collect::<Result<_>>()?;
    let Some(visit) = Visit::to_running(init)? else { return Ok(()) };
    let goes = |link: &&LinkMessage| {
        let is_one_of = |names: &[IfName]| names.iter().any(|name| is_named(link, name));
        is_on_the_hosts(link)
            && !is_one_of(&kept)
            && (is_one_of(&names) || on(link).is_some_and(|of| Some(of) == parent))
    };
    visit.inside(|| -> Result<()> {
        let mut batch = Batch::default();
        for link in netlink::links()?.iter().filter(goes) {
            batch.push_route(link::delete(link.header.index), 0);
        }
        if batch.is_empty() {
            return Ok(());
        }
        batch.acknowledge();
        let sent = Socket::route()?.send(&batch, |_, errno| errno == Errno::ENODEV);
        Ok(sent.map_err(|refused| refused.named(format!("RTM_DELLINK({})", names[1])))?)
    })?
}

/// Of these kinds, and on a link of another namespace.
fn is_on_the_hosts(link: &LinkMessage) -> bool {
    let sublink = |attribute: &LinkAttribute| {
        let kinds = [InfoKind::MacVlan, InfoKind::IpVlan].map(LinkInfo::Kind);
        matches!(attribute, LinkAttribute::LinkInfo(info) if info.iter().any(|info| kinds.contains(info)))
    };
    let elsewhere = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::LinkNetNsId(_));
    link.attributes.iter().any(sublink) && link.attributes.iter().any(elsewhere)
}

/// The index of the link that it is on.
fn on(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    })
}

fn is_named(link: &LinkMessage, name: &IfName) -> bool {
    link.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::IfName(own) if own == name.as_str()))
}
