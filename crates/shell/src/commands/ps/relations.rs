//! Whose child and whose thread each task is.

use super::Chosen;
use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::task_facts::Facts;
use crate::task_header::TaskHeader;
use mortis_kernel::Kernel;
use mortis_kernel::tasks::Task;
use mortis_memory::VirtAddr;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

/// A task's line of descent, the oldest first and the task itself last.
#[derive(Serialize)]
struct Ancestry {
    line: Vec<TaskHeader>,
}

impl Render for Ancestry {
    fn render(&self, out: &mut String, style: Style) {
        for (depth, task) in self.line.iter().enumerate() {
            out.push_str(&" ".repeat(depth));
            task.render(out, style);
        }
        out.push('\n');
    }
}

/// Each task's ancestors.
pub(super) fn parents(
    kernel: &Kernel,
    chosen: &Chosen,
    out: &mut Output,
) -> Result<(), CommandError> {
    let mut known: FxHashMap<VirtAddr, (TaskHeader, Option<VirtAddr>)> = FxHashMap::default();
    for task in chosen.facts.iter() {
        known.insert(task.task.address, (task.header(), task.parent.value().copied()));
    }
    let parent = kernel.task_struct()?.parent.clone();
    for task in chosen.iter() {
        let mut line = Vec::new();
        let mut met = FxHashSet::default();
        let mut next = Some(task.task.address);
        // The line ends at a task that is its own parent, as the first one is.
        while let Some(address) = next.filter(|address| met.insert(*address)) {
            if let Some((header, parent)) = known.get(&address) {
                line.push(header.clone());
                next = *parent;
                continue;
            }
            let Some(task) = kernel.task_by_address(address) else { break };
            let header = TaskHeader::read(kernel, task);
            let above = parent.pointer(kernel, address).ok();
            known.insert(address, (header.clone(), above));
            line.push(header);
            next = above;
        }
        line.reverse();
        out.emit(&Ancestry { line })?;
    }
    Ok(())
}

/// A task and its children.
#[derive(Serialize)]
struct Family {
    #[serde(flatten)]
    task: TaskHeader,
    children: Vec<TaskHeader>,
}

impl Render for Family {
    fn render(&self, out: &mut String, style: Style) {
        render_group(&self.task, &self.children, "children", out, style);
    }
}

fn render_group(
    head: &TaskHeader,
    members: &[TaskHeader],
    what: &str,
    out: &mut String,
    style: Style,
) {
    head.render(out, style);
    for member in members {
        out.push_str("  ");
        member.render(out, style);
    }
    if members.is_empty() {
        out.push_str(&format!("  (no {what})\n"));
    }
    out.push('\n');
}

/// Each task's children.
pub(super) fn children(chosen: &Chosen, out: &mut Output) -> Result<(), CommandError> {
    let mut by_parent: FxHashMap<VirtAddr, Vec<&Facts>> = FxHashMap::default();
    for task in chosen.facts.iter() {
        if let Some(parent) = task.parent.value() {
            by_parent.entry(*parent).or_default().push(task);
        }
    }
    for task in chosen.iter() {
        let children = by_parent.get(&task.task.address).map(Vec::as_slice).unwrap_or_default();
        let children = children.iter().map(|child| child.header()).collect();
        out.emit(&Family { task: task.header(), children })?;
    }
    Ok(())
}

/// A thread group.
#[derive(Serialize)]
struct ThreadGroup {
    #[serde(flatten)]
    leader: TaskHeader,
    threads: Vec<TaskHeader>,
}

impl Render for ThreadGroup {
    fn render(&self, out: &mut String, style: Style) {
        render_group(&self.leader, &self.threads, "threads", out, style);
    }
}

/// The thread groups of the tasks.
pub(super) fn thread_groups(chosen: &Chosen, out: &mut Output) -> Result<(), CommandError> {
    let mut by_tgid: FxHashMap<u32, Vec<&Facts>> = FxHashMap::default();
    for task in chosen.facts.iter() {
        by_tgid.entry(tgid(task)).or_default().push(task);
    }
    let mut shown = FxHashSet::default();
    for task in chosen.iter() {
        let tgid = tgid(task);
        if !task.is_leader() && !chosen.specified || !shown.insert(tgid) {
            continue;
        }
        let group = by_tgid.get(&tgid).map(Vec::as_slice).unwrap_or_default();
        // The idle tasks are one group of pid 0; the first of them leads it.
        let Some(leader) = group.iter().find(|task| task.task.pid == tgid) else { continue };
        let is_other = |task: &Task| task.address != leader.task.address;
        let threads = group.iter().filter(|task| is_other(&task.task));
        let threads = threads.map(|task| task.header()).collect();
        out.emit(&ThreadGroup { leader: leader.header(), threads })?;
    }
    Ok(())
}

fn tgid(task: &Facts) -> u32 {
    task.tgid.value().copied().unwrap_or(task.task.pid)
}
