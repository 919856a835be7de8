//! Where the store lies on an overlay, as in a container, or on nfs, nothing can be laid over an image: each container has
//! a copy. What `diff` and `commit` make of it is seen beside the overlays' (`files_images`).

use crate::calls::Watched;
use crate::detached::{does, inspect, refused};
use crate::support::command::{Running, eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use crate::support::snapshot::processes;
use std::path::Path;

/// What is in the directory of all containers.
fn left(sandbox: &Sandbox) -> String {
    sandbox.sh(&format!("cd {}/containers && ls", sandbox.path("root").display())).text()
}

#[test]
fn a_copy_keeps_what_is_done_to_it_and_goes_with_its_container() {
    requires![root];
    let sandbox = Sandbox::on_overlay(&["busybox"]);
    let script = does(&sandbox, &["run", "--explain", "busybox", "true"]).stdout;
    assert!(script.contains(".whole/. ") && !script.contains("-t overlay"), "{script}");
    assert!(sandbox.minirun(&["info", "--check"]).stdout.contains("each container gets a copy of its image"));
    // both find that the image is not unpacked
    let run =
        |name| sandbox.start(&["run", "-i", "--name", name, "--network", "none", "busybox", "cat", "/etc/index.html"]);
    let said = [run("a"), run("b")].map(Running::output).map(|said| said.expect_code(0).stdout);
    assert!(said[0] == said[1] && !said[0].is_empty(), "{said:?}");

    let count = "echo x >>/count; wc -l </count; cat /etc/given; stat -c '%a %Y' /tmp /usr/bin";
    does(&sandbox, &["create", "--name", "web", "--network", "none", "busybox", "sh", "-c", count]);
    std::fs::write(sandbox.path("given"), "given").unwrap();
    does(&sandbox, &["cp", sandbox.path("given").to_str().unwrap(), "web:/etc/given"]);
    let said = ["1", "2"].map(|_| does(&sandbox, &["start", "-a", "web"]).text());
    let of_image =
        does(&sandbox, &["run", "--rm", "--network", "none", "busybox", "stat", "-c", "%a %Y", "/tmp", "/usr/bin"]);
    let of_image = of_image.text();
    assert_eq!(said, ["1", "2"].map(|count| format!("{count}\ngiven{of_image}")));
    assert_eq!(does(&sandbox, &["diff", "web"]).stdout, "A /count\nC /etc\nA /etc/given\n");
    let export = |name: &str| {
        let file = sandbox.path("tar").to_str().unwrap().to_owned();
        does(&sandbox, &["export", "-o", &file, name]);
        sandbox.sh(&format!("tar -tf {file} | sort")).text()
    };
    let (plain, web) = (export("a"), export("web"));
    assert!(!plain.lines().any(|line| ["etc/hosts", "proc/"].contains(&line)), "{plain}");
    assert_eq!(
        web.lines().filter(|line| !plain.lines().any(|l| l == *line)).collect::<Vec<_>>(),
        ["count", "etc/given"]
    );
    let said = sandbox.minirun(&["diff", "busybox", "web"]).expect_code(1).stdout;
    assert!(said.ends_with("\n\n2 added, +9B\n"), "{said}");
    let driver = &inspect(&sandbox, "web")["GraphDriver"];
    assert_eq!(
        (&driver["Name"], does(&sandbox, &["info", "-f", "{{.Driver}}"]).text()),
        (&"directory".into(), "directory".to_owned())
    );
    let dir = driver["Data"]["Dir"].as_str().unwrap();
    assert_eq!(sandbox.sh(&format!("cat {dir}/etc/given")).text(), "given");
    assert!(
        does(&sandbox, &["ps", "-as", "--format", "{{.Size}}"]).text().lines().all(|size| size.contains("MB (virtual"))
    );
    refused(&sandbox, &["image", "tree", "busybox"], 1, "not kept apart");

    does(&sandbox, &["rm", "a", "b", "web"]);
    assert_eq!(left(&sandbox), "");
    does(&sandbox, &["rmi", "busybox"]);
    assert_eq!(sandbox.sh(&format!("ls {}/layers", sandbox.path("root").display())).text(), "l");
}

#[test]
fn what_a_root_can_be_told_holds_for_a_copy() {
    requires![root];
    let sandbox = Sandbox::on_overlay(&["busybox"]);
    let run = |flags: &[&str], script: &str| {
        let words = [&["run", "--rm", "--network", "none"], flags, &["busybox", "sh", "-c", script]].concat();
        sandbox.minirun(&words)
    };
    for (flags, script, want) in [
        (&["--read-only"][..], "touch /x 2>/dev/null || head -n 1 /etc/hosts", "127.0.0.1\tlocalhost"),
        (&["-v", "data:/etc"], "cat /etc/group >/dev/null; ls /etc/index.html", "/etc/index.html"),
        (&["--mount", "type=image,src=busybox,dst=/tools"], "ls /tools/etc/index.html", "/tools/etc/index.html"),
        (&["-v", "/srv/made/file"], "ls -d /srv/made/file", "/srv/made/file"),
    ] {
        assert_eq!(run(flags, script).expect_code(0).text(), want, "{flags:?}");
    }
    let said = run(&["--userns", "auto"], "true");
    assert!(said.code() == 125 && said.stderr.contains("or run it without --userns"), "{said}");
    assert_eq!(left(&sandbox), "");
}

#[test]
fn a_copy_that_was_cut_short_is_none() {
    requires![root, tool("strace")];
    let sandbox = Sandbox::on_overlay(&["busybox"]);
    does(&sandbox, &["run", "--rm", "--network", "none", "busybox", "true"]); // monitors have their cgroup now
    does(&sandbox, &["create", "--name", "web", "--network", "none", "busybox", "echo", "whole"]);
    let killed = |args: &[&str]| {
        let kill =
            ["-e", "trace=copy_file_range", "-e", "inject=copy_file_range:signal=KILL:when=2"].map(str::to_owned);
        let watched = Watched::start(&sandbox, args, &kill, Path::new("/dev/null"));
        let said = watched.running.output();
        assert!(said.code() != 0 && said.stderr.contains("monitor"), "{said}");
        watched.strace.output();
        let is_ours = |line: &String| line.contains("minirun-monitor");
        eventually("the monitor has ended", seconds(20), || !processes(sandbox.pid).iter().any(is_ours));
    };
    let find = |name: &str| {
        sandbox.sh(&format!("find {}/containers -maxdepth 2 -name '{name}'", sandbox.path("root").display())).text()
    };
    killed(&["run", "--rm", "--network", "none", "busybox", "true"]);
    assert_ne!(find("rootfs.part"), "");
    does(&sandbox, &["repair"]);
    assert_eq!(find("rootfs*"), "");
    killed(&["start", "-a", "web"]);
    assert_ne!(find("rootfs.part"), "");
    assert_eq!(does(&sandbox, &["diff", "web"]).stdout, "");
    assert_eq!(does(&sandbox, &["start", "-a", "web"]).text(), "whole");
    assert!(find("rootfs*").ends_with("/rootfs"));
    does(&sandbox, &["rm", "web"]);
    assert_eq!(left(&sandbox), "");
}
