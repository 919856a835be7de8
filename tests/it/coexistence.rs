//! Living with others: what somebody flushes, deletes or drops is made good by `network reload`, and by the next
//! container, while those that run go on.

use crate::detached::{does, inspect, pid, refused, up};
use crate::support::command::{Output, Running, eventually, seconds};
use crate::support::reach::{cut_off, reaches};
use crate::support::requires::requires;
use crate::support::sandbox::{HOST, HOST6, OUTSIDE, Sandbox, minirun_binary};
use crate::support::snapshot::Snapshot;
use std::time::Duration;

/// A host with another one outside, on which `web` in network `net` has published port 8080, and `b` is beside it.
fn host_with_web() -> Sandbox {
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    does(&sandbox, &["network", "create", "net"]);
    start_web(&sandbox);
    sandbox
}

fn start_web(sandbox: &Sandbox) {
    let server = ["httpd", "-f", "-p", "80", "-h", "/etc"];
    up(sandbox, &["--name", "web", "--network", "net", "-p", "8080:80"], &server);
    up(sandbox, &["--name", "b", "--network", "net", "--cap-add", "NET_RAW"], &["sleep", "1000"]);
    eventually("the server answers its neighbour", seconds(20), || answers(sandbox, From::Sibling));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Outside,
    Host,
    Loopback,
    /// `b`, by the container's own address.
    Sibling,
    /// `b`, by the host's.
    SiblingByHost,
    Itself,
    /// By the host's address of IPv6, as the next two.
    OutsideBy6,
    SiblingBy6,
    ItselfBy6,
}

const EVERYWHERE: [From; 6] =
    [From::Outside, From::Host, From::Loopback, From::Sibling, From::SiblingByHost, From::Itself];
const BY_IPV6: [From; 3] = [From::OutsideBy6, From::SiblingBy6, From::ItselfBy6];

/// Whether the page of `web` is there, in time.
fn fetched(sandbox: &Sandbox, from: From, patience: Duration) -> bool {
    let patience = &patience.as_secs().to_string();
    let curl = |host: &str| format!("curl -sf -o /dev/null --max-time {patience} http://{host}:8080/passwd");
    let wget = |name: &str, place: &str| {
        let url = format!("http://{place}/passwd");
        sandbox.minirun(&["exec", name, "timeout", patience, "wget", "-q", "-O", "/dev/null", &url])
    };
    let said = match from {
        From::Outside => sandbox.outside(&curl(HOST)),
        From::Host => sandbox.in_network(&curl(HOST)),
        From::Loopback => sandbox.in_network(&curl("127.0.0.1")),
        From::Sibling => wget("b", &address(sandbox)),
        From::SiblingByHost => wget("b", &format!("{HOST}:8080")),
        From::Itself => wget("web", &format!("{HOST}:8080")),
        From::OutsideBy6 => sandbox.outside(&curl(&format!("[{HOST6}]"))),
        From::SiblingBy6 => wget("b", &format!("[{HOST6}]:8080")),
        From::ItselfBy6 => wget("web", &format!("[{HOST6}]:8080")),
    };
    said.code() == 0
}

fn answers(sandbox: &Sandbox, from: From) -> bool {
    fetched(sandbox, from, seconds(20))
}

fn is_silent(sandbox: &Sandbox, from: From) -> bool {
    !fetched(sandbox, from, Duration::from_secs(3))
}

#[track_caller]
fn answers_everywhere(sandbox: &Sandbox) {
    all_answer(sandbox, &EVERYWHERE);
}

#[track_caller]
fn all_answer(sandbox: &Sandbox, places: &[From]) {
    let silent: Vec<From> = places.iter().copied().filter(|from| !answers(sandbox, *from)).collect();
    assert!(silent.is_empty(), "no answer from {silent:?}: {}", sandbox.in_network("nft list ruleset; ip -d link"));
}

/// As it is asked of the container itself: a command that looks at networks would repair them.
fn address(sandbox: &Sandbox) -> String {
    does(sandbox, &["exec", "web", "hostname", "-i"]).text()
}

