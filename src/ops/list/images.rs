//! `images`: which images there are, and which of them are wanted.

use super::filter::{self, Filter};
use crate::error::Result;
use crate::id::Digest;
use crate::image::{Image, Reference, Store};
use crate::state::Roots;
use crate::sys::fs;
use std::collections::BTreeMap;

/// A line of `images`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// Without a tag: `alpine`, `localhost:5000/a/b`; `<none>`.
    pub repository: String,
    pub tag: String,
    pub id: Digest,
    /// The digest of its manifest, or of the index that led to it: what a registry knows it by.
    pub digest: Digest,
    /// When it was made, where the image says, in RFC 3339; and how many seconds ago.
    pub created: Option<String>,
    pub age: Option<u64>,
    /// Bytes of all layers, as they are stored.
    pub size: u64,
    pub labels: BTreeMap<String, String>,
    name: Option<Reference>,
}

/// What --filter knows.
pub const FILTERS: [&str; 5] = ["dangling", "reference", "label", "before", "since"];

/// The images that are wanted, in the order they came: by `KEY=VALUE` filters, and by a name or pattern.
pub fn list(roots: &Roots, name: Option<&str>, filters: &[String]) -> Result<Vec<ImageRow>> {
    let mut filters = filter::parse(filters, &FILTERS)?;
    filters.extend(name.map(|name| Filter { key: "reference".to_owned(), value: name.to_owned() }));
    let moments = moments(roots, &filters)?;
    let rows = all(roots)?;
    Ok(rows.into_iter().filter(|row| filter::passes(&filters, |filter| matches(filter, row, &moments))).collect())
}

/// All images, a row for each name.
pub fn all(roots: &Roots) -> Result<Vec<ImageRow>> {
    if !fs::exists(roots.root.child("images").as_path()) {
        return Ok(Vec::new());
    }
    let images = Store::open(&roots.root)?.list()?;
    // a broken image hides no other; `rmi` by its digest removes it
    Ok(images.into_iter().flatten().flat_map(|image| rows(&image)).collect())
}

fn rows(image: &Image) -> Vec<ImageRow> {
    let row = |name: Option<&Reference>| ImageRow {
        repository: name.map_or_else(none, Reference::familiar_repository),
        // what was pulled by a digest is not there by its tag
        tag: name.filter(|name| name.digest.is_none()).and_then(|name| name.tag.clone()).unwrap_or_else(none),
        id: image.id.clone(),
        digest: name.map_or(&image.manifest, |name| image.digest_of(name)).clone(),
        created: image.config.created().clone(),
        age: image.config.created().as_deref().and_then(super::super::age),
        size: image.size(),
        labels: labels(image),
        name: name.cloned(),
    };
    match image.names.as_slice() {
        [] => vec![row(None)],
        names => names.iter().map(|name| row(Some(name))).collect(),
    }
}

fn none() -> String {
    "<none>".to_owned()
}

fn labels(image: &Image) -> BTreeMap<String, String> {
    let labels = image.config.config().as_ref().and_then(|config| config.labels().clone());
    labels.into_iter().flatten().collect()
}

/// When the images were made that `before` and `since` name.
fn moments(roots: &Roots, filters: &[Filter]) -> Result<BTreeMap<String, jiff::Timestamp>> {
    let named = filters.iter().filter(|filter| matches!(filter.key.as_str(), "before" | "since"));
    let mut moments = BTreeMap::new();
    for Filter { value, .. } in named {
        let made = Store::look(&roots.root).find(value)?.config.created().as_deref().and_then(|at| at.parse().ok());
        moments.extend(made.map(|made| (value.clone(), made)));
    }
    Ok(moments)
}

fn matches(filter: &Filter, row: &ImageRow, moments: &BTreeMap<String, jiff::Timestamp>) -> bool {
    let Filter { key, value } = filter;
    let made = || row.created.as_deref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    match key.as_str() {
        "dangling" => row.name.is_none() == filter.is_true(),
        "label" => filter::has_label(&row.labels, value),
        "reference" => row.name.as_ref().is_some_and(|name| is_named(name, value)),
        "before" => moments.get(value).zip(made()).is_some_and(|(other, made)| made < *other),
        "since" => moments.get(value).zip(made()).is_some_and(|(other, made)| made > *other),
        _ => false,
    }
}

/// By its repository or its whole name, both short and in full; either may be a pattern.
fn is_named(name: &Reference, wanted: &str) -> bool {
    let full = format!("{}/{}", name.registry, name.repository);
    let names = [name.familiar_repository(), name.familiar(), full, name.to_string()];
    names.iter().any(|name| filter::glob(wanted, name))
}
