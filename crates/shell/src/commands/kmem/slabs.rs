//! `kmem -s`: the slab caches, and how much of each is in use.

use super::{bare, hex};
use crate::arguments::Arguments;
use crate::command::CommandError;
use crate::known::{Known, why};
use crate::output::{Face, Output, Render, Style};
use mortis_kernel::error::KernelError;
use mortis_kernel::slab::{SlabCache, SlabUsage};
use mortis_kernel::{Kernel, error};
use mortis_memory::VirtAddr;
use serde::Serialize;

/// The heading of the table of caches.
pub(super) const HEADING: &str =
    "CACHE             OBJSIZE  ALLOCATED     TOTAL  SLABS  SSIZE  NAME\n";

/// A slab cache.
#[derive(Serialize)]
pub(super) struct CacheRow {
    cache: String,
    name: Known<String>,
    object_size: Known<u64>,
    /// Objects that are not free, as `/proc/slabinfo` counts.
    allocated: Known<u64>,
    /// Objects, in use or not.
    total: Known<u64>,
    slabs: Known<u64>,
    /// Bytes of a slab.
    slab_size: Known<u64>,
    /// How many of the allocated ones are free, but held ready by a CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    free_on_cpus: Option<Known<u64>>,
}

/// A value, or the sign that crash puts where it has none. A guess is shown only where its
/// condition can be shown, too.
fn cell(value: &Known<u64>) -> String {
    match value {
        Known::Value(value) => value.to_string(),
        Known::Unavailable(_) | Known::Guessed(..) => "?".to_owned(),
    }
}

impl Render for CacheRow {
    fn render(&self, out: &mut String, style: Style) {
        let name = self.name.value().map_or("(unknown)", String::as_str);
        let slab_kib = self.slab_size.clone().map(|bytes| bytes / 1024);
        out.push_str(&format!(
            "{:<16} {:>8}  {:>9}  {:>8}  {:>5}  {:>4}k  {}\n",
            bare(&self.cache),
            cell(&self.object_size),
            cell(&self.allocated),
            cell(&self.total),
            cell(&self.slabs),
            cell(&slab_kib),
            style.name(name)
        ));
    }
}

impl CacheRow {
    /// The row of a cache with its `usage`.
    pub(super) fn new(
        kernel: &Kernel,
        cache: &SlabCache,
        usage: &error::Result<SlabUsage>,
    ) -> Self {
        let field = |read: fn(&SlabUsage) -> u64| match usage {
            Ok(usage) => Known::Value(read(usage)),
            Err(error) => Known::Unavailable(why(error)),
        };
        let allocated = match usage {
            Ok(usage) if usage.damage.is_some() => {
                Known::Guessed(usage.allocated(), "at most: a list of partial slabs is damaged")
            }
            _ => field(SlabUsage::allocated),
        };
        Self {
            cache: hex(cache.address),
            name: cache.name.clone().into(),
            object_size: Known::Value(cache.object_size),
            allocated,
            total: field(|usage| usage.objects),
            slabs: field(|usage| usage.slabs),
            slab_size: Known::Value(cache.slab_size(kernel)),
            free_on_cpus: None,
        }
    }

    /// The row of a cache that cannot be read.
    pub(super) fn unreadable(address: VirtAddr, error: &KernelError) -> Self {
        let why = why(error);
        Self {
            cache: hex(address),
            name: Known::Unavailable(why),
            object_size: Known::Unavailable(why),
            allocated: Known::Unavailable(why),
            total: Known::Unavailable(why),
            slabs: Known::Unavailable(why),
            slab_size: Known::Unavailable(why),
            free_on_cpus: None,
        }
    }
}

/// A cache's address and name.
#[derive(Serialize)]
struct CacheName {
    cache: String,
    name: Known<String>,
}

impl Render for CacheName {
    fn render(&self, out: &mut String, style: Style) {
        let name = self.name.value().map_or("(unknown)", String::as_str);
        out.push_str(&format!("{} {}\n", bare(&self.cache), style.name(name)));
    }
}

/// A cache that was left out.
#[derive(Serialize)]
struct Ignored {
    cache: String,
    name: String,
    ignored: bool,
}

impl Render for Ignored {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{} {:<43}  {}\n", bare(&self.cache), "[IGNORED]", self.name));
    }
}

