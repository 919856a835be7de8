//! What minirun remembers of a container. `/var/lib/minirun/containers/ID` holds what outlives a reboot: its
//! configuration, its changes, how it ended. `/run/minirun/containers/ID` holds its life: who runs it, and how to
//! undo what it holds on the host. Never touches anything but these files.

pub mod container;
pub mod health;
pub mod names;
pub mod roots;

pub use container::{Config, Container, Ended, Life, LogLimits, Started, Status};
pub use roots::Roots;
