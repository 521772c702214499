//! What opening a dump shows: crash's summary block. Each line stands for itself: what cannot be
//! read spoils one of them.

use crate::context::Context;
use crate::date;
use crate::known::Known;
use crate::output::{Output, Render, Stop, Style};
use crate::run::Outcome;
use crate::session::Session;
use mortis_kernel::Kernel;
use mortis_kernel::log::PanicMessage;
use mortis_kernel::system::{Clocks, KernelName};
use mortis_kernel::taint;
use serde::Serialize;
use std::io::Write;

/// The machine, the dump and the panic.
#[derive(Serialize)]
pub struct SystemSummary {
    /// The vmlinux, or null when the dump's own symbols and types are used.
    kernel: Option<String>,
    dumpfiles: Vec<String>,
    /// Pages were left out on purpose.
    partial: bool,
    /// The collector could not write all of it.
    incomplete: bool,
    /// The file is shorter than its headers say.
    truncated: bool,
    vmemmap_excluded: bool,
    tainted: Known<bool>,
    livepatched: bool,
    livepatch_transition: bool,
    cpus_present: Known<usize>,
    cpus_offline: Known<usize>,
    /// Seconds since 1970.
    date: Known<i64>,
    uptime_seconds: Known<u64>,
    load_averages: Known<[f64; 3]>,
    tasks: usize,
    /// The lists of tasks are damaged: there may have been more.
    tasks_incomplete: bool,
    nodename: Known<String>,
    release: Known<String>,
    version: Known<String>,
    machine: Known<String>,
    /// Null where the kernel did not know.
    cpu_mhz: Known<Option<u64>>,
    memory_bytes: Known<u64>,
    /// Null where no line of the log tells.
    panic: Known<Option<String>>,
    /// Whether the log has more to say of the panic.
    #[serde(skip)]
    details_in_log: bool,
}

/// Bytes of a page.
const PAGE_SIZE: u64 = 4096;
/// Of the averages, 11 bits are behind the point (`FSHIFT`, include/linux/sched/loadavg.h).
const LOAD_ONE: u64 = 1 << 11;

/// When the kernel died, as the summary shows it.
pub fn date(session: &Session) -> String {
    SystemSummary::read(session).date.map(date::utc).to_string()
}

impl SystemSummary {
    /// Reads it all.
    pub fn read(session: &Session) -> Self {
        let kernel = &*session.kernel;
        let dump = kernel.dump();
        let path = |path: &std::path::PathBuf| path.display().to_string();
        let mut dumpfiles: Vec<String> = dump.files().iter().map(path).collect();
        if dumpfiles.is_empty() {
            dumpfiles.push(path(&session.files.dump));
        }
        let cpus = kernel.cpus();
        let name = kernel.name();
        let name = |field: fn(&KernelName) -> &String| match &name {
            Ok(name) => Known::Value(field(name).clone()),
            Err(error) => Known::Unavailable(crate::known::why(error)),
        };
        let clocks: Known<Clocks> = kernel.clocks().into();
        let panic: Known<Option<PanicMessage>> = kernel.panic_message().into();
        let release = match name(|name| &name.release) {
            Known::Unavailable(why) => match kernel.vmcoreinfo().osrelease() {
                Some(release) => Known::Value(release.to_owned()),
                None => Known::Unavailable(why),
            },
            known => known,
        };
        Self {
            kernel: session.files.vmlinux.as_ref().map(path),
            dumpfiles,
            partial: dump.dump_level().is_some_and(|level| level > 0),
            incomplete: dump.is_incomplete(),
            truncated: dump.is_truncated(),
            vmemmap_excluded: dump.is_vmemmap_excluded(),
            tainted: kernel.taint_mask().map(|mask| mask != 0).into(),
            livepatched: is_livepatched(kernel),
            livepatch_transition: kernel.is_livepatch_in_transition().unwrap_or(false),
            cpus_present: cpus.map(|cpus| cpus.present.len()).into(),
            cpus_offline: kernel
                .cpus()
                .map(|cpus| cpus.present.len().saturating_sub(cpus.online.len()))
                .into(),
            date: match (&clocks, kernel.vmcoreinfo().crashtime()) {
                (Known::Unavailable(_), Some(crashtime)) => Known::Value(crashtime.cast_signed()),
                _ => clocks.clone().map(|clocks| clocks.wall_seconds()),
            },
            uptime_seconds: match clocks.map(|clocks| clocks.uptime_seconds()) {
                Known::Unavailable(why) => match kernel.newest_log_stamp() {
                    Ok(stamp) => {
                        Known::Guessed(stamp / 1_000_000_000, "the newest time stamp in the log")
                    }
                    Err(_) => Known::Unavailable(why),
                },
                known => known,
            },
            load_averages: Known::from(kernel.load_averages()).map(hundredths),
            tasks: kernel.tasks().tasks.len(),
            tasks_incomplete: !kernel.tasks().problems.is_empty(),
            nodename: name(|name| &name.nodename),
            release,
            version: name(|name| &name.version),
            machine: name(|name| &name.machine),
            cpu_mhz: kernel.cpu_mhz().into(),
            memory_bytes: kernel
                .present_pages()
                .map(|pages| pages.saturating_mul(PAGE_SIZE))
                .into(),
            details_in_log: panic
                .value()
                .is_some_and(|panic| panic.as_ref().is_some_and(PanicMessage::is_oops)),
            panic: panic.map(|panic| panic.map(|panic| panic.text)),
        }
    }
}

