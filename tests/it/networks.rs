//! Networks of one's own: who reaches whom, what is lent, and that nothing is left.

use crate::detached::{does, inspect, monitor, refused, up};
use crate::support::command::{Running, eventually, seconds};
use crate::support::reach::{cut_off, ping, reaches};
use crate::support::requires::requires;
use crate::support::sandbox::{HOST, HOST6, OUTSIDE, Sandbox, minirun_binary};
use crate::support::snapshot::Snapshot;
use serde_json::Value;
use std::time::Duration;

fn create(sandbox: &Sandbox, args: &[&str]) -> String {
    does(sandbox, &[&["network", "create"][..], args].concat()).text()
}

/// A container of these networks that waits.
fn waits(sandbox: &Sandbox, name: &str, networks: &[&str]) {
    let flags: Vec<&str> = networks.iter().flat_map(|network| ["--network", network]).collect();
    up(sandbox, &[&["--name", name, "--cap-add", "NET_RAW"][..], &flags].concat(), &["sleep", "1000"]);
}

fn address(sandbox: &Sandbox, name: &str, network: &str) -> String {
    inspect(sandbox, name)["NetworkSettings"]["Networks"][network]["IPAddress"].as_str().unwrap().to_owned()
}

#[test]
fn containers_of_a_network_reach_each_other_and_nobody_elses() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    create(&sandbox, &["warm"]);
    does(&sandbox, &["run", "--rm", "--network", "warm", "busybox", "true"]);
    does(&sandbox, &["network", "rm", "warm"]);
    let before = Snapshot::of(&sandbox);
    let id = create(&sandbox, &["one"]);
    assert_eq!(id.len(), 64);
    create(&sandbox, &["two"]);
    for (name, networks) in [("a", &["one"][..]), ("b", &["one"]), ("c", &["two"]), ("both", &["two", "one"])] {
        waits(&sandbox, name, networks);
    }
    let (b, c) = (address(&sandbox, "b", "one"), address(&sandbox, "c", "two"));
    for (from, to, want) in
        [("a", &b, true), ("a", &c, false), ("both", &b, true), ("both", &c, true), ("c", &b, false)]
    {
        assert!(if want { reaches(&sandbox, from, to) } else { cut_off(&sandbox, from, to) }, "{from} {to}");
    }
    // the default route is the first one's, and the links are in the order of the flags
    let routes = does(&sandbox, &["exec", "both", "ip", "route"]).stdout;
    assert!(routes.contains("dev eth1") && routes.lines().next().unwrap().ends_with("dev eth0 "), "{routes}");
    let members = inspect_network(&sandbox, "one")["Containers"].as_object().unwrap().len();
    assert_eq!(members, 3);
    refused(&sandbox, &["network", "rm", "one"], 1, "is in use by");
    does(&sandbox, &["rm", "-f", "a", "b", "c", "both"]);
    assert_eq!(
        does(&sandbox, &["network", "rm", "one", &inspect_network(&sandbox, "two")["Id"].as_str().unwrap()[..6]])
            .stdout,
        "one\ntwo\n"
    );
    before.assert_same(&sandbox);
}

fn inspect_network(sandbox: &Sandbox, name: &str) -> Value {
    let all: Value = serde_json::from_str(&does(sandbox, &["network", "inspect", name]).stdout).unwrap();
    all[0].clone()
}

