//! `ps`: the tasks, and what each does, is, has and may.

mod listing;
mod policy;
mod process;
mod relations;
pub mod selection;
mod times;

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::output::Output;
use crate::session::Session;
use crate::task_facts::{self, Facts};
use mortis_kernel::task_reader::TaskReader;
use mortis_kernel::tasks::Task;
use mortis_memory::VirtAddr;
use rustc_hash::FxHashSet;
use selection::Selector;
use std::cmp::Reverse;
use std::sync::Arc;

/// `ps`.
pub const COMMAND: Command = Command {
    name: "ps",
    aliases: &[],
    summary: "the tasks, and what each does",
    synopsis: "[-k|-u|-G|-I|-y policy] [-s] [-p|-c|-t|-[l|m][-C cpu]|-a|-g|-r|-S|-A|-Y] [-H]\n     \
               [pid | task | command | 'expression']...",
    options: &[
        flag('k', "kernel threads only"),
        flag('u', "user tasks only"),
        flag('G', "thread group leaders only"),
        flag('I', "all but the idle tasks"),
        value('y', "policy", "only tasks of these scheduling policies: names or numbers"),
        flag('s', "the kernel stack pointer instead of the task's address"),
        flag('p', "each task's ancestors"),
        flag('c', "each task's children"),
        flag('t', "run time, start time, user and system time"),
        flag('l', "the last to run first, with the time stamp of its last arrival on a CPU"),
        flag('m', "the last to run first, with the time since"),
        value('C', "cpus", "with -l and -m: by CPU"),
        flag('a', "arguments and environment"),
        flag('g', "by thread group"),
        flag('r', "resource limits"),
        flag('S', "how many tasks are in which state"),
        flag('A', "only what was running on a CPU"),
        flag('Y', "scheduling policy and priority"),
        flag('H', "no heading"),
    ],
    help: "A > marks the tasks that were running. VSZ and RSS are in KiB; names of kernel threads \
           stand in brackets.\nA word is a process id, the address of a task_struct, a name, or \
           in single quotes a regular expression; a \\ makes a name of a number.\n\
           `last` is ps -l.\n\n\
           Examples:\n  ps -u\n  ps 1 life-pipe\n  ps 'kworker/0.*'\n  ps -m -C 0\n  ps -G -r crasher",
    run,
};

/// What of each task is wanted. These exclude one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Listing,
    Active,
    Policies,
    Summary,
    Parents,
    Children,
    ThreadGroups,
    Times,
    LastRun,
    SinceRun,
    Arguments,
    Limits,
}

const MODES: &[(char, Mode)] = &[
    ('a', Mode::Arguments),
    ('t', Mode::Times),
    ('c', Mode::Children),
    ('p', Mode::Parents),
    ('g', Mode::ThreadGroups),
    ('l', Mode::LastRun),
    ('m', Mode::SinceRun),
    ('S', Mode::Summary),
    ('r', Mode::Limits),
    ('A', Mode::Active),
    ('Y', Mode::Policies),
];

impl Mode {
    /// Whether one task's answer takes all tasks.
    fn needs_all(self) -> bool {
        matches!(self, Mode::Children | Mode::ThreadGroups | Mode::LastRun | Mode::SinceRun)
    }
}

/// What `ps` was asked for.
pub(crate) struct Request {
    mode: Mode,
    kernel_only: bool,
    user_only: bool,
    leaders_only: bool,
    exclude_idle: bool,
    stack_pointer: bool,
    heading: bool,
    /// One bit for each scheduling policy that is wanted.
    policies: Option<u64>,
    cpus: Option<Vec<u32>>,
}

/// The tasks to show: indices of those that were read, in the order of the answer.
struct Chosen {
    facts: Arc<Vec<Facts>>,
    indices: Vec<usize>,
    /// Whether single tasks were asked for.
    specified: bool,
    /// The tasks that were on a CPU.
    running: FxHashSet<VirtAddr>,
}

