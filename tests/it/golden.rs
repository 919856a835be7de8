//! Golden plans: from a request to the script that `--explain` prints, on hosts that are only data. No root is needed
//! and nothing is read of this machine. With MINIRUN_WRITE_GOLDEN=1 the files are written anew, to be looked at in a diff.

use super::support::source::repository;
use minirun::cgroup::facts::{Hierarchies, Level};
use minirun::id::{ContainerId, HostPath, Name};
use minirun::mount::plan::{Kind, RootSource};
use minirun::net::names::Realm;
use minirun::net::network::{Attachment, Holder, Network, Subnet};
use minirun::net::plan::{BridgeFacts, Mode, NetFacts, NetPlan, NetRequest, NetworkFacts};
use minirun::net::publish::Publish;
use minirun::plan::root::Copy;
use minirun::plan::{self, Birth, Plan};
use minirun::security::capabilities::Caps;
use minirun::spec::mount::MountRequest;
use minirun::spec::request::{NamespaceMode, RunRequest, Source, UserNamespace};
use minirun::spec::{self, Caller, GeneratedFiles, IdRange, JoinedNamespaces, Lsm, SpecFacts};
use minirun::{cgroup, explain, mount, net, security};
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use std::path::Path;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A host that is only data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    /// cgroup v2, and nothing of ours yet.
    V2,
    /// v1 controllers with a v2 hierarchy beside them; a container runs already.
    Hybrid,
    /// The same as the first, but the store lies on an overlay.
    Nested,
    /// A user with subordinate ids, below a delegated cgroup v2.
    Alice,
    /// A user without.
    Bob,
}

type Change = fn(&mut RunRequest);

/// The file's name, the command line, the same as a request, and where.
const PLANS: &[(&str, &str, Host, Change)] = &[
    ("plain", "busybox true", Host::V2, |_| ()),
    ("hybrid", "busybox true", Host::Hybrid, |_| ()),
    ("publish", "--rm -p 8080:80 -p 53:53/udp busybox httpd -f", Host::V2, |r| {
        r.remove = true;
        r.command = words("httpd -f");
        r.network.publish = words("8080:80 53:53/udp");
    }),
    ("publish-second", "-p 127.0.0.1:8080:80 busybox true", Host::Hybrid, |r| {
        r.network.publish = words("127.0.0.1:8080:80");
    }),
    ("none", "--network none busybox true", Host::V2, |r| r.network.mode = Some("none".into())),
    ("host", "--network host --pid host --uts host busybox true", Host::V2, |r| {
        r.network.mode = Some("host".into());
        (r.namespaces.pid, r.namespaces.uts) = (NamespaceMode::Host, NamespaceMode::Host);
    }),
    ("limits-v2", "-m 64m --cpus 0.5 --pids-limit 20 --cpuset-cpus 0 busybox true", Host::V2, limits),
    ("limits-hybrid", "-m 64m --cpus 0.5 --pids-limit 20 --cpuset-cpus 0 busybox true", Host::Hybrid, limits),
    ("user", "-u web --cap-drop ALL --cap-add NET_RAW -w /srv -e A='b c' busybox true", Host::V2, |r| {
        (r.user, r.workdir) = (Some("web".into()), Some("/srv".into()));
        (r.cap_drop, r.cap_add) = (words("ALL"), words("NET_RAW"));
        r.env = vec!["A=b c".into()];
    }),
    ("no-new-privileges", "--security-opt no-new-privileges --read-only busybox true", Host::V2, |r| {
        r.security_opts = vec![spec::security::parse("no-new-privileges", "/").unwrap()];
        r.read_only = true;
    }),
    ("privileged", "--privileged busybox true", Host::Hybrid, |r| r.privileged = true),
    ("volumes", "-v /src:/in:ro -v /src:'/a b' --tmpfs /scratch busybox true", Host::V2, |r| {
        let volume = |word| spec::volume::parse(word, "/").unwrap();
        r.mounts = vec![
            volume("/src:/in:ro"),
            volume("/src:/a b"),
            spec::mount::MountRequest::Tmpfs(spec::tmpfs::parse("/scratch").unwrap()),
        ];
    }),
    ("volume", "-v data:/data:ro busybox true", Host::V2, |r| {
        r.mounts = vec![spec::volume::parse("data:/data:ro", "/").unwrap()];
    }),
    ("image", "--mount type=image,src=tools,dst=/tools busybox true", Host::V2, |r| {
        r.mounts = vec![spec::mount::parse("type=image,src=tools,dst=/tools", "/").unwrap()];
    }),
    (
        "sysctls",
        "--sysctl net.core.somaxconn=9 --sysctl kernel.shmmax=7 --sysctl kernel.msgmax=8 busybox true",
        Host::V2,
        |r| {
            let all = ["net.core.somaxconn=9", "kernel.shmmax=7", "kernel.msgmax=8"];
            r.sysctls = all.map(|word| spec::sysctl::parse(word).unwrap()).to_vec();
        },
    ),
    ("rootfs", "--rootfs /srv/root --hostname box sh", Host::V2, |r| {
        r.source = Source::Rootfs(path("/srv/root"));
        r.hostname = Some("box".into());
        r.command = words("sh");
    }),
    ("copy", "-v data:/data busybox true", Host::Nested, |r| {
        r.mounts = vec![spec::volume::parse("data:/data", "/").unwrap()];
    }),
    ("userns-v2", "--userns auto -v /src:/in --ulimit nofile=64 busybox true", Host::V2, users),
    ("userns-hybrid", "--userns auto -v /src:/in --ulimit nofile=64 busybox true", Host::Hybrid, users),
    ("rootless", "--network none busybox true", Host::Alice, |r| r.network.mode = Some("none".into())),
    ("rootless-one-id", "--network none -m 64m -v /src:/in busybox true", Host::Bob, |r| {
        r.network.mode = Some("none".into());
        r.resources.memory = Some(64 << 20);
        r.mounts = vec![spec::volume::parse("/src:/in", "/").unwrap()];
    }),
];

