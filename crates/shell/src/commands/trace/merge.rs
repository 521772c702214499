//! The events of all CPUs' buffers in the order of their times.

use crate::output::Output;
use mortis_kernel::Kernel;
use mortis_kernel::error::Result;
use mortis_kernel::tracing::TraceInstance;
use mortis_kernel::tracing::ring_buffer::{CpuEvents, Event};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A CPU's buffer and its next event.
struct Source<'k> {
    cpu: u32,
    events: CpuEvents<'k>,
    next: Option<Event>,
}

/// The events of several CPUs, the oldest first; of those of one time the lowest CPU's.
pub(super) struct Merged<'k> {
    sources: Vec<Source<'k>>,
    /// Times of the next events, with the CPU and the place of its source.
    order: BinaryHeap<Reverse<(u64, u32, usize)>>,
}

impl<'k> Merged<'k> {
    /// The events of `cpus` in the buffers of `instance`. CPUs without a buffer have none.
    pub(super) fn new(
        kernel: &'k Kernel,
        instance: &TraceInstance,
        cpus: &[u32],
        out: &mut Output,
    ) -> Self {
        let mut sources = Vec::new();
        for &cpu in cpus {
            let events = || -> Result<Option<CpuEvents<'k>>> {
                let Some(buffer) = kernel.cpu_trace_buffer(instance.buffer, cpu)? else {
                    return Ok(None);
                };
                Ok(Some(CpuEvents::new(kernel.trace_pages(instance.buffer, buffer)?)))
            };
            match events() {
                Ok(Some(mut events)) => {
                    let next = events.next();
                    sources.push(Source { cpu, events, next });
                }
                Ok(None) => {}
                Err(error) => out.warn(format_args!("the events of CPU {cpu}: {error}")),
            }
        }
        let mut merged = Self { sources, order: BinaryHeap::new() };
        for index in 0..merged.sources.len() {
            merged.enqueue(index);
        }
        merged
    }

    fn enqueue(&mut self, index: usize) {
        if let Some(source) = self.sources.get(index)
            && let Some(event) = &source.next
        {
            self.order.push(Reverse((event.time, source.cpu, index)));
        }
    }

    /// The oldest event.
    pub(super) fn first(&self) -> Option<&Event> {
        let Reverse((_, _, index)) = self.order.peek()?;
        self.sources.get(*index)?.next.as_ref()
    }

    /// The oldest event, its CPU, and the event behind it of the same CPU, if `takes` says so.
    pub(super) fn next_with(
        &mut self,
        takes: impl FnOnce(&Event, &Event) -> bool,
    ) -> Option<(u32, Event, Option<Event>)> {
        let Reverse((_, cpu, index)) = self.order.pop()?;
        let source = self.sources.get_mut(index)?;
        let event = source.next.take()?;
        source.next = source.events.next();
        let along = match &source.next {
            Some(next) if takes(&event, next) => {
                let along = source.next.take();
                source.next = source.events.next();
                along
            }
            _ => None,
        };
        self.enqueue(index);
        Some((cpu, event, along))
    }

    /// Says which pages were missing.
    pub(super) fn tell_missing(&self, out: &mut Output) {
        for source in &self.sources {
            if let Some(error) = &source.events.damage {
                let (missing, cpu) = (source.events.missing, source.cpu);
                out.warn(format_args!(
                    "CPU {cpu}: events are missing where its buffer could not be read, {missing} \
                     times: {error}"
                ));
            }
        }
    }
}
