//! `run` and `exec`.

use super::{Progress, Roots, not_wired};
use crate::error::Result;
use crate::id::ContainerId;
use crate::spec::RunRequest;
use crate::spec::request::Explain;

/// How a run ended for the one who called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    /// The container's process ended; 128+n for a signal.
    Exited(u8),
    /// It goes on without us.
    Detached(ContainerId),
}

pub fn run(_roots: &Roots, _request: &RunRequest, _progress: &dyn Progress) -> Result<Ran> {
    not_wired("run")
}

/// The plan of a run in the asked form, whole lines; nothing is done and nothing is left.
pub fn explain(_roots: &Roots, _request: &RunRequest, _form: Explain) -> Result<String> {
    not_wired("run --explain")
}

/// One `minirun exec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// A name, an id or the unique beginning of one.
    pub container: String,
    pub command: Vec<String>,
    /// `KEY=VALUE`; `KEY` alone removes.
    pub env: Vec<String>,
    pub workdir: Option<String>,
    pub user: Option<String>,
    pub interactive: bool,
    pub tty: bool,
    pub privileged: bool,
}

/// The exit code of the command.
pub fn exec(_roots: &Roots, _request: &ExecRequest) -> Result<u8> {
    not_wired("exec")
}