fn users(request: &mut RunRequest) {
    request.namespaces.user = UserNamespace::parse("auto").unwrap();
    request.mounts = vec![spec::volume::parse("/src:/in", "/").unwrap()];
    request.ulimits = vec![spec::ulimit::parse("nofile=64").unwrap()];
}

fn limits(request: &mut RunRequest) {
    let limits = &mut request.resources;
    (limits.memory, limits.nano_cpus, limits.pids_limit) = (Some(64 << 20), Some(500_000_000), Some(20));
    limits.cpuset_cpus = Some("0".into());
}

#[test]
fn plans_are_as_they_were() {
    let write = std::env::var_os("MINIRUN_WRITE_GOLDEN").is_some_and(|value| value == "1");
    let dir = repository().join("tests/golden");
    for (name, line, host, change) in PLANS {
        let text = script(line, *host, *change);
        let file = dir.join(format!("{name}.txt"));
        if write {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&file, text).unwrap();
        } else {
            assert_same(&file, &text);
        }
    }
}

#[test]
fn every_golden_file_belongs_to_a_plan() {
    for entry in std::fs::read_dir(repository().join("tests/golden")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(PLANS.iter().any(|(plan, ..)| name == format!("{plan}.txt")), "tests/golden/{name}");
    }
}

#[test]
fn every_golden_plan_is_a_script_that_bash_can_parse() {
    for (name, line, host, change) in PLANS {
        let mut bash = std::process::Command::new("bash");
        let text = script(line, *host, *change);
        crate::support::command::output(bash.args(["-n", "-c", &text])).expect_code(0);
        let inside = text.split_once("<<'INSIDE' &\n").and_then(|(_, rest)| rest.split_once("\nINSIDE\n"));
        let mut bash = std::process::Command::new("bash");
        let said = crate::support::command::output(bash.args(["-n", "-c", inside.unwrap().0]));
        assert!(said.code() == 0 && said.stderr.is_empty(), "{name}: {said}");
    }
}

#[test]
fn a_users_init_waits_until_it_is_somebody() {
    use minirun::plan::step::{Step, Wait};
    for (host, writer) in [(Host::Alice, "newuidmap $INIT_PID 0 1000 1 1 100000 65536"), (Host::Bob, "echo '0 1000 1'")]
    {
        let plan = planned(host, |r| r.network.mode = Some("none".into())).0;
        assert_eq!(plan.inside[0], Step::Wait(Wait::IdMaps));
        let released = plan.host.iter().position(|step| *step == Step::Release(Wait::IdMaps)).unwrap();
        let maps = plan.host[..released].iter().map(|step| step.shell().to_string()).collect::<Vec<_>>().join("\n");
        assert!(maps.contains(writer), "{maps}");
        assert!(plan.prepare.iter().chain(&plan.inside).all(|step| !step.shell().to_string().contains("mknod")));
    }
    let root = planned(Host::V2, |_| ()).0;
    assert!(!root.inside.contains(&Step::Wait(Wait::IdMaps)));
}

