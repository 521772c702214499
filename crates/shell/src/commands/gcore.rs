//! `gcore`: a core file of a process, out of the dump of the whole machine.

mod core_file;

use super::task::named_tasks;
use crate::arguments::Arguments;
use crate::command::{Command, CommandError, value};
use crate::number;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::{Hex, TaskHeader};
use mortis_kernel::process_core::{CoreFilter, PageCounts, SegmentContent};
use mortis_kernel::tasks::Task;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// `gcore`.
pub const COMMAND: Command = Command {
    name: "gcore",
    aliases: &[],
    summary: "a core file of a process",
    synopsis: "[-f filter] [-v level] [-o file] [pid | task]...",
    options: &[
        value(
            'f',
            "filter",
            "which memory: the sum of 1 anonymous private, 2 anonymous shared, 4 mapped private, \
             8 mapped shared, 0x10 first pages of ELF files, 0x20 private huge pages, 0x40 shared \
             huge pages, 0x80 what asked not to be dumped; 0x7f where not given",
        ),
        value('v', "level", "above 0: also the segments of the core file"),
        value('o', "file", "the core file's name, core.PID.COMMAND where not given"),
    ],
    help: "Writes an ELF core file that gdb and others open: memory, mapped files, and the \
           registers with which each thread last left user mode. User memory is in a dump only \
           where its collector kept user data.\n\
           Pages that are swapped out, still in their file, or not in the dump are no part of the \
           core file's segments, so that a debugger does not take them for zeros; how many there \
           are is said. A file that exists is not overwritten.\n\n\
           Examples:\n  gcore\n  gcore 178\n  gcore -f 0x1f -o /tmp/core 178",
    run,
};

/// A core file that was written.
#[derive(Serialize)]
struct CoreFile {
    #[serde(flatten)]
    task: TaskHeader,
    file: String,
    bytes: u64,
    threads: usize,
    threads_without_registers: usize,
    areas: usize,
    pages: Pages,
    segments: Vec<Segment>,
    #[serde(skip)]
    verbose: bool,
}

#[derive(Serialize)]
struct Pages {
    saved: u64,
    untouched: u64,
    swapped: u64,
    in_file: u64,
    excluded: u64,
}

/// A segment of a core file.
#[derive(Serialize)]
struct Segment {
    start: Hex,
    end: Hex,
    flags: String,
    has_memory: bool,
}

impl Render for CoreFile {
    fn render(&self, out: &mut String, _: Style) {
        if self.verbose {
            for segment in &self.segments {
                let what = if segment.has_memory { "" } else { "  (not in the file)" };
                out.push_str(&format!(
                    "{:>12x} {:>12x} {}{what}\n",
                    segment.start.0, segment.end.0, segment.flags
                ));
            }
        }
        out.push_str(&format!("Saved {}\n", self.file));
        let Pages { saved, untouched, swapped, in_file, excluded } = self.pages;
        let missing = swapped + in_file + excluded;
        if missing > 0 {
            out.push_str(&format!(
                "  {missing} of {} pages are missing: {swapped} swapped out, {in_file} not read \
                 from their files, {excluded} not in the dump\n",
                missing + saved + untouched
            ));
        }
        if self.threads_without_registers > 0 {
            out.push_str(&format!(
                "  {} of {} threads have no registers in the dump\n",
                self.threads_without_registers,
                self.threads + self.threads_without_registers
            ));
        }
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let filter = match arguments.value('f') {
        None => CoreFilter::DEFAULT,
        Some(word) => {
            let bits = number::number(word).filter(|bits| *bits <= CoreFilter::ALL.0);
            let invalid = || CommandError::Message(format!("invalid filter value: {word}"));
            CoreFilter(bits.ok_or_else(invalid)?)
        }
    };
    let verbose = match arguments.value('v') {
        None => false,
        Some(word) => {
            let invalid = || CommandError::Message(format!("invalid vlevel: {word}"));
            number::number(word).ok_or_else(invalid)? > 0
        }
    };
    let (tasks, invalid) = named_tasks(session, &arguments.words)?;
    let name = arguments.value('o');
    if name.is_some() && tasks.len() > 1 {
        return Err(CommandError::message("one file cannot hold several processes"));
    }
    for task in tasks {
        save(session, task, filter, verbose, name.map(PathBuf::from), out)?;
    }
    invalid.map_or(Ok(()), Err)
}

/// `core.1.init`, with what cannot stand in a file's name replaced.
fn default_name(pid: u32, command: &str) -> PathBuf {
    let command: String = command
        .chars()
        .map(|letter| if letter == '/' || letter.is_control() { '_' } else { letter })
        .collect();
    PathBuf::from(format!("core.{pid}.{command}"))
}

fn save(
    session: &Session,
    task: Task,
    filter: CoreFilter,
    verbose: bool,
    path: Option<PathBuf>,
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let header = TaskHeader::read(kernel, task);
    let path = path.unwrap_or_else(|| {
        let command = task.comm(kernel).unwrap_or_else(|_| "unknown".to_owned());
        default_name(task.pid, &command)
    });
    let progress = out.progress("gcore");
    let (core, memory) = kernel.process_core(task, filter, &|| progress.check())?;
    let physical = &**kernel.memory().physical();
    let written = core_file::write(&path, &core, &memory, physical, &progress);
    let bytes = written.map_err(|error| match error {
        core_file::Failure::Kernel(error) => error.into(),
        core_file::Failure::File(error) => file_error(&path, &error),
    })?;
    if let Some(damage) = &core.damage {
        out.warn(format!("task {:x}: areas are missing: {damage}", task.address));
    }
    let PageCounts { saved, untouched, swapped, in_file, excluded } = core.pages;
    let segments = core.segments.iter().map(|segment| Segment {
        start: Hex(segment.start.0),
        end: Hex(segment.end.0),
        flags: core_file::flag_letters(segment.flags),
        has_memory: segment.content == SegmentContent::Memory,
    });
    Ok(out.emit(&CoreFile {
        task: header,
        file: path.display().to_string(),
        bytes,
        threads: core.threads,
        threads_without_registers: core.threads_without_registers,
        areas: core.areas,
        pages: Pages { saved, untouched, swapped, in_file, excluded },
        segments: segments.collect(),
        verbose,
    })?)
}

fn file_error(path: &Path, error: &std::io::Error) -> CommandError {
    let path = path.display();
    CommandError::Message(match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            format!("{path} exists; remove it, or name another file with -o")
        }
        _ => format!("cannot write {path}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_directory() {
        assert_eq!(default_name(1, "init"), PathBuf::from("core.1.init"));
        assert_eq!(default_name(7, "../../etc"), PathBuf::from("core.7..._.._etc"));
    }
}
