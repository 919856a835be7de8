//! `network connect` and `disconnect`: one more network for a container, or one less; while it runs, at once.

use super::container::{self, Container};
use super::network::{attachments, by_name, free_from_the_dead, holder, is_alive, loans, words_for};
use super::{Progress, attach, networks};
use crate::error::{Error, Kind, Result};
use crate::id::{ContainerId, HostPath, Name};
use crate::net::files::Moved;
use crate::net::lease::{self, Around};
use crate::net::names::Realm;
use crate::net::network::{Attachment, Holder, Lease, Loan, Network};
use crate::net::plan::{self, Mode, NetRequest};
use crate::net::publish::Published;
use crate::net::record::{self, Networks};
use crate::net::step::{Step, Undo as NetUndo};
use crate::net::{apply, attachment, cables, files, names, probe, remove, sublink};
use crate::plan::step::Undo;
use crate::spec::request::{NetworkNamespace, RunRequest};
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

/// Plugs a container into one more network. What it is to be in is written down first: whoever dies on the way leaves
/// something that `disconnect`, or the same again, brings to its end.
pub fn connect(
    roots: &Roots,
    network: &str,
    word: &str,
    wanted: &ConnectRequest,
    progress: &dyn Progress,
) -> Result<()> {
    networks::refuse_without_root("connecting a container")?;
    let (network_id, network) = networks::named(roots, network)?;
    let wanted = attachment_of(&network, wanted)?;
    let id = container::look_up(roots, word)?.id;
    let _turn = records::turn(roots, &id)?;
    let found = container::find_settled(roots, id.as_str())?;
    let (config, request) = asked(&found, word)?;
    let before = networks_of(roots, &request, word)?;
    let running = found.status == Status::Running;
    let named = before.iter().any(|one| one.network == network);
    if has_loan(roots, &id, &network) || (named && !running) {
        return Err(Error::user(format!("container {word} is in network {network} already"))
            .hint(format!("minirun network disconnect {network} {word}")));
    }
    let others = before.iter().filter(|one| one.network != network).cloned();
    let all: Vec<Attachment> = others.chain([wanted.clone()]).collect();
    if !running {
        check(roots, &wanted, &found)?;
        note(roots, &config, &request, &all)?;
    } else {
        check_running(roots, &found, word, &network)?;
        note(roots, &config, &request, &all)?;
        let done = connect_running(roots, &found, &config, &wanted, progress);
        if let Err(error) = done {
            unplug(&Networks::lock(&roots.state)?, roots, &found, &network)?;
            note(roots, &config, &request, &before)?;
            return Err(error);
        }
        if !request.network.publish.is_empty() && loans(roots, &id).iter().all(|(_, loan)| loan.published.is_empty()) {
            progress.warn("its ports are published when it is started again");
        }
    }
    events::network(roots, (&network_id, &network, driver(roots, &network)), "connect", Some(&id));
    Ok(())
}

/// Unplugs a container from a network. Every step may be done again.
pub fn disconnect(roots: &Roots, network: &str, word: &str, progress: &dyn Progress) -> Result<()> {
    networks::refuse_without_root("disconnecting a container")?;
    let (network_id, network) = networks::named(roots, network)?;
    let id = container::look_up(roots, word)?.id;
    let _turn = records::turn(roots, &id)?;
    let found = container::find_settled(roots, id.as_str())?;
    let (config, request) = asked(&found, word)?;
    let mut all = networks_of(roots, &request, word)?;
    let before = all.len();
    all.retain(|one| one.network != network);
    if all.len() == before && !has_loan(roots, &id, &network) {
        return Err(Error::new(Kind::NotFound, format!("container {word} is not in network {network}"))
            .hint(format!("`minirun inspect {word}` shows its networks")));
    }
    if found.status == Status::Running {
        disconnect_running(roots, &found, &network, progress)?;
    }
    note(roots, &config, &request, &all)?;
    events::network(roots, (&network_id, &network, driver(roots, &network)), "disconnect", Some(&id));
    Ok(())
}

