//! What `run` was asked for, as plain data: the command line parsed and checked word by word, and nothing looked up yet.
//! Pure: holds no default of docker's that depends on the image or the host (those are `spec::build`'s).

use super::blkio::DeviceLimit;
use super::device::{DeviceRequest, DeviceRule};
use super::health::HealthWords;
use super::mount::MountRequest;
use super::restart::Restart;
use super::security::SecurityOpt;
use super::ulimit::Ulimit;
use crate::id::{HostPath, Name};
use serde::{Deserialize, Serialize};

/// Where our init is bound inside when `--init` is given.
pub const INIT_PATH: &str = crate::mount::plan::INIT_PATH;

/// One `minirun run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRequest {
    pub source: Source,
    /// The words after IMAGE; empty: the image's CMD.
    pub command: Vec<String>,
    /// `--entrypoint`: the image's where absent; empty clears it. Either form clears the image's CMD.
    pub entrypoint: Option<Vec<String>>,
    pub name: Option<Name>,
    pub remove: bool,
    pub interactive: bool,
    pub tty: bool,
    pub detach: bool,
    /// It ends when no command stands in front of it any more.
    #[serde(default)]
    pub attended: bool,
    /// `-q`: no progress, ids alone.
    pub quiet: bool,
    /// `--init`: a small init of ours reaps and forwards signals.
    pub init: bool,
    /// `KEY=VALUE` sets; `KEY` alone removes what the image sets (`-e KEY` where the caller has no KEY).
    pub env: Vec<String>,
    /// Absolute, as the container sees it.
    pub workdir: Option<String>,
    /// As given: `name`, `uid`, `name:group`, `uid:gid`.
    pub user: Option<String>,
    /// `--group-add`: names of the image's /etc/group, or numbers.
    pub groups: Vec<String>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    /// `KEY=VALUE`, or `KEY` for an empty value.
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
    pub mounts: Vec<MountRequest>,
    /// `--volumes-from`: the mounts of other containers; none once they were looked up.
    #[serde(default)]
    pub volumes_from: Vec<VolumesFrom>,
    /// `--read-only`: the root file system.
    pub read_only: bool,
    pub resources: Resources,
    pub ulimits: Vec<Ulimit>,
    pub devices: Vec<DeviceRequest>,
    /// `--device-cgroup-rule`: devices that it may use, should it have or get a node of one.
    #[serde(default)]
    pub device_rules: Vec<DeviceRule>,
    /// `--cgroup-parent`: a cgroup of the host's that is there, from its root; without a slash before it, below ours.
    #[serde(default)]
    pub cgroup_parent: Option<String>,
    /// Names with or without `CAP_`, any case, or `ALL`.
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub privileged: bool,
    pub security_opts: Vec<SecurityOpt>,
    pub sysctls: Vec<(String, String)>,
    /// A signal's number.
    pub stop_signal: Option<u8>,
    pub network: NetworkWords,
    pub namespaces: Namespaces,
    /// `--detach-keys`, as given: `ctrl-p,ctrl-q`.
    #[serde(default)]
    pub detach_keys: Option<String>,
    /// `--sig-proxy=false`: a signal to the command is not passed on.
    #[serde(default)]
    pub keep_signals: bool,
    /// `--stop-timeout`: seconds between the stop signal and the end by force; negative is for ever.
    #[serde(default)]
    pub stop_timeout: Option<i64>,
    #[serde(default)]
    pub restart: Restart,
    #[serde(default)]
    pub health: HealthWords,
    /// `--log-driver none`: what it says is not kept.
    #[serde(default)]
    pub no_log: bool,
    /// `--log-opt max-size`, in bytes.
    #[serde(default)]
    pub log_size: Option<u64>,
    /// `--log-opt max-file`.
    #[serde(default)]
    pub log_files: Option<u32>,
    pub pull: Pull,
    /// As given: `linux/arm64`.
    pub platform: Option<String>,
    pub cidfile: Option<HostPath>,
    pub explain: Option<Explain>,
    pub trace: Option<Trace>,
}

