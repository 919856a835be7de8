//! Volumes: filled once with what the image has, kept as long as somebody has them or gave them a name, and never
//! half there.

use crate::detached::{does, inspect, refused, row};
use crate::support::command::{Output, Running, eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::snapshot::Snapshot;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

/// What the image's /data is like: kind, mode, owner, names, size, time, target of each, and an extended attribute.
const LOOK: &str =
    "find . -printf '%P|%y|%m|%U:%G|%n|%s|%TY-%Tm-%Td|%l\\n' | sed 's/^\\(.*|d|[^|]*|[^|]*\\)|[^|]*|[^|]*/\\1/' | sort";

/// A sandbox with an image `vol` that has a volume at /data, and what is in there as find(1) sees it.
fn with_volume_image() -> (Sandbox, String) {
    let sandbox = Sandbox::with_images(&["busybox"]);
    let image = sandbox.path("image");
    std::fs::create_dir_all(image.join("data/deep/er")).unwrap();
    let binary = minirun_binary();
    let script = format!(
        "set -e; cd {}; umask 022
        {} run --rm --network none busybox tar -c -C / bin usr sbin etc | tar -x
        echo one >data/file; ln data/file data/deep/same; echo two >data/deep/er/file
        ln -s /etc/passwd data/absolute; ln -s ../../../../../up data/deep/up; mkfifo data/fifo
        chown -h 7:8 data/absolute; chown 1000:1001 data/file; chmod 4640 data/file
        chown 33:34 data; chmod 1770 data; chmod 2711 data/deep",
        image.display(),
        binary.display()
    );
    sandbox.sh(&script).expect_code(0);
    let deep = minirun::sys::at::open_root(&image.join("data/deep")).unwrap();
    minirun::sys::at::set_xattr(&deep, b"user.mine", b"kept").unwrap();
    sandbox.sh(&format!("find {}/data -exec touch -h -d @1700000000 {{}} +", image.display())).expect_code(0);
    let import = "tar -c --xattrs . | $0 import -c 'VOLUME /data' -c 'CMD [\"true\"]' - vol"
        .replace("$0", binary.to_str().unwrap());
    sandbox.sh(&format!("cd {} && {import}", image.display())).expect_code(0);
    let look = sandbox.sh(&format!("cd {}/data && {LOOK}", image.display())).text();
    assert_eq!(look.lines().count(), 9, "{look}");
    (sandbox, look)
}

fn data(sandbox: &Sandbox, volume: &str) -> PathBuf {
    sandbox.path("root/volumes").join(volume).join("_data")
}

fn look(sandbox: &Sandbox, volume: &str) -> String {
    sandbox.sh(&format!("cd {} && {LOOK}", data(sandbox, volume).display())).text()
}

/// The names of all volumes.
fn volumes(sandbox: &Sandbox) -> Vec<String> {
    does(sandbox, &["volume", "ls", "-q"]).stdout.lines().map(str::to_owned).collect()
}

/// Runs a line of shell in a container without a network that goes with its end.
#[track_caller]
fn run(sandbox: &Sandbox, flags: &[&str], image: &str, script: &str) -> Output {
    sandbox.minirun(&[&["run", "--rm", "--network", "none"], flags, &[image, "sh", "-c", script]].concat())
}

/// A container that goes on.
fn up(sandbox: &Sandbox, name: &str, flags: &[&str], image: &str) {
    let all = [&["run", "-d", "--network", "none", "--name", name], flags, &[image, "sleep", "1000"]];
    does(sandbox, &all.concat());
}

#[test]
fn a_new_volume_begins_with_what_the_image_has_and_then_is_its_own() {
    requires![root];
    let (sandbox, wanted) = with_volume_image();
    run(&sandbox, &["-v", "mine:/data"], "vol", "true").expect_code(0);
    assert_eq!(look(&sandbox, "mine"), wanted);
    let deep = minirun::sys::at::open_root(&data(&sandbox, "mine").join("deep")).unwrap();
    assert_eq!(minirun::sys::at::xattr(&deep, b"user.mine").unwrap().as_deref(), Some(&b"kept"[..]));

    run(&sandbox, &["-v", "mine:/data"], "vol", "rm -r /data/deep; echo new >/data/new; rm /data/file").expect_code(0);
    let said = run(&sandbox, &["-v", "mine:/data:ro"], "vol", "ls /data; echo >/data/x").expect_code(1);
    assert!(said.stdout.starts_with("absolute\nfifo\nnew\n") && said.stderr.contains("Read-only"), "{said}");
    run(&sandbox, &["-v", "mine:/data"], "vol", "rm -r /data/*").expect_code(0);
    assert_eq!(run(&sandbox, &["-v", "mine:/data"], "vol", "ls /data").text(), "", "it was filled once");

    for flags in [["-v", "other:/data:nocopy"], ["--mount", "src=other,dst=/data,volume-nocopy"]] {
        assert_eq!(run(&sandbox, &flags, "vol", "ls /data").text(), "");
    }
    run(&sandbox, &["-v", "other:/data"], "vol", "true").expect_code(0);
    assert_eq!(look(&sandbox, "other"), wanted, "empty and never filled: it is still new");
}

#[test]
fn a_volume_that_somebody_has_mounted_is_filled_under_its_eyes() {
    requires![root];
    let (sandbox, wanted) = with_volume_image();
    up(&sandbox, "first", &["-v", "mine:/mine"], "busybox"); // which has no /mine
    run(&sandbox, &["-v", "mine:/data"], "vol", "true").expect_code(0);
    assert_eq!(look(&sandbox, "mine"), wanted);
    assert_eq!(does(&sandbox, &["exec", "first", "cat", "/mine/file"]).text(), "one");
}

#[test]
fn a_volume_without_a_name_goes_with_its_container_only_when_told() {
    requires![root];
    let (sandbox, wanted) = with_volume_image();
    run(&sandbox, &["-v", "/two"], "vol", "test -f /data/file && echo x >/two/x").expect_code(0);
    assert_eq!(volumes(&sandbox), [""; 0]);
    let before = Snapshot::of(&sandbox);
    up(&sandbox, "web", &[], "vol");
    let mount = inspect(&sandbox, "web")["Mounts"][0].clone();
    let name = mount["Name"].as_str().unwrap();
    assert_eq!((name.len(), volumes(&sandbox)), (64, vec![name.to_owned()]));
    assert_eq!(look(&sandbox, name), wanted);
    for (key, value) in [("Type", "volume"), ("Destination", "/data"), ("Driver", "local"), ("Mode", "")] {
        assert_eq!(mount[key], value, "{key}");
    }
    assert_eq!(mount["Source"].as_str(), data(&sandbox, name).to_str());
    assert_eq!(mount["RW"], true);

    does(&sandbox, &["exec", "web", "touch", "/data/kept"]);
    does(&sandbox, &["stop", "-t", "0", "web"]);
    does(&sandbox, &["start", "web"]);
    does(&sandbox, &["exec", "web", "test", "-f", "/data/kept"]);
    assert_eq!(volumes(&sandbox), [name], "the same one");
    does(&sandbox, &["rm", "-f", "-v", "web"]);
    before.assert_same(&sandbox);

    does(&sandbox, &["create", "--name", "web", "vol"]);
    assert_eq!(volumes(&sandbox).len(), 1);
    does(&sandbox, &["rm", "web"]);
    assert_eq!(volumes(&sandbox).len(), 1, "docker leaves them, too");
    does(&sandbox, &["volume", "prune", "-f"]);
    before.assert_same(&sandbox);

    for flags in [&["--name", "web"][..], &["--rm"]] {
        let failing = [&["run", "--network", "none", "-v", "named:/x"], flags, &["vol", "no-such-program"]];
        sandbox.minirun(&failing.concat()).expect_code(127);
        assert_eq!(volumes(&sandbox), ["named"], "what never ran leaves no volume without a name");
    }
    sandbox.minirun(&["create", "--name", "web", "-v", "named:/x", "vol"]).expect_code(0);
    sandbox.minirun(&["create", "--name", "web", "vol"]).expect_code(125);
    does(&sandbox, &["rm", "-v", "web"]);
    assert_eq!(volumes(&sandbox), ["named"], "rm -v leaves what has a name");
}

#[test]
fn two_that_fill_one_volume_at_once_both_find_it_whole() {
    requires![root];
    let (sandbox, wanted) = with_volume_image();
    for volume in ["one", "two", "three"] {
        let flags = ["run", "--rm", "--network", "none", "-v", &format!("{volume}:/data"), "vol"];
        let script = ["sh", "-c", "cd /data && ls . deep deep/er && cat file deep/er/file"];
        let all: Vec<_> = (0..6).map(|_| sandbox.start(&[&flags[..], &script].concat())).collect();
        let said: Vec<_> = all.into_iter().map(|one| one.output().text()).collect();
        assert!(said.iter().all(|one| *one == said[0] && one.ends_with("one\ntwo")), "{said:?}");
        assert_eq!(look(&sandbox, volume), wanted);
    }
}

#[test]
fn a_volume_is_not_removed_while_a_container_has_it() {
    requires![root];
    let (sandbox, _) = with_volume_image();
    does(&sandbox, &["volume", "create", "mine"]);
    does(&sandbox, &["volume", "rm", "mine"]); // the control
    assert_eq!(volumes(&sandbox), [""; 0]);
    up(&sandbox, "web", &["-v", "mine:/data"], "vol");
    refused(&sandbox, &["volume", "rm", "mine"], 1, "container web");
    refused(&sandbox, &["volume", "rm", "-f", "mine"], 1, "container web");
    assert!(does(&sandbox, &["volume", "prune", "-af"]).stdout.starts_with("Total reclaimed space: 0B"));
    does(&sandbox, &["stop", "-t", "0", "web"]);
    refused(&sandbox, &["volume", "rm", "mine"], 1, "container web");
    does(&sandbox, &["start", "web"]);
    does(&sandbox, &["exec", "web", "test", "-f", "/data/file"]);
    does(&sandbox, &["rm", "-f", "web"]);

    // a birth that is held: its record is the first that is there of it
    let held = ["run", "--network", "none", "--name", "web", "--trace=step", "-v", "mine:/data", "vol"];
    let mut birth = sandbox.start(&held);
    birth.write("\n\n\n");
    eventually("it is held", seconds(20), || birth.stderr().lines().filter(|l| l.starts_with("+ ")).count() == 4);
    refused(&sandbox, &["volume", "rm", "mine"], 1, "container web");
    birth.output().expect_code(0);
    does(&sandbox, &["rm", "web"]);

    // nobody knows which volumes a container has whose record is broken
    up(&sandbox, "web", &["-v", "mine:/data"], "vol");
    let id = inspect(&sandbox, "web")["Id"].as_str().unwrap().to_owned();
    std::fs::write(sandbox.path("root/containers").join(&id).join("config.json"), "{").unwrap();
    refused(&sandbox, &["volume", "rm", "mine"], 1, "minirun rm");
    assert_eq!(volumes(&sandbox), ["mine"]);
    does(&sandbox, &["rm", "-f", &id]);
    does(&sandbox, &["volume", "rm", "mine"]);
}

#[test]
fn runs_and_removals_against_each_other_never_take_a_volume_from_a_container() {
    requires![root];
    let (sandbox, _) = with_volume_image();
    let look = "for n in $(seq 9999); do test -f /data/deep/er/file || exit 9; done";
    let flags = ["run", "--rm", "--network", "none", "-v", "mine:/data", "vol", "sh", "-c", look];
    let stop = sandbox.path("stop");
    let removals =
        format!("until [ -e {} ]; do {} volume rm -f mine; done; true", stop.display(), minirun_binary().display());
    let removing = Running::start(sandbox.command("bash").args(["-c", &removals]).stdin(Stdio::piped()));
    for _ in 0..3 {
        let runs: Vec<_> = (0..4).map(|_| sandbox.start(&flags)).collect();
        runs.into_iter().for_each(|run| drop(run.output().expect_code(0)));
    }
    std::fs::write(&stop, "").unwrap();
    let said = removing.output().expect_code(0);
    assert!(said.stderr.contains("in use"), "{said}");
    does(&sandbox, &["volume", "rm", "-f", "mine"]);
    assert_eq!(does(&sandbox, &["repair"]).stdout, "");
}

#[test]
fn a_container_has_what_another_one_has() {
    requires![root];
    let (sandbox, _) = with_volume_image();
    std::fs::create_dir(sandbox.path("host")).unwrap();
    let bind = format!("{}:/bound", sandbox.path("host").display());
    up(&sandbox, "web", &["-v", &bind, "-v", "named:/named", "--tmpfs", "/own"], "vol");
    does(&sandbox, &["exec", "web", "sh", "-c", "echo a >/data/a; echo b >/bound/b; echo c >/named/c; echo d >/own/d"]);
    let script = "cat /data/a /bound/b /named/c; test ! -e /own/d; echo x >/data/x";
    let said = run(&sandbox, &["--volumes-from", "web"], "busybox", script).expect_code(0);
    assert_eq!(said.stdout, "a\nb\nc\n");
    let said = run(&sandbox, &["--volumes-from", "web:ro"], "busybox", script).expect_code(1);
    assert!(said.stdout == "a\nb\nc\n" && said.stderr.contains("Read-only"), "{said}");
    does(&sandbox, &["exec", "web", "test", "-f", "/data/x"]);
    // several, one over the other, and the caller's own over all
    up(&sandbox, "second", &["-v", "other:/named"], "busybox");
    let both = ["--volumes-from", "web", "--volumes-from", "second", "-v", "last:/data"];
    assert_eq!(run(&sandbox, &both, "busybox", "ls /named /data; cat /bound/b").text(), "/data:\n\n/named:\nb");

    // the last one that has a volume without a name removes it
    does(&sandbox, &["create", "--name", "heir", "--volumes-from", "web", "busybox", "cat", "/data/a"]);
    let anonymous = inspect(&sandbox, "heir")["Mounts"].as_array().unwrap().len();
    assert_eq!(anonymous, 3);
    does(&sandbox, &["rm", "-f", "-v", "web"]);
    let unnamed = || volumes(&sandbox).into_iter().filter(|name| name.len() == 64).count();
    assert_eq!(unnamed(), 1, "the heir has it");
    does(&sandbox, &["start", "heir"]);
    assert_eq!(sandbox.minirun(&["wait", "heir"]).text(), "0");
    assert_eq!(does(&sandbox, &["logs", "heir"]).stdout, "a\n");
    does(&sandbox, &["rm", "-v", "heir"]);
    assert_eq!(unnamed(), 0);
    refused(&sandbox, &["run", "--volumes-from", "nobody", "busybox", "true"], 125, "no container nobody");
    refused(&sandbox, &["run", "--volumes-from", "web:x", "busybox", "true"], 125, "neither ro nor rw");
}

#[test]
fn volumes_are_made_listed_shown_and_pruned() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    assert_eq!(does(&sandbox, &["volume", "create", "data", "--label", "app=web"]).text(), "data");
    assert_eq!(does(&sandbox, &["volume", "create", "-d", "local", "data"]).text(), "data");
    let unnamed = does(&sandbox, &["volume", "create"]).text();
    assert_eq!(unnamed.len(), 64);
    does(&sandbox, &["volume", "create", "free"]);
    up(&sandbox, "web", &["-v", "data:/data"], "busybox");
    let table = does(&sandbox, &["volume", "ls"]).stdout;
    assert!(table.starts_with("DRIVER    VOLUME NAME\n") && table.contains("local     data\n"), "{table}");
    for (filter, count) in
        [("name=at", 1), ("label=app", 1), ("label=app=db", 0), ("dangling=true", 2), ("dangling=false", 1)]
    {
        let names = does(&sandbox, &["volume", "ls", "-q", "--filter", filter]).stdout;
        assert_eq!(names.lines().count(), count, "{filter}: {names}");
    }
    let shown: serde_json::Value =
        serde_json::from_str(&does(&sandbox, &["volume", "inspect", "data"]).stdout).unwrap();
    assert_eq!(shown[0]["Mountpoint"].as_str(), data(&sandbox, "data").to_str());
    for (key, value) in [("Name", "data"), ("Driver", "local"), ("Scope", "local")] {
        assert_eq!(shown[0][key], value);
    }
    assert_eq!(shown[0]["Labels"]["app"], "web");
    std::fs::write(data(&sandbox, &unnamed).join("file"), [0; 2048]).unwrap();
    refused(&sandbox, &["volume", "prune"], 1, "--force");
    let pruned = does(&sandbox, &["volume", "prune", "--force"]).stdout;
    assert_eq!(pruned, format!("Deleted Volumes:\n{unnamed}\n\nTotal reclaimed space: 2kB\n"));
    assert!(does(&sandbox, &["volume", "prune", "-af", "--filter", "label!=app"]).stdout.contains("\nfree\n"));
    assert_eq!(volumes(&sandbox), ["data"]);

    // one broken record hides no other
    does(&sandbox, &["volume", "create", "broken"]);
    std::fs::write(sandbox.path("root/volumes/broken/volume.json"), "{").unwrap();
    assert_eq!(volumes(&sandbox), ["broken", "data"]);
    refused(&sandbox, &["volume", "inspect", "broken"], 1, "broken");
    run(&sandbox, &["-v", "broken:/etc"], "busybox", "echo x >/etc/x").expect_code(0);
    does(&sandbox, &["volume", "rm", "broken"]);
    for (args, word) in [
        (&["volume", "rm", "nope"][..], "no volume nope"),
        (&["volume", "inspect", "nope"], "no volume nope"),
        (&["volume", "create", "../x"], "invalid name"),
        (&["volume", "create", "-d", "nfs", "x"], "no volume driver"),
    ] {
        refused(&sandbox, args, 1, word);
    }
    for (filter, word) in
        [("x", "a filter is KEY=VALUE"), ("driver=local", "unknown filter"), ("dangling=x", "dangling")]
    {
        refused(&sandbox, &["volume", "ls", "--filter", filter], 2, word);
    }
    assert!(does(&sandbox, &["system", "reset"]).stdout.contains("volume data\n"));
    assert!(does(&sandbox, &["system", "reset", "--yes"]).stdout.contains("removed volume data\n"));
    assert!(!sandbox.path("root").exists());
}