fn has_loan(roots: &Roots, id: &ContainerId, network: &Name) -> bool {
    loans(roots, id).iter().any(|(of, _)| of.name == *network)
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

/// The networks that it asks for, by their names; an error where it has none of its own.
fn networks_of(roots: &Roots, request: &RunRequest, word: &str) -> Result<Vec<Attachment>> {
    let words = &request.network;
    match (words.namespace(), words.mode.as_deref()) {
        (NetworkNamespace::Own, Some("none")) => Ok(Vec::new()),
        (NetworkNamespace::Own, _) => Ok(by_name(roots, attachments(words)?)),
        (_, mode) => Err(Error::user(format!(
            "container {word} has no networks of its own: --network {}",
            mode.unwrap_or_default()
        ))
        .hint("make it again with --network NAME")),
    }
}

/// Writes down what it is in from now on: a start makes it so again.
fn note(roots: &Roots, config: &Config, request: &RunRequest, all: &[Attachment]) -> Result<()> {
    let request = RunRequest { network: words_for(&request.network, all), ..request.clone() };
    records::write_config(roots, &Config { request: Raw::of(&request)?, ..config.clone() })
}

/// Whether a container that does not run could be in it.
fn check(roots: &Roots, wanted: &Attachment, found: &Container) -> Result<()> {
    let request = one(wanted);
    let alive = |holder: &Holder| is_alive(roots, holder);
    let around = Around { root: &roots.root, alive: &alive, used: &probe::used };
    lease::peek(&roots.state, &request, &holder(&found.id)?, &around).map(drop)
}

fn one(wanted: &Attachment) -> NetRequest {
    NetRequest { mode: Mode::Networks(vec![wanted.clone()]), publish: Vec::new(), sysctls: Vec::new(), forwards: false }
}

/// What can be refused before anything is done.
fn check_running(roots: &Roots, found: &Container, word: &str, network: &Name) -> Result<()> {
    let life = found.life.as_ref().map(|life| &life.undo[..]).unwrap_or_default();
    if !life.iter().any(|undo| matches!(undo, Undo::ReturnLeases { .. })) {
        return Err(Error::user(format!("container {word} was started without a network"))
            .hint(format!("minirun stop {word}, connect it, and start it again")));
    }
    match plan::has_names([network]) {
        true => attach::answer_names(roots.life(&found.id).as_path()), // by an older monitor it is refused here
        false => Ok(()),
    }
}

fn connect_running(
    roots: &Roots,
    found: &Container,
    config: &Config,
    wanted: &Attachment,
    progress: &dyn Progress,
) -> Result<()> {
    let (id, init) = (&found.id, init(found)?);
    let alive = |holder: &Holder| is_alive(roots, holder);
    let around = Around { root: &roots.root, alive: &alive, used: &probe::used };
    free_from_the_dead(roots, &one(wanted), id)?;
    let networks = Networks::lock(&roots.state)?;
    let had = loans(roots, id);
    let link = (0..).find(|link| had.iter().all(|(_, loan)| loan.link != *link)).unwrap_or_default();
    let names = [vec![config.name.to_string()], wanted.names.clone()].concat();
    let request = one(&Attachment { link, names, ..wanted.clone() });
    let leases = lease::acquire(&networks, &request, &holder(id)?, &around)?;
    let mut network = of_record(roots, &wanted.network)?;
    // what its start had published and no network leads to any more, this one does: its monitor holds the ports
    let lost = match had.iter().all(|(_, loan)| loan.published.is_empty()) && plan::publishing(&leases).is_some() {
        true => held(found),
        false => Vec::new(),
    };
    let ports = cables::moved(&lost, &leases[0]);
    for loan in network.loans.iter_mut().filter(|loan| loan.holder.container == *id) {
        (loan.later, loan.published) = (true, ports.clone());
    }
    networks.save(&network)?;
    let before: Vec<Lease> = had.iter().map(|(network, loan)| network.lease(loan)).collect();
    let (facts, _) = probe::facts(&roots.state, &lease::involved(&roots.state, &leases)?, &alive)?;
    let plan = cables::connect((&leases[0], &ports), &before, &facts, id, &id.tag(roots.state.as_str()))?;
    networks.intend(&plan)?;
    plan.warnings.iter().for_each(|warning| progress.warn(warning));
    let warnings = do_in(found, &init, &[plan.prepare, plan.host].concat())?;
    warnings.iter().for_each(|warning| progress.warn(warning));
    drop(networks);
    let gateway = plan::host_gateway(before.iter().chain(&leases));
    let moved = Moved { new: addresses(&leases[0]).collect(), old: Vec::new(), gateway };
    rewrite_files(roots, found, &moved, plan::has_names([&wanted.network]))
}

/// What its start had published.
fn held(found: &Container) -> Vec<Published> {
    let ports = |undo: &Undo| match undo {
        Undo::Net(NetUndo::Unpublish { ports, .. }) => ports.clone(),
        _ => Vec::new(),
    };
    found.life.iter().flat_map(|life| &life.undo).flat_map(ports).collect()
}

/// Steps of which some are inside; gives their warnings. Its pid is another process's when it has ended, so that is looked
/// at last.
fn do_in(found: &Container, init: &Identity, steps: &[Step]) -> Result<Vec<String>> {
    let ended = || Error::user(format!("container {} has just ended", found.id.short())).hint("minirun start it again");
    if !init.is_alive() {
        return Err(ended());
    }
    let pid = nix::unistd::Pid::from_raw(init.pid.0);
    let mut held = apply::Held::default();
    let done = apply::apply(steps, Some(pid), &mut held).map_err(|failure| match init.is_alive() {
        true => failure.error.during(steps[failure.index].shell().doing()),
        false => ended(),
    });
    done.map(|()| held.warnings)
}

fn disconnect_running(roots: &Roots, found: &Container, name: &Name, progress: &dyn Progress) -> Result<()> {
    let (id, init) = (&found.id, init(found)?);
    let networks = Networks::lock(&roots.state)?;
    let had = loans(roots, id);
    let lost = had.iter().find(|(network, _)| network.name == *name);
    let mut left: Vec<(Network, Loan)> = had.iter().filter(|(network, _)| network.name != *name).cloned().collect();
    left.sort_by_key(|(_, loan)| loan.link);
    let leases: Vec<Lease> = left.iter().map(|(network, loan)| network.lease(loan)).collect();
    // what it had published goes on where it still gets out; it stands there before it is gone here
    let published = lost.map_or(&[][..], |(_, loan)| &loan.published);
    let (at, moved) = match plan::publishing(&leases) {
        Some(at) => (at, cables::moved(published, &leases[at])),
        None => (0, Vec::new()),
    };
    if moved.len() < published.len() {
        progress.warn("some of its published ports lead nowhere until it comes into another network");
    }
    if !moved.is_empty() {
        let mut network = of_record(roots, &left[at].0.name)?;
        let own = network.loans.iter_mut().filter(|loan| loan.holder.container == *id);
        own.for_each(|loan| loan.published = moved.clone());
        networks.save(&network)?;
        left[at].1.published = moved;
    }
    // whoever dies from here on still has it asked for in its record, and can disconnect it again
    let lost = lost.map(|(network, loan)| network.lease(loan));
    let old = lost.iter().flat_map(|lost| addresses(lost).chain(lost.gateways.iter().copied())).collect();
    rewrite_files(roots, found, &Moved { new: Vec::new(), old, gateway: plan::host_gateway(&leases) }, false)?;
    unplug(&networks, roots, found, name)?;
    let ports = left.get(at).map_or(&[][..], |(_, loan)| &loan.published);
    let realm = Realm { state: roots.state.clone() };
    do_in(found, &init, &cables::disconnect(&leases, ports, &realm, id, &id.tag(roots.state.as_str()))?).map(drop)
}

/// Its link to this network goes, and what it was lent there.
fn unplug(networks: &Networks, roots: &Roots, found: &Container, name: &Name) -> Result<()> {
    let leases = |wanted: bool| -> Vec<Lease> {
        let of = loans(roots, &found.id).into_iter().filter(|(network, _)| (network.name == *name) == wanted);
        of.map(|(network, loan)| network.lease(&loan)).collect()
    };
    for lost in leases(true) {
        sublink::unplug(&init(found)?, &lost, &leases(false), &found.id.tag(roots.state.as_str()))?;
    }
    remove::give_back(networks, &found.id, Some(name), &mut Vec::new())
}

fn addresses(lease: &Lease) -> impl Iterator<Item = IpAddr> {
    lease.addresses.iter().map(ipnet::IpNet::addr)
}

fn driver(roots: &Roots, name: &Name) -> &'static str {
    let definition = record::definition(&roots.root, name).ok().flatten();
    definition.map_or("bridge", |definition| definition.shape.driver())
}

