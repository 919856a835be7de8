//! Does the steps of the cgroup domain, takes them back, and reads and freezes running containers' cgroups.

use super::facts::{Version, words};
use super::plan::Place;
use super::step::{Step, Undo, enabling};
use crate::error::{Errno, Error, Result, SysResult};
use crate::id::HostPath;
use crate::sys::process::{Pid, known};
use crate::sys::{cgroup as sys, fs};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a removal waits for killed processes to be gone. Dying takes milliseconds; a process in uninterruptible
/// sleep may never die, and then a report is better than a hang.
const PATIENCE: Duration = Duration::from_secs(5);

/// `init` is known where somebody else does it.
pub fn apply(step: &Step, init: Option<Pid>) -> Result<()> {
    match step {
        Step::EnsureDir { dir } => Ok(fs::mkdir_all(dir.as_path(), 0o755)?),
        Step::Mkdir { dir, version: _ } => mkdir(dir),
        Step::EnableControllers { dir, controllers } => enable(dir, controllers),
        Step::MoveProcesses { from, to } => move_processes(from, to),
        Step::Write { file, value } => write(file, value),
        Step::AttachDeviceFilter { dir, program } => sys::attach_device_filter(dir.as_path(), program)
            .map_err(|e| Error::from(e).hint("the device filter needs CAP_BPF or CAP_SYS_ADMIN and CONFIG_CGROUP_BPF")),
        Step::Join { file } => Ok(fs::write_existing(file.as_path(), "0")?),
        Step::MoveInit { file } => Ok(fs::write_existing(file.as_path(), &known(init)?.to_string())?),
        Step::UnshareCgroupNamespace => Ok(sys::unshare_namespace()?),
    }
}

pub fn undo(undo: &Undo) -> Result<()> {
    match undo {
        Undo::Remove { dir, version } => remove(dir, *version),
    }
}

/// A directory of this name may be left over from a run that was killed; one with processes is somebody's.
fn mkdir(dir: &HostPath) -> Result<()> {
    match fs::mkdir(dir.as_path(), 0o755) {
        Err(e) if e.errno == Errno::EEXIST => match pids_below(dir.as_path()).is_empty() {
            true => Ok(()),
            false => Err(Error::host(format!("cgroup {dir} exists and holds processes"))
                .hint("another container uses this cgroup path")),
        },
        done => Ok(done?),
    }
}

fn enable(dir: &HostPath, controllers: &[String]) -> Result<()> {
    let file = dir.child("cgroup.subtree_control");
    fs::write_existing(file.as_path(), &enabling(controllers)).map_err(|e| {
        let hint = match e.errno {
            Errno::EBUSY => "the cgroup holds processes itself: move them to a cgroup below it",
            Errno::ENOENT => "a controller is not available here (see cgroup.controllers)",
            Errno::EOPNOTSUPP => "the cgroup is threaded (see cgroup.type)",
            _ => "see cgroup.controllers, and whether this cgroup was delegated to us",
        };
        Error::from(e).hint(hint).during(format!("enabling controllers {} in {dir}", controllers.join(", ")))
    })
}

/// Until none is left, for processes fork meanwhile; a kernel thread cannot be moved (EINVAL), and one that has
/// died is gone (ESRCH).
fn move_processes(from: &HostPath, to: &HostPath) -> Result<()> {
    const ROUNDS: usize = 20;
    for _ in 0..ROUNDS {
        let pids = pids_in(from.as_path());
        if pids.is_empty() {
            return Ok(());
        }
        for pid in pids {
            match fs::write_existing(to.child("cgroup.procs").as_path(), &pid.to_string()) {
                Err(e) if e.errno == Errno::ESRCH || e.errno == Errno::EINVAL => {}
                done => done?,
            }
        }
    }
    Err(Error::host(format!("cgroup {from} does not become empty"))
        .hint("processes in it fork too fast, or are kernel threads"))
}

/// One write, with the controller and what to do about it where the kernel refuses.
fn write(file: &HostPath, value: &str) -> Result<()> {
    fs::write_existing(file.as_path(), value).map_err(|e| {
        let name = file.as_str().rsplit('/').next().unwrap_or_default();
        let controller = name.split('.').next().unwrap_or_default();
        let hint = match e.errno {
            Errno::ENOENT => format!("the kernel has no {name}: leave this limit out"),
            Errno::EPERM | Errno::EACCES if controller == "devices" => {
                "the cgroup above does not have this device itself".to_owned()
            }
            Errno::EACCES | Errno::EROFS => "the cgroup mount must be writable for us".to_owned(),
            Errno::EBUSY => format!("{value} is below what is already in use"),
            Errno::ENODEV => "there is no such block device".to_owned(),
            _ => format!("{value:?} is not a value that {name} takes here"),
        };
        Error::from(e).hint(hint).during(format!("cgroup controller {controller}"))
    })
}

