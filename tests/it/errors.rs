//! Bad input: one line of error, a hint, exit 125, nothing left behind.

use crate::support::command::{Output, output};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, image_layout, minirun_binary};
use crate::support::snapshot::Snapshot;
use std::process::Command;

/// One line that begins with `error: ` and has the words, then one that begins with `hint: `.
#[track_caller]
pub fn assert_error(said: &Output, words: &[&str]) {
    let lines: Vec<&str> = said.stderr.lines().filter(|line| !line.starts_with("warning: ")).collect();
    let [error, hint] = lines[..] else { panic!("one error and one hint: {said}") };
    assert!(error.starts_with("error: ") && hint.starts_with("hint: "), "{said}");
    assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {said}");
    let message = &error["error: ".len()..];
    assert!(!message.ends_with('.') && !message.starts_with(char::is_uppercase), "{said}");
    assert!(said.stdout.is_empty(), "{said}");
}

#[test]
fn what_cannot_be_run_is_said_in_one_line_and_leaves_nothing() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    sandbox.minirun(&["run", "--rm", "busybox", "true"]).expect_code(0);
    let before = Snapshot::of(&sandbox);
    for (args, words) in [
        (&["--pull", "never", "no-such-image"][..], &["no-such-image"][..]),
        (&["Bad/Name:*"], &["Bad/Name:*"]),
        (&["-u", "nobody-here", "busybox"], &["nobody-here"]),
        (&["-u", "4294967295", "busybox"], &["4294967295"]),
        (&["-v", "/no/such/directory:/in", "busybox"], &["/no/such/directory"]),
        (&["-v", "relative:no", "busybox"], &["no"]),
        (&["--rootfs", "/no/such/root", "true"], &["/no/such/root"]),
        (&["-p", "99999:80", "busybox"], &["99999"]),
        (&["-p", "80:80/icmp", "busybox"], &["icmp"]),
        (&["-m", "lots", "busybox"], &["lots"]),
        (&["-m", "1k", "busybox"], &["memory"]),
        (&["--cpus", "-1", "busybox"], &["cpus"]),
        (&["--cap-add", "FLY", "busybox"], &["FLY"]),
        (&["--network", "no-such-network", "busybox"], &["no-such-network"]),
        (&["--security-opt", "seccomp=/no/such/file", "busybox"], &["/no/such/file"]),
        (&["--ulimit", "nofile=2:1", "busybox"], &["nofile"]),
        (&["--name", "../up", "busybox"], &["../up"]),
        (&["--env-file", "/no/such/file", "busybox"], &["/no/such/file"]),
        (&["--device", "/dev/no-such", "busybox"], &["/dev/no-such"]),
        (&["-w", "relative", "busybox"], &["relative"]),
    ] {
        let said = sandbox.minirun(&[&["run", "--rm"], args].concat()).expect_code(125);
        assert_error(&said, words);
        eprintln!("left by {args:?}?"); // shown where the next line fails
        before.assert_same(&sandbox);
    }
}

#[test]
fn a_program_that_cannot_be_executed_is_told_apart() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let dir = sandbox.path("programs");
    std::fs::create_dir(&dir).unwrap();
    let foreign = if cfg!(target_arch = "aarch64") { ("amd64", 62) } else { ("arm64", 183) };
    let mut elf = [0_u8; 64]; // a whole header (elf(5)): two for e_type, then e_machine
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (elf[16], elf[18], elf[20], elf[52]) = (2, foreign.1, 1, 64);
    for (name, content) in [
        ("script", &b"#!/no/such/interpreter -x\n"[..]),
        ("windows", b"#!/bin/sh\r\necho\r\n"),
        ("second", b"#!/p/dynamic\n"),
        ("garbage", &[0x7f, b'E', b'L', b'F', 9]),
        ("foreign", &elf),
        ("plain", b"text"),
        ("fine", b"#!/bin/sh\nexit 7\n"),
    ] {
        std::fs::write(dir.join(name), content).unwrap();
    }
    let prepare = "chmod +x script windows second garbage foreign fine; cp $(command -v ls) dynamic";
    sandbox.sh(&format!("cd {}; {prepare}", dir.display())).expect_code(0);
    let flags = ["--network", "none", "-v", &format!("{}:/p", dir.display())];
    sandbox.minirun(&[&["run", "-d", "--name", "web"], &flags[..], &["busybox", "sleep", "1000"]].concat());
    for (program, code, words, hint) in [
        ("/p/fine", 7, &[][..], ""), // the control
        ("/p/missing", 127, &["/p/missing", "no such file"], "full path"),
        ("missing", 127, &["missing", "$PATH"], "full path"),
        ("/p/plain/below", 127, &["/p/plain/below", "no such file"], "full path"),
        ("bash", 127, &["bash", "$PATH"], "this image's shell is sh"),
        ("/p", 126, &["/p", "is a directory"], "name a program in it"),
        ("/p/plain", 126, &["/p/plain", "is not executable"], "chmod +x"),
        ("/p/garbage", 126, &["/p/garbage", "exec format"], "image for this machine"),
        ("/p/foreign", 126, &["/p/foreign", "the program is", foreign.0], "binfmt_misc"),
        ("/p/script", 127, &["/p/script", "script interpreter /no/such/interpreter"], "an image that has it"),
        ("/p/windows", 127, &["/p/windows", "script interpreter", r"/bin/sh\r"], "as on Windows"),
        ("/p/dynamic", 127, &["/p/dynamic", "ELF interpreter /lib", "ld-linux"], "its libc"),
        ("/p/second", 127, &["/p/second", "ELF interpreter /lib", "ld-linux"], "its libc"),
    ] {
        let run = [&["run", "--rm"], &flags[..], &["busybox", program]].concat();
        for args in [&run[..], &["exec", "web", program]] {
            let said = sandbox.minirun(args);
            assert_eq!(said.code(), code, "{program}: {said}");
            if code != 7 {
                assert_error(&said, words);
                assert!(said.stderr.lines().any(|line| line.starts_with("hint: ") && line.contains(hint)), "{said}");
            }
        }
    }
}

