//! Which subnets lie on which segments: what the second article shows, made by networks and seen by packets.

use crate::detached::{does, inspect, pid, refused, up};
use crate::support::command::{eventually, seconds};
use crate::support::reach::{cut_off, ping, reaches, ttl};
use crate::support::requires::requires;
use crate::support::sandbox::{HOST, OUTSIDE, Sandbox};
use crate::support::snapshot::Snapshot;
use std::collections::BTreeSet;

fn create(sandbox: &Sandbox, words: &str) {
    does(sandbox, &["network", "create"].into_iter().chain(words.split(' ')).collect::<Vec<_>>());
}

/// A container that waits; `network` with all that is asked of it.
fn waits(sandbox: &Sandbox, name: &str, network: &str) {
    let flags = ["--name", name, "--network", network, "--cap-add", "NET_RAW", "--cap-add", "NET_ADMIN"];
    up(sandbox, &flags, &["sleep", "1000"]);
}

/// The link address that a container has for a neighbour.
fn neighbour(sandbox: &Sandbox, name: &str, address: &str) -> String {
    let said = does(sandbox, &["exec", name, "ip", "neigh", "show", address]).stdout;
    said.split_once("lladdr ").map_or(String::new(), |(_, rest)| rest.split(' ').next().unwrap().to_owned())
}

fn mac(sandbox: &Sandbox, name: &str, network: &str) -> String {
    inspect(sandbox, name)["NetworkSettings"]["Networks"][network]["MacAddress"].as_str().unwrap().to_owned()
}

fn bridge_mac(sandbox: &Sandbox, network: &str) -> String {
    does(sandbox, &["network", "inspect", "-f", "{{.Host.Mac}}", network]).text().trim().to_owned()
}

/// Counts the frames of two kinds that come to a container from now on.
fn watch(sandbox: &Sandbox, name: &str) {
    let pid = pid(sandbox, name).to_string();
    let chain = "add chain netdev seen in { type filter hook ingress device eth0 priority 0; }";
    sandbox
        .sh(&format!(
            "nsenter -t {pid} -n nft 'add table netdev seen; {chain}; add rule netdev seen in ether type arp counter;
            add rule netdev seen in ip protocol icmp counter'"
        ))
        .expect_code(0);
}

/// ARP and ICMP, as counted.
fn seen(sandbox: &Sandbox, name: &str) -> (u32, u32) {
    let pid = pid(sandbox, name).to_string();
    let list = sandbox.sh(&format!("nsenter -t {pid} -n nft list table netdev seen")).stdout;
    let mut counts = list.split("packets ").skip(1).map(|rest| rest.split(' ').next().unwrap().parse().unwrap());
    (counts.next().unwrap(), counts.next().unwrap())
}

/// What `network check` says of a network, line by line without its head; each is kept.
fn kept(sandbox: &Sandbox, network: &str) -> usize {
    let said = does(sandbox, &["network", "check", network]).stdout;
    assert!(said.lines().skip(1).all(|line| line.trim_end().ends_with(" ok")), "{said}");
    said.lines().count() - 1
}

#[test]
fn one_subnet_on_one_segment_is_switched() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    create(&sandbox, "--ipv6=false --subnet 192.168.0.0/24 --no-gateway lan");
    for (name, ip) in [("a", "lan:ip=192.168.0.1"), ("b", "lan:ip=192.168.0.2"), ("bystander", "lan:ip=192.168.0.3")] {
        waits(&sandbox, name, ip);
    }
    watch(&sandbox, "bystander");
    assert_eq!(ttl(&sandbox, "a", "192.168.0.2"), 64);
    assert_eq!(neighbour(&sandbox, "a", "192.168.0.2"), mac(&sandbox, "b", "lan"));
    // the question is a broadcast, and all that follows is between the two
    let (questions, echoes) = seen(&sandbox, "bystander");
    assert!(questions >= 1 && echoes == 0, "{questions} {echoes}"); // a slow answer is asked for again
    assert_eq!(ttl(&sandbox, "bystander", "192.168.0.2"), 64); // that it counts
    assert!(seen(&sandbox, "bystander").1 > 0);
    assert_eq!(kept(&sandbox, "lan"), 9);
    // the host is not in it, and nothing leads out
    assert!(ping(&sandbox, "a", "192.0.2.1", seconds(1)).stderr.contains("Network is unreachable"));
    assert!(!sandbox.sh("ip route").stdout.contains("192.168.0"));
}

