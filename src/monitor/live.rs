//! The monitor's life: intent, birth, service, end.

use super::adopt::adopt;
use super::again;
use super::client::{Client, Clients};
use super::health::Checks;
use super::log::Log;
use super::notes;
use super::protocol::{Birth, Event, Record, Request, SOCKET, Task};
use super::resolver::Resolver;
use super::serve::Session;
use super::spawn::{self, Handed, Received};
use super::streams::{self, Streams};
use crate::engine::{self, Observer, Running, Undone};
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::plan::Plan;
use crate::plan::step::{Step, Undo};
use crate::state::container::{self, Gone};
use crate::state::{Config, Ended, Life, Roots, events, names, user_ids, volume};
use crate::sys::netlink::Socket;
use crate::sys::process::{self, Exit, Identity};
use crate::sys::record::Lock;
use crate::sys::{event, fs, rlimit, socket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// The whole of a monitor. `number` is the descriptor of its order.
pub fn main(number: &str) -> u8 {
    let Received { order, control, handed: Handed { images, locks, sockets } } = match spawn::receive(number) {
        Ok(received) => received,
        Err(error) => return error.exit_code(),
    };
    let (roots, trace) = (&order.roots, order.trace);
    let mut clients = Clients(vec![Client::new(control, order.attach)]);
    let outcome = detach().and_then(|()| match order.task {
        Task::Run(birth) => run(roots, *birth, trace, &mut clients, (images, locks)),
        Task::Exec { plan, tty, interactive, uid } => exec(&plan, tty, interactive, uid, trace, &mut clients),
        Task::Adopt(id) => adopt(roots, &id, &mut clients),
    });
    match outcome {
        Err(error) => clients.tell(&Event::Failed(error)),
        Ok(End { exit, undone: Undone { errors, lingering }, gone, rest, listener, rules, again }) => {
            clients.accept_all(listener.as_ref());
            clients.tell(&Event::Exited { exit, left: errors });
            drop(clients);
            // nobody is left to hear of an error; the kernel and `repair` do the same
            let _ = gone.remove();
            drop(engine::undo(&rest));
            // last, for a close waits until the kernel has freed what was removed, and lets no one else at its rules
            drop((lingering, rules, sockets));
            if let Some((id, delay)) = again {
                let error = again::wait_and_start(roots, &id, delay);
                notes::note(&roots.container(&id), &error);
            }
        }
    }
    0
}

/// How a container's process ended, and what is still to be done when that has been told.
pub(super) struct End {
    exit: Option<Exit>,
    undone: Undone,
    gone: Gone,
    /// What the kernel does by itself, but for the rare case that somebody else holds on to a namespace.
    rest: Vec<Undo>,
    /// Where commands have come in meanwhile that wait for the end.
    listener: Option<OwnedFd>,
    /// What nf_tables was spoken to by.
    rules: Option<Socket>,
    /// The container is started again after so many milliseconds.
    again: Option<(ContainerId, u64)>,
}

/// Away from the caller's session, directory, umask, signals and streams.
fn detach() -> Result<()> {
    process::be_closed()?; // before anything of it can be seen from a container
    process::block_signals()?;
    process::set_name(c"minirun-monitor")?;
    process::setsid()?;
    fs::set_umask(0o022);
    process::chdir(Path::new("/"))?;
    rlimit::raise_descriptors()?;
    streams::take(&streams::silent()?)
}

/// A container from its start to its end.
fn run(
    roots: &Roots,
    birth: Birth,
    trace: bool,
    clients: &mut Clients,
    (images, locks): (Option<OwnedFd>, Vec<OwnedFd>),
) -> Result<End> {
    let Birth { config, plan, undo, cgroups, record, restarts } = birth;
    let (version, monitor) = (container::VERSION, Identity::of_self()?);
    let kept = record == Record::Kept;
    let mut life = Life { version, id: config.id.clone(), monitor, init: None, undo, cgroups, restarts, kept };
    let started = begin(roots, &config, &life, record).and_then(|_lock| {
        drop(images);
        let born = be_parent(roots, &config, &plan, &mut life, trace, clients)?;
        drop(locks);
        Ok((born, _lock))
    });
    match started {
        Ok(((running, streams), _lock)) => {
            let resolver = Resolver::new(roots, &config, running.pid, running.held.names);
            let end = serve(roots, &config, life, &running.pidfd, streams, resolver, clients)?;
            Ok(End { rules: running.held.rules, ..end })
        }
        Err(error) => {
            not_started(roots, &config, &life, record, &error);
            Err(error)
        }
    }
}

/// Until the life was there, its ids were its command's, who may have been killed and taken for gone.
fn keep_ids(life: &Life<Undo>) -> Result<()> {
    life.undo.iter().try_for_each(|undo| match undo {
        Undo::ReturnIds { link, container } => user_ids::keep(link, container),
        _ => Ok(()),
    })
}

/// Intent before deed: from here on whoever finds these records can remove everything that comes. The lock says that
/// this container has a monitor.
fn begin(roots: &Roots, config: &Config, life: &Life<Undo>, record: Record) -> Result<Lock> {
    match record {
        Record::New => {
            container::begin(roots, config, life)?;
            keep_ids(life)?;
            names::claim(roots, &config.name, &config.id)?;
            events::container(roots, config, "create", &[]);
            lock(roots, &config.id)
        }
        Record::Kept => {
            // the monitor before may have told its last word and not let go yet
            let lock = Lock::directory_within(roots.container(&config.id).as_path(), REAPING)?;
            container::write_config(roots, config)?;
            container::revive(roots, life)?;
            keep_ids(life)?;
            Ok(lock)
        }
    }
}

pub(super) fn lock(roots: &Roots, id: &ContainerId) -> Result<Lock> {
    Lock::try_directory(roots.container(id).as_path())?.ok_or_else(|| {
        Error::user(format!("container {} is being started already", id.short())).hint("`minirun ps` shows it")
    })
}

/// The birth of the container's process, up to exec.
fn be_parent(
    roots: &Roots,
    config: &Config,
    plan: &Plan,
    life: &mut Life<Undo>,
    trace: bool,
    clients: &mut Clients,
) -> Result<(Running, Streams)> {
    let dir = roots.life(&config.id);
    let listener = socket::listen_at(&fs::open_read(dir.as_path())?, SOCKET)?;
    let (standard, mut streams) = match config.tty {
        true => (streams::silent()?, Streams::default()),
        false => streams::fifos(&dir, config.interactive, config.uid)?,
    };
    streams.listener = Some(listener);
    let (ours, theirs) = console_link(config.tty)?;
    streams::take(&standard)?;
    let mut observer = Trace { watches: trace, clients };
    let volumes = events::volumes_to_make(roots, &config.volumes);
    let unstarted = engine::create(plan, theirs, &mut observer);
    events::volumes_made(roots, &volumes);
    let unstarted = unstarted?;
    streams::take(&streams::silent()?)?;
    let init = life.init.insert(Identity::of(unstarted.pid)?).clone();
    container::write_life(roots, life)?;
    observer.check_caller()?;
    if let Some(ours) = ours {
        streams.use_terminal(console(&ours)?, config.interactive)?;
    }
    let running = unstarted.start(plan, &mut observer)?;
    note_start(roots, config, &init);
    running.held.warnings.iter().for_each(|warning| clients.tell(&Event::Warning(warning.clone())));
    clients.tell(&Event::Started { pid: running.pid });
    Ok((running, streams))
}

/// Writes down that it runs. It does so all the same where that cannot be written.
pub(super) fn note_start(roots: &Roots, config: &Config, init: &Identity) {
    if let Err(error) = container::write_started(roots, &config.id, init, &now()) {
        notes::note(&roots.container(&config.id), &error);
    }
    events::container(roots, config, "start", &[]);
}

/// What init sends its terminal's other side through, where it has one: our end and init's.
fn console_link(tty: bool) -> Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    Ok(if tty { Some(socket::pair()?).unzip() } else { (None, None) })
}

