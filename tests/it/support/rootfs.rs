//! Root file systems as tars, written entry by entry, so that a test knows every mode, owner, time and attribute in them;
//! and images of such layers.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::path::Path;
use tar::{Builder, EntryType, Header};

/// An entry: a regular file of root's, until it is said otherwise.
#[derive(Debug, Clone)]
pub struct Entry {
    pub path: String,
    pub kind: EntryType,
    pub content: Vec<u8>,
    /// Of a symbolic or hard link.
    pub target: String,
    pub mode: u32,
    pub owner: (u64, u64),
    pub time: u64,
    pub xattr: Option<(String, String)>,
}

/// When all was made that is not said to be of another time.
pub const TIME: u64 = 1_700_000_000;

pub fn file(path: &str, content: impl Into<Vec<u8>>) -> Entry {
    let (kind, target, owner, time, xattr) = (EntryType::Regular, String::new(), (0, 0), TIME, None);
    Entry { path: path.to_owned(), kind, content: content.into(), target, mode: 0o644, owner, time, xattr }
}

pub fn dir(path: &str) -> Entry {
    Entry { kind: EntryType::Directory, mode: 0o755, ..file(path, "") }
}

pub fn link(path: &str, target: &str) -> Entry {
    Entry { kind: EntryType::Symlink, mode: 0o777, target: target.to_owned(), ..file(path, "") }
}

pub fn fifo(path: &str) -> Entry {
    Entry { kind: EntryType::Fifo, ..file(path, "") }
}

/// The bytes of the tar.
pub fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for entry in entries {
        if let Some((name, value)) = &entry.xattr {
            tar.append_pax_extensions([(format!("SCHILY.xattr.{name}").as_str(), value.as_bytes())]).unwrap();
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.owner.0);
        header.set_gid(entry.owner.1);
        header.set_mtime(entry.time);
        header.set_size(entry.content.len() as u64);
        if entry.target.is_empty() {
            tar.append_data(&mut header, &entry.path, &entry.content[..]).unwrap();
        } else {
            tar.append_link(&mut header, &entry.path, &entry.target).unwrap();
        }
    }
    tar.into_inner().unwrap()
}

/// Writes an image as `docker save` does: these layers, lowest first, each made by a command.
pub fn docker_archive(path: &Path, name: &str, architecture: &str, layers: &[(&str, Vec<u8>)]) {
    let digest = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let ids: Vec<String> = layers.iter().map(|(_, layer)| format!("sha256:{}", digest(layer))).collect();
    let history: Vec<_> = layers.iter().map(|(by, _)| json!({ "created_by": by })).collect();
    let config = json!({
        "architecture": architecture, "os": "linux", "config": { "Cmd": ["/bin/program"] },
        "rootfs": { "type": "layers", "diff_ids": ids }, "history": history,
    });
    let places: Vec<String> = (0..layers.len()).map(|at| format!("{at}.tar")).collect();
    let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": places }]);
    let mut entries = vec![file("config.json", config.to_string()), file("manifest.json", manifest.to_string())];
    entries.extend(layers.iter().zip(&places).map(|((_, layer), place)| file(place, layer.clone())));
    std::fs::write(path, tar(&entries)).unwrap();
}
