//! What commands and a monitor say to each other: messages over a socket that keeps their boundaries. A message is JSON,
//! or a byte below 32 and then bytes of a stream as they are.

use crate::error::Error;
use crate::id::ContainerId;
use crate::plan::Plan;
use crate::plan::step::Undo;
use crate::state::container::Restarts;
use crate::state::{Config, Raw, Roots};
use crate::sys::process::{Exit, Pid};
use crate::sys::tty::Size;
use serde::{Deserialize, Serialize};

/// Of the messages below. A monitor is of the version that started it and may meet newer commands; each side says its
/// own in its first message.
pub const VERSION: u32 = 3;

/// The first version that understands [`Request::Check`].
pub const CHECKS: u32 = 2;

/// The name of the socket in the directory of a container's life.
pub const SOCKET: &str = "attach";

/// What a monitor is to do: handed over in a memfd, for it is a new program by then.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    pub roots: Roots,
    pub task: Task,
    /// Steps are announced one by one.
    pub trace: bool,
    /// What the command that started the monitor wants of the streams.
    pub attach: Attach,
    /// Descriptors that the monitor inherits, by number.
    pub control: i32,
    /// The lock that keeps its images, let go as soon as its record is written.
    pub images: Option<i32>,
    /// Locks that are let go as soon as the container has started.
    pub locks: Vec<i32>,
    /// Sockets that are closed when all is over.
    pub sockets: Vec<i32>,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Task {
    /// A container's life from its start to its end.
    Run(Box<Birth>),
    /// One more process in a container that runs; leaves no record.
    Exec { plan: Plan, tty: bool, interactive: bool, uid: u32 },
    /// A container that runs and whose monitor is dead.
    Adopt(ContainerId),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Birth {
    pub config: Config,
    pub plan: Plan,
    /// What the plan leaves on the host, and what the command took for it beforehand (an address).
    pub undo: Vec<Undo>,
    /// Where its cgroups are, in that domain's words.
    pub cgroups: Raw,
    pub record: Record,
    /// How often it was started again by itself.
    pub restarts: Restarts,
}

/// Whether the container has records already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// It has none; where it cannot be started, none stay.
    New,
    /// It was created before; where it cannot be started, it stays and says why.
    Kept,
}

/// What a command wants of a container's streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// It sends the standard input.
    pub input: bool,
    /// It gets what the program says from now on.
    pub output: bool,
}

/// From the monitor to a command.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// The first message to a command that has connected.
    Hello {
        version: u32,
    },
    /// This step comes next; it is done when [`Request::Next`] says so.
    Step {
        line: String,
        why: String,
    },
    /// Something of the start is less than was asked for.
    Warning(String),
    Started {
        pid: Pid,
    },
    Failed(Error),
    /// The input that was sent has been passed on: more may come. Or [`Request::Ending`] was heard.
    Taken,
    /// The answer to [`Request::Check`].
    Checked {
        /// 0 is well; -1 where it took too long.
        exit_code: i32,
        output: String,
    },
    /// The program ended, and all that it held is gone but for what the errors name. `None`: nobody saw how.
    Exited {
        exit: Option<Exit>,
        left: Vec<Error>,
    },
}

/// From a command to the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// The first message of a command that has connected.
    Hello {
        version: u32,
        attach: Attach,
    },
    Next,
    Signal(i32),
    Resize(Size),
    /// The standard input has ended.
    EndOfInput,
    /// The health check is to be made now. Answered by [`Event::Checked`] or [`Event::Failed`].
    Check,
    /// The container has come into a network that has names. Answered by [`Event::Taken`] or [`Event::Failed`].
    AnswerNames,
    /// The end that comes was asked for: no policy starts the container again. One that `stays` is not removed, even
    /// where it was made to go with its end. Answered by [`Event::Taken`].
    Ending {
        stays: bool,
    },
}

/// A stream of the program. Its number is the first byte of a message with bytes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
}

/// As much of a stream as one message carries, in bytes.
pub const CHUNK: usize = 32 * 1024;

/// A message as it comes from a socket: bytes of a stream, or `None` where it is JSON.
pub fn stream_bytes(message: &[u8]) -> Option<(Stream, &[u8])> {
    let (first, rest) = message.split_first()?;
    let stream = match first {
        0 => Stream::Stdin,
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return None,
    };
    Some((stream, rest))
}
