//! The end of a network: its links, its rules in our table and in other people's chains, its record; with the last one
//! the table and the sysctls that were set. Each object is removed only where it carries our mark. Everything is tried,
//! and what failed comes back as a list.

use super::entry::Entry;
use super::names::{self, Realm};
use super::network::{Holder, Loan, Network};
use super::record::{self, Networks};
use super::ruleset;
use super::segment::entries;
use super::shape::Segment;
use super::step::{Step, Undo};
use super::undo::{alias, delete_link, delete_route, find_link, remove_entries, undo};
use super::{cables, firewalld, lease, legacy, link, probe};
use crate::error::{Errno, Error, Result, SysError};
use crate::id::{ContainerId, IfName, Name};
use crate::sys::fs;
use crate::sys::netlink::{self, Batch, Socket};
use crate::sys::nftables::{self, Table, Transaction};
use ipnet::IpNet;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkMessage;
use std::path::Path;

/// Takes back what a container was lent, of one network or of all. A link that no undo of its start knows goes with it;
/// so does, while it runs, the link to the one network that it leaves, where that has an end on the host.
/// Ports are taken back where they are there still: who replaced the table while its container ended may have put them
/// back.
pub fn give_back(
    networks: &Networks,
    container: &ContainerId,
    only: Option<&Name>,
    lingering: &mut Vec<Socket>,
) -> Result<()> {
    let realm = Realm { state: networks.state.clone() };
    let tag = container.tag(networks.state.as_str());
    let (all, _) = record::all(&networks.state)?;
    // the link before its record: whoever dies in between leaves what is found again
    for network in all.iter().filter(|network| only.is_none_or(|name| network.name == *name)) {
        for loan in network.loans.iter().filter(|loan| loan.holder.container == *container) {
            unpublish(networks, loan, lingering)?;
            if loan.later || only.is_some() {
                delete_link(&names::veth(&tag, loan.generation, loan.link)?, &realm.container_mark(container))?;
            }
            for route in cables::host_routes(&network.lease(loan)) {
                if let Step::AddRoute { to, link, .. } = route {
                    delete_route(&to, &link)?;
                }
            }
        }
    }
    lease::release(networks, container, only).map(drop)
}

/// Refuses while a living container has a lease of this network.
pub fn check_unused(network: &Network, alive: &dyn Fn(&Holder) -> bool) -> Result<()> {
    let users: Vec<&str> =
        network.loans.iter().map(|l| &l.holder).filter(|h| alive(h)).map(|h| h.container.short()).collect();
    if users.is_empty() {
        return Ok(());
    }
    Err(Error::user(format!("network {} is in use by {}", network.name, users.join(", ")))
        .hint(format!("`minirun rm -f {}` first", users.join(" "))))
}

/// Removes a network and all that belongs to it.
pub fn remove_network(networks: &Networks, network: &Network) -> Vec<Error> {
    let realm = Realm { state: networks.state.clone() };
    let mut errors = Vec::new();
    let mut note = |result: Result<()>| errors.extend(result.err());
    for loan in &network.loans {
        note(unpublish(networks, loan, &mut Vec::new()));
    }
    note(remove_ports(&realm, network));
    note(network.gate.as_ref().map_or(Ok(()), |gate| delete_link(gate, &network.mark)));
    match network.shape.segment {
        Segment::Bridge => note(delete_link(&network.bridge, &network.mark)),
        Segment::Shared(_) if network.gate.is_none() => {
            network.gateways().iter().for_each(|address| note(delete_address(&network.bridge, address)));
        }
        _ => {}
    }
    note(remove_foreign_rules(&network.mark));
    errors.extend(legacy::forget(&network.mark));
    let mut note = |result: Result<()>| errors.extend(result.err());
    let (all, _) = record::all(&networks.state).unwrap_or_default();
    let shared = all.iter().any(|other| other.name != network.name && other.router() == network.router());
    if network.shape.is_routed() && !shared {
        note(firewalld::forget(network.router()));
    }
    for other in all.iter().filter(|other| other.beside.contains(network.router())) {
        note(part(networks, &realm, other, network.router()));
    }
    let others: Vec<Entry> = all.iter().filter(|other| other.name != network.name).flat_map(entries).collect();
    for entry in entries(network).into_iter().filter(|entry| !others.contains(entry)) {
        note(remove_entry(&realm.table(), entry));
    }
    note(networks.remove(&network.name));
    match record::all(&networks.state) {
        Ok((left, broken)) if left.is_empty() && broken.is_empty() => errors.extend(remove_base(networks)),
        Ok(_) => {}
        Err(error) => errors.push(error),
    }
    errors
}

/// Removes a network whose record cannot be read: what its name leads to. What it has in our table besides is nobody's,
/// and goes with the next reload.
pub fn remove_unknown(networks: &Networks, name: &Name) -> Result<Vec<Error>> {
    let realm = Realm { state: networks.state.clone() };
    let network = Network::new(&realm, name, Vec::new())?;
    let gate = delete_link(&realm.vlan_link(name)?, &network.mark);
    Ok(gate.err().into_iter().chain(remove_network(networks, &network)).collect())
}

