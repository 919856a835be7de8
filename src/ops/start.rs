//! Containers that are there are started: by a command, by themselves, by the host's start.

use super::attach;
pub use super::attach::{Front, Ran};
use super::life::{self, Asked};
use super::run::{Purpose, design, hand_over};
use super::{Progress, Silent, container as containers, network, record};
use crate::error::{Error, Result};
use crate::id::{ContainerId, Name};
use crate::monitor::protocol::{Attach, Record};
use crate::spec::request::{Pull, RunRequest, Source};
use crate::state::container::{self, Ended, RestartPolicy, Restarts};
use crate::state::{Config, Raw, Roots, Status};
use crate::sys::process::{Exit, Identity};
use crate::sys::record::Lock;

/// Starts a container that was created or has ended; with a `front`, which is then its terminal and streams, to its
/// end. One that runs already is as good as started.
pub fn start(roots: &Roots, word: &str, front: Option<Front>, progress: &dyn Progress) -> Result<Ran> {
    let mut found = containers::find_settled(roots, word)?;
    if matches!(found.status, Status::Restarting(_)) {
        found = containers::give_up_restart(roots, &found)?;
    }
    let id = found.id;
    let turn = container::turn(roots, &id)?;
    let found = containers::find_settled(roots, id.as_str())?;
    match (&found.status, &found.config) {
        (Status::Running, _) => match front {
            Some(front) => attach::join(roots, &found, front, progress),
            None => Ok(Ran::Detached(id)),
        },
        (Status::Created | Status::Exited(_), Some(config)) => {
            start_kept(roots, config, Restarts::default(), front, turn, progress)
        }
        (status, _) => {
            Err(Error::user(format!("container {word} cannot be started: {}", containers::describe(status)))
                .hint(format!("minirun rm {word}")))
        }
    }
}

/// The same for one that was asked to end before, when it has.
pub fn start_after(roots: &Roots, word: &str, asked: Asked, progress: &dyn Progress) -> Result<()> {
    asked.await_end(roots)?;
    start(roots, word, None, progress)?;
    life::note(roots, &containers::find(roots, word)?, "restart", &[]);
    Ok(())
}

/// What a monitor becomes that has waited for it: starts the container again, unless somebody has done something to it
/// meanwhile.
pub fn start_again(roots: &Roots, id: &str, progress: &dyn Progress) -> Result<()> {
    let id = ContainerId::parse(id)?;
    let turn = container::turn(roots, &id)?;
    let found: containers::Container = container::load(roots, &id);
    match (&found.ended, &found.config) {
        (Some(ended), Some(config)) if found.life.is_none() && ended.again_by == Some(Identity::of_self()?) => {
            restart(roots, config, ended.restarts, turn, progress)
        }
        _ => Ok(()),
    }
}

/// Why it could not be started its record says, and that is the end of it: nobody tries again.
fn restart(
    roots: &Roots,
    config: &Config,
    restarts: Restarts,
    turn: Option<Lock>,
    progress: &dyn Progress,
) -> Result<()> {
    let Err(error) = start_kept(roots, config, restarts, None, turn, progress) else { return Ok(()) };
    let _turn = container::turn(roots, &config.id)?;
    let left: containers::Container = container::load(roots, &config.id);
    if let (true, Some(ended)) = (left.is_to_be_started_again(), left.ended) {
        container::end(roots, &config.id, &Ended { error: Some(error.to_string()), again_by: None, ..ended })?;
    }
    Err(error)
}

/// The same in place of a monitor that was killed while it waited. That it cannot be started is not the trouble of
/// whoever came by.
pub(super) fn start_in_place(roots: &Roots, found: &containers::Container) -> Result<()> {
    let Some(turn) = container::try_turn(roots, &found.id)? else { return Ok(()) };
    let found: containers::Container = container::load(roots, &found.id);
    if let (true, Some(ended), Some(config)) = (found.has_lost_its_restart(), &found.ended, &found.config) {
        drop(restart(roots, config, ended.restarts, Some(turn), &Silent));
    }
    Ok(())
}

/// Starts all that are to run after a reboot, and goes on where one cannot: what was started, and why others were not.
pub fn start_by_policy(roots: &Roots, progress: &dyn Progress) -> Result<Vec<(Name, Result<()>)>> {
    let wanted = |one: &containers::Container| {
        let asked = one.ended.as_ref().is_some_and(|ended| ended.asked);
        let started = one.started.is_some();
        match (&one.status, one.config.as_ref().map(|config| config.restart)) {
            (Status::Exited(_), Some(RestartPolicy::Always)) => started,
            (Status::Exited(_), Some(RestartPolicy::UnlessStopped)) => started && !asked,
            (Status::Exited(exit), Some(RestartPolicy::OnFailure(_))) => {
                started && !asked && *exit != Some(Exit::Code(0))
            }
            _ => false,
        }
    };
    let mut done = Vec::new();
    for one in containers::all(roots)?.iter().filter(|one| wanted(one)) {
        let Some(config) = &one.config else { continue };
        done.push((config.name.clone(), start(roots, one.id.as_str(), None, progress).map(drop)));
    }
    Ok(done)
}

/// `turn` is held until it has started.
fn start_kept(
    roots: &Roots,
    config: &Config,
    restarts: Restarts,
    front: Option<Front>,
    turn: Option<Lock>,
    progress: &dyn Progress,
) -> Result<Ran> {
    roots.make()?; // a reboot has emptied /run
    let broken = |e| Error::host(format!("the record of container {} is broken: {e}", config.name));
    let mut request: RunRequest = config.request.parse().map_err(broken)?;
    request.pull = Pull::Never;
    if let Some(id) = &config.image_id {
        request.source = Source::Image(id.to_string()); // its name may be another image's by now
        request.platform = None; // by which it was chosen
    }
    let front = front.map(|front| Front { tty: config.tty, input: front.input && config.interactive, ..front });
    let wants = front.as_ref().map_or(Attach::default(), Front::attach);
    let design = design(roots, (&config.id, &config.name), &request, Purpose::Start, progress);
    let launched = design.and_then(|mut design| {
        let warnings = std::mem::take(&mut design.planned.warnings);
        let config = Config {
            spec: Raw::of(&design.spec)?,
            security: Raw::of(&design.security)?,
            uid: record::uid(&design.spec),
            ..config.clone()
        };
        forget_volatile(roots, &config)?;
        let explains = design.found.explains(&design.spec);
        let monitor = hand_over(roots, &request, config, design, Record::Kept, restarts, wants);
        warnings.iter().for_each(|warning| progress.warn(warning)); // its networks' lock is the monitor's by now
        Ok((monitor?, explains))
    });
    let (monitor, explains) = launched.inspect_err(|_| network::give_back(roots, &config.id, progress))?;
    let Some(front) = front else {
        let started = attach::await_start(&monitor, progress).map_err(explains);
        return started.map(|()| Ran::Detached(config.id.clone()));
    };
    let outcome = attach::attach(&monitor, front, turn, progress).map_err(explains)?;
    Ok(Ran::of(&outcome, progress))
}

/// overlayfs refuses changes that a volatile mount has made, for after a power cut they may be damaged
/// (Documentation/filesystems/overlayfs.rst, "Volatile mount"). There was none: what goes with its end does not outlive
/// its boot.
fn forget_volatile(roots: &Roots, config: &Config) -> Result<()> {
    let mark = roots.container(&config.id).child("work/work/incompat");
    match config.remove {
        true => Ok(crate::sys::fs::remove_tree(mark.as_path())?),
        false => Ok(()),
    }
}
