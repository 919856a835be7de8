//! `unpack`: beside umoci on the same image, what it refuses, and that an error leaves nothing.

use crate::detached::{does, refused};
use crate::support::command::{Output, output};
use crate::support::layers::{DIR, FILE, Layer, Member, Tar, layout};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, image_layout, minirun_binary};
use crate::support::snapshot::without;
use std::fs;
use std::path::{Path, PathBuf};

/// Everything of a tree: kind, mode, owner, size, links, time, target and attributes, a line each.
fn whole(sandbox: &Sandbox, dir: &Path) -> Vec<String> {
    let script = format!(
        "set -e; cd {}; find . -type d -printf '%p %y %m %U:%G %n %T@\\n'
         find . ! -type d -printf '%p %y %m %U:%G %s %n %T@ %l\\n'; find . -type f -exec sha256sum {{}} +
         getfattr -R -h -d -m - .; find . -type c -exec stat -c '%n %t:%T' {{}} +",
        dir.display()
    );
    let mut lines: Vec<String> = sandbox.sh(&script).expect_code(0).stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Odd, but valid, and nothing in it that tools read differently.
fn nasty() -> Vec<Layer> {
    let deep = format!("{}file", "deep/".repeat(60));
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let base = Tar::new()
        .pax(&[("mtime", b"1234567890.123456789")])
        .member(Member { path: b"./", mode: 0o711, ..DIR })
        .pax(&[("mtime", b"1.000000007")])
        .dir("etc/")
        .file("etc/passwd", "root:x:0:0")
        .dir("bin")
        .member(Member { path: b"bin/su", data: b"su", mode: 0o4755, uid: 1234, gid: 70_000, ..FILE })
        .pax(&[("SCHILY.xattr.security.capability", capability), ("SCHILY.xattr.user.note", b"a\nb")])
        .file("bin/ping", "ping")
        .link("bin/ping6", "bin/ping")
        .link("bin/absolute", "/bin/ping")
        .symlink("sh", "/bin/sh")
        .dir("dev")
        .member(Member { kind: b'3', path: b"dev/null", mode: 0o666, device: (1, 3), ..FILE })
        .member(Member { kind: b'6', path: b"dev/pipe", mode: 0o600, ..FILE })
        .member(Member { path: b"tmp/", mode: 0o1777, ..DIR })
        .member(Member { path: b"group", mode: 0o2775, gid: 7, ..DIR })
        .file("group/file", "g")
        .pax(&[("mtime", b"-1.5")])
        .file("old", "before 1970")
        .file(&format!("long/{}", "n".repeat(250)), "long")
        .file(&deep, "deep")
        .file("gone", "")
        .dir("dir")
        .file("dir/old", "")
        .file("dir/kept", "k")
        .dir("hidden")
        .file("hidden/x", "")
        .file("type", "a file")
        .dir("kind")
        .file("kind/x", "")
        .pax(&[
            ("GNU.sparse.numblocks", b"1"),
            ("GNU.sparse.map", b"4096,3"),
            ("GNU.sparse.size", b"1048576"),
            ("GNU.sparse.name", b"sparse"),
        ])
        .file("x", "abc")
        .pax(&[("SCHILY.xattr.user.first", b"1")])
        .dir("attributes");
    let upper = Tar::new()
        .file(".wh.gone", "")
        .dir("dir")
        .file("dir/.wh.old", "")
        .dir("hidden")
        .file("hidden/.wh..wh..opq", "")
        .file("hidden/y", "y")
        .dir("type")
        .file("type/x", "a directory")
        .file("kind", "a file")
        .link("linked", "etc/passwd")
        .pax(&[("SCHILY.xattr.user.second", b"2")])
        .dir("attributes")
        .file("group/second", "")
        .file("etc/hostname", "its directory keeps its time");
    let top = Tar::new().file("etc/passwd", "replaced, and not through the link").file("bin/.wh.ping6", "");
    [base, upper, top].map(|tar| Layer::gzip(&tar.bytes())).into()
}

#[test]
fn a_tree_is_what_umoci_makes_of_the_image() {
    requires![root, tool("umoci"), tool("getfattr")];
    let sandbox = Sandbox::new();
    let (image, ours, bundle) = (sandbox.path("image"), sandbox.path("ours"), sandbox.path("theirs"));
    layout(&image, &nasty());
    does(&sandbox, &["unpack", "-q", &format!("oci:{}:x", image.display()), ours.to_str().unwrap()]);
    sandbox.sh(&format!("umoci unpack --image {}:x {}", image.display(), bundle.display())).expect_code(0);
    let (ours, theirs) = (whole(&sandbox, &ours), whole(&sandbox, &bundle.join("rootfs")));
    assert!(ours.len() > 100, "{ours:?}");
    // what nobody described has the time of whoever wrote it, and umoci leaves the root with that, too
    let same = |lines: Vec<String>| -> Vec<String> {
        let implied =
            |line: &String| line.contains(" d ") && ["./long d", "./deep"].iter().any(|path| line.starts_with(path));
        let without_time = |line: String| match line.strip_prefix(". d ").and_then(|rest| rest.rsplit_once(' ')) {
            Some((rest, _)) => format!(". d {rest}"),
            None => line,
        };
        lines.into_iter().filter(|line| !implied(line)).map(without_time).collect()
    };
    let (ours, theirs) = (same(ours), same(theirs));
    assert_eq!(without(&ours, &theirs), without(&theirs, &ours), "ours, umoci's");
}

#[test]
fn an_image_of_the_store_runs_from_its_directory() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let dir = sandbox.path("out").to_str().unwrap().to_owned();
    assert_eq!(does(&sandbox, &["unpack", "busybox", &dir]).stdout, "");
    // an empty directory is as good as none, and stays
    fs::create_dir(sandbox.path("empty")).unwrap();
    does(&sandbox, &["unpack", "busybox", sandbox.path("empty").to_str().unwrap()]);
    let but_the_root = |name: &str| -> Vec<String> {
        whole(&sandbox, &sandbox.path(name)).into_iter().filter(|line| !line.starts_with(". ")).collect()
    };
    assert_eq!(but_the_root("empty"), but_the_root("out"));
    let said = does(&sandbox, &["run", "--rm", "--network", "none", "--rootfs", &dir, "sh", "-c", "echo $$"]);
    assert_eq!(said.text(), "1");
}

