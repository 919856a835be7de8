//! `cp` and `export`: docker's rules of what goes where, and that nothing of a file is lost on its way.

use crate::detached::{does, refused, up_alone};
use crate::support::command::{eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::terminal::Terminal;

/// A tree with all that a file can be, made by a shell in `$1`.
const TREE: &str = r#"
    set -e; mkdir -p "$1/empty" "$1/sub"; cd "$1"; chmod 1777 empty; chmod 750 sub
    echo one >file; chmod 640 file; ln file sub/again; ln -s /etc/passwd link; ln -s ../file sub/up; ln -s no/where dangling
    mkfifo pipe; : >nothing; printf 'a\nb' >'a name'; chown 7:8 file 'a name'; chown 9:9 sub; chown -h 5:6 link
    dd if=/dev/zero of=holes bs=1 count=0 seek=64M 2>/dev/null; touch -h -d '2001-02-03 04:05:06' file link sub
"#;

/// What there is to be said of a tree, one line for each object.
const LIST: &str = r#"cd "$1" && find . | LC_ALL=C sort | while read -r f; do
    echo "$f $(stat -c "%F %a %h $2 %s" "$f" | sed 's/directory \(.*\) [0-9]*$/directory \1/') $(readlink "$f") $([ ! -f "$f" ] || sha256sum <"$f")"
done"#;

fn tree(sandbox: &Sandbox, name: &str) -> String {
    let path = sandbox.path(name).to_str().unwrap().to_owned();
    sandbox.sh(&format!("set -- {path}; {TREE}")).expect_code(0);
    path
}

fn listing(sandbox: &Sandbox, path: &str, owners: &str) -> String {
    sandbox.sh(&format!("set -- {path} '{owners}'; {LIST}")).text()
}

/// A path below the sandbox's own directory.
fn at(sandbox: &Sandbox, name: &str) -> String {
    sandbox.path(name).to_str().unwrap().to_owned()
}

/// One that runs and one that does not.
fn two(sandbox: &Sandbox) -> [&'static str; 2] {
    up_alone(sandbox, &["--name", "runs"], &["sleep", "1000"]);
    does(sandbox, &["create", "--name", "stopped", "--network", "none", "busybox", "sh", "-c", "cat /t/file; ls /t"]);
    ["runs", "stopped"]
}

#[test]
fn a_tree_comes_back_as_it_went() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let tree = tree(&sandbox, "tree");
    for name in two(&sandbox) {
        let (kept, mine) = (at(&sandbox, &format!("kept-{name}")), at(&sandbox, &format!("mine-{name}")));
        does(&sandbox, &["cp", "-a", &tree, &format!("{name}:/t")]);
        let said = does(&sandbox, &["cp", "-a", &format!("{name}:/t"), &kept]);
        assert!(said.stderr.contains("Successfully copied 67.1MB to") && said.stdout.is_empty(), "{said}");
        assert_eq!(listing(&sandbox, &kept, "%u:%g %Y"), listing(&sandbox, &tree, "%u:%g %Y"), "{name}");
        let said = does(&sandbox, &["cp", "-q", &format!("{name}:/t"), &mine]);
        assert_eq!(said.stderr, "");
        let (owned, plain) = (listing(&sandbox, &mine, "%u:%g"), listing(&sandbox, &tree, ""));
        assert_eq!(listing(&sandbox, &mine, ""), plain);
        assert!(owned.lines().all(|line| line.contains(" 0:0 ")), "{owned}");
        let blocks = sandbox.sh(&format!("stat -c %b {mine}/holes")).text();
        assert!(blocks.parse::<u64>().unwrap() < 1000, "{blocks} blocks of a file of holes");
    }
    does(&sandbox, &["start", "stopped"]);
    eventually("it sees what was copied", seconds(20), || {
        does(&sandbox, &["logs", "stopped"]).stdout.contains("empty")
    });
    // what is copied in without -a is root's
    does(&sandbox, &["cp", &tree, "runs:/r"]);
    let owners = does(&sandbox, &["exec", "runs", "sh", "-c", "find /r | xargs stat -c %u:%g | sort -u"]).text();
    assert_eq!(owners, "0:0");
}

