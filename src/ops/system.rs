//! `repair`, `system reset`, `info`.

use super::{Roots, not_wired};
use crate::error::{Error, Result};

/// Undoes what killed commands left behind; a line for each thing.
pub fn repair(_roots: &Roots) -> Result<Vec<String>> {
    not_wired("repair")
}

/// Everything that minirun ever made here and that is still there, a line each.
pub fn everything(_roots: &Roots) -> Result<Vec<String>> {
    not_wired("system reset")
}

/// Removes all of it; what was removed, and what could not be.
pub fn reset(_roots: &Roots) -> Result<(Vec<String>, Vec<Error>)> {
    not_wired("system reset")
}

/// What this host offers, as name and value.
pub fn info(_roots: &Roots) -> Result<Vec<(String, String)>> {
    not_wired("info")
}