#[test]
fn two_subnets_on_one_segment_hear_each_other_and_have_no_route() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    create(&sandbox, "--ipv6=false --subnet 192.168.0.0/24 --subnet 192.168.1.0/24 --no-gateway lan");
    for (name, ip) in [("a", "192.168.0.10"), ("b", "192.168.0.11"), ("x", "192.168.1.20"), ("y", "192.168.1.21")] {
        waits(&sandbox, name, &format!("lan:ip={ip}"));
    }
    watch(&sandbox, "x");
    assert_eq!((ttl(&sandbox, "a", "192.168.0.11"), ttl(&sandbox, "y", "192.168.1.20")), (64, 64));
    let (before, _) = seen(&sandbox, "x");
    assert!(ping(&sandbox, "a", "192.168.1.20", seconds(1)).stderr.contains("Network is unreachable"));
    does(&sandbox, &["exec", "a", "ip", "neigh", "flush", "dev", "eth0"]);
    assert_eq!(ttl(&sandbox, "a", "192.168.0.11"), 64);
    assert!(seen(&sandbox, "x").0 > before, "a question of the other subnet is heard");
    assert_eq!(kept(&sandbox, "lan"), 16);
    // two subnets on a wire are no isolation: a route of one's own is all it takes
    for (name, to) in [("a", "192.168.1.0/24"), ("x", "192.168.0.0/24")] {
        does(&sandbox, &["exec", name, "ip", "route", "add", to, "dev", "eth0"]);
    }
    assert_eq!(ttl(&sandbox, "a", "192.168.1.20"), 64);
    // which the network had not promised
    let said = sandbox.minirun(&["network", "check", "lan"]).expect_code(1).stdout;
    let broken: Vec<&str> = said.lines().filter(|line| line.ends_with("broken")).collect();
    assert!(broken.len() == 4 && broken.iter().all(|line| line.contains("no route")), "{said}");
}

#[test]
fn routes_of_the_network_make_one_of_two_subnets() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let subnets = "--ipv6=false --subnet 192.168.0.0/24 --subnet 192.168.1.0/24";
    create(&sandbox, &format!("{subnets} --no-gateway --route 192.168.0.0/24 --route 192.168.1.0/24 onlink"));
    waits(&sandbox, "a", "onlink:ip=192.168.0.10");
    waits(&sandbox, "x", "onlink:ip=192.168.1.20");
    assert_eq!(ttl(&sandbox, "a", "192.168.1.20"), 64); // no router
    assert_eq!(neighbour(&sandbox, "a", "192.168.1.20"), mac(&sandbox, "x", "onlink"));
    assert_eq!(kept(&sandbox, "onlink"), 4);
    does(&sandbox, &["rm", "-f", "a", "x"]);
    does(&sandbox, &["network", "rm", "onlink"]);
    // a router on a stick: both gateways on the bridge
    create(&sandbox, &format!("{subnets} stick"));
    waits(&sandbox, "a", "stick:ip=192.168.0.10");
    waits(&sandbox, "x", "stick:ip=192.168.1.20");
    assert_eq!(ttl(&sandbox, "a", "192.168.1.20"), 63);
    assert_eq!(neighbour(&sandbox, "a", "192.168.0.1"), bridge_mac(&sandbox, "stick"));
    assert!(kept(&sandbox, "stick") >= 6);
    let route = inside_route(&sandbox, "x");
    assert!(route.contains("default via 192.168.1.1"), "{route}");
    // a route behind somebody else
    create(&sandbox, "--subnet 192.168.5.0/24 --route 10.9.0.0/16,192.168.5.77 behind");
    waits(&sandbox, "z", "behind");
    assert!(inside_route(&sandbox, "z").contains("10.9.0.0/16 via 192.168.5.77 dev eth0"));
}

fn inside_route(sandbox: &Sandbox, name: &str) -> String {
    does(sandbox, &["exec", name, "ip", "route"]).stdout
}

