//! Requests to specification, fact by fact.

use super::request::Source;
use super::*;
use oci_spec::image::{Config, ConfigBuilder, ImageConfigurationBuilder};
use oci_spec::runtime::PosixRlimitType;

/// A host with two CPUs and root without CAP_SYS_RESOURCE.
pub(crate) fn facts() -> SpecFacts {
    let path = |text: &str| HostPath::parse(text).unwrap();
    SpecFacts {
        id: ContainerId::parse(&"0123456789abcdef".repeat(4)).unwrap(),
        rootfs: path("/run/minirun/c/rootfs"),
        passwd: Some("root:x:0:0::/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\n".to_owned()),
        group: Some("root:x:0:\nweb:x:33:\ntty:x:5:web\n".to_owned()),
        cgroup_path: "/minirun/0123".to_owned(),
        host_hostname: "host".to_owned(),
        generated_files: GeneratedFiles {
            hosts: Some(path("/run/minirun/c/hosts")),
            hostname: Some(path("/run/minirun/c/hostname")),
            resolv_conf: Some(path("/run/minirun/c/resolv.conf")),
        },
        volumes: [("/data".to_owned(), path("/var/lib/minirun/volumes/v/_data"))].into(),
        images: BTreeMap::new(),
        devices: BTreeMap::new(),
        host_devices: Vec::new(),
        joined: JoinedNamespaces::default(),
        capabilities: defaults::DEFAULT_CAPABILITIES
            .iter()
            .chain(&["CAP_NET_ADMIN"])
            .map(|c| (*c).to_owned())
            .collect(),
        sys_resource: false,
        hard_limits: [("nofile".to_owned(), 4096)].into(),
        oom_score_adj: 0,
        cpus: 2,
        mount_setattr: true,
        thermal_throttle: vec!["/sys/devices/system/cpu/cpu0/thermal_throttle".to_owned()],
        lsm: Lsm::None,
        caller: Caller::default(),
        ids: None,
        init: None,
    }
}

