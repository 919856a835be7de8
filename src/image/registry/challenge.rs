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

/// The challenge that we can answer, of all that stand in these headers; Bearer before Basic.
pub(super) fn parse<'h>(headers: impl Iterator<Item = &'h str>) -> Option<Challenge> {
    let mut basic = None;
    for (scheme, parameters) in headers.flat_map(challenges) {
        let get = |key: &str| parameters.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        match (scheme.to_ascii_lowercase().as_str(), get("realm")) {
            ("bearer", Some(realm)) => return Some(Challenge::Bearer { realm, service: get("service") }),
            ("basic", _) => basic = Some(Challenge::Basic),
            _ => {}
        }
    }
    basic
}

type Parameters = Vec<(String, String)>;

/// `Scheme key="value", key=value, Scheme …`: schemes and parameters have the same comma between them.
fn challenges(header: &str) -> Vec<(String, Parameters)> {
    let mut all: Vec<(String, Parameters)> = Vec::new();
    for item in items(header) {
        let (scheme, rest) = item.split_once([' ', '\t']).unwrap_or((item, ""));
        let parameter = match scheme.contains('=') || rest.trim_start().starts_with('=') {
            true => item,
            false => {
                all.push((scheme.to_owned(), Vec::new()));
                rest
            }
        };
        if let (Some((_, parameters)), Some((key, value))) = (all.last_mut(), parameter.split_once('=')) {
            parameters.push((key.trim().to_ascii_lowercase(), unquote(value.trim())));
        }
    }
    all
}

/// What stands between commas that are not in quotes, without the empty ones.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let ends = c == ',' && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        ends
    })
    .map(str::trim)
    .filter(|item| !item.is_empty())
}

/// A value without its quotes, and what was escaped in them as it is.
fn unquote(value: &str) -> String {
    let Some(quoted) = value.strip_prefix('"') else { return value.to_owned() };
    let (mut out, mut chars) = (String::new(), quoted.chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
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
            (r#"Bearer realm="https://a""#, bearer("https://a", None)),
            (r#"Basic realm="x, y", Bearer realm="https://a""#, bearer("https://a", None)),
            (r#"Negotiate, Basic realm="x""#, Some(Challenge::Basic)),
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("Bearer service=x", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(parse([header].into_iter()), wanted, "{header}");
        }
        let two = ["Basic realm=x", "Bearer realm = \"https://a\" , service=r"];
        assert_eq!(parse(two.into_iter()), bearer("https://a", Some("r")));
        assert_eq!(encode("a b&c"), "a%20b%26c");
    }

    proptest! {
        #[test]
        fn any_header_is_parsed_or_refused(header in "\\PC{0,60}") {
            let _ = parse([header.as_str()].into_iter());
            let _ = parse([format!("Bearer {header}").as_str()].into_iter());
        }

        /// Whatever realm and service are, they come through the quotes as they are, whatever stands beside them.
        #[test]
        fn a_quoted_value_comes_through(realm in "\\PC{0,20}", service in "\\PC{0,20}", before in any::<bool>()) {
            let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let bearer = format!("Bearer realm=\"{}\", service=\"{}\"", quoted(&realm), quoted(&service));
            let header = if before { format!("Basic realm=\"a,b\", {bearer}") } else { bearer };
            prop_assert_eq!(parse([header.as_str()].into_iter()), Some(Challenge::Bearer { realm, service: Some(service) }));
        }
    }
}
