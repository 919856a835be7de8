//! The network's steps, done. Consecutive messages to one namespace leave as one batch; nothing here decides anything.
//! It opens sockets in the container's network namespace and never stays there.

use super::entry::{self, Change, Entry};
use super::firewalld;
use super::legacy;
use super::link;
use super::probe::transport;
use super::publish::{Protocol, Published};
use super::resolver;
use super::ruleset::{self, Direction};
use super::step::{ForeignChain, Netns, Step, Sublink, SublinkKind};
use super::undo::{find_link, forget_flows};
pub use super::undo::{port_owner, undo};
use crate::error::{Errno, Error, Result, SysError, SysResult};
use crate::id::{ContainerId, IfName};
use crate::sys::fs;
use crate::sys::netlink::{Batch, Refused, Socket};
use crate::sys::netns::{self, Visit};
use crate::sys::nftables::{self, Existing, Transaction};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The step that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its index among the steps given.
    pub index: usize,
    pub error: Error,
    /// Where a port is taken: the id of the container that has it. The error names it by its id; who knows the name
    /// may say it better.
    pub owner: Option<ContainerId>,
}

impl From<Failure> for (usize, Error) {
    fn from(failure: Failure) -> (usize, Error) {
        (failure.index, failure.error)
    }
}

/// What a container's network keeps open.
#[derive(Debug, Default)]
pub struct Held {
    /// Sockets that keep published ports from other programs.
    pub ports: Vec<OwnedFd>,
    /// Where the container's questions for names arrive. They keep its namespace.
    pub names: Option<resolver::Sockets>,
    /// What nf_tables was spoken to by. To be closed when nobody waits.
    pub rules: Option<Socket>,
}

/// Does the steps in order and stops at the first that fails; steps behind it in the same batch may be done already.
/// `init` is wanted where a step concerns its namespace.
pub fn apply(steps: &[Step], init: Option<Pid>, held: &mut Held) -> Result<(), Failure> {
    let mut run = Run { init, visit: None, held, host: Channel::default(), inside: Channel::default() };
    for (index, step) in steps.iter().enumerate() {
        run.step(index, step, steps)?;
    }
    run.flush(steps)
}

struct Run<'a> {
    init: Option<Pid>,
    visit: Option<Visit>,
    held: &'a mut Held,
    host: Channel,
    inside: Channel,
}

/// rtnetlink in one namespace, with the messages that wait.
#[derive(Default)]
struct Channel {
    socket: Option<Socket>,
    indices: HashMap<IfName, u32>,
    batch: Batch,
    /// The step of each message.
    steps: Vec<usize>,
}