/// The terminal's side that init has sent.
fn console(from: &OwnedFd) -> Result<OwnedFd> {
    let received = socket::receive(from)?.and_then(|(_, terminal)| terminal);
    received.ok_or_else(|| Error::internal("init has a terminal and did not hand it out"))
}

/// Serves the container until it has ended, and takes back what it held.
pub(super) fn serve(
    roots: &Roots,
    config: &Config,
    life: Life<Undo>,
    pidfd: &OwnedFd,
    streams: Streams,
    resolver: Resolver<'_>,
    clients: &mut Clients,
) -> Result<End> {
    let dir = roots.container(&config.id);
    let log = config.log.map(|limits| Log::new(dir.clone(), limits));
    let checks = life.init.as_ref().and_then(|init| Checks::of(roots, config, init));
    let mut session = Session::new(pidfd, streams, log, checks, clients);
    session.attended = config.attended;
    session.names = Some(resolver);
    let (began, record) = (Instant::now(), container::config_file(roots, &config.id));
    let served = session.serve();
    if let Some(error) = session.log_error.take() {
        notes::note(&dir, &format!("the container's output could not be written: {error}"));
    }
    served?;
    let (asked, stays) = (session.asked, session.stays);
    let changed = container::changed_config(roots, config, record);
    let config = changed.as_ref().unwrap_or(config);
    let listener = session.streams.listener.take();
    let exit = process::wait(pidfd).ok().or_else(|| adopted_exit(pidfd));
    let oom_killed = engine::killed_for_memory(&life.cgroups);
    let restarts = if asked { None } else { again::decide(config.restart, exit, began.elapsed(), life.restarts) };
    let again_by = restarts.map(|_| life.monitor.clone());
    let again = restarts.map(|restarts| (config.id.clone(), restarts.delay));
    let ended = Ended {
        exit,
        oom_killed,
        asked,
        restarts: restarts.unwrap_or(life.restarts),
        again_by,
        ..Ended::unseen(&now())
    };
    note_end(roots, config, &ended);
    let (rest, now): (Vec<Undo>, Vec<Undo>) = life.undo.into_iter().partition(Undo::follows_init);
    let (undone, gone) = match config.remove && !stays {
        true => remove(roots, config, &now),
        false => (end(roots, config, &now, &ended), Gone::default()),
    };
    for error in &undone.errors {
        notes::note(&dir, error);
    }
    Ok(End { exit, undone, gone, rest, listener, rules: None, again })
}