/// A container whose mounts another one shall have, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Its name or id, as given.
    pub container: String,
    pub read_only: bool,
}

/// Where the root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A reference as given, `alpine` or `localhost:5000/a/b@sha256:…`.
    Image(String),
    /// `--rootfs DIR`.
    Rootfs(HostPath),
}

impl Source {
    /// The image or directory as people gave it.
    pub fn as_str(&self) -> &str {
        match self {
            Source::Image(reference) => reference,
            Source::Rootfs(dir) => dir.as_str(),
        }
    }
}

/// The network flags as given; `net` parses them, for it knows what they mean.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkWords {
    /// `--network`: absent is the default bridge.
    pub mode: Option<String>,
    /// The networks besides, where it is given more than once.
    #[serde(default)]
    pub more: Vec<String>,
    /// `-p`: `[[ip:]hostPort:]containerPort[/proto]`.
    pub publish: Vec<String>,
    pub publish_all: bool,
    /// `--expose`: ports that `-P` publishes besides the image's.
    pub expose: Vec<String>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_option: Vec<String>,
    /// `name:address`.
    pub add_host: Vec<String>,
    pub ip: Option<String>,
    #[serde(default)]
    pub ip6: Option<String>,
    pub mac: Option<String>,
    /// `--network-alias`: what the others of the network call it, too.
    #[serde(default)]
    pub aliases: Vec<String>,
}

/// Limits in the kernel's units: bytes, microseconds, nano-CPUs. Ranges are checked by `spec::resources`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub memory: Option<i64>,
    /// Memory and swap together; -1 is unlimited.
    pub memory_swap: Option<i64>,
    pub memory_reservation: Option<i64>,
    /// `--cpus` in billionths of a CPU.
    pub nano_cpus: Option<i64>,
    pub cpu_shares: Option<u64>,
    pub cpu_period: Option<u64>,
    pub cpu_quota: Option<i64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    /// 0 and -1 are unlimited; absent is our default.
    pub pids_limit: Option<i64>,
    pub blkio_weight: Option<u16>,
    #[serde(default)]
    pub device_limits: Vec<DeviceLimit>,
    /// How willingly its pages are swapped, 0 to 100; -1 as the kernel has it.
    #[serde(default)]
    pub memory_swappiness: Option<i64>,
    /// Bytes of /dev/shm.
    pub shm_size: Option<u64>,
    pub oom_score_adj: Option<i32>,
}

/// `--pid`, `--ipc`, `--uts`, `--userns`; the network's mode is in [`NetworkWords`], the mount and cgroup namespaces are always our own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    pub pid: NamespaceMode,
    pub ipc: NamespaceMode,
    pub uts: NamespaceMode,
    #[serde(default)]
    pub user: UserNamespace,
}

/// Who root inside is outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserNamespace {
    /// Root.
    #[default]
    Host,
    /// The first of so many ids of the host that are nobody's else.
    Auto { size: u32 },
}

impl UserNamespace {
    /// How many ids a container has where nobody says: as many as fit into 16 bits, `nobody` (65534) among them.
    pub const SIZE: u32 = 65536;

