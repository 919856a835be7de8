//! `diff A B`: two root file systems, whatever they are in, differ in exactly what was changed between them.

use crate::detached::{does, refused};
use crate::support::requires::requires;
use crate::support::rootfs::{Entry, TIME, dir, docker_archive, file, link, tar};
use crate::support::sandbox::{Sandbox, image_layout};
use serde_json::Value;

const STATUS: &str = "Package: curl\nStatus: install ok installed\nVersion: 7.88\n\n\
                      Package: gone\nStatus: install ok installed\nVersion: 1\n\n\
                      Package: same\nStatus: install ok installed\nVersion: 2\n";

/// The older one.
fn before() -> Vec<Entry> {
    vec![
        dir("bin"),
        Entry { mode: 0o755, ..file("bin/tool", "tool") },
        dir("etc"),
        file("etc/deleted", "12345"),
        file("etc/mode", "m"),
        file("etc/owner", "o"),
        Entry { xattr: Some(("user.a".into(), "1".into())), ..file("etc/xattr", "x") },
        link("etc/link", "/old"),
        file("etc/same-size", "aaaa"),
        file("etc/text", "one\ntwo\nthree\n"),
        file("etc/type", "t"),
        file("etc/time", "t"),
        file("etc/untouched", "u"),
        dir("old"),
        file("old/moved", "the content of what is moved"),
        dir("var"),
        dir("var/cache"),
        file("var/cache/x.pyc", "1"),
        dir("var/lib"),
        dir("var/lib/dpkg"),
        file("var/lib/dpkg/status", STATUS),
        dir("zone"),
    ]
}

/// The newer one.
fn after() -> Vec<Entry> {
    let mut all = before();
    let mut at = |path: &str, change: &dyn Fn(&mut Entry)| change(all.iter_mut().find(|e| e.path == path).unwrap());
    at("bin/tool", &|e| e.mode = 0o4755);
    at("etc/mode", &|e| e.mode = 0o600);
    at("etc/owner", &|e| e.owner = (3, 4));
    at("etc/xattr", &|e| e.xattr = Some(("user.a".into(), "2".into())));
    at("etc/link", &|e| e.target = "/new".into());
    at("etc/same-size", &|e| e.content = b"bbbb".to_vec());
    at("etc/text", &|e| e.content = b"one\n2\nthree\n".to_vec());
    at("etc/type", &|e| *e = link("etc/type", "mode"));
    at("etc/time", &|e| e.time = TIME + 1);
    at("old/moved", &|e| e.path = "zone/renamed".into());
    at("var/cache/x.pyc", &|e| e.content = b"23".to_vec());
    at("var/lib/dpkg/status", &|e| {
        let text = STATUS.replace("7.88", "8.05").replace("gone", "new").replace("Version: 1\n", "Version: 11\n");
        e.content = text.into_bytes();
    });
    all.retain(|e| e.path != "etc/deleted");
    all.push(file("etc/added", "123"));
    all
}

const WANT: &str = "\
package curl 7.88 → 8.05
package gone 1 deleted
package new 11 added
new setuid file /bin/tool

M           /bin/tool  mode 0755 → 4755
A      +3B  /etc/added
D      -5B  /etc/deleted
M           /etc/link  link /old → /new
M           /etc/mode  mode 0644 → 0600
M           /etc/owner  owner 0:0 → 3:4
M           /etc/same-size  content
M      -2B  /etc/text  content
T           /etc/time
M      -1B  /etc/type  type file → link
M           /etc/xattr  xattr user.a=1 → user.a=2
M      +1B  /var/cache/x.pyc  content
M           /var/lib/dpkg/status  content
R           /old/moved → /zone/renamed

1 added, 1 deleted, 10 modified, 1 renamed, 1 with another time alone, -4B
";

/// A host with both as images, archives and directories.
fn both() -> Sandbox {
    let sandbox = Sandbox::new();
    for (name, entries) in [("1", before()), ("2", after())] {
        let path = sandbox.path(&format!("{name}.tar"));
        std::fs::write(&path, tar(&entries)).unwrap();
        does(&sandbox, &["import", path.to_str().unwrap(), &format!("site:{name}")]);
        let root = sandbox.path(&format!("dir{name}")).display().to_string();
        sandbox
            .sh(&format!(
                "mkdir {root}; tar --numeric-owner --xattrs --xattrs-include='user.*' -C {root} -xf {}",
                path.display()
            ))
            .expect_code(0);
    }
    sandbox
}

