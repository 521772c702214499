//! `trace dump`: a file for trace-cmd.
//!
//! Version 6 of its format, as its manual page trace-cmd.dat.v6(5) describes it: the formats of the
//! events, symbols and names of tasks, and then the CPUs' pages as they are in memory.

use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_kernel::tracing::TraceInstance;
use mortis_kernel::tracing::formats::{Format, Formats};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

/// Which symbols are to be in the file.
pub(super) struct Symbols {
    pub(super) kernel: bool,
    pub(super) modules: bool,
}

/// What was written.
#[derive(Serialize)]
struct Written {
    file: String,
    pages: u64,
    missing_pages: u64,
    bytes: u64,
}

impl Render for Written {
    fn render(&self, out: &mut String, _: Style) {
        let Self { file, pages, bytes, .. } = self;
        out.push_str(&format!("{file}: {pages} pages of events, {bytes} bytes\n"));
    }
}

/// An option of the file's (`TRACECMD_OPTION_*`).
const OPTION_DONE: u16 = 0;
const OPTION_TRACECLOCK: u16 = 4;

pub(super) fn run(
    kernel: &Kernel,
    instance: &TraceInstance,
    cpus: &[u32],
    symbols: &Symbols,
    path: &str,
    out: &mut Output,
) -> Result<(), CommandError> {
    let formats = kernel.trace_formats()?;
    if let Some(error) = &formats.damage {
        out.warn(format_args!("not every kind of event could be read: {error}"));
    }
    let failed = |error: io::Error| CommandError::Message(format!("{path}: {error}"));
    let file = File::create(path).map_err(failed)?;
    let mut writer = Writer { file: BufWriter::new(file), kernel, instance };
    writer.head(&formats, symbols).map_err(failed)?;
    let mut damage = None;
    let (pages, missing) = writer.buffers(cpus, &mut damage, out)?.map_err(failed)?;
    let bytes = writer.file.stream_position().map_err(failed)?;
    writer.file.flush().map_err(failed)?;
    if let Some(error) = damage {
        out.warn(format_args!("events are missing, {missing} pages could not be read: {error}"));
    }
    out.emit(&Written { file: path.to_owned(), pages, missing_pages: missing, bytes })?;
    Ok(())
}

struct Writer<'k> {
    file: BufWriter<File>,
    kernel: &'k Kernel,
    instance: &'k TraceInstance,
}

