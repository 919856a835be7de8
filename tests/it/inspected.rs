//! What `inspect` shows stands under docker's names: scripts read it by them.

use crate::detached::{does, inspect, pid, refused, up};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use serde_json::{Value, json};

/// Each flag, and where docker has what it says.
const ASKED: [(&[&str], &str, &str); 30] = [
    (&["-m", "64m"], "/HostConfig/Memory", "67108864"),
    (&[], "/HostConfig/MemorySwap", "134217728"),
    (&["--cpu-shares", "512"], "/HostConfig/CpuShares", "512"),
    (&["--cpus", "0.5"], "/HostConfig/NanoCpus", "500000000"),
    (&["--shm-size", "1m"], "/HostConfig/ShmSize", "1048576"),
    (&["--pids-limit", "99"], "/HostConfig/PidsLimit", "99"),
    (&["--cap-add", "NET_RAW"], "/HostConfig/CapAdd", r#"["NET_RAW"]"#),
    (&["--cap-drop", "CHOWN"], "/HostConfig/CapDrop", r#"["CHOWN"]"#),
    (&["--security-opt", "no-new-privileges"], "/HostConfig/SecurityOpt", r#"["no-new-privileges"]"#),
    (&["--init"], "/HostConfig/Init", "true"),
    (&["-v", "data:/data:ro"], "/HostConfig/Binds", r#"["/tmp:/host","data:/data:ro"]"#),
    (&["-v", "/tmp:/host"], "/Mounts/0/Source", r#""/tmp""#),
    (&["-v", "/none"], "/Config/Volumes", r#"{"/none":{}}"#),
    (&["--tmpfs", "/t:size=1m"], "/HostConfig/Tmpfs", r#"{"/t":"size=1048576"}"#),
    (
        &["-p", "127.0.0.1:8080:80"],
        "/HostConfig/PortBindings",
        r#"{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]}"#,
    ),
    (&["--expose", "53/udp"], "/Config/ExposedPorts", r#"{"53/udp":{},"80/tcp":{}}"#),
    (&["--dns", "9.9.9.9"], "/HostConfig/Dns", r#"["9.9.9.9"]"#),
    (&["--add-host", "db:10.0.0.1"], "/HostConfig/ExtraHosts", r#"["db:10.0.0.1"]"#),
    (&["--restart", "on-failure:3"], "/HostConfig/RestartPolicy", r#"{"MaximumRetryCount":3,"Name":"on-failure"}"#),
    (&["--ulimit", "core=0:1"], "/HostConfig/Ulimits", r#"[{"Hard":1,"Name":"core","Soft":0}]"#),
    (&["--ipc", "private"], "/HostConfig/IpcMode", r#""private""#),
    (&["-h", "host"], "/Config/Hostname", r#""host""#),
    (&["-u", "1:1"], "/Config/User", r#""1:1""#),
    (&["-w", "/tmp"], "/Config/WorkingDir", r#""/tmp""#),
    (&["-l", "x=1"], "/Config/Labels", r#"{"x":"1"}"#),
    (&["--stop-signal", "INT"], "/Config/StopSignal", r#""SIGINT""#),
    (&["--entrypoint", "sleep"], "/Config/Entrypoint", r#"["sleep"]"#),
    (&[], "/Config/Cmd", r#"["1000"]"#),
    (&[], "/Path", r#""sleep""#),
    (&[], "/State/FinishedAt", r#""0001-01-01T00:00:00Z""#),
];

#[test]
fn what_was_asked_for_stands_where_docker_has_it() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let flags: Vec<&str> = ASKED.iter().flat_map(|(flags, ..)| flags.iter().copied()).collect();
    does(&sandbox, &[&["create", "--name", "web"][..], &flags, &["busybox", "1000"]].concat());
    let all = inspect(&sandbox, "web");
    for (flags, place, want) in ASKED {
        let want: Value = serde_json::from_str(want).unwrap();
        assert_eq!(all.pointer(place), Some(&want), "{flags:?}: {place}");
    }
    assert_eq!(does(&sandbox, &["ps", "-a", "--format", "{{.Command}}"]).text(), r#""sleep 1000""#); // not its init
}

#[test]
fn where_its_files_are_and_how_much_it_has_written() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let script = "dd if=/dev/zero of=/big bs=64k count=1 2>/dev/null";
    does(&sandbox, &["run", "--name", "web", "--network", "none", "busybox", "sh", "-c", script]);
    let all = inspect(&sandbox, "web");
    let upper = all["GraphDriver"]["Data"]["UpperDir"].as_str().unwrap();
    assert_eq!(std::fs::metadata(format!("{upper}/big")).unwrap().len(), 65536);
    let lower = all["GraphDriver"]["Data"]["LowerDir"].as_str().unwrap().split(':').next().unwrap();
    assert!(std::path::Path::new(lower).join("bin/busybox").exists(), "{lower}");
    assert_eq!(all.get("SizeRw"), None);
    let sizes: Vec<u64> = does(&sandbox, &["inspect", "-s", "-f", "{{.SizeRw}} {{.SizeRootFs}}", "web"])
        .text()
        .split(' ')
        .map(|size| size.parse().unwrap())
        .collect();
    assert!(sizes[0] >= 65536 && sizes[1] > sizes[0], "{sizes:?}");
}

#[test]
fn a_name_is_a_containers_an_images_or_a_volumes() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["tag", "busybox", "same"]);
    does(&sandbox, &["volume", "create", "same"]);
    let kind = |flags: &[&str]| {
        let all: Value = serde_json::from_str(&does(&sandbox, &[&["inspect"][..], flags].concat()).stdout).unwrap();
        let is = |key: &str| all[0].get(key).is_some();
        if is("State") {
            "container"
        } else if is("RepoTags") {
            "image"
        } else {
            "volume"
        }
    };
    assert_eq!(kind(&["same"]), "image");
    does(&sandbox, &["create", "--name", "same", "--network", "none", "busybox"]);
    assert_eq!(kind(&["same"]), "container");
    for wanted in ["container", "image", "volume"] {
        assert_eq!(kind(&["--type", wanted, "same"]), wanted);
    }
    does(&sandbox, &["volume", "create", "alone"]);
    assert_eq!(kind(&["alone"]), "volume");
    refused(&sandbox, &["inspect", "nobody"], 1, "no container nobody");
}

#[test]
fn an_images_labels_are_its_containers_too() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["create", "--name", "first", "--network", "none", "-l", "of=image", "-l", "x=1", "busybox"]);
    does(&sandbox, &["commit", "first", "labelled"]);
    does(&sandbox, &["create", "--name", "second", "--network", "none", "-l", "x=2", "labelled"]);
    assert_eq!(inspect(&sandbox, "second")["Config"]["Labels"], json!({ "of": "image", "x": "2" }));
    let listed = does(&sandbox, &["ps", "-aq", "--no-trunc", "--filter", "label=of=image", "--filter", "label=x=2"]);
    assert_eq!(inspect(&sandbox, "second")["Id"], listed.text().as_str());
}

#[test]
fn the_hosts_end_of_a_cable_is_shown_as_ip_shows_it() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["network", "create", "--ipv6=false", "lab"]);
    up(&sandbox, &["--name", "first", "--network", "lab"], &["sleep", "1000"]);
    up(&sandbox, &["--name", "web", "--network", "lab", "-p", "8080:80"], &["sleep", "1000"]);
    let all = inspect(&sandbox, "web");
    let address = all["NetworkSettings"]["Networks"]["lab"]["IPAddress"].as_str().unwrap();
    // more goes there than comes back, and what is too long for the other end is dropped
    let send = format!("bash -c 'printf %01000d 0 >/dev/udp/{address}/9'");
    let shorter = format!("nsenter -t {} -n ip link set eth0 mtu 500", pid(&sandbox, "web"));
    sandbox.sh(&format!("{send}; {shorter}; {send}")).expect_code(0);
    let name = all["Host"]["Veths"][0]["Name"].as_str().unwrap();
    let ip = || -> Value {
        serde_json::from_str(&sandbox.sh(&format!("ip -d -s -j link show {name}")).expect_code(0).stdout).unwrap()
    };
    // bridges send packets of their own: what is compared is from a moment without one
    let (veth, seen) = loop {
        let before = ip();
        let veth = inspect(&sandbox, "web")["Host"]["Veths"][0].clone();
        if ip()[0]["stats64"] == before[0]["stats64"] {
            break (veth, before[0].clone());
        }
    };
    let port = &seen["linkinfo"]["info_slave_data"];
    let number = port["no"].as_str().unwrap().trim_start_matches("0x");
    assert_eq!(veth["Mac"], seen["address"]);
    assert_eq!(veth["Port"]["Number"], u16::from_str_radix(number, 16).unwrap(), "{port}");
    let flags = [("State", "state"), ("Isolated", "isolated"), ("Hairpin", "hairpin")];
    assert!(flags.iter().all(|(ours, theirs)| veth["Port"][ours] == port[theirs]), "{veth} {port}");
    assert_eq!((&port["state"], &port["hairpin"]), (&json!("forwarding"), &json!(true)));
    let (received, sent) = (&seen["stats64"]["rx"], &seen["stats64"]["tx"]);
    for (ours, theirs) in [("Rx", received), ("Tx", sent)] {
        for (name, counter) in
            [("Bytes", "bytes"), ("Packets", "packets"), ("Errors", "errors"), ("Dropped", "dropped")]
        {
            assert_eq!(veth["Counters"][ours][name], theirs[counter], "{ours} {name}: {veth}");
        }
    }
    assert!(sent["bytes"].as_u64() > received["bytes"].as_u64() && sent["dropped"] == 1, "{seen}");
    // the namespace at its other end has the number that lsns shows
    let namespace = sandbox.sh(&format!("lsns -n -t net -o NS -p {}", pid(&sandbox, "web"))).text();
    assert_eq!(all["Host"]["Namespaces"]["net"], format!("net:[{}]", namespace.trim()));
}
