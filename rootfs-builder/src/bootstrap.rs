//! A Debian that is installed: mmdebstrap makes a root of the locked packages alone, whose scripts run in it. What comes
//! out is a tree like any other; its owners, devices and times are those of the archive that mmdebstrap writes.
#![allow(clippy::disallowed_methods)] // mmdebstrap is the program this file is about

use crate::deb::{self, About};
use crate::fetch;
use crate::recipe::Recipe;
use minirun::error::{Error, Result};
use minirun::image::assemble::Entry;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What is left of the making, or of this host: the runtime mounts its own, and apt is told where to look by who uses it.
const LEFT: [&str; 4] = ["etc/hostname", "etc/resolv.conf", "etc/apt/sources.list", "etc/dpkg/dpkg.cfg.d/99mmdebstrap"];

/// Makes `/bin` and the like links into /usr before anything is installed. It comes with mmdebstrap.
const MERGED_USR: &str = "/usr/share/mmdebstrap/hooks/merged-usr";

/// Installs the packages `files` into an empty root. Root does it in a chroot; somebody else in a user namespace, for
/// which the host has to lend ids (subuid(5)).
pub fn install(recipe: &Recipe, files: &[PathBuf], architecture: &str, epoch: i64) -> Result<Vec<Entry>> {
    let temporary = std::env::temp_dir();
    let dir = tempfile::tempdir().map_err(|e| crate::failed("making a directory in", &temporary, &e))?;
    let place = dir.path();
    open_up(place)?;
    let names = pool(files, place)?;
    let tar = place.join("root.tar");
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=apt", "--format=tar", "--skip=output/dev,check/signed-by"]);
    command.arg(if is_root(place)? { "--mode=root" } else { "--mode=unshare" });
    // nobody needs what is half written when the power fails
    command.arg("--dpkgopt=force-unsafe-io").arg(format!("--hook-dir={MERGED_USR}"));
    command.arg(format!("--architectures={architecture}")).arg(format!("--include={}", names.join(",")));
    command.arg(recipe.suite.as_deref().unwrap_or_default()).arg(&tar);
    command.arg(format!("deb [trusted=yes] copy:{} ./", place.join("pool").display()));
    // a script of a package sees nothing of this machine
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.envs([("LC_ALL", "C.UTF-8"), ("TZ", "UTC")]).env("SOURCE_DATE_EPOCH", epoch.to_string());
    let output = command.env("TMPDIR", place).current_dir("/").output().map_err(|e| {
        Error::host(format!("mmdebstrap cannot be run: {e}")).hint("it is in Debian's package mmdebstrap: install it")
    })?;
    if !output.status.success() {
        return Err(Error::host(format!("recipe {}: mmdebstrap failed: {}", recipe.name, complaint(&output))).hint(
            "run it as root, or lend this user ids in /etc/subuid and install uidmap; are all packages locked?",
        ));
    }
    let mut entries = deb::entries_of_archive(&tar)?;
    entries.retain(|entry| !entry.path.starts_with("dev/") && !LEFT.iter().any(|path| entry.path == Path::new(path)));
    Ok(entries)
}

/// A repository of just these files, as apt reads one from a directory; gives the packages' names.
fn pool(files: &[PathBuf], place: &Path) -> Result<Vec<String>> {
    let dir = place.join("pool");
    std::fs::create_dir(&dir).map_err(|e| crate::failed("making", &dir, &e))?;
    open_up(&dir)?;
    let (mut names, mut index) = (Vec::new(), String::new());
    for (number, file) in files.iter().enumerate() {
        let About { name, control, .. } = deb::about(file)?;
        // a plain name: apt takes `%3a` in one for a colon
        let copy = dir.join(format!("{number}.deb"));
        let size = std::fs::copy(file, &copy).map_err(|e| crate::failed("copying to", &copy, &e))?;
        std::fs::set_permissions(&copy, Permissions::from_mode(0o644))
            .map_err(|e| crate::failed("opening up", &copy, &e))?;
        let control = String::from_utf8_lossy(&control);
        let sum = fetch::sha256(file)?;
        let _ = write!(index, "{}\nFilename: ./{number}.deb\nSize: {size}\nSHA256: {sum}\n\n", control.trim_end());
        names.push(name);
    }
    let path = dir.join("Packages");
    std::fs::write(&path, index).map_err(|e| crate::failed("writing", &path, &e))?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o644))
        .map_err(|e| crate::failed("opening up", &path, &e))?;
    Ok(names)
}

/// apt reads it as another user, and so does root of a user namespace.
fn open_up(dir: &Path) -> Result<()> {
    std::fs::set_permissions(dir, Permissions::from_mode(0o755)).map_err(|e| crate::failed("opening up", dir, &e))
}

/// Whether what we make belongs to root.
fn is_root(ours: &Path) -> Result<bool> {
    ours.metadata().map(|dir| dir.uid() == 0).map_err(|e| crate::failed("looking at", ours, &e))
}

/// The last error of mmdebstrap's, or of what it ran.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let error = |line: &&str| line.starts_with("E: ") || line.contains("error");
    let line = text.lines().rev().find(error).or(text.lines().next_back()).unwrap_or("it says nothing");
    line.trim_start_matches("E: ").to_owned()
}
