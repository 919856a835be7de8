//! `network graph`: what it draws is what other tools see, in each of its forms, and drawing changes nothing.

use crate::detached::{does, pid, refused, up};
use crate::support::command::output;
use crate::support::requires::requires;
use crate::support::sandbox::{HOST, OUTSIDE, Sandbox};
use crate::support::snapshot::Snapshot;
use serde_json::Value;
use std::process::Command;

const FORMS: [&str; 5] = ["text", "mermaid", "dot", "svg", "json"];

/// Two networks, three containers, of which one is in both, a published port and a way out.
fn stocked() -> Sandbox {
    let sandbox = Sandbox::with_images(&["busybox"]);
    // so that no link of the host has the number of one inside by chance
    sandbox.sh("for n in 1 2; do ip link add x type veth peer name y; ip link delete x; done").expect_code(0);
    sandbox.add_outside_host();
    sandbox.sh(&format!("ip route add default via {OUTSIDE}")).expect_code(0);
    does(&sandbox, &["network", "create", "--subnet", "10.71.0.0/24", "--subnet", "fd71::/64", "front"]);
    does(&sandbox, &["network", "create", "--internal", "--ipv6=false", "--subnet", "10.72.0.0/24", "back"]);
    up(&sandbox, &["--name", "web", "--network", "front", "-p", "8080:80"], &["sleep", "1000"]);
    up(&sandbox, &["--name", "app", "--network", "front", "--network", "back"], &["sleep", "1000"]);
    up(&sandbox, &["--name", "db", "--network", "back"], &["sleep", "1000"]);
    sandbox
}

fn drawn(sandbox: &Sandbox, form: &str, networks: &[&str]) -> String {
    does(sandbox, &[&["network", "graph", "--format", form][..], networks].concat()).stdout
}

fn json(sandbox: &Sandbox, networks: &[&str]) -> Value {
    serde_json::from_str(&drawn(sandbox, "json", networks)).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn named<'a>(all: &'a Value, name: &str) -> &'a Value {
    list(all).iter().find(|one| one["Name"] == name).unwrap_or_else(|| panic!("{name} in {all}"))
}

/// What `ip` says of the links of a namespace.
fn links(sandbox: &Sandbox, pid: Option<u64>) -> Value {
    let enter = pid.map(|pid| format!("nsenter -t {pid} -n ")).unwrap_or_default();
    serde_json::from_str(&sandbox.sh(&format!("{enter}ip -j -d link")).text()).unwrap()
}

