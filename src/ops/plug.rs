//! `network connect` and `disconnect`: one more network for a container, or one less; while it runs, at once.

use super::container::{self, Container};
use super::network::{attachments, holder, is_alive, loans};
use super::{Progress, attach, networks};
use crate::error::{Error, Kind, Result};
use crate::id::{HostPath, Name};
use crate::net::lease::{self, Around};
use crate::net::names::Realm;
use crate::net::network::{Attachment, Holder, Lease, Loan, Network};
use crate::net::plan::{self, Mode, NetRequest};
use crate::net::record::{self, Networks};
use crate::net::{apply, attachment, cables, files, names, probe, remove};
use crate::plan::step::Undo;
use crate::spec::request::{NetworkNamespace, NetworkWords, RunRequest};
use crate::state::{Config, Raw, Roots, Status, container as records, events};
use crate::sys::fs;
use crate::sys::process::Identity;
use std::net::IpAddr;

/// How a container is to be in the network that it is connected to.
#[derive(Debug, Clone, Default)]
pub struct ConnectRequest {
    pub ip: Option<String>,
    pub ip6: Option<String>,
    pub mac: Option<String>,
    pub aliases: Vec<String>,
}

/// Plugs a container into one more network.
pub fn connect(
    roots: &Roots,
    network: &str,
    word: &str,
    wanted: &ConnectRequest,
    progress: &dyn Progress,
) -> Result<()> {
    networks::refuse_without_root("connecting a container")?;
    let (network_id, network) = networks::named(roots, network)?;
    let mut wanted = attachment_of(&network, wanted)?;
    let id = container::look_up(roots, word)?.id;
    let _turn = records::turn(roots, &id)?;
    let found = container::find_settled(roots, id.as_str())?;
    let (config, mut request) = asked(&found, word)?;
    let mut all = networks_of(&request, word)?;
    if all.iter().any(|one| one.network == network) {
        return Err(Error::user(format!("container {word} is in network {network} already"))
            .hint(format!("minirun network disconnect {network} {word}")));
    }
    match found.status {
        Status::Running => {
            wanted.names.insert(0, config.name.to_string());
            wanted.link = connect_running(roots, &found, word, &wanted, progress)?;
            wanted.names.remove(0);
        }
        _ => check(roots, &wanted, &found)?,
    }
    all.push(wanted);
    note(roots, &config, &mut request, &all)?;
    events::network(roots, (&network_id, &network), "connect", Some(&id));
    Ok(())
}

/// Unplugs a container from a network.
pub fn disconnect(roots: &Roots, network: &str, word: &str, progress: &dyn Progress) -> Result<()> {
    networks::refuse_without_root("disconnecting a container")?;
    let (network_id, network) = networks::named(roots, network)?;
    let id = container::look_up(roots, word)?.id;
    let _turn = records::turn(roots, &id)?;
    let found = container::find_settled(roots, id.as_str())?;
    let (config, mut request) = asked(&found, word)?;
    let mut all = networks_of(&request, word)?;
    let before = all.len();
    all.retain(|one| one.network != network);
    if all.len() == before {
        return Err(Error::new(Kind::NotFound, format!("container {word} is not in network {network}"))
            .hint(format!("`minirun inspect {word}` shows its networks")));
    }
    if found.status == Status::Running {
        disconnect_running(roots, &found, &network, progress)?;
    }
    note(roots, &config, &mut request, &all)?;
    events::network(roots, (&network_id, &network), "disconnect", Some(&id));
    Ok(())
}

fn attachment_of(network: &Name, wanted: &ConnectRequest) -> Result<Attachment> {
    let mut one = Attachment::any(network.clone());
    one.addresses.extend(wanted.ip.as_deref().map(|ip| attachment::address(ip, true)).transpose()?);
    one.addresses.extend(wanted.ip6.as_deref().map(|ip| attachment::address(ip, false)).transpose()?);
    one.mac = wanted.mac.as_deref().map(names::Mac::parse).transpose()?;
    one.names = wanted.aliases.iter().map(|alias| attachment::alias(alias)).collect::<Result<_>>()?;
    Ok(one)
}

