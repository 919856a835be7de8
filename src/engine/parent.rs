//! The monitor's side: prepares, clones init, does the host's steps meanwhile, and opens the barrier.

use super::{FromInit, Observer, Slots, apply, child, in_step, net_batch};
use crate::error::{Error, Result};
use crate::net::apply::Held;
use crate::plan::step::{Namespace, Step};
use crate::plan::{Phase, Plan};
use crate::sys::fs;
use crate::sys::process::{self, Pid, Side};
use crate::sys::socket;
use std::os::fd::{AsFd as _, OwnedFd};

/// Init at the barrier. Dropped without a start, it sees end-of-file and ends.
#[derive(Debug)]
pub struct Unstarted {
    pub pid: Pid,
    pub pidfd: OwnedFd,
    link: OwnedFd,
    held: Held,
}

/// Init after exec: the container's program.
#[derive(Debug)]
pub struct Running {
    pub pid: Pid,
    pub pidfd: OwnedFd,
    pub held: Held,
}

/// Everything up to the barrier. On failure init is dead and reaped; what the steps left on the host is for the
/// caller to undo, who wrote the undos down before.
pub fn create(plan: &Plan, console: Option<OwnedFd>, observer: &mut dyn Observer) -> Result<Unstarted> {
    let mut slots = Slots { console, ..Slots::default() };
    let mut unstarted = prepare(plan, &mut slots, observer)?;
    // init has the other end of the console by now; ours would keep the terminal open
    drop(slots.console.take());
    let set_up = host(plan, &mut slots, &unstarted, observer).and_then(|()| await_ready(plan, &unstarted, observer));
    match set_up {
        Ok(()) => {
            unstarted.held = slots.held;
            Ok(unstarted)
        }
        Err(error) => {
            let error = unstarted.last_words(plan).unwrap_or(error);
            unstarted.abandon();
            Err(error)
        }
    }
}

/// `prepare`, whose last step is the clone.
fn prepare(plan: &Plan, slots: &mut Slots, observer: &mut dyn Observer) -> Result<Unstarted> {
    for (index, step) in plan.prepare.iter().enumerate() {
        observer.before(step)?;
        match step {
            Step::Clone { namespaces, pid, .. } => {
                return pid
                    .as_ref()
                    .map_or(Ok(()), |of| super::join(Namespace::Pid, of))
                    .and_then(|()| clone(plan, slots, namespaces, observer.watches()))
                    .map_err(|error| in_step(plan, Phase::Prepare, index, error));
            }
            Step::Enter { .. } => open_cgroup(plan, slots).and_then(|()| apply(step, slots, None)),
            _ => apply(step, slots, None),
        }
        .map_err(|error| in_step(plan, Phase::Prepare, index, error))?;
    }
    Err(Error::internal("a plan without a clone"))
}

/// The cgroup of the clone, by descriptor, for after other namespaces were entered its path means something else.
fn open_cgroup(plan: &Plan, slots: &mut Slots) -> Result<()> {
    let cgroup = plan.prepare.iter().find_map(|step| match step {
        Step::Clone { cgroup, .. } => cgroup.as_ref(),
        _ => None,
    });
    if let (Some(path), None) = (cgroup, &slots.cgroup) {
        slots.cgroup = Some(fs::open_read(path.as_path())?);
    }
    Ok(())
}

fn clone(plan: &Plan, slots: &mut Slots, namespaces: &[Namespace], watched: bool) -> Result<Unstarted> {
    open_cgroup(plan, slots)?;
    let (ours, inits) = socket::pair()?;
    match process::clone3(Namespace::flags(namespaces), slots.cgroup.as_ref().map(|fd| fd.as_fd()))? {
        Side::Parent { child, pidfd } => {
            slots.cgroup = None;
            Ok(Unstarted { pid: child, pidfd, link: ours, held: Held::default() })
        }
        Side::Child => {
            drop(ours);
            child::be_born(plan, std::mem::take(slots), &inits, watched)
        }
    }
}

