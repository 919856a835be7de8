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

/// Each stands behind what it is made from. debian comes last: it takes mmdebstrap, and root.
const RECIPES: [&str; 7] = ["hello", "busybox", "static", "base", "cc", "python", "debian"];
/// All, or for a normal user all but debian.
fn recipes() -> &'static [&'static str] {
    if is_root(Path::new(env!("CARGO_TARGET_TMPDIR"))) { &RECIPES } else { &RECIPES[..RECIPES.len() - 1] }
}

/// Those without a shell.
const WITHOUT_SHELL: [&str; 4] = ["static", "base", "cc", "python"];

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

/// One layout with all images, and their manifest digests; `None` where the packages are neither in the cache nor
/// to be fetched.
fn built() -> Option<&'static (PathBuf, Vec<String>)> {
    static BUILT: OnceLock<Option<(PathBuf, Vec<String>)>> = OnceLock::new();
    BUILT.get_or_init(|| build_all().map_err(|reason| skip(&reason)).ok()).as_ref()
}

fn build_all() -> Result<(PathBuf, Vec<String>), String> {
    let layout = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let _ = std::fs::remove_dir_all(&layout);
    let mut digests = Vec::new();
    lend_debian(&layout);
    for name in recipes() {
        if let Some(digest) = digest_in(&layout, name) {
            digests.push(digest);
            continue;
        }
        let done = builder().current_dir(repository()).args(["build", name, "--output"]).arg(&layout).output().unwrap();
        let (digest, complaint) = text(&done);
        if !done.status.success() {
            return Err(complaint);
        }
        digests.push(digest.trim().to_owned());
    }
    Ok((layout, digests))
}

/// debian takes a while: where hack/images has just made it with this very builder, that is the first time, and the test
/// of the digest makes it the second.
fn lend_debian(layout: &Path) {
    let Some(made) = std::env::var_os("MINIRUN_IMAGES").map(|dir| PathBuf::from(dir).join("debian")) else { return };
    let time = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    let builder = time(Path::new(env!("CARGO_BIN_EXE_rootfs-builder")));
    if time(&made.join("index.json")) > builder {
        let copied = Command::new("cp").arg("-r").arg(&made).arg(layout).status().unwrap();
        assert!(copied.success());
    }
}

/// The manifest of an image that is in the layout already.
fn digest_in(layout: &Path, name: &str) -> Option<String> {
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).ok()?).ok()?;
    let name = format!("{name}:latest");
    let found = index["manifests"]
        .as_array()?
        .iter()
        .find(|image| image["annotations"]["org.opencontainers.image.ref.name"] == name.as_str())?;
    found["digest"].as_str().map(str::to_owned)
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
    for name in recipes() {
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
    let built_in =
        minirun::image::builtin::Builtin::Hello.layout(&HostPath::parse(dir.path().to_str().unwrap()).unwrap());
    assert_eq!(built_in.unwrap().digest.as_str(), digests[0]);
}

#[test]
fn static_base_cc_and_python_hold_no_shell_and_nothing_set_user_id() {
    let Some((layout, _)) = built() else { return };
    for name in WITHOUT_SHELL {
        let files = files(layout, name);
        assert_eq!(shells(&files), [""; 0], "{name}");
        assert_eq!(set_id(&contents(layout, name)), [""; 0], "{name}");
        let programs = files.iter().filter(|(path, _)| path.starts_with("usr/bin") || path.starts_with("usr/sbin"));
        let programs: Vec<_> = programs.map(|(path, _)| path.to_str().unwrap()).collect();
        let own: &[&str] = if name == "python" { &["usr/bin/python3", "usr/bin/python3.11"] } else { &[] };
        assert_eq!(programs, own, "{name}");
    }
    // the same questions find something where it is
    let busybox = shells(&files(layout, "busybox"));
    assert!(
        busybox.contains(&"usr/bin/sh".to_owned()) && busybox.contains(&"usr/bin/busybox".to_owned()),
        "{busybox:?}"
    );
    if !recipes().contains(&"debian") {
        return;
    }
    let debian = files(layout, "debian");
    for shell in ["usr/bin/bash", "usr/bin/ldd", "etc/shells"] {
        assert!(shells(&debian).contains(&shell.to_owned()), "{shell}");
    }
    assert!(set_id(&contents(layout, "debian")).iter().any(|line| line.ends_with(" /usr/bin/su")));
}

