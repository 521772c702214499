//! `foreach`: another command for each of many tasks.

use super::ps::Request;
use super::ps::selection::{self, Selector, is_number, quoted};
use super::{bt, files, net, sig, task, vm};
use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::commands;
use crate::output::{Output, Stop};
use crate::session::Session;
use crate::task_facts::{Facts, FactsReader};
use crate::task_header::TaskHeader;
use mortis_kernel::tasks::{Task, TaskState};
use mortis_memory::VirtAddr;
use rustc_hash::FxHashSet;

/// What the options are for.
const GIVEN_ON: &str = "given on to the command";

/// `foreach`.
pub const COMMAND: Command = Command {
    name: "foreach",
    aliases: &[],
    summary: "another command for each of many tasks",
    synopsis: "[[pid | task | name | 'expression' | state]... | user | kernel | gleader | active]\n     \
               command [options] [arguments]",
    options: &[
        flag('a', GIVEN_ON),
        flag('c', GIVEN_ON),
        flag('d', GIVEN_ON),
        flag('e', GIVEN_ON),
        flag('f', GIVEN_ON),
        flag('F', GIVEN_ON),
        flag('g', GIVEN_ON),
        flag('G', GIVEN_ON),
        flag('h', GIVEN_ON),
        flag('i', GIVEN_ON),
        flag('k', GIVEN_ON),
        flag('l', GIVEN_ON),
        flag('m', GIVEN_ON),
        flag('o', GIVEN_ON),
        flag('p', GIVEN_ON),
        flag('r', GIVEN_ON),
        flag('s', GIVEN_ON),
        flag('S', GIVEN_ON),
        flag('t', GIVEN_ON),
        flag('T', GIVEN_ON),
        flag('u', GIVEN_ON),
        flag('v', GIVEN_ON),
        flag('x', GIVEN_ON),
        value('R', "reference", "only what refers to this"),
        value('y', "policy", "ps: only tasks of these scheduling policies"),
    ],
    help: "Options are those of the command. Without a selection, all tasks are meant.\n\
           state is RU, IN, UN, ST, TR, ZO, DE, PA, WA, ID or NE; active are the tasks that were \
           running; gleader are leaders of user thread groups. A \\ makes a name of a word that \
           means something else.\n\n\
           Examples:\n  foreach bt\n  foreach UN bt -l\n  foreach 'kworker/.*' ps -m\n  \
           foreach user gleader files",
    run,
};

/// Who says which task is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heading {
    /// The command, if given a task.
    ByCommand,
    /// `foreach`, and the command works on the task in focus.
    ByForeach,
}

/// The commands that can be run for each task. `ps` shows all of them at once.
const SUBCOMMANDS: &[(&str, Heading)] = &[
    ("bt", Heading::ByCommand),
    ("files", Heading::ByCommand),
    ("net", Heading::ByCommand),
    ("ps", Heading::ByCommand),
    ("set", Heading::ByForeach),
    ("sig", Heading::ByCommand),
    ("task", Heading::ByCommand),
    (TEST, Heading::ByForeach),
    ("vm", Heading::ByCommand),
    ("vtop", Heading::ByForeach),
];

/// What crash keeps for trying something out: it says which tasks are meant, and does nothing.
const TEST: &str = "test";

/// Which tasks are meant.
#[derive(Default)]
struct Selection {
    selectors: Vec<Selector>,
    state: Option<TaskState>,
    kernel: bool,
    user: bool,
    leaders: bool,
    active: bool,
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let mut selection = Selection::default();
    let mut words = arguments.words.iter();
    let (name, heading) = loop {
        let word = words.next().ok_or_else(|| CommandError::message("no keywords specified"))?;
        match SUBCOMMANDS.iter().find(|(name, _)| name == word) {
            Some(found) => break *found,
            None => selection.add(session, word, out)?,
        }
    };
    let rest: Vec<&String> = words.collect();
    if name == TEST {
        let tasks = selection.tasks(session, out)?;
        let reader = FactsReader::new(session, &tasks, out)?;
        for (index, &task) in tasks.iter().enumerate() {
            out.layout(if index > 0 { "\n" } else { "" })?;
            out.emit(&reader.read(task).header())?;
        }
        return Ok(());
    }
    let command = commands::find(name)
        .ok_or_else(|| CommandError::Message(format!("{name}: command not available")))?;
    let tasks = selection.tasks(session, out)?;
    let options = options_of(arguments);
    let given_on = Arguments::parse(command, &options);
    match name {
        "bt" => return bt::run_for(session, &tasks, &given_on?, out),
        "files" => return files::run_for(session, &tasks, arguments, out),
        "net" => return net::run_for(session, &tasks, &given_on?, out),
        "ps" if tasks.is_empty() => return Ok(()),
        "ps" => return Request::parse(session, &given_on?)?.run_for(session, &tasks, out),
        "sig" => return sig::run_for(session, &tasks, &given_on?, out),
        "task" => return task::run_for(session, &tasks, &given_on?, out),
        "vm" => return vm::run_for(session, &tasks, &given_on?, out),
        "vtop" if rest.is_empty() => {
            return Err(CommandError::message("foreach command requires address argument"));
        }
        _ => {}
    }
    let each = Each { command, heading, options, rest };
    let focus = session.swap_context(None);
    let result = each.run(session, &tasks, out);
    session.swap_context(focus);
    result
}

/// The options as words, to be given on.
fn options_of(arguments: &Arguments) -> Vec<String> {
    let mut words = Vec::new();
    for option in COMMAND.options {
        for _ in 0..arguments.count(option.letter) {
            words.push(format!("-{}", option.letter));
            words.extend(arguments.value(option.letter).map(str::to_owned));
        }
    }
    words
}

