//! `sig`: how tasks handle signals, and which wait for them.

mod names;

use super::task::named_tasks;
use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::known::Known;
use crate::number;
use crate::output::{Output, Render, Rendered, Style};
use crate::session::Session;
use crate::task_header::{Hex, TaskHeader};
use mortis_kernel::Kernel;
use mortis_kernel::scan;
use mortis_kernel::signals::{PendingSignals, SignalAction};
use mortis_kernel::tasks::Task;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;
use std::fmt::Write;

/// `sig`.
pub const COMMAND: Command = Command {
    name: "sig",
    aliases: &[],
    summary: "how tasks handle signals, and which wait for them",
    synopsis: "[[-l] | [-s sigset]] | [-g] [pid | taskp] ...",
    options: &[
        flag('l', "the numbers and names of all signals"),
        value('s', "sigset", "the names of the signals in a set: a number in hexadecimal"),
        flag('g', "all threads of the group: what they share, then each"),
        value('R', "reference", "accepted, and refused as by crash"),
    ],
    help: "SIGPENDING says whether a signal waits that the task does not block.\n\n\
           Examples:\n  sig 1\n  sig -g 191\n  sig -s 800A000000000201\n  foreach user sig",
    run,
};

/// How one signal is handled.
#[derive(Clone, Serialize)]
struct Action {
    signal: u64,
    name: String,
    sigaction: Hex,
    handler: Hex,
    mask: Hex,
    flags: Hex,
    flag_names: Vec<&'static str>,
}

/// `SA_…` of include/uapi/asm-generic/signal-defs.h and arch/x86/include/uapi/asm/signal.h, in
/// the order in which crash names them.
const ACTION_FLAGS: &[(u64, &str)] = &[
    (0x1, "SA_NOCLDSTOP"),
    (0x0400_0000, "SA_RESTORER"),
    (0x2, "SA_NOCLDWAIT"),
    (0x4, "SA_SIGINFO"),
    (0x0800_0000, "SA_ONSTACK"),
    (0x1000_0000, "SA_RESTART"),
    (0x4000_0000, "SA_NODEFER"),
    (0x8000_0000, "SA_RESETHAND"),
];

impl Action {
    fn new(signal: u64, action: &SignalAction) -> Self {
        let flags = ACTION_FLAGS.iter().filter(|(bit, _)| action.flags & bit != 0);
        Self {
            signal,
            name: names::name(signal),
            sigaction: Hex(action.address.0),
            handler: Hex(action.handler),
            mask: Hex(action.mask),
            flags: Hex(action.flags),
            flag_names: flags.map(|(_, name)| *name).collect(),
        }
    }

    fn render(&self, out: &mut String) {
        let handler = match self.handler.0 {
            0 => "SIG_DFL".to_owned(),
            1 => "SIG_IGN".to_owned(),
            u64::MAX => "SIG_ERR".to_owned(),
            address => format!("{address:x}"),
        };
        let _ = write!(
            out,
            "{:>4} {:x} {handler:>10} {:016x} {:x} ",
            format!("[{}]", self.signal),
            self.sigaction.0,
            self.mask.0,
            self.flags.0
        );
        if !self.flag_names.is_empty() {
            let _ = write!(out, "({})", self.flag_names.join("|"));
        }
        out.push('\n');
    }
}

/// Signals that wait.
#[derive(Serialize)]
struct Pending {
    signals: Known<Hex>,
    queue: Vec<Queued>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

#[derive(Serialize)]
struct Queued {
    signal: i64,
    siginfo: Hex,
}

impl Pending {
    fn new(pending: &PendingSignals) -> Self {
        let queue = pending.queue.iter();
        Self {
            signals: pending.set.clone().map(Hex).into(),
            queue: queue
                .map(|(signal, info)| Queued { signal: *signal, siginfo: Hex(info.0) })
                .collect(),
            damage: pending.damage.as_ref().map(ToString::to_string),
        }
    }

