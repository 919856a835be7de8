//! `--restart`: when a container that has ended is started again. Pure text to data.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    #[default]
    No,
    /// When its exit code is not 0, so many times in a row; without a number again and again.
    OnFailure(Option<u32>),
    /// Whatever its exit code, and after a reboot, too.
    Always,
    /// The same, but not after a reboot where it was stopped before.
    UnlessStopped,
}

/// docker's words: `no`, `on-failure[:N]`, `always`, `unless-stopped`.
pub fn parse(text: &str) -> Result<Restart> {
    let bad =
        || Error::user(format!("invalid restart policy {text:?}")).hint("no, on-failure[:N], always or unless-stopped");
    match text.split_once(':') {
        None => match text {
            "" | "no" => Ok(Restart::No),
            "on-failure" => Ok(Restart::OnFailure(None)),
            "always" => Ok(Restart::Always),
            "unless-stopped" => Ok(Restart::UnlessStopped),
            _ => Err(bad()),
        },
        Some(("on-failure", most)) => match most.parse() {
            Ok(0) => Ok(Restart::OnFailure(None)), // docker's "as often as you like"
            Ok(most) => Ok(Restart::OnFailure(Some(most))),
            Err(_) => Err(bad()),
        },
        Some(_) => Err(bad()),
    }
}

impl Restart {
    /// docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Restart::No => "no",
            Restart::OnFailure(_) => "on-failure",
            Restart::Always => "always",
            Restart::UnlessStopped => "unless-stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_dockers() {
        for (text, want) in [
            ("no", Some(Restart::No)),
            ("on-failure", Some(Restart::OnFailure(None))),
            ("on-failure:3", Some(Restart::OnFailure(Some(3)))),
            ("always", Some(Restart::Always)),
            ("unless-stopped", Some(Restart::UnlessStopped)),
            ("on-failure:-1", None),
            ("on-failure:", None),
            ("always:3", None),
            ("sometimes", None),
        ] {
            assert_eq!(parse(text).ok(), want, "{text}");
        }
    }
}
