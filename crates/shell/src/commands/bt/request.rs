//! What `bt` was asked for.

use super::COMMAND;
use super::reference::Reference;
use super::{exceptions, stack_words};
use crate::arguments::Arguments;
use crate::command::CommandError;
use crate::output::{Face, Output};
use crate::session::{Radix, Session};
use mortis_debuginfo::dwarf::{SourceFrame, SourceLine};
use mortis_kernel::Kernel;
use mortis_kernel::backtrace::{BacktraceFrame, StartAt};
use mortis_kernel::slab::SlabFinder;
use mortis_kernel::tasks::Task;
use mortis_memory::VirtAddr;
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// What is shown of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Its frames.
    Frames,
    /// `-t`: words that are text, from the first frame up.
    TextFromFrame,
    /// `-T`: words that are text.
    Text,
    /// `-r`: all words.
    Raw,
    /// `-e`: saved registers.
    Exceptions,
    /// `-E`: saved registers on the CPUs' stacks.
    CpuExceptions,
    /// `-v`: whether it overflowed.
    Overflow,
}

/// How much of the stack's content is shown with each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Content {
    /// Nothing.
    None,
    /// `-f`: numbers.
    Plain,
    /// `-F`: symbols, slab caches.
    Symbolic,
    /// `-FF`: symbols, slab caches with the objects' addresses.
    SymbolicWithAddress,
}

/// What `bt` was asked for.
pub(super) struct Request {
    pub(super) mode: Mode,
    pub(super) content: Content,
    pub(super) start: StartAt,
    pub(super) reference: Option<Reference>,
    /// `-l`
    pub(super) lines: bool,
    /// `-i`
    pub(super) inlines: bool,
    /// `-s`
    pub(super) offsets: bool,
    /// The radix of offsets of `-s`.
    pub(super) radix: Radix,
    /// The radix of other offsets.
    pub(super) session_radix: Radix,
    /// `-c`, or `all` for `-a`.
    cpus: Option<String>,
    without_idle: bool,
    panic_task: bool,
    thread_group: bool,
    json: bool,
    sources: Mutex<FxHashMap<VirtAddr, Source>>,
    /// For `-F`.
    slabs: OnceLock<Option<SlabFinder>>,
}

/// Where a frame's code was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    /// The line of its instruction, of an inlined function maybe.
    pub(super) line: Option<SourceLine>,
    /// The inlined functions, innermost first, and the real one.
    pub(super) functions: Arc<[SourceFrame]>,
}

impl Request {
    pub(super) fn parse(session: &Session, arguments: &Arguments) -> Result<Self, CommandError> {
        let usage =
            |what: &str| CommandError::Usage(format!("{what}\nUsage: bt {}", COMMAND.synopsis));
        let modes = [
            ('t', Mode::TextFromFrame),
            ('T', Mode::Text),
            ('r', Mode::Raw),
            ('e', Mode::Exceptions),
            ('E', Mode::CpuExceptions),
            ('v', Mode::Overflow),
        ];
        let mode = modes.into_iter().find(|(letter, _)| arguments.has(*letter));
        let content = match (arguments.count('F'), arguments.has('f')) {
            (0, false) => Content::None,
            (0, true) => Content::Plain,
            (1, _) => Content::Symbolic,
            _ => Content::SymbolicWithAddress,
        };
        if arguments.value('n').is_some_and(|value| value != "idle") {
            return Err(CommandError::message(
                "-n option not supported or applicable on this architecture or kernel",
            ));
        }
        if arguments.has('x') && arguments.has('d') {
            return Err(usage("-d and -x are mutually exclusive"));
        }
        if (arguments.has('l') || arguments.has('i')) && !session.kernel.has_lines() {
            return Err(CommandError::message(
                "lines and inlined calls need the kernel's vmlinux with debug information",
            ));
        }
        let address =
            |letter: char| arguments.value(letter).map(|word| session.address(word)).transpose();
        let session_radix = session.settings.radix;
        Ok(Self {
            mode: mode.map_or(Mode::Frames, |(_, mode)| mode),
            content,
            start: StartAt { ip: address('I')?, sp: address('S')? },
            reference: arguments.value('R').map(|word| Reference::parse(session, word)),
            lines: arguments.has('l'),
            inlines: arguments.has('i'),
            offsets: arguments.has('s'),
            radix: match (arguments.has('x'), arguments.has('d')) {
                (true, _) => Radix::Hexadecimal,
                (_, true) => Radix::Decimal,
                _ => session_radix,
            },
            session_radix,
            cpus: match arguments.has('a') {
                true => Some("all".to_owned()),
                false => arguments.value('c').map(str::to_owned),
            },
            without_idle: arguments.value('n').is_some(),
            panic_task: arguments.has('p'),
            thread_group: arguments.has('g'),
            json: session.settings.face == Face::Json && session.kernel.has_lines(),
            sources: Mutex::default(),
            slabs: OnceLock::new(),
        })
    }