fn request() -> RunRequest {
    RunRequest { command: vec!["true".to_owned()], ..RunRequest::new(Source::Image("busybox".to_owned())) }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn image(change: impl FnOnce(&mut Config)) -> ImageConfiguration {
    let mut config = ConfigBuilder::default().build().unwrap();
    change(&mut config);
    ImageConfigurationBuilder::default().config(config).build().unwrap()
}

fn args_of(entrypoint: &str, cmd: &str, flag: Option<&str>, command: &str) -> Result<String> {
    let list = |text: &str| (!text.is_empty()).then(|| words(text));
    let image = image(|config| {
        config.set_entrypoint(list(entrypoint)).set_cmd(list(cmd));
    });
    let request = RunRequest { entrypoint: flag.map(words), command: words(command), ..request() };
    process::args(&request, image.config().as_ref()).map(|words| words.join(" "))
}

#[test]
fn the_entry_point_rules_are_dockers() {
    for (entrypoint, cmd, flag, command, want) in [
        ("", "sh", None, "", Some("sh")),
        ("", "sh", None, "ls -l", Some("ls -l")),
        ("/e", "a b", None, "", Some("/e a b")),
        ("/e", "a b", None, "c", Some("/e c")),
        ("/e", "", None, "", Some("/e")),
        ("/e", "a", Some("/f"), "", Some("/f")),
        ("/e", "a", Some("/f"), "c", Some("/f c")),
        ("/e", "a", Some(""), "c", Some("c")),
        ("/e", "a", Some(""), "", None),
        ("", "", None, "", None),
        ("/bin/sh -c run", "a", None, "", Some("/bin/sh -c run a")),
    ] {
        assert_eq!(args_of(entrypoint, cmd, flag, command).ok().as_deref(), want, "{entrypoint} {cmd} {flag:?}");
    }
}

#[test]
fn an_empty_command_is_not_found_and_a_nul_is_refused() {
    let mut empty = request();
    empty.command = vec![String::new()];
    assert_eq!(process::args(&empty, None).unwrap_err().exit_code(), 127);
    empty.command = vec!["a\0b".to_owned()];
    assert!(process::args(&empty, None).is_err());
}

fn env_of(request: &RunRequest, image: Option<&ImageConfiguration>) -> Vec<String> {
    build(request, image, &facts()).unwrap().process().as_ref().unwrap().env().clone().unwrap()
}

#[test]
fn the_environment_is_defaults_image_and_flags_in_this_order() {
    let path = env::DEFAULT_PATH;
    assert_eq!(env_of(&request(), None), [path, "HOSTNAME=0123456789ab", "HOME=/root"]);
    let with_env = image(|config| {
        config.set_env(Some(vec!["PATH=/opt".into(), "A=1".into(), "B=1".into(), "nonsense".into()]));
        config.set_user(Some("web".into()));
    });
    let mut flags = request();
    flags.tty = true;
    flags.hostname = Some("hal".to_owned());
    flags.env = vec!["B=2".into(), "A".into(), "C=3".into()];
    let want = ["PATH=/opt", "HOSTNAME=hal", "TERM=xterm", "B=2", "C=3", "HOME=/var/www"];
    assert_eq!(env_of(&flags, Some(&with_env)), want);
    flags.env = vec!["HOME=/elsewhere".into()];
    assert!(env_of(&flags, None).contains(&"HOME=/elsewhere".to_owned()));
}

/// Each mount in one line.
fn mounts_of(request: &RunRequest, image: Option<&ImageConfiguration>, facts: &SpecFacts) -> Result<Vec<String>> {
    let spec = build(request, image, facts)?;
    let line = |mount: &oci_spec::runtime::Mount| {
        let source = mount.source().as_ref().unwrap().display();
        let options = mount.options().as_ref().unwrap().join(",");
        format!("{} {} {source} {options}", mount.destination().display(), mount.typ().as_ref().unwrap())
    };
    Ok(spec.mounts().as_ref().unwrap().iter().map(line).collect())
}

#[test]
fn without_flags_the_mounts_are_dockers() {
    assert_eq!(
        mounts_of(&request(), None, &facts()).unwrap(),
        [
            "/proc proc proc nosuid,noexec,nodev",
            "/dev tmpfs tmpfs nosuid,strictatime,mode=755,size=65536k",
            "/dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            "/dev/mqueue mqueue mqueue nosuid,noexec,nodev",
            "/dev/shm tmpfs shm nosuid,noexec,nodev,mode=1777,size=67108864",
            "/sys sysfs sysfs nosuid,noexec,nodev,ro",
            "/sys/fs/cgroup cgroup cgroup nosuid,noexec,nodev,relatime,ro",
            "/etc/resolv.conf bind /run/minirun/c/resolv.conf rbind,rprivate",
            "/etc/hostname bind /run/minirun/c/hostname rbind,rprivate",
            "/etc/hosts bind /run/minirun/c/hosts rbind,rprivate",
        ]
    );
}

#[test]
fn mounts_of_the_callers_come_by_depth_and_replace_ours() {
    let mut asked = request();
    asked.mounts = vec![
        volume::parse("/h/deep:/a/b/c", "/").unwrap(),
        volume::parse("/h/hosts:/etc/hosts:ro", "/").unwrap(),
        tmpfs::parse("/dev/shm:size=1m").unwrap().into(),
        volume::parse("/h/top:/a", "/").unwrap(),
        volume::parse("vol:/data", "/").unwrap(),
    ];
    let lines = mounts_of(&asked, None, &facts()).unwrap();
    assert_eq!(
        lines[6..],
        [
            "/a bind /h/top rbind,rprivate",
            "/data bind /var/lib/minirun/volumes/v/_data rbind,rprivate",
            "/etc/hosts bind /h/hosts rbind,rro,rprivate",
            "/dev/shm tmpfs tmpfs nosuid,nodev,noexec,size=1048576",
            "/etc/resolv.conf bind /run/minirun/c/resolv.conf rbind,rprivate",
            "/etc/hostname bind /run/minirun/c/hostname rbind,rprivate",
            "/a/b/c bind /h/deep rbind,rprivate",
        ]
    );
    assert!(!lines.iter().any(|line| line.starts_with("/dev/shm tmpfs shm")));
}

#[test]
fn an_old_kernel_makes_only_the_mount_itself_read_only() {
    let mut old = facts();
    old.mount_setattr = false;
    let mut asked = request();
    asked.mounts = vec![volume::parse("/h:/a:ro", "/").unwrap()];
    assert!(mounts_of(&asked, None, &old).unwrap().contains(&"/a bind /h rbind,ro,rprivate".to_owned()));
    asked.mounts = vec![mount::parse("type=bind,src=/h,dst=/a,ro,bind-recursive=readonly", "/").unwrap()];
    assert!(mounts_of(&asked, None, &old).unwrap_err().hint.unwrap().contains("5.12"));
}

#[test]
fn volumes_of_the_image_are_made_unless_taken() {
    let with_volumes = image(|config| {
        config.set_volumes(Some(vec!["/z".into(), "/data/".into(), "/cache".into()]));
    });
    let mut asked = request();
    asked.mounts = vec![tmpfs::parse("/cache").unwrap().into()];
    let targets = |request: &RunRequest| {
        let volumes = mounts::volumes(request, Some(&with_volumes)).unwrap();
        volumes.iter().map(|v| v.target.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(targets(&asked), ["/data", "/z"]);
    assert!(mounts_of(&asked, Some(&with_volumes), &facts()).is_err(), "/z has no directory");
    let hostile = image(|config| {
        config.set_volumes(Some(vec!["../..".into()]));
    });
    assert!(mounts::volumes(&asked, Some(&hostile)).is_err());
}

#[test]
fn two_mounts_on_one_target_are_refused() {
    let mut asked = request();
    asked.mounts = vec![volume::parse("/x:/a/", "/").unwrap(), volume::parse("/y:/a", "/").unwrap()];
    assert!(mounts_of(&asked, None, &facts()).unwrap_err().message.contains("two mounts on /a"));
}

#[test]
fn read_only_covers_the_root_and_the_generated_files() {
    let mut asked = request();
    asked.read_only = true;
    let spec = build(&asked, None, &facts()).unwrap();
    assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(true));
    assert!(
        mounts_of(&asked, None, &facts())
            .unwrap()
            .contains(&"/etc/hosts bind /run/minirun/c/hosts rbind,ro,rprivate".to_owned())
    );
}

fn namespaces_of(request: &RunRequest, facts: &SpecFacts) -> Vec<String> {
    let spec = build(request, None, facts).unwrap();
    let namespaces = spec.linux().as_ref().unwrap().namespaces().clone().unwrap();
    let line = |n: &LinuxNamespace| match n.path() {
        Some(path) => format!("{}={}", n.typ(), path.display()),
        None => n.typ().to_string(),
    };
    namespaces.iter().map(line).collect()
}

#[test]
fn namespaces_are_own_shared_or_joined() {
    let mut asked = request();
    assert_eq!(namespaces_of(&asked, &facts()), ["mnt", "pid", "net", "ipc", "uts", "cgroup"]);
    asked.namespaces.pid = NamespaceMode::Host;
    asked.namespaces.ipc = NamespaceMode::Host;
    asked.network.mode = Some("container:web".into());
    let mut joining = facts();
    joining.joined.net = Some(HostPath::parse("/proc/7/ns/net").unwrap());
    assert_eq!(namespaces_of(&asked, &joining), ["mnt", "net=/proc/7/ns/net", "uts", "cgroup"]);
    let lines = mounts_of(&asked, None, &joining).unwrap();
    assert!(lines.contains(&"/dev/shm bind /dev/shm rbind,rprivate".to_owned()));
}

#[test]
fn the_hosts_network_brings_its_name_and_no_sysctls() {
    let mut asked = request();
    asked.network.mode = Some("host".into());
    let spec = build(&asked, None, &facts()).unwrap();
    assert_eq!(spec.hostname().as_deref(), Some("host"));
    assert!(spec.linux().as_ref().unwrap().sysctl().as_ref().unwrap().is_empty());
    asked.hostname = Some("hal".into());
    assert_eq!(build(&asked, None, &facts()).unwrap().hostname().as_deref(), Some("hal"));
    asked.namespaces.uts = NamespaceMode::Host;
    assert!(build(&asked, None, &facts()).is_err());
}

#[test]
fn a_host_name_cannot_write_lines_into_hosts() {
    let mut asked = request();
    for bad in ["", "a b", "a\nb", "a/b", &"x".repeat(65)] {
        asked.hostname = Some(bad.to_owned());
        assert!(build(&asked, None, &facts()).is_err(), "{bad:?}");
    }
}

#[test]
fn another_user_keeps_only_the_bounding_set() {
    let mut asked = request();
    asked.user = Some("web".to_owned());
    asked.groups = vec!["44".to_owned()];
    let spec = build(&asked, None, &facts()).unwrap();
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.user().additional_gids().as_deref(), Some(&[33, 5, 44][..]));
    assert_eq!((process.user().uid(), process.user().umask()), (33, Some(0o022)));
    let capabilities = process.capabilities().as_ref().unwrap();
    let count = |set: &Option<oci_spec::runtime::Capabilities>| set.as_ref().unwrap().len();
    assert_eq!(count(capabilities.bounding()), 11);
    for set in [capabilities.effective(), capabilities.permitted(), capabilities.inheritable(), capabilities.ambient()]
    {
        assert_eq!(count(set), 0);
    }
}

#[test]
fn an_unknown_user_names_the_image() {
    let mut asked = request();
    asked.user = Some("nonroot".to_owned());
    let error = build(&asked, None, &facts()).unwrap_err();
    assert!(error.message.starts_with("busybox: unknown user nonroot"), "{error}");
}

#[test]
fn limits_stop_at_the_hosts_with_a_warning() {
    let limits = |facts: &SpecFacts, request: &RunRequest| {
        let spec = build(request, None, facts).unwrap();
        let limits = spec.process().as_ref().unwrap().rlimits().clone().unwrap();
        limits.iter().map(|l| (l.typ(), l.soft(), l.hard())).collect::<Vec<_>>()
    };
    let mut host = facts();
    assert_eq!(limits(&host, &request()), [(PosixRlimitType::RlimitNofile, 1024, 4096)]);
    assert_eq!(warnings(&request(), &host), [""; 0], "the default is nobody's wish");
    let mut wish = request();
    wish.ulimits = vec![ulimit::parse("nofile=1024:524288").unwrap()];
    assert_eq!(warnings(&wish, &host).len(), 1);
    host.sys_resource = true;
    let mut asked = request();
    asked.ulimits = vec![ulimit::parse("nofile=5:6").unwrap(), ulimit::parse("nofile=7").unwrap()];
    assert_eq!(limits(&host, &asked), [(PosixRlimitType::RlimitNofile, 7, 7)]);
    assert_eq!(warnings(&asked, &host), [""; 0]);
}

#[test]
fn the_oom_score_is_never_below_ours_without_the_capability() {
    let score = |wanted, own, sys_resource| {
        let mut asked = request();
        asked.resources.oom_score_adj = wanted;
        let host = SpecFacts { oom_score_adj: own, sys_resource, ..facts() };
        build(&asked, None, &host).ok().and_then(|spec| spec.process().as_ref().unwrap().oom_score_adj())
    };
    for (wanted, own, sys_resource, want) in [
        (None, 0, false, Some(0)),
        (None, -900, true, Some(0)),
        (None, 300, false, Some(300)),
        (Some(-500), 0, false, Some(0)),
        (Some(-500), 0, true, Some(-500)),
        (Some(1001), 0, true, None),
    ] {
        assert_eq!(score(wanted, own, sys_resource), want, "{wanted:?} {own}");
    }
}

#[test]
fn privileged_lifts_masks_caps_and_device_rules() {
    let mut asked = request();
    let masked = |request: &RunRequest| {
        let spec = build(request, None, &facts()).unwrap();
        let linux = spec.linux().as_ref().unwrap();
        (linux.masked_paths().as_ref().unwrap().len(), linux.readonly_paths().as_ref().unwrap().len())
    };
    assert_eq!(masked(&asked), (14, 5));
    asked.security_opts = vec![security::parse("systempaths=unconfined", "/").unwrap()];
    assert_eq!(masked(&asked), (0, 0));
    asked.security_opts.clear();
    asked.privileged = true;
    assert_eq!(masked(&asked), (0, 0));
    let spec = build(&asked, None, &facts()).unwrap();
    let capabilities = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
    assert_eq!(capabilities.effective().as_ref().unwrap().len(), 12);
    assert!(mounts_of(&asked, None, &facts()).unwrap().contains(&"/sys sysfs sysfs nosuid,noexec,nodev,rw".to_owned()));
}

#[test]
fn a_normal_user_gets_a_user_namespace_and_a_map() {
    let mut host = facts();
    host.caller =
        Caller { uid: 1000, gid: 1000, subuids: vec![IdRange { start: 100_000, count: 65_536 }], subgids: Vec::new() };
    assert_eq!(namespaces_of(&request(), &host).last().unwrap(), "user");
    let spec = build(&request(), None, &host).unwrap();
    let linux = spec.linux().as_ref().unwrap();
    let map = |m: &LinuxIdMapping| (m.container_id(), m.host_id(), m.size());
    let uids: Vec<_> = linux.uid_mappings().as_ref().unwrap().iter().map(map).collect();
    assert_eq!(uids, [(0, 1000, 1), (1, 100_000, 65_536)]);
    // no subordinate groups: gid 5 is not mapped, so devpts must not name it
    assert!(!mounts_of(&request(), None, &host).unwrap()[2].contains("gid=5"));
    assert!(!linux.sysctl().as_ref().unwrap().contains_key("net.ipv4.ping_group_range"));
}

#[test]
fn apparmor_is_ours_where_it_is_loaded() {
    let profile = |lsm: Lsm, opts: &[&str], privileged: bool| {
        let mut asked = request();
        asked.privileged = privileged;
        asked.security_opts = opts.iter().map(|opt| security::parse(opt, "/").unwrap()).collect();
        let spec = build(&asked, None, &SpecFacts { lsm, ..facts() })?;
        Ok::<_, Error>(spec.process().as_ref().unwrap().apparmor_profile().clone().unwrap_or_default())
    };
    let ours = || Lsm::AppArmor { default_profile: Some("minirun-default".into()) };
    assert_eq!(profile(ours(), &[], false).unwrap(), "minirun-default");
    assert_eq!(profile(ours(), &[], true).unwrap(), "");
    assert_eq!(profile(ours(), &["apparmor=unconfined"], false).unwrap(), "unconfined");
    assert_eq!(profile(ours(), &["apparmor=mine"], false).unwrap(), "mine");
    assert_eq!(profile(Lsm::None, &["apparmor=unconfined"], false).unwrap(), "");
    assert!(profile(Lsm::None, &["apparmor=mine"], false).is_err());
}

#[test]
fn a_working_directory_is_absolute() {
    let mut asked = request();
    asked.workdir = Some("/srv/made/later".into());
    assert_eq!(
        build(&asked, None, &facts()).unwrap().process().as_ref().unwrap().cwd().to_str(),
        Some("/srv/made/later")
    );
    asked.workdir = Some("srv".into());
    assert!(build(&asked, None, &facts()).is_err());
}

#[test]
fn init_is_bound_into_dev_and_put_in_front() {
    let mut asked = request();
    asked.init = true;
    assert!(build(&asked, None, &facts()).is_err());
    let host = SpecFacts { init: Some(HostPath::parse("/usr/lib/init").unwrap()), ..facts() };
    let spec = build(&asked, None, &host).unwrap();
    assert_eq!(spec.process().as_ref().unwrap().args().as_deref().unwrap(), ["/dev/init", "--", "true"]);
    assert!(mounts_of(&asked, None, &host).unwrap().contains(&"/dev/init bind /usr/lib/init bind,ro,rprivate".into()));
}

#[test]
fn propagation_of_a_bind_opens_the_root() {
    let mut asked = request();
    assert_eq!(mounts::root_propagation(&asked), None);
    asked.mounts = vec![volume::parse("/a:/a:slave", "/").unwrap()];
    assert_eq!(mounts::root_propagation(&asked), Some("rslave"));
    asked.mounts.push(volume::parse("/b:/b:rshared", "/").unwrap());
    assert_eq!(mounts::root_propagation(&asked), Some("shared"));
}

#[test]
fn a_bundle_of_runc_is_read_and_nonsense_is_not() {
    let ours = serde_json::to_string(&build(&request(), None, &facts()).unwrap()).unwrap();
    assert_eq!(read_config(&ours).unwrap().hostname().as_deref(), Some("0123456789ab"));
    for bad in ["", "{", "[]", "{}", r#"{"ociVersion":"2.0.0"}"#, r#"{"ociVersion":"1.0.2","process":{"args":5}}"#] {
        assert!(read_config(bad).is_err(), "{bad:?}");
    }
}
