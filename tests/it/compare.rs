//! `compare`, `image ls`, `image cat` and `image tree`: what is inside is told without running it, and nothing inside can
//! make them leave it, wait or fail for good.

use crate::detached::{does, refused};
use crate::support::requires::requires;
use crate::support::rootfs::{Entry, dir, docker_archive, fifo, file, link, tar};
use crate::support::sandbox::{Sandbox, image_layout};
use serde_json::{Value, json};

fn compared(sandbox: &Sandbox, words: &[&str]) -> Value {
    serde_json::from_str(&does(sandbox, &[&["compare", "--format", "json"], words].concat()).stdout).unwrap()
}

#[test]
fn images_are_told_apart_by_what_is_in_them() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox", "static", "debian"]);
    let document = compared(&sandbox, &["hello", "busybox", "static", "debian"]);
    let column = |key: &str| {
        let images = document["images"].as_array().unwrap();
        images.iter().map(|image| image[key].clone()).collect::<Vec<_>>()
    };
    assert_eq!(column("verdict"), ["single binary", "single binary", "distroless-style", "distribution"]);
    let linkage: Vec<Value> = column("entry_point").iter().map(|entry| entry["linkage"].clone()).collect();
    assert_eq!(linkage, [json!("static"), json!("static"), Value::Null, json!("dynamic")]);
    let debian = &document["images"][3];
    // the same from dpkg's own files
    let blobs = image_layout("debian").join("blobs/sha256");
    let tar = sandbox.sh(&format!("ls -S {}/* | head -1", blobs.display())).text(); // its one layer is the largest
    let of = |script: &str| sandbox.sh(&format!("tar -xOf {tar} --wildcards {script}")).text();
    let packages: u64 = of("'*var/lib/dpkg/status' | grep -c '^Status: install ok installed'").parse().unwrap();
    assert_eq!(debian["packages"], json!({ "format": "dpkg", "path": "/var/lib/dpkg/status", "count": packages }));
    let users: u64 = of("'*etc/passwd' | wc -l").parse().unwrap();
    assert_eq!(debian["users"], users);
    let setuid = sandbox.sh(&format!("tar -tvf {tar} | grep -cE '^-..s|^-.....s'")).text();
    assert_eq!(debian["setuid"].as_array().unwrap().len().to_string(), setuid);
    assert_eq!((&debian["package_manager"], &debian["libc"]["kind"]), (&json!("apt"), &json!("glibc")));
    assert_eq!(debian["loader"], "/lib64/ld-linux-x86-64.so.2");
    assert_eq!(debian["entry_point"]["missing"], json!([]));
    let kernel = sandbox.sh("uname -r").text();
    assert_eq!(document["kernel"], kernel);
    let table = does(&sandbox, &["compare", "hello", "debian"]).stdout;
    assert!(table.lines().last().unwrap().matches(&kernel).count() == 2, "{table}");
}

