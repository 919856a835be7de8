//! `--userns auto`: root inside is nobody outside, and what it makes is on disk as if it had been root.

use crate::adopted::kill_monitor;
use crate::detached::{does, inspect, pid, refused, row, up, up_alone};
use crate::support::command::{eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use crate::support::snapshot::Snapshot;
use crate::support::terminal::Terminal;

const OWN: [&str; 2] = ["--userns", "auto"];

#[track_caller]
fn says(sandbox: &Sandbox, flags: &[&str], script: &str) -> String {
    does(sandbox, &[&["run", "--rm"], &OWN[..], flags, &["busybox", "sh", "-c", script]].concat()).stdout
}

fn first_id(sandbox: &Sandbox, name: &str) -> u32 {
    let pid = pid(sandbox, name);
    let map = sandbox.sh(&format!("cat /proc/{pid}/uid_map")).text();
    let words: Vec<&str> = map.split_whitespace().collect();
    assert_eq!((words[0], words[2]), ("0", "65536"), "{map}");
    words[1].parse().unwrap()
}

#[test]
fn root_inside_is_nobody_outside() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    says(&sandbox, &[], "true");
    let before = Snapshot::of(&sandbox);
    up(&sandbox, &[&["--name", "web"], &OWN[..]].concat(), &["sleep", "1000"]);
    up(&sandbox, &[&["--name", "db"], &OWN[..]].concat(), &["sleep", "1000"]);
    let (web, db) = (first_id(&sandbox, "web"), first_id(&sandbox, "db"));
    assert!(web >= 524_288 && db >= 524_288 && web != db, "{web} {db}");
    assert_eq!(inspect(&sandbox, "web")["HostConfig"]["UsernsMode"], "auto");
    let pid = pid(&sandbox, "web");
    let owner = sandbox.sh(&format!("stat -c %u:%g /proc/{pid}; grep -E 'Uid|CapEff' /proc/{pid}/status")).text();
    assert!(owner.starts_with(&format!("{web}:{web}\n")), "{owner}");
    // all namespaces are those of a user namespace that is not the host's
    let host = sandbox.sh("readlink /proc/self/ns/user").text();
    assert_ne!(does(&sandbox, &["exec", "web", "readlink", "/proc/self/ns/user"]).stdout.trim(), host);
    assert_eq!(does(&sandbox, &["exec", "web", "id", "-u"]).stdout, "0\n");
    let nobody = ["exec", "-u", "65534", "web", "sh", "-c", "id -u >/dev/stdout"];
    assert_eq!(does(&sandbox, &nobody).stdout, "65534\n");
    refused(&sandbox, &["exec", "-u", "70000", "web", "id"], 125, "none of the 65536 ids");
    does(&sandbox, &["exec", "-d", "web", "sleep", "777"]);
    eventually("it sleeps", seconds(10), || !sandbox.in_pids("sleep 777").is_empty());
    let line = does(&sandbox, &["top", "web"]).stdout;
    assert!(line.contains("sleep 777"), "{line}");
    does(&sandbox, &["stop", "-t", "0", "web"]);
    does(&sandbox, &["start", "web"]);
    assert!(first_id(&sandbox, "web") >= 524_288);
    does(&sandbox, &["rm", "-f", "web", "db"]);
    before.assert_same(&sandbox);
}

#[test]
fn it_has_all_that_a_container_has() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let said = says(
        &sandbox,
        &[
            "--hostname",
            "box",
            "-m",
            "64m",
            "--pids-limit",
            "50",
            "--ulimit",
            "nofile=100:200",
            "--oom-score-adj",
            "5",
            "--init",
        ],
        "id -u; hostname; ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; ls -ln /bin/busybox | cut -c 1-30; \
         ls /sys/class/net; ls /dev/pts /dev/mqueue | head -3; echo x >/dev/null; echo out >/dev/stdout; echo 1 >/etc/new; chown 7:8 /etc/new; \
         stat -c %u:%g /etc/new; cat /etc/hosts | grep -c box; echo '# mine' >>/etc/hosts; df /dev/shm | tail -1 | cut -c 1-3; \
         mount -t tmpfs x /mnt 2>&1; head -1 /proc/1/comm",
    );
    for want in ["0\nbox\n100\n200\n5\n", "eth0\nlo\n", "7:8\n", "out\n", "permission denied"] {
        assert!(said.contains(want), "{want:?} in {said}");
    }
    // low ports, the group of terminals, the network from outside
    let container = ["--name", "web", "-p", "8080:80", "--userns", "auto"];
    up(&sandbox, &container, &["httpd", "-f", "-p", "80", "-h", "/etc"]);
    let fetch = "curl -sS --retry 20 --retry-connrefused --retry-delay 0 -m 10 http://127.0.0.1:8080/hostname";
    let id = inspect(&sandbox, "web")["Id"].as_str().unwrap()[..12].to_owned();
    assert_eq!(sandbox.in_network(fetch).text(), id);
}

