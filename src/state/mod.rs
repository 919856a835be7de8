//! What minirun remembers of a container. `/var/lib/minirun/containers/ID` holds what outlives a reboot: its
//! configuration, its changes, how it ended. `/run/minirun/containers/ID` holds its life: who runs it, and how to
//! undo what it holds on the host; beside it, `events` is what has happened. `/var/lib/minirun/volumes/NAME` is a volume with its data.

mod config;
pub mod container;
pub mod events;
pub mod health;
pub mod names;
mod raw;
pub mod roots;
pub mod user_ids;
mod version;
pub mod volume;

pub use container::{Config, Container, Ended, ImageUse, Life, LogLimits, Started, Status, VolumeUse};
pub use raw::Raw;
pub use roots::Roots;
