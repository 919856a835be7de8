//! `stop`, `kill`, `wait`: a container on its way to its end.

use super::attach;
use super::container::{self, Container, UNKNOWN_EXIT, ignore_gone};
use crate::error::{Error, Result};
use crate::state::{Roots, Status};
use crate::sys::event;
use crate::sys::process;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// A container that was asked to end.
#[derive(Debug)]
pub struct Asked {
    found: Container,
    /// Its program, where it has one.
    pidfd: Option<OwnedFd>,
    /// When it is killed.
    until: Option<Instant>,
}

/// Asks a container to end, which it may take `patience` to do (for ever where that is `None`). One that does not run
/// is stopped. Many are asked first, and then waited for.
pub fn ask_to_end(roots: &Roots, word: &str, patience: Option<Duration>) -> Result<Asked> {
    let mut found = container::find(roots, word)?;
    if let (Status::Starting, Some(life)) = (&found.status, &found.life) {
        container::await_birth(roots, &found.id, &life.monitor, patience)?;
        found = container::find(roots, found.id.as_str())?;
    }
    let init = found.life.as_ref().and_then(|life| life.init.as_ref()).filter(|_| found.status == Status::Running);
    let pidfd = init.and_then(|init| init.open().ok());
    if let (Some(pidfd), Some(config)) = (&pidfd, &found.config) {
        process::send_signal(pidfd, config.stop_signal).or_else(ignore_gone)?;
    }
    Ok(Asked { found, pidfd, until: patience.map(|patience| Instant::now() + patience) })
}

impl Asked {
    /// Returns when all that the container held is gone; kills it where it does not end in its time.
    pub fn await_end(self, roots: &Roots) -> Result<()> {
        let Some(life) = self.found.life.as_ref().filter(|_| self.found.status.is_alive()) else { return Ok(()) };
        if let Some(pidfd) = &self.pidfd {
            let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
            if !event::readable_within(pidfd.as_fd(), left)? {
                process::send_signal(pidfd, libc::SIGKILL).or_else(ignore_gone)?;
                event::readable_within(pidfd.as_fd(), None)?;
            }
        }
        match self.found.status {
            Status::Starting => container::end_now(life)?, // it takes longer than it may
            _ => container::await_monitor(&life.monitor)?,
        }
        // a monitor that was killed meanwhile has left that to us
        let left = crate::state::container::load(roots, &self.found.id);
        container::repair_one(roots, &left).map(drop)
    }
}

/// Sends a signal to a container's first process.
pub fn kill(roots: &Roots, word: &str, signal: i32) -> Result<()> {
    let pidfd = container::running(roots, word)?.1.open()?;
    Ok(process::send_signal(&pidfd, signal)?)
}

/// Waits for a container's end; gives its exit code. One that was never started counts as ended well.
pub fn wait(roots: &Roots, word: &str) -> Result<u8> {
    let mut found = container::find(roots, word)?;
    loop {
        match &found.status {
            Status::Created => return Ok(0),
            Status::Exited(exit) => return Ok(exit.map_or(UNKNOWN_EXIT, |exit| exit.code())),
            Status::Dead | Status::Broken(_) => {
                return Err(Error::user(format!("container {word} is {}", container::describe(&found.status))));
            }
            Status::Starting | Status::Running | Status::Ending => {}
        }
        // where the monitor has just ended or was killed, the records say how it goes on
        match (attach::connect(roots.life(&found.id).as_path()), &found.life) {
            (Ok(socket), _) => {
                if let Some(exit) = attach::await_end(&socket)? {
                    return Ok(exit.map_or(UNKNOWN_EXIT, |exit| exit.code()));
                }
            }
            (Err(_), Some(life)) => _ = container::ended_soon(&life.monitor)?,
            (Err(_), None) => {}
        }
        found = container::find(roots, found.id.as_str())?;
    }
}
