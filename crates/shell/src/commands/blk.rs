//! `blk`: the requests that disks work on, and what device-mapper devices are made of.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag};
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::block_request::{InFlight, Request};
use mortis_kernel::device_mapper::Mapped;
use mortis_kernel::disk::Disk;
use serde::Serialize;

/// `blk`.
pub const COMMAND: Command = Command {
    name: "blk",
    aliases: &[],
    summary: "block requests in flight, and device-mapper devices",
    synopsis: "[-a] [-m] [disk]...",
    options: &[
        flag('a', "also disks that have no request in flight"),
        flag('m', "device-mapper devices: name, state, targets"),
    ],
    help: "AGE is how long ago the request was made; it is unknown where nobody counts requests. \
           SECTOR is in units of 512 bytes. With names of disks, only those.\n\n\
           Examples:\n  blk\n  blk -a\n  blk vda\n  blk -m",
    run,
};

/// A disk with what it works on.
#[derive(Serialize)]
struct DiskReport {
    name: Known<String>,
    gendisk: Hex,
    request_queue: Known<Hex>,
    reads: Known<u64>,
    writes: Known<u64>,
    requests: Vec<RequestReport>,
}

/// A request.
#[derive(Serialize)]
struct RequestReport {
    request: Hex,
    operation: String,
    flags: Hex,
    sector: Known<u64>,
    bytes: Known<u64>,
    tag: Known<i64>,
    hardware_queue: u64,
    cpu: Known<u64>,
    /// Nanoseconds; null where nobody counts.
    age: Option<u64>,
    bio: Known<Hex>,
}

impl RequestReport {
    fn new(kernel: &Kernel, request: Request, now: Option<u64>) -> Self {
        let made = [&request.start, &request.issued].into_iter().flatten().find(|at| **at != 0);
        Self {
            request: Hex(request.address.0),
            operation: request
                .operation_name(kernel)
                .unwrap_or_else(|| request.operation().to_string()),
            flags: Hex(request.flags),
            sector: request.sector.into(),
            bytes: request.bytes.into(),
            tag: request.tag.into(),
            hardware_queue: request.hardware_queue,
            cpu: request.cpu.into(),
            age: now.zip(made.copied()).map(|(now, made)| now.saturating_sub(made)),
            bio: Known::from(request.bio).map(|bio| Hex(bio.0)),
        }
    }
}

impl Render for RequestReport {
    fn render(&self, out: &mut String, _: Style) {
        let Self { operation, sector, bytes, tag, cpu, .. } = self;
        let bio = self.bio.clone().map(|bio| format!("{:x}", bio.0));
        let age = self.age.map_or("(unknown)".to_owned(), |age| {
            format!("{}.{:03}s", age / 1_000_000_000, age / 1_000_000 % 1000)
        });
        out.push_str(&format!(
            "  {:<16x}  {operation:<13} {sector:>12} {bytes:>9} {tag:>5} {cpu:>4} {age:>12}  {bio}\n",
            self.request.0
        ));
    }
}

impl Render for DiskReport {
    fn render(&self, out: &mut String, style: Style) {
        let name = style.name(&format!("{:<10}", self.name));
        let queue = self.request_queue.clone().map(|queue| format!("{:x}", queue.0));
        out.push_str(&format!(
            "{name}  GENDISK: {:x}  REQUEST_QUEUE: {queue}  READ: {}  WRITE: {}\n",
            self.gendisk.0, self.reads, self.writes
        ));
        if !self.requests.is_empty() {
            out.push_str(&format!(
                "  {:^16}  OPERATION     {:>12} {:>9} {:>5} {:>4} {:>12}  BIO\n",
                "REQUEST", "SECTOR", "BYTES", "TAG", "CPU", "AGE"
            ));
        }
        for request in &self.requests {
            request.render(out, style);
        }
    }
}

/// A device-mapper device.
#[derive(Serialize)]
struct MappedReport {
    disk: Known<String>,
    mapped_device: Hex,
    name: Known<String>,
    uuid: Known<String>,
    state: Known<Vec<&'static str>>,
    /// Sectors.
    size: Known<u64>,
    table: Known<Hex>,
    targets: Vec<TargetReport>,
}