#[test]
fn what_an_image_or_a_volume_leads_out_to_stays_inside() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    std::fs::write(sandbox.path("secret"), "outside").unwrap();
    let image = sandbox.path("image");
    let script = format!(
        "set -e; mkdir -p {0}/inside {0}{1}; cd {0}; echo own >inside/file; echo own >.{1}/decoy
        $0 run --rm --network none busybox tar -c -C / bin usr sbin | tar -x
        ln -s ../../../../../../../../../..{1} out; ln -s {1} absolute
        tar -c . | $0 import -c 'VOLUME [\"/out\", \"/absolute\"]' - hostile",
        image.display(),
        sandbox.path("").display().to_string().trim_end_matches('/')
    );
    let script = script.replace("$0", minirun_binary().to_str().unwrap());
    sandbox.sh(&script).expect_code(0);
    run(&sandbox, &[], "hostile", "true").expect_code(0); // unpacked, and with a directory for volumes
    let before = Snapshot::of(&sandbox);
    for target in ["/out", "/absolute", "/inside"] {
        let volume = format!("mine:{target}");
        let made = [&["create", "--name", "web", "-v", &volume][..], &["hostile", "/bin/true"]].concat();
        does(&sandbox, &made);
        let there = sandbox.sh(&format!("ls {}", data(&sandbox, "mine").display())).text();
        assert_eq!(there, if target == "/inside" { "file" } else { "decoy" }, "{target}");
        does(&sandbox, &["rm", "-v", "web"]);
        does(&sandbox, &["volume", "rm", "mine"]);
        before.assert_same(&sandbox);
    }
    // a link in a volume, and a part of that volume
    let home = sandbox.path("");
    let script = format!("mkdir -p /v/sub; echo own >/v/sub/own; ln -s / /v/root; ln -s {} /v/home", home.display());
    run(&sandbox, &["-v", "mine:/v"], "busybox", &script).expect_code(0);
    let part = |part: &str| format!("src=mine,dst=/part,volume-subpath={part}");
    assert_eq!(run(&sandbox, &["--mount", &part("sub")], "busybox", "ls /part").text(), "own");
    assert_eq!(run(&sandbox, &["--mount", &part("root")], "busybox", "ls /part").text(), "home\nroot\nsub");
    refused(&sandbox, &["run", "--mount", &part("home"), "busybox", "true"], 125, "volume-subpath home");
    does(&sandbox, &["volume", "rm", "mine"]);
    before.assert_same(&sandbox);
}

