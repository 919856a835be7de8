//! The one table of writes: each limit of the OCI runtime specification (config-linux.md, resources) with the file
//! that holds it on cgroup v1 and on v2. Pure; which of the two files is written is `plan`'s decision.

use crate::error::{Error, Result};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources, LinuxThrottleDevice};

/// One file of a controller and what is written into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub controller: String,
    pub file: String,
    pub value: String,
}

/// One limit, with its writes in order; a side that is empty cannot express it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    pub what: String,
    pub v1: Vec<Entry>,
    pub v2: Vec<Entry>,
}

/// What of the host decides a file's name or value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// Block io weights are BFQ's (v1: blkio.bfq.weight, v2: io.bfq.weight).
    pub bfq: bool,
}

/// Every limit that is asked for, in the order in which the files must be written.
pub fn limits(resources: &LinuxResources, names: Names) -> Result<Vec<Limit>> {
    let mut limits = Vec::new();
    if let Some(memory) = resources.memory() {
        limits.extend(memory_limits(memory)?);
    }
    if let Some(cpu) = resources.cpu() {
        limits.extend(cpu_limits(cpu));
    }
    if let Some(pids) = resources.pids().as_ref().filter(|p| p.limit() != 0) {
        let max = max_or(pids.limit());
        limits.push(both("pids limit", ("pids", "pids.max", &max), ("pids", "pids.max", &max)));
    }
    if let Some(io) = resources.block_io() {
        limits.extend(io_limits(io, names));
    }
    for page in resources.hugepage_limits().iter().flatten() {
        limits.extend(hugetlb_limits(page.page_size(), page.limit())?);
    }
    if let Some(network) = resources.network() {
        limits.extend(network_limits(network)?);
    }
    for (device, rdma) in resources.rdma().iter().flatten() {
        let value = [("hca_handle", rdma.hca_handles()), ("hca_object", rdma.hca_objects())]
            .iter()
            .filter_map(|(key, value)| value.map(|v| format!(" {key}={v}")))
            .collect::<String>();
        let value = format!("{}{value}", one_word("rdma device", device)?);
        limits.push(both("rdma limit", ("rdma", "rdma.max", &value), ("rdma", "rdma.max", &value)));
    }
    limits.extend(unified_limits(resources)?);
    Ok(limits)
}

type Cell<'a> = (&'a str, &'a str, &'a str);

fn entry((controller, file, value): Cell<'_>) -> Entry {
    Entry { controller: controller.to_owned(), file: file.to_owned(), value: value.to_owned() }
}
fn both(what: &str, v1: Cell<'_>, v2: Cell<'_>) -> Limit {
    Limit { what: what.to_owned(), v1: vec![entry(v1)], v2: vec![entry(v2)] }
}
fn only_v1(what: &str, v1: Cell<'_>) -> Limit {
    Limit { what: what.to_owned(), v1: vec![entry(v1)], v2: Vec::new() }
}
fn only_v2(what: &str, v2: Cell<'_>) -> Limit {
    Limit { what: what.to_owned(), v1: Vec::new(), v2: vec![entry(v2)] }
}

/// Negative is without limit: "max", on v2 and in pids.max of v1.
fn max_or(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

/// A value that becomes a part of a file name or a line.
fn one_word<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    if text.is_empty() || text.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
        return Err(Error::user(format!("invalid {what} {text:?}")));
    }
    Ok(text)
}

