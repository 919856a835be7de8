//! A container's network, from the words of the command line to what it is lent and the steps that make it.

use super::{Progress, Silent, container, etc, networks, remains};
use crate::engine;
use crate::error::{Error, Result};
use crate::id::{ContainerId, HostPath, Name};
use crate::monitor::spawn::Handed;
use crate::net::lease::{self, Around};
use crate::net::network::{Attachment, Holder, Lease, Loan, Network};
use crate::net::plan::{DEFAULT_NETWORK, Mode, NetPlan, NetRequest};
use crate::net::publish::{HostPort, Protocol, Publish, Published};
use crate::net::record::{self, Networks};
use crate::net::{attachment, names, plan, probe, remove};
use crate::plan::step::Undo;
use crate::spec::request::{NetworkNamespace, NetworkWords};
use crate::spec::sysctl;
use crate::state::{Roots, container as records, user_ids};
use crate::sys::fs;
use crate::sys::process::{Identity, Pid};
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::Spec;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

/// Whether an address is taken or only looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Lend,
    Peek,
}

/// What a container has of the networks, and the steps that make it so.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) plan: NetPlan,
    pub(super) leases: Vec<Lease>,
    /// Gives back what was lent.
    pub(super) undo: Vec<Undo>,
    /// The lock is held until the shared part of the network stands: nobody may remove it meanwhile.
    pub(super) handed: Handed,
}

/// Lends the container its addresses and plans its network. The `net.*` sysctls of the specification become steps
/// here, for some of them need the links first.
pub(super) fn lend(
    roots: &Roots,
    (id, name): (&ContainerId, &Name),
    words: &NetworkWords,
    image: Option<&ImageConfiguration>,
    spec: &mut Spec,
    how: Use,
) -> Result<Lent> {
    let mut request = request(roots, name, words, image, spec)?;
    let holder = holder(id)?;
    let alive = |holder: &Holder| is_alive(roots, holder);
    let around = Around { root: &roots.root, alive: &alive, used: &probe::used };
    let tag = id.tag(roots.state.as_str());
    match how {
        Use::Peek => {
            choose_ports(roots, &mut request, id)?;
            let (networks, leases) = lease::peek(&roots.state, &request, &holder, &around)?;
            request.forwards = etc::is_cut_off(words, &leases)?;
            let (facts, _) = probe::facts(&roots.state, &networks, &alive)?;
            let plan = plan::plan(&request, &leases, &facts, id, &tag)?;
            Ok(Lent { plan, leases, undo: Vec::new(), handed: Handed::default() })
        }
        Use::Lend if lease::attachments(&request).is_empty() => {
            let (facts, _) = probe::facts(&roots.state, &[], &alive)?;
            let plan = plan::plan(&request, &[], &facts, id, &tag)?;
            Ok(Lent { plan, leases: Vec::new(), undo: Vec::new(), handed: Handed::default() })
        }
        Use::Lend => {
            free_from_the_dead(roots, &request, id)?;
            let networks = Networks::lock(&roots.state)?;
            choose_ports(roots, &mut request, id)?; // nobody else chooses meanwhile
            let leases = lease::acquire(&networks, &request, &holder, &around)?;
            request.forwards = etc::is_cut_off(words, &leases)?;
            let (facts, rules) = probe::facts(&roots.state, &lease::involved(&roots.state, &leases)?, &alive)?;
            let plan = plan::plan(&request, &leases, &facts, id, &tag)?;
            refuse_taken_ports(roots, id, &plan::published(&request, &leases)?)?;
            networks.intend(&plan)?;
            let undo = vec![Undo::ReturnLeases { state: roots.state.clone(), container: id.clone() }];
            let handed = Handed {
                locks: vec![networks.into_lock()],
                sockets: rules.into_iter().map(OwnedFd::from).collect(),
                images: None,
            };
            Ok(Lent { plan, leases, undo, handed })
        }
    }
}

/// This command holds for a container until the container's own records stand.
pub(super) fn holder(id: &ContainerId) -> Result<Holder> {
    let me = Identity::of_self()?;
    Ok(Holder { container: id.clone(), pid: me.pid.0, start_time: me.start_time, boot_id: me.boot_id })
}