#[test]
fn a_volume_whose_filling_was_killed_is_whole_or_empty() {
    requires![root, tool("strace")];
    let (sandbox, wanted) = with_volume_image();
    let binary = minirun_binary();
    // the call on what of the volume before which all dies, and what is left of its filling then
    for (n, (call, when, on, left)) in [
        ("copy_file_range", 1, "", ".filling"),
        ("mknodat", 1, ".filling", ".filling"),
        ("linkat", 1, "", ".filling"),
        ("fchmod", 2, "", ".filling"),
        ("syncfs", 1, ".filling", ".filling"),
        ("rename", 1, ".filling", ".filling"),
        ("renameat", 1, "_data", ".filled"),
        ("renameat", 3, "_data", ".filled"),
        ("fchown", 1, "_data", ".filled"),
        ("utimensat", 1, "_data", ".filled"),
    ]
    .into_iter()
    .enumerate()
    {
        let own = sandbox.path("root/volumes/mine");
        let path = if on.is_empty() { String::new() } else { format!("-P {}", own.join(on).display()) };
        let killed = format!(
            "strace -f -qq -o /dev/null {path} -e trace={call} -e inject={call}:signal=KILL:when={when} \
             {} run --network none --name web -v mine:/data -v /etc vol",
            binary.display()
        );
        assert_ne!(sandbox.sh(&killed).code(), 0, "{call}");
        eventually("nobody is at work", seconds(20), || sandbox.sh("pidof minirun-monitor").code() != 0);
        let files = || sandbox.sh(&format!("ls -A {}", own.display())).text();
        assert!(files().lines().any(|file| file == left), "{call}: {}", files());
        if n % 2 == 0 {
            sandbox.minirun(&["repair"]).expect_code(0);
            let parts: Vec<_> =
                std::fs::read_dir(sandbox.path("root/volumes")).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert!(parts.iter().all(|name| name == OsStr::new("mine")), "{call}: {parts:?}");
            assert_eq!(files(), "_data\nlock\nvolume.json", "{call}");
        }
        run(&sandbox, &["-v", "mine:/data"], "vol", "true").expect_code(0);
        let look = look(&sandbox, "mine");
        // the time of the directory itself is that of what was moved into it last
        assert_eq!(without_time(&look), without_time(&wanted), "{call}");
        sandbox.minirun(&["rm", "-f", "-v", "web"]);
        assert_eq!(row(&sandbox, "web"), None);
        does(&sandbox, &["volume", "rm", "mine"]);
        assert_eq!(volumes(&sandbox), [""; 0], "{call}");
    }
}

