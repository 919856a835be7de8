//! `debug`: a shell with tools beside a container that may have none. It is a `run` of an image that has them, in the
//! container's namespaces. Its files are its own, and so is its cgroup: the tools do not count against the container's
//! limits, and look at it while it is paused, too.

use super::{Progress, container};
use crate::error::{During as _, Error, Result};
use crate::spec::health::HealthWords;
use crate::spec::request::{NamespaceMode, Namespaces, NetworkWords, RunRequest, Source, UserNamespace};
use crate::state::Roots;
use crate::sys::fs;
use crate::sys::host;
use oci_spec::runtime::Spec;
use std::path::Path;

/// One `minirun debug`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DebugRequest {
    /// Name or id, as given.
    pub container: String,
    /// The image with the tools.
    pub image: String,
    /// A shell where there is none.
    pub command: Vec<String>,
    pub interactive: bool,
    pub tty: bool,
    pub env: Vec<String>,
    pub workdir: Option<String>,
    /// Of the tools' image; root where there is none.
    pub user: Option<String>,
    pub cap_add: Vec<String>,
    pub privileged: bool,
}

/// What is to be run.
#[derive(Debug)]
pub struct Debug {
    pub request: RunRequest,
    /// Where the tools see the container's root: `/proc/1/root`.
    pub root: String,
}

/// What reading the memory, the root and the descriptors of another user's process takes (ptrace(2), "Ptrace access
/// mode checking"): kubectl's `debug --profile=general` adds the same. It reaches the processes of the pid namespace.
const PTRACE: &str = "CAP_SYS_PTRACE";

/// The run that is a debug of a container: in its pid, network, ipc and uts namespaces and as confined as `exec` is, but
/// for [`PTRACE`]. It goes with the command in front of it.
pub fn debug(roots: &Roots, asked: &DebugRequest, progress: &dyn Progress) -> Result<Debug> {
    if host::uid() != 0 {
        return Err(Error::user("entering a container needs root").hint("sudo minirun debug …"));
    }
    let (found, init) = container::running(roots, &asked.container)?;
    let config = found.config.as_ref().ok_or_else(|| Error::internal("a running container without a record"))?;
    let broken = |e| Error::host(format!("the record of container {} is broken: {e}", config.name));
    let theirs: RunRequest = config.request.parse().map_err(broken)?;
    let proc = format!("/proc/{}", init.pid);
    let ended = || format!("looking at container {}", config.name);
    let status = fs::read_text(Path::new(&proc).join("status").as_path()).during(ended)?;
    let pid_namespace = fs::read_link(Path::new(&proc).join("ns/pid").as_path()).during(ended)?;
    let pid = innermost_pid(&status).ok_or_else(|| Error::internal(format!("{proc}/status names no NSpid")))?;

    let mut cap_add = [&theirs.cap_add[..], &asked.cap_add].concat();
    // among the host's processes it would reach all of these
    let is_hosts = pid_namespace == fs::read_link(Path::new("/proc/self/ns/pid"))?;
    match !is_hosts && host::bounding_capabilities().contains(PTRACE) {
        true => cap_add.push(PTRACE.to_owned()),
        false => progress.warn(&format!(
            "{}; what other users run cannot be looked into",
            match is_hosts {
                true => format!("no {PTRACE}, for {} shares the host's processes", config.name),
                false => format!("there is no {PTRACE} here"),
            }
        )),
    }
    let spec: Spec = config.spec.parse().map_err(broken)?;
    // its root is nobody, and the one with the tools would be root: it gets no more than every container has
    let own_users = theirs.namespaces.user != UserNamespace::Host;
    if own_users {
        let name = &config.name;
        progress
            .warn(&format!("root here is root of the host, and {name}'s is not: trust no program below /proc/1/root"));
    }
    let hostname = spec.hostname().as_ref().map(|name| format!("HOSTNAME={name}"));
    let container = format!("container:{}", found.id);
    let mode = NamespaceMode::Container(found.id.to_string());
    let request = RunRequest {
        command: if asked.command.is_empty() { vec!["sh".to_owned()] } else { asked.command.clone() },
        entrypoint: Some(Vec::new()),
        remove: true,
        attended: true,
        interactive: asked.interactive,
        tty: asked.tty,
        env: hostname.into_iter().chain(asked.env.iter().cloned()).collect(),
        workdir: asked.workdir.clone(),
        user: Some(asked.user.clone().unwrap_or_else(|| "0".to_owned())),
        labels: vec![("minirun.debug".to_owned(), config.name.to_string())],
        cap_add,
        cap_drop: theirs.cap_drop,
        privileged: (theirs.privileged && !own_users) || asked.privileged,
        security_opts: theirs.security_opts,
        network: NetworkWords { mode: Some(container), ..NetworkWords::default() },
        namespaces: Namespaces { pid: mode.clone(), ipc: mode.clone(), uts: mode, user: UserNamespace::Host },
        health: HealthWords { none: true, ..HealthWords::default() },
        no_log: true,
        ..RunRequest::new(Source::Image(asked.image.clone()))
    };
    Ok(Debug { request, root: format!("/proc/{pid}/root") })
}

/// A process's number in the pid namespace that it is in, which need not be 1: it may share that of another container,
/// or the host's. `NSpid` names it in each from ours on down (proc_pid_status(5)).
fn innermost_pid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_called_by_its_innermost_number() {
        for (status, want) in [
            ("Name:\tsh\nNSpid:\t4711\t1\nNSpgid:\t4711\t1\n", Some(1)),
            ("NSpid:\t4711\t20\t7\n", Some(7)),
            ("NSpid:\t4711\n", Some(4711)),
            ("Name:\tNSpid\n", None),
        ] {
            assert_eq!(innermost_pid(status), want, "{status}");
        }
    }
}