#[test]
fn what_was_asked_of_a_network_holds() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    create(
        &sandbox,
        &[
            "--subnet",
            "10.77.0.0/24",
            "--gateway",
            "10.77.0.254",
            "--ip-range",
            "10.77.0.128/25",
            "--aux-address",
            "printer=10.77.0.129",
            "--subnet",
            "fd77::/64",
            "--mtu",
            "1400",
            "-l",
            "a=b",
            "net",
        ],
    );
    up(&sandbox, &["--name", "web", "--cap-add", "NET_RAW", "--network", "net"], &["sleep", "1000"]);
    let of = inspect(&sandbox, "web")["NetworkSettings"]["Networks"]["net"].clone();
    assert_eq!((&of["IPAddress"], &of["Gateway"]), (&"10.77.0.128".into(), &"10.77.0.254".into()));
    assert!(of["GlobalIPv6Address"].as_str().unwrap().starts_with("fd77::"));
    let link = does(&sandbox, &["exec", "web", "ip", "link", "show", "eth0"]).stdout;
    assert!(link.contains("mtu 1400"), "{link}");
    up(&sandbox, &["--name", "next", "--cap-add", "NET_RAW", "--network", "net:ip6=fd77::99"], &["sleep", "1000"]);
    assert_eq!(address(&sandbox, "next", "net"), "10.77.0.130"); // .129 is the printer's
    assert!(reaches(&sandbox, "next", "10.77.0.128"));
    assert!(reaches(&sandbox, "web", "fd77::99"));
    up(&sandbox, &["--name", "exact", "--network", "net", "--ip", "10.77.0.7", "--ip6", "fd77::7"], &["sleep", "1000"]);
    assert_eq!(address(&sandbox, "exact", "net"), "10.77.0.7");
    for (flags, part) in [
        (&["--network", "net", "--ip", "10.77.0.7"][..], "in use by container"),
        (&["--network", "net", "--ip", "10.77.0.129"], "is reserved"),
        (&["--network", "net", "--ip", "10.78.0.1"], "is not in network net"),
        (&["--network", "net:subnet=10.9.0.0/24"], "is no subnet of network net"),
        (&["--network", "net", "--network", "net"], "is named twice"),
        (&["--network", "net", "--network", "bridge", "--ip", "10.77.0.8"], "with several networks"),
        (&["--network", "nosuch"], "no network nosuch"),
    ] {
        refused(&sandbox, &[&["run", "--rm"][..], flags, &["busybox", "true"]].concat(), 125, part);
    }
    let shown = inspect_network(&sandbox, "net");
    assert_eq!(shown["IPAM"]["Config"][0]["IPRange"], "10.77.0.128/25");
    assert_eq!((&shown["EnableIPv6"], &shown["Labels"]["a"]), (&true.into(), &"b".into()));
}

