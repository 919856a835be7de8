//! Images as an attacker or an odd tool would make them, through the real program: unpacked flat from a layout, and
//! loaded and unpacked for overlayfs. What works gives the same tree in both forms; what is refused is refused by name
//! and leaves nothing. A canary lies beside the store and never changes.

use crate::support::command::output;
use crate::support::layers::{DIR, FILE, Layer, Member, Tar, digest, gzip, hex, layout};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// What becomes of an image.
enum Want {
    /// Refused, with these words.
    Refused(&'static str),
    /// The whole tree: `PATH TYPE [CONTENT]`, by `; `.
    Tree(String),
    /// As many entries, in a tree too deep to be listed by path.
    Count(usize),
}
use Want::{Count, Refused};

struct Vector {
    name: &'static str,
    layers: Vec<Layer>,
    want: Want,
}

fn tree(text: &str) -> Want {
    Want::Tree(text.to_owned())
}

fn vector<const N: usize>(name: &'static str, layers: [Tar; N], want: Want) -> Vector {
    Vector { name, layers: layers.map(Layer::plain).into(), want }
}

fn blob(name: &'static str, layer: Layer, want: Want) -> Vector {
    Vector { name, layers: vec![layer], want }
}

/// What no other program of the sandbox has to do with, as lines.
fn canary(sandbox: &Sandbox) -> Vec<String> {
    let dir = sandbox.path("canary");
    if !dir.exists() {
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::write(dir.join("file"), "alive").unwrap();
        fs::write(dir.join("sub/other"), "alive too").unwrap();
    }
    let mut lines = list(&dir);
    for path in [&dir, &dir.join("file"), &dir.join("sub")] {
        let m = fs::symlink_metadata(path).unwrap();
        lines.push(format!("{} {:o} {}.{} {}", path.display(), m.mode(), m.ctime(), m.ctime_nsec(), m.nlink()));
    }
    lines
}

/// `PATH TYPE [CONTENT]` of everything below, sorted; what is odd in a name is escaped.
fn list(dir: &Path) -> Vec<String> {
    entries(dir).into_iter().map(|(line, _)| line).collect()
}

/// In blocks of 512 bytes: no file of ours takes so much room, the holes of some have more.
const LARGE: u64 = 1 << 15;

/// The same, each with owner, mode, size, room, time and device.
fn entries(top: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![top.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let m = fs::symlink_metadata(&path).unwrap();
            let kind = m.file_type();
            let what = if kind.is_dir() {
                dirs.push(path.clone());
                "d".to_owned()
            } else if kind.is_symlink() {
                format!("l {}", fs::read_link(&path).unwrap().display())
            } else if kind.is_file() && m.len() <= 64 {
                format!("f {}", fs::read(&path).unwrap().escape_ascii()).trim_end().to_owned()
            } else if kind.is_file() {
                format!("f of {} bytes", m.len())
            } else {
                let kind = if kind.is_fifo() {
                    "p"
                } else if kind.is_block_device() {
                    "b"
                } else {
                    "c"
                };
                format!("{kind} {}:{}", m.rdev() >> 8, m.rdev() & 0xff)
            };
            let name = path.strip_prefix(top).unwrap().as_os_str().as_encoded_bytes().escape_ascii().to_string();
            let size = if kind.is_dir() { 0 } else { m.len() };
            let (owner, time) = (format!("{}:{}", m.uid(), m.gid()), format!("{}.{:09}", m.mtime(), m.mtime_nsec()));
            let large = if m.blocks() > LARGE { " large" } else { "" };
            let about = format!("{:o} {owner} {size}{large} {time}", m.mode());
            found.push((format!("{name} {what}"), about));
        }
    }
    found.sort();
    found
}

/// Each with a time limit; one that hangs is 124.
fn minirun(sandbox: &Sandbox, store: &Path, args: &[&str]) -> crate::support::command::Output {
    let mut command = sandbox.command("timeout");
    command.arg("120").arg(crate::support::sandbox::minirun_binary()).args(args);
    command.env("MINIRUN_ROOT", store);
    output(&mut command)
}

