//! The shell of Mortis: commands as users of crash know them, over a [`mortis_kernel::Kernel`].
//!
//! A [`command::Command`] is one entry of one table, beside its code and its tests. Running it
//! computes values and hands them to an [`output::Output`], which renders each as text laid out as
//! crash does, or as JSON: one answer, many faces. A [`session::Session`] holds what lasts from one
//! command to the next: the kernel, the task in focus, the settings. [`mod@line`] takes a
//! typed line apart (words, quotes, pipes, redirection), [`run`] puts all of it
//! together, and [`prompt`] is the interactive editor around it.

pub mod alias;
pub mod arguments;
pub mod byte_size;
pub mod columns;
pub mod command;
pub mod commands;
pub mod completion;
pub mod context;
pub mod convert;
pub mod date;
pub mod dump_info;
pub mod foreign;
pub mod hints;
pub mod history;
pub mod known;
pub mod line;
pub mod messages;
pub(crate) mod module_search;
pub mod number;
pub mod open;
mod open_progress;
pub mod output;
pub mod pager;
pub mod progress_line;
pub mod prompt;
pub mod run;
pub mod script;
pub mod session;
pub mod sink;
pub mod startup;
pub mod structure;
pub mod summary;
pub(crate) mod task_facts;
pub mod task_header;
pub mod typed_value;

pub use mortis_kernel::Options as KernelOptions;
