//! A container's health check: from time to time the monitor forks, and the copy starts the command in the container as
//! `exec` would, waits for it, and ends with its exit code. What it says comes through a pipe.

use super::protocol::Event;
use super::{notes, streams};
use crate::engine::{self, Observer};
use crate::error::{Error, Result};
use crate::facts;
use crate::id::ContainerId;
use crate::plan::{self, Plan, step::Step};
use crate::state::health::{self, Check, Checked, Health, Status};
use crate::state::{Config, Roots, events};
use crate::sys::event::{self, Interest, Read};
use crate::sys::process::{self, Exit, Identity, Side};
use crate::sys::{close_from, fs};
use oci_spec::runtime::Spec;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// As much of what a check says as docker keeps, in bytes.
const OUTPUT: usize = 4096;

/// The copy's exit codes: 0 and 1 are the check's; the others are docker's for a check that cannot run.
const TOO_LONG: u8 = 254;

#[derive(Debug)]
pub(super) struct Checks<'a> {
    roots: &'a Roots,
    id: ContainerId,
    check: Check,
    plan: Plan,
    health: Health,
    born: Instant,
    next: Instant,
    probe: Option<Probe>,
    /// Commands that want to hear of the check that is being made, by their sockets' numbers.
    hearing: Vec<i32>,
    /// Those that have asked since it began: they hear of the next one.
    asking: Vec<i32>,
}

/// What commands have asked for, and which they are.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) to: Vec<i32>,
    pub(super) said: Event,
}

/// A check that is being made.
#[derive(Debug)]
struct Probe {
    pidfd: OwnedFd,
    out: OwnedFd,
    output: Vec<u8>,
    /// Nobody has the other end any more.
    silent: bool,
    start: String,
}

impl Probe {
    /// All that was said by now.
    fn read(&mut self) {
        let mut buffer = [0; OUTPUT];
        while let Read::Bytes(length) = self.read_some(&mut buffer) {
            let room = OUTPUT - self.output.len();
            self.output.extend_from_slice(&buffer[..length.min(room)]);
        }
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Read {
        let read = event::read_now(&self.out, buffer).unwrap_or(Read::End);
        self.silent = read == Read::End;
        read
    }
}

impl<'a> Checks<'a> {
    /// `None` where the container has none. One that cannot be planned is noted and not made.
    pub(super) fn of(roots: &'a Roots, config: &Config, init: &Identity) -> Option<Checks<'a>> {
        let check = config.health.clone()?;
        let plan = match plan(config, &check, init) {
            Ok(plan) => plan,
            Err(error) => {
                notes::note(&roots.container(&config.id), &error.during("planning the health check"));
                return None;
            }
        };
        let (id, born, hearing, asking) = (config.id.clone(), Instant::now(), Vec::new(), Vec::new());
        let health = health::read(roots, &id);
        let mut checks = Checks { roots, id, check, plan, health, born, next: born, probe: None, hearing, asking };
        checks.next = born + checks.pause();
        checks.write();
        Some(checks)
    }

    /// When it wants to be asked again by itself.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.probe.is_none().then_some(self.next)
    }

    /// What it waits for: output, and the end of the copy. What the check has started may hold its output longer.
    pub(super) fn interests(&self) -> impl Iterator<Item = Interest<'_>> {
        let read = |fd| Interest { fd, read: true, write: false };
        let out = self.probe.iter().filter(|probe| !probe.silent).map(move |probe| read(probe.out.as_fd()));
        out.chain(self.probe.iter().map(move |probe| read(probe.pidfd.as_fd())))
    }

    /// A command wants one to be made now.
    pub(super) fn ask(&mut self, from: i32) {
        self.asking.push(from);
        self.next = Instant::now();
    }

    /// One of these has something to say.
    pub(super) fn hear(&mut self) -> Option<Answer> {
        let mut probe = self.probe.take()?;
        let ended = event::readable_within(probe.pidfd.as_fd(), Some(Duration::ZERO)).unwrap_or(true);
        probe.read();
        match ended {
            true => Some(self.take_in(&probe)),
            false => {
                self.probe = Some(probe);
                None
            }
        }
    }