#[test]
fn what_cannot_be_unpacked_is_said_and_leaves_nothing() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let path = |name: &str| sandbox.path(name).to_str().unwrap().to_owned();
    fs::create_dir(sandbox.path("full")).unwrap();
    fs::write(sandbox.path("full/x"), "").unwrap();
    fs::write(sandbox.path("file"), "").unwrap();
    refused(&sandbox, &["unpack", "busybox", &path("full")], 1, "is not empty");
    refused(&sandbox, &["unpack", "busybox", &path("file")], 1, "ENOTDIR");
    refused(&sandbox, &["unpack", "busybox", &path("no/such")], 1, "ENOENT");
    refused(&sandbox, &["unpack", "nosuch", &path("out")], 1, "no image nosuch here");
    refused(&sandbox, &["unpack", "--platform", "s390x", "busybox", &path("out")], 1, "not linux/s390x");
    refused(&sandbox, &["unpack", "--platform", "a/b/c/d", "busybox", &path("out")], 1, "invalid platform");
    refused(&sandbox, &["unpack", &format!("oci:{}", path("full")), &path("out")], 1, "is no OCI layout");
    assert!(!sandbox.path("out").exists());
    assert_eq!(fs::read_dir(sandbox.path("full")).unwrap().count(), 1);
    let nobody = format!(
        "chmod 755 {0}; setpriv --reuid 65534 {1} unpack busybox {0}/out",
        path(""),
        minirun_binary().display()
    );
    let said = sandbox.sh(&nobody).expect_code(1);
    assert!(said.stderr.contains("only root can") && said.stderr.contains("hint: "), "{said}");
}

/// The layout of one small image, and the blob of its layer.
fn small(sandbox: &Sandbox, name: &str) -> (PathBuf, PathBuf) {
    let image = sandbox.path(name);
    let layer = Layer::gzip(&Tar::new().file("a", "1").file("b", "2").bytes());
    layout(&image, std::slice::from_ref(&layer));
    let hex = crate::support::layers::digest(&layer.blob)["sha256:".len()..].to_owned();
    (image.clone(), image.join("blobs/sha256").join(hex))
}

