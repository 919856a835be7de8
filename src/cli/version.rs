//! `minirun version`.

use super::{format, ui};
use crate::error::Result;
use crate::ops::info;

/// Show the version
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// json, or a Go template: '{{.Server.Version}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

pub(super) fn main(args: &Args) -> Result<u8> {
    match args.format.as_deref() {
        None | Some("") => ui::line(concat!("minirun ", env!("CARGO_PKG_VERSION")))?,
        Some(format) => format::print_value(format, &info::version()?)?,
    }
    Ok(0)
}