#[test]
fn one_subnet_on_two_segments_is_bridged_by_proxy_arp() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    create(&sandbox, "warm");
    does(&sandbox, &["run", "--rm", "--network", "warm", "busybox", "true"]);
    does(&sandbox, &["network", "rm", "warm"]);
    let before = Snapshot::of(&sandbox);
    refused(&sandbox, &["network", "create", "--proxy-arp", "--ipv6", "x"], 1, "--proxy-arp is for IPv4");
    create(&sandbox, "--proxy-arp --subnet 192.168.0.0/24 left");
    refused(
        &sandbox,
        &["network", "create", "--subnet", "192.168.0.0/24", "right"],
        1,
        "overlaps 192.168.0.0/24 (network left)",
    );
    create(&sandbox, "--proxy-arp --subnet 192.168.0.0/24 right");
    for (name, network) in [("a", "left"), ("b", "right"), ("c", "left")] {
        waits(&sandbox, name, network);
    }
    let ip = |name: &str, network: &str| {
        inspect(&sandbox, name)["NetworkSettings"]["Networks"][network]["IPAddress"].as_str().unwrap().to_owned()
    };
    let (b, c) = (ip("b", "right"), ip("c", "left"));
    assert_eq!([ip("a", "left"), b.clone(), c.clone()], ["192.168.0.2", "192.168.0.3", "192.168.0.4"]);
    assert_eq!(ttl(&sandbox, "a", &b), 63);
    assert_eq!(neighbour(&sandbox, "a", &b), bridge_mac(&sandbox, "left"));
    assert_eq!((ttl(&sandbox, "a", &c), neighbour(&sandbox, "a", &c)), (64, mac(&sandbox, "c", "left")));
    // an address of the subnet that nobody has does not leave the host by its default route
    let chain = "add table ip seen; add chain ip seen out { type filter hook postrouting priority 300; }";
    let count = "add rule ip seen out ip daddr 192.168.0.77 oifname out0 counter";
    sandbox.sh(&format!("nft '{chain}; {count}'; ip route add default via {OUTSIDE}")).expect_code(0);
    assert!(cut_off(&sandbox, "a", "192.168.0.77"));
    let counted = || sandbox.sh("nft list table ip seen").stdout;
    assert!(counted().contains("packets 0"), "{}", counted());
    sandbox.sh("busybox ping -c 1 -W 1 192.168.0.77"); // the control: the host's own question does
    assert!(counted().contains("packets 1"), "{}", counted());
    sandbox.sh("nft delete table ip seen; ip route delete default").expect_code(0);
    // the host's routes to each go with a bridge that was down, and come again
    let bridge = does(&sandbox, &["network", "inspect", "-f", "{{.Host.Bridge}}", "right"]).text();
    let routes = || sandbox.sh("ip route show | grep 192.168.0 | sort").text();
    let all = routes();
    for repair in [&["network", "reload"][..], &["run", "--rm", "--network", "right", "busybox", "true"]] {
        sandbox.sh(&format!("ip link set {0} down; ip link set {0} up", bridge.trim())).expect_code(0);
        assert!(cut_off(&sandbox, "a", &b), "the control");
        does(&sandbox, repair);
        assert_eq!((ttl(&sandbox, "a", &b), routes()), (63, all.clone()), "{repair:?}");
        assert_eq!(does(&sandbox, &["network", "reload"]).stdout, "");
    }
    assert_eq!(kept(&sandbox, "left"), 6); // two containers: the host, the other one, the one on the other side
    // that it is this which does it
    let name = does(&sandbox, &["network", "inspect", "-f", "{{.Host.Bridge}}", "left"]).text();
    sandbox.sh(&format!("echo 0 >/proc/sys/net/ipv4/conf/{}/proxy_arp", name.trim())).expect_code(0);
    does(&sandbox, &["exec", "a", "ip", "neigh", "flush", "dev", "eth0"]);
    assert!(cut_off(&sandbox, "a", &b));
    assert!(sandbox.minirun(&["network", "check", "left"]).expect_code(1).stdout.contains("broken"));
    does(&sandbox, &["rm", "-f", "a", "b", "c"]);
    assert!(!sandbox.sh("ip route").stdout.contains("192.168.0."), "the routes to each are gone");
    does(&sandbox, &["network", "rm", "left", "right"]);
    before.assert_only(&sandbox, |change| change.contains("/events"));
}

#[test]
fn isolated_containers_reach_the_outside_and_not_each_other() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    create(&sandbox, "--isolate --subnet 10.80.0.0/24 apart");
    create(&sandbox, "--icc=false --subnet 10.81.0.0/24 docker");
    create(&sandbox, "--subnet 10.82.0.0/24 together");
    for (network, together) in [("apart", false), ("docker", false), ("together", true)] {
        waits(&sandbox, "a", network);
        waits(&sandbox, "b", network);
        let b =
            inspect(&sandbox, "b")["NetworkSettings"]["Networks"][network]["IPAddress"].as_str().unwrap().to_owned();
        let as_promised = || if together { reaches(&sandbox, "a", &b) } else { cut_off(&sandbox, "a", &b) };
        assert!(as_promised(), "{network}");
        // nor by way of the gateway, with a route of its own
        let gateway = b.replace(".3", ".1");
        sandbox.minirun(&["exec", "a", "ip", "route", "add", &b, "via", &gateway]);
        assert!(as_promised(), "{network}, routed");
        assert_eq!(ttl(&sandbox, "a", OUTSIDE), 63, "{network}");
        sandbox.minirun(&["exec", "a", "ip", "route", "del", &b]);
        assert!(kept(&sandbox, network) >= 4, "{network}");
        does(&sandbox, &["rm", "-f", "a", "b"]);
    }
    // what they publish is for all, the neighbours too; not where the rules are asked on the way through the bridge
    // already, for then it never leaves that
    sandbox.sh("echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables");
    up(&sandbox, &["--name", "web", "--network", "apart", "-p", "8080:80"], &["httpd", "-f", "-p", "80", "-h", "/etc"]);
    waits(&sandbox, "a", "apart");
    let fetch = ["exec", "a", "timeout", "5", "wget", "-qO-", &format!("http://{HOST}:8080/passwd")];
    eventually("it answers", seconds(20), || sandbox.minirun(&fetch).stdout.contains("root"));
}

