//! `.Config` and `.HostConfig`: what was asked for and what the image says, under docker's names.

use crate::id::ContainerPath;
use crate::net::attachment;
use crate::net::plan::DEFAULT_NETWORK;
use crate::net::publish::{HostPort, Publish};
use crate::ops::record;
use crate::spec::defaults;
use crate::spec::device::DeviceRequest;
use crate::spec::mount::{BindMount, MountRequest, Propagation, VolumeMount};
use crate::spec::request::{NamespaceMode, NetworkWords, RunRequest, UserNamespace};
use crate::spec::restart::Restart;
use crate::spec::{image, ulimit};
use crate::state::Config;
use oci_spec::image::ImageConfiguration;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What the program is run with: the image's words, changed by the flags.
pub(super) fn config(config: &Config, request: &RunRequest, image: Option<&ImageConfiguration>, spec: &Value) -> Value {
    let image = image.and_then(|image| image.config().as_ref());
    // what nobody says is empty, not missing: templates name it all the same
    let mut merged = json!({
        "User": "", "Env": [], "Cmd": null, "Entrypoint": null, "WorkingDir": "", "Labels": {},
        "Hostname": spec["hostname"],
        "Domainname": request.domainname.as_deref().unwrap_or_default(),
        "Image": config.image,
        "Tty": config.tty,
        "OpenStdin": config.interactive,
        "AttachStdin": request.interactive && !request.detach,
        "AttachStdout": !request.detach,
        "AttachStderr": !request.detach,
        "StopTimeout": config.stop_timeout,
    });
    if let Ok(Value::Object(said)) = serde_json::to_value(image::as_run(image, request)) {
        said.into_iter().for_each(|(name, value)| merged[name] = value);
    }
    if let Some(check) = &config.health {
        merged["Healthcheck"] = json!(record::image_health(check));
    }
    merged
}

/// The first network's name, without what else is asked of it.
fn network_mode(words: &NetworkWords) -> String {
    let first = words.mode.as_deref().unwrap_or(DEFAULT_NETWORK);
    attachment::parse(first).map_or_else(|_| first.to_owned(), |wanted| wanted.network.to_string())
}

/// What the host is to give and to keep from it.
pub(super) fn host_config(config: &Config, request: &RunRequest) -> Value {
    let (limits, network) = (&request.resources, &request.network);
    let memory = limits.memory.unwrap_or(0);
    let mut host = json!({
        "Binds": binds(request),
        "Mounts": by_mount(request),
        "Tmpfs": tmpfs(request),
        "ContainerIDFile": request.cidfile.as_ref().map_or("", |file| file.as_str()),
        "LogConfig": log_config(config),
        "NetworkMode": network_mode(network),
        "PortBindings": port_bindings(request),
        "PublishAllPorts": network.publish_all,
        "Dns": network.dns,
        "DnsSearch": network.dns_search,
        "DnsOptions": network.dns_option,
        "ExtraHosts": network.add_host,
        "RestartPolicy": restart_policy(request.restart),
        "AutoRemove": config.remove,
        "Init": request.init,
        "CapAdd": request.cap_add,
        "CapDrop": request.cap_drop,
        "GroupAdd": request.groups,
        "Privileged": request.privileged,
        "ReadonlyRootfs": request.read_only,
        "SecurityOpt": request.security_opts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "Sysctls": request.sysctls.iter().cloned().collect::<BTreeMap<_, _>>(),
        "Annotations": request.annotations.iter().cloned().collect::<BTreeMap<_, _>>(),
        "PidMode": namespace(&request.namespaces.pid, ""),
        "IpcMode": namespace(&request.namespaces.ipc, "private"),
        "UTSMode": namespace(&request.namespaces.uts, ""),
        "UsernsMode": if request.namespaces.user == UserNamespace::Host { "" } else { "auto" },
        "CgroupnsMode": "private",
        "Runtime": "minirun",
    });
    let limits = json!({
        "Memory": memory,
        // as docker fills it in, and `spec::resources` does
        "MemorySwap": limits.memory_swap.filter(|swap| *swap != 0).unwrap_or(memory.saturating_mul(2)),
        "MemoryReservation": limits.memory_reservation.unwrap_or(0),
        "MemorySwappiness": limits.memory_swappiness,
        "NanoCpus": limits.nano_cpus.unwrap_or(0),
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.as_deref().unwrap_or_default(),
        "PidsLimit": limits.pids_limit,
        "BlkioWeight": limits.blkio_weight.unwrap_or(0),
        "ShmSize": limits.shm_size.unwrap_or(defaults::SHM_SIZE),
        "OomScoreAdj": limits.oom_score_adj.unwrap_or(0),
        "CgroupParent": request.cgroup_parent.as_deref().unwrap_or_default(),
        "Ulimits": ulimits(request),
        "Devices": devices(request),
    });
    if let (Value::Object(host), Value::Object(limits)) = (&mut host, limits) {
        host.extend(limits);
    }
    host
}

