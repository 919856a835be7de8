//! Many containers at once, half of them killed while they come to be, command and monitor: nobody has the address or the
//! port of another, and what the dead have left goes with `repair`.

use crate::killed::{host, soaks};
use crate::support::command::{Running, eventually, output, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// How many at once.
const CROWD: usize = 50;

/// How often they come.
fn times() -> usize {
    if soaks() { 6 } else { 1 }
}

/// How far a victim gets.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    Monitor,
    Init,
    Program,
}

const MOMENTS: [Moment; 3] = [Moment::Monitor, Moment::Init, Moment::Program];
const PROGRAM: [&str; 2] = ["sleep", "1000"];

/// One that was started, and how far it has got. Pids are the machine's.
struct Member {
    /// Killed when it goes.
    running: Running,
    command: u32,
    victim: Option<Moment>,
}

impl Member {
    /// The monitor, init, and init once it is the container's program: as many of them as there are.
    fn reached(&self) -> Vec<u32> {
        // the last: where two have thought of one name, one of them begins again
        let monitor = children(self.command).into_iter().rfind(|pid| named(*pid, "comm") == "minirun-monitor\n");
        let init = monitor.and_then(|monitor| children(monitor).first().copied());
        let program = init.filter(|pid| named(*pid, "cmdline").split_terminator('\0').eq(PROGRAM));
        [monitor, init, program].into_iter().flatten().collect()
    }

    /// Kills it where its moment has come; whether that was so.
    fn killed(&self) -> bool {
        let reached = self.reached();
        let come = self.victim.is_some_and(|moment| reached.len() > moment as usize);
        if come {
            kill_both(reached[0], self.command);
        }
        come
    }
}

/// The command may see the monitor's death and end by itself before the second signal comes.
fn kill_both(monitor: u32, command: u32) {
    let (monitor, command) = (monitor.to_string(), command.to_string());
    let said = output(Command::new("kill").args(["-9", &monitor, &command]));
    assert!(said.stderr.split(|c: char| !c.is_ascii_digit()).all(|word| word != monitor), "{said}");
}

