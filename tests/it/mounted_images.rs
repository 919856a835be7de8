//! `--mount type=image`: the files of an image in a container of another one.

use crate::detached::{does, inspect, refused, up_alone};
use crate::errors::assert_error;
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::snapshot::Snapshot;

/// An image with these files, which its shell script makes.
fn import(sandbox: &Sandbox, name: &str, script: &str) {
    let minirun = minirun_binary().display().to_string();
    let make = format!("set -e; D=$(mktemp -d); cd $D; {script}; tar -c . | {minirun} import - {name}; rm -r $D");
    sandbox.sh(&make).expect_code(0);
}

/// The same image with one layer more.
fn changed(sandbox: &Sandbox, from: &str, to: &str, script: &str) {
    let mount = format!("type=image,src={from},dst=/tools");
    let run = ["run", "--name", "change", "--network", "none", "--mount", &mount, from, "/bin/busybox", "sh", "-c"];
    does(sandbox, &[&run[..], &[script]].concat());
    does(sandbox, &["commit", "change", to]);
    does(sandbox, &["rm", "change"]);
}

#[track_caller]
fn says(sandbox: &Sandbox, flags: &[&str], script: &str) -> String {
    let run = [&["run", "--rm", "--network", "none"], flags, &["busybox", "sh", "-c", script]].concat();
    does(sandbox, &run).stdout
}

#[test]
fn an_image_is_mounted_as_it_is_and_cannot_be_written_to() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    import(&sandbox, "data", "chmod 755 .; mkdir sub; echo one >sub/file; echo run >script; chmod 600 script");
    let data = ["--mount", "type=image,source=data,target=/srv/data"];
    // before it was ever unpacked
    let script = does(&sandbox, &["run", "--explain", data[0], data[1], "busybox", "true"]).stdout;
    assert!(script.lines().any(|line| line.contains("mount ") && line.contains("/srv/data")), "{script}");
    says(&sandbox, &data, "true");
    let before = Snapshot::of(&sandbox);
    assert_eq!(says(&sandbox, &data, "ls /srv/data; cat /srv/data/sub/file"), "script\nsub\none\n");
    let denied =
        says(&sandbox, &data, "(echo x >/srv/data/new; echo x >/srv/data/sub/file; rm /srv/data/script) 2>&1; :");
    assert_eq!(denied.matches("Read-only file system").count(), 3, "{denied}");
    let user = [&data[..], &["-u", "65534"]].concat();
    assert_eq!(
        says(&sandbox, &user, "cat /srv/data/sub/file; cat /srv/data/script 2>/dev/null || echo no"),
        "one\nno\n"
    );
    // two at once, one below the other, in a root that is read-only
    let two = [&data[..], &["--read-only", "--mount", "type=image,src=busybox,dst=/srv/tools,ro"]].concat();
    assert_eq!(says(&sandbox, &two, "/srv/tools/bin/cat /srv/data/sub/file"), "one\n");
    before.assert_same(&sandbox);

    let run = |mount: &str| sandbox.minirun(&["run", "--rm", "--pull", "never", "--mount", mount, "busybox", "true"]);
    assert_error(&run("type=image,src=nobody,dst=/x").expect_code(125), &["the mount at /x", "nobody"]);
    assert_error(&run("type=image,src=data,dst=/x,readonly=false").expect_code(125), &["read-only"]);
    before.assert_same(&sandbox);
}

#[test]
fn an_image_of_many_layers_is_mounted_as_one() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    import(
        &sandbox,
        "tools:0",
        &format!(
            "mkdir bin tools; {0} run --rm busybox cat /bin/busybox >bin/busybox; chmod +x bin/busybox; echo 0 >all; echo x >gone",
            minirun_binary().display()
        ),
    );
    // as many as their names do not fit into one string of fsconfig(2)
    for layer in 1..=7 {
        let (from, to) = (format!("tools:{}", layer - 1), format!("tools:{layer}"));
        changed(
            &sandbox,
            &from,
            &to,
            &format!("/bin/busybox rm -f /gone; echo {layer} >>/all; echo {layer} >/file{layer}"),
        );
    }
    for (tag, all) in [(1, "0\n1\n"), (2, "0\n1\n2\n"), (7, "0\n1\n2\n3\n4\n5\n6\n7\n")] {
        let mount = format!("type=image,src=tools:{tag},dst=/t");
        let said = says(
            &sandbox,
            &["--mount", &mount],
            "cat /t/all; ls /t | grep -c file; (ls /t/gone; echo x >/t/all) 2>&1; :",
        );
        assert!(said.starts_with(&format!("{all}{tag}\nls: /t/gone: No such file")), "{said}");
        assert!(said.contains("Read-only"), "{said}");
    }
}

#[test]
fn a_container_keeps_the_image_that_it_has_mounted() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    import(&sandbox, "data:1", "echo first >file");
    import(&sandbox, "data:2", "echo second >file");
    does(&sandbox, &["tag", "data:1", "current"]);
    let mount = ["--mount", "type=image,src=current,dst=/data"];
    let web =
        [&["create", "--name", "web", "--network", "none"], &mount[..], &["busybox", "cat", "/data/file"]].concat();
    does(&sandbox, &web);
    let shown = inspect(&sandbox, "web")["Mounts"][0].clone();
    assert_eq!((shown["Type"].as_str(), shown["Source"].as_str()), (Some("image"), Some("current")), "{shown}");
    assert_eq!((shown["Destination"].as_str(), shown["RW"].as_bool()), (Some("/data"), Some(false)), "{shown}");
    // the name is another image's, and goes; the container has what it was made with
    does(&sandbox, &["tag", "data:2", "current"]);
    does(&sandbox, &["rmi", "data:2"]);
    does(&sandbox, &["rmi", "current"]);
    refused(&sandbox, &["rmi", "data:1"], 1, "is used by a container");
    does(&sandbox, &["image", "prune", "-a", "-f"]);
    assert_eq!(does(&sandbox, &["start", "-a", "web"]).stdout, "first\n");
    let from = ["--volumes-from", "web"];
    assert_eq!(says(&sandbox, &from, "cat /data/file"), "first\n");
    does(&sandbox, &["rm", "web"]);
    does(&sandbox, &["rmi", "data:1"]); // the control
    up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    assert_eq!(inspect(&sandbox, "web")["Mounts"].as_array().unwrap().len(), 0);
}
