//! Does what a plan says, in its order; decides nothing. `parent` is the monitor's side, `child` is init's.
//! Undo runs backwards, does everything it can and returns what failed.

mod child;
mod exec;
pub mod init;
mod parent;

pub use exec::FOR_OTHERS;
pub use parent::{Running, Unstarted, create};

use crate::error::{Errno, Error, Result};
use crate::mount::plan::RootSource;
use crate::net::apply::Held;
use crate::plan::root::Copy;
use crate::plan::step::{IdMapFile, IdMapWriter, IdRange, Joined, Namespace, Step, Undo};
use crate::plan::volume::Step as VolumeStep;
use crate::plan::{Phase, Plan};
use crate::state::{Raw, user_ids, volume};
use crate::sys::fs::{self, Root};
use crate::sys::netlink::Socket;
use crate::sys::process::{self, Pid, known};
use crate::sys::record::Durability;
use crate::sys::{credentials, idmap};
use crate::{cgroup, image, mount, net, security};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Hears of every step just before it is done; an error stops the birth there.
pub trait Observer {
    /// `None` where nobody listens, so that nothing is sent.
    fn watches(&self) -> bool;
    fn before(&mut self, step: &Step) -> Result<()>;
}

/// What only the run can know: one step fills it, later ones use it.
#[derive(Debug, Default)]
struct Slots {
    mounts: mount::apply::Slots,
    /// The cgroup v2 directory in which init is born, opened before namespaces are entered.
    cgroup: Option<OwnedFd>,
    /// The process whose namespaces are entered.
    entered: Option<OwnedFd>,
    /// Where the console's other end goes.
    console: Option<OwnedFd>,
    /// Of the container's network, for as long as the monitor lives.
    held: Held,
}

/// What init tells its monitor.
#[derive(Debug, Serialize, Deserialize)]
enum FromInit {
    /// About to do this step; goes on when it is answered. Sent only where somebody watches.
    Before {
        phase: Phase,
        index: usize,
    },
    /// At the barrier.
    Ready,
    Failed {
        phase: Phase,
        index: usize,
        error: Error,
    },
}

/// Says which step failed, unless the error already explains itself to the user (a command that is not there).
fn in_step(plan: &Plan, phase: Phase, index: usize, error: Error) -> Error {
    use crate::error::Kind;
    match (error.kind, plan.phase(phase).get(index)) {
        (Kind::Host | Kind::Kernel | Kind::Internal, Some(step)) => error.during(step.shell().doing()),
        _ => error,
    }
}

/// Steps that belong to no birth: a monitor's way into its own cgroup.
pub fn run(steps: &[Step]) -> Result<()> {
    let mut slots = Slots::default();
    steps.iter().try_for_each(|step| apply(step, &mut slots, None))
}

/// One step that is neither a clone nor a barrier; `init` is known in the host phase.
fn apply(step: &Step, slots: &mut Slots, init: Option<Pid>) -> Result<()> {
    match step {
        Step::Mount(step) => mount::apply::apply(step, &mut slots.mounts, init),
        Step::Cgroup(step) => cgroup::apply::apply(step, init),
        Step::Security(step) => security::apply::apply(step, init),
        Step::Net(step) => net_batch(std::slice::from_ref(step), slots, init).map_err(|(_, error)| error),
        Step::Volume(step) => volume_step(step),
        Step::CopyRoot(copy) => copy_root(copy),
        Step::MakeDirectory { path, mode } => {
            fs::mkdir_all(path.as_path(), 0o700)?;
            Ok(fs::chmod(path.as_path(), *mode)?)
        }
        Step::WriteFile { path, content } => Ok(fs::write_new(path.as_path(), content.as_bytes(), 0o644)?),
        Step::JoinNamespace { namespace, of } => join(*namespace, of),
        Step::Enter { init, namespaces } => {
            // once inside, its pid is another one there
            let pidfd = slots.entered.take().map_or_else(|| init.open(), Ok)?;
            Ok(process::setns(slots.entered.insert(pidfd), Namespace::flags(namespaces))?)
        }
        Step::NewSession => Ok(process::setsid()?),
        Step::Console { size } => exec::console(slots, *size),
        Step::Hostname { name } => Ok(process::set_hostname(name)?),
        Step::Domainname { name } => Ok(process::set_domainname(name)?),
        Step::Sysctl { key, value } => {
            let path = format!("/proc/sys/{}", key.replace('.', "/"));
            Ok(fs::write_existing(Path::new(&path), value)?)
        }
        Step::WorkingDirectory { path } => exec::working_directory(path),
        Step::Exec { args, env } => exec::exec(args, env),
        Step::BecomeRoot => become_root(),
        Step::DenySetgroups => Ok(idmap::deny_setgroups(known(init)?)?),
        Step::IdMap { file, ranges, writer } => id_map(known(init)?, *file, ranges, *writer),
        Step::Clone { .. } | Step::Wait(_) | Step::Release(_) => {
            Err(Error::internal("a clone, a wait or its end outside of its place in the plan"))
        }
    }
}