/// What is a shell, by its name; a script for one, by its first line; and the list of shells.
fn shells(files: &[(PathBuf, Vec<u8>)]) -> Vec<String> {
    const SHELLS: [&str; 12] =
        ["sh", "bash", "rbash", "dash", "ash", "busybox", "toybox", "ksh", "mksh", "zsh", "fish", "csh"];
    let named = |path: &Path| SHELLS.iter().any(|shell| path.file_name().is_some_and(|name| name == *shell));
    let script = |bytes: &[u8]| {
        let first = String::from_utf8_lossy(bytes.split(|byte| *byte == b'\n').next().unwrap()).into_owned();
        first.starts_with("#!") && SHELLS.iter().any(|shell| first.split(['/', ' ']).any(|word| word == *shell))
    };
    let found = files.iter().filter(|(path, bytes)| named(path) || script(bytes) || path == Path::new("etc/shells"));
    // completions and the like are for a shell that somebody else brings
    found.map(|(path, _)| path.to_str().unwrap().to_owned()).collect()
}

fn set_id(lines: &[String]) -> Vec<&str> {
    let set = |line: &&String| u32::from_str_radix(&line[5..9], 8).unwrap() & 0o6000 != 0 && line.starts_with("file");
    lines.iter().filter(set).map(String::as_str).collect()
}

/// The files and links of an image, links with no content, as its layers have them one over the other.
fn files(layout: &Path, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = std::collections::BTreeMap::new();
    for layer in layers(layout, name) {
        let mut archive = tar::Archive::new(layer_reader(layout, &layer));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.header().entry_type().is_dir() {
                continue;
            }
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            found.insert(entry.path().unwrap().into_owned(), bytes);
        }
    }
    found.into_iter().collect()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn blob(layout: &Path, digest: &serde_json::Value) -> PathBuf {
    layout.join("blobs/sha256").join(digest.as_str().unwrap().strip_prefix("sha256:").unwrap())
}

fn manifest(layout: &Path, name: &str) -> serde_json::Value {
    let index = json(&layout.join("index.json"));
    let name = format!("{name}:latest");
    let named = |image: &&serde_json::Value| image["annotations"]["org.opencontainers.image.ref.name"] == name.as_str();
    json(&blob(layout, &index["manifests"].as_array().unwrap().iter().find(named).unwrap()["digest"]))
}

fn layers(layout: &Path, name: &str) -> Vec<serde_json::Value> {
    manifest(layout, name)["layers"].as_array().unwrap().clone()
}

fn layer_reader(layout: &Path, layer: &serde_json::Value) -> Box<dyn std::io::Read> {
    let file = std::fs::File::open(blob(layout, &layer["digest"])).unwrap();
    if layer["mediaType"].as_str().unwrap().ends_with("+zstd") {
        return Box::new(zstd::Decoder::new(file).unwrap());
    }
    Box::new(flate2::read::GzDecoder::new(file))
}

#[test]
fn an_image_shares_the_layers_of_the_one_it_is_from() {
    let Some((layout, _)) = built() else { return };
    let digests = |name: &str| layers(layout, name).iter().map(|layer| layer["digest"].clone()).collect::<Vec<_>>();
    for (number, pair) in WITHOUT_SHELL.windows(2).enumerate() {
        let (below, above) = (digests(pair[0]), digests(pair[1]));
        assert_eq!((below.len(), above.len()), (number + 1, number + 2));
        assert_eq!(above[..below.len()], below, "{pair:?}");
    }
    assert!(!digests("python").contains(&digests("busybox")[0]));
}

