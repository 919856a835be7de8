//! The network's steps: each one kernel verb, one file write or one transaction, as data, with its undo. How they are
//! said is in `explain`. Pure.
//!
//! Steps on what containers share (bridge, table, sysctls, other people's chains) are idempotent and have no undo here:
//! they belong to the network's record.

use super::entry::Entry;
use super::names::Mac;
use super::publish::{Protocol, Published};
use super::shape::{IpvlanMode, MacvlanMode};
use crate::id::{HostPath, IfName};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// In which network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Netns {
    Host,
    /// That of init, through a socket opened in it.
    Init,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// `key` is the path below /proc/sys.
    SetSysctl {
        netns: Netns,
        key: String,
        value: String,
    },
    /// Our table with all maps and rules; there already is done.
    EnsureRuleset {
        table: String,
    },
    /// Our table with these elements, in place of what is there, in one transaction.
    ReplaceRuleset {
        table: String,
        entries: Vec<Entry>,
    },
    /// Elements of our table that containers share; there already is done.
    EnsureEntries {
        table: String,
        entries: Vec<Entry>,
    },
    /// A bridge, still down where it is new; one that is there gets these properties.
    EnsureBridge {
        name: IfName,
        mac: Mac,
        group: u32,
        mtu: Option<u32>,
    },
    SetAlias {
        link: IfName,
        alias: String,
    },
    /// Two accept rules in front of somebody else's chain.
    AllowForward {
        chain: ForeignChain,
        bridge: IfName,
        comment: String,
    },
    /// Two accept rules in front of iptables-legacy's FORWARD, by its program.
    AllowLegacy {
        program: HostPath,
        bridge: IfName,
        comment: String,
    },
    /// Into firewalld's zone `trusted`, until that is reloaded.
    TrustBridge {
        bridge: IfName,
    },
    /// One message: the host's end, up and on the bridge, and the peer in init's namespace.
    AddVeth(Veth),
    /// The host's end of a cable that is there, up and on the bridge again.
    PlugIn {
        link: IfName,
        bridge: IfName,
    },
    /// Packets may leave by the port on which they came.
    SetHairpin {
        link: IfName,
    },
    /// The port passes nothing on to other ports of this kind.
    SetIsolated {
        link: IfName,
    },
    /// The bridge looks at VLAN tags from now on.
    FilterVlans {
        bridge: IfName,
    },
    /// The port is no member of this VLAN any more.
    LeaveVlan {
        link: IfName,
        vlan: u16,
    },
    JoinVlan {
        link: IfName,
        vlan: u16,
        member: Member,
    },
    /// The host's own way into one VLAN of a bridge; there already is done.
    EnsureVlanLink {
        name: IfName,
        bridge: IfName,
        vlan: u16,
        mac: Mac,
    },
    /// A link of init's namespace on one of the host's.
    AddSublink(Sublink),
    /// A link of init's namespace, still down.
    RenameLink {
        from: IfName,
        to: IfName,
    },
    AddAddress {
        netns: Netns,
        link: IfName,
        address: IpNet,
    },
    LinkUp {
        netns: Netns,
        link: IfName,
    },
    /// The default route of the gateway's family.
    AddDefaultRoute {
        netns: Netns,
        via: IpAddr,
        link: IfName,
    },
    /// A route to a net or a host; where it leads is behind `via`, or on the link itself.
    AddRoute {
        netns: Netns,
        to: IpNet,
        via: Option<IpAddr>,
        link: IfName,
    },
    /// A bound socket that the monitor keeps.
    HoldPort {
        table: String,
        port: Published,
    },
    /// All ports in one transaction; one that is taken refuses all.
    Publish {
        table: String,
        owner: String,
        ports: Vec<Published>,
    },
    /// Sockets of the monitor in init's namespace, which questions for names lead to.
    AnswerNames,
    /// Forgets the flows that went to these ports before.
    ForgetFlows {
        protocol: Protocol,
        ports: Vec<u16>,
    },
}

/// A cable between the bridge and the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veth {
    /// The host's end.
    pub host: IfName,
    pub mac: Mac,
    pub bridge: IfName,
    pub group: u32,
    pub mtu: Option<u32>,
    /// The end in init's network namespace.
    pub peer: IfName,
    pub peer_mac: Mac,
    /// The alias that a later step gives to the host's end, and that its undo looks for.
    pub mark: String,
}

/// A link on another one: what comes in there for its address is handed to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sublink {
    pub parent: IfName,
    pub kind: SublinkKind,
    /// In init's network namespace.
    pub name: IfName,
    pub mtu: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SublinkKind {
    Macvlan(MacvlanMode, Mac),
    /// It has its parent's MAC address.
    Ipvlan(IpvlanMode),
}

/// How a port is in a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Member {
    /// Its frames carry no tag, and those that come without one are of this VLAN.
    Untagged,
    Tagged,
    /// The bridge itself, as the host's own port.
    Host,
}

/// A chain that is not ours and drops what it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignChain {
    /// NFPROTO_IPV4, NFPROTO_IPV6 or NFPROTO_INET.
    pub family: u8,
    pub table: String,
    pub chain: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undo {
    /// Only where the link carries this alias, or none yet.
    DeleteLink { link: IfName, mark: String },
    /// Only the elements that carry the owner's comment; flows of UDP ports are forgotten.
    Unpublish { table: String, owner: String, ports: Vec<Published> },
}

impl Step {
    /// What takes it back.
    pub fn undo(&self) -> Option<Undo> {
        match self {
            Step::AddVeth(veth) => Some(Undo::DeleteLink { link: veth.host.clone(), mark: veth.mark.clone() }),
            Step::Publish { table, owner, ports } => {
                Some(Undo::Unpublish { table: table.clone(), owner: owner.clone(), ports: ports.clone() })
            }
            Step::SetSysctl { .. }
            | Step::SetIsolated { .. }
            | Step::FilterVlans { .. }
            | Step::LeaveVlan { .. }
            | Step::JoinVlan { .. }
            | Step::EnsureVlanLink { .. }
            | Step::AddSublink(_)
            | Step::RenameLink { .. }
            | Step::AddRoute { .. }
            | Step::EnsureRuleset { .. }
            | Step::ReplaceRuleset { .. }
            | Step::EnsureEntries { .. }
            | Step::EnsureBridge { .. }
            | Step::SetAlias { .. }
            | Step::AllowForward { .. }
            | Step::AllowLegacy { .. }
            | Step::TrustBridge { .. }
            | Step::PlugIn { .. }
            | Step::SetHairpin { .. }
            | Step::AddAddress { .. }
            | Step::LinkUp { .. }
            | Step::AddDefaultRoute { .. }
            | Step::HoldPort { .. }
            | Step::AnswerNames
            | Step::ForgetFlows { .. } => None,
        }
    }
}

impl Undo {
    /// The kernel does it by itself soon after the last process of the namespaces is gone, in the background; asking
    /// for it waits 18 ms for RCU. So the engine may answer its caller first, and do this after.
    pub fn follows_init(&self) -> bool {
        match self {
            Undo::DeleteLink { .. } => true,
            Undo::Unpublish { .. } => false,
        }
    }
}

/// The host ports that are UDP.
pub fn udp_ports(ports: &[Published]) -> Vec<u16> {
    ports.iter().filter(|port| port.protocol == Protocol::Udp).map(|port| port.port).collect()
}
