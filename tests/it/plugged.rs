//! Networks that a container comes into and leaves, while it runs and while it does not.

use crate::detached::{does, inspect, monitor, pid, refused, up};
use crate::support::command::{eventually, seconds};
use crate::support::reach::{cut_off, reaches};
use crate::support::requires::requires;
use crate::support::sandbox::{HOST, Sandbox};
use serde_json::Value;

fn waits(sandbox: &Sandbox, name: &str, flags: &[&str]) {
    up(sandbox, &[&["--name", name, "--cap-add", "NET_RAW"][..], flags].concat(), &["sleep", "1000"]);
}

fn networks(sandbox: &Sandbox, name: &str) -> Vec<String> {
    let all = inspect(sandbox, name)["NetworkSettings"]["Networks"].clone();
    all.as_object().unwrap().keys().cloned().collect()
}

fn address(sandbox: &Sandbox, name: &str, network: &str) -> String {
    inspect(sandbox, name)["NetworkSettings"]["Networks"][network]["IPAddress"].as_str().unwrap().to_owned()
}

fn inside(sandbox: &Sandbox, name: &str, command: &[&str]) -> String {
    does(sandbox, &[&["exec", name][..], command].concat()).stdout
}

#[test]
fn a_running_container_comes_into_a_network_and_leaves_it() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["network", "create", "--ipv6=true", "back"]);
    waits(&sandbox, "db", &["--network", "back"]);
    waits(&sandbox, "web", &[]);
    let host = || sandbox.sh("ip -br link | awk '{print $1}'; nft list ruleset; ip route").stdout;
    let before = host();
    let (db, web) = (address(&sandbox, "db", "back"), pid(&sandbox, "web"));
    let resolv = inside(&sandbox, "web", &["cat", "/etc/resolv.conf"]);
    assert!(cut_off(&sandbox, "web", &db));
    does(&sandbox, &["network", "connect", "--alias", "www", "back", "web"]);
    assert!(reaches(&sandbox, "web", &db));
    assert_eq!(networks(&sandbox, "web"), ["back", "bridge"]);
    // names, both ways; the route out stays where it was
    assert!(reaches(&sandbox, "web", "db") && reaches(&sandbox, "db", "www"));
    assert!(inside(&sandbox, "web", &["cat", "/etc/resolv.conf"]).contains("nameserver 127.0.0.11"));
    let hosts = inside(&sandbox, "web", &["cat", "/etc/hosts"]);
    assert!(hosts.contains(&format!("{}\t", address(&sandbox, "web", "back"))), "{hosts}");
    assert!(inside(&sandbox, "web", &["ip", "route"]).contains("dev eth0 \n"));
    let veths = inspect(&sandbox, "web")["Host"]["Veths"].clone();
    assert_eq!((&veths[1]["Network"], &veths[1]["Inside"]), (&Value::from("back"), &Value::from("eth1")));
    let index = sandbox.sh(&format!("cat /sys/class/net/{}/ifindex", veths[1]["Name"].as_str().unwrap())).stdout;
    assert_eq!(index.trim(), veths[1]["Index"].to_string());
    refused(&sandbox, &["network", "connect", "back", "web"], 1, "is in network back already");
    does(&sandbox, &["network", "disconnect", "back", "web"]);
    assert!(cut_off(&sandbox, "web", &db));
    assert_eq!((networks(&sandbox, "web"), pid(&sandbox, "web")), (vec!["bridge".to_owned()], web));
    refused(&sandbox, &["network", "disconnect", "back", "web"], 1, "is not in network back");
    does(&sandbox, &["network", "disconnect", "-f", "back", "web"]);
    assert_eq!(host(), before);
    assert_ne!(inside(&sandbox, "web", &["cat", "/etc/resolv.conf"]), resolv); // the resolver stays for the next one
    let events = does(&sandbox, &["events", "--since", "1h", "--until", "0s", "--filter", "type=network"]).stdout;
    for action in ["network create", "network connect", "network disconnect"] {
        assert!(events.contains(action), "{action}: {events}");
    }
}

