//! What each command does, one function each. Prints nothing: results are data, and long work reports to [`Progress`].

pub mod container;
pub mod image;
pub mod run;
pub mod system;

use crate::error::{Error, Result};
use crate::id::HostPath;

/// Where minirun keeps what it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Images, volumes, records: outlive a reboot.
    pub root: HostPath,
    /// State, locks, journals: gone at reboot.
    pub state: HostPath,
}

/// The two directories, by flag or environment, else the system's.
pub fn roots(root: Option<HostPath>, state: Option<HostPath>) -> Result<Roots> {
    let or = |given: Option<HostPath>, default| given.map_or_else(|| HostPath::parse(default), Ok);
    Ok(Roots { root: or(root, "/var/lib/minirun")?, state: or(state, "/run/minirun")? })
}

/// To whom long work tells how far it is. Threads may share it.
pub trait Progress: Sync {
    /// A task begins, such as a layer; `total` in bytes, where it is known.
    fn begin(&self, task: &str, total: Option<u64>);
    fn advance(&self, task: &str, bytes: u64);
    fn end(&self, task: &str);
    /// Something is less than asked for; the work goes on.
    fn warn(&self, message: &str);
    /// One step of a traced run, before it is done.
    fn trace(&self, line: &str);
}

/// Columns of the terminal on stdout; `None` where it is none.
pub fn columns() -> Option<usize> {
    crate::sys::screen::size(&std::io::stdout()).ok().map(|(columns, _)| usize::from(columns)).filter(|c| *c > 0)
}

fn not_wired<T>(what: &str) -> Result<T> {
    Err(Error::internal(format!("{what} is not wired")))
}