#[test]
fn an_image_for_another_processor_is_named_where_its_program_cannot_be_executed() {
    requires![root];
    let sandbox = Sandbox::new();
    let (foreign, host) = if cfg!(target_arch = "aarch64") { ("amd64", "arm64") } else { ("s390x", "amd64") };
    std::fs::write(sandbox.path("program"), "text").unwrap();
    let import = format!(
        "cd {}; chmod +x program; tar -c program | {} import -c 'CMD [\"/program\"]' --platform {foreign} - foreign",
        sandbox.path("").display(),
        minirun_binary().display()
    );
    sandbox.sh(&import).expect_code(0);
    let says = format!("cannot execute /program: exec format error: image is {foreign}, host {host}");
    let create = ["create", "--name", "kept", "--network", "none", "foreign"];
    sandbox.minirun(&create).expect_code(0);
    for args in [&["run", "--rm", "--network", "none", "foreign"][..], &["start", "-a", "kept"], &["start", "kept"]] {
        let said = sandbox.minirun(args);
        assert!(said.code() != 0 && said.stderr.contains(&says) && said.stderr.contains("binfmt_misc"), "{said}");
    }
}

#[test]
fn scratch_is_an_empty_root_and_no_image_that_a_registry_has() {
    requires![root];
    let sandbox = Sandbox::new();
    for (args, code) in [(&["create", "scratch:1", "x"][..], 125), (&["pull", "scratch"], 1)] {
        let said = sandbox.minirun(args).expect_code(code);
        assert_error(&said, &["'scratch' is a reserved name"]);
        assert!(said.stderr.contains("scratch /program"), "{said}");
    }
    let program = format!("{}:/minirun:ro", minirun_binary().display());
    let run = ["run", "--name", "bare", "--network", "none", "-v", &program, "scratch"];
    let explained =
        sandbox.minirun(&[&run[..1], &["--explain"], &run[1..], &["/minirun"]].concat()).expect_code(0).stdout;
    assert!(explained.contains("skeleton"), "{explained}");
    assert_error(&sandbox.minirun(&run).expect_code(125), &["no command"]);
    let said = sandbox.minirun(&[&run[..], &["/minirun", "--version"]].concat()).expect_code(0);
    assert!(said.stdout.starts_with("minirun "), "{said}");
    assert_eq!(sandbox.minirun(&["diff", "bare"]).text(), "A /minirun");
    assert!(sandbox.minirun(&["images"]).text().contains("scratch"));
    sandbox.minirun(&["commit", "bare", "made"]).expect_code(0);
}

