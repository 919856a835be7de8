//! `info` and `version`: what this host and this program are, for people, and under docker's names for programs.

use super::check::{self, Row, State};
use super::image::kernel;
use super::{list, registry};
use crate::cgroup::facts::Mode;
use crate::error::Result;
use crate::image::{Store, host_architecture, skeleton};
use crate::state::{Roots, volume};
use crate::sys::{fs, host};
use crate::{cgroup, facts, security};
use serde_json::{Value, json};
use std::path::Path;

/// What there is, under docker's names, as far as docker has one and it is true here. What only root may see is null for
/// others.
pub fn document(roots: &Roots) -> Result<Value> {
    let cgroups = cgroup::probe::probe(&facts::cgroup_parent(roots))?;
    // a listing of what may not be looked into would be empty
    let may_look = fs::list(roots.root.as_path()).is_ok();
    let containers = if may_look { list::containers::all(roots).ok() } else { None };
    let images = match fs::exists(roots.root.child("images").as_path()) {
        true => list::images::all(roots).ok().map(|rows| rows.len()),
        false => may_look.then_some(0), // and none is made
    };
    let count = |state: Option<&str>| {
        let rows = containers.as_ref()?.iter();
        Some(rows.filter(|row| state.is_none_or(|state| row.state == state)).count())
    };
    let (all, running, paused) = (count(None), count(Some("running")), count(Some("paused")));
    let stopped = containers.as_ref().and_then(|_| Some(all? - running? - paused?));
    let text = |path: &str| fs::read_text(Path::new(path)).unwrap_or_default();
    let has = |controller: &str| cgroups.list.iter().any(|one| one.has(controller));
    let swap = cgroups.list.iter().any(|one| one.has("memory") && (cgroups.mode == Mode::V2 || one.swap_accounting));
    let registries = registry::registries(roots);
    let mut document = json!({
        "Containers": all,
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": stopped,
        "Images": images,
        "Volumes": if may_look { volume::all(&roots.volumes()).ok().map(|all| all.len()) } else { None },
        "Driver": if Store::look(&roots.root).takes_overlay() { "overlay" } else { "directory" },
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if cgroups.mode == Mode::V2 { "2" } else { "1" },
        "MemoryLimit": has("memory"),
        "SwapLimit": swap,
        "PidsLimit": has("pids"),
        "CPUSet": has("cpuset"),
        "IPv4Forwarding": text("/proc/sys/net/ipv4/ip_forward").trim() == "1",
        "SecurityOptions": security_options()?,
        "KernelVersion": host::kernel_release()?,
        "OperatingSystem": kernel::pretty_name(&text("/etc/os-release")),
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "NCPU": host::cpus()?,
        "MemTotal": memory(&text("/proc/meminfo")),
        "InEveryRoot": skeleton::paths(),
        "DockerRootDir": roots.root,
        "StateDir": roots.state,
        "Name": host::hostname()?,
        "ServerVersion": env!("CARGO_PKG_VERSION"),
    });
    if let Ok(registries) = &registries {
        let mirrors: Vec<&str> = registries.mirrors.iter().map(|mirror| mirror.url.as_str()).collect();
        document["RegistryConfig"] = json!({ "Mirrors": mirrors, "InsecureRegistries": registries.insecure });
    }
    let broken = registries.err().map(|error| error.to_string());
    document["Warnings"] = check::check(roots)?.iter().filter_map(warning).chain(broken).collect();
    Ok(document)
}

/// What `info --check` says is not as it should be, in a line. What others may not see is no warning.
fn warning(row: &Row) -> Option<String> {
    (row.state != State::Ok && !row.is_hidden()).then(|| format!("{}: {}", row.name, row.detail))
}

/// As docker writes them.
fn security_options() -> Result<Vec<&'static str>> {
    let found = security::probe::probe()?;
    let mut options = vec!["name=seccomp,profile=builtin"];
    options.extend(found.apparmor.then_some("name=apparmor"));
    options.extend(found.selinux.then_some("name=selinux"));
    Ok(options)
}

/// Bytes of memory, of proc_meminfo(5).
fn memory(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// docker's two halves, which are one program here.
pub fn version() -> Result<Value> {
    let half = |extra: &[(&str, String)]| {
        let mut half = json!({
            "Version": env!("CARGO_PKG_VERSION"),
            "Os": "linux",
            "Arch": host_architecture().to_string(),
        });
        extra.iter().for_each(|(name, value)| half[*name] = json!(value));
        half
    };
    Ok(json!({ "Client": half(&[]), "Server": half(&[("KernelVersion", host::kernel_release()?)]) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(memory("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(memory("MemTotal: many kB"), None);
    }
}
