//! Limits: checked as docker checks them, and put into OCI's words. Pure; the cgroup domain turns them into files.

use super::blkio::{self, What};
use super::device::{self, DeviceNode};
use super::request::{Resources, RunRequest};
use super::{SpecFacts, defaults};
use crate::error::{Error, Result};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxPids, LinuxResources,
};

/// Below this not even a shell starts (moby, daemon_unix.go, linuxMinMemory).
const MIN_MEMORY: i64 = 6 << 20;

/// The limits of a container, and the devices that it gets.
pub fn build(request: &RunRequest, facts: &SpecFacts) -> Result<(LinuxResources, Vec<LinuxDevice>)> {
    let wanted = &request.resources;
    let (devices, rules) = devices(request, facts)?;
    let mut resources = LinuxResources::default();
    resources
        .set_memory(memory(wanted)?)
        .set_cpu(cpu(wanted, facts)?)
        .set_pids(pids(wanted)?)
        .set_block_io(block_io(wanted, facts)?)
        .set_devices(Some(rules));
    Ok((resources, devices))
}

fn bad(message: String, hint: &str) -> Error {
    Error::user(message).hint(hint)
}

fn memory(wanted: &Resources) -> Result<Option<LinuxMemory>> {
    let limit = wanted.memory.filter(|limit| *limit != 0);
    let reservation = wanted.memory_reservation.filter(|bytes| *bytes != 0);
    let swap = wanted.memory_swap.filter(|bytes| *bytes != 0);
    if let Some(small) = limit.filter(|limit| *limit < MIN_MEMORY) {
        return Err(bad(format!("memory limit {small} is too small"), "give at least 6m"));
    }
    let swap = match (limit, swap) {
        (None, Some(swap)) if swap > 0 => {
            return Err(bad("--memory-swap without --memory".into(), "it is memory and swap together: give -m, too"));
        }
        (Some(limit), Some(swap)) if swap > 0 && swap < limit => {
            return Err(bad(
                format!("--memory-swap {swap} is below --memory {limit}"),
                "it is memory and swap together; equal means no swap",
            ));
        }
        // docker's default: as much swap again
        (Some(limit), None) => Some(limit.saturating_mul(2)),
        (_, swap) => swap,
    };
    if let (Some(limit), Some(soft)) = (limit, reservation)
        && soft > limit
    {
        return Err(bad(format!("--memory-reservation {soft} is above --memory {limit}"), "it is the softer limit"));
    }
    let swappiness = match wanted.memory_swappiness {
        None | Some(-1) => None,
        Some(percent @ 0..=100) => Some(percent.unsigned_abs()),
        Some(percent) => {
            return Err(bad(format!("--memory-swappiness {percent} is out of range"), "between 0 and 100, or -1"));
        }
    };
    if limit.is_none() && reservation.is_none() && swap.is_none() && swappiness.is_none() {
        return Ok(None);
    }
    let mut memory = LinuxMemory::default();
    memory.set_limit(limit).set_reservation(reservation).set_swap(swap).set_swappiness(swappiness);
    Ok(Some(memory))
}

fn cpu(wanted: &Resources, facts: &SpecFacts) -> Result<Option<LinuxCpu>> {
    let (quota, period) = quota(wanted, facts)?;
    let shares = wanted.cpu_shares.filter(|shares| *shares != 0);
    for (flag, list) in [("--cpuset-cpus", &wanted.cpuset_cpus), ("--cpuset-mems", &wanted.cpuset_mems)] {
        if let Some(list) = list.as_deref().filter(|list| !is_cpu_list(list)) {
            return Err(bad(format!("invalid {flag} {list:?}"), "it is a list such as 0-3 or 0,2"));
        }
    }
    let set = |list: &Option<String>| list.clone().filter(|list| !list.is_empty());
    let (cpus, mems) = (set(&wanted.cpuset_cpus), set(&wanted.cpuset_mems));
    if quota.is_none() && period.is_none() && shares.is_none() && cpus.is_none() && mems.is_none() {
        return Ok(None);
    }
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(shares).set_quota(quota).set_period(period).set_cpus(cpus).set_mems(mems);
    Ok(Some(cpu))
}