impl Writer<'_> {
    /// A text with its length in front, in eight bytes.
    fn long_text(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(&(text.len() as u64).to_le_bytes())?;
        self.file.write_all(text.as_bytes())
    }

    /// A text with its length in front, in four bytes.
    fn short_text(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(&(text.len() as u32).to_le_bytes())?;
        self.file.write_all(text.as_bytes())
    }

    fn number(&mut self, number: usize) -> io::Result<()> {
        self.file.write_all(&(number as u32).to_le_bytes())
    }

    /// Everything in front of the number of CPUs.
    fn head(&mut self, formats: &Formats, symbols: &Symbols) -> io::Result<()> {
        let page_size = self.kernel.trace_page_size(self.instance.buffer);
        self.file.write_all(b"\x17\x08\x44tracing6\0")?;
        // Little-endian, eight bytes a word.
        self.file.write_all(&[0, 8])?;
        self.file.write_all(&(page_size as u32).to_le_bytes())?;
        self.file.write_all(b"header_page\0")?;
        self.long_text(&format!(
            "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n\
             \tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n\
             \tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n\
             \tfield: char data;\toffset:16;\tsize:{};\tsigned:1;\n",
            page_size.saturating_sub(16)
        ))?;
        self.file.write_all(b"header_event\0")?;
        self.long_text(
            "# compressed entry header\n\
             \ttype_len    :    5 bits\n\
             \ttime_delta  :   27 bits\n\
             \tarray       :   32 bits\n\n\
             \tpadding     : type == 29\n\
             \ttime_extend : type == 30\n\
             \ttime_stamp : type == 31\n\
             \tdata max type_len  == 28\n",
        )?;
        let mut systems: BTreeMap<&str, Vec<&Format>> = BTreeMap::new();
        for format in formats.all() {
            systems.entry(&format.system).or_default().push(format);
        }
        // The tracer's own kinds come first, without the name of their system.
        let own = systems.remove("ftrace").unwrap_or_default();
        self.number(own.len())?;
        for format in own {
            self.long_text(&format.text())?;
        }
        self.number(systems.len())?;
        for (system, formats) in systems {
            self.file.write_all(system.as_bytes())?;
            self.file.write_all(&[0])?;
            self.number(formats.len())?;
            for format in formats {
                self.long_text(&format.text())?;
            }
        }
        let symbols = self.symbols(symbols);
        self.short_text(&symbols)?;
        // Formats of trace_printk(): none are kept apart.
        self.short_text("")?;
        let commands = self.kernel.traced_commands();
        let commands: String = commands.map_or_else(
            |_| String::new(),
            |commands| commands.all().map(|(pid, name)| format!("{pid} {name}\n")).collect(),
        );
        self.long_text(&commands)
    }

    /// Symbols as in /proc/kallsyms.
    fn symbols(&self, wanted: &Symbols) -> String {
        if !wanted.kernel {
            return String::new();
        }
        let table = match wanted.modules {
            true => self.kernel.all_symbols(),
            false => self.kernel.symbols(),
        };
        let Ok(table) = table else { return String::new() };
        let mut text = String::new();
        for symbol in table.iter() {
            text.push_str(&format!("{:016x} {} {}", symbol.address.0, symbol.letter, symbol.name));
            if let Some(module) = &symbol.module {
                text.push_str(&format!("\t[{module}]"));
            }
            text.push('\n');
        }
        text
    }

    /// The number of CPUs, the options, and the CPUs' pages. Gives the number of pages, and how
    /// many are missing.
    fn buffers(
        &mut self,
        cpus: &[u32],
        damage: &mut Option<KernelError>,
        out: &mut Output,
    ) -> Result<io::Result<(u64, u64)>, CommandError> {
        let count = cpus.last().map_or(0, |last| *last as usize + 1);
        let mut written = Vec::new();
        let mut pages = 0;
        let mut missing = 0;
        let start = match self.tables(count) {
            Ok(start) => start,
            Err(error) => return Ok(Err(error)),
        };
        for &cpu in cpus {
            out.check()?;
            let at = match self.align() {
                Ok(at) => at,
                Err(error) => return Ok(Err(error)),
            };
            let buffer = self.kernel.cpu_trace_buffer(self.instance.buffer, cpu)?;
            let Some(buffer) = buffer else { continue };
            let mut length = 0;
            for page in self.kernel.trace_pages(self.instance.buffer, buffer)? {
                match page {
                    Ok(page) if page.is_empty() => {}
                    Ok(page) => {
                        if let Err(error) = self.file.write_all(&page.bytes) {
                            return Ok(Err(error));
                        }
                        length += page.bytes.len() as u64;
                        pages += 1;
                    }
                    Err(error) => {
                        missing += 1;
                        damage.get_or_insert(error);
                    }
                }
            }
            written.push((cpu, at, length));
        }
        Ok(self.places(start, &written).map(|()| (pages, missing)))
    }

    /// The number of CPUs, the options, and room for where each CPU's pages are. Gives where that
    /// room is.
    fn tables(&mut self, cpus: usize) -> io::Result<u64> {
        self.number(cpus)?;
        self.file.write_all(b"options  \0")?;
        if let Some(clock) = &self.instance.clock {
            let clock = format!("[{clock}]\0");
            self.file.write_all(&OPTION_TRACECLOCK.to_le_bytes())?;
            self.number(clock.len())?;
            self.file.write_all(clock.as_bytes())?;
        }
        self.file.write_all(&OPTION_DONE.to_le_bytes())?;
        self.file.write_all(b"flyrecord\0")?;
        let start = self.file.stream_position()?;
        self.file.write_all(&vec![0; cpus * 16])?;
        Ok(start)
    }

    /// Goes to where a page can begin.
    fn align(&mut self) -> io::Result<u64> {
        const PAGE: u64 = 4096;
        let page = self.kernel.trace_page_size(self.instance.buffer).max(PAGE);
        let at = self.file.stream_position()?;
        let padded = at.next_multiple_of(page);
        self.file.write_all(&vec![0; (padded - at) as usize])?;
        Ok(padded)
    }

    /// Writes down where each CPU's pages are.
    fn places(&mut self, start: u64, written: &[(u32, u64, u64)]) -> io::Result<()> {
        let end = self.file.stream_position()?;
        for (cpu, at, length) in written {
            self.file.seek(SeekFrom::Start(start + u64::from(*cpu) * 16))?;
            self.file.write_all(&at.to_le_bytes())?;
            self.file.write_all(&length.to_le_bytes())?;
        }
        self.file.seek(SeekFrom::Start(end))?;
        Ok(())
    }
}
