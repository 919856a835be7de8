//! `events`: what has happened is told, in order and by who did it; what happens is told as it happens; and nothing ever
//! fails for it.

use crate::adopted::kill_monitor;
use crate::detached::{does, monitor, pid, refused, up_alone};
use crate::support::command::{eventually, seconds};
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use crate::support::source::repository;
use serde_json::Value;

/// What has happened so far and passes the filters: one word for each, `TYPE ACTION NAME` and then attributes.
#[track_caller]
fn told(sandbox: &Sandbox, filters: &[&str]) -> Vec<String> {
    let format = "{{.Type}} {{.Action}} {{with .Actor.Attributes.name}}{{.}}{{end}}\
                  {{with .Actor.Attributes.exitCode}} exit={{.}}{{end}}\
                  {{with .Actor.Attributes.signal}} signal={{.}}{{end}}\
                  {{with .Actor.Attributes.oldName}} old={{.}}{{end}}";
    let filters: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
    let args = [&["events", "--since", "1h", "--until", "0s", "--format", format][..], &filters].concat();
    does(sandbox, &args).stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_containers_life_is_told() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "web", "--label", "app=shop"], &["sleep", "1000"]);
    does(&sandbox, &["pause", "web"]);
    does(&sandbox, &["unpause", "web"]);
    does(&sandbox, &["exec", "web", "sh", "-c", "exit 0"]);
    does(&sandbox, &["rename", "web", "shop"]);
    does(&sandbox, &["update", "--cpu-shares", "100", "shop"]);
    does(&sandbox, &["kill", "-s", "CONT", "shop"]);
    does(&sandbox, &["restart", "-t", "0", "shop"]);
    does(&sandbox, &["stop", "-t", "0", "shop"]);
    does(&sandbox, &["start", "shop"]);
    does(&sandbox, &["rm", "-f", "shop"]);
    let wanted = [
        "create web",
        "start web",
        "pause web",
        "unpause web",
        "exec_create: sh -c exit 0 web",
        "exec_start: sh -c exit 0 web",
        "exec_die web exit=0",
        "rename shop old=/web",
        "update shop",
        "kill shop signal=18",
        "kill shop signal=15",
        "kill shop signal=9",
        "die shop exit=137",
        "stop shop",
        "start shop",
        "restart shop",
        "kill shop signal=15",
        "kill shop signal=9",
        "die shop exit=137",
        "stop shop",
        "start shop",
        "kill shop signal=9",
        "die shop exit=137",
        "destroy shop",
    ];
    assert_eq!(told(&sandbox, &["type=container"]), wanted.map(|word| format!("container {word}")));
    assert_eq!(told(&sandbox, &["event=exec_create"]), ["container exec_create: sh -c exit 0 web"]);
    let with_label = told(&sandbox, &["label=app=shop", "event=die"]);
    assert_eq!(with_label.len(), 3);
    assert_eq!(told(&sandbox, &["container=we", "event=start"]), ["container start web"]);
    assert!(told(&sandbox, &["container=x"]).is_empty());
    refused(&sandbox, &["events", "--until", "0s", "--filter", "pod=x"], 2, "unknown filter");
}

#[test]
fn one_that_goes_with_its_end_is_created_started_and_destroyed() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let run = ["run", "--rm", "--network", "none", "--name", "web", "busybox", "sh", "-c"];
    sandbox.minirun(&[&run[..], &["exit 3"]].concat()).expect_code(3);
    let life = ["create web", "start web", "die web exit=3", "destroy web"].map(|word| format!("container {word}"));
    assert_eq!(told(&sandbox, &["type=container"]), life);

    up_alone(&sandbox, &["--name", "taken"], &["sleep", "1000"]);
    let before = told(&sandbox, &[]);
    for command in ["run", "create"] {
        sandbox.minirun(&[command, "--network", "none", "--name", "taken", "busybox", "true"]).expect_code(125);
    }
    assert_eq!(told(&sandbox, &[]), before, "what never was does not go");
    sandbox.minirun(&["run", "--network", "none", "--name", "no", "busybox", "/no/such"]).expect_code(127);
    assert_eq!(told(&sandbox, &["container=no"]), ["container create no", "container destroy no"]);
}