/// Microseconds of CPU per period, from --cpus or from the two flags themselves.
fn quota(wanted: &Resources, facts: &SpecFacts) -> Result<(Option<i64>, Option<u64>)> {
    /// docker's period for --cpus.
    const PERIOD: u64 = 100_000;
    /// kernel/sched/core.c: a period is at most one second, and period and quota at least one millisecond.
    const SHORTEST: u64 = 1_000;
    const LONGEST: u64 = 1_000_000;
    let quota = wanted.cpu_quota.filter(|quota| *quota != 0);
    let period = wanted.cpu_period.filter(|period| *period != 0);
    if let Some(nano) = wanted.nano_cpus.filter(|nano| *nano != 0) {
        if quota.is_some() || period.is_some() {
            return Err(bad(
                "--cpus and --cpu-quota or --cpu-period".into(),
                "--cpus is both of them: give one or the others",
            ));
        }
        let (most, least) = (i64::from(facts.cpus) * 1_000_000_000, 10_000_000);
        if nano < least || nano > most {
            return Err(bad(
                format!("--cpus {} is out of range", nano as f64 / 1e9),
                &format!("this host has {} CPUs; the least is 0.01", facts.cpus),
            ));
        }
        return Ok((Some(nano * PERIOD as i64 / 1_000_000_000), Some(PERIOD)));
    }
    if let Some(period) = period.filter(|period| !(SHORTEST..=LONGEST).contains(period)) {
        return Err(bad(format!("--cpu-period {period} is out of range"), "between 1000 and 1000000 microseconds"));
    }
    if let Some(quota) = quota.filter(|quota| *quota != -1 && *quota < SHORTEST as i64) {
        return Err(bad(format!("--cpu-quota {quota} is too small"), "at least 1000 microseconds, or -1 for none"));
    }
    Ok((quota, period))
}

/// cpuset(7), list format: numbers and ranges with commas between. Which of them exist, the kernel says.
fn is_cpu_list(list: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n < 8192 && !text.starts_with('+'));
    let item = |item: &str| match item.split_once('-') {
        Some((from, to)) => number(from).zip(number(to)).is_some_and(|(from, to)| from <= to),
        None => number(item).is_some(),
    };
    list.is_empty() || list.split(',').all(item)
}

/// PID_MAX_LIMIT in include/linux/threads.h: so many processes there can be.
const MOST_PIDS: i64 = 4 << 20;

/// 0 and -1 are unlimited, which is -1 in OCI's words.
fn pids(wanted: &Resources) -> Result<Option<LinuxPids>> {
    let limit = match wanted.pids_limit.unwrap_or(defaults::PIDS_LIMIT) {
        0 | -1 => -1,
        limit @ 1..=MOST_PIDS => limit,
        limit => {
            let hint = format!("1 to {MOST_PIDS}, or -1 for no limit");
            return Err(bad(format!("invalid --pids-limit {limit}"), &hint));
        }
    };
    let mut pids = LinuxPids::default();
    pids.set_limit(limit);
    Ok(Some(pids))
}

fn block_io(wanted: &Resources, facts: &SpecFacts) -> Result<Option<LinuxBlockIo>> {
    let weight = wanted.blkio_weight.filter(|weight| *weight != 0);
    if let Some(weight) = weight.filter(|weight| !(10..=1000).contains(weight)) {
        return Err(bad(format!("--blkio-weight {weight} is out of range"), "between 10 and 1000"));
    }
    let throttles = |what| blkio::throttles(&wanted.device_limits, what, &facts.devices);
    let mut block_io = LinuxBlockIo::default();
    block_io
        .set_weight(weight)
        .set_weight_device(blkio::weights(&wanted.device_limits, &facts.devices)?)
        .set_throttle_read_bps_device(throttles(What::ReadBps)?)
        .set_throttle_write_bps_device(throttles(What::WriteBps)?)
        .set_throttle_read_iops_device(throttles(What::ReadIops)?)
        .set_throttle_write_iops_device(throttles(What::WriteIops)?);
    Ok((block_io != LinuxBlockIo::default()).then_some(block_io))
}

/// The nodes beyond the default ones, and the whole list of rules. --privileged: every node of the host, and no bars.
fn devices(request: &RunRequest, facts: &SpecFacts) -> Result<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>)> {
    if request.privileged {
        let node = |node: &DeviceNode| device::oci_device(node, node.path.as_str());
        return Ok((facts.host_devices.iter().map(node).collect(), vec![rule(true, 'a', -1, -1, "rwm")]));
    }
    let mut rules = vec![rule(false, 'a', -1, -1, "rwm")];
    rules.extend(
        defaults::DEVICE_RULES.iter().map(|&(kind, major, minor, access)| rule(true, kind, major, minor, access)),
    );
    let mut nodes = Vec::new();
    for wanted in &request.devices {
        let found = facts.devices.get(wanted.host.as_str()).map(Vec::as_slice).unwrap_or_default();
        for (node, rule) in device::grant(wanted, found)? {
            nodes.push(node);
            rules.push(rule);
        }
    }
    rules.extend(
        request.device_rules.iter().map(|wanted| {
            rule(true, wanted.kind, wanted.major.unwrap_or(-1), wanted.minor.unwrap_or(-1), &wanted.access)
        }),
    );
    Ok((nodes, rules))
}