fn assert_same(file: &Path, text: &str) {
    let golden = std::fs::read_to_string(file).unwrap_or_default();
    let differs = golden.lines().zip(text.lines()).position(|(a, b)| a != b);
    let at = differs.unwrap_or_else(|| golden.lines().count().min(text.lines().count()));
    let (was, is) = (golden.lines().nth(at), text.lines().nth(at));
    assert!(
        golden == text,
        "{} line {}:\nwas {was:?}\nis  {is:?}\nMINIRUN_WRITE_GOLDEN=1 writes it",
        file.display(),
        at + 1
    );
}

fn script(line: &str, host: Host, change: Change) -> String {
    let (plan, warnings) = planned(host, change);
    let warnings: String = warnings.iter().map(|warning| format!("# warning: {warning}\n")).collect();
    let whose = match host {
        Host::V2 => "cgroup v2, the first container",
        Host::Hybrid => "cgroup v1 and v2, a later container",
        Host::Nested => "cgroup v2, in a container: the store lies on an overlay",
        Host::Alice => "uid 1000 with subordinate ids, a delegated cgroup",
        Host::Bob => "uid 1000 without subordinate ids, a delegated cgroup",
    };
    format!("# minirun run {line}\n# on: {whose}\n{warnings}{}", explain::text(&plan, life().child("rootfs").as_str()))
}

fn planned(host: Host, change: Change) -> (Plan, Vec<String>) {
    let mut request = RunRequest { command: words("true"), ..RunRequest::new(Source::Image("busybox".into())) };
    change(&mut request);
    let mut facts = spec_facts(host);
    if let UserNamespace::Auto { size: count } = request.namespaces.user {
        facts.ids = Some(IdRange { start: 524_288, count });
    }
    facts.volumes.insert("/data".into(), path("/var/lib/minirun/volumes/data/_data"));
    let mut spec = spec::build(&request, None, &facts).unwrap();
    let network = network(&request, host, &mut spec);
    let mut birth = birth(&request, network);
    birth.volumes = volumes(&request, &birth.root);
    if host == Host::Nested {
        let image = path("/var/lib/minirun/layers/cccccccccccc.whole");
        let (below, to) =
            (path("/var/lib/minirun/skeleton"), path("/var/lib/minirun/containers").child(ID).child("rootfs"));
        birth.volumes = volumes(&request, &RootSource::Directory(image.clone()));
        (birth.root, birth.directories) = (RootSource::Directory(to.clone()), Vec::new());
        birth.copy = Some(Copy { image, below, to, volatile: false });
    }
    let facts = plan::Facts {
        uid: facts.caller.uid,
        mount: mounts(&spec),
        cgroup: cgroups(host),
        security: security::plan::Facts {
            permitted: Caps::all(),
            bounding: Caps::all(),
            nr_open: 1 << 20,
            kernel: (6, 1),
            ..security::plan::Facts::default()
        },
        owners: BTreeMap::new(),
    };
    let mut planned = plan::build(&spec, &birth, &facts).unwrap();
    planned.warnings.extend(birth.network.warnings);
    (planned.plan, planned.warnings)
}

fn birth(request: &RunRequest, network: NetPlan) -> Birth {
    let dir = path("/var/lib/minirun/containers").child(ID);
    let (root, directories) = match &request.source {
        Source::Rootfs(dir) => (RootSource::Directory(dir.clone()), Vec::new()),
        Source::Image(_) => {
            let (upper, work) = (dir.child("upper"), dir.child("work"));
            let lower =
                vec![path("/var/lib/minirun/layers/l/aaaaaaaaaaaa"), path("/var/lib/minirun/layers/l/bbbbbbbbbbbb")];
            let directories = vec![(upper.clone(), 0o755), (work.clone(), 0o700)];
            (RootSource::Overlay { lower, upper, work, volatile: request.remove }, directories)
        }
    };
    let file = |name: &str, text: &str| (life().child(name), text.to_owned());
    Birth {
        state_dir: life(),
        root,
        security: security::plan::Request { seccomp: seccomp(request), preserve_fds: 0 },
        directories,
        files: vec![file("hosts", "127.0.0.1\tlocalhost\n"), file("hostname", "box\n"), file("resolv.conf", "")],
        copy: None,
        volumes: Vec::new(),
        network,
        console: None,
    }
}

