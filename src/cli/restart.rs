//! `minirun restart`.

use super::{each_at_once, stop, ui};
use crate::error::Result;
use crate::ops::life;
use crate::ops::start;
use crate::state::Roots;

/// Stop containers that run, and start them again
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun restart -t 3 web")]
pub(super) struct Args {
    #[command(flatten)]
    how: stop::How,
    /// Names, ids or the unique beginning of one
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let request = args.how.request(true)?;
    let progress = ui::Bars::new(ui::Show::Nothing);
    Ok(each_at_once(
        &args.containers,
        |name| life::ask_to_end(roots, name, request),
        |name, asked| {
            start::start_after(roots, name, asked?, &progress)?;
            ui::line(name)
        },
    ))
}
