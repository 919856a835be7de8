//! The script of `--explain` is true: run by bash where there is no minirun, up to the pivot, it makes what a run makes.
//! Both are dumped by the same tools; whatever is not on the list of masks must be the same.

use crate::support::command::{Running, output, seconds};
use crate::support::dump::{Container, Dump, Mask, mount_table};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use minirun::explain::PIVOT;

/// All that a script and a run may differ in, and why.
const MASKS: &[(Mask, &str)] = &[
    (Mask::Id, "each container has its own"),
    (Mask::HostEnd, "name, MAC and link-local address of the veth's end outside are made of the id"),
    (Mask::Member("ifindex"), "an ifindex"),
    (Mask::Member("link_index"), "an ifindex, of the other end"),
    (Mask::Member("handle"), "nft numbers its objects in the order in which they were made"),
    (Mask::Member("gc_timer"), "a bridge's clock"),
    (Mask::Member("forward_delay_timer"), "a bridge's clock"),
    (Mask::File("cgroup.procs"), "pids"),
    (Mask::File("cgroup.threads"), "pids"),
    (Mask::File("tasks"), "pids"),
    (Mask::File("cgroup.stat"), "a counter; the monitors' cgroup is one more"),
    (Mask::File("pids.current"), "a counter"),
    (Mask::File("pids.peak"), "a counter"),
    (Mask::File("cpu.stat"), "a counter"),
    (Mask::File("cpu.stat.local"), "a counter"),
    (Mask::File("cpu.pressure"), "a counter"),
    (Mask::File("io.pressure"), "a counter"),
    (Mask::File("memory.pressure"), "a counter"),
    (Mask::File("irq.pressure"), "a counter"),
    (Mask::File("memory.current"), "a counter"),
    (Mask::File("memory.peak"), "a counter"),
    (Mask::File("io.stat"), "a counter"),
    (Mask::File("cpuacct.stat"), "a counter"),
    (Mask::File("cpuacct.usage"), "a counter"),
    (Mask::File("cpuacct.usage_all"), "a counter"),
    (Mask::File("cpuacct.usage_percpu"), "a counter"),
    (Mask::File("cpuacct.usage_percpu_sys"), "a counter"),
    (Mask::File("cpuacct.usage_percpu_user"), "a counter"),
    (Mask::File("cpuacct.usage_sys"), "a counter"),
    (Mask::File("cpuacct.usage_user"), "a counter"),
    (Mask::File("memory.stat"), "a counter"),
    (Mask::File("memory.numa_stat"), "a counter"),
    (Mask::File("memory.usage_in_bytes"), "a counter"),
    (Mask::File("memory.max_usage_in_bytes"), "a counter"),
    (Mask::File("memory.memsw.usage_in_bytes"), "a counter"),
    (Mask::File("memory.memsw.max_usage_in_bytes"), "a counter"),
    (Mask::File("memory.kmem.usage_in_bytes"), "a counter"),
    (Mask::File("memory.kmem.max_usage_in_bytes"), "a counter"),
];

/// The issue's own, whose subject is the network. Its resolver is its own, for the host's may be on the host's loopback:
/// no tool answers as a monitor does.
const PUBLISHED: Case = Case { args: &["-p", "8080:80", "--dns=192.0.2.53"], program: "httpd -f -p 80 -h /etc" };

/// The usual limits and mounts, and no network.
const LIMITED: Case = Case {
    args: &[
        "--network=none",
        "--memory=64m",
        "--cpus=0.5",
        "--pids-limit=20",
        "--ulimit=nofile=500:600",
        "--volume=/mnt:/in:ro",
        "--tmpfs=/scratch",
        "--read-only",
        "--user=1234:567",
        "--workdir=/made",
    ],
    program: "sleep 1000",
};

/// What is rare, and what a shell could mistake.
const RARE: Case = Case {
    args: &[
        "--publish=127.0.0.1:8080:80",
        "--publish=5353:53/udp",
        "--ip=172.18.0.77",
        "--mac-address=02:00:00:00:00:77",
        "--hostname=web",
        "--domainname=example.org",
        "--dns=192.0.2.53",
        "--add-host=other:192.0.2.7",
        "--cpuset-cpus=0",
        "--oom-score-adj=500",
        "--ulimit=nproc=100:200",
        "--sysctl=net.ipv4.ping_group_range=0 7",
        "--sysctl=kernel.msgmax=9000",
        "--device=/dev/zero:/dev/deep/nothing:r",
        "--shm-size=1m",
        "--tmpfs=/a b:ro,size=1m,mode=1770",
        "--volume=/mnt/what's this:/etc/new file:ro,rslave",
    ],
    program: "sleep 1000",
};

/// The host's own namespaces, and no bars.
const SHARED: Case =
    Case { args: &["--network=host", "--pid=host", "--uts=host", "--privileged"], program: "sleep 1000" };