/// The named ones, which are not there yet.
fn volumes(request: &RunRequest, image: &RootSource) -> Vec<plan::volume::Step> {
    use plan::volume::Step;
    let steps = request.mounts.iter().filter_map(|mount| {
        let MountRequest::Volume(volume) = mount else { return None };
        let (store, name, image) = (path("/var/lib/minirun/volumes"), volume.name.clone()?, image.clone());
        let (labels, created) = (Vec::new(), "2026-01-01T00:00:00Z".to_owned());
        let make = Step::Make { store: store.clone(), name: name.clone(), labels, anonymous: false, created };
        Some([make, Step::Fill { store, name, image, target: volume.target.clone() }])
    });
    steps.flatten().collect()
}

fn seccomp(request: &RunRequest) -> security::seccomp::SeccompChoice {
    match spec::security::seccomp(request) {
        spec::SeccompChoice::Unconfined => security::seccomp::SeccompChoice::Unconfined,
        spec::SeccompChoice::Default | spec::SeccompChoice::File(_) => security::seccomp::SeccompChoice::Default,
    }
}

fn spec_facts(host: Host) -> SpecFacts {
    let user = |ranges: &[IdRange]| Caller { uid: 1000, gid: 1000, subuids: ranges.to_vec(), subgids: ranges.to_vec() };
    let (caller, cgroup_path) = match host {
        Host::V2 | Host::Hybrid | Host::Nested => (Caller::default(), format!("/minirun/{ID}")),
        Host::Alice => (user(&[IdRange { start: 100_000, count: 65536 }]), format!("{DELEGATED}/minirun/{ID}")),
        Host::Bob => (user(&[]), format!("{DELEGATED}/minirun/{ID}")),
    };
    let life = life();
    SpecFacts {
        id: ContainerId::parse(ID).unwrap(),
        rootfs: life.child("rootfs"),
        passwd: Some("root:x:0:0::/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\n".into()),
        group: Some("root:x:0:\nweb:x:33:\n".into()),
        cgroup_path,
        host_hostname: "host".into(),
        generated_files: GeneratedFiles {
            hosts: Some(life.child("hosts")),
            hostname: Some(life.child("hostname")),
            resolv_conf: Some(life.child("resolv.conf")),
        },
        volumes: BTreeMap::new(),
        images: [("/tools".to_owned(), vec![path("/layers/l/ccc"), path("/layers/l/ddd")])].into(),
        devices: BTreeMap::new(),
        host_devices: Vec::new(),
        joined: JoinedNamespaces::default(),
        capabilities: Caps::all().names().into_iter().map(|name| name.to_string()).collect(),
        sys_resource: true,
        hard_limits: BTreeMap::new(),
        oom_score_adj: 0,
        cpus: 2,
        mount_setattr: true,
        thermal_throttle: Vec::new(),
        lsm: Lsm::None,
        caller,
        ids: None,
        init: None,
    }
}

fn mounts(spec: &Spec) -> mount::plan::Facts {
    let is = |kind: Kind, paths: &[&str]| paths.iter().map(|p| ((*p).to_owned(), kind)).collect::<BTreeMap<_, _>>();
    let mut targets = is(Kind::Directory, &["/proc", "/dev", "/sys"]);
    targets.extend(is(Kind::File, &["/etc/hosts", "/etc/hostname"]));
    let mut kernel = is(Kind::Directory, &["/proc/bus", "/proc/sys", "/proc/acpi", "/sys/firmware"]);
    kernel.extend(is(Kind::File, &["/proc/kcore", "/proc/sysrq-trigger"]));
    let sources = spec.mounts().iter().flatten().filter_map(|mount| mount.source().as_ref());
    let kind = |source: &Path| {
        if ["/src", "/var/lib/minirun/volumes"].iter().any(|dir| source.starts_with(dir)) {
            Kind::Directory
        } else {
            Kind::File
        }
    };
    let sources = sources.filter(|source| source.is_absolute());
    let sources = sources.map(|source| (source.display().to_string(), kind(source))).collect();
    mount::plan::Facts { targets, sources, kernel, owners: BTreeMap::new(), trees: BTreeMap::new() }
}