#[test]
fn a_program_without_its_libraries_is_seen() {
    requires![root];
    let sandbox = Sandbox::new();
    let path = |name: &str| sandbox.path(name).display().to_string();
    let (bare, whole) = (path("bare"), path("whole"));
    let script = format!(
        "mkdir -p {bare}/bin {whole}/bin; cp /usr/bin/env {bare}/bin/program; cp /usr/bin/env {whole}/bin/program
        for lib in $(ldd /usr/bin/env | grep -o '/[^ ]*'); do mkdir -p {whole}${{lib%/*}}; cp -L $lib {whole}$lib; done
        for root in {bare} {whole}; do tar -C $root -cf $root.tar .; done"
    );
    sandbox.sh(&script).expect_code(0);
    for name in ["bare", "whole"] {
        does(&sandbox, &["import", "-c", "ENTRYPOINT [\"program\"]", &format!("{}.tar", path(name)), name]);
    }
    let document = compared(&sandbox, &["bare", "whole"]);
    let missing = |at: usize| document["images"][at]["entry_point"]["missing"].as_array().unwrap().clone();
    let bare = missing(0);
    assert!(bare.contains(&json!("/lib64/ld-linux-x86-64.so.2")) && bare.contains(&json!("libc.so.6")), "{bare:?}");
    assert!(missing(1).is_empty(), "{:?}", missing(1));
}

#[test]
fn containers_directories_and_archives_have_columns_and_shared_layers_are_counted() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    does(&sandbox, &["create", "--name", "web", "busybox", "true"]);
    let dir = sandbox.path("dir").display().to_string();
    sandbox.sh(&format!("mkdir -p {dir}/etc; echo 'ID=mine' >{dir}/etc/os-release")).expect_code(0);
    let layout = image_layout("busybox").display().to_string();
    let document = compared(&sandbox, &["busybox", "web", &dir, &layout]);
    let images = document["images"].as_array().unwrap();
    let kinds: Vec<&Value> = images.iter().map(|image| &image["kind"]).collect();
    assert_eq!(kinds, ["image", "container", "directory", "archive"]);
    let shared: Vec<&Value> = images.iter().map(|image| &image["layers"]["shared"]).collect();
    assert_eq!(shared, [1, 1, 0, 1]);
    assert_eq!(images[2]["distribution"]["id"], "mine");
}

#[test]
fn a_table_fits_the_terminal_and_a_page_needs_nothing_else() {
    requires![root, tool("script")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let long = "registry.example.com/team/of/a-name-that-is-longer-than-a-column:of-a-terminal";
    does(&sandbox, &["tag", "busybox", long]);
    let binary = crate::support::sandbox::minirun_binary().display().to_string();
    let line = format!("stty cols 60; {binary} compare hello busybox {long}");
    let table = sandbox.sh(&format!("script -qec '{line}' /dev/null </dev/null")).expect_code(0).stdout;
    let widest = table.lines().map(|line| line.trim_end().chars().count()).max();
    assert!(widest <= Some(60) && table.matches("IMAGE").count() == 2, "two columns, and the third below\n{table}");
    let whole = does(&sandbox, &["compare", "hello", "busybox", long]).stdout;
    assert!(whole.lines().next().unwrap().ends_with(long), "the control: no terminal\n{whole}");
    let page = does(&sandbox, &["compare", "--format", "html", "hello", "busybox"]).stdout;
    assert!(page.starts_with("<!DOCTYPE html>") && page.matches(">busybox<small>").count() == 1, "{page}");
    for outside in ["http", "src=", "@import", "url(", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
    refused(&sandbox, &["compare", "--format", "pdf", "hello"], 2, "pdf");
}

/// A root that wants to lead out, to be waited for, or to be read without end.
fn hostile() -> Vec<Entry> {
    vec![
        dir("etc"),
        link("etc/os-release", "/etc/round"),
        link("etc/round", "os-release"),
        fifo("etc/passwd"),
        link("etc/hosts", "../../../../../../../../etc/shadow"),
        link("etc/self", "/proc/self/root/etc/shadow"),
        link("absolute", "/etc/real"),
        file("etc/real", "inside\n"),
        link("up", "../../../../../../../../etc/real"),
        dir("usr"),
        dir("usr/lib"),
        fifo("usr/lib/os-release"),
        link("bin", "/usr/bin"),
        dir("usr/bin"),
        Entry {
            mode: 0o755,
            ..file("usr/bin/program", b"\x7fELF\x02\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".repeat(8))
        },
        file("usr/bin/\u{1b}[2J\nname", "x"),
        dir("var"),
        link("var/lib", "lib"),
    ]
}

#[test]
fn a_hostile_image_neither_leads_out_nor_stops_anybody() {
    requires![root];
    let sandbox = Sandbox::new();
    let archive = sandbox.path("hostile.tar");
    docker_archive(&archive, "hostile:1", "arm64", &[("evil", tar(&hostile()))]);
    does(&sandbox, &["load", "-q", "-i", archive.to_str().unwrap()]);
    let dir = sandbox.path("dir").display().to_string();
    sandbox
        .sh(&format!(
            "mkdir {dir}; cd {dir}; tar -xOf {} 0.tar | tar -x; ln -s /etc/shadow usr/bin/shadow",
            archive.display()
        ))
        .expect_code(0);
    for root in ["hostile:1", archive.to_str().unwrap(), &dir] {
        let image = &compared(&sandbox, &[root])["images"][0];
        assert_eq!((&image["distribution"], &image["users"]), (&Value::Null, &json!(0)), "{root}");
        for (path, code) in [("/absolute", 0), ("/up", 0), ("/etc/hosts", 1), ("/etc/self", 1), ("/etc/passwd", 1)] {
            let said = sandbox.minirun(&["image", "cat", root, path]).expect_code(code);
            assert_eq!(said.stdout, if code == 0 { "inside\n" } else { "" }, "{root} {path}");
        }
        for path in ["/etc/os-release", "/var/lib/x", "/nowhere/at/all"] {
            refused(&sandbox, &["image", "cat", root, path], 1, "has no");
        }
    }
    assert_eq!(compared(&sandbox, &["hostile:1"])["images"][0]["architecture"], "arm64");
    refused(&sandbox, &["image", "cat", &dir, "/usr/bin/shadow"], 1, "has no /usr/bin/shadow");
}

#[test]
fn a_foreign_image_without_a_shell_is_listed_and_read() {
    requires![root];
    let sandbox = Sandbox::new();
    let archive = sandbox.path("foreign.tar");
    let entries = [
        dir("etc"),
        Entry { owner: (5, 6), ..file("etc/config", "a=1\n") },
        link("etc/alias", "config"),
        Entry { mode: 0o4755, ..file("program", "p") },
    ];
    docker_archive(&archive, "foreign:1", "arm64", &[("one", tar(&entries))]);
    does(&sandbox, &["load", "-q", "-i", archive.to_str().unwrap()]);
    let etc = does(&sandbox, &["image", "ls", "foreign:1", "/etc"]).stdout;
    let want = "MODE         OWNER     SIZE      MODIFIED           NAME      TARGET\n\
                lrwxrwxrwx   0:0       0B        2023-11-14 22:13   alias     config\n\
                -rw-r--r--   5:6       4B        2023-11-14 22:13   config\n";
    assert_eq!(etc, want);
    let template = ["image", "ls", "--format", "{{.Mode}} {{.Name}}", "foreign:1", "/"];
    assert_eq!(does(&sandbox, &template).stdout, "drwxr-xr-x etc\n-rwsr-xr-x program\n");
    assert_eq!(does(&sandbox, &["image", "cat", "foreign:1", "/etc/alias"]).stdout, "a=1\n");
    refused(&sandbox, &["image", "cat", "foreign:1", "/etc"], 1, "is a directory");
    refused(&sandbox, &["image", "ls", "foreign:1", "/etc/nothing"], 1, "has no /etc/nothing");
    // docker's own meaning stays
    assert!(does(&sandbox, &["image", "ls", "foreign"]).stdout.starts_with("REPOSITORY"));
}

#[test]
fn layers_say_what_they_add_and_waste() {
    requires![root];
    let sandbox = Sandbox::new();
    let archive = sandbox.path("layers.tar");
    let kilobytes = |count: usize| vec![b'x'; 1000 * count];
    let layers = [
        (
            "base",
            tar(&[
                dir("opt"),
                file("opt/big", kilobytes(60)),
                file("opt/log", kilobytes(10)),
                file("keep", kilobytes(10)),
            ]),
        ),
        ("RUN change", tar(&[file("opt/log", kilobytes(20))])),
        ("RUN rm", tar(&[file("opt/.wh.big", "")])),
    ];
    docker_archive(&archive, "layers:1", "amd64", &layers);
    let said = does(&sandbox, &["image", "tree", "--format", "json", archive.to_str().unwrap()]).stdout;
    let tree: Value = serde_json::from_str(&said).unwrap();
    let column = |key: &str| tree["layers"].as_array().unwrap().iter().map(|l| l[key].clone()).collect::<Vec<_>>();
    assert_eq!(column("size"), [80_000, 20_000, 0]);
    assert_eq!(column("hides"), [0, 10_000, 60_000]);
    assert_eq!(column("deleted"), [0, 0, 1]);
    assert_eq!(column("changed"), [0, 1, 0]);
    assert_eq!(column("created_by"), ["base", "RUN change", "RUN rm"]);
    assert_eq!((&tree["size"], &tree["wasted"], &tree["files"]), (&json!(30_000), &json!(70_000), &json!(2)));
    // dive's: of each path the smallest copy (0 of what is deleted) by all of them: (10 + 10) of 100
    assert_eq!(tree["efficiency"], 20.0);
    let text = does(&sandbox, &["image", "tree", archive.to_str().unwrap()]).stdout;
    assert!(
        text.contains("efficiency 20.0 %, 70kB wasted\n") && text.contains("60kB      2         /opt/big\n"),
        "{text}"
    );
}

/// What minirun adds to every root is listed, and shows in nothing that is taken out of one.
#[test]
fn what_is_added_to_a_root_of_one_file_is_fixed_and_stays_out_of_it() {
    requires![root];
    let sandbox = Sandbox::new();
    does(&sandbox, &["run", "--name", "web", "--network", "none", "hello"]);
    let added = does(&sandbox, &["info", "-f", "{{join .InEveryRoot \" \"}}"]).text();
    assert_eq!(added, "/dev /etc /proc /sys /etc/hostname /etc/hosts /etc/resolv.conf");
    assert_eq!(does(&sandbox, &["diff", "web"]).stdout, "");
    does(&sandbox, &["diff", "hello", "web"]);
    let tar = sandbox.path("web.tar").display().to_string();
    does(&sandbox, &["export", "-o", &tar, "web"]);
    assert_eq!(sandbox.sh(&format!("tar -tf {tar} | grep -v '^./$'")).text(), "hello");
    // and a running one, and one that has an /etc of its own
    let sandbox = Sandbox::with_images(&["busybox"]);
    crate::detached::up_alone(&sandbox, &["--name", "up"], &["sh", "-c", "mkdir /proc/x; echo a >/etc/a; sleep 1000"]);
    crate::support::command::eventually("it has changed its root", crate::support::command::seconds(10), || {
        does(&sandbox, &["diff", "up"]).stdout.contains("A /etc/a")
    });
    let of = |what: &str| {
        sandbox.sh(&format!("{what} | tar -t | sed 's,^./,,; s,/$,,' | grep -E '^(proc|sys|dev|etc)' | sort")).text()
    };
    let running = of(&format!("{} export up", crate::support::sandbox::minirun_binary().display()));
    does(&sandbox, &["stop", "-t", "0", "up"]);
    let stopped = of(&format!("{} export up", crate::support::sandbox::minirun_binary().display()));
    assert_eq!(running, stopped);
    assert!(running.contains("etc/a") && !running.contains("etc/hosts") && !running.contains("dev"), "{running}");
}
