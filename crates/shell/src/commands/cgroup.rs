//! `cgroup`: control groups, their tasks and their controllers. Crash has no such command.

use crate::arguments::Arguments;
use crate::columns::{ADDRESS, centered};
use crate::command::{Command, CommandError, flag};
use crate::known::Known;
use crate::output::{Output, Render, Style};
use crate::session::Session;
use crate::task_header::{Hex, TaskHeader};
use mortis_kernel::Kernel;
use mortis_kernel::cgroups::{Cgroup, Hierarchy};
use mortis_kernel::error::KernelError;
use mortis_kernel::tasks::Task;
use mortis_memory::VirtAddr;
use serde::Serialize;

/// `cgroup`.
pub const COMMAND: Command = Command {
    name: "cgroup",
    aliases: &[],
    summary: "control groups: hierarchies, controllers, tasks",
    synopsis: "[-c] [-t] [path | address]... | -p [pid | task]...",
    options: &[
        flag('c', "what each controller keeps for the group, with its css id"),
        flag('t', "the tasks of the group"),
        flag('p', "the groups of these tasks, as /proc/PID/cgroup tells them"),
    ],
    help: "\
Without an argument every group of every hierarchy: its struct cgroup, the number of its directory,
the number of tasks in it (not in the groups within it), and its path. Hierarchy 0 is that of
version 2. A path or the address of a struct cgroup chooses groups; with -p without a task the
task in focus.

Examples:
  cgroup
  cgroup -t /lab
  cgroup -c /
  cgroup -p 1",
    run,
};

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let (hierarchies, mut damage) = kernel.cgroup_hierarchies()?;
    if arguments.has('p') {
        let tasks: Vec<Task> = match arguments.words.is_empty() {
            true => vec![session.context()?],
            false => {
                arguments.words.iter().map(|word| session.task(word)).collect::<Result<_, _>>()?
            }
        };
        for task in tasks {
            out.emit(&TaskGroups::read(kernel, &hierarchies, task))?;
        }
    } else {
        let details = Details { states: arguments.has('c'), tasks: arguments.has('t') };
        let mut found = vec![false; arguments.words.len()];
        for hierarchy in &hierarchies {
            let (groups, wrong) = kernel.cgroups_below(hierarchy.root)?;
            damage = damage.or(wrong);
            let groups = groups.into_iter().filter(|group| {
                let position = arguments.words.iter().position(|word| is_meant(group, word));
                position.map(|position| found[position] = true).is_some() || found.is_empty()
            });
            let groups: Vec<Cgroup> = groups.collect();
            if groups.is_empty() {
                continue;
            }
            out.emit(&HierarchyReport::new(hierarchy))?;
            for group in groups {
                out.check()?;
                let report = GroupReport::new(kernel, hierarchy.id, group, &details, &mut damage);
                out.emit(&report)?;
            }
        }
        let missing = found.iter().position(|found| !found);
        if let Some(word) = missing.and_then(|position| arguments.words.get(position)) {
            return Err(CommandError::Message(format!("no control group: {word}")));
        }
    }
    if let Some(error) = damage {
        out.warn(format_args!("not every control group could be read: {error}"));
    }
    Ok(())
}

/// Whether `word` is the path or the address of `group`.
fn is_meant(group: &Cgroup, word: &str) -> bool {
    if let Some(path) = word.strip_prefix('/') {
        let path = path.trim_end_matches('/');
        return group.path.as_ref().is_ok_and(|known| known.trim_start_matches('/') == path);
    }
    let digits = word.strip_prefix("0x").unwrap_or(word);
    u64::from_str_radix(digits, 16).is_ok_and(|address| VirtAddr(address) == group.address)
}

/// What is to be shown of each group.
struct Details {
    states: bool,
    tasks: bool,
}

/// A hierarchy.
#[derive(Serialize)]
struct HierarchyReport {
    cgroup_root: Hex,
    hierarchy: u64,
    /// 1 or 2.
    version: u32,
    controllers: Vec<String>,
    name: String,
}

impl HierarchyReport {
    fn new(hierarchy: &Hierarchy) -> Self {
        Self {
            cgroup_root: Hex(hierarchy.address.0),
            hierarchy: hierarchy.id,
            version: if hierarchy.id == 0 { 2 } else { 1 },
            controllers: hierarchy.controllers.clone(),
            name: hierarchy.name.clone(),
        }
    }
}

