//! First and last contact: what hack/install puts on a host and takes away again, and the manual pages.

use crate::support::command::output;
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::snapshot::Snapshot;
use crate::support::source::repository;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Everything below a directory: path, mode, owner, size.
fn tree(dir: &Path) -> Vec<String> {
    let mut find = Command::new("find");
    let text = output(find.arg(dir).args(["-printf", "%P %m %U:%G %s\n"])).text();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.retain(|line| !line.starts_with(' ')); // the directory itself
    lines.sort();
    lines
}

fn install(sandbox: &Sandbox, words: &[&str]) -> Command {
    let mut command = sandbox.command(repository().join("hack/install"));
    command.args(words).env("MINIRUN_BIN", minirun_binary()).env("MINIRUN_ETC", sandbox.path("etc"));
    command
}

/// Most of what there is to do, in a few seconds. At the end things run, and things are left.
const USE: &str = r#"
set -e
minirun load -q -i "$LAYOUT"
minirun run --rm busybox echo one | grep -q one
minirun run -d --name web -p 8080:80 -v data:/data --restart always busybox httpd -f -p 80 -h /etc
for _ in $(seq 100); do busybox wget -qO- http://127.0.0.1:8080/passwd && break; sleep 0.1; done | grep -q root
minirun exec web touch /data/kept /changed
minirun ps -a; minirun logs web; minirun stats --no-stream; minirun top web; minirun port web
minirun cp web:/etc/passwd "$DIR/passwd"; minirun diff web | grep -q /changed
minirun commit web site:2; minirun export -o "$DIR/web.tar" web; minirun import "$DIR/web.tar" again
minirun pause web; minirun unpause web; minirun restart -t 0 web; minirun update -m 64m web
minirun rename web old; minirun kill old; minirun rm -f old
minirun create --name made busybox true; minirun start made; minirun wait made
minirun run -d --name fails --restart on-failure:1 --network none busybox false
minirun run -d --health-cmd true --name well -m 32m --pids-limit 20 --cpus 0.5 busybox sleep 1000
minirun volume create other; minirun volume ls; minirun tag busybox tools:1; minirun rmi tools:1
minirun images; minirun history busybox; minirun inspect well busybox >/dev/null; minirun info; minirun system df
minirun run -d --privileged --name big -P --tmpfs /t --read-only busybox sleep 1000
minirun stop -t 0 big; minirun repair; minirun image prune -f; minirun container prune -f
rm "$DIR"/*
"#;

#[test]
fn after_installation_use_reset_and_removal_the_host_is_as_it_was() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::new();
    let (prefix, dir) = (sandbox.path("prefix"), sandbox.path("dir"));
    std::fs::create_dir(&dir).unwrap();
    for name in ["root", "state"] {
        std::fs::remove_dir(sandbox.path(name)).unwrap(); // as on a host that has never seen minirun
    }
    // one directory is there already, with something in it
    std::fs::create_dir_all(prefix.join("share/man")).unwrap();
    std::fs::write(prefix.join("share/man/whatis"), "").unwrap();
    let (before, files) = (Snapshot::of(&sandbox), tree(&prefix));

    let said = output(&mut install(&sandbox, &[prefix.to_str().unwrap()])).expect_code(0).stdout;
    let installed = tree(&prefix);
    for name in [
        "bin/minirun",
        "share/man/man1/minirun.1",
        "share/man/man1/minirun-run.1",
        "share/bash-completion/completions/minirun",
        "share/zsh/site-functions/_minirun",
        "share/fish/vendor_completions.d/minirun.fish",
    ] {
        let mode = if name.starts_with("bin/") { 755 } else { 644 };
        assert!(installed.iter().any(|line| line.starts_with(&format!("{name} {mode} 0:0 "))), "{installed:?}");
        assert!(said.contains(&format!("installed {}\n", prefix.join(name).display())), "{said}");
    }
    // a second time it is the same
    output(&mut install(&sandbox, &[prefix.to_str().unwrap()])).text();
    assert_eq!(tree(&prefix).len(), installed.len());

    let layout = crate::support::sandbox::image_layout("busybox");
    let path = format!("{}:{}", prefix.join("bin").display(), std::env::var("PATH").unwrap());
    let used = output(sandbox.command("bash").args(["-c", USE]).envs([
        ("PATH", path.as_str()),
        ("DIR", dir.to_str().unwrap()),
        ("LAYOUT", layout.to_str().unwrap()),
    ]));
    used.expect_code(0);
    let changes = before.changes(&Snapshot::of(&sandbox));
    for section in ["links", "nft", "sysctls", "processes", "cgroups", "minirun root", "minirun state"] {
        assert!(changes.iter().any(|line| line.starts_with(&format!("+ {section}: "))), "{section}: {changes:?}");
    }
    let reset = output(sandbox.command(prefix.join("bin/minirun")).args(["system", "reset", "--yes"])).expect_code(0);
    assert_eq!(reset.stderr, "");
    let said = output(&mut install(&sandbox, &["--uninstall", prefix.to_str().unwrap()])).expect_code(0).stdout;
    assert!(said.contains(&format!("removed {}\n", prefix.join("bin/minirun").display())), "{said}");
    assert_eq!(tree(&prefix), files);
    assert_eq!(tree(&dir), [""; 0]);
    assert!(!sandbox.path("root").exists() && !sandbox.path("state").exists());
    before.assert_same(&sandbox);
}

#[test]
fn the_network_managers_that_run_are_told_to_leave_our_links_alone() {
    requires![root];
    let sandbox = Sandbox::new();
    let prefix = sandbox.path("prefix");
    let at = prefix.to_str().unwrap();
    let etc = sandbox.path("etc");
    let read = |name: &str| std::fs::read_to_string(etc.join(name)).unwrap_or_default();
    let (manager, networkd) = ("NetworkManager/conf.d/minirun.conf", "systemd/network/10-minirun.network");
    output(&mut install(&sandbox, &[at])).expect_code(0);
    assert_eq!((read(manager), read(networkd)), (String::new(), String::new())); // none runs
    sandbox.sh("mkdir -p /run/NetworkManager /run/systemd/netif").expect_code(0);
    output(&mut install(&sandbox, &[at])).expect_code(0);
    assert_eq!(read(manager), "[keyfile]\nunmanaged-devices+=interface-name:mr-*;interface-name:mrv*\n");
    assert_eq!(read(networkd), "[Match]\nName=mr-* mrv*\n\n[Link]\nUnmanaged=yes\n");
    output(&mut install(&sandbox, &["--uninstall", at])).expect_code(0);
    assert!(!etc.exists() && !prefix.exists());
}

#[test]
fn only_what_was_installed_is_removed() {
    requires![root];
    let sandbox = Sandbox::new();
    let prefix = sandbox.path("prefix");
    let at = prefix.to_str().unwrap();
    // nothing was: nothing is removed
    let said = output(&mut install(&sandbox, &["--uninstall", at])).expect_code(1);
    assert!(said.stderr.contains("nothing was installed"), "{said}");
    // somebody else's program stays what it is
    std::fs::create_dir_all(prefix.join("bin")).unwrap();
    std::fs::write(prefix.join("bin/minirun"), "theirs").unwrap();
    let files = tree(&prefix);
    output(&mut install(&sandbox, &[at])).expect_code(1);
    output(&mut install(&sandbox, &["--uninstall", at])).expect_code(0);
    assert_eq!(tree(&prefix), files);
    // and so does what they have put beside ours later
    std::fs::remove_dir_all(prefix.join("bin")).unwrap();
    output(&mut install(&sandbox, &[at])).expect_code(0);
    let theirs = prefix.join("share/man/man1/theirs.1");
    std::fs::write(&theirs, "").unwrap();
    let said = output(&mut install(&sandbox, &["--uninstall", at])).expect_code(0);
    assert!(said.stdout.contains("man1/: it is not empty"), "{said}");
    let left: Vec<String> = tree(&prefix).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(left, ["share", "share/man", "share/man/man1", "share/man/man1/theirs.1"]);
}

#[test]
fn troff_has_nothing_to_say_of_the_manual_pages() {
    requires![tool("groff"), tool("man")];
    let minirun = |words: &[&str]| output(Command::new(minirun_binary()).args(words)).text();
    let dir = tempfile::tempdir().unwrap();
    let mut rendered = BTreeMap::new();
    for name in minirun(&["man", "--list"]).lines() {
        let file = dir.path().join(format!("{name}.1"));
        std::fs::write(&file, minirun(&["man", name])).unwrap();
        let groff = output(Command::new("groff").args(["-man", "-Tutf8", "-ww", "-P-c", "-rLL=100n"]).arg(&file));
        assert_eq!(groff.stderr, "", "{name}");
        // what was struck twice to be bold, or with a line to be under it, once
        let mut plain = String::new();
        for c in groff.expect_code(0).stdout.chars() {
            if c == '\u{8}' { plain.pop().map(drop).unwrap() } else { plain.push(c) }
        }
        rendered.insert(name.to_owned(), plain);
        let man = output(Command::new("man").args(["--warnings", "-l"]).arg(&file).env("LC_ALL", "C.UTF-8"));
        assert_eq!(man.expect_code(0).stderr, "", "{name}");
    }
    let run = &rendered["minirun-run"];
    for text in ["minirun run [OPTIONS] IMAGE [COMMAND] [ARG...]", "-v, --volume FROM:TO[:ro]", "--explain[=text|json]"]
    {
        assert!(run.contains(text), "{text}: {run}");
    }
    assert!(
        rendered["minirun"].contains("minirun-run(1)") && rendered["minirun-volume"].contains("minirun volume create")
    );
    let said = output(Command::new(minirun_binary()).args(["man", "no-such"])).expect_code(2);
    crate::errors::assert_error(&said, &["no-such"]);
}

#[test]
fn systemd_understands_the_units() {
    requires![root, tool("systemd-analyze")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.minirun(&["create", "--name", "web", "--stop-timeout", "60", "busybox", "sleep", "1000"]).expect_code(0);
    for (words, file, start, stop) in [
        (&["web"][..], "container-web.service", "start web", Some("stop --time=60 web")),
        (&["--time", "3", "web"], "container-web.service", "start web", Some("stop --time=3 web")),
        (&["--boot"], "minirun.service", "start --restart-policy", None),
    ] {
        let said = sandbox.minirun(&[&["generate", "systemd"], words].concat()).expect_code(0).stdout;
        let binary = minirun_binary();
        let path = |name: &str| sandbox.path(name).display().to_string();
        let call = format!("{} --root={} --state={}", binary.display(), path("root"), path("state"));
        assert!(said.contains(&format!("\nExecStart={call} {start}\n")), "{said}");
        let stops = said.lines().find_map(|line| line.strip_prefix("ExecStop="));
        assert_eq!(stops.map(str::to_owned), stop.map(|stop| format!("{call} {stop}")));
        let unit = sandbox.path(file);
        std::fs::write(&unit, &said).unwrap();
        let verified = output(sandbox.command("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
        let verified = verified.expect_code(0);
        assert!(!verified.stderr.contains(file), "{verified}");
        // and what it calls can be called
        let start: Vec<&str> = start.split(' ').collect();
        sandbox.minirun(&start).expect_code(0);
        if let Some(stop) = stop {
            let stop = stop.replace("=60", "=0").replace("=3", "=0");
            sandbox.minirun(&stop.split(' ').collect::<Vec<_>>()).expect_code(0);
        }
    }
    let said = sandbox.minirun(&["generate", "systemd", "nobody"]).expect_code(1);
    crate::errors::assert_error(&said, &["no container nobody"]);
    let said = sandbox.minirun(&["generate", "systemd"]).expect_code(2);
    crate::errors::assert_error(&said, &["missing CONTAINER"]);
}
