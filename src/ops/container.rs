//! `ps`, `rm`, `inspect`.

use super::{Roots, not_wired};
use crate::error::Result;
use crate::id::ContainerId;

/// A line of `ps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRow {
    pub id: ContainerId,
    pub name: String,
    pub image: String,
    /// The command's words.
    pub command: Vec<String>,
    /// Seconds since it was made.
    pub age: u64,
    /// `Up 5 minutes`, `Exited (0) 2 hours ago`, `Broken: …`.
    pub status: String,
    pub running: bool,
    /// `0.0.0.0:8080->80/tcp`, with commas between.
    pub ports: String,
}

/// All containers, the newest first; a broken record is a row, not an error.
pub fn list(_roots: &Roots) -> Result<Vec<ContainerRow>> {
    not_wired("ps")
}

/// Whether a running container is killed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    No,
    Kill,
}

pub fn remove(_roots: &Roots, _container: &str, _force: Force) -> Result<()> {
    not_wired("rm")
}

/// What docker's inspect shows of a container, or else of an image, of that name.
pub fn inspect(_roots: &Roots, _name: &str) -> Result<serde_json::Value> {
    not_wired("inspect")
}