/// Where systemd lets a user make cgroups.
const DELEGATED: &str = "/user.slice/user-1000.slice/user@1000.service";

fn cgroups(host: Host) -> Hierarchies {
    if host == Host::Hybrid {
        let v1 = ["cpu,cpuacct", "cpuset", "memory", "devices", "pids", "name=systemd", "freezer"];
        let mount =
            |c: &str| format!("1 2 0:3 / /sys/fs/cgroup/{} rw - cgroup cgroup rw,{c}\n", c.trim_start_matches("name="));
        let mounts = v1.map(mount).concat() + "1 2 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = v1.map(|c| format!("1:{c}:/\n")).concat() + "0::/\n";
        let mut found = cgroup::facts::parse(&mounts, &own).unwrap();
        for hierarchy in found.list.iter_mut().filter(|h| h.has("cpuset")) {
            hierarchy.levels = vec![Level { cpus: "0-1".into(), mems: "0".into(), ..Level::default() }];
        }
        return found;
    }
    let mut found = cgroup::facts::parse("1 2 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/\n").unwrap();
    let hierarchy = &mut found.list[0];
    let all = cgroup::facts::words("cpu cpuset io memory pids");
    hierarchy.real_root = true;
    hierarchy.controllers = all.clone();
    let level = |path: &str, foreign| Level {
        path: path.to_owned(),
        controllers: all.clone(),
        enabled: if foreign { cgroup::facts::words("cpu memory pids") } else { Vec::new() },
        foreign,
        ..Level::default()
    };
    hierarchy.levels = match host {
        Host::V2 | Host::Hybrid | Host::Nested => vec![level("", false)],
        Host::Alice | Host::Bob => {
            let ours = DELEGATED.trim_start_matches('/');
            let above = cgroup::facts::ancestors(ours).into_iter().map(|path| level(path, true));
            above
                .chain([Level { controllers: cgroup::facts::words("cpu memory pids"), ..level(ours, false) }])
                .collect()
        }
    };
    found
}

fn network(request: &RunRequest, host: Host, spec: &mut Spec) -> NetPlan {
    let mode = match request.network.mode.as_deref() {
        Some("host") => Mode::Host,
        Some("none") => Mode::None,
        _ => Mode::Networks(vec![Attachment::any(Name::parse("bridge").unwrap())]),
    };
    let sysctls = if mode == Mode::Host { Vec::new() } else { spec::sysctl::take_net(spec) };
    let publish = request.network.publish.iter().flat_map(|word| Publish::parse(word).unwrap()).collect();
    let request = NetRequest { mode, publish, sysctls, forwards: false };
    let (id, name) = (ContainerId::parse(ID).unwrap(), Name::parse("bridge").unwrap());
    let realm = Realm { state: path("/run/minirun") };
    let subnets = vec![Subnet::with_gateway("172.18.0.0/16".parse().unwrap())];
    let mut network = Network { group: 7, ..Network::new(&realm, &name, subnets).unwrap() };
    let later = host == Host::Hybrid;
    let bridge = BridgeFacts { up: true, alias: Some(network.mark.clone()), addresses: network.gateways() };
    let facts = NetFacts {
        realm,
        ip_forward: later,
        ipv6_forwarding: Some(later),
        advertised: Vec::new(),
        table: later,
        networks: vec![NetworkFacts {
            network: network.clone(),
            bridge: later.then_some(bridge.clone()),
            router: later.then_some(bridge),
            entries: later,
            loose: Vec::new(),
        }],
        rebuild: if later { Vec::new() } else { vec![network.clone()] },
        foreign: Vec::new(),
        firewalld: None,
        legacy: Vec::new(),
    };
    let holder = Holder { container: id.clone(), pid: 1, start_time: 1, boot_id: "x".into() };
    let leases = match &request.mode {
        Mode::Networks(asked) => vec![network.lend(&asked[0], &holder, &|_| true).unwrap()],
        _ => Vec::new(),
    };
    net::plan::plan(&request, &leases, &facts, &id, &id.tag("/run/minirun")).unwrap()
}

fn life() -> HostPath {
    path("/run/minirun/containers").child(ID)
}

fn path(text: &str) -> HostPath {
    HostPath::parse(text).unwrap()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}