fn asked(found: &Container, word: &str) -> Result<(Config, RunRequest)> {
    let broken = || Error::user(format!("the record of container {word} cannot be read"));
    let config = found.config.clone().ok_or_else(|| broken().hint(format!("minirun rm -f {word}")))?;
    let request = config.request.parse().map_err(|e| broken().during(format!("{e}")))?;
    Ok((config, request))
}

/// The networks that it asks for; an error where it has none of its own.
fn networks_of(request: &RunRequest, word: &str) -> Result<Vec<Attachment>> {
    let words = &request.network;
    match (words.namespace(), words.mode.as_deref()) {
        (NetworkNamespace::Own, Some("none")) => Ok(Vec::new()),
        (NetworkNamespace::Own, _) => attachments(words),
        (_, mode) => Err(Error::user(format!(
            "container {word} has no networks of its own: --network {}",
            mode.unwrap_or_default()
        ))
        .hint("make it again with --network NAME")),
    }
}

/// Writes down what it is in from now on: a start makes it so again.
fn note(roots: &Roots, config: &Config, request: &mut RunRequest, all: &[Attachment]) -> Result<()> {
    let mut words = all.iter().map(attachment::word);
    let mode = Some(words.next().unwrap_or_else(|| "none".to_owned()));
    let more = words.collect();
    let old = std::mem::take(&mut request.network);
    request.network = NetworkWords { mode, more, ip: None, ip6: None, mac: None, aliases: Vec::new(), ..old };
    records::write_config(roots, &Config { request: Raw::of(request)?, ..config.clone() })
}

/// Whether a container that does not run could be in it.
fn check(roots: &Roots, wanted: &Attachment, found: &Container) -> Result<()> {
    let request = one(wanted);
    let alive = |holder: &Holder| is_alive(roots, holder);
    let around = Around { root: &roots.root, alive: &alive, used: &probe::used };
    lease::peek(&roots.state, &request, &holder(&found.id)?, &around).map(drop)
}

fn one(wanted: &Attachment) -> NetRequest {
    NetRequest { mode: Mode::Networks(vec![wanted.clone()]), publish: Vec::new(), sysctls: Vec::new() }
}

/// Which of its links it has become.
fn connect_running(
    roots: &Roots,
    found: &Container,
    word: &str,
    wanted: &Attachment,
    progress: &dyn Progress,
) -> Result<usize> {
    let (id, init) = (&found.id, init(found, word)?);
    let life = found.life.as_ref().map(|life| &life.undo[..]).unwrap_or_default();
    if !life.iter().any(|undo| matches!(undo, Undo::ReturnLeases { .. })) {
        return Err(Error::user(format!("container {word} was started without a network"))
            .hint(format!("minirun stop {word}, connect it, and start it again")));
    }
    let alive = |holder: &Holder| is_alive(roots, holder);
    let around = Around { root: &roots.root, alive: &alive, used: &probe::used };
    let networks = Networks::lock(&roots.state)?;
    refuse_sublink(roots, &wanted.network)?;
    let had = loans(roots, id);
    let free = (0..).find(|link| had.iter().all(|(_, loan)| loan.link != *link)).unwrap_or_default();
    let request = one(&Attachment { link: free, ..wanted.clone() });
    let leases = lease::acquire(&networks, &request, &holder(id)?, &around)?;
    let before: Vec<Lease> = had.iter().map(|(network, loan)| network.lease(loan)).collect();
    let tag = id.tag(roots.state.as_str());
    let deed = || -> Result<()> {
        let mut network = of_record(roots, &wanted.network)?;
        network.loans.iter_mut().filter(|loan| loan.holder.container == *id).for_each(|loan| loan.later = true);
        networks.save(&network)?;
        let (facts, _) = probe::facts(&roots.state, &lease::involved(&roots.state, &leases)?, &alive)?;
        let plan = cables::connect(&leases[0], &before, &facts, id, &tag)?;
        networks.intend(&plan)?;
        plan.warnings.iter().for_each(|warning| progress.warn(warning));
        let steps = [plan.prepare, plan.host].concat();
        let pid = nix::unistd::Pid::from_raw(init.pid.0);
        let done = apply::apply(&steps, Some(pid), &mut apply::Held::default());
        done.map_err(|failure| failure.error.during(steps[failure.index].shell()))
    };
    let done = deed();
    if done.is_err() {
        remove::give_back(&networks, id, Some(&wanted.network), &mut Vec::new())?;
    }
    drop(networks);
    done?;
    if plan::has_names([&wanted.network]) {
        attach::answer_names(roots.life(id).as_path())?;
    }
    let addresses: Vec<IpAddr> = leases[0].addresses.iter().map(ipnet::IpNet::addr).collect();
    rewrite_files(roots, found, &addresses, &[], plan::has_names([&wanted.network]))?;
    Ok(free)
}

