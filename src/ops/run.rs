//! From a request to a container: looks (facts), plans, and hands the plan to a monitor. All deeds are the monitor's.
//! `run` does it at once, `create` and `start` (in its own file) in two steps.

use super::attach::{self, Outcome};
pub use super::attach::{Front, Ran};
use super::detach_keys::DetachKeys;
pub use super::exec::exec;
use super::image::{self, Explains, Found};
use super::network::{self, Lent};
use super::own::{self, Ground};
use super::{Progress, cgroups, container as containers, etc, mounts, names, record, remains};
use crate::error::{Error, Kind, Result};
use crate::facts;
use crate::id::{ContainerId, Name};
use crate::image::skeleton;
use crate::monitor::protocol::{Attach, Birth as Order, Record, Task};
use crate::monitor::spawn::{Handed, Monitor};
use crate::mount::plan::Kind as FileKind;
use crate::plan::step::{Step, Undo};
use crate::plan::volume::Step as VolumeStep;
use crate::plan::{self, Birth, Planned};
use crate::spec::request::{Explain, RunRequest, UserNamespace};
use crate::spec::restart::Restart;
use crate::spec::{self, IdRange, SpecFacts};
use crate::state::container::Restarts;
use crate::state::user_ids::{self, Taken};
use crate::state::{Config, Life, Raw, Roots, container, events};
use crate::sys::process::Identity;
use crate::sys::record::Lock;
use crate::sys::tty::Size;
use crate::sys::{host, tty};
use crate::{engine, security};
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// A container as it is to be: everything that was looked up and decided, and nothing done yet.
pub(super) struct Design {
    pub(super) id: ContainerId,
    /// With all that was looked up for it.
    pub(super) request: RunRequest,
    pub(super) volumes: Vec<VolumeStep>,
    pub(super) security: security::plan::Request,
    pub(super) found: Found,
    /// Keeps its images until its record says which they are.
    pub(super) images: Option<Lock>,
    pub(super) spec: Spec,
    pub(super) lent: Lent,
    pub(super) ids: Option<Taken>,
    pub(super) planned: Planned,
    pub(super) cgroups: crate::cgroup::facts::Hierarchies,
}

/// What a design is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be shown: nothing is fetched, made or taken.
    Explain,
    /// To be kept: the image is fetched, and no address taken.
    Create,
    /// To be started now.
    Start,
}

/// Runs a container: to its end, or with `detach` until it has started.
pub fn run(roots: &Roots, request: &RunRequest, progress: &dyn Progress) -> Result<Ran> {
    Ok(match with_output(roots, request, false, progress)? {
        Ok(outcome) => Ran::of(&outcome, progress),
        Err(id) => Ran::Detached(id),
    })
}

/// Runs a container to its end and gives what its program wrote on its standard output.
pub(super) fn run_collecting(roots: &Roots, request: &RunRequest, progress: &dyn Progress) -> Result<Outcome> {
    with_output(roots, request, true, progress)?.map_err(|_| Error::internal("a detached container has no output"))
}

/// The outcome, or the id of a container that was left to itself.
fn with_output(
    roots: &Roots,
    request: &RunRequest,
    collect: bool,
    progress: &dyn Progress,
) -> Result<Result<Outcome, ContainerId>> {
    if request.tty && request.interactive && !request.detach && !tty::is_terminal(&std::io::stdin()) {
        return Err(Error::user("cannot attach a terminal: standard input is not one")
            .hint("leave out -t, as in `printf 'date\\n' | minirun run -i IMAGE sh`"));
    }
    check(roots, request)?;
    until_named(request, |id| once(roots, request, collect, id, progress))
}

/// One try at that.
fn once(
    roots: &Roots,
    request: &RunRequest,
    collect: bool,
    id: &ContainerId,
    progress: &dyn Progress,
) -> Result<Result<Outcome, ContainerId>> {
    let keys = match request.attended {
        true => DetachKeys::none(), // it would end, and there would be nothing to come back to
        false => DetachKeys::parse(request.detach_keys.as_deref().unwrap_or_default())?,
    };
    let keep_signals = request.keep_signals;
    let attended = request.attended;
    let front = Front { tty: request.tty, input: request.interactive, collect, keys, keep_signals, attended };
    let wants = if request.detach { Attach::default() } else { front.attach() };
    let (monitor, explains) = launch(roots, request, id, wants, progress)?;
    let outcome = match request.detach {
        true => attach::await_start(&monitor, progress).map(|()| Err(id.clone())),
        false => attach::attach(&monitor, front, None, progress).map(Ok),
    };
    outcome.map_err(explains)
}

