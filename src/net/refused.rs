//! A step that the kernel has refused, as an error: the call, and a hint where the errno has a well-known cause.

use super::step::{Step, Sublink, SublinkKind};
use crate::error::{Errno, Error, Kind};
use crate::sys::netlink::Refused;

/// The error of a refused step, with a hint where the errno has a well-known cause.
pub(super) fn explained(refused: Refused, step: &Step) -> Error {
    let errno = refused.errno;
    let error = Error::from(refused.named(call(step)));
    if [Errno::EPERM, Errno::EACCES].contains(&errno) {
        return error.during("creating the network needs root").hint("sudo minirun run …");
    }
    match hint(step, errno) {
        Some(hint) if hint.starts_with(LACKS) => error.hint(hint).kind(Kind::Kernel),
        Some(hint) => error.hint(hint),
        None => error,
    }
}

const LACKS: &str = "this kernel lacks ";

fn hint(step: &Step, errno: Errno) -> Option<String> {
    let missing = [Errno::ENOENT, Errno::EOPNOTSUPP, Errno::EINVAL].contains(&errno);
    // net/bridge/br_if.c, find_portno: BR_MAX_PORTS is 1 << BR_PORT_BITS
    if let (Step::AddVeth(veth), Errno::EXFULL) = (step, errno) {
        let bridge = &veth.bridge;
        return Some(format!("bridge {bridge} is full, the kernel plugs 1024 links into one: use a second network"));
    }
    if let (Step::EnsureBridge { .. } | Step::AddVeth(_), Errno::EOPNOTSUPP) = (step, errno) {
        return Some(format!("{LACKS}bridge or veth: modprobe bridge veth"));
    }
    if let (Step::FilterVlans { .. } | Step::JoinVlan { .. } | Step::LeaveVlan { .. }, true) = (step, missing) {
        let instead = "--isolate keeps the containers of a network apart";
        return Some(format!("{LACKS}CONFIG_BRIDGE_VLAN_FILTERING: {instead}"));
    }
    if let (Step::EnsureVlanLink { .. }, true) = (step, missing) {
        return Some(format!("{LACKS}CONFIG_VLAN_8021Q: modprobe 8021q"));
    }
    if let Step::AddSublink(Sublink { parent, kind, .. }) = step {
        let (name, option) = match kind {
            SublinkKind::Macvlan(..) => ("macvlan", "CONFIG_MACVLAN"),
            SublinkKind::Ipvlan(_) => ("ipvlan", "CONFIG_IPVLAN"),
        };
        return match errno {
            Errno::EOPNOTSUPP => Some(format!("{LACKS}{option}: modprobe {name}")),
            Errno::EBUSY | Errno::EINVAL => {
                Some(format!("does {parent} belong to a bridge, or has it sublinks of another kind or mode already?"))
            }
            _ => None,
        };
    }
    if matches!(step, Step::EnsureEntries { .. }) && errno == Errno::ENOENT {
        return Some(CHANGED.into());
    }
    if matches!(step, Step::EnsureRuleset { .. } | Step::ReplaceRuleset { .. }) && missing {
        return Some(format!("{LACKS}nf_tables, nft_nat, nft_masq or nft_fib_inet: modprobe them"));
    }
    None
}

/// Why a set is not there.
pub(super) const CHANGED: &str = "somebody has changed our table, or another version made it: minirun network reload";

fn call(step: &Step) -> String {
    match step {
        Step::EnsureBridge { name, .. } => format!("RTM_NEWLINK({name}, bridge)"),
        Step::AddVeth(veth) => format!("RTM_NEWLINK({}, veth, master {})", veth.host, veth.bridge),
        Step::PlugIn { link, bridge } => format!("RTM_SETLINK({link}, master {bridge})"),
        Step::SetHairpin { link } => format!("RTM_NEWLINK({link}, hairpin)"),
        Step::SetIsolated { link } => format!("RTM_NEWLINK({link}, isolated)"),
        Step::FilterVlans { bridge } => format!("RTM_NEWLINK({bridge}, vlan_filtering)"),
        Step::LeaveVlan { link, vlan } => format!("RTM_DELLINK({link}, vlan {vlan})"),
        Step::JoinVlan { link, vlan, .. } => format!("RTM_SETLINK({link}, vlan {vlan})"),
        Step::EnsureVlanLink { name, bridge, vlan, .. } => format!("RTM_NEWLINK({name}, vlan {vlan} of {bridge})"),
        Step::AddSublink(link) => format!("RTM_NEWLINK({}, on {})", link.name, link.parent),
        Step::RenameLink { from, to } => format!("RTM_SETLINK({from}, name {to})"),
        Step::AddRoute { to, link, .. } => format!("RTM_NEWROUTE({to}, {link})"),
        Step::SetAlias { link, .. } => format!("RTM_SETLINK({link}, alias)"),
        Step::LinkUp { link, .. } => format!("RTM_SETLINK({link}, up)"),
        Step::AddAddress { link, address, .. } => format!("RTM_NEWADDR({address}, {link})"),
        Step::AddDefaultRoute { via, link, .. } => format!("RTM_NEWROUTE(default via {via}, {link})"),
        Step::EnsureRuleset { table } | Step::ReplaceRuleset { table, .. } => format!("NFT_MSG_NEWTABLE({table})"),
        Step::EnsureEntries { table, .. } | Step::Publish { table, .. } => format!("NFT_MSG_NEWSETELEM({table})"),
        Step::AllowForward { chain, .. } => format!("NFT_MSG_NEWRULE({})", chain.text()),
        Step::AllowLegacy { program, .. } => program.to_string(),
        Step::TrustBridge { bridge } => format!("changeZoneOfInterface({bridge})"),
        Step::SetSysctl { key, .. } => format!("write(/proc/sys/{key})"),
        Step::HoldPort { port, .. } => format!("bind({})", port.listen()),
        Step::AnswerNames => "bind(127.0.0.11)".to_owned(),
        Step::ForgetFlows { protocol, .. } => format!("IPCTNL_MSG_CT_DELETE({protocol})"),
    }
}