    /// The CPUs meant; none when tasks are.
    pub(super) fn cpus(&self, session: &Session) -> Result<Option<Vec<u32>>, CommandError> {
        let Some(list) = &self.cpus else { return Ok(None) };
        let mut cpus = session.cpus(list)?;
        let present = &session.kernel.cpus()?.present;
        cpus.retain(|cpu| present.binary_search(cpu).is_ok());
        if self.without_idle {
            cpus.retain(|&cpu| session.kernel.current_task(cpu).is_ok_and(|task| task.pid != 0));
        }
        Ok(Some(cpus))
    }

    /// The tasks meant, in the order they were named.
    pub(super) fn tasks(
        &self,
        session: &Session,
        arguments: &Arguments,
    ) -> Result<Vec<Task>, CommandError> {
        let kernel = &*session.kernel;
        if self.panic_task {
            let task = kernel.panic_task();
            return Ok(vec![task.ok_or_else(|| CommandError::message("no panic task found"))?]);
        }
        let mut tasks = Vec::new();
        for word in &arguments.words {
            tasks.extend(named_tasks(session, word)?);
        }
        if arguments.words.is_empty() {
            tasks.push(session.context()?);
        }
        if self.thread_group {
            let mut threads = Vec::new();
            for task in tasks {
                threads.extend(thread_group(kernel, task)?);
            }
            tasks = threads;
        }
        Ok(tasks)
    }

    /// Whether the answer has inlined calls apart from the functions they are in.
    pub(super) fn shows_inlined(&self) -> bool {
        self.inlines || self.json
    }

    /// Where the frame's code was written; asked once for each address.
    pub(super) fn source(&self, kernel: &Kernel, frame: &BacktraceFrame) -> Source {
        let wants_functions = self.shows_inlined();
        if !self.lines && !wants_functions {
            return Source::default();
        }
        let address = frame.frame.lookup_ip();
        if let Ok(sources) = self.sources.lock()
            && let Some(source) = sources.get(&address)
        {
            return source.clone();
        }
        let functions = if wants_functions { frame.source(kernel) } else { Vec::new() };
        let source = Source { line: frame.line(kernel), functions: functions.into() };
        if let Ok(mut sources) = self.sources.lock() {
            sources.insert(address, source.clone());
        }
        source
    }

    /// The name of the slab cache that the memory at `address` belongs to.
    pub(super) fn slab_cache(&self, kernel: &Kernel, address: VirtAddr) -> Option<&str> {
        let slabs = self.slabs.get_or_init(|| SlabFinder::new(kernel).ok()).as_ref()?;
        slabs.object_at(kernel, address)?.cache_name()
    }

    /// What `-t`, `-T`, `-r` and `-e` show of a task.
    pub(super) fn show_stack(
        &self,
        kernel: &Kernel,
        task: Task,
        out: &mut Output,
    ) -> Result<(), CommandError> {
        match self.mode {
            Mode::Exceptions => exceptions::run_on_task(kernel, self, task, out),
            Mode::Raw => stack_words::show_raw(kernel, task, out),
            _ => stack_words::show_text(kernel, self, task, out),
        }
    }
}

/// The tasks that a word names: with pid 0 the idle task of every CPU.
fn named_tasks(session: &Session, word: &str) -> Result<Vec<Task>, CommandError> {
    if let Ok(pid) = word.parse::<u32>() {
        let tasks = &session.kernel.tasks().tasks;
        let same: Vec<Task> = tasks.iter().filter(|task| task.pid == pid).copied().collect();
        if !same.is_empty() {
            return Ok(same);
        }
    }
    // A task that is on no list any more may still have a stack worth a look.
    session.task(word).map(|task| vec![task])
}

/// All threads of the process that `task` belongs to, the leader first.
fn thread_group(kernel: &Kernel, task: Task) -> Result<Vec<Task>, CommandError> {
    let tgid = task.tgid(kernel)?;
    let mut threads: Vec<Task> = kernel
        .tasks()
        .tasks
        .iter()
        .filter(|other| other.tgid(kernel).is_ok_and(|other| other == tgid))
        .filter(|other| tgid != 0 || other.address == task.address)
        .copied()
        .collect();
    threads.sort_by_key(|thread| thread.pid != tgid);
    Ok(threads)
}
