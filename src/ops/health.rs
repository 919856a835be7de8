//! `healthcheck run`: a container's check is made now, by its monitor, which takes it in like any other.

use super::{attach, cgroups, container};
use crate::error::{Error, Result};
use crate::monitor::protocol::{Attach, CHECKS, Event, Request};
use crate::state::Roots;
use crate::sys::socket;

/// What a check has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub healthy: bool,
    pub output: String,
}

/// Makes it and waits for its end, however long that takes: the check has a time limit of its own.
pub fn run(roots: &Roots, word: &str) -> Result<Checked> {
    let (found, _) = container::running(roots, word)?;
    if found.config.as_ref().is_none_or(|config| config.health.is_none()) {
        return Err(Error::user(format!("container {word} has no health check"))
            .hint("run with --health-cmd, or an image with a HEALTHCHECK"));
    }
    if cgroups::is_frozen(&found) {
        return Err(Error::user(format!("container {word} is paused")).hint(format!("minirun unpause {word}")));
    }
    let socket = attach::connect(roots.life(&found.id).as_path(), Attach::default())?;
    socket::send_json(&socket, &Request::Check)?;
    loop {
        match socket::receive_json::<Event>(&socket)? {
            Some(Event::Checked { exit_code, output }) => return Ok(Checked { healthy: exit_code == 0, output }),
            Some(Event::Failed(error)) => return Err(error),
            Some(Event::Hello { version }) if version < CHECKS => {
                return Err(Error::user(format!("container {word} runs under an older minirun, which cannot do that"))
                    .hint(format!("minirun restart {word}")));
            }
            Some(
                Event::Hello { .. } | Event::Taken | Event::Step { .. } | Event::Warning(_) | Event::Started { .. },
            ) => {}
            Some(Event::Exited { .. }) | None => {
                return Err(Error::user(format!("container {word} has ended meanwhile"))
                    .hint(format!("minirun logs {word} may say why")));
            }
        }
    }
}