/// `-v`'s form: `FROM:TO[:OPTIONS]`. What has no name is in `.Config.Volumes`.
fn binds(request: &RunRequest) -> Vec<String> {
    let with = |from: &str, to: &str, options: &[&str]| match options {
        [] => format!("{from}:{to}"),
        options => format!("{from}:{to}:{}", options.join(",")),
    };
    let bind = |mount: &MountRequest| match mount {
        MountRequest::Bind(BindMount { source, target, read_only, propagation, create_source: true, .. }) => {
            let usual = *propagation == Propagation::default();
            let options: Vec<_> =
                read_only.then_some("ro").into_iter().chain((!usual).then_some(propagation.as_str())).collect();
            Some(with(source.as_str(), target.as_str(), &options))
        }
        MountRequest::Volume(VolumeMount { name: Some(name), anonymous: false, target, read_only, copy, .. }) => {
            let options: Vec<_> = read_only.then_some("ro").into_iter().chain((!copy).then_some("nocopy")).collect();
            Some(with(name.as_str(), target.as_str(), &options))
        }
        MountRequest::Bind(_) | MountRequest::Volume(_) | MountRequest::Tmpfs(_) | MountRequest::Image(_) => None,
    };
    request.mounts.iter().filter_map(bind).collect()
}

/// What `--mount` alone asks for: a source that must be there, or an image.
fn by_mount(request: &RunRequest) -> Vec<Value> {
    let mount = |kind: &str, source: &str, target: &ContainerPath, read_only: bool| json!({ "Type": kind, "Source": source, "Target": target, "ReadOnly": read_only });
    let one = |asked: &MountRequest| match asked {
        MountRequest::Bind(bind) if !bind.create_source => {
            Some(mount("bind", bind.source.as_str(), &bind.target, bind.read_only))
        }
        MountRequest::Image(image) => Some(mount("image", &image.source, &image.target, true)),
        MountRequest::Bind(_) | MountRequest::Volume(_) | MountRequest::Tmpfs(_) => None,
    };
    request.mounts.iter().filter_map(one).collect()
}

fn tmpfs(request: &RunRequest) -> Map<String, Value> {
    let one = |mount: &MountRequest| {
        let MountRequest::Tmpfs(tmpfs) = mount else { return None };
        let mut options = tmpfs.options.clone();
        options.extend(tmpfs.size.map(|size| format!("size={size}")));
        options.extend(tmpfs.mode.map(|mode| format!("mode={mode:o}")));
        Some((tmpfs.target.to_string(), options.join(",").into()))
    };
    request.mounts.iter().filter_map(one).collect()
}

/// As asked, running or not: `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`, and an empty port for any free one.
fn port_bindings(request: &RunRequest) -> Map<String, Value> {
    let mut map = Map::new();
    for port in request.network.publish.iter().filter_map(|word| Publish::parse(word).ok()).flatten() {
        let host = match port.host {
            HostPort::Exact(host) => host.to_string(),
            HostPort::FreeIn(first, last) => format!("{first}-{last}"),
            HostPort::Free => String::new(),
        };
        let ip = port.ip.map(|ip| ip.to_string()).unwrap_or_default();
        super::push(
            &mut map,
            format!("{}/{}", port.container, port.protocol),
            json!({ "HostIp": ip, "HostPort": host }),
        );
    }
    map
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

fn restart_policy(policy: Restart) -> Value {
    let most = match policy {
        Restart::OnFailure(most) => most.unwrap_or(0),
        _ => 0,
    };
    json!({ "Name": policy.name(), "MaximumRetryCount": most })
}

fn namespace(mode: &NamespaceMode, private: &str) -> String {
    match mode {
        NamespaceMode::Private => private.to_owned(),
        NamespaceMode::Host => "host".to_owned(),
        NamespaceMode::Container(name) => format!("container:{name}"),
    }
}

/// -1 for no limit.
fn ulimits(request: &RunRequest) -> Vec<Value> {
    let number = |limit: u64| if limit == u64::MAX { json!(-1) } else { json!(limit) };
    let one = |limit: &ulimit::Ulimit| json!({ "Name": ulimit::name(limit.kind), "Soft": number(limit.soft), "Hard": number(limit.hard) });
    request.ulimits.iter().map(one).collect()
}

fn devices(request: &RunRequest) -> Vec<Value> {
    let one = |device: &DeviceRequest| {
        json!({
            "PathOnHost": device.host,
            "PathInContainer": device.container,
            "CgroupPermissions": device.access,
        })
    };
    request.devices.iter().map(one).collect()
}
