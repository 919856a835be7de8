//! `stats`, `top`: what containers use, and what runs in them.

use super::cgroups;
use super::container::{self, Container};
use crate::cgroup::apply;
use crate::cgroup::usage::{self, Usage};
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::state::{Roots, Status};
use crate::sys::{fs, host};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a container uses.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub id: ContainerId,
    pub name: String,
    /// Of one processor, in per cent; `None` at the first look.
    pub cpu: Option<f64>,
    pub usage: Usage,
    /// The host's memory where the container has no limit of its own, in bytes.
    pub memory_limit: u64,
    /// Bytes received and sent, over all interfaces but lo.
    pub network: (u64, u64),
}

/// Looks at the same containers again and again.
#[derive(Debug, Default)]
pub struct Sampler {
    before: BTreeMap<ContainerId, (Instant, u64)>,
}

impl Sampler {
    /// The containers that run, or with `ended` all, or those that are named; one that does not run uses nothing.
    pub fn look(&mut self, roots: &Roots, words: &[String], ended: bool) -> Result<Vec<Sample>> {
        let all = match words {
            [] => container::all(roots)?.into_iter().filter(|one| ended || one.status == Status::Running).collect(),
            words => words.iter().map(|word| container::find(roots, word)).collect::<Result<Vec<_>>>()?,
        };
        let memory = host_memory();
        Ok(all.iter().map(|one| self.sample(one, memory)).collect())
    }

    fn sample(&mut self, of: &Container, memory: u64) -> Sample {
        let usage = cgroups::place(of).map(|place| usage::read(&place)).unwrap_or_default();
        let now = Instant::now();
        let before = self.before.insert(of.id.clone(), (now, usage.cpu));
        let share = |(then, cpu): (Instant, u64)| {
            let wall = now.duration_since(then).as_nanos().max(1) as f64;
            usage.cpu.saturating_sub(cpu) as f64 / wall * 100.0
        };
        let init = of.life.as_ref().and_then(|life| life.init.as_ref()).filter(|_| of.status == Status::Running);
        let dev = init.and_then(|init| fs::read_text(Path::new(&format!("/proc/{}/net/dev", init.pid))).ok());
        Sample {
            id: of.id.clone(),
            name: of.config.as_ref().map_or_else(String::new, |config| config.name.to_string()),
            cpu: before.map(share),
            usage,
            memory_limit: usage.memory_limit.map_or(memory, |limit| limit.min(memory)),
            network: traffic(&dev.unwrap_or_default()),
        }
    }
}

fn host_memory() -> u64 {
    let text = fs::read_text(Path::new("/proc/meminfo")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

/// Received and sent bytes of /proc/PID/net/dev (proc(5)).
fn traffic(dev: &str) -> (u64, u64) {
    let of_line = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let counters: Vec<u64> = counters.split_whitespace().map_while(|word| word.parse().ok()).collect();
        (name.trim() != "lo").then(|| Some((*counters.first()?, *counters.get(8)?))).flatten()
    };
    dev.lines().filter_map(of_line).fold((0, 0), |(received, sent), one| (received + one.0, sent + one.1))
}

/// A process of a container, as the host sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessRow {
    pub uid: u32,
    pub pid: i32,
    pub parent: i32,
    /// Since its start.
    pub age: Duration,
    /// Of processor.
    pub time: Duration,
    pub terminal: String,
    pub command: String,
}

/// The processes of a container that runs, by their pids on the host.
pub fn top(roots: &Roots, word: &str) -> Result<Vec<ProcessRow>> {
    let mut pids = pids(roots, word)?;
    pids.sort_unstable();
    let uptime = fs::read_text(Path::new("/proc/uptime"))?;
    let uptime = uptime.split(' ').next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    // one that has just ended is not there any more
    Ok(pids.into_iter().filter_map(|pid| process(pid, uptime)).collect())
}

/// The pids of a container's processes, for the host's `ps`.
pub fn pids(roots: &Roots, word: &str) -> Result<Vec<i32>> {
    let (found, _) = container::running(roots, word)?;
    Ok(apply::pids(&cgroups::place(&found)?))
}

/// What the host's own `ps` says with these options of a container's processes, its header first.
pub fn host_ps(roots: &Roots, word: &str, options: &[String]) -> Result<String> {
    let pids = pids(roots, word)?;
    let said = host::ps(options)
        .map_err(|e| Error::from(e).during("running the host's ps").hint("leave out the options, or install procps"))?;
    let text = said.map_err(|said| {
        let why = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed").to_owned();
        Error::user(format!("the host's ps: {why}")).hint("minirun top NAME -eo pid,comm")
    })?;
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID").ok_or_else(|| {
        Error::user("ps with these options shows no PID").hint("add it: minirun top NAME -o pid,comm")
    })?;
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse::<i32>().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(header).chain(lines.filter(ours)).map(|line| format!("{line}\n")).collect())
}

fn process(pid: i32, uptime: f64) -> Option<ProcessRow> {
    let text = |file: &str| fs::read_text(Path::new(&format!("/proc/{pid}/{file}"))).ok();
    let (stat, status) = (text("stat")?, text("status")?);
    let (head, rest) = stat.rsplit_once(')')?;
    // from field 3, the state, on (proc_pid_stat(5))
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at - 3)?.parse::<i64>().ok();
    let ticks = host::ticks_per_second();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok())?;
    let command = text("cmdline").filter(|words| !words.is_empty()).map_or_else(
        || format!("[{}]", head.split_once('(').map_or("", |(_, name)| name)),
        |words| words.trim_end_matches('\0').replace('\0', " "),
    );
    Some(ProcessRow {
        uid,
        pid,
        parent: i32::try_from(number(4)?).ok()?,
        age: Duration::from_secs_f64((uptime - number(22)? as f64 / ticks).max(0.0)),
        time: Duration::from_secs_f64((number(14)? + number(15)?) as f64 / ticks),
        terminal: terminal(number(7)?),
        command,
    })
}

/// The controlling terminal in ps's words; a pty is `pts/N` (Documentation/admin-guide/devices.txt).
fn terminal(device: i64) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match (device, major) {
        (0, _) => "?".to_owned(),
        (_, 136..=143) => format!("pts/{}", (major - 136) * 256 + minor),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_summed_without_lo() {
        let dev = "Inter-|   Receive\n face |bytes\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  eth0: 100 2 0 0 0 0 0 0 50 1 0 0 0 0 0 0\n\
                   eth1:7 1 0 0 0 0 0 0 3 1 0 0 0 0 0 0\n";
        assert_eq!(traffic(dev), (107, 53));
        assert_eq!(traffic(""), (0, 0));
    }

    #[test]
    fn terminals_have_pss_names() {
        assert_eq!([0, 34816, 34817, 1025].map(terminal), ["?", "pts/0", "pts/1", "4:1"]);
    }

    #[test]
    fn we_are_a_process() {
        let row = process(std::process::id() as i32, 1e9).unwrap();
        assert!(row.command.contains("minirun") && row.parent > 0);
    }
}
