//! `save`, `load` and `copy` with those who are to read what we write, and write what we read: skopeo, podman, docker.

use crate::detached::{does, refused};
use crate::support::command::Output;
use crate::support::registry::{REGISTRY, Registry};
use crate::support::requires::requires;
use crate::support::sandbox::{Sandbox, image_layout};
use std::path::Path;

/// Runs a line of shell in the sandbox's own directory.
#[track_caller]
fn sh(sandbox: &Sandbox, script: &str) -> String {
    sandbox.sh(&format!("set -eo pipefail; cd {}; {script}", sandbox.path("").display())).text()
}

fn path(sandbox: &Sandbox, name: &str) -> String {
    sandbox.path(name).to_str().unwrap().to_owned()
}

/// The manifest's digest as our store has it.
fn digest(sandbox: &Sandbox, name: &str) -> String {
    does(sandbox, &["inspect", "--type=image", "-f", "{{.Digest}}", name]).text()
}

#[track_caller]
fn runs(sandbox: &Sandbox, name: &str) -> Output {
    does(sandbox, &["run", "--rm", "--network", "none", name, "true"])
}

/// Each place as skopeo and we spell it, with `%` for the directory.
const PLACES: [&str; 4] = ["oci:%/layout:x:1", "oci-archive:%/a.tar:x:1", "docker-archive:%/d.tar:x:1", "dir:%/d"];

