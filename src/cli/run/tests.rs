//! Command lines to requests.

use super::request::from_args;
use crate::cli::{Cli, Sub, command, words};
use crate::error::{Error, Result};
use crate::id::Name;
use crate::spec::request::{Explain, NamespaceMode, NetworkWords, Pull, RunRequest, Source, Trace};
use crate::spec::{mount, security, tmpfs, ulimit, volume};
use clap::FromArgMatches as _;

fn request(line: &[&str]) -> Result<RunRequest> {
    let command = command();
    let argv: Vec<String> = ["minirun", "run"].iter().chain(line).map(|word| (*word).to_owned()).collect();
    let words = words::in_clap_grammar(&argv, &command);
    let matches = command.try_get_matches_from(words);
    let cli =
        matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|e| Error::internal(e.to_string()))?;
    match cli.command {
        Some(Sub::Run(args)) => from_args(&args),
        other => Err(Error::internal(format!("{other:?}"))),
    }
}

fn of(line: &str) -> RunRequest {
    request(&line.split(' ').collect::<Vec<_>>()).unwrap()
}

/// A request for busybox without anything else.
fn plain() -> RunRequest {
    RunRequest::new(Source::Image("busybox".into()))
}

#[test]
fn flags_become_fields() {
    type Change = fn(&mut RunRequest);
    let table: [(&str, Change); 20] = [
        ("busybox", |_| ()),
        ("--rm -it busybox sh -c ls", |r| {
            (r.remove, r.interactive, r.tty) = (true, true, true);
            r.command = vec!["sh".into(), "-c".into(), "ls".into()];
        }),
        ("-d --name web busybox --rm", |r| {
            (r.detach, r.name, r.command) = (true, Name::parse("web").ok(), vec!["--rm".into()]);
        }),
        ("--name a --name b busybox", |r| r.name = Name::parse("b").ok()),
        ("-e A=1 --env B= busybox", |r| r.env = vec!["A=1".into(), "B=".into()]),
        ("-w /x -u 5:6 --group-add tty busybox", |r| {
            (r.workdir, r.user, r.groups) = (Some("/x".into()), Some("5:6".into()), vec!["tty".into()]);
        }),
        ("--entrypoint /e busybox a", |r| {
            (r.entrypoint, r.command) = (Some(vec!["/e".into()]), vec!["a".into()]);
        }),
        ("--hostname hal --init --stop-signal INT busybox", |r| {
            (r.hostname, r.init, r.stop_signal) = (Some("hal".into()), true, Some(2));
        }),
        ("-l a=1 --label b --annotation c=2 busybox", |r| {
            r.labels = vec![("a".into(), "1".into()), ("b".into(), String::new())];
            r.annotations = vec![("c".into(), "2".into())];
        }),
        ("-v /a:/b:ro --tmpfs /t --mount type=bind,src=/c,dst=/d busybox", |r| {
            r.mounts = vec![
                volume::parse("/a:/b:ro", "/").unwrap(),
                mount::parse("type=bind,src=/c,dst=/d", "/").unwrap(),
                tmpfs::parse("/t").unwrap().into(),
            ];
        }),
        ("-m 64m --memory-swap -1 --memory-reservation 8m busybox", |r| {
            r.resources.memory = Some(64 << 20);
            r.resources.memory_swap = Some(-1);
            r.resources.memory_reservation = Some(8 << 20);
        }),
        ("--cpus 0.5 -c 512 --cpuset-cpus 0-1 busybox", |r| {
            r.resources.nano_cpus = Some(500_000_000);
            r.resources.cpu_shares = Some(512);
            r.resources.cpuset_cpus = Some("0-1".into());
        }),
        ("--pids-limit -1 --oom-score-adj -500 --shm-size 1g --blkio-weight 10 busybox", |r| {
            r.resources.pids_limit = Some(-1);
            r.resources.oom_score_adj = Some(-500);
            r.resources.shm_size = Some(1 << 30);
            r.resources.blkio_weight = Some(10);
        }),
        ("--ulimit nofile=5:6 --ulimit core=0 busybox", |r| {
            r.ulimits = vec![ulimit::parse("nofile=5:6").unwrap(), ulimit::parse("core=0").unwrap()];
        }),
        ("--cap-add net_admin --cap-drop ALL --privileged busybox", |r| {
            (r.cap_add, r.cap_drop, r.privileged) = (vec!["net_admin".into()], vec!["ALL".into()], true);
        }),
        ("--security-opt seccomp=unconfined --sysctl net.core.somaxconn=9 busybox", |r| {
            r.security_opts = vec![security::parse("seccomp=unconfined", "/").unwrap()];
            r.sysctls = vec![("net.core.somaxconn".into(), "9".into())];
        }),
        ("-p 8080:80 -p 53:53/udp -P --network bridge --dns 1.1.1.1 --add-host a:1.2.3.4 busybox", |r| {
            r.network = NetworkWords {
                mode: Some("bridge".into()),
                publish: vec!["8080:80".into(), "53:53/udp".into()],
                publish_all: true,
                dns: vec!["1.1.1.1".into()],
                add_host: vec!["a:1.2.3.4".into()],
                ..NetworkWords::default()
            };
        }),
        ("--net=host --pid host --ipc container:db --uts private busybox", |r| {
            r.network.mode = Some("host".into());
            r.namespaces.pid = NamespaceMode::Host;
            r.namespaces.ipc = NamespaceMode::Container("db".into());
        }),
        ("--explain --pull never --platform linux/arm64 -q --read-only busybox", |r| {
            (r.explain, r.pull, r.quiet, r.read_only) = (Some(Explain::Text), Pull::Never, true, true);
            r.platform = Some("linux/arm64".into());
        }),
        ("--explain=json --trace=step --cidfile /x busybox", |r| {
            (r.explain, r.trace) = (Some(Explain::Json), Some(Trace::Step));
            r.cidfile = crate::id::HostPath::parse("/x").ok();
        }),
    ];
    for (line, change) in table {
        let mut want = plain();
        change(&mut want);
        assert_eq!(of(line), want, "{line}");
    }
}

