//! The recipes of images/, built by the program as a person runs it: the content that stands beside each of them, and
//! the same digest wherever and by whomever it is built.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test runs programs, and stops at what is not as it should be
#![allow(clippy::print_stderr)] // why a test was skipped

use minirun::id::HostPath;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const RECIPES: [&str; 3] = ["hello", "busybox", "static"];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn builder() -> Command {
    Command::new(env!("CARGO_BIN_EXE_rootfs-builder"))
}

fn text(output: &Output) -> (String, String) {
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (utf8(&output.stdout), utf8(&output.stderr))
}

/// One layout with all three images, and their manifest digests; `None` where the packages are neither in the cache nor
/// to be fetched.
fn built() -> Option<&'static (PathBuf, Vec<String>)> {
    static BUILT: OnceLock<Option<(PathBuf, Vec<String>)>> = OnceLock::new();
    BUILT.get_or_init(|| build_all().map_err(|reason| skip(&reason)).ok()).as_ref()
}

fn build_all() -> Result<(PathBuf, Vec<String>), String> {
    let layout = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let _ = std::fs::remove_dir_all(&layout);
    let mut digests = Vec::new();
    for name in RECIPES {
        let done = builder().current_dir(repository()).args(["build", name, "--output"]).arg(&layout).output().unwrap();
        let (digest, complaint) = text(&done);
        if !done.status.success() {
            return Err(complaint);
        }
        digests.push(digest.trim().to_owned());
    }
    Ok((layout, digests))
}

/// Says why on stderr and in $MINIRUN_SKIPS; with MINIRUN_STRICT=1 it is a failure.
fn skip(reason: &str) {
    use std::io::Write as _;
    assert!(std::env::var_os("MINIRUN_STRICT").is_none_or(|value| value != "1"), "skipped: {reason}");
    eprintln!("skipped: {reason}");
    if let Some(path) = std::env::var_os("MINIRUN_SKIPS") {
        let name = std::thread::current().name().unwrap_or("images").to_owned();
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(file, "{name}\t{}", reason.trim().replace('\n', "; ")).unwrap();
    }
}

fn contents(layout: &Path, name: &str) -> Vec<String> {
    let output = builder().arg("contents").arg(layout).arg(format!("{name}:latest")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output).1);
    text(&output).0.lines().map(str::to_owned).collect()
}

#[test]
fn each_image_holds_what_stands_beside_its_recipe() {
    let Some((layout, _)) = built() else { return };
    for name in RECIPES {
        let path = repository().join("images").join(name).join("expected.txt");
        let expected = std::fs::read_to_string(&path).unwrap();
        let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), contents(layout, name));
        let missing: Vec<_> = expected.iter().filter(|line| !found.iter().any(|other| other == *line)).collect();
        let added: Vec<_> = found.iter().filter(|line| !expected.contains(&line.as_str())).collect();
        assert!(
            missing.is_empty() && added.is_empty(),
            "{name}: missing {missing:#?}, not expected {added:#?}\nif that is right: rootfs-builder contents > {path:?}"
        );
    }
}

#[test]
fn the_recipe_of_hello_makes_the_image_that_is_built_in() {
    let Some((_, digests)) = built() else { return };
    let dir = tempfile::tempdir().unwrap();
    let built_in = minirun::image::builtin::hello_layout(&HostPath::parse(dir.path().to_str().unwrap()).unwrap());
    assert_eq!(built_in.unwrap().digest.as_str(), digests[0]);
}

#[test]
fn static_holds_no_shell_no_library_and_nothing_set_user_id() {
    let Some((layout, _)) = built() else { return };
    let lines = contents(layout, "static");
    let with = |mode_bits: u32| move |line: &&String| u32::from_str_radix(&line[5..9], 8).unwrap() & mode_bits != 0;
    let set_id: Vec<_> = lines.iter().filter(with(0o6000)).collect();
    assert!(set_id.is_empty(), "{set_id:?}");
    let programs: Vec<_> = lines.iter().filter(|line| line.starts_with("file")).filter(with(0o111)).collect();
    assert!(programs.is_empty(), "{programs:?}");
    // the same questions find something where it is
    let busybox = contents(layout, "busybox");
    assert!(busybox.iter().any(|line| line == "link 0777 0:0 /usr/bin/sh -> busybox"));
    assert_eq!(busybox.iter().filter(|line| line.starts_with("file")).filter(with(0o111)).count(), 1);
}

