//! Waiting for descriptors and signals, without threads and without races.

use super::{named, named_io};
use crate::error::{Errno, SysResult};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Which of the descriptors can be read now, or have ended; waits until one can.
pub fn readable(fds: &[BorrowedFd<'_>]) -> SysResult<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    loop {
        match nix::poll::poll(&mut polled, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Err(errno) => return named(Err(errno), || "poll()".into()),
            Ok(_) => return Ok(polled.iter().map(|fd| fd.any().unwrap_or(true)).collect()),
        }
    }
}

/// What is waited for at a descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Interest<'a> {
    pub fd: BorrowedFd<'a>,
    pub read: bool,
    pub write: bool,
}

/// What a descriptor is ready for; one that has ended or failed can be read, which then says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    pub read: bool,
    pub write: bool,
}

/// Waits until one of them is ready, or the time is up.
pub fn wait(interests: &[Interest<'_>], patience: Option<std::time::Duration>) -> SysResult<Vec<Ready>> {
    let flags = |one: &Interest<'_>| {
        let read = if one.read { PollFlags::POLLIN } else { PollFlags::empty() };
        read | if one.write { PollFlags::POLLOUT } else { PollFlags::empty() }
    };
    let mut polled: Vec<PollFd<'_>> = interests.iter().map(|one| PollFd::new(one.fd, flags(one))).collect();
    let timeout = patience.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
    match nix::poll::poll(&mut polled, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return named(Err(errno), || "poll()".into()),
    }
    let ended = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    let ready = |fd: &PollFd<'_>| {
        let events = fd.revents().unwrap_or(PollFlags::empty());
        Ready { read: events.intersects(PollFlags::POLLIN | ended), write: events.contains(PollFlags::POLLOUT) }
    };
    Ok(polled.iter().map(ready).collect())
}

/// What a read that does not wait came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    Bytes(usize),
    Nothing,
    End,
}

/// One read of a descriptor that does not wait (O_NONBLOCK). EIO, which a pty gives when its other side has closed, is
/// the end.
pub fn read_now(fd: &impl AsFd, buffer: &mut [u8]) -> SysResult<Read> {
    loop {
        return match nix::unistd::read(fd, buffer) {
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => Ok(Read::Nothing),
            Err(Errno::EIO) | Ok(0) => Ok(Read::End),
            done => named(done, || "read()".into()).map(Read::Bytes),
        };
    }
}

/// One write to a descriptor that does not wait; 0 where it would.
pub fn write_now(fd: &impl AsFd, bytes: &[u8]) -> SysResult<usize> {
    loop {
        match nix::unistd::write(fd, bytes) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(0),
            done => return named(done, || "write()".into()),
        }
    }
}

/// From here on no read or write of this open file description waits, whoever shares it.
pub fn never_wait(fd: &impl AsFd) -> SysResult<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    named(fcntl(fd.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)), || "fcntl(F_SETFL, O_NONBLOCK)".into()).map(drop)
}

/// Waits until a descriptor can be read or has ended, as a pidfd does with its process; false where that takes longer
/// than `patience`.
pub fn readable_within(fd: BorrowedFd<'_>, patience: Option<std::time::Duration>) -> SysResult<bool> {
    let end = patience.map(|patience| std::time::Instant::now() + patience);
    let mut polled = [PollFd::new(fd, PollFlags::POLLIN)];
    loop {
        let left = end.map(|end| end.saturating_duration_since(std::time::Instant::now()));
        let timeout = left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        match nix::poll::poll(&mut polled, timeout) {
            Err(Errno::EINTR) => {}
            done => return named(done, || "poll()".into()).map(|ready| ready > 0),
        }
    }
}

/// Whether the other end of a socket or pipe is gone; does not wait.
pub fn is_closed(fd: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(fd.as_fd(), PollFlags::empty())];
    let done = nix::poll::poll(&mut polled, PollTimeout::ZERO);
    done.is_ok() && polled[0].revents().is_some_and(|events| events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR))
}