#[test]
fn a_graph_has_the_links_and_numbers_that_ip_shows() {
    requires![root, tool("nft")];
    let sandbox = stocked();
    let graph = json(&sandbox, &[]);
    let host = links(&sandbox, None);
    let link = |name: &Value| list(&host).iter().find(|link| link["ifname"] == *name).unwrap().clone();
    for network in list(&graph["Networks"]) {
        let bridge = &network["Bridge"];
        let seen = link(&bridge["Name"]);
        assert_eq!((&bridge["Index"], &bridge["Mac"]), (&seen["ifindex"], &seen["address"]), "{network}");
        assert_eq!((&bridge["Mtu"], &seen["linkinfo"]["info_kind"]), (&seen["mtu"], &"bridge".into()), "{network}");
    }
    let mut cables = 0;
    for one in list(&graph["Containers"]) {
        let pid = pid(&sandbox, one["Name"].as_str().unwrap());
        let inside = links(&sandbox, Some(pid));
        for cable in list(&one["Cables"]) {
            let outer = link(&cable["Host"]["Name"]);
            let inner = list(&inside).iter().find(|link| link["ifname"] == cable["Inside"]["Name"]).unwrap();
            for (end, seen) in [(&cable["Host"], &outer), (&cable["Inside"], inner)] {
                assert_eq!((&end["Index"], &end["Mac"]), (&seen["ifindex"], &seen["address"]), "{cable}");
            }
            // each end says the other's number, and the host's one is plugged into the network's bridge
            assert_eq!((&outer["link_index"], &inner["link_index"]), (&inner["ifindex"], &outer["ifindex"]), "{cable}");
            let network = named(&graph["Networks"], cable["Network"].as_str().unwrap());
            assert_eq!(outer["master"], network["Bridge"]["Name"], "{cable}");
            let addresses =
                sandbox.sh(&format!("nsenter -t {pid} -n ip -o address show dev {}", inner["ifname"])).text();
            for address in list(&cable["Addresses"]) {
                assert!(addresses.contains(&format!(" {} ", address.as_str().unwrap())), "{address}: {addresses}");
            }
            assert_eq!(
                addresses.lines().filter(|line| !line.contains("fe80:")).count(),
                list(&cable["Addresses"]).len()
            );
            cables += 1;
        }
    }
    assert_eq!(cables, 4);
    let app = named(&graph["Containers"], "app");
    assert_eq!((&app["Cables"][0]["Network"], &app["Cables"][1]["Network"]), (&"front".into(), &"back".into()));
    assert_eq!(app["Routes"][0], serde_json::json!({ "To": "0.0.0.0/0", "Via": "10.71.0.1", "Device": "eth0" }));
    let port = &named(&graph["Containers"], "web")["Ports"][0];
    assert_eq!(
        (&port["Listen"], &port["To"], &port["Live"]),
        (&"0.0.0.0:8080".into(), &"10.71.0.2:80".into(), &true.into())
    );
    let uplink = &graph["Host"]["Uplinks"][0];
    assert_eq!((&uplink["Name"], &uplink["Index"]), (&"out0".into(), &link(&"out0".into())["ifindex"]));
    assert_eq!((&uplink["Addresses"][0], &uplink["Gateways"][0]), (&format!("{HOST}/24").into(), &OUTSIDE.into()));
    assert_eq!(graph["Host"]["IpForward"], true);
}

#[test]
fn every_form_names_all_containers_and_addresses_and_changes_nothing() {
    requires![root, tool("nft")];
    let sandbox = stocked();
    let still = |sandbox: &Sandbox| {
        let all = links(sandbox, None);
        let keys = ["ifindex", "ifname", "address", "mtu", "master", "ifalias", "link_index", "group"];
        list(&all).iter().map(|link| keys.map(|key| link[key].clone())).collect::<Vec<_>>()
    };
    let (before, links_before) = (Snapshot::of(&sandbox), still(&sandbox));
    let graph = json(&sandbox, &[]);
    let mut facts: Vec<&str> = vec!["front", "back", "masquerade", "internal", "8080", OUTSIDE, "out0"];
    for one in list(&graph["Containers"]) {
        facts.push(one["Name"].as_str().unwrap());
        facts.push(&one["Id"].as_str().unwrap()[..12]);
        for cable in list(&one["Cables"]) {
            facts.extend(list(&cable["Addresses"]).iter().map(|address| address.as_str().unwrap()));
            facts.extend([cable["Host"]["Name"].as_str().unwrap(), cable["Inside"]["Mac"].as_str().unwrap()]);
        }
    }
    assert_eq!(facts.len(), 7 + 3 * 2 + 4 * 2 + 6);
    for form in FORMS {
        let text = drawn(&sandbox, form, &[]).to_lowercase();
        for fact in &facts {
            assert!(text.contains(fact), "{form} does not say {fact}:\n{text}");
        }
    }
    // by itself a young link is given its address of IPv6, and its port's timer runs down; else it is as it was
    before.assert_only(&sandbox, |line| {
        ["fe80:", "\"ff00::\"", "forward_delay_timer"].iter().any(|of| line.contains(of))
    });
    assert_eq!(still(&sandbox), links_before);
}