/// Tells that it has ended; where it goes with that, that is told next.
fn note_end(roots: &Roots, config: &Config, ended: &Ended) {
    if ended.oom_killed {
        events::container(roots, config, "oom", &[]);
    }
    events::died(roots, config, ended.exit);
}

/// How long the new parent of a process may take to reap it: init of the host is quick.
const REAPING: Duration = Duration::from_secs(1);

fn adopted_exit(pidfd: &OwnedFd) -> Option<Exit> {
    process::exit_of_other(pidfd, REAPING)
}

/// One more process in a container that runs.
fn exec(plan: &Plan, tty: bool, interactive: bool, uid: u32, trace: bool, clients: &mut Clients) -> Result<End> {
    let (standard, mut streams) = match tty {
        true => (streams::silent()?, Streams::default()),
        false => streams::pipes(interactive, uid)?,
    };
    let (ours, theirs) = console_link(tty)?;
    streams::take(&standard)?;
    drop(standard);
    let mut observer = Trace { watches: trace, clients };
    let unstarted = engine::create(plan, theirs, &mut observer)?;
    streams::take(&streams::silent()?)?;
    if let Some(ours) = ours {
        streams.use_terminal(console(&ours)?, interactive)?;
    }
    let running = unstarted.start(plan, &mut observer)?;
    clients.tell(&Event::Started { pid: running.pid });
    Session::new(&running.pidfd, streams, None, None, clients).serve()?;
    let exit = Some(process::wait(&running.pidfd)?);
    let (undone, gone) = (Undone::default(), Gone::default());
    Ok(End { exit, undone, gone, rest: Vec::new(), listener: None, rules: None, again: None })
}

