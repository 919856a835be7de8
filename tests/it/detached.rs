//! Containers that go on without their command: started, looked at, ended and started again by other commands.

use crate::support::command::{Output, Running, eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::{HOST, Sandbox};
use crate::support::snapshot::Snapshot;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

/// A program that ends when it is told to, and says so.
pub const OBEDIENT: &str = "trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.1; done";

/// Starts a container that goes on; gives its id.
#[track_caller]
pub fn up(sandbox: &Sandbox, flags: &[&str], command: &[&str]) -> String {
    let id = sandbox.minirun(&[&["run", "-d"], flags, &["busybox"], command].concat()).text();
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    id
}

/// The same without a network, which most need not.
#[track_caller]
pub fn up_alone(sandbox: &Sandbox, flags: &[&str], command: &[&str]) -> String {
    up(sandbox, &[&["--network", "none"], flags].concat(), command)
}

#[track_caller]
pub fn inspect(sandbox: &Sandbox, name: &str) -> Value {
    let all: Value = serde_json::from_str(&sandbox.minirun(&["inspect", name]).text()).unwrap();
    all[0].clone()
}

/// The pid of its program on the host. Of one that does not run inspect says 0, which must never come into a `kill`:
/// that is a whole process group.
#[track_caller]
pub fn pid(sandbox: &Sandbox, name: &str) -> u64 {
    running_pid(&inspect(sandbox, name)["State"]["Pid"])
}

/// The pid of its monitor on the host.
#[track_caller]
pub fn monitor(sandbox: &Sandbox, name: &str) -> u64 {
    running_pid(&inspect(sandbox, name)["Host"]["MonitorPid"])
}

#[track_caller]
fn running_pid(pid: &Value) -> u64 {
    pid.as_u64().filter(|pid| *pid > 1).unwrap_or_else(|| panic!("{pid} is nobody's pid: it does not run"))
}

/// Does it, which must succeed.
#[track_caller]
pub fn does(sandbox: &Sandbox, args: &[&str]) -> Output {
    sandbox.minirun(args).expect_code(0)
}

/// What a command refuses with a hint.
#[track_caller]
pub fn refused(sandbox: &Sandbox, args: &[&str], code: i32, word: &str) {
    let said = sandbox.minirun(args).expect_code(code);
    assert!(said.stderr.contains(word) && said.stderr.contains("hint: "), "{said}");
}

#[track_caller]
pub fn eventually_logs(sandbox: &Sandbox, name: &str, text: &str) {
    eventually(&format!("{name} says {text}"), seconds(20), || sandbox.minirun(&["logs", name]).stdout.contains(text));
}

/// The row of `ps -a` that ends with this name.
pub fn row(sandbox: &Sandbox, name: &str) -> Option<String> {
    let list = does(sandbox, &["ps", "-a"]).stdout;
    list.lines().find(|line| line.ends_with(name)).map(str::to_owned)
}

/// Reads a link below the /proc of the sandbox.
fn link(sandbox: &Sandbox, path: &str) -> String {
    sandbox.sh(&format!("readlink {path}")).text()
}

#[test]
fn a_web_server_is_started_looked_at_and_removed() {
    requires![root, tool("nft"), tool("curl")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.add_outside_host();
    does(&sandbox, &["run", "--rm", "-p", "8080:80", "busybox", "true"]);
    let before = Snapshot::of(&sandbox);
    let id = up(&sandbox, &["--name", "web", "-p", "8080:80"], &["httpd", "-f", "-p", "80", "-h", "/etc"]);

    let fetch = |host: &str| format!("curl --silent --fail --max-time 10 http://{host}:8080/passwd | grep -q root");
    eventually("it answers", seconds(20), || sandbox.in_network(&fetch("127.0.0.1")).code() == 0);
    sandbox.in_network(&fetch(HOST)).expect_code(0);
    sandbox.outside(&fetch(HOST)).expect_code(0);
    let wget = format!("wget -q -O - http://{HOST}:8080/passwd");
    let (sibling, itself) = (["run", "--rm", "busybox", "sh", "-c", &wget], ["exec", "web", "sh", "-c", &wget]);
    assert!(does(&sandbox, &sibling).stdout.contains("root"));
    assert!(does(&sandbox, &itself).stdout.contains("root"));

    let ps = does(&sandbox, &["ps"]).stdout;
    for word in [&id[..12], "busybox", "\"httpd", "Up ", "0.0.0.0:8080->80/tcp", "web"] {
        assert!(ps.contains(word), "{word}: {ps}");
    }
    let ports = does(&sandbox, &["port", "web"]).stdout;
    assert!(ports.contains("80/tcp -> 0.0.0.0:8080"), "{ports}");
    assert!(does(&sandbox, &["port", "web", "80"]).stdout.contains("0.0.0.0:8080"));
    refused(&sandbox, &["port", "web", "81"], 1, "81/tcp");
    assert_is_where_inspect_says(&sandbox, &id);

    does(&sandbox, &["exec", "-d", "web", "sh", "-c", "sleep 1000; true"]);
    assert!(does(&sandbox, &["exec", "web", "ps"]).stdout.contains("sleep 1000"));
    does(&sandbox, &["exec", "web", "sh", "-c", "echo from exec >/proc/1/fd/1"]);
    eventually_logs(&sandbox, "web", "from exec");
    does(&sandbox, &["stop", "-t", "0", "web"]);
    assert!(row(&sandbox, "web").unwrap().contains("Exited (137)"));
    assert!(!does(&sandbox, &["ps"]).stdout.contains("web"));
    sandbox.in_network(&fetch("127.0.0.1")).expect_code(1);
    refused(&sandbox, &["exec", "web", "true"], 125, "not running");
    does(&sandbox, &["rm", "web"]);
    before.assert_same(&sandbox);
}

fn assert_is_where_inspect_says(sandbox: &Sandbox, id: &str) {
    let all = inspect(sandbox, "web");
    assert_eq!((all["Id"].as_str(), all["Name"].as_str()), (Some(id), Some("/web")));
    assert_eq!(all["State"]["Status"], "running");
    assert_eq!(all["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"], "8080");
    let pid = all["State"]["Pid"].as_i64().unwrap();
    let line = sandbox.sh(&format!("tr '\\0' ' ' </proc/{pid}/cmdline; cat /proc/{}/comm", all["Host"]["MonitorPid"]));
    assert_eq!(line.text(), "httpd -f -p 80 -h /etc minirun-monitor");
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "uts"] {
        let own = link(sandbox, &format!("/proc/{pid}/ns/{kind}"));
        assert_eq!(all["Host"]["Namespaces"][kind].as_str(), Some(own.as_str()));
        assert_ne!(own, link(sandbox, &format!("/proc/1/ns/{kind}")), "{kind}");
    }
    let veth = &all["Host"]["Veths"][0];
    let index = format!("cat /sys/class/net/{}/ifindex", veth["Name"].as_str().unwrap());
    assert_eq!(sandbox.sh(&index).text(), veth["Index"].to_string());
    let inside = "cat /sys/class/net/eth0/ifindex; cat /sys/class/net/eth0/address; hostname -i";
    let network = &all["NetworkSettings"]["Networks"]["bridge"];
    let expected = [
        veth["PeerIndex"].to_string(),
        network["MacAddress"].as_str().unwrap().to_owned(),
        network["IPAddress"].as_str().unwrap().to_owned(),
    ];
    let said = does(sandbox, &["exec", "web", "sh", "-c", inside]).text();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let groups = all["Host"]["Cgroups"].as_array().unwrap();
    assert!(!groups.is_empty());
    for group in groups {
        sandbox.sh(&format!("grep -qx {pid} {}/cgroup.procs", group.as_str().unwrap())).expect_code(0);
    }
    assert!(all["LogPath"].as_str().unwrap().starts_with(sandbox.path("root").to_str().unwrap()));
}

#[test]
fn a_name_an_id_and_its_beginning_mean_the_same() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let id = up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    for word in ["web", &id, &id[..12], &id[..4]] {
        assert_eq!(inspect(&sandbox, word)["Id"], *id);
    }
    refused(&sandbox, &["inspect", "we"], 1, "no container we");
}