/// Command lines, all the way to a fact of the OCI specification.
#[test]
fn a_command_line_becomes_a_specification() {
    for (line, pointer, want) in [
        ("busybox true", "/process/args", r#"["true"]"#),
        ("--entrypoint /e busybox a", "/process/args", r#"["/e","a"]"#),
        ("-t busybox sh", "/process/terminal", "true"),
        ("-e PATH=/x busybox true", "/process/env/0", r#""PATH=/x""#),
        ("-w /srv busybox true", "/process/cwd", r#""/srv""#),
        ("-u web busybox id", "/process/user", r#"{"uid":33,"gid":33,"umask":18,"additionalGids":[33,5]}"#),
        ("-u 5:6 --group-add 7 busybox id", "/process/user/additionalGids", "[6,7]"),
        ("--hostname hal busybox true", "/hostname", r#""hal""#),
        ("--read-only busybox true", "/root/readonly", "true"),
        ("-m 64m busybox true", "/linux/resources/memory", r#"{"limit":67108864,"swap":134217728}"#),
        ("-m 64m --memory-swap 64m busybox true", "/linux/resources/memory/swap", "67108864"),
        ("--cpus 0.5 busybox true", "/linux/resources/cpu", r#"{"quota":50000,"period":100000}"#),
        ("--cpuset-cpus 0,1 busybox true", "/linux/resources/cpu/cpus", r#""0,1""#),
        ("--pids-limit 20 busybox true", "/linux/resources/pids/limit", "20"),
        ("busybox true", "/linux/resources/pids/limit", "2048"),
        ("--network host busybox true", "/linux/namespaces/2/type", r#""ipc""#),
        ("--pid host busybox true", "/linux/namespaces/1/type", r#""network""#),
        ("--cap-drop ALL busybox true", "/process/capabilities/bounding", "[]"),
        ("--cap-drop all --cap-add kill busybox true", "/process/capabilities/effective", r#"["CAP_KILL"]"#),
        ("--security-opt no-new-privileges busybox true", "/process/noNewPrivileges", "true"),
        ("--sysctl net.core.somaxconn=9 busybox true", "/linux/sysctl/net.core.somaxconn", r#""9""#),
        ("-v /a:/b:slave busybox true", "/linux/rootfsPropagation", r#""rslave""#),
        ("--shm-size 1m busybox true", "/mounts/4/options/4", r#""size=1048576""#),
        ("--ulimit core=0 busybox true", "/process/rlimits/0", r#"{"type":"RLIMIT_CORE","hard":0,"soft":0}"#),
        ("--privileged busybox true", "/linux/maskedPaths", "[]"),
        ("--annotation a=b busybox true", "/annotations", r#"{"a":"b"}"#),
        ("--rootfs /srv/root /printme", "/process/args", r#"["/printme"]"#),
    ] {
        let spec = crate::spec::build(&of(line), None, &crate::spec::tests::facts()).unwrap();
        let json = serde_json::to_value(&spec).unwrap();
        let got = json.pointer(pointer).map(ToString::to_string);
        assert_eq!(got.as_deref(), Some(want), "{line}: {pointer}");
    }
}

proptest::proptest! {
    #[test]
    fn no_command_line_panics(line in proptest::collection::vec("-{0,2}[a-z=:/,.0-9]{0,9}", 0..8)) {
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        let _ = request(&words);
    }
}

#[test]
fn a_directory_stands_in_for_the_image() {
    let got = of("--rootfs /srv/root /printme -x");
    assert_eq!(got.source, Source::Rootfs(crate::id::HostPath::parse("/srv/root").unwrap()));
    assert_eq!(got.command, ["/printme", "-x"]);
    let relative = of("--rootfs ./root x");
    assert!(matches!(relative.source, Source::Rootfs(dir) if dir.as_str().ends_with("/root")));
}

#[test]
fn an_empty_entry_point_clears_the_images() {
    assert_eq!(request(&["--entrypoint", "", "busybox", "sh"]).unwrap().entrypoint, Some(vec![]));
    assert_eq!(request(&["--entrypoint=", "busybox", "sh"]).unwrap().entrypoint, Some(vec![]));
}

#[test]
fn an_empty_value_says_no_more_than_none_but_a_limit() {
    let flags = [
        "--name",
        "--hostname",
        "--domainname",
        "--workdir",
        "--user",
        "--network",
        "--ip",
        "--mac-address",
        "--pid",
        "--ipc",
        "--uts",
        "--userns",
        "--restart",
        "--cidfile",
        "--platform",
        "--stop-signal",
        "--detach-keys",
        "--cgroup-parent",
        "--cpuset-cpus",
        "--log-driver",
        "--health-cmd",
    ];
    let words: Vec<&str> = flags.iter().flat_map(|flag| [flag, ""]).chain(["busybox"]).collect();
    let health = crate::spec::health::HealthWords { command: Some(String::new()), ..Default::default() };
    assert_eq!(request(&words).unwrap(), RunRequest { health, ..request(&["busybox"]).unwrap() });
    for flag in ["-m", "--cpus", "--shm-size"] {
        assert!(request(&[flag, "", "busybox"]).is_err(), "{flag}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (line, part) in [
        (&["--memory", "1x", "b"][..], "--memory: invalid size \"1x\""),
        (&["--cpus", "many", "b"], "invalid --cpus"),
        (&["-v", "/a:b", "b"], "invalid volume"),
        (&["--mount", "type=bind", "b"], "invalid mount"),
        (&["--tmpfs", "x", "b"], "invalid tmpfs"),
        (&["--ulimit", "x=1", "b"], "invalid ulimit"),
        (&["--device", "x", "b"], "invalid device"),
        (&["--sysctl", "vm.x=1", "b"], "invalid sysctl"),
        (&["--name", "-x", "b"], "invalid name"),
        (&["-e", "=x", "b"], "invalid environment variable"),
        (&["--env-file", "/nowhere/at/all", "b"], "/nowhere/at/all: no such file"),
        (&["--security-opt", "x", "b"], "invalid --security-opt"),
        (&["--stop-signal", "x", "b"], "unknown signal"),
        (&["--pid", "x", "b"], "invalid --pid"),
        (&["--pull", "x", "b"], "invalid --pull"),
        (&["--explain=x", "b"], "invalid --explain"),
        (&["--trace=x", "b"], "invalid --trace"),
        (&["--network", "none", "--network", "b", "c"], "--network \"none\" goes with no other"),
        (&["-l", "=x", "b"], "invalid label"),
        (&[""], "the image's name is empty"),
        (&[], "missing IMAGE"),
    ] {
        let error = request(line).expect_err(part);
        assert!(error.message.starts_with(part) && error.hint.is_some() && error.exit_code() == 125, "{error:?}");
    }
}