#[test]
fn a_second_network_on_a_bridge_is_the_first_ones_neighbour() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    create(&sandbox, "--ipv6=false --subnet 10.80.0.0/24 first");
    create(&sandbox, "--ipv6=false --bridge first --subnet 10.81.0.0/24 second");
    waits(&sandbox, "b", "second"); // the bridge comes with whoever is first
    let bridges = || sandbox.sh("ip -br address show type bridge | awk '{ $2 = \"\"; print }'").stdout;
    let before = bridges();
    waits(&sandbox, "a", "first");
    assert_eq!(bridges(), before);
    assert!(
        before.lines().count() == 1 && before.contains("10.80.0.1/24") && before.contains("10.81.0.1/24"),
        "{before}"
    );
    assert_eq!(ttl(&sandbox, "a", "10.81.0.2"), 63); // by the gateway
    does(&sandbox, &["exec", "a", "ip", "route", "add", "10.81.0.0/24", "dev", "eth0"]);
    does(&sandbox, &["exec", "b", "ip", "route", "add", "10.80.0.0/24", "dev", "eth0"]);
    assert_eq!(ttl(&sandbox, "a", "10.81.0.2"), 64); // on the wire
    refused(&sandbox, &["network", "rm", "first"], 1, "network second is on the bridge of network first");
    does(&sandbox, &["rm", "-f", "b"]);
    does(&sandbox, &["network", "rm", "second"]);
    let left = sandbox.sh("ip -br address show type bridge").stdout;
    assert!(left.contains("10.80.0.1/24") && !left.contains("10.81.0.1"), "{left}");
    assert_eq!(ttl(&sandbox, "a", "10.80.0.1"), 64);
}

