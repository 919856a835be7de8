//! `diff`, `commit`, `tag` and `history`: what a container has changed, seen, kept and run again.

use crate::detached::{does, inspect, refused, up_alone};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};

/// Runs a script in a container with this name to its end.
#[track_caller]
fn changed(sandbox: &Sandbox, name: &str, script: &str) {
    does(sandbox, &["run", "--name", name, "--network", "none", "busybox", "sh", "-ec", script]);
}

const SCRIPT: &str = "
    mkdir /new /new/empty; echo a >/new/file; chown 3:4 /new/file; chmod 4711 /new/file; ln /new/file /new/twin; mkfifo /new/pipe
    ln -s /nowhere /new/link; echo more >>/etc/passwd; rm /usr/bin/ls
    rm -r /var; mkdir /var; echo v >/var/v; touch /etc/group; mkdir /tmp/passing; rmdir /tmp/passing";

#[test]
fn diff_says_what_was_added_changed_and_deleted() {
    requires![root];
    diff_says(&Sandbox::with_images(&["busybox"]));
}

#[test]
fn diff_says_the_same_of_a_copy_of_the_image() {
    requires![root];
    diff_says(&Sandbox::on_overlay(&["busybox"]));
}

fn diff_says(sandbox: &Sandbox) {
    does(sandbox, &["create", "--name", "fresh", "busybox", "true"]);
    assert_eq!(does(sandbox, &["diff", "fresh"]).stdout, "");
    changed(sandbox, "idle", "true");
    assert_eq!(does(sandbox, &["diff", "idle"]).stdout, "", "nothing of what we mount shows");
    changed(sandbox, "busy", SCRIPT);
    let below_var = sandbox.sh(&format!(
        "{} export idle | tar -t | grep -E '^var/[^/]+/?$' | sed 's,/$,,; s,^,D /,'",
        minirun_binary().display()
    ));
    let below_var: Vec<String> = below_var.stdout.lines().map(str::to_owned).collect();
    let mut want: Vec<String> = [
        "C /etc",
        "C /etc/group",
        "C /etc/passwd",
        "A /new",
        "A /new/empty",
        "A /new/file",
        "A /new/link",
        "A /new/pipe",
        "A /new/twin",
        "C /tmp",
        "C /usr",
        "C /usr/bin",
        "D /usr/bin/ls",
        "C /var",
        "A /var/v",
    ]
    .map(str::to_owned)
    .to_vec();
    want.extend(below_var);
    want.sort_by(|a, b| a[2..].cmp(&b[2..]));
    let said = does(sandbox, &["diff", "busy"]).stdout;
    assert_eq!(said.lines().collect::<Vec<_>>(), want);
    let dir = sandbox.path("plain").to_str().unwrap().to_owned();
    sandbox.sh(&format!("mkdir {dir}; {} export idle | tar -C {dir} -x", minirun_binary().display())).expect_code(0);
    does(sandbox, &["run", "--name", "plain", "--network", "none", "--rootfs", &dir, "true"]);
    refused(sandbox, &["diff", "plain"], 1, "no image to compare with");
    refused(sandbox, &["diff", "nobody"], 1, "no container nobody");
}

