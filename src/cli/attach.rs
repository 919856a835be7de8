//! `minirun attach`.

use super::ui;
use crate::error::Result;
use crate::ops::attach::{self, Front};
use crate::ops::detach_keys::DetachKeys;
use crate::state::Roots;

/// Stand in front of a running container: its output, its input where it has one, its signals
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun attach web      (ctrl-p ctrl-q leaves a terminal)")]
pub(super) struct Args {
    /// Keys that leave its terminal [ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Do not send it the standard input
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to it; false keeps them
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: Option<bool>,
    /// A name, an id or the unique beginning of one
    container: String,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let keys = DetachKeys::parse(args.detach_keys.as_deref().unwrap_or_default())?;
    let keep_signals = args.sig_proxy == Some(false);
    let front = Front { input: !args.no_stdin, keys, keep_signals, ..Front::default() };
    let progress = ui::Bars::new(ui::Show::Nothing);
    attach::attach_to(roots, &args.container, front, &progress).map(|ran| super::ended(&ran))
}
