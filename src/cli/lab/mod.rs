//! `minirun lab`.

mod cables;
mod play;
mod scenario;
mod segments;

use super::ui;
use crate::error::{Kind, Result};
use crate::ops::lab;
use crate::state::Roots;
use clap::Subcommand;
use clap::builder::{PossibleValue, PossibleValuesParser};
use scenario::Lab;

/// Play experiments with networks: each command, what is expected of it, and what is seen
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A lab has a network namespace, a store and records of its own: nothing of this host is touched, and
nothing of it is left.

Examples:
  minirun lab ls
  minirun lab run two-subnets
  minirun lab run --all"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the labs
    #[command(visible_alias = "list")]
    Ls,
    /// Play labs, one after the other
    #[command(after_help = "Ends with 1 where something else is seen than is expected.")]
    Run {
        /// Every lab there is
        #[arg(long, conflicts_with = "names")]
        all: bool,
        #[arg(required_unless_present = "all", value_name = "LAB", value_parser = names())]
        names: Vec<String>,
    },
}

/// All labs, in the order of the questions that they answer.
fn labs() -> Vec<&'static Lab> {
    segments::LABS.iter().chain(cables::LABS).collect()
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    match &args.command {
        Verb::Ls => {
            let line = |lab: &&Lab| vec![lab.name.to_owned(), lab.shows.to_owned()];
            ui::table(&["LAB", "SHOWS"], &labs().iter().map(line).collect::<Vec<_>>(), ui::Width::Fits)?;
            Ok(0)
        }
        // what this kernel cannot show is said, and passed over
        Verb::Run { all: true, .. } => run(&labs(), AS_EXPECTED, roots),
        Verb::Run { names, .. } => {
            let named = |name: &String| labs().into_iter().find(|lab| lab.name == *name);
            run(&names.iter().filter_map(named).collect::<Vec<_>>(), UNEXPECTED, roots)
        }
    }
}

fn names() -> PossibleValuesParser {
    labs().into_iter().map(|lab| PossibleValue::new(lab.name).help(lab.shows)).collect::<Vec<_>>().into()
}

const AS_EXPECTED: u8 = 0;
const UNEXPECTED: u8 = 1;

/// Each on a host of its own; the exit code is 1 where one was not as expected, and `lacking` where the kernel lacks what
/// it needs. A signal ends all of them.
fn run(labs: &[&Lab], lacking: u8, roots: &Roots) -> Result<u8> {
    let mut code = AS_EXPECTED;
    for lab in labs {
        let played = lab::on_a_host_of_its_own(roots, |own| match play::play(lab, own) {
            Ok(true) => AS_EXPECTED,
            Ok(false) => UNEXPECTED,
            Err(error) => {
                ui::error(&error);
                if error.kind == Kind::Kernel { lacking } else { UNEXPECTED }
            }
        })?;
        code = code.max(played);
        if played > 128 {
            break;
        }
    }
    Ok(code)
}