/// What overlayfs makes of the unpacked layers.
fn merged(sandbox: &Sandbox, store: &Path, layers: &[Layer]) -> PathBuf {
    let (mut lower, mut chain) = (Vec::new(), String::new());
    for layer in layers {
        let next = if chain.is_empty() {
            layer.diff_id.clone()
        } else {
            digest(format!("{chain} {}", layer.diff_id).as_bytes())
        };
        chain = next;
        let hex = |digest: &str| digest["sha256:".len()..].to_owned();
        let dirs = [format!("{}.over", hex(&chain)), hex(&layer.diff_id)].map(|name| store.join("layers").join(name));
        let dir = dirs.into_iter().find(|dir| dir.exists()).expect("an unpacked layer").display().to_string();
        lower.retain(|other| *other != dir);
        lower.push(dir);
    }
    let at = store.join("merged");
    // overlayfs does not look whether a layer's root is opaque
    let script = format!(
        "set -e; mkdir {at} {at}.empty; stack=; for l in {}; do stack=$l:$stack
         [ \"$(getfattr --only-values -n trusted.overlay.opaque $l 2>/dev/null)\" != y ] || stack=$l:; done
         mount -t overlay -o ro,lowerdir=${{stack}}{at}.empty overlay {at}",
        lower.join(" "),
        at = at.display()
    );
    sandbox.sh(&script).expect_code(0);
    PathBuf::from(format!("/proc/{}/root{}", sandbox.pid, at.display()))
}

fn check(sandbox: &Sandbox, number: usize, vector: &Vector, before: &[String]) {
    let name = vector.name;
    let store = sandbox.path(&format!("s{number}"));
    let (image, out) = (store.join("image"), store.join("out"));
    layout(&image, &vector.layers);
    let from = format!("oci:{}:x", image.display());
    let flat = minirun(sandbox, &store, &["unpack", "-q", &from, out.to_str().unwrap()]);
    let load = minirun(sandbox, &store, &["load", "-q", "-i", image.to_str().unwrap()]);
    let create = match load.code() {
        0 => minirun(sandbox, &store, &["create", "--network", "none", "--name", "c", "x", "/x"]),
        _ => load,
    };
    let count = |dir: &Path| sandbox.sh(&format!("find {} -mindepth 1 -printf x | wc -c", dir.display())).text();
    match &vector.want {
        Refused(words) => {
            for said in [&flat, &create] {
                assert!(said.code() == 1 || said.code() == 125, "{name}: {said}");
                assert!(said.stderr.contains(words) && said.stderr.contains("\nhint: "), "{name}: {words}: {said}");
                assert!(said.stderr.lines().count() == 2, "{name}: {said}");
            }
            assert!(!out.exists(), "{name}: a directory is left");
            let left = fs::read_dir(store.join("layers")).map_or(Vec::new(), |dir| {
                dir.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
            });
            assert!(!left.iter().any(|name| name.starts_with(".unpack")), "{name}: {left:?}");
        }
        Want::Tree(text) => {
            let mut wanted: Vec<&str> = text.split("; ").filter(|line| !line.is_empty()).collect();
            wanted.sort_unstable();
            assert!(flat.code() == 0 && flat.stderr.is_empty(), "{name}: {flat}");
            assert_eq!(list(&out), wanted, "{name}");
            assert_eq!(create.code(), 0, "{name}: {create}");
            assert_eq!(entries(&merged(sandbox, &store, &vector.layers)), entries(&out), "{name}: overlay, flat");
            let attributes = sandbox.sh(&format!("cd {} && getfattr -R -h -d -m overlay .", out.display())).text();
            assert_eq!(attributes, "", "{name}");
        }
        Count(wanted) => {
            assert!(flat.code() == 0 && create.code() == 0, "{name}: {flat} {create}");
            assert_eq!(count(&out), wanted.to_string(), "{name}");
        }
    }
    assert_eq!(canary(sandbox), before, "{name}: the canary");
    sandbox.sh(&format!("umount {}/merged", store.display()));
    if matches!(vector.want, Count(entries) if entries < 10_000) {
        // what is deep, the standard library cannot remove at the end
        sandbox.sh(&format!("rm -rf {}", store.display())).expect_code(0);
    }
}

#[track_caller]
fn check_all(vectors: &[Vector]) {
    let sandbox = Sandbox::new();
    let before = canary(&sandbox);
    for (number, vector) in vectors.iter().enumerate() {
        check(&sandbox, number, vector, &before);
    }
    // the control: a canary that is touched is seen
    fs::write(sandbox.path("canary/file"), "dead!").unwrap();
    assert_ne!(canary(&sandbox), before);
}

fn t() -> Tar {
    Tar::new()
}

#[test]
fn links_lead_nowhere_but_inside() {
    requires![root, overlay, tool("getfattr")];
    let up = "../../../../../../../../canary";
    let through = format!("canary d; canary/x f evil; l l {up}");
    let many = (0..50).fold(t().dir("end"), |tar, i| tar.symlink(&format!("l{i}"), &format!("l{}", i + 1)));
    check_all(&[
        vector("a link upwards, then through it", [t().symlink("l", up).file("l/x", "evil")], tree(&through)),
        vector("in the next layer", [t().symlink("l", up), t().file("l/x", "evil")], tree(&through)),
        vector(
            "an absolute one",
            [t().symlink("l", "/canary/sub").file("l/x", "evil")],
            tree("canary d; canary/sub d; canary/sub/x f evil; l l /canary/sub"),
        ),
        vector(
            "a chain of links",
            [t().symlink("a", "b/c").dir("b").symlink("b/c", up).file("a/x", "evil")],
            tree(&format!("a l b/c; b d; b/c l {up}; canary d; canary/x f evil")),
        ),
        vector("a loop", [t().symlink("a", "b").symlink("b", "a").file("a/x", "")], Refused("too many symbolic links")),
        vector(
            "a loop over layers",
            [t().symlink("a", "b"), t().symlink("b", "a").file("a/x", "")],
            Refused("too many symbolic links"),
        ),
        vector("a link to itself", [t().symlink("a", "a").file("a/x", "")], Refused("too many symbolic links")),
        vector("more links than the kernel follows", [many.file("l0/x", "")], Refused("too many symbolic links")),
        vector(
            "a directory in place of a link",
            [t().symlink("l", up).dir("l").file("l/x", "good")],
            tree("l d; l/x f good"),
        ),
        vector(
            "in the next layer's place",
            [t().symlink("l", up), t().dir("l").file("l/x", "good")],
            tree("l d; l/x f good"),
        ),
        vector("a file in place of a link", [t().symlink("l", "../canary/file").file("l", "good")], tree("l f good")),
        vector(
            "a mode through a link",
            [t().symlink("l", up).member(Member { path: b"l/.", mode: 0o777, ..DIR })],
            tree("l d"),
        ),
        vector("a link without a target in the root", [t().symlink("l", "/no/where")], tree("l l /no/where")),
        vector(
            "a link below a file",
            [t().file("f", "x").symlink("l", "f").file("l/x", "")],
            tree("f d; f/x f; l l f"),
        ),
    ]);
}

#[test]
fn names_are_taken_as_they_are_or_refused() {
    requires![root, overlay, tool("getfattr")];
    let long = "n".repeat(255);
    let raw = |path: &'static [u8]| t().member(Member { path, data: b"1", ..FILE });
    let pathmax = format!("{}x", format!("{}/", "d".repeat(200)).repeat(40));
    check_all(&[
        vector(
            "dots",
            [t().file("../canary/x", "evil").file("a/../../canary/y", "")],
            tree("a d; canary d; canary/x f evil; canary/y f"),
        ),
        vector("absolute", [t().file("/canary/file", "evil")], tree("canary d; canary/file f evil")),
        vector("doubled slashes and dots", [t().file("./b//c/./d", "4").dir("./")], tree("b d; b/c d; b/c/d f 4")),
        vector("a name that ends in dots", [t().file("a/..", "")], Refused("ends in `..`")),
        vector("an empty name", [t().file("", "x")], Refused("the root is no directory")),
        vector("not UTF-8", [raw(b"\xff\xfe")], tree("\\xff\\xfe f 1")),
        vector("control characters", [raw(b"a\x01\n\x7f\x1b[2J")], tree("a\\x01\\n\\x7f\\x1b[2J f 1")),
        vector("255 bytes", [t().file(&long, "")], tree(&format!("{long} f"))),
        vector("256 bytes", [t().file(&format!("{long}n"), "")], Refused("ENAMETOOLONG")),
        vector("256 bytes of a directory", [t().file(&format!("{long}n/x"), "")], Refused("ENAMETOOLONG")),
        vector("longer than PATH_MAX", [t().file(&pathmax, "")], Count(41)),
        vector("a NUL", [t().pax(&[("path", b"a\0b")]).file("x", "")], Refused("NUL")),
        vector("3000 deep", [t().file(&format!("{}x", "d/".repeat(3000)), "")], Count(3001)),
        vector("deeper than any", [t().file(&format!("{}x", "d/".repeat(4097)), "")], Refused("4096 deep")),
        vector("20000 beside each other", [(0..20_000).fold(t(), |tar, i| tar.dir(&format!("w{i}")))], Count(20_000)),
    ]);
}

#[test]
fn hard_links_reach_what_is_inside() {
    requires![root, overlay, tool("getfattr")];
    check_all(&[
        vector("to outside", [t().link("h", "../canary/file")], Refused("does not exist")),
        vector("to outside, absolute", [t().link("h", "/canary/file")], Refused("does not exist")),
        vector("through a link", [t().symlink("l", "../canary").link("h", "l/file")], Refused("does not exist")),
        vector(
            "over a link",
            [t().symlink("l", "../canary/file").link("h", "l").file("h", "good")],
            tree("h f good; l l ../canary/file"),
        ),
        vector("to nothing", [t().link("h", "missing")], Refused("does not exist")),
        vector("to itself, which is nothing", [t().link("h", "h")], Refused("does not exist")),
        vector("to itself", [t().file("h", "x").link("h", "h")], tree("h f x")),
        vector("to a directory", [t().dir("d").link("h", "d")], Refused("no file")),
        vector("to the root", [t().link("h", "/")], Refused("a hard link to the root")),
        vector(
            "to what a whiteout hides",
            [t().file("f", "x"), t().file(".wh.f", "").link("h", "f")],
            Refused("does not exist"),
        ),
        vector("absolute", [t().dir("d").file("d/f", "x").link("h", "/d/f")], tree("d d; d/f f x; h f x")),
        vector("to a layer below", [t().dir("d").file("d/f", "x"), t().link("h", "d/f")], tree("d d; d/f f x; h f x")),
        vector(
            "two layers below",
            [t().file("f", "x"), t().file("g", ""), t().link("h", "/f")],
            tree("f f x; g f; h f x"),
        ),
        vector(
            "to a hole of the layer below",
            [
                t().pax(&[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"1073741824")]).file("f", "a"),
                t().link("h", "f"),
            ],
            tree("f f of 1073741824 bytes; h f of 1073741824 bytes"),
        ),
        vector(
            "to a pipe and a device of the layer below",
            [
                t().member(Member { kind: b'6', path: b"p", mode: 0o622, uid: 3, ..FILE }).member(Member {
                    kind: b'3',
                    path: b"c",
                    device: (1, 3),
                    ..FILE
                }),
                t().link("h", "p").link("i", "c"),
            ],
            tree("c c 1:3; h p 0:0; i c 1:3; p p 0:0"),
        ),
        vector("to a symbolic link", [t().symlink("s", "no"), t().link("h", "s")], tree("h l no; s l no")),
        vector("in place of another", [t().file("f", "x").file("h", "y").link("h", "f")], tree("f f x; h f x")),
        vector("in place of its own directory", [t().dir("d").file("d/f", "x").link("d", "d/f")], Refused("ENOENT")),
    ]);
}

