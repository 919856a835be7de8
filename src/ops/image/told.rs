//! `history` and `inspect`: what an image says of itself.

use crate::error::Result;
use crate::id::Digest;
use crate::image::{Reference, Store};
use crate::ops;
use crate::state::Roots;
use std::collections::BTreeSet;

/// A line of `history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// The image's, on the last step alone.
    pub id: Option<Digest>,
    /// Seconds since it was made, where the image says.
    pub age: Option<u64>,
    /// The same in RFC 3339.
    pub created: Option<String>,
    pub by: String,
    /// Bytes of its layer as it is stored.
    pub size: u64,
    pub comment: String,
}

/// The steps by which an image says it was made, the last first.
pub fn history(roots: &Roots, name: &str) -> Result<Vec<HistoryRow>> {
    let image = Store::open(&roots.root)?.find(name)?;
    let mut sizes = image.layers.iter().map(|layer| layer.size);
    let mut rows: Vec<HistoryRow> = Vec::new();
    for step in image.config.history().iter().flatten() {
        rows.push(HistoryRow {
            id: None,
            age: step.created().as_deref().and_then(ops::age),
            created: step.created().clone(),
            by: step.created_by().clone().unwrap_or_default(),
            size: if step.empty_layer() == Some(true) { 0 } else { sizes.next().unwrap_or(0) },
            comment: step.comment().clone().unwrap_or_default(),
        });
    }
    // layers that the history does not tell of
    let untold =
        |size| HistoryRow { id: None, age: None, created: None, by: String::new(), size, comment: String::new() };
    rows.extend(sizes.map(untold));
    if let Some(last) = rows.last_mut() {
        last.id = Some(image.id);
    }
    rows.reverse();
    Ok(rows)
}

/// What docker's inspect shows of an image.
pub(in crate::ops) fn inspect(roots: &Roots, name: &str) -> Result<serde_json::Value> {
    let image = Store::open(&roots.root)?.find(name)?;
    // a name with a digest is not for its tag (docker's way, too)
    let tags = image.names.iter().filter(|name| name.digest.is_none());
    let digests: BTreeSet<String> =
        image.names.iter().map(|name| format!("{}@{}", name.familiar_repository(), image.digest_of(name))).collect();
    // docker's own field of the configuration is unknown to OCI's, which has it at each step
    let comment = image.config.history().iter().flatten().next_back().and_then(|step| step.comment().as_deref());
    let comment = comment.unwrap_or_default();
    // what an image does not say is empty, not missing: templates name it all the same
    let mut config = serde_json::json!({
        "User": "", "Env": [], "Cmd": null, "Entrypoint": null, "WorkingDir": "", "Labels": {}
    });
    if let Ok(serde_json::Value::Object(said)) = serde_json::to_value(image.config.config()) {
        said.into_iter().for_each(|(name, value)| config[name] = value);
    }
    if let Some(health) = image.health.clone() {
        config["Healthcheck"] = health;
    }
    Ok(serde_json::json!({
        "Id": image.id,
        "RepoTags": tags.map(Reference::familiar).collect::<Vec<_>>(),
        "RepoDigests": digests,
        "Digest": image.manifest,
        "Author": image.config.author().as_deref().unwrap_or_default(),
        "Comment": comment,
        "Created": image.config.created(),
        "Architecture": image.config.architecture().to_string(),
        "Variant": image.config.variant().as_deref().unwrap_or_default(),
        "Os": image.config.os().to_string(),
        "Size": image.size(),
        "Config": config,
        "RootFS": { "Type": "layers", "Layers": image.layers.iter().map(|l| &l.diff_id).collect::<Vec<_>>() },
    }))
}