#[test]
fn an_internal_network_and_one_without_a_gateway_lead_nowhere() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    create(&sandbox, &["--internal", "--subnet", "10.76.0.0/24", "--subnet", "fd76::/64", "inner"]);
    create(&sandbox, &["--no-gateway", "--subnet", "10.78.0.0/24", "bare"]);
    create(&sandbox, &["--no-masquerade", "plain"]);
    create(&sandbox, &["open"]);
    for name in ["inner", "bare", "plain", "open"] {
        waits(&sandbox, name, &[name]);
        waits(&sandbox, &format!("{name}-2"), &[name]);
        assert!(reaches(&sandbox, name, &address(&sandbox, &format!("{name}-2"), name)), "{name}");
    }
    assert!(reaches(&sandbox, "open", OUTSIDE) && reaches(&sandbox, "plain", OUTSIDE)); // the control
    for name in ["inner", "bare"] {
        let said = ping(&sandbox, name, OUTSIDE, seconds(1));
        assert!(said.code() != 0 && said.stderr.contains("Network is unreachable"), "{name}: {said}");
    }
    // with a route of its own neither
    let join = ["run", "--rm", "--cap-add", "NET_ADMIN", "--network", "container:inner", "busybox"];
    does(&sandbox, &[&join[..], &["ip", "route", "add", "default", "via", "10.76.0.1"]].concat());
    assert!(cut_off(&sandbox, "inner", OUTSIDE));
    // nor to what another network's container has published, by the host's addresses that it does reach
    let front = ["--name", "front", "--network", "open", "-p", "8080:80"];
    up(&sandbox, &front, &["httpd", "-f", "-p", "80", "-h", "/etc"]);
    let fetch =
        |url: &str| sandbox.in_network(&format!("curl -gsf -o /dev/null --max-time 10 {url}/passwd")).code() == 0;
    let fetches = |name: &str, url: &str, patience: Duration| {
        let (page, patience) = (format!("{url}/passwd"), patience.as_secs().to_string());
        sandbox.minirun(&["exec", name, "timeout", &patience, "wget", "-q", "-O", "/dev/null", &page]).code() == 0
    };
    for url in ["http://10.76.0.1:8080", "http://[fd76::1]:8080"] {
        eventually("it answers the host", seconds(20), || fetch(url));
        assert!(!fetches("inner", url, Duration::from_secs(3)), "{url}");
    }
    let of = inspect(&sandbox, "plain")["NetworkSettings"]["Networks"]["plain"].clone();
    let gateway = |key: &str| of[key].as_str().unwrap().to_owned();
    for url in [gateway("Gateway"), format!("[{}]", gateway("IPv6Gateway"))] {
        let url = format!("http://{url}:8080");
        assert!(fetches("plain", &url, seconds(20)), "the control, from a network that leads out: {url}");
    }
    // and in a network without a gateway there is nothing of the host, by any family
    let links =
        sandbox.sh("for b in $(ip -br link show type bridge | cut -d' ' -f1); do ip -o address show dev $b; done");
    assert_eq!(links.stdout.matches("fe80").count(), 3, "{links}"); // of the three with a gateway
    assert!(!links.stdout.contains("10.78."), "{links}");
    // where the outside knows no way back but to the host's own address
    sandbox.outside("ip route delete default").expect_code(0);
    assert!(reaches(&sandbox, "open", OUTSIDE) && cut_off(&sandbox, "plain", OUTSIDE));
    waits(&sandbox, "host", &["host"]);
    assert!(reaches(&sandbox, "host", &address(&sandbox, "inner", "inner")));
    assert!(cut_off(&sandbox, "host", "10.78.0.2"), "the host has no route there");
}

#[test]
fn ports_are_published_through_a_network_that_leads_out_and_where_it_says() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    create(&sandbox, &["--internal", "inner"]);
    create(&sandbox, &["--no-gateway", "bare"]);
    create(&sandbox, &["open"]);
    refused(&sandbox, &["run", "--rm", "--network", "bare", "-p", "8080:80", "busybox", "true"], 125, "leads nowhere");
    refused(&sandbox, &["run", "--rm", "--network", "inner", "-p", "8080:80", "busybox", "true"], 125, "leads nowhere");
    let flags = ["--name", "front", "--network", "inner", "--network", "open", "-p", "8080:80"];
    up(&sandbox, &flags, &["httpd", "-f", "-p", "80", "-h", "/etc"]);
    let port = does(&sandbox, &["port", "front"]).stdout;
    assert!(port.contains("80/tcp -> 0.0.0.0:8080") && port.contains("80/tcp -> [::]:8080"), "{port}");
    let fetch = |url: &str| sandbox.in_network(&format!("curl -sf -o /dev/null --max-time 10 {url}/passwd")).code();
    for url in ["http://127.0.0.1:8080", &format!("http://{HOST}:8080")] {
        eventually(url, seconds(20), || fetch(url) == 0);
    }
    let option = "com.docker.network.bridge.host_binding_ipv4";
    create(&sandbox, &["-o", &format!("{option}=127.0.0.1"), "local"]);
    assert_eq!(inspect_network(&sandbox, "local")["Options"][option], "127.0.0.1");
    let flags = ["--name", "near", "--network", "local", "-p", "8090:80", "-p", &format!("{HOST}:8091:80")];
    up(&sandbox, &flags, &["httpd", "-f", "-p", "80", "-h", "/etc"]);
    let ports = does(&sandbox, &["port", "near"]).stdout;
    assert_eq!(ports, format!("80/tcp -> 127.0.0.1:8090\n80/tcp -> {HOST}:8091\n"));
    for url in ["http://127.0.0.1:8090", &format!("http://{HOST}:8091")] {
        eventually(url, seconds(20), || fetch(url) == 0);
    }
    assert_ne!(fetch(&format!("http://{HOST}:8090")), 0);
    // nor when they come there later
    let flags = ["--name", "later", "--network", "open", "--network", "local", "-p", "8092:80"];
    up(&sandbox, &flags, &["httpd", "-f", "-p", "80", "-h", "/etc"]);
    eventually("it is open", seconds(20), || fetch(&format!("http://{HOST}:8092")) == 0);
    does(&sandbox, &["network", "disconnect", "open", "later"]);
    assert_eq!(does(&sandbox, &["port", "later"]).stdout, "80/tcp -> 127.0.0.1:8092\n");
    assert_ne!(fetch(&format!("http://{HOST}:8092")), 0);
    assert_eq!(fetch("http://127.0.0.1:8092"), 0);
}