/// All of a root that a commit must keep.
const FIND: &str =
    "find / -xdev -mindepth 1 | grep -vE '^/(proc|sys|dev|etc/(hosts|hostname|resolv.conf))(/|$)' | sort |
    while read -r f; do echo \"$f $(stat -c '%F %a %u:%g %Y' \"$f\") $(readlink \"$f\")\"
    [ ! -f \"$f\" ] || [ -h \"$f\" ] || echo \"$(stat -c %h \"$f\") $(sha256sum <\"$f\")\"; done";

#[test]
fn a_commit_runs_as_the_container_was() {
    requires![root];
    commit_runs(&Sandbox::with_images(&["busybox"]));
}

#[test]
fn so_does_one_of_a_container_with_a_copy_of_its_image() {
    requires![root];
    commit_runs(&Sandbox::on_overlay(&["busybox"]));
}

fn commit_runs(sandbox: &Sandbox) {
    let script = format!("{SCRIPT}\necho ready; {FIND} >/new/list; sleep 1000");
    up_alone(
        sandbox,
        &["--name", "web", "-e", "A=1", "-w", "/tmp", "--expose", "99", "--stop-signal", "INT"],
        &["sh", "-c", &script],
    );
    crate::detached::eventually_logs(sandbox, "web", "ready");
    let list = || does(sandbox, &["exec", "web", "sh", "-c", &format!("rm -f /new/list; {FIND}")]).text();
    let before = list();
    let change = |line: &'static str| ["-c", line];
    let changes = [
        change("ENV B=2"),
        change("CMD [\"sh\",\"-c\",\"echo $A $B $PWD; cat /var/v\"]"),
        change("LABEL x=y"),
        change("EXPOSE 80"),
    ];
    let commit = ["commit", "-m", "a message", "--author", "me"];
    let said = does(sandbox, &[&commit[..], &changes.concat(), &["web", "site:2"]].concat());
    assert_eq!(said.stderr, "");
    let id = said.text();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    assert_eq!(list(), before, "a commit changes nothing in the container");
    assert_eq!(does(sandbox, &["run", "--rm", "--network", "none", "site:2"]).text(), "1 2 /tmp\nv");
    let again = does(sandbox, &["run", "--rm", "--network", "none", "site:2", "sh", "-c", FIND]).text();
    assert_eq!(again, before);

    let image = inspect(sandbox, "site:2");
    assert_eq!((&image["Id"], &image["Config"]["Labels"]["x"]), (&id.as_str().into(), &"y".into()));
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    assert!(
        image["Config"]["ExposedPorts"]["80/tcp"].is_object() && image["Config"]["ExposedPorts"]["99/tcp"].is_object()
    );
    assert_eq!(image["Config"]["StopSignal"], "SIGINT");
    let history = does(sandbox, &["history", "site:2"]).stdout;
    let lines: Vec<&str> = history.lines().collect();
    assert!(
        lines[1].starts_with(&id[7..19]) && lines[1].ends_with("a message") && lines[2].contains("<missing>"),
        "{history}"
    );
    // the same changes, the same layer
    let second = does(sandbox, &["commit", "-p=false", "web"]).text();
    let layers = |name: &str| inspect(sandbox, name)["RootFS"]["Layers"].clone();
    assert_eq!(layers(&second), layers("site:2"));
    // on top of the top
    does(sandbox, &["run", "--name", "third", "--network", "none", "site:2", "rm", "-r", "/var", "/new/twin"]);
    does(sandbox, &["commit", "third", "third"]);
    let look = "[ ! -e /var ] && [ ! -e /new/twin ] && cat /new/file";
    assert_eq!(does(sandbox, &["run", "--rm", "--network", "none", "third", "sh", "-c", look]).text(), "a");
}

#[test]
fn what_checks_a_container_checks_those_of_its_image() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let health = ["--health-cmd", "test -e /well", "--health-interval", "7s", "--health-retries", "2"];
    let run = |flags: &[&str], image: &str, name: &str| {
        does(&sandbox, &[&["create", "--network", "none", "--name", name][..], flags, &[image, "true"]].concat());
        does(&sandbox, &["commit", name, name]);
        inspect(&sandbox, name)["Config"]["Healthcheck"].clone()
    };
    let check = run(&health, "busybox", "first");
    assert_eq!(check["Test"], serde_json::json!(["CMD-SHELL", "test -e /well"]));
    assert_eq!((check["Interval"].as_i64(), check["Retries"].as_i64()), (Some(7_000_000_000), Some(2)));
    assert_eq!(inspect(&sandbox, "first:latest")["Config"]["Healthcheck"], check);
    assert_eq!(run(&[], "first:latest", "second"), check);
    assert_eq!(run(&["--no-healthcheck"], "first:latest", "third"), serde_json::Value::Null);
    assert_eq!(inspect(&sandbox, "third:latest")["Config"]["Healthcheck"]["Test"], serde_json::json!(["NONE"]));
    assert_eq!(run(&[], "third:latest", "fourth"), serde_json::Value::Null);
}

#[test]
fn a_commit_is_an_image_to_others() {
    requires![root, tool("skopeo")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    changed(&sandbox, "busy", SCRIPT);
    does(&sandbox, &["commit", "busy", "site:2"]);
    let store = sandbox.path("root").join("images").display().to_string();
    let copy = sandbox.path("copy").display().to_string();
    // it reads and checks every blob, and unpacks nothing
    sandbox.sh(&format!("skopeo copy --quiet --insecure-policy oci:{store}:site:2 oci:{copy}:x")).expect_code(0);
    does(&sandbox, &["rm", "busy"]);
    does(&sandbox, &["rmi", "site:2"]);
    does(&sandbox, &["load", "-q", "-i", &copy]);
    assert_eq!(does(&sandbox, &["run", "--rm", "--network", "none", "x", "cat", "/var/v"]).text(), "v");
}

#[test]
fn a_commit_of_a_directory_is_one_layer() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let dir = sandbox.path("plain").to_str().unwrap().to_owned();
    changed(&sandbox, "idle", "true");
    sandbox
        .sh(&format!("mkdir {dir}; {} export idle | tar -C {dir} -x; echo here >{dir}/x", minirun_binary().display()))
        .expect_code(0);
    does(&sandbox, &["run", "--name", "plain", "--network", "none", "--rootfs", &dir, "cat", "/x"]);
    does(&sandbox, &["commit", "plain", "flat"]);
    assert_eq!(inspect(&sandbox, "flat")["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    assert_eq!(does(&sandbox, &["run", "--rm", "--network", "none", "flat"]).text(), "here");
}

#[test]
fn what_cannot_be_committed_is_said_and_leaves_nothing() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    changed(&sandbox, "odd", "touch /tmp/.wh.x");
    changed(&sandbox, "good", "touch /tmp/x");
    let images = does(&sandbox, &["images"]).stdout;
    refused(&sandbox, &["commit", "odd", "odd"], 1, "/tmp/.wh.x cannot be in an image");
    refused(&sandbox, &["commit", "-c", "RUN rm x", "good", "good"], 1, "RUN cannot be changed");
    refused(&sandbox, &["commit", "nobody"], 1, "no container nobody");
    assert_eq!(does(&sandbox, &["images"]).stdout, images);
    does(&sandbox, &["commit", "good", "good"]); // the control
    does(&sandbox, &["tag", "good", "better:1"]);
    assert_eq!(inspect(&sandbox, "better:1")["Id"], inspect(&sandbox, "good:latest")["Id"]);
    refused(&sandbox, &["tag", "nothing", "x"], 1, "no image nothing");
}