#[test]
fn what_a_container_was_connected_to_it_has_after_a_restart_and_gives_back() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for network in ["one", "two"] {
        does(
            &sandbox,
            &["network", "create", "--subnet", if network == "one" { "10.71.0.0/24" } else { "10.72.0.0/24" }, network],
        );
    }
    waits(&sandbox, "web", &["--network", "one", "--ip", "10.71.0.9"]);
    does(&sandbox, &["network", "connect", "--ip", "10.72.0.7", "--mac-address", "02:00:00:00:00:07", "two", "web"]);
    refused(&sandbox, &["network", "connect", "--ip", "10.99.0.7", "two", "web"], 1, "already");
    does(&sandbox, &["restart", "-t", "0", "web"]);
    assert_eq!(
        (address(&sandbox, "web", "one"), address(&sandbox, "web", "two")),
        ("10.71.0.9".into(), "10.72.0.7".into())
    );
    assert!(inside(&sandbox, "web", &["ip", "link", "show", "eth1"]).contains("02:00:00:00:00:07"));
    // whoever ends one start deletes its links, and not those of the next one
    for _ in 0..6 {
        let links = || sandbox.sh("ip -o link | grep -o 'mrv[0-9a-z]*'").stdout;
        let before = links();
        does(&sandbox, &["restart", "-t", "0", "web"]);
        assert!(before.lines().all(|link| !links().contains(link)), "{before}{}", links());
        assert_eq!(inside(&sandbox, "web", &["sh", "-c", "ip -o link | grep -c eth"]), "2\n");
    }
    // it has ended: the addresses are free, and it is asked for other ones
    does(&sandbox, &["stop", "-t", "0", "web"]);
    does(&sandbox, &["network", "disconnect", "one", "web"]);
    refused(&sandbox, &["network", "connect", "--ip", "10.99.0.7", "one", "web"], 1, "is not in network one");
    refused(&sandbox, &["network", "connect", "nosuch", "web"], 1, "no network nosuch");
    does(&sandbox, &["network", "connect", "bridge", "web"]);
    does(&sandbox, &["start", "web"]);
    assert_eq!(networks(&sandbox, "web"), ["bridge", "two"]);
    does(&sandbox, &["rm", "-f", "web"]);
    does(&sandbox, &["network", "rm", "one", "two"]);
}

#[test]
fn a_link_that_came_later_goes_with_the_container_even_where_its_namespace_stays() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["network", "create", "net"]);
    waits(&sandbox, "web", &[]);
    does(&sandbox, &["network", "connect", "net", "web"]);
    let pid = pid(&sandbox, "web").to_string();
    sandbox
        .sh(&format!("mkdir -p /run/netns; touch /run/netns/kept; mount --bind /proc/{pid}/ns/net /run/netns/kept"))
        .expect_code(0);
    let links = || sandbox.sh("ip -o link | grep -c 'mrv'").stdout.trim().to_owned();
    assert_eq!(links(), "2");
    does(&sandbox, &["rm", "-f", "web"]);
    eventually("no link of its own is left", seconds(20), || links() == "0");
}

#[test]
fn published_ports_go_with_the_way_out() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    does(&sandbox, &["network", "create", "--internal", "quiet"]);
    does(&sandbox, &["network", "create", "second"]);
    let serve = ["httpd", "-f", "-p", "80", "-h", "/etc"];
    up(
        &sandbox,
        &["--name", "web", "-p", "80", "--network", "bridge", "--network", "quiet", "--network", "second"],
        &serve,
    );
    let port = does(&sandbox, &["port", "web", "80"]).stdout;
    let port = port.lines().next().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let answers = || sandbox.outside(&format!("busybox wget -qO- http://{HOST}:{port}/passwd")).stdout.contains("root");
    eventually("it answers", seconds(20), answers);
    let published = || sandbox.sh("nft list map inet $(nft list tables | awk '/minirun/ { print $3 }') pub4").stdout;
    assert!(published().contains(&format!("tcp . {port} ")), "{}", published());
    let second = inspect(&sandbox, "web")["NetworkSettings"]["Networks"]["second"]["Gateway"].clone();
    let hosts = || inside(&sandbox, "web", &["cat", "/etc/hosts"]);
    let by_second = format!("\n{}\thost.minirun.internal host.docker.internal\n", second.as_str().unwrap());
    assert!(!hosts().contains(&by_second) && hosts().contains("host.docker.internal"), "{}", hosts());
    does(&sandbox, &["network", "disconnect", "bridge", "web"]);
    assert!(answers(), "through the network that is left");
    assert!(hosts().contains(&by_second), "{}", hosts());
    assert!(inside(&sandbox, "web", &["ip", "route"]).contains("default via"));
    let said = sandbox.minirun(&["network", "disconnect", "second", "web"]).expect_code(0);
    assert!(said.stderr.contains("published ports lead nowhere"), "{}", said.stderr);
    assert!(!inside(&sandbox, "web", &["ip", "route"]).contains("default via"));
    assert!(!hosts().contains("host.docker.internal"), "{}", hosts());
    assert!(!published().contains(&format!("tcp . {port} ")), "{}", published());
    // the port is still its own, and leads to where it comes next
    does(&sandbox, &["network", "connect", "second", "web"]);
    assert!(answers() && does(&sandbox, &["port", "web", "80"]).stdout.contains(&format!(":{port}")));
    does(&sandbox, &["rm", "-f", "web"]);
    assert!(!published().contains(&format!("tcp . {port} ")), "{}", published());
}

