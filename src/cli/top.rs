//! `minirun top`.

use super::ui;
use crate::error::Result;
use crate::ops::stats::{self, ProcessRow};
use crate::state::Roots;

/// Show the processes of a running container, by their pids on the host
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun top web\n         minirun top web -eo pid,comm")]
pub(super) struct Args {
    /// A name, an id or the unique beginning of one
    container: String,
    /// Options for the host's ps
    #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    if !args.options.is_empty() {
        return ui::print(&stats::host_ps(roots, &args.container, &args.options)?).map(|()| 0);
    }
    let rows: Vec<Vec<String>> = stats::top(roots, &args.container)?.iter().map(line).collect();
    ui::table(&["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"], &rows, ui::Width::Fits).map(|()| 0)
}

fn line(row: &ProcessRow) -> Vec<String> {
    let share = row.time.as_secs_f64() / row.age.as_secs_f64().max(0.01) * 100.0;
    vec![
        if row.uid == 0 { "root".to_owned() } else { row.uid.to_string() },
        row.pid.to_string(),
        row.parent.to_string(),
        format!("{share:.0}"),
        ui::clock_before(row.age),
        row.terminal.clone(),
        ui::hours(row.time),
        row.command.clone(),
    ]
}
