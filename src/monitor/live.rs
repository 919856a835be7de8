//! The monitor's life: intent, birth, watch, end.

use super::protocol::{Event, Order, Request, Task};
use super::spawn::{self, Inherited};
use crate::engine::{self, Observer, Running, Undone};
use crate::error::{Error, Result};
use crate::plan::step::{Step, Undo};
use crate::state::container::Gone;
use crate::state::{Config, Life, container, names};
use crate::sys::process::{self, Exit, Identity};
use crate::sys::{event, fs, socket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// The whole of a monitor. `number` is the descriptor of its order.
pub fn main(number: &str) -> u8 {
    let (order, control, mut inherited) = match spawn::receive(number) {
        Ok(received) => received,
        Err(error) => return error.exit_code(),
    };
    let streams = spawn::set_streams(order.input, inherited.output.take().as_ref());
    let outcome = streams.and_then(|()| detach()).and_then(|()| match &order.task {
        Task::Run(config) => run(&order, config, &control, inherited),
        Task::Exec(_) => exec(&order, &control, inherited),
    });
    let (event, rest) = match outcome {
        Ok(End { exit, undone: Undone { errors, lingering }, gone, rest }) => {
            (Event::Exited { exit, left: errors }, Some((lingering, gone, rest)))
        }
        Err(error) => (Event::Failed(error), None),
    };
    // the command may be gone, and then nobody wants to know
    let _ = socket::send_json(&control, &event);
    if let Some((lingering, gone, rest)) = rest {
        drop(control);
        drop(lingering);
        // nobody is left to hear of an error; the kernel and `repair` do the same
        let _ = gone.remove();
        drop(engine::undo(&rest));
    }
    0
}

/// How a container's process ended, and what is still to be done when that has been told.
struct End {
    exit: Exit,
    undone: Undone,
    gone: Gone,
    /// What the kernel does by itself, but for the rare case that somebody else holds on to a namespace.
    rest: Vec<Undo>,
}

/// Away from the caller's session, directory, umask and signals.
fn detach() -> Result<()> {
    process::block_signals()?;
    process::set_name(c"minirun-monitor")?;
    process::setsid()?;
    fs::set_umask(0o022);
    Ok(process::chdir(Path::new("/"))?)
}

fn run(order: &Order, config: &Config, control: &OwnedFd, inherited: Inherited) -> Result<End> {
    let monitor = Identity::of_self()?;
    let version = container::VERSION;
    let mut life = Life { version, id: config.id.clone(), monitor, init: None, undo: order.undo.clone() };
    // intent before deed: from here on whoever finds these records can remove everything that comes
    let begun = container::begin(&order.roots, config, &life)
        .and_then(|()| names::claim(&order.roots, &config.name, &config.id));
    let born = begun.and_then(|()| birth(order, &mut life, control, inherited));
    let exit = match born.and_then(|running| watch(&running, control)) {
        Ok(exit) => exit,
        Err(error) => {
            // a container that never ran leaves nothing; what resists is for `repair`, whose records stay
            let (_, gone) = remove(order, config, &life.undo);
            let _ = gone.remove(); // `repair` finds it
            return Err(error);
        }
    };
    let (rest, now): (Vec<Undo>, Vec<Undo>) = life.undo.into_iter().partition(Undo::follows_init);
    let (undone, gone) = match config.remove {
        true => remove(order, config, &now),
        false => (end(order, config, &now, exit), Gone::default()),
    };
    Ok(End { exit, undone, gone, rest })
}

fn birth(order: &Order, life: &mut Life<Undo>, control: &OwnedFd, inherited: Inherited) -> Result<Running> {
    let mut observer = Trace { watches: order.trace, control };
    let unstarted = engine::create(&order.plan, inherited.console, &mut observer)?;
    life.init = Some(Identity::of(unstarted.pid)?);
    container::write_life(&order.roots, life)?;
    if event::is_closed(control) {
        return Err(gone());
    }
    started(unstarted.start(&order.plan, &mut observer)?, control)
}

fn exec(order: &Order, control: &OwnedFd, inherited: Inherited) -> Result<End> {
    let mut observer = Trace { watches: order.trace, control };
    let unstarted = engine::create(&order.plan, inherited.console, &mut observer)?;
    let running = started(unstarted.start(&order.plan, &mut observer)?, control)?;
    Ok(End { exit: watch(&running, control)?, undone: Undone::default(), gone: Gone::default(), rest: Vec::new() })
}

fn started(running: Running, control: &OwnedFd) -> Result<Running> {
    // gone is the command's own choice by now
    let _ = socket::send_json(control, &Event::Started { pid: running.pid });
    spawn::let_go_of_streams()?;
    Ok(running)
}

/// Waits for the program's end, and passes on what the command asks for meanwhile. A command that goes away leaves
/// the container running.
fn watch(running: &Running, control: &OwnedFd) -> Result<Exit> {
    let mut command_is_there = true;
    loop {
        let fds = [running.pidfd.as_fd(), control.as_fd()];
        let ready = event::readable(if command_is_there { &fds } else { &fds[..1] })?;
        if ready[0] {
            return Ok(process::wait(&running.pidfd)?);
        }
        if command_is_there {
            match socket::receive_json::<Request>(control)? {
                // a signal to a process that has just ended reaches nobody, as with kill(2)
                Some(Request::Signal(signal)) => drop(process::send_signal(&running.pidfd, signal)),
                Some(Request::Next) => {}
                None => command_is_there = false,
            }
        }
    }
}

/// Takes back what it holds and forgets the container; where something resists, its records stay for `repair`.
fn remove(order: &Order, config: &Config, undos: &[Undo]) -> (Undone, Gone) {
    // the container's own directories go as a whole
    let elsewhere: Vec<Undo> = undos.iter().filter(|undo| !matches!(undo, Undo::RemoveTree { .. })).cloned().collect();
    let mut undone = engine::undo(&elsewhere);
    if !undone.errors.is_empty() {
        return (undone, Gone::default());
    }
    let released = names::release(&order.roots, &config.name, &config.id);
    match released.and_then(|()| container::forget(&order.roots, &config.id)) {
        Ok(gone) => (undone, gone),
        Err(error) => {
            undone.errors.push(error);
            (undone, Gone::default())
        }
    }
}

/// Takes back what the life held; the container stays as an ended one.
fn end(order: &Order, config: &Config, undos: &[Undo], exit: Exit) -> Undone {
    let mut undone = engine::undo(undos);
    undone.errors.extend(container::end(&order.roots, &config.id, Some(exit), &now()).err());
    undone
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Nobody waits for this container: it was not started, and what was made for it goes.
fn gone() -> Error {
    Error::internal("the command that asked for the container is gone")
}

/// Sends each step to the command and waits until it was shown: the trace is in step with the deeds.
struct Trace<'a> {
    watches: bool,
    control: &'a OwnedFd,
}

impl Observer for Trace<'_> {
    fn watches(&self) -> bool {
        self.watches
    }

    fn before(&mut self, step: &Step) -> Result<()> {
        if self.watches {
            let step = Event::Step { line: step.shell().to_string(), why: step.why().to_owned() };
            socket::send_json(self.control, &step)?;
            match socket::receive_json::<Request>(self.control)? {
                Some(_) => {}
                None => return Err(gone()),
            }
        }
        Ok(())
    }
}
