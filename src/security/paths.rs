//! What of /proc and /sys a container does not see or cannot write, and its default sysctls. Lists only:
//! the mount domain mounts them. Pure.

use super::plan::Facts;

/// Hidden: what tells of or changes the host, and what lets a container measure it (docker's list, with
/// thermal_throttle, a side channel across containers).
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// One that does not exist is not mounted; the thermal_throttle directories are those that this host has.
pub fn default_masked_paths(facts: &Facts) -> Vec<String> {
    MASKED.iter().map(|path| (*path).to_owned()).chain(facts.thermal_throttle.iter().cloned()).collect()
}

pub fn default_readonly_paths() -> Vec<String> {
    READ_ONLY.iter().map(|path| (*path).to_owned()).collect()
}

/// In a network namespace of its own a container may ping (icmp(7)) and listen on low ports (ip(7)) without
/// NET_RAW and, for other users than root, without NET_BIND_SERVICE.
pub fn default_sysctls() -> [(&'static str, &'static str); 2] {
    [("net.ipv4.ping_group_range", "0 2147483647"), ("net.ipv4.ip_unprivileged_port_start", "0")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_throttle_counters_of_each_processor_are_masked_where_they_exist() {
        let path = "/sys/devices/system/cpu/cpu0/thermal_throttle".to_owned();
        let facts = Facts { thermal_throttle: vec![path.clone()], ..Facts::default() };
        assert!(default_masked_paths(&facts).contains(&path));
        assert_eq!(default_masked_paths(&Facts::default()).len(), 13);
    }
}
