//! `info` and `version`: what this host and this program are, for people, and under docker's names for programs.

use super::list;
use crate::cgroup::facts::Mode;
use crate::error::Result;
use crate::image::host_architecture;
use crate::state::Roots;
use crate::sys::{fs, host};
use crate::{cgroup, facts};
use serde_json::{Value, json};
use std::path::Path;

/// What this host offers, as name and value.
pub fn info(roots: &Roots) -> Result<Vec<(String, String)>> {
    let cgroups = cgroup::probe::probe(&facts::cgroup_parent(roots))?;
    let line = |name: &str, value: String| (name.to_owned(), value);
    let containers = list::containers::all(roots).map_or(0, |rows| rows.len());
    Ok(vec![
        line("version", env!("CARGO_PKG_VERSION").to_owned()),
        line("kernel", host::kernel_release()?),
        line("cpus", host::cpus()?.to_string()),
        line("cgroups", format!("{:?}", cgroups.mode).to_lowercase()),
        line("root", roots.root.to_string()),
        line("state", roots.state.to_string()),
        line("containers", containers.to_string()),
    ])
}

/// The same and more under docker's names, as far as docker has one and it is true here.
pub fn document(roots: &Roots) -> Result<Value> {
    let cgroups = cgroup::probe::probe(&facts::cgroup_parent(roots))?;
    let containers = list::containers::all(roots)?;
    let in_state = |state: &str| containers.iter().filter(|row| row.state == state).count();
    let (running, paused) = (in_state("running"), in_state("paused"));
    let text = |path: &str| fs::read_text(Path::new(path)).unwrap_or_default();
    Ok(json!({
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": containers.len() - running - paused,
        "Images": list::images::all(roots)?.len(),
        "Driver": "overlay",
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if cgroups.mode == Mode::V2 { "2" } else { "1" },
        "KernelVersion": host::kernel_release()?,
        "OperatingSystem": super::image::pretty_name(&text("/etc/os-release")),
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "NCPU": host::cpus()?,
        "MemTotal": memory(&text("/proc/meminfo")),
        "DockerRootDir": roots.root,
        "StateDir": roots.state,
        "Name": host::hostname()?,
        "ServerVersion": env!("CARGO_PKG_VERSION"),
    }))
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
