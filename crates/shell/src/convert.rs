//! `mortis convert`: a dump written to a file in another format.
//!
//! The file grows under the name `OUT.part` and gets its own when it is whole, so that nobody takes
//! half a dump for one. What a failure leaves behind stays and is named.

use crate::byte_size::byte_size as size;
use crate::open::{Input, OpenFailure, open_dump};
use crate::open_progress::open_progress;
use crate::output::{Interrupt, Render, Style};
use crate::progress_line::ProgressLine;
use mortis_dump::write::{PageCodec, Sink, Target, WriteError, WriteOptions, Written};
use mortis_dump::{Dump, PageCounts, Vmcoreinfo};
use mortis_kernel::vmcoreinfo_search;
use mortis_memory::PhysicalMemory;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is to be written, and where.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// `-` for standard output.
    pub out: PathBuf,
    /// `None`: by the name of `out`.
    pub target: Option<Target>,
    /// `None`: as the dump was compressed, or zlib.
    pub codec: Option<PageCodec>,
    /// How hard the codec tries.
    pub level: Option<u8>,
    /// Whether a file that is there may be replaced.
    pub force: bool,
}

/// Why there is no new dump.
#[derive(Debug, thiserror::Error)]
pub enum ConvertFailure {
    /// The dump does not open.
    #[error("{0}")]
    Open(#[from] OpenFailure),
    /// The output cannot be what was asked for: what, and what to do.
    #[error("{what}\n  {advice}")]
    Refused {
        /// What.
        what: String,
        /// What to do.
        advice: String,
    },
    /// The output cannot be opened or named.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// Writing began and did not come to its end.
    #[error("{error}{}", left_behind(part.as_deref()))]
    Write {
        /// Why.
        error: WriteError,
        /// What was written until then.
        part: Option<PathBuf>,
    },
}

fn left_behind(part: Option<&Path>) -> String {
    part.map_or(String::new(), |part| format!("\n  what was written is in {}", part.display()))
}

/// What was done.
#[derive(Serialize)]
pub struct Converted {
    input: Vec<String>,
    output: String,
    format: &'static str,
    /// The file was copied as it stands.
    copied: bool,
    /// Pages in the new dump.
    pages: Option<u64>,
    /// Bytes of memory in them.
    memory_bytes: Option<u64>,
    excluded: Option<u64>,
    /// Pages that are lost to the dump that was read.
    lost: Option<u64>,
    /// Pages that are damaged in it.
    unreadable: Option<u64>,
    input_bytes: u64,
    /// The length of the new file.
    output_bytes: u64,
    /// Without its holes.
    written_bytes: u64,
    seconds: f64,
}

/// The names by which formats are asked for, and those that files end in.
pub const TARGETS: [(&str, Target, &[&str]); 5] = [
    ("elf", Target::Elf, &["elf", "core"]),
    ("kdump", Target::Kdump, &["kdump", "vmcore"]),
    ("flattened", Target::Flattened, &["flat", "flattened"]),
    ("raw", Target::Raw, &["raw", "mem", "bin", "img"]),
    ("lime", Target::Lime, &["lime"]),
];

fn name_of(target: Target) -> &'static str {
    TARGETS.iter().find(|(_, of, _)| *of == target).map_or("", |(name, ..)| name)
}

/// The format that a file's name asks for; kdump if it asks for none.
fn target_of(out: &Path) -> Target {
    if out == Path::new("-") {
        return Target::Flattened;
    }
    let extension = out.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let extension = extension.to_ascii_lowercase();
    let named = TARGETS.iter().find(|(_, _, names)| names.contains(&&*extension));
    named.map_or(Target::Kdump, |(_, target, _)| *target)
}

/// VMCOREINFO in the memory of a dump that has no such note.
pub fn find_vmcoreinfo(dump: &Dump, interrupt: &Interrupt) -> Option<Vmcoreinfo> {
    let _line = ProgressLine::start("looking for VMCOREINFO", interrupt);
    vmcoreinfo_search::find(dump)
}

