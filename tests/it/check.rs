//! `info --check` and `info`: what they say of this host is true, and nothing changes for it.

use crate::detached::{does, up_alone};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, minirun_binary};
use crate::support::snapshot::Snapshot;
use serde_json::Value;

/// The rows by name; of several with one name the last.
fn rows(sandbox: &Sandbox) -> std::collections::BTreeMap<String, Value> {
    let said = sandbox.minirun(&["info", "--check", "--format", "json"]).stdout;
    let rows: Vec<Value> = serde_json::from_str(&said).unwrap();
    rows.into_iter().map(|row| (row["Name"].as_str().unwrap().to_owned(), row)).collect()
}

#[test]
fn a_host_is_looked_at_and_not_touched() {
    requires![root, tool("nft"), tool("strace")];
    let sandbox = Sandbox::new();
    std::fs::remove_dir(sandbox.path("root")).unwrap();
    std::fs::remove_dir(sandbox.path("state")).unwrap();
    let modules = || std::fs::read_to_string("/proc/modules").unwrap_or_default();
    let (before, loaded) = (Snapshot::of(&sandbox), modules().lines().count());
    let list = sandbox.path("calls");
    let said = sandbox.sh(&format!("strace -f -o {} {:?} info --check", list.display(), minirun_binary()));
    let text = said.expect_code(0).stdout;
    let first = format!("ok        kernel           Linux {}\n", sandbox.sh("uname -r").text());
    assert!(text.starts_with(&first), "{text}");
    before.assert_same(&sandbox);
    assert_eq!(modules().lines().count(), loaded);
    let calls = std::fs::read_to_string(list).unwrap();
    let (flags, changes) =
        (["O_CREAT", "O_WRONLY", "O_RDWR"], ["mkdir", "unlink", "rename", "mount", "fsopen", "link"]);
    for line in calls.lines().filter(|line| !line.contains("/dev/null")) {
        let name = line.split('(').next().unwrap_or_default().split_whitespace().last().unwrap_or_default();
        assert!(!flags.iter().any(|flag| line.contains(flag)) && !changes.contains(&name), "{line}");
    }
    assert!(calls.contains("statfs"), "it was looked at");
}

#[test]
fn what_could_be_better_is_said_with_what_to_do() {
    requires![root, tool("nft")];
    let sandbox = Sandbox::new();
    let is = |row: &Value, state: &str, words: &[&str]| {
        assert_eq!(row["State"], state, "{row}");
        let text = row.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{row}");
        assert_eq!(row["Remedy"].is_string(), state != "ok", "{row}");
    };
    let good = rows(&sandbox);
    is(&good["firewall"], "ok", &["nothing drops"]);
    is(&good["nftables"], "ok", &["answers"]);
    is(&good["openat2"], "ok", &[]);
    is(&good["ip_forward"], "degraded", &["off"]);
    let worse = "set -e; echo 1 >/proc/sys/net/ipv4/ip_forward
        nft 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'
        nft 'add chain ip filter DOCKER-USER'";
    sandbox.sh(worse).expect_code(0);
    let bad = rows(&sandbox);
    is(&bad["firewall"], "degraded", &["ip filter", "docker"]);
    is(&bad["ip_forward"], "ok", &[]);
    // no resolver, and a store on what is nearly full
    let place = sandbox.path("full");
    std::fs::create_dir(&place).unwrap();
    let place = place.to_str().unwrap();
    let script = format!(
        "set -e; mount -t tmpfs -o size=1m full {place}; echo 'search lan' >{place}/resolv.conf
        mount --bind {place}/resolv.conf /etc/resolv.conf
        MINIRUN_ROOT={place}/store {:?} info --check",
        minirun_binary()
    );
    let said = sandbox.sh(&script).expect_code(1);
    let has = |word: &str| said.stdout.lines().any(|line| line.starts_with(word));
    assert!(has("missing   space ") && has("degraded  resolver "), "{said}");
    assert!(said.stdout.contains("          hint: minirun system prune"), "{said}");
    sandbox.minirun(&["info", "--check", "--format", "{{.Name}}"]).expect_code(2);
}

#[test]
fn a_normal_user_is_told_what_root_would_see() {
    requires![root, tool("setpriv")];
    let sandbox = Sandbox::new();
    // our binary may lie where others cannot reach it
    let copy = format!(
        "cp {:?} /run/minirun; chmod 755 /run /run/minirun; chmod 700 $MINIRUN_ROOT $MINIRUN_STATE",
        minirun_binary()
    );
    sandbox.sh(&copy).expect_code(0);
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups /run/minirun";
    let said = sandbox.sh(&format!("{user} info --check")).expect_code(0);
    assert!(said.stdout.contains("hint: sudo minirun info --check"), "{said}");
    assert!(said.stdout.lines().any(|line| line.starts_with("ok        kernel ")), "{said}");
    let info = sandbox.sh(&format!("{user} info")).expect_code(0).stdout;
    assert!(info.contains("Kernel Version: ") && !info.contains("Containers: "), "{info}");
}

#[test]
fn info_counts_and_names_what_there_is() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    up_alone(&sandbox, &["--name", "a"], &["sleep", "1000"]);
    up_alone(&sandbox, &["--name", "b"], &["sleep", "1000"]);
    does(&sandbox, &["pause", "b"]);
    does(&sandbox, &["create", "--name", "c", "busybox"]);
    let config = sandbox.path("config.toml");
    std::fs::write(&config, "[[mirror]]\nhost = \"docker.io\"\nurl = \"http://127.0.0.1:5000\"\n").unwrap();
    let info = does(&sandbox, &["--config", config.to_str().unwrap(), "info"]).stdout;
    for part in [
        "Containers: 3\n Running: 1\n Paused: 1\n Stopped: 1\nImages: 1\n",
        "Storage Driver: overlay\n",
        &format!("Root Dir: {}\n", sandbox.path("root").display()),
        "Registry Mirrors:\n  http://127.0.0.1:5000\n",
        "WARNING: ip_forward: ",
    ] {
        assert!(info.contains(part), "{part}: {info}");
    }
    does(&sandbox, &["unpause", "b"]); // what stands still cannot be killed with its sandbox
}
