//! apt, asked for .deb files: the host's own sources under a configuration of our own, or one mirror.
//! Nothing is installed, no hook of the host's runs.
#![allow(clippy::disallowed_methods)] // apt-get and apt-config are the programs this file is about

use minirun::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Where packages are asked for.
#[derive(Debug, Clone)]
pub struct Sources {
    /// `URL SUITE [COMPONENT…]` in place of the host's own sources.
    pub mirror: Option<String>,
    /// Debian's word: `amd64`.
    pub architecture: String,
    /// Holds package lists where the host's do not serve: of a mirror, of another architecture.
    pub cache: PathBuf,
}

/// A configuration on disk, which goes with this value.
#[derive(Debug)]
pub struct Apt {
    dir: TempDir,
    lists: PathBuf,
    lists_are_ours: bool,
}

/// Debian's word for the architecture this program was built for.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Where apt keeps the host's package lists, unless it is told otherwise (apt.conf(5), Dir::State::Lists).
const HOST_LISTS: &str = "/var/lib/apt/lists";

/// Writes the configuration, and fetches package lists where there are none. The host's own lists serve where they are
/// of the wanted release and architecture.
pub fn configure(sources: &Sources, suite: &str) -> Result<Apt> {
    let dir = tempfile::tempdir().map_err(|e| crate::failed("making a directory in", &std::env::temp_dir(), &e))?;
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let of_host = codename(&release).unwrap_or_default();
    let other_release = sources.mirror.is_none() && suite != of_host;
    let lists_are_ours = sources.mirror.is_some() || sources.architecture != host_architecture() || other_release;
    let own = sources.cache.join("apt").join(format!("{suite}-{}", sources.architecture));
    let lists = if lists_are_ours { own.join("lists") } else { PathBuf::from(HOST_LISTS) };
    let apt = Apt { dir, lists, lists_are_ours };

    let mut text = base_configuration(&sources.architecture, &how_the_host_fetches());
    if lists_are_ours {
        make_dir(&apt.lists.join("partial"))?;
        make_dir(&own.join("cache/archives/partial"))?;
        text.push_str(&format!("Dir::State::Lists {:?};\nDir::Cache {:?};\n", apt.lists, own.join("cache")));
    }
    let list = match &sources.mirror {
        Some(mirror) => Some(source_line(mirror)?),
        None if other_release => Some(sources_of(of_host, suite)?),
        None => None,
    };
    if let Some(lines) = list {
        let list = apt.dir.path().join("sources.list");
        write(&list, &lines)?;
        text.push_str(&format!("Dir::Etc::SourceList {list:?};\nDir::Etc::SourceParts \"/dev/null\";\n"));
    }
    write(&apt.dir.path().join("apt.conf"), &text)?;

    if lists_are_ours || !has_lists(&apt.lists) {
        update(&apt)?;
    }
    Ok(apt)
}

/// The release of os-release(5).
fn codename(release: &str) -> Option<&str> {
    release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).map(|name| name.trim_matches('"'))
}

/// Debian's keys, where its package debian-archive-keyring has them: in Debian 12, and from 13 on.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

/// Where this host has its own Debian from, for another release of it.
fn sources_of(of_host: &str, suite: &str) -> Result<String> {
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
    let arguments = ["indextargets", "--format", format, "Identifier: Packages", "Origin: Debian"];
    let output = Command::new("apt-get").args(arguments).env("LC_ALL", "C").output().map_err(no_apt)?;
    let keyring = KEYRINGS.into_iter().find(|path| Path::new(path).exists());
    let lines = other_release(&String::from_utf8_lossy(&output.stdout), of_host, suite, keyring);
    if lines.is_empty() {
        return Err(Error::host(format!("this host has no sources of Debian, whose {suite} is wanted"))
            .hint(format!("name a mirror: --mirror 'URL {suite}'")));
    }
    Ok(lines)
}

