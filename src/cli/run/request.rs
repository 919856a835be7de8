//! From the flags of `run` to the request: each word through its parser in `spec`.

use super::args::{Args, Container, Files, Health, Limits, Look, Network, ProcessLimits};
use crate::cli::caller::{self, given};
use crate::error::{Error, Kind, Result};
use crate::id::Name;
use crate::spec::blkio::{self, DeviceLimit, What};
use crate::spec::health::{self, HealthWords};
use crate::spec::mount::{self, MountRequest, label_pair};
use crate::spec::request::{
    Explain, NamespaceMode, Namespaces, NetworkWords, Pull, Resources, RunRequest, Source, Trace, UserNamespace,
};
use crate::spec::restart::{self, Restart};
use crate::spec::{device, security, signal, size, sysctl, tmpfs, ulimit, volume};

pub(in crate::cli) fn from_args(args: &Args) -> Result<RunRequest> {
    let Args { container, process, health, files, network, limits, process_limits, security, look, words } = args;
    let (source, command) = source(container, words)?;
    Ok(RunRequest {
        source,
        command,
        entrypoint: process.entrypoint.as_deref().map(entrypoint),
        name: given(container.name.as_ref()).as_deref().map(Name::parse).transpose()?,
        remove: container.rm,
        interactive: container.interactive,
        tty: container.tty,
        detach: container.detach,
        attended: false,
        quiet: container.quiet,
        init: process.init,
        env: caller::environment(&process.env_file, &process.env)?,
        workdir: given(process.workdir.as_ref()),
        user: given(process.user.as_ref()),
        groups: process.group_add.clone(),
        hostname: given(process.hostname.as_ref()),
        domainname: given(process.domainname.as_ref()),
        labels: labels(container)?,
        annotations: pairs("annotation", &container.annotation)?,
        mounts: mounts(files)?,
        volumes_from: all(&files.volumes_from, volume::parse_from)?,
        read_only: files.read_only,
        resources: Resources {
            shm_size: bytes("--shm-size", files.shm_size.as_deref())?.map(i64::unsigned_abs),
            oom_score_adj: process_limits.oom_score_adj,
            device_limits: device_limits(process_limits)?,
            memory_swappiness: process_limits.memory_swappiness,
            ..self::limits(limits)?
        },
        ulimits: all(&process_limits.ulimit, ulimit::parse)?,
        devices: all(&files.device, device::parse)?,
        device_rules: all(&files.device_cgroup_rule, device::parse_rule)?,
        cgroup_parent: given(process_limits.cgroup_parent.as_ref()),
        cap_add: security.cap_add.clone(),
        cap_drop: security.cap_drop.clone(),
        privileged: security.privileged,
        security_opts: all(&security.security_opt, |word| security::parse(word, &directory_for(word)?))?,
        sysctls: all(&security.sysctl, sysctl::parse)?,
        stop_signal: given(process.stop_signal.as_ref()).as_deref().map(signal::parse).transpose()?,
        network: network_words(network)?,
        namespaces: Namespaces {
            pid: mode("--pid", security.pid.as_deref())?,
            ipc: mode("--ipc", security.ipc.as_deref())?,
            uts: mode("--uts", security.uts.as_deref())?,
            user: UserNamespace::parse(security.userns.as_deref().unwrap_or_default())?,
        },
        detach_keys: given(container.detach_keys.as_ref()),
        keep_signals: container.sig_proxy == Some(false),
        stop_timeout: process.stop_timeout,
        restart: container.restart.as_deref().map_or(Ok(Restart::No), restart::parse)?,
        health: health_words(health)?,
        no_log: log_driver(container.log_driver.as_deref())? == LogDriver::None,
        log_size: log_opt(&container.log_opt, "max-size", |text| size::parse(text).ok().filter(|size| *size > 0))?,
        log_files: log_opt(&container.log_opt, "max-file", |text| text.parse().ok().filter(|count| *count > 0))?,
        pull: pull(container.pull.as_deref())?,
        platform: given(container.platform.as_ref()),
        cidfile: given(container.cidfile.as_ref()).as_deref().map(caller::path).transpose()?,
        explain: explain(look)?,
        trace: trace(look)?,
    })
}

