//! What each command does, as a function that takes a request and gives a result. Nothing here prints, reads the
//! command line or the environment.

mod adopt;
pub mod attach;
mod cgroups;
pub mod check;
pub mod complete;
pub mod container;
pub mod debug;
pub mod detach_keys;
pub mod df;
mod etc;
pub mod events;
mod exec;
pub mod files;
pub mod generate;
pub mod graph;
pub mod health;
pub mod image;
pub mod info;
pub mod inside;
pub mod inspect;
pub mod lab;
pub mod life;
pub mod list;
pub mod logs;
pub mod matrix;
mod mounts;
mod names;
mod network;
pub mod networks;
mod own;
pub mod plug;
pub mod prune;
mod record;
pub mod registry;
pub mod reload;
mod remains;
pub mod run;
pub mod start;
pub mod stats;
pub mod system;
pub mod unpack;
pub mod update;
pub mod volume;

use crate::cgroup;
use crate::engine;
use crate::error::{Error, Kind, Result};
use crate::facts;
use crate::id::HostPath;
use crate::monitor::protocol::{Attach, Order, Task};
use crate::monitor::spawn::{self, Handed, Monitor};
use crate::plan::step::Step;
use crate::security;
use crate::spec::SeccompChoice;
use crate::spec::request::RunRequest;
use crate::state::Roots;
use crate::state::roots::{DEFAULT_CONFIG, DEFAULT_ROOT, DEFAULT_STATE};
use crate::sys::{event, fs, host, tty};

/// Where everything is, by flag or environment, else the system's.
pub fn roots(
    root: Option<HostPath>,
    state: Option<HostPath>,
    config: Option<HostPath>,
    logins: Vec<HostPath>,
    proxies: [String; 3],
) -> Result<Roots> {
    let or = |given: Option<HostPath>, default| given.map_or_else(|| HostPath::parse(default), Ok);
    let (root, state) = (or(root, DEFAULT_ROOT)?, or(state, DEFAULT_STATE)?);
    Ok(Roots { root, state, config: or(config, DEFAULT_CONFIG)?, logins, proxies })
}

/// To whom long work tells how far it is. Threads may share it.
pub trait Progress: Sync {
    /// A task begins, such as a layer; `total` in bytes, where it is known.
    fn begin(&self, task: &str, total: Option<u64>);
    fn advance(&self, task: &str, bytes: u64);
    fn end(&self, task: &str);
    /// Something is less than asked for; the work goes on.
    fn warn(&self, message: &str);
    /// One step of a traced run: returns when it may be done, which may be before it can be read.
    fn trace(&self, line: &str, why: &str) -> Result<()>;
    /// There are no more steps for now: returns when all can be read.
    fn trace_ends(&self);
}

/// Nobody listens.
struct Silent;

impl Progress for Silent {
    fn begin(&self, _task: &str, _total: Option<u64>) {}
    fn advance(&self, _task: &str, _bytes: u64) {}
    fn end(&self, _task: &str) {}
    fn warn(&self, _message: &str) {}
    fn trace(&self, _line: &str, _why: &str) -> Result<()> {
        Ok(())
    }
    fn trace_ends(&self) {}
}

/// Columns of the terminal on stdout; `None` where it is none.
pub fn columns() -> Option<usize> {
    tty::size(&std::io::stdout()).ok().map(|size| usize::from(size.columns)).filter(|columns| *columns > 0)
}

/// Reads from the terminal on stdin while it does not show what is typed.
pub fn without_echo<T>(read: impl FnOnce() -> T) -> Result<T> {
    let _silent = tty::RawMode::without_echo()?;
    Ok(read())
}

/// Writes all of it; one that does not wait (O_NONBLOCK, as a parent may have set it) is waited for.
pub fn write_all(to: &impl std::os::fd::AsFd, bytes: &[u8]) -> std::io::Result<()> {
    event::write_all(to, bytes).map_err(|e| e.errno.into())
}

/// This moment, in RFC 3339.
fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Seconds from a moment in RFC 3339 to now; 0 where it cannot be read or lies ahead.
fn seconds_since(moment: &str) -> u64 {
    age(moment).unwrap_or(0)
}

/// Seconds since an image says that it was made. None where that cannot be read, or is Go's zero time, of the year 1.
fn age(created: &str) -> Option<u64> {
    let then: jiff::Timestamp = created.parse().ok()?;
    let age = jiff::Timestamp::now().duration_since(then).as_secs().max(0).unsigned_abs();
    Some(age).filter(|_| !created.starts_with("0001-"))
}

/// What only root may do yet; the error says what exactly could not be done.
fn refuse_without_root(request: &RunRequest) -> Result<()> {
    if host::is_set_id() {
        return Err(
            Error::user("minirun refuses to run setuid: it would give root to everybody").hint("sudo minirun …")
        );
    }
    let what = match request.network.mode.as_deref() {
        None => "creating the bridge needs root",
        Some(mode) if !["none", "host"].contains(&mode) && !mode.starts_with("container:") => {
            "creating the bridge needs root"
        }
        Some(_) => "creating namespaces and cgroups needs root",
    };
    if host::uid() == 0 { Ok(()) } else { Err(Error::user(what).hint("sudo minirun run …")) }
}

/// An order for a monitor; which descriptors it inherits is known when it is spawned.
fn order(roots: &Roots, task: Task, attach: Attach, trace: bool) -> Order {
    let (locks, sockets) = (Vec::new(), Vec::new());
    Order { roots: roots.clone(), task, trace, attach, control: -1, images: None, locks, sockets }
}

/// Starts a monitor in the monitors' own cgroup.
fn spawn_monitor(
    roots: &Roots,
    order: Order,
    handed: &Handed,
    cgroups: &cgroup::facts::Hierarchies,
) -> Result<Monitor> {
    let place = cgroup::plan::join_monitors(cgroups, &facts::cgroup_parent(roots))?;
    let steps = |steps: Vec<_>| steps.into_iter().map(Step::Cgroup).collect::<Vec<_>>();
    engine::run(&steps(place.prepare))?;
    let into = place.into.map(|dir| fs::open_read(dir.as_path())).transpose()?;
    spawn::spawn(order, handed, into.as_ref(), &steps(place.inside))
}

/// The filter of a request, read where it is a file.
fn seccomp(choice: &SeccompChoice) -> Result<security::plan::Request> {
    use security::seccomp::SeccompChoice as Filter;
    let seccomp = match choice {
        SeccompChoice::Default => Filter::Default,
        SeccompChoice::Unconfined => Filter::Unconfined,
        SeccompChoice::File(path) => Filter::DockerProfile(fs::read_text(path.as_path()).map_err(|e| {
            let error = Error::from(e).during(format!("seccomp profile {path}")).kind(Kind::User);
            error.hint("--security-opt seccomp= takes a profile's file or `unconfined`")
        })?),
    };
    Ok(security::plan::Request { seccomp, preserve_fds: 0 })
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn an_image_that_does_not_say_when_it_was_made_has_no_age() {
        assert_eq!([age("0001-01-01T00:00:00Z"), age("yesterday"), age("")], [None; 3]);
        assert!(age("1970-01-01T00:00:00Z").unwrap() > 50 * 365 * 86400);
        assert_eq!(age("2970-01-01T00:00:00Z"), Some(0));
    }
}
