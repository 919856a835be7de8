//! The network's steps, done; nothing here decides anything. Those of rtnetlink leave in batches (`batch`), the others
//! one by one.

use super::batch::Batches;
use super::entry::{self, Change, Entry};
use super::firewalld;
use super::legacy;
use super::probe::transport;
use super::publish::{Protocol, Published};
use super::refused::{CHANGED, explained};
use super::resolver;
use super::ruleset::{self, Direction};
use super::step::{ForeignChain, Netns, Step};
use super::undo::forget_flows;
pub use super::undo::{port_owner, undo};
use crate::error::{Errno, Error, Result, SysResult};
use crate::id::{ContainerId, IfName};
use crate::sys::fs;
use crate::sys::netlink::Socket;
use crate::sys::netns;
use crate::sys::nftables::{self, Existing, Transaction};
use nix::unistd::Pid;
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
    /// What is less than was wanted, for the user.
    pub warnings: Vec<String>,
    /// What nf_tables was spoken to by. To be closed when nobody waits.
    pub rules: Option<Socket>,
}

/// Does the steps in order and stops at the first that fails; steps behind it in the same batch may be done already.
/// `init` is wanted where a step concerns its namespace.
pub fn apply(steps: &[Step], init: Option<Pid>, held: &mut Held) -> Result<(), Failure> {
    let mut run = Run { batches: Batches::of(init), held };
    for (index, step) in steps.iter().enumerate() {
        if !run.batches.push(index, step, steps)? {
            run.batches.flush(steps)?;
            run.single(step).map_err(|taken| Failure { index, error: taken.error, owner: taken.owner })?;
        }
    }
    run.batches.flush(steps)
}

struct Run<'a> {
    batches: Batches,
    held: &'a mut Held,
}

impl Run<'_> {
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
            Step::AllowLegacy { .. } => Ok(legacy::allow(step, &mut self.held.warnings)?),
            Step::TrustBridge { bridge } => Ok(firewalld::trust(bridge)?),
            Step::HoldPort { table, port } => self.hold_port(table, port),
            Step::Publish { table, owner, ports } => self.publish(table, owner, ports),
            Step::AnswerNames => {
                self.held.names = Some(resolver::open(self.batches.visit()?)?);
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
            Netns::Init => Ok(self.batches.visit()?.inside(write)??),
        }
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
