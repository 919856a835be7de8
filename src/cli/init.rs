//! Process 1 of a container with `--init`, which is this program under a name that only minirun gives it.

use super::caller;
use crate::error::Result;
use crate::ops;
use crate::spec::request::INIT_PATH;

/// The program's words, where this is such a process: `/dev/init -- COMMAND …`.
pub(super) fn words(argv: &[String]) -> Option<&[String]> {
    match argv {
        [name, dashes, words @ ..] if name == INIT_PATH && dashes == "--" => Some(words),
        _ => None,
    }
}

pub(super) fn main(words: &[String]) -> Result<u8> {
    ops::run::init(words, &caller::whole_environment())
}