fn init(found: &Container) -> Result<Identity> {
    let init = found.life.as_ref().and_then(|life| life.init.clone());
    init.ok_or_else(|| container::not_running(found.id.short(), &container::describe(&found.status).to_lowercase()))
}

fn of_record(roots: &Roots, name: &Name) -> Result<Network> {
    record::load(&roots.state, name)?.ok_or_else(|| lease::missing(name))
}

/// More than this nobody writes into /etc/hosts, in bytes: what a container has filled is left alone.
const LONGEST: i64 = 1 << 20;

/// /etc/hosts knows its new addresses and forgets the old ones; /etc/resolv.conf names the resolver from its first
/// network with names on. Written in place: the container has these very files mounted.
fn rewrite_files(roots: &Roots, found: &Container, moved: &Moved, named: bool) -> Result<()> {
    let life: HostPath = roots.life(&found.id);
    let read = |name: &str| -> Result<Option<String>> {
        let path = life.child(name);
        match fs::stat(path.as_path())?.st_size <= LONGEST {
            true => Ok(fs::read_text(path.as_path()).ok()),
            false => Ok(None),
        }
    };
    if let (Some(hosts), Some(hostname)) = (read("hosts")?, read("hostname")?) {
        let text = files::after_move(&hosts, hostname.trim(), moved);
        fs::write_new(life.child("hosts").as_path(), text.as_bytes(), 0o644)?;
    }
    let named = read("resolv.conf")?.filter(|_| named).and_then(|text| files::with_names(&text));
    if let Some(text) = named {
        fs::write_new(life.child("resolv.conf").as_path(), text.as_bytes(), 0o644)?;
    }
    Ok(())
}
