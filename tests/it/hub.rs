//! Pulls from a registry that behaves as the public ones do: all at once, and killed in the middle.

use crate::support::command::{Running, eventually, seconds};
use crate::support::hub::{HUB, Hub};
use crate::support::registry::{minirun, minirun_command, sandbox_with_mirror};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, image_layout};
use std::process::Command;

/// The parts of blobs that the store keeps, with their lengths.
fn parts(sandbox: &Sandbox) -> Vec<(String, u64)> {
    let Ok(entries) = std::fs::read_dir(sandbox.path("root/images")) else { return Vec::new() };
    let part = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        let length = entry.metadata().ok()?.len();
        name.strip_prefix(".partial-").map(|digest| (digest.to_owned(), length))
    };
    entries.map(Result::unwrap).filter_map(part).collect()
}

#[test]
fn tokens_redirects_limits_and_attestations_are_understood() {
    requires![root];
    let sandbox = sandbox_with_mirror();
    let hub = Hub::start(&sandbox, &image_layout("busybox"), usize::MAX);
    let image = format!("{HUB}/team/site:1");
    assert_eq!(minirun(&sandbox, &["pull", "-q", &image]).text(), image);
    let requests = hub.requests();
    let storage: Vec<_> = requests.iter().filter(|[place, ..]| place != HUB).collect();
    assert_eq!(storage.len(), 2, "configuration and layer: {requests:?}");
    assert!(storage.iter().all(|[_, _, authorization, ..]| authorization.is_empty()), "{storage:?}");
    // the control: the registry itself sees it with every request but the first and that for the token
    let shown = requests.iter().filter(|[place, _, authorization, ..]| place == HUB && !authorization.is_empty());
    assert!(shown.count() >= 4, "{requests:?}");
    let said = minirun(&sandbox, &["pull", "--platform", "linux/riscv64", &image]).expect_code(1);
    assert!(said.stderr.contains("only for linux/s390x, linux/"), "{said}");
}

#[test]
fn a_pull_that_is_killed_at_half_is_gone_on_with() {
    requires![root];
    let sandbox = sandbox_with_mirror();
    let half = 532_000;
    let hub = Hub::start(&sandbox, &image_layout("busybox"), half);
    let image = format!("{HUB}/team/site:1");
    let running = Running::start(&mut minirun_command(&sandbox, &["pull", &image]));
    let pid = sandbox.inner_pid(&running).to_string();
    eventually("half of the layer is there", seconds(20), || parts(&sandbox).iter().any(|(_, n)| *n == half as u64));
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    running.output().expect_code(137);
    assert_eq!(minirun(&sandbox, &["images", "-q"]).text(), "");
    let part = parts(&sandbox).pop().unwrap().0;
    minirun(&sandbox, &["pull", "-q", &image]).expect_code(0);
    minirun(&sandbox, &["run", "--rm", "--network", "none", &image, "busybox", "true"]).expect_code(0);
    assert_eq!(parts(&sandbox), []);
    let requests = hub.requests();
    let of_layer: Vec<_> = requests.iter().filter(|[place, path, ..]| place != HUB && path.contains(&part)).collect();
    assert_eq!(of_layer.iter().map(|[.., range, _]| range.as_str()).collect::<Vec<_>>(), ["", "bytes=532000-"]);
    let served: u64 = of_layer.iter().map(|[.., bytes]| bytes.parse::<u64>().unwrap()).sum();
    let size = std::fs::metadata(image_layout("busybox").join("blobs/sha256").join(&part)).unwrap().len();
    assert_eq!(served, size, "each byte once");
}

#[test]
fn what_a_killed_pull_has_left_goes_with_the_next_prune() {
    requires![root];
    let sandbox = sandbox_with_mirror();
    let _hub = Hub::start(&sandbox, &image_layout("busybox"), 532_000);
    let running = Running::start(&mut minirun_command(&sandbox, &["pull", &format!("{HUB}/team/site:1")]));
    let pid = sandbox.inner_pid(&running).to_string();
    eventually("half of the layer is there", seconds(20), || parts(&sandbox).iter().any(|(_, n)| *n == 532_000));
    let prune = ["system", "prune", "--force"];
    minirun(&sandbox, &prune).expect_code(0);
    assert_eq!(parts(&sandbox).len(), 1, "somebody pulls");
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    running.output().expect_code(137);
    minirun(&sandbox, &prune).expect_code(0);
    assert_eq!(parts(&sandbox), []);
}