    fn render(&self, heading: &str, indent: &str, out: &mut String) {
        let _ = write!(out, "{heading}{indent}    SIGNAL: {}\n{indent}", set(&self.signals));
        if self.queue.is_empty() {
            out.push_str("  SIGQUEUE: (empty)\n");
        } else {
            let _ = writeln!(out, "  SIGQUEUE:  SIG  {:^16}", "SIGINFO");
        }
        for queued in &self.queue {
            let _ = writeln!(out, "             {:3}  {:x}", queued.signal, queued.siginfo.0);
        }
    }
}

fn set(set: &Known<Hex>) -> String {
    match set {
        Known::Value(set) => format!("{:016x}", set.0),
        other => other.clone().map(|_| "").to_string(),
    }
}

/// What the threads of a process share.
#[derive(Serialize)]
struct Shared {
    signal_struct: Known<Hex>,
    threads: Known<u64>,
    actions: Known<Vec<Action>>,
    shared_pending: Option<Pending>,
}

impl Shared {
    fn render_actions(&self, out: &mut String) {
        let address = match &self.signal_struct {
            Known::Value(address) => format!("{:x}", address.0),
            other => other.clone().map(|_| "").to_string(),
        };
        let _ = write!(out, "SIGNAL_STRUCT: {address}  ");
        if self.is_gone() {
            out.push('\n');
            return;
        }
        let _ = writeln!(
            out,
            "NR_THREADS: {}\n SIG {:^16} {:>10} {:^16} {:<16}",
            self.threads, "SIGACTION", "HANDLER", "MASK", "FLAGS"
        );
        match self.actions.value() {
            Some(actions) => actions.iter().for_each(|action| action.render(out)),
            None => {
                let _ = writeln!(out, " {}", self.actions.clone().map(|_| ""));
            }
        }
    }

    /// A process that has gone shares nothing.
    fn is_gone(&self) -> bool {
        self.shared_pending.is_none()
    }

    fn render_pending(&self, out: &mut String) {
        if let Some(pending) = &self.shared_pending {
            pending.render("SHARED_PENDING\n", "", out);
        }
    }
}

/// A task's own part.
#[derive(Serialize)]
struct Own {
    sigpending: Known<bool>,
    blocked: Known<Hex>,
    private_pending: Pending,
}

impl Own {
    fn render(&self, indent: &str, out: &mut String) {
        let pending = match &self.sigpending {
            Known::Value(true) => "yes".to_owned(),
            Known::Value(false) => "no".to_owned(),
            other => other.clone().map(|_| "").to_string(),
        };
        let _ = writeln!(
            out,
            "{indent}SIGPENDING: {pending}\n{indent}   BLOCKED: {}",
            set(&self.blocked)
        );
        self.private_pending.render(&format!("{indent}PRIVATE_PENDING\n"), indent, out);
    }
}

/// One task's signals.
#[derive(Serialize)]
struct TaskSignals {
    #[serde(flatten)]
    task: TaskHeader,
    #[serde(flatten)]
    shared: Shared,
    #[serde(flatten)]
    own: Option<Own>,
}

impl Render for TaskSignals {
    fn render(&self, out: &mut String, style: Style) {
        self.task.render(out, style);
        self.shared.render_actions(out);
        // Of a process that has gone, crash says no more.
        if let Some(own) = self.own.as_ref().filter(|_| !self.shared.is_gone()) {
            own.render("", out);
            self.shared.render_pending(out);
        }
    }
}

/// The signals of a group of threads.
#[derive(Serialize)]
struct GroupSignals {
    #[serde(flatten)]
    leader: TaskHeader,
    #[serde(flatten)]
    shared: Shared,
    threads_of_group: Vec<Thread>,
}

#[derive(Serialize)]
struct Thread {
    #[serde(flatten)]
    task: TaskHeader,
    #[serde(flatten)]
    own: Option<Own>,
}

impl Render for GroupSignals {
    fn render(&self, out: &mut String, style: Style) {
        self.leader.render(out, style);
        self.shared.render_actions(out);
        self.shared.render_pending(out);
        for thread in &self.threads_of_group {
            out.push_str("\n  ");
            thread.task.render(out, style);
            if let Some(own) = &thread.own {
                own.render("  ", out);
            }
        }
        out.push('\n');
    }
}

fn read(kernel: &Kernel, task: Task) -> (Shared, Option<Own>) {
    let process = kernel.process_signals(task);
    let own = kernel.task_signals(task).ok();
    let own = own.map(|own| Own {
        sigpending: process
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|process| own.is_pending(&process.pending))
            .into(),
        blocked: own.blocked.clone().map(Hex).into(),
        private_pending: Pending::new(&own.pending),
    });
    let shared = match process {
        Ok(process) => Shared {
            signal_struct: Known::Value(Hex(process.address.0)),
            threads: process.threads.clone().into(),
            actions: process
                .actions
                .clone()
                .map(|actions| {
                    let numbered = actions.iter().zip(1..);
                    numbered.map(|(action, signal)| Action::new(signal, action)).collect()
                })
                .into(),
            shared_pending: (!process.address.is_null()).then(|| Pending::new(&process.pending)),
        },
        Err(error) => Shared {
            signal_struct: Err(error.clone()).into(),
            threads: Err(error.clone()).into(),
            actions: Err(error).into(),
            shared_pending: None,
        },
    };
    (shared, own)
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    if let Some(word) = arguments.value('s') {
        let set = number::address(word)
            .ok_or_else(|| CommandError::Message(format!("invalid input: \"{word}\"")))?;
        return names::explain(set, out);
    }
    if arguments.has('l') {
        return names::list(out);
    }
    if arguments.has('R') {
        return Err(CommandError::message("-R not supported yet"));
    }
    let (tasks, invalid) = named_tasks(session, &arguments.words)?;
    match arguments.has('g') {
        true => show_groups(session, &tasks, false, out)?,
        false => show(session, &tasks, Place::BehindEach, out)?,
    }
    invalid.map_or(Ok(()), Err)
}