/// The first word is the image, unless a directory stands in for it.
fn source(container: &Container, words: &[String]) -> Result<(Source, Vec<String>)> {
    if let Some(dir) = &container.rootfs {
        return Ok((Source::Rootfs(caller::path(dir)?), words.to_vec()));
    }
    match words.split_first() {
        Some((image, _)) if image.is_empty() => Err(Error::user("the image's name is empty").hint("minirun run hello")),
        Some((image, command)) => Ok((Source::Image(image.clone()), command.to_vec())),
        None => Err(Error::new(Kind::Usage, "missing IMAGE").hint("minirun run hello, or minirun run --help")),
    }
}

/// `--entrypoint` is one word, with no arguments of its own; an empty one clears the image's.
fn entrypoint(word: &str) -> Vec<String> {
    if word.is_empty() { Vec::new() } else { vec![word.to_owned()] }
}

fn all<T>(words: &[String], parse: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    words.iter().map(|word| parse(word)).collect()
}

fn pairs(what: &str, words: &[String]) -> Result<Vec<(String, String)>> {
    all(words, |word| match label_pair(word) {
        (key, _) if key.is_empty() => Err(Error::user(format!("invalid {what} {word:?}")).hint("it is KEY=VALUE")),
        pair => Ok(pair),
    })
}

/// The current directory, where the word may hold a relative path: a deleted one is nobody else's trouble.
fn directory_for(word: &str) -> Result<String> {
    let value = word.split_once(['=', ':']).map_or(word, |(_, value)| value);
    if value.starts_with('/') { Ok("/".to_owned()) } else { caller::directory() }
}

fn mounts(files: &Files) -> Result<Vec<MountRequest>> {
    let volume_directory = |word: &str| if word.starts_with('.') { caller::directory() } else { Ok("/".to_owned()) };
    let mount_directory = |word: &str| if word.contains("=.") { caller::directory() } else { Ok("/".to_owned()) };
    let mut mounts = all(&files.volume, |word| volume::parse(word, &volume_directory(word)?))?;
    mounts.extend(all(&files.mount, |word| mount::parse(word, &mount_directory(word)?))?);
    mounts.extend(all(&files.tmpfs, |word| tmpfs::parse(word).map(MountRequest::from))?);
    Ok(mounts)
}

/// Those that `update` knows, too.
pub(in crate::cli) fn limits(limits: &Limits) -> Result<Resources> {
    let signed = |flag: &str, word: &Option<String>| {
        word.as_deref().map(size::parse_signed).transpose().map_err(|e| e.during(flag))
    };
    Ok(Resources {
        memory: bytes("--memory", limits.memory.as_deref())?,
        memory_swap: signed("--memory-swap", &limits.memory_swap)?,
        memory_reservation: bytes("--memory-reservation", limits.memory_reservation.as_deref())?,
        nano_cpus: limits.cpus.as_deref().map(size::parse_cpus).transpose()?,
        cpu_shares: limits.cpu_shares,
        cpu_period: limits.cpu_period,
        cpu_quota: limits.cpu_quota,
        cpuset_cpus: given(limits.cpuset_cpus.as_ref()),
        cpuset_mems: given(limits.cpuset_mems.as_ref()),
        pids_limit: limits.pids_limit,
        blkio_weight: limits.blkio_weight,
        ..Resources::default()
    })
}

fn device_limits(limits: &ProcessLimits) -> Result<Vec<DeviceLimit>> {
    let flags = [
        ("--device-read-bps", What::ReadBps, &limits.device_read_bps),
        ("--device-write-bps", What::WriteBps, &limits.device_write_bps),
        ("--device-read-iops", What::ReadIops, &limits.device_read_iops),
        ("--device-write-iops", What::WriteIops, &limits.device_write_iops),
        ("--blkio-weight-device", What::Weight, &limits.blkio_weight_device),
    ];
    let parsed = flags.into_iter().map(|(flag, what, words)| all(words, |word| blkio::parse(flag, what, word)));
    Ok(parsed.collect::<Result<Vec<_>>>()?.concat())
}

/// Those of the files first: what is given as a word counts.
fn labels(container: &Container) -> Result<Vec<(String, String)>> {
    let mut lines = Vec::new();
    for file in &container.label_file {
        lines.extend(caller::lines("--label-file", file)?);
    }
    lines.extend(container.label.iter().cloned());
    pairs("label", &lines)
}