/// Which caches a command line asks for.
pub(super) struct Selection<'a> {
    name: Option<&'a str>,
    ignored: Vec<&'a str>,
    /// Only addresses and names.
    pub(super) list: bool,
}

impl<'a> Selection<'a> {
    /// Understands the words and `-I`. A name may stand behind a backslash, so that a cache may
    /// be called `list`; an address names a cache, too.
    pub(super) fn parse(arguments: &'a Arguments) -> Result<Self, CommandError> {
        let name = match arguments.words.as_slice() {
            [] => None,
            [name] => Some(name.as_str()),
            _ => return Err(CommandError::message("only one kmem_cache reference is allowed")),
        };
        let ignored = arguments.value('I').unwrap_or("");
        let ignored = ignored.split([',', ' ']).filter(|name| !name.is_empty()).collect();
        let list = name == Some("list");
        let name = name.filter(|_| !list).map(|name| name.strip_prefix('\\').unwrap_or(name));
        Ok(Self { name, ignored, list })
    }

    /// Whether one cache is asked for, by `name`.
    pub(super) fn wanted(&self) -> Option<&'a str> {
        self.name
    }

    fn matches(&self, cache: &SlabCache) -> bool {
        self.name.is_none_or(|wanted| {
            let address = u64::from_str_radix(bare(wanted), 16);
            cache.name.as_deref() == Ok(wanted) || address == Ok(cache.address.0)
        })
    }

    fn ignores(&self, cache: &SlabCache) -> Option<&'a str> {
        let name = cache.name.as_deref().ok()?;
        self.ignored.iter().copied().find(|ignored| *ignored == name)
    }
}

/// What a selected place in the kernel's list of caches is.
pub(super) enum Selected {
    /// A cache.
    Cache(SlabCache),
    /// One that is not to be shown.
    Ignored(VirtAddr, String),
    /// One that cannot be read.
    Unreadable(VirtAddr, KernelError),
}

/// Problems of several caches, told in one warning.
#[derive(Default)]
pub(super) struct Problems(Vec<(String, KernelError)>);

impl Problems {
    pub(super) fn add(&mut self, cache: &CacheRow, error: &KernelError) {
        let name = cache.name.value().map_or_else(|| cache.cache.clone(), Clone::clone);
        self.0.push((name, error.clone()));
    }

    fn message(&self) -> Option<String> {
        let (name, error) = self.0.first()?;
        let mut message = format!("{name}: cannot gather relevant slab data: {error}");
        if let [_, others @ ..] = self.0.as_slice()
            && !others.is_empty()
        {
            let names: Vec<&str> = others.iter().take(5).map(|(name, _)| name.as_str()).collect();
            let rest = if others.len() > names.len() { ", …" } else { "" };
            message += &format!(" (and {} more: {}{rest})", others.len(), names.join(", "));
        }
        Some(message)
    }

    /// Warns, if there were any.
    pub(super) fn warn(self, out: &mut Output) {
        if let Some(message) = self.message() {
            out.warn(message);
        }
    }
}

/// The caches that `selection` asks for.
pub(super) fn select(
    kernel: &Kernel,
    selection: &Selection<'_>,
    out: &mut Output,
) -> Result<Vec<Selected>, CommandError> {
    let found = kernel.slab_caches()?;
    let mut selected = Vec::new();
    for (address, cache) in found.caches {
        match cache {
            Ok(cache) if selection.matches(&cache) => {
                let ignored = selection.ignores(&cache);
                selected.push(match ignored {
                    Some(name) => Selected::Ignored(address, name.to_owned()),
                    None => Selected::Cache(cache),
                });
            }
            Ok(_) => {}
            Err(error) if selection.wanted().is_none() => {
                selected.push(Selected::Unreadable(address, error));
            }
            Err(_) => {}
        }
    }
    if let Some(damage) = found.damage {
        out.warn(format_args!("there may be more slab caches: {damage}"));
    }
    match selection.wanted() {
        Some(name) if selected.is_empty() => {
            Err(CommandError::Message(format!("no slab cache called {name}")))
        }
        _ => Ok(selected),
    }
}