/// Takes back what dead containers hold of the ports and addresses that are wanted: what they have published would lead
/// to who has their address. To be done before the networks are locked, for their undos do that.
pub(super) fn free_from_the_dead(roots: &Roots, request: &NetRequest, id: &ContainerId) -> Result<()> {
    let wanted = lease::attachments(request);
    if request.publish.is_empty() && wanted.iter().all(|want| want.addresses.is_empty()) {
        return Ok(());
    }
    let (all, _) = record::all(&roots.state)?;
    for (network, loan) in all.iter().flat_map(|network| network.loans.iter().map(move |loan| (network, loan))) {
        let same = |want: &&Attachment| want.network == network.name;
        let address = wanted.iter().filter(same).flat_map(|want| &want.addresses).any(|ip| loan.addresses.contains(ip));
        let port = || loan.published.iter().any(|port| request.publish.iter().any(|publish| publish.may_be(port)));
        if loan.holder.container != *id && (address || port()) && !is_alive(roots, &loan.holder) {
            let dead = records::load(roots, &loan.holder.container);
            match (&dead.config, &dead.life) {
                (None, None) => give_back(roots, &dead.id, &Silent), // it was killed before it had a record
                _ => drop(remains::repair_one(roots, &dead)?),
            }
        }
    }
    Ok(())
}

/// Names the container that has a port already; the kernel's own refusal comes too late to know names.
fn refuse_taken_ports(roots: &Roots, id: &ContainerId, ports: &[Published]) -> Result<()> {
    if ports.is_empty() {
        return Ok(()); // the records are long where thousands are published
    }
    let (all, _) = record::all(&roots.state)?;
    let others = all.iter().flat_map(|network| &network.loans).filter(|loan| loan.holder.container != *id);
    for loan in others {
        let clashes = |port: &&Published| loan.published.iter().any(|taken| taken.clashes(port));
        // whether a holder lives is looked up where it matters: there may be a thousand
        if let Some(port) = ports.iter().find(clashes).filter(|_| is_alive(roots, &loan.holder)) {
            let holder = records::load::<Undo>(roots, &loan.holder.container).config;
            let name =
                holder.map_or_else(|| loan.holder.container.short().to_owned(), |config| config.name.to_string());
            return Err(Error::user(format!("cannot publish port {port}: container {name} has it"))
                .hint(format!("choose another host port, or `minirun rm -f {name}`")));
        }
    }
    Ok(())
}

fn request(
    roots: &Roots,
    name: &Name,
    words: &NetworkWords,
    image: Option<&ImageConfiguration>,
    spec: &mut Spec,
) -> Result<NetRequest> {
    let mut publish = Vec::new();
    for word in &words.publish {
        publish.extend(Publish::parse(word)?);
    }
    if words.publish_all {
        for port in exposed(words, image) {
            publish.extend(Publish::parse(&port)?);
        }
    }
    let mut mode = mode(roots, words)?;
    if let Mode::Networks(attachments) = &mut mode {
        attachments.iter_mut().for_each(|one| one.names.insert(0, name.to_string()));
    }
    let own = !matches!(mode, Mode::Host);
    let sysctls = if own { sysctl::take_net(spec) } else { Vec::new() };
    Ok(NetRequest { mode, publish, sysctls, forwards: false })
}

/// Those that were left open; what other containers were lent is theirs, bound or not yet, and taken back or not yet.
fn choose_ports(roots: &Roots, request: &mut NetRequest, id: &ContainerId) -> Result<()> {
    if request.publish.iter().all(|publish| matches!(publish.host, HostPort::Exact(_))) {
        return Ok(());
    }
    let (all, _) = record::all(&roots.state)?;
    let others = all.iter().flat_map(|network| &network.loans).filter(|loan| loan.holder.container != *id);
    let taken: BTreeSet<(Protocol, u16)> =
        others.flat_map(|loan| &loan.published).map(|port| (port.protocol, port.port)).collect();
    let lent = |protocol, number| taken.contains(&(protocol, number));
    request.publish = probe::choose_ports(&request.publish, &lent)?;
    Ok(())
}

/// `80/tcp` of EXPOSE and --expose: published under a free port of the host.
fn exposed(words: &NetworkWords, image: Option<&ImageConfiguration>) -> Vec<String> {
    let config = image.and_then(|image| image.config().as_ref());
    let of_image = config.and_then(|config| config.exposed_ports().clone()).unwrap_or_default();
    let mut all: Vec<String> = of_image.into_iter().chain(words.expose.iter().cloned()).collect();
    all.sort();
    all.dedup();
    all
}