fn rule(allow: bool, kind: char, major: i64, minor: i64, access: &str) -> LinuxDeviceCgroup {
    let kind = match kind {
        'b' => LinuxDeviceType::B,
        'c' => LinuxDeviceType::C,
        _ => LinuxDeviceType::A,
    };
    let number = |n: i64| (n >= 0).then_some(n);
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(Some(kind))
        .set_major(number(major))
        .set_minor(number(minor))
        .set_access(Some(access.to_owned()));
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::request::Source;
    use crate::spec::tests::facts;

    fn short(change: impl FnOnce(&mut Resources)) -> Result<String> {
        let mut request = RunRequest::new(Source::Image("x".into()));
        change(&mut request.resources);
        let (resources, _) = build(&request, &facts())?;
        let mut words = Vec::new();
        if let Some(m) = resources.memory() {
            words.push(format!("memory {:?} {:?} {:?}", m.limit(), m.swap(), m.reservation()));
        }
        if let Some(c) = resources.cpu() {
            words.push(format!("cpu {:?}/{:?} shares {:?} set {:?}", c.quota(), c.period(), c.shares(), c.cpus()));
        }
        words.push(format!("pids {}", resources.pids().unwrap().limit()));
        Ok(words.join(", ").replace("Some(", "").replace(')', "").replace("None", "-"))
    }

    #[test]
    fn limits_are_dockers() {
        let set = |f: fn(&mut Resources)| short(f).unwrap();
        assert_eq!(set(|_| ()), "pids 2048");
        assert_eq!(set(|r| r.memory = Some(64 << 20)), "memory 67108864 134217728 -, pids 2048");
        assert_eq!(set(|r| (r.memory, r.memory_swap) = (Some(64 << 20), Some(-1))), "memory 67108864 -1 -, pids 2048");
        assert_eq!(
            set(|r| (r.memory, r.memory_reservation) = (Some(64 << 20), Some(8 << 20))),
            "memory 67108864 134217728 8388608, pids 2048"
        );
        assert_eq!(set(|r| r.nano_cpus = Some(500_000_000)), "cpu 50000/100000 shares - set -, pids 2048");
        assert_eq!(
            set(|r| (r.cpu_quota, r.cpu_period) = (Some(20_000), Some(50_000))),
            "cpu 20000/50000 shares - set -, pids 2048"
        );
        assert_eq!(
            set(|r| (r.cpu_shares, r.cpuset_cpus, r.pids_limit) = (Some(512), Some("0-1".into()), Some(20))),
            "cpu -/- shares 512 set \"0-1\", pids 20"
        );
        assert_eq!(set(|r| r.pids_limit = Some(0)), "pids -1");
    }

    #[test]
    fn impossible_limits_are_refused() {
        let refused: [fn(&mut Resources); 13] = [
            |r| r.memory = Some(1 << 20),
            |r| r.memory_swap = Some(64 << 20),
            |r| (r.memory, r.memory_swap) = (Some(64 << 20), Some(32 << 20)),
            |r| (r.memory, r.memory_reservation) = (Some(64 << 20), Some(65 << 20)),
            |r| r.nano_cpus = Some(3_000_000_000),
            |r| r.nano_cpus = Some(1),
            |r| (r.nano_cpus, r.cpu_quota) = (Some(500_000_000), Some(1000)),
            |r| r.cpu_period = Some(999),
            |r| r.cpu_quota = Some(10),
            |r| r.cpuset_cpus = Some("3-1".into()),
            |r| r.pids_limit = Some(-5),
            |r| r.blkio_weight = Some(5),
            |r| r.memory_swappiness = Some(101),
        ];
        for (index, change) in refused.into_iter().enumerate() {
            let error = short(change).expect_err(&index.to_string());
            assert!(error.hint.is_some(), "{error}");
        }
    }

    #[test]
    fn everything_but_the_table_is_denied_unless_privileged() {
        let mut request = RunRequest::new(Source::Image("x".into()));
        let rules = |request: &RunRequest| {
            let (resources, _) = build(request, &facts()).unwrap();
            resources.devices().as_ref().unwrap().iter().map(|r| format!("{} {r}", r.allow())).collect::<Vec<_>>()
        };
        assert_eq!(rules(&request)[..2], ["false a *:* rwm", "true c *:* m"]);
        assert!(!rules(&request).iter().any(|rule| rule.contains("10:200")));
        request.privileged = true;
        assert_eq!(rules(&request), ["true a *:* rwm"]);
    }
}