    fn take_in(&mut self, probe: &Probe) -> Answer {
        let exit = process::wait(&probe.pidfd).ok();
        let mut output = String::from_utf8_lossy(&probe.output).into_owned();
        let exit_code = match exit {
            Some(Exit::Code(TOO_LONG)) => {
                output = format!("Health check exceeded timeout ({} ms)", self.check.timeout);
                -1
            }
            Some(exit) => i32::from(exit.code()),
            None => -1,
        };
        let in_start_period = self.in_start_period();
        let said = Event::Checked { exit_code, output: output.clone() };
        let checked = Checked { start: probe.start.clone(), end: super::live::now(), exit_code, output };
        let before = self.health.status;
        self.health.add(checked, self.check.retries, in_start_period);
        let pause = if self.asking.is_empty() { self.pause() } else { Duration::ZERO };
        self.next = Instant::now() + pause;
        self.write();
        if self.health.status != before {
            events::health(self.roots, &self.id, self.health.status);
        }
        Answer { to: std::mem::take(&mut self.hearing), said }
    }

    /// Starts a check where it is time for one.
    pub(super) fn tick(&mut self) -> Option<Answer> {
        if self.probe.is_some() || Instant::now() < self.next {
            return None;
        }
        let to = std::mem::take(&mut self.asking);
        match self.start() {
            Ok(probe) => {
                (self.probe, self.hearing) = (Some(probe), to);
                None
            }
            Err(error) => {
                let error = error.during("starting the health check");
                notes::note(&self.roots.container(&self.id), &error);
                self.next = Instant::now() + self.pause();
                Some(Answer { to, said: Event::Failed(error) })
            }
        }
    }

    fn start(&self) -> Result<Probe> {
        let (out, theirs) = event::pipe()?;
        event::never_wait(&out)?;
        let start = super::live::now();
        match process::clone3(0, None)? {
            Side::Parent { pidfd, .. } => Ok(Probe { pidfd, out, output: Vec::new(), silent: false, start }),
            Side::Child => {
                let code = be_check(&self.plan, theirs, Duration::from_millis(self.check.timeout));
                process::exit_now(i32::from(code))
            }
        }
    }

    /// The container has ended: so has its check.
    pub(super) fn end(self) {
        if let Some(probe) = self.probe {
            // gone already is what is wanted
            let _ = process::send_signal(&probe.pidfd, libc::SIGKILL);
            let _ = process::wait(&probe.pidfd);
        }
    }

    fn in_start_period(&self) -> bool {
        self.born.elapsed() < Duration::from_millis(self.check.start_period)
    }

    fn pause(&self) -> Duration {
        let starting = self.health.status == Status::Starting && self.in_start_period();
        Duration::from_millis(if starting { self.check.start_interval } else { self.check.interval })
    }

    fn write(&self) {
        if let Err(error) = health::write(self.roots, &self.id, &self.health) {
            notes::note(&self.roots.container(&self.id), &error);
        }
    }
}

/// The container's own process with another command: as its user, as confined, in its directory.
fn plan(config: &Config, check: &Check, init: &Identity) -> Result<Plan> {
    let broken = |e| Error::host(format!("the record of container {} is broken: {e}", config.name));
    let spec: Spec = config.spec.parse().map_err(broken)?;
    let security = config.security.parse().map_err(broken)?;
    let process = spec.process().clone();
    let mut process = process.ok_or_else(|| Error::internal("a container without a process"))?;
    process.set_args(Some(check.command.clone())).set_terminal(Some(false));
    let facts = facts::for_exec(facts::cgroup_of(&spec))?;
    Ok(plan::build_exec(&spec, &process, init, &security, None, &facts)?.plan)
}

/// The copy's whole life; its exit code.
fn be_check(plan: &Plan, out: OwnedFd, timeout: Duration) -> u8 {
    let outcome = fs::open_device_null().map_err(Error::from).and_then(|null| {
        let (copy, err) = (crate::sys::duplicate(&out)?, out);
        streams::take(&[null, copy, err])?;
        // the monitor's locks, sockets and FIFOs are not the copy's to hold
        close_from(3)?;
        let running = engine::create(plan, None, &mut Nobody)?.start(plan, &mut Nobody)?;
        if !event::readable_within(running.pidfd.as_fd(), Some(timeout))? {
            process::send_signal(&running.pidfd, libc::SIGKILL)?;
            process::wait(&running.pidfd)?;
            return Ok(TOO_LONG);
        }
        Ok(process::wait(&running.pidfd)?.code())
    });
    outcome.unwrap_or_else(|error| {
        let _ = event::write_all(&std::io::stderr(), error.to_string().as_bytes());
        error.exit_code()
    })
}

struct Nobody;

impl Observer for Nobody {
    fn watches(&self) -> bool {
        false
    }

    fn before(&mut self, _step: &Step) -> Result<()> {
        Ok(())
    }
}