/// `URI RELEASE COMPONENT` by line, as lines of sources.list(5) for another release. Pure.
fn other_release(targets: &str, of_host: &str, suite: &str, keyring: Option<&str>) -> String {
    let options = keyring.map_or(String::new(), |path| format!("[signed-by={path}] "));
    let line = |line: &str| {
        let [uri, release, component] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
        let rest = release.strip_prefix(of_host).filter(|rest| rest.is_empty() || rest.starts_with('-'))?;
        Some(format!("deb {options}{uri} {suite}{rest} {component}\n"))
    };
    let lines: std::collections::BTreeSet<String> = targets.lines().filter_map(line).collect();
    lines.into_iter().collect()
}

/// Hooks and the like stay out: Parts and Main are the host's /etc/apt/apt.conf.d and apt.conf, and are read even where
/// APT_CONFIG names another file.
fn base_configuration(architecture: &str, fetching: &str) -> String {
    format!(
        "Dir::Etc::Parts \"/dev/null\";\n\
         Dir::Etc::Main \"/dev/null\";\n\
         APT::Sandbox::User \"root\";\n\
         APT::Architecture \"{architecture}\";\n\
         APT::Architectures {{ \"{architecture}\"; }};\n\
         Acquire::Languages \"none\";\n\
         {fetching}"
    )
}

/// `URL SUITE [COMPONENT…]` as a line of sources.list(5).
fn source_line(mirror: &str) -> Result<String> {
    let words: Vec<&str> = mirror.split_whitespace().collect();
    match words.as_slice() {
        ["deb", _, _, ..] => Ok(format!("{mirror}\n")),
        [_, _] => Ok(format!("deb {mirror} main\n")),
        [_, _, _, ..] => Ok(format!("deb {mirror}\n")),
        _ => Err(Error::user(format!("mirror {mirror:?} has no suite")).hint("--mirror 'URL SUITE [COMPONENT…]'")),
    }
}

/// The host's proxies, certificates and the like, as apt writes them: without them it may reach nothing.
fn how_the_host_fetches() -> String {
    const KEPT: [&str; 5] =
        ["Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Force", "Acquire::Retries"];
    let Ok(output) = Command::new("apt-config").arg("dump").env("LC_ALL", "C").output() else { return String::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    let kept = text.lines().filter(|line| KEPT.iter().any(|prefix| line.starts_with(prefix)));
    kept.flat_map(|line| [line, "\n"]).collect()
}

fn has_lists(lists: &Path) -> bool {
    let entries = std::fs::read_dir(lists).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

/// Fetches the package lists anew.
pub fn update(apt: &Apt) -> Result<()> {
    let output = run(apt, &["update", "--quiet=2"], Path::new("/"))?;
    // apt-get update ends with 0 although a source could not be reached: the lists decide
    if output.status.success() && has_lists(&apt.lists) {
        return Ok(());
    }
    let hint = if apt.lists_are_ours { "is the network there?" } else { "as root: apt-get update" };
    Err(Error::host(format!("there are no package lists: {}", complaint(&output))).hint(hint))
}

/// Whether fetching the package lists again may help: they are ours, or we are who may write the host's.
pub fn may_update(apt: &Apt) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // the owner of a file just made is who we are
    apt.lists_are_ours || apt.dir.path().metadata().is_ok_and(|dir| dir.uid() == 0)
}

/// Fetches packages into the directory `into`, which is empty before: a file for each. A name without a version is the
/// one that would be installed.
pub fn download(apt: &Apt, wanted: &[String], into: &Path) -> Result<Vec<PathBuf>> {
    let arguments: Vec<&str> = ["download", "--quiet=2"].into_iter().chain(wanted.iter().map(String::as_str)).collect();
    let output = run(apt, &arguments, into)?;
    let entries = std::fs::read_dir(into).map_err(|e| crate::failed("reading", into, &e))?;
    let is_deb = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "deb");
    let debs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_deb).collect();
    if output.status.success() && debs.len() == wanted.len() {
        return Ok(debs);
    }
    let what = wanted.join(" ");
    Err(Error::host(format!("cannot fetch package {what}: {}", complaint(&output))))
}