#[test]
fn two_roots_differ_in_what_was_changed_whatever_they_are_in() {
    requires![root];
    let sandbox = both();
    let path = |name: &str| sandbox.path(name).display().to_string();
    let (archives, directories) = ([path("1.tar"), path("2.tar")], [path("dir1"), path("dir2")]);
    does(&sandbox, &["create", "--name", "one", "site:1", "/bin/tool"]);
    for (a, b) in [
        ("site:1", "site:2"),
        (&archives[0], &archives[1]),
        (&directories[0], &directories[1]),
        ("site:1", &archives[1]),
        (&archives[0], &directories[1]),
        ("one", "site:2"),
    ] {
        let said = sandbox.minirun(&["diff", a, b]).expect_code(1);
        assert_eq!(said.stdout, WANT, "{a} {b}");
        assert_eq!(said.stderr, "");
    }
    for (a, b) in [("site:1", "one"), ("site:1", &*archives[0]), (&archives[0], &directories[0])] {
        assert_eq!(does(&sandbox, &["diff", a, b]).stdout, "", "{a} {b}");
    }
    assert_eq!(
        sandbox.sh(&format!("ls -A {}/images", path("root"))).text(),
        ".index.lock\n.ingest.lock\n.use.lock\nblobs\nindex.json\noci-layout"
    );
}

#[test]
fn what_is_ignored_does_not_count() {
    requires![root];
    let sandbox = both();
    let ignore = ["--ignore", "/bin", "--ignore", "/var/lib/dpkg", "--ignore", "/etc/*", "--ignore", "*.pyc"];
    let moved = sandbox.minirun(&[&["diff"], &ignore[..], &["site:1", "site:2"]].concat()).expect_code(1);
    assert!(moved.stdout.contains("\nR           /old/moved → /zone/renamed\n\n1 renamed\n"), "{moved}");
    let times = sandbox.minirun(&["diff", "--no-times", "site:1", "site:2"]).expect_code(1);
    assert_eq!(times.stdout, WANT.replace("T           /etc/time\n", "").replace(", 1 with another time alone", ""));
}

#[test]
fn one_object_has_it_all() {
    requires![root];
    let sandbox = both();
    let said = sandbox.minirun(&["diff", "--json", "site:1", "site:2"]).expect_code(1);
    let document: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(document["packages"][0], serde_json::json!({ "name": "curl", "was": "7.88", "is": "8.05" }));
    assert_eq!(document["setuid"], serde_json::json!(["/bin/tool"]));
    let changes = document["changes"].as_array().unwrap();
    let letters: String = changes.iter().map(|change| change["change"].as_str().unwrap()).collect();
    assert_eq!(letters, "MADMMMMMTMMMMR");
    let mode = changes.iter().find(|change| change["path"] == "/etc/mode").unwrap();
    assert_eq!(mode["reasons"], serde_json::json!([{ "what": "mode", "was": "0644", "is": "0600" }]));
    let same: Value = serde_json::from_str(&does(&sandbox, &["diff", "--json", "site:1", "site:1"]).stdout).unwrap();
    assert_eq!(same["changes"], serde_json::json!([]));
}

#[test]
fn a_text_is_shown_line_by_line() {
    requires![root];
    let sandbox = both();
    let content = |path: &str, code: i32| {
        sandbox.minirun(&["diff", "--content", path, "site:1", "site:2"]).expect_code(code).stdout
    };
    let want = "--- site:1:/etc/text\n+++ site:2:/etc/text\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";
    assert_eq!(content("/etc/text", 1), want);
    assert_eq!(content("/etc/untouched", 0), "");
    let added = "--- /dev/null\n+++ site:2:/etc/added\n@@ -0,0 +1 @@\n+123\n\\ No newline at end of file\n";
    assert_eq!(content("/etc/added", 1), added);
    refused(
        &sandbox,
        &["diff", "--content", "/nowhere", "site:1", "site:2"],
        2,
        "neither site:1 nor site:2 has /nowhere",
    );
    refused(&sandbox, &["diff", "--content", "/etc", "site:1", "site:2"], 2, "/etc of site:1 is a directory");
}