#[test]
fn a_graph_shows_what_is_there_and_not_what_was_asked_for() {
    requires![root, tool("nft")];
    let sandbox = stocked();
    let network = |name: &str| json(&sandbox, &[name])["Networks"][0].clone();
    assert_eq!(network("front")["MasqueradeLive"], true);
    assert_eq!(network("back")["LeadsOut"], false);
    sandbox.sh("nft flush ruleset").expect_code(0);
    assert_eq!((&network("front")["Masquerade"], &network("front")["MasqueradeLive"]), (&true.into(), &false.into()));
    let text = drawn(&sandbox, "text", &["front"]);
    assert!(text.contains("masquerade (missing)") && text.contains("→ 80/tcp (missing)"), "{text}");
    // an address that somebody else has given it
    let bridge = network("back")["Bridge"]["Name"].as_str().unwrap().to_owned();
    sandbox.sh(&format!("ip address add 10.99.0.1/24 dev {bridge}; ip link set {bridge} mtu 1300")).expect_code(0);
    let seen = network("back")["Bridge"].clone();
    assert_eq!((&seen["Addresses"][1], &seen["Mtu"]), (&"10.99.0.1/24".into(), &1300.into()));
    // one that is defined, and one that is not
    does(&sandbox, &["network", "create", "--subnet", "10.73.0.0/24", "--ipv6=false", "later"]);
    let later = network("later");
    assert_eq!((&later["Bridge"], &later["Subnets"][0]["Net"]), (&Value::Null, &"10.73.0.0/24".into()));
    for form in FORMS.iter().filter(|form| **form != "json") {
        assert!(drawn(&sandbox, form, &["later"]).contains("its first container makes it"), "{form}");
    }
    refused(&sandbox, &["network", "graph", "front", "nosuch"], 1, "no network nosuch");
    refused(&sandbox, &["network", "graph", "host"], 1, "has no bridge");
    // a container that has ended is in no network
    does(&sandbox, &["kill", "db"]);
    does(&sandbox, &["wait", "db"]);
    let members = |name: &str| list(&json(&sandbox, &[name])["Containers"]).len();
    assert_eq!((members("back"), members("front")), (1, 2));
}

#[test]
fn a_picture_is_xml() {
    requires![root, tool("nft"), tool("python3")];
    let sandbox = stocked();
    let svg = drawn(&sandbox, "svg", &[]);
    let texts = |svg: &str| {
        let file = sandbox.path("graph.svg");
        std::fs::write(&file, svg).unwrap();
        let parse = "import sys, xml.dom.minidom as x; print(len(x.parse(sys.argv[1]).getElementsByTagName('text')))";
        output(Command::new("python3").args(["-c", parse]).arg(file))
    };
    assert!(texts(&svg).text().parse::<u32>().unwrap() > 50);
    assert_ne!(texts(&svg.replace("</svg>", "")).code(), 0, "the control");
}

