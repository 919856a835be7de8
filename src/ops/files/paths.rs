//! docker's rules of what `cp` copies to where, on the text of paths (docker's archive package, `copy.go`). Pure.

use crate::error::{Error, Result};
use crate::id::clean;

/// What stands at the destination, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    Nothing,
    File,
    Directory,
}

/// Into which directory, and under which name; the empty name means that the content goes there.
pub(super) fn target(is_dir: bool, base: &str, to: &str, there: There) -> Result<(String, String)> {
    match there {
        There::Directory => Ok((to.to_owned(), base.to_owned())),
        There::File if is_dir => {
            Err(Error::user(format!("cannot copy a directory onto the file {to}")).hint("name a directory"))
        }
        There::Nothing if !is_dir && means_directory(to) => Err(Error::user(format!("no such directory: {to}"))
            .hint("make it first, or leave out the slash for a file of that name")),
        There::Nothing | There::File => match split(to) {
            (_, "" | "..") => Err(Error::user(format!("no such directory: {to}")).hint("make it first")),
            (above, name) => Ok((above.to_owned(), name.to_owned())),
        },
    }
}

fn means_directory(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.")
}

/// The directory above and the last component, whatever slashes and dots stand behind it.
pub(super) fn split(path: &str) -> (&str, &str) {
    let mut path = path;
    while let Some(shorter) = path.strip_suffix('/').or(path.strip_suffix("/.")) {
        path = shorter;
    }
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((above, name)) => (above, name),
        None => ("/", path),
    }
}

/// The name under which a source is copied; empty for its content alone: `/`, `.`, and what ends in `/.`.
pub(super) fn base(path: &str) -> String {
    if path == "." || path.ends_with("/.") {
        return String::new();
    }
    clean(path).rsplit('/').next().unwrap_or_default().to_owned()
}

/// What is left of a clean path below a clean directory; the empty text for the directory itself.
pub(super) fn below<'a>(path: &'a str, dir: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(dir)?;
    if rest.is_empty() || dir == "/" { Some(rest) } else { rest.strip_prefix('/') }
}

/// Where a link leads that stands at `path`.
pub(super) fn follow(path: &str, link: &str) -> String {
    match link.starts_with('/') {
        true => link.to_owned(),
        false => format!("{}/{link}", split(path).0.trim_end_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_destination_is_dockers() {
        use There::{Directory, File, Nothing};
        let ok = |dir: &str, name: &str| Some((dir.to_owned(), name.to_owned()));
        for (from, is_dir, to, there, want) in [
            ("/a/f", false, "/d", Directory, ok("/d", "f")),
            ("/a/f", false, "/d/", Directory, ok("/d/", "f")),
            ("/a/f", false, "/x", Nothing, ok("/", "x")),
            ("/a/f", false, "/b/x", File, ok("/b", "x")),
            ("/a/f", false, "/x/", Nothing, None),
            ("/a/f", false, "/x/.", Nothing, None),
            ("/a", true, "/d", Directory, ok("/d", "a")),
            ("/a/", true, "/d", Directory, ok("/d", "a")),
            ("/a/.", true, "/d", Directory, ok("/d", "")),
            ("/", true, "/d", Directory, ok("/d", "")),
            ("/a/..", true, "/d", Directory, ok("/d", "")),
            ("/a", true, "/x", Nothing, ok("/", "x")),
            ("/a", true, "/x/", Nothing, ok("/", "x")),
            ("/a/.", true, "/b/x", Nothing, ok("/b", "x")),
            ("/a", true, "/f", File, None),
            ("/a", true, "/x/..", Nothing, None),
        ] {
            assert_eq!(target(is_dir, &base(from), to, there).ok(), want, "{from} to {to}");
        }
    }

    #[test]
    fn a_path_below_a_mount_is_known_by_its_text() {
        for (path, dir, want) in [
            ("/data/x", "/data", Some("x")),
            ("/data", "/data", Some("")),
            ("/database", "/data", None),
            ("/x", "/", Some("x")),
        ] {
            assert_eq!(below(&clean(path), dir), want, "{path} {dir}");
        }
        assert_eq!((clean("/a/../../b//./c/"), clean("")), ("/b/c".to_owned(), "/".to_owned()));
    }

    #[test]
    fn a_link_leads_from_where_it_stands() {
        for (path, link, want) in [("/a/l", "/x", "/x"), ("/a/l", "../x", "/a/../x"), ("/l", "x", "/x")] {
            assert_eq!(follow(path, link), want);
        }
    }
}