impl Render for HierarchyReport {
    fn render(&self, out: &mut String, style: Style) {
        let heading = format!(
            "HIERARCHY: {}  CGROUP_ROOT: {:x}  VERSION: {}",
            self.hierarchy, self.cgroup_root.0, self.version
        );
        out.push_str(&style.heading(&heading));
        if !self.name.is_empty() {
            out.push_str(&format!("  NAME: {}", self.name));
        }
        if !self.controllers.is_empty() {
            out.push_str(&format!("  CONTROLLERS: {}", self.controllers.join(",")));
        }
        out.push_str(&format!(
            "\n{}  {:>10}  {:>7}  PATH\n",
            centered("CGROUP", ADDRESS),
            "ID",
            "TASKS"
        ));
    }
}

/// What a controller keeps for a group.
#[derive(Serialize)]
struct StateReport {
    controller: String,
    css: Hex,
    css_id: Known<i64>,
}

/// A group.
#[derive(Serialize)]
struct GroupReport {
    hierarchy: u64,
    cgroup: Hex,
    id: Known<u64>,
    task_count: Known<u64>,
    path: Known<String>,
    depth: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    controllers: Option<Vec<StateReport>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<Vec<TaskHeader>>,
}

impl GroupReport {
    fn new(
        kernel: &Kernel,
        hierarchy: u64,
        group: Cgroup,
        details: &Details,
        damage: &mut Option<KernelError>,
    ) -> Self {
        let states = details.states.then(|| {
            let states = kernel.controller_states(group.address).unwrap_or_else(|error| {
                damage.get_or_insert(error);
                Vec::new()
            });
            let report = |state: mortis_kernel::cgroups::ControllerState| StateReport {
                controller: state.controller,
                css: Hex(state.address.0),
                css_id: state.id.into(),
            };
            states.into_iter().map(report).collect()
        });
        let tasks = details.tasks.then(|| {
            let (tasks, wrong) = kernel.cgroup_tasks(group.address);
            if let Some(error) = wrong {
                damage.get_or_insert(error);
            }
            tasks.into_iter().map(|task| TaskHeader::read(kernel, task)).collect()
        });
        Self {
            hierarchy,
            cgroup: Hex(group.address.0),
            id: group.id.into(),
            task_count: group.tasks.into(),
            path: group.path.into(),
            depth: group.depth,
            controllers: states,
            tasks,
        }
    }
}

impl Render for GroupReport {
    fn render(&self, out: &mut String, style: Style) {
        let Self { cgroup, id, task_count, path, .. } = self;
        let path = style.name(&path.to_string());
        out.push_str(&format!("{:<16x}  {id:>10}  {task_count:>7}  {path}\n", cgroup.0));
        for StateReport { controller, css, css_id } in self.controllers.iter().flatten() {
            out.push_str(&format!("    {controller:<12}  CSS: {:x}  CSS ID: {css_id}\n", css.0));
        }
        for task in self.tasks.iter().flatten() {
            out.push_str("    ");
            task.render(out, style);
        }
    }
}

/// A group that a task is in.
#[derive(Serialize)]
struct Membership {
    hierarchy: u64,
    controllers: Vec<String>,
    cgroup: Hex,
    path: Known<String>,
}

/// The groups of a task.
#[derive(Serialize)]
struct TaskGroups {
    #[serde(flatten)]
    task: TaskHeader,
    cgroups: Known<Vec<Membership>>,
}

impl TaskGroups {
    fn read(kernel: &Kernel, hierarchies: &[Hierarchy], task: Task) -> Self {
        let groups = kernel.cgroups_of_task(task).map(|groups| {
            let known = groups.into_iter().filter_map(|(root, cgroup)| {
                let hierarchy = hierarchies.iter().find(|known| known.address == root)?;
                let mut controllers = hierarchy.controllers.clone();
                if hierarchy.id == 0 {
                    controllers.clear();
                } else if !hierarchy.name.is_empty() {
                    controllers.push(format!("name={}", hierarchy.name));
                }
                let path = kernel.cgroup_path(cgroup).into();
                Some(Membership {
                    hierarchy: hierarchy.id,
                    controllers,
                    cgroup: Hex(cgroup.0),
                    path,
                })
            });
            let mut known: Vec<Membership> = known.collect();
            // As /proc/PID/cgroup: the hierarchy that was mounted last first, version 2 last.
            known.sort_by_key(|membership| std::cmp::Reverse(membership.hierarchy));
            known
        });
        Self { task: TaskHeader::read(kernel, task), cgroups: groups.into() }
    }
}

impl Render for TaskGroups {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        let groups = match &self.cgroups {
            Known::Value(groups) | Known::Guessed(groups, _) => groups,
            Known::Unavailable(why) => {
                out.push_str(&format!("<{why}>\n"));
                return;
            }
        };
        for Membership { hierarchy, controllers, path, .. } in groups {
            out.push_str(&format!("{hierarchy}:{}:{path}\n", controllers.join(",")));
        }
    }
}
