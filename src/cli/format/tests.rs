use super::*;
use proptest::prelude::*;
use serde_json::json;

/// What docker 28.2 has said to each template, of a container that is the document, and of a listing with the row of
/// [`web`]; `null` where it was an error.
const DOCKER: &str = include_str!("docker.json");

fn recorded(part: &str) -> (Value, Vec<(String, Option<String>)>) {
    let all: Value = serde_json::from_str(DOCKER).unwrap();
    let cases = serde_json::from_value(all[part].clone()).unwrap();
    (all["document"].clone(), cases)
}

const LISTING: Listing = Listing {
    fields: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Networks", "NETWORKS"),
        ("Mounts", "MOUNTS"),
        ("Labels", "LABELS"),
        ("Label", ""),
    ],
    table: r"{{.ID}}\t{{.Names}}",
    quiet: "{{.ID}}",
};

fn web() -> Row {
    row([
        ("ID", "4f1a2b3c4d5e".into()),
        ("Names", "web".into()),
        ("Image", "busybox".into()),
        ("Command", "\"httpd -f -p 80 -h /…\"".into()),
        ("CreatedAt", "2026-01-02 03:04:05 +0000 UTC".into()),
        ("RunningFor", "10 months ago".into()),
        ("Ports", "0.0.0.0:8080->80/tcp".into()),
        ("State", "running".into()),
        ("Status", "Up 5 minutes".into()),
        ("Networks", "bridge".into()),
        ("Mounts", "/srv".into()),
        ("Labels", "a-b=1,com.x=y".into()),
        ("Label", json!({"a-b": "1", "com.x": "y"})),
    ])
}

