//! Init's side: a copy of the monitor, in new namespaces, that makes itself into the container. It reports the step
//! that failed, and ends when its monitor does.

use super::{FromInit, Slots, apply};
use crate::error::{Error, Result};
use crate::plan::step::{Step, Wait};
use crate::plan::{Phase, Plan};
use crate::sys::{process, socket};
use std::os::fd::OwnedFd;

/// The messages to init: go on.
pub(super) const GO: &[u8] = b"go";

/// A mount, by descriptor, for a step of init's to attach.
pub(super) const LENT: &[u8] = b"lent";

/// Exit status of an init that never became the container's program; the monitor reports the error, not this.
const UNBORN: i32 = 125;

/// Does `inside`, waits at the barrier, does `start`. Ends with exec or with this process.
pub(super) fn be_born(plan: &Plan, mut slots: Slots, link: &OwnedFd, watched: bool) -> ! {
    for phase in [Phase::Inside, Phase::Start] {
        for (index, step) in plan.phase(phase).iter().enumerate() {
            if let Err(error) = one(phase, index, step, &mut slots, link, watched) {
                // where the monitor is gone there is nobody to tell
                let _ = socket::send_json(link, &FromInit::Failed { phase, index, error });
                process::exit_now(UNBORN);
            }
        }
    }
    process::exit_now(UNBORN)
}

fn one(phase: Phase, index: usize, step: &Step, slots: &mut Slots, link: &OwnedFd, watched: bool) -> Result<()> {
    if watched {
        socket::send_json(link, &FromInit::Before { phase, index })?;
        await_go(link, slots)?;
    }
    match step {
        Step::Wait(Wait::IdMaps) => await_go(link, slots),
        Step::Wait(Wait::Start) => {
            socket::send_json(link, &FromInit::Ready)?;
            await_go(link, slots)
        }
        step => apply(step, slots, None),
    }
}

/// Waits for the monitor's word; ends with it.
fn await_go(link: &OwnedFd, slots: &mut Slots) -> Result<()> {
    loop {
        match socket::receive(link)? {
            Some((message, _)) if message == GO => return Ok(()),
            Some((message, Some(mount))) if message == LENT => slots.mounts.lent.push_back(mount),
            Some(_) => return Err(Error::internal("the monitor said something else than go")),
            None => process::exit_now(UNBORN),
        }
    }
}