#[test]
fn skopeo_reads_all_that_we_write() {
    requires![root, tool("skopeo"), tool("jq")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let home = path(&sandbox, "");
    let wanted = digest(&sandbox, "busybox");
    let id = does(&sandbox, &["images", "-q", "--no-trunc", "busybox"]).text();
    for place in PLACES {
        let place = place.replace('%', home.trim_end_matches('/'));
        assert_eq!(does(&sandbox, &["copy", "-q", "busybox", &place]).text(), wanted, "{place}");
        let raw = sh(&sandbox, &format!("skopeo inspect --raw {place}"));
        assert!(raw.contains(&id), "{place}: {raw}");
        sh(&sandbox, &format!("rm -rf copy; skopeo copy -q --insecure-policy {place} dir:copy"));
        let copied = sh(&sandbox, "cat copy/manifest.json");
        assert!(copied.contains(&id), "{place}: {copied}");
        if !place.starts_with("docker-archive") {
            assert_eq!(
                format!(
                    "sha256:{}",
                    sh(&sandbox, &format!("skopeo inspect --raw {place} | sha256sum | cut -d' ' -f1"))
                ),
                wanted
            );
        }
    }
    for format in ["docker-archive", "oci-archive", "oci-dir", "docker-dir"] {
        let out = path(&sandbox, format);
        does(&sandbox, &["save", "-q", "--format", format, "-o", &out, "busybox"]);
        let place = match format {
            "oci-dir" => format!("oci:{out}:busybox:latest"),
            "docker-dir" => format!("dir:{out}"),
            archive => format!("{archive}:{out}:busybox:latest"),
        };
        let raw = sh(&sandbox, &format!("skopeo inspect --raw {place}"));
        assert!(raw.contains(&id), "{place}: {raw}");
    }
}

#[test]
fn we_read_all_that_skopeo_writes() {
    requires![root, tool("skopeo")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let from = format!("oci:{}", image_layout("busybox").display());
    let id = does(&sandbox, &["images", "-q", "--no-trunc", "busybox"]).text();
    let zstd = "--dest-compress-format zstd --dest-force-compress-format";
    for (n, (place, more)) in PLACES.iter().map(|place| (*place, "")).chain([(PLACES[0], zstd)]).enumerate() {
        let place = place.replace('%', path(&sandbox, &format!("of-skopeo-{n}")).trim_end_matches('/'));
        sh(
            &sandbox,
            &format!(
                "mkdir of-skopeo-{n}; skopeo copy -q --insecure-policy {more} {from} {place} 2>&1 || skopeo copy -q --insecure-policy --dest-compress-format zstd {from} {place}"
            ),
        );
        let name = format!("copied:{n}");
        does(&sandbox, &["copy", "-q", &place, &name]);
        assert_eq!(does(&sandbox, &["images", "-q", "--no-trunc", &name]).text(), id, "{place}");
        runs(&sandbox, &name);
        // and by load, which finds out what it is
        let (_, file) = place.split_once(':').unwrap();
        let said = does(&sandbox, &["load", "-q", "-i", file.split(':').next().unwrap()]).text();
        assert!(said == "x:1" || place.starts_with("dir:"), "{place}: {said}");
    }
}

#[test]
fn podman_loads_what_we_save_and_we_what_it_saves() {
    requires![root, tool("podman")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let id = does(&sandbox, &["images", "-q", "--no-trunc", "busybox"]).text();
    let podman =
        format!("podman --root {0}/p --runroot {0}/r --storage-driver vfs", path(&sandbox, "").trim_end_matches('/'));
    for format in ["docker-archive", "oci-archive", "oci-dir", "docker-dir"] {
        let out = path(&sandbox, format);
        does(&sandbox, &["save", "-q", "--format", format, "-o", &out, "busybox"]);
        let said = sh(&sandbox, &format!("{podman} load -q -i {format}"));
        // podman calls what it loads from a directory by that
        let there = sh(&sandbox, &format!("{podman} images -q --no-trunc | sort -u"));
        assert_eq!(there, id, "{format}: {said}");
        assert!(said.contains("busybox:latest") || format.ends_with("-dir"), "{format}: {said}");
        let back = path(&sandbox, &format!("back-{format}"));
        sh(&sandbox, &format!("{podman} save -q --format {format} -o {back} {id}"));
        sh(&sandbox, &format!("{podman} rmi -f {id} >/dev/null"));
        let loaded = does(&sandbox, &["load", "-q", "-i", &back]).text();
        assert!(!loaded.is_empty(), "{format}");
        does(&sandbox, &["verify"]);
    }
}

#[test]
fn docker_loads_what_we_save_and_we_what_it_saves() {
    requires![root, tool("curl"), tool("dockerd"), tool("jq"), tool("skopeo")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let id = does(&sandbox, &["images", "-q", "--no-trunc", "busybox"]).text();
    does(&sandbox, &["tag", "busybox", "team/tools:1"]);
    // a layer that this docker cannot read
    let layout = path(&sandbox, "zstd");
    let from = image_layout("busybox");
    let skopeo = "skopeo copy -q --insecure-policy --dest-compress --dest-compress-format zstd";
    sh(&sandbox, &format!("{skopeo} oci:{} oci:{layout}:packed", from.display()));
    does(&sandbox, &["load", "-q", "-i", &layout]);
    does(&sandbox, &["save", "-q", "-o", &path(&sandbox, "ours.tar"), "busybox", "team/tools:1", "packed"]);
    let docker = crate::coexistence::docker(&sandbox);
    let curl = |rest: &str| {
        let line = format!("curl -sf --unix-socket docker.sock http://docker/{rest}");
        sandbox.in_network(&format!("set -o pipefail; cd {} && {line}", path(&sandbox, ""))).text()
    };
    let said = curl("images/load -X POST -H 'content-type: application/x-tar' --data-binary @ours.tar");
    assert!(said.contains("Loaded image: busybox:latest") && said.contains("team/tools:1"), "{said}");
    let there = curl("images/json | jq -r '.[]|.Id+\" \"+(.RepoTags|sort|join(\" \"))'");
    assert_eq!(there, format!("{id} busybox:latest packed:latest team/tools:1"));
    curl("images/busybox/get -o theirs.tar");
    crate::coexistence::end_docker(&sandbox, docker);
    does(&sandbox, &["rmi", "busybox", "team/tools:1", "packed"]);
    assert_eq!(does(&sandbox, &["load", "-q", "-i", &path(&sandbox, "theirs.tar")]).text(), "busybox:latest");
    assert_eq!(does(&sandbox, &["images", "-q", "--no-trunc", "busybox"]).text(), id);
    runs(&sandbox, "busybox");
}

#[test]
fn archives_come_in_whatever_they_are_packed_with() {
    requires![root, tool("xz")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let out = path(&sandbox, "b.tar");
    does(&sandbox, &["save", "-o", &out, "busybox"]);
    for pack in ["xz -0", "xz -9e", "xz -T2 --block-size=100KiB", "xz --check=crc32", "xz --check=sha256", "gzip -1"] {
        does(&sandbox, &["rmi", "busybox"]);
        let packed = path(&sandbox, "packed");
        sh(&sandbox, &format!("{pack} -c b.tar >packed"));
        assert_eq!(does(&sandbox, &["load", "-q", "-i", &packed]).text(), "busybox:latest", "{pack}");
        let minirun = crate::support::sandbox::minirun_binary();
        let piped = sh(&sandbox, &format!("cat packed | {0} load -q; {0} load -q <packed", minirun.display()));
        assert_eq!(piped, "busybox:latest\nbusybox:latest", "{pack}");
    }
    does(&sandbox, &["verify", "-q"]);
    for (pack, word) in [
        ("xz --x86 --lzma2=preset=1", "a filter besides LZMA2"),
        ("xz --lzma2=dict=256MiB", "256 MiB"),
        ("bzip2", "bzip2 compression is not read"),
    ] {
        if sandbox.sh(&format!("cd {} && {pack} -c b.tar >packed", path(&sandbox, ""))).code() == 0 {
            refused(&sandbox, &["load", "-q", "-i", &path(&sandbox, "packed")], 1, word);
        }
    }
}

/// Makes of the layout `x` an index `y` of two platforms: the host's image, and one that says it is for another.
const INDEX: &str = r#"cd layout; old=$(jq -r '.manifests[0].digest' index.json); size=$(jq '.manifests[0].size' index.json)
config=$(jq -r .config.digest blobs/sha256/${old#*:}); put() { h=$(sha256sum <new | cut -d' ' -f1); mv new blobs/sha256/$h; }
jq -c '.architecture="s390x"' blobs/sha256/${config#*:} >new; s=$(stat -c %s new); put
jq -c ".config.digest=\"sha256:$h\" | .config.size=$s" blobs/sha256/${old#*:} >new; s=$(stat -c %s new); put; other=$h
host=$(jq -r .architecture blobs/sha256/${config#*:}); m=application/vnd.oci.image.manifest.v1+json
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
{"mediaType":"%s","digest":"%s","size":%s,"platform":{"os":"linux","architecture":"%s"}},
{"mediaType":"%s","digest":"sha256:%s","size":%s,"platform":{"os":"linux","architecture":"s390x"}}]}' \
$m $old $size $host $m $other $s >new; s=$(stat -c %s new); put
printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:%s",
"size":%s,"annotations":{"org.opencontainers.image.ref.name":"y"}}]}' $h $s >index.json; echo sha256:$h $old sha256:$other"#;

#[test]
fn an_image_for_several_platforms_keeps_them_all_or_gives_one() {
    requires![root, tool("skopeo"), tool("jq")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let layout = path(&sandbox, "layout");
    does(&sandbox, &["copy", "-q", "busybox", &format!("oci:{layout}:x")]);
    let digests = sh(&sandbox, INDEX);
    let [index, host, other] = digests.split(' ').collect::<Vec<_>>()[..] else { panic!("{digests}") };
    let from = format!("oci:{layout}:y");
    for (n, to) in ["oci:%/layout:z", "oci-archive:%/a.tar", "dir:%/d"].into_iter().enumerate() {
        let to = to.replace('%', &path(&sandbox, &n.to_string()));
        std::fs::create_dir(sandbox.path(&n.to_string())).unwrap();
        assert_eq!(does(&sandbox, &["copy", "-q", "--all", &from, &to]).text(), index, "{to}");
        let raw = sh(&sandbox, &format!("skopeo inspect --raw {to} | sha256sum | cut -d' ' -f1"));
        assert_eq!(format!("sha256:{raw}"), index, "{to}");
        // skopeo takes all of it back out
        sh(&sandbox, &format!("skopeo copy -q --all --insecure-policy {to} oci:back-{n}:x"));
        let one = does(&sandbox, &["copy", "-q", "--platform", "linux/s390x", &to, "foreign"]).text();
        assert_eq!((one.as_str(), digest(&sandbox, "foreign").as_str()), (other, other), "{to}");
    }
    assert_eq!(does(&sandbox, &["copy", "-q", &from, "mine"]).text(), host);
    refused(&sandbox, &["copy", "-q", "--platform", "linux/arm64", &from, "x"], 1, "there is no image for linux/arm64");
    let copy = ["copy", "-q", "--platform", "linux/riscv64", "busybox", "dir:/dev/null"];
    refused(&sandbox, &copy, 1, ", not linux/riscv64");
    for to in ["minirun:x", "docker-archive:/dev/null"] {
        refused(&sandbox, &["copy", "-q", "--all", &from, to], 1, "cannot keep images for several platforms");
    }
}

#[test]
fn a_copy_goes_into_a_registry_and_out_of_it() {
    requires![root, tool("skopeo"), tool("docker-registry"), tool("jq")];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let _registry = Registry::start(&sandbox, "");
    let layout = path(&sandbox, "layout");
    does(&sandbox, &["copy", "-q", "busybox", &format!("oci:{layout}:x")]);
    let digests = sh(&sandbox, INDEX);
    let [index, host, _] = digests.split(' ').collect::<Vec<_>>()[..] else { panic!("{digests}") };
    let (from, there) = (format!("oci:{layout}:y"), format!("docker://{REGISTRY}/team/app:1"));
    for (all, digest) in [(false, host), (true, index)] {
        let args = ["copy", "-q", "-a", &from, &there];
        let args: Vec<&str> = args.into_iter().filter(|word| all || *word != "-a").collect();
        assert_eq!(does(&sandbox, &args).text(), digest);
        let raw = sh(&sandbox, &format!("skopeo inspect --raw --tls-verify=false {there} | sha256sum | cut -d' ' -f1"));
        assert_eq!(format!("sha256:{raw}"), digest);
    }
    // everything of it comes back, by tag and by digest; the store takes what is for this host
    let pinned = format!("docker://{REGISTRY}/team/app@{index}");
    for (from, to) in [(&there, "oci-archive:%a.tar"), (&pinned, "dir:%d")] {
        let to = to.replace('%', &path(&sandbox, ""));
        assert_eq!(does(&sandbox, &["copy", "-q", "--all", from, &to]).text(), index);
        sh(&sandbox, &format!("skopeo copy -q --all --insecure-policy {to} oci:back:x"));
    }
    assert_eq!(does(&sandbox, &["copy", "-q", &there, "mine"]).text(), host);
    runs(&sandbox, "mine");
    refused(&sandbox, &["copy", "-q", "busybox", &pinned], 1, "under a tag, not a digest");
    refused(&sandbox, &["copy", "-q", &format!("docker://{REGISTRY}/nosuch"), "x"], 1, "nosuch");
}

#[test]
fn what_is_damaged_is_found_and_loaded_again() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox", "hello"]);
    runs(&sandbox, "busybox");
    let said = does(&sandbox, &["verify"]).text();
    assert_eq!(said.lines().filter(|line| line.contains(": whole, ")).count(), 2, "{said}");
    let store = sandbox.path("root");
    let layers = does(&sandbox, &["inspect", "-f", "{{index .RootFS.Layers 0}}", "busybox"]).text();
    let dir = store.join("layers").join(layers.strip_prefix("sha256:").unwrap());
    let manifest = digest(&sandbox, "busybox");
    let blobs = store.join("images/blobs/sha256");
    let largest = sh(&sandbox, &format!("ls -S {} | head -n 1", blobs.display()));
    let layer = blobs.join(largest);
    let manifest = blobs.join(manifest.strip_prefix("sha256:").unwrap());
    for (what, damage) in [
        (&layer, "printf x | dd of=$it bs=1 seek=500 conv=notrunc"),
        (&layer, "truncate -s -1 $it"),
        (&layer, "rm $it"),
        (&manifest, "echo >>$it"),
        (&manifest, "rm $it"),
        (&dir, "rm -r $it; touch $it"),
    ] {
        let name = what.display();
        sh(&sandbox, &format!("it={name}; cp -a $it kept; {damage} 2>/dev/null"));
        let said = sandbox.minirun(&["verify"]).expect_code(1);
        assert!(said.stdout.contains(Path::new(what).file_name().unwrap().to_str().unwrap()), "{damage}: {said}");
        let words = ["1 of 2 images damaged", "--repair busybox:latest"];
        assert!(words.iter().all(|word| said.stderr.contains(word)), "{said}");
        does(&sandbox, &["verify", "hello"]);
        sh(&sandbox, &format!("it={name}; rm -rf $it; mv kept $it"));
    }
    does(&sandbox, &["verify", "-q"]);
    // as the hint says; a load alone keeps what is there
    sh(&sandbox, &format!("truncate -s -1 {}", layer.display()));
    does(&sandbox, &["load", "-q", "-i", image_layout("busybox").to_str().unwrap()]);
    let said = sandbox.minirun(&["verify", "-q", "--repair"]).expect_code(1);
    let removed = format!("\nremoved sha256:{}\n", layer.file_name().unwrap().to_str().unwrap());
    assert!(said.stdout.ends_with(&removed), "{said}");
    does(&sandbox, &["load", "-q", "-i", image_layout("busybox").to_str().unwrap()]);
    does(&sandbox, &["verify", "-q"]);
}

#[test]
fn a_save_goes_where_it_is_told_and_nowhere_else() {
    requires![root];
    let sandbox = Sandbox::with_images(&["busybox"]);
    let minirun = crate::support::sandbox::minirun_binary();
    // a device is written into, and stays one
    does(&sandbox, &["save", "-q", "-o", "/dev/null", "busybox"]);
    assert_eq!(sh(&sandbox, "stat -c %F /dev/null"), "character special file");
    let said = sandbox.minirun(&["save", "-q", "-o", "/dev/full", "busybox"]).expect_code(1);
    assert!(said.stderr.contains("No space left on device") && said.stderr.contains("make room"), "{said}");
    // who reads no further is content, and has the beginning of the whole
    let first = sh(&sandbox, &format!("{} save busybox | head -c 1000 | wc -c", minirun.display()));
    assert_eq!(first, "1000");
    refused(&sandbox, &["save", "-o", &path(&sandbox, ""), "busybox"], 1, "is a directory");
    sh(&sandbox, "mkdir out");
    refused(&sandbox, &["save", "-q", "-o", &path(&sandbox, "out/x"), "busybox", "nosuch"], 1, "no image nosuch");
    assert_eq!(sh(&sandbox, "ls -A out"), "");
}
