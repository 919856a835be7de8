//! The default network: published ports from everywhere, nothing reachable that was not published, nothing left.

use crate::detached::{does, pid, up};
use crate::support::command::{Running, eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::{HOST, OUTSIDE, Sandbox};
use crate::support::snapshot::Snapshot;
use std::process::Command;

const SERVER: [&str; 6] = ["httpd", "-f", "-p", "80", "-h", "/etc"];

/// Starts a web server with these flags of `run`, and waits until `url` answers on the host.
fn serve(sandbox: &Sandbox, flags: &[&str], url: &str) -> Running {
    let running = sandbox.start(&[&["run", "--rm"], flags, &["busybox"], &SERVER].concat());
    eventually(&format!("{url} answers"), seconds(20), || sandbox.in_network(&fetch(url)).code() == 0);
    running
}

/// A line of shell that succeeds where the page is there.
fn fetch(url: &str) -> String {
    format!("curl --silent --fail --output /dev/null --max-time 10 {url}/passwd")
}

/// The same for the busybox inside.
fn fetch_inside(url: &str) -> String {
    format!("wget -q -O /dev/null {url}/passwd")
}

/// Ends the server. Not by SIGTERM: as process 1 it has no handler for it and would not notice.
fn stop(sandbox: &Sandbox, running: Running) {
    for pid in sandbox.in_pids(&SERVER.join(" ")) {
        Command::new("kill").args(["-9", &pid]).status().unwrap();
    }
    running.output().expect_code(137);
}

/// The container's address: that of its one process, asked from outside.
fn address(sandbox: &Sandbox) -> String {
    let pid = sandbox.in_pids(&SERVER.join(" ")).pop().unwrap();
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["-t", &pid, "-n", "ip", "-4", "-o", "address", "show", "dev", "eth0"]);
    let said = crate::support::command::output(&mut nsenter).text();
    said.split_whitespace().nth(3).unwrap().split('/').next().unwrap().to_owned()
}

#[test]
fn a_published_port_answers_from_everywhere_and_leaves_nothing() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    let before = Snapshot::of(&sandbox);
    let running = serve(&sandbox, &["-p", "8080:80"], "http://127.0.0.1:8080");

    sandbox.in_network(&fetch(&format!("http://{HOST}:8080"))).expect_code(0);
    sandbox.outside(&fetch(&format!("http://{HOST}:8080"))).expect_code(0);
    let sibling = ["run", "--rm", "busybox", "sh", "-c", &fetch_inside(&format!("http://{HOST}:8080"))];
    sandbox.minirun(&sibling).expect_code(0);
    let pid = sandbox.in_pids(&SERVER.join(" ")).pop().unwrap();
    let itself = format!("nsenter -t {pid} -n -m busybox {}", fetch_inside(&format!("http://{HOST}:8080")));
    crate::support::command::output(Command::new("bash").args(["-c", &itself])).expect_code(0);

    let processes = crate::support::snapshot::processes(sandbox.pid);
    let extra = processes.iter().filter(|line| line.contains("proxy")).count();
    assert_eq!(extra, 0, "{processes:?}");
    stop(&sandbox, running);
    sandbox.minirun(&["system", "reset", "--yes"]).expect_code(0);
    // the store is gone with it, and the roots' own directories; everything else is as it was
    before.assert_only(&sandbox, |line| line.contains(" minirun root: ") || line.starts_with("- minirun state: "));
}

#[test]
fn after_the_last_container_only_the_documented_stays() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    stop(&sandbox, serve(&sandbox, &["-p", "8080:80"], "http://127.0.0.1:8080"));
    let once = Snapshot::of(&sandbox);
    stop(&sandbox, serve(&sandbox, &["-p", "8080:80"], "http://127.0.0.1:8080"));
    once.assert_same(&sandbox);
}

#[test]
fn forwarding_stays_on_where_others_have_come_to_need_it() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.in_network("echo 0 >/proc/sys/net/ipv4/ip_forward").expect_code(0);
    let forwards = || sandbox.in_network("cat /proc/sys/net/ipv4/ip_forward").text();
    for (others, after) in [(":", "0"), ("nft add table ip netavark; nft add chain ip netavark FORWARD", "1")] {
        sandbox.minirun(&["run", "--rm", "busybox", "true"]).expect_code(0);
        assert_eq!(forwards(), "1");
        sandbox.in_network(others).expect_code(0);
        // of the default network nothing is left where all that nobody has is to go
        sandbox.minirun(&["network", "prune", "-f"]).expect_code(0);
        assert_eq!(forwards(), after, "{others}");
        assert_eq!(sandbox.in_network("ip -o link | grep mr-; nft list tables | grep minirun").stdout, "");
    }
}