/// A container that never ran leaves nothing, or, where it was there before and stays, says why; what resists is for
/// `repair`.
fn not_started(roots: &Roots, config: &Config, life: &Life<Undo>, record: Record, error: &Error) {
    let standing = container::load::<Undo>(roots, &config.id).life;
    if record == Record::Kept && standing.is_some_and(|standing| standing.monitor != life.monitor) {
        return; // the lock is another monitor's, and so is that life
    }
    if record == Record::New || config.remove {
        let (_, gone) = remove(roots, config, &life.undo);
        let _ = gone.remove();
        return;
    }
    let exit = Some(Exit::Code(error.exit_code()));
    let ended = Ended { exit, error: Some(error.to_string()), ..Ended::unseen(&now()) };
    for error in end(roots, config, &life.undo, &ended).errors {
        notes::note(&roots.container(&config.id), &error);
    }
}

/// Takes back what it holds and forgets the container; where something resists, its records stay for `repair`.
fn remove(roots: &Roots, config: &Config, undos: &[Undo]) -> (Undone, Gone) {
    let mut undone = engine::undo(undos);
    if !undone.errors.is_empty() {
        return (undone, Gone::default());
    }
    if let Err(error) = volume::remove_own(roots, &config.id, &config.volumes) {
        undone.errors.push(error);
        return (undone, Gone::default());
    }
    match container::forget(roots, &config.id) {
        Ok(gone) => {
            match names::release(roots, &config.name, &config.id) {
                Ok(true) => events::destroyed(roots, &config.id, Some(config)),
                Ok(false) => {} // another one has the name: it never was
                Err(error) => undone.errors.push(error),
            }
            (undone, gone)
        }
        Err(error) => {
            undone.errors.push(error);
            (undone, Gone::default())
        }
    }
}

/// Takes back what the life held; the container stays as an ended one, and its life as long as something resists.
fn end(roots: &Roots, config: &Config, undos: &[Undo], ended: &Ended) -> Undone {
    let mut undone = engine::undo(undos);
    undone.errors.extend(container::end(roots, &config.id, ended).err());
    if undone.errors.is_empty() {
        undone.errors.extend(container::forget_life(roots, &config.id).err());
    }
    undone
}

/// This moment, in RFC 3339.
pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Sends each step to the command and waits until it was shown: the trace is in step with the deeds.
struct Trace<'a> {
    watches: bool,
    clients: &'a Clients,
}

impl Trace<'_> {
    /// Nobody waits for a container that was not started: what was made for it goes.
    fn check_caller(&self) -> Result<()> {
        match self.clients.0.first() {
            Some(caller) if !event::is_closed(&caller.socket) => Ok(()),
            _ => Err(Error::internal("the command that asked for the container is gone")),
        }
    }
}

impl Observer for Trace<'_> {
    fn watches(&self) -> bool {
        self.watches
    }

    fn before(&mut self, step: &Step) -> Result<()> {
        let (true, Some(caller)) = (self.watches, self.clients.0.first()) else { return Ok(()) };
        let step = Event::Step { line: step.shell().to_string(), why: step.why().to_owned() };
        socket::send_json(&caller.socket, &step)?;
        loop {
            match socket::receive_json::<Request>(&caller.socket)? {
                Some(Request::Next) => return Ok(()),
                Some(_) => {}
                None => return self.check_caller(),
            }
        }
    }
}

impl Streams {
    fn use_terminal(&mut self, ptmx: OwnedFd, input: bool) -> Result<()> {
        let listener = self.listener.take();
        *self = Streams { listener, ..streams::terminal(ptmx, input)? };
        Ok(())
    }
}
