//! `kmem -S`: each slab cache with what CPUs and nodes hold of it, and the objects of the CPUs'
//! slabs.

use super::slabs::{self, CacheRow, HEADING, Problems, Selected, Selection};
use super::{bare, hex};
use crate::arguments::Arguments;
use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use mortis_kernel::Kernel;
use mortis_kernel::error::{KernelError, Result};
use mortis_kernel::slab::{CpuSlabs, ObjectState, Sheaf, Slab, SlabCache, SlabFinder, SlabNode};
use mortis_kernel::zones::Node;
use mortis_memory::VirtAddr;
use serde::Serialize;

const SLAB_HEADING: &str = "  SLAB              MEMORY            NODE  TOTAL  ALLOCATED  FREE\n";

/// A cache and what is in it.
#[derive(Serialize)]
struct CacheContents {
    #[serde(flatten)]
    row: CacheRow,
    cpus: Vec<CpuPart>,
    nodes: Vec<NodePart>,
    /// What could not be read.
    problems: Vec<String>,
}

/// What a CPU holds.
#[derive(Serialize)]
#[serde(untagged)]
enum CpuPart {
    Slabs {
        cpu: u32,
        kmem_cache_cpu: String,
        slab: Option<SlabPart>,
        partial: Vec<SlabPart>,
        /// Whether this kernel's CPUs have partial slabs at all.
        #[serde(skip)]
        has_partial: bool,
    },
    Sheaves {
        cpu: u32,
        slub_percpu_sheaves: String,
        main: Option<SheafPart>,
        spare: Option<SheafPart>,
        rcu_free: Option<SheafPart>,
    },
}

#[derive(Serialize)]
struct SheafPart {
    slab_sheaf: String,
    objects: u64,
}

/// What a node has.
#[derive(Serialize)]
struct NodePart {
    node: u32,
    kmem_cache_node: String,
    slabs: u64,
    partial_slabs: u64,
    cpu_slabs: u64,
    partial: Vec<SlabPart>,
    /// `None` where the kernel keeps no list of them.
    full: Option<Vec<SlabPart>>,
}

/// A slab, perhaps with its objects.
#[derive(Serialize)]
struct SlabPart {
    slab: String,
    memory: String,
    node: Option<u32>,
    total: u64,
    allocated: u64,
    free: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<Vec<ObjectPart>>,
    /// The CPU whose current slab it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<u32>,
}

#[derive(Serialize)]
struct ObjectPart {
    address: String,
    free: bool,
}

impl SlabPart {
    fn render_row(&self, out: &mut String) {
        let node = self.node.map_or_else(|| "?".to_owned(), |node| node.to_string());
        out.push_str(&format!(
            "  {:<16}  {:<16}  {node:>4}  {:>5}  {:>9}  {:>4}\n",
            bare(&self.slab),
            bare(&self.memory),
            self.total,
            self.allocated,
            self.free
        ));
    }

    fn render_whole(&self, out: &mut String) {
        out.push_str(SLAB_HEADING);
        self.render_row(out);
        let Some(objects) = &self.objects else { return };
        out.push_str("  FREE / [ALLOCATED]\n");
        for object in objects {
            let address = bare(&object.address);
            if object.free {
                out.push_str(&format!("   {address}  "));
                if let Some(cpu) = self.cpu {
                    out.push_str(&format!("(cpu {cpu} cache)"));
                }
                out.push('\n');
            } else {
                out.push_str(&format!("  [{address}]\n"));
            }
        }
    }
}

