//! Patterns of paths: `*` stands for anything without a slash, `**` for anything. Pure.

/// Whether the whole path matches the pattern.
pub fn matches(pattern: &str, path: &str) -> bool {
    matches_bytes(pattern.as_bytes(), path.as_bytes())
}

/// At most two places to come back to, one a kind of star: the last `*` within a name, the last `**` across names.
fn matches_bytes(pattern: &[u8], path: &[u8]) -> bool {
    let (mut at, mut next) = (0, 0);
    let (mut star, mut stars): (Option<(usize, usize)>, Option<(usize, usize)>) = (None, None);
    while next < path.len() {
        match pattern.get(at) {
            Some(b'*') if pattern.get(at + 1) == Some(&b'*') => {
                at += 2;
                (stars, star) = (Some((at, next)), None);
                continue;
            }
            Some(b'*') => {
                at += 1;
                star = Some((at, next));
                continue;
            }
            Some(byte) if *byte == path[next] => {
                (at, next) = (at + 1, next + 1);
                continue;
            }
            Some(_) | None => {}
        }
        if let Some((after, from)) = star.filter(|(_, from)| path[*from] != b'/') {
            (at, next) = (after, from + 1);
            star = Some((after, from + 1));
        } else if let Some((after, from)) = stars {
            (at, next) = (after, from + 1);
            (stars, star) = (Some((after, from + 1)), None);
        } else {
            return false;
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