#[test]
fn attributes_and_set_user_id_bits_are_kept_where_they_may_be() {
    requires![root, tool("tar")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let (home, binary) = (at(&sandbox, "home"), minirun_binary().display().to_string());
    sandbox.sh(&format!("mkdir {home}; cd {home}; echo x >file; chmod 6755 file")).expect_code(0);
    let note = "SCHILY.xattr.user.note";
    for name in two(&sandbox) {
        // GNU tar writes the attribute, whatever this file system can
        let put = format!("cd {home}; tar --format=posix --pax-option={note}:=remembered -c file");
        sandbox.sh(&format!("{put} | {binary} cp - {name}:/tmp")).expect_code(0);
        does(&sandbox, &["cp", &format!("{name}:/tmp/file"), &format!("{home}/plain")]);
        does(&sandbox, &["cp", "-a", &format!("{name}:/tmp/file"), &format!("{home}/kept")]);
        // a program that a container made must not become root's own on the host by a plain copy
        assert_eq!(sandbox.sh(&format!("cd {home}; stat -c %a plain kept")).text(), "755\n6755");
        for copy in ["plain", "kept"] {
            does(&sandbox, &["cp", &format!("{home}/{copy}"), &format!("{name}:/{copy}")]);
            let back = sandbox.sh(&format!("{binary} cp {name}:/{copy} - | grep -a {note}")).text();
            assert!(back.contains("remembered"), "{copy}: {back}");
        }
    }
}

#[test]
fn what_goes_where_is_as_with_docker() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let home = at(&sandbox, "here");
    for name in two(&sandbox) {
        let fresh = format!(
            "rm -rf {home}; mkdir -p {home}/d {home}/src/s; cd {home}; echo f >f; echo x >src/x; echo y >src/s/y; ln -s src dirlink; ln -s f filelink; ln -s new danglink"
        );
        sandbox.sh(&fresh).expect_code(0);
        does(&sandbox, &["cp", &format!("{home}/."), &format!("{name}:/home1")]);
        for (from, to, code, found) in [
            // out of the container
            ("C/f", "H/d", 0, "H/d/f"),
            ("C/f", "H/new", 0, "H/new"),
            ("C/f", "H/f", 0, "H/f"),
            ("C/f", "H/no/", 1, "no such directory"),
            ("C/f", "H/no/f", 1, "does not exist"),
            ("C/f/", "H/d", 1, "could not find the file"),
            ("C/nothing", "H/d", 1, "could not find the file"),
            ("C/src", "H/d", 0, "H/d/src/s/y"),
            ("C/src", "H/other", 0, "H/other/s/y"),
            ("C/src/", "H/slash/", 0, "H/slash/s/y"),
            ("C/src/.", "H/d", 0, "H/d/s/y"),
            ("C/src/.", "H/dot", 0, "H/dot/s/y"),
            ("C/src", "H/f", 1, "cannot copy a directory onto"),
            ("C/src", "/dev/null", 1, "must be a directory or a regular file"),
            ("C/dirlink", "H/l1", 0, "-L H/l1"),
            ("C/dirlink/", "H/l2", 0, "H/l2/s/y"),
            ("-L C/dirlink", "H/l3", 0, "H/l3/s/y"),
            ("-L C/filelink", "H/l4", 0, "H/l4"),
            ("-L C/danglink", "H/l5", 1, "could not find the file"),
            ("C/f", "H/danglink", 0, "H/new"),
            ("C/f", "H/dirlink", 0, "H/src/f"),
            // and into it
            ("H/f", "C/d", 0, "C/d/f"),
            ("H/f", "C/new", 0, "C/new"),
            ("H/f", "C/no/", 1, "no such directory"),
            ("H/f", "C/no/f", 1, "could not find the directory"),
            ("H/nothing", "C/d", 1, "no such file or directory"),
            ("H/src", "C/d", 0, "C/d/src/s/y"),
            ("H/src", "C/other", 0, "C/other/s/y"),
            ("H/src/.", "C/dot", 0, "C/dot/s/y"),
            ("H/src", "C/f", 1, "cannot copy a directory onto"),
            ("H/dirlink", "C/l1", 0, "-L C/l1"),
            ("-L H/dirlink", "C/l3", 0, "C/l3/s/y"),
            ("H/f", "C/danglink", 0, "C/new"),
            ("H/f", "C/dirlink", 0, "C/src/f"),
            ("C/f", "C/g", 1, "does not copy between containers"),
            ("H/f", "H/g", 1, "must be a path in a container"),
        ] {
            let place = |word: &str| match word.split_at(word.len().min(1)) {
                ("H", rest) => format!("{home}{rest}"),
                ("C", rest) => format!("{name}:/home1{rest}"),
                _ => word.to_owned(),
            };
            let words: Vec<String> = from.split(' ').chain([to]).map(place).collect();
            let args: Vec<&str> = ["cp"].into_iter().chain(words.iter().map(String::as_str)).collect();
            let said = sandbox.minirun(&args).expect_code(code);
            if code != 0 {
                assert!(said.stderr.contains(found) && said.stderr.contains("hint: "), "{from} {to}: {said}");
                continue;
            }
            let (test, path) = found.split_once(' ').unwrap_or(("-e", found));
            match path.strip_prefix('C') {
                None => drop(sandbox.sh(&format!("test {test} {}", place(path))).expect_code(0)),
                Some(rest) => {
                    let listed = sandbox
                        .sh(&format!("{} export {name} | tar -t | grep -qx home1{rest}", minirun_binary().display()));
                    assert_eq!(listed.code(), 0, "{from} {to}: {listed}");
                }
            }
        }
    }
}