fn one_blank_apart(text: &str) -> String {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// An error where docker has one, and else the same text.
fn assert_same(
    cases: Vec<(String, Option<String>)>,
    ours: impl Fn(&str) -> Result<String>,
    docker: impl Fn(&str) -> String,
) {
    let pairs = cases.into_iter().map(|(template, said)| {
        let ours = ours(&template);
        (said.map(|text| docker(&text)), ours.as_ref().ok().cloned(), (template, ours.err().map(|e| e.message)))
    });
    let different: Vec<_> = pairs.filter(|(docker, ours, _)| docker != ours).collect();
    assert!(different.is_empty(), "docker, ours, the template and our error: {different:#?}");
}

#[test]
fn documents_say_what_they_say_to_docker() {
    let (document, cases) = recorded("inspect");
    assert!(cases.len() > 100);
    assert_same(cases, |template| of_value(template, &document, &["Health"]), str::to_owned);
}

#[test]
fn listings_say_what_they_say_to_docker() {
    let (columns, others): (Vec<_>, Vec<_>) =
        recorded("ps").1.into_iter().partition(|(template, _)| template.starts_with("table"));
    assert_same(others, |template| lines(template, &LISTING, &[web()]), str::to_owned);
    // a table is laid out elsewhere: here are its cells
    let text = |template: &str| {
        let (header, rows) = cells(&template["table".len()..], &LISTING, &[web()])?;
        let lines = std::iter::once(&header).chain(&rows).map(|cells| cells.join(" "));
        Ok(one_blank_apart(&lines.collect::<Vec<_>>().join("\n")))
    };
    assert_same(columns, text, one_blank_apart);
}

#[test]
fn a_field_that_is_not_there_is_an_error_that_names_those_that_are() {
    let document = json!({"State": {"Pid": 1}});
    let error = of_value("{{.State.Pidd}}", &document, &[]).unwrap_err();
    assert_eq!(error.message, "template: .State.Pidd: map has no entry for key \"Pidd\"");
    assert_eq!(error.hint.as_deref(), Some("there are .Pid"));
    // with no row to find it out by, too
    let error = lines("{{.Name}}", &LISTING, &[]).unwrap_err();
    assert_eq!(error.message, "template: unknown field .Name");
    assert!(error.hint.unwrap().starts_with("there are .ID, .Names, "));
    for inside in ["{{range .Names}}{{$.Name}}{{end}}", "{{if .ID}}{{.Name}}{{end}}", "table {{.Name}}"] {
        assert!(lines(inside, &LISTING, &[]).is_err(), "{inside}");
    }
}

#[test]
fn json_lines_have_texts_alone_and_are_sorted() {
    let text = json_lines(&LISTING, &[web(), web()]);
    assert_eq!(text.lines().count(), 2);
    let names: Row = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert!(names.values().all(Value::is_string) && names.keys().is_sorted(), "{text}");
}

#[test]
fn a_text_from_outside_stays_in_its_cell() {
    let evil = "a\tb\nc\x1b[2J";
    let evil = row([("ID", "1".into()), ("Names", evil.into()), ("Label", json!({"x": evil}))]);
    let (header, rows) = cells(r#"{{.ID}}\t{{.Names}}\t{{.Label "x"}}"#, &LISTING, &[evil]).unwrap();
    assert_eq!(header, ["CONTAINER ID", "NAMES", "x"]);
    let shown = "a b\\nc\\u{1b}[2J";
    assert_eq!(rows, [["1", shown, shown]]);
}

#[test]
fn a_hostile_template_ends() {
    let document = json!({"A": (0..1000).collect::<Vec<_>>(), "S": "x".repeat(1000)});
    let nested = |open: &str, close: &str, times: usize| format!("{}{}", open.repeat(times), close.repeat(times));
    let ranges = format!("{}x{}", "{{range $.A}}".repeat(50), "{{end}}".repeat(50));
    let doubled = format!("{{{{$x := .S}}}}{}{{{{$x}}}}", "{{$x = print $x $x}}".repeat(60));
    // as deep as it may be
    assert_eq!(of_value(&nested("{{if 1}}", "{{end}}", 100), &document, &[]).unwrap(), "\n");
    for template in [
        ranges,
        doubled,
        "{{range $.A}}{{range $.A}}{{$.S}}{{end}}{{end}}".to_owned(),
        "{{range 1000000000}}x{{end}}".to_owned(),
        "{{printf \"%1000000000d\" 1}}".to_owned(),
        "{{pad .S 1000000000000 0}}".to_owned(),
        format!("{{{{{}}}}}", nested("(", ")", 100_000)),
        format!("{{{{{}1{}}}}}", "(".repeat(100_000), ")".repeat(100_000)),
        nested("{{if 1}}", "{{end}}", 100_000),
        format!("{{{{if 0}}}}{}{{{{end}}}}", "{{else if 0}}".repeat(100_000)),
    ] {
        let start: String = template.chars().take(40).collect();
        assert!(of_value(&template, &document, &[]).is_err(), "{start}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_template_or_an_error(text in "\\PC{0,60}") {
        let _ = of_value(&text, &web().into(), &[]);
        let _ = lines(&text, &LISTING, &[web()]);
    }

    #[test]
    fn any_words_are_a_template_or_an_error(
        words in proptest::collection::vec(prop_oneof![
            Just("{{"), Just("}}"), Just("{{- "), Just(" -}}"), Just(" "), Just("."), Just(".Names"), Just(".Labels"), Just(".L"),
            Just("$"), Just("$x"), Just(":="), Just("="), Just(","), Just("|"), Just("("), Just(")"), Just("range "),
            Just("if "), Just("with "), Just("else "), Just("{{end}}"), Just("{{else}}"), Just("{{break}}"), Just("index "),
            Just("slice "), Just("printf "), Just("\"%-5.3q %x %c %*d\""), Just("split "), Just("truncate "), Just("pad "),
            Just("-1"), Just("3"), Just("1e9"), Just("'ä'"), Just("\"äx\""), Just("`a`"), Just("len "), Just("eq "),
            Just("and "), Just("json "), Just("title "), Just("nil "), Just("true "), Just("/*"), Just("*/"), Just("ä"),
        ], 0..24),
    ) {
        let text = words.concat();
        let document = json!({"Names": ["ä", "b", null], "Labels": {"ä": "ö", "n": 1.5}, "L": null});
        let _ = of_value(&text, &document, &["L"]);
        let _ = of_value(&format!("{{{{{text}}}}}"), &document, &["L"]);
        let _ = cells(&text, &LISTING, &[web()]);
    }
}