impl Run<'_> {
    fn step(&mut self, index: usize, step: &Step, steps: &[Step]) -> Result<(), Failure> {
        // pid 0 is the caller itself for the kernel; a plan with inside steps always comes with init's
        let init = self.init.unwrap_or(Pid::from_raw(0));
        let request = link::request(step, init, &mut |netns, link| self.index_of(netns, link, index, steps))?;
        match request {
            Some(request) => {
                if !self.channel(other(request.netns)).batch.is_empty() {
                    self.flush(steps)?;
                }
                let channel = self.channel(request.netns);
                channel.batch.push_route(request.message, request.flags);
                channel.steps.push(index);
                Ok(())
            }
            None => {
                self.flush(steps)?;
                self.single(step).map_err(|taken| Failure { index, error: taken.error, owner: taken.owner })
            }
        }
    }

    /// Steps that are not of rtnetlink.
    fn single(&mut self, step: &Step) -> Result<(), Taken> {
        match step {
            Step::SetSysctl { netns, key, value } => Ok(self.sysctl(*netns, key, value)?),
            Step::EnsureRuleset { table } => Ok(self.commit(ruleset::create(table), step, Errno::EEXIST)?),
            Step::ReplaceRuleset { table, entries } => {
                let mut replace = ruleset::replace(table);
                entry::fill(&mut replace, table, entries, Change::Add(Existing::Wanted));
                Ok(self.commit(replace, step, Errno::UnknownErrno)?)
            }
            Step::EnsureEntries { table, entries } => {
                let add = entry::change(table, entries, Change::Add(Existing::Wanted));
                Ok(self.commit(add, step, Errno::UnknownErrno)?)
            }
            Step::AllowForward { chain, bridge, comment } => Ok(self.allow_forward(chain, bridge, comment)?),
            Step::AllowLegacy { program, bridge, comment } => Ok(legacy::allow(program, bridge, comment)?),
            Step::TrustBridge { bridge } => Ok(firewalld::trust(bridge)?),
            Step::HoldPort { table, port } => self.hold_port(table, port),
            Step::Publish { table, owner, ports } => self.publish(table, owner, ports),
            Step::AnswerNames => {
                self.held.names = Some(resolver::open(self.visit()?)?);
                Ok(())
            }
            Step::ForgetFlows { protocol, ports } => Ok(forget_flows(self.netfilter()?, *protocol, ports)?),
            Step::EnsureBridge { .. }
            | Step::SetAlias { .. }
            | Step::AddVeth(_)
            | Step::PlugIn { .. }
            | Step::SetHairpin { .. }
            | Step::SetIsolated { .. }
            | Step::FilterVlans { .. }
            | Step::LeaveVlan { .. }
            | Step::JoinVlan { .. }
            | Step::EnsureVlanLink { .. }
            | Step::AddSublink(_)
            | Step::RenameLink { .. }
            | Step::AddRoute { .. }
            | Step::AddAddress { .. }
            | Step::LinkUp { .. }
            | Step::AddDefaultRoute { .. } => Err(Error::internal("a step of rtnetlink outside its batch").into()),
        }
    }

    fn sysctl(&mut self, netns: Netns, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{key}");
        let write = || fs::write_existing(Path::new(&path), value);
        match netns {
            Netns::Host => Ok(write()?),
            Netns::Init => Ok(self.visit()?.inside(write)??),
        }
    }

    fn visit(&mut self) -> Result<&Visit> {
        let visit = match (self.visit.take(), self.init) {
            (Some(visit), _) => visit,
            (None, Some(init)) => Visit::to(init)?,
            (None, None) => return Err(Error::internal("a network step inside the container came without init's pid")),
        };
        Ok(self.visit.insert(visit))
    }

    fn allow_forward(&mut self, chain: &ForeignChain, bridge: &IfName, comment: &str) -> Result<()> {
        let table = nftables::Table { family: chain.family, name: &chain.table };
        let mut transaction = Transaction::default();
        for direction in [Direction::From, Direction::To] {
            transaction.insert_rule(&table, &chain.chain, &ruleset::allow(direction, bridge), comment);
        }
        let done = transaction.commit(self.netfilter()?);
        done.map_err(|refused| refused.named(format!("NFT_MSG_NEWRULE({})", chain.text())).into())
    }

    fn hold_port(&mut self, table: &str, port: &Published) -> Result<(), Taken> {
        match hold(port) {
            Ok(socket) => {
                self.held.ports.extend(socket);
                Ok(())
            }
            Err(e) if e.errno == Errno::EADDRINUSE => {
                let owner = self.owner(table, port)?;
                Err(taken(port, owner))
            }
            Err(e) if e.errno == Errno::EADDRNOTAVAIL => {
                let address = port.listen().ip();
                let text = format!("cannot publish port {port}: no interface of this host has address {address}");
                Err(Error::user(text)
                    .hint("`ip address` lists them; without an address the port is published on all")
                    .into())
            }
            Err(e) if e.errno == Errno::EMFILE => {
                let error = Error::from(e).during(format!("cannot publish port {port}"));
                Err(error.hint("each published port holds a descriptor: raise `ulimit -n`").into())
            }
            Err(e) => Err(Error::from(e).during(format!("cannot publish port {port}")).into()),
        }
    }

    fn publish(&mut self, table: &str, owner: &str, ports: &[Published]) -> Result<(), Taken> {
        let entries: Vec<Entry> = ports.iter().map(|port| Entry::Port(port.clone(), owner.to_owned())).collect();
        let add = entry::change(table, &entries, Change::Add(Existing::Refused));
        match add.commit(self.netfilter()?) {
            Ok(()) => Ok(()),
            Err(refused) if refused.errno == Errno::EEXIST => {
                for port in ports {
                    if let Some(other) = self.owner(table, port)?.filter(|other| other.as_str() != owner) {
                        return Err(taken(port, Some(other)));
                    }
                }
                // they are its own: who has replaced the table since it was lent them has put them in
                let add = entry::change(table, &entries, Change::Add(Existing::Wanted));
                Ok(add.commit(self.netfilter()?).map_err(|e| Error::from(e.named("NFT_MSG_NEWSETELEM")))?)
            }
            Err(refused) => {
                let lacks = refused.errno == Errno::ENOENT;
                let error = Error::from(refused.named("NFT_MSG_NEWSETELEM")).during("publishing ports");
                Err(if lacks { error.hint(CHANGED) } else { error }.into())
            }
        }
    }

    fn owner(&mut self, table: &str, port: &Published) -> Result<Option<ContainerId>> {
        port_owner(self.netfilter()?, table, port)
    }

    /// `done` is the errno that says it was there already.
    fn commit(&mut self, transaction: Transaction, step: &Step, done: Errno) -> Result<()> {
        match transaction.commit(self.netfilter()?) {
            Err(refused) if refused.errno != done => Err(explained(refused, step)),
            _ => Ok(()),
        }
    }

    fn netfilter(&mut self) -> Result<&mut Socket> {
        let socket = match self.held.rules.take() {
            Some(socket) => socket,
            None => Socket::netfilter()?,
        };
        Ok(self.held.rules.insert(socket))
    }

    fn channel(&mut self, netns: Netns) -> &mut Channel {
        match netns {
            Netns::Host => &mut self.host,
            Netns::Init => &mut self.inside,
        }
    }

    /// The index of a link, asked once; messages that wait go first, for one of them may make the link.
    fn index_of(&mut self, netns: Netns, link: &IfName, step: usize, steps: &[Step]) -> Result<u32, Failure> {
        if let Some(index) = self.channel(netns).indices.get(link) {
            return Ok(*index);
        }
        self.flush(steps)?;
        let index = self.ask_index(netns, link).map_err(|error| Failure { index: step, error, owner: None })?;
        self.channel(netns).indices.insert(link.clone(), index);
        Ok(index)
    }

    fn ask_index(&mut self, netns: Netns, link: &IfName) -> Result<u32> {
        let found = find_link(self.socket(netns)?, link)?;
        let missing = || SysError { call: format!("RTM_GETLINK({link})"), errno: Errno::ENODEV };
        Ok(found.ok_or_else(missing)?.header.index)
    }

    fn socket(&mut self, netns: Netns) -> Result<&mut Socket> {
        let socket = match (self.channel(netns).socket.take(), netns) {
            (Some(socket), _) => socket,
            (None, Netns::Host) => Socket::route()?,
            (None, Netns::Init) => self.visit()?.inside(Socket::route)??,
        };
        Ok(self.channel(netns).socket.insert(socket))
    }

    /// Sends what waits. At most one of the two batches holds anything.
    fn flush(&mut self, steps: &[Step]) -> Result<(), Failure> {
        for netns in [Netns::Host, Netns::Init] {
            let channel = self.channel(netns);
            if channel.batch.is_empty() {
                continue;
            }
            let mut batch = std::mem::take(&mut channel.batch);
            let of = std::mem::take(&mut channel.steps);
            batch.acknowledge();
            let first = |error| Failure { index: of[0], error, owner: None };
            let socket = self.socket(netns).map_err(first)?;
            socket.send(&batch, |message, errno| ensured(&steps[of[message]], errno)).map_err(|refused| {
                let index = of[refused.index];
                Failure { index, error: explained(refused, &steps[index]), owner: None }
            })?;
        }
        Ok(())
    }
}