/// Signals as a descriptor: those that a process which stands for another one passes on, and SIGWINCH. All but what
/// the terminal's job control and the kernel use themselves (CHLD, PIPE, URG, STOP, KILL, TSTP, TTIN, TTOU, faults).
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    pub fn forwarded() -> SysResult<Signals> {
        Signals::of(&[
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGTERM,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGALRM,
            Signal::SIGCONT,
            Signal::SIGWINCH,
            Signal::SIGIO,
            Signal::SIGPWR,
            Signal::SIGXCPU,
            Signal::SIGXFSZ,
            Signal::SIGVTALRM,
            Signal::SIGPROF,
        ])
    }

    /// SIGWINCH alone: all others do with us what they do with every process.
    pub fn window() -> SysResult<Signals> {
        Signals::of(&[Signal::SIGWINCH])
    }

    /// What process 1 of a container hears of: all that can be passed on, and SIGCHLD. Faults are its own, and so are
    /// SIGTTIN and SIGTTOU.
    pub fn of_init() -> SysResult<Signals> {
        let own = [
            Signal::SIGFPE,
            Signal::SIGILL,
            Signal::SIGSEGV,
            Signal::SIGBUS,
            Signal::SIGABRT,
            Signal::SIGTRAP,
            Signal::SIGSYS,
            Signal::SIGTTIN,
            Signal::SIGTTOU,
        ];
        let mut set = SigSet::all();
        own.into_iter().for_each(|signal| set.remove(signal));
        Signals::of_set(set)
    }

    fn of(signals: &[Signal]) -> SysResult<Signals> {
        Signals::of_set(signals.iter().copied().collect())
    }

    fn of_set(set: SigSet) -> SysResult<Signals> {
        let before = named(set.thread_swap_mask(SigmaskHow::SIG_BLOCK), || "sigprocmask(SIG_BLOCK)".into())?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Ok(Signals { fd: named(fd, || "signalfd()".into())?, before })
    }

    /// The next pending signal's number.
    pub fn next(&self) -> SysResult<Option<i32>> {
        let info = named(self.fd.read_signal(), || "read(signalfd)".into())?;
        Ok(info.map(|info| info.ssi_signo as i32))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // back to the caller's mask; there is nobody to tell if that fails
        let _ = self.before.thread_set_mask();
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A pipe, both ends close-on-exec: what is written to the second is read from the first.
pub fn pipe() -> SysResult<(OwnedFd, OwnedFd)> {
    named(nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC), || "pipe2()".into())
}

/// Everything up to the end.
pub fn read_to_string(fd: OwnedFd) -> SysResult<String> {
    named_io(std::io::read_to_string(std::fs::File::from(fd)), || "read()".into())
}

/// One read; 0 at the end. EIO, which a pty gives when its other side has closed, is the end too.
pub fn read_some(fd: &impl AsFd, buffer: &mut [u8]) -> SysResult<usize> {
    loop {
        match nix::unistd::read(fd, buffer) {
            Err(Errno::EINTR) => {}
            Err(Errno::EIO) => return Ok(0),
            done => return named(done, || "read()".into()),
        }
    }
}

/// Writes all of it. A descriptor of our caller's may be one that does not wait: then we do.
pub fn write_all(fd: &impl AsFd, bytes: &[u8]) -> SysResult<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match nix::unistd::write(fd, rest) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => drop(wait(&[Interest { fd: fd.as_fd(), read: false, write: true }], None)?),
            Ok(0) => return named_io(Err(std::io::ErrorKind::WriteZero.into()), || "write()".into()),
            Ok(written) => rest = &rest[written..],
            Err(errno) => return named(Err(errno), || "write()".into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_written_to_a_pipe_that_does_not_wait() {
        let (from, to) = pipe().unwrap();
        never_wait(&to).unwrap();
        let reader = std::thread::spawn(move || read_to_string(from).unwrap().len());
        write_all(&to, &vec![b'x'; 1 << 20]).unwrap();
        drop(to);
        assert_eq!(reader.join().unwrap(), 1 << 20);
    }
}