#[test]
fn a_bridge_of_the_hosts_is_used_and_left_as_it_was() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    refused(&sandbox, &["network", "create", "--bridge", "br0", "lan"], 1, "neither a network nor a bridge");
    sandbox.sh("ip link add br0 address 02:00:00:00:00:77 type bridge && ip address add 192.168.7.1/24 dev br0 && ip link set br0 up").expect_code(0);
    let host =
        || sandbox.sh("ip -d link show br0; ip address show br0; sysctl -a 2>/dev/null | grep 'conf.br0'").stdout;
    let state = |text: String| {
        text.lines()
            .filter(|line| !line.contains("timer") && !line.contains("lft") && !line.contains("fe80"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = state(host());
    create(
        &sandbox,
        "--ipv6=false --bridge br0 --subnet 192.168.7.0/24 --gateway 192.168.7.1 --ip-range 192.168.7.128/25 lan",
    );
    waits(&sandbox, "a", "lan");
    assert_eq!(ttl(&sandbox, "a", "192.168.7.1"), 64);
    sandbox.sh("busybox ping -c 1 -W 20 192.168.7.128").expect_code(0);
    does(&sandbox, &["rm", "-f", "a"]);
    does(&sandbox, &["network", "rm", "lan"]);
    let after = state(host());
    assert_eq!(
        after.iter().filter(|line| !before.contains(line) && !line.contains("br0:")).collect::<Vec<_>>(),
        [] as [&String; 0]
    );
    assert!(host().contains("192.168.7.1/24"), "the host keeps its address");
}

#[test]
fn a_container_is_on_a_link_of_the_hosts_by_macvlan() {
    requires![root, link("macvlan")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    let net = format!("{}.0/24", HOST.rsplit_once('.').unwrap().0);
    refused(&sandbox, &["network", "create", "-d", "macvlan", "x"], 1, "this driver needs a link");
    refused(
        &sandbox,
        &["network", "create", "-d", "macvlan", "-o", "parent=out0", "--isolate", "x"],
        1,
        "--isolate is not for",
    );
    let range = net.replace(".0/24", ".192/26");
    create(&sandbox, &format!("-d macvlan -o parent=out0 --subnet {net} --gateway {OUTSIDE} --ip-range {range} lan"));
    waits(&sandbox, "a", "lan");
    waits(&sandbox, "b", "lan");
    let (a, b) = (range.replace("/26", ""), range.replace("192/26", "193"));
    // its gateway is not the host, and has none of its names
    assert!(!does(&sandbox, &["exec", "a", "cat", "/etc/hosts"]).stdout.contains("host.docker.internal"));
    // the outside sees each under its own addresses, and they each other; not the host itself
    assert_eq!(ttl(&sandbox, "a", OUTSIDE), 64);
    assert_eq!(
        sandbox.outside(&format!("ip neigh show {a} | grep -c {}", mac(&sandbox, "a", "lan"))).stdout.trim(),
        "1"
    );
    assert_eq!(ttl(&sandbox, "a", &b), 64);
    assert!(cut_off(&sandbox, "a", HOST));
    assert_eq!(kept(&sandbox, "lan"), 2);
    refused(
        &sandbox,
        &["run", "--rm", "--network", "lan", "-p", "80", "busybox", "true"],
        125,
        "no port can be published",
    );
    does(&sandbox, &["rm", "-f", "a", "b"]);
    comes_and_goes(&sandbox, "macvlan mode bridge");
    refused(
        &sandbox,
        &["network", "create", "-d", "macvlan", "-o", "parent=gone0", "lost"],
        1,
        "this host has no link gone0",
    );
    sandbox.sh("ip link add gone0 type veth").expect_code(0);
    create(&sandbox, "-d macvlan -o parent=gone0 --subnet 10.99.0.0/24 lost");
    sandbox.sh("ip link delete gone0").expect_code(0);
    refused(&sandbox, &["run", "--rm", "--network", "lost", "busybox", "true"], 125, "this host has no link gone0");
}

/// A container comes into network lan, which is on a link of the host's of this kind, while it runs, and
/// leaves it. It was in a network that leads nowhere.
fn comes_and_goes(sandbox: &Sandbox, kind: &str) {
    create(sandbox, "--ipv6=false --internal --subnet 10.98.0.0/24 quiet");
    waits(sandbox, "c", "quiet");
    let inside = |script: &str| does(sandbox, &["exec", "c", "sh", "-c", script]).stdout;
    let links = || inside("ls /sys/class/net; ip route").replace(" scope link ", " ");
    let (before, pid) = (links(), pid(sandbox, "c"));
    assert!(cut_off(sandbox, "c", OUTSIDE));
    for rename in [false, true] {
        does(sandbox, &["network", "connect", "lan", "c"]);
        assert_eq!(ttl(sandbox, "c", OUTSIDE), 64);
        let routes = inside("ip route");
        assert!(routes.contains(&format!("default via {OUTSIDE} dev eth1")), "{routes}");
        let address = inspect(sandbox, "c")["NetworkSettings"]["Networks"]["lan"]["IPAddress"].clone();
        assert!(inside("cat /etc/hosts").contains(address.as_str().unwrap()));
        if rename {
            // its own name for it, and one more on top, which is on the host's as well
            let script = format!(
                "nsenter -t {pid} -n sh -ec 'ip link set eth1 down; ip link set eth1 name mine
                ip link add link mine name more type {kind}'"
            );
            sandbox.sh(&script).expect_code(0);
        }
        does(sandbox, &["network", "disconnect", "lan", "c"]);
        assert_eq!(links(), before);
        assert!(!inside("cat /etc/hosts").contains("192.0.2."));
        let loans = does(sandbox, &["network", "inspect", "-f", "{{len .Containers}}", "lan"]).stdout;
        assert_eq!(loans.trim(), "0");
    }
    // what it was connected to it has again, and its way out is where it was
    does(sandbox, &["network", "connect", "lan", "c"]);
    does(sandbox, &["restart", "-t", "0", "c"]);
    assert_eq!(ttl(sandbox, "c", OUTSIDE), 64);
    does(sandbox, &["network", "disconnect", "quiet", "c"]);
    assert_eq!(ttl(sandbox, "c", OUTSIDE), 64);
    does(sandbox, &["rm", "-f", "c"]);
    does(sandbox, &["network", "rm", "quiet"]);
}

#[test]
fn a_container_shares_a_links_address_by_ipvlan() {
    requires![root, link("ipvlan")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    let net = format!("{}.0/24", HOST.rsplit_once('.').unwrap().0);
    let range = net.replace(".0/24", ".192/26");
    create(&sandbox, &format!("-d ipvlan -o parent=out0 --subnet {net} --gateway {OUTSIDE} --ip-range {range} lan"));
    waits(&sandbox, "a", "lan");
    let a = range.replace("/26", "");
    assert_eq!(ttl(&sandbox, "a", OUTSIDE), 64);
    let own = sandbox.sh("cat /sys/class/net/out0/address").stdout;
    assert_eq!(sandbox.outside(&format!("ip neigh show {a} | grep -c {}", own.trim())).stdout.trim(), "1");
    assert_eq!(inspect(&sandbox, "a")["NetworkSettings"]["Networks"]["lan"]["MacAddress"], ""); // none of its own
    let macs = "{{range .Containers}}{{.MacAddress}};{{end}}";
    assert_eq!(does(&sandbox, &["network", "inspect", "-f", macs, "lan"]).stdout, ";\n");
    does(&sandbox, &["rm", "-f", "a"]);
    comes_and_goes(&sandbox, "ipvlan mode l2");
    does(&sandbox, &["network", "rm", "lan"]);
    // by its own routes: the outside has to know the way
    create(&sandbox, "-d ipvlan -o parent=out0 -o mode=l3 --subnet 10.99.0.0/24 --no-gateway --route 0.0.0.0/0 routed");
    waits(&sandbox, "a", "routed:ip=10.99.0.5");
    sandbox.outside("ip route delete default").expect_code(0);
    assert!(cut_off(&sandbox, "a", OUTSIDE));
    sandbox.outside(&format!("ip route add 10.99.0.0/24 via {HOST}")).expect_code(0);
    assert_eq!(ttl(&sandbox, "a", OUTSIDE), 64);
}

#[test]
fn a_driver_that_the_kernel_lacks_is_named() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    create(&sandbox, "-d ipvlan -o parent=out0 --subnet 10.99.0.0/24 thin");
    let said = sandbox.minirun(&["run", "--rm", "--network", "thin", "busybox", "true"]);
    assert!(said.code() == 0 || said.stderr.contains("CONFIG_IPVLAN"), "{said}");
    does(&sandbox, &["network", "rm", "thin"]);
    // before there is such a network, and a lab that wants one says so
    let said = sandbox.minirun(&["network", "create", "--vlan", "10", "--subnet", "10.98.0.0/24", "tagged"]);
    let lab = sandbox.minirun(&["lab", "run", "vlans"]);
    let lacks = "CONFIG_BRIDGE_VLAN_FILTERING: --isolate keeps the containers of a network apart";
    for said in [said, lab] {
        assert!(said.code() == 0 || (said.code() == 1 && said.stderr.contains(lacks)), "{said}");
    }
}

#[test]
fn vlans_keep_the_containers_of_one_bridge_apart() {
    requires![root, tool("nft"), vlan];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    create(&sandbox, "--ipv6=false --vlan 10 --subnet 10.10.0.0/24 ten");
    create(&sandbox, "--ipv6=false --bridge ten --vlan 20 --subnet 10.20.0.0/24 twenty");
    refused(
        &sandbox,
        &["network", "create", "--bridge", "ten", "--vlan", "20", "x"],
        1,
        "network twenty is in this VLAN",
    );
    create(&sandbox, "--ipv6=false --bridge ten --vlan-trunk 10,20 --no-gateway --subnet 10.30.0.0/24 trunk");
    for (name, network) in [("a", "ten"), ("b", "ten"), ("x", "twenty"), ("t", "trunk")] {
        waits(&sandbox, name, network);
    }
    assert_eq!(sandbox.sh("ip -br link show type bridge").stdout.lines().count(), 1);
    assert_eq!(ttl(&sandbox, "a", "10.10.0.3"), 64);
    assert!(cut_off(&sandbox, "a", "10.20.0.2")); // another VLAN is another network
    // with addresses of one subnet: no wire between them
    for (name, ip) in [("a", "10.77.0.1/24"), ("b", "10.77.0.2/24"), ("x", "10.77.0.3/24")] {
        does(&sandbox, &["exec", name, "ip", "address", "add", ip, "dev", "eth0"]);
    }
    assert_eq!(ttl(&sandbox, "a", "10.77.0.2"), 64);
    assert!(cut_off(&sandbox, "a", "10.77.0.3"));
    for (name, ip) in [("a", "10.77.0.1/24"), ("b", "10.77.0.2/24"), ("x", "10.77.0.3/24")] {
        does(&sandbox, &["exec", name, "ip", "address", "del", ip, "dev", "eth0"]);
    }
    assert!(kept(&sandbox, "ten") >= 6 && kept(&sandbox, "twenty") >= 3);
    // each has its gateway, and reaches the outside
    assert_eq!((ttl(&sandbox, "a", OUTSIDE), ttl(&sandbox, "x", OUTSIDE)), (63, 63));
    // whoever has the trunk is in both, under their tags
    let pid = pid(&sandbox, "t").to_string();
    for (vlan, ip) in [("10", "10.10.0.200/24"), ("20", "10.20.0.200/24")] {
        sandbox
            .sh(&format!(
                "nsenter -t {pid} -n sh -ec 'ip link add link eth0 name eth0.{vlan} type vlan id {vlan}
            ip address add {ip} dev eth0.{vlan}; ip link set eth0.{vlan} up'"
            ))
            .expect_code(0);
    }
    assert_eq!((ttl(&sandbox, "t", "10.10.0.2"), ttl(&sandbox, "t", "10.20.0.2")), (64, 64));
    does(&sandbox, &["rm", "-f", "a", "b", "x", "t"]);
    does(&sandbox, &["network", "rm", "trunk", "twenty", "ten"]);
    let left = sandbox.sh("ip -br link | grep mr").stdout;
    assert_eq!(left, "", "{left}");
}

#[test]
fn what_does_not_go_together_is_refused() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.sh("ip link add br0 type bridge && ip link add p0 type veth").expect_code(0);
    create(&sandbox, "--ipv6=false --subnet 10.90.0.0/24 four");
    create(&sandbox, "--ipv6=true --subnet 10.91.0.0/24 six");
    create(&sandbox, "--no-gateway --subnet 10.92.0.0/24 bare");
    create(&sandbox, "--proxy-arp --subnet 10.94.0.0/24 part");
    let bridge = does(&sandbox, &["run", "--rm", "--network", "four", "busybox", "true"]).stdout;
    assert_eq!(bridge, "");
    let bridge = does(&sandbox, &["network", "inspect", "-f", "{{.Host.Bridge}}", "four"]).text().trim().to_owned();
    for (words, why) in [
        ("--isolate --bridge four", "are not isolated"),
        ("--no-gateway --bridge four", "has a gateway"),
        ("--bridge bare", "has no gateway"),
        ("--ipv6 --bridge four", "has no IPv6"),
        ("--vlan 1", "invalid VLAN"),
        ("--vlan 10 --vlan-trunk 10,20", "with and without tags"),
        ("--bridge br0 --vlan 10", "does not look at VLANs"),
        ("--bridge br0 --internal", "is not for a bridge of the host's"),
        ("-d macvlan -o parent=p0 --internal", "--internal is not for"),
        ("--proxy-arp --bridge four", "a bridge of its own"),
        ("--proxy-arp --internal --subnet 10.94.0.0/24", "overlaps"),
        ("--route 0.0.0.0/0,10.95.0.1 --subnet 10.95.0.0/24", "the default route is the gateway's"),
        ("--route 10.0.0.0/8,10.99.0.1 --subnet 10.95.0.0/24", "is in none of"),
        ("--subnet 169.254.0.0/24", "none for hosts"),
        ("-o mode=l3", "-o mode is not for"),
        (&format!("--bridge {bridge}"), "that is the bridge of network four"),
    ] {
        let all: Vec<&str> = ["network", "create"].into_iter().chain(words.split(' ')).chain(["new"]).collect();
        refused(&sandbox, &all, 1, why);
    }
    // what the base has the others have, too
    create(&sandbox, "--bridge six fits");
    let said = does(&sandbox, &["run", "--rm", "--network", "fits", "busybox", "ip", "-6", "route"]).stdout;
    assert!(said.contains("default via"), "{said}");
    create(&sandbox, "--bridge four plain");
    does(&sandbox, &["run", "--rm", "--network", "plain", "-p", "8080:80", "busybox", "true"]);
    let sets = sandbox.sh("nft list set inet $(nft list tables | awk '/minirun/ { print $3 }') subnets4").stdout;
    let subnet =
        does(&sandbox, &["network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}}{{end}}", "plain"]).text();
    assert!(sets.contains(subnet.trim()), "{sets}: {subnet}");
    // a network that was the other part of a subnet is not, when it comes back as another one
    create(&sandbox, "--proxy-arp --subnet 10.94.0.0/24 half");
    waits(&sandbox, "a", "part");
    waits(&sandbox, "b", "half");
    assert_eq!(ttl(&sandbox, "a", "10.94.0.3"), 63);
    does(&sandbox, &["rm", "-f", "a"]);
    does(&sandbox, &["network", "rm", "part"]);
    create(&sandbox, "--ipv6=false --subnet 10.96.0.0/24 part");
    waits(&sandbox, "a", "part");
    assert!(cut_off(&sandbox, "a", "10.94.0.3"));
    assert_eq!(ttl(&sandbox, "a", "10.96.0.1"), 64);
    does(&sandbox, &["rm", "-f", "a", "b"]);
    does(&sandbox, &["network", "prune", "-f"]);
}

/// Deletes the bridge that a network is on, as a careless hand does.
fn delete_bridge(sandbox: &Sandbox, network: &str) {
    let bridge = does(sandbox, &["network", "inspect", "-f", "{{.Host.Bridge}}", network]).text();
    sandbox.sh(&format!("ip link delete {}", bridge.trim())).expect_code(0);
}

/// Which of these containers reach the gateway of their network.
fn reach_out<const N: usize>(sandbox: &Sandbox, names: [&str; N]) -> [bool; N] {
    names.map(|name| {
        let gateway = inside_route(sandbox, name).split(' ').nth(2).unwrap().to_owned();
        !cut_off(sandbox, name, &gateway)
    })
}

#[test]
fn a_bridge_that_was_deleted_comes_back_for_all_networks_on_it() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    create(&sandbox, "--ipv6=false --subnet 10.10.0.0/24 base");
    create(&sandbox, "--ipv6=false --bridge base --subnet 10.11.0.0/24 beside");
    create(&sandbox, "--ipv6=false --bridge base --subnet 10.12.0.0/24 third");
    let names = ["base", "beside", "third"];
    names.iter().for_each(|name| waits(&sandbox, name, name));
    assert_eq!(reach_out(&sandbox, names), [true; 3]);
    for starts in names {
        delete_bridge(&sandbox, "base");
        assert_eq!(reach_out(&sandbox, names), [false; 3]);
        does(&sandbox, &["run", "--rm", "--network", starts, "busybox", "true"]);
        assert_eq!(reach_out(&sandbox, names), [true; 3], "{starts}");
        assert_eq!(does(&sandbox, &["network", "reload"]).stdout, "");
    }
}

#[test]
fn a_port_that_is_not_isolated_any_more_is_seen() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    create(&sandbox, "--ipv6=false --isolate --subnet 10.10.0.0/24 apart");
    waits(&sandbox, "a", "apart");
    waits(&sandbox, "b", "apart");
    assert_eq!(does(&sandbox, &["network", "reload"]).stdout, "");
    let link = |name: &str| does(&sandbox, &["inspect", "-f", "{{range .Host.Veths}}{{.Name}}{{end}}", name]).text();
    let (a, b) = (link("a"), link("b"));
    let is_isolated = || sandbox.sh(&format!("ip -d link show {}", a.trim())).stdout.contains(" isolated on ");
    assert!(is_isolated());
    sandbox.sh(&format!("ip link set {} type bridge_slave isolated off", a.trim())).expect_code(0);
    assert!(!is_isolated());
    let said = does(&sandbox, &["network", "reload"]).stdout;
    assert!(said.lines().count() == 1 && said.contains(a.trim()) && !said.contains(b.trim()), "{said}");
    assert!(is_isolated());
}