#[test]
fn a_broken_archive_is_refused_whole() {
    requires![root];
    let sandbox = Sandbox::new();
    let before = Snapshot::of(&sandbox);
    let layout = sandbox.path("layout");
    let copy = |then: &str| {
        let script =
            format!("rm -rf {0}; cp -r {1} {0}; cd {0}; {then}", layout.display(), image_layout("busybox").display());
        sandbox.sh(&script).expect_code(0);
    };
    for (damage, word) in [
        ("f=$(ls -S blobs/sha256/* | head -1); printf x | dd of=$f bs=1 seek=1000 conv=notrunc 2>/dev/null", "sha256"),
        ("f=$(ls -S blobs/sha256/* | head -1); truncate -s -1 $f", "sha256"),
        ("f=$(ls -S blobs/sha256/* | head -1); rm $f", "sha256"),
        ("rm index.json", "index.json"),
        ("echo '{' >index.json", "index.json"),
    ] {
        copy(damage);
        let said = sandbox.minirun(&["load", "-i", layout.to_str().unwrap()]);
        assert_eq!(said.code(), 1, "{damage}: {said}");
        assert_error(&said, &[word]);
        assert_eq!(sandbox.minirun(&["images", "-q"]).text(), "", "{damage}");
    }
    for (bytes, name) in [(&b"not an archive"[..], "text"), (b"\x1f\x8b\x08\x00", "cut.tar.gz"), (b"", "empty")] {
        let path = sandbox.path(name);
        std::fs::write(&path, bytes).unwrap();
        let said = sandbox.minirun(&["load", "-i", path.to_str().unwrap()]);
        assert_eq!(said.code(), 1, "{name}: {said}");
        assert_error(&said, &[]);
    }
    let of_the_store = |line: &str| line.contains(" minirun root: ") || line.contains("/state/containers 40700 ");
    before.assert_only(&sandbox, of_the_store);
}

#[test]
fn a_normal_user_is_told_once_what_needs_root() {
    requires![root];
    let sandbox = Sandbox::new();
    let user = |args: &[&str]| {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups", "env", "-i", "HOME=/nonexistent"]);
        crate::support::command::output(setpriv.arg(readable_binary(&sandbox)).args(args))
    };
    let said = user(&["run", "--rm", "hello"]).expect_code(125);
    assert_error(&said, &["needs root"]);
    assert!(said.stderr.contains("hint: sudo minirun run"), "{said}");
    for args in [&["--help"][..], &["--version"], &["run", "--help"], &["run", "--explain", "hello"], &[]] {
        user(args).expect_code(0);
    }
    // root's images are nobody else's
    sandbox.minirun(&["run", "--rm", "--network", "none", "hello"]).expect_code(0);
    let root = sandbox.path("root");
    let explain = |image| user(&["--root", root.to_str().unwrap(), "run", "--explain", image]);
    explain("hello").expect_code(0);
    let said = explain("busybox").expect_code(125);
    assert!(said.stderr.contains("EACCES") && said.stderr.contains("hint: these images are root's"), "{said}");
}

/// A copy that another user may execute: the way to the built one can lead through root's home.
fn readable_binary(sandbox: &Sandbox) -> std::path::PathBuf {
    let copy = sandbox.path("minirun");
    if !copy.exists() {
        std::fs::copy(minirun_binary(), &copy).unwrap();
        let open = "chmod 755 . minirun";
        sandbox.sh(&format!("cd {} && {open}", sandbox.path(".").display())).expect_code(0);
    }
    copy
}

#[test]
fn usage_errors_name_the_word() {
    let run = |args: &[&str]| crate::support::command::output(Command::new(minirun_binary()).args(args));
    for (args, code, word) in [
        (&["run"][..], 125, "IMAGE"),
        (&["run", "--no-such-flag", "x"], 125, "--no-such-flag"),
        (&["no-such-command"], 2, "no-such-command"),
        (&["rmi"], 2, "IMAGE"),
    ] {
        let said = run(args);
        assert_eq!(said.code(), code, "{said}");
        assert!(said.stderr.starts_with("error: ") && said.stderr.contains(word), "{said}");
    }
}

#[test]
fn a_group_of_commands_lists_them() {
    let minirun = |words: &[&str]| output(Command::new(minirun_binary()).args(words));
    for (group, verb) in [("container", "exec"), ("image", "pull"), ("volume", "create"), ("system", "df")] {
        // asked for it is a result; else, as docker has it, neither that nor an error
        let asked = minirun(&[group, "--help"]).expect_code(0);
        let alone = minirun(&[group]).expect_code(0);
        assert_eq!((asked.stderr.as_str(), alone.stdout.as_str()), ("", ""));
        assert!(asked.stdout == alone.stderr && asked.stdout.contains(&format!("\n  {verb} ")), "{asked}");
        let unknown = minirun(&[group, "fly"]).expect_code(2);
        assert_error(&unknown, &[&format!("unknown command {group} fly")]);
    }
    let (long, short) = (minirun(&["container", "rm", "--help"]), minirun(&["rm", "--help"]));
    assert_eq!(long.expect_code(0).stdout, short.expect_code(0).stdout);
}