fn mode(roots: &Roots, words: &NetworkWords) -> Result<Mode> {
    match words.mode.as_deref() {
        Some("none") => return Ok(Mode::None),
        Some("host") => return Ok(Mode::Host),
        Some(other) if other.starts_with("container:") => {
            let other = container::find_as_it_is(roots, &other["container:".len()..])?;
            return Ok(Mode::Container(other.id));
        }
        Some(other) if other.starts_with("ns:") => return Ok(Mode::Path(HostPath::parse(&other["ns:".len()..])?)),
        _ => {}
    }
    let all = attachments(words)?;
    for one in all.iter().filter(|one| one.network.as_str() != DEFAULT_NETWORK) {
        networks::named(roots, one.network.as_str())?;
    }
    Ok(Mode::Networks(by_name(roots, all)))
}

/// The same where a network was named by its id; one that is not there keeps its word.
pub(super) fn by_name(roots: &Roots, mut all: Vec<Attachment>) -> Vec<Attachment> {
    for one in &mut all {
        if let Ok((_, name)) = networks::named(roots, one.network.as_str()) {
            one.network = name;
        }
    }
    all
}

/// The words that mean these networks, with the rest as it was.
pub(super) fn words_for(old: &NetworkWords, all: &[Attachment]) -> NetworkWords {
    let mut words = all.iter().map(attachment::word);
    let mode = Some(words.next().unwrap_or_else(|| "none".to_owned()));
    let more = words.collect();
    NetworkWords { mode, more, ip: None, ip6: None, mac: None, aliases: Vec::new(), ..old.clone() }
}

/// A request's words with the names of networks instead of their ids, as they are to be kept.
pub(super) fn with_names(roots: &Roots, words: &NetworkWords) -> Result<NetworkWords> {
    if words.namespace() != NetworkNamespace::Own || matches!(words.mode.as_deref(), None | Some("none")) {
        return Ok(words.clone());
    }
    let asked = attachments(words)?;
    let named = by_name(roots, asked.clone());
    for (at, one) in named.iter().enumerate() {
        if named[..at].iter().any(|before| before.network == one.network) {
            return Err(Error::user(format!("network {} is named twice", one.network)).hint("leave out one of the two"));
        }
    }
    Ok(if asked == named { words.clone() } else { words_for(words, &named) })
}

/// What it wants of each network that it names, or of the default one.
pub(super) fn attachments(words: &NetworkWords) -> Result<Vec<Attachment>> {
    let named = |word: &str| match word {
        "default" => Ok(Attachment::any(Name::parse(DEFAULT_NETWORK)?)),
        word => attachment::parse(word),
    };
    let words_of = words.mode.iter().chain(&words.more);
    let mut all: Vec<Attachment> = words_of.map(|word| named(word)).collect::<Result<_>>()?;
    if all.is_empty() {
        all.push(named("default")?);
    }
    all.iter_mut().enumerate().for_each(|(at, one)| one.link = at);
    for (at, one) in all.iter().enumerate() {
        if all[..at].iter().any(|before| before.network == one.network) {
            return Err(Error::user(format!("network {} is named twice", one.network)).hint("leave out one of the two"));
        }
    }
    let given = words.ip.is_some() || words.ip6.is_some() || words.mac.is_some() || !words.aliases.is_empty();
    if given && all.len() > 1 {
        return Err(Error::user("with several networks an address or an alias belongs to one of them")
            .hint("--network NAME:ip=ADDRESS,mac=ADDRESS,alias=NAME"));
    }
    if let Some(only) = all.first_mut() {
        only.addresses.extend(words.ip.as_deref().map(|ip| attachment::address(ip, true)).transpose()?);
        only.addresses.extend(words.ip6.as_deref().map(|ip| attachment::address(ip, false)).transpose()?);
        only.names.extend(words.aliases.iter().map(|word| attachment::alias(word)).collect::<Result<Vec<_>>>()?);
        only.mac = words.mac.as_deref().map(names::Mac::parse).transpose()?.or(only.mac);
    }
    Ok(all)
}

/// A holder is the command that asked, or the container whose records stand.
pub(super) fn is_alive(roots: &Roots, holder: &Holder) -> bool {
    let process = Identity { pid: Pid(holder.pid), start_time: holder.start_time, boot_id: holder.boot_id.clone() };
    process.is_alive() || records::load::<Undo>(roots, &holder.container).status.is_alive()
}