/// A file of a process that may have ended.
fn named(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

fn children(pid: u32) -> Vec<u32> {
    named(pid, &format!("task/{pid}/children")).split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[test]
fn of_a_crowd_of_which_half_is_killed_nobody_has_what_another_has() {
    requires![root, tool("nft")];
    let (sandbox, before) = host();
    for time in 0..times() {
        let survivors = start_and_kill(&sandbox, time);
        assert_nothing_is_double(&sandbox);
        for port in ports_of_the_dead(&sandbox) {
            let publish = format!("{port}:80");
            sandbox.minirun(&["run", "--rm", "-p", &publish, "busybox", "true"]).expect_code(0);
        }
        sandbox.minirun(&["repair"]).expect_code(0);
        assert_nothing_is_double(&sandbox);
        let living = living(&sandbox);
        assert!(living.len() >= survivors.len(), "{living:?}");
        assert_eq!(lent(&sandbox), living, "what is lent is that of the living");
        assert_eq!(published(&sandbox), living, "what is published is that of the living");
        let ids = sandbox.minirun(&["ps", "-aq", "--no-trunc"]).text();
        sandbox.minirun(&[&["rm", "-f"], &ids.lines().collect::<Vec<_>>()[..]].concat()).expect_code(0);
        assert_eq!((lent(&sandbox), published(&sandbox)), (BTreeSet::new(), BTreeSet::new()));
        // what is in the record is seen above; it says besides which address comes next
        before.assert_only(&sandbox, |line| line.contains("/networks/bridge.json "));
    }
}

/// Starts many at once and kills every second one at its moment; those that are left, all up.
fn start_and_kill(sandbox: &Sandbox, time: usize) -> Vec<Member> {
    let args = [&["run", "--rm", "-p", "80", "busybox"], &PROGRAM[..]].concat();
    let mut running: Vec<Running> = (0..CROWD).map(|_| sandbox.start(&args)).collect();
    let moment = |n: usize| (n % 2 == 1).then(|| MOMENTS[(n / 2 + time) % MOMENTS.len()]);
    let member = |(n, running)| Member { command: sandbox.inner_pid(&running), running, victim: moment(n) };
    let all = running.drain(..).enumerate().map(member);
    let (mut victims, survivors): (Vec<_>, Vec<_>) = all.partition(|member| member.victim.is_some());
    let mut killed = Vec::new();
    eventually("each victim's moment comes", seconds(60), || {
        killed.extend(victims.extract_if(.., |member| member.killed()));
        for member in &mut victims {
            assert!(!member.running.has_ended(), "it has ended before: {}", member.running.stderr());
        }
        victims.is_empty()
    });
    let is_up = |member: &Member| member.reached().len() > Moment::Program as usize;
    eventually("the others are up", seconds(60), || survivors.iter().all(is_up));
    survivors
}

/// What is lent by the record, what the firewall publishes and what the containers really have, each by itself.
fn assert_nothing_is_double(sandbox: &Sandbox) {
    let record = record(sandbox);
    let all = |pointer: &str| -> Vec<String> {
        let loans = record["loans"].as_array().unwrap().iter();
        loans.flat_map(|loan| loan[pointer].as_array().unwrap()).map(Value::to_string).collect()
    };
    let ports = record["loans"].as_array().unwrap().iter().flat_map(|loan| loan["published"].as_array().unwrap());
    let ports: Vec<String> = ports.map(|port| port["port"].to_string()).collect();
    let inside: Vec<String> = sandbox.in_pids(&PROGRAM.join(" ")).iter().map(|pid| address_inside(pid)).collect();
    assert!(!inside.is_empty());
    for list in [all("addresses"), ports, inside, elements(sandbox).into_iter().map(|(_, to)| to).collect()] {
        let different: BTreeSet<&String> = list.iter().collect();
        assert_eq!(different.len(), list.len(), "{list:?}");
    }
}

/// The address of each container whose program runs.
fn living(sandbox: &Sandbox) -> BTreeSet<String> {
    sandbox.in_pids(&PROGRAM.join(" ")).iter().map(|pid| address_inside(pid)).collect()
}

fn address_inside(pid: &str) -> String {
    let said =
        output(Command::new("nsenter").args(["-t", pid, "-n", "ip", "-4", "-j", "address", "show", "dev", "eth0"]));
    let links: Value = serde_json::from_str(&said.text()).unwrap();
    links[0]["addr_info"][0]["local"].as_str().unwrap().to_owned()
}

fn record(sandbox: &Sandbox) -> Value {
    serde_json::from_slice(&std::fs::read(sandbox.path("state/networks/bridge.json")).unwrap()).unwrap()
}

/// The addresses of the record's loans.
fn lent(sandbox: &Sandbox) -> BTreeSet<String> {
    let record = record(sandbox);
    let addresses = record["loans"].as_array().unwrap().iter().map(|loan| loan["addresses"][0].as_str().unwrap());
    addresses.map(str::to_owned).collect()
}

/// Where published ports lead.
fn published(sandbox: &Sandbox) -> BTreeSet<String> {
    elements(sandbox).into_iter().map(|(_, to)| to).collect()
}

/// Ports of the firewall that lead to nobody who lives.
fn ports_of_the_dead(sandbox: &Sandbox) -> Vec<String> {
    let living = living(sandbox);
    elements(sandbox).into_iter().filter(|(_, to)| !living.contains(to)).map(|(port, _)| port).collect()
}

/// Port and address of each element that publishes, as nft lists them.
fn elements(sandbox: &Sandbox) -> Vec<(String, String)> {
    let listing: Value = serde_json::from_str(&sandbox.in_network("nft -j list ruleset").text()).unwrap();
    let maps = listing["nftables"].as_array().unwrap().iter().filter_map(|item| item.get("map"));
    let maps: BTreeMap<&str, &Value> = maps.map(|map| (map["name"].as_str().unwrap(), map)).collect();
    let elements = maps["pub4"].get("elem").and_then(Value::as_array).into_iter().flatten();
    let words = |element: &Value| {
        let port = &element[0]["elem"]["val"]["concat"][1];
        (port.to_string(), element[1]["concat"][0].as_str().unwrap().to_owned())
    };
    elements.map(words).collect()
}
