//! Every container runs on the host's kernel, whatever its files are: no distribution, one of ours, a whole Debian.

use crate::support::command::Output;
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;

const IMAGES: [&str; 4] = ["hello", "busybox", "static", "debian"];

/// hello is in minirun.
fn sandbox_with_debian() -> Sandbox {
    Sandbox::with_images(&["busybox", "static", "debian"])
}

/// Runs a line of shell in an image that needs have no shell: the host's static busybox is mounted into it.
fn with_tool(sandbox: &Sandbox, image: &str, script: &str) -> Output {
    let busybox = format!("{}:/busybox:ro", sandbox.sh("command -v busybox").text());
    let flags = ["run", "--rm", "--network", "none", "-v", &busybox, "--entrypoint", "/busybox"];
    sandbox.minirun(&[&flags[..], &[image, "sh", "-c", script]].concat())
}

#[test]
fn the_kernel_is_the_hosts_in_every_image() {
    requires![root, tool("busybox")];
    let sandbox = sandbox_with_debian();
    let kernel = "cat /proc/sys/kernel/osrelease /proc/version /proc/sys/kernel/random/boot_id";
    let host = sandbox.sh(&format!("uname -r; {kernel}")).text();
    for image in IMAGES {
        let seen = with_tool(&sandbox, image, &format!("/busybox uname -r; /busybox {kernel}")).text();
        assert_eq!(seen, host, "{image}");
    }
    for image in ["busybox", "debian"] {
        // with their own programs
        let args = ["run", "--rm", "--network", "none", image, "sh", "-c", &format!("uname -r; {kernel}")];
        assert_eq!(sandbox.minirun(&args).text(), host, "{image}");
    }
    let hello = sandbox.minirun(&["run", "--rm", "--network", "none", "hello", "/hello", "--kernel"]).text();
    let hello: Vec<&str> = hello.lines().map(|line| line.split_once(": ").unwrap().1).collect();
    assert_eq!(hello.join("\n"), host.split_once('\n').unwrap().1);
}

#[test]
fn the_demo_shows_one_kernel_and_different_files() {
    requires![root, tool("busybox")];
    let sandbox = sandbox_with_debian();
    let shown = sandbox.minirun(&[&["demo", "kernel"], &IMAGES[..]].concat()).text();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["SEEN", "FROM", "KERNEL", "BOOT", "ID", "USERLAND"]);
    let kernel = sandbox.sh("uname -r; cat /proc/sys/kernel/random/boot_id").text().replace('\n', " ");
    let name = ". /etc/os-release && echo $PRETTY_NAME";
    let mut userlands = Vec::new();
    for (line, place) in lines[1..].iter().zip(["host"].iter().chain(&IMAGES)) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let userland = words[3..].join(" ");
        assert_eq!((words[0], words[1..3].join(" ")), (*place, kernel.clone()), "{shown}");
        let own = match *place {
            "host" => sandbox.sh(&format!("[ ! -e /etc/os-release ] || {{ {name}; }}")).text(),
            image => with_tool(&sandbox, image, &format!("[ ! -e /etc/os-release ] || {{ {name}; }}")).text(),
        };
        assert_eq!(userland, if own.is_empty() { "none".to_owned() } else { own }, "{shown}");
        userlands.push(userland);
    }
    assert_eq!(userlands.len(), 1 + IMAGES.len(), "{shown}");
    assert_eq!(userlands[1..3], ["none", "none"], "neither hello nor busybox is a distribution");
    assert!(userlands[4].starts_with("Debian GNU/Linux 12"), "{shown}");
    assert_eq!(lines.last(), Some(&"One kernel, booted once. What differs is the files."));
}
