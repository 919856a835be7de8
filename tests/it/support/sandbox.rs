//! A "host" for one test: hack/sandbox gives it namespaces, a branch of every cgroup hierarchy and an empty /run, so that
//! tests run beside each other and what one of them sees is its own. State roots lie in a temporary directory. When the
//! sandbox is dropped, after a panic too, its process 1 ends and takes everything with it.

use super::command::{Output, Running, eventually, output, seconds};
use super::source::repository;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The address of the sandbox on its link to the outside host, and of that host; from TEST-NET-1 (RFC 5737).
pub const HOST: &str = "192.0.2.1";
pub const OUTSIDE: &str = "192.0.2.2";
/// The host's address of IPv6 on that link; of those for documentation (RFC 3849).
pub const HOST6: &str = "2001:db8::1";

#[derive(Debug)]
pub struct Sandbox {
    home: TempDir,
    holder: Child,
    /// Process 1 of the sandbox, as the machine sees it.
    pub pid: u32,
    /// The files that take a process into the sandbox's cgroups.
    leaves: Vec<PathBuf>,
}

impl Sandbox {
    pub fn new() -> Sandbox {
        let home = tempfile::Builder::new().prefix("minirun-test-").tempdir().unwrap();
        let join = home.path().join("join");
        let mut holder = Command::new(repository().join("hack/sandbox"));
        // it reads until the pipe closes: whatever becomes of the test, the sandbox goes with it
        holder.args(["bash", "-c", "echo ready; read -r _"]).env("MINIRUN_JOIN", &join);
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        holder.stdout.as_mut().unwrap().read_exact(&mut ready).expect("hack/sandbox did not come up");
        let text = std::fs::read_to_string(&join).unwrap();
        let (leaves, pid) = text.trim_end().rsplit_once('\n').unwrap();
        let sandbox =
            Sandbox { pid: pid.parse().unwrap(), leaves: leaves.lines().map(PathBuf::from).collect(), holder, home };
        for dir in ["root", "state"] {
            std::fs::create_dir(sandbox.path(dir)).unwrap();
        }
        sandbox
    }

    /// A sandbox whose store has these images of images/.
    pub fn with_images(names: &[&str]) -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.load(names);
        sandbox
    }

    /// The same in a container: its store lies on an overlay, which holds no other one's changes.
    pub fn on_overlay(names: &[&str]) -> Sandbox {
        let sandbox = Sandbox::new();
        let root = sandbox.path("root").display().to_string();
        let script = format!(
            "set -e; mount -t tmpfs tmpfs {root}; cd {root}; mkdir lower upper work
            mount -t overlay -o lowerdir={root}/lower,upperdir={root}/upper,workdir={root}/work overlay {root}"
        );
        sandbox.sh(&script).expect_code(0);
        sandbox.load(names);
        sandbox
    }

    fn load(&self, names: &[&str]) {
        for name in names {
            let layout = image_layout(name);
            self.minirun(&["load", "-q", "-i", layout.to_str().unwrap()]).expect_code(0);
        }
    }

    /// A path in the directory of this test: `root` and `state` are minirun's, the rest is free.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A program inside the sandbox: its cgroups first, since they have other paths inside. It leads a process group:
    /// a signal to its whole group, which no pid namespace keeps in, reaches nothing of the test run.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("bash");
        let enter = r#"while [ "$1" != -- ]; do echo 0 >"$1"; shift; done; shift; exec "$@""#;
        command.args(["-c", enter, "enter"]).args(&self.leaves).arg("--");
        command.args(["nsenter", "--all", "--target"]).arg(self.pid.to_string()).arg("--").arg(program);
        command.env("MINIRUN_ROOT", self.path("root")).env("MINIRUN_STATE", self.path("state")).stdin(Stdio::null());
        command.process_group(0);
        command
    }

    /// The minirun command inside the sandbox, not yet started.
    pub fn minirun_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(minirun_binary());
        command.args(args);
        command
    }

    /// Runs minirun to its end.
    #[track_caller]
    pub fn minirun(&self, args: &[&str]) -> Output {
        output(&mut self.minirun_command(args))
    }

    /// Starts minirun with a pipe as standard input.
    #[track_caller]
    pub fn start(&self, args: &[&str]) -> Running {
        Running::start(self.minirun_command(args).stdin(Stdio::piped()))
    }

    /// Runs a line of shell inside.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Output {
        output(self.command("bash").args(["-c", script]))
    }

    /// Runs a program in the sandbox's network alone, unseen by its process list.
    #[track_caller]
    pub fn in_network(&self, script: &str) -> Output {
        let net = format!("--net=/proc/{}/ns/net", self.pid);
        output(Command::new("nsenter").args([&net, "bash", "-c", script]))
    }

    /// Gives the sandbox another host to talk to, at OUTSIDE, over a link on which it is HOST itself.
    pub fn add_outside_host(&self) {
        let script = format!(
            "set -e; ip netns add outside; ip link add out0 type veth peer name eth0 netns outside
            # no link-local addresses, which would appear some time later
            ip link set out0 addrgenmode none; ip -n outside link set eth0 addrgenmode none
            ip address add {HOST}/24 dev out0; ip -n outside address add {OUTSIDE}/24 dev eth0
            ip address add {HOST6}/64 dev out0 nodad; ip -n outside address add {HOST6}0/64 dev eth0 nodad
            ip link set out0 up; ip -n outside link set eth0 up; ip -n outside link set lo up
            ip -n outside route add default via {HOST}
            busybox ping -q -c 1 -W 20 {OUTSIDE} # both sides know each other's link address from now on"
        );
        self.sh(&script).expect_code(0);
    }

    /// Runs a line of shell on the outside host.
    #[track_caller]
    pub fn outside(&self, script: &str) -> Output {
        output(self.command("nsenter").args(["--net=/run/netns/outside", "bash", "-c", script]))
    }

    /// The pids, on this machine, of what runs below the sandbox's process 1 with exactly this command line.
    pub fn in_pids(&self, command_line: &str) -> Vec<String> {
        let found = super::snapshot::processes(self.pid);
        let words = found.iter().filter_map(|line| line.split_once(' '));
        words.filter(|(_, line)| line.trim_end() == command_line).map(|(pid, _)| pid.to_owned()).collect()
    }

    /// The sandbox's own directory in each cgroup hierarchy, as the machine sees it.
    pub fn cgroup_branches(&self) -> Vec<PathBuf> {
        let is_branch = |dir: &&Path| dir.file_name().unwrap().to_str().unwrap().starts_with("sandbox-");
        self.leaves.iter().map(|leaf| leaf.ancestors().find(is_branch).unwrap().to_owned()).collect()
    }

    /// The pid, on this machine, of the program that `running` runs inside: nsenter waits for it.
    pub fn inner_pid(&self, running: &Running) -> u32 {
        let path = format!("/proc/{0}/task/{0}/children", running.child.id());
        let mut pid = None;
        eventually("the program is inside", seconds(10), || {
            pid = std::fs::read_to_string(&path).ok().and_then(|text| text.split_whitespace().next()?.parse().ok());
            pid.is_some()
        });
        pid.unwrap()
    }
}