#[test]
fn what_could_not_be_started_leaves_nothing() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let cidfile = sandbox.path("cid");
    let run = ["run", "-d", "--name", "web", "--cidfile", cidfile.to_str().unwrap()];
    let id = sandbox.minirun(&[&run[..], &["busybox", "sleep", "1000"]].concat()).text(); // the control
    assert_eq!(std::fs::read_to_string(&cidfile).unwrap(), id);
    refused(&sandbox, &[&run[..], &["busybox", "true"]].concat(), 125, "remove it");
    assert!(cidfile.exists(), "it is the first one's");
    refused(&sandbox, &["run", "-d", "--name", "web", "busybox", "true"], 125, "minirun rm -f web");
    refused(&sandbox, &["create", "--name", "web", "busybox", "true"], 125, "minirun rm -f web");
    does(&sandbox, &["rm", "-f", "web"]);
    std::fs::remove_file(&cidfile).unwrap();
    let before = Snapshot::of(&sandbox);
    for (args, code) in [
        (&["busybox", "no-such-program"][..], 127),
        (&["busybox", "/etc"], 126),
        (&["busybox", "/etc/passwd"], 126),
        (&["-v", "/no/such/source:/x", "busybox", "true"], 125),
        (&["--pull", "never", "no-such-image-anywhere:1"], 125),
        (&["--network", "container:nobody", "busybox", "true"], 125),
        (&["--no-such-flag", "busybox", "true"], 125),
    ] {
        let said = sandbox.minirun(&[&run[..], args].concat()).expect_code(code);
        assert_eq!(said.stdout, "", "{args:?}");
        assert!(!cidfile.exists(), "{args:?}");
        before.assert_same(&sandbox);
    }
}

