//! Reads what the host and our own process are into [`Facts`]. Changes nothing.

use super::capabilities::Caps;
use super::plan::Facts;
use super::rlimits::Rlimit;
use crate::error::Result;
use crate::sys::{credentials, fs, rlimit};
use std::path::Path;

pub fn probe() -> Result<Facts> {
    let status = fs::read_text(Path::new("/proc/self/status"))?;
    let limits = rlimit::all()?;
    Ok(Facts {
        permitted: Caps(mask(&status, "CapPrm:")),
        bounding: Caps(mask(&status, "CapBnd:")),
        rlimits: limits.into_iter().map(|(resource, soft, hard)| Rlimit { resource, soft, hard }).collect(),
        nr_open: text("/proc/sys/fs/nr_open").parse().unwrap_or(u64::MAX),
        oom_score_adj: text("/proc/self/oom_score_adj").parse().unwrap_or(0),
        nice: credentials::nice(),
        kernel: release(&text("/proc/sys/kernel/osrelease")),
        apparmor: text("/sys/module/apparmor/parameters/enabled") == "Y",
        apparmor_profiles: profiles(&text("/sys/kernel/security/apparmor/profiles")),
        selinux: fs::exists(Path::new("/sys/fs/selinux/enforce")),
        setgroups_denied: text("/proc/self/setgroups") == "deny",
        thermal_throttle: thermal_throttle(),
    })
}

/// A file that is missing or cannot be read says nothing.
fn text(path: &str) -> String {
    fs::read_text(Path::new(path)).unwrap_or_default().trim().to_owned()
}

/// The hexadecimal mask behind a key of /proc/self/status.
fn mask(status: &str, key: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(key));
    value.and_then(|value| u64::from_str_radix(value.trim(), 16).ok()).unwrap_or(0)
}

/// `6.1.0-13-amd64` is 6.1.
fn release(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// `name (enforce)` on each line.
fn profiles(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.rsplit_once(" (")).map(|(name, _)| name.to_owned()).collect()
}

fn thermal_throttle() -> Vec<String> {
    let dir = Path::new("/sys/devices/system/cpu");
    let is_cpu = |name: &&String| name.strip_prefix("cpu").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let names = fs::list(dir).unwrap_or_default();
    let paths = names.iter().filter(is_cpu).map(|name| format!("{}/{name}/thermal_throttle", dir.display()));
    paths.filter(|path| fs::exists(Path::new(path))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsers_read_what_the_kernel_writes() {
        assert_eq!(release("6.1.0-13-amd64"), (6, 1));
        assert_eq!(release("5.10-rc1"), (5, 10));
        assert_eq!(mask("Name:\tx\nCapPrm:\t000001ffffffffff\n", "CapPrm:"), 0x1ff_ffff_ffff);
        assert_eq!(profiles("a (enforce)\nb c (complain)\n"), ["a", "b c"]);
    }

    #[test]
    fn this_process_has_limits() {
        let facts = probe().unwrap();
        assert!(facts.rlimits.len() >= 15 && facts.kernel >= (5, 10));
    }
}
