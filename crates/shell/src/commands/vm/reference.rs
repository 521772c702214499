//! `vm -R`: only the areas and pages that have to do with something.

use super::listing::OfProcess;
use super::pages::{Places, heading};
use super::process::{AREA_HEADING, AreaRow, Process, TaskMemory, render_totals};
use crate::number;
use crate::output::{Render, Style};
use crate::task_header::{Hex, TaskHeader};
use mortis_kernel::Kernel;
use mortis_kernel::user_pages::PagePlace;
use mortis_memory::VirtAddr;
use serde::Serialize;
use std::sync::Arc;

/// What is searched for.
pub(super) struct Reference {
    text: String,
    /// The number that it is in hexadecimal digits.
    hexadecimal: Option<u64>,
    /// The number that it is in decimal digits.
    decimal: Option<u64>,
}

/// What of a task's memory has to do with it.
#[derive(Serialize)]
pub(super) struct Matches {
    #[serde(flatten)]
    task: TaskHeader,
    mm: Hex,
    areas: Vec<AreaMatch>,
    #[serde(skip)]
    process: Option<Arc<Process>>,
    #[serde(skip)]
    text: String,
}

/// An area that matches, or has pages that do.
#[derive(Serialize)]
struct AreaMatch {
    #[serde(flatten)]
    area: AreaRow,
    /// The addresses of the pages that match.
    pages: Vec<Hex>,
}

impl OfProcess for Matches {
    fn process(&self) -> &Option<Arc<Process>> {
        &self.process
    }
}

impl Render for Matches {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        render_totals(self.process.as_deref(), out);
        out.push_str(&self.text);
        out.push('\n');
    }
}

impl Reference {
    pub fn parse(word: &str) -> Self {
        Self {
            text: word.to_owned(),
            hexadecimal: number::address(word),
            decimal: word.parse().ok(),
        }
    }

    fn is(&self, number: u64) -> bool {
        self.hexadecimal == Some(number)
    }

    /// Whether a path has to do with it: `/` with the root alone, anything else with what it is
    /// part of.
    fn is_in(&self, path: &str) -> bool {
        match self.text.as_str() {
            "/" => path == "/",
            text => !path.is_empty() && path.contains(text),
        }
    }

    /// What of a task's memory has to do with it; none where nothing has.
    pub fn search(&self, kernel: &Kernel, memory: TaskMemory) -> Option<Matches> {
        let process = memory.process?;
        let mut matches = Matches {
            task: memory.task,
            mm: process.mm,
            areas: Vec::new(),
            process: Some(Arc::clone(&process)),
            text: String::new(),
        };
        let is_pgd = process.pgd.value().is_some_and(|pgd| self.is(pgd.0));
        if self.is(process.mm.0) || is_pgd {
            return Some(matches);
        }
        let places = Places::new(kernel, VirtAddr(process.mm.0));
        // After pages, areas need their heading again.
        let mut needs_heading = true;
        for area in process.areas() {
            let flags = area.flags.value().is_some_and(|flags| self.is(flags.0));
            let is_match = self.is(area.vma.0) || flags || self.is_in(area.path());
            if is_match {
                if needs_heading {
                    matches.text.push_str(AREA_HEADING);
                }
                needs_heading = false;
                area.render(&mut matches.text, Style::default());
            }
            let mut pages = Vec::new();
            if self.may_be_a_page(kernel) {
                let mut text = String::new();
                places.each(area, area.start.0, area.end.0, |page| {
                    if self.matches_page(page) {
                        pages.push(Hex(page.address));
                        page.render(&mut text);
                    }
                    true
                });
                if !pages.is_empty() {
                    if !is_match {
                        matches.text.push_str(AREA_HEADING);
                        area.render(&mut matches.text, Style::default());
                    }
                    heading(kernel, &mut matches.text);
                    matches.text.push_str(&text);
                    needs_heading = true;
                }
            }
            if is_match || !pages.is_empty() {
                matches.areas.push(AreaMatch { area: area.clone(), pages });
            }
        }
        (!matches.areas.is_empty()).then_some(matches)
    }

    /// Whether it can mean pages: a number, or the name of a swap device.
    fn may_be_a_page(&self, kernel: &Kernel) -> bool {
        self.hexadecimal.is_some() || kernel.swap_devices().is_ok_and(|devices| !devices.is_empty())
    }

    fn matches_page(&self, page: &super::pages::Page<'_>) -> bool {
        if self.is(page.address) {
            return true;
        }
        match page.place {
            PagePlace::Memory(physical) => self.is(physical.0),
            PagePlace::Entry(_) => page.swap().is_some_and(|(device, entry)| {
                self.decimal == Some(entry.offset) || device.is_some_and(|path| self.is_in(&path))
            }),
            PagePlace::Nowhere => page.file_offset().is_some_and(|offset| self.is(offset)),
            PagePlace::Unknown(_) => false,
        }
    }
}