#[test]
fn busybox_has_a_link_for_each_of_its_applets() {
    let Some((layout, _)) = built() else { return };
    let root = tempfile::tempdir().unwrap();
    let busybox = unpack_one(layout, "busybox:latest", Path::new("usr/bin/busybox"), root.path());
    let output = Command::new(busybox).arg("--list").output().unwrap();
    let mut applets: Vec<String> = text(&output).0.lines().map(str::to_owned).collect();
    applets.retain(|name| name != "busybox");
    let target = |line: &&String| line.ends_with("-> busybox") || line.ends_with("-> ../bin/busybox");
    let name = |line: &String| line.split(" -> ").next().unwrap().rsplit('/').next().unwrap().to_owned();
    let mut links: Vec<String> = contents(layout, "busybox").iter().filter(target).map(name).collect();
    applets.sort();
    links.sort();
    assert_eq!(links, applets);
    assert!(links.iter().any(|name| name == "httpd"), "the first example publishes its port");
}

/// Reads one file of an image with a single layer in gzip into `dir`.
fn unpack_one(layout: &Path, name: &str, wanted: &Path, dir: &Path) -> PathBuf {
    let json = |path: &Path| serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).unwrap()).unwrap();
    let blob = |digest: &serde_json::Value| {
        layout.join("blobs/sha256").join(digest.as_str().unwrap().strip_prefix("sha256:").unwrap())
    };
    let index = json(&layout.join("index.json"));
    let image = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .find(|image| image["annotations"]["org.opencontainers.image.ref.name"].as_str() == Some(name));
    let manifest = json(&blob(&image.unwrap()["digest"]));
    let layer = std::fs::File::open(blob(&manifest["layers"][0]["digest"])).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(layer));
    let mut entry =
        archive.entries().unwrap().map(Result::unwrap).find(|entry| entry.path().unwrap() == wanted).unwrap();
    let path = dir.join(wanted.file_name().unwrap());
    let mut file = std::fs::File::create(&path).unwrap();
    std::io::copy(&mut entry, &mut file).unwrap();
    file.set_permissions(Permissions::from_mode(0o755)).unwrap();
    path
}

/// Everything that differs from machine to machine: directory, umask, time zone, locale, user, order of building.
#[test]
fn the_digest_does_not_depend_on_where_and_by_whom_it_is_built() {
    let Some((_, digests)) = built() else { return };
    let place = tempfile::tempdir().unwrap();
    let copied = place.path().join("rootfs-builder");
    std::fs::copy(env!("CARGO_BIN_EXE_rootfs-builder"), &copied).unwrap();
    for name in RECIPES {
        copy_recipe(&repository().join("images").join(name), &place.path().join("elsewhere/images").join(name));
    }
    open_up(place.path());
    let out = place.path().join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::set_permissions(&out, Permissions::from_mode(0o777)).unwrap();
    let home = cache_for_others(place.path());
    for (name, digest) in RECIPES.iter().zip(digests).rev() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask 0077; exec \"$0\" build \"$1\" --output \"$2\""]);
        shell.arg(&copied).arg(name).arg(out.join("layout"));
        shell.current_dir(place.path().join("elsewhere"));
        shell.envs([("TZ", "Asia/Kathmandu"), ("LC_ALL", "tr_TR.UTF-8"), ("XDG_CACHE_HOME", "")]);
        shell.env("HOME", &home);
        if place.path().metadata().unwrap().uid() == 0 {
            shell.uid(65534).gid(65534);
        }
        let output = shell.output().unwrap();
        let (found, complaint) = text(&output);
        assert_eq!((found.trim(), complaint.as_str()), (digest.as_str(), ""), "{name}");
    }
}

/// A home directory whose cache holds what was fetched, so that another user needs no network.
fn cache_for_others(place: &Path) -> PathBuf {
    let home = place.join("home");
    let (from, to) = (default_cache(), home.join(".cache/minirun/debs"));
    std::fs::create_dir_all(&to).unwrap();
    for name in minirun::sys::fs::list(&from).unwrap().iter().filter(|name| name.ends_with(".deb")) {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    open_up(&home);
    home
}

fn default_cache() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME").unwrap_or_else(|| set("HOME").unwrap().join(".cache")).join("minirun/debs")
}

