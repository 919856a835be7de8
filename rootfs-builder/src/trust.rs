//! Whom TLS trusts: certificates of packages and of the recipe's folder, one behind the other, as programs read them.

use crate::glob;
use crate::recipe::{CA_BUNDLE, Recipe};
use crate::tree::{Tree, own_file, shown};
use minirun::error::{Error, Result};
use minirun::image::assemble::{Content, EntryKind};
use std::io::Read as _;
use std::path::Path;

/// A bundle of Debian's has 220 KiB.
const MOST: u64 = 16 << 20;

/// The text of the bundle: what the layers below have, then the recipe's own. `brought` is what its packages bring,
/// also what the image leaves out of it.
pub(crate) fn bundle(recipe: &Recipe, brought: &Tree, below: &Tree) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let under = below.get(Path::new(CA_BUNDLE.trim_start_matches('/')));
    if let Some(EntryKind::File(content)) = under.map(|entry| &entry.kind) {
        append(content, &mut bytes)?;
    }
    for pattern in &recipe.ca_certificates {
        let bad = |what: String, next: &str| Error::user(format!("recipe {}: {what}", recipe.name)).hint(next);
        let found = if pattern.starts_with('/') {
            let matching = brought.iter().filter(|(path, _)| glob::matches(pattern, &shown(path)));
            matching.filter_map(|(path, entry)| Some((shown(path), file(&entry.kind)?))).collect()
        } else {
            vec![(pattern.clone(), own_file(recipe, pattern, "a trusted certificate")?)]
        };
        if found.is_empty() {
            let next = "name files of a package in `packages`, ca-certificates for one, or a file beside recipe.toml";
            return Err(bad(format!("ca_certificates {pattern:?} matches no file of the packages"), next));
        }
        for (path, content) in found {
            let start = bytes.len();
            append(&content, &mut bytes)?;
            if !String::from_utf8_lossy(&bytes[start..]).contains("-----BEGIN CERTIFICATE-----") {
                let next = "write it in PEM: openssl x509 -inform der -in FILE -out FILE.pem";
                return Err(bad(format!("{path} holds no certificate in PEM"), next));
            }
        }
    }
    Ok(bytes)
}

fn file(kind: &EntryKind) -> Option<Content> {
    match kind {
        EntryKind::File(content) => Some(content.clone()),
        _ => None,
    }
}

/// With a line's end behind it.
fn append(content: &Content, bytes: &mut Vec<u8>) -> Result<()> {
    let (mut reader, length) = content.open()?;
    if length > MOST {
        return Err(Error::user(format!("a file of certificates of {length} bytes is none")).hint("name another file"));
    }
    reader.read_to_end(bytes).map_err(|e| crate::failed("reading", Path::new("certificates"), &e))?;
    if bytes.last().is_some_and(|last| *last != b'\n') {
        bytes.push(b'\n');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;
    use minirun::image::assemble::Entry;

    const PEM: &str = "-----BEGIN CERTIFICATE-----";

    fn built(text: &str, data: &[(&str, &str)], below: &Tree) -> Result<(Vec<Entry>, String)> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("recipe.toml"), format!("epoch = 1\n{text}")).unwrap();
        std::fs::write(dir.path().join("own.pem"), format!("{PEM} own")).unwrap();
        std::fs::write(dir.path().join("own.der"), "\u{1}").unwrap();
        let deb = dir.path().join("a.deb");
        std::fs::write(&deb, crate::deb::tests::deb("a", "1", data)).unwrap();
        let recipe = crate::recipe::load(dir.path()).unwrap();
        let entries = tree::layer(&recipe, &[crate::deb::open(&deb).unwrap()], below, 1)?;
        let bundle = entries.iter().find(|entry| entry.path == Path::new(&CA_BUNDLE[1..])).unwrap();
        let Some(Content::Bytes(bytes)) = file(&bundle.kind) else { panic!("no bytes") };
        Ok((entries, String::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn certificates_stand_one_behind_the_other_and_behind_those_below() {
        let (a, b) = (format!("{PEM} a"), format!("{PEM} b\n"));
        let packages = [("./certs/b.crt", b.as_str()), ("./certs/a.crt", &a), ("./certs/c", "c")];
        let text = "exclude = ['/certs']\nca_certificates = ['/certs/*.crt', 'own.pem']";
        let (entries, bundle) = built(text, &packages, &Tree::new()).unwrap();
        assert_eq!(bundle, format!("{PEM} a\n{PEM} b\n{PEM} own\n"));
        assert!(!entries.iter().any(|entry| entry.path.starts_with("certs")), "they are left out");
        let below: Tree = entries.into_iter().map(|entry| (entry.path.clone(), entry)).collect();
        let (_, more) = built("ca_certificates = ['own.pem']", &[], &below).unwrap();
        assert_eq!(more, format!("{bundle}{PEM} own\n"));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for (pattern, want) in [
            ("/certs/*.crt", "matches no file of the packages"),
            ("own.der", "own.der holds no certificate in PEM"),
            ("nothing.pem", "a trusted certificate is to be nothing.pem: "),
        ] {
            let error = built(&format!("ca_certificates = ['{pattern}']"), &[], &Tree::new()).unwrap_err();
            assert!(error.message.contains(want) && error.hint.is_some(), "{want}: {error}");
        }
    }
}
