//! The store of images, whatever happens to who works on it: SIGKILL before any system call of a load, a pull, an
//! unpacking, a removal or a save, and a disk without room. It can be read afterwards, all that is in it is what its
//! digests say, what it takes on the disk is known to the byte, and a prune leaves what an empty store has.

use crate::calls::Call;
use crate::support::command::{Output, output};
use crate::support::registry::{REGISTRY, Registry};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, image_layout, minirun_binary};

/// Moments of one command that are tried where nobody soaks.
const SAMPLE: usize = 10;

/// minirun, with a store of this name.
struct Host {
    sandbox: Sandbox,
    root: String,
}

impl Host {
    fn new() -> Host {
        let sandbox = Sandbox::new();
        let root = sandbox.path("root").to_str().unwrap().to_owned();
        Host { sandbox, root }
    }

    #[track_caller]
    fn minirun(&self, args: &[&str]) -> Output {
        output(self.sandbox.minirun_command(args).env("MINIRUN_ROOT", &self.root))
    }

    /// minirun under strace, with these options.
    #[track_caller]
    fn traced(&self, options: &[String], args: &[&str]) -> Output {
        let mut strace = self.sandbox.command("strace");
        strace.arg("-qq").args(options).arg(minirun_binary()).args(args);
        output(strace.env("MINIRUN_ROOT", &self.root))
    }

    #[track_caller]
    fn sh(&self, script: &str) -> String {
        self.sandbox.sh(script).text()
    }

    /// It can be read, it is right, and `system df` says what du says.
    #[track_caller]
    fn assert_sound(&self, when: &str) {
        self.minirun(&["images"]).expect_code(0);
        let said = self.minirun(&["verify"]);
        assert_eq!(said.code(), 0, "{when}: {said}");
        let (df, du) = (self.df(), self.du());
        assert_eq!(df, du, "{when}: {}", self.minirun(&["system", "df"]));
    }

    fn df(&self) -> u64 {
        let rows = self.minirun(&["system", "df", "--format", "{{.Type}}\t{{.Bytes}}"]).text();
        let of_store = |line: &str| {
            let (kind, bytes) = line.split_once('\t')?;
            ["Images", "Layers", "Unfinished"].contains(&kind).then(|| bytes.parse::<u64>().unwrap())
        };
        rows.lines().filter_map(of_store).sum()
    }

    fn du(&self) -> u64 {
        let script = format!("cd {} && du -sc --block-size=1 images layers | tail -n 1 | cut -f 1", self.root);
        self.sh(&script).parse().unwrap()
    }

    /// Everything goes, and nothing is left but what every store has.
    #[track_caller]
    fn assert_prunes_to_nothing(&self, when: &str) {
        self.minirun(&["system", "prune", "-a", "-f"]).expect_code(0);
        let left = self.sh(&format!(
            "cd {} && find images layers -mindepth 1 -name '.*lock*' -empty -o -mindepth 1 -printf '%p\\n' | sort",
            self.root
        ));
        let left: Vec<&str> = left.lines().filter(|name| *name != "images/index.json").collect();
        assert_eq!(left, ["images/blobs", "images/blobs/sha256", "images/oci-layout", "layers/l"], "{when}");
        assert_eq!(self.df(), self.du(), "{when}");
    }

    /// Kills a command before some of its calls, or all where somebody soaks. `ready` makes what it works on.
    fn killed(&self, args: &[&str], mut ready: impl FnMut(), mut look: impl FnMut(&str)) {
        let list = self.sandbox.path("calls").to_str().unwrap().to_owned();
        ready();
        self.traced(&["-o".to_owned(), list.clone()], args).expect_code(0);
        let calls = Call::sample(&std::fs::read_to_string(&list).unwrap(), SAMPLE);
        assert!(calls.len() >= SAMPLE / 2, "{calls:?}");
        let mut killed = 0; // some call comes another number of times
        for call in &calls {
            ready();
            let mut options = vec!["-o".to_owned(), "/dev/null".to_owned()];
            options.extend(call.signal("KILL"));
            let said = self.traced(&options, args);
            let when = format!("{args:?} before {call:?}: {said}");
            killed += usize::from(said.code() == 137);
            look(&when);
            self.assert_sound(&when);
        }
        assert!(killed > calls.len() / 2, "{killed} of {calls:?}");
    }
}