fn copy_recipe(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["recipe.toml", "recipe.lock"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// Readable for every user, whatever our umask is.
fn open_up(path: &Path) {
    let mode = if path.is_dir() || path.ends_with("rootfs-builder") { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| open_up(&entry.unwrap().path()));
    }
}

#[test]
fn a_package_from_a_directory_becomes_an_image_without_network() {
    let Some((_, digests)) = built() else { return };
    let out = tempfile::tempdir().unwrap();
    let mut command = builder();
    command.current_dir(repository()).args(["build", "static", "--cache", "/nonexistent", "--from-dir"]);
    command.arg(default_cache()).arg("--output").arg(out.path().join("layout"));
    let output = command.env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(text(&output), (format!("{}\n", digests[2]), String::new()));
}

/// A repository of one package, as `--mirror` takes it.
fn repository_of(dir: &Path, version: &str) -> std::io::Result<String> {
    let package = dir.join("package");
    std::fs::create_dir_all(package.join("DEBIAN"))?;
    std::fs::write(package.join("file"), version)?;
    let control =
        format!("Package: minirun-test\nVersion: {version}\nArchitecture: all\nMaintainer: x\nDescription: x\n");
    std::fs::write(package.join("DEBIAN/control"), &control)?;
    let made = Command::new("dpkg-deb").arg("--build").arg(&package).arg(dir.join("p.deb")).output()?;
    assert!(made.status.success(), "{}", text(&made).1);
    let sum = text(&Command::new("sha256sum").arg(dir.join("p.deb")).output()?).0[..64].to_owned();
    let size = std::fs::metadata(dir.join("p.deb"))?.len();
    std::fs::write(dir.join("Packages"), format!("{control}Filename: ./p.deb\nSize: {size}\nSHA256: {sum}\n"))?;
    Ok(format!("[trusted=yes] file:{} ./", dir.display()))
}

#[test]
fn a_version_that_the_sources_dropped_names_the_lock_command() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("images/pinned");
    std::fs::create_dir_all(&recipe).unwrap();
    std::fs::write(recipe.join("recipe.toml"), "packages = ['minirun-test']\nepoch = 1").unwrap();
    let Ok(mirror) = repository_of(dir.path(), "1.0") else { return skip("dpkg-deb is not installed") };
    if Command::new("apt-get").arg("--version").output().is_err() {
        return skip("apt-get is not installed");
    }
    let run = |arguments: &[&str], cache: &str| {
        let mut command = builder();
        command.current_dir(dir.path()).args(arguments).args(["--mirror", &mirror, "--cache", cache]);
        text(&command.output().unwrap())
    };
    let build = ["build", "pinned", "--output", "layout"];
    let (_, unlocked) = run(&build, "cache");
    assert!(unlocked.ends_with("hint: `rootfs-builder lock pinned` writes it\n"), "{unlocked}");
    assert_eq!(run(&["lock", "pinned"], "cache"), ("minirun-test 1.0 all\n".into(), String::new()));
    let first = run(&build, "cache");
    assert!(first.0.starts_with("sha256:") && first.1.is_empty(), "{first:?}");

    repository_of(dir.path(), "1.1").unwrap();
    assert_eq!(run(&build, "cache"), first, "what was fetched once is not asked for again");
    let (_, gone) = run(&build, "empty");
    let line = "error: package minirun-test 1.0 is locked, and the sources no longer have it: ";
    assert!(gone.starts_with(line), "{gone}");
    assert!(gone.ends_with("hint: `rootfs-builder lock pinned` takes the version they have now\n"), "{gone}");
    run(&["lock", "pinned"], "empty");
    let second = run(&build, "empty");
    assert!(second.0.starts_with("sha256:") && second != first, "{second:?}");
}

#[test]
fn mistakes_are_one_line_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    std::fs::write(dir.path().join("occupied"), "").unwrap();
    for (arguments, error, hint) in [
        (vec!["build", "nothing", "--output", "x"], "no recipe nothing", "name a folder of images/"),
        (
            vec!["build", "busybox", "--output", "x", "--from-dir", "empty"],
            "has no file of package busybox",
            "put it there",
        ),
        (vec!["build", "hello", "--output", "."], "neither empty nor an OCI layout", "name a new directory"),
        (vec!["build", "hello", "--output", "x", "--architecture", "riscv64"], "invalid value", "possible values"),
        (vec!["contents", "empty"], "is no OCI layout", ""),
    ] {
        let mut command = builder();
        // the recipes are found from a folder below the one that holds images/
        std::os::unix::fs::symlink(repository().join("images"), dir.path().join("images")).ok();
        let output = command.current_dir(dir.path()).args(&arguments).output().unwrap();
        let (_, complaint) = text(&output);
        assert!(!output.status.success() && complaint.starts_with("error: "), "{arguments:?}: {complaint}");
        assert!(complaint.contains(error) && complaint.contains(hint), "{arguments:?}: {complaint}");
    }
    assert!(!dir.path().join("x").exists(), "nothing half-made stays");
}

#[test]
fn other_tools_read_the_layout() {
    let Some((layout, digests)) = built() else { return };
    for (name, digest) in RECIPES.iter().zip(digests) {
        let reference = format!("oci:{}:{name}:latest", layout.display());
        match Command::new("skopeo").args(["inspect", &reference]).output() {
            Err(_) => return skip("skopeo is not installed"),
            Ok(output) => assert!(text(&output).0.contains(digest.as_str()), "{}", text(&output).1),
        }
    }
}