#[test]
fn who_has_no_networks_of_its_own_comes_into_none() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["network", "create", "net"]);
    waits(&sandbox, "host", &["--network", "host"]);
    waits(&sandbox, "none", &["--network", "none"]);
    refused(&sandbox, &["network", "connect", "net", "host"], 1, "has no networks of its own");
    refused(&sandbox, &["network", "connect", "net", "none"], 1, "was started without a network");
    refused(&sandbox, &["network", "connect", "host", "none"], 1, "host is no network");
    does(&sandbox, &["stop", "-t", "0", "none"]);
    does(&sandbox, &["network", "connect", "net", "none"]);
    does(&sandbox, &["start", "none"]);
    assert_eq!(networks(&sandbox, "none"), ["net"]);
}

#[test]
fn a_namespace_that_somebody_made_is_entered_by_its_file() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.sh("ip netns add there && ip -n there link add seen type bridge && touch /run/netns/none").expect_code(0);
    let said = does(&sandbox, &["run", "--rm", "--network", "ns:/run/netns/there", "busybox", "ip", "link"]).stdout;
    assert!(said.contains("seen"), "{said}");
    refused(
        &sandbox,
        &["run", "--rm", "--network", "ns:/run/netns/nosuch", "busybox", "true"],
        125,
        "no network namespace at",
    );
    refused(
        &sandbox,
        &["run", "--rm", "--network", "ns:/run/netns/none", "busybox", "true"],
        125,
        "is no net namespace",
    );
}

#[test]
fn a_network_by_its_id_is_that_network() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let id = does(&sandbox, &["network", "create", "net"]).text().trim().to_owned();
    waits(&sandbox, "web", &["--network", &id[..12]]);
    assert_eq!(networks(&sandbox, "web"), ["net"]);
    refused(&sandbox, &["network", "connect", "net", "web"], 1, "already");
    refused(&sandbox, &["run", "--rm", "--network", "net", "--network", &id, "busybox", "true"], 125, "named twice");
    does(&sandbox, &["stop", "-t", "0", "web"]);
    does(&sandbox, &["network", "prune", "-f"]);
    does(&sandbox, &["start", "web"]);
    does(&sandbox, &["network", "disconnect", &id[..6], "web"]);
    assert_eq!(networks(&sandbox, "web"), [] as [&str; 0]);
}

#[test]
fn a_connect_that_fails_or_is_killed_is_brought_to_its_end() {
    requires![root, tool("strace")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["network", "create", "--ipv6=false", "--subnet", "10.73.0.0/24", "net"]);
    waits(&sandbox, "web", &[]);
    let links = || inside(&sandbox, "web", &["ls", "/sys/class/net"]).split_whitespace().count();
    // its monitor does not answer: nothing is done
    let monitor = monitor(&sandbox, "web");
    sandbox.sh(&format!("kill -STOP {monitor}")).expect_code(0);
    let said = sandbox.minirun(&["network", "connect", "net", "web"]);
    sandbox.sh(&format!("kill -CONT {monitor}")).expect_code(0);
    assert!(said.code() == 1 && said.stderr.contains("does not answer"), "{}", said.stderr);
    assert_eq!((links(), networks(&sandbox, "web")), (2, vec!["bridge".to_owned()]));
    // killed at every rename, which is where a record is written, and before it goes into the container's network
    let binary = crate::support::sandbox::minirun_binary().display().to_string();
    for verb in ["connect", "disconnect"] {
        if verb == "disconnect" {
            does(&sandbox, &["network", "connect", "net", "web"]);
        }
        for call in ["renameat,renameat2,rename", "setns"] {
            for at in 1..8 {
                let kill = format!("strace -qq -f -o /dev/null -e inject={call}:signal=KILL:when={at}");
                let ended = sandbox.sh(&format!("{kill} {binary} network {verb} net web"));
                // the same again, or the other way, whatever stands
                sandbox.minirun(&["network", "disconnect", "-f", "net", "web"]).expect_code(0);
                let where_at = format!("{verb}, killed at {call} {at}");
                assert_eq!((links(), networks(&sandbox, "web")), (2, vec!["bridge".to_owned()]), "{where_at}");
                let hosts = inside(&sandbox, "web", &["cat", "/etc/hosts"]);
                assert!(!hosts.contains("10.73.0."), "{where_at}: {hosts}");
                does(&sandbox, &["network", "connect", "net", "web"]);
                assert_eq!(links(), 3, "{where_at}");
                if verb == "connect" {
                    does(&sandbox, &["network", "disconnect", "net", "web"]);
                }
                if ended.code() == 0 {
                    break;
                }
            }
        }
    }
    let addresses = inside(&sandbox, "web", &["ip", "-4", "-o", "address"]);
    assert_eq!(addresses.matches("10.73.0.").count(), 1, "{addresses}");
}