impl Render for CpuPart {
    fn render(&self, out: &mut String, _: Style) {
        match self {
            CpuPart::Slabs { cpu, kmem_cache_cpu, slab, partial, has_partial } => {
                out.push_str(&format!("CPU {cpu} KMEM_CACHE_CPU:\n  {}\n", bare(kmem_cache_cpu)));
                out.push_str(&format!("CPU {cpu} SLAB:\n"));
                match slab {
                    Some(slab) => slab.render_whole(out),
                    None => out.push_str("  (empty)\n"),
                }
                if *has_partial {
                    out.push_str(&format!("CPU {cpu} PARTIAL:\n"));
                    if partial.is_empty() {
                        out.push_str("  (empty)\n");
                    }
                    partial.iter().for_each(|slab| slab.render_whole(out));
                }
            }
            CpuPart::Sheaves { cpu, slub_percpu_sheaves, main, spare, rcu_free } => {
                let address = bare(slub_percpu_sheaves);
                out.push_str(&format!("CPU {cpu} SLUB_PERCPU_SHEAVES:\n  {address}\n"));
                out.push_str(&format!("CPU {cpu} SHEAVES:\n"));
                out.push_str("  SHEAF             KIND      OBJECTS\n");
                let sheaves = [("main", main), ("spare", spare), ("rcu_free", rcu_free)];
                for (kind, sheaf) in sheaves {
                    if let Some(sheaf) = sheaf {
                        let (address, objects) = (bare(&sheaf.slab_sheaf), sheaf.objects);
                        out.push_str(&format!("  {address:<16}  {kind:<8}  {objects:>7}\n"));
                    }
                }
            }
        }
    }
}

impl Render for NodePart {
    fn render(&self, out: &mut String, _: Style) {
        let Self { node, slabs, partial_slabs, cpu_slabs, .. } = self;
        out.push_str("KMEM_CACHE_NODE   NODE  SLABS  PARTIAL  PER-CPU\n");
        let address = bare(&self.kmem_cache_node);
        out.push_str(&format!(
            "{address}  {node:>4}  {slabs:>5}  {partial_slabs:>7}  {cpu_slabs:>7}\n"
        ));
        let list = |out: &mut String, kind: &str, slabs: Option<&Vec<SlabPart>>| {
            out.push_str(&format!("NODE {node} {kind}:\n"));
            match slabs {
                None => out.push_str("  (not tracked)\n"),
                Some(slabs) if slabs.is_empty() => out.push_str("  (empty)\n"),
                Some(slabs) => {
                    out.push_str(SLAB_HEADING);
                    slabs.iter().for_each(|slab| slab.render_row(out));
                }
            }
        };
        list(out, "PARTIAL", Some(&self.partial));
        list(out, "FULL", self.full.as_ref());
    }
}

impl Render for CacheContents {
    fn render(&self, out: &mut String, style: Style) {
        self.row.render(out, style);
        self.cpus.iter().for_each(|cpu| cpu.render(out, style));
        self.nodes.iter().for_each(|node| node.render(out, style));
        out.push('\n');
    }
}

/// Gathers what is in a cache, and what was in the way.
struct Gatherer<'a> {
    kernel: &'a Kernel,
    nodes: &'a [Node],
    cache: &'a SlabCache,
    problems: Vec<KernelError>,
}