#[test]
fn each_change_is_told_of_the_layer_that_brought_it() {
    requires![root];
    let sandbox = Sandbox::new();
    let archive = |name: &str, layers: &[(&str, Vec<u8>)]| {
        let path = sandbox.path("image.tar");
        docker_archive(&path, name, "amd64", layers);
        does(&sandbox, &["load", "-q", "-i", path.to_str().unwrap()]);
    };
    let base = ("base", tar(&before()));
    archive("site:1", std::slice::from_ref(&base));
    let delete = ("RUN rm", tar(&[dir("etc"), file("etc/.wh.deleted", "")]));
    let add = ("COPY added", tar(&[dir("etc"), file("etc/added", "123"), file("etc/mode", "mm")]));
    archive("site:2", &[base, delete, add]);
    let said = sandbox.minirun(&["diff", "--layers", "site:1", "site:2"]).expect_code(1).stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("layer 1 ") && lines[0].ends_with("  base"), "{said}");
    assert!(lines[1].starts_with("layer 2 ") && lines[1].ends_with("  RUN rm"), "{said}");
    assert_eq!(lines[2], "  D      -5B  /etc/deleted");
    assert!(lines[3].starts_with("layer 3 ") && lines[3].ends_with("  COPY added"), "{said}");
    assert_eq!(lines[4..6], ["  A      +3B  /etc/added", "  M      +1B  /etc/mode  content"]);
    let plain = sandbox.minirun(&["diff", "site:2", "site:1"]).expect_code(1).stdout;
    assert!(plain.contains("A      +5B  /etc/deleted\n") && plain.contains("D      -3B  /etc/added\n"), "{plain}");
}

#[test]
fn a_containers_changes_are_the_last_layer() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let script = "echo new >/etc/new; rm /etc/group; chmod 700 /tmp";
    does(&sandbox, &["run", "--name", "web", "--network", "none", "busybox", "sh", "-ec", script]);
    let said = sandbox.minirun(&["diff", "busybox", "web"]).expect_code(1).stdout;
    let words: Vec<&str> = said.lines().filter(|line| line.contains('/')).collect();
    assert!(words.len() == 3 && words[0].starts_with("D ") && words[1] == "A      +4B  /etc/new", "{said}");
    assert_eq!(words[2], "M           /tmp  mode 1777 → 0700");
    assert_eq!(does(&sandbox, &["diff", "web"]).stdout, "C /etc\nD /etc/group\nA /etc/new\nC /tmp\n");
    let layout = image_layout("busybox");
    does(&sandbox, &["diff", "busybox", layout.to_str().unwrap()]);
}

#[test]
fn archives_of_others_are_read() {
    requires![root, tool("skopeo")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let layout = image_layout("busybox").display().to_string();
    for kind in ["docker-archive", "oci-archive"] {
        let archive = sandbox.path(kind).display().to_string();
        sandbox.sh(&format!("skopeo copy -q oci:{layout} {kind}:{archive}:busybox:latest")).expect_code(0);
        does(&sandbox, &["diff", "busybox", &archive]);
    }
}

#[test]
fn what_cannot_be_compared_is_2_and_one_error() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let path = |name: &str| sandbox.path(name).display().to_string();
    sandbox
        .sh(&format!("mkfifo {0}; echo no tar >{1}; mkdir {2}", path("fifo"), path("text"), path("empty")))
        .expect_code(0);
    does(&sandbox, &["create", "--name", "both", "busybox", "true"]);
    does(&sandbox, &["tag", "busybox", "both"]);
    for (a, b, word) in [
        ("busybox", "nosuch", "no image and no container nosuch"),
        ("busybox", "./nosuch", "cannot open"),
        ("both", "busybox", "both is both an image and a container"),
        (&path("fifo"), "busybox", "neither a directory nor an archive"),
        (&path("text"), "busybox", "cannot be read as a tar"),
    ] {
        let said = sandbox.minirun(&["diff", a, b]).expect_code(2);
        assert!(said.stderr.contains(word) && said.stderr.lines().count() <= 2 && said.stdout.is_empty(), "{said}");
    }
    refused(&sandbox, &["diff", "--json", "busybox"], 2, "missing");
    refused(&sandbox, &["diff", "nosuch"], 1, "no container nosuch");
    let nothing = path("empty");
    let said = sandbox.minirun(&["diff", "both:latest", &nothing]).expect_code(1);
    assert!(said.stdout.contains("D "), "the control: a name that is exact\n{said}");
}

#[test]
fn a_file_of_a_tebibyte_that_is_a_hole_costs_nothing() {
    requires![root];
    let sandbox = Sandbox::new();
    let path = |name: &str| sandbox.path(name).display().to_string();
    let (a, b) = (path("a"), path("b"));
    sandbox
        .sh(&format!("mkdir {a} {b}; cd {a}; truncate -s 1T hole; touch -d @1 hole; cp -a --sparse=always hole {b}/hole; touch -d @1 . {b}"))
        .expect_code(0);
    let begun = std::time::Instant::now();
    does(&sandbox, &["diff", &a, &b]);
    sandbox
        .sh(&format!("printf x | dd of={b}/hole bs=1 seek=$((1<<39)) conv=notrunc status=none; touch -d @1 {b}/hole"))
        .expect_code(0);
    let said = sandbox.minirun(&["diff", &a, &b]).expect_code(1);
    assert!(said.stdout.starts_with("M           /hole  content\n"), "{said}");
    assert!(begun.elapsed() < crate::support::command::seconds(10));
}