/// Whether this errno says that what the step wants is there already, or is not wanted any more.
fn ensured(step: &Step, errno: Errno) -> bool {
    match step {
        // a new port is in VLAN 1 only where its bridge has one by default
        Step::LeaveVlan { .. } => errno == Errno::ENOENT,
        Step::EnsureVlanLink { .. }
        | Step::AddAddress { .. }
        | Step::AddDefaultRoute { .. }
        | Step::AddRoute { .. } => errno == Errno::EEXIST,
        // its container has just ended; where it has only begun, the steps inside will say so
        Step::PlugIn { .. } | Step::SetHairpin { .. } => errno == Errno::ENODEV,
        Step::SetSysctl { .. }
        | Step::EnsureRuleset { .. }
        | Step::ReplaceRuleset { .. }
        | Step::EnsureEntries { .. }
        | Step::EnsureBridge { .. }
        | Step::SetAlias { .. }
        | Step::AllowForward { .. }
        | Step::AllowLegacy { .. }
        | Step::TrustBridge { .. }
        | Step::AddVeth(_)
        | Step::SetIsolated { .. }
        | Step::FilterVlans { .. }
        | Step::JoinVlan { .. }
        | Step::AddSublink(_)
        | Step::RenameLink { .. }
        | Step::LinkUp { .. }
        | Step::HoldPort { .. }
        | Step::Publish { .. }
        | Step::AnswerNames
        | Step::ForgetFlows { .. } => false,
    }
}

