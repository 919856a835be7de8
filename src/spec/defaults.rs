//! What a container has where nobody said anything: docker's defaults, made tighter where nothing breaks by it.
//! Plain tables; `spec::build` is what applies them.

/// docker's fourteen without AUDIT_WRITE, MKNOD and NET_RAW: ping and low ports work through sysctls instead,
/// and a device is given with --device. Effective mask 800405fb.
pub const DEFAULT_CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Hidden: they tell of, or reach, the host's hardware and keys (moby, oci/defaults.go).
/// With them go those of /sys/devices/system/cpu/cpuN/thermal_throttle that exist.
pub const MASKED_PATHS: [&str; 13] = [
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

/// Shown, and never written.
pub const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A character device that every container has in /dev, mode 0666, root's (OCI runtime-spec, config-linux.md,
/// "Default Devices"); /dev/console and /dev/ptmx are made apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultDevice {
    pub path: &'static str,
    pub major: u32,
    pub minor: u32,
}

pub const DEFAULT_DEVICES: [DefaultDevice; 6] = [
    DefaultDevice { path: "/dev/null", major: 1, minor: 3 },
    DefaultDevice { path: "/dev/zero", major: 1, minor: 5 },
    DefaultDevice { path: "/dev/full", major: 1, minor: 7 },
    DefaultDevice { path: "/dev/random", major: 1, minor: 8 },
    DefaultDevice { path: "/dev/urandom", major: 1, minor: 9 },
    DefaultDevice { path: "/dev/tty", major: 5, minor: 0 },
];

/// What the device controller lets through after "deny all": type, major, minor, access; -1 is any.
/// docker's and runc's tables together, without tun (10:200). mknod of any node is allowed, its use is not.
pub const DEVICE_RULES: [(char, i64, i64, &str); 11] = [
    ('c', -1, -1, "m"),
    ('b', -1, -1, "m"),
    ('c', 1, 3, "rwm"),
    ('c', 1, 5, "rwm"),
    ('c', 1, 7, "rwm"),
    ('c', 1, 8, "rwm"),
    ('c', 1, 9, "rwm"),
    ('c', 5, 0, "rwm"),
    ('c', 5, 1, "rwm"),
    ('c', 5, 2, "rwm"),
    ('c', 136, -1, "rwm"),
];

/// Processes and threads: a fork bomb stays inside, a big Java program still fits.
pub const PIDS_LIMIT: i64 = 2048;

/// docker's 64 MiB of /dev/shm.
pub const SHM_SIZE: u64 = 64 << 20;

/// Open files, soft and hard: 1024 keeps programs quick that close every possible descriptor and select(2) safe;
/// who wants more raises it to the hard limit (systemd's default since 240).
pub const NOFILE: (u64, u64) = (1024, 524_288);

/// umask of the first process; its parent's never comes in.
pub const UMASK: u32 = 0o022;

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr as _;

    #[test]
    fn the_default_capabilities_are_the_documented_mask() {
        let mask = DEFAULT_CAPABILITIES
            .iter()
            .map(|name| caps::Capability::from_str(name).unwrap().bitmask())
            .fold(0, |mask, bit| mask | bit);
        assert_eq!(mask, 0x8004_05fb);
    }
}
