//! `minirun create`.

use super::run::{self, Args};
use super::ui;
use crate::error::Result;
use crate::ops;
use crate::state::Roots;

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let request = run::request::from_args(args)?;
    let show = if request.quiet { ui::Show::Nothing } else { ui::Show::Bars };
    let id = ops::run::create(roots, &request, &ui::Bars::new(show))?;
    ui::line(id.as_str()).map(|()| 0)
}