/// The essential packages, apt, `wanted`, and all they depend on: `NAME=VERSION`, as apt would install them where nothing
/// is installed.
pub fn closure(apt: &Apt, wanted: &[String]) -> Result<Vec<String>> {
    let nothing = apt.dir.path().join("status");
    write(&nothing, "")?;
    let status = format!("Dir::State::status={}", nothing.display());
    let options = ["install", "--simulate", "--quiet=2", "--no-install-recommends", "-o", &status, "?essential", "apt"];
    let arguments: Vec<&str> = options.into_iter().chain(wanted.iter().map(String::as_str)).collect();
    let output = run(apt, &arguments, Path::new("/"))?;
    if !output.status.success() {
        return Err(Error::host(format!("these packages cannot be installed together: {}", complaint(&output)))
            .hint("look at `apt-cache depends` of those in recipe.toml"));
    }
    Ok(to_install(&String::from_utf8_lossy(&output.stdout)))
}

/// `Inst NAME (VERSION ORIGIN [ARCHITECTURE])`, by line, sorted. Pure.
fn to_install(simulation: &str) -> Vec<String> {
    let package = |line: &str| {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        let version = rest.strip_prefix('(')?.split_whitespace().next()?;
        Some(format!("{name}={version}"))
    };
    let found: std::collections::BTreeSet<String> = simulation.lines().filter_map(package).collect();
    found.into_iter().collect()
}

fn run(apt: &Apt, arguments: &[&str], directory: &Path) -> Result<Output> {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .current_dir(directory)
        .env("APT_CONFIG", apt.dir.path().join("apt.conf"))
        .env("LC_ALL", "C");
    command.output().map_err(no_apt)
}

#[allow(clippy::needless_pass_by_value)] // as map_err wants it
fn no_apt(e: std::io::Error) -> Error {
    Error::host(format!("apt-get cannot be run: {e}"))
        .hint("packages are fetched by apt: build on Debian or Ubuntu, or give the .deb files with --from-dir")
}

/// The first error line of apt's.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.starts_with("E: ")).or(text.lines().next());
    line.map_or_else(
        || format!("apt-get ended with {}", output.status),
        |line| line.trim_start_matches("E: ").to_owned(),
    )
}

fn make_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| crate::failed("making", path, &e))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|e| crate::failed("writing", path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_line_of_sources_list() {
        for (mirror, want) in [
            ("http://m/debian bookworm", "deb http://m/debian bookworm main\n"),
            ("http://m/debian sid main contrib", "deb http://m/debian sid main contrib\n"),
            ("deb [check-valid-until=no] http://m sid main", "deb [check-valid-until=no] http://m sid main\n"),
        ] {
            assert_eq!(source_line(mirror).unwrap(), want);
        }
        assert!(source_line("http://m/debian").unwrap_err().to_string().contains("no suite"));
    }

    #[test]
    fn another_release_comes_from_where_the_host_has_its_own() {
        let targets = "http://m/debian/ trixie main\nhttp://m/debian/ trixie-updates main\n\
            http://m/debian/ trixie main\nhttp://other/ nodistro main\nodd\n";
        let want = "deb http://m/debian/ bookworm main\ndeb http://m/debian/ bookworm-updates main\n";
        assert_eq!(other_release(targets, "trixie", "bookworm", None), want);
        let signed = other_release("http://m/ trixie main\n", "trixie", "sid", Some("/k.gpg"));
        assert_eq!(signed, "deb [signed-by=/k.gpg] http://m/ sid main\n");
        assert_eq!(other_release("http://u/ubuntu noble main\n", "trixie", "sid", None), "");
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=trixie\n"), Some("trixie"));
    }

    #[test]
    fn a_simulation_says_what_would_be_installed() {
        let text = "Inst libc6 (2.36-9 Debian:12.12/oldstable [amd64]) []\nConf libc6 (2.36-9 Debian [amd64])\n\
            Inst apt (2.6.1 Debian:12 [amd64])\nNOTE: This is only a simulation!\n";
        assert_eq!(to_install(text), ["apt=2.6.1", "libc6=2.36-9"]);
    }

    #[test]
    fn nothing_of_the_hosts_configuration_but_how_it_fetches_gets_in() {
        let text = base_configuration("amd64", "Acquire::http::Proxy \"http://p\";\n");
        assert!(text.contains("Dir::Etc::Parts \"/dev/null\"") && text.contains("Proxy"));
        assert!(how_the_host_fetches().lines().all(|line| line.starts_with("Acquire::")));
    }
}
