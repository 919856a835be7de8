//! `stop`, `kill`, `wait`: a container on its way to its end.

use super::attach;
use super::container::{self, UNKNOWN_EXIT, ignore_gone};
use crate::error::{Error, Result};
use crate::state::{Roots, Status};
use crate::sys::event;
use crate::sys::process::{self, Identity};
use std::os::fd::AsFd as _;
use std::time::Duration;

/// Asks a container to end, and kills it when it has not after `patience` (for ever where that is `None`); returns
/// when all it held is gone. One that does not run is stopped.
pub fn stop(roots: &Roots, word: &str, patience: Option<Duration>) -> Result<()> {
    let mut found = container::find(roots, word)?;
    if let (Status::Starting, Some(life)) = (&found.status, &found.life) {
        container::await_birth(roots, &found.id, &life.monitor, patience)?;
        found = container::find(roots, found.id.as_str())?;
    }
    let Some(life) = found.life.as_ref().filter(|_| found.status.is_alive()) else { return Ok(()) };
    match (&found.status, &found.config) {
        (Status::Starting, _) => container::end_now(life)?, // it takes longer than it may
        (Status::Running, Some(config)) => {
            let init = life.init.as_ref().ok_or_else(|| Error::internal("a running container without an init"))?;
            end(init, config.stop_signal, patience)?;
        }
        _ => {}
    }
    container::await_monitor(&life.monitor)?;
    // a monitor that was killed meanwhile has left that to us
    let left = crate::state::container::load(roots, &found.id);
    container::repair_one(roots, &left).map(drop)
}

/// Asks a process to end, and ends it where it does not.
fn end(process: &Identity, signal: i32, patience: Option<Duration>) -> Result<()> {
    let Ok(pidfd) = process.open() else { return Ok(()) };
    process::send_signal(&pidfd, signal).or_else(ignore_gone)?;
    if !event::readable_within(pidfd.as_fd(), patience)? {
        process::send_signal(&pidfd, libc::SIGKILL).or_else(ignore_gone)?;
        event::readable_within(pidfd.as_fd(), None)?;
    }
    Ok(())
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