#[test]
fn removed_at_its_end_when_that_was_wanted() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["run", "--rm", "busybox", "true"]);
    let before = Snapshot::of(&sandbox);
    up(&sandbox, &["--rm", "--name", "brief"], &["sh", "-c", OBEDIENT]);
    eventually_logs(&sandbox, "brief", "ready");
    let waiting = sandbox.start(&["wait", "brief"]);
    eventually("it waits", seconds(20), || connected(&sandbox));
    does(&sandbox, &["kill", "-s", "TERM", "brief"]);
    assert_eq!(waiting.output().text(), "9");
    before.assert_same(&sandbox);
    refused(&sandbox, &["logs", "brief"], 1, "no container brief");
}

#[test]
fn whoever_waits_hears_how_it_ended() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--rm", "--name", "brief"], &["sh", "-c", OBEDIENT]);
    eventually_logs(&sandbox, "brief", "ready");
    let monitor = monitor(&sandbox, "brief");
    let hold = |signal: &str| drop(sandbox.sh(&format!("kill -{signal} {monitor}")).expect_code(0));
    hold("STOP");
    does(&sandbox, &["kill", "-s", "TERM", "brief"]);
    eventually("its program has ended", seconds(20), || !row(&sandbox, "brief").unwrap().contains("Up"));
    let waiting = sandbox.start(&["wait", "brief"]);
    // its connection waits for a monitor that has its hands full
    let waits = "ss -xlH | grep /attach | awk '$3 > 0' | grep -q .";
    eventually("it waits", seconds(20), || sandbox.in_network(waits).code() == 0);
    hold("CONT");
    assert_eq!(waiting.output().text(), "9");
}

/// Whether a command is connected to a monitor's socket.
fn connected(sandbox: &Sandbox) -> bool {
    sandbox.in_network("ss -xH state established | grep -c /attach").stdout.trim() != "0"
}

#[test]
fn exit_codes_and_signals_are_known_afterwards() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let check = |name: &str, code: &str| {
        assert_eq!(sandbox.minirun(&["wait", name]).text(), code, "{name}");
        assert_eq!(inspect(&sandbox, name)["State"]["ExitCode"].to_string(), code, "{name}");
        assert!(row(&sandbox, name).unwrap().contains(&format!("Exited ({code})")));
    };
    up_alone(&sandbox, &["--name", "seven"], &["sh", "-c", "exit 7"]);
    check("seven", "7");
    up_alone(&sandbox, &["--name", "handles"], &["sh", "-c", OBEDIENT]);
    eventually_logs(&sandbox, "handles", "ready");
    does(&sandbox, &["stop", "handles"]);
    check("handles", "9");
    // beside the host's processes, for as process 1 of its own it would not notice the signal
    up_alone(&sandbox, &["--name", "signalled", "--pid", "host"], &["sleep", "1000"]);
    does(&sandbox, &["kill", "-s", "TERM", "signalled"]);
    check("signalled", "143");
    up_alone(&sandbox, &["--name", "deaf"], &["sleep", "1000"]);
    does(&sandbox, &["kill", "-s", "TERM", "deaf"]);
    assert_eq!(inspect(&sandbox, "deaf")["State"]["Running"], true);
    does(&sandbox, &["stop", "-t", "1", "deaf"]);
    check("deaf", "137");
    up_alone(&sandbox, &["--name", "killed"], &["sleep", "1000"]);
    does(&sandbox, &["kill", "killed"]);
    check("killed", "137");
    refused(&sandbox, &["kill", "killed"], 1, "not running");
    does(&sandbox, &["stop", "killed"]); // it is
}

