//! `minirun demo`.

use super::ui;
use crate::error::Result;
use crate::ops::image::kernel;
use crate::state::Roots;
use clap::Subcommand;

/// Show by experiment how containers work
#[derive(Debug, clap::Args)]
#[command(after_help = "What differs between images, file by file, minirun compare and minirun diff say.

Example: minirun demo kernel hello busybox")]
pub(super) struct Args {
    #[command(subcommand)]
    demo: Demo,
}

#[derive(Debug, Subcommand)]
enum Demo {
    /// Every container runs on your kernel: its version and boot id from inside each image and from the host
    Kernel {
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    match &args.demo {
        Demo::Kernel { images } => kernel(images, roots),
    }
}

fn kernel(images: &[String], roots: &Roots) -> Result<u8> {
    let rows = kernel::demo(roots, images, &ui::Bars::new(ui::Show::Bars))?;
    let kernel = |row: &kernel::KernelRow| (row.release.clone(), row.version.clone(), row.boot_id.clone());
    let same = rows.iter().all(|row| kernel(row) == kernel(&rows[0]));
    let line = |row: kernel::KernelRow| {
        let distribution = row.distribution.unwrap_or_else(|| "none".to_owned());
        vec![row.place, row.release, row.boot_id, distribution]
    };
    let lines: Vec<Vec<String>> = rows.into_iter().map(line).collect();
    ui::table(&["SEEN FROM", "KERNEL", "BOOT ID", "USERLAND"], &lines, ui::Width::Fits)?;
    ui::print(if same {
        "\nOne kernel, booted once. What differs is the files.\n"
    } else {
        "\nThe kernels differ: that should be impossible.\n"
    })?;
    Ok(u8::from(!same))
}
