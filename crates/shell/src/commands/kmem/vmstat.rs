//! `kmem -V`: the counters of zones, nodes and events.

use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use mortis_kernel::Kernel;
use mortis_kernel::vmstat::{Counter, CounterSet};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Counters; in JSON an object of names and values.
pub(super) struct Counters(pub(super) Vec<Counter>);

impl Counters {
    /// Length of the longest name.
    pub(super) fn widest(&self) -> usize {
        self.0.iter().map(|counter| counter.name.len()).max().unwrap_or(0)
    }
}

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for counter in &self.0 {
            map.serialize_entry(&*counter.name, &counter.value)?;
        }
        map.end()
    }
}

/// Appends a line for each counter, names right-justified to `width`.
pub(super) fn render_counters(out: &mut String, counters: &[Counter], width: usize) {
    for counter in counters {
        out.push_str(&format!("{:>width$}: {}\n", counter.name, counter.value));
    }
}

/// One set of counters.
#[derive(serde::Serialize)]
struct Section {
    set: &'static str,
    counters: Counters,
    /// Crash aligns the names of zones' and nodes' counters together.
    #[serde(skip)]
    width: usize,
    #[serde(skip)]
    first: bool,
}

impl Render for Section {
    fn render(&self, out: &mut String, style: Style) {
        if !self.first {
            out.push('\n');
        }
        let heading = style.heading(&format!("  {}:", self.set.to_uppercase()));
        out.push_str(&format!("{heading}\n"));
        render_counters(out, &self.counters.0, self.width);
    }
}

pub(super) fn run(kernel: &Kernel, out: &mut Output) -> Result<(), CommandError> {
    let zone = Counters(kernel.counters(CounterSet::Zone)?);
    let mut sections = Vec::new();
    let mut add = |set, counters| sections.push(Section { set, counters, width: 0, first: false });
    match kernel.counters(CounterSet::Node) {
        Ok(node) => {
            add("vm_zone_stat", zone);
            add("vm_node_stat", Counters(node));
            if let Ok(numa) = kernel.counters(CounterSet::Numa) {
                add("vm_numa_stat", Counters(numa));
            }
        }
        Err(_) => add("vm_stat", zone),
    }
    let width = sections.iter().map(|section| section.counters.widest()).max().unwrap_or(0);
    for section in &mut sections {
        section.width = width;
    }
    match kernel.counters(CounterSet::Event) {
        Ok(events) => {
            let counters = Counters(events);
            let width = counters.widest();
            sections.push(Section { set: "vm_event_states", counters, width, first: false });
        }
        Err(error) => out.warn(format_args!("the counters of events: {error}")),
    }
    for (index, section) in sections.iter_mut().enumerate() {
        section.first = index == 0;
        out.emit(section)?;
    }
    Ok(())
}
