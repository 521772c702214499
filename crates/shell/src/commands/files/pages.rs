//! `files -p` and `-n`: the pages of a file that are in memory, and where.

use crate::command::CommandError;
use crate::commands::vtop::{PAGE_HEADING, PageLine};
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_kernel::vfs::page_cache::{CacheEntry, CachedPages};
use mortis_kernel::zones::Node;
use mortis_memory::{PhysAddr, PhysicalMemory, VirtAddr};
use serde::Serialize;

/// What is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// `-p`: each page, the first of those that are managed as one.
    Pages,
    /// `-n`: how many are on each NUMA node.
    Nodes,
}

/// The file.
#[derive(Serialize)]
struct InodeReport {
    inode: Hex,
    mapping: Hex,
    pages: Known<u64>,
}

impl Render for InodeReport {
    fn render(&self, out: &mut String, _: Style) {
        let pages = self.pages.to_string();
        out.push_str(&format!("     INODE        NRPAGES\n{:>16x}  {pages:>7}\n\n", self.inode.0));
    }
}

/// Pages that are managed as one.
#[derive(Serialize)]
struct PagesReport {
    #[serde(flatten)]
    page: PageLine,
    /// How many.
    pages: u64,
}

impl Render for PagesReport {
    fn render(&self, out: &mut String, style: Style) {
        self.page.render(out, style);
    }
}

/// A node's share.
#[derive(Serialize)]
struct NodeReport {
    node: u32,
    pages: u64,
}

impl Render for NodeReport {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("     {:>2}          {:>8}\n", self.node, self.pages));
    }
}

pub(super) fn run(
    kernel: &Kernel,
    address: VirtAddr,
    shown: Shown,
    out: &mut Output,
) -> Result<(), CommandError> {
    let inode = kernel.inode(address)?;
    let mapping = inode.mapping;
    let count = kernel.cached_page_count(mapping);
    let pages = Known::from(count.clone());
    out.emit(&InodeReport { inode: Hex(address.0), mapping: Hex(mapping.0), pages })?;
    let mut walk = Walk { kernel, nodes: kernel.nodes()?, by_node: Vec::new(), found: 0, wild: 0 };
    let damage = match count {
        Ok(0) => None,
        _ => walk.run(mapping, shown, out)?,
    };
    if shown == Shown::Nodes {
        out.layout("     NODE           PAGES\n")?;
        for node in &walk.nodes {
            let pages = walk.by_node.iter().filter(|(id, _)| *id == node.id).map(|(_, n)| n).sum();
            out.emit(&NodeReport { node: node.id, pages })?;
        }
    }
    if walk.wild > 0 {
        out.warn(format!("{} entries of the page cache are no pages", walk.wild));
    }
    if let Some(damage) = damage {
        out.warn(format!("there may be more pages: {damage}"));
    }
    match count {
        Ok(count) if count != walk.found => {
            out.warn(format!("xarray page count: {}  nrpages: {count}", walk.found));
        }
        _ => {}
    }
    Ok(())
}

struct Walk<'k> {
    kernel: &'k Kernel,
    nodes: Vec<Node>,
    /// Pages by the number of their node.
    by_node: Vec<(u32, u64)>,
    found: u64,
    /// Entries that are no pages.
    wild: u64,
}

impl Walk<'_> {
    /// Goes through the pages; gives what was in the way of finding more.
    fn run(
        &mut self,
        mapping: VirtAddr,
        shown: Shown,
        out: &mut Output,
    ) -> Result<Option<KernelError>, CommandError> {
        let page_size = self.kernel.memory().physical().page_size();
        let mut heading = PAGE_HEADING;
        for entry in self.kernel.page_cache(mapping)? {
            out.check()?;
            let pages = match entry {
                Ok(CacheEntry::Pages(pages)) => pages,
                Ok(CacheEntry::Gone { .. }) => continue,
                Err(error) => return Ok(Some(error)),
            };
            self.found += pages.count;
            let frame = pages.frame.map(|frame| PhysAddr(frame.0.saturating_mul(page_size)));
            let Some(page) = frame.and_then(|frame| PageLine::read(self.kernel, frame)) else {
                self.wild += 1;
                continue;
            };
            match shown {
                Shown::Pages => {
                    out.layout(std::mem::take(&mut heading))?;
                    out.emit(&PagesReport { page, pages: pages.count })?;
                }
                Shown::Nodes => self.count(pages),
            }
        }
        Ok(None)
    }

    fn count(&mut self, pages: CachedPages) {
        let Some(frame) = pages.frame else { return };
        let holds = |node: &&Node| {
            frame.0.checked_sub(node.start.0).is_some_and(|offset| offset < node.spanned)
        };
        let Some(node) = self.nodes.iter().find(holds).map(|node| node.id) else { return };
        match self.by_node.iter_mut().find(|(id, _)| *id == node) {
            Some((_, count)) => *count += pages.count,
            None => self.by_node.push((node, pages.count)),
        }
    }
}
