//! `kmem -z`: each zone's size, watermarks and counters.

use super::vmstat::{Counters, render_counters};
use super::{bare, hex};
use crate::command::CommandError;
use crate::known::{Known, why};
use crate::output::{Output, Render, Style};
use mortis_kernel::Kernel;
use mortis_kernel::zones::Zone;
use mortis_memory::VirtAddr;
use serde::Serialize;

/// A zone. Counts are pages.
#[derive(Serialize)]
struct ZoneReport {
    node: u32,
    zone: usize,
    address: String,
    name: Known<String>,
    /// First to last page frame, holes included.
    size: Known<u64>,
    present: Known<u64>,
    managed: Known<u64>,
    /// The watermarks, with the boost in them.
    min: Known<u64>,
    low: Known<u64>,
    high: Known<u64>,
    watermark_boost: Known<u64>,
    /// Free blocks of 2^index pages.
    free_blocks: Vec<u64>,
    vm_stat: Counters,
}

impl ZoneReport {
    fn new(
        node: u32,
        index: usize,
        address: VirtAddr,
        zone: mortis_kernel::error::Result<Zone>,
    ) -> Self {
        let field = |read: fn(&Zone) -> u64| match &zone {
            Ok(zone) => Known::Value(read(zone)),
            Err(error) => Known::Unavailable(why(error)),
        };
        Self {
            node,
            zone: index,
            address: hex(address),
            size: field(|zone| zone.spanned),
            present: field(|zone| zone.present),
            managed: field(|zone| zone.managed),
            min: field(|zone| zone.watermarks.min),
            low: field(|zone| zone.watermarks.low),
            high: field(|zone| zone.watermarks.high),
            watermark_boost: field(|zone| zone.watermarks.boost),
            free_blocks: zone.as_ref().map_or_else(|_| Vec::new(), |z| z.free_blocks.clone()),
            vm_stat: Counters(
                zone.as_ref().map_or_else(|_| Vec::new(), |zone| zone.counters.clone()),
            ),
            name: zone.and_then(|zone| zone.name).into(),
        }
    }
}

impl Render for ZoneReport {
    fn render(&self, out: &mut String, style: Style) {
        let Self { node, zone, name, size, present, min, low, high, .. } = self;
        let address = bare(&self.address);
        let heading = format!("NODE: {node}  ZONE: {zone}  ADDR: {address}  NAME: \"{name}\"");
        out.push_str(&format!("{}\n", style.heading(&heading)));
        if size.value() == Some(&0) {
            out.push_str("  [unpopulated]\n\n");
            return;
        }
        out.push_str(&format!("  SIZE: {size}"));
        if present != size {
            out.push_str(&format!("  PRESENT: {present}"));
        }
        out.push_str(&format!("  MIN/LOW/HIGH: {min}/{low}/{high}\n"));
        if !self.vm_stat.0.is_empty() {
            out.push_str("  VM_STAT:\n");
            render_counters(out, &self.vm_stat.0, self.vm_stat.widest());
        }
        out.push_str("\n\n");
    }
}

pub(super) fn run(kernel: &Kernel, out: &mut Output) -> Result<(), CommandError> {
    for node in kernel.nodes()? {
        for (index, (address, zone)) in kernel.zones(&node)?.into_iter().enumerate() {
            out.emit(&ZoneReport::new(node.id, index, address, zone))?;
        }
    }
    Ok(())
}