fn reload(sandbox: &Sandbox) -> String {
    does(sandbox, &["network", "reload"]).stdout
}

/// What is shared, as other tools see it: rules, links but for their numbers, addresses, sysctls.
fn shared(sandbox: &Sandbox) -> String {
    let links = "map([.ifname, .master, .group, .ifalias, .address, .mtu, .linkinfo.info_slave_data.hairpin]) | sort[]";
    let script = format!(
        "nft list ruleset; ip -d -j link | jq -c '{links}'; ip -br address | grep -o '^mr-.*' | sed 's/ fe80[^ ]*//'; \
         grep -rs . /proc/sys/net | grep -v conntrack_count | sort"
    );
    sandbox.in_network(&script).text()
}

#[test]
fn flushed_rules_are_made_again() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = host_with_web();
    answers_everywhere(&sandbox);
    let before = shared(&sandbox);
    assert_eq!(reload(&sandbox), "", "all was well");
    sandbox.in_network("nft flush ruleset").expect_code(0);
    assert!(is_silent(&sandbox, From::Outside) && is_silent(&sandbox, From::OutsideBy6), "the control");
    let said = reload(&sandbox);
    assert!(
        said.starts_with("table minirun") && said.ends_with("was missing\n") && said.lines().count() == 1,
        "{said}"
    );
    answers_everywhere(&sandbox);
    all_answer(&sandbox, &BY_IPV6);
    assert_eq!(shared(&sandbox), before);
    assert_eq!(reload(&sandbox), "");
}

#[test]
fn the_next_command_that_looks_repairs_what_is_gone() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = host_with_web();
    let (pids, before) = (["web", "b"].map(|name| pid(&sandbox, name)), shared(&sandbox));
    let rules = "nft flush ruleset";
    let bridge = "ip link delete $(ip -br link show type bridge | cut -d' ' -f1)";
    let forwarding = "echo 0 >/proc/sys/net/ipv4/ip_forward";
    // docker was here, and has left a chain that nothing jumps to
    let dropping = &format!("{DROPPING}; nft add chain ip filter DOCKER-USER");
    for (harm, look, word) in [
        (rules, &["ps"][..], "warning: networks were repaired: table minirun"),
        (bridge, &["port", "web"], "warning: networks were repaired: bridge mr-"),
        (rules, &["network", "ls"], "was missing"),
        (bridge, &["inspect", "web"], "was missing"),
        (forwarding, &["ps"], "ip_forward"),
        (dropping, &["ps"], "chain ip filter FORWARD drops"),
    ] {
        sandbox.in_network(harm).expect_code(0);
        assert!(is_silent(&sandbox, From::Outside), "the control");
        let said = does(&sandbox, look).stderr;
        assert!(said.contains(word) && said.lines().count() == 1, "{look:?}: {said}");
        answers_everywhere(&sandbox);
        assert_eq!(does(&sandbox, look).stderr, "", "once");
    }
    sandbox.in_network("nft delete table ip filter; nft delete table ip6 filter").expect_code(0);
    assert_eq!((["web", "b"].map(|name| pid(&sandbox, name)), shared(&sandbox)), (pids, before.clone()));
    // from another network namespace nothing of it is seen, and nothing is made there
    let minirun = minirun_binary().display().to_string();
    let elsewhere = sandbox.sh(&format!("unshare -n sh -c '{minirun} ps -q; ip -br link; nft list ruleset'"));
    assert!(elsewhere.stderr.is_empty() && !elsewhere.stdout.contains("mr-"), "{elsewhere}");
    // whoever has the networks' lock is not waited for, and is at it
    sandbox.in_network(rules).expect_code(0);
    let lock = sandbox.path("state/networks/.lock").display().to_string();
    let meanwhile = format!("flock {lock} {minirun} ps");
    let locked = sandbox.sh(&meanwhile).expect_code(0);
    assert_eq!(locked.stderr, "");
    assert!(reload(&sandbox).contains("was missing"));
    assert_eq!(shared(&sandbox), before);
}

