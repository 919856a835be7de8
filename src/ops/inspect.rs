//! `inspect`, `port`: all that is known of a container, under docker's names; and beside them, under `Host`, where the
//! host has it: process, veth, cgroups, namespaces.

use super::container::{self, Container, inner_port};
use super::{cgroups, image, network};
use crate::cgroup;
use crate::error::{Error, Result};
use crate::id::Digest;
use crate::image::Store;
use crate::monitor::{log, notes};
use crate::net::network::{Loan, Network};
use crate::net::plan::DEFAULT_NETWORK;
use crate::net::probe;
use crate::net::step::Undo as NetUndo;
use crate::plan::step::Undo;
use crate::spec::restart::Restart;
use crate::state::health::{self, Check, Health};
use crate::state::{Config, Roots, Status};
use crate::sys::fs;
use oci_spec::runtime::Mount;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::path::Path;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Container,
    Image,
    /// A container, or else an image.
    Any,
}

pub fn inspect(roots: &Roots, word: &str, kind: Kind) -> Result<Value> {
    match kind {
        Kind::Image => image::inspect(roots, word),
        Kind::Container => container::find(roots, word).map(|found| whole(roots, &found)),
        Kind::Any => match container::find(roots, word) {
            Ok(found) => Ok(whole(roots, &found)),
            Err(no_container) => image::inspect(roots, word).map_err(|_| no_container),
        },
    }
}

fn whole(roots: &Roots, found: &Container) -> Value {
    let config = found.config.as_ref();
    let args = config.map(|config| config.args.as_slice()).unwrap_or_default();
    let request = &config.map_or(Value::Null, |config| config.request.value());
    let spec = config.map_or(Value::Null, |config| config.spec.value());
    let process = &spec["process"];
    let loans = network::loans(roots, &found.id);
    json!({
        "Id": found.id,
        "Created": config.map(|config| &config.created),
        "Path": args.first(),
        "Args": args.get(1..),
        "State": state(roots, found),
        "Image": config.and_then(|config| config.image_id.as_ref()).map(|image| image_id(roots, image)),
        "RestartCount": restart_count(found),
        "Name": config.map(|config| format!("/{}", config.name)),
        "LogPath": roots.container(&found.id).child(log::NAME),
        "HostConfig": {
            "AutoRemove": config.is_some_and(|config| config.remove),
            "NetworkMode": request["network"]["mode"].as_str().unwrap_or("bridge"),
            "RestartPolicy": restart_policy(request),
            "UsernsMode": if spec["linux"]["uidMappings"].is_array() { "auto" } else { "" },
            "Privileged": request["privileged"],
            "ReadonlyRootfs": request["read_only"],
            "Memory": request["resources"]["memory"].as_i64().unwrap_or(0),
            "NanoCpus": request["resources"]["nano_cpus"].as_i64().unwrap_or(0),
            "PidsLimit": request["resources"]["pids_limit"],
            "PortBindings": ports(&loans),
            "LogConfig": config.map(log_config),
        },
        "Config": {
            "Hostname": spec["hostname"],
            "Image": config.map(|config| &config.image),
            "Cmd": args,
            "Env": process["env"],
            "WorkingDir": process["cwd"],
            "User": request["user"].as_str().unwrap_or_default(),
            "Tty": config.is_some_and(|config| config.tty),
            "OpenStdin": config.is_some_and(|config| config.interactive),
            "StopSignal": config.map(|config| config.stop_signal),
            "Healthcheck": config.and_then(|config| config.health.as_ref()).map(health_check),
            "StopTimeout": config.and_then(|config| config.stop_timeout),
            "Labels": labels(&request["labels"]),
        },
        "Mounts": mounts(config),
        "NetworkSettings": network_settings(&loans),
        "Host": host(found),
        "Spec": spec,
    })
}

fn log_config(config: &Config) -> Value {
    match config.log {
        // docker's are words, as they were given
        Some(log) => json!({
            "Type": "json-file",
            "Config": { "max-size": log.size.to_string(), "max-file": log.files.to_string() },
        }),
        None => json!({ "Type": "none", "Config": {} }),
    }
}

fn restart_count(found: &Container) -> u32 {
    let of_life = found.life.as_ref().map(|life| life.restarts.count);
    let of_end = || found.ended.as_ref().map(|ended| ended.restarts.count);
    of_life.or_else(of_end).unwrap_or(0)
}

fn restart_policy(request: &Value) -> Value {
    let policy: Restart = serde_json::from_value(request["restart"].clone()).unwrap_or_default();
    let most = match policy {
        Restart::OnFailure(most) => most.unwrap_or(0),
        _ => 0,
    };
    json!({ "Name": policy.name(), "MaximumRetryCount": most })
}

