//! `stop`, `kill`, `wait`: a container on its way to its end.

use super::attach;
use super::container::{self, UNKNOWN_EXIT, await_monitor, ignore_gone};
use crate::error::{Error, Result};
use crate::state::{Roots, Status};
use crate::sys::event;
use crate::sys::process;
use std::os::fd::AsFd as _;
use std::time::Duration;

/// Asks a container to end, and kills it when it has not after `patience` (for ever where that is `None`); returns
/// when all it held is gone. One that does not run is stopped.
pub fn stop(roots: &Roots, word: &str, patience: Option<Duration>) -> Result<()> {
    let found = container::find(roots, word)?;
    if let Some(monitor) = found.ending() {
        return await_monitor(monitor, false);
    }
    let (Status::Running, Some(life), Some(config)) = (&found.status, &found.life, &found.config) else {
        return Ok(());
    };
    let init = life.init.as_ref().ok_or_else(|| Error::internal("a running container without an init"))?;
    if let Ok(pidfd) = init.open() {
        process::send_signal(&pidfd, config.stop_signal).or_else(ignore_gone)?;
        let ended = match patience {
            Some(patience) => event::ended_within(pidfd.as_fd(), patience)?,
            None => event::readable(&[pidfd.as_fd()]).map(|_| true)?,
        };
        if !ended {
            process::send_signal(&pidfd, libc::SIGKILL).or_else(ignore_gone)?;
            event::readable(&[pidfd.as_fd()])?;
        }
    }
    await_monitor(&life.monitor, false)?;
    // a monitor that was killed meanwhile has left that to us
    let left = crate::state::container::load(roots, &found.id);
    container::repair_one(roots, &left).map(drop)
}

/// Sends a signal to a container's first process.
pub fn kill(roots: &Roots, word: &str, signal: i32) -> Result<()> {
    let pidfd = container::running(roots, word)?.open()?;
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
            Status::Starting | Status::Running => {}
        }
        // where the monitor has just ended or was killed, the records say how it goes on
        if let Ok(socket) = attach::connect(roots.life(&found.id).as_path())
            && let Some(exit) = attach::await_end(&socket)?
        {
            return Ok(exit.map_or(UNKNOWN_EXIT, |exit| exit.code()));
        }
        found = container::find(roots, found.id.as_str())?;
    }
}