#[test]
fn a_host_that_begins_to_forward_ipv6_still_hears_its_router() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let links = "for l in up0 other0; do ip link add $l type bridge; ip link set $l up; done";
    sandbox.sh(&format!("{links}; ip -6 route add 2001:db8:1::/64 dev up0 proto ra")).expect_code(0);
    let accept = || sandbox.sh("cat /proc/sys/net/ipv6/conf/{up0,other0}/accept_ra").text();
    assert_eq!(accept(), "1\n1");
    create(&sandbox, &["net"]);
    let said = does(&sandbox, &["run", "--rm", "--network", "net", "busybox", "true"]).stderr;
    assert!(said.contains("up0.accept_ra was 1 and is set to 2"), "{said}");
    assert_eq!(accept(), "2\n1");
    does(&sandbox, &["network", "rm", "net"]);
    assert_eq!(accept(), "1\n1"); // and it forwards no more
    assert_eq!(sandbox.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").text(), "0");
}

#[test]
fn what_the_host_has_a_route_to_is_left_alone() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox
        .sh("ip link add vpn0 type bridge; ip address add 172.18.0.1/20 dev vpn0; ip link set vpn0 up")
        .expect_code(0);
    sandbox.sh("ip route add 172.19.4.0/24 dev vpn0").expect_code(0);
    up(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    assert!(address(&sandbox, "web", "bridge").starts_with("172.20."));
    create(&sandbox, &["net"]);
    assert_eq!(inspect_network(&sandbox, "net")["IPAM"]["Config"][0]["Subnet"], "172.21.0.0/16");
    // it comes to be with its first container: until then another may have taken its place
    sandbox.sh("ip route add 172.21.7.0/24 dev vpn0").expect_code(0);
    let part = "overlaps 172.21.7.0/24 (route via vpn0)";
    refused(&sandbox, &["run", "--rm", "--network", "net", "busybox", "true"], 125, part);
    sandbox.sh("ip route delete 172.21.7.0/24 dev vpn0").expect_code(0);
    does(&sandbox, &["run", "--rm", "--network", "net", "busybox", "true"]);
}

