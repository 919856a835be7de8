//! Where `lab` plays: a host of its own, which is a new network namespace with nothing in it, and a store and records of
//! its own. What a lab does there is done to nobody else's network, and goes with it.

mod look;

pub use look::{Heard, Look, Seen, look};

use super::{container, networks, system};
use crate::error::{Error, Result};
use crate::id::{IfName, Name};
use crate::net::names::Realm;
use crate::net::wire::{self, Verb};
use crate::state::Roots;
use crate::sys::event::{self, Signals};
use crate::sys::netns::Visit;
use crate::sys::process::{self, Exit, Identity, Pid, Side};
use crate::sys::record::Lock;
use crate::sys::{self, fs};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

/// Where something is done: at the host, or inside a container.
pub type Place<'a> = Option<&'a str>;

/// Runs `play` in a child process on such a host, with the roots that are its own, and takes back all of it, however it
/// ended: the child's exit code. Signals for us are the child's.
pub fn on_a_host_of_its_own(roots: &Roots, play: impl FnOnce(&Roots) -> u8) -> Result<u8> {
    networks::refuse_without_root("lab")?;
    roots.make()?;
    let own = own_roots(roots);
    let Some(_one_at_a_time) = turn(roots)? else {
        return Err(Error::user("another lab is being played").hint("wait for its end"));
    };
    process::unshare(libc::CLONE_NEWNET)?;
    fs::write_existing(Path::new("/proc/sys/net/ipv4/ip_forward"), "0")?; // a new one has what the host has
    wire::apply(&Verb::Up { link: IfName::parse("lo")? }, None)?;
    clean(&own)?; // what one that was killed has left
    own.make()?;
    let signals = Signals::forwarded()?;
    let (child, pidfd) = match process::clone3(0, None)? {
        Side::Parent { child, pidfd } => (child, pidfd),
        Side::Child => {
            drop(signals);
            process::exit_now(play(&own).into());
        }
    };
    let ended = attend(&signals, child, &pidfd);
    clean(&own)?;
    Ok(ended?.code())
}

fn own_roots(roots: &Roots) -> Roots {
    Roots { root: roots.root.child("lab"), state: roots.state.child("lab"), ..roots.clone() }
}

/// `None` while a lab is being played.
fn turn(roots: &Roots) -> Result<Option<Lock>> {
    Ok(Lock::try_exclusive(roots.state.child("lab.lock").as_path())?)
}

/// What there is of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// It is being played.
    Played,
    /// It was killed.
    Dead,
}

pub(super) fn left(roots: &Roots) -> Result<Left> {
    match has_roots(roots) {
        false => Ok(Left::Nothing),
        true => Ok(turn(roots)?.map_or(Left::Played, |_free| Left::Dead)),
    }
}

fn has_roots(roots: &Roots) -> bool {
    let own = own_roots(roots);
    [&own.root, &own.state].into_iter().any(|dir| fs::exists(dir.as_path()))
}

/// Takes back what a lab that was killed has left; what there was. One that is being played goes on.
pub(super) fn take_back(roots: &Roots) -> Result<Left> {
    if !has_roots(roots) {
        return Ok(Left::Nothing);
    }
    let Some(_turn) = turn(roots)? else { return Ok(Left::Played) };
    // in a new network namespace: what it has set in its own is not undone in ours
    Visit::to_new()?.inside(|| clean(&own_roots(roots)))??;
    Ok(Left::Dead)
}

fn attend(signals: &Signals, child: Pid, pidfd: &OwnedFd) -> Result<Exit> {
    loop {
        let ready = event::readable(&[signals.as_fd(), pidfd.as_fd()])?;
        if ready[1] {
            return Ok(process::wait(pidfd)?);
        }
        while let Some(signal) = signals.next()? {
            process::signal_child(child, signal)?;
        }
    }
}

fn clean(own: &Roots) -> Result<()> {
    match system::reset(own)?.1.into_iter().next() {
        Some(error) => Err(error.during("cleaning up after the lab")),
        None => Ok(()),
    }
}

/// Does it while its results on stdout, such as ids, are shown to nobody.
pub fn quietly<T>(deed: impl FnOnce() -> T) -> Result<T> {
    let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map_err(|e| Error::host(format!("duplicating stdout: {e}")));
    let (input, output, errors) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let (before, nowhere) = (own(output.as_fd())?, fs::open_device_null()?);
    sys::redirect_stdio(&[input.as_fd(), nowhere.as_fd(), errors.as_fd()])?;
    let done = deed();
    sys::redirect_stdio(&[input.as_fd(), before.as_fd(), errors.as_fd()])?;
    Ok(done)
}

/// The bridge of a network, by its name as a link.
pub fn bridge_of(network: &str, roots: &Roots) -> Result<IfName> {
    Realm { state: roots.state.clone() }.bridge(&Name::parse(network)?)
}

/// Does one thing to links, addresses and routes, given as a line for `ip`.
pub fn wire(roots: &Roots, at: Place<'_>, line: &str) -> Result<()> {
    let verb = Verb::parse(line)?;
    let into = match &verb {
        Verb::AddVeth { into: Some(container), .. } => Some(init(roots, container)?),
        _ => None,
    };
    at_place(roots, at, || wire::apply(&verb, into.as_ref()))?
}

fn init(roots: &Roots, container: &str) -> Result<Identity> {
    container::running(roots, container).map(|(_, init)| init)
}

/// Does the work in a place's network namespace.
fn at_place<T>(roots: &Roots, at: Place<'_>, work: impl FnOnce() -> T) -> Result<T> {
    let Some(container) = at else { return Ok(work()) };
    let gone = || Error::user(format!("container {container} has just ended")).hint("play the lab again");
    let visit = Visit::to_running(&init(roots, container)?)?.ok_or_else(gone)?;
    Ok(visit.inside(work)?)
}
