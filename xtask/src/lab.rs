//! `cargo xtask lab`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;
use mortis_lab::make::{self, Wanted};
use mortis_lab::table;

const HELP: &str = "\
cargo xtask lab [make] [--all] [--kernel KEY] [--case NAME]
                      make the dumps that are missing; a case that is named is made
                      also when it is not one of the default ones (--crash is --case)
cargo xtask lab list  the table, with what there is of it
cargo xtask lab path KERNEL CASE CAPTURE
cargo xtask lab path KERNEL vmlinux
                      print a path
cargo xtask lab peers install crash, makedumpfile and drgn to compare with
cargo xtask lab sample [DIR]
                      make the sample that is kept in samples/
cargo xtask lab refresh
                      remove everything, so that the next run takes the newest kernels
cargo xtask lab --install-tools
                      install what the lab runs (root, Debian)

Files are kept in $MORTIS_LAB_DIR, else $XDG_CACHE_HOME/mortis/lab, else
~/.cache/mortis/lab. Packages come from the Debian archive that apt uses here, or
from $MORTIS_DEBIAN_MIRROR.
";

/// Runs the subcommand.
pub fn run(words: Vec<OsString>) -> Result<()> {
    let mut parser = lexopt::Parser::from_args(words);
    let mut wanted = Wanted::default();
    let mut values = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("all") => wanted.all = true,
            Long("kernel") => wanted.kernel = Some(parser.value()?.string()?),
            Long("case" | "crash") => wanted.case = Some(parser.value()?.string()?),
            Long("install-tools") => return make::install_tools(),
            Long("help") | Short('h') => values.push("help".to_owned()),
            Value(value) => values.push(value.string()?),
            _ => return Err(argument.unexpected().into()),
        }
    }
    let words: Vec<&str> = values.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["make"] => make::make(&wanted),
        ["list"] => {
            list();
            Ok(())
        }
        ["path", kernel, "vmlinux"] => {
            println!("{}", mortis_lab::vmlinux(kernel).display());
            Ok(())
        }
        ["path", kernel, case, capture] => path(kernel, case, capture),
        ["peers"] => make::peers(),
        ["sample"] => {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
            make::sample(&root.context("no workspace folder")?.join("samples"))
        }
        ["sample", dir] => make::sample(Path::new(dir)),
        ["refresh"] => make::refresh(),
        ["help"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("not understood: lab {}\n{HELP}", words.join(" ")),
    }
}

fn path(kernel: &str, case: &str, capture: &str) -> Result<()> {
    let mut products = mortis_lab::available().into_iter();
    let product = products
        .find(|p| p.kernel == kernel && p.case == case && p.capture == capture)
        .with_context(|| {
        format!("there is no {kernel} {case} {capture}: `cargo xtask lab list` shows what there is")
    })?;
    println!("{}", product.path.display());
    Ok(())
}

/// The table, with the disk use in MiB of each capture that is there.
fn list() {
    let mut made: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let mut total = 0;
    for product in mortis_lab::available() {
        let bytes = std::fs::metadata(&product.path).map_or(0, |file| file.blocks() * 512);
        total += bytes;
        let text = format!("{} {}M", product.capture, bytes.div_ceil(1 << 20));
        made.entry((product.kernel, product.case)).or_default().push(text);
    }
    println!("{}", mortis_lab::root().display());
    println!("{:9} {:16} {:7} {:9} captures", "kernel", "case", "made", "state");
    let listed = table::RECIPES.iter().map(|r| (r.kernel, r.case, !r.default.is_empty()));
    for (kernel, name, default) in listed {
        let Some(case) = table::case(name) else { continue };
        let state = match make::is_current(kernel, case) {
            None => "-",
            Some(true) => "made",
            Some(false) => "outdated",
        };
        let captures = made.get(&(kernel.to_owned(), name.to_owned()));
        let captures = captures.map(|list| list.join(", ")).unwrap_or_default();
        let when = if default { "default" } else { "--all" };
        println!("{kernel:9} {name:16} {when:7} {state:9} {captures}");
    }
    println!("{} MiB of dumps", total >> 20);
}
