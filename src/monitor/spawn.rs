//! Starting a monitor: fork, and execute this program again from a file that nobody can write through.

use super::protocol::{Event, Order};
use crate::engine;
use crate::error::{During as _, Error, Result};
use crate::plan::step::Step;
use crate::sys::process::{self, Side};
use crate::sys::{self, fs, socket};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

/// The name under which this program is a monitor: `main` looks at it.
pub const ARGV0: &str = "minirun-monitor";

/// A running monitor, as its command has it.
#[derive(Debug)]
pub struct Monitor {
    pub control: OwnedFd,
    pub pidfd: OwnedFd,
}

/// What a command hands over to its monitor, to be held on to.
#[derive(Debug, Default)]
pub struct Handed {
    /// Until the container's record says which images it needs.
    pub images: Option<OwnedFd>,
    /// Until the container has started.
    pub locks: Vec<OwnedFd>,
    /// Until all is over, for closing them takes time.
    pub sockets: Vec<OwnedFd>,
}

/// Starts the monitor in its own cgroup: on cgroup v2 it is born there, for moving costs milliseconds; on v1 it moves
/// itself by `join`.
pub fn spawn(mut order: Order, handed: &Handed, cgroup: Option<&OwnedFd>, join: &[Step]) -> Result<Monitor> {
    let (ours, monitors) = socket::pair()?;
    order.control = monitors.as_raw_fd();
    order.images = handed.images.as_ref().map(|fd| fd.as_raw_fd());
    order.locks = numbers(&handed.locks);
    order.sockets = numbers(&handed.sockets);
    let bytes = serde_json::to_vec(&order).map_err(|e| Error::internal(format!("the monitor's order: {e}")))?;
    let memory = sys::memory_file(c"minirun-order", &bytes)?;
    match process::clone3(0, cgroup.map(|fd| fd.as_fd())).during(|| "starting the monitor")? {
        Side::Parent { pidfd, .. } => Ok(Monitor { control: ours, pidfd }),
        Side::Child => {
            drop(ours);
            let error = become_monitor(&memory, &monitors, handed, join);
            // where the command is gone too there is nobody to tell
            let _ = socket::send_json(&monitors, &Event::Failed(error));
            process::exit_now(125)
        }
    }
}

fn numbers(fds: &[OwnedFd]) -> Vec<i32> {
    fds.iter().map(|fd| fd.as_raw_fd()).collect()
}

/// Returns only on failure.
fn become_monitor(memory: &OwnedFd, control: &OwnedFd, handed: &Handed, join: &[Step]) -> Error {
    let attempt = || -> Result<std::convert::Infallible> {
        engine::run(join)?;
        for fd in [memory, control].into_iter().chain(&handed.images).chain(&handed.locks).chain(&handed.sockets) {
            sys::keep_on_exec(fd)?;
        }
        let args = [ARGV0.to_owned(), memory.as_raw_fd().to_string()];
        Ok(process::exec_self_protected(&args, &[])?)
    };
    match attempt() {
        Err(error) => error.during("starting the monitor"),
        Ok(never) => match never {},
    }
}

/// What a monitor was given by its command.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) order: Order,
    pub(super) control: OwnedFd,
    pub(super) handed: Handed,
}

/// Reads the order from the memfd whose number stands on the command line, and takes over what it names.
pub(super) fn receive(number: &str) -> Result<Received> {
    let bad = |_| Error::user("minirun-monitor is not a command").hint("minirun starts it for each container");
    let memory = sys::inherited(number.parse().map_err(bad)?)?;
    let bytes = fs::read(&fs::proc_path(&memory))?;
    let order: Order =
        serde_json::from_slice(&bytes).map_err(|e| Error::internal(format!("the monitor's order: {e}")))?;
    let control = sys::inherited(order.control)?;
    let all = |numbers: &[i32]| numbers.iter().map(|fd| sys::inherited(*fd)).collect::<Result<Vec<_>, _>>();
    let images = order.images.map(sys::inherited).transpose()?;
    let handed = Handed { images, locks: all(&order.locks)?, sockets: all(&order.sockets)? };
    Ok(Received { order, control, handed })
}
