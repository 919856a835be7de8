//! What a container needs of its image stays, whatever is removed by force, and whatever its record says.

use crate::detached::{does, refused, up_alone};
use crate::support::command::{Running, eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, image_layout, minirun_binary};

fn images(sandbox: &Sandbox) -> String {
    does(sandbox, &["images", "-a", "--format", "{{.Repository}}:{{.Tag}}"]).stdout
}

/// The directories of layers.
fn layers(sandbox: &Sandbox) -> usize {
    let names = std::fs::read_dir(sandbox.path("root/layers")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name != "l" && name != ".lock").count()
}

/// Loads another image and removes it: with it goes what nothing needs.
fn remove_another(sandbox: &Sandbox) {
    does(sandbox, &["load", "-q", "-i", image_layout("static").to_str().unwrap()]);
    does(sandbox, &["rmi", "-f", "static"]);
}

#[test]
fn force_takes_no_layer_from_a_container() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    does(&sandbox, &["tag", "busybox", "tools:1"]);
    does(&sandbox, &["rmi", "-f", "tools:1"]); // the other name stays
    for image in ["busybox", &does(&sandbox, &["images", "-q", "busybox"]).text()] {
        refused(&sandbox, &["rmi", "-f", image], 1, "is used by container web, which is running");
    }
    remove_another(&sandbox);
    assert_eq!((images(&sandbox).as_str(), layers(&sandbox)), ("busybox:latest\n", 1));
    does(&sandbox, &["exec", "web", "cat", "/etc/passwd"]);

    does(&sandbox, &["stop", "-t", "0", "web"]);
    refused(&sandbox, &["rmi", "busybox"], 1, "is used by a container");
    does(&sandbox, &["rmi", "-f", "busybox"]);
    assert_eq!((images(&sandbox).as_str(), layers(&sandbox)), ("", 1));
    does(&sandbox, &["image", "prune", "-af"]);
    does(&sandbox, &["start", "web"]);
    remove_another(&sandbox);
    does(&sandbox, &["exec", "web", "cat", "/etc/passwd"]);
    does(&sandbox, &["cp", "web:/etc/passwd", sandbox.path("copy").to_str().unwrap()]);

    does(&sandbox, &["rm", "-f", "web"]);
    does(&sandbox, &["image", "prune", "-f"]);
    assert_eq!(layers(&sandbox), 0, "the control: nobody needs it");
}

#[test]
fn nothing_goes_while_it_is_not_known_what_a_container_needs() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox", "static"]);
    let id = up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    let record = sandbox.path("root/containers").join(&id).join("config.json");
    let whole = std::fs::read_to_string(&record).unwrap();
    let newer = whole.replacen("\"version\":1", "\"version\":99", 1);
    assert_ne!(newer, whole);
    let before = images(&sandbox);
    for harm in [Some("{"), Some(&newer), None] {
        match harm {
            Some(text) => std::fs::write(&record, text).unwrap(),
            None => std::fs::remove_file(&record).unwrap(),
        }
        for command in
            [&["rmi", "busybox"][..], &["rmi", "-f", "busybox"], &["rmi", "static"], &["image", "prune", "-af"]]
        {
            let said = sandbox.minirun(command).expect_code(1);
            assert!(said.stderr.contains(&format!("which images container {} needs", &id[..12])), "{harm:?} {said}");
            assert!(said.stderr.contains(&format!("hint: minirun rm -f {}", &id[..12])), "{harm:?} {said}");
        }
        assert_eq!((images(&sandbox), layers(&sandbox)), (before.clone(), 1), "{harm:?}");
        does(&sandbox, &["system", "df"]);
    }
    does(&sandbox, &["rm", "-f", &id]);
    does(&sandbox, &["image", "prune", "-af"]);
    assert_eq!(
        (images(&sandbox).as_str(), layers(&sandbox)),
        ("", 0),
        "the control: it is known that nobody needs them"
    );
}

/// A command that stands still after its first call of this name.
fn stopped(sandbox: &Sandbox, call: &str, args: &[&str]) -> Running {
    let list = sandbox.path("list");
    let _ = std::fs::remove_file(&list);
    let mut strace = sandbox.command("strace");
    strace.args(["-qq", "-e", &format!("trace={call}"), "-e", &format!("inject={call}:signal=STOP:when=1"), "-o"]);
    let running = Running::start(strace.arg(&list).arg(minirun_binary()).args(args));
    let stands = || std::fs::read_to_string(&list).unwrap_or_default().contains("stopped by SIGSTOP");
    eventually("the command stands still", seconds(20), stands);
    running
}

#[test]
fn what_comes_to_be_while_its_image_is_removed_has_all_of_it() {
    requires![root, tool("strace")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let run = ["--network", "none", "busybox", "cat", "/etc/passwd"];
    let passwd = does(&sandbox, &[&["run", "--rm"], &run[..]].concat()).stdout; // unpacked from here on
    let goes_on = || sandbox.sh("kill -CONT $(pgrep -x minirun)").expect_code(0);
    let works = |name: &str| assert_eq!(does(&sandbox, &["start", "-a", name]).stdout, passwd, "{name}");

    // it has looked its image up, and has no record yet
    let create = stopped(&sandbox, "renameat", &[&["create", "--name", "early"], &run[..]].concat());
    let removal = sandbox.start(&["rmi", "busybox"]);
    eventually("the name is gone", seconds(20), || images(&sandbox).is_empty());
    goes_on();
    create.output().expect_code(0);
    removal.output().expect_code(0);
    works("early");

    // the removal has looked which containers there are
    does(&sandbox, &["load", "-q", "-i", image_layout("busybox").to_str().unwrap()]);
    does(&sandbox, &["rm", "early"]);
    let removal = stopped(&sandbox, "flock", &["rmi", "busybox"]);
    does(&sandbox, &[&["create", "--name", "late"], &run[..]].concat());
    goes_on();
    removal.output().expect_code(0);
    works("late");

    does(&sandbox, &["rm", "late"]);
    does(&sandbox, &["image", "prune", "-f"]);
    assert_eq!(layers(&sandbox), 0, "the control: nobody needs it");
}