impl Chosen {
    fn iter(&self) -> impl Iterator<Item = &Facts> {
        self.indices.iter().filter_map(|&index| self.facts.get(index))
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    Request::parse(session, arguments)?.run(session, &arguments.words, out)
}

impl Request {
    /// Understands the options.
    ///
    /// # Errors
    /// Options that exclude one another, or have wrong values.
    pub(crate) fn parse(session: &Session, arguments: &Arguments) -> Result<Self, CommandError> {
        if arguments.has('k') && arguments.has('u') {
            return Err(CommandError::message("-u and -k are mutually exclusive"));
        }
        let mut modes = MODES.iter().filter(|(letter, _)| arguments.has(*letter));
        let mode = modes.next().map_or(Mode::Listing, |(_, mode)| *mode);
        if modes.next().is_some() {
            return Err(CommandError::message(
                "-a, -t, -c, -p, -g, -l, -m, -S, -r, -A and -Y flags are all mutually-exclusive",
            ));
        }
        if arguments.has('G') && matches!(mode, Mode::LastRun | Mode::SinceRun) {
            let letter = if mode == Mode::LastRun { 'l' } else { 'm' };
            return Err(CommandError::Message(format!("-G not supported with -{letter} option")));
        }
        if mode == Mode::Summary && ['k', 'u', 'G', 'I', 'y'].iter().any(|&o| arguments.has(o)) {
            return Err(CommandError::message("-S option cannot be used with other options"));
        }
        let cpus = arguments.value('C').map(|list| session.cpus(list)).transpose()?;
        Ok(Self {
            mode,
            kernel_only: arguments.has('k'),
            user_only: arguments.has('u'),
            leaders_only: arguments.has('G'),
            exclude_idle: arguments.has('I'),
            stack_pointer: arguments.has('s'),
            heading: !arguments.has('H'),
            policies: arguments.value('y').map(policy::parse).transpose()?,
            cpus,
        })
    }

