//! How a link is a port of its bridge, as the kernel says it: number, state, flags, VLANs. Reads messages alone.

use rtnetlink::packet_route::link::{
    AfSpecBridge, BridgePortState, BridgeVlanInfo, BridgeVlanInfoFlags, InfoBridgePort, InfoPortData, LinkAttribute,
    LinkInfo, LinkMessage,
};

/// A port of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The bridge's own number for it (IFLA_BRPORT_NO), from 1 on.
    pub number: u16,
    /// As `bridge link` says it.
    pub state: &'static str,
    pub isolated: bool,
    pub hairpin: bool,
}

/// A VLAN that a port is a member of: of one of them its packets are that have no tag (PVID).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlan {
    pub id: u16,
    pub tagged: bool,
}

/// `None` where the link is plugged into no bridge.
pub(super) fn of(link: &LinkMessage) -> Option<Port> {
    let mut port = Port { number: 0, state: "disabled", isolated: false, hairpin: false };
    for info in infos(link) {
        match info {
            InfoBridgePort::PortNumber(number) => port.number = *number,
            InfoBridgePort::State(state) => port.state = state_word(*state),
            InfoBridgePort::Isolated(isolated) => port.isolated = *isolated,
            InfoBridgePort::HairpinMode(hairpin) => port.hairpin = *hairpin,
            _ => {}
        }
    }
    (port.number != 0).then_some(port)
}

/// BR_STATE_*, in the words of iproute2 (bridge/link.c).
fn state_word(state: BridgePortState) -> &'static str {
    match state {
        BridgePortState::Listening => "listening",
        BridgePortState::Learning => "learning",
        BridgePortState::Forwarding => "forwarding",
        BridgePortState::Blocking => "blocking",
        _ => "disabled",
    }
}

/// All that the link says of itself as a port.
pub(super) fn infos(link: &LinkMessage) -> impl Iterator<Item = &InfoBridgePort> {
    let infos = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    let ports = infos.flatten().filter_map(|info| match info {
        LinkInfo::PortData(InfoPortData::BridgePort(port)) => Some(port),
        _ => None,
    });
    ports.flatten()
}

/// The VLANs that a port, or a bridge itself, is in; `ports` are those of [`crate::sys::netlink::bridge_ports`].
pub(super) fn vlans_of(ports: &[LinkMessage], index: u32) -> impl Iterator<Item = Vlan> {
    let of = ports.iter().filter(move |port| port.header.index == index).flat_map(|port| &port.attributes);
    let specs = of.filter_map(|attribute| match attribute {
        LinkAttribute::AfSpecBridge(specs) => Some(specs),
        _ => None,
    });
    let vlan = |of: &BridgeVlanInfo| Vlan { id: of.vid, tagged: !of.flags.contains(BridgeVlanInfoFlags::Pvid) };
    specs.flatten().filter_map(move |spec| match spec {
        AfSpecBridge::VlanInfo(info) => Some(vlan(info)),
        _ => None,
    })
}