#[test]
fn a_load_that_is_killed_anywhere_leaves_a_store_that_is_sound() {
    requires![root, tool("strace")];
    let host = Host::new();
    let layout = image_layout("busybox");
    let args = ["load", "-q", "-i", layout.to_str().unwrap()];
    host.killed(
        &args,
        || {
            host.minirun(&args).expect_code(0);
            host.minirun(&["rmi", "busybox"]).expect_code(0);
        },
        |_| {},
    );
    host.minirun(&args).expect_code(0);
    host.assert_sound("loaded again");
    host.assert_prunes_to_nothing("after a load");
}

#[test]
fn a_removal_that_is_killed_anywhere_can_be_done_again() {
    requires![root, tool("strace")];
    let host = Host::new();
    let layout = image_layout("busybox");
    let ready = || {
        host.minirun(&["load", "-q", "-i", layout.to_str().unwrap()]).expect_code(0);
        host.minirun(&["run", "--rm", "--network", "none", "busybox", "true"]).expect_code(0);
    };
    host.killed(&["rmi", "busybox"], ready, |_| {});
    ready();
    host.assert_prunes_to_nothing("after removals");
}

#[test]
fn an_unpacking_that_is_killed_anywhere_is_done_by_the_next() {
    requires![root, tool("strace")];
    let host = Host::new();
    let layout = image_layout("busybox");
    let ready = || {
        host.minirun(&["load", "-q", "-i", layout.to_str().unwrap()]).expect_code(0);
        host.minirun(&["rm", "-f", "x"]);
        host.minirun(&["repair"]).expect_code(0);
        host.sh(&format!("rm -rf {}/layers/*", host.root));
    };
    host.killed(&["create", "--name", "x", "--network", "none", "busybox", "true"], ready, |_| {});
    host.minirun(&["run", "--rm", "--network", "none", "busybox", "true"]).expect_code(0);
    host.minirun(&["rm", "-f", "x"]);
    host.assert_prunes_to_nothing("after unpacking");
}

#[test]
fn a_save_that_is_killed_anywhere_leaves_the_old_file_or_the_new_one() {
    requires![root, tool("strace")];
    let host = Host::new();
    let out = host.sandbox.path("out.tar").to_str().unwrap().to_owned();
    host.minirun(&["load", "-q", "-i", image_layout("busybox").to_str().unwrap()]).expect_code(0);
    let write_old = || std::fs::write(&out, "old").unwrap();
    host.killed(&["save", "-q", "-o", &out, "busybox"], write_old, |when| {
        if std::fs::read(&out).unwrap() != b"old" {
            let said = host.minirun(&["load", "-q", "-i", &out]);
            assert_eq!(said.code(), 0, "{when}: {said}");
        }
    });
    host.minirun(&["save", "-q", "-o", &out, "busybox"]).expect_code(0);
    host.minirun(&["load", "-q", "-i", &out]).expect_code(0);
}

#[test]
fn a_pull_that_is_killed_anywhere_leaves_a_store_that_is_sound() {
    requires![root, tool("strace"), tool("docker-registry"), tool("skopeo")];
    let host = Host::new();
    let _registry = Registry::start(&host.sandbox, "");
    let (from, to) = (image_layout("busybox"), format!("{REGISTRY}/busybox"));
    host.sh(&format!("skopeo copy -q --insecure-policy --dest-tls-verify=false oci:{} docker://{to}", from.display()));
    let args = ["pull", "-q", &to];
    let ready = || {
        host.minirun(&args).expect_code(0);
        host.minirun(&["rmi", &to]).expect_code(0);
    };
    host.killed(&args, ready, |_| {});
    host.minirun(&args).expect_code(0);
    host.assert_sound("pulled again");
    host.assert_prunes_to_nothing("after a pull");
}