impl Gatherer<'_> {
    fn node_of(&self, slab: &Slab) -> Option<u32> {
        let spans = |node: &&Node| {
            slab.pfn.0.checked_sub(node.start.0).is_some_and(|offset| offset < node.spanned)
        };
        self.nodes.iter().find(spans).map(|node| node.id)
    }

    fn slab(&self, slab: &Slab) -> SlabPart {
        SlabPart {
            slab: hex(slab.address),
            memory: hex(slab.memory),
            node: self.node_of(slab),
            total: slab.objects,
            allocated: slab.inuse,
            free: slab.free(),
            objects: None,
            cpu: None,
        }
    }

    /// A slab with its objects; those of `cpu_free` are held ready by `cpu`.
    fn slab_with_objects(
        &mut self,
        slab: &Slab,
        cpu_free: &[VirtAddr],
        cpu: Option<u32>,
    ) -> SlabPart {
        let mut part = self.slab(slab);
        let held = cpu_free.len() as u64;
        part.free = part.free.saturating_add(held);
        part.allocated = part.allocated.saturating_sub(held);
        part.cpu = cpu;
        match self.cache.objects(self.kernel, slab, cpu_free) {
            Ok(objects) => {
                let object = |(address, state): (VirtAddr, ObjectState)| ObjectPart {
                    address: hex(address),
                    free: state != ObjectState::Allocated,
                };
                part.objects = Some(objects.objects.into_iter().map(object).collect());
            }
            Err(error) => self.problems.push(error),
        }
        part
    }

    fn cpu(&mut self, cpu: u32) -> Result<Option<(CpuPart, Option<Slab>)>> {
        let sheaf = |sheaf: Option<Sheaf>| {
            sheaf.map(|sheaf| SheafPart { slab_sheaf: hex(sheaf.address), objects: sheaf.size })
        };
        Ok(match self.cache.cpu_slabs(self.kernel, cpu)? {
            None => None,
            Some(CpuSlabs::Sheaves { address, main, spare, rcu_free }) => {
                let part = CpuPart::Sheaves {
                    cpu,
                    slub_percpu_sheaves: hex(address),
                    main: sheaf(main),
                    spare: sheaf(spare),
                    rcu_free: sheaf(rcu_free),
                };
                Some((part, None))
            }
            Some(CpuSlabs::Slabs { address, current, free, partial, damage }) => {
                let slab = current.map(|slab| self.slab_with_objects(&slab, &free, Some(cpu)));
                let partial: Option<Vec<_>> = partial.map(|partial| {
                    partial.iter().map(|slab| self.slab_with_objects(slab, &[], None)).collect()
                });
                self.problems.extend(damage);
                let part = CpuPart::Slabs {
                    cpu,
                    kmem_cache_cpu: hex(address),
                    slab,
                    has_partial: partial.is_some(),
                    partial: partial.unwrap_or_default(),
                };
                Some((part, current))
            }
        })
    }

    fn list(&mut self, slabs: Vec<Result<Slab>>) -> Vec<SlabPart> {
        let mut parts = Vec::new();
        for slab in slabs {
            match slab {
                Ok(slab) => parts.push(self.slab(&slab)),
                Err(error) => self.problems.push(error),
            }
        }
        parts
    }

    fn node(&mut self, node: &SlabNode, cpu_slabs: u64) -> Result<NodePart> {
        let (slabs, partial_slabs) = self.cache.node_counts(self.kernel, node.address)?;
        let partial = self.cache.partial_slabs(self.kernel, node.address)?;
        let full = self.cache.full_slabs(self.kernel, node.address)?;
        Ok(NodePart {
            node: node.id,
            kmem_cache_node: hex(node.address),
            slabs,
            partial_slabs,
            cpu_slabs,
            partial: self.list(partial),
            full: full.map(|full| self.list(full)),
        })
    }

    fn gather(mut self, row: CacheRow, cpus: &[u32]) -> CacheContents {
        let mut parts = Vec::new();
        let mut current = Vec::new();
        for &cpu in cpus {
            match self.cpu(cpu) {
                Ok(Some((part, slab))) => {
                    current.extend(slab.and_then(|slab| self.node_of(&slab)));
                    parts.push(part);
                }
                Ok(None) => {}
                Err(error) => self.problems.push(error),
            }
        }
        let mut nodes = Vec::new();
        for node in self.cache.nodes.clone() {
            let cpu_slabs = current.iter().filter(|id| **id == node.id).count() as u64;
            match self.node(&node, cpu_slabs) {
                Ok(node) => nodes.push(node),
                Err(error) => self.problems.push(error),
            }
        }
        let problems = self.problems.iter().map(ToString::to_string).collect();
        CacheContents { row, cpus: parts, nodes, problems }
    }
}

/// A slab that an address lies in, with all its objects or only the one there.
#[derive(Serialize)]
struct FoundSlab {
    #[serde(flatten)]
    row: CacheRow,
    found_in: SlabPart,
    /// What could not be read.
    problems: Vec<String>,
}

impl Render for FoundSlab {
    fn render(&self, out: &mut String, style: Style) {
        out.push_str(HEADING);
        self.row.render(out, style);
        self.found_in.render_whole(out);
    }
}

/// Finds the slabs that addresses lie in.
pub(super) struct SlabSearch<'k> {
    kernel: &'k Kernel,
    finder: SlabFinder,
    nodes: Vec<Node>,
}

impl<'k> SlabSearch<'k> {
    pub(super) fn new(kernel: &'k Kernel) -> Result<Self> {
        let nodes = kernel.nodes().unwrap_or_default();
        Ok(Self { kernel, finder: SlabFinder::new(kernel)?, nodes })
    }

    /// The cache whose `struct kmem_cache` lies at `address`.
    pub(super) fn cache(&self, address: VirtAddr) -> Option<&SlabCache> {
        self.finder.cache(address)
    }