#[test]
fn what_is_between_containers_is_drawn_as_the_kernel_has_it() {
    requires![root, tool("nft"), link("macvlan")];
    let sandbox = stocked();
    for words in [
        "--isolate --ipv6=false --subnet 10.74.0.0/24 quiet",
        "--ipv6=false --subnet 10.75.0.0/24 --subnet 10.76.0.0/24 --route 10.99.0.0/24 --route 10.98.0.0/24,10.75.0.9 two",
        "--proxy-arp --subnet 10.77.0.0/24 near",
        "-d macvlan -o parent=out0 -o mode=private --subnet 192.0.2.192/26 --gateway 192.0.2.193 lan",
    ] {
        does(&sandbox, &[&["network", "create"][..], &words.split(' ').collect::<Vec<_>>()].concat());
    }
    for (name, network) in [("q", "quiet"), ("t", "two"), ("n", "near"), ("l", "lan")] {
        up(&sandbox, &["--name", name, "--network", network], &["sleep", "1000"]);
    }
    let graph = json(&sandbox, &["quiet", "two", "near", "lan"]);
    let network = |name: &str| named(&graph["Networks"], name);
    let cable = |name: &str| named(&graph["Containers"], name)["Cables"][0].clone();
    let host = links(&sandbox, None);
    let link = |name: &Value| list(&host).iter().find(|link| link["ifname"] == *name).unwrap();
    let isolated = |cable: &Value| link(&cable["Host"]["Name"])["linkinfo"]["info_slave_data"]["isolated"].clone();
    assert_eq!((cable("q")["Isolated"].clone(), isolated(&cable("q"))), (true.into(), true.into()));
    assert_eq!((cable("t")["Isolated"].clone(), isolated(&cable("t"))), (false.into(), false.into()));
    // the link inside is one on out0, and says so by its number
    let inside = links(&sandbox, Some(pid(&sandbox, "l")));
    let eth0 = list(&inside).iter().find(|link| link["ifname"] == "eth0").unwrap();
    let (out0, lan) = (link(&"out0".into()), cable("l"));
    assert_eq!((&lan["Host"]["Name"], &lan["Host"]["Index"]), (&out0["ifname"], &out0["ifindex"]));
    assert_eq!((&eth0["link_index"], &eth0["address"]), (&lan["Host"]["Index"], &lan["Inside"]["Mac"]));
    assert_eq!((&network("lan")["Routed"], &network("lan")["Masquerade"]), (&false.into(), &false.into()));
    assert_eq!(list(&network("two")["Bridge"]["Addresses"]).len(), 2);
    let routes =
        sandbox.sh(&format!("nsenter -t {} -n ip -4 route show | grep -v 'proto kernel'", pid(&sandbox, "t"))).text();
    assert_eq!(list(&named(&graph["Containers"], "t")["Routes"]).len(), routes.lines().count());
    for form in FORMS.iter().filter(|form| **form != "json") {
        let text = drawn(&sandbox, form, &[]);
        for fact in [
            "from each other",
            "isolated",
            "10.75.0.1",
            "10.76.0.1",
            "10.99.0.0/24 on the wire",
            "10.98.0.0/24 via 10.75.0.9",
            "10.99.0.0/24 dev eth0",
            "proxy ARP",
            "macvlan, mode private",
            "192.0.2.193, another router",
            "not routed here",
        ] {
            assert!(text.contains(fact), "{form} does not say {fact}:\n{text}");
        }
    }
    // what somebody has taken away
    let (port, near) = (cable("q")["Host"]["Name"].clone(), network("near")["Bridge"]["Name"].clone());
    let (port, near) = (port.as_str().unwrap(), near.as_str().unwrap());
    sandbox
        .sh(&format!(
            "ip link set {port} type bridge_slave isolated off; echo 0 >/proc/sys/net/ipv4/conf/{near}/proxy_arp"
        ))
        .expect_code(0);
    let text = drawn(&sandbox, "text", &["quiet", "near"]);
    assert!(text.contains(", not isolated") && text.contains("proxy ARP missing"), "{text}");
}

#[test]
fn vlans_are_drawn_as_the_ports_have_them() {
    requires![root, tool("nft"), vlan];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for words in [
        "--ipv6=false --vlan 10 --subnet 10.10.0.0/24 ten",
        "--ipv6=false --bridge ten --vlan-trunk 10,20 --no-gateway --subnet 10.30.0.0/24 trunk",
    ] {
        does(&sandbox, &[&["network", "create"][..], &words.split(' ').collect::<Vec<_>>()].concat());
    }
    for (name, network) in [("a", "ten"), ("t", "trunk")] {
        up(&sandbox, &["--name", name, "--network", network], &["sleep", "1000"]);
    }
    let text = drawn(&sandbox, "text", &[]);
    for fact in
        ["VLAN link mr", ", 10.10.0.1/24", "VLAN 10", "trunk VLANs 10 20", "of network ten", "of t, tagged 10 20"]
    {
        assert!(text.contains(fact), "{fact}:\n{text}");
    }
    let port = json(&sandbox, &["ten"])["Containers"][0]["Cables"][0].clone();
    assert_eq!(port["Vlans"], serde_json::json!([{ "Id": 10, "Tagged": false }]));
    sandbox.sh(&format!("bridge vlan del dev {} vid 10", port["Host"]["Name"])).expect_code(0);
    assert!(drawn(&sandbox, "text", &["ten"]).contains("of a, in no VLAN"));
}
