//! `compare`: what is inside of each, as one document with the same keys for all.

use super::{Opened, Shelf, Word};
use crate::error::Result;
use crate::image::host_architecture;
use crate::image::inside::{Os, Packages, Tree, linkage, look, packages};
use crate::state::Roots;
use crate::sys::host;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Where a program is looked for whose image does not say where (runc and docker have the same).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `{kernel, images: [{name, kind, verdict, …}]}`. What is not there is null.
pub fn compare(roots: &Roots, words: &[Word]) -> Result<Value> {
    let shelf = Shelf::new(roots);
    let mut images = Vec::new();
    let mut layers: Vec<BTreeSet<String>> = Vec::new();
    for word in words {
        // one after the other, so that one tree alone is in memory
        let opened = shelf.open(word)?;
        let all = opened.image.iter().flat_map(|image| &image.layers);
        layers.push(all.map(|layer| layer.diff_id.to_string()).collect());
        images.push(facts(&opened));
    }
    for (at, image) in images.iter_mut().enumerate() {
        let elsewhere = |id: &&String| layers.iter().enumerate().any(|(other, ids)| other != at && ids.contains(*id));
        image["layers"] = json!({ "count": layers[at].len(), "shared": layers[at].iter().filter(elsewhere).count() });
    }
    Ok(json!({ "kernel": host::kernel_release()?, "images": images }))
}

fn facts(opened: &Opened<'_>) -> Value {
    let tree = &opened.tree;
    let (os, packages) = (look(tree), packages(tree));
    let (files, size) = tree.size();
    let architecture = opened.image.as_ref().map(|image| image.config.architecture().to_string());
    json!({
        "name": opened.name,
        "kind": opened.kind,
        "verdict": verdict(tree, &os),
        "architecture": architecture,
        "host_architecture": host_architecture().to_string(),
        "distribution": os.distribution.as_ref().map(|d| json!({ "id": d.id, "version": d.version, "name": d.name })),
        "libc": os.libc.as_ref().map(|libc| json!({
            "kind": libc.kind,
            "version": libc.version.clone().or_else(|| version_of(packages.as_ref(), libc.kind)),
            "path": libc.path,
        })),
        "loader": os.loader,
        "shell": os.shell.as_ref().map(|(path, program)| json!({ "path": path, "program": program })),
        "package_manager": os.manager,
        "packages": packages.as_ref().map(|found| json!({
            "format": found.format,
            "path": found.path,
            "count": found.list.as_ref().map(std::collections::BTreeMap::len),
        })),
        "certificates": os.certificates.as_ref().map(|found| json!({ "path": found.path, "count": found.count })),
        "time_zones": os.time_zones,
        "users": os.users,
        "setuid": os.setuid,
        "entry_point": entry_point(opened),
        "files": files,
        "size": size,
    })
}

fn version_of(packages: Option<&Packages>, name: &str) -> Option<String> {
    packages?.list.as_ref()?.get(name).cloned()
}

/// In a word or two what kind of image it is.
fn verdict(tree: &Tree, os: &Os) -> &'static str {
    let programs = tree.programs();
    match (&os.distribution, &os.shell) {
        (None, _) if os.libc.is_none() && programs == 1 => "single binary",
        (Some(_), Some(_)) => "distribution",
        (Some(_), None) => "distroless-style",
        (None, None) if programs > 0 => "distroless-style",
        (None, Some(_)) => "userland without a distribution",
        (None, None) => "files, and no program",
    }
}

/// The program that is started, as far as it can be told without starting it.
fn entry_point(opened: &Opened<'_>) -> Option<Value> {
    let word = opened.command.first()?;
    let config = opened.image.as_ref().and_then(|image| image.config.config().as_ref());
    let variables: Vec<&str> =
        config.and_then(|c| c.env().as_ref()).into_iter().flatten().map(String::as_str).collect();
    let list = |name: &str| variables.iter().find_map(|variable| variable.strip_prefix(name)?.strip_prefix('='));
    let dirs = list("PATH").unwrap_or(PATH).split(':').map(|dir| format!("{dir}/{word}"));
    let cwd = config.and_then(|c| c.working_dir().clone()).unwrap_or_default();
    let paths: Vec<String> = match (word.starts_with('/'), word.contains('/')) {
        (true, _) => vec![word.clone()],
        (false, true) => vec![format!("{cwd}/{word}")],
        (false, false) => dirs.collect(),
    };
    let preset: Vec<String> = list("LD_LIBRARY_PATH").unwrap_or_default().split(':').map(str::to_owned).collect();
    let found = paths.iter().find_map(|path| linkage(&opened.tree, path, &preset));
    Some(match found {
        None => json!({ "command": word, "path": null, "linkage": "missing", "missing": [word] }),
        Some(found) => json!({
            "command": word,
            "path": found.path,
            "linkage": found.kind,
            "interpreter": found.interpreter,
            "libraries": found.libraries,
            "missing": found.missing,
        }),
    })
}