#[test]
fn whiteouts_hide_the_layers_below_alone() {
    requires![root, overlay, tool("getfattr")];
    let base = || t().file("a", "1").dir("d").file("d/old", "").dir("d/sub").file("d/sub/deep", "");
    let rest = "d d; d/old f; d/sub d; d/sub/deep f";
    check_all(&[
        vector("of a file", [base(), t().file(".wh.a", "")], tree(rest)),
        vector("of a directory", [base(), t().file(".wh.d", "")], tree("a f 1")),
        vector("deep", [base(), t().file("d/sub/.wh.deep", "")], tree("a f 1; d d; d/old f; d/sub d")),
        vector(
            "of nothing",
            [base(), t().file(".wh.never", "").file("never/.wh.ever", "")],
            tree(&format!("a f 1; {rest}; never d")),
        ),
        vector(
            "through a link",
            [base().symlink("l", "../canary"), t().file("l/.wh.file", "")],
            tree(&format!("a f 1; canary d; {rest}; l l ../canary")),
        ),
        vector(
            "through a link inside",
            [base().symlink("l", "/d"), t().file("l/.wh.old", "")],
            tree("a f 1; d d; d/sub d; d/sub/deep f; l l /d"),
        ),
        vector("of a link", [base().symlink("l", "d"), t().file(".wh.l", "")], tree(&format!("a f 1; {rest}"))),
        vector("without a name", [t().file(".wh.", "")], Refused("a whiteout that names nothing")),
        vector("of a dot", [t().file(".wh..", "")], Refused("a whiteout that names nothing")),
        vector("of dots", [t().file("d/.wh...", "")], Refused("a whiteout that names nothing")),
        vector(
            "aufs's own",
            [base(), t().file(".wh..wh.plnk", "").file(".wh..wh.orph", "")],
            tree(&format!("a f 1; {rest}")),
        ),
        vector(
            "and the same path after it",
            [base(), t().file(".wh.a", "").file("a", "2")],
            tree(&format!("a f 2; {rest}")),
        ),
        vector(
            "and the same path before it",
            [base(), t().file("a", "2").file(".wh.a", "")],
            tree(&format!("a f 2; {rest}")),
        ),
        vector(
            "and the directory after it",
            [base(), t().file(".wh.d", "").dir("d").file("d/new", "")],
            tree("a f 1; d d; d/new f"),
        ),
        vector(
            "and the directory before it",
            [base(), t().dir("d").file("d/new", "").file(".wh.d", "")],
            tree("a f 1; d d; d/new f"),
        ),
        vector(
            "and what is deep before it",
            [base(), t().file("d/sub/new", "").file(".wh.d", "")],
            tree("a f 1; d d; d/sub d; d/sub/new f"),
        ),
        vector("twice", [base(), t().file(".wh.d", "").file(".wh.d", "").file(".wh.a", "")], tree("")),
        vector(
            "then again in a third",
            [base(), t().file(".wh.d", ""), t().dir("d").file("d/x", "")],
            tree("a f 1; d d; d/x f"),
        ),
        vector(
            "opaque",
            [base(), t().dir("d").file("d/.wh..wh..opq", "").file("d/new", "")],
            tree("a f 1; d d; d/new f"),
        ),
        vector(
            "opaque, after its siblings",
            [base(), t().file("d/new", "").file("d/sub/new", "").file("d/.wh..wh..opq", "")],
            tree("a f 1; d d; d/new f; d/sub d; d/sub/new f"),
        ),
        vector("opaque, at the root", [base(), t().file("b", "2").file(".wh..wh..opq", "")], tree("b f 2")),
        vector(
            "opaque, through a link",
            [base().symlink("l", "d"), t().file("l/.wh..wh..opq", "")],
            tree("a f 1; d d; l l d"),
        ),
        vector(
            "opaque, out through a link",
            [base(), t().symlink("l", "../canary").file("l/.wh..wh..opq", "")],
            tree(&format!("a f 1; canary d; {rest}; l l ../canary")),
        ),
        vector("overlayfs's own form", [base(), t().member(Member { kind: b'3', path: b"a", ..FILE })], tree(rest)),
        vector(
            "overlayfs's own attributes",
            [
                base(),
                t().pax(&[
                    ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
                    ("SCHILY.xattr.trusted.overlay.redirect", b"/canary"),
                    ("SCHILY.xattr.user.overlay.opaque", b"y"),
                ])
                .dir("d"),
            ],
            tree(&format!("a f 1; {rest}")),
        ),
    ]);
}