#[test]
fn a_container_killed_for_memory_says_so() {
    requires![root, cgroup("memory")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    // the shell itself keeps it all, so that the kernel takes process 1
    let eat = "x=$(dd if=/dev/zero bs=1M count=200 2>/dev/null | tr '\\0' x)";
    let end = |name: &str, limit: &str| {
        up_alone(&sandbox, &["--name", name, "-m", limit, "--memory-swap", limit], &["sh", "-c", eat]);
        let code = sandbox.minirun(&["wait", name]).text();
        (code, inspect(&sandbox, name)["State"]["OOMKilled"].as_bool().unwrap())
    };
    assert_eq!(end("eater", "64m"), ("137".to_owned(), true));
    assert_eq!(end("modest", "2g"), ("0".to_owned(), false)); // the control: it was the limit
    up_alone(&sandbox, &["--name", "killed"], &["sleep", "1000"]);
    does(&sandbox, &["kill", "killed"]);
    sandbox.minirun(&["wait", "killed"]).expect_code(0);
    assert_eq!(inspect(&sandbox, "killed")["State"]["OOMKilled"], false);
}

#[test]
fn the_monitor_is_small_and_holds_no_stream_of_its_command() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let (out, err) = (sandbox.path("out"), sandbox.path("err"));
    let mut run =
        sandbox.minirun_command(&["run", "-d", "--name", "web", "--network", "none", "busybox", "sleep", "1000"]);
    run.stdout(std::fs::File::create(&out).unwrap()).stderr(std::fs::File::create(&err).unwrap());
    assert!(run.status().unwrap().success());
    let held = [&out, &err].map(|path| std::fs::metadata(path).unwrap().ino());
    let monitor = monitor(&sandbox, "web");
    let open = sandbox.sh(&format!("stat -L -c %i /proc/{monitor}/fd/*; stat -L -c %i /proc/{monitor}/cwd")).text();
    assert!(!open.lines().any(|inode| held.iter().any(|held| held.to_string() == inode)), "{open}");
    assert_eq!(link(&sandbox, &format!("/proc/{monitor}/cwd")), "/");
    let session = sandbox.sh(&format!("cut -d' ' -f6 /proc/{monitor}/stat")).text();
    assert_eq!(session, monitor.to_string());
}

#[test]
fn fifty_at_once_get_in_nobodys_way() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["run", "--rm", "busybox", "true"]);
    let before = Snapshot::of(&sandbox);
    let names: Vec<String> = (1..=50).map(|number| format!("web{number}")).collect();
    let all = |command: &dyn Fn(&str) -> String| {
        let start = |name: &String| sandbox.start(&command(name).split(' ').collect::<Vec<_>>());
        let running: Vec<_> = names.iter().map(start).collect();
        running.into_iter().for_each(|one| drop(one.output().expect_code(0)));
    };
    all(&|name| format!("run -d --name {name} -p 80 busybox sleep 1000"));
    let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for settings in names.iter().map(|name| inspect(&sandbox, name)["NetworkSettings"].clone()) {
        addresses.insert(settings["Networks"]["bridge"]["IPAddress"].to_string());
        ports.insert(settings["Ports"]["80/tcp"][0]["HostPort"].to_string());
    }
    assert_eq!((addresses.len(), ports.len()), (50, 50), "{addresses:?} {ports:?}");
    all(&|name| format!("exec {name} true"));
    all(&|name| format!("rm -f {name}"));
    // the network's record says which address was lent last
    before.assert_only(&sandbox, |line| line.contains("/state/networks/bridge.json "));
}

#[test]
fn of_sixteen_that_want_one_name_one_gets_it() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["run", "--rm", "busybox", "true"]);
    let before = Snapshot::of(&sandbox);
    for way in ["run -d", "create"] {
        let words = format!("{way} --name web -p 80 busybox sleep 1000");
        let words: Vec<&str> = words.split(' ').collect();
        let fights: Vec<_> = (0..16).map(|_| sandbox.start(&words)).collect();
        let ended: Vec<_> = fights.into_iter().map(Running::output).collect();
        let (won, lost): (Vec<_>, Vec<_>) = ended.into_iter().partition(|said| said.code() == 0);
        assert_eq!(won.len(), 1, "{way}: {lost:?}");
        assert!(lost.iter().all(|said| said.stderr.contains("web") && said.stderr.contains("hint: ")), "{lost:?}");
        let id = won[0].stdout.trim();
        assert_eq!(inspect(&sandbox, "web")["Id"], id);
        does(&sandbox, &["rm", "-f", "web"]);
        before.assert_only(&sandbox, |line| line.contains("/state/networks/bridge.json "));
    }
}

