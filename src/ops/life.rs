//! `stop`, `kill`, `wait`: a container on its way to its end.

use super::container::{self, Container, UNKNOWN_EXIT, ignore_gone};
use super::{attach, cgroups, network, remains};
use crate::error::{Errno, Error, Result, SysResult};
use crate::id::Name;
use crate::monitor::protocol::Attach;
use crate::state::container as records;
use crate::state::{Roots, Status, events, names};
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

/// How a container is asked to end.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopRequest {
    /// Instead of its own signal.
    pub signal: Option<i32>,
    /// Until it is killed: negative is for ever, and where nothing is said what it was made with.
    pub seconds: Option<i64>,
    /// It is started again: it stays even where it was made to go with its end.
    pub stays: bool,
}

/// docker's 10 seconds.
const STOP_TIMEOUT: i64 = 10;

/// Asks a container to end. One that does not run is stopped. Many are asked first, and then waited for.
pub fn ask_to_end(roots: &Roots, word: &str, request: StopRequest) -> Result<Asked> {
    let mut found = container::find_to_end(roots, word)?;
    let own = found.config.as_ref().and_then(|config| config.stop_timeout);
    let patience = u64::try_from(request.seconds.or(own).unwrap_or(STOP_TIMEOUT)).ok().map(Duration::from_secs);
    if let (Status::Starting, Some(life)) = (&found.status, &found.life) {
        container::await_birth(roots, &found.id, &life.monitor, patience)?;
        found = container::find(roots, found.id.as_str())?;
    }
    if matches!(found.status, Status::Restarting(_)) {
        found = container::give_up_restart(roots, &found)?;
    }
    let init = found.life.as_ref().and_then(|life| life.init.as_ref()).filter(|_| found.status == Status::Running);
    let pidfd = init.and_then(|init| init.open().ok());
    if let (Some(pidfd), Some(config)) = (&pidfd, &found.config) {
        match announce_end(roots, &found, request.stays) {
            // it has ended between the look and the word: what stands now may even be another life of it
            Err(error) if found_nobody(&error) && has_moved_on(roots, &found) => {
                return ask_to_end(roots, found.id.as_str(), request);
            }
            announced => announced?,
        }
        signal(roots, &found, pidfd, request.signal.unwrap_or(config.stop_signal)).or_else(ignore_gone)?;
        cgroups::thaw(&found)?; // a signal waits for that
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
                signal(roots, &self.found, pidfd, libc::SIGKILL).or_else(ignore_gone)?;
                event::readable_within(pidfd.as_fd(), None)?;
            }
        }
        match self.found.status {
            Status::Starting => container::end_now(roots, life)?, // it takes longer than it may
            _ => container::await_cleaned(roots, life)?,
        }
        let left = records::load(roots, &self.found.id);
        match left.is_to_be_started_again() {
            // it had ended by itself before it could be told that nobody wants it any more
            true => drop(container::give_up_restart(roots, &left)?),
            // a monitor that was killed meanwhile has left that to us
            false => drop(remains::repair_one(roots, &left)?),
        }
        if self.pidfd.is_some() {
            note(roots, &self.found, "stop", &[]);
        }
        Ok(())
    }
}

/// Sends a signal to a container's program, and tells that first: what comes of it may be told at once.
pub(super) fn signal(roots: &Roots, found: &Container, pidfd: &OwnedFd, signal: i32) -> SysResult<()> {
    note(roots, found, "kill", &[("signal", &signal.to_string())]);
    process::send_signal(pidfd, signal)
}

/// Something has happened to a container whose record can be read.
pub(super) fn note(roots: &Roots, found: &Container, action: &str, more: &[(&str, &str)]) {
    if let Some(config) = &found.config {
        events::container(roots, config, action, more);
    }
}

/// Sends a signal to a container's first process.
pub fn kill(roots: &Roots, word: &str, signal: i32) -> Result<()> {
    let (found, init) = container::running(roots, word)?;
    let ends = signal == libc::SIGKILL || found.config.as_ref().is_some_and(|config| config.stop_signal == signal);
    if ends {
        match announce_end(roots, &found, false) {
            Err(error) if found_nobody(&error) && has_moved_on(roots, &found) => {
                return Err(container::not_running(word, "ending"));
            }
            announced => announced?,
        }
    }
    let sent = init.open().and_then(|pidfd| self::signal(roots, &found, &pidfd, signal).map(|()| pidfd));
    let pidfd = match sent {
        Err(e) if e.errno == Errno::ESRCH => return Err(container::not_running(word, "ending")), // meanwhile
        sent => sent?,
    };
    if signal == libc::SIGKILL {
        cgroups::thaw(&found)?; // it waits for that on cgroup v1
        event::readable_within(pidfd.as_fd(), Some(DYING))?;
    }
    Ok(())
}