fn memory_limits(memory: &LinuxMemory) -> Result<Vec<Limit>> {
    let set = |value: Option<i64>| value.filter(|v| *v != 0);
    let limit = set(memory.limit());
    // runc: memory without limit and nothing said of swap means swap without limit too, as on v1
    let swap = set(memory.swap()).or((limit == Some(-1)).then_some(-1));
    let mut limits = Vec::new();
    if let Some(bytes) = limit {
        let v1 = ("memory", "memory.limit_in_bytes", &*bytes.to_string());
        limits.push(both("memory limit", v1, ("memory", "memory.max", &max_or(bytes))));
    }
    if let Some(total) = swap {
        let only_swap = max_or(swap_without_memory(limit, total)?);
        let v1 = ("memory", "memory.memsw.limit_in_bytes", &*total.to_string());
        limits.push(both("swap limit", v1, ("memory", "memory.swap.max", &only_swap)));
    }
    if let Some(bytes) = set(memory.reservation()) {
        let v1 = ("memory", "memory.soft_limit_in_bytes", &*bytes.to_string());
        limits.push(both("memory reservation", v1, ("memory", "memory.low", &max_or(bytes))));
    }
    if let Some(bytes) = set(memory.kernel_tcp()) {
        let v1 = ("memory", "memory.kmem.tcp.limit_in_bytes", &*bytes.to_string());
        limits.push(only_v1("tcp buffer limit", v1));
    }
    if let Some(percent) = memory.swappiness() {
        if percent > 100 {
            return Err(Error::user(format!("invalid swappiness {percent}")).hint("0 to 100"));
        }
        limits.push(only_v1("swappiness", ("memory", "memory.swappiness", &percent.to_string())));
    }
    if memory.disable_oom_killer() == Some(true) {
        limits.push(only_v1("oom killer switched off", ("memory", "memory.oom_control", "1")));
    }
    Ok(limits)
}

/// v1 and the specification count memory and swap together, v2 counts swap alone.
fn swap_without_memory(limit: Option<i64>, total: i64) -> Result<i64> {
    match limit {
        _ if total < 0 => Ok(-1),
        None => Err(Error::user("a swap limit needs a memory limit").hint("give --memory too")),
        Some(-1) => Err(Error::user("a swap limit needs a memory limit").hint("give --memory too")),
        Some(limit) if total < limit => Err(Error::user(format!(
            "the limit of memory and swap together, {total}, is smaller than that of memory, {limit}"
        ))),
        Some(limit) => Ok(total - limit),
    }
}

fn cpu_limits(cpu: &LinuxCpu) -> Vec<Limit> {
    let mut limits = Vec::new();
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        let weight = weight_of_shares(shares).to_string();
        limits.push(both("cpu shares", ("cpu", "cpu.shares", &shares.to_string()), ("cpu", "cpu.weight", &weight)));
    }
    limits.extend(bandwidth(cpu));
    if let Some(burst) = cpu.burst().map(|burst| burst.to_string()) {
        limits.push(both("cpu burst", ("cpu", "cpu.cfs_burst_us", &burst), ("cpu", "cpu.max.burst", &burst)));
    }
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        limits.push(only_v1("realtime period", ("cpu", "cpu.rt_period_us", &period.to_string())));
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
        limits.push(only_v1("realtime runtime", ("cpu", "cpu.rt_runtime_us", &runtime.to_string())));
    }
    if let Some(idle) = cpu.idle().map(|idle| idle.to_string()) {
        limits.push(both("cpu idle", ("cpu", "cpu.idle", &idle), ("cpu", "cpu.idle", &idle)));
    }
    for (what, file, list) in [("cpuset cpus", "cpuset.cpus", cpu.cpus()), ("cpuset mems", "cpuset.mems", cpu.mems())] {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            limits.push(both(what, ("cpuset", file, list), ("cpuset", file, list)));
        }
    }
    limits
}

/// v1 has the period and the quota in two files, the period first; v2 has both in one.
fn bandwidth(cpu: &LinuxCpu) -> Option<Limit> {
    /// The kernel's own period in microseconds (kernel/sched/core.c, default_cfs_period).
    const PERIOD: u64 = 100_000;
    let period = cpu.period().filter(|period| *period != 0);
    let quota = cpu.quota().filter(|quota| *quota != 0);
    if quota.is_none() && period.is_none() {
        return None;
    }
    let max = format!("{} {}", max_or(quota.unwrap_or(-1)), period.unwrap_or(PERIOD));
    let period = period.map(|period| entry(("cpu", "cpu.cfs_period_us", &period.to_string())));
    let quota = quota.map(|quota| entry(("cpu", "cpu.cfs_quota_us", &quota.to_string())));
    let v1 = period.into_iter().chain(quota).collect();
    Some(Limit { what: "cpu quota".to_owned(), v1, v2: vec![entry(("cpu", "cpu.max", &max))] })
}