    /// `host`, `auto`, or `auto:size=N`.
    pub fn parse(text: &str) -> crate::error::Result<UserNamespace> {
        let size = match text {
            "" | "host" => return Ok(UserNamespace::Host),
            "auto" | "private" => Some(UserNamespace::SIZE),
            _ => text.strip_prefix("auto:size=").and_then(|size| size.parse().ok()),
        };
        match size {
            Some(size @ 1..=UserNamespace::SIZE) => Ok(UserNamespace::Auto { size }),
            _ => Err(crate::error::Error::user(format!("invalid --userns {text:?}"))
                .hint("it is host, auto, or auto:size=N with N from 1 to 65536")),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    #[default]
    Private,
    Host,
    /// That of the container with this name or id.
    Container(String),
}

impl NamespaceMode {
    /// `private`, `host` or `container:X`; docker's `shareable` (ipc) is what private is here anyway.
    pub fn parse(flag: &str, text: &str) -> crate::error::Result<NamespaceMode> {
        match text {
            "" | "private" | "shareable" => Ok(NamespaceMode::Private),
            "host" => Ok(NamespaceMode::Host),
            _ => match text.strip_prefix("container:") {
                Some(name) if !name.is_empty() => Ok(NamespaceMode::Container(name.to_owned())),
                _ => Err(crate::error::Error::user(format!("invalid {flag} {text:?}"))
                    .hint("it is private, host or container:NAME")),
            },
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pull {
    Always,
    #[default]
    Missing,
    Never,
}

/// `--explain`: nothing is done, the plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Explain {
    Text,
    Json,
}

/// `--trace`: every step is printed as it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trace {
    Lines,
    /// Waits for Enter before each step.
    Step,
}

impl RunRequest {
    /// A request for this image or directory with everything else left to the defaults.
    pub fn new(source: Source) -> RunRequest {
        RunRequest {
            source,
            command: Vec::new(),
            entrypoint: None,
            name: None,
            remove: false,
            interactive: false,
            tty: false,
            detach: false,
            attended: false,
            quiet: false,
            init: false,
            env: Vec::new(),
            workdir: None,
            user: None,
            groups: Vec::new(),
            hostname: None,
            domainname: None,
            labels: Vec::new(),
            annotations: Vec::new(),
            mounts: Vec::new(),
            volumes_from: Vec::new(),
            read_only: false,
            resources: Resources::default(),
            ulimits: Vec::new(),
            devices: Vec::new(),
            device_rules: Vec::new(),
            cgroup_parent: None,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            privileged: false,
            security_opts: Vec::new(),
            sysctls: Vec::new(),
            stop_signal: None,
            network: NetworkWords::default(),
            namespaces: Namespaces::default(),
            detach_keys: None,
            keep_signals: false,
            stop_timeout: None,
            restart: Restart::No,
            health: HealthWords::default(),
            no_log: false,
            log_size: None,
            log_files: None,
            pull: Pull::default(),
            platform: None,
            cidfile: None,
            explain: None,
            trace: None,
        }
    }
}

/// The container that a network mode joins, or whether there is a network namespace of our own at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkNamespace<'a> {
    Own,
    Host,
    Container(&'a str),
    /// By its file.
    Path(&'a str),
}

impl NetworkWords {
    pub fn namespace(&self) -> NetworkNamespace<'_> {
        match self.mode.as_deref() {
            Some("host") => NetworkNamespace::Host,
            Some(mode) => match mode.split_once(':') {
                Some(("container", name)) => NetworkNamespace::Container(name),
                Some(("ns", path)) => NetworkNamespace::Path(path),
                _ => NetworkNamespace::Own,
            },
            None => NetworkNamespace::Own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_modes() {
        for (text, want) in [
            ("", Some(NamespaceMode::Private)),
            ("private", Some(NamespaceMode::Private)),
            ("host", Some(NamespaceMode::Host)),
            ("container:web", Some(NamespaceMode::Container("web".into()))),
            ("container:", None),
            ("Host", None),
        ] {
            assert_eq!(NamespaceMode::parse("--pid", text).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn user_namespaces() {
        let auto = |size| Some(UserNamespace::Auto { size });
        for (text, want) in [
            ("host", Some(UserNamespace::Host)),
            ("auto", auto(65536)),
            ("auto:size=1000", auto(1000)),
            ("auto:size=0", None),
            ("auto:size=65537", None),
            ("keep-id", None),
        ] {
            assert_eq!(UserNamespace::parse(text).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn a_request_survives_json() {
        let request = RunRequest::new(Source::Image("busybox".into()));
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<RunRequest>(&text).unwrap(), request);
    }
}