/// Writes the dump of `input` as `conversion` says.
///
/// # Errors
/// [`ConvertFailure`].
pub fn convert(input: &Input, conversion: &Conversion) -> Result<Converted, ConvertFailure> {
    let started = Instant::now();
    let target = conversion.target.unwrap_or_else(|| target_of(&conversion.out));
    let place = Place::choose(input, conversion, target)?;
    let dump = open_dump(input, &input.files)?;
    place.check_room(&dump, target)?;
    let has_notes = matches!(target, Target::Elf | Target::Kdump | Target::Flattened);
    let vmcoreinfo = match dump.vmcoreinfo() {
        None if has_notes => find_vmcoreinfo(&dump, &input.interrupt),
        _ => None,
    };
    let options = WriteOptions {
        codec: conversion.codec,
        level: conversion.level,
        vmcoreinfo,
        progress: Some(open_progress(&input.interrupt)),
        ..WriteOptions::new(target)
    };
    let (sink, part) = place.open()?;
    let written = dump
        .write(sink, &options)
        .map_err(|error| ConvertFailure::Write { error, part: part.clone() })?;
    if let Some(part) = part {
        std::fs::rename(&part, &conversion.out)
            .map_err(|error| ConvertFailure::Io { path: conversion.out.clone(), error })?;
    }
    Ok(Converted::new(&dump, conversion, target, written, started.elapsed()))
}

/// Where the output goes.
enum Place {
    Standard,
    /// Something that is no plain file: a device, a pipe.
    Special(PathBuf),
    File {
        out: PathBuf,
        part: PathBuf,
    },
}

impl Place {
    fn choose(
        input: &Input,
        conversion: &Conversion,
        target: Target,
    ) -> Result<Self, ConvertFailure> {
        let out = &conversion.out;
        let refused = |what: String, advice: &str| {
            Err(ConvertFailure::Refused { what, advice: advice.to_owned() })
        };
        let metadata = if out == Path::new("-") {
            None
        } else {
            match std::fs::metadata(out) {
                Ok(metadata) if metadata.is_file() => Some(metadata),
                Ok(metadata) if metadata.is_dir() => {
                    return refused(format!("{}: a folder", out.display()), "name a file in it");
                }
                Ok(_) if target != Target::Kdump => return Ok(Place::Special(out.clone())),
                Ok(_) => None,
                Err(_) => {
                    return Self::file(out, conversion.force);
                }
            }
        };
        if metadata.is_none() {
            return match target {
                Target::Kdump => refused(
                    "a kdump file is not written in order".to_owned(),
                    "give a file, or --format flattened",
                ),
                _ => Ok(Place::Standard),
            };
        }
        let same = |file: &PathBuf| match (file.canonicalize(), out.canonicalize()) {
            (Ok(file), Ok(out)) => file == out,
            _ => false,
        };
        if input.files.iter().any(same) {
            return refused(
                format!("{}: this is the dump itself", out.display()),
                "give another name",
            );
        }
        if !conversion.force {
            return refused(
                format!("{}: the file is there already", out.display()),
                "--force replaces it",
            );
        }
        Self::file(out, conversion.force)
    }

    fn file(out: &Path, force: bool) -> Result<Self, ConvertFailure> {
        let mut part = out.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        if !force && part.exists() {
            return Err(ConvertFailure::Refused {
                what: format!("{}: left by a conversion that did not end", part.display()),
                advice: "remove it, or replace it with --force".to_owned(),
            });
        }
        Ok(Place::File { out: out.to_owned(), part })
    }

