//! Containers that share namespaces of another one.

use crate::detached::{does, inspect, pid, refused, up, up_alone};
use crate::support::command::{eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;

/// The namespaces of a container's first process, as the host has them.
fn namespace(sandbox: &Sandbox, name: &str, kind: &str) -> String {
    let pid = pid(sandbox, name).to_string();
    sandbox.sh(&format!("readlink /proc/{pid}/ns/{kind}")).text()
}

#[test]
fn a_namespace_is_the_other_containers_where_that_was_asked_for() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web", "--ipc", "shareable"], &["sleep", "1000"]);
    for (flag, kind) in [("--network", "net"), ("--pid", "pid"), ("--ipc", "ipc")] {
        up(&sandbox, &["--name", "joins", flag, "container:web"], &["sleep", "999"]);
        let shared = namespace(&sandbox, "web", kind);
        assert_eq!(namespace(&sandbox, "joins", kind), shared, "{kind}");
        assert_ne!(namespace(&sandbox, "joins", "mnt"), namespace(&sandbox, "web", "mnt"));
        does(&sandbox, &["rm", "-f", "joins"]);
        up_alone(&sandbox, &["--name", "alone"], &["sleep", "999"]); // the control
        assert_ne!(namespace(&sandbox, "alone", kind), shared, "{kind}");
        does(&sandbox, &["rm", "-f", "alone"]);
    }
}

#[test]
fn who_shares_the_ipc_shares_dev_shm_and_nothing_else_of_dev() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web", "--ipc", "shareable"], &["sleep", "1000"]);
    does(&sandbox, &["exec", "web", "sh", "-c", "echo kept >/dev/shm/note; echo x >/dev/own"]);
    let other = |flags: &[&str], script: &str| {
        let run = [&["run", "--rm", "--network", "none"], flags, &["busybox", "sh", "-c", script]].concat();
        sandbox.minirun(&run)
    };
    let ipc = ["--ipc", "container:web"];
    let said = other(&ipc, "cat /dev/shm/note && echo more >>/dev/shm/note && ls /dev/own").expect_code(1);
    assert_eq!(said.stdout, "kept\n", "{said}");
    assert_eq!(does(&sandbox, &["exec", "web", "cat", "/dev/shm/note"]).stdout, "kept\nmore\n");
    other(&[], "cat /dev/shm/note").expect_code(1); // the control
    // a link in the other container leads nowhere but in there
    does(
        &sandbox,
        &[
            "run",
            "-d",
            "--name",
            "linked",
            "--network",
            "none",
            "--ipc",
            "shareable",
            "--privileged",
            "busybox",
            "sleep",
            "1000",
        ],
    );
    does(&sandbox, &["exec", "linked", "sh", "-c", "umount /dev/shm && rmdir /dev/shm && ln -s /etc /dev/shm"]);
    let said = other(&["--ipc", "container:linked"], "cat /dev/shm/hostname").expect_code(0);
    let own = does(&sandbox, &["exec", "linked", "cat", "/etc/hostname"]).stdout;
    assert_eq!(said.stdout, own);
}

#[test]
fn who_shares_a_network_reaches_its_servers_at_127_0_0_1() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up(&sandbox, &["--name", "web"], &["httpd", "-f", "-p", "80", "-h", "/etc"]);
    let ask = |network: &str| {
        sandbox.minirun(&[
            "run",
            "--rm",
            "--network",
            network,
            "busybox",
            "wget",
            "-q",
            "-O",
            "-",
            "http://127.0.0.1/passwd",
        ])
    };
    eventually("it answers", seconds(20), || ask("container:web").code() == 0);
    assert!(ask("container:web").text().contains("root"));
    ask("bridge").expect_code(1); // the control: 127.0.0.1 is its own there
    let names = ["run", "--rm", "--network", "container:web", "busybox", "cat", "/etc/resolv.conf", "/etc/hosts"];
    assert!(does(&sandbox, &names).stdout.contains("localhost"));
}

#[test]
fn who_shares_the_processes_sees_them() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    let ps = |flags: &[&str]| {
        does(&sandbox, &[&["run", "--rm", "--network", "none"], flags, &["busybox", "ps"]].concat()).stdout
    };
    assert!(ps(&["--pid", "container:web"]).contains("sleep 1000"));
    assert!(!ps(&[]).contains("sleep 1000"));
    // it ends alone, and with the other one, whose namespace it is
    up_alone(&sandbox, &["--name", "guest", "--pid", "container:web"], &["sleep", "999"]);
    does(&sandbox, &["stop", "-t", "0", "guest"]);
    assert_eq!(inspect(&sandbox, "web")["State"]["Running"], true);
    does(&sandbox, &["start", "guest"]);
    does(&sandbox, &["stop", "-t", "0", "web"]);
    assert_eq!(sandbox.minirun(&["wait", "guest"]).text(), "137");
}

#[test]
fn only_what_runs_can_be_joined() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["create", "--name", "web", "--network", "none", "--ipc", "shareable", "busybox", "sleep", "1000"]);
    let flags = ["--network", "--pid", "--ipc"];
    let run = |flag| ["run", "--rm", flag, "container:web", "busybox", "true"];
    for flag in flags {
        refused(&sandbox, &run(flag), 125, "container web is not running");
    }
    does(&sandbox, &["start", "web"]); // the control
    for flag in flags {
        does(&sandbox, &run(flag));
    }
    refused(&sandbox, &["run", "--rm", "--pid", "container:nobody", "busybox", "true"], 125, "no container nobody");
}
