//! `minirun stats`.

use super::ui;
use crate::error::Result;
use crate::ops::stats::{Sample, Sampler};
use crate::state::Roots;
use std::time::Duration;

/// Show what running containers use, again every second
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun stats --no-stream")]
pub(super) struct Args {
    /// Once
    #[arg(long)]
    no_stream: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Names, ids or the unique beginning of one; all that run where none is given
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

const HEADER: [&str; 8] =
    ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];

/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let mut sampler = Sampler::default();
    // how much of a processor is used is known only at the second look
    sampler.look(roots, &args.containers)?;
    loop {
        std::thread::sleep(PAUSE);
        let samples = sampler.look(roots, &args.containers)?;
        let rows: Vec<Vec<String>> = samples.iter().map(|sample| line(sample, args.no_trunc)).collect();
        if !args.no_stream {
            ui::clear()?;
        }
        ui::table(&HEADER, &rows)?;
        if args.no_stream {
            return Ok(0);
        }
    }
}

fn line(sample: &Sample, whole: bool) -> Vec<String> {
    let Sample { id, name, cpu, usage, memory_limit, network } = sample;
    let share = usage.memory as f64 / (*memory_limit).max(1) as f64 * 100.0;
    vec![
        if whole { id.to_string() } else { id.short().to_owned() },
        name.clone(),
        format!("{:.2}%", cpu.unwrap_or(0.0)),
        format!("{} / {}", ui::size(usage.memory), ui::size(*memory_limit)),
        format!("{share:.2}%"),
        format!("{} / {}", ui::decimal(network.0), ui::decimal(network.1)),
        format!("{} / {}", ui::decimal(usage.read), ui::decimal(usage.written)),
        usage.pids.to_string(),
    ]
}