/// Makes a container of a new id. One that was given no name gets another one where somebody else has taken that
/// meanwhile: it was free when it was thought of.
fn until_named<T>(request: &RunRequest, make: impl Fn(&ContainerId) -> Result<T>) -> Result<T> {
    loop {
        let id = new_id()?;
        write_cidfile(request, &id)?;
        let made = make(&id).inspect_err(|_| forget_cidfile(request));
        match made {
            Err(error) if error.kind == Kind::NameTaken && request.name.is_none() => {}
            made => return made,
        }
    }
}

/// Makes a container that can be started.
pub fn create(roots: &Roots, request: &RunRequest, progress: &dyn Progress) -> Result<ContainerId> {
    check(roots, request)?;
    until_named(request, |id| create_once(roots, request, id, progress).map(|()| id.clone()))
}

fn create_once(roots: &Roots, request: &RunRequest, id: &ContainerId, progress: &dyn Progress) -> Result<()> {
    let name = name_for(roots, request)?;
    let design = design(roots, (id, &name), request, Purpose::Create, progress)?;
    let config = record::config(name, &design)?;
    let life = Life::<plan::step::Undo> {
        version: container::VERSION,
        id: id.clone(),
        monitor: Identity::of_self()?,
        init: None,
        undo: Vec::new(),
        cgroups: Raw::default(),
        restarts: Restarts::default(),
        kept: false,
    };
    // whoever finds it before it has its name finds us at work on it, or dead
    container::begin(roots, &config, &life)?;
    let steps: Vec<Step> = design.volumes.into_iter().map(Step::Volume).collect();
    let volumes = events::volumes_to_make(roots, &config.volumes);
    let made = crate::state::names::claim(roots, &config.name, id).and_then(|()| {
        events::container(roots, &config, "create", &[]);
        engine::run(&steps)
    });
    events::volumes_made(roots, &volumes);
    if let Err(error) = made {
        remains::forget_unborn(roots, &config)?;
        return Err(error);
    }
    container::forget_life(roots, id)
}

/// Process 1 of a container with `--init`, inside: the program's exit code.
pub fn init(words: &[String], env: &[String]) -> Result<u8> {
    engine::init::main(words, env)
}

/// What can be refused before anything is looked up.
fn check(roots: &Roots, request: &RunRequest) -> Result<()> {
    super::refuse_without_root(request)?;
    if request.remove && request.restart != Restart::No {
        return Err(Error::user("--rm and --restart contradict each other").hint("leave out one of them"));
    }
    roots.make()?;
    if let Some(name) = &request.name {
        remains::free_name(roots, name)?;
    }
    Ok(())
}

fn write_cidfile(request: &RunRequest, id: &ContainerId) -> Result<()> {
    let Some(file) = &request.cidfile else { return Ok(()) };
    crate::sys::fs::create_new(file.as_path(), id.as_str().as_bytes()).map_err(|e| {
        let there = e.errno == crate::error::Errno::EEXIST;
        let error = Error::from(e).during(format!("--cidfile {file}")).kind(Kind::User);
        error.hint(if there { "remove it, or name another file" } else { "name a file in a directory that is there" })
    })
}

/// A container that never was has no id.
fn forget_cidfile(request: &RunRequest) {
    if let Some(file) = &request.cidfile {
        let _ = crate::sys::fs::unlink(file.as_path());
    }
}

/// Designs the container and hands it to a monitor; what its image says of errors comes with it.
fn launch(
    roots: &Roots,
    request: &RunRequest,
    id: &ContainerId,
    attach: Attach,
    progress: &dyn Progress,
) -> Result<(Monitor, Explains)> {
    let name = name_for(roots, request)?;
    let launched = design(roots, (id, &name), request, Purpose::Start, progress).and_then(|mut design| {
        let warnings = std::mem::take(&mut design.planned.warnings);
        let (config, explains) = (record::config(name, &design)?, design.found.explains(&design.spec));
        progress.trace_ends(); // a copy of this process has no other thread
        let monitor = hand_over(roots, request, config, design, Record::New, Restarts::default(), attach);
        warnings.iter().for_each(|warning| progress.warn(warning)); // its networks' lock is the monitor's by now
        let monitor = monitor?;
        Ok((monitor, explains))
    });
    // from the launch on all of it is the monitor's; before, only addresses and ids were taken
    launched.inspect_err(|_| network::give_back(roots, id, progress))
}

