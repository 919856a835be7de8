//! Images of many layers: more than one string of fsconfig(2) has room for, on kernels old and new.

use crate::detached::does;
use crate::errors::assert_error;
use crate::support::command::Output;
use crate::support::layers::{FILE, Layer, Member, Tar, layout};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};

/// Loads an image `x` of so many layers on a shell: each has a file of its own and writes /last anew, each third one
/// removes the file of the layer below.
fn load(sandbox: &Sandbox, count: usize) -> Output {
    let shell = sandbox.path("shell");
    let copy = format!("run --rm --network none busybox cat /bin/busybox >{}", shell.display());
    sandbox.sh(&format!("{} {copy}", minirun_binary().display())).expect_code(0);
    let shell = std::fs::read(shell).unwrap();
    let program = Member { path: b"bin/busybox", data: &shell, mode: 0o755, ..FILE };
    let layers = (1..=count).map(|n| {
        let tar = if n == 1 { Tar::new().member(program) } else { Tar::new() };
        let tar = tar.file("last", &format!("{n}\n")).file(&format!("file{n}"), "");
        Layer::plain(if n % 3 == 0 { tar.file(&format!(".wh.file{}", n - 1), "") } else { tar })
    });
    let dir = sandbox.path(&format!("layout{count}"));
    layout(&dir, &layers.collect::<Vec<_>>());
    sandbox.minirun(&["load", "-q", "-i", dir.to_str().unwrap()])
}

const LOOK: &str = "cat $D/last; ls $D/ | grep -c file; echo x >$D/last && cat $D/last";

#[test]
fn images_of_1_20_60_and_120_layers_run() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    for count in [1, 20, 60, 120] {
        load(&sandbox, count).expect_code(0);
        let look = LOOK.replace("cat", "/bin/busybox cat").replace("ls", "/bin/busybox ls");
        let look = look.replace("grep", "/bin/busybox grep");
        let run = ["--network", "none", "x", "/bin/busybox", "sh", "-c", &look];
        let want = format!("{count}\n{}\nx\n", count - count / 3);
        for flags in [&["run", "--rm"][..], &["run", "--rm", "--userns", "auto"]] {
            assert_eq!(does(&sandbox, &[flags, &run].concat()).stdout, want, "{flags:?}");
        }
        // looked at, copied from, and mounted in another container
        let mount = ["run", "--rm", "--network", "none", "-e", "D=/t", "--mount", "type=image,src=x,dst=/t", "busybox"];
        let said = does(&sandbox, &[&mount[..], &["sh", "-c", &format!("({LOOK}) 2>/dev/null; :")]].concat()).stdout;
        assert_eq!(said, want.trim_end_matches("x\n"));
        does(&sandbox, &["create", "--name", "still", "--network", "none", "x"]);
        assert!(does(&sandbox, &["cp", "still:/last", "-"]).stdout.contains(&format!("{count}\n")));
        does(&sandbox, &["rm", "still"]);
    }
}

#[test]
fn more_layers_than_overlayfs_takes_are_refused_at_once() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    load(&sandbox, 499).expect_code(0);
    does(&sandbox, &["run", "--rm", "--network", "none", "x", "/bin/busybox", "true"]);
    assert_error(&load(&sandbox, 500).expect_code(1), &["500 layers"]);
}