    /// Refuses what cannot fit, where the size is known beforehand.
    fn check_room(&self, dump: &Dump, target: Target) -> Result<(), ConvertFailure> {
        let Place::File { out, .. } = self else { return Ok(()) };
        if !matches!(target, Target::Elf | Target::Lime) {
            return Ok(());
        }
        let PageCounts { present, .. } = dump.page_counts();
        let needed = present.saturating_mul(dump.page_size());
        match free_space(out) {
            Some(free) if free < needed => Err(ConvertFailure::Refused {
                what: format!(
                    "{}: {} are needed and {} are free",
                    out.display(),
                    size(needed),
                    size(free)
                ),
                advice: "make room, or choose --format kdump, which is smaller".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn open(&self) -> Result<(Sink, Option<PathBuf>), ConvertFailure> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| ConvertFailure::Io { path, error }
        };
        match self {
            Place::Standard => Ok((Sink::Stream(Box::new(io::stdout())), None)),
            Place::Special(out) => {
                let file = OpenOptions::new().write(true).open(out).map_err(io(out))?;
                Ok((Sink::Stream(Box::new(file)), None))
            }
            Place::File { part, .. } => {
                let file = File::create(part).map_err(io(part))?;
                Ok((Sink::File(file), Some(part.clone())))
            }
        }
    }
}

/// Bytes that a file at `path` may take.
#[cfg(unix)]
fn free_space(path: &Path) -> Option<u64> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let stat = rustix::fs::statvfs(folder.unwrap_or(Path::new("."))).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free_space(_path: &Path) -> Option<u64> {
    None
}

impl Converted {
    fn new(
        dump: &Dump,
        conversion: &Conversion,
        target: Target,
        written: Written,
        took: Duration,
    ) -> Self {
        let counted = |count| (!written.copied).then_some(count);
        Self {
            input: dump.files().iter().map(|file| file.display().to_string()).collect(),
            output: conversion.out.display().to_string(),
            format: name_of(target),
            copied: written.copied,
            pages: counted(written.pages),
            memory_bytes: counted(written.pages.saturating_mul(written.page_size)),
            excluded: counted(written.excluded),
            lost: counted(written.lost),
            unreadable: counted(written.unreadable),
            input_bytes: dump.size(),
            output_bytes: written.len,
            written_bytes: written.written,
            seconds: (took.as_secs_f64() * 1000.0).round() / 1000.0,
        }
    }

    /// Whether pages are missing that the dump should have.
    pub fn has_gaps(&self) -> bool {
        self.lost.unwrap_or(0) + self.unreadable.unwrap_or(0) > 0
    }
}

impl Render for Converted {
    fn render(&self, out: &mut String, style: Style) {
        let name = if self.output == "-" { "standard output" } else { &self.output };
        let ratio =
            self.written_bytes as f64 * 100.0 / self.memory_bytes.unwrap_or(0).max(1) as f64;
        match (self.pages, self.memory_bytes) {
            (Some(pages), Some(bytes)) => out.push_str(&format!(
                "{name}: {}, {pages} pages ({}) in {} ({ratio:.0}%), {} excluded, {:.1} s\n",
                self.format,
                size(bytes),
                size(self.written_bytes),
                self.excluded.unwrap_or(0),
                self.seconds,
            )),
            _ => out.push_str(&format!(
                "{name}: {}, {} copied as they stand, {:.1} s\n",
                self.format,
                size(self.written_bytes),
                self.seconds,
            )),
        }
        for (count, why) in [
            (self.lost, "lost to the dump that was read (cut off or incomplete)"),
            (self.unreadable, "damaged in it"),
        ] {
            if let Some(count) = count.filter(|count| *count > 0) {
                let line = style.alarm(&format!("{count} pages are missing: {why}"));
                out.push_str(&format!("{line}\n"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ask_for_formats() {
        for (name, target) in [
            ("vmcore", Target::Kdump),
            ("/a.b/vmcore", Target::Kdump),
            ("x.kdump", Target::Kdump),
            ("x.ELF", Target::Elf),
            ("x.flat", Target::Flattened),
            ("x.raw", Target::Raw),
            ("x.lime", Target::Lime),
            ("-", Target::Flattened),
        ] {
            assert_eq!(target_of(Path::new(name)), target, "{name}");
        }
    }
}
