//! Bad input: one line of error, a hint, exit 125, nothing left behind.

use crate::support::command::Output;
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
    std::fs::write(dir.join("script"), "#!/no/such/interpreter\n").unwrap();
    std::fs::write(dir.join("garbage"), [0x7f, b'E', b'L', b'F', 9]).unwrap();
    std::fs::write(dir.join("plain"), "text").unwrap();
    sandbox.sh(&format!("cd {}; chmod +x script garbage; cp $(command -v ls) dynamic", dir.display())).expect_code(0);
    let volume = format!("{}:/p", dir.display());
    for (program, code, word) in [
        ("/p/missing", 127, "/p/missing"),
        ("missing", 127, "missing"),
        ("/p", 126, "directory"),
        ("/p/plain", 126, "executable"),
        ("/p/garbage", 126, "/p/garbage"),
        ("/p/script", 127, "/no/such/interpreter"),
        ("/p/dynamic", 127, "ld-linux"),
    ] {
        let said = sandbox.minirun(&["run", "--rm", "--network", "none", "-v", &volume, "busybox", program]);
        assert_eq!(said.code(), code, "{program}: {said}");
        assert_error(&said, &[word]);
    }
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