#[test]
fn the_last_of_a_name_wins() {
    requires![root, overlay, tool("getfattr")];
    let run = || t().dir("run").dir("var").symlink("var/run", "/run");
    check_all(&[
        vector("twice a file", [t().file("a", "1").file("a", "2")], tree("a f 2")),
        vector("twice in two layers", [t().file("a", "1").link("b", "a"), t().file("a", "2")], tree("a f 2; b f 1")),
        vector("a directory for a file", [t().file("a", "1").dir("a").file("a/x", "")], tree("a d; a/x f")),
        vector("in two layers", [t().file("a", "1"), t().dir("a").file("a/x", "")], tree("a d; a/x f")),
        vector("taken for granted", [t().file("a", "1"), t().file("a/x", "")], tree("a d; a/x f")),
        vector("a file for a directory", [t().dir("a").file("a/x", "").file("a", "2")], tree("a f 2")),
        vector("in two layers, too", [t().dir("a").file("a/x", ""), t().file("a", "2")], tree("a f 2")),
        vector(
            "a link for a directory",
            [t().dir("a").file("a/x", ""), t().dir("b").symlink("a", "b").file("a/y", "")],
            tree("a l b; b d; b/y f"),
        ),
        vector(
            "a directory for a link",
            [t().dir("b").symlink("a", "b"), t().dir("a").file("a/y", "")],
            tree("a d; a/y f; b d"),
        ),
        vector(
            "there and back",
            [t().dir("a").file("a/x", ""), t().file("a", "2"), t().dir("a").file("a/y", "")],
            tree("a d; a/y f"),
        ),
        vector(
            "there and back in one layer",
            [t().dir("a").file("a/x", ""), t().file("a", "2").dir("a").file("a/y", "")],
            tree("a d; a/y f"),
        ),
        vector(
            "a pipe for a file",
            [t().file("a", "1"), t().member(Member { kind: b'6', path: b"a", ..FILE })],
            tree("a p 0:0"),
        ),
        vector(
            "a device",
            [t().member(Member { kind: b'3', path: b"null", device: (1, 3), ..FILE }).member(Member {
                kind: b'4',
                path: b"b",
                device: (7, 1),
                ..FILE
            })],
            tree("b b 7:1; null c 1:3"),
        ),
        vector(
            "a link of the layer below",
            [run(), t().file("var/run/x", "1").file("var/run/../y", "2")],
            tree("run d; run/x f 1; var d; var/run l /run; y f 2"),
        ),
        vector(
            "a link in the same layer",
            [run().file("var/run/x", "1")],
            tree("run d; run/x f 1; var d; var/run l /run"),
        ),
        vector(
            "what the layer below says of a parent",
            [t().member(Member { path: b"t", mode: 0o1777, gid: 7, ..DIR }), t().file("t/a/x", "")],
            tree("t d; t/a d; t/a/x f"),
        ),
        vector(
            "a group's directory",
            [t().member(Member { path: b"g", mode: 0o2775, gid: 7, ..DIR })
                .file("g/x", "")
                .dir("g/d")
                .symlink("g/l", "x")],
            tree("g d; g/d d; g/l l x; g/x f"),
        ),
        vector(
            "a group's directory of below",
            [t().member(Member { path: b"g", mode: 0o2775, gid: 7, ..DIR }), t().file("g/x", "").dir("g/d")],
            tree("g d; g/d d; g/x f"),
        ),
        vector(
            "the root's own mode",
            [t().member(Member { path: b"./", mode: 0o700, ..DIR }).file("a", "")],
            tree("a f"),
        ),
        vector(
            "owner and bits",
            [t().member(Member { path: b"s", mode: 0o6755, uid: 12, gid: 34, data: b"x", ..FILE })],
            tree("s f x"),
        ),
        vector("an unknown kind", [t().member(Member { kind: b'Z', path: b"a", ..FILE })], Refused("unknown type")),
        vector(
            "a directory of old",
            [t().member(Member { kind: b'\0', path: b"a/", ..FILE }).file("a/x", "")],
            tree("a d; a/x f"),
        ),
    ]);
}