#[test]
fn images_and_volumes_are_told_of() {
    requires![root];
    let sandbox = Sandbox::new();
    let layout = repository().join("target/images");
    let layout = std::env::var_os("MINIRUN_IMAGES").map_or(layout, Into::into).join("busybox");
    does(&sandbox, &["load", "-q", "-i", layout.to_str().unwrap()]);
    does(&sandbox, &["tag", "busybox", "tools:1"]);
    does(&sandbox, &["rmi", "tools:1"]);
    does(&sandbox, &["volume", "create", "data"]);
    does(&sandbox, &["volume", "create", "data"]);
    let run = ["run", "--rm", "--network", "none", "-v", "data:/d", "-v", "more:/m", "-v", "/a", "busybox", "true"];
    does(&sandbox, &run);
    does(&sandbox, &["create", "--name", "c", "-v", "last:/l", "busybox"]);
    does(&sandbox, &["rm", "c"]);
    does(&sandbox, &["volume", "rm", "data", "more", "last"]);
    does(&sandbox, &["rmi", "busybox"]);
    let images = told(&sandbox, &["type=image"]);
    assert_eq!(images[..3], ["image load busybox:latest", "image tag tools:1", "image untag tools:1"]);
    assert_eq!((images[3].as_str(), images.len()), ("image untag busybox:latest", 5));
    assert!(images[4].starts_with("image delete sha256:"), "{images:?}");
    let ids = ["events", "--since", "1h", "--until", "0s", "--filter", "type=volume", "--format"];
    let ids = does(&sandbox, &[&ids[..], &["{{.Action}} {{.Actor.ID}}"]].concat()).stdout;
    let named: Vec<&str> = ids.lines().filter(|line| line.len() < 30).collect();
    assert_eq!(
        named,
        ["create data", "create more", "create last", "destroy data", "destroy more", "destroy last"],
        "{ids}"
    );
    let anonymous: Vec<&str> = ids.lines().filter(|line| line.len() > 64).collect();
    assert_eq!(anonymous.len(), 2, "{ids}");
    assert_eq!(anonymous[0].strip_prefix("create"), anonymous[1].strip_prefix("destroy"));
}

#[test]
fn what_happens_is_told_as_it_happens() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "before"], &["sleep", "1000"]);
    let follow = sandbox.start(&["events", "--filter", "type=container", "--filter", "event=start"]);
    let json = sandbox.start(&["events", "--until", "-2s", "--format", "json", "--filter", "type=container"]);
    let path = format!("/proc/{}/fdinfo", sandbox.inner_pid(&follow));
    eventually("it listens", seconds(20), || {
        let open = std::fs::read_dir(&path).into_iter().flatten().flatten();
        open.filter_map(|file| std::fs::read_to_string(file.path()).ok()).any(|text| text.contains("inotify wd:"))
    });
    let id = up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    let line = format!("Z container start {id} (image=busybox, name=web)\n");
    let follow = follow.until("the start is told", seconds(20), |said| said.ends_with(&line));
    up_alone(&sandbox, &["--name", "other"], &["sleep", "1000"]);
    let follow = follow.until("the next one, too", seconds(20), |said| said.ends_with("name=other)\n"));

    // one whose time is over ends by itself, with docker's documents
    let said = json.output().expect_code(0).stdout;
    let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.len() >= 2 && events[0]["Action"] == "create", "with what was before: {said}");
    for event in &events {
        assert_eq!((event["scope"].as_str(), event["Type"].as_str()), (Some("local"), Some("container")), "{event}");
        assert!(event["timeNano"].as_i64().unwrap() / 1_000_000_000 == event["time"].as_i64().unwrap());
        assert!(event["Actor"]["Attributes"]["image"] == "busybox" && event["id"] == event["Actor"]["ID"], "{event}");
    }
    does(&sandbox, &["system", "reset", "--yes"]);
    follow.output().expect_code(0); // it ends with what it watches
    assert!(!sandbox.path("state").exists(), "nothing is left");
}

