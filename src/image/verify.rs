//! `verify`: whether what is in the store still is what its digests say. Every blob is read; of the unpacked layers only
//! their form is looked at, for no digest covers a directory. Changes nothing but on request: a blob that is there is
//! never fetched again, so a damaged one must go first.

use super::index::Entry;
use super::layer::{self, Hashed, Sums};
use super::progress::{Counted, Progress};
use super::reference::Reference;
use super::store::{self, Image, LayerRef, Store};
use crate::error::Result;
use crate::id::Digest;
use crate::sys::fs;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;

/// What was found of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its first name, or the short digest of its manifest.
    pub image: String,
    /// Of the manifest, by which it can always be named.
    pub digest: Digest,
    pub layers: usize,
    /// How many layers are unpacked.
    pub unpacked: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is not as it should be, a line each.
    pub damage: Vec<String>,
    /// Blobs that are not what they should be, as far as that is known.
    pub suspects: Vec<Digest>,
}

/// What each blob turned out to be, or why it cannot be read; many images have the same.
type Read = BTreeMap<Digest, std::result::Result<(Sums, u64), String>>;

impl Store {
    /// Looks through the images of these names or ids, or through all.
    pub fn verify(&self, wanted: &[String], progress: &dyn Progress) -> Result<Vec<Verdict>> {
        let _held = self.hold()?;
        let index = self.index()?;
        let entries: Vec<(&Entry, Vec<Reference>)> = match wanted.is_empty() {
            true => index.images(),
            false => wanted.iter().map(|text| self.find_entry(&index, text)).collect::<Result<_>>()?,
        };
        let mut read = Read::new();
        Ok(entries.into_iter().map(|(entry, names)| self.verdict(entry, &names, &mut read, progress)).collect())
    }

    /// Removes the blobs that are not what their digests say, so that the next pull or load brings them again. Waits for
    /// images that are on their way in, for these may count on them. Gives what is gone.
    pub fn remove_damaged(&self, verdicts: &[Verdict]) -> Result<Vec<Digest>> {
        let damaged = verdicts.iter().filter(|verdict| !verdict.damage.is_empty());
        let suspects: BTreeSet<&Digest> = damaged.flat_map(|verdict| &verdict.suspects).collect();
        let mut removed = Vec::new();
        let _alone = self.hold_alone()?;
        for digest in suspects {
            let path = self.blob_path(digest);
            // another may have brought it again since
            let hashed = File::open(path.as_path()).and_then(|file| {
                let mut hashed = Hashed::new(file);
                io::copy(&mut hashed, &mut io::sink()).map(|_| hashed.digest())
            });
            if !hashed.is_ok_and(|is| is == *digest) && fs::exists(path.as_path()) {
                fs::unlink(path.as_path())?;
                removed.push(digest.clone());
            }
        }
        Ok(removed)
    }

    fn verdict(&self, entry: &Entry, names: &[Reference], read: &mut Read, progress: &dyn Progress) -> Verdict {
        let image = names.first().map_or_else(|| entry.digest.short().to_owned(), Reference::familiar);
        let (layers, unpacked, bytes) = (0, 0, entry.size);
        let (damage, suspects) = (Vec::new(), vec![entry.digest.clone()]);
        let mut verdict = Verdict { image, digest: entry.digest.clone(), layers, unpacked, bytes, damage, suspects };
        let parsed = self.read_blob(&entry.digest).and_then(|manifest| {
            if manifest.len() as u64 != entry.size {
                verdict.damage.push(format!("manifest {} has not {} bytes", entry.digest, entry.size));
            }
            let parsed = store::parse_manifest(&entry.digest, &manifest)?;
            verdict.suspects.extend(store::digest_of(parsed.config()));
            let image = store::parse_image(Vec::new(), &manifest, |digest| self.read_blob(digest))?;
            Ok((image, parsed.config().size()))
        });
        match parsed {
            Ok((image, config)) => self.pieces(&image, config, &mut verdict, read, progress),
            Err(e) => verdict.damage.push(e.message),
        }
        verdict
    }

    fn pieces(&self, image: &Image, config: u64, verdict: &mut Verdict, read: &mut Read, progress: &dyn Progress) {
        verdict.bytes += config;
        if std::fs::metadata(self.blob_path(&image.id).as_path()).is_ok_and(|found| found.len() != config) {
            verdict.damage.push(format!("configuration {} has not {config} bytes", image.id));
        }
        for layer in &image.layers {
            let found =
                read.entry(layer.digest.clone()).or_insert_with(|| self.sums(layer, progress).map_err(|e| e.message));
            let damage = match found {
                Err(message) => Some(message.clone()),
                Ok((sums, _)) if sums.digest != layer.digest => Some(format!("its content is {}", sums.digest)),
                Ok((sums, _)) if sums.diff_id != layer.diff_id => {
                    Some(format!("it inflates to {}, not {}", sums.diff_id, layer.diff_id))
                }
                Ok((_, size)) if *size != layer.size => Some(format!("it has {size} bytes, not {}", layer.size)),
                Ok(_) => None,
            };
            verdict.bytes += layer.size;
            if let Some(damage) = damage {
                verdict.damage.push(format!("layer {}: {damage}", layer.digest));
                verdict.suspects.push(layer.digest.clone());
            }
        }
        let (unpacked, wrong) = self.unpacked_forms(image);
        verdict.layers = image.layers.len();
        verdict.unpacked = unpacked;
        verdict.damage.extend(wrong);
    }

    fn sums(&self, layer: &LayerRef, progress: &dyn Progress) -> Result<(Sums, u64)> {
        let path = self.blob_path(&layer.digest);
        let missing = |e: std::io::Error| crate::error::Error::image(format!("blob {path}: {e}"));
        let file = File::open(path.as_path()).map_err(missing)?;
        let size = file.metadata().map_err(missing)?.len();
        let (_, sums) = layer::in_parallel(Counted::new(file, layer.digest.short(), Some(size), progress), |_| Ok(()))?;
        Ok((sums, size))
    }
}