fn name_for(roots: &Roots, request: &RunRequest) -> Result<Name> {
    request.name.clone().map_or_else(|| names::free(roots), Ok)
}

/// The plan of a run in the asked form; nothing is done, and nothing is left.
pub fn explain(roots: &Roots, request: &RunRequest, form: Explain, progress: &dyn Progress) -> Result<String> {
    // the steps say nothing of it, and a normal user may not see which are free
    let name = request.name.clone().map_or_else(|| Name::parse("explained"), Ok)?;
    let design = design(roots, (&new_id()?, &name), request, Purpose::Explain, progress)?;
    let rootfs = roots.life(&design.id).child("rootfs");
    Ok(match form {
        Explain::Text => crate::explain::text(&design.planned.plan, rootfs.as_str()),
        Explain::Json => crate::explain::json(&design.planned.plan),
    })
}

/// Looks and decides.
pub(super) fn design(
    roots: &Roots,
    (id, name): (&ContainerId, &Name),
    request: &RunRequest,
    purpose: Purpose,
    progress: &dyn Progress,
) -> Result<Design> {
    let mut held = None;
    let mut find = |request: &RunRequest| match purpose {
        Purpose::Create | Purpose::Start => image::find(roots, request, &mut held, progress),
        Purpose::Explain => image::look(roots, request),
    };
    let found = find(request)?;
    let how = if purpose == Purpose::Start { network::Use::Lend } else { network::Use::Peek };
    let mut whole = mounts::resolve(roots, request, found.config.as_ref())?;
    whole.labels = labels(found.config.as_ref(), request);
    whole.network = network::with_names(roots, &request.network)?;
    let images = mounts::images(&mut whole, find)?;
    let request = &whole;
    let places = mounts::places(roots, request)?;
    let (joined, owners) = containers::joined(roots, request)?;
    let mut spec_facts = facts::for_spec(roots, id, request, found.root.as_ref(), joined)?;
    spec_facts.images = images;
    let ids = ids(roots, id, request, purpose)?;
    spec_facts.ids = ids.as_ref().map(|(_, range)| *range);
    let ids = ids.map(|(taken, _)| taken);
    let mut spec = spec::build(request, found.config.as_ref(), &spec_facts)?;
    let lent = network::lend(roots, (id, name), &request.network, found.config.as_ref(), &mut spec, how)?;
    let mut facts = facts::for_plan(&spec, found.root.as_ref(), &spec_facts.cgroup_path, owners)?;
    cgroups::check_parent(request.cgroup_parent.as_deref(), &facts.cgroup)?;
    let birth = birth(roots, id, request, &found, &lent, &spec_facts)?;
    // written by the plan's first steps, so not there yet
    let written = birth.files.iter().map(|(path, _)| (path.to_string(), FileKind::File));
    facts.mount.sources.extend(written);
    let layers = spec_facts.images.values().flatten(); // explained before they are unpacked
    facts.mount.sources.extend(layers.map(|layer| (layer.to_string(), FileKind::Directory)));
    facts.mount.trees.extend(places.iter().filter_map(mounts::Place::tree));
    facts.mount.sources.extend(places.into_iter().map(|place| (place.path.to_string(), place.kind)));
    if found.root.is_none() {
        facts.mount.targets.extend(in_every_root()); // all that is known of an image that cannot be looked into
    }
    if birth.copy.is_some() {
        for (path, kind) in in_every_root() {
            facts.mount.targets.entry(path).or_insert(kind); // what the copy has besides the image
        }
    }
    let mut planned = plan::build(&spec, &birth, &facts)?;
    let (security, volumes) = (birth.security, birth.volumes);
    planned.warnings.extend(spec::warnings(request, &spec_facts));
    planned.warnings.extend(lent.plan.warnings.iter().cloned());
    Ok(Design {
        id: id.clone(),
        request: whole,
        volumes,
        security,
        found,
        images: held,
        spec,
        lent,
        ids,
        planned,
        cgroups: facts.cgroup,
    })
}