    /// Shows the object that `address` lies in, or, where it is the address of a slab's
    /// `struct page`, the slab; false where it is neither.
    pub(super) fn show(
        &self,
        address: VirtAddr,
        out: &mut Output,
    ) -> std::result::Result<bool, CommandError> {
        let object = self.finder.object_at(self.kernel, address);
        let slab = match object {
            Some(_) => self.finder.slab_at(self.kernel, address),
            None => self.finder.slab_of_page(self.kernel, address),
        };
        let Some((cache, slab)) = slab else { return Ok(false) };
        self.emit(cache, &slab, object.map(|object| object.address), out)?;
        Ok(true)
    }

    /// Shows the slab that `address` lies in with all its objects; false where it lies in none.
    pub(super) fn show_whole(
        &self,
        address: VirtAddr,
        out: &mut Output,
    ) -> std::result::Result<bool, CommandError> {
        let slab = self.finder.slab_at(self.kernel, address);
        let slab = slab.or_else(|| self.finder.slab_of_page(self.kernel, address));
        let Some((cache, slab)) = slab else { return Ok(false) };
        self.emit(cache, &slab, None, out)?;
        Ok(true)
    }

    fn emit(
        &self,
        cache: &SlabCache,
        slab: &Slab,
        only: Option<VirtAddr>,
        out: &mut Output,
    ) -> std::result::Result<(), CommandError> {
        let usage = cache.usage(self.kernel);
        let row = CacheRow::new(self.kernel, cache, &usage);
        // A CPU holds free objects of the slab that it takes objects from.
        let cpus = self.kernel.cpus().map_or(&[][..], |cpus| cpus.possible.as_slice());
        let held = cpus.iter().find_map(|&cpu| match cache.cpu_slabs(self.kernel, cpu) {
            Ok(Some(CpuSlabs::Slabs { current: Some(current), free, .. }))
                if current.address == slab.address =>
            {
                Some((cpu, free))
            }
            _ => None,
        });
        let (cpu, free) = held.map_or((None, Vec::new()), |(cpu, free)| (Some(cpu), free));
        let mut gatherer =
            Gatherer { kernel: self.kernel, nodes: &self.nodes, cache, problems: Vec::new() };
        let mut part = gatherer.slab_with_objects(slab, &free, cpu);
        if let (Some(only), Some(objects)) = (only, &mut part.objects) {
            let only = hex(only);
            objects.retain(|object| object.address == only);
        }
        let problems: Vec<String> = gatherer.problems.iter().map(ToString::to_string).collect();
        if let Some(problem) = problems.first() {
            out.warn(problem);
        }
        Ok(out.emit(&FoundSlab { row, found_in: part, problems })?)
    }
}

pub(super) fn run(
    kernel: &Kernel,
    cpus: &[u32],
    arguments: &Arguments,
    out: &mut Output,
) -> std::result::Result<(), CommandError> {
    let selection = Selection::parse(arguments)?;
    let selected = slabs::select(kernel, &selection, out)?;
    if selection.list {
        return slabs::emit_names(selected, out);
    }
    let nodes = kernel.nodes().unwrap_or_default();
    let mut problems = Problems::default();
    for selected in selected {
        out.check()?;
        out.layout(HEADING)?;
        match selected {
            Selected::Cache(cache) => {
                let usage = cache.usage(kernel);
                let row = CacheRow::new(kernel, &cache, &usage);
                if let Err(error) = &usage {
                    problems.add(&row, error);
                }
                let gatherer =
                    Gatherer { kernel, nodes: &nodes, cache: &cache, problems: Vec::new() };
                let contents = gatherer.gather(row, cpus);
                out.emit(&contents)?;
                if let Some(problem) = contents.problems.first() {
                    problems.add(&contents.row, &KernelError::Unsupported(problem.clone()));
                }
            }
            Selected::Ignored(address, name) => slabs::emit_ignored(address, name, out)?,
            Selected::Unreadable(address, error) => {
                let row = CacheRow::unreadable(address, &error);
                problems.add(&row, &error);
                out.emit(&row)?;
            }
        }
    }
    problems.warn(out);
    Ok(())
}
