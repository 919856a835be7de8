//! What a container has changed in its copy of an image, as docker's `diff` has it: by what is in both.

use super::difference::{Options, difference};
use super::tree::{Key, Node, Tree, parent_of, path};
use crate::error::Result;
use crate::image::files::{Change, ChangeKind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The changes from `image` to `copy`, sorted. A directory in which something changed is changed itself; of what is
/// deleted with its directory, that one alone is told.
pub fn changes_between(image: &Tree, copy: &Tree) -> Result<Vec<Change>> {
    let mut all: BTreeMap<PathBuf, ChangeKind> = BTreeMap::new();
    let delete = |key: &Key, all: &mut BTreeMap<PathBuf, ChangeKind>| {
        if copy.get(parent_of(key)).is_some_and(Node::is_dir) {
            all.insert(path(key), ChangeKind::Deleted);
        }
    };
    for row in difference(image, copy, &Options { ignored: &|_| false, times: true })? {
        let kind = match row.change {
            'D' => {
                delete(&row.key, &mut all);
                continue;
            }
            'A' | 'R' => ChangeKind::Added,
            _ => ChangeKind::Modified,
        };
        if let Some(from) = &row.from {
            delete(from, &mut all);
        }
        all.insert(path(&row.key), kind);
    }
    let root = Path::new("/");
    all.remove(root);
    let above: Vec<PathBuf> = all.keys().flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned).collect();
    for path in above.into_iter().filter(|path| path != root) {
        all.entry(path).or_insert(ChangeKind::Modified);
    }
    Ok(all.into_iter().map(|(path, kind)| Change { path, kind }).collect())
}