/// How it ends.
impl Sandbox {
    fn ends_within(&mut self, deadline: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            let ended = self.holder.try_wait().unwrap();
            if ended.is_some() || Instant::now() > end {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A process in a frozen v1 cgroup, as a test that failed may leave it, is not even killed by the end of process 1.
    fn thaw(&self) {
        let thaw = "find \"$@\" -name freezer.state -exec sh -c 'for f; do echo THAWED >$f; done' sh {} +";
        let _gone_already = Command::new("bash").args(["-c", thaw, "bash"]).args(self.cgroup_branches()).status();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let mut ended = self.ends_within(seconds(1));
        if ended.is_none() {
            self.thaw();
            ended = self.ends_within(seconds(30));
        }
        if !std::thread::panicking() {
            let code = ended.expect("the sandbox ends").code();
            assert!(code == Some(1), "`read` at the end of its input is 1; hack/sandbox says otherwise");
        }
    }
}

/// The program under test.
pub fn minirun_binary() -> PathBuf {
    std::env::var_os("MINIRUN_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_minirun")), PathBuf::from)
}

/// The OCI layout of an image of images/; hack/images has built it before the tests.
pub fn image_layout(name: &str) -> PathBuf {
    let dir = std::env::var_os("MINIRUN_IMAGES").map_or_else(|| repository().join("target/images"), PathBuf::from);
    let path = dir.join(name);
    assert!(path.exists(), "{} is not there: run hack/images", path.display());
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::requires::requires;

    #[test]
    fn a_sandbox_is_a_host_of_its_own() {
        requires![root];
        let sandbox = Sandbox::new();
        let processes: u32 = sandbox.sh("cd /proc && echo [0-9]* | wc -w").text().parse().unwrap();
        assert!(processes <= 5, "pid 1, the holder, bash, its half of the pipe, wc; not {processes}");
        assert_eq!(sandbox.sh("ip -o link | wc -l; ls /run; cat /proc/sys/net/ipv4/ip_forward").text(), "1\n0");
        let groups = sandbox.sh("cut -d: -f3 /proc/self/cgroup | sort -u").text();
        assert!(groups.lines().all(|group| matches!(group, "/" | "/init.scope")), "{groups}");
        sandbox.sh("exit 7").expect_code(7);
        sandbox.sh("kill -9 $$").expect_code(137);
        sandbox.sh("kill -9 0").expect_code(137);
    }

    #[test]
    fn nothing_outlives_a_sandbox() {
        requires![root];
        let sandbox = Sandbox::new();
        let leaves = sandbox.leaves.clone();
        let home = sandbox.path(".");
        sandbox
            .sh("sleep 1000 </dev/null >/dev/null 2>&1 & mkdir /sys/fs/cgroup/*/left 2>/dev/null || :")
            .expect_code(0);
        let ends = format!("/proc/{}", sandbox.pid);
        drop(sandbox);
        assert!(!Path::new(&ends).exists() && !home.exists());
        assert!(leaves.iter().all(|leaf| !leaf.exists()), "{leaves:?}");
    }

    #[test]
    fn nothing_frozen_outlives_it_either() {
        requires![root];
        let sandbox = Sandbox::new();
        sandbox.sh("sleep 1000 </dev/null >/dev/null 2>&1 &").expect_code(0);
        eventually("it sleeps", seconds(20), || !sandbox.in_pids("sleep 1000").is_empty());
        for branch in sandbox.cgroup_branches().iter().filter(|branch| branch.join("freezer.state").exists()) {
            let cold = branch.join("cold");
            std::fs::create_dir(&cold).unwrap();
            std::fs::write(cold.join("cgroup.procs"), &sandbox.in_pids("sleep 1000")[0]).unwrap();
            std::fs::write(cold.join("freezer.state"), "FROZEN").unwrap();
        }
        let branches = sandbox.cgroup_branches();
        drop(sandbox);
        assert!(!branches.iter().any(|branch| branch.exists()), "{branches:?}");
    }

    #[test]
    fn the_outside_host_answers() {
        requires![root];
        let sandbox = Sandbox::new();
        sandbox.add_outside_host();
        sandbox.outside(&format!("busybox ping -q -c 1 -W 20 {HOST}")).expect_code(0);
    }
}
