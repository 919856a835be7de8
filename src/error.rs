//! What went wrong, once: a kind that decides the exit code, one line, and what to do next.
//! Nothing here prints; `cli::ui` is the only place that does.

use std::fmt;

pub use nix::errno::Errno;

/// Who can do something about it. Decides the exit code (see [`Error::exit_code`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// The command line was not understood.
    Usage,
    /// The request cannot be met as it was made: a wrong name, a port in use, a missing file.
    User,
    /// There is nothing of that name.
    NotFound,
    /// Another container has the name.
    NameTaken,
    /// A newer minirun wrote the record: nothing is wrong with it, and it is left alone.
    Newer,
    /// The host refuses or lacks something.
    Host,
    /// The host's kernel was built without something, or has not loaded its module.
    Kernel,
    /// An image, archive or registry is not as it should be.
    Image,
    /// The container's program does not exist: exit 127.
    CommandNotFound,
    /// The container's program exists and cannot be executed: exit 126.
    CommandNotExecutable,
    /// A fault of ours.
    Internal,
}

/// The one error type. `message` is lower case, without a full stop, and names the path or id;
/// `hint` says what to do next.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    pub hint: Option<String>,
    /// The raw errno of the failed system call, where one failed.
    pub errno: Option<i32>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), hint: None, errno: None }
    }
    pub fn user(message: impl Into<String>) -> Error {
        Error::new(Kind::User, message)
    }
    pub fn host(message: impl Into<String>) -> Error {
        Error::new(Kind::Host, message)
    }
    pub fn image(message: impl Into<String>) -> Error {
        Error::new(Kind::Image, message)
    }
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(Kind::Internal, message)
    }

    /// Adds what to do next; a hint that stands already wins, for it was nearer to the cause.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Error {
        self.kind = kind;
        self
    }

    /// Puts what was being done in front: `doing: message`.
    #[must_use]
    pub fn during(mut self, doing: impl fmt::Display) -> Error {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    pub fn is_errno(&self, errno: Errno) -> bool {
        self.errno == Some(errno as i32)
    }

    /// Exit code of `run`, `create`, `start` and `exec`: 125 ours, 126 cannot be executed, 127 not found.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::CommandNotFound => 127,
            Kind::CommandNotExecutable => 126,
            Kind::Usage
            | Kind::User
            | Kind::NotFound
            | Kind::NameTaken
            | Kind::Newer
            | Kind::Host
            | Kind::Kernel
            | Kind::Image
            | Kind::Internal => 125,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Adds what was being done to the error of a result; the closure runs only on failure.
pub trait During<T> {
    fn during<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Error>> During<T> for std::result::Result<T, E> {
    fn during<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| e.into().during(doing()))
    }
}

/// A system call that failed, shown as the call: `mount("proc", "/proc", "proc"): EPERM`.
/// Built in `sys`, and only there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysError {
    pub call: String,
    pub errno: Errno,
}

pub type SysResult<T> = std::result::Result<T, SysError>;

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?} ({})", self.call, self.errno, self.errno.desc().to_lowercase())
    }
}

impl std::error::Error for SysError {}

/// What to do where a file system is full.
pub const NO_ROOM: &str = "make room on that file system";

impl From<SysError> for Error {
    fn from(e: SysError) -> Error {
        let hint = matches!(e.errno, Errno::ENOSPC | Errno::EDQUOT).then(|| NO_ROOM.to_owned());
        Error { kind: Kind::Host, message: e.to_string(), hint, errno: Some(e.errno as i32) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_done_why_and_what_next() {
        let call = SysError { call: "mount(\"proc\")".into(), errno: Errno::EPERM };
        let error = Error::from(call).during("mounting /proc").hint("be root").hint("too late");
        assert_eq!(error.to_string(), "mounting /proc: mount(\"proc\"): EPERM (operation not permitted)");
        assert_eq!(error.hint.as_deref(), Some("be root"));
        assert!(error.is_errno(Errno::EPERM));
    }

    #[test]
    fn the_kind_decides_the_exit_code() {
        for (kind, code) in [(Kind::User, 125), (Kind::CommandNotExecutable, 126), (Kind::CommandNotFound, 127)] {
            assert_eq!(Error::new(kind, "x").exit_code(), code);
        }
    }
}
