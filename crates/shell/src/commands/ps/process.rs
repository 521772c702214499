//! What a process was started with, and what it may use.

use super::Chosen;
use crate::command::CommandError;
use crate::known::{Known, why};
use crate::output::{Output, Render, Style};
use crate::task_facts::Facts;
use crate::task_header::TaskHeader;
use mortis_kernel::Kernel;
use mortis_kernel::error::{KernelError, Result as KernelResult};
use mortis_kernel::task_accounting::ResourceLimit;
use mortis_memory::{Address, UserAddr, VirtAddr};
use serde::Serialize;
use std::ops::Range;

/// A process's arguments and environment; null for a task without user memory.
#[derive(Serialize)]
struct Arguments {
    #[serde(flatten)]
    task: TaskHeader,
    arguments: Option<Known<Vec<String>>>,
    environment: Option<Known<Vec<String>>>,
    /// What to say where they cannot be read.
    #[serde(skip)]
    obstacle: Option<String>,
}

impl Render for Arguments {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        let words = |words: &Option<Known<Vec<String>>>| {
            words.as_ref().and_then(|words| words.value().cloned())
        };
        if let Some(arguments) = words(&self.arguments) {
            out.push_str("ARG: ");
            for argument in arguments {
                out.push_str(&argument);
                out.push(' ');
            }
            out.push('\n');
        }
        if let Some(environment) = words(&self.environment) {
            out.push_str(&format!("ENV: {}\n", environment.join("\n     ")));
            if environment.is_empty() {
                out.push('\n');
            }
        }
        if let Some(obstacle) = &self.obstacle {
            out.push_str(&format!("ps: {obstacle}\n"));
        }
        out.push('\n');
    }
}

/// The printable words of a NUL-separated area.
fn words(bytes: &[u8]) -> Vec<String> {
    let words = bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn obstacle(error: &KernelError) -> String {
    match error.read_error().map(|error| error.address) {
        Some(Address::User(address)) => format!("cannot access user stack address: {address:x}"),
        _ => error.to_string(),
    }
}

fn read_area(kernel: &Kernel, mm: VirtAddr, area: &Range<UserAddr>) -> KernelResult<Vec<String>> {
    kernel.read_user_area(mm, area).map(|bytes| words(&bytes))
}

fn arguments_of(kernel: &Kernel, task: &Facts) -> Arguments {
    let mut answer =
        Arguments { task: task.header(), arguments: None, environment: None, obstacle: None };
    let mm = match &task.mm {
        Known::Value(mm) if !mm.is_null() => *mm,
        _ => {
            answer.obstacle = Some("no user stack".to_owned());
            return answer;
        }
    };
    let areas = match kernel.argument_areas(mm) {
        Ok(areas) => areas,
        Err(error) => {
            answer.arguments = Some(Known::Unavailable(why(&error)));
            answer.environment = Some(Known::Unavailable(why(&error)));
            answer.obstacle = Some(obstacle(&error));
            return answer;
        }
    };
    let arguments = read_area(kernel, mm, &areas.arguments);
    let environment = read_area(kernel, mm, &areas.environment);
    let first_error = arguments.as_ref().err().or(environment.as_ref().err());
    answer.obstacle = first_error.map(obstacle);
    answer.arguments = Some(arguments.into());
    answer.environment = Some(environment.into());
    answer
}

/// What the processes were started with.
pub(super) fn arguments(
    kernel: &Kernel,
    chosen: &Chosen,
    out: &mut Output,
) -> Result<(), CommandError> {
    for task in chosen.iter() {
        out.emit(&arguments_of(kernel, task))?;
    }
    Ok(())
}

/// The resources of include/uapi/asm-generic/resource.h.
const RESOURCES: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

/// A task's limits.
#[derive(Serialize)]
struct Limits {
    #[serde(flatten)]
    task: TaskHeader,
    limits: Known<Vec<Limit>>,
}

#[derive(Clone, Serialize)]
struct Limit {
    resource: &'static str,
    /// Null is no limit.
    current: Option<u64>,
    maximum: Option<u64>,
}

fn amount(limit: Option<u64>) -> String {
    limit.map_or("(unlimited)".to_owned(), |limit| format!("{limit:^11}"))
}

impl Render for Limits {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        let Some(limits) = self.limits.value() else {
            out.push_str(&format!("  {}\n\n", self.limits.clone().map(|_| "")));
            return;
        };
        out.push_str(&format!("  {:>10}   {:^11}   {:^11}\n", "RLIMIT", "CURRENT", "MAXIMUM"));
        for limit in limits {
            out.push_str(&format!(
                "  {:>10}   {}   {}\n",
                limit.resource,
                amount(limit.current),
                amount(limit.maximum)
            ));
        }
        out.push('\n');
    }
}

/// What the tasks may use.
pub(super) fn limits(
    kernel: &Kernel,
    chosen: &Chosen,
    out: &mut Output,
) -> Result<(), CommandError> {
    for task in chosen.iter() {
        let limits = match task.signal {
            Known::Value(signal) => kernel.resource_limits(signal).into(),
            Known::Guessed(_, why) | Known::Unavailable(why) => Known::Unavailable(why),
        };
        let named = |limits: Vec<ResourceLimit>| {
            let limits = limits.into_iter().enumerate();
            let named = limits.map(|(index, limit)| Limit {
                resource: RESOURCES.get(index).copied().unwrap_or("(unknown)"),
                current: limit.current,
                maximum: limit.maximum,
            });
            named.collect()
        };
        out.emit(&Limits { task: task.header(), limits: limits.map(named) })?;
    }
    Ok(())
}