/// runc's conversion since 1.3.2 (opencontainers/cgroups): quadratic in the logarithm, so that the least, the
/// default and the greatest shares (2, 1024, 262144) become the least, the default and the greatest weight.
fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            // the default must be exactly 100, whatever the last bit of pow is
            let weight = 10f64.powf(exponent);
            (weight - 1e-9).ceil() as u64
        }
    }
}

/// blkio's 10 to 1000 onto io.weight's 1 to 10000 (runc, ConvertBlkIOToIOWeightValue).
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

fn io_limits(io: &LinuxBlockIo, names: Names) -> Vec<Limit> {
    let mut limits = Vec::new();
    let v1_weight = if names.bfq { "blkio.bfq.weight" } else { "blkio.weight" };
    let v2_weight = if names.bfq { "io.bfq.weight" } else { "io.weight" };
    let v2_value = |weight: u16| if names.bfq { u64::from(weight) } else { io_weight(weight) };
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        let v1 = ("blkio", v1_weight, &*weight.to_string());
        limits.push(both("block io weight", v1, ("io", v2_weight, &v2_value(weight).to_string())));
    }
    for device in io.weight_device().iter().flatten() {
        let Some(weight) = device.weight().filter(|weight| *weight != 0) else { continue };
        let line = |weight: u64| format!("{}:{} {weight}", device.major(), device.minor());
        let file = format!("{v1_weight}_device");
        let v1 = ("blkio", &*file, &*line(weight.into()));
        limits.push(both("block io weight of a device", v1, ("io", v2_weight, &line(v2_value(weight)))));
    }
    let throttles: [(&Option<Vec<LinuxThrottleDevice>>, &str, &str); 4] = [
        (io.throttle_read_bps_device(), "blkio.throttle.read_bps_device", "rbps"),
        (io.throttle_write_bps_device(), "blkio.throttle.write_bps_device", "wbps"),
        (io.throttle_read_iops_device(), "blkio.throttle.read_iops_device", "riops"),
        (io.throttle_write_iops_device(), "blkio.throttle.write_iops_device", "wiops"),
    ];
    for (devices, file, key) in throttles {
        for device in devices.iter().flatten() {
            let (major, minor, rate) = (device.major(), device.minor(), device.rate());
            let v1 = ("blkio", file, &*format!("{major}:{minor} {rate}"));
            // v1 lifts a limit by 0, v2 by max
            let v2_rate = if rate == 0 { "max".to_owned() } else { rate.to_string() };
            limits.push(both("block io limit", v1, ("io", "io.max", &format!("{major}:{minor} {key}={v2_rate}"))));
        }
    }
    limits
}

fn hugetlb_limits(size: &str, limit: i64) -> Result<Vec<Limit>> {
    let unit = size.trim_start_matches(|c: char| c.is_ascii_digit());
    if !["KB", "MB", "GB"].contains(&unit) || size.starts_with(['0', 'K', 'M', 'G']) {
        return Err(Error::user(format!("invalid huge page size {size:?}")).hint("for instance 2MB or 1GB"));
    }
    let row = |v1: &str, v2: &str| {
        let v1 = ("hugetlb", &*format!("hugetlb.{size}.{v1}"), &*limit.to_string());
        both("huge page limit", v1, ("hugetlb", &format!("hugetlb.{size}.{v2}"), &max_or(limit)))
    };
    Ok(vec![row("limit_in_bytes", "max"), row("rsvd.limit_in_bytes", "rsvd.max")])
}

fn network_limits(network: &LinuxNetwork) -> Result<Vec<Limit>> {
    let mut limits = Vec::new();
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        limits.push(only_v1("network class", ("net_cls", "net_cls.classid", &class.to_string())));
    }
    for priority in network.priorities().iter().flatten() {
        let line = format!("{} {}", one_word("interface name", priority.name())?, priority.priority());
        limits.push(only_v1("network priority", ("net_prio", "net_prio.ifpriomap", &line)));
    }
    Ok(limits)
}