impl Selection {
    fn add(&mut self, session: &Session, word: &str, out: &Output) -> Result<(), CommandError> {
        if is_number(word)
            && let Ok(selector) = Selector::number(session, word)
        {
            self.selectors.push(selector);
            return Ok(());
        }
        let exclusive = |other: &str| {
            CommandError::Message(format!("{other} and {word} are mutually exclusive!"))
        };
        match word.strip_prefix('\\').filter(|state| *state == "DE").unwrap_or(word) {
            "kernel" if self.leaders => return Err(exclusive("gleader")),
            "kernel" if self.user => return Err(exclusive("user")),
            "user" | "gleader" if self.kernel => return Err(exclusive("kernel")),
            "kernel" => self.kernel = true,
            "user" => self.user = true,
            "gleader" => (self.user, self.leaders) = (true, true),
            "active" => self.active = true,
            other => match selection::state(other) {
                Some(_) if self.state.is_some() => {
                    return Err(CommandError::message("only one task state allowed"));
                }
                Some(state) => self.state = Some(state),
                None => self.add_name(session, word, out)?,
            },
        }
        Ok(())
    }

    fn add_name(
        &mut self,
        session: &Session,
        word: &str,
        out: &Output,
    ) -> Result<(), CommandError> {
        if let Some(pattern) = quoted(word) {
            self.selectors.push(Selector::Matches(selection::expression(pattern)?));
            return Ok(());
        }
        let selector = Selector::name(word.strip_prefix('\\').unwrap_or(word));
        let tasks = &session.kernel.tasks().tasks;
        let reader = FactsReader::new(session, tasks, out)?;
        let exists = tasks.iter().any(|task| {
            let facts = reader.read(*task);
            facts.comm.value().is_some_and(|comm| selector.selects(*task, Some(comm)))
        });
        if !exists {
            return Err(CommandError::Message(format!("unknown argument: \"{word}\"")));
        }
        self.selectors.push(selector);
        Ok(())
    }

    fn tasks(&self, session: &Session, out: &Output) -> Result<Vec<Task>, CommandError> {
        let kernel = &*session.kernel;
        let running: FxHashSet<VirtAddr> = session
            .running_tasks()
            .into_iter()
            .map(|(_, task)| task)
            .chain(kernel.panic_task())
            .map(|task| task.address)
            .collect();
        // What its place and number tell needs no reading.
        let mut tasks = kernel.tasks().tasks.clone();
        if self.active {
            tasks.retain(|task| running.contains(&task.address));
        }
        if !self.selectors.iter().any(Selector::needs_name) {
            tasks.retain(|task| self.is_named(*task, None));
        }
        let reader = FactsReader::new(session, &tasks, out)?;
        tasks.retain(|task| self.selects(&reader.read(*task)));
        Ok(tasks)
    }

    /// Whether a selector means `task`, or there is none.
    fn is_named(&self, task: Task, comm: Option<&str>) -> bool {
        let mut selectors = self.selectors.iter();
        self.selectors.is_empty() || selectors.any(|selector| selector.selects(task, comm))
    }

    fn selects(&self, task: &Facts) -> bool {
        let unwanted = self.user && task.is_kernel
            || self.kernel && !task.is_kernel
            || self.leaders && !task.is_leader()
            || self.state.is_some() && task.state.value().copied() != self.state;
        !unwanted && self.is_named(task.task, task.comm.value().map(String::as_str))
    }
}

/// What to run for each task.
struct Each<'a> {
    command: &'static Command,
    heading: Heading,
    options: Vec<String>,
    /// Words behind the command, which only `vtop` takes.
    rest: Vec<&'a String>,
}

impl Each<'_> {
    fn run(
        &self,
        session: &mut Session,
        tasks: &[Task],
        out: &mut Output,
    ) -> Result<(), CommandError> {
        let (mut failures, mut first) = (0u64, None);
        for (index, &task) in tasks.iter().enumerate() {
            out.check()?;
            if index > 0 {
                out.layout("\n")?;
            }
            if let Err(error) = self.run_one(session, task, out) {
                match error {
                    CommandError::Stop(stop) => return Err(stop.into()),
                    // Called wrongly for one task, it is for all.
                    CommandError::Usage(usage) => return Err(CommandError::Usage(usage)),
                    error => {
                        out.layout(&format!("{}: {error}\n", self.command.name))?;
                        failures += 1;
                        first.get_or_insert(format!("task {:x}: {error}", task.address));
                    }
                }
            }
        }
        if let Some(first) = first {
            out.warn(format!(
                "{} failed for {failures} of {} tasks, first for {first}",
                self.command.name,
                tasks.len()
            ));
        }
        Ok(())
    }

    fn run_one(
        &self,
        session: &mut Session,
        task: Task,
        out: &mut Output,
    ) -> Result<(), CommandError> {
        session.set_context(task);
        let mut words = self.options.clone();
        match self.heading {
            Heading::ByCommand => words.push(format!("{:x}", task.address)),
            Heading::ByForeach => {
                let header = TaskHeader::read(&session.kernel, task);
                out.emit(&header).map_err(|stop: Stop| CommandError::from(stop))?;
                words.extend(self.rest.iter().map(|word| (*word).clone()));
                if self.command.name == super::set::COMMAND.name {
                    words.truncate(self.options.len());
                }
            }
        }
        let arguments = Arguments::parse(self.command, &words)?;
        (self.command.run)(session, &arguments, out)
    }
}