/// The image's labels are the container's, too.
fn labels(image: Option<&ImageConfiguration>, request: &RunRequest) -> Vec<(String, String)> {
    let image = image.and_then(|image| image.config().as_ref()).and_then(|config| config.labels().as_ref());
    let mut labels: BTreeMap<_, _> =
        image.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    labels.extend(request.labels.iter().cloned());
    labels.into_iter().collect()
}

/// The ids of the host for a container that wants some of its own; taken only where it is started now.
fn ids(roots: &Roots, id: &ContainerId, request: &RunRequest, purpose: Purpose) -> Result<Option<(Taken, IdRange)>> {
    let UserNamespace::Auto { size: count } = request.namespaces.user else { return Ok(None) };
    let taken = if purpose == Purpose::Start { user_ids::take(roots, id) } else { user_ids::look(roots, id) }?;
    let start = taken.first;
    Ok(Some((taken, IdRange { start, count })))
}

/// What the lowest layer of every image gives it.
fn in_every_root() -> impl Iterator<Item = (String, FileKind)> {
    let directories = skeleton::DIRECTORIES.iter().map(|name| (name, FileKind::Directory));
    let files = skeleton::FILES.iter().map(|name| (name, FileKind::File));
    directories.chain(files).map(|(name, kind)| (format!("/{name}"), kind))
}

fn birth(
    roots: &Roots,
    id: &ContainerId,
    request: &RunRequest,
    found: &Found,
    lent: &Lent,
    facts: &SpecFacts,
) -> Result<Birth> {
    let life = roots.life(id);
    let Ground { root, image, directories, copy } = own::ground(roots, id, request, found)?;
    let hostname = spec::process::hostname(request, facts)?;
    Ok(Birth {
        volumes: mounts::steps(roots, request, found.root.as_ref(), &image)?,
        root,
        copy,
        security: super::seccomp(&spec::security::seccomp(request))?,
        directories,
        files: etc::files(roots, &life, request, lent, &hostname)?,
        network: lent.plan.clone(),
        console: request.tty.then(size_of_terminal),
        state_dir: life,
    })
}

/// 24 x 80 where the caller has no terminal of a known size.
pub(super) fn size_of_terminal() -> Size {
    let usual = Size { rows: 24, columns: 80 };
    tty::size(&std::io::stdin()).ok().filter(|size| size.rows > 0 && size.columns > 0).unwrap_or(usual)
}

/// Hands everything to a monitor.
pub(super) fn hand_over(
    roots: &Roots,
    request: &RunRequest,
    config: Config,
    design: Design,
    record: Record,
    restarts: Restarts,
    attach: Attach,
) -> Result<Monitor> {
    let mut undo = design.lent.undo;
    undo.extend(design.ids.map(|Taken { link, .. }| Undo::ReturnIds { link, container: config.id.clone() }));
    undo.extend(design.planned.plan.undo());
    let (plan, cgroups) = (design.planned.plan, Raw::of(&design.planned.cgroups)?);
    let task = Task::Run(Box::new(Order { config, plan, undo, cgroups, record, restarts }));
    let order = super::order(roots, task, attach, request.trace.is_some());
    let handed = Handed { images: design.images.map(OwnedFd::from), ..design.lent.handed };
    super::spawn_monitor(roots, order, &handed, &design.cgroups)
}

pub(super) fn new_id() -> Result<ContainerId> {
    ContainerId::parse(&crate::id::hex(&host::random::<32>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::request::Source;

    #[test]
    fn a_name_that_was_thought_of_is_thought_of_again_where_it_is_taken() {
        let taken = || Error::new(Kind::NameTaken, "taken");
        let mut request = RunRequest::new(Source::Image("hello".into()));
        let tries = std::cell::Cell::new(0);
        let make = |id: &ContainerId| {
            tries.set(tries.get() + 1);
            if tries.get() < 3 { Err(taken()) } else { Ok(id.clone()) }
        };
        until_named(&request, make).unwrap();
        assert_eq!(tries.get(), 3);
        request.name = Some(Name::parse("web").unwrap());
        assert!(until_named(&request, |_| Err::<(), _>(taken())).is_err());
    }
}