#[test]
fn a_disk_without_room_is_said_and_nothing_is_left_of_the_try() {
    requires![root];
    let mut host = Host::new();
    host.root = host.sandbox.path("small").to_str().unwrap().to_owned();
    let layout = image_layout("busybox");
    let archive = host.sandbox.path("b.tar.gz");
    host.sh(&format!("tar cz -C {} -f {} .", layout.display(), archive.display()));
    let size: u64 = host.sh(&format!("du -s --block-size=1024 {} | cut -f 1", layout.display())).parse().unwrap();
    let mut refused = 0;
    for input in [&layout, &archive] {
        for kib in [64, size / 2, size - 16, size + 16, size + 64, 3 * size] {
            host.sh(&format!("mkdir -p {0} && mount -t tmpfs -o size={kib}k small {0}", host.root));
            // the store itself has room
            host.minirun(&["load", "-q", "-i", "/dev/null"]).expect_code(1);
            let before = host.du();
            let said = host.minirun(&["load", "-q", "-i", input.to_str().unwrap()]);
            let when = format!("{kib} KiB, {said}");
            if said.code() != 0 {
                refused += 1;
                assert!(said.stderr.contains("space left on device") && said.stderr.contains("hint: "), "{when}");
                assert_eq!(said.stderr.lines().count(), 2, "{when}");
                assert_eq!(host.du(), before, "{when}");
            }
            host.assert_sound(&when);
            host.assert_prunes_to_nothing(&when);
            host.sh(&format!("umount {}", host.root));
        }
    }
    assert!((4..12).contains(&refused), "{refused} of 12");
}

#[test]
fn a_disk_without_room_for_a_pull_is_said_and_the_store_stays_sound() {
    requires![root, tool("docker-registry"), tool("skopeo")];
    let mut host = Host::new();
    host.root = host.sandbox.path("small").to_str().unwrap().to_owned();
    let _registry = Registry::start(&host.sandbox, "");
    let (from, to) = (image_layout("busybox"), format!("{REGISTRY}/busybox"));
    host.sh(&format!("skopeo copy -q --insecure-policy --dest-tls-verify=false oci:{} docker://{to}", from.display()));
    let size: u64 = host.sh(&format!("du -s --block-size=1024 {} | cut -f 1", from.display())).parse().unwrap();
    let mut refused = 0;
    // for part of the blob, for the blob alone, for some of its files, for all of it
    for kib in [size / 4, size / 2, size + 16, size + 256, size + 1024, 16 * size] {
        host.sh(&format!("mkdir -p {0} && mount -t tmpfs -o size={kib}k small {0}", host.root));
        host.minirun(&["load", "-q", "-i", "/dev/null"]).expect_code(1); // the store itself has room
        let said = host.minirun(&["pull", "-q", &to]);
        let when = format!("{kib} KiB, {said}");
        if said.code() != 0 {
            refused += 1;
            assert!(said.stderr.contains("space left on device") && said.stderr.contains("hint: "), "{when}");
            assert_eq!(said.stderr.lines().count(), 2, "{when}");
            assert_eq!(host.minirun(&["images", "-q"]).text(), "", "{when}");
        }
        host.assert_sound(&when);
        host.assert_prunes_to_nothing(&when);
        host.sh(&format!("umount {}", host.root));
    }
    assert!((3..6).contains(&refused), "{refused} of 6");
}

#[test]
fn an_image_can_be_removed_from_a_disk_that_is_full() {
    requires![root];
    let mut host = Host::new();
    host.root = host.sandbox.path("small").to_str().unwrap().to_owned();
    host.sh(&format!("mkdir {0} && mount -t tmpfs -o size=32m small {0}", host.root));
    let fill = format!("! cat /dev/zero >{}/fill 2>/dev/null", host.root);
    for unpacked in [false, true] {
        host.minirun(&["load", "-q", "-i", image_layout("busybox").to_str().unwrap()]).expect_code(0);
        if unpacked {
            host.minirun(&["run", "--rm", "--network", "none", "busybox", "true"]).expect_code(0);
        }
        host.sh(&fill);
        host.minirun(&["tag", "busybox", "other"]).expect_code(1); // the control: there is no room for an index
        host.minirun(&["rmi", "busybox"]).expect_code(0);
        host.assert_sound("full");
        host.sh(&format!("rm {}/fill", host.root));
        host.assert_prunes_to_nothing("full");
    }
}
