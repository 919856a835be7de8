//! `minirun info`.

use super::{format, ui};
use crate::error::{Error, Kind, Result};
use crate::ops::check::{self, Row, State};
use crate::ops::info;
use crate::state::Roots;
use serde_json::{Value, json};

/// Show what this host offers and where minirun keeps its things
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: minirun info -f '{{.KernelVersion}}'
          minirun info --check")]
pub(super) struct Args {
    /// Look whether this host has what containers need, and say what to do where it has not
    #[arg(long)]
    check: bool,
    /// json, or a Go template: '{{.NCPU}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let format = args.format.as_deref().filter(|format| !format.is_empty());
    match (args.check, format) {
        (true, None) => checked(&check::check(roots)?),
        (true, Some("json")) => {
            let rows = check::check(roots)?;
            format::print_value("json", &rows.iter().map(document).collect())?;
            Ok(code(&rows))
        }
        (true, Some(other)) => Err(Error::new(Kind::Usage, format!("info --check has no format {other:?}"))
            .hint("minirun info --check --format json")),
        (false, Some(format)) => format::print_value(format, &info::document(roots)?).map(|()| 0),
        (false, None) => ui::print(&page(&info::document(roots)?)).map(|()| 0),
    }
}

/// docker's words for the fields, in docker's order.
const LINES: [(&str, &str); 24] = [
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Volumes", "Volumes"),
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Security Options", "SecurityOptions"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("In Every Root", "InEveryRoot"),
    ("Root Dir", "DockerRootDir"),
    ("State Dir", "StateDir"),
    ("Registry Mirrors", "Mirrors"),
    ("Insecure Registries", "InsecureRegistries"),
];

/// A line for each field; what is not known has none, and a list has its own lines. Warnings come last.
fn page(document: &Value) -> String {
    let mut page = String::new();
    for (name, field) in LINES {
        let value = match field {
            "Mirrors" | "InsecureRegistries" => &document["RegistryConfig"][field],
            field => &document[field],
        };
        let lines = match value {
            Value::Null => continue,
            Value::Array(all) if all.is_empty() => continue,
            Value::Array(all) => all.iter().map(|one| format!("\n  {}", one.as_str().unwrap_or_default())).collect(),
            Value::String(text) => format!(" {text}"),
            bytes if field == "MemTotal" => format!(" {}", ui::size(bytes.as_u64().unwrap_or(0))),
            other => format!(" {other}"),
        };
        page += &format!("{name}:{lines}\n");
    }
    for warning in document["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        page += &format!("WARNING: {}\n", ui::printable(warning));
    }
    page
}

/// A line for each fact, and below it what to do.
fn checked(rows: &[Row]) -> Result<u8> {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    for row in rows {
        ui::line(&ui::printable(&format!("{:9} {:width$}  {}", row.state.name(), row.name, row.detail)))?;
        if let Some(remedy) = &row.remedy {
            ui::line(&ui::printable(&format!("{:10}hint: {remedy}", "")))?;
        }
    }
    Ok(code(rows))
}

fn document(row: &Row) -> Value {
    json!({ "Name": row.name, "State": row.state.name(), "Detail": row.detail, "Remedy": row.remedy })
}

/// 1 where something is missing without which no container runs.
fn code(rows: &[Row]) -> u8 {
    u8::from(rows.iter().any(|row| row.state == State::Missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_has_a_line() {
        let document = json!({
            "Containers": 3, "ContainersRunning": 1, "Images": null, "SecurityOptions": ["name=seccomp", "name=apparmor"],
            "MemTotal": 8_u64 << 30, "Name": "host", "RegistryConfig": { "Mirrors": ["http://m"], "InsecureRegistries": [] },
            "Warnings": ["resolver: none"],
        });
        let want = "Containers: 3\n Running: 1\nSecurity Options:\n  name=seccomp\n  name=apparmor\nTotal Memory: 8GiB\n\
                    Name: host\nRegistry Mirrors:\n  http://m\nWARNING: resolver: none\n";
        assert_eq!(page(&document), want);
    }
}