#[test]
fn a_port_is_kept_where_connections_of_a_server_before_linger() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    // who closes first stands in TIME_WAIT for a minute, and that is the server
    let before = "busybox httpd -p 8080 -h /etc && busybox wget -q -O /dev/null http://127.0.0.1:8080/passwd && \
                  kill $(pgrep -x -f 'busybox httpd -p 8080 -h /etc') && ss -Htan 'sport = 8080'";
    eventually("a connection lingers", seconds(20), || sandbox.sh(before).stdout.contains("TIME-WAIT"));
    sandbox.minirun(&["run", "-d", "-p", "8080:80", "busybox", "sleep", "1000"]).expect_code(0);
    let other = sandbox.sh("busybox httpd -f -p 8080");
    assert!(other.code() != 0 && other.stderr.contains("in use"), "{other}");
}

#[test]
fn what_is_not_published_is_not_reachable() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    let running = serve(&sandbox, &["-p", "8080:80"], "http://127.0.0.1:8080");
    let inside = address(&sandbox);
    sandbox.in_network(&fetch(&format!("http://{inside}"))).expect_code(0); // the control: the host itself reaches it
    sandbox.outside(&format!("timeout 3 {}", fetch(&format!("http://{inside}")))).expect_code(124);
    stop(&sandbox, running);
}

#[test]
fn a_container_reaches_out_with_the_hosts_address() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    sandbox.outside("ip route delete default").expect_code(0); // it has no way back but to HOST itself
    sandbox
        .minirun(&["run", "--rm", "--cap-add", "NET_RAW", "busybox", "ping", "-c", "1", "-W", "5", OUTSIDE])
        .expect_code(0);
}

#[test]
fn forwarding_is_switched_on_where_it_is_off() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let forwarding = "cat /proc/sys/net/ipv4/ip_forward";
    assert_eq!(sandbox.in_network(forwarding).text(), "0");
    sandbox.minirun(&["run", "--rm", "busybox", "true"]).expect_code(0);
    assert_eq!(sandbox.in_network(forwarding).text(), "1");
    sandbox.minirun(&["system", "reset", "--yes"]).expect_code(0);
    assert_eq!(sandbox.in_network(forwarding).text(), "0");
}

#[test]
fn second_container_reuses_the_bridge() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let bridges = "ip -o link show type bridge | cut -d: -f2";
    sandbox.minirun(&["run", "--rm", "busybox", "true"]).expect_code(0);
    let one = sandbox.in_network(bridges).text();
    sandbox.minirun(&["run", "--rm", "busybox", "true"]).expect_code(0);
    assert_eq!(one.lines().count(), 1, "{one}");
    assert_eq!(sandbox.in_network(bridges).text(), one);
}

#[test]
fn network_none_has_lo_alone_and_host_is_the_hosts() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let links = ["busybox", "sh", "-c", "ls /sys/class/net; ip route"];
    let none = sandbox.minirun(&[&["run", "--rm", "--network", "none"], &links[..]].concat()).text();
    assert_eq!(none, "lo");
    sandbox.add_outside_host();
    let host = sandbox.minirun(&[&["run", "--rm", "--network", "host"], &links[..]].concat()).text();
    assert!(host.contains("out0"), "{host}");
}

#[test]
fn a_port_in_use_is_refused_and_its_owner_named() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let running = serve(&sandbox, &["--name", "first", "-p", "8080:80"], "http://127.0.0.1:8080");
    let said = sandbox.minirun(&["run", "--rm", "-p", "8080:80", "busybox", "true"]).expect_code(125);
    assert!(said.stderr.contains("8080") && said.stderr.contains("first"), "{said}");
    sandbox.in_network(&fetch("http://127.0.0.1:8080")).expect_code(0); // the owner was not disturbed
    stop(&sandbox, running);
    let foreign = sandbox.command("busybox").args(["nc", "-l", "-p", "8081"]).spawn().unwrap();
    eventually("nc listens", seconds(10), || sandbox.in_network("ss -ltn | grep -q :8081").code() == 0);
    let said = sandbox.minirun(&["run", "--rm", "-p", "8081:80", "busybox", "true"]).expect_code(125);
    assert!(said.stderr.contains("8081") && said.stderr.contains("hint: "), "{said}");
    drop(sandbox);
    let mut foreign = foreign;
    foreign.wait().unwrap();
}

