//! Containers that lie in wait for `cp`: links out of their root, FIFOs, devices, loops, and a directory that becomes a
//! link while it is copied (CVE-2018-15664). Nothing of the host is read or written.

use crate::detached::{does, eventually_logs, pid, refused, up_alone};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};

const SECRET: &str = "of the host alone";

/// A directory of the host's with a secret, which no container has.
fn treasure(sandbox: &Sandbox) -> String {
    let path = sandbox.path("treasure").to_str().unwrap().to_owned();
    std::fs::create_dir(&path).unwrap();
    std::fs::write(format!("{path}/secret"), SECRET).unwrap();
    path
}

fn host_is_untouched(treasure: &str) {
    let names: Vec<_> = std::fs::read_dir(treasure).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["secret"]);
    assert_eq!(std::fs::read_to_string(format!("{treasure}/secret")).unwrap(), SECRET);
}

#[test]
fn links_lead_nowhere_but_into_the_container() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let treasure = treasure(&sandbox);
    let up = "../../../../../../../../../..";
    let traps = format!(
        "mkdir /t; cd /t; ln -s {treasure} abs; ln -s {up}{treasure} rel; ln -s {treasure}/secret file; ln -s loop2 loop1
        ln -s loop1 loop2; ln -s /proc/1/root{treasure} magic; ln -s /dev/zero zero; mkfifo fifo; ln -s fifo tofifo
        echo ready; exec sleep 1000"
    );
    up_alone(&sandbox, &["--name", "web"], &["sh", "-c", &traps]);
    eventually_logs(&sandbox, "web", "ready");
    let pid = pid(&sandbox, "web").to_string();
    let control = sandbox.sh(&format!("cat /proc/{pid}/root/t/abs/secret"));
    assert_eq!(control.text(), SECRET, "the trap is one: by its path it leads to the host");
    let home = sandbox.path("home").to_str().unwrap().to_owned();
    std::fs::create_dir(&home).unwrap();
    std::fs::write(format!("{home}/x"), "x").unwrap();
    let x = format!("{home}/x");
    for state in ["runs", "stopped"] {
        for link in ["abs", "rel", "magic"] {
            let said = sandbox.minirun(&["cp", &format!("web:/t/{link}/secret"), &home]).expect_code(1);
            // a link of /proc's own is none that is followed
            let why = if link == "magic" { "symbolic link" } else { "could not find the file" };
            assert!(said.stderr.contains(why) || state == "stopped", "{said}");
            assert_ne!(sandbox.minirun(&["cp", &x, &format!("web:/t/{link}/x")]).code(), 0);
            assert_ne!(sandbox.minirun(&["cp", "-L", &format!("web:/t/{link}"), &home]).code(), 0);
        }
        assert_ne!(sandbox.minirun(&["cp", "-L", "web:/t/file", &home]).code(), 0);
        assert_ne!(sandbox.minirun(&["cp", &x, "web:/t/file"]).code(), 0);
        refused(&sandbox, &["cp", &x, "web:/t/fifo"], 1, "must be a directory or a regular file");
        let loops = sandbox.minirun(&["cp", "-L", "web:/t/loop1", &home]).expect_code(1);
        assert!(loops.stderr.contains("too many symbolic links"), "{loops}");
        assert_ne!(sandbox.minirun(&["cp", &x, "web:/t/loop1"]).code(), 0);
        if state == "runs" {
            refused(&sandbox, &["cp", "-L", "web:/t/zero", &home], 1, "device");
            refused(&sandbox, &["cp", "web:/proc/1/environ", &home], 1, "the kernel makes it up");
        }
        // all of it at once comes as what it is
        let copy = format!("{home}/{state}");
        does(&sandbox, &["cp", "-a", "web:/t", &copy]);
        assert_eq!(std::fs::read_link(format!("{copy}/abs")).unwrap().to_str(), Some(treasure.as_str()));
        does(&sandbox, &["cp", "-L", "web:/t/tofifo", &format!("{copy}/another")]);
        // nor is a link that came with the last copy written through by the next one
        let kept = sandbox.path(&format!("d-{state}")).to_str().unwrap().to_owned();
        sandbox.sh(&format!("mkdir -p {kept}/abs; echo pwned >{kept}/abs/secret")).expect_code(0);
        does(&sandbox, &["cp", &kept, "web:/second"]);
        refused(&sandbox, &["cp", "web:/second/.", &copy], 1, "cannot overwrite a non-directory");
        host_is_untouched(&treasure);
        if state == "runs" {
            does(&sandbox, &["kill", "web"]);
            sandbox.minirun(&["wait", "web"]).expect_code(0);
        }
    }
}

/// In the container: /d/s is a directory, then a link to the host's treasure, then the directory again, for ever.
fn swapping(sandbox: &Sandbox, treasure: &str) {
    let script = format!(
        "mkdir -p /d/s; echo mine >/d/s/secret; cd /d; echo ready
        while :; do mv s t; ln -s {treasure} s; rm -rf s; mv t s; done"
    );
    up_alone(sandbox, &["--name", "web"], &["sh", "-c", &script]);
    eventually_logs(sandbox, "web", "ready");
}

#[test]
fn a_directory_that_becomes_a_link_is_not_followed_out() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let treasure = treasure(&sandbox);
    swapping(&sandbox, &treasure);
    let binary = minirun_binary().display().to_string();
    let pid = pid(&sandbox, "web").to_string();
    // by its path it is followed, sooner or later: the race is one
    let control = format!(
        "for i in $(seq 200000); do l=; read -r l </proc/{pid}/root/d/s/secret || :; case $l in *host*) exit 0; esac; done 2>/dev/null; exit 1"
    );
    sandbox.sh(&control).expect_code(0);
    let home = sandbox.path("home").to_str().unwrap().to_owned();
    let (read, rounds) = (format!("{home}/read"), 400);
    sandbox
        .sh(&format!(
            "mkdir -p {home}/in/s {read}; echo x >{home}/x; for i in $(seq 3000); do echo s/$i; done >{home}/names"
        ))
        .expect_code(0);
    let out = sandbox.sh(&format!(
        "got=0; for i in $(seq {rounds}); do
            {binary} cp -q web:/d/s/secret {read}/$i 2>/dev/null && got=$((got+1))
            {binary} cp -q web:/d {read}/d$i 2>/dev/null
        done; echo $got; ! grep -r 'host' {read}"
    ));
    let got: u32 = out.text().parse().unwrap();
    assert!(got > 0 && got < rounds, "{got} of {rounds}: it was both, a directory and a link");
    let into = sandbox.sh(&format!(
        "got=0; for i in $(seq {rounds}); do {binary} cp -q {home}/x web:/d/s/x 2>/dev/null && got=$((got+1)); done; echo $got"
    ));
    assert!(into.text().parse::<u32>().unwrap() > 0);
    host_is_untouched(&treasure);
    // and thousands of names in one copy, each of which must find its directory anew
    let many = format!(
        "cd {home}/in; while read -r n; do : >$n; done <{home}/names; : >other
        # every other name lies elsewhere, so that no directory stays open
        tar -c --no-recursion -T <(while read -r n; do echo $n; echo other; done <{home}/names) >{home}/many.tar
        for i in 1 2 3; do {binary} cp - web:/d <{home}/many.tar || true; done"
    );
    sandbox.sh(&many).expect_code(0);
    host_is_untouched(&treasure);
}
