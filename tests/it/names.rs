//! Names: whom a container knows, whom its monitor asks for the others, and that nobody waits for a slow one.

use crate::adopted::kill_monitor;
use crate::detached::{does, inspect, pid, up};
use crate::support::command::{eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use std::os::unix::fs::OpenOptionsExt as _;

/// A container that waits, in these networks.
fn waits(sandbox: &Sandbox, name: &str, flags: &[&str]) {
    up(sandbox, &[&["--name", name][..], flags].concat(), &["sleep", "1000"]);
}

/// What dig says in a container's network: short, at once.
fn dig(sandbox: &Sandbox, name: &str, words: &str) -> String {
    let pid = pid(sandbox, name);
    let said = sandbox.sh(&format!("nsenter -t {pid} -n dig @127.0.0.11 +short +time=2 +tries=1 {words}"));
    said.stdout.trim().to_owned()
}

/// The status that dig reports: NOERROR, SERVFAIL.
fn status(sandbox: &Sandbox, name: &str, words: &str) -> String {
    let pid = pid(sandbox, name);
    let said = sandbox.sh(&format!("nsenter -t {pid} -n dig @127.0.0.11 +time=4 +tries=1 {words}")).stdout;
    said.split_once("status: ").map_or(said.clone(), |(_, rest)| rest.split(',').next().unwrap().to_owned())
}

fn address(sandbox: &Sandbox, name: &str, network: &str) -> String {
    inspect(sandbox, name)["NetworkSettings"]["Networks"][network]["IPAddress"].as_str().unwrap().to_owned()
}

/// A server of names on the host's loopback, which the host's resolv.conf names.
fn add_server(sandbox: &Sandbox, words: &str) {
    let conf = sandbox.path("resolv.conf");
    std::fs::write(&conf, "nameserver 127.0.0.53\n").unwrap();
    let script = format!(
        "mount --bind {} /etc/resolv.conf
        dnsmasq --no-resolv --no-hosts --conf-file=/dev/null --user=root --bind-interfaces --pid-file= --port=53 \
            --listen-address=127.0.0.53 {words}",
        conf.display()
    );
    sandbox.sh(&script).expect_code(0);
}

#[test]
fn containers_of_a_network_know_each_other_by_name() {
    requires![root, tool("dig")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for network in ["one", "two"] {
        does(&sandbox, &["network", "create", "--ipv6=true", network]);
    }
    waits(&sandbox, "web", &["--network", "one", "--cap-add", "NET_RAW"]);
    waits(&sandbox, "db", &["--network", "one:alias=data", "--network", "two"]);
    waits(&sandbox, "other", &["--network", "two", "--network-alias", "data"]);
    let (in_one, in_two) = (address(&sandbox, "db", "one"), address(&sandbox, "db", "two"));
    let id = inspect(&sandbox, "db")["Id"].as_str().unwrap().to_owned();
    for (who, asked, want) in [
        ("web", "db A", in_one.as_str()),
        ("web", "DB A", &in_one),
        ("web", "db.one A", &in_one),
        ("web", "data A", &in_one),
        ("web", &format!("{} A", &id[..12]), &in_one),
        ("web", &format!("-x {in_one}"), "db.one."),
        ("web", "+tcp db A", &in_one),
        ("other", "db A", &in_two),
        ("other", "data A", &address(&sandbox, "other", "two")),
        ("web", "other A", ""), // of another network
        ("web", "db MX", ""),
    ] {
        assert_eq!(dig(&sandbox, who, asked), want, "{who}: {asked}");
    }
    // what is no question is told so (FORMERR), by UDP and by TCP
    let pid = pid(&sandbox, "web");
    for (wire, head, length) in [("udp", "", 12), ("tcp", r"\0\x0c", 14)] {
        let ask = format!(
            r#"exec 3<>/dev/{wire}/127.0.0.11/53; printf '{head}\x12\x34\x01\0\0\1\0\0\0\0\0\0' >&3; head -c {length} <&3 | od -An -tx1"#
        );
        let said = sandbox.sh(&format!("nsenter -t {pid} -n timeout 20 bash -c \"{ask}\"")).text();
        assert!(said.ends_with("12 34 81 81 00 00 00 00 00 00 00 00"), "{wire}: {said}");
    }
    let v6 = dig(&sandbox, "web", "db AAAA");
    assert!(v6.starts_with("fd"), "{v6}");
    // the one in both networks has both answers, each as often as it comes
    assert_eq!(dig(&sandbox, "db", "data A").lines().count(), 2);
    // programs of the image ask as they always do, and reach it
    let fetched = does(&sandbox, &["exec", "web", "ping", "-c", "1", "-W", "5", "db"]).stdout;
    assert!(fetched.contains(&in_one) || fetched.contains(&v6), "{fetched}");
    // a name is the container's as long as it has it
    does(&sandbox, &["rename", "db", "base"]);
    assert_eq!((dig(&sandbox, "web", "base A"), dig(&sandbox, "web", "db A")), (in_one.clone(), String::new()));
    does(&sandbox, &["rm", "-f", "base"]);
    assert_eq!(dig(&sandbox, "web", "base A"), "");
    assert_eq!(status(&sandbox, "web", &format!("-x {in_one}")), "NXDOMAIN");
}

#[test]
fn the_default_network_has_no_names_and_asks_as_the_host_does() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let conf = sandbox.path("resolv.conf");
    std::fs::write(&conf, "nameserver 192.0.2.1\nsearch lan\n").unwrap();
    sandbox.sh(&format!("mount --bind {} /etc/resolv.conf", conf.display())).expect_code(0);
    does(&sandbox, &["network", "create", "net"]);
    for (network, want) in [
        ("bridge", "nameserver 192.0.2.1\nsearch lan\n"),
        ("net", "nameserver 127.0.0.11\nsearch lan\noptions ndots:0\n"),
    ] {
        let said = does(&sandbox, &["run", "--rm", "--network", network, "busybox", "cat", "/etc/resolv.conf"]).stdout;
        assert_eq!(said, want, "{network}");
    }
}

#[test]
fn on_the_default_network_the_monitor_asks_those_that_only_the_host_reaches() {
    requires![root, tool("dig"), tool("dnsmasq")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    add_server(&sandbox, "--address=/there.test/192.0.2.7");
    does(&sandbox, &["network", "create", "net"]);
    waits(&sandbox, "web", &[]);
    waits(&sandbox, "db", &[]);
    let conf = |name: &str| does(&sandbox, &["exec", name, "cat", "/etc/resolv.conf"]).stdout;
    assert_eq!(conf("web"), "nameserver 127.0.0.11\n");
    let ask = |asked: &str| dig(&sandbox, "web", asked);
    assert_eq!((ask("there.test A"), ask("+tcp there.test A")), ("192.0.2.7".to_owned(), "192.0.2.7".to_owned()));
    // the others have no names there, as with docker
    assert_eq!(ask("db A"), "");
    kill_monitor(&sandbox, "web");
    does(&sandbox, &["ps"]);
    assert_eq!(ask("there.test A"), "192.0.2.7");
    // a network with names is one more
    does(&sandbox, &["network", "connect", "net", "web"]);
    assert_eq!(conf("web"), "nameserver 127.0.0.11\noptions ndots:0\n");
    assert_eq!(ask("web A"), address(&sandbox, "web", "net"));
    // whoever is told others asks them; on the host's network its loopback is the container's
    for (flags, want) in [
        (&["--dns", "192.0.2.9"][..], "nameserver 192.0.2.9\n"),
        (&["--network", "host"], "nameserver 127.0.0.53\n"),
        (&["--network", "none"], "# the host's resolvers are on its loopback, where a container cannot reach them"),
    ] {
        let words = [&["run", "--rm"][..], flags, &["busybox", "cat", "/etc/resolv.conf"]].concat();
        let said = does(&sandbox, &words).stdout;
        assert!(said.starts_with(want), "{flags:?}: {said}");
    }
    let script = does(&sandbox, &["run", "--explain", "--network", "none", "busybox", "true"]).stdout;
    assert!(!script.contains("127.0.0.11"), "{script}");
    let rows = sandbox.minirun(&["info", "--check"]).stdout;
    assert!(rows.contains("  127.0.0.53; containers' monitors ask for them"), "{rows}");
}

#[test]
fn other_names_are_asked_of_the_hosts_servers_even_on_its_loopback() {
    requires![root, tool("dig"), tool("dnsmasq")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let long = "x".repeat(250);
    let records = (0..8).map(|n| format!("--txt-record=long.test,{n}{long}")).collect::<Vec<_>>().join(" ");
    add_server(&sandbox, &format!("--address=/there.test/192.0.2.7 {records}"));
    does(&sandbox, &["network", "create", "net"]);
    does(&sandbox, &["network", "create", "--internal", "quiet"]);
    waits(&sandbox, "web", &["--network", "net"]);
    assert_eq!(dig(&sandbox, "web", "there.test A"), "192.0.2.7");
    assert_eq!(dig(&sandbox, "web", "+tcp there.test A"), "192.0.2.7");
    // an answer that fits no datagram comes by TCP, which dig then takes by itself
    assert_eq!(dig(&sandbox, "web", "+noedns long.test TXT").lines().count(), 8);
    // who leads nowhere says nothing outside, not even by its questions (CVE-2024-29018)
    waits(&sandbox, "silent", &["--network", "quiet"]);
    assert_eq!(status(&sandbox, "silent", "there.test A"), "SERVFAIL");
    assert_eq!(dig(&sandbox, "silent", "silent A"), address(&sandbox, "silent", "quiet"));
    // --dns names others; one that is not there is passed over, and where no one answers that is said
    let flags = ["--network", "net", "--dns", "127.0.0.77", "--dns", "127.0.0.53"];
    waits(&sandbox, "given", &flags);
    assert_eq!(dig(&sandbox, "given", "there.test A"), "192.0.2.7");
    assert_eq!(dig(&sandbox, "given", "+tcp there.test A"), "192.0.2.7");
    waits(&sandbox, "lost", &["--network", "net", "--dns", "127.0.0.77"]);
    assert_eq!(status(&sandbox, "lost", "there.test A"), "SERVFAIL");
    assert_eq!(status(&sandbox, "lost", "+tcp there.test A"), "SERVFAIL");
}

#[test]
fn a_server_that_cannot_say_leaves_it_to_the_next() {
    requires![root, tool("dig"), tool("dnsmasq")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    add_server(&sandbox, "--address=/there.test/192.0.2.7");
    // without any server of its own it refuses all
    sandbox
        .sh("dnsmasq --no-resolv --no-hosts --conf-file=/dev/null --user=root --bind-interfaces --pid-file= --port=53 \
            --listen-address=127.0.0.54")
        .expect_code(0);
    does(&sandbox, &["network", "create", "net"]);
    for (name, first) in [("web", "127.0.0.54"), ("only", "")] {
        let flags = [
            "--network",
            "net",
            "--dns",
            "127.0.0.54",
            "--dns",
            if first.is_empty() { "127.0.0.54" } else { "127.0.0.53" },
        ];
        waits(&sandbox, name, &flags);
    }
    for transport in ["", "+tcp "] {
        assert_eq!(dig(&sandbox, "web", &format!("{transport}there.test A")), "192.0.2.7", "{transport}");
        assert_eq!(status(&sandbox, "only", &format!("{transport}there.test A")), "REFUSED");
    }
}

/// Answers all that it was asked when nobody asks more for a while: how many questions that were, it writes down.
const SLOW_SERVER: &str = r#"use IO::Socket::INET; use IO::Select; my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.54",
    LocalPort => 53, Proto => "udp") or die; if (fork) { exit } close STDOUT; close STDERR; my @asked; my $ready = IO::Select->new($s);
    while (@asked == 0 || $ready->can_read(0.3)) { my $from = $s->recv(my $q, 512); push @asked, [$from, $q] }
    open my $log, ">", shift; print $log scalar @asked; close $log;
    for (@asked) { my ($from, $q) = @$_; substr($q, 2, 2) = "\x81\x83"; $s->send($q, 0, $from) }"#;

/// Asks forty times at once; prints how many answers with its numbers came.
const FORTY: &str = r#"use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.11", PeerPort => 53,
    Proto => "udp") or die; my %open; alarm 20; for my $id (1..40) { $open{$id} = 1;
    $s->send(pack("nnnnnn", $id, 0x100, 1, 0, 0, 0) . "\x04slow\x04test\0" . pack("nn", 1, 1)) }
    while (%open) { $s->recv(my $a, 512); my ($id, $flags) = unpack("nn", $a); delete $open{$id} if ($flags & 15) == 3 }
    print "all""#;

#[test]
fn who_asks_what_is_being_asked_gets_the_same_answer() {
    requires![root, tool("perl")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let log = sandbox.path("asked");
    does(&sandbox, &["network", "create", "net"]);
    waits(&sandbox, "web", &["--network", "net", "--dns", "127.0.0.54"]);
    let perl = |program: &str, words: &str| format!("perl -e '{program}' {words}");
    sandbox.sh(&perl(SLOW_SERVER, &log.display().to_string())).expect_code(0);
    let inside = pid(&sandbox, "web");
    assert_eq!(sandbox.sh(&format!("nsenter -t {inside} -n {}", perl(FORTY, ""))).expect_code(0).stdout, "all");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "1");
}

#[test]
fn servers_that_ask_each_other_in_a_circle_come_to_an_end() {
    requires![root, tool("dig"), tool("dnsmasq")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["network", "create", "net"]);
    waits(&sandbox, "server", &["--network", "net"]);
    let (inside, address) = (pid(&sandbox, "server"), address(&sandbox, "server", "net"));
    let log = sandbox.path("asked");
    let own = format!(
        "--no-resolv --no-hosts --conf-file=/dev/null --user=root --pid-file= --port=53 --cache-size=0 --bind-interfaces \
        --log-queries --log-facility={}",
        log.display()
    );
    sandbox
        .sh(&format!(
            "nsenter -t {inside} -n dnsmasq {own} --listen-address={address} --server=127.0.0.11 --no-negcache"
        ))
        .expect_code(0);
    let conf = sandbox.path("circle.conf");
    std::fs::write(&conf, format!("nameserver {address}\n")).unwrap();
    sandbox.sh(&format!("mount --bind {} /etc/resolv.conf", conf.display())).expect_code(0);
    assert_eq!(status(&sandbox, "server", "round.test A"), "SERVFAIL");
    let asked = std::fs::read_to_string(&log).unwrap().matches("query[A] round.test").count();
    assert!((1..200).contains(&asked), "{asked}");
}

#[test]
fn a_container_may_serve_names_itself() {
    requires![root, tool("dig"), tool("dnsmasq")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["network", "create", "net"]);
    waits(&sandbox, "server", &["--network", "net"]);
    let inside = pid(&sandbox, "server");
    let own = format!(
        "nsenter -t {inside} -n dnsmasq --no-resolv --no-hosts --conf-file=/dev/null --user=root --pid-file= --port=53 \
        --bind-interfaces --listen-address=0.0.0.0 --address=/own.test/192.0.2.9"
    );
    sandbox.sh(&own).expect_code(0);
    waits(&sandbox, "asker", &["--network", "net"]);
    let (asker, server) = (pid(&sandbox, "asker"), address(&sandbox, "server", "net"));
    let ask = |at: &str, name: &str| {
        let dig = format!("nsenter -t {asker} -n dig @{at} +short +time=2 +tries=1 {name}");
        sandbox.sh(&dig).stdout.trim().to_owned()
    };
    assert_eq!(ask(&server, "own.test"), "192.0.2.9");
    assert_eq!(ask("127.0.0.11", "server"), server);
    // and its own questions still go to the resolver
    assert_eq!(dig(&sandbox, "server", "asker A"), address(&sandbox, "asker", "net"));
}

#[test]
fn a_slow_client_and_a_silent_server_keep_nobody_else_waiting() {
    requires![root, tool("dig"), tool("ss"), tool("perl")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["network", "create", "net"]);
    // a server that takes everything and says nothing
    let silent = |kind: &str, then: &str| {
        let address = "sockaddr_in(53, inet_aton(\"127.0.0.77\"))";
        let program = format!("socket(S, PF_INET, {kind}, 0) && bind(S, {address}) or die $!; {then}; sleep 1000");
        sandbox.sh(&format!("perl -MSocket -e '{program}' </dev/null >/dev/null 2>&1 &")).expect_code(0);
    };
    silent("SOCK_DGRAM", "1");
    silent("SOCK_STREAM", "listen(S, 9)");
    let there = || sandbox.sh("ss -Htuln 'src 127.0.0.77:53'").stdout.lines().count();
    eventually("the server is there", seconds(20), || there() == 2);
    waits(&sandbox, "web", &["--network", "net", "--dns", "127.0.0.77"]);
    let inside = pid(&sandbox, "web");
    // half a message, and then nothing; one that has asked and never reads; questions that wait for the server
    sandbox.sh(&format!(
        "nsenter -t {inside} -n bash -c '
        exec 3<>/dev/tcp/127.0.0.11/53; printf \"\\0\\x40\\x12\" >&3; sleep 1000 &
        for i in $(seq 70); do exec {{fd}}<>/dev/tcp/127.0.0.11/53; done
        for i in $(seq 300); do dig @127.0.0.11 +time=5 +tries=1 waits$i.test >/dev/null & done' >/dev/null 2>&1 &"
    ));
    let own = address(&sandbox, "web", "net");
    let script =
        format!("for i in $(seq 30); do nsenter -t {inside} -n dig @127.0.0.11 +short +time=4 +tries=1 web A; done");
    let said = sandbox.sh(&script).stdout;
    assert_eq!(said.lines().filter(|line| *line == own).count(), 30, "{said}");
    assert_eq!(dig(&sandbox, "web", "+tcp web A"), own);
}

#[test]
fn names_go_on_with_another_monitor_and_end_with_the_container() {
    requires![root, tool("dig")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["network", "create", "net"]);
    waits(&sandbox, "web", &["--network", "net"]);
    waits(&sandbox, "db", &["--network", "net"]);
    let db = address(&sandbox, "db", "net");
    kill_monitor(&sandbox, "web");
    assert_eq!(dig(&sandbox, "web", "db A"), db); // inspect has given it another one
    // who shares the namespace shares the resolver, and is not kept by it
    up(&sandbox, &["--name", "guest", "--network", "container:web"], &["sleep", "1000"]);
    assert_eq!(dig(&sandbox, "guest", "db A"), db);
    let namespace = sandbox.sh(&format!("readlink /proc/{}/ns/net", pid(&sandbox, "web"))).stdout;
    does(&sandbox, &["rm", "-f", "web", "guest"]);
    eventually("nobody holds its network namespace", seconds(20), || {
        let held =
            format!("lsns -t net -n -o NS | grep -c {}", namespace.trim().trim_matches(|c: char| !c.is_ascii_digit()));
        sandbox.sh(&held).stdout.trim() == "0"
    });
}

#[test]
fn the_command_that_gives_it_another_monitor_ends_once_names_are_answered() {
    requires![root, tool("dig")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["network", "create", "net"]);
    waits(&sandbox, "web", &["--network", "net"]);
    let (inside, own) = (pid(&sandbox, "web"), address(&sandbox, "web", "net"));
    let ask = || {
        sandbox.sh(&format!("nsenter -t {inside} -n dig @127.0.0.11 +short +time=2 +tries=1 web A")).stdout.trim()
            == own
    };
    let life = sandbox.path("state/containers").join(inspect(&sandbox, "web")["Id"].as_str().unwrap());
    let file = life.join("resolv.conf");
    kill_monitor(&sandbox, "web");
    // the new monitor looks there whether it is to answer, and stands still until somebody writes
    std::fs::remove_file(&file).unwrap();
    sandbox.sh(&format!("mkfifo {}", file.display())).expect_code(0);
    let mut command = sandbox.start(&["ps"]);
    let mut pipe = None;
    eventually("the monitor reads", seconds(20), || {
        pipe = std::fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&file).ok();
        pipe.is_some()
    });
    assert!(!ask(), "nobody answers yet");
    assert!(!command.has_ended());
    drop(pipe);
    command.output().expect_code(0);
    assert!(ask());
}