fn unpacked(sandbox: &Sandbox, image: &Path) -> Output {
    let from = format!("oci:{}", image.display());
    let mut command = sandbox.command("timeout");
    output(command.arg("120").arg(minirun_binary()).args(["unpack", "-q", &from]).arg(sandbox.path("out")))
}

#[test]
fn nothing_in_a_layout_is_believed() {
    requires![root];
    let sandbox = Sandbox::new();
    let damage: &[(&str, &str, &str)] = &[
        ("changed", "printf 'x' | dd of=$B bs=1 seek=12 conv=notrunc 2>/dev/null", ""),
        ("exchanged", "echo x >$I/x; tar -C $I -czf $B x", "digest"),
        ("longer", "echo >>$B", ""),
        ("endless", "rm $B; ln -s /dev/zero $B", "ELOOP"),
        ("a link", "mv $B $I/blob; ln -s ../../blob $B", "ELOOP"),
        ("a pipe", "rm $B; mkfifo $B", "is no file"),
        ("a device", "rm $B; mknod $B c 1 5", "is no file"),
        ("a directory", "rm $B; mkdir $B", "is no file"),
        ("missing", "rm $B", "ENOENT"),
        ("blobs elsewhere", "mv $I/blobs $I/other; ln -s other $I/blobs", "ELOOP"),
        ("the index is a link", "mv $I/index.json $I/i; ln -s i $I/index.json", "ELOOP"),
        ("the index is a pipe", "rm $I/index.json; mkfifo $I/index.json", "is no file"),
        ("the index is endless", "head -c 5000000 /dev/zero >$I/index.json", "more than 4194304 bytes"),
        ("the index is none", "echo '{}' >$I/index.json", "index.json"),
        ("no image", "echo '{\"schemaVersion\":2,\"manifests\":[]}' >$I/index.json", "no image"),
        ("upper case", "sed -i 's/sha256:\\(.\\)/sha256:A/' $I/index.json", "index.json"),
        ("a digest that leaves", "sed -i 's,sha256:[0-9a-f]*,sha256:../../../etc/passwd,' $I/index.json", "index.json"),
        ("another name", "sed -i 's/\"x\"/\"y\"/; s/}$/ /' $I/index.json", ""),
    ];
    for (number, (what, script, words)) in damage.iter().enumerate() {
        let (image, blob) = small(&sandbox, &number.to_string());
        unpacked(&sandbox, &image).expect_code(0); // the control
        fs::remove_dir_all(sandbox.path("out")).unwrap();
        sandbox.sh(&format!("set -e; I={} B={}; {script}", image.display(), blob.display())).expect_code(0);
        let said = unpacked(&sandbox, &image).expect_code(1);
        assert!(said.stderr.contains(words) && said.stderr.lines().count() == 2, "{what}: {said}");
        assert!(!sandbox.path("out").exists(), "{what}");
    }
}

#[test]
fn a_layer_must_be_what_the_configuration_says() {
    requires![root];
    let sandbox = Sandbox::new();
    let layer = Layer::gzip(&Tar::new().file("a", "1").bytes());
    let other = Layer { diff_id: Layer::gzip(b"").diff_id, ..layer.clone() };
    layout(&sandbox.path("good"), std::slice::from_ref(&layer));
    layout(&sandbox.path("bad"), &[layer, other]);
    unpacked(&sandbox, &sandbox.path("good")).expect_code(0);
    fs::remove_dir_all(sandbox.path("out")).unwrap();
    let said = unpacked(&sandbox, &sandbox.path("bad")).expect_code(1);
    assert!(said.stderr.contains("the diff id is sha256:"), "{said}");
    assert!(!sandbox.path("out").exists());
}

