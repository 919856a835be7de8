//! What a command and its monitor say to each other, one JSON message each, over a socket pair.

use crate::error::Error;
use crate::id::ContainerId;
use crate::plan::Plan;
use crate::plan::step::Undo;
use crate::state::{Config, Roots};
use crate::sys::process::{Exit, Pid};
use serde::{Deserialize, Serialize};

/// What a monitor is to do: handed over in a memfd, for it is a new program by then.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    pub roots: Roots,
    pub task: Task,
    pub plan: Plan,
    /// What the plan leaves on the host, and what the command took for it beforehand (an address).
    pub undo: Vec<Undo>,
    pub trace: bool,
    /// Whether the program reads the caller's standard input; else it reads nothing.
    pub input: bool,
    /// Descriptors that the monitor inherits, by number.
    pub control: i32,
    pub console: Option<i32>,
    /// Where the program's standard output goes instead of the caller's.
    pub output: Option<i32>,
    /// Locks that are let go as soon as the container has started.
    pub locks: Vec<i32>,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Task {
    /// A new container: records, name, life and end.
    Run(Box<Config>),
    /// One more process in a container that runs; leaves no record.
    Exec(ContainerId),
}

/// From the monitor to the command.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// This step comes next; it is done when [`Request::Next`] says so.
    Step {
        line: String,
        why: String,
    },
    Started {
        pid: Pid,
    },
    Failed(Error),
    /// The program ended, and all that it held is gone but for what the errors name.
    Exited {
        exit: Exit,
        left: Vec<Error>,
    },
}

/// From the command to the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    Next,
    Signal(i32),
}
