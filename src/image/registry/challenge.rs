//! `WWW-Authenticate`: how a registry wants to be asked. Pure. RFC 9110, 11.6.1; distribution's token protocol.

/// What the registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    /// A token from `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

/// The first challenge that we can answer; Bearer before Basic.
pub(super) fn parse(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let parameters = parameters(rest);
    let get = |key: &str| parameters.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    Some(Challenge::Bearer { realm: get("realm")?, service: get("service") })
}

/// `key="value", key=value`; a quoted value may hold commas and escaped characters.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        all.push((key.trim().to_ascii_lowercase(), value));
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    all
}

/// The text up to the closing quote, and what follows it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// Percent-encodes a query's value.
pub(super) fn encode(value: &str) -> String {
    value.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn challenges_are_understood() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned) })
        };
        for (header, wanted) in [
            (r#"Bearer realm="https://a/t",service="r.io""#, bearer("https://a/t", Some("r.io"))),
            (r#"bearer  service=r , scope="x:y,z" , realm="https://a/\"t""#, bearer("https://a/\"t", Some("r"))),
            (r#"Bearer realm="https://a"#, bearer("https://a", None)),
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("Bearer service=x", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(parse(header), wanted, "{header}");
        }
        assert_eq!(encode("a b&c"), "a%20b%26c");
    }

    proptest! {
        #[test]
        fn any_header_is_parsed_or_refused(header in "\\PC{0,60}") {
            let _ = parse(&header);
            let _ = parse(&format!("Bearer {header}"));
        }
    }
}