#[test]
fn a_deleted_bridge_is_made_again_under_its_containers() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = host_with_web();
    let (pid_before, before) = (pid(&sandbox, "web"), shared(&sandbox));
    let delete = "ip link delete $(ip -br link show type bridge | cut -d' ' -f1)";
    // by `network reload`, and by the next container of the network
    let again = ["run", "--rm", "--network", "net", "busybox", "true"];
    for repair in [&["network", "reload"][..], &again] {
        sandbox.in_network(delete).expect_code(0);
        assert!(is_silent(&sandbox, From::Sibling) && is_silent(&sandbox, From::Outside), "the control");
        does(&sandbox, repair);
        answers_everywhere(&sandbox);
        assert_eq!(reload(&sandbox), "", "after {repair:?}");
    }
    assert_eq!(pid(&sandbox, "web"), pid_before);
    assert_eq!(shared(&sandbox), before);
}

#[test]
fn a_changed_table_is_replaced_and_what_was_wrong_is_said() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = host_with_web();
    let before = shared(&sandbox);
    let table = sandbox.in_network("nft list tables | grep -o 'minirun.*'").text();
    let id = inspect(&sandbox, "web")["Id"].as_str().unwrap()[..12].to_owned();
    let delete_rule = |chain: &str, what: &str| {
        format!(
            "nft delete rule inet {table} {chain} handle \
             $(nft -a list chain inet {table} {chain} | sed -n 's/.*{what}.*handle //p' | head -1)"
        )
    };
    // as a table of before there were internal networks
    let older = format!("{}; nft delete set inet {table} internal", delete_rule("forward", "@internal"));
    for (harm, silent, words) in [
        (older, None, &["set internal was missing", "chain forward was changed"][..]),
        (
            format!("nft flush map inet {table} pub4"),
            Some(From::Outside),
            &[&format!("port 8080/tcp of container {id} was not published")],
        ),
        (format!("nft flush chain inet {table} prerouting"), Some(From::Outside), &["chain prerouting was changed"]),
        (format!("nft flush set inet {table} bridges"), None, &["was not in set bridges"]),
        (
            format!("nft add table inet {table} '{{ flags dormant; }}'"),
            Some(From::Outside),
            &["its flags were changed"],
        ),
        (format!("nft insert rule inet {table} forward drop"), Some(From::Outside), &["chain forward was changed"]),
        (
            format!("nft add element inet {table} pub4 '{{ tcp . 9 : 10.9.9.9 . 9 }}'"),
            None,
            &["set pub4 had elements that are nobody's"],
        ),
        (format!("nft add chain inet {table} more"), None, &["chain more is not ours"]),
    ] {
        sandbox.in_network(&harm).expect_code(0);
        assert!(silent.is_none_or(|from| is_silent(&sandbox, from)), "the control: {harm}");
        let said = reload(&sandbox);
        let all = said
            .lines()
            .all(|line| words.iter().any(|word| line.starts_with(&format!("table {table}: ")) && line.contains(word)));
        assert!(all && said.lines().count() == words.len(), "{harm}: {said}");
        answers_everywhere(&sandbox);
        assert_eq!(shared(&sandbox), before, "{harm}");
    }
}

#[test]
fn who_meets_an_older_table_is_told_of_the_reload() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = host_with_web();
    let table = sandbox.in_network("nft list tables | grep -o 'minirun.*'").text();
    let older = format!("nft flush chain inet {table} forward; nft delete set inet {table} internal");
    sandbox.in_network(&older).expect_code(0);
    does(&sandbox, &["network", "create", "--internal", "inner"]);
    let run = ["run", "--rm", "--network", "inner", "busybox", "true"];
    refused(&sandbox, &run, 125, "minirun network reload");
    reload(&sandbox);
    does(&sandbox, &run);
}