/// A command line of `run --rm`: what stands before the image, and the program behind it.
#[derive(Clone, Copy)]
struct Case {
    args: &'static [&'static str],
    program: &'static str,
}

/// Both hosts: a mount that is not kept from them reaches them, as with systemd; an IPv6 address does not change its
/// state a second after it was given; and there is something to bind, on a mount with attributes of its own.
const HOST: &str = "mount --make-rshared / && echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
    mount -t tmpfs -o nosuid,nodev,noatime source /mnt && touch \"/mnt/what's this\"";

/// A host on which a container runs, and the script of one that would be born there just so.
struct Real {
    sandbox: Sandbox,
    script: String,
    _running: Running,
    dump: Dump,
}

impl Real {
    fn start(case: Case) -> Real {
        let Case { args, program } = case;
        let words =
            |first: &[&'static str]| [first, args, &["busybox"], &program.split(' ').collect::<Vec<_>>()].concat();
        let sandbox = Sandbox::with_images(&["busybox"]);
        sandbox.sh(HOST).expect_code(0);
        let script = sandbox.minirun(&words(&["run", "--explain", "--rm"])).text();
        let before = mount_table(&sandbox);
        let running = sandbox.start(&words(&["run", "--rm"]));
        let mut pids = Vec::new();
        let running = running.until("the program runs", seconds(20), |_| {
            pids = sandbox.in_pids(program);
            !pids.is_empty()
        });
        let status = std::fs::read_to_string(format!("/proc/{}/status", pids[0])).unwrap();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:\t")).unwrap();
        let pid = numbers.split('\t').nth(1).unwrap(); // the first is this machine's, the next the sandbox's
        let id = only_name(&sandbox.path("state/containers"));
        let upper = upper(&sandbox, &id);
        let dump = dump(&sandbox, Container { id: &id, pid, root: "", upper: &upper, mounts_before: &before });
        Real { sandbox, script, _running: running, dump }
    }

    /// What is to be seen where this script has made a container, which is in a sandbox of its own.
    fn made_by<T>(&self, script: &str, look: impl FnOnce(&Sandbox, Container<'_>) -> T) -> T {
        let sandbox = Sandbox::new();
        sandbox.sh(HOST).expect_code(0);
        hide_minirun(&sandbox);
        let before = mount_table(&sandbox);
        let root = script.lines().find_map(|line| line.strip_prefix("export R=")).unwrap();
        let root = root.split(' ').next().unwrap();
        let id = root.rsplit('/').nth(1).unwrap();
        let file = sandbox.path("script");
        std::fs::write(&file, up_to_pivot(script)).unwrap();
        let mut bash = sandbox.command("bash");
        bash.arg(&file).stdin(std::process::Stdio::piped());
        let mut pid = String::new();
        let running = Running::start(&mut bash).until("the script is at the pivot", seconds(20), |said| {
            pid = said.trim().to_owned();
            said.ends_with('\n')
        });
        let upper = upper(&self.sandbox, id);
        let seen = look(&sandbox, Container { id, pid: &pid, root, upper: &upper, mounts_before: &before });
        running.output().expect_code(0);
        for place in [self.sandbox.path("root/containers"), self.sandbox.path("state/containers")] {
            let _not_made = std::fs::remove_dir_all(place.join(id));
        }
        seen
    }
}

fn dump(sandbox: &Sandbox, container: Container<'_>) -> Dump {
    Dump::of(sandbox, container, MASKS)
}

/// Where a container's changes to its image lie.
fn upper(sandbox: &Sandbox, id: &str) -> String {
    sandbox.path(&format!("root/containers/{id}/upper")).to_str().unwrap().to_owned()
}

fn only_name(dir: &std::path::Path) -> String {
    let names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    names[0].to_str().unwrap().to_owned()
}

/// Takes every minirun away from this sandbox, and shows that there is none any more.
fn hide_minirun(sandbox: &Sandbox) {
    let script = r#"for f in "$0" $(type -ap minirun); do mount --bind /dev/null "$f" && ! "$f" 2>/dev/null || exit 1; done
        ! type -p minirun"#;
    output(sandbox.command("bash").arg("-c").arg(script).arg(minirun_binary())).expect_code(0);
}

/// The script's own lines up to the pivot. There the inner half says so and waits, and the outer half, when it has done
/// its own, says which process it is, and lets it go at the end of its input.
fn up_to_pivot(script: &str) -> String {
    let (before, rest) = script.split_once(PIVOT).unwrap();
    let (_after, host) = rest.split_once("\nINSIDE\n").unwrap();
    let (host, _start) = host.split_once("\n# start: ").unwrap();
    format!(
        "{before}echo here >&3\nread -r _ <&4\nINSIDE\n{host}
until read -t 0.2 -r _ <&3; do kill -0 $!; done # it may have failed
echo $INIT_PID; read -r _ || echo go >&4; wait $!\n"
    )
}

#[test]
fn the_script_makes_what_a_run_makes() {
    requires![root, tool("nft"), cgroup("cpu"), cgroup("cpuset"), cgroup("memory"), cgroup("pids")];
    for case in [PUBLISHED, LIMITED, RARE, SHARED] {
        let real = Real::start(case);
        assert!(real.dump.section("host mounts").is_empty(), "{:?}", real.dump.section("host mounts"));
        let differences = real.made_by(&real.script, dump).differences(&real.dump);
        assert!(differences.is_empty(), "{:?}: - is the script's, + the run's:\n{}", case.args, differences.join("\n"));
    }
}

/// What a script without a step's line makes is different, and the difference is seen where it is.
#[track_caller]
fn each_omission_is_seen(case: Case, omissions: &[(&str, &str)]) {
    let real = Real::start(case);
    for (line, section) in omissions {
        let (kept, omitted): (Vec<&str>, Vec<&str>) = real.script.lines().partition(|kept| !kept.contains(line));
        assert!(!omitted.is_empty(), "no line has {line}");
        let differences = real.made_by(&kept.join("\n"), dump).differences(&real.dump);
        let seen = differences.iter().any(|line| line[2..].starts_with(section));
        assert!(seen, "without {line}, not in {section}:\n{}", differences.join("\n"));
    }
}

#[test]
fn a_step_of_the_network_left_out_is_seen() {
    requires![root, tool("nft")];
    each_omission_is_seen(
        PUBLISHED,
        &[
            ("nft 'add element", "host nft"),
            ("network bridge'", "host links"),
            ("/route_localnet", "host sysctls"),
            ("/ip_forward", "host sysctls"),
            ("ip address add 172.18.0.1/16", "host addresses"),
            ("hairpin on", "host links"),
            ("/ip_unprivileged_port_start", "inside sysctls"),
            ("ip link set lo up", "inside links"),
            ("ip route add default", "inside routes"),
            ("nft 'create element", "host nft"),
        ],
    );
}

#[test]
fn any_other_step_left_out_is_seen() {
    requires![root, tool("nft"), cgroup("cpu"), cgroup("memory"), cgroup("pids")];
    each_omission_is_seen(
        LIMITED,
        &[
            ("/pids.max", "cgroup values"),
            ("echo 0 > /sys/fs/cgroup/", "cgroups"),
            ("exec unshare --cgroup", "namespaces"),
            ("prlimit", "process"),
            ("mount --make-rprivate /", "host mounts"),
            ("mount -t mqueue", "inside mounts"),
            ("mknod -m 666 \"$R/dev/null\"", "dev"),
            ("ln -s pts/ptmx", "dev"),
            ("/proc/keys", "inside mounts"),
            ("/sys/firmware", "inside mounts"),
            ("mount --rbind \"$R/proc/sys\"", "inside mounts"),
            ("mount -o remount,bind,ro \"$R/\"", "inside mounts"),
            ("/mnt", "inside mounts"),
            ("mkdir -p \"$R/made\"", "changes"),
            ("hostname ", "names"),
        ],
    );
}

#[test]
fn the_ruleset_loads_again_where_there_is_none() {
    requires![root, tool("nft")];
    let real = Real::start(PUBLISHED);
    let again = "set -o pipefail
        nft list ruleset | grep -c 8080 || exit 2
        diff <(nft list ruleset) <(nft list ruleset | unshare --net bash -c 'nft -f - && nft list ruleset')";
    real.sandbox.in_network(again).expect_code(0);
    real.made_by(&real.script, |sandbox, _| sandbox.in_network(again).expect_code(0));
}

#[test]
fn what_no_tool_can_do_is_a_comment_of_its_step() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let said = sandbox.minirun(&["run", "--explain=json", "--rm", "busybox", "true"]).text();
    let script = sandbox.minirun(&["run", "--explain", "--rm", "busybox", "true"]).text();
    let steps: Vec<serde_json::Value> = serde_json::from_str(&said).unwrap();
    let of_steps = steps.iter().filter(|step| step["no_tool"].is_string()).count();
    let comments: Vec<&str> = script.lines().filter(|line| line.starts_with("# no shell tool: ")).collect();
    assert_eq!(comments.len(), of_steps + 1, "one is no step, the protection of our own file: {comments:?}");
    let all =
        ["read-only mount of its file", "(seccomp(2))", "the bounding set is cut", "capabilities are set (capset(2))"];
    for what in all {
        assert_eq!(comments.iter().filter(|line| line.contains(what)).count(), 1, "{what}: {comments:?}");
    }
    let filters = comments.iter().filter(|line| line.contains("BPF_PROG_TYPE_CGROUP_DEVICE")).count();
    let by_files = script.contains("/devices.deny");
    assert_eq!(filters, usize::from(!by_files), "{comments:?}");
}
