//! The program's standard streams: FIFOs in the directory of the container's life, which a later monitor opens again;
//! pipes for `exec`; one terminal for all where one was asked for.

use super::protocol::Stream;
use crate::error::Result;
use crate::id::HostPath;
use crate::sys::event::{self, Read};
use crate::sys::{fs, tty};
use std::os::fd::{AsFd as _, OwnedFd};

/// What the program writes, as the monitor reads it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) fd: OwnedFd,
    pub(super) stream: Stream,
}

impl Source {
    pub(super) fn read(&self, buffer: &mut [u8]) -> Read {
        // what cannot be read any more has ended
        event::read_now(&self.fd, buffer).unwrap_or(Read::End)
    }
}

/// The monitor's side of the streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) sources: Vec<Source>,
    /// Where the program's input goes; `None` where it has none or it was closed.
    pub(super) input: Option<OwnedFd>,
    /// The terminal, for its size.
    pub(super) terminal: Option<OwnedFd>,
    /// Where further commands come in.
    pub(super) listener: Option<OwnedFd>,
}

/// The program's side: what its descriptors 0, 1 and 2 become.
pub(super) type Standard = [OwnedFd; 3];

/// FIFOs in `dir`. They belong to `uid`, or a program that is not root could not open /dev/stdout by its name.
pub(super) fn fifos(dir: &HostPath, input: bool, uid: u32) -> Result<(Standard, Streams)> {
    let (out, from_out) = fs::fifo_out(dir.child(STDOUT).as_path())?;
    let (err, from_err) = fs::fifo_out(dir.child(STDERR).as_path())?;
    let (stdin, to_stdin) = match input {
        true => fs::fifo_in(dir.child(STDIN).as_path()).map(|(theirs, ours)| (theirs, Some(ours)))?,
        false => (fs::open_device_null()?, None),
    };
    if uid != 0 {
        for fd in [&out, &err].into_iter().chain(input.then_some(&stdin)) {
            fs::chown_fd(fd, uid)?;
        }
    }
    let sources =
        vec![Source { fd: from_out, stream: Stream::Stdout }, Source { fd: from_err, stream: Stream::Stderr }];
    Ok(([stdin, out, err], Streams { sources, input: to_stdin, ..Streams::default() }))
}

const STDIN: &str = "stdin";
const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";

/// The FIFOs of a container whose monitor is dead. A terminal is gone with the monitor that had it.
pub(super) fn reopen(dir: &HostPath) -> Result<Streams> {
    let mut streams = Streams::default();
    for (name, stream) in [(STDOUT, Stream::Stdout), (STDERR, Stream::Stderr)] {
        let path = dir.child(name);
        if fs::exists(path.as_path()) {
            streams.sources.push(Source { fd: fs::fifo_reader(path.as_path())?, stream });
        }
    }
    // a program that has closed its input has no reader there
    streams.input = fs::fifo_writer(dir.child(STDIN).as_path()).ok();
    Ok(streams)
}

/// Pipes, for a process that ends with its monitor.
pub(super) fn pipes(input: bool, uid: u32) -> Result<(Standard, Streams)> {
    let (from_out, out) = event::pipe()?;
    let (from_err, err) = event::pipe()?;
    let (stdin, to_stdin) = match input {
        true => event::pipe().map(|(theirs, ours)| (theirs, Some(ours)))?,
        false => (fs::open_device_null()?, None),
    };
    for ours in [&from_out, &from_err].into_iter().chain(&to_stdin) {
        event::never_wait(ours)?;
    }
    if uid != 0 {
        for fd in [&out, &err].into_iter().chain(input.then_some(&stdin)) {
            fs::chown_fd(fd, uid)?;
        }
    }
    let sources =
        vec![Source { fd: from_out, stream: Stream::Stdout }, Source { fd: from_err, stream: Stream::Stderr }];
    Ok(([stdin, out, err], Streams { sources, input: to_stdin, ..Streams::default() }))
}

/// The monitor's side of a terminal, which carries all three.
pub(super) fn terminal(ptmx: OwnedFd, input: bool) -> Result<Streams> {
    event::never_wait(&ptmx)?;
    let clone = |fd: &OwnedFd| crate::sys::duplicate(fd);
    let (source, size) = (clone(&ptmx)?, clone(&ptmx)?);
    let sources = vec![Source { fd: source, stream: Stream::Stdout }];
    Ok(Streams { sources, input: input.then_some(ptmx), terminal: Some(size), listener: None })
}

/// Streams that say nothing: before a terminal is there, and where nobody wants any.
pub(super) fn silent() -> Result<Standard> {
    let null = || fs::open_device_null();
    Ok([null()?, null()?, null()?])
}

/// Makes these the streams of this process, for the next one that it clones to inherit.
pub(super) fn take(standard: &Standard) -> Result<()> {
    let [stdin, out, err] = standard;
    Ok(crate::sys::redirect_stdio(&[stdin.as_fd(), out.as_fd(), err.as_fd()])?)
}

impl Streams {
    /// The program's terminal gets another size; without one nothing happens.
    pub(super) fn resize(&self, size: tty::Size) {
        if let Some(terminal) = &self.terminal {
            // a terminal that has just closed needs no size
            let _ = tty::set_size(terminal, size);
        }
    }
}
