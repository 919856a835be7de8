//! Process 1 of a container with `--init`: starts the program, passes signals on to it, and reaps every process that
//! nobody else waits for. It runs inside, as confined as the program, and does what tini does for docker.

use super::exec::exec;
use crate::error::Result;
use crate::sys::event::{self, Signals};
use crate::sys::process::{self, Forked, Pid};
use crate::sys::{credentials, tty};
use std::os::fd::AsFd as _;

/// Runs the program to its end; its exit code. In the program's own process it returns only with an error.
pub fn main(words: &[String], env: &[String]) -> Result<u8> {
    // where another container's processes are shared it is not process 1, and orphans come to it all the same
    process::be_subreaper()?;
    let signals = Signals::of_init()?;
    match process::fork()? {
        Forked::Child => {
            become_the_program(words, env)?;
            Ok(0)
        }
        Forked::Parent(child) => attend(child, &signals),
    }
}

/// With a group of its own in front of the terminal: what is typed there, Ctrl-C too, is for the program.
fn become_the_program(words: &[String], env: &[String]) -> Result<()> {
    process::block_signals()?; // to come to the front is refused with SIGTTOU
    process::lead_group()?;
    if tty::is_terminal(&std::io::stdin()) {
        tty::come_to_front(&std::io::stdin())?;
    }
    credentials::reset_signals()?;
    exec(words, env)
}

fn attend(child: Pid, signals: &Signals) -> Result<u8> {
    loop {
        event::readable_within(signals.as_fd(), None)?;
        while let Some(signal) = signals.next()? {
            if signal != libc::SIGCHLD {
                process::signal_child(child, signal)?;
            }
        }
        while let Some((pid, exit)) = process::reap()? {
            if pid == child {
                return Ok(exit.code());
            }
        }
    }
}
