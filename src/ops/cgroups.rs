//! The cgroups of a container that runs: frozen and thawed.

use crate::cgroup::apply;
use crate::cgroup::facts::Hierarchies;
use crate::cgroup::plan::Place;
use crate::error::{Error, Result};
use crate::state::Container;

/// Where they are; nowhere for one that does not live.
pub(super) fn place<U>(of: &Container<U>) -> Result<Place> {
    let Some(life) = &of.life else { return Ok(Place::default()) };
    let broken = |e| Error::host(format!("the record of container {}'s life is broken: {e}", of.id.short()));
    life.cgroups.parse().map_err(broken)
}

pub(super) fn freeze<U>(of: &Container<U>) -> Result<()> {
    // what has not come to a stand in time goes on as a whole
    let place = place(of)?;
    apply::freeze(&place).inspect_err(|_| drop(apply::thaw(&place)))
}

/// A cgroup that is named from the root is somebody else's: it is there, or that is a mistake.
pub(super) fn check_parent(parent: Option<&str>, host: &Hierarchies) -> Result<()> {
    let Some(named) = parent.filter(|parent| parent.starts_with('/')) else { return Ok(()) };
    let path = named.trim_matches('/');
    if path.is_empty() || host.list.iter().any(|hierarchy| hierarchy.level(path).is_some()) {
        return Ok(());
    }
    Err(Error::user(format!("there is no cgroup {named}"))
        .hint(format!("make it, or leave out the slash: --cgroup-parent {path} is below minirun's own")))
}

/// A container that stands still for as long as this lives.
#[derive(Debug)]
pub(super) struct Paused(Place);

/// `None` where it stands still already, and goes on doing so.
pub(super) fn pause<U>(of: &Container<U>) -> Result<Option<Paused>> {
    if is_frozen(of) {
        return Ok(None);
    }
    freeze(of)?;
    place(of).map(Paused).map(Some)
}

impl Drop for Paused {
    fn drop(&mut self) {
        // `minirun unpause` does it, too
        let _ = apply::thaw(&self.0);
    }
}

/// Nothing happens where nothing is frozen.
pub(super) fn thaw<U>(of: &Container<U>) -> Result<()> {
    let place = place(of)?;
    if apply::is_frozen(&place) { apply::thaw(&place) } else { Ok(()) }
}

pub(super) fn is_frozen<U>(of: &Container<U>) -> bool {
    place(of).is_ok_and(|place| apply::is_frozen(&place))
}