/// A copy of an image's root.
pub fn copy_root(copy: &Copy) -> Result<()> {
    let durability = if copy.volatile { Durability::Memory } else { Durability::Disk };
    image::seed::root(&copy.image, &copy.below, &copy.to, durability)
}

fn volume_step(step: &VolumeStep) -> Result<()> {
    match step {
        VolumeStep::Make { store, name, labels, anonymous, created } => {
            let (version, labels) = (volume::VERSION, labels.iter().cloned().collect());
            let (name, created, anonymous) = (name.clone(), created.clone(), *anonymous);
            volume::make(store, &volume::Record { version, name, created, labels, anonymous, filled: false }).map(drop)
        }
        VolumeStep::Fill { store, name, image, target } => volume::fill(store, name, |to| {
            let root = match image {
                RootSource::Overlay { lower, .. } => mount::probe::open_layers(lower)?,
                RootSource::Directory(dir) => Root::open(dir.as_path())?,
            };
            image::seed::directory(&root, target, to)
        }),
    }
}

/// Enters a namespace; for the pid namespace, the next clone will be in it.
fn join(namespace: Namespace, of: &Joined) -> Result<()> {
    let file = fs::open_read(of.path.as_path())?;
    // looked at after the file is open, so that the pid cannot have changed hands before
    if of.owner.as_ref().is_some_and(|owner| !owner.is_alive()) {
        return Err(Error::user(format!("cannot join {}: its container has ended", of.path)));
    }
    process::setns(&file, namespace.flag()).map_err(|e| match e.errno {
        Errno::EINVAL => Error::user(format!("{} is no {} namespace", of.path, namespace.name()))
            .hint("`ip netns add NAME` makes one at /run/netns/NAME"),
        _ => e.into(),
    })
}

fn become_root() -> Result<()> {
    credentials::set_groups(&[])?;
    credentials::set_gid(0)?;
    Ok(credentials::set_uid(0)?)
}

fn id_map(init: Pid, file: IdMapFile, ranges: &[IdRange], writer: IdMapWriter) -> Result<()> {
    let lines: Vec<String> = ranges.iter().map(IdRange::text).collect();
    match writer {
        IdMapWriter::Monitor => Ok(idmap::write(init, file.name(), &lines.join("\n"))?),
        IdMapWriter::Newidmap => idmap::run(file.program(), init, &lines).map_err(|e| {
            Error::from(e).hint("the package uidmap has it; /etc/subuid and /etc/subgid must list these ids")
        }),
    }
}

/// Network steps in a row leave as one batch. The error comes with the index of its step.
fn net_batch(steps: &[net::step::Step], slots: &mut Slots, init: Option<Pid>) -> Result<(), (usize, Error)> {
    let init = init.map(|pid| nix::unistd::Pid::from_raw(pid.0));
    net::apply::apply(steps, init, &mut slots.held).map_err(Into::into)
}

/// Whether the kernel has killed in these cgroups, which are given in that domain's words, for want of memory.
pub fn killed_for_memory(cgroups: &Raw) -> bool {
    // who is nowhere is counted nowhere
    cgroups.parse().is_ok_and(|place| cgroup::apply::oom_kills(&place) > 0)
}

/// What came of taking a plan back.
#[derive(Debug, Default)]
#[must_use]
pub struct Undone {
    /// What could not be removed.
    pub errors: Vec<Error>,
    /// Closing them waits until the kernel has destroyed what was removed through them, 4 to 8 ms
    /// (net/netfilter/nf_tables_api.c, nft_rcv_nl_event): whoever has somebody waiting answers first.
    pub lingering: Vec<Socket>,
}

/// Takes back what a plan left, backwards. What is gone already is no error.
pub fn undo(undos: &[Undo]) -> Undone {
    let mut undone = Undone::default();
    for one in undos.iter().rev() {
        undone.errors.extend(undo_one(one, &mut undone.lingering).err());
    }
    undone
}

fn undo_one(undo: &Undo, lingering: &mut Vec<Socket>) -> Result<()> {
    match undo {
        Undo::Mount(undo) => match *undo {},
        Undo::Cgroup(undo) => cgroup::apply::undo(undo),
        Undo::Security(undo) => security::apply::undo(undo),
        Undo::Net(undo) => net::apply::undo(undo, lingering),
        Undo::ReturnIds { link, container } => user_ids::release(link, container),
        Undo::ReturnLeases { state, container } => {
            let networks = net::record::Networks::lock(state)?;
            net::remove::give_back(&networks, container, None, lingering)
        }
    }
}