fn bytes(flag: &str, word: Option<&str>) -> Result<Option<i64>> {
    let parse = |word| {
        let bytes = size::parse(word)?;
        i64::try_from(bytes).map_err(|_| Error::user(format!("size {word:?} is too large")).hint("the most is 2^63-1"))
    };
    word.map(parse).transpose().map_err(|e| e.during(flag))
}

fn network_words(network: &Network) -> Result<NetworkWords> {
    let (mode, more) = match network.network.split_first() {
        Some((first, more)) => (given(Some(first)), more.to_vec()),
        None => (None, Vec::new()),
    };
    let alone = |word: &String| {
        ["none", "host", ""].contains(&word.as_str()) || word.starts_with("container:") || word.starts_with("ns:")
    };
    if let Some(word) = network.network.iter().find(|word| !more.is_empty() && alone(word)) {
        return Err(Error::user(format!("--network {word:?} goes with no other network")).hint("leave out one of them"));
    }
    Ok(NetworkWords {
        mode,
        more,
        publish: network.publish.clone(),
        publish_all: network.publish_all,
        expose: network.expose.clone(),
        dns: network.dns.clone(),
        dns_search: network.dns_search.clone(),
        dns_option: network.dns_option.clone(),
        add_host: network.add_host.clone(),
        ip: given(network.ip.as_ref()),
        ip6: given(network.ip6.as_ref()),
        mac: given(network.mac_address.as_ref()),
        aliases: network.network_alias.clone(),
    })
}

fn mode(flag: &str, word: Option<&str>) -> Result<NamespaceMode> {
    word.map_or(Ok(NamespaceMode::Private), |word| NamespaceMode::parse(flag, word))
}

fn health_words(words: &Health) -> Result<HealthWords> {
    let time = |flag: &str, text: &Option<String>| text.as_deref().map(|text| health::duration(flag, text)).transpose();
    Ok(HealthWords {
        command: words.cmd.clone(),
        interval: time("--health-interval", &words.interval)?,
        timeout: time("--health-timeout", &words.timeout)?,
        start_period: time("--health-start-period", &words.start_period)?,
        start_interval: time("--health-start-interval", &words.start_interval)?,
        retries: words.retries,
        none: words.no_healthcheck,
    })
}

#[derive(Debug, PartialEq, Eq)]
enum LogDriver {
    JsonFile,
    None,
}

fn log_driver(word: Option<&str>) -> Result<LogDriver> {
    match word {
        None | Some("" | "json-file" | "k8s-file" | "local") => Ok(LogDriver::JsonFile),
        Some("none") => Ok(LogDriver::None),
        Some(other) => Err(Error::user(format!("there is no log driver {other:?}"))
            .hint("json-file or none; `minirun logs -f NAME | logger` hands it on to others")),
    }
}

/// The last value of a key; a key that nobody knows is refused, whichever is asked for.
fn log_opt<T>(words: &[String], wanted: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
    let mut found = None;
    for word in words {
        let hint = "max-size=10m and max-file=3 are there";
        match word.split_once('=') {
            Some((key, value)) if key == wanted => {
                let bad = || Error::user(format!("invalid --log-opt {word:?}")).hint(hint);
                found = Some(parse(value).ok_or_else(bad)?);
            }
            Some(("max-size" | "max-file", _)) => {}
            _ => return Err(Error::user(format!("unknown --log-opt {word:?}")).hint(hint)),
        }
    }
    Ok(found)
}

fn pull(word: Option<&str>) -> Result<Pull> {
    match word {
        None | Some("missing") => Ok(Pull::Missing),
        Some("always") => Ok(Pull::Always),
        Some("never") => Ok(Pull::Never),
        Some(other) => Err(Error::user(format!("invalid --pull {other:?}")).hint("always, missing or never")),
    }
}

fn explain(look: &Look) -> Result<Option<Explain>> {
    match look.explain.as_deref() {
        None => Ok(None),
        Some("text") => Ok(Some(Explain::Text)),
        Some("json") => Ok(Some(Explain::Json)),
        Some(other) => Err(Error::user(format!("invalid --explain={other}")).hint("--explain, or --explain=json")),
    }
}

fn trace(look: &Look) -> Result<Option<Trace>> {
    match look.trace.as_deref() {
        None => Ok(None),
        Some("lines") => Ok(Some(Trace::Lines)),
        Some("step") => Ok(Some(Trace::Step)),
        Some(other) => Err(Error::user(format!("invalid --trace={other}")).hint("--trace, or --trace=step")),
    }
}