#[test]
fn many_are_asked_to_end_before_the_first_is_waited_for() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let volume = format!("{}:/shared", sandbox.path("shared").display());
    std::fs::create_dir(sandbox.path("shared")).unwrap();
    // the first ends only once the second was asked
    let waits =
        "trap 'until [ -e /shared/told ]; do sleep 0.1; done; exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    let tells = "trap 'touch /shared/told; exit 8' TERM; echo ready; while :; do sleep 0.1; done";
    for (name, script) in [("first", waits), ("second", tells)] {
        up_alone(&sandbox, &["--name", name, "-v", &volume], &["sh", "-c", script]);
        eventually_logs(&sandbox, name, "ready");
    }
    assert_eq!(does(&sandbox, &["stop", "-t", "60", "first", "second"]).stdout, "first\nsecond\n");
    assert!(row(&sandbox, "first").unwrap().contains("Exited (9)"));
    assert!(row(&sandbox, "second").unwrap().contains("Exited (8)"));
    let said = does(&sandbox, &["rm", "-f", "first", "nobody", "second"]);
    assert_eq!(said.stdout, "first\nsecond\n", "{said}");
    assert!(said.stderr.starts_with("error: no container nobody\n"), "{said}");
}

#[test]
fn what_goes_with_its_end_may_be_gone_before_rm_looks() {
    requires![root, tool("strace")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web", "--rm"], &["sleep", "1000"]);
    let slow = ["-q", "-o", "/dev/null", "-e", "trace=pidfd_send_signal"];
    let mut strace = sandbox.command("strace");
    strace.args(slow).args(["-e", "inject=pidfd_send_signal:delay_exit=500000"]);
    strace.arg(crate::support::sandbox::minirun_binary()).args(["rm", "-f", "web"]);
    crate::support::command::output(&mut strace).expect_code(0);
    assert_eq!(row(&sandbox, "web"), None);
    sandbox.minirun(&["rm", "web"]).expect_code(1); // the control: it was never there
}

#[test]
fn a_reset_ends_what_runs() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::new();
    let before = Snapshot::of(&sandbox);
    let layout = crate::support::sandbox::image_layout("busybox");
    does(&sandbox, &["load", "-q", "-i", layout.to_str().unwrap()]);
    up(&sandbox, &["--name", "web", "-p", "8080:80"], &["sleep", "1000"]);
    up_alone(&sandbox, &["--name", "ended"], &["true"]);
    does(&sandbox, &["wait", "ended"]);
    does(&sandbox, &["create", "--name", "created", "busybox", "true"]);
    does(&sandbox, &["system", "reset", "--yes"]);
    before.assert_only(&sandbox, |line| line.starts_with("- minirun "));
}

#[test]
fn what_was_killed_can_be_removed_at_once() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for paused in [false, true, false, true, false, true] {
        up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
        if paused {
            does(&sandbox, &["pause", "web"]);
        }
        does(&sandbox, &["kill", "web"]);
        does(&sandbox, &["rm", "/web"]); // by the name that inspect prints, too
    }
}

#[test]
fn exec_may_be_given_all_capabilities() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    let effective = |flags: &[&str]| {
        let exec = [&["exec"], flags, &["web", "sed", "-n", "s/^CapEff:\t//p", "/proc/self/status"]].concat();
        u64::from_str_radix(does(&sandbox, &exec).stdout.trim(), 16).unwrap()
    };
    let host = does(
        &sandbox,
        &[
            "run",
            "--rm",
            "--privileged",
            "--network",
            "none",
            "busybox",
            "sed",
            "-n",
            "s/^CapEff:\t//p",
            "/proc/self/status",
        ],
    );
    assert_eq!(effective(&["--privileged"]), u64::from_str_radix(host.stdout.trim(), 16).unwrap());
    assert_ne!(effective(&[]), effective(&["--privileged"]));
}

#[test]
fn it_says_which_image_it_is_made_from() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    let of_image = does(&sandbox, &["image", "inspect", "-f", "{{.Id}}", "busybox"]).stdout;
    assert_eq!(does(&sandbox, &["inspect", "-f", "{{.Image}}", "web"]).stdout, of_image);
}