#[test]
fn networks_are_listed_pruned_and_there_after_a_reboot() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    create(&sandbox, &["--subnet", "10.79.0.0/24", "-l", "keep", "net"]);
    create(&sandbox, &["idle"]);
    let names = |filters: &[&str]| {
        let filters: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
        does(&sandbox, &[&["network", "ls", "--format", "{{.Name}}"][..], &filters].concat()).stdout.replace('\n', " ")
    };
    waits(&sandbox, "web", &["net"]);
    for (filters, want) in [
        (&[][..], "bridge host idle net none "),
        (&["type=custom"], "idle net "),
        (&["driver=null"], "none "),
        (&["label=keep"], "net "),
        (&["dangling=true"], "idle "),
        (&["name=id"], "bridge idle "),
    ] {
        assert_eq!(names(filters), want, "{filters:?}");
    }
    let before = address(&sandbox, "web", "net");
    // what a reboot leaves: no process, no link, nothing below /run
    does(&sandbox, &["stop", "-t", "0", "web"]);
    sandbox.sh("ip link del $(ip -br link | grep -o '^mr-[^ ]*'); for t in $(nft list tables | cut -d' ' -f3); do nft delete table inet $t; done").expect_code(0);
    std::fs::remove_dir_all(sandbox.path("state")).unwrap();
    does(&sandbox, &["start", "web"]);
    assert_eq!(address(&sandbox, "web", "net"), before);
    let gone = does(&sandbox, &["network", "prune", "-f"]).stdout;
    assert_eq!(gone, "Deleted Networks:\nidle\n\n");
    does(&sandbox, &["rm", "-f", "web"]);
    does(&sandbox, &["network", "prune", "-f", "--filter", "label!=keep"]);
    assert_eq!(names(&["type=custom"]), "net ");
    assert!(does(&sandbox, &["system", "prune", "-f"]).stdout.contains("Deleted Networks:\nnet\n"));
}

#[test]
fn what_cannot_be_made_or_removed_is_named() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox
        .sh("ip link add vpn0 type bridge; ip address add 10.80.0.1/16 dev vpn0; ip link set vpn0 up")
        .expect_code(0);
    create(&sandbox, &["--subnet", "10.81.0.0/24", "net"]);
    for (args, part) in [
        (&["net"][..], "there is a network net already"),
        (&["bridge"], "is built in"),
        (&["--subnet", "10.80.7.0/24", "x"], "overlaps 10.80.0.0/16 (address of vpn0)"),
        (&["--subnet", "10.81.0.0/16", "x"], "overlaps 10.81.0.0/24 (network net)"),
        (&["--subnet", "many", "x"], "invalid --subnet"),
        (&["--gateway", "10.99.0.1", "x"], "in none of"),
        (&["-d", "overlay", "x"], "driver \"overlay\""),
        (&["-o", "colour=red", "x"], "there is no option"),
        (&["-o", "com.docker.network.driver.mtu=9", "x"], "invalid MTU"),
        (&["-o", "com.docker.network.bridge.host_binding_ipv4=::1", "x"], "invalid option"),
        (
            &["-d", "macvlan", "-o", "parent=lo", "-o", "com.docker.network.bridge.host_binding_ipv4=1.2.3.4", "x"],
            "is not for networks of driver macvlan",
        ),
        (&["-o", "com.docker.network.bridge.gateway_mode_ipv4=routed", "x"], "published ports stay the host's"),
        (&["-o", "com.docker.network.bridge.gateway_mode_ipv4=isolated", "x"], "add --internal"),
        (
            &["--internal", "--ipv6=true", "-o", "com.docker.network.bridge.gateway_mode_ipv4=isolated", "x"],
            "give it for both",
        ),
        (&["-o", "com.docker.network.bridge.inhibit_ipv4=true", "x"], "--no-gateway"),
        (&["-o", "com.docker.network.bridge.default_bridge=true", "x"], "the default network is there"),
        (&["-o", "com.docker.network.bridge.host_binding_ipv6=::1", "x"], "-p [ADDRESS]:8080:80"),
        (&["-o", "com.docker.network.container_iface_prefix=net", "x"], "eth0, eth1"),
        (&["../x"], "invalid name"),
    ] {
        refused(&sandbox, &[&["network", "create"][..], args].concat(), 1, part);
    }
    refused(&sandbox, &["network", "rm", "bridge"], 1, "is built in");
    refused(&sandbox, &["network", "rm", "nosuch"], 1, "no network nosuch");
    does(&sandbox, &["network", "rm", "-f", "nosuch"]);
    refused(&sandbox, &["network", "inspect", "nosuch"], 1, "no network nosuch");
}

