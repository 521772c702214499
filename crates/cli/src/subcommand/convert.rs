//! `mortis convert`.

use super::{Call, JSON, LAYOUT, SNAPSHOT, Subcommand, SubcommandFlag, switch};
use anyhow::{Result, bail};
use mortis_dump::write::PageCodec;
use mortis_shell::convert::{Conversion, ConvertFailure, TARGETS, convert};
use mortis_shell::messages;
use mortis_shell::output::{Render, Style};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) const SUBCOMMAND: Subcommand = Subcommand {
    name: "convert",
    usage: "[OPTIONS] IN... OUT",
    summary: "write a dump in another format",
    about: "Reads whatever mortis opens. OUT's name tells the format where --format does not: .elf,\n\
            .kdump, .flat, .raw, .lime; any other is kdump. OUT '-' is standard output, for all formats\n\
            but kdump; flattened is what it takes then.\n\n\
            Pages that were left out of IN stay left out, in raw images as holes. Registers that a\n\
            hypervisor saved, and VMCOREINFO in the guest's memory, become notes that crash and drgn\n\
            read. A kdump that is only to be freed of what it is wrapped in, as by makedumpfile -R, is\n\
            copied as it stands. While it is written the file is called OUT.part.\n\n\
            Exit status: 0 success; 1 the file is written and pages are missing that IN should have, or\n\
            it could not be written; 2 IN could not be opened, or the command line is wrong.",
    flags: &[
        SubcommandFlag {
            value: Some("elf|kdump|flattened|raw|lime"),
            ..switch("format", "the format of OUT")
        },
        SubcommandFlag {
            value: Some("zlib|lzo|snappy|zstd|none"),
            ..switch("codec", "how pages are compressed (kdump, flattened); as in IN, or zlib")
        },
        SubcommandFlag {
            value: Some("N"),
            ..switch(
                "level",
                "how hard zlib (1 to 9) or zstd (1 to 19) tries; as makedumpfile does",
            )
        },
        switch("force", "replace OUT if it is there"),
        JSON,
        SNAPSHOT,
        LAYOUT,
    ],
    run,
};

const CODECS: [(&str, PageCodec); 5] = [
    ("zlib", PageCodec::Zlib),
    ("lzo", PageCodec::Lzo),
    ("snappy", PageCodec::Snappy),
    ("zstd", PageCodec::Zstd),
    ("none", PageCodec::None),
];

fn run(call: &Call) -> Result<ExitCode> {
    let mut files = call.files();
    let out = files.pop();
    let Some(out) = out.filter(|_| !files.is_empty() || call.is_set("layout")) else {
        bail!("a dump and a name for the new one are needed\nTry 'mortis convert --help'.");
    };
    let conversion = conversion(call, out)?;
    let input = call.input(files)?;
    let converted = match convert(&input, &conversion) {
        Ok(converted) => converted,
        Err(failure) => {
            let advice = match &failure {
                ConvertFailure::Open(failure) => failure.advice.as_deref(),
                _ => None,
            };
            let advice = advice.map_or(String::new(), |advice| format!("\n  {advice}"));
            messages::error("mortis convert", format!("{failure}{advice}"));
            return Ok(ExitCode::from(match failure {
                ConvertFailure::Open(_) | ConvertFailure::Refused { .. } => crate::UNUSABLE,
                ConvertFailure::Io { .. } | ConvertFailure::Write { .. } => crate::FAILURE,
            }));
        }
    };
    let status = if converted.has_gaps() { crate::FAILURE } else { 0 };
    if conversion.out == Path::new("-") {
        let mut text = String::new();
        converted.render(&mut text, Style::default());
        messages::tell(&text);
        return Ok(ExitCode::from(status));
    }
    call.answer("convert", status, |output| output.emit(&converted))
}

fn conversion(call: &Call, out: PathBuf) -> Result<Conversion> {
    let target = match call.value("format")? {
        None => None,
        Some(name) => match TARGETS.iter().find(|(known, ..)| *known == name) {
            Some((_, target, _)) => Some(*target),
            None => bail!("--format takes elf, kdump, flattened, raw or lime, not '{name}'"),
        },
    };
    let codec = match call.value("codec")? {
        None => None,
        Some(name) => match CODECS.iter().find(|(known, _)| *known == name) {
            Some((_, codec)) => Some(*codec),
            None => bail!("--codec takes zlib, lzo, snappy, zstd or none, not '{name}'"),
        },
    };
    let most = if codec == Some(PageCodec::Zlib) { 9 } else { 19 };
    let level = match call.value("level")? {
        None => None,
        Some(number) => match number.parse() {
            Ok(level) if (1..=most).contains(&level) => Some(level),
            _ => bail!("--level takes 1 to {most}, not '{number}'"),
        },
    };
    Ok(Conversion { out, target, codec, level, force: call.is_set("force") })
}