/// A wait of init's ends where its `Release` stands. Where somebody watches, init asks before the wait as well and
/// goes on only when both were answered, in whichever order.
fn host(plan: &Plan, slots: &mut Slots, init: &Unstarted, observer: &mut dyn Observer) -> Result<()> {
    let mut done = 0;
    while done < plan.host.len() {
        let rest = &plan.host[done..];
        let row: Vec<_> =
            rest.iter().map_while(net_step).take(if observer.watches() { 1 } else { rest.len() }).collect();
        observer.before(&rest[0])?;
        match (row.len(), &rest[0]) {
            (0, Step::Release(_)) => release(init, slots).map_err(|error| (0, error)),
            (0, step) => apply(step, slots, Some(init.pid)).map_err(|error| (0, error)),
            _ => net_batch(&row, slots, Some(init.pid)),
        }
        .map_err(|(index, error)| in_step(plan, Phase::Host, done + index, error))?;
        done += row.len().max(1);
    }
    Ok(())
}

/// Hands over what was lent, and ends the wait.
fn release(init: &Unstarted, slots: &mut Slots) -> Result<()> {
    for mount in slots.mounts.lent.drain(..) {
        socket::send(&init.link, child::LENT, Some(&mount))?;
    }
    Ok(socket::send(&init.link, child::GO, None)?)
}

fn net_step(step: &Step) -> Option<crate::net::step::Step> {
    match step {
        Step::Net(step) => Some(step.clone()),
        _ => None,
    }
}

/// Lets init go on, step by step where somebody watches, until it stands at the barrier.
fn await_ready(plan: &Plan, init: &Unstarted, observer: &mut dyn Observer) -> Result<()> {
    loop {
        match socket::receive_json::<FromInit>(&init.link)? {
            Some(FromInit::Ready) => return Ok(()),
            Some(message) => answer(plan, init, message, observer)?,
            None => return Err(Error::internal("init ended before its barrier").hint("was it killed from outside?")),
        }
    }
}

fn answer(plan: &Plan, init: &Unstarted, message: FromInit, observer: &mut dyn Observer) -> Result<()> {
    match message {
        FromInit::Before { phase, index } => {
            if let Some(step) = plan.phase(phase).get(index) {
                observer.before(step)?;
            }
            Ok(socket::send(&init.link, child::GO, None)?)
        }
        FromInit::Ready => Ok(()),
        FromInit::Failed { phase, index, error } => Err(in_step(plan, phase, index, error)),
    }
}

impl Unstarted {
    /// Opens the barrier and waits until init has become the container's program.
    pub fn start(self, plan: &Plan, observer: &mut dyn Observer) -> Result<Running> {
        match self.open_barrier(plan, observer) {
            Ok(()) => Ok(Running { pid: self.pid, pidfd: self.pidfd, held: self.held }),
            Err(error) => {
                self.abandon();
                Err(error)
            }
        }
    }

    fn open_barrier(&self, plan: &Plan, observer: &mut dyn Observer) -> Result<()> {
        socket::send(&self.link, child::GO, None)?;
        // end-of-file is exec: the socket is close-on-exec
        while let Some(message) = socket::receive_json::<FromInit>(&self.link)? {
            answer(plan, self, message, observer)?;
        }
        Ok(())
    }

    /// Ends init. What it had failed with before that is why a step of ours found it gone.
    fn last_words(&self, plan: &Plan) -> Option<Error> {
        let _gone_already = process::send_signal(&self.pidfd, libc::SIGKILL);
        while let Ok(Some(message)) = socket::receive_json::<FromInit>(&self.link) {
            if let FromInit::Failed { phase, index, error } = message {
                return Some(in_step(plan, phase, index, error));
            }
        }
        None
    }

    /// Ends init and reaps it.
    fn abandon(self) {
        drop(self.link);
        // gone already is what is wanted, and a failed wait leaves nothing to do
        let _ = process::send_signal(&self.pidfd, libc::SIGKILL);
        let _ = process::wait(&self.pidfd);
    }
}