/// Emits addresses and names only.
pub(super) fn emit_names(selected: Vec<Selected>, out: &mut Output) -> Result<(), CommandError> {
    for selected in selected {
        let (address, name) = match selected {
            Selected::Cache(cache) => (cache.address, cache.name.into()),
            Selected::Ignored(address, name) => (address, Known::Value(name)),
            Selected::Unreadable(address, error) => (address, Known::Unavailable(why(&error))),
        };
        out.emit(&CacheName { cache: hex(address), name })?;
    }
    Ok(())
}

/// Emits the line of a cache that was left out.
pub(super) fn emit_ignored(
    address: VirtAddr,
    name: String,
    out: &mut Output,
) -> Result<(), CommandError> {
    Ok(out.emit(&Ignored { cache: hex(address), name, ignored: true })?)
}

pub(super) fn run(
    kernel: &Kernel,
    arguments: &Arguments,
    out: &mut Output,
) -> Result<(), CommandError> {
    let selection = Selection::parse(arguments)?;
    let selected = select(kernel, &selection, out)?;
    if selection.list {
        return emit_names(selected, out);
    }
    out.layout(HEADING)?;
    let caches: Vec<&SlabCache> = selected
        .iter()
        .filter_map(|selected| match selected {
            Selected::Cache(cache) => Some(cache),
            Selected::Ignored(..) | Selected::Unreadable(..) => None,
        })
        .collect();
    let mut usages = kernel.slab_usage(&caches)?.into_iter();
    let mut problems = Problems::default();
    for selected in &selected {
        out.check()?;
        match selected {
            Selected::Cache(cache) => {
                let Some(usage) = usages.next() else { break };
                let mut row = CacheRow::new(kernel, cache, &usage);
                match &usage {
                    Ok(SlabUsage { damage: Some(error), .. }) | Err(error) => {
                        problems.add(&row, error);
                    }
                    Ok(_) => {}
                }
                if out.face() == Face::Json {
                    row.free_on_cpus = Some(cache.cpu_free(kernel).into());
                }
                out.emit(&row)?;
            }
            Selected::Ignored(address, name) => emit_ignored(*address, name.clone(), out)?,
            Selected::Unreadable(address, error) => {
                let row = CacheRow::unreadable(*address, error);
                problems.add(&row, error);
                out.emit(&row)?;
            }
        }
    }
    problems.warn(out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> CacheRow {
        CacheRow {
            cache: "0xff3aeee4413a6700".to_owned(),
            name: Known::Value("mortis_lab".to_owned()),
            object_size: Known::Value(200),
            allocated: Known::Value(114),
            total: Known::Value(114),
            slabs: Known::Value(6),
            slab_size: Known::Value(4096),
            free_on_cpus: None,
        }
    }

    fn text(row: &impl Render) -> String {
        let mut text = String::new();
        row.render(&mut text, Style::default());
        text
    }

    #[test]
    fn rows_are_laid_out_as_crash_does() {
        assert_eq!(
            text(&row()),
            "ff3aeee4413a6700      200        114       114      6     4k  mortis_lab\n"
        );
        let ignored = Ignored { cache: "0xff00".into(), name: "pid".into(), ignored: true };
        assert_eq!(text(&ignored), "ff00 [IGNORED]                                    pid\n");
    }

    #[test]
    fn what_is_not_known_is_a_question_mark() {
        let guessed = CacheRow { allocated: Known::Guessed(90, "at most"), ..row() };
        assert_eq!(
            text(&guessed),
            "ff3aeee4413a6700      200          ?       114      6     4k  mortis_lab\n"
        );
        let error = KernelError::Unsupported("damaged".to_owned());
        assert_eq!(
            text(&CacheRow::unreadable(VirtAddr(0xff3a_eee4_413a_6700), &error)),
            "ff3aeee4413a6700        ?          ?         ?      ?     ?k  (unknown)\n"
        );
    }

    #[test]
    fn several_problems_make_one_warning() {
        let mut problems = Problems::default();
        for name in ["a", "b", "c"] {
            let row = CacheRow { name: Known::Value(name.to_owned()), ..row() };
            problems.add(&row, &KernelError::Unsupported("damaged".to_owned()));
        }
        let message = problems.message().expect("there were problems");
        assert_eq!(message, "a: cannot gather relevant slab data: damaged (and 2 more: b, c)");
        assert_eq!(Problems::default().message(), None);
    }
}