/// For `foreach`: `sig` with these options for each of `tasks`.
///
/// # Errors
/// When it was called wrongly. What is wrong with one task stands in its answer.
pub fn run_for(
    session: &Session,
    tasks: &[Task],
    arguments: &Arguments,
    out: &mut Output,
) -> Result<(), CommandError> {
    if arguments.has('l') || arguments.has('s') {
        return Err(CommandError::message("sig: -l and -s options are not applicable"));
    }
    if arguments.has('R') {
        return Err(CommandError::message("-R not supported yet"));
    }
    match arguments.has('g') {
        true => show_groups(session, tasks, true, out),
        false => show(session, tasks, Place::Between, out),
    }
}

/// Where empty lines go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    BehindEach,
    Between,
}

/// What is damaged is told once.
#[derive(Default)]
struct Damage {
    first: Option<String>,
    tasks: u64,
}

impl Damage {
    fn note(&mut self, task: Task, pending: [Option<&Pending>; 2]) {
        let damage = pending.into_iter().flatten().find_map(|pending| pending.damage.as_ref());
        if let Some(damage) = damage {
            self.tasks += 1;
            self.first.get_or_insert_with(|| format!("task {:x}: {damage}", task.address));
        }
    }

    fn warn(self, out: &mut Output) {
        match (self.first, self.tasks) {
            (Some(first), 1) => out.warn(first),
            (Some(first), tasks) => out.warn(format!("{first}; and {} more like it", tasks - 1)),
            (None, _) => {}
        }
    }
}

fn show(
    session: &Session,
    tasks: &[Task],
    empty_lines: Place,
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let progress = out.progress("sig");
    progress.expect(tasks.len() as u64);
    let (face, style) = (out.face(), out.style());
    let mut damage = Damage::default();
    let mut begun = false;
    scan::in_order(
        tasks.iter().copied(),
        |task| {
            progress.advance(1)?;
            let (shared, own) = read(kernel, task);
            let mut damage = Damage::default();
            let private = own.as_ref().map(|own| &own.private_pending);
            damage.note(task, [shared.shared_pending.as_ref(), private]);
            let item = TaskSignals { task: TaskHeader::read(kernel, task), shared, own };
            Ok((Rendered::new(item, face, style), damage))
        },
        |answer: mortis_kernel::error::Result<_>| -> Result<(), CommandError> {
            let (item, found) = answer?;
            damage.tasks += found.tasks;
            damage.first = damage.first.take().or(found.first);
            if std::mem::replace(&mut begun, true) && empty_lines == Place::Between {
                out.layout("\n")?;
            }
            out.emit(&item)?;
            match empty_lines {
                Place::BehindEach => Ok(out.layout("\n")?),
                Place::Between => Ok(()),
            }
        },
    )?;
    damage.warn(out);
    Ok(())
}

fn show_groups(
    session: &Session,
    tasks: &[Task],
    each_once: bool,
    out: &mut Output,
) -> Result<(), CommandError> {
    let kernel = &*session.kernel;
    let mut groups: FxHashMap<u32, Vec<Task>> = FxHashMap::default();
    for &task in &kernel.tasks().tasks {
        out.check()?;
        let tgid = task.tgid(kernel).unwrap_or(task.pid);
        groups.entry(tgid).or_default().push(task);
    }
    let mut shown = FxHashSet::default();
    let mut damage = Damage::default();
    for &task in tasks {
        let tgid = task.tgid(kernel).unwrap_or(task.pid);
        // The idle tasks are a group of their own.
        if (each_once || tgid == 0) && !shown.insert(tgid) {
            continue;
        }
        let members = groups.get(&tgid).map_or(&[][..], Vec::as_slice);
        let leader = members.iter().copied().find(|member| member.pid == tgid).unwrap_or(task);
        let (shared, own) = read(kernel, leader);
        damage.note(leader, [shared.shared_pending.as_ref(), None]);
        let thread = |task: Task, own| Thread { task: TaskHeader::read(kernel, task), own };
        let mut threads = vec![thread(leader, own)];
        for &member in members.iter().filter(|member| member.address != leader.address) {
            out.check()?;
            let (_, own) = read(kernel, member);
            damage.note(member, [own.as_ref().map(|own| &own.private_pending), None]);
            threads.push(thread(member, own));
        }
        let leader = TaskHeader::read(kernel, leader);
        out.emit(&GroupSignals { leader, shared, threads_of_group: threads })?;
    }
    damage.warn(out);
    Ok(())
}