    /// Answers for the tasks that `words` name, or for all.
    fn run(
        &self,
        session: &Session,
        words: &[String],
        out: &mut Output,
    ) -> Result<(), CommandError> {
        if self.cpus.is_some() && !matches!(self.mode, Mode::LastRun | Mode::SinceRun) {
            return Err(CommandError::message("-C option is only applicable with -l and -m"));
        }
        if words.is_empty() {
            return self.show(session, None, out);
        }
        if self.mode == Mode::Summary {
            return Err(CommandError::message("-S option takes no arguments"));
        }
        if self.cpus.is_some() {
            out.warn("-C option is not applicable with specified tasks");
        }
        let (mut selectors, mut wrong) = (Vec::new(), None);
        for word in words {
            match Selector::parse(session, word) {
                Ok(selector) => selectors.push(selector),
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        self.show(session, Some(&selectors), out)?;
        wrong.map_or(Ok(()), Err)
    }

    /// Answers for `tasks`.
    pub(crate) fn run_for(
        &self,
        session: &Session,
        tasks: &[Task],
        out: &mut Output,
    ) -> Result<(), CommandError> {
        let selectors: Vec<Selector> = tasks.iter().copied().map(Selector::Task).collect();
        self.show(session, Some(&selectors), out)
    }

    fn show(
        &self,
        session: &Session,
        selectors: Option<&[Selector]>,
        out: &mut Output,
    ) -> Result<(), CommandError> {
        let kernel = &*session.kernel;
        report_problems(session, out);
        let reader = TaskReader::new(kernel)?;
        let chosen = self.choose(session, &reader, selectors, out)?;
        match self.mode {
            Mode::Listing | Mode::Active => listing::tasks(self, kernel, &chosen, out),
            Mode::Policies => listing::policies(self, kernel, &chosen, out),
            Mode::Summary => listing::summary(&chosen, out),
            Mode::Parents => relations::parents(kernel, &chosen, out),
            Mode::Children => relations::children(&chosen, out),
            Mode::ThreadGroups => relations::thread_groups(&chosen, out),
            Mode::Times => times::times(kernel, &chosen, out),
            Mode::LastRun => times::last_run(self, session, &chosen, out),
            Mode::SinceRun => times::since_run(self, kernel, &chosen, out),
            Mode::Arguments => process::arguments(kernel, &chosen, out),
            Mode::Limits => process::limits(kernel, &chosen, out),
        }
    }

    fn choose(
        &self,
        session: &Session,
        reader: &TaskReader<'_>,
        selectors: Option<&[Selector]>,
        out: &mut Output,
    ) -> Result<Chosen, CommandError> {
        let list = session.kernel.tasks();
        let named = Named::new(selectors.unwrap_or_default());
        let by_name = named.others.iter().any(|selector| selector.needs_name());
        let all = selectors.is_none() || by_name || self.leaders_only || self.mode.needs_all();
        let facts = match session.task_facts.get() {
            Some(facts) => Arc::clone(facts),
            None if all => task_facts::all(session, reader, out)?,
            None => {
                let tasks = list.tasks.iter().copied();
                let tasks: Vec<Task> = tasks.filter(|task| named.selects(*task, None)).collect();
                Arc::new(task_facts::read(reader, &tasks, out)?)
            }
        };
        let running = session
            .running_tasks()
            .into_iter()
            .map(|(_, task)| task.address)
            .chain(session.kernel.panic_task().map(|task| task.address));
        let idle = list.tasks[..list.idle].iter().map(|task| task.address).collect();
        let mut chosen = Chosen {
            facts,
            indices: Vec::new(),
            specified: selectors.is_some(),
            running: running.collect(),
        };
        chosen.indices = self.filter(&chosen, selectors.map(|_| &named), &idle);
        if matches!(self.mode, Mode::LastRun | Mode::SinceRun) {
            chosen.indices.sort_by_key(|&index| Reverse(chosen.facts[index].last_run()));
        }
        Ok(chosen)
    }

    fn filter(
        &self,
        chosen: &Chosen,
        named: Option<&Named<'_>>,
        idle: &FxHashSet<VirtAddr>,
    ) -> Vec<usize> {
        let groups = self.leaders_only || self.mode == Mode::ThreadGroups;
        let facts = &chosen.facts;
        let is_named = |task: &Facts| {
            let comm = task.comm.value().map(String::as_str);
            // Asked for by name, a group is asked for by its leader's.
            let comm = comm.filter(|_| !groups || task.is_leader());
            named.is_none_or(|named| named.selects(task.task, comm))
        };
        let has_policy = |task: &Facts, mask: u64| {
            task.policy.value().is_some_and(|&policy| policy < 64 && mask >> policy & 1 != 0)
        };
        let only_running = self.mode == Mode::Active && !chosen.specified;
        let wanted = |task: &Facts| {
            let unwanted = self.user_only && task.is_kernel
                || self.kernel_only && !task.is_kernel
                || self.exclude_idle && idle.contains(&task.task.address)
                || self.policies.is_some_and(|mask| !has_policy(task, mask))
                || only_running && !chosen.running.contains(&task.task.address);
            !unwanted && is_named(task)
        };
        let indices = (0..facts.len()).filter(|&index| wanted(&facts[index]));
        if !self.leaders_only {
            return indices.collect();
        }
        let mut seen = FxHashSet::default();
        let leader = |index: usize| {
            if facts[index].is_leader() {
                return Some(index);
            }
            // A thread that was asked for stands for its group; else it is just left out.
            let tgid = facts[index].tgid.value().filter(|_| chosen.specified)?;
            facts.iter().position(|task| task.task.pid == *tgid)
        };
        indices.filter_map(leader).filter(|index| seen.insert(*index)).collect()
    }
}

/// Selectors sorted so that many tasks asked for by address are found at once.
struct Named<'a> {
    addresses: FxHashSet<VirtAddr>,
    others: Vec<&'a Selector>,
}

impl<'a> Named<'a> {
    fn new(selectors: &'a [Selector]) -> Self {
        let (mut addresses, mut others) = (FxHashSet::default(), Vec::new());
        for selector in selectors {
            match selector {
                Selector::Task(task) => {
                    addresses.insert(task.address);
                }
                other => others.push(other),
            }
        }
        Self { addresses, others }
    }

    fn selects(&self, task: Task, comm: Option<&str>) -> bool {
        self.addresses.contains(&task.address)
            || self.others.iter().any(|selector| selector.selects(task, comm))
    }
}

/// Says once what was in the way of finding tasks.
fn report_problems(session: &Session, out: &mut Output) {
    let list = session.kernel.tasks();
    let Some(first) = list.problems.first() else { return };
    let more = match list.problems.len() {
        1 => String::new(),
        count => format!(" (and {} more such problems)", count - 1),
    };
    let recovered = match list.recovered {
        0 => "some tasks may be missing".to_owned(),
        count => format!("{count} tasks were found in the table of process ids instead"),
    };
    out.warn(format!("the task list is damaged: {first}{more}; {recovered}"));
}