#[test]
fn images_without_root_say_so_and_what_they_start() {
    let Some((layout, _)) = built() else { return };
    let config = |name: &str| json(&blob(layout, &manifest(layout, name)["config"]["digest"]))["config"].clone();
    for name in WITHOUT_SHELL {
        assert_eq!(
            (config(name)["User"].as_str(), config(name)["WorkingDir"].as_str()),
            (Some("65532"), Some("/home/nonroot")),
            "{name}"
        );
    }
    assert_eq!(config("python")["Entrypoint"], serde_json::json!(["/usr/bin/python3"]));
    let env: Vec<_> =
        config("python")["Env"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect();
    assert!(env[0].starts_with("PATH=") && env.contains(&"LANG=C.UTF-8".to_owned()), "{env:?}");
    assert_eq!(env.iter().filter(|line| line.starts_with("PATH=")).count(), 1);
    if !recipes().contains(&"debian") {
        return;
    }
    assert_eq!((config("debian")["User"].as_str(), &config("debian")["Cmd"]), (None, &serde_json::json!(["bash"])));
}

/// readelf says what each file needs; the builder has its own eyes, see `complete.rs`.
#[test]
fn every_library_that_a_file_inside_names_is_inside() {
    let Some((layout, _)) = built() else { return };
    if Command::new("readelf").arg("--version").output().is_err() {
        return skip("readelf is not installed");
    }
    for (name, at_least) in [("base", 10), ("cc", 13), ("python", 60), ("debian", 200)] {
        if !recipes().contains(&name) {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let files = files(layout, name);
        let there: Vec<&str> = files.iter().filter_map(|(path, _)| path.file_name()?.to_str()).collect();
        let elf = files.iter().filter(|(_, bytes)| bytes.starts_with(b"\x7fELF")).enumerate();
        let paths = elf.map(|(number, (_, bytes))| {
            let path = dir.path().join(number.to_string());
            std::fs::write(&path, bytes).unwrap();
            path
        });
        let paths: Vec<PathBuf> = paths.collect();
        assert!(paths.len() >= at_least, "{name}: {}", paths.len());
        let output = text(&Command::new("readelf").args(["-dlW"]).args(&paths).output().unwrap()).0;
        let bracketed = |line: &str, mark: &str| {
            line.contains(mark).then(|| line.split_once('[').unwrap().1.split_once(']').unwrap().0.to_owned())
        };
        let needed: Vec<String> = output.lines().filter_map(|line| bracketed(line, "(NEEDED)")).collect();
        assert!(needed.iter().any(|library| library == "libc.so.6"), "{name}");
        let missing: Vec<_> = needed.iter().filter(|library| !there.contains(&library.as_str())).collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
        for loader in output.lines().filter_map(|line| bracketed(line, "Requesting program interpreter")) {
            assert_eq!(loader.rsplit(": ").next().unwrap(), "/lib64/ld-linux-x86-64.so.2", "{name}");
        }
    }
}

#[test]
fn a_package_that_was_forgotten_is_named_by_what_it_has() {
    let Some(_) = built() else { return };
    let dir = tempfile::tempdir().unwrap();
    for name in ["static", "base"] {
        copy_recipe(&repository().join("images").join(name), &dir.path().join("images").join(name));
    }
    let recipe = dir.path().join("images/base/recipe.toml");
    let whole = std::fs::read_to_string(&recipe).unwrap();
    let build = |then: &str| {
        std::fs::write(&recipe, whole.replace("\"libc6\", ", then)).unwrap();
        let args = ["build", "base", "--output", "layout"];
        text(&builder().current_dir(dir.path()).args(args).output().unwrap())
    };
    let (_, drifted) = build("");
    assert!(drifted.contains("package libc6 is locked, and recipe.toml does not name it"), "{drifted}");
    assert!(drifted.contains("`rootfs-builder lock base` takes it out"), "{drifted}");
    let lock = dir.path().join("images/base/recipe.lock");
    let locked = std::fs::read_to_string(&lock).unwrap();
    let kept = locked.split("\n\n").filter(|part| !part.contains("\"libc6\"")).collect::<Vec<_>>().join("\n\n");
    std::fs::write(&lock, kept).unwrap();
    let (_, lacking) = build("");
    assert!(
        lacking.contains(" needs libc.so.6, which is not in the image\nhint: add the package that has it"),
        "{lacking}"
    );
    assert!(!dir.path().join("layout").exists(), "nothing half-made stays");
    std::fs::write(&lock, locked).unwrap();
    assert!(build("\"libc6\", ").0.starts_with("sha256:"));
}

#[test]
fn an_epoch_from_outside_stands_in_for_the_recipes() {
    let dir = tempfile::tempdir().unwrap();
    let build = |epoch: &str| {
        let mut command = builder();
        command.current_dir(repository()).args(["build", "hello", "--output"]).arg(dir.path().join("layout"));
        text_of(command.env("SOURCE_DATE_EPOCH", epoch)).0
    };
    let own = build("1793491200");
    assert!(own.starts_with("sha256:") && own == build("1793491200") && own != build("1793491199"));
}

#[test]
fn a_layer_in_zstd_is_the_same_layer() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = |compression: &str| {
        let folder = dir.path().join("images").join(compression);
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!(
            "epoch = 1\ncompression = '{compression}'\n[[files]]\nto = '/text'\ntext = '{}'",
            "text ".repeat(50_000)
        );
        std::fs::write(folder.join("recipe.toml"), text).unwrap();
        let args = ["build", compression, "--output", "layout"];
        let (digest, complaint) = text_of(builder().current_dir(dir.path()).args(args));
        assert!(digest.starts_with("sha256:"), "{complaint}");
        digest
    };
    let layout = dir.path().join("layout");
    let mut diff_ids = Vec::new();
    for (compression, media_type) in [("gz", "+gzip"), ("zst", "+zstd"), ("none", ".tar")] {
        assert_eq!(recipe(compression), recipe(compression));
        let manifest = manifest(&layout, compression);
        assert!(manifest["layers"][0]["mediaType"].as_str().unwrap().ends_with(media_type));
        diff_ids.push(json(&blob(&layout, &manifest["config"]["digest"]))["rootfs"]["diff_ids"].clone());
    }
    assert!(diff_ids.iter().all(|id| *id == diff_ids[0]), "{diff_ids:?}");
    let zstd = layers(&layout, "zst")[0].clone();
    let mut read = tar::Archive::new(layer_reader(&layout, &zstd));
    assert_eq!(read.entries().unwrap().next().unwrap().unwrap().size(), 250_000);
}

fn text_of(command: &mut Command) -> (String, String) {
    text(&command.output().unwrap())
}

/// The table of images/README.md: a row for each recipe, and in it what the recipe and the image say.
#[test]
fn the_table_of_the_images_says_what_is_in_them() {
    let Some((layout, _)) = built() else { return };
    let readme = std::fs::read_to_string(repository().join("images/README.md")).unwrap();
    let rows: Vec<Vec<&str>> = readme
        .lines()
        .filter(|line| line.starts_with("| ["))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let (list, _) = text_of(builder().current_dir(repository()).arg("list"));
    let listed = list.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(rows.len(), RECIPES.len());
    for words in listed {
        let [name, from, packages, user] = words[..4] else { panic!("{words:?}") };
        if !recipes().contains(&name) {
            continue;
        }
        let row = rows.iter().find(|row| row[0] == format!("[{name}]({name}/)")).expect(name);
        let files = files(layout, name);
        let has = |path: &str| files.iter().any(|(file, _)| file == Path::new(path));
        let shell = if has("usr/bin/sh") { "yes" } else { "no" };
        let libc = if has("usr/lib/x86_64-linux-gnu/libc.so.6") { "glibc" } else { "none" };
        assert_eq!(row[1..2], [from], "{name}");
        assert_eq!(row[3..7], [shell, libc, packages, user], "{name}");
        let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        let (number, unit) = row[2].split_once(' ').unwrap();
        let unit = if unit == "MiB" { 1024.0 * 1024.0 } else { 1024.0 };
        let said = number.parse::<f64>().unwrap_or(0.0) * unit;
        let off = (said - bytes as f64).abs() / bytes as f64;
        assert!(off < 0.1, "{name}: the table says {}, it is {:.2} MiB", row[2], bytes as f64 / 1048576.0);
    }
}

/// The second example of images/README.md, as it stands there.
#[test]
fn the_readmes_recipe_of_ones_own_works_as_written() {
    let Some(_) = built() else { return };
    let readme = std::fs::read_to_string(repository().join("images/README.md")).unwrap();
    let section = readme.split("## An image of your own").nth(1).unwrap();
    let example = section.split("```\n").nth(1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_str().unwrap();
    std::fs::write(dir.path().join("server"), minirun::image::builtin::HELLO).unwrap();
    std::fs::write(dir.path().join("company.pem"), "-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n")
        .unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_rootfs-builder")).parent().unwrap();
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &example.replace("/tmp/", &format!("{here}/"))]).current_dir(repository());
    let cache = default_cache();
    shell.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())).env("HOME", here);
    shell.env("XDG_CACHE_HOME", cache.ancestors().nth(2).unwrap());
    let (said, complaint) = text_of(&mut shell);
    assert!(said.starts_with("sha256:") && complaint.is_empty(), "{said}{complaint}");
    let files = files(&dir.path().join("server-layout"), "server");
    let bundle = files.iter().find(|(path, _)| path == Path::new("etc/ssl/certs/ca-certificates.crt")).unwrap();
    let bundle = String::from_utf8_lossy(&bundle.1);
    assert!(bundle.ends_with("\nours\n-----END CERTIFICATE-----\n") && bundle.len() > 100_000);
    assert!(files.iter().any(|(path, bytes)| path == Path::new("server") && bytes == minirun::image::builtin::HELLO));
}