/// Whether functions were replaced while the kernel ran: a taint says so, and so does the module
/// that patched kernels before 4.0.
fn is_livepatched(kernel: &Kernel) -> bool {
    let by_taint = kernel
        .taint_mask()
        .and_then(|mask| Ok(taint::letters(&kernel.taints()?, mask).contains('K')));
    by_taint.unwrap_or(false) || kernel.modules().0.iter().any(|module| module.name == "kpatch")
}

/// Load averages as /proc/loadavg rounds them.
fn hundredths(averages: [u64; 3]) -> [f64; 3] {
    averages.map(|average| {
        let rounded = average.saturating_add(LOAD_ONE / 200);
        let whole = rounded / LOAD_ONE;
        let hundredths = rounded % LOAD_ONE * 100 / LOAD_ONE;
        whole as f64 + hundredths as f64 / 100.0
    })
}

/// `639.5 MB`. What firmware keeps of a whole number of gigabytes is not missed.
pub(crate) fn size(bytes: u64) -> String {
    const KB: u64 = 1 << 10;
    const MB: u64 = 1 << 20;
    const GB: u64 = 1 << 30;
    let next_gigabyte = bytes.div_ceil(GB).saturating_mul(GB);
    let bytes = if next_gigabyte - bytes <= 64 * MB { next_gigabyte } else { bytes };
    let scaled = |unit: u64, name: &str| {
        let number = format!("{:.1}", bytes as f64 / unit as f64);
        format!("{} {name}", number.strip_suffix(".0").unwrap_or(&number))
    };
    match bytes {
        0 => "0".to_owned(),
        GB.. => scaled(GB, "GB"),
        MB.. => scaled(MB, "MB"),
        _ => format!("{} KB", bytes / KB),
    }
}

impl SystemSummary {
    /// What crash writes in brackets behind the name of the kernel.
    fn kernel_marks(&self) -> String {
        let marks = [
            (self.livepatched, "  [LIVEPATCH]"),
            (self.livepatch_transition, "  [TRANSITION]"),
            (self.tainted.value() == Some(&true), "  [TAINTED]"),
        ];
        marks.iter().filter(|(set, _)| *set).map(|(_, mark)| *mark).collect()
    }

    fn dump_marks(&self) -> String {
        let marks = [
            (self.partial, " [PARTIAL DUMP]"),
            (self.incomplete, " [INCOMPLETE]"),
            (self.truncated && !self.incomplete, " [TRUNCATED]"),
            (self.vmemmap_excluded, " [EXCLUDED VMEMMAP]"),
        ];
        let marks: String = marks.iter().filter(|(set, _)| *set).map(|(_, mark)| *mark).collect();
        if marks.is_empty() { marks } else { format!(" {marks}") }
    }
}