/// Files of cgroup v2 by their own names; a value may have several lines, each is one write.
fn unified_limits(resources: &LinuxResources) -> Result<Vec<Limit>> {
    let mut unified: Vec<(&String, &String)> = resources.unified().iter().flatten().collect();
    unified.sort();
    let mut limits = Vec::new();
    for (file, value) in unified {
        let Some((controller, _)) = file.split_once('.').filter(|_| one_word("file", file).is_ok()) else {
            return Err(Error::user(format!("invalid cgroup file {file:?} in unified"))
                .hint("a file of cgroup v2 such as memory.high"));
        };
        for line in value.lines() {
            limits.push(only_v2(&format!("unified {file}"), (controller, file, line)));
        }
    }
    Ok(limits)
}

/// Why a file is written, by its name.
pub fn why(file: &str) -> &'static str {
    let name = file.rsplit('/').next().unwrap_or(file);
    WHY.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or("a limit that was asked for", |(_, why)| why)
}

/// The first prefix that fits.
const WHY: [(&str, &str); 24] = [
    ("memory.limit_in_bytes", "beyond this much memory the kernel kills inside the container, not outside"),
    ("memory.max", "beyond this much memory the kernel kills inside the container, not outside"),
    ("memory.memsw", "memory and swap together, or the limit would only move pages to the disk"),
    ("memory.swap.max", "swap alone, or the limit would only move pages to the disk"),
    ("memory.soft_limit", "this much it keeps when memory is short"),
    ("memory.low", "this much it keeps when memory is short"),
    ("memory.oom_control", "at the limit its processes wait instead of being killed"),
    ("memory.swappiness", "how willingly its pages are swapped"),
    ("cpu.shares", "its share when the processors are busy"),
    ("cpu.weight", "its share when the processors are busy"),
    ("cpu.cfs_period_us", "the time over which the quota is counted"),
    ("cpu.cfs_quota_us", "so many microseconds of processor in each period"),
    ("cpu.max", "so many microseconds of processor in each period"),
    ("cpuset.cpus", "a v1 cpuset is born empty and cannot be joined; on both it says which processors"),
    ("cpuset.mems", "a v1 cpuset is born empty and cannot be joined; on both it says which memory nodes"),
    ("pids.max", "a fork loop ends inside with EAGAIN"),
    ("blkio.throttle", "the device's bandwidth for it"),
    ("io.max", "the device's bandwidth for it"),
    ("blkio", "its share when the disk is busy"),
    ("io.", "its share when the disk is busy"),
    ("hugetlb", "so many huge pages and no more"),
    ("devices.deny", "no device but those allowed next"),
    ("devices.allow", "this device is harmless, or was asked for"),
    ("cgroup.freeze", "stops or continues all of its processes"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(json: &str, v2: bool) -> Vec<(String, String)> {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        let limits = limits(&resources, Names { bfq: false }).unwrap();
        limits.into_iter().flat_map(|l| if v2 { l.v2 } else { l.v1 }).map(|e| (e.file, e.value)).collect()
    }

    /// Resources as JSON, and the files with their values on v1 and on v2.
    type Row = (&'static str, &'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)]);

    #[test]
    fn each_limit_has_its_file_on_v1_and_on_v2() {
        let table: [Row; 13] = [
            (
                r#"{"memory":{"limit":100,"swap":150,"reservation":50}}"#,
                &[
                    ("memory.limit_in_bytes", "100"),
                    ("memory.memsw.limit_in_bytes", "150"),
                    ("memory.soft_limit_in_bytes", "50"),
                ],
                &[("memory.max", "100"), ("memory.swap.max", "50"), ("memory.low", "50")],
            ),
            (
                r#"{"memory":{"limit":-1}}"#,
                &[("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1")],
                &[("memory.max", "max"), ("memory.swap.max", "max")],
            ),
            (
                r#"{"memory":{"limit":100,"swap":-1}}"#,
                &[("memory.limit_in_bytes", "100"), ("memory.memsw.limit_in_bytes", "-1")],
                &[("memory.max", "100"), ("memory.swap.max", "max")],
            ),
            (
                r#"{"memory":{"limit":0,"swap":0,"swappiness":10,"disableOOMKiller":true}}"#,
                &[("memory.swappiness", "10"), ("memory.oom_control", "1")],
                &[],
            ),
            (
                r#"{"cpu":{"shares":1024,"quota":50000}}"#,
                &[("cpu.shares", "1024"), ("cpu.cfs_quota_us", "50000")],
                &[("cpu.weight", "100"), ("cpu.max", "50000 100000")],
            ),
            (
                r#"{"cpu":{"quota":-1,"period":20000,"burst":5}}"#,
                &[("cpu.cfs_period_us", "20000"), ("cpu.cfs_quota_us", "-1"), ("cpu.cfs_burst_us", "5")],
                &[("cpu.max", "max 20000"), ("cpu.max.burst", "5")],
            ),
            (
                r#"{"cpu":{"cpus":"0-1","mems":"0"}}"#,
                &[("cpuset.cpus", "0-1"), ("cpuset.mems", "0")],
                &[("cpuset.cpus", "0-1"), ("cpuset.mems", "0")],
            ),
            (r#"{"pids":{"limit":20}}"#, &[("pids.max", "20")], &[("pids.max", "20")]),
            (r#"{"pids":{"limit":-1}}"#, &[("pids.max", "max")], &[("pids.max", "max")]),
            (r#"{"pids":{"limit":0}}"#, &[], &[]),
            (
                r#"{"blockIO":{"weight":1000,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":9}]}}"#,
                &[("blkio.weight", "1000"), ("blkio.throttle.read_bps_device", "8:0 9")],
                &[("io.weight", "10000"), ("io.max", "8:0 rbps=9")],
            ),
            (
                r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4}]}"#,
                &[("hugetlb.2MB.limit_in_bytes", "4"), ("hugetlb.2MB.rsvd.limit_in_bytes", "4")],
                &[("hugetlb.2MB.max", "4"), ("hugetlb.2MB.rsvd.max", "4")],
            ),
            (
                r#"{"unified":{"memory.high":"1","io.max":"8:0 rbps=1\n8:1 rbps=2"}}"#,
                &[],
                &[("io.max", "8:0 rbps=1"), ("io.max", "8:1 rbps=2"), ("memory.high", "1")],
            ),
        ];
        for (json, v1, v2) in table {
            let own = |rows: &[(&str, &str)]| rows.iter().map(|(f, v)| ((*f).into(), (*v).into())).collect::<Vec<_>>();
            assert_eq!(rows(json, false), own(v1), "v1 {json}");
            assert_eq!(rows(json, true), own(v2), "v2 {json}");
        }
    }

    #[test]
    fn shares_become_weights_as_in_runc() {
        for (shares, weight) in
            [(0, 1), (2, 1), (3, 2), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000), (u64::MAX, 10_000)]
        {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        for (blkio, io) in [(10, 1), (500, 4950), (1000, 10_000)] {
            assert_eq!(io_weight(blkio), io);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for json in [
            r#"{"memory":{"swap":100}}"#,
            r#"{"memory":{"limit":100,"swap":50}}"#,
            r#"{"memory":{"swappiness":101}}"#,
            r#"{"hugepageLimits":[{"pageSize":"../x","limit":4}]}"#,
            r#"{"hugepageLimits":[{"pageSize":"MB","limit":4}]}"#,
            r#"{"unified":{"../memory.max":"1"}}"#,
            r#"{"unified":{"x":"1"}}"#,
        ] {
            let resources: LinuxResources = serde_json::from_str(json).unwrap();
            assert!(limits(&resources, Names { bfq: false }).is_err(), "{json}");
        }
    }
}