#[test]
fn a_network_may_have_ipv6_alone() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    refused(&sandbox, &["network", "create", "--ipv4=false", "--ipv6=false", "six"], 1, "leaves IPv6 alone");
    refused(&sandbox, &["network", "create", "--ipv4=false", "--subnet", "10.9.0.0/24", "six"], 1, "leaves IPv6 alone");
    create(&sandbox, &["--ipv4=false", "six"]);
    let serve = ["httpd", "-f", "-p", "[::]:80", "-h", "/etc"];
    up(&sandbox, &["--name", "web", "--network", "six", "-p", "8080:80"], &serve);
    waits(&sandbox, "b", &["six"]);
    let own = inspect(&sandbox, "web")["NetworkSettings"]["Networks"]["six"].clone();
    assert!(own["IPAddress"] == "" && own["GlobalIPv6Address"] != "", "{own}");
    let outside = format!("curl -sS -m 5 -g http://[{HOST6}]:8080/passwd");
    eventually("it answers outside", seconds(20), || sandbox.outside(&outside).stdout.contains("root"));
    assert!(does(&sandbox, &["exec", "b", "wget", "-qO-", "http://web/passwd"]).stdout.contains("root"));
    assert_eq!(does(&sandbox, &["exec", "b", "ip", "-4", "-o", "address", "show", "eth0"]).stdout, "");
    does(&sandbox, &["network", "check", "six"]);
    does(&sandbox, &["rm", "-f", "web", "b"]);
    does(&sandbox, &["network", "rm", "six"]);
}

#[test]
fn what_dockers_options_ask_for_that_is_so_here_is_taken() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let option = |word: &str| format!("com.docker.network.{word}");
    let so = [
        "bridge.gateway_mode_ipv4=nat",
        "bridge.gateway_mode_ipv6=nat",
        "bridge.inhibit_ipv4=false",
        "bridge.default_bridge=false",
        "bridge.host_binding_ipv6=::",
        "container_iface_prefix=eth",
    ];
    let words = so.map(option);
    let mut create_so = vec!["--ipv6=true"];
    words.iter().for_each(|word| create_so.extend(["-o", word]));
    create(&sandbox, &[&create_so[..], &["same"]].concat());
    // the host is not in it
    let (four, six) = (option("bridge.gateway_mode_ipv4=isolated"), option("bridge.gateway_mode_ipv6=isolated"));
    create(&sandbox, &["--internal", "--ipv6=true", "-o", &four, "-o", &six, "apart"]);
    waits(&sandbox, "a", &["apart"]);
    let on_host = |network: &str| {
        let bridge = inspect_network(&sandbox, network)["Host"]["Bridge"].as_str().unwrap().to_owned();
        sandbox.sh(&format!("ip -o address show {bridge} scope global")).stdout.lines().count()
    };
    assert_eq!(on_host("apart"), 0);
    waits(&sandbox, "b", &["same"]);
    assert_eq!(on_host("same"), 2);
}

#[test]
fn a_monitor_that_had_to_be_killed_leaves_no_half_written_record() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    waits(&sandbox, "other", &[]);
    waits(&sandbox, "web", &[]);
    let (id, monitor) = (inspect(&sandbox, "web")["Id"].as_str().unwrap().to_owned(), monitor(&sandbox, "web"));
    // it stands still while it writes one
    sandbox.sh(&format!("kill -STOP {monitor}")).expect_code(0);
    let unwritten = sandbox.path("state/networks/.record-x");
    std::fs::write(&unwritten, "{").unwrap();
    does(&sandbox, &["rm", "-f", "other"]);
    assert!(unwritten.exists(), "it may yet become whole");
    does(&sandbox, &["rm", "-f", "web"]);
    assert!(!unwritten.exists());
    assert!(!sandbox.path("root/containers").join(id).exists());
}

