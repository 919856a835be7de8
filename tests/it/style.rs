//! What style the machine can hold: sizes, first lines, reasons.

use crate::support::source::{self, Source};

/// A file above it answers two questions.
const PRODUCTION_LINES: usize = 400;
/// Columns of a page, as of code.
const COLUMNS: usize = 120;
/// A script above it should be Rust.
const SCRIPT_LINES: usize = 50;

#[test]
fn a_file_has_at_most_400_lines_of_production_code() {
    for file in source::production_files().iter().filter(|f| !f.path.ends_with("/generated.rs")) {
        let lines = file.code.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= PRODUCTION_LINES, "{}: {lines} lines of code: it answers two questions", file.path);
    }
}

#[test]
fn a_file_says_first_what_it_is() {
    for dir in ["src", "tests/it", "rootfs-builder/src"] {
        for path in source::rust_files(dir).into_iter().filter(|path| !path.ends_with("/tests.rs")) {
            assert!(source::read(&path).starts_with("//! "), "{path}: begin with `//!`, what this is");
        }
    }
}

#[test]
fn the_first_page_and_the_map_have_at_most_120_columns() {
    for page in ["README.md", "src/README.md"] {
        for line in source::read(page).lines() {
            assert!(line.chars().count() <= COLUMNS, "{page}: {line}");
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    let later = ["todo!", "unimplemented!", "TODO", "FIXME", "XXX"];
    for path in source::rust_files("src") {
        let text = source::read(&path);
        assert_eq!(later.iter().find(|word| text.contains(**word)), None, "{path}");
    }
}

#[test]
fn every_dependency_stands_there_for_a_reason() {
    for manifest in ["Cargo.toml", "rootfs-builder/Cargo.toml"] {
        let text = source::read(manifest);
        let bare = dependencies_without_reason(&text);
        assert!(bare.is_empty(), "{manifest}: say what each is for in a trailing comment: {bare:?}");
    }
}

#[test]
fn a_dependency_without_reason_is_seen() {
    let manifest = "[dependencies]\na = \"1\" # for x\nb = \"2\"\n\n[features]\nc = []\n[dev-dependencies]\nd = { version = \"#\" }\n";
    assert_eq!(dependencies_without_reason(manifest), ["b = \"2\"", "d = { version = \"#\" }"]);
}

fn dependencies_without_reason(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut bare = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && line.contains('=') && !line.starts_with('#') && !line.contains(" # ") {
            bare.push(line);
        }
    }
    bare
}

#[test]
fn scripts_are_short_and_stop_at_the_first_error() {
    for dir in ["hack", "hack/bench.d", "hack/vm.d", ".ci"] {
        let entries = std::fs::read_dir(source::repository().join(dir)).unwrap().map(|e| e.unwrap().path());
        for path in entries.filter(|path| path.is_file()) {
            let text = std::fs::read_to_string(&path).unwrap();
            if !text.starts_with("#!/bin/bash") {
                continue;
            }
            let strict = text.contains("set -euo pipefail") || text.contains("/lib.sh\"");
            assert!(strict, "{}: set -euo pipefail", path.display());
            let lines = text.lines().count();
            assert!(lines <= SCRIPT_LINES, "{}: {lines} lines: what is longer is Rust", path.display());
        }
    }
}

#[test]
fn unsafe_and_its_danger_stay_behind_one_door() {
    for file in source::production_files() {
        let inside = file.module == "sys" || file.module.starts_with("sys::");
        let allows = file.code.contains("allow(unsafe_code");
        assert!(inside || !allows, "{}: unsafe belongs into src/sys", file.path);
    }
}

#[test]
fn the_map_names_every_module() {
    let map = source::read("src/README.md");
    let modules = source::production_files().into_iter().map(|f: Source| f.module);
    for module in modules.filter(|m| !m.contains("::") && !matches!(m.as_str(), "lib" | "main")) {
        assert!(map.contains(&format!("`{module}`")), "src/README.md does not name `{module}`");
    }
}