impl Render for SystemSummary {
    fn render(&self, out: &mut String, style: Style) {
        let mut line = |name: &str, value: String| out.push_str(&format!("{name:>12}: {value}\n"));
        let kernel = self.kernel.as_deref().unwrap_or("(symbols and types from the dump)");
        line("KERNEL", format!("{kernel}{}", self.kernel_marks()));
        match self.dumpfiles.as_slice() {
            [one] => line("DUMPFILE", format!("{one}{}", self.dump_marks())),
            files => line(
                "DUMPFILES",
                format!("{}{}", files.join("\n              "), self.dump_marks()),
            ),
        }
        let offline = match self.cpus_offline.value() {
            Some(&offline) if offline > 0 => format!(" [OFFLINE: {offline}]"),
            _ => String::new(),
        };
        line("CPUS", format!("{}{offline}", self.cpus_present));
        line("DATE", self.date.clone().map(date::utc).to_string());
        line("UPTIME", self.uptime_seconds.clone().map(date::duration).to_string());
        let load = self
            .load_averages
            .clone()
            .map(|averages| averages.map(|average| format!("{average:.2}")).join(", "));
        line("LOAD AVERAGE", load.to_string());
        let incomplete = if self.tasks_incomplete { "  [LIST DAMAGED]" } else { "" };
        line("TASKS", format!("{}{incomplete}", self.tasks));
        line("NODENAME", self.nodename.to_string());
        line("RELEASE", self.release.to_string());
        line("VERSION", self.version.to_string());
        let speed = self.cpu_mhz.clone().map(|mhz| match mhz {
            Some(mhz) => format!("{mhz} Mhz"),
            None => "unknown Mhz".to_owned(),
        });
        line("MACHINE", format!("{}  ({speed})", self.machine));
        line("MEMORY", self.memory_bytes.clone().map(size).to_string());
        let details = if self.details_in_log { " (check log for details)" } else { "" };
        let panic = match &self.panic {
            Known::Unavailable(why) => format!("<{why}>"),
            Known::Value(panic) | Known::Guessed(panic, _) => {
                let panic = panic.as_deref().unwrap_or_default();
                format!("\"{}\"{details}", style.alarm(panic))
            }
        };
        line("PANIC", panic);
    }
}

/// Writes the summary and the task in focus.
///
/// # Errors
/// [`Stop`] when `sink` does not take it.
pub fn write(session: &Session, sink: &mut dyn Write) -> Result<(), Stop> {
    let settings = &session.settings;
    let interrupt = session.interrupt.clone();
    let mut out = Output::begin(sink, settings.face, settings.style, interrupt, "sys", &[])?;
    out.emit(&SystemSummary::read(session))?;
    match session.context() {
        Ok(task) => {
            out.emit(&Context::read(session, task).opening())?;
            if session.kernel.panic_task().is_none() {
                out.layout("     WARNING: panic task not found\n")?;
            }
        }
        Err(error) => out.warn(error),
    }
    out.layout("\n")?;
    out.finish(None)
}

/// Prints the summary and the task in focus.
pub fn show(session: &mut Session) -> Outcome {
    match write(session, &mut std::io::stdout()) {
        Ok(()) | Err(Stop::Closed) => Outcome::Success,
        Err(stop) => {
            eprintln!("mortis: {stop}");
            Outcome::Failure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_crash_prints_them() {
        assert_eq!(size(0), "0");
        assert_eq!(size(639 << 20 | 512 << 10), "639.5 MB");
        assert_eq!(size(640 << 20), "640 MB");
        assert_eq!(size((8 << 30) - (1 << 20)), "8 GB");
        assert_eq!(size(512 << 10), "512 KB");
        assert_eq!(size(u64::MAX), format!("{:.0} GB", u64::MAX as f64 / (1u64 << 30) as f64));
    }

    #[test]
    fn averages_as_the_kernel_rounds_them() {
        assert_eq!(hundredths([2048, 1751, 0]), [1.0, 0.85, 0.0]);
    }
}
