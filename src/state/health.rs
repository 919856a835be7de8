//! How a container that runs is: what its health check has said, in its life's directory.

use super::Roots;
use crate::error::{During as _, Error, Result};
use crate::id::ContainerId;
use crate::sys::fs;
use crate::sys::record::{self, Durability};
use serde::{Deserialize, Serialize};

/// A command that says by its exit code whether a container is well, and when it is run. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub command: Vec<String>,
    pub interval: u64,
    pub timeout: u64,
    /// Failures before this do not count.
    pub start_period: u64,
    /// The interval before the first success in that time.
    pub start_interval: u64,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl Status {
    /// docker's word.
    pub fn name(self) -> &'static str {
        match self {
            Status::Starting => "starting",
            Status::Healthy => "healthy",
            Status::Unhealthy => "unhealthy",
        }
    }
}

/// What the checks have said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub status: Status,
    /// Failures in a row.
    pub streak: u32,
    /// The last checks, the oldest first.
    pub log: Vec<Checked>,
}

/// One check that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// RFC 3339.
    pub start: String,
    pub end: String,
    /// Of the command; -1 where it took too long.
    pub exit_code: i32,
    pub output: String,
}

/// docker keeps so many.
const KEPT: usize = 5;

impl Health {
    /// Takes in one more. In the start period, until the first success, a failure does not count.
    pub fn add(&mut self, checked: Checked, retries: u32, in_start_period: bool) {
        if checked.exit_code == 0 {
            (self.streak, self.status) = (0, Status::Healthy);
        } else if !(in_start_period && self.status == Status::Starting) {
            self.streak += 1;
            if self.streak >= retries {
                self.status = Status::Unhealthy;
            }
        }
        self.log.push(checked);
        if self.log.len() > KEPT {
            self.log.remove(0);
        }
    }
}

const NAME: &str = "health.json";

pub fn write(roots: &Roots, id: &ContainerId, health: &Health) -> Result<()> {
    let bytes = serde_json::to_vec(health).map_err(|e| Error::internal(format!("{NAME}: {e}")))?;
    record::write(roots.life(id).child(NAME).as_path(), &bytes, Durability::Memory).during(|| "writing its health")
}

/// Nothing where no check has ended yet, or where it cannot be read: the next one writes it again.
pub fn read(roots: &Roots, id: &ContainerId) -> Health {
    let bytes = fs::read(roots.life(id).child(NAME).as_path()).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_last_checks_say() {
        let mut health = Health::default();
        let checked =
            |exit_code| Checked { start: String::new(), end: String::new(), exit_code, output: String::new() };
        for (exit_code, in_start_period, status, streak) in [
            (1, true, Status::Starting, 0), // it may
            (1, false, Status::Starting, 1),
            (1, false, Status::Unhealthy, 2),
            (0, false, Status::Healthy, 0),
            (1, true, Status::Healthy, 1), // no longer
            (-1, true, Status::Unhealthy, 2),
        ] {
            health.add(checked(exit_code), 2, in_start_period);
            assert_eq!((health.status, health.streak), (status, streak));
        }
        assert_eq!(health.log.len(), KEPT);
        assert_eq!(health.log[4].exit_code, -1);
    }
}