/// All but the time of the directory itself, which stands in the last line.
fn without_time(look: &str) -> &str {
    look.trim_end_matches('|').rsplit_once('|').unwrap().0
}

#[test]
fn explain_makes_nothing() {
    requires![root];
    let (sandbox, _) = with_volume_image();
    let before = Snapshot::of(&sandbox);
    let said =
        does(&sandbox, &["run", "--explain", "--network", "none", "-v", "mine:/data", "-v", "/more", "vol"]).stdout;
    let script = format!("/data/. {}", data(&sandbox, "mine").display());
    assert!(said.contains("mkdir -p") && said.contains(&script), "{said}");
    before.assert_same(&sandbox);
}

#[test]
fn volumes_are_shown_by_templates() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["volume", "create", "--label", "app=web", "data"]);
    let says = |args: &[&str]| does(&sandbox, &[&["volume"], args].concat()).stdout;
    assert_eq!(
        says(&["ls", "--format", "{{.Name}} {{.Driver}} {{.Labels}} {{.Label \"app\"}}"]),
        "data local app=web web\n"
    );
    assert_eq!(says(&["ls", "--format", "json"]).matches("\"Name\":\"data\"").count(), 1);
    let place = sandbox.path("root/volumes/data/_data");
    assert_eq!(says(&["inspect", "-f", "{{.Mountpoint}}", "data"]).trim(), place.to_str().unwrap());
    assert!(says(&["inspect", "--format", "json", "data"]).starts_with("[{"));
    crate::detached::refused(&sandbox, &["volume", "ls", "--format", "{{.Nothing}}"], 1, "Nothing");
}
