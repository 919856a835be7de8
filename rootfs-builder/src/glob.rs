//! Patterns of paths: `*` stands for anything without a slash, `**` for anything. Pure.

/// Whether the whole path matches the pattern.
pub fn matches(pattern: &str, path: &str) -> bool {
    matches_bytes(pattern.as_bytes(), path.as_bytes())
}

/// Where to go on if the rest does not match: behind the star in the pattern, and with it taking one more byte.
#[derive(Clone, Copy)]
struct Star {
    after: usize,
    from: usize,
}

/// At most two places to come back to: the last `*` within a name, and the last `**` across names. So the time is at
/// most pattern times path times path.
fn matches_bytes(pattern: &[u8], path: &[u8]) -> bool {
    let (mut at, mut next) = (0, 0);
    let mut within: Option<Star> = None;
    let mut across: Option<Star> = None;
    while next < path.len() {
        match &pattern[at..] {
            [b'*', b'*', ..] => {
                at += 2;
                (across, within) = (Some(Star { after: at, from: next }), None);
            }
            [b'*', ..] => {
                at += 1;
                within = Some(Star { after: at, from: next });
            }
            [byte, ..] if *byte == path[next] => (at, next) = (at + 1, next + 1),
            _ => {
                let star = within.filter(|star| path[star.from] != b'/');
                let Some(star) = star.or(across) else { return false };
                let longer = Star { from: star.from + 1, ..star };
                (at, next) = (longer.after, longer.from);
                if star.after == across.map_or(0, |star| star.after) {
                    (across, within) = (Some(longer), None);
                } else {
                    within = Some(longer);
                }
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Whether a list of patterns takes `path` out: itself or with a directory above it. The last pattern that matches
/// decides; one with `!` in front keeps.
pub fn excluded(patterns: &[String], path: &str) -> bool {
    let matched = |pattern: &str| above(path).any(|path| matches(pattern, path));
    let last = patterns.iter().rev().find(|pattern| matched(pattern.strip_prefix('!').unwrap_or(pattern)));
    last.is_some_and(|pattern| !pattern.starts_with('!'))
}

/// The path and each directory above it: `/a/b`, `/a`.
fn above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(parent, _)| parent))
        .take_while(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_within_a_name_and_double_stars_across() {
        for (pattern, path, want) in [
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", false),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/a", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/**.crt", "/a/b/c.crt", true),
            ("/a/**.crt", "/a/b/c.crt.d", false),
            ("/**/x/*.so", "/u/x/y/x/z.so", true),
            ("/**/x/*.so", "/u/x/y/z.so", false),
            ("*", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, path), want, "{pattern} {path}");
        }
    }

    #[test]
    fn many_stars_stay_quick() {
        assert!(!matches(&format!("{}b", "**a".repeat(40)), &"a/".repeat(5000)));
        assert!(!matches(&format!("{}b", "*a".repeat(40)), &"a".repeat(5000)));
    }

    #[test]
    fn the_last_pattern_decides() {
        let patterns = ["/usr/share/doc", "!/usr/share/doc/*/copyright"].map(String::from);
        for (path, want) in [
            ("/usr/share/doc", true),
            ("/usr/share/doc/x/README", true),
            ("/usr/share/doc/x/copyright", false),
            ("/usr/share/docs", false),
        ] {
            assert_eq!(excluded(&patterns, path), want, "{path}");
        }
    }
}
