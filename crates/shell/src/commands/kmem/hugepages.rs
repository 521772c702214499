//! `kmem -h`: the pools of huge pages.

use super::{bare, hex, pages_to_size};
use crate::command::CommandError;
use crate::known::Known;
use crate::output::{Output, Render, Style};
use mortis_kernel::Kernel;
use mortis_memory::PhysicalMemory;
use serde::Serialize;

/// A pool of huge pages of one size. Counts are huge pages.
#[derive(Serialize)]
struct Pool {
    hstate: String,
    name: Known<String>,
    /// Bytes of one huge page.
    size: u64,
    free: u64,
    total: u64,
    reserved: u64,
    surplus: u64,
}

impl Render for Pool {
    fn render(&self, out: &mut String, _: Style) {
        let size = pages_to_size(1, self.size).replacen(' ', "", 1);
        out.push_str(&format!(
            "{}  {size:>5}  {:>6}  {:>6}  {}\n",
            bare(&self.hstate),
            self.free,
            self.total,
            self.name
        ));
    }
}

pub(super) fn run(kernel: &Kernel, out: &mut Output) -> Result<(), CommandError> {
    let pools = kernel.huge_page_pools()?;
    if pools.is_empty() {
        return Err(CommandError::message("hstates[] array does not exist"));
    }
    out.layout(&format!("{:^16}   SIZE    FREE   TOTAL  NAME\n", "HSTATE"))?;
    let page_size = kernel.memory().physical().page_size();
    for pool in pools {
        out.emit(&Pool {
            hstate: hex(pool.address),
            size: page_size << pool.order,
            free: pool.free,
            total: pool.total,
            reserved: pool.reserved,
            surplus: pool.surplus,
            name: pool.name.into(),
        })?;
    }
    Ok(())
}