#[test]
fn one_image_of_many_is_named_or_chosen_by_platform() {
    requires![root, tool("skopeo")];
    let sandbox = Sandbox::new();
    let both = sandbox.path("both");
    for name in ["busybox", "static"] {
        let copy = format!(
            "skopeo copy -q --insecure-policy oci:{} oci:{}:team/{name}:1",
            image_layout(name).display(),
            both.display()
        );
        sandbox.sh(&copy).expect_code(0);
    }
    let said = unpacked(&sandbox, &both).expect_code(1);
    assert!(
        said.stderr.contains("more than one image") && said.stderr.contains("team/busybox:1, team/static:1"),
        "{said}"
    );
    let out = sandbox.path("out");
    does(&sandbox, &["unpack", &format!("oci:{}:team/busybox:1", both.display()), out.to_str().unwrap()]);
    assert!(out.join("bin").exists());
    refused(&sandbox, &["unpack", &format!("oci:{}:nosuch", both.display()), "x"], 1, "no image nosuch");
}

/// How many system calls it takes to unpack a layer, flat or for overlayfs.
fn calls(sandbox: &Sandbox, tar: Tar, form: &str) -> u64 {
    let image = sandbox.path("image");
    layout(&image, &[Layer::plain(Tar::new().dir("d")), Layer::gzip(&tar.bytes())]);
    let (image, out, minirun) = (image.display(), sandbox.path("out"), minirun_binary());
    let (out, minirun) = (out.display(), minirun.display());
    let unpack = match form {
        "flat" => format!("unpack -q oci:{image} {out}"),
        _ => "create --network none x true".to_owned(),
    };
    let script = format!(
        "export MINIRUN_ROOT={out}.root; {minirun} load -q -i {image} >&2
         strace -f -c -U calls,name -o {out}.calls {minirun} {unpack} >&2
         awk '$2 == \"total\" {{ print $1 }}' {out}.calls
         rm -rf {out} {out}.root {image}"
    );
    sandbox.sh(&script).text().parse().unwrap()
}

#[test]
fn twice_as_many_entries_take_twice_as_many_calls() {
    requires![root, tool("strace")];
    let sandbox = Sandbox::new();
    let deep = |n: usize| format!("{}f", "d/".repeat(n));
    type Shape<'a> = (&'a str, usize, &'a dyn Fn(usize) -> Tar);
    let shapes: &[Shape<'_>] = &[
        ("side by side", 2000, &|n| (0..n).fold(Tar::new(), |tar, i| tar.dir(&format!("w{i}")))),
        ("files", 2000, &|n| (0..n).fold(Tar::new(), |tar, i| tar.file(&format!("d/f{i}"), "x"))),
        ("one below the other", 1000, &|n| (1..=n).fold(Tar::new(), |tar, i| tar.dir(&"d/".repeat(i)))),
        ("deep, by turns with the root", 1000, &|n| {
            (0..n).fold(Tar::new(), |tar, i| tar.file(&format!("{}{i}", deep(100)), "").file(&format!("t{i}"), ""))
        }),
        ("whiteouts", 1000, &|n| (0..n).fold(Tar::new(), |tar, i| tar.file(&format!("d/.wh.{i}"), ""))),
        ("opaque again and again", 1000, &|n| {
            (0..n).fold(Tar::new(), |tar, i| tar.file(&format!("d/{i}/f"), "").file("d/.wh..wh..opq", ""))
        }),
        ("hard links", 1000, &|n| (0..n).fold(Tar::new().file("d/f", ""), |tar, i| tar.link(&format!("e/{i}"), "d/f"))),
    ];
    for (name, n, shape) in shapes {
        for form in ["flat", "overlay"] {
            let none = calls(&sandbox, shape(0), form);
            let (once, twice) = (calls(&sandbox, shape(*n), form) - none, calls(&sandbox, shape(2 * n), form) - none);
            assert!(2 * once > *n as u64 && 10 * twice < 22 * once, "{name}, {form}: {once} calls, then {twice}");
        }
    }
}

#[test]
fn very_many_files_are_unpacked() {
    requires![root];
    let sandbox = Sandbox::new();
    let files = if std::env::var_os("MINIRUN_SOAK").is_some() { 1_000_000 } else { 100_000 };
    let tar = (0..files).fold(Tar::new(), |tar, i| tar.file(&format!("{}/{i}", i % 100), ""));
    layout(&sandbox.path("image"), &[Layer::gzip(&tar.bytes())]);
    unpacked(&sandbox, &sandbox.path("image")).expect_code(0);
    let count = sandbox.sh(&format!("find {} -type f -printf x | wc -c", sandbox.path("out").display())).text();
    assert_eq!(count, files.to_string());
}