/// A container that publishes 8080 and has this address, and then neither a monitor nor a program.
fn leave_a_dead_one(sandbox: &Sandbox) {
    let flags = ["run", "-d", "--name", "dead", "--ip", "172.18.0.9", "-p", "8080:80", "busybox"];
    sandbox.minirun(&[&flags, &SERVER[..]].concat()).expect_code(0);
    eventually("it answers", seconds(20), || sandbox.in_network(&fetch("http://127.0.0.1:8080")).code() == 0);
    let init = sandbox.minirun(&["inspect", "--format", "{{.State.Pid}}", "dead"]).text();
    // gone before anybody looks: who met one of them alive would give it another monitor
    let kill = format!(
        "monitor=$(awk '/^PPid/ {{ print $2 }}' /proc/{init}/status); kill -9 $monitor {init}
        while kill -0 $monitor 2>/dev/null || kill -0 {init} 2>/dev/null; do sleep 0.01; done"
    );
    sandbox.sh(&kill).expect_code(0);
    eventually("it is dead", seconds(20), || sandbox.minirun(&["ps", "-a"]).text().contains("Dead"));
}

#[test]
fn a_port_of_a_dead_container_is_free_for_another() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    leave_a_dead_one(&sandbox);
    let running = serve(&sandbox, &["-p", "8080:80"], "http://127.0.0.1:8080");
    stop(&sandbox, running);
}

#[test]
fn ports_of_a_dead_container_do_not_lead_to_who_gets_its_address() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    leave_a_dead_one(&sandbox);
    let running = serve(&sandbox, &["--ip", "172.18.0.9"], "http://172.18.0.9");
    assert_ne!(sandbox.in_network(&fetch("http://127.0.0.1:8080")).code(), 0);
    stop(&sandbox, running);
}

#[test]
fn our_ruleset_is_one_that_nft_can_read_again() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let running = serve(&sandbox, &["-p", "8080:80"], "http://127.0.0.1:8080");
    sandbox
        .in_network("nft list ruleset >/tmp/$$ && nft flush ruleset && nft -f /tmp/$$; s=$?; rm /tmp/$$; exit $s")
        .expect_code(0);
    sandbox.in_network(&fetch("http://127.0.0.1:8080")).expect_code(0); // and it does what it did
    stop(&sandbox, running);
}

#[test]
fn udp_is_published_too() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    // no applet of busybox answers by UDP; perl is in every Debian, and so are its libraries
    let answer = "socket(S, 2, 2, 0); bind(S, pack('Sna4x8', 2, 53, \"\\0\" x 4)); send(S, 'hello', 0, recv(S, $b, 9, 0)) while 1";
    let libraries = ["-v", "/usr:/usr:ro", "-v", "/lib:/lib:ro", "-v", "/lib64:/lib64:ro"];
    let server =
        [&["run", "--rm", "-p", "5353:53/udp"], &libraries[..], &["busybox", "/usr/bin/perl", "-e", answer]].concat();
    let _running = sandbox.start(&server);
    let ask = "timeout 2 perl -e 'socket(S, 2, 2, 0); send(S, \"x\", 0, pack(\"SnC4x8\", 2, 5353, 127, 0, 0, 1)); recv(S, $b, 9, 0); exit($b ne \"hello\")'";
    eventually("the answer comes", seconds(20), || sandbox.in_network(ask).code() == 0);
}

#[test]
fn who_publishes_a_port_cuts_nobody_elses_flows() {
    requires![root, tool("nft"), tool("conntrack")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    up(&sandbox, &["--name", "client"], &["sleep", "1000"]);
    let inside = pid(&sandbox, "client");
    let send = || {
        // the question of a container to somebody else's server, and one from there to ours
        let ask = format!("nsenter -t {inside} -n bash -c 'echo >/dev/udp/{OUTSIDE}/53'");
        sandbox.sh(&ask).expect_code(0);
        sandbox.outside(&format!("echo >/dev/udp/{HOST}/53")).expect_code(0);
    };
    let flows = || {
        [OUTSIDE, HOST].map(|to| {
            let list = format!("conntrack -L -p udp --orig-port-dst 53 -d {to} 2>/dev/null");
            !sandbox.sh(&list).stdout.is_empty()
        })
    };
    send();
    assert_eq!(flows(), [true; 2]);
    up(&sandbox, &["--name", "web", "-p", "53:53/udp"], &["sleep", "1000"]);
    assert_eq!(flows(), [true, false]);
    send();
    assert_eq!(flows(), [true; 2]);
    does(&sandbox, &["rm", "-f", "web"]);
    assert_eq!(flows(), [true, false]);
}