#[test]
fn an_end_that_no_monitor_saw_is_told_by_who_finds_it() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let killed_with_monitor = |name: &str| {
        let (monitor, pid) = (monitor(&sandbox, name), pid(&sandbox, name));
        let gone = format!("while kill -0 {monitor} 2>/dev/null || kill -0 {pid} 2>/dev/null; do sleep 0.01; done");
        sandbox.sh(&format!("kill -9 {monitor} {pid}; {gone}")).expect_code(0);
    };
    up_alone(&sandbox, &["--name", "kept"], &["sleep", "1000"]);
    up_alone(&sandbox, &["--rm", "--name", "gone"], &["sleep", "1000"]);
    killed_with_monitor("kept");
    killed_with_monitor("gone");
    assert!(told(&sandbox, &["event=die"]).is_empty());
    for _twice in 0..2 {
        does(&sandbox, &["repair"]);
    }
    assert_eq!(told(&sandbox, &["container=kept", "event=die"]), ["container die kept exit=255"]);
    let gone = told(&sandbox, &["container=gone", "event=die", "event=destroy"]);
    assert_eq!(gone, ["container die gone exit=255", "container destroy gone"]);

    // a monitor that takes another one's place tells the end, and not the start again
    up_alone(&sandbox, &["--name", "web"], &["sleep", "1000"]);
    kill_monitor(&sandbox, "web");
    does(&sandbox, &["stop", "-t", "0", "web"]);
    let web = told(&sandbox, &["container=web", "event=start", "event=die", "event=stop"]);
    assert_eq!(web, ["container start web", "container die web exit=137", "container stop web"]);
}

#[test]
fn its_health_is_told_when_it_changes() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let check = ["--health-interval", "50ms", "--health-retries", "1", "--health-cmd", "test -e /well"];
    up_alone(&sandbox, &[&["--name", "web"][..], &check].concat(), &["sleep", "1000"]);
    let health = |wanted: &[&str]| {
        let wanted: Vec<String> = wanted.iter().map(|word| format!("container health_status: {word} web")).collect();
        eventually("it is told", seconds(20), || told(&sandbox, &["event=health_status"]) == wanted);
    };
    health(&["unhealthy"]);
    does(&sandbox, &["exec", "web", "touch", "/well"]);
    health(&["unhealthy", "healthy"]);
}

#[test]
fn nothing_fails_where_nothing_can_be_told() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let log = sandbox.path("state/events");
    let life = |sandbox: &Sandbox| {
        up_alone(sandbox, &["--name", "web"], &["sleep", "1000"]);
        does(sandbox, &["exec", "web", "true"]);
        does(sandbox, &["rm", "-f", "web"]);
    };
    // the place is taken by something else
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::write(&log, "not a directory").unwrap();
    life(&sandbox);
    std::fs::remove_file(&log).unwrap();
    // a disk without room
    std::fs::create_dir(&log).unwrap();
    sandbox.sh(&format!("mount -t tmpfs -o size=4k full {0} && yes >{0}/fill", log.display()));
    let said = sandbox.sh(&format!("echo x >>{0}/log; stat -f -c %a {0}", log.display()));
    assert!(said.stdout.ends_with("0\n"), "there is no room: {said}");
    life(&sandbox);
    sandbox.sh(&format!("mount -o remount,ro full {}", log.display())).expect_code(0);
    life(&sandbox);
    assert!(told(&sandbox, &[]).is_empty());
    sandbox.sh(&format!("umount {}", log.display())).expect_code(0);
    life(&sandbox);
    assert_eq!(told(&sandbox, &["event=destroy"]), ["container destroy web"]);
}