#[test]
fn whoever_looks_after_it_and_into_it_does_so_as_ever() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let check = ["--health-cmd", "test $(id -u) = 0", "--health-interval", "100ms"];
    up_alone(&sandbox, &[&["--name", "web"], &OWN[..], &check].concat(), &["sh", "-c", "echo up; sleep 1000"]);
    eventually("it is healthy", seconds(20), || row(&sandbox, "web").is_some_and(|row| row.contains("(healthy)")));
    let before = pid(&sandbox, "web");
    kill_monitor(&sandbox, "web");
    assert!(row(&sandbox, "web").unwrap().contains("Up"));
    assert_eq!(pid(&sandbox, "web"), before);
    assert_eq!(does(&sandbox, &["logs", "web"]).stdout, "up\n");
    let looked =
        does(&sandbox, &["debug", "web", "sh", "-c", "id -u; cat /proc/1/root/etc/hostname; pidof sleep"]).stdout;
    assert!(looked.starts_with("0\n") && looked.lines().count() == 3, "{looked}");
    let mut terminal = Terminal::start(&sandbox.minirun_command(&["exec", "-it", "web", "sh"]));
    terminal.write("tty; stty size; exit 3\n");
    terminal.expect("/dev/pts/");
    terminal.expect("37 101");
    assert_eq!(terminal.code(), 3);
    does(&sandbox, &["pause", "web"]);
    does(&sandbox, &["unpause", "web"]);
    does(&sandbox, &["stop", "-t", "0", "web"]);
    does(&sandbox, &["rm", "web"]);
}

#[test]
fn what_it_makes_is_on_disk_as_if_it_had_been_root() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let dir = sandbox.path("shared");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let bind = format!("{}:/in", dir.display());
    let flags = ["--name", "web", "--userns", "auto", "-v", &bind, "-v", "data:/data"];
    let make = "for d in /in /data /srv; do mkdir -p $d; echo hi >$d/own; echo hi >$d/other; chown 5:6 $d/other; done; \
                chmod 4755 /srv/own; sleep 1000";
    up_alone(&sandbox, &flags, &["sh", "-c", make]);
    eventually("it is made", seconds(10), || sandbox.minirun(&["exec", "web", "test", "-u", "/srv/own"]).code() == 0);
    let owners = |dir: &str| sandbox.sh(&format!("stat -c '%n %u:%g' {dir}/own {dir}/other")).text();
    let on_disk = |dir: &str| format!("{dir}/own 0:0\n{dir}/other 5:6");
    let shared = dir.display().to_string();
    assert_eq!(owners(&shared), on_disk(&shared));
    let id = inspect(&sandbox, "web")["Id"].as_str().unwrap().to_owned();
    let upper = format!("{}/containers/{id}/upper/srv", sandbox.path("root").display());
    assert_eq!(owners(&upper), on_disk(&upper));

    // what goes in and out by cp has the owners that it has inside, running and at rest
    let file = sandbox.path("file");
    std::fs::write(&file, "new").unwrap();
    let tar = |what: &str| sandbox.sh(&format!("{} | tar -tv --numeric-owner", what)).text();
    let minirun = crate::support::sandbox::minirun_binary().display().to_string();
    for state in ["running", "at rest"] {
        let to = format!("web:/srv/{}", state.replace(' ', "-"));
        does(&sandbox, &["cp", file.to_str().unwrap(), &to]);
        let listed = tar(&format!("{minirun} cp web:/srv -"));
        for (mode, owner, name) in [("-rwsr-xr-x", "0/0", "srv/own"), ("-rw-r--r--", "5/6", "srv/other")] {
            let line = listed.lines().find(|line| line.ends_with(name)).unwrap_or_default();
            assert!(line.starts_with(&format!("{mode} {owner} ")), "{state}: {listed}");
        }
        assert_eq!(listed.matches("0/0").count() + listed.matches("5/6").count(), listed.lines().count(), "{listed}");
        let exported = tar(&format!("{minirun} export web"));
        assert!(exported.contains("5/6") && !exported.contains("65534/65534 "), "{state}: {exported}");
        does(&sandbox, &["stop", "-t", "0", "web"]);
    }
    assert_eq!(does(&sandbox, &["diff", "web"]).stdout.matches("/srv/").count(), 4);
    does(&sandbox, &["commit", "web", "made"]);
    let run = ["run", "--rm", "--network", "none", "made", "stat", "-c", "%u:%g", "/srv/other", "/srv/running"];
    assert_eq!(does(&sandbox, &run).stdout, "5:6\n0:0\n");
    // and as well in another user namespace, with another volume's content
    let again = ["--network", "none", "-v", "data:/data", "--mount", "type=image,src=made,dst=/tools"];
    assert_eq!(says(&sandbox, &again, "stat -c %u:%g /data/other /tools/srv/other; id -u"), "5:6\n5:6\n0\n");
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    says(&sandbox, &[], "true");
    let before = Snapshot::of(&sandbox);
    for (flags, why) in [
        (&["--network", "host"][..], "its own network"),
        (&["--pid", "host"], "its own processes"),
        (&["--ipc", "host"], "its own System V IPC"),
        (&["-v", "/proc:/host"], "idmapped mounts"),
        (&["--user", "70000"], "70000"),
        (&["--uts", "container:web"], "no container web"),
        (&["-v", "/tmp:/x:rshared"], "rslave"),
        (&["--device", "/dev/null:/etc/passwd"], "keeps its name"),
    ] {
        let args = [&["run", "--rm"], &OWN[..], flags, &["busybox", "true"]].concat();
        refused(&sandbox, &args, 125, why);
        before.assert_same(&sandbox);
    }
    refused(&sandbox, &["run", "--userns", "keep-id", "busybox", "true"], 125, "invalid --userns");
    assert!(row(&sandbox, "web").is_none());
}