#[test]
fn busybox_has_a_link_for_each_of_its_applets() {
    let Some((layout, _)) = built() else { return };
    let root = tempfile::tempdir().unwrap();
    let busybox = unpack_one(layout, "busybox", Path::new("usr/bin/busybox"), root.path());
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

/// Reads one file of an image into `dir`.
fn unpack_one(layout: &Path, name: &str, wanted: &Path, dir: &Path) -> PathBuf {
    let path = dir.join(wanted.file_name().unwrap());
    let files = files(layout, name);
    // what this process itself writes may be open in a child of another thread, and is no program until that has ended
    let bytes = dir.join("bytes");
    std::fs::write(&bytes, &files.iter().find(|(path, _)| path == wanted).unwrap().1).unwrap();
    assert!(Command::new("install").args(["-m", "755"]).args([&bytes, &path]).status().unwrap().success());
    path
}

/// Everything that differs from machine to machine: directory, umask, time zone, locale, user, order of building.
#[test]
fn the_digest_does_not_depend_on_where_and_by_whom_it_is_built() {
    let Some((_, digests)) = built() else { return };
    let place = tempfile::tempdir().unwrap();
    let copied = place.path().join("rootfs-builder");
    std::fs::copy(env!("CARGO_BIN_EXE_rootfs-builder"), &copied).unwrap();
    for name in recipes() {
        copy_recipe(&repository().join("images").join(name), &place.path().join("elsewhere/images").join(name));
    }
    open_up(place.path());
    let out = place.path().join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::set_permissions(&out, Permissions::from_mode(0o777)).unwrap();
    let home = cache_for_others(place.path());
    for (name, digest) in recipes().iter().zip(digests).rev() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask 0077; exec \"$0\" build \"$1\" --output \"$2\""]);
        shell.arg(&copied).arg(name).arg(out.join(name));
        shell.current_dir(place.path().join("elsewhere"));
        shell.envs([("TZ", "Asia/Kathmandu"), ("LC_ALL", "tr_TR.UTF-8"), ("XDG_CACHE_HOME", "")]);
        shell.env("HOME", &home);
        if is_root(place.path()) && *name != "debian" {
            shell.uid(65534).gid(65534); // debian's packages are installed by root, or by a user with ids in /etc/subuid
        }
        shell.env("SOURCE_DATE_EPOCH", "1793491200"); // the recipes' own
        shell.env("TMPDIR", if *name == "debian" { "/var/tmp" } else { "/tmp" });
        let output = shell.output().unwrap();
        let (found, complaint) = text(&output);
        assert_eq!((found.trim(), complaint.as_str()), (digest.as_str(), ""), "{name}");
    }
}