#[test]
fn a_table_is_replaced_in_one_transaction() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = host_with_web();
    let table = sandbox.in_network("nft list tables | grep -o 'minirun.*'").text();
    // what nf_tables tells of every change: a transaction is one generation (nft(8), monitor)
    let mut monitor = Running::start(sandbox.command("nft").arg("monitor"));
    sandbox.in_network("nft add table ip marker").expect_code(0);
    let mut told = String::new();
    eventually("it listens", seconds(20), || {
        sandbox.in_network("nft add chain ip marker one").expect_code(0);
        told = monitor.stdout();
        told.contains("chain ip marker one")
    });
    sandbox.in_network(&format!("nft add chain inet {table} more")).expect_code(0);
    assert!(reload(&sandbox).contains("chain more is not ours"));
    sandbox.in_network("nft add chain ip marker end").expect_code(0);
    eventually("all was told", seconds(20), || {
        told = monitor.stdout();
        told.contains("chain ip marker end")
    });
    assert!(!monitor.has_ended());
    let by_us = told.lines().filter(|line| line.starts_with("# new generation") && line.ends_with("(minirun)")).count();
    assert!(by_us == 1 && told.contains(&format!("delete chain inet {table} more")), "{told}");
}

#[test]
fn cables_and_what_is_set_are_as_they_were() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = host_with_web();
    let bridge = sandbox.in_network("ip -br link show type bridge | cut -d' ' -f1").text();
    let before = shared(&sandbox);
    let cables = sandbox.in_network(&format!("ip -br link show master {bridge} | cut -d@ -f1")).text();
    let web = cables.lines().next().unwrap();
    for (harm, silent, word) in [
        (format!("ip link set {web} nomaster"), Some(From::Sibling), "of container"),
        (format!("ip link set {web} down"), Some(From::Sibling), "of container"),
        (format!("ip link set {web} type bridge_slave hairpin off"), Some(From::Itself), "of container"),
        (format!("ip link set {bridge} down"), Some(From::Outside), "was changed"),
        (format!("ip address flush dev {bridge}"), Some(From::Outside), "was changed"),
        (format!("ip link set {bridge} address 02:00:00:00:00:07"), None, "was changed"),
        (format!("echo 0 >/proc/sys/net/ipv4/conf/{bridge}/route_localnet"), Some(From::Loopback), "was changed"),
        ("echo 0 >/proc/sys/net/ipv4/ip_forward".to_owned(), Some(From::Outside), "net.ipv4.ip_forward was 0"),
    ] {
        answers_everywhere(&sandbox); // and so every neighbour knows the others
        sandbox.in_network(&harm).expect_code(0);
        assert!(silent.is_none_or(|from| is_silent(&sandbox, from)), "the control: {harm}");
        let said = reload(&sandbox);
        assert!(said.contains(word) && said.lines().count() == 1, "{harm}: {said}");
        answers_everywhere(&sandbox);
        assert_eq!(reload(&sandbox), "", "{harm}");
    }
    assert_eq!(shared(&sandbox), before);
}

#[test]
fn a_reload_of_one_network_leaves_the_others_links_alone() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for name in ["one", "two"] {
        does(&sandbox, &["network", "create", name]);
        up(&sandbox, &["--name", name, "--network", name], &["sleep", "1000"]);
    }
    sandbox
        .in_network("for b in $(ip -br link show type bridge | cut -d' ' -f1); do ip link delete $b; done")
        .expect_code(0);
    let bridges = || sandbox.in_network("ip -br link show type bridge | wc -l").text();
    let said = does(&sandbox, &["network", "reload", "one"]).stdout;
    assert!(
        said.contains("of network one was missing") && !said.contains("of network two") && bridges() == "1",
        "{said}"
    );
    assert!(reload(&sandbox).contains("of network two was missing") && bridges() == "2");
    let said = sandbox.minirun(&["network", "reload", "nosuch"]).expect_code(1);
    assert!(said.stderr.contains("no network nosuch"), "{said}");
    assert_eq!(does(&sandbox, &["network", "reload", "host", "none"]).stdout, "");
}

