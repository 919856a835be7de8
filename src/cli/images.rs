//! `minirun images`.

use super::format::{self, Listing, Row, row};
use super::ui;
use crate::error::Result;
use crate::ops::list::images::{self, ImageRow};
use crate::state::Roots;

/// List images
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: minirun images alpine
          minirun images --format '{{.Repository}}:{{.Tag}}'")]
pub(super) struct Args {
    /// Ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// With the digests that registries know them by
    #[arg(long)]
    digests: bool,
    /// Those alone that match: reference=PATTERN, dangling=true, label=KEY[=VALUE], before=IMAGE, since=IMAGE
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// json, or a Go template: '{{.Repository}}:{{.Tag}}', 'table {{.ID}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// There are no images in between that could be hidden
    #[arg(short, long, hide = true)]
    all: bool,
    /// Those of this name alone, which may be a pattern: 'team/*'
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

const FIELDS: &[(&str, &str)] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
];

const LISTING: Listing = Listing {
    fields: FIELDS,
    table: r"{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
};

const WITH_DIGESTS: Listing =
    Listing { table: r"{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}", ..LISTING };

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    let rows = images::list(roots, args.name.as_deref(), &args.filter)?;
    let rows: Vec<Row> = rows.iter().map(|row| fields(row, args.no_trunc)).collect();
    let listing = if args.digests { &WITH_DIGESTS } else { &LISTING };
    format::print_rows_as(args.format.as_deref(), args.quiet, listing, &rows, ui::Width::of(args.no_trunc))?;
    Ok(0)
}

/// An image under docker's names.
pub(super) fn fields(of: &ImageRow, whole: bool) -> Row {
    row([
        ("Repository", of.repository.as_str().into()),
        ("Tag", of.tag.as_str().into()),
        ("Digest", of.digest.as_str().into()),
        ("ID", if whole { of.id.as_str() } else { of.id.short() }.into()),
        ("CreatedSince", of.age.map_or_else(|| "N/A".to_owned(), ui::ago).into()),
        ("CreatedAt", of.created.as_deref().map(format::date).unwrap_or_default().into()),
        ("Size", ui::decimal(of.size).into()),
    ])
}
