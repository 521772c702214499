//! How far the opening of a dump is, where that takes a pass over the file.

use crate::output::Interrupt;
use crate::progress_line::ProgressLine;
use mortis_dump::OpenProgress;
use std::sync::{Arc, Mutex, PoisonError};

/// Shows a line for the step at hand. Ctrl-C ends it.
pub fn open_progress(interrupt: &Interrupt) -> Arc<OpenProgress> {
    let interrupt = interrupt.clone();
    let shown: Mutex<Option<(&'static str, ProgressLine)>> = Mutex::new(None);
    Arc::new(move |step, done, total| {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.as_ref().is_none_or(|(current, _)| *current != step) {
            // The line before has to be gone first.
            *shown = None;
            *shown = Some((step, ProgressLine::start(step, &interrupt)));
        }
        if let Some((_, line)) = &*shown {
            line.reach(done, total);
        }
        if done >= total {
            *shown = None;
        }
        interrupt.check().is_ok()
    })
}