#[test]
fn sizes_and_headers_that_lie_are_refused() {
    requires![root, overlay, tool("getfattr")];
    let sparse = |map: &[u8], size: &[u8]| t().pax(&[("GNU.sparse.map", map), ("GNU.sparse.size", size)]);
    let mut checksum = t().file("x", "");
    checksum.0[0] = b'y';
    let eight = t().pax(&[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"9223372036854775807")]).file("x", "a");
    let mut negative = t().file("x", "");
    negative.0[124..136].fill(0xff);
    let many: Vec<String> = (0..60_000).map(|i| format!("SCHILY.xattr.user.{i}")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|key| (key.as_str(), &b""[..])).collect();
    let mut blank = t().file("x", "");
    [100..108, 108..116, 116..124, 124..136].into_iter().for_each(|field| blank.0[field].fill(b' '));
    blank.sum();
    check_all(&[
        vector(
            "more attributes than a file can have",
            [t().pax(&many).file("x", "")],
            Refused("more extended attributes"),
        ),
        vector(
            "a capability that is none",
            [t().pax(&[("SCHILY.xattr.security.capability", b"x")]).file("x", "")],
            Refused("that no file can have"),
        ),
        vector(
            "an attribute's name that is too long",
            [t().pax(&[(&format!("SCHILY.xattr.user.{}", "n".repeat(9000)), b"")]).file("x", "")],
            Refused("nnn\"): ERANGE"),
        ),
        vector(
            "records without a value",
            [t().pax(&[("path", b""), ("size", b""), ("uid", b""), ("mtime", b"")]).file("x", "abc")],
            tree("x f abc"),
        ),
        vector("blank numbers", [blank], tree("x f")),
        vector("8 EB", [eight], Refused("TiB")),
        vector("overlapping segments", [sparse(b"0,2,1,1", b"9").file("x", "abc")], Refused("out of order")),
        vector("more than is stored", [sparse(b"0,9", b"9").file("x", "abc")], Refused("does not fit")),
        vector("segments beyond 2^64", [sparse(b"18446744073709551615,3", b"9").file("x", "abc")], Refused("2^64")),
        vector("a good map", [sparse(b"5,3", b"9").file("x", "abc")], tree("x f \\x00\\x00\\x00\\x00\\x00abc\\x00")),
        vector(
            "a PAX size beyond 2^64",
            [t().pax(&[("size", b"18446744073709551615")]).file("x", "abc")],
            Refused("2^64"),
        ),
        vector(
            "a PAX size of more than there is",
            [t().pax(&[("size", b"100000")]).file("x", "abc")],
            Refused("unexpected end"),
        ),
        vector(
            "a size of more than there is",
            [t().member(Member { path: b"x", size: Some(1 << 30), ..FILE })],
            Refused("unexpected end"),
        ),
        vector("a negative size", [negative], Refused("")),
        vector(
            "a PAX size wins",
            [t().pax(&[("size", b"3")]).member(Member { path: b"x", data: b"abc", size: Some(0), ..FILE })],
            tree("x f abc"),
        ),
        vector("a PAX path wins", [t().pax(&[("path", b"good")]).file(&"l".repeat(120), "")], tree("good f")),
        vector(
            "a newline in a record",
            [t().pax(&[("path", b"a\n9 path=b\n")]).file("x", "")],
            tree("a\\n9 path=b\\n f"),
        ),
        vector(
            "a record that ends elsewhere",
            [t().member(Member { kind: b'x', path: b"p", data: b"99 path=a\n", ..FILE }).file("x", "")],
            Refused("malformed PAX"),
        ),
        vector("a header without its member", [t().pax(&[("path", b"x")])], Refused("without its member")),
        vector(
            "a name of a terabyte",
            [t().member(Member { kind: b'L', path: b"L", size: Some(1 << 32), ..FILE })],
            Refused("an extended header of"),
        ),
        vector("a checksum", [checksum], Refused("wrong checksum")),
        vector("an owner that is none", [t().pax(&[("uid", b"4294967295")]).file("x", "")], Refused("no user id")),
        vector("an owner beyond 32 bits", [t().pax(&[("uid", b"4294967296")]).file("x", "")], Refused("no user id")),
        vector(
            "a directory that states a size",
            [t().member(Member { path: b"d", size: Some(512), ..DIR }).file("x", "1")],
            tree("d d; x f 1"),
        ),
        vector(
            "a link that states a size",
            [t().member(Member { kind: b'2', path: b"l", link: b"x", size: Some(512), ..FILE }).file("x", "1")],
            tree("l l x; x f 1"),
        ),
        blob(
            "a member cut",
            Layer {
                blob: t().file("x", "abc").0[..514].to_vec(),
                diff_id: digest(&t().file("x", "abc").0[..514]),
                media_type: "application/vnd.oci.image.layer.v1.tar",
            },
            Refused("unexpected end"),
        ),
        blob(
            "nothing at all",
            Layer { blob: Vec::new(), diff_id: digest(b""), media_type: "application/vnd.oci.image.layer.v1.tar" },
            tree(""),
        ),
    ]);
}

