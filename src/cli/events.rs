//! `minirun events`.

use super::{format, ui};
use crate::error::Result;
use crate::ops::events::{self, Event, EventsRequest};
use crate::ops::logs;
use crate::state::Roots;
use serde_json::{Value, json};

/// Show what happens to containers, images and volumes, as it happens
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: minirun events --filter container=web --filter event=die
          minirun events --since 10m --until 0s --format '{{.Action}} {{.Actor.Attributes.name}}'")]
pub(super) struct Args {
    /// With what was from then on: 2026-01-31T12:00:00Z, seconds since 1970, or 10m for ten minutes ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not longer than that; what was before is shown, and nothing waited for
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Those alone that match: container=web, event=start, type=image, image=busybox, label=KEY[=VALUE], volume=data
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// json, or a Go template: '{{.Action}} {{.Actor.ID}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let format = args.format.as_deref().filter(|format| !format.is_empty());
    let template = format.filter(|format| !matches!(*format, "json" | "{{json .}}"));
    template.map_or(Ok(()), format::check)?;
    let now = logs::now();
    let moment = |text: &Option<String>| text.as_deref().map(|text| logs::moment(text, now)).transpose();
    let (since, until) = (moment(&args.since)?, moment(&args.until)?);
    let request = EventsRequest { since, until, filters: args.filter.clone() };
    events::events(roots, &request, &mut |event| match (format, template) {
        (_, Some(template)) => format::print_value(template, &for_template(event)),
        (Some(_), None) => ui::line(&as_json(event).to_string()),
        (None, None) => ui::line(&line(event)),
    })?;
    Ok(0)
}

/// docker's line: `TIME TYPE ACTION ID (KEY=VALUE, …)`.
fn line(event: &Event) -> String {
    let pairs: Vec<String> = event.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let pairs = if pairs.is_empty() { String::new() } else { format!(" ({})", pairs.join(", ")) };
    let time = jiff::Timestamp::from_nanosecond(event.time.into()).unwrap_or_default();
    ui::printable(&format!("{time:.9} {} {} {}{pairs}", event.kind, event.action, event.id)).into_owned()
}

/// The image, or what it was made from.
fn from(event: &Event) -> &str {
    let of = if event.kind == "image" { "name" } else { "image" };
    event.attributes.get(of).map_or("", String::as_str)
}

/// docker's document.
fn as_json(event: &Event) -> Value {
    let mut document = json!({
        "Type": event.kind,
        "Action": event.action,
        "Actor": { "ID": event.id, "Attributes": event.attributes },
        "scope": "local",
        "time": event.time / 1_000_000_000,
        "timeNano": event.time,
    });
    // docker's older names, which tools still read; it has none for a volume
    if event.kind != "volume" {
        document["status"] = json!(event.action);
        document["id"] = json!(event.id);
        document["from"] = json!(from(event));
    }
    document
}

/// The same under the names that templates have for it.
fn for_template(event: &Event) -> Value {
    json!({
        "Type": event.kind,
        "Action": event.action,
        "Actor": { "ID": event.id, "Attributes": event.attributes },
        "Scope": "local",
        "Time": event.time / 1_000_000_000,
        "TimeNano": event.time,
        "Status": event.action,
        "ID": event.id,
        "From": from(event),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let pairs = [("name", "web"), ("image", "busybox"), ("exitCode", "3")];
        let attributes = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let (action, id) = ("die".to_owned(), "abc".to_owned());
        Event { time: 1_796_000_000_000_000_042, kind: "container", action, id, attributes }
    }

    #[test]
    fn a_line_is_dockers() {
        let want = "2026-11-30T00:53:20.000000042Z container die abc (exitCode=3, image=busybox, name=web)";
        assert_eq!(line(&event()), want);
        let bare = Event { attributes: std::collections::BTreeMap::new(), ..event() };
        assert!(line(&bare).ends_with("container die abc"));
        let nasty = Event { id: "a\x1b[31m\nb".to_owned(), ..bare };
        assert!(!line(&nasty).contains(['\x1b', '\n']));
    }

    #[test]
    fn a_document_has_dockers_names() {
        let document = as_json(&event());
        assert_eq!((&document["status"], &document["Action"]), (&json!("die"), &json!("die")));
        assert_eq!((&document["from"], &document["id"]), (&json!("busybox"), &json!("abc")));
        assert_eq!(
            (&document["time"], &document["timeNano"]),
            (&json!(1_796_000_000), &json!(1_796_000_000_000_000_042_i64))
        );
        let say = |template| format::of_value(template, &for_template(&event()), &[]).unwrap();
        assert_eq!(
            say("{{.Type}} {{.Action}} {{.Actor.Attributes.exitCode}} {{.Time}}"),
            "container die 3 1796000000\n"
        );
        assert_eq!(say("{{.Actor.Attributes.signal}}|{{.From}}"), "<no value>|busybox\n");
    }
}
