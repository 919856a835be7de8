//! `minirun history`.

use super::format::{self, Listing, Row, row};
use super::ui;
use crate::error::Result;
use crate::ops::image::told;
use crate::state::Roots;

/// Show how an image was made, the last step first
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun history busybox")]
pub(super) struct Args {
    /// Ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Sizes in MB and times as ages; else bytes and dates
    #[arg(short = 'H', long, value_name = "BOOL", action = clap::ArgAction::Set, default_value_t = true,
        default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    human: bool,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// json, or a Go template: '{{.ID}}: {{.CreatedSince}}', 'table {{.CreatedBy}}\t{{.Size}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// A name, an id or the unique beginning of one
    image: String,
}

/// As much of a command as docker shows.
const SHOWN: usize = 45;

const LISTING: Listing = Listing {
    fields: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    table: r"{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    quiet: "{{.ID}}",
};

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let rows = told::history(roots, &args.image)?;
    let rows: Vec<Row> = rows.iter().map(|row| fields(row, args.no_trunc, args.human)).collect();
    format::print_rows_as(args.format.as_deref(), args.quiet, &LISTING, &rows, ui::Width::of(args.no_trunc))?;
    Ok(0)
}

/// A step under docker's names.
fn fields(of: &told::HistoryRow, whole: bool, human: bool) -> Row {
    let id = match (&of.id, whole) {
        (Some(id), true) => id.to_string(),
        (Some(id), false) => id.short().to_owned(),
        (None, _) => "<missing>".to_owned(),
    };
    let by = match whole || of.by.chars().count() <= SHOWN {
        true => of.by.clone(),
        false => format!("{}…", of.by.chars().take(SHOWN - 1).collect::<String>()),
    };
    let since = match human {
        true => of.age.map_or_else(|| "N/A".to_owned(), ui::ago),
        false => of.created.clone().unwrap_or_else(|| "N/A".to_owned()),
    };
    row([
        ("ID", id.into()),
        ("CreatedSince", since.into()),
        ("CreatedAt", of.created.as_deref().map(format::date).unwrap_or_default().into()),
        ("CreatedBy", by.into()),
        ("Size", if human { ui::decimal(of.size) } else { of.size.to_string() }.into()),
        ("Comment", of.comment.as_str().into()),
    ])
}