#[test]
fn what_is_compressed_is_bounded_and_read_by_its_first_bytes() {
    requires![root, overlay, tool("getfattr")];
    let plain = t().file("x", "1").bytes();
    let halves = |compress: fn(&[u8]) -> Vec<u8>| [compress(&plain[..700]), compress(&plain[700..])].concat();
    let zst = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let with = |blob: Vec<u8>| Layer { blob, ..Layer::gzip(&plain) };
    let mut bomb = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let piece = vec![0; 1 << 20];
    (0..1300).for_each(|_| bomb.write_all(&piece).unwrap());
    let mut window = zstd::Encoder::new(Vec::new(), 1).unwrap();
    window.window_log(31).or_else(|_| window.window_log(30)).unwrap();
    window.include_contentsize(false).unwrap();
    window.write_all(&plain).unwrap();
    let (mut hole, mut sum) = (flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()), Sha256::new());
    let header = t().member(Member { path: b"x", size: Some(1300 << 20), ..FILE }).0;
    for bytes in [&header[..]].into_iter().chain([&piece[..]; 1300]).chain([&[0; 1024][..]]) {
        hole.write_all(bytes).unwrap();
        sum.update(bytes);
    }
    let hole = Layer { blob: hole.finish().unwrap(), diff_id: hex(sum.finalize().into()), ..Layer::gzip(b"") };
    let mut tail = plain.clone();
    tail.extend(b"what follows the end of the archive");
    check_all(&[
        blob("gzip", Layer::gzip(&plain), tree("x f 1")),
        blob("zstd", Layer::zstd(&plain), tree("x f 1")),
        blob("gzip called plain", Layer::gzip(&plain).called("application/vnd.oci.image.layer.v1.tar"), tree("x f 1")),
        blob(
            "zstd called gzip",
            Layer::zstd(&plain).called("application/vnd.oci.image.layer.v1.tar+gzip"),
            tree("x f 1"),
        ),
        blob(
            "plain called zstd",
            Layer::plain(t().file("x", "1")).called("application/vnd.oci.image.layer.v1.tar+zstd"),
            tree("x f 1"),
        ),
        blob("two members of gzip", with(halves(gzip)), tree("x f 1")),
        blob("two frames of zstd", with([zst(&plain[..700]), zst(&plain[700..])].concat()), tree("x f 1")),
        blob("bytes behind gzip", with([gzip(&plain), b"garbage".to_vec()].concat()), Refused("")),
        blob("bytes behind zstd", with([zst(&plain), b"garbage".to_vec()].concat()), Refused("")),
        blob("bytes behind the archive", Layer::gzip(&tail), tree("x f 1")),
        blob("gzip cut", with(gzip(&plain)[..60].to_vec()), Refused("")),
        blob("xz", with(b"\xfd7zXZ\0\0nothing".to_vec()), Refused("xz compression is not read")),
        blob("a window of 2 GiB", with(window.finish().unwrap()), Refused("")),
        blob(
            "a bomb of zstd",
            Layer {
                diff_id: digest(b""),
                blob: bomb.finish().unwrap(),
                media_type: "application/vnd.oci.image.layer.v1.tar+zstd",
            },
            Refused("compression bomb"),
        ),
        blob("a bomb of gzip, which is a hole", hole, tree("x f of 1363148800 bytes")),
    ]);
}