#[test]
fn where_nothing_is_there_is_nothing_to_reload() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::new();
    let before = Snapshot::of(&sandbox);
    assert_eq!(reload(&sandbox), "");
    does(&sandbox, &["network", "create", "net"]);
    assert_eq!(reload(&sandbox), "");
    does(&sandbox, &["network", "rm", "net"]);
    before.assert_only(&sandbox, |line| line.contains(" minirun root: ") || line.contains(" minirun state: "));
}

/// Others that drop what they do not know, by the words of nft.
const DROPPING: &str = "for f in ip ip6; do nft add table $f filter; \
     nft add chain $f filter FORWARD '{ type filter hook forward priority 0; policy drop; }'; done";

#[test]
fn a_host_that_drops_forwarded_packets_lets_ours_through() {
    requires![root, tool("nft"), tool("curl")];
    for bridged in ["0", "1"] {
        let sandbox = Sandbox::with_images(&["busybox"]);
        sandbox.add_outside_host();
        // a kernel without br_netfilter never shows bridged packets to such chains, which is 0
        let filter = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        sandbox.in_network(&format!("[ ! -e {filter} ] || echo {bridged} >{filter}; {DROPPING}")).expect_code(0);
        let before = sandbox.in_network("nft list ruleset").text();
        does(&sandbox, &["network", "create", "net"]);
        start_web(&sandbox);
        answers_everywhere(&sandbox);
        assert!(reaches(&sandbox, "b", OUTSIDE));
        sandbox.in_network("for f in ip ip6; do nft flush chain $f filter FORWARD; done").expect_code(0);
        assert!(is_silent(&sandbox, From::Outside) && cut_off(&sandbox, "b", OUTSIDE), "the control: it drops");
        let said = reload(&sandbox);
        assert_eq!(said.matches("drops forwarded packets: added rules for").count(), 2, "{said}");
        answers_everywhere(&sandbox);
        all_answer(&sandbox, &BY_IPV6);
        assert!(reaches(&sandbox, "b", OUTSIDE));
        assert_eq!(reload(&sandbox), "");
        does(&sandbox, &["rm", "-f", "web", "b"]);
        does(&sandbox, &["network", "rm", "net"]);
        assert_eq!(sandbox.in_network("nft list ruleset").text(), before);
    }
}

/// Docker's daemon on the sandbox's host, with everything of its own in this test's directory.
pub fn docker(sandbox: &Sandbox) -> Running {
    let dir = sandbox.path("docker").display().to_string();
    let flags = ["data-root", "exec-root"].map(|flag| format!("--{flag}={dir}/{flag}"));
    let mut command = sandbox.command("dockerd");
    command.args(flags).args([format!("--pidfile={dir}.pid"), format!("--host=unix://{dir}.sock")]);
    let running = Running::start(command.args(["--storage-driver=vfs", "--userland-proxy=false"]));
    let ping = format!("curl -sf --unix-socket {dir}.sock http://docker/_ping");
    running.until("dockerd answers", seconds(60), |_| sandbox.in_network(&ping).code() == 0)
}

/// By its pid, as an init system does.
pub fn end_docker(sandbox: &Sandbox, docker: Running) {
    sandbox.sh(&format!("kill $(cat {}.pid)", sandbox.path("docker").display())).expect_code(0);
    docker.output().expect_code(0);
}

/// Docker's rules, without what is counted.
fn dockers_rules(sandbox: &Sandbox) -> String {
    let tables = "for t in filter nat; do nft -s list table ip $t; done; iptables-save | sed 's/\\[.*//; /^#/d'";
    sandbox.in_network(tables).text()
}

