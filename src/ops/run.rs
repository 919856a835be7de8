//! `run`: from a request to a container that has ended. Looks (facts), plans, hands the plan to a monitor, and stays
//! in front of it. All deeds are the monitor's.

use super::attach::{self, Outcome};
pub use super::exec::exec;
use super::image::{self, Found};
use super::network::{self, Lent};
use super::{Progress, container as containers, names};
use crate::error::{Error, Result};
use crate::facts;
use crate::id::{ContainerId, Name};
use crate::monitor::protocol::{Order, Task};
use crate::monitor::spawn::{Inherited, Monitor};
use crate::mount::plan::{Kind, RootSource};
use crate::plan::{self, Birth, Planned};
use crate::security;
use crate::spec::request::{Explain, RunRequest, Source};
use crate::spec::{self, SpecFacts};
use crate::state::{Config, Roots, container};
use crate::sys::tty::Size;
use crate::sys::{host, socket, tty};
use oci_spec::runtime::Spec;
use std::os::fd::OwnedFd;

/// A container as it is to be: everything that was looked up and decided, and nothing done yet.
struct Design {
    id: ContainerId,
    security: security::plan::Request,
    found: Found,
    spec: Spec,
    lent: Lent,
    planned: Planned,
    cgroups: crate::cgroup::facts::Hierarchies,
}

/// How a run ended for the one who called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    /// The container's process ended; 128+n for a signal.
    Exited(u8),
    /// It goes on without us.
    Detached(ContainerId),
}

/// Runs a container to its end.
pub fn run(roots: &Roots, request: &RunRequest, progress: &dyn Progress) -> Result<Ran> {
    let Outcome { exit, left } = run_with_output(roots, request, None, progress)?;
    for error in left {
        progress.warn(&format!("not cleaned up: {error}"));
    }
    Ok(Ran::Exited(exit.code()))
}

/// The same, with the program's standard output somewhere else than ours.
pub(super) fn run_with_output(
    roots: &Roots,
    request: &RunRequest,
    output: Option<OwnedFd>,
    progress: &dyn Progress,
) -> Result<Outcome> {
    super::refuse_without_root(request)?;
    refuse_impossible(request)?;
    roots.make()?;
    if let Some(name) = &request.name {
        containers::free_name(roots, name)?;
    }
    let id = new_id()?;
    let design = design(roots, id, request, network::Use::Lend, progress)?;
    for warning in &design.planned.warnings {
        progress.warn(warning);
    }
    if let Some(file) = &request.cidfile {
        crate::sys::fs::create_new(file.as_path(), design.id.as_str().as_bytes())
            .map_err(|e| Error::from(e).during(format!("--cidfile {file}")))?;
    }
    let name = match &request.name {
        Some(name) => name.clone(),
        None => names::free(roots)?,
    };
    let console = request.tty.then(socket::pair).transpose()?;
    let (ours, theirs) = console.map_or((None, None), |(ours, theirs)| (Some(ours), Some(theirs)));
    let monitor = start(roots, request, name, design, theirs, output)?;
    attach::attach(&monitor, ours.as_ref(), progress)
}

/// The plan of a run in the asked form; nothing is done, and nothing is left.
pub fn explain(roots: &Roots, request: &RunRequest, form: Explain, progress: &dyn Progress) -> Result<String> {
    let design = design(roots, new_id()?, request, network::Use::Peek, progress)?;
    let rootfs = roots.life(&design.id).child("rootfs");
    Ok(match form {
        Explain::Text => crate::explain::text(&design.planned.plan, rootfs.as_str()),
        Explain::Json => crate::explain::json(&design.planned.plan),
    })
}