/// Whether what we make belongs to root.
fn is_root(below: &Path) -> bool {
    tempfile::tempdir_in(below).unwrap().path().metadata().unwrap().uid() == 0
}

/// A home directory whose cache holds what was fetched, so that another user needs no network.
fn cache_for_others(place: &Path) -> PathBuf {
    let home = place.join("home");
    let (from, to) = (default_cache(), home.join(".cache/minirun/debs"));
    std::fs::create_dir_all(&to).unwrap();
    // the other way round: a directory lists its files in the order in which they came, on some file systems
    for name in minirun::sys::fs::list(&from).unwrap().iter().rev().filter(|name| name.ends_with(".deb")) {
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
    command.current_dir(repository()).args(["build", "python", "--cache", "/nonexistent", "--from-dir"]);
    command.arg(default_cache()).arg("--output").arg(out.path().join("layout"));
    let output = command.env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(text(&output), (format!("{}\n", digests[5]), String::new()));
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
    std::fs::write(recipe.join("recipe.toml"), "packages = ['minirun-test']\nsuite = 'sid'\nepoch = 1").unwrap();
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

    assert_eq!(run(&["lock", "pinned", "--check"], "cache"), (String::new(), String::new()));
    repository_of(dir.path(), "1.1").unwrap();
    let (_, drifted) = run(&["lock", "pinned", "--check"], "empty");
    let want = "error: recipe pinned: the sources have minirun-test 1.1 in place of 1.0\nhint: `rootfs-builder lock pinned` takes them\n";
    assert_eq!(drifted, want);
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
    for (name, digest) in recipes().iter().zip(digests) {
        let reference = format!("oci:{}:{name}:latest", layout.display());
        match Command::new("skopeo").args(["inspect", &reference]).output() {
            Err(_) => return skip("skopeo is not installed"),
            Ok(output) => assert!(text(&output).0.contains(digest.as_str()), "{}", text(&output).1),
        }
    }
}