/// Kills whatever is in the cgroup and removes it with all below it. Gone already is success.
fn remove(dir: &HostPath, version: Version) -> Result<()> {
    let path = dir.as_path();
    let deadline = Instant::now() + PATIENCE;
    let mut wait = Duration::from_millis(1);
    loop {
        match remove_tree(path) {
            Ok(()) => return Ok(()),
            Err(e) if e.errno != Errno::EBUSY => return Err(e.into()),
            Err(_) if Instant::now() >= deadline => {}
            Err(_) => {
                kill(path, version)?;
                wait_empty(path, version, wait);
                wait = (wait * 2).min(Duration::from_millis(100));
                continue;
            }
        }
        let pids: Vec<String> = pids_below(path).iter().map(ToString::to_string).collect();
        return Err(Error::host(format!(
            "cgroup {dir} is still in use after {} s by process {}",
            PATIENCE.as_secs(),
            pids.join(", ")
        ))
        .hint("a process in uninterruptible sleep dies only when its i/o ends: try minirun repair later"));
    }
}

/// The directory and, where the kernel says that it is in use, first those below it.
fn remove_tree(dir: &Path) -> SysResult<()> {
    let rmdir = || match fs::rmdir(dir) {
        Err(e) if e.errno == Errno::ENOENT => Ok(()),
        done => done,
    };
    match rmdir() {
        Err(e) if e.errno == Errno::EBUSY => {
            for child in children(dir) {
                remove_tree(&child)?;
            }
            rmdir()
        }
        done => done,
    }
}

fn kill(dir: &Path, version: Version) -> Result<()> {
    if pids_below(dir).contains(&sys::own_pid()) {
        return Err(Error::internal(format!("cgroup {} holds this very process", dir.display())));
    }
    match version {
        // cgroup.kill is there since 5.14
        Version::V2 => match fs::write_existing(&dir.join("cgroup.kill"), "1") {
            Err(e) if e.errno == Errno::ENOENT => frozen(dir, "cgroup.freeze", ["1", "0"]),
            Err(e) if gone(e.errno) => Ok(()),
            done => Ok(done?),
        },
        Version::V1 => frozen(dir, "freezer.state", ["FROZEN", "THAWED"]),
    }
}

/// Kills all while nothing can fork; where there is no freezer in this hierarchy, the next round gets the new ones.
fn frozen(dir: &Path, file: &str, [freeze, thaw]: [&str; 2]) -> Result<()> {
    let file = dir.join(file);
    let freezes = fs::write_existing(&file, freeze).is_ok();
    for pid in pids_below(dir) {
        kill_member(dir, pid);
    }
    if freezes {
        fs::write_existing(&file, thaw).or_else(|e| if gone(e.errno) { Ok(()) } else { Err(e) })?;
    }
    Ok(())
}

/// By pidfd, and only if the process is still in the cgroup once we hold it: the number may be another's by now.
fn kill_member(dir: &Path, pid: i32) {
    if let Ok(pidfd) = sys::pidfd_open(pid)
        && pids_below(dir).contains(&pid)
    {
        // dead already is what we want
        let _ = sys::pidfd_kill(&pidfd);
    }
}

/// v2 tells by an event when the last one is gone; v1 is asked again after a while.
fn wait_empty(dir: &Path, version: Version, pause: Duration) {
    let events = match version {
        Version::V2 => sys::Events::open(&dir.join("cgroup.events")),
        Version::V1 => {
            std::thread::sleep(pause);
            return;
        }
    };
    if let Ok(mut events) = events
        && events.read().is_ok_and(|text| text.contains("populated 1"))
    {
        let _ = events.wait(pause * 16);
    } else {
        std::thread::sleep(pause);
    }
}

fn gone(errno: Errno) -> bool {
    errno == Errno::ENOENT || errno == Errno::ENODEV
}