/// How long `kill` waits for what dies at once, unless the kernel holds it: whoever removes it next finds it ended.
const DYING: Duration = Duration::from_secs(10);

/// Tells the monitor of a container that its end is wanted, where that makes a difference.
pub(super) fn announce_end(roots: &Roots, found: &Container, stays: bool) -> Result<()> {
    let matters = |config: &records::Config| config.restart != records::RestartPolicy::No || (stays && config.remove);
    let Some(life) = found.life.as_ref().filter(|_| found.config.as_ref().is_some_and(matters)) else { return Ok(()) };
    match attach::announce_end(roots.life(&found.id).as_path(), stays) {
        Err(_) if !life.monitor.is_alive() => Ok(()), // nobody is left to start it again
        announced => announced,
    }
}

/// Whether nobody listens where a monitor was to be told.
fn found_nobody(error: &Error) -> bool {
    [Errno::ENOENT, Errno::ECONNREFUSED].iter().any(|errno| error.errno == Some(*errno as i32))
}

/// Whether a container that was found running does not run any more, or not that program.
fn has_moved_on(roots: &Roots, found: &Container) -> bool {
    let now: Container = records::load(roots, &found.id);
    let init = |of: &Container| of.life.as_ref().and_then(|life| life.init.clone());
    now.status != Status::Running || init(&now) != init(found)
}

/// Stops every process of a container where it stands.
pub fn pause(roots: &Roots, word: &str) -> Result<()> {
    let (found, _) = container::running(roots, word)?;
    if cgroups::is_frozen(&found) {
        return Err(Error::user(format!("container {word} is paused already")).hint(format!("minirun unpause {word}")));
    }
    cgroups::freeze(&found)?;
    note(roots, &found, "pause", &[]);
    Ok(())
}

/// Lets them go on.
pub fn unpause(roots: &Roots, word: &str) -> Result<()> {
    let (found, _) = container::running(roots, word)?;
    if !cgroups::is_frozen(&found) {
        return Err(Error::user(format!("container {word} is not paused")).hint(format!("minirun pause {word}")));
    }
    cgroups::thaw(&found)?;
    note(roots, &found, "unpause", &[]);
    Ok(())
}

/// Gives a container another name.
pub fn rename(roots: &Roots, word: &str, name: &Name) -> Result<()> {
    let id = container::find(roots, word)?.id;
    let _turn = records::turn(roots, &id)?;
    let found = container::find(roots, id.as_str())?;
    let config = found.config.ok_or_else(|| {
        Error::user(format!("the record of container {word} cannot be read")).hint(format!("minirun rm -f {word}"))
    })?;
    if config.name == *name {
        return Err(Error::user(format!("container {word} has this name already")).hint("give another one"));
    }
    remains::free_name(roots, name)?;
    names::claim(roots, name, &id)?;
    let renamed = records::Config { name: name.clone(), ..config.clone() };
    if let Err(error) = records::write_config(roots, &renamed) {
        names::release(roots, name, &id)?;
        return Err(error);
    }
    network::rename(roots, &id, &config.name, name)?;
    events::container(roots, &renamed, "rename", &[("oldName", &format!("/{}", config.name))]);
    names::release(roots, &config.name, &id).map(drop)
}

/// Waits for a container's end; gives its exit code. One that was never started counts as ended well.
pub fn wait(roots: &Roots, word: &str) -> Result<u8> {
    let mut found = container::find(roots, word)?;
    loop {
        match &found.status {
            Status::Created => return Ok(0),
            Status::Exited(exit) | Status::Restarting(exit) => return Ok(exit.map_or(UNKNOWN_EXIT, |exit| exit.code())),
            Status::Dead | Status::Broken(_) => {
                return Err(Error::user(format!("container {word} is {}", container::describe(&found.status))));
            }
            Status::Starting | Status::Running | Status::Ending => {}
        }
        // where the monitor has just ended or was killed, the records say how it goes on
        match (attach::connect(roots.life(&found.id).as_path(), Attach::default()), &found.life) {
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