/// A part of it. Sectors.
#[derive(Serialize)]
struct TargetReport {
    target: Hex,
    #[serde(rename = "type")]
    kind: Known<String>,
    begin: Known<u64>,
    length: Known<u64>,
}

impl MappedReport {
    fn new(disk: &Disk, mapped: Mapped) -> Self {
        Self {
            disk: disk.name.clone().into(),
            mapped_device: Hex(mapped.address.0),
            state: mapped.state().into(),
            name: mapped.name.into(),
            uuid: mapped.uuid.into(),
            size: disk.sectors.clone().into(),
            table: Known::from(mapped.table).map(|table| Hex(table.0)),
            targets: mapped
                .targets
                .into_iter()
                .map(|target| TargetReport {
                    target: Hex(target.address.0),
                    kind: target.kind.into(),
                    begin: target.begin.into(),
                    length: target.len.into(),
                })
                .collect(),
        }
    }
}

impl Render for MappedReport {
    fn render(&self, out: &mut String, style: Style) {
        let name = style.name(&self.name.to_string());
        let state = self.state.clone().map(|names| names.join("|"));
        out.push_str(&format!(
            "{:<10}  MAPPED_DEVICE: {:x}  NAME: \"{name}\"  STATE: {state}  SECTORS: {}\n",
            self.disk, self.mapped_device.0, self.size
        ));
        if !self.targets.is_empty() {
            out.push_str(&format!(
                "  {:^16}  TYPE     {:>12} {:>12}\n",
                "TARGET", "BEGIN", "LENGTH"
            ));
        }
        for TargetReport { target, kind, begin, length } in &self.targets {
            out.push_str(&format!("  {:<16x}  {kind:<8} {begin:>12} {length:>12}\n", target.0));
        }
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let (disks, damage) = kernel.disks()?;
    let chosen = |disk: &&Disk| {
        let name = disk.name.as_deref().unwrap_or_default();
        arguments.words.is_empty() || arguments.words.iter().any(|word| word == name)
    };
    for word in &arguments.words {
        if !disks.iter().any(|disk| disk.name.as_ref() == Ok(word)) {
            return Err(CommandError::Message(format!("no such disk: {word}")));
        }
    }
    let all = arguments.has('a') || !arguments.words.is_empty();
    let now = kernel.clocks().ok().and_then(|clocks| u64::try_from(clocks.monotonic).ok());
    let mut problem = damage;
    for disk in disks.iter().filter(chosen) {
        out.check()?;
        if arguments.has('m') {
            match kernel.mapped_device(disk) {
                Ok(Some(mapped)) => out.emit(&MappedReport::new(disk, mapped))?,
                Ok(None) => {}
                Err(error) => problem = problem.or(Some(error)),
            }
            continue;
        }
        let found = disk.queue.clone().and_then(|queue| kernel.requests_in_flight(queue));
        let (requests, count) = match found {
            Ok((requests, damage)) => {
                problem = problem.or(damage);
                // Disks without tags only count.
                let count = match requests.is_empty() {
                    true => kernel.disk_in_flight(disk),
                    false => Ok(InFlight::of(&requests)),
                };
                (requests, count)
            }
            Err(error) => (Vec::new(), Err(error)),
        };
        let count = Known::from(count);
        if !all && count.value().is_some_and(|count| count.total() == 0) {
            continue;
        }
        out.emit(&DiskReport {
            name: disk.name.clone().into(),
            gendisk: Hex(disk.address.0),
            request_queue: Known::from(disk.queue.clone()).map(|queue| Hex(queue.0)),
            reads: count.clone().map(|count| count.reads),
            writes: count.map(|count| count.writes),
            requests: requests
                .into_iter()
                .map(|request| RequestReport::new(kernel, request, now))
                .collect(),
        })?;
    }
    if let Some(problem) = problem {
        out.warn(problem);
    }
    Ok(())
}
