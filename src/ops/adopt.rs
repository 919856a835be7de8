//! A container that runs while its monitor is dead gets another one, from whichever command meets it first.

use super::attach;
use crate::error::Result;
use crate::facts;
use crate::id::ContainerId;
use crate::monitor::protocol::{Attach, Task};
use crate::monitor::spawn::Handed;
use crate::state::Roots;
use crate::{cgroup, sys};

/// Starts a monitor for it and waits until that looks after it. Where another command was faster, that is as good.
pub(super) fn adopt(roots: &Roots, id: &ContainerId) -> Result<()> {
    if sys::host::uid() != 0 {
        return Ok(());
    }
    let cgroups = cgroup::probe::probe(&facts::cgroup_parent(roots))?;
    let order = super::order(roots, Task::Adopt(id.clone()), Attach::default(), false);
    let monitor = super::spawn_monitor(roots, order, &Handed::default(), &cgroups)?;
    let silent = super::Silent;
    match attach::await_start(&monitor, &silent) {
        Err(_) if is_looked_after(roots, id) => Ok(()),
        started => started.map_err(|error| error.during(format!("giving container {} a new monitor", id.short()))),
    }
}

fn is_looked_after(roots: &Roots, id: &ContainerId) -> bool {
    let now: super::container::Container = crate::state::container::load(roots, id);
    !now.is_orphan()
}
