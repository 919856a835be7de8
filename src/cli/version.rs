//! `minirun version`.

use super::ui;
use crate::error::Result;

/// Show the version
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn main(_args: &Args) -> Result<u8> {
    ui::line(concat!("minirun ", env!("CARGO_PKG_VERSION")))?;
    Ok(0)
}