fn other(netns: Netns) -> Netns {
    match netns {
        Netns::Host => Netns::Init,
        Netns::Init => Netns::Host,
    }
}

/// A socket that keeps a published port from other programs. `None` in a kernel without such sockets: nobody else can
/// listen there either.
pub fn hold(port: &Published) -> SysResult<Option<OwnedFd>> {
    match netns::bind(transport(port.protocol), port.listen()) {
        Err(e) if e.errno == Errno::EPROTONOSUPPORT && port.protocol == Protocol::Sctp => Ok(None),
        bound => bound.map(Some),
    }
}

/// A failure that may name who has the port.
struct Taken {
    error: Error,
    owner: Option<ContainerId>,
}

impl From<Error> for Taken {
    fn from(error: Error) -> Taken {
        Taken { error, owner: None }
    }
}

fn taken(port: &Published, owner: Option<ContainerId>) -> Taken {
    let (who, hint) = match &owner {
        Some(id) => (
            format!("container {} has it", id.short()),
            format!("choose another host port, or `minirun stop {}`", id.short()),
        ),
        None => (
            "another program listens on it".to_owned(),
            format!("choose another host port, or see `ss -lnp 'sport = :{}'`", port.port),
        ),
    };
    let mut error = Error::user(format!("cannot publish port {port}: {who}")).hint(hint);
    error.errno = Some(Errno::EADDRINUSE as i32);
    Taken { error, owner }
}

/// The error of a refused step, with a hint where the errno has a well-known cause.
fn explained(refused: Refused, step: &Step) -> Error {
    let errno = refused.errno;
    let error = Error::from(refused.named(call(step)));
    if [Errno::EPERM, Errno::EACCES].contains(&errno) {
        return error.during("creating the network needs root").hint("sudo minirun run …");
    }
    match hint(step, errno) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn hint(step: &Step, errno: Errno) -> Option<String> {
    let missing = [Errno::ENOENT, Errno::EOPNOTSUPP, Errno::EINVAL].contains(&errno);
    // net/bridge/br_if.c, find_portno: BR_MAX_PORTS is 1 << BR_PORT_BITS
    if let (Step::AddVeth(veth), Errno::EXFULL) = (step, errno) {
        let bridge = &veth.bridge;
        return Some(format!("bridge {bridge} is full, the kernel plugs 1024 links into one: use a second network"));
    }
    if let (Step::EnsureBridge { .. } | Step::AddVeth(_), Errno::EOPNOTSUPP) = (step, errno) {
        return Some("this kernel lacks bridge or veth: modprobe bridge veth".into());
    }
    if let (Step::FilterVlans { .. } | Step::JoinVlan { .. } | Step::LeaveVlan { .. }, true) = (step, missing) {
        return Some(
            "this kernel lacks CONFIG_BRIDGE_VLAN_FILTERING: --isolate keeps the containers of a network apart".into(),
        );
    }
    if let (Step::EnsureVlanLink { .. }, true) = (step, missing) {
        return Some("this kernel lacks CONFIG_VLAN_8021Q: modprobe 8021q".into());
    }
    if let Step::AddSublink(Sublink { parent, kind, .. }) = step {
        let (name, option) = match kind {
            SublinkKind::Macvlan(..) => ("macvlan", "CONFIG_MACVLAN"),
            SublinkKind::Ipvlan(_) => ("ipvlan", "CONFIG_IPVLAN"),
        };
        return match errno {
            Errno::EOPNOTSUPP => Some(format!("this kernel lacks {option}: modprobe {name}")),
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
        return Some("this kernel lacks nf_tables, nft_nat, nft_masq or nft_fib_inet: modprobe them".into());
    }
    None
}

/// Why a set is not there.
const CHANGED: &str = "somebody has changed our table, or another version made it: minirun network reload";

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