/// The cgroups directly below. A directory has two links and one for each below it (fs/kernfs/inode.c), so that one
/// look tells whether there are any among the dozens of files.
fn children(dir: &Path) -> Vec<std::path::PathBuf> {
    if fs::stat(dir).is_ok_and(|s| s.st_nlink <= 2) {
        return Vec::new();
    }
    let is_dir = |path: &std::path::PathBuf| fs::stat(path).is_ok_and(|s| s.st_mode & libc::S_IFMT == libc::S_IFDIR);
    fs::list(dir).unwrap_or_default().iter().map(|name| dir.join(name)).filter(is_dir).collect()
}

/// The processes in this cgroup itself. A process of another pid namespace shows as 0 and is none of ours.
fn pids_in(dir: &Path) -> Vec<i32> {
    let text = fs::read_text(&dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1).collect()
}

fn pids_below(dir: &Path) -> Vec<i32> {
    let mut pids = pids_in(dir);
    pids.extend(children(dir).iter().flat_map(|child| pids_below(child)));
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// All processes of a container, as the caller's pid namespace numbers them. None once the cgroup is gone.
pub fn pids(place: &Place) -> Vec<i32> {
    let any = place.v1.first().map(|v1| &v1.dir).or(place.unified.as_ref());
    any.map_or_else(Vec::new, |dir| pids_below(dir.as_path()))
}

/// Stops every process of a container where it stands; returns when all have stopped.
pub fn freeze(place: &Place) -> Result<()> {
    freezer(place, "FROZEN", "1")
}

pub fn thaw(place: &Place) -> Result<()> {
    freezer(place, "THAWED", "0")
}

fn freezer(place: &Place, v1: &str, v2: &str) -> Result<()> {
    let Some((version, dir)) = place.dir("freezer") else {
        return Err(Error::host("no freezer: neither a v1 hierarchy with the controller freezer nor cgroup v2"));
    };
    let (file, value) = match version {
        Version::V1 => ("freezer.state", v1),
        Version::V2 => ("cgroup.freeze", v2),
    };
    fs::write_existing(dir.child(file).as_path(), value)?;
    let deadline = Instant::now() + PATIENCE;
    while !has_state(dir, version, v1, v2)? {
        if Instant::now() >= deadline {
            return Err(Error::host(format!("cgroup {dir} does not become {v1} within {} s", PATIENCE.as_secs()))
                .hint("a process in it is in uninterruptible sleep"));
        }
        std::thread::sleep(Duration::from_millis(1));
        if version == Version::V1 {
            // FREEZING goes on only when it is asked for again (freezer-subsystem.rst)
            fs::write_existing(dir.child(file).as_path(), value)?;
        }
    }
    Ok(())
}

fn has_state(dir: &HostPath, version: Version, v1: &str, v2: &str) -> Result<bool> {
    Ok(match version {
        Version::V1 => fs::read_text(dir.child("freezer.state").as_path())?.trim() == v1,
        Version::V2 => value(&fs::read_text(dir.child("cgroup.events").as_path())?, "frozen") == v2.parse().ok(),
    })
}

pub fn is_frozen(place: &Place) -> bool {
    place.dir("freezer").is_some_and(|(version, dir)| has_state(dir, version, "FROZEN", "1").unwrap_or(false))
}

/// How often the kernel killed for want of memory in this container; 0 where nobody counts.
pub fn oom_kills(place: &Place) -> u64 {
    let Some((version, dir)) = place.dir("memory") else { return 0 };
    let file = match version {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    };
    let text = fs::read_text(dir.child(file).as_path()).unwrap_or_default();
    value(&text, "oom_kill").unwrap_or(0)
}

/// The value behind a key in a file of `key value` lines.
fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().map(words).find(|line| line.first().is_some_and(|word| word == key))?.get(1)?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a bash that joins the cgroup by the steps' own shell lines
mod tests {
    use super::*;
    use crate::cgroup::plan::{CgroupPlan, plan};
    use crate::cgroup::probe::probe;
    use std::io::Write as _;
    use std::process::{Child, Command, Stdio};

    /// A cgroup of the test's own, whose processes and directories go with it.
    struct Own {
        plan: CgroupPlan,
        child: Option<Child>,
    }

    impl Own {
        /// None, with the reason on stderr, where cgroups cannot be made.
        fn make(name: &str, json: &str) -> Option<Own> {
            let path = format!("minirun-test-{}-{name}/a", std::process::id());
            let host = probe(&path).unwrap();
            if !nix::unistd::geteuid().is_root() || host.list.iter().any(|h| !h.writable) {
                let _ = std::io::stderr().write_all(b"skipped: needs root and writable cgroups\n");
                return None;
            }
            let own =
                Own { plan: plan(Some(&serde_json::from_str(json).unwrap()), &path, &host).unwrap(), child: None };
            own.plan.prepare.iter().for_each(|step| apply(step, None).unwrap());
            Some(own)
        }

        fn run(&mut self, program: &str) {
            let joins = self.plan.inside.iter().filter(|s| matches!(s, Step::Join { .. }));
            let mut script: Vec<String> = joins.map(|step| step.shell().to_string()).collect();
            script.extend(self.plan.into.iter().map(|dir| format!("echo 0 > {dir}/cgroup.procs")));
            script.push(program.to_owned());
            let mut bash = Command::new("bash");
            bash.arg("-ec").arg(script.join("\n")).stdout(Stdio::piped()).stderr(Stdio::null());
            self.child = Some(bash.spawn().unwrap());
        }

        fn output(&mut self) -> String {
            let mut text = String::new();
            std::io::Read::read_to_string(self.child.as_mut().unwrap().stdout.as_mut().unwrap(), &mut text).unwrap();
            text
        }

        fn remove(&mut self) {
            for step in self.plan.prepare.iter().rev().filter_map(Step::undo) {
                undo(&step).unwrap();
                undo(&step).unwrap(); // gone already is success
            }
        }
    }

    impl Drop for Own {
        fn drop(&mut self) {
            for step in self.plan.prepare.iter().rev() {
                if let Step::EnsureDir { dir } | Step::Mkdir { dir, .. } = step {
                    let _ = remove(dir, Version::V1);
                }
            }
            let _ = self.child.as_mut().map(Child::wait);
        }
    }

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_removed_cgroup_leaves_no_process_and_no_directory() {
        let Some(mut own) = Own::make("kill", r#"{"pids":{"limit":50}}"#) else { return };
        own.run("trap '' TERM; for i in 1 2 3; do (while :; do sleep 100 & wait; done) & done; wait");
        until("processes appear", || pids(&own.plan.place).len() >= 6);
        freeze(&own.plan.place).unwrap();
        assert!(is_frozen(&own.plan.place));
        thaw(&own.plan.place).unwrap();
        assert!(!is_frozen(&own.plan.place));
        own.remove();
        assert!(pids(&own.plan.place).is_empty());
        let status = own.child.take().unwrap().wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));
        for step in &own.plan.prepare {
            if let Step::Mkdir { dir, .. } = step {
                assert!(!fs::exists(dir.as_path()), "{dir}");
            }
        }
    }

    #[test]
    fn a_frozen_cgroup_can_be_removed() {
        let Some(mut own) = Own::make("frozen", "{}") else { return };
        own.run("sleep 100");
        until("the process appears", || !pids(&own.plan.place).is_empty());
        freeze(&own.plan.place).unwrap();
        own.remove();
        own.child.take().unwrap().wait().unwrap();
    }

    #[test]
    fn a_fork_loop_ends_at_the_pids_limit() {
        let Some(mut own) = Own::make("pids", r#"{"pids":{"limit":4}}"#) else { return };
        // dash gives up at once where bash waits and forks again
        own.run("exec sh -c 'for i in 1 2 3 4 5 6; do sleep 100 >/dev/null & echo forked; done'");
        assert_eq!(own.output(), "forked\nforked\nforked\n");
        own.remove();
    }

    #[test]
    fn beyond_the_memory_limit_the_kernel_kills_and_counts() {
        let Some(mut own) = Own::make("memory", r#"{"memory":{"limit":16777216,"swap":16777216}}"#) else { return };
        assert_eq!(oom_kills(&own.plan.place), 0);
        own.run("head -c 100m /dev/zero | tail -c 100m > /dev/null");
        own.child.take().unwrap().wait().unwrap();
        assert!(oom_kills(&own.plan.place) > 0);
        own.remove();
    }

    #[test]
    fn only_harmless_devices_open() {
        let Some(mut own) = Own::make("devices", r#"{"devices":[{"allow":false,"access":"rwm"}]}"#) else { return };
        own.run("for d in null zero full urandom; do head -c 1 /dev/$d >/dev/null && echo $d; done; head -c 0 /dev/mem || echo mem refused");
        assert_eq!(own.output(), "null\nzero\nfull\nurandom\nmem refused\n");
        own.child.take().unwrap().wait().unwrap();
        own.remove();
    }
}