fn state(roots: &Roots, found: &Container) -> Value {
    let running = found.status == Status::Running;
    let paused = running && cgroups::is_frozen(found);
    let init = found.life.as_ref().and_then(|life| life.init.as_ref()).filter(|_| running);
    let ended = found.ended.as_ref().filter(|_| !running);
    let exit = match &found.status {
        Status::Exited(exit) | Status::Restarting(exit) => exit.map_or(container::UNKNOWN_EXIT, |exit| exit.code()),
        _ => 0,
    };
    let error = match &found.status {
        Status::Broken(why) => why.clone(),
        _ => ended.and_then(|ended| ended.error.clone()).or_else(|| last_note(roots, found)).unwrap_or_default(),
    };
    let mut state = json!({
        "Status": word(&found.status, paused),
        "Running": running,
        "Paused": paused,
        "Restarting": matches!(found.status, Status::Restarting(_)),
        "Dead": matches!(found.status, Status::Dead | Status::Broken(_)),
        "OOMKilled": ended.is_some_and(|ended| ended.oom_killed),
        "Pid": init.map_or(0, |init| init.pid.0),
        "ExitCode": exit,
        "Error": error,
        "StartedAt": found.started.as_ref().map(|started| &started.at),
        "FinishedAt": ended.map(|ended| &ended.at),
    });
    if found.config.as_ref().is_some_and(|config| config.health.is_some()) {
        state["Health"] = health(&health::read(roots, &found.id));
    }
    state
}

fn health(health: &Health) -> Value {
    let checked = |one: &health::Checked| json!({ "Start": one.start, "End": one.end, "ExitCode": one.exit_code, "Output": one.output });
    json!({
        "Status": health.status.name(),
        "FailingStreak": health.streak,
        "Log": health.log.iter().map(checked).collect::<Vec<_>>(),
    })
}

/// docker's form, in nanoseconds.
fn health_check(check: &Check) -> Value {
    let nanoseconds = |milliseconds: u64| milliseconds.saturating_mul(1_000_000);
    let words = std::iter::once("CMD").chain(check.command.iter().map(String::as_str));
    json!({
        "Test": words.collect::<Vec<_>>(),
        "Interval": nanoseconds(check.interval),
        "Timeout": nanoseconds(check.timeout),
        "StartPeriod": nanoseconds(check.start_period),
        "StartInterval": nanoseconds(check.start_interval),
        "Retries": check.retries,
    })
}

/// docker's word for how a container is.
pub(super) fn word(status: &Status, paused: bool) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Starting => "starting",
        Status::Running if paused => "paused",
        Status::Restarting(_) => "restarting",
        Status::Running => "running",
        Status::Ending => "stopping",
        Status::Exited(_) => "exited",
        Status::Dead | Status::Broken(_) => "dead",
    }
}

/// What the monitor noted last, without the time.
fn last_note(roots: &Roots, found: &Container) -> Option<String> {
    let text = fs::read_text(roots.container(&found.id).child(notes::NAME).as_path()).ok()?;
    text.lines().last()?.split_once(' ').map(|(_time, note)| note.to_owned())
}

fn labels(pairs: &Value) -> Map<String, Value> {
    let pair = |pair: &Value| Some((pair[0].as_str()?.to_owned(), pair[1].clone()));
    pairs.as_array().into_iter().flatten().filter_map(pair).collect()
}

/// What of a runtime specification says what is mounted.
#[derive(Default, Deserialize)]
struct Mounts {
    #[serde(default)]
    mounts: Vec<Mount>,
}

/// The mounts that were asked for: those with a source on the host, but our own files.
pub(super) fn mounts(config: Option<&Config>) -> Vec<Value> {
    let Some(config) = config else { return Vec::new() };
    let Mounts { mounts } = config.spec.parse().unwrap_or_default();
    let own = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"].map(Path::new);
    let image =
        |mount: &Mount| config.images.iter().find(|image| mount.destination() == Path::new(image.target.as_str()));
    let bound =
        |mount: &&Mount| mount.source().as_ref().is_some_and(|source| source.is_absolute()) || image(mount).is_some();
    let shown = mounts.iter().filter(bound).filter(|mount| !own.contains(&mount.destination().as_path()));
    shown
        .map(|mount| {
            let (source, target) = (mount.source(), mount.destination());
            let volume = config.volumes.iter().find(|volume| target == Path::new(volume.target.as_str()));
            let options = mount.options().as_deref().unwrap_or_default();
            let read_only = options.iter().any(|option| option == "ro" || option == "rro");
            let mode = if read_only { "ro" } else { "" };
            if let Some(image) = image(mount) {
                return json!({
                    "Type": "image", "Source": image.image, "Destination": target, "Mode": "", "RW": false,
                    "Propagation": "",
                });
            }
            match volume {
                Some(volume) => json!({
                    "Type": "volume", "Name": volume.name, "Source": source, "Destination": target,
                    "Driver": "local", "Mode": mode, "RW": !read_only, "Propagation": "",
                }),
                None => json!({
                    "Type": "bind", "Source": source, "Destination": target, "Mode": mode, "RW": !read_only,
                    "Propagation": options.iter().find(|option| propagates(option)),
                }),
            }
        })
        .collect()
}

