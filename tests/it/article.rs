//! The checks of the first article, those that the other tests of networks do not make: container networking is only
//! namespaces, veth, a bridge, routing and NAT.

use crate::detached::{does, inspect, pid, up};
use crate::support::command::{eventually, seconds};
use crate::support::reach::{cut_off, reaches};
use crate::support::requires::requires;
use crate::support::sandbox::{HOST, OUTSIDE, Sandbox};
use serde_json::Value;

fn create(sandbox: &Sandbox, words: &str) {
    does(sandbox, &["network", "create"].into_iter().chain(words.split(' ')).collect::<Vec<_>>());
}

fn serves(sandbox: &Sandbox, name: &str, flags: &[&str]) {
    up(sandbox, &[&["--name", name][..], flags].concat(), &["httpd", "-f", "-p", "80", "-h", "/etc"]);
}

#[test]
fn none_has_no_link_no_route_and_not_the_hosts_rules() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.sh("nft 'add table ip marker; add chain ip marker seen_on_the_host'").expect_code(0);
    up(&sandbox, &["--name", "none", "--network", "none"], &["sleep", "1000"]);
    let inside = |script: &str| sandbox.sh(&format!("nsenter -t {} -n sh -c '{script}'", pid(&sandbox, "none"))).stdout;
    let links = inside("ip -br link");
    assert!(links.lines().count() == 1 && links.starts_with("lo ") && links.contains("UP"), "{links}");
    assert_eq!((inside("ip route"), inside("nft list ruleset")), (String::new(), String::new()));
    assert!(sandbox.sh("nft list ruleset").stdout.contains("seen_on_the_host"));
}

#[test]
fn inspect_and_ip_say_the_same_of_a_cable() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    let veth = inspect(&sandbox, "web")["Host"]["Veths"][0].clone();
    let (host, pid) = (veth["Name"].as_str().unwrap(), pid(&sandbox, "web"));
    let link = |script: &str| -> Value {
        let all: Value = serde_json::from_str(&sandbox.sh(script).expect_code(0).stdout).unwrap();
        all[0].clone()
    };
    let ours = link(&format!("ip -d -j link show {host}"));
    let theirs = link(&format!("nsenter -t {pid} -n ip -d -j link show eth0"));
    assert_eq!((&ours["ifindex"], &ours["link_index"]), (&veth["Index"], &veth["PeerIndex"]));
    assert_eq!((&theirs["ifindex"], &theirs["link_index"]), (&veth["PeerIndex"], &veth["Index"]));
    assert_eq!(ours["linkinfo"]["info_kind"], "veth");
    // the number that the host's namespace has for the container's
    let named = sandbox.sh(&format!("ip netns attach seen {pid}; ip netns list-id")).stdout;
    assert!(named.contains(&format!("nsid {} (iproute2 netns name: seen)", ours["link_netnsid"])), "{named}");
}

