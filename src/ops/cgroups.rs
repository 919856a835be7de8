//! The cgroups of a container that runs: frozen and thawed.

use super::container::Container;
use crate::cgroup::apply;
use crate::cgroup::plan::Place;
use crate::error::{Error, Result};

/// Where they are; nowhere for one that does not live.
pub(super) fn place(of: &Container) -> Result<Place> {
    let Some(life) = &of.life else { return Ok(Place::default()) };
    let broken = |e| Error::host(format!("the record of container {}'s life is broken: {e}", of.id.short()));
    serde_json::from_value(life.cgroups.clone()).map_err(broken)
}

pub(super) fn freeze(of: &Container) -> Result<()> {
    // what has not come to a stand in time goes on as a whole
    let place = place(of)?;
    apply::freeze(&place).inspect_err(|_| drop(apply::thaw(&place)))
}

/// A container that stands still for as long as this lives.
#[derive(Debug)]
pub(super) struct Paused(Place);

/// `None` where it stands still already, and goes on doing so.
pub(super) fn pause(of: &Container) -> Result<Option<Paused>> {
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
pub(super) fn thaw(of: &Container) -> Result<()> {
    let place = place(of)?;
    if apply::is_frozen(&place) { apply::thaw(&place) } else { Ok(()) }
}

pub(super) fn is_frozen(of: &Container) -> bool {
    place(of).is_ok_and(|place| apply::is_frozen(&place))
}
