//! `minirun run`.

mod args;
pub(super) mod request;
mod unsupported;

pub(super) use args::{Args, Limits};
pub(super) use unsupported::unsupported;

use super::ui;
use crate::error::{Error, Result};
use crate::ops::run::{self, Ran};
use crate::spec::RunRequest;
use crate::spec::request::Trace;
use crate::state::Roots;

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let request = request::from_args(args)?;
    if let Some(form) = request.explain {
        return ui::print(&run::explain(roots, &request, form, &ui::Bars::new(ui::Show::Nothing))?).map(|()| 0);
    }
    check_terminal(&request)?;
    let show = if request.quiet { ui::Show::Nothing } else { ui::Show::Bars };
    let pace = match request.trace {
        None => ui::Pace::Untraced,
        Some(Trace::Step) => ui::Pace::OnEnter,
        Some(_) => ui::Pace::Free,
    };
    match run::run(roots, &request, &ui::Bars::new(show).at_pace(pace))? {
        Ran::Detached(id) => ui::line(id.as_str()).map(|()| 0),
        ran => Ok(super::ended(&ran)),
    }
}

fn check_terminal(request: &RunRequest) -> Result<()> {
    if request.tty && !request.detach && !ui::stdin_is_terminal() {
        return Err(Error::user("-t needs a terminal and the standard input is none")
            .hint("leave out -t; -i alone takes input from a pipe"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