#[test]
fn two_routes_to_one_subnet_clash_and_the_first_wins() {
    requires![root];
    let sandbox = Sandbox::new();
    // as in the article: two cables, and an address of the same /16 on each
    sandbox
        .sh("set -e; for n in 0 1; do
            ip netns add c$n; ip link add v$n type veth peer name ceth$n netns c$n
            ip address add 172.18.0.${n}1/16 dev v$n; ip link set v$n up
            ip -n c$n link set lo up; ip -n c$n link set ceth$n up
        done
        ip -n c0 address add 172.18.0.10/16 dev ceth0; ip -n c1 address add 172.18.0.20/16 dev ceth1
        ip address delete 172.18.0.01/16 dev v0 2>/dev/null; ip address add 172.18.0.11/16 dev v0
        ip address delete 172.18.0.11/16 dev v1 2>/dev/null; ip address add 172.18.0.21/16 dev v1")
        .expect_code(0);
    let ping = |from: &str, to: &str| {
        let enter = if from.is_empty() { String::new() } else { format!("nsenter --net=/run/netns/{from} ") };
        sandbox.sh(&format!("{enter}busybox ping -q -c 1 -W 3 {to}")).code() == 0
    };
    let routes = sandbox.sh("ip route show 172.18.0.0/16").stdout;
    assert_eq!(routes.lines().count(), 2, "{routes}");
    let all =
        || [ping("c0", "172.18.0.20"), ping("c1", "172.18.0.10"), ping("", "172.18.0.10"), ping("", "172.18.0.20")];
    assert_eq!(all(), [false, false, true, false]);
    sandbox.sh("ip route delete 172.18.0.0/16 dev v0").expect_code(0);
    assert_eq!(all(), [false, false, false, true]);
}

#[test]
fn without_masquerade_the_outside_sees_the_container_and_cannot_answer() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    sandbox.outside("ip route delete default").expect_code(0); // no way back but to HOST itself
    create(&sandbox, "--ipv6=false --subnet 10.61.0.0/24 --no-masquerade plain");
    create(&sandbox, "--ipv6=false --subnet 10.62.0.0/24 hidden");
    // what reaches the outside, by its source
    sandbox
        .outside("nft 'add table ip seen; add set ip seen sources { type ipv4_addr; flags dynamic; }
            add chain ip seen in { type filter hook input priority 0; }; add rule ip seen in icmp type echo-request add @sources { ip saddr }'")
        .expect_code(0);
    let sources = || sandbox.outside("nft list set ip seen sources").stdout;
    for (network, own) in [("plain", true), ("hidden", false)] {
        let flags = ["--name", network, "--network", network, "--cap-add", "NET_RAW"];
        up(&sandbox, &flags, &["sleep", "1000"]);
        let address = inspect(&sandbox, network)["NetworkSettings"]["Networks"][network]["IPAddress"]
            .as_str()
            .unwrap()
            .to_owned();
        sandbox.sh(&format!("busybox ping -q -c 1 -W 20 {address}")).expect_code(0); // the host reaches it
        let as_promised = if own { cut_off } else { reaches };
        assert!(as_promised(&sandbox, network, OUTSIDE), "{network}");
        assert_eq!(sources().contains(&address), own, "{network}: {}", sources());
    }
    assert!(sources().contains(HOST));
    // it is only the way back that is missing
    sandbox.outside(&format!("ip route add 10.61.0.0/24 via {HOST}")).expect_code(0);
    assert!(reaches(&sandbox, "plain", OUTSIDE));
}

#[test]
fn a_neighbour_that_speaks_to_loopback_reaches_nothing() {
    requires![root, tool("nft"), tool("conntrack")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    serves(&sandbox, "web", &["-p", "127.0.0.1:8080:80", "-p", "8081:80"]);
    // a neighbour whose packets to 127.0.0.1 leave its host, and ours has its own services there
    sandbox
        .outside(&format!(
            "set -e; for of in all eth0; do echo 1 >/proc/sys/net/ipv4/conf/$of/route_localnet; done
            ip address delete 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via {HOST} dev eth0 src {OUTSIDE}"
        ))
        .expect_code(0);
    let call = |port: u16| {
        sandbox.outside(&format!("timeout 6 busybox wget -q -O - http://127.0.0.1:{port}/passwd")).code() == 0
    };
    let natted = || {
        sandbox.sh(&format!("conntrack -L -s {OUTSIDE} 2>/dev/null | grep -c 'dst=127.0.0.1'")).stdout.trim().to_owned()
    };
    eventually("it answers on the host", seconds(20), || {
        sandbox.sh("busybox wget -q -O /dev/null http://127.0.0.1:8080/passwd").code() == 0
    });
    for port in [8080, 8081] {
        assert!(!call(port), "{port}");
    }
    assert_eq!(natted(), "0");
    // nor does a container, and its bridge is where such addresses may come in by (route_localnet)
    up(&sandbox, &["--name", "b", "--privileged"], &["sleep", "1000"]);
    let own = "set -e; busybox httpd -p 127.0.0.1:7070 -h /etc; nsenter -t $0 -n sh -c '
        for of in all eth0; do echo 1 >/proc/sys/net/ipv4/conf/$of/route_localnet; done; ip address delete 127.0.0.1/8 dev lo
        ip route add 127.0.0.1/32 via $(ip route show default | cut -d\" \" -f3) dev eth0 \
            src $(ip -br -4 address show eth0 | tr -s \" \" | cut -d\" \" -f3 | cut -d/ -f1)'";
    let inside = pid(&sandbox, "b");
    sandbox.sh(&own.replace("$0", &inside.to_string())).expect_code(0);
    let from_inside = || {
        let fetch = "timeout 6 busybox wget -q -O - http://127.0.0.1:7070/passwd";
        sandbox.sh(&format!("nsenter -t {inside} -n {fetch}")).code() == 0
    };
    assert!(!from_inside());
    // without the guard they come in
    sandbox.sh("nft flush chain inet $(nft list tables | awk '/minirun/ { print $3 }') guard").expect_code(0);
    assert!(call(8080), "the control: a packet that is not dropped is translated");
    assert_ne!(natted(), "0");
    assert!(from_inside(), "the control");
}

#[test]
fn sctp_is_published() {
    requires![root, tool("nft"), tool("perl"), sctp];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    up(&sandbox, &["--name", "web", "-p", "9000:9000/sctp"], &["sleep", "1000"]);
    let server = "socket(S,PF_INET,SOCK_STREAM,132) and bind(S,sockaddr_in(9000,INADDR_ANY)) and listen(S,5) or die $!;
        while (accept(C,S)) { syswrite(C, \"hello over sctp\"); close(C) }";
    sandbox.sh(&format!("nsenter -t {} -n perl -MSocket -e '{server}' >/dev/null 2>&1 &", pid(&sandbox, "web")));
    let client = format!(
        "alarm 3; socket(S,PF_INET,SOCK_STREAM,132) and connect(S,sockaddr_in(9000,inet_aton(\"{HOST}\"))) or die $!;
        sysread(S, $_, 100); print"
    );
    eventually("it answers", seconds(20), || {
        sandbox.outside(&format!("perl -MSocket -e '{client}'")).stdout.contains("hello over sctp")
    });
    assert_eq!(does(&sandbox, &["port", "web"]).stdout.lines().next().unwrap(), "9000/sctp -> 0.0.0.0:9000");
}

#[test]
fn broadcast_domains_grow_by_a_cable() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    create(&sandbox, "--ipv6=false --no-gateway --subnet 10.63.0.0/24 --ip-range 10.63.0.0/25 left");
    // the same subnet on another segment: one of the host's own, for two networks may not have it
    sandbox.sh("ip link add right type bridge && ip link set right up").expect_code(0);
    sandbox.sh("ip netns add far && ip link add far0 type veth peer name eth0 netns far && ip link set far0 master right up
        ip -n far address add 10.63.0.200/24 dev eth0; ip -n far link set eth0 up").expect_code(0);
    up(&sandbox, &["--name", "a", "--network", "left", "--cap-add", "NET_RAW"], &["sleep", "1000"]);
    assert!(cut_off(&sandbox, "a", "10.63.0.200"));
    let bridge = does(&sandbox, &["network", "inspect", "-f", "{{.Host.Bridge}}", "left"]).text();
    sandbox
        .sh(&format!(
            "ip link add j0 master {} up type veth peer name j1; ip link set j1 master right up",
            bridge.trim()
        ))
        .expect_code(0);
    eventually("it is on the wire", seconds(20), || !cut_off(&sandbox, "a", "10.63.0.200"));
}

#[test]
fn a_segment_goes_through_a_tunnel() {
    requires![root, link("vxlan")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    create(&sandbox, "--ipv6=false --no-gateway --subnet 10.64.0.0/24 here");
    up(&sandbox, &["--name", "a", "--network", "here", "--cap-add", "NET_RAW"], &["sleep", "1000"]);
    // the outside host has the other half of it
    sandbox
        .outside(&format!(
            "ip link add vx0 type vxlan id 42 remote {HOST} dstport 4789 && ip address add 10.64.0.200/24 dev vx0 && ip link set vx0 up"
        ))
        .expect_code(0);
    assert!(cut_off(&sandbox, "a", "10.64.0.200"));
    let bridge = does(&sandbox, &["network", "inspect", "-f", "{{.Host.Bridge}}", "here"]).text();
    let join = format!(
        "ip link add vx0 type vxlan id 42 remote {OUTSIDE} dstport 4789 && ip link set vx0 master {} up",
        bridge.trim()
    );
    sandbox.sh(&join).expect_code(0);
    eventually("the other half is reached", seconds(20), || !cut_off(&sandbox, "a", "10.64.0.200"));
}