/// The others of its networks call a container by its new name from now on.
pub(super) fn rename(roots: &Roots, id: &ContainerId, old: &Name, new: &Name) -> Result<()> {
    if loans(roots, id).is_empty() {
        return Ok(());
    }
    let networks = Networks::lock(&roots.state)?;
    for (mut network, _) in loans(roots, id) {
        for loan in network.loans.iter_mut().filter(|loan| loan.holder.container == *id) {
            loan.names.iter_mut().filter(|name| **name == old.as_str()).for_each(|name| *name = new.to_string());
        }
        networks.save(&network)?;
    }
    Ok(())
}

/// The ports that each container has published; nothing where the networks' records cannot be read.
pub(super) fn published(roots: &Roots) -> BTreeMap<ContainerId, Vec<Published>> {
    let (all, _) = record::all(&roots.state).unwrap_or_default();
    let loans = all.into_iter().flat_map(|network| network.loans);
    loans.filter(|loan| !loan.published.is_empty()).map(|loan| (loan.holder.container, loan.published)).collect()
}

/// The networks that each container is in, with what it has published there; nothing where the records cannot be read.
pub(super) fn of_containers(roots: &Roots) -> BTreeMap<ContainerId, Vec<(String, Vec<Published>)>> {
    let (all, _) = record::all(&roots.state).unwrap_or_default();
    let mut of: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for network in all {
        for loan in network.loans {
            of.entry(loan.holder.container).or_default().push((network.name.to_string(), loan.published));
        }
    }
    of
}

/// What a container was lent by each network; nothing where the networks' records cannot be read.
pub(super) fn loans(roots: &Roots, id: &ContainerId) -> Vec<(Network, Loan)> {
    record::loans(&roots.state, id).unwrap_or_default()
}

/// Gives back what a container was lent that will never be.
pub(super) fn give_back(roots: &Roots, id: &ContainerId, progress: &dyn Progress) {
    let undo = Undo::ReturnLeases { state: roots.state.clone(), container: id.clone() };
    if fs::exists(roots.state.child("networks").as_path()) {
        for error in engine::undo(&[undo]).errors {
            progress.warn(&error.to_string());
        }
    }
    if let Err(error) = user_ids::release_all(roots, id) {
        progress.warn(&error.to_string());
    }
}

/// Takes back what dead containers still hold; a line for each.
pub(super) fn repair(roots: &Roots) -> Result<Vec<String>> {
    if !fs::exists(roots.state.child("networks").as_path()) {
        return Ok(Vec::new());
    }
    let networks = Networks::lock(&roots.state)?;
    let (all, _) = record::all(&roots.state)?;
    let unwritten = networks.forget_unwritten(&roots.root)?;
    let mut lines = Vec::new();
    lines.extend((unwritten > 0).then(|| format!("{unwritten} networks' records that were being written")));
    for loan in all.iter().flat_map(|network| &network.loans).filter(|loan| !is_alive(roots, &loan.holder)) {
        remove::give_back(&networks, &loan.holder.container, None, &mut Vec::new())?;
        lines.push(format!("the addresses of container {}", loan.holder.container.short()));
    }
    drop(networks);
    lines.extend(networks::broken::repair(roots)?);
    Ok(lines)
}

/// What the networks hold on this host, a line each.
pub(super) fn everything(roots: &Roots) -> Result<Vec<String>> {
    let (all, _) = record::all(&roots.state)?;
    let line = |network: &Network| format!("network {} (bridge {})", network.name, network.bridge);
    let mut lines: Vec<String> = all.iter().map(line).collect();
    let (defined, _) = record::definitions(&roots.root)?;
    let unused = defined.iter().filter(|one| all.iter().all(|network| network.name != one.name));
    lines.extend(unused.map(|one| format!("network {}", one.name)));
    Ok(lines)
}

/// Removes every network, and with the last one the table and the sysctls.
pub(super) fn remove_all(roots: &Roots) -> Vec<Error> {
    if !fs::exists(roots.state.child("networks").as_path()) {
        return Vec::new();
    }
    let all = || -> Result<Vec<Error>> {
        let networks = Networks::lock(&roots.state)?;
        let mut errors = networks::broken::remove_all(&networks)?;
        let (all, _) = record::all(&roots.state)?;
        errors.extend(all.iter().flat_map(|network| remove::remove_network(&networks, network)));
        if all.is_empty() {
            errors.extend(remove::remove_base(&networks));
        }
        Ok(errors)
    };
    all().unwrap_or_else(|error| vec![error])
}