/// As docker has them: the addresses on the default network stand outside of the list, too.
fn network_settings(loans: &[(Network, Loan)]) -> Value {
    let networks: Map<String, Value> =
        loans.iter().map(|(of, loan)| (of.name.to_string(), endpoint(of, loan))).collect();
    let mut settings = json!({ "Ports": ports(loans) });
    let default = networks.get(DEFAULT_NETWORK);
    for name in ["IPAddress", "Gateway", "GlobalIPv6Address", "MacAddress"] {
        settings[name] = default.map_or_else(|| "".into(), |of| of[name].clone());
    }
    settings["IPPrefixLen"] = default.map_or_else(|| 0.into(), |of| of["IPPrefixLen"].clone());
    settings["Networks"] = networks.into();
    settings
}

fn propagates(option: &str) -> bool {
    ["private", "shared", "slave"].contains(&option.strip_prefix('r').unwrap_or(option))
}

fn endpoint(of: &Network, loan: &Loan) -> Value {
    let subnet = of.subnets.iter().find(|subnet| loan.addresses.iter().any(|address| subnet.net.contains(address)));
    // docker's "none" is an empty text, which prints as nothing
    let text = |address: Option<&IpAddr>| address.map(IpAddr::to_string).unwrap_or_default();
    json!({
        "IPAddress": text(loan.addresses.iter().find(|address| address.is_ipv4())),
        "IPPrefixLen": subnet.map_or(0, |subnet| subnet.net.prefix_len()),
        "Gateway": text(subnet.and_then(|subnet| subnet.gateway).as_ref()),
        "GlobalIPv6Address": text(loan.addresses.iter().find(|address| address.is_ipv6())),
        "MacAddress": loan.mac.to_string(),
        "Bridge": of.bridge,
    })
}

/// docker's form: `{"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}`.
fn ports(loans: &[(Network, Loan)]) -> Map<String, Value> {
    let mut map = Map::new();
    for port in loans.iter().flat_map(|(_, loan)| &loan.published) {
        let binding = json!({ "HostIp": port.listen().ip(), "HostPort": port.port.to_string() });
        let of = map.entry(inner_port(port)).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(bindings) = of {
            bindings.push(binding);
        }
    }
    map
}

/// As `images` and `inspect` of the image say it, where it is still here.
fn image_id(roots: &Roots, manifest: &Digest) -> Digest {
    Store::look(&roots.root).find(manifest.as_str()).map_or_else(|_| manifest.clone(), |image| image.id)
}

/// Where the host has a container that runs: everything that other tools need to look at it.
fn host(found: &Container) -> Option<Value> {
    let life = found.life.as_ref().filter(|_| found.status == Status::Running)?;
    let init = life.init.as_ref()?;
    let mut cgroups = Vec::new();
    let mut veths = Vec::new();
    for undo in &life.undo {
        match undo {
            Undo::Cgroup(cgroup::step::Undo::Remove { dir, .. }) => cgroups.push(dir.to_string()),
            Undo::Net(NetUndo::DeleteLink { link, .. }) => {
                let cable = probe::cable(link).ok().flatten();
                veths.push(json!({
                    "Name": link,
                    "Index": cable.as_ref().map(|cable| cable.index),
                    "PeerIndex": cable.as_ref().and_then(|cable| cable.peer_index),
                    "BridgeIndex": cable.as_ref().and_then(|cable| cable.bridge_index),
                }));
            }
            Undo::Mount(_) | Undo::Security(_) | Undo::Net(_) | Undo::ReturnLeases { .. } | Undo::ReturnIds { .. } => {}
        }
    }
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    let namespace = |kind: &str| fs::read_link(Path::new(&format!("/proc/{}/ns/{kind}", init.pid))).ok();
    let namespaces: Map<String, Value> =
        kinds.iter().map(|kind| ((*kind).to_owned(), json!(namespace(kind)))).collect();
    Some(json!({
        "Pid": init.pid,
        "MonitorPid": life.monitor.pid,
        "Cgroups": cgroups,
        "Namespaces": namespaces,
        "Veths": veths,
    }))
}

/// The published ports of a container, `80/tcp -> 0.0.0.0:8080` each; of one of its own ports where that is given.
pub fn port(roots: &Roots, word: &str, private: Option<&str>) -> Result<Vec<String>> {
    let found = container::find(roots, word)?;
    let all = network::published(roots).remove(&found.id).unwrap_or_default();
    let Some(private) = private else {
        return Ok(all.iter().map(|port| format!("{} -> {}", inner_port(port), port.listen())).collect());
    };
    let wanted = if private.contains('/') { private.to_owned() } else { format!("{private}/tcp") };
    let lines: Vec<String> =
        all.iter().filter(|port| inner_port(port) == wanted).map(|port| port.listen().to_string()).collect();
    if lines.is_empty() {
        return Err(Error::user(format!("container {word} has not published port {wanted}"))
            .hint(format!("`minirun port {word}` lists what it has")));
    }
    Ok(lines)
}
