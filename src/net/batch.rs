//! The network's steps on links, addresses and routes, done: consecutive messages to one namespace leave as one batch.
//! It opens a socket in the container's network namespace and never stays there.

use super::apply::Failure;
use super::link;
use super::refused::explained;
use super::step::{Netns, Step};
use super::undo::find_link;
use crate::error::{Errno, Error, Result, SysError};
use crate::id::IfName;
use crate::sys::netlink::{Batch, Socket};
use crate::sys::netns::Visit;
use nix::unistd::Pid;
use std::collections::HashMap;

/// rtnetlink in both namespaces.
#[derive(Default)]
pub(super) struct Batches {
    init: Option<Pid>,
    visit: Option<Visit>,
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

impl Batches {
    pub(super) fn of(init: Option<Pid>) -> Batches {
        Batches { init, ..Batches::default() }
    }

    /// Lets the step's message wait for the others of its batch. `false` where the step is not one of rtnetlink.
    pub(super) fn push(&mut self, index: usize, step: &Step, steps: &[Step]) -> Result<bool, Failure> {
        // pid 0 is the caller itself for the kernel; a plan with inside steps always comes with init's
        let init = self.init.unwrap_or(Pid::from_raw(0));
        let request = link::request(step, init, &mut |netns, link| self.index_of(netns, link, index, steps))?;
        let Some(request) = request else { return Ok(false) };
        if !self.channel(other(request.netns)).batch.is_empty() {
            self.flush(steps)?;
        }
        let channel = self.channel(request.netns);
        channel.batch.push_route(request.message, request.flags);
        channel.steps.push(index);
        Ok(true)
    }

    /// Sends what waits. At most one of the two batches holds anything.
    pub(super) fn flush(&mut self, steps: &[Step]) -> Result<(), Failure> {
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

    /// The way into init's namespace, opened once.
    pub(super) fn visit(&mut self) -> Result<&Visit> {
        let visit = match (self.visit.take(), self.init) {
            (Some(visit), _) => visit,
            (None, Some(init)) => Visit::to(init)?,
            (None, None) => return Err(Error::internal("a network step inside the container came without init's pid")),
        };
        Ok(self.visit.insert(visit))
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
