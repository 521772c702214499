//! `dev -d` and `dev -D`: the disks and how many requests each has in flight.

use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::disk::Disk;
use serde::Serialize;

/// A disk.
#[derive(Serialize)]
struct Row {
    major: Known<u64>,
    first_minor: Known<u64>,
    gendisk: Hex,
    name: Known<String>,
    sectors: Known<u64>,
    request_queue: Known<Hex>,
    total: Known<u64>,
    read: Known<u64>,
    write: Known<u64>,
}

impl Row {
    fn new(kernel: &Kernel, disk: Disk) -> Self {
        let in_flight = Known::from(kernel.disk_in_flight(&disk));
        Self {
            major: disk.major.into(),
            first_minor: disk.first_minor.into(),
            gendisk: Hex(disk.address.0),
            name: disk.name.into(),
            sectors: disk.sectors.into(),
            request_queue: Known::from(disk.queue).map(|queue| Hex(queue.0)),
            total: in_flight.clone().map(|count| count.total()),
            read: in_flight.clone().map(|count| count.reads),
            write: in_flight.map(|count| count.writes),
        }
    }
}

impl Render for Row {
    fn render(&self, out: &mut String, style: Style) {
        let Self { major, total, read, write, .. } = self;
        let name = style.name(&format!("{:<10}", self.name));
        let queue = self.request_queue.clone().map(|queue| format!("{:x}", queue.0));
        let gendisk = self.gendisk.0;
        out.push_str(&format!(
            "{major:>5} {gendisk:<16x}   {name} {queue:<16}   {total:>5} {read:>5} {write:>5} \n"
        ));
    }
}

/// Disks that nobody asks about: crash leaves these out, too.
const LEFT_OUT: [&str; 2] = ["ram", "loop"];

pub(super) fn run(kernel: &Kernel, only_busy: bool, out: &mut Output) -> Result<(), CommandError> {
    out.layout(&format!(
        "MAJOR {:<18} NAME       {:<18} TOTAL  READ WRITE \n",
        "GENDISK", "REQUEST_QUEUE"
    ))?;
    let (disks, damage) = kernel.disks()?;
    for disk in disks {
        let name = disk.name.as_deref().unwrap_or_default();
        if LEFT_OUT.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let row = Row::new(kernel, disk);
        if only_busy && row.total == Known::Value(0) {
            continue;
        }
        out.emit(&row)?;
    }
    if let Some(damage) = damage {
        out.warn(damage);
    }
    Ok(())
}
