//! The store's index.json as data: which names stand for which manifest. Pure. One descriptor for each name; a
//! manifest that lost its last name keeps one descriptor without.

use super::reference::Reference;
use crate::error::{Error, Result};
use crate::id::Digest;
use oci_spec::image::MediaType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The short name, by which skopeo and podman find an image in a layout: `oci:DIR:alpine:latest`.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The full name, as docker and containerd write it.
pub(super) const FULL_NAME: &str = "io.containerd.image.name";
/// Ours: the digest of the index that led to the manifest, by which a registry knows the image for all platforms.
const OF_INDEX: &str = "minirun.index.digest";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<MediaType>,
    pub manifests: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub media_type: MediaType,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Entry {
    pub(super) fn name(&self) -> Option<Reference> {
        let text = self.annotations.get(FULL_NAME).or_else(|| self.annotations.get(REF_NAME))?;
        Reference::parse(text).ok()
    }

    pub(super) fn index(&self) -> Option<Digest> {
        Digest::parse(self.annotations.get(OF_INDEX)?).ok()
    }

    pub(super) fn set_index(&mut self, index: &Digest) {
        self.annotations.insert(OF_INDEX.into(), index.to_string());
    }

    fn set_name(&mut self, name: Option<&Reference>) {
        self.annotations.remove(FULL_NAME);
        self.annotations.remove(REF_NAME);
        if let Some(name) = name {
            self.annotations.insert(FULL_NAME.into(), name.to_string());
            self.annotations.insert(REF_NAME.into(), name.familiar());
        }
    }
}

impl Index {
    pub(super) fn empty() -> Index {
        Index { schema_version: 2, media_type: Some(MediaType::ImageIndex), manifests: Vec::new() }
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Index> {
        serde_json::from_slice(bytes).map_err(|e| Error::image(format!("index.json: {e}")))
    }

    /// The manifests in the order they came, each with its names; of several entries the first that knows its index.
    pub(super) fn images(&self) -> Vec<(&Entry, Vec<Reference>)> {
        let mut images: Vec<(&Entry, Vec<Reference>)> = Vec::new();
        for entry in &self.manifests {
            match images.iter_mut().find(|(seen, _)| seen.digest == entry.digest) {
                Some((first, names)) => {
                    names.extend(entry.name());
                    if first.index().is_none() && entry.index().is_some() {
                        *first = entry;
                    }
                }
                None => images.push((entry, entry.name().into_iter().collect())),
            }
        }
        images
    }

    /// Makes these names stand for the manifest, and for no other any more. Without a name the manifest is kept
    /// nameless, where it has none yet.
    pub(super) fn put(&mut self, mut manifest: Entry, names: &[Reference]) {
        for name in names {
            self.untag(name);
            let mut entry = manifest.clone();
            entry.set_name(Some(name));
            self.manifests.push(entry);
        }
        manifest.set_name(None);
        if names.is_empty() && !self.manifests.iter().any(|e| e.digest == manifest.digest) {
            self.manifests.push(manifest);
        } else if !names.is_empty() {
            self.manifests.retain(|e| e.digest != manifest.digest || e.name().is_some());
        }
    }

    /// Takes a name away; its manifest stays, nameless where it was the last. Gives the manifest.
    pub(super) fn untag(&mut self, name: &Reference) -> Option<Digest> {
        let at = self.manifests.iter().position(|e| e.name().as_ref() == Some(name))?;
        let mut entry = self.manifests.remove(at);
        let digest = entry.digest.clone();
        entry.set_name(None);
        if !self.manifests.iter().any(|e| e.digest == digest) {
            self.manifests.insert(at, entry);
        }
        Some(digest)
    }

    /// Takes a manifest away with all its names.
    pub(super) fn remove(&mut self, manifest: &Digest) {
        self.manifests.retain(|e| &e.digest != manifest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(content: &[u8]) -> Entry {
        let digest = Digest::of(content);
        Entry { media_type: MediaType::ImageManifest, digest, size: 1, annotations: BTreeMap::new() }
    }

    fn names(index: &Index) -> Vec<(String, Vec<String>)> {
        let familiar = |names: Vec<Reference>| names.iter().map(Reference::familiar).collect();
        index.images().into_iter().map(|(e, names)| (e.digest.short().to_owned(), familiar(names))).collect()
    }

    #[test]
    fn a_name_moves_and_the_older_image_stays_nameless() {
        let (old, new) = (entry(b"old"), entry(b"new"));
        let (old_id, new_id) = (old.digest.short().to_owned(), new.digest.short().to_owned());
        let name = Reference::parse("alpine").unwrap();
        let mut index = Index::empty();
        index.put(old.clone(), std::slice::from_ref(&name));
        index.put(old, std::slice::from_ref(&name));
        assert_eq!(names(&index), [(old_id.clone(), vec!["alpine:latest".to_owned()])]);
        index.put(new, &[name]);
        assert_eq!(names(&index), [(old_id, vec![]), (new_id, vec!["alpine:latest".to_owned()])]);
        assert_eq!(Index::parse(&serde_json::to_vec(&index).unwrap()).unwrap(), index);
    }

    #[test]
    fn an_image_has_many_names_and_one_nameless_entry_at_most() {
        let image = entry(b"x");
        let (a, b) = (Reference::parse("a").unwrap(), Reference::parse("b:1").unwrap());
        let mut index = Index::empty();
        index.put(image.clone(), &[]);
        index.put(image.clone(), &[a.clone(), b.clone()]);
        assert_eq!(index.manifests.len(), 2);
        index.untag(&a);
        index.untag(&b);
        assert_eq!(index.images().len(), 1);
        assert_eq!(index.manifests.len(), 1);
        index.remove(&image.digest);
        assert!(index.manifests.is_empty());
    }
}
