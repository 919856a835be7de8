//! `minirun stats`.

use super::format::{self, Listing, Row, row};
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
    /// json, or a Go template: '{{.Name}}', 'table {{.Name}}\t{{.CPUPerc}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// All that there are: those that do not run use nothing
    #[arg(short, long)]
    all: bool,
    /// Names, ids or the unique beginning of one; all that run where none is given
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

const LISTING: Listing = Listing {
    fields: &[
        ("ID", "CONTAINER ID"),
        ("Container", "CONTAINER"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    table: r"{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    quiet: "{{.ID}}",
};

/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let mut sampler = Sampler::default();
    // how much of a processor is used is known only at the second look
    sampler.look(roots, &args.containers, args.all)?;
    loop {
        std::thread::sleep(PAUSE);
        let samples = sampler.look(roots, &args.containers, args.all)?;
        let rows: Vec<Row> = samples.iter().map(|sample| fields(sample, args.no_trunc)).collect();
        if !args.no_stream {
            ui::clear()?;
        }
        format::print_rows_as(args.format.as_deref(), false, &LISTING, &rows, ui::Width::of(args.no_trunc))?;
        if args.no_stream {
            return Ok(0);
        }
    }
}

/// A container under docker's names.
fn fields(sample: &Sample, whole: bool) -> Row {
    let Sample { id, name, cpu, usage, memory_limit, network } = sample;
    let share = usage.memory as f64 / (*memory_limit).max(1) as f64 * 100.0;
    let id = if whole { id.as_str() } else { id.short() };
    let pair = |(from, to): (u64, u64)| format!("{} / {}", ui::decimal(from), ui::decimal(to));
    row([
        ("ID", id.into()),
        ("Container", id.into()),
        ("Name", name.as_str().into()),
        ("CPUPerc", format!("{:.2}%", cpu.unwrap_or(0.0)).into()),
        ("MemUsage", format!("{} / {}", ui::size(usage.memory), ui::size(*memory_limit)).into()),
        ("MemPerc", format!("{share:.2}%").into()),
        ("NetIO", pair(*network).into()),
        ("BlockIO", pair((usage.read, usage.written)).into()),
        ("PIDs", usage.pids.to_string().into()),
    ])
}
