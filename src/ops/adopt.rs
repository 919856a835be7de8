//! A container that runs while its monitor is dead gets another one, from whichever command meets it first.

use super::attach;
use crate::error::{Errno, Result};
use crate::facts;
use crate::id::ContainerId;
use crate::monitor::protocol::{Attach, Task};
use crate::monitor::spawn::Handed;
use crate::state::Roots;
use crate::sys::record::Lock;
use crate::{cgroup, sys};

/// Starts a monitor for it and waits until that looks after it. Commands that meet it together do so one by one, and
/// the first is as good as all.
pub(super) fn adopt(roots: &Roots, id: &ContainerId) -> Result<()> {
    if sys::host::uid() != 0 {
        return Ok(());
    }
    let _turn = match Lock::directory(roots.life(id).as_path()) {
        Err(e) if e.errno == Errno::ENOENT => return Ok(()), // it has ended, and somebody has cleaned up
        turn => turn?,
    };
    if !is_orphan(roots, id) {
        return Ok(());
    }
    let cgroups = cgroup::probe::probe(&facts::cgroup_parent(roots))?;
    let order = super::order(roots, Task::Adopt(id.clone()), Attach::default(), false);
    let monitor = super::spawn_monitor(roots, order, &Handed::default(), &cgroups)?;
    match attach::await_start(&monitor, &super::Silent) {
        Err(_) if !is_orphan(roots, id) => Ok(()), // it has ended meanwhile
        started => started.map_err(|error| error.during(format!("giving container {} a new monitor", id.short()))),
    }
}

fn is_orphan(roots: &Roots, id: &ContainerId) -> bool {
    let now: super::container::Container = crate::state::container::load(roots, id);
    now.is_orphan()
}
