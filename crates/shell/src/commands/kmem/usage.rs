//! `kmem -i`: where the machine's memory went.

use super::pages_to_size;
use crate::command::CommandError;
use crate::known::{Known, why};
use crate::output::{Output, Render, Style};
use mortis_kernel::Kernel;
use mortis_memory::PhysicalMemory;
use serde::Serialize;

/// The whole of `kmem -i`. Counts are pages of `page_size` bytes.
#[derive(Serialize)]
struct MemoryUsage {
    page_size: u64,
    total_mem: Known<u64>,
    free: Known<u64>,
    used: Known<u64>,
    /// With `-i=shared` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<Known<u64>>,
    buffers: Known<u64>,
    cached: Known<u64>,
    slab: Known<u64>,
    total_huge: Known<u64>,
    huge_free: Known<u64>,
    total_swap: Known<u64>,
    swap_used: Known<u64>,
    swap_free: Known<u64>,
    commit_limit: Known<u64>,
    committed: Known<u64>,
}

/// What one row is a part of.
#[derive(Clone, Copy)]
enum Share<'a> {
    /// It is the whole.
    Whole,
    /// A part of this whole, called so.
    Of(&'a Known<u64>, &'static str),
}

impl MemoryUsage {
    fn row(&self, out: &mut String, name: &str, pages: &Known<u64>, share: Share<'_>) {
        let size = pages.clone().map(|pages| pages_to_size(pages, self.page_size));
        let size = size.value().map_or_else(|| "?".to_owned(), Clone::clone);
        out.push_str(&format!("{name:>13}  {pages:>7}  {size:>11}"));
        match share {
            Share::Whole => out.push_str("         ----\n"),
            Share::Of(whole, whole_name) => {
                let percent = match (pages.value(), whole.value()) {
                    (Some(&part), Some(&whole)) if whole > 0 => {
                        (u128::from(part) * 100 / u128::from(whole)).to_string()
                    }
                    (Some(_), Some(_)) => "0".to_owned(),
                    _ => "?".to_owned(),
                };
                out.push_str(&format!("  {percent:>3}% of {whole_name}\n"));
            }
        }
    }
}

impl Render for MemoryUsage {
    fn render(&self, out: &mut String, style: Style) {
        let heading = "                 PAGES        TOTAL      PERCENTAGE";
        out.push_str(&format!("{}\n", style.heading(heading)));
        let of_memory = Share::Of(&self.total_mem, "TOTAL MEM");
        self.row(out, "TOTAL MEM", &self.total_mem, Share::Whole);
        self.row(out, "FREE", &self.free, of_memory);
        self.row(out, "USED", &self.used, of_memory);
        if let Some(shared) = &self.shared {
            self.row(out, "SHARED", shared, of_memory);
        }
        self.row(out, "BUFFERS", &self.buffers, of_memory);
        self.row(out, "CACHED", &self.cached, of_memory);
        self.row(out, "SLAB", &self.slab, of_memory);
        out.push('\n');
        self.row(out, "TOTAL HUGE", &self.total_huge, Share::Whole);
        self.row(out, "HUGE FREE", &self.huge_free, Share::Of(&self.total_huge, "TOTAL HUGE"));
        out.push('\n');
        let of_swap = Share::Of(&self.total_swap, "TOTAL SWAP");
        self.row(out, "TOTAL SWAP", &self.total_swap, Share::Whole);
        self.row(out, "SWAP USED", &self.swap_used, of_swap);
        self.row(out, "SWAP FREE", &self.swap_free, of_swap);
        out.push('\n');
        self.row(out, "COMMIT LIMIT", &self.commit_limit, Share::Whole);
        let committed_of = match self.commit_limit.value() {
            Some(0) => Share::Whole,
            _ => Share::Of(&self.commit_limit, "TOTAL LIMIT"),
        };
        self.row(out, "COMMITTED", &self.committed, committed_of);
    }
}

pub(super) fn run(
    kernel: &Kernel,
    with_shared: bool,
    out: &mut Output,
) -> Result<(), CommandError> {
    let shared = with_shared.then(|| {
        let interrupt = out.interrupt();
        Known::from(kernel.shared_pages(&|| interrupt.check().is_ok()))
    });
    out.check()?;
    let total = kernel.total_ram_pages();
    let free = kernel.free_pages();
    let used = match (&total, &free) {
        (Ok(total), Ok(free)) => Ok(total.saturating_sub(*free)),
        (Err(error), _) | (_, Err(error)) => Err(error.clone()),
    };
    let buffers = kernel.block_device_pages();
    let cached = match (kernel.file_pages(), &buffers) {
        (Ok(files), Ok(buffers)) => Known::Value(files.saturating_sub(*buffers)),
        (Ok(files), Err(error)) => {
            out.warn(format_args!("BUFFERS: {error}; CACHED has them in it"));
            Known::Guessed(files, "with buffers, which are not known")
        }
        (Err(error), _) => Known::Unavailable(why(&error)),
    };
    let huge = kernel.huge_page_totals();
    let swap = kernel.swap_totals();
    let huge = |pick: fn((u64, u64)) -> u64| Known::from(huge.clone().map(pick));
    let swap_free = swap.clone().map(|swap| swap.total.saturating_sub(swap.used));
    Ok(out.emit(&MemoryUsage {
        page_size: kernel.memory().physical().page_size(),
        total_mem: total.into(),
        free: free.into(),
        used: used.into(),
        shared,
        buffers: buffers.into(),
        cached,
        slab: kernel.slab_pages().into(),
        total_huge: huge(|(total, _)| total),
        huge_free: huge(|(_, free)| free),
        total_swap: swap.clone().map(|swap| swap.total).into(),
        swap_used: swap.map(|swap| swap.used).into(),
        swap_free: swap_free.into(),
        commit_limit: kernel.commit_limit_pages().into(),
        committed: kernel.committed_pages().into(),
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_laid_out_as_crash_does() {
        let usage = MemoryUsage {
            page_size: 4096,
            total_mem: Known::Value(84206),
            free: Known::Value(62253),
            used: Known::Value(21953),
            shared: Some(Known::Value(5350)),
            buffers: Known::Value(167),
            cached: Known::Unavailable("excluded"),
            slab: Known::Value(3843),
            total_huge: Known::Value(0),
            huge_free: Known::Value(0),
            total_swap: Known::Value(2037),
            swap_used: Known::Value(0),
            swap_free: Known::Value(2037),
            commit_limit: Known::Value(44140),
            committed: Known::Value(16783),
        };
        let mut text = String::new();
        usage.render(&mut text, Style::default());
        let expected = "                 PAGES        TOTAL      PERCENTAGE
    TOTAL MEM    84206     328.9 MB         ----
         FREE    62253     243.2 MB   73% of TOTAL MEM
         USED    21953      85.8 MB   26% of TOTAL MEM
       SHARED     5350      20.9 MB    6% of TOTAL MEM
      BUFFERS      167       668 KB    0% of TOTAL MEM
       CACHED  <excluded>            ?    ?% of TOTAL MEM
         SLAB     3843        15 MB    4% of TOTAL MEM

   TOTAL HUGE        0            0         ----
    HUGE FREE        0            0    0% of TOTAL HUGE

   TOTAL SWAP     2037         8 MB         ----
    SWAP USED        0            0    0% of TOTAL SWAP
    SWAP FREE     2037         8 MB  100% of TOTAL SWAP

 COMMIT LIMIT    44140     172.4 MB         ----
    COMMITTED    16783      65.6 MB   38% of TOTAL LIMIT
";
        assert_eq!(text, expected);
    }
}