#[test]
fn vlans_that_were_taken_away_come_back() {
    requires![root, tool("nft"), tool("bridge"), vlan];
    let sandbox = Sandbox::with_images(&["busybox"]);
    create(&sandbox, "--ipv6=false --vlan 10 --subnet 10.11.0.0/24 ten");
    create(&sandbox, "--ipv6=false --bridge ten --vlan 20 --subnet 10.13.0.0/24 twenty");
    create(&sandbox, "--ipv6=false --bridge ten --vlan-trunk 10,20 --no-gateway --subnet 10.12.0.0/24 trunk");
    for (name, network) in [("b", "ten"), ("c", "trunk"), ("d", "twenty")] {
        waits(&sandbox, name, network);
    }
    let reload = || does(&sandbox, &["network", "reload"]).stdout;
    assert_eq!(reload(), "");
    let link = |name: &str| {
        does(&sandbox, &["inspect", "-f", "{{range .Host.Veths}}{{.Name}}{{end}}", name]).text().trim().to_owned()
    };
    let bridge = does(&sandbox, &["network", "inspect", "-f", "{{.Host.Bridge}}", "ten"]).text().trim().to_owned();
    let (b, c) = (link("b"), link("c"));
    let state = || sandbox.sh("bridge vlan show").stdout;
    let before = state();
    for (change, whose) in [
        (format!("bridge vlan delete vid 10 dev {b}"), &b),
        (format!("bridge vlan add vid 1 pvid untagged dev {b}"), &b),
        (format!("bridge vlan delete vid 20 dev {c}"), &c),
        (format!("bridge vlan delete vid 10 dev {bridge} self"), &bridge),
    ] {
        sandbox.sh(&change).expect_code(0);
        assert_ne!(state(), before, "{change}");
        let said = reload();
        assert!(said.lines().count() == 1 && said.contains(whose.as_str()), "{change}: {said}");
        assert_eq!(state(), before, "{change}");
    }
    // and with the bridge those of all networks on it
    delete_bridge(&sandbox, "ten");
    does(&sandbox, &["run", "--rm", "--network", "twenty", "busybox", "true"]);
    assert_eq!(reach_out(&sandbox, ["b", "d"]), [true; 2]);
    let lines = |state: &str| state.lines().map(str::to_owned).collect::<BTreeSet<String>>();
    assert_eq!(lines(&state()), lines(&before)); // the new bridge is the last
}
