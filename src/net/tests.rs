//! The network in the kernel: each test runs in a process of its own with a network namespace of its own (`unshare`),
//! has an outside, containers that are `sleep`s in further namespaces, and proves with TCP what reaches what.
#![allow(clippy::disallowed_methods)] // a test builds its hosts with the usual tools

use super::apply::Held;
use super::entry::Entry;
use super::lease::{Around, acquire, release};
use super::names::Realm;
use super::network::{Attachment, Holder, Lease, Network, Subnet};
use super::plan::{self, DEFAULT_NETWORK, Mode, NetPlan, NetRequest, plan};
use super::publish::{HostPort, Publish};
use super::record::{self, Networks};
use super::step::{Step, Undo};
use super::{apply, probe, reload, remove, ruleset, survey, undo};
use crate::error::Result;
use crate::id::{ContainerId, HostPath, Name};
use crate::sys::netlink::{self, Socket};
use crate::sys::netns::Visit;
use nix::unistd::Pid;
use rtnetlink::packet_route::link::LinkAttribute;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs `inner` in a process with network and mount namespaces of its own; the test passes if that does.
fn sandbox(name: &str, inner: fn()) {
    const INSIDE: &str = "MINIRUN_TEST_SANDBOX";
    if std::env::var_os(INSIDE).is_some() {
        return inner();
    }
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return; // network namespaces need root
    }
    let exe = std::fs::read_link("/proc/self/exe").unwrap();
    let done = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(exe)
        .args(["--exact", &format!("net::tests::{name}"), "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
}

/// Runs a script here; its output.
fn sh(script: &str) -> String {
    let done = Command::new("bash").args(["-euc", script]).output().unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// A network namespace with a sleeping process in it.
struct Space {
    child: Child,
}

impl Space {
    fn new() -> Space {
        let child = Command::new("unshare").args(["--net", "sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap();
        let space = Space { child };
        let net = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while net(&space.pid().to_string()) == net("self") {
            assert!(Instant::now() < deadline, "unshare did not");
            std::thread::yield_now();
        }
        space
    }
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
    fn sh(&self, script: &str) -> String {
        sh(&format!("nsenter -t {} -n bash -euc '{script}'", self.pid()))
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a connection begins or ends.
#[derive(Clone, Copy)]
enum At<'a> {
    Host,
    Space(&'a Space),
}

impl At<'_> {
    fn run<T>(self, work: impl FnOnce() -> T) -> T {
        match self {
            At::Host => work(),
            At::Space(space) => Visit::to(space.pid()).unwrap().inside(work).unwrap(),
        }
    }
}

/// Listens there and answers each connection with the address from which it came. Lives as long as the test.
fn serve(at: At<'_>, port: u16) {
    let listener = at.run(|| TcpListener::bind(("0.0.0.0", port)).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let peer = stream.peer_addr().unwrap().ip().to_string();
            let mut stream = stream;
            let _ = stream.write_all(peer.as_bytes());
        }
    });
}

/// Connects from there; what the server saw as the client's address.
fn call(from: At<'_>, to: &str) -> std::io::Result<IpAddr> {
    let to: SocketAddr = to.parse().unwrap();
    let mut stream = from.run(|| TcpStream::connect_timeout(&to, Duration::from_millis(4000)))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.parse().unwrap())
}

/// This network namespace as a host with an uplink to an outside, and a state directory.
struct Host {
    dir: tempfile::TempDir,
    outside: Space,
}

struct Container {
    id: ContainerId,
    space: Space,
    lease: Vec<Lease>,
    plan: NetPlan,
    _held: Held,
}

const HOST: &str = "10.0.2.15";
const OUTSIDE: &str = "10.0.2.2";

impl Host {
    fn new() -> Host {
        let outside = Space::new();
        sh(
            "ip link set lo up; echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding",
        );
        sh(&format!("ip link add up0 type veth peer name eth0 netns {}", outside.pid()));
        // no duplicate address detection of link-local addresses between two looks at the links
        sh("echo 1 > /proc/sys/net/ipv6/conf/up0/disable_ipv6");
        outside.sh("echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6");
        sh(&format!("ip address add {HOST}/24 dev up0; ip link set up0 up; ip route add default via {OUTSIDE}"));
        outside.sh(&format!("ip link set lo up; ip link set eth0 up; ip address add {OUTSIDE}/24 dev eth0"));
        Host { dir: tempfile::tempdir().unwrap(), outside }
    }

    fn state(&self) -> HostPath {
        HostPath::parse(self.dir.path().to_str().unwrap()).unwrap()
    }

    fn table(&self) -> String {
        Realm { state: self.state() }.table()
    }

    fn network(&self) -> Name {
        Name::parse(DEFAULT_NETWORK).unwrap()
    }

    fn planned(&self, id: &ContainerId, publish: &[&str]) -> Result<(Vec<Lease>, NetPlan)> {
        self.planned_with(id, &bridge(publish))
    }

    fn planned_with(&self, id: &ContainerId, request: &NetRequest) -> Result<(Vec<Lease>, NetPlan)> {
        let holder = Holder { container: id.clone(), pid: 1, start_time: 1, boot_id: "x".into() };
        let networks = Networks::lock(&self.state())?;
        let lease = acquire(
            &networks,
            request,
            &holder,
            &Around { root: &self.state(), alive: &|_| true, used: &probe::used },
        )?;
        let of = |lease: &Lease| record::load(&self.state(), &lease.network).unwrap().unwrap();
        let (facts, _) = probe::facts(&self.state(), &lease.iter().map(of).collect::<Vec<_>>(), &|_| true)?;
        let plan = plan(request, &lease, &facts, id, &id.tag(self.state().as_str()))?;
        networks.intend(&plan)?;
        Ok((lease, plan))
    }

    fn start(&self, name: &str, publish: &[&str]) -> Result<Container> {
        self.start_with(name, &bridge(publish))
    }

    fn start_with(&self, name: &str, request: &NetRequest) -> Result<Container> {
        let id = ContainerId::parse(name).unwrap();
        let (lease, plan) = self.planned_with(&id, request)?;
        let space = Space::new();
        let mut held = Held::default();
        let done = apply::apply(&plan.prepare, None, &mut held)
            .and_then(|()| apply::apply(&plan.host, Some(space.pid()), &mut held));
        let container = Container { id, space, lease, plan, _held: held };
        match done {
            Ok(()) => Ok(container),
            Err(failure) => {
                self.stop(container);
                Err(failure.error)
            }
        }
    }

    /// Ends a container: its init, the undos backwards, its lease.
    fn stop(&self, container: Container) {
        let Container { id, space, plan, .. } = container;
        drop(space);
        let undos: Vec<Undo> = plan.host.iter().filter_map(Step::undo).collect();
        for undo in undos.iter().rev() {
            apply::undo(undo, &mut Vec::new()).unwrap();
            apply::undo(undo, &mut Vec::new()).unwrap();
        }
        release(&Networks::lock(&self.state()).unwrap(), &id, None).unwrap();
    }

    fn remove_network(&self) {
        let networks = Networks::lock(&self.state()).unwrap();
        let network = record::load(&self.state(), &self.network()).unwrap().unwrap();
        remove::check_unused(&network, &|_| true).unwrap();
        let errors = remove::remove_network(&networks, &network);
        assert!(errors.is_empty(), "{errors:?}");
    }
}

impl Container {
    fn at(&self, port: u16) -> String {
        SocketAddr::new(self.lease[0].addresses[0].addr(), port).to_string()
    }
    fn gateway(&self) -> IpAddr {
        self.lease[0].gateways[0]
    }
}

fn bridge(publish: &[&str]) -> NetRequest {
    NetRequest::bridge(publish.iter().flat_map(|word| Publish::parse(word).unwrap()).collect()).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The state of this namespace as other tools see it. Counters are not asked for; ifindices of what stays do not change.
fn snapshot() -> String {
    sh("ip -d -j link; ip -j address; ip -j route show table all; nft list ruleset; ip -j neigh show nud permanent; \
        find /proc/sys/net -type f -not -path '*/neigh/*' -not -name stat_refresh -perm -u=r | sort | \
        xargs grep -H . 2> /dev/null | grep -v -e nf_conntrack_count -e 'route/gc\\|flow_limit\\|rps_\\|random' || true")
}

#[test]
fn a_published_port_answers_everywhere() {
    sandbox("a_published_port_answers_everywhere", || {
        for bridge_nf in ["0", "1"] {
            for forward in ["accept", "drop"] {
                published_port(bridge_nf, forward);
                sh("nft flush ruleset; ip link delete up0");
            }
        }
    });
}

fn published_port(bridge_nf: &str, forward: &str) {
    let host = Host::new();
    let _ = std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", bridge_nf);
    sh(&format!(
        "nft 'table ip filter {{ chain FORWARD {{ type filter hook forward priority 0; policy {forward}; }}; }}'"
    ));
    let neighbour = Space::new();
    sh(&format!("ip link add n0 type veth peer name eth0 netns {}", neighbour.pid()));
    sh("ip address add 10.0.3.1/24 dev n0; ip link set n0 up");
    neighbour.sh("ip link set eth0 up; ip address add 10.0.3.2/24 dev eth0; ip route add default via 10.0.3.1");

    let web = host.start("web", &["8080:80"]).unwrap();
    let sibling = host.start("sibling", &[]).unwrap();
    for port in [80, 81] {
        serve(At::Space(&web.space), port);
    }
    serve(At::Space(&host.outside), 9000);
    sh("ip address add 10.9.9.9/32 dev lo"); // an address that came later
    let case = format!("bridge-nf-call-iptables {bridge_nf}, FORWARD policy {forward}");
    let host_port = format!("{HOST}:8080");
    for (who, from, to) in [
        ("outside", At::Space(&host.outside), host_port.as_str()),
        ("neighbour", At::Space(&neighbour), &host_port),
        ("host by its address", At::Host, &host_port),
        ("host by loopback", At::Host, "127.0.0.1:8080"),
        ("host by a later address", At::Host, "10.9.9.9:8080"),
        ("host by the gateway's address", At::Host, &format!("{}:8080", web.gateway())),
        ("sibling", At::Space(&sibling.space), &host_port),
        ("sibling by the gateway's address", At::Space(&sibling.space), &format!("{}:8080", web.gateway())),
        ("itself", At::Space(&web.space), &host_port),
        ("sibling, unpublished", At::Space(&sibling.space), &web.at(81)),
        ("host, unpublished", At::Host, &web.at(81)),
    ] {
        let seen = call(from, to);
        assert!(seen.is_ok(), "{case}: {who}: {seen:?}\n{}", sh("nft list ruleset"));
    }
    // the client's address is kept; containers leave under the host's
    assert_eq!(call(At::Space(&host.outside), &host_port).unwrap(), ip(OUTSIDE), "{case}");
    assert_eq!(call(At::Space(&sibling.space), &web.at(81)).unwrap(), sibling.lease[0].addresses[0].addr(), "{case}");
    assert_eq!(call(At::Space(&web.space), &format!("{OUTSIDE}:9000")).unwrap(), ip(HOST), "{case}");
    // IPv6 loopback is refused at once instead of hanging
    assert_eq!(call(At::Host, "[::1]:8080").unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);

    if forward == "accept" {
        unpublished_is_unreachable(&host, &neighbour, &web, &case);
    }
    sh("ip address delete 10.9.9.9/32 dev lo; ip link delete n0");
    host.stop(web);
    host.stop(sibling);
    host.remove_network();
}

/// Even by someone who routes to the subnet. The control: without the one barrier it is reachable.
fn unpublished_is_unreachable(host: &Host, neighbour: &Space, web: &Container, case: &str) {
    let subnet = web.lease[0].addresses[0].trunc();
    host.outside.sh(&format!("ip route add {subnet} via {HOST}"));
    for from in [At::Space(&host.outside), At::Space(neighbour)] {
        assert!(call(from, &web.at(81)).is_err(), "{case}");
        assert!(call(from, &web.at(80)).is_err(), "{case}");
    }
    let table = host.table();
    sh(&format!("nft flush chain inet {table} forward"));
    for from in [At::Space(&host.outside), At::Space(neighbour)] {
        assert!(call(from, &web.at(81)).is_ok(), "{case}: control");
    }
}

#[test]
fn after_the_last_network_all_is_as_before() {
    sandbox("after_the_last_network_all_is_as_before", || {
        let host = Host::new();
        sh("nft 'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }'");
        let before = snapshot();
        let web = host.start("web", &["8080:80", "127.0.0.1:8081:81", "5353:53/udp"]).unwrap();
        let other = host.start("other", &[]).unwrap();
        assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
        assert!(sh("nft list chain ip filter FORWARD").contains("accept comment \"minirun"));
        assert_ne!(snapshot(), before);
        host.stop(web);
        host.stop(other);
        host.remove_network();
        let after = snapshot();
        assert_eq!(before, after);
    });
}

#[test]
fn a_taken_port_names_who_has_it() {
    sandbox("a_taken_port_names_who_has_it", || {
        let host = Host::new();
        let _web = host.start("web", &["8080:80", "8081:81"]).unwrap();
        let rules = sh("nft list ruleset");
        let error = host.start("second", &["9090:80", "8081:80"]).err().unwrap();
        assert_eq!(error.message, "cannot publish port 8081/tcp: container web has it");
        assert!(error.hint.unwrap().contains("minirun stop web"));
        let _program = TcpListener::bind("0.0.0.0:7000").unwrap();
        let error = host.start("third", &["7000:80"]).err().unwrap();
        assert_eq!(error.message, "cannot publish port 7000/tcp: another program listens on it");
        let error = host.start("fourth", &["10.99.0.1:7001:80"]).err().unwrap();
        assert_eq!(
            error.message,
            "cannot publish port 10.99.0.1:7001/tcp: no interface of this host has address 10.99.0.1"
        );
        assert_eq!(sh("nft list ruleset"), rules);
        assert!(TcpListener::bind("0.0.0.0:8080").is_err(), "a published port is held against other programs");
    });
}

#[test]
fn a_port_left_by_a_killed_monitor_names_its_container() {
    sandbox("a_port_left_by_a_killed_monitor_names_its_container", || {
        let host = Host::new();
        let web = host.start("web", &["8080:80"]).unwrap();
        let Container { _held: held, space: _space, .. } = web;
        drop(held);
        let id = ContainerId::parse("second").unwrap();
        let (_, plan) = host.planned(&id, &["8080:80"]).unwrap();
        let space = Space::new();
        let failure = apply::apply(&plan.host, Some(space.pid()), &mut Held::default()).unwrap_err();
        assert!(matches!(plan.host[failure.index], Step::Publish { .. }), "{failure:?}");
        assert_eq!(failure.owner.unwrap().as_str(), "web");
    });
}

#[test]
fn flushed_rules_are_rebuilt_by_the_next_start() {
    sandbox("flushed_rules_are_rebuilt_by_the_next_start", || {
        let host = Host::new();
        let web = host.start("web", &["8080:80"]).unwrap();
        serve(At::Space(&web.space), 80);
        sh("nft flush ruleset");
        let port = format!("{HOST}:8080");
        assert!(call(At::Space(&host.outside), &port).is_err());
        let _second = host.start("second", &[]).unwrap();
        assert_eq!(call(At::Space(&host.outside), &port).unwrap(), ip(OUTSIDE));
    });
}

#[test]
fn a_deleted_bridge_is_made_again_by_the_next_start() {
    sandbox("a_deleted_bridge_is_made_again_by_the_next_start", || {
        let host = Host::new();
        let first = host.start("first", &[]).unwrap();
        sh(&format!("ip link delete {}", first.lease[0].bridge));
        host.stop(first);
        let web = host.start("web", &["8080:80"]).unwrap();
        serve(At::Space(&web.space), 80);
        assert!(call(At::Space(&host.outside), &format!("{HOST}:8080")).is_ok());
    });
}

#[test]
fn the_second_container_finds_all_shared_things() {
    sandbox("the_second_container_finds_all_shared_things", || {
        let host = Host::new();
        let first = host.start("first", &[]).unwrap();
        let second = host.start("second", &[]).unwrap();
        assert!(first.plan.prepare.len() > 5);
        assert_eq!(second.plan.prepare, []);
    });
}

#[test]
fn the_rules_are_the_same_for_nft_and_load_again() {
    sandbox("the_rules_are_the_same_for_nft_and_load_again", || {
        let list = |name: &str| sh("nft -s list ruleset").replace(name, "NAME");
        let mut socket = crate::sys::netlink::Socket::netfilter().unwrap();
        ruleset::create("minirun").commit(&mut socket).unwrap();
        let ours = list("minirun");
        let json = sh("nft -j list ruleset | sed -E 's/\"handle\": [0-9]+//g'");
        sh("nft list ruleset > /tmp/minirun-$$; nft flush ruleset; nft -f /tmp/minirun-$$; rm /tmp/minirun-$$");
        assert_eq!(list("minirun"), ours, "loaded again");
        sh(&format!("nft flush ruleset; nft '{}'", ruleset::text("minirun")));
        assert_eq!(list("minirun"), ours, "made by nft");
        assert_eq!(sh("nft -j list ruleset | sed -E 's/\"handle\": [0-9]+//g'"), json);
    });
}

#[test]
fn the_shell_lines_do_the_same() {
    sandbox("the_shell_lines_do_the_same", || {
        let dump = |space: &Space, host: &Host| {
            let inside =
                "ip -d -j link; ip -j address; ip -j route show table all; cat /proc/sys/net/ipv4/ping_group_range";
            let text = sh("ip -d -j link; ip -j address; ip -j route show table all; nft -s -j list ruleset; \
                cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv*/conf/mr-*/{route_localnet,disable_ipv6} 2> /dev/null || true")
                + &space.sh(inside);
            let text = text.replace(&host.table(), "TABLE");
            sh(&format!(
                "sed -E -e 's/\"(handle|ifindex|link_index|link_netnsid|valid_life_time|hello_timer|gc_timer|tcn_timer|topology_change_timer|hold_timer|forward_delay_timer|message_age_timer)\": ?[0-9.]+//g' -e 's/\"(bridge_id|root_id|designated_bridge|id|no|permaddr|operstate)\": ?\"[^\"]*\"//g' <<'END'\n{text}\nEND"
            ))
        };
        let host = Host::new();
        sh("nft 'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }'");
        let ports = ["8080:80", "127.0.0.1:8081:81", "5353:53/udp"];
        let web = host.start("web", &ports).unwrap();
        let ours = dump(&web.space, &host);
        host.stop(web);
        host.remove_network();
        let id = ContainerId::parse("web").unwrap();
        let (_, plan) = host.planned(&id, &ports).unwrap();
        let space = Space::new();
        for step in plan.prepare.iter().chain(&plan.host) {
            sh(&format!("INIT_PID={}; {}", space.pid(), step.shell()));
        }
        let theirs = dump(&space, &host);
        let only_in =
            |a: &str, b: &str| a.split(',').filter(|part| !b.contains(part)).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!((only_in(&ours, &theirs), only_in(&theirs, &ours)), (vec![], vec![]));
        assert_eq!(ours.len(), theirs.len(), "{ours}\n\n{theirs}");
        for undo in plan.host.iter().filter_map(Step::undo) {
            sh(&format!("INIT_PID={}; {}", space.pid(), undo.shell()));
        }
    });
}

#[test]
fn a_link_without_our_mark_is_not_deleted() {
    sandbox("a_link_without_our_mark_is_not_deleted", || {
        sh("ip link add mrv0 type veth peer name mrv1; ip link set mrv0 alias somebody");
        let link = crate::id::IfName::parse("mrv0").unwrap();
        let undo = Undo::DeleteLink { link, mark: "minirun x web".into() };
        apply::undo(&undo, &mut Vec::new()).unwrap();
        sh("ip link show mrv0; ip link set mrv0 alias 'minirun x web'");
        apply::undo(&undo, &mut Vec::new()).unwrap();
        sh("! ip link show mrv0 2> /dev/null");
    });
}

#[test]
fn a_failed_step_is_named_by_its_index() {
    sandbox("a_failed_step_is_named_by_its_index", || {
        let host = Host::new();
        let id = ContainerId::parse("web").unwrap();
        let (_, plan) = host.planned(&id, &[]).unwrap();
        apply::apply(&plan.prepare, None, &mut Held::default()).unwrap();
        let space = Space::new();
        apply::apply(&plan.host, Some(space.pid()), &mut Held::default()).unwrap();
        // the same once more: the veth is there already
        let failure = apply::apply(&plan.host, Some(space.pid()), &mut Held::default()).unwrap_err();
        assert!(matches!(plan.host[failure.index], Step::AddVeth(_)), "{failure:?}");
        assert!(failure.error.message.contains("EEXIST"), "{}", failure.error.message);
    });
}

/// Two networks: one has its record written by hand, for only the default one is made by itself.
#[test]
fn networks_are_isolated_from_each_other() {
    sandbox("networks_are_isolated_from_each_other", || {
        let host = Host::new();
        let web = host.start("web", &["8080:80"]).unwrap();
        serve(At::Space(&web.space), 80);
        let name = Name::parse("other").unwrap();
        let realm = Realm { state: host.state() };
        let subnets = vec![Subnet::with_gateway("172.30.0.0/24".parse().unwrap())];
        let mut other = Network::new(&realm, &name, subnets).unwrap();
        other.shape.mtu = Some(1400);
        Networks::lock(&host.state()).unwrap().save(&other).unwrap();
        let request = NetRequest { mode: Mode::Networks(vec![Attachment::any(name)]), ..NetRequest::of_nobody() };
        let stranger = host.start_with("stranger", &request).unwrap();
        assert!(call(At::Space(&stranger.space), &web.at(80)).is_err());
        // what is published is for everybody, and the control: the networks without the one barrier
        assert!(call(At::Space(&stranger.space), &format!("{HOST}:8080")).is_ok());
        sh(&format!("nft flush chain inet {} forward", host.table()));
        assert!(call(At::Space(&stranger.space), &web.at(80)).is_ok());
        assert!(stranger.space.sh("ip link show eth0").contains("mtu 1400"));
    });
}

#[test]
fn a_udp_client_follows_the_port_to_the_next_container() {
    sandbox("a_udp_client_follows_the_port_to_the_next_container", || {
        let host = Host::new();
        let client = At::Space(&host.outside).run(|| UdpSocket::bind("0.0.0.0:4000").unwrap());
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for name in ["first", "second"] {
            let container = host.start(name, &["5353:53/udp"]).unwrap();
            let server = At::Space(&container.space).run(|| UdpSocket::bind("0.0.0.0:53").unwrap());
            server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            client.send_to(b"?", format!("{HOST}:5353")).unwrap();
            let mut buffer = [0; 16];
            let (_, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(from.to_string(), format!("{OUTSIDE}:4000"), "{name}");
            server.send_to(name.as_bytes(), from).unwrap();
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from.to_string()), (name.as_bytes(), format!("{HOST}:5353")));
            drop(server);
            host.stop(container);
        }
    });
}

#[test]
fn many_ports_are_one_transaction() {
    sandbox("many_ports_are_one_transaction", || {
        let host = Host::new();
        let web = host.start("web", &["20000-20499:1000-1499"]).unwrap();
        serve(At::Space(&web.space), 1499);
        assert!(call(At::Space(&host.outside), &format!("{HOST}:20499")).is_ok());
        assert_eq!(sh(&format!("nft list map inet {} pub4", host.table())).matches("comment \"web\"").count(), 500);
        host.stop(web);
        assert_eq!(sh(&format!("nft list map inet {} pub4", host.table())).matches("comment").count(), 0);
    });
}

#[test]
fn open_ports_are_chosen_apart() {
    sandbox("open_ports_are_chosen_apart", || {
        sh("ip link set lo up");
        let _taken = TcpListener::bind("0.0.0.0:8000").unwrap();
        let words = ["80", "81", "8000-8001:82", "8001-8002:83", "53/udp"];
        let asked: Vec<Publish> = words.iter().flat_map(|word| Publish::parse(word).unwrap()).collect();
        let chosen = probe::choose_ports(&asked, &|_, _| false).unwrap();
        let ports: Vec<HostPort> = chosen.iter().map(|publish| publish.host).collect();
        assert_eq!(ports[2..4], [HostPort::Exact(8001), HostPort::Exact(8002)]);
        assert!(matches!(ports[0], HostPort::Exact(port) if port > 1023 && ports[1] != ports[0]));
        let error = probe::choose_ports(&Publish::parse("8000-8000:80").unwrap(), &|_, _| false).map(|_| ());
        assert!(error.is_ok(), "a range of one is that port: {error:?}");
        // others were lent them, and have not bound them yet
        sh("echo 40000 40003 >/proc/sys/net/ipv4/ip_local_port_range");
        for word in ["80", "40000-40003:80"] {
            let free = |_, port| port != 40002;
            let chosen = probe::choose_ports(&Publish::parse(word).unwrap(), &free).unwrap();
            assert_eq!(chosen[0].host, HostPort::Exact(40002), "{word}");
        }
        let error = probe::choose_ports(&Publish::parse("80").unwrap(), &|_, _| true).unwrap_err();
        assert!(error.message.starts_with("no free host port"), "{error}");
    });
}

#[test]
fn none_has_lo_alone() {
    sandbox("none_has_lo_alone", || {
        let host = Host::new();
        let before = snapshot();
        let sysctls = vec![("net/ipv4/ip_unprivileged_port_start".into(), "0".into())];
        let none = host.start_with("none", &NetRequest { sysctls, ..NetRequest::of_nobody() }).unwrap();
        assert_eq!(none.space.sh("ip -br link | cut -d\" \" -f1").trim(), "lo");
        assert!(none.space.sh("ip link show lo").contains("UP"));
        assert_eq!(
            none.space.sh("ip route; nft list ruleset; cat /proc/sys/net/ipv4/ip_unprivileged_port_start").trim(),
            "0"
        );
        assert_eq!(snapshot(), before);
    });
}

#[test]
fn a_reload_beside_a_start_and_an_end_leaves_no_port_too_many() {
    sandbox("a_reload_beside_a_start_and_an_end_leaves_no_port_too_many", || {
        let host = Host::new();
        let id = ContainerId::parse("web").unwrap();
        let published = || sh(&format!("nft list map inet {} pub4", host.table())).contains("8080");
        let (_, plan) = host.planned(&id, &["8080:80"]).unwrap();
        let (space, mut held) = (Space::new(), Held::default());
        apply::apply(&plan.prepare, None, &mut held).unwrap();
        reload_all(&host); // the loan is there, so it publishes
        assert!(published());
        apply::apply(&plan.host, Some(space.pid()), &mut held).unwrap();
        for undo in plan.host.iter().filter_map(Step::undo).rev() {
            apply::undo(&undo, &mut Vec::new()).unwrap();
        }
        assert!(!published());
        reload_all(&host);
        assert!(published(), "the control");
        let networks = Networks::lock(&host.state()).unwrap();
        remove::give_back(&networks, &id, None, &mut Vec::new()).unwrap();
        assert!(!published());
    });
}

#[test]
fn a_port_that_somebody_has_removed_hides_no_other() {
    sandbox("a_port_that_somebody_has_removed_hides_no_other", || {
        let host = Host::new();
        let web = host.start("web", &["8080:80", "8081:81"]).unwrap();
        let ports = plan::published(&bridge(&["8080:80", "8081:81"]), &web.lease).unwrap();
        let entries: Vec<Entry> = ports.into_iter().map(|port| Entry::Port(port, web.id.to_string())).collect();
        let mut socket = Socket::netfilter().unwrap();
        undo::remove_entries(&mut socket, &host.table(), &entries[..1]).unwrap();
        undo::remove_entries(&mut socket, &host.table(), &entries).unwrap();
        assert!(!sh(&format!("nft list map inet {} pub4", host.table())).contains("808"));
        host.stop(web);
    });
}

fn reload_all(host: &Host) {
    let (all, _) = record::all(&host.state()).unwrap();
    let plan = reload::plan(&survey::survey(&host.state(), &all, &all).unwrap(), &all);
    apply::apply(&plan.prepare, None, &mut Held::default()).unwrap();
}

#[test]
fn bridges_and_their_ports_are_listed() {
    sandbox("bridges_and_their_ports_are_listed", || {
        sh("ip link add br0 type bridge; ip link add p0 master br0 type veth peer name p1");
        let ports = netlink::bridge_ports().unwrap();
        let names = ports.iter().flat_map(|port| &port.attributes).filter_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.as_str()),
            _ => None,
        });
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        assert_eq!(names, ["br0", "p0"]);
    });
}
