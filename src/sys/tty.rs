//! Terminals: the container's pseudo-terminal, and raw mode on the caller's, which is restored on every way out.

use super::process::Side;
use super::{event, named, named_raw, process};
use crate::error::SysResult;
use nix::sys::termios::{LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Mutex;

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

pub fn is_terminal(fd: &impl AsFd) -> bool {
    nix::unistd::isatty(fd).unwrap_or(false)
}

/// The caller's process group gets the terminal's input and its signals (tcsetpgrp(3)).
pub fn come_to_front(terminal: &impl AsFd) -> SysResult<()> {
    named(nix::unistd::tcsetpgrp(terminal, nix::unistd::getpgrp()), || "tcsetpgrp()".into())
}

pub fn size(terminal: &impl AsFd) -> SysResult<Size> {
    let mut window = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize, which lives through the call.
    let done = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut window) };
    named_raw(done.into(), || "ioctl(TIOCGWINSZ)".into())?;
    Ok(Size { rows: window.ws_row, columns: window.ws_col })
}

pub fn set_size(terminal: &impl AsFd, size: Size) -> SysResult<()> {
    let window = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, which lives through the call.
    let done = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const window) };
    named_raw(done.into(), || "ioctl(TIOCSWINSZ)".into()).map(drop)
}

/// Unlocks the pty behind an open ptmx and opens its other side by descriptor (TIOCGPTPEER, Linux 4.13): by path it
/// could be another file than the kernel's (CVE-2025-52565).
pub fn open_peer(ptmx: &impl AsFd) -> SysResult<OwnedFd> {
    let (raw, unlocked) = (ptmx.as_fd().as_raw_fd(), 0 as libc::c_int);
    // SAFETY: TIOCSPTLCK reads one int, which lives through the call.
    let done = unsafe { libc::ioctl(raw, libc::TIOCSPTLCK, &raw const unlocked) };
    named_raw(done.into(), || "ioctl(TIOCSPTLCK)".into())?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes the flags by value and gives a new descriptor.
    let peer = unsafe { libc::ioctl(raw, libc::TIOCGPTPEER, flags) };
    // SAFETY: just made by the kernel, owned by nobody else.
    named_raw(peer.into(), || "ioctl(TIOCGPTPEER)".into()).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Makes a terminal the controlling one of this session's leader, and its standard input, output and error.
pub fn become_controlling(terminal: &impl AsFd) -> SysResult<()> {
    let raw = terminal.as_fd().as_raw_fd();
    // SAFETY: TIOCSCTTY takes an int by value.
    let done = unsafe { libc::ioctl(raw, libc::TIOCSCTTY, 0) };
    named_raw(done.into(), || "ioctl(TIOCSCTTY)".into())?;
    super::redirect_stdio(&[terminal.as_fd(), terminal.as_fd(), terminal.as_fd()])
}

/// What a terminal was before raw mode, for the panic hook too.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode on standard input for as long as this lives. A small process beside us gives the terminal back where we are
/// killed before we can.
#[derive(Debug)]
pub struct RawMode {
    guard: OwnedFd,
    /// Its end is what the guard waits for.
    _alive: OwnedFd,
}

impl RawMode {
    pub fn enter() -> SysResult<RawMode> {
        RawMode::with(cfmakeraw)
    }

    /// What is typed is not shown, and all else is as it was.
    pub fn without_echo() -> SysResult<RawMode> {
        RawMode::with(|termios| termios.local_flags.remove(LocalFlags::ECHO))
    }

    fn with(change: fn(&mut Termios)) -> SysResult<RawMode> {
        let stdin = std::io::stdin();
        let before = named(tcgetattr(&stdin), || "tcgetattr(0)".into())?;
        let mut raw = before.clone();
        change(&mut raw);
        let (end, alive) = event::pipe()?;
        let guard = match process::clone3(0, None)? {
            Side::Parent { pidfd, .. } => pidfd,
            Side::Child => be_guard(&end, &before, &raw),
        };
        *BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(before);
        named(tcsetattr(&stdin, SetArg::TCSANOW, &raw), || "tcsetattr(0, raw)".into())?;
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            next(info);
        }));
        Ok(RawMode { guard, _alive: alive })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
        // gone already is what is wanted
        let _ = process::send_signal(&self.guard, libc::SIGKILL);
        let _ = process::wait(&self.guard);
    }
}

/// Waits for its parent's end, and gives the terminal back unless somebody else has set it meanwhile. Without a
/// controlling terminal of its own: as a process in the background it would be stopped (SIGTTOU).
fn be_guard(end: &OwnedFd, before: &Termios, raw: &Termios) -> ! {
    let wait = || -> SysResult<()> {
        process::block_signals()?;
        process::setsid()?;
        process::set_name(c"minirun-terminal")?;
        super::redirect_stdio(&[std::io::stdin().as_fd(), end.as_fd(), end.as_fd()])?;
        super::close_from(3)?;
        let mut nothing = [0];
        event::read_some(&std::io::stdout(), &mut nothing).map(drop)
    };
    let stdin = std::io::stdin();
    let is_ours = |now: Termios| now.local_flags == raw.local_flags && now.input_flags == raw.input_flags;
    if wait().is_ok() && tcgetattr(&stdin).is_ok_and(is_ours) {
        let _ = tcsetattr(&stdin, SetArg::TCSANOW, before);
    }
    process::exit_now(0)
}

fn restore() {
    let before = BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(before) = before {
        // nothing is left to tell if the terminal itself is gone
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &before);
    }
}