#[test]
fn a_directory_is_never_replaced_by_a_file() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    let home = at(&sandbox, "h");
    sandbox
        .sh(&format!("mkdir -p {home}/a/x {home}/b {home}/c; touch {home}/b/x; ln -s /tmp {home}/c/x"))
        .expect_code(0);
    does(&sandbox, &["cp", &format!("{home}/a"), "web:/d"]);
    refused(&sandbox, &["cp", &format!("{home}/b/."), "web:/d"], 1, "cannot overwrite a directory");
    does(&sandbox, &["cp", &format!("{home}/b"), "web:/e"]);
    refused(&sandbox, &["cp", &format!("{home}/a/."), "web:/e"], 1, "cannot overwrite a non-directory");
    refused(&sandbox, &["cp", "web:/d/.", &format!("{home}/c")], 1, "cannot overwrite a non-directory");
    refused(&sandbox, &["cp", &format!("{home}/b/x"), "web:/etc/hosts"], 1, "mounted");
}

#[test]
fn streams_are_tars_that_tar_knows() {
    requires![root, tool("tar")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let tree = tree(&sandbox, "tree");
    let binary = minirun_binary().display().to_string();
    for name in two(&sandbox) {
        sandbox.sh(&format!("tar -C {tree} -c . | {binary} cp -a - {name}:/tmp")).expect_code(0);
        let back = at(&sandbox, &format!("back-{name}"));
        sandbox.sh(&format!("mkdir {back}; {binary} cp {name}:/tmp - | tar -C {back} -xp")).expect_code(0);
        // the directory that was there before stays as it was
        let all = |path: &str| listing(&sandbox, path, "%u:%g %Y").split_once('\n').unwrap().1.to_owned();
        assert_eq!(all(&format!("{back}/tmp")), all(&tree));
        let names = sandbox.sh(&format!("{binary} cp {name}:/tmp/file - | tar -t")).text();
        assert_eq!(names, "file");
        // one who reads no further has what they wanted
        sandbox.sh(&format!("set -o pipefail; {binary} cp {name}:/ - | head -c 1 >{back}/first")).expect_code(0);
        refused(&sandbox, &["cp", "-", &format!("{name}:/tmp/file")], 1, "must be a directory");
        refused(&sandbox, &["cp", "-", &format!("{name}:/nowhere")], 1, "must be a directory");
        let upwards = format!(
            "touch {back}/x; tar -C {back} -cP ../{}/x | {binary} cp - {name}:/tmp",
            format_args!("back-{name}")
        );
        assert!(sandbox.sh(&upwards).expect_code(1).stderr.contains("leads upwards"));
    }
}

#[test]
fn volumes_are_seen_by_cp_and_not_by_export() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let (volume, locked) = (at(&sandbox, "volume"), at(&sandbox, "locked"));
    sandbox.sh(&format!("mkdir {volume} {locked}; echo v >{volume}/v; echo f >{volume}/../f")).expect_code(0);
    let mounts = ["-v", &format!("{volume}:/data/v"), "-v", &format!("{locked}:/locked:ro")];
    up_alone(&sandbox, &[&["--name", "web"], &mounts[..]].concat(), &["sleep", "1000"]);
    let file = at(&sandbox, "f");
    for state in ["runs", "stopped"] {
        let out = at(&sandbox, &format!("out-{state}"));
        does(&sandbox, &["cp", "web:/data/v/v", &out]);
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "v\n", "{state}");
        does(&sandbox, &["cp", &file, &format!("web:/data/v/{state}")]);
        assert!(std::path::Path::new(&format!("{volume}/{state}")).exists());
        refused(&sandbox, &["cp", &file, "web:/locked/f"], 1, "read-only");
        let binary = minirun_binary().display().to_string();
        let exported = sandbox.sh(&format!("{binary} export web | tar -t")).text();
        let has = |name: &str| exported.lines().any(|line| line == name);
        assert!(has("data/v/") && has("etc/passwd") && !has("etc/hosts") && !has("data/v/v"), "{exported}");
        if state == "runs" {
            does(&sandbox, &["kill", "web"]);
            sandbox.minirun(&["wait", "web"]).expect_code(0);
        }
    }
}

#[test]
fn an_export_is_whole_and_refuses_a_terminal() {
    requires![root, tool("tar")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for name in two(&sandbox) {
        let (file, root) = (at(&sandbox, "e.tar"), at(&sandbox, &format!("root-{name}")));
        does(&sandbox, &["export", "-o", &file, name]);
        sandbox.sh(&format!("mkdir {root}; tar -C {root} -xpf {file}; {root}/bin/busybox true")).expect_code(0);
        let ours = sandbox.sh(&format!("cd {root} && ls -d proc dev sys etc/hosts etc/passwd 2>/dev/null || :")).text();
        assert_eq!(ours, "etc/passwd", "neither what is mounted there, nor where");
        refused(&sandbox, &["export", "-o", "/no/such/dir/x", name], 1, "cannot write /no/such/dir/x");
        let mut terminal = Terminal::start(&sandbox.minirun_command(&["export", name]));
        terminal.expect("nothing for a terminal");
        terminal.expect("-o FILE");
        assert_eq!(terminal.child.wait().unwrap().code(), Some(1));
    }
}