/// Looks and decides.
fn design(
    roots: &Roots,
    id: ContainerId,
    request: &RunRequest,
    network: network::Use,
    progress: &dyn Progress,
) -> Result<Design> {
    let found = match network {
        network::Use::Lend => image::find(roots, request, progress)?,
        network::Use::Peek => image::look(roots, request)?,
    };
    let spec_facts = facts::for_spec(roots, &id, request, found.root.as_ref())?;
    let mut spec = spec::build(request, found.config.as_ref(), &spec_facts)?;
    let lent = network::lend(roots, &id, &request.network, found.config.as_ref(), &mut spec, network)?;
    let mut facts = facts::for_plan(&spec, found.root.as_ref(), &spec_facts.cgroup_path)?;
    let birth = birth(roots, &id, request, &found, &lent, &spec_facts)?;
    // written by the plan's first steps, so not there yet
    let written = birth.files.iter().map(|(path, _)| (path.to_string(), Kind::File));
    facts.mount.sources.extend(written);
    let mut planned = plan::build(&spec, &birth, &facts)?;
    let security = birth.security;
    planned.warnings.extend(spec::warnings(request, &spec_facts));
    planned.warnings.extend(lent.plan.warnings.iter().cloned());
    Ok(Design { id, security, found, spec, lent, planned, cgroups: facts.cgroup })
}

fn birth(
    roots: &Roots,
    id: &ContainerId,
    request: &RunRequest,
    found: &Found,
    lent: &Lent,
    facts: &SpecFacts,
) -> Result<Birth> {
    let (dir, life) = (roots.container(id), roots.life(id));
    let (root, directories) = match &request.source {
        Source::Rootfs(dir) => (RootSource::Directory(dir.clone()), Vec::new()),
        Source::Image(_) => {
            let (upper, work) = (dir.child("upper"), dir.child("work"));
            let root = RootSource::Overlay {
                lower: found.layers.clone(),
                upper: upper.clone(),
                work: work.clone(),
                // a crash of the host loses what goes at the container's end anyway
                volatile: request.remove,
            };
            (root, vec![upper, work])
        }
    };
    let hostname = spec::process::hostname(request, facts)?;
    Ok(Birth {
        root,
        security: super::seccomp(&spec::security::seccomp(request))?,
        directories,
        files: network::files(&life, request, lent, &hostname)?,
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
fn start(
    roots: &Roots,
    request: &RunRequest,
    name: Name,
    design: Design,
    console: Option<OwnedFd>,
    output: Option<OwnedFd>,
) -> Result<Monitor> {
    let process = design.spec.process().as_ref();
    let config = Config {
        version: container::VERSION,
        id: design.id,
        name,
        image: request.source.as_str().to_owned(),
        image_id: design.found.id,
        args: process.and_then(|p| p.args().clone()).unwrap_or_default(),
        created: super::now(),
        remove: request.remove,
        publish: request.network.publish.clone(),
        spec: value(&design.spec)?,
        security: value(&design.security)?,
    };
    let mut undo = design.lent.undo;
    undo.extend(design.planned.plan.undo());
    let order = Order {
        roots: roots.clone(),
        task: Task::Run(Box::new(config)),
        plan: design.planned.plan,
        undo,
        trace: request.trace.is_some(),
        input: request.interactive,
        control: -1,
        console: None,
        output: None,
        locks: Vec::new(),
    };
    let inherited = Inherited { console, output, locks: design.lent.locks };
    super::spawn_monitor(roots, order, &inherited, &design.cgroups)
}

fn value(of: &impl serde::Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(of).map_err(|e| Error::internal(format!("a container's record: {e}")))
}

fn new_id() -> Result<ContainerId> {
    ContainerId::parse(&crate::id::hex(&host::random::<32>()?))
}

fn refuse_impossible(request: &RunRequest) -> Result<()> {
    if request.tty && request.interactive && !tty::is_terminal(&std::io::stdin()) {
        return Err(Error::user("cannot attach a terminal: standard input is not one")
            .hint("leave out -t, as in `printf 'date\\n' | minirun run -i IMAGE sh`"));
    }
    if request.detach {
        return Err(
            Error::user("-d is not supported yet").hint("run in the foreground, or in the shell's background with `&`")
        );
    }
    Ok(())
}
