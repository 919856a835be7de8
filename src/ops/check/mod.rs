//! `info --check`: whether this host has what containers need, fact by fact, with what to do where it has not. It looks,
//! and changes nothing.

mod facts;
mod rows;

use crate::error::Result;
use crate::state::Roots;
pub use rows::{Row, State};

pub fn check(roots: &Roots) -> Result<Vec<Row>> {
    Ok(rows::rows(&facts::look(roots)?))
}