/// Removes the ports of a loan, where they are there still.
fn unpublish(networks: &Networks, loan: &Loan, lingering: &mut Vec<Socket>) -> Result<()> {
    if loan.published.is_empty() {
        return Ok(());
    }
    let table = Realm { state: networks.state.clone() }.table();
    let (owner, ports) = (names::owner(&loan.holder.container), loan.published.clone());
    undo(&Undo::Unpublish { table, owner, ports }, lingering)
}

/// Removes what no network owns alone: our table, and the sysctls go back to what they were. Forwarding stays on where
/// others have come to need it since: they found it so, and will not look again.
pub fn remove_base(networks: &Networks) -> Vec<Error> {
    let realm = Realm { state: networks.state.clone() };
    let mut errors = Vec::new();
    errors.extend(remove_table(&realm.table()).err());
    match record::base(&networks.state) {
        Ok(base) => {
            let needed = base.sysctls.iter().any(|(key, _)| forwards(key)) && probe::others_forward(&realm);
            for (key, before) in base.sysctls.iter().filter(|(key, _)| !(needed && forwards(key))) {
                let written = fs::write_existing(&Path::new("/proc/sys").join(key), before);
                let gone = |e: &SysError| e.errno == Errno::ENOENT; // the link that it belonged to is
                errors.extend(written.err().filter(|e| !gone(e)).map(Error::from));
            }
        }
        Err(error) => errors.push(error),
    }
    if errors.is_empty() {
        errors.extend(networks.remove_base().err());
    }
    errors
}

/// With IPv6 forwarding goes what keeps it from losing its own routes (accept_ra).
fn forwards(key: &str) -> bool {
    key == "net/ipv4/ip_forward" || key.starts_with("net/ipv6/conf/")
}

/// Links that outlived their containers: on the network's group, and with a mark of this state root.
fn remove_ports(realm: &Realm, network: &Network) -> Result<()> {
    let ours = |link: &&LinkMessage| {
        use rtnetlink::packet_route::link::LinkAttribute;
        let grouped = link.attributes.contains(&LinkAttribute::Group(network.group));
        grouped && alias(link).is_some_and(|alias| realm.is_container_mark(alias))
    };
    let mut batch = Batch::default();
    for link in netlink::links()?.iter().filter(ours) {
        batch.push_route(link::delete(link.header.index), 0);
    }
    if batch.is_empty() {
        return Ok(());
    }
    batch.acknowledge();
    let sent = Socket::route()?.send(&batch, |_, errno| errno == Errno::ENODEV);
    Ok(sent.map_err(|refused| refused.named(format!("RTM_DELLINK(group {})", network.group)))?)
}

/// A network whose subnet lay on this link, too, is alone now: another one may get the link's name.
fn part(networks: &Networks, realm: &Realm, other: &Network, link: &IfName) -> Result<()> {
    let mut alone = other.clone();
    alone.beside.retain(|beside| beside != link);
    for entry in entries(other).into_iter().filter(|entry| !entries(&alone).contains(entry)) {
        remove_entry(&realm.table(), entry)?;
    }
    networks.save(&alone)
}

fn delete_address(name: &IfName, address: &IpNet) -> Result<()> {
    let mut socket = Socket::route()?;
    let Some(found) = find_link(&mut socket, name)? else { return Ok(()) };
    let mut batch = Batch::default();
    batch.push_route(RouteNetlinkMessage::DelAddress(link::address(found.header.index, address)), 0);
    batch.acknowledge();
    let sent = socket.send(&batch, |_, errno| errno == Errno::EADDRNOTAVAIL);
    Ok(sent.map_err(|refused| refused.named(format!("RTM_DELADDR({address}, {name})")))?)
}

fn remove_foreign_rules(mark: &str) -> Result<()> {
    let mut socket = Socket::netfilter()?;
    let everywhere = Table { family: libc::NFPROTO_UNSPEC as u8, name: "" };
    for rule in nftables::rules(&mut socket, &everywhere, "")? {
        if rule.comment.as_deref() == Some(mark) {
            let mut transaction = Transaction::default();
            transaction.delete_rule(&rule);
            gone_is_fine(transaction, &mut socket, "NFT_MSG_DELRULE")?;
        }
    }
    Ok(())
}

fn remove_entry(table: &str, entry: Entry) -> Result<()> {
    remove_entries(&mut Socket::netfilter()?, table, &[entry])
}

fn remove_table(name: &str) -> Result<()> {
    let mut transaction = Transaction::default();
    transaction.delete_table(&ruleset::table(name));
    gone_is_fine(transaction, &mut Socket::netfilter()?, "NFT_MSG_DELTABLE")
}

fn gone_is_fine(transaction: Transaction, socket: &mut Socket, call: &str) -> Result<()> {
    match transaction.commit(socket) {
        Err(refused) if refused.errno != Errno::ENOENT => Err(refused.named(call).into()),
        _ => Ok(()),
    }
}
