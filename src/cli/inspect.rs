//! `minirun inspect`.

use super::{each, ui};
use crate::error::{Error, Result};
use crate::ops::inspect;
use crate::state::Roots;

/// Show all that is known of containers or images, as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun inspect web")]
pub(super) struct Args {
    /// Containers first, then images
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// One array for all that were found, as docker prints it, even where one was not.
pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let mut found = Vec::new();
    let code = each(&args.names, |name| {
        found.push(inspect::inspect(roots, name)?);
        Ok(())
    });
    let text = serde_json::to_string_pretty(&found).map_err(|e| Error::internal(format!("inspect: {e}")))?;
    ui::print(&format!("{text}\n"))?;
    Ok(code)
}