fn disconnect_running(roots: &Roots, found: &Container, name: &Name, progress: &dyn Progress) -> Result<()> {
    let (id, init) = (&found.id, init(found, found.id.short())?);
    refuse_sublink(roots, name)?;
    let networks = Networks::lock(&roots.state)?;
    let had = loans(roots, id);
    let Some((_, lost)) = had.iter().find(|(network, _)| network.name == *name) else { return Ok(()) };
    let mut left: Vec<(Network, Loan)> = had.iter().filter(|(network, _)| network.name != *name).cloned().collect();
    left.sort_by_key(|(_, loan)| loan.link);
    let leases: Vec<Lease> = left.iter().map(|(network, loan)| network.lease(loan)).collect();
    let realm = Realm { state: roots.state.clone() };
    remove::give_back(&networks, id, Some(name), &mut Vec::new())?;
    let moved = plan::publishing(&leases).map(|at| (at, cables::moved(&lost.published, &leases[at])));
    let (at, ports) = moved.unwrap_or_default();
    if !ports.is_empty() {
        let mut network = of_record(roots, &left[at].0.name)?;
        network
            .loans
            .iter_mut()
            .filter(|loan| loan.holder.container == *id)
            .for_each(|loan| loan.published = ports.clone());
        networks.save(&network)?;
    } else if !lost.published.is_empty() {
        progress.warn("its published ports lead nowhere until it is started in another network");
    }
    let steps = cables::disconnect(&leases, &ports, &realm, id, &id.tag(roots.state.as_str()))?;
    let pid = nix::unistd::Pid::from_raw(init.pid.0);
    let done = apply::apply(&steps, Some(pid), &mut apply::Held::default());
    done.map_err(|failure| failure.error.during(steps[failure.index].shell()))?;
    rewrite_files(roots, found, &[], &lost.addresses, false)
}

/// A link on one of the host's has no other end that could be unplugged.
fn refuse_sublink(roots: &Roots, name: &Name) -> Result<()> {
    match record::definition(&roots.root, name)?.map(|definition| definition.shape.driver()) {
        Some(driver @ ("macvlan" | "ipvlan")) => {
            Err(Error::user(format!("network {name} is of driver {driver}: a container that runs cannot come or go"))
                .hint("stop it first, and start it again after"))
        }
        _ => Ok(()),
    }
}

fn init(found: &Container, word: &str) -> Result<Identity> {
    let init = found.life.as_ref().and_then(|life| life.init.clone());
    init.ok_or_else(|| container::not_running(word, &container::describe(&found.status).to_lowercase()))
}

fn of_record(roots: &Roots, name: &Name) -> Result<Network> {
    record::load(&roots.state, name)?.ok_or_else(|| lease::missing(name))
}

/// /etc/hosts knows its new addresses and forgets the old ones; /etc/resolv.conf names the resolver from its first
/// network with names on. Written in place: the container has these very files mounted.
fn rewrite_files(roots: &Roots, found: &Container, new: &[IpAddr], old: &[IpAddr], named: bool) -> Result<()> {
    let life: HostPath = roots.life(&found.id);
    let (hosts, resolv) = (life.child("hosts"), life.child("resolv.conf"));
    let hostname = fs::read_text(life.child("hostname").as_path())?;
    let text = files::with_addresses(&fs::read_text(hosts.as_path())?, hostname.trim(), new, old);
    fs::write_new(hosts.as_path(), text.as_bytes(), 0o644)?;
    let before = fs::read_text(resolv.as_path())?;
    if named && !files::is_answered(&before) {
        fs::write_new(resolv.as_path(), files::answered(&before).as_bytes(), 0o644)?;
    }
    Ok(())
}