#[test]
fn beside_docker_networks_work_and_leave_its_rules_as_they_were() {
    requires![root, tool("nft"), tool("curl"), tool("dockerd"), tool("iptables")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    let docker = docker(&sandbox);
    let before = dockers_rules(&sandbox);
    assert!(before.contains("hook forward") && before.contains("policy drop"), "{before}");
    does(&sandbox, &["network", "create", "net"]);
    start_web(&sandbox);
    answers_everywhere(&sandbox);
    assert!(dockers_rules(&sandbox).contains("-A DOCKER-USER -i mr-"), "its own tools show them");
    sandbox.in_network("iptables -F DOCKER-USER; iptables -A DOCKER-USER -j RETURN").expect_code(0);
    assert!(is_silent(&sandbox, From::Outside), "the control: docker drops it");
    assert!(reload(&sandbox).contains("chain ip filter DOCKER-USER drops"));
    answers_everywhere(&sandbox);
    does(&sandbox, &["rm", "-f", "web", "b"]);
    does(&sandbox, &["network", "rm", "net"]);
    assert_eq!(dockers_rules(&sandbox), before);
    end_docker(&sandbox, docker);
}

#[test]
fn what_docker_breaks_when_it_comes_later_is_repaired() {
    requires![root, tool("nft"), tool("curl"), tool("dockerd"), tool("iptables")];
    let sandbox = host_with_web();
    answers_everywhere(&sandbox);
    let first = docker(&sandbox);
    // where the host forwards already, docker leaves the policy as it is: people set it
    sandbox.in_network("iptables -P FORWARD DROP").expect_code(0);
    assert!(is_silent(&sandbox, From::Outside), "the control");
    let said = does(&sandbox, &["run", "--rm", "--network", "net", "busybox", "true"]).stderr;
    assert!(said.contains("chain ip filter DOCKER-USER drops forwarded packets: added rules for"), "{said}");
    answers_everywhere(&sandbox);
    // it goes and comes again, and flushes what is its own
    end_docker(&sandbox, first);
    let second = docker(&sandbox);
    reload(&sandbox);
    answers_everywhere(&sandbox);
    assert_eq!(reload(&sandbox), "");
    let rules = dockers_rules(&sandbox);
    let its_own: Vec<&str> = rules.lines().filter(|line| !line.contains("mr-")).collect();
    assert_eq!(rules.lines().count(), its_own.len() + 4, "two in each listing are ours: {rules}");
    does(&sandbox, &["rm", "-f", "web", "b"]);
    does(&sandbox, &["network", "rm", "net"]);
    assert_eq!(dockers_rules(&sandbox), its_own.join("\n"));
    end_docker(&sandbox, second);
}

/// firewalld and the bus on which it is spoken to, in the sandbox's own network and /run.
fn firewalld(sandbox: &Sandbox) -> Running {
    sandbox.sh("[ -e /run/dbus ] || { mkdir /run/dbus; dbus-daemon --system --fork --nopidfile; }").expect_code(0);
    let running = Running::start(sandbox.command("firewalld").args(["--nofork", "--nopid"]));
    let state = "org.freedesktop.DBus.Properties.Get string:org.fedoraproject.FirewallD1 string:state";
    running.until("firewalld runs", seconds(60), |_| asked(sandbox, state).stdout.contains("RUNNING"))
}

/// One call of firewalld. Its own tool is Python, and takes longer to start than to ask.
fn asked(sandbox: &Sandbox, call: &str) -> Output {
    let firewalld = "--dest=org.fedoraproject.FirewallD1 /org/fedoraproject/FirewallD1";
    sandbox.sh(&format!("dbus-send --system --print-reply=literal --reply-timeout=60000 {firewalld} {call}"))
}

/// The links in its zone `trusted`.
fn trusted(sandbox: &Sandbox) -> String {
    asked(sandbox, "org.fedoraproject.FirewallD1.zone.getInterfaces string:trusted").text()
}

#[test]
fn firewalld_trusts_our_bridges_while_they_are() {
    requires![root, tool("nft"), tool("curl"), tool("firewalld"), tool("dbus-daemon")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    let _firewalld = firewalld(&sandbox);
    does(&sandbox, &["network", "create", "net"]);
    let run = ["run", "--rm", "--network", "net", "busybox", "true"];
    let line = "firewalld rejects what it does not know: put mr-";
    assert!(does(&sandbox, &run).stderr.contains(line));
    assert!(!does(&sandbox, &run).stderr.contains("firewalld"), "it is said once");
    assert!(trusted(&sandbox).contains(" mr-"));
    let lab = does(&sandbox, &["lab", "run", "router-on-a-stick"]); // in a network namespace that firewalld is not of
    assert!(!lab.stderr.contains("firewalld"), "{}", lab.stderr);
    start_web(&sandbox);
    answers_everywhere(&sandbox);
    assert!(reaches(&sandbox, "b", OUTSIDE));
    // a reload flushes what is not in its configuration
    asked(&sandbox, "org.fedoraproject.FirewallD1.reload").expect_code(0);
    assert!(answers(&sandbox, From::Outside));
    assert!(cut_off(&sandbox, "b", OUTSIDE), "the control: it does reject");
    assert!(reload(&sandbox).starts_with(line));
    answers_everywhere(&sandbox);
    assert!(reaches(&sandbox, "b", OUTSIDE));
    assert_eq!(reload(&sandbox), "");
    does(&sandbox, &["rm", "-f", "web", "b"]);
    does(&sandbox, &["network", "rm", "net"]);
    assert!(!trusted(&sandbox).contains("mr-"));
}

#[test]
fn firewalld_may_come_later_and_be_strict() {
    requires![root, tool("nft"), tool("curl"), tool("firewalld"), tool("dbus-daemon")];
    let sandbox = host_with_web();
    answers_everywhere(&sandbox);
    let first = firewalld(&sandbox);
    assert!(cut_off(&sandbox, "b", OUTSIDE), "the control");
    assert!(reload(&sandbox).starts_with("firewalld rejects"));
    answers_everywhere(&sandbox);
    assert!(reaches(&sandbox, "b", OUTSIDE));
    for pid in sandbox.in_pids("/usr/bin/python3 /usr/sbin/firewalld --nofork --nopid") {
        sandbox.in_network(&format!("kill {pid}")).expect_code(0);
    }
    first.output();
    assert_eq!(reload(&sandbox), "", "one that is gone is asked no more");
    answers_everywhere(&sandbox);
    // older than that word, it takes it for a mistake of no weight
    let configuration = "set -e; { echo StrictForwardPorts=yes; cat /etc/firewalld/firewalld.conf; } >/run/strict; \
         mount --bind /run/strict /etc/firewalld/firewalld.conf";
    sandbox.sh(configuration).expect_code(0);
    let _strict = firewalld(&sandbox);
    let said = does(&sandbox, &["run", "--rm", "--network", "net", "-p", "8081:80", "busybox", "true"]).stderr;
    let rule = "firewall-cmd --add-forward-port=port=8081:proto=tcp:toport=80:toaddr=172.18.";
    assert!(said.contains(rule) && said.contains("StrictForwardPorts"), "{said}");
}

#[test]
fn what_iptables_legacy_drops_is_let_through_by_its_own_program() {
    requires![root, overlay, tool("nft"), tool("curl"), iptables_legacy];
    let sandbox = host_with_web();
    answers_everywhere(&sandbox);
    assert_eq!(sandbox.in_network("cat /proc/net/ip_tables_names").text(), "", "asking has made no table");
    sandbox.in_network("iptables-legacy -P FORWARD DROP; ip6tables-legacy -P FORWARD DROP").expect_code(0);
    let chains = || sandbox.in_network("iptables-legacy -S; ip6tables-legacy -S").text();
    let before = chains();
    assert!(is_silent(&sandbox, From::Outside), "the control");
    does(&sandbox, &["network", "create", "--ipv6", "both"]);
    let run = ["run", "--rm", "--network", "both", "busybox", "true"];
    // where it is not installed, it is said what would help
    let hidden = "set -e; mkdir /run/up /run/work; \
         mount -t overlay -o lowerdir=/usr/sbin,upperdir=/run/up,workdir=/run/work hidden /usr/sbin; \
         rm /usr/sbin/iptables-legacy /usr/sbin/ip6tables-legacy";
    sandbox.sh(hidden).expect_code(0);
    let said = does(&sandbox, &run).stderr;
    for tool in ["iptables-legacy", "ip6tables-legacy"] {
        let line =
            format!("{tool} drops forwarded packets, and these let ours through: {tool} -w 10 -I FORWARD -i mr-");
        assert!(said.contains(&line), "{said}");
    }
    // nor does one that fails hold anybody up
    let fails = "set -e; printf '#!/bin/sh\necho no chain, target or match >&2; exit 1\n' >/usr/sbin/iptables-legacy; \
         chmod 755 /usr/sbin/iptables-legacy";
    sandbox.sh(fails).expect_code(0);
    let line = "iptables-legacy: no chain, target or match: forwarded packets of mr-";
    for said in [does(&sandbox, &run).stderr, reload(&sandbox)] {
        assert!(said.contains(line) && said.contains("iptables-legacy -w 10 -I FORWARD -i mr-"), "{said}");
    }
    sandbox.sh("umount /usr/sbin").expect_code(0);
    assert_eq!(chains(), before);
    assert_eq!(does(&sandbox, &run).stderr.matches("drops forwarded packets: added rules for mr-").count(), 2);
    assert_eq!(does(&sandbox, &run).stderr, "", "once");
    assert!(is_silent(&sandbox, From::Outside), "not for the other network");
    assert!(reload(&sandbox).starts_with("iptables-legacy drops forwarded packets: added rules for mr-"));
    answers_everywhere(&sandbox);
    assert_eq!(reload(&sandbox), "");
    // one of the two rules is not enough, and a rule of somebody else's stays
    let harm = "iptables-legacy -D FORWARD 1 && iptables-legacy -I FORWARD -i other -j ACCEPT";
    sandbox.in_network(harm).expect_code(0);
    assert!(is_silent(&sandbox, From::Outside), "the control");
    reload(&sandbox);
    answers_everywhere(&sandbox);
    does(&sandbox, &["rm", "-f", "web", "b"]);
    does(&sandbox, &["network", "rm", "net", "both"]);
    sandbox.in_network("iptables-legacy -D FORWARD -i other -j ACCEPT").expect_code(0);
    assert_eq!(chains(), before);
}

#[test]
fn ufw_lets_ours_through() {
    requires![root, tool("nft"), tool("curl"), tool("ufw"), tool("iptables")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    // it writes to its configuration, which is this sandbox's own
    let own = "set -e; cp -a /etc/ufw /run/ufw; mount --bind /run/ufw /etc/ufw; cp /etc/default/ufw /run/default; \
         mount --bind /run/default /etc/default/ufw; ufw default deny routed; ufw --force enable";
    sandbox.sh(own).expect_code(0);
    let forward = "iptables -S FORWARD; ip6tables -S FORWARD"; // its other chains are not the same after a second start
    let before = sandbox.in_network(forward).text();
    does(&sandbox, &["network", "create", "net"]);
    start_web(&sandbox);
    answers_everywhere(&sandbox);
    assert!(reaches(&sandbox, "b", OUTSIDE));
    sandbox.sh("ufw reload").expect_code(0);
    reload(&sandbox);
    answers_everywhere(&sandbox);
    assert_eq!(reload(&sandbox), "");
    // it comes again, to a host without rules
    sandbox.sh("ufw disable && nft flush ruleset && ufw --force enable").expect_code(0);
    assert!(is_silent(&sandbox, From::Outside), "the control");
    assert!(reload(&sandbox).contains("chain ip filter FORWARD drops"));
    answers_everywhere(&sandbox);
    assert!(reaches(&sandbox, "b", OUTSIDE));
    does(&sandbox, &["rm", "-f", "web", "b"]);
    does(&sandbox, &["network", "rm", "net"]);
    assert_eq!(sandbox.in_network(forward).text(), before);
}