#[test]
fn a_trace_that_nobody_reads_holds_nobody_up() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let minirun = minirun_binary();
    let script = format!(
        "(head -c 65536 /dev/zero; exec {} run --rm --name web --trace busybox sleep 1000) 2>&1 | sleep 1000",
        minirun.display()
    );
    let _unread = Running::start(sandbox.command("sh").args(["-c", &script]));
    eventually("it runs", seconds(20), || does(&sandbox, &["ps", "-q", "--filter", "status=running"]).stdout.len() > 1);
    does(&sandbox, &["run", "--rm", "busybox", "true"]);
    let said = does(&sandbox, &["run", "--rm", "--trace", "busybox", "sh", "-c", "echo done >&2"]).stderr;
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text}: {said}"));
    assert!(at("+ ip link") < at("\ndone\n") && said.ends_with("\ndone\n"), "the trace comes first: {said}");
}

#[test]
fn a_network_whose_record_is_broken_can_be_removed() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let run = |network: &str| sandbox.minirun(&["run", "--rm", "--network", network, "busybox", "true"]);
    let breaks = |file: &str| std::fs::write(sandbox.path(file), "{").unwrap();
    create(&sandbox, &["other"]);
    run("bridge").expect_code(0);
    breaks("state/networks/bridge.json");
    does(&sandbox, &["repair"]);
    let before = Snapshot::of(&sandbox);
    for file in ["root/networks/net.json", "state/networks/net.json"] {
        create(&sandbox, &["--subnet", "10.80.0.0/24", "net"]);
        run("net").expect_code(0);
        breaks(file);
        let listed = does(&sandbox, &["network", "ls"]);
        let line = listed.stdout.lines().find(|line| line.contains(" net ")).unwrap();
        assert!(line.contains("bridge"), "what the other record says: {line}");
        assert_eq!(listed.stderr.contains("warning: network net: "), file.starts_with("root"), "{listed}");
        let custom =
            does(&sandbox, &["network", "ls", "--filter", "type=custom", "--format", "{{.Name}} {{.CreatedAt}}"]);
        assert_eq!(custom.stdout.lines().any(|line| line == "net "), file.starts_with("root"), "{custom}");
        match file.starts_with("root") {
            true => refused(&sandbox, &["network", "inspect", "net"], 1, "minirun network rm net"),
            false => refused(&sandbox, &["run", "--network", "net", "busybox", "true"], 125, "minirun repair"),
        }
        assert_eq!(does(&sandbox, &["network", "rm", "net"]).text(), "net");
        before.assert_only(&sandbox, |change| change.contains("/events"));
    }
    // the default network, which cannot be removed
    waits(&sandbox, "web", &[]);
    breaks("state/networks/bridge.json");
    refused(&sandbox, &["run", "busybox", "true"], 125, "minirun repair");
    refused(&sandbox, &["repair"], 1, "minirun rm -f");
    does(&sandbox, &["rm", "-f", "web"]);
    assert!(does(&sandbox, &["repair"]).stdout.contains("network bridge"));
    assert_eq!(does(&sandbox, &["repair"]).stdout, "");
    before.assert_only(&sandbox, |change| change.contains("/events"));
    // beside others, of which nothing is touched
    waits(&sandbox, "other", &["other"]);
    let rules = || sandbox.sh("nft list ruleset").text();
    let without = rules();
    run("bridge").expect_code(0);
    assert_ne!(rules(), without);
    breaks("state/networks/bridge.json");
    does(&sandbox, &["repair"]);
    assert_eq!(rules(), without);
    run("bridge").expect_code(0);
    // and what was set of the host
    breaks("state/networks/.base.json");
    assert!(does(&sandbox, &["repair"]).stdout.contains("sysctls"));
    run("bridge").expect_code(0);
    breaks("state/networks/bridge.json");
    breaks("root/networks/other.json");
    does(&sandbox, &["system", "reset", "--yes"]);
    assert!(!sandbox.path("state/networks").exists());
}
