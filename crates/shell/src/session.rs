//! What lasts from one command to the next: the kernel, the task in focus, the settings.

use crate::alias::Aliases;
use crate::command::CommandError;
use crate::output::{Face, Interrupt, Style};
use crate::task_facts::Facts;
use mortis_kernel::Kernel;
use mortis_kernel::expression::{Evaluator, ExpressionError, Place, Value};
use mortis_kernel::tasks::Task;
use mortis_memory::VirtAddr;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// How numbers are shown where a command leaves the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Radix {
    /// Base ten.
    Decimal,
    /// Base sixteen, with `0x`.
    Hexadecimal,
}

/// Which of the two spellings of x86 instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisassemblyFlavor {
    /// AT&T's, as crash and gdb show by default.
    Att,
    /// Intel's.
    Intel,
}

/// What long output on a terminal is paged with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PagerChoice {
    /// What `$CRASHPAGER` or `$PAGER` says, else `less`.
    #[default]
    Default,
    /// `less`.
    Less,
    /// `more`.
    More,
    /// What `$CRASHPAGER` says.
    CrashPager,
}

/// The keys of the line editor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Editing {
    /// Those of emacs.
    #[default]
    Emacs,
    /// Those of vi.
    Vi,
}

/// What the user has set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The radix of numbers.
    pub radix: Radix,
    /// The spelling of instructions.
    pub disassembly: DisassemblyFlavor,
    /// Text or JSON.
    pub face: Face,
    /// Colour or none.
    pub style: Style,
    /// Page long output on a terminal.
    pub scroll: bool,
    /// What to page it with.
    pub pager: PagerChoice,
    /// Array elements shown before `...`.
    pub print_max: usize,
    /// Whether arrays of characters end at their first NUL.
    pub null_stop: bool,
    /// Where crash would look types up; here they are the whole kernel's.
    pub scope: Option<VirtAddr>,
    /// The keys of the line editor.
    pub editing: Editing,
    /// No word but answers: no summary, no echo of the lines of input files.
    pub silent: bool,
    /// Where modules with debug information are, besides the usual places (`--mod`).
    pub modules: Option<PathBuf>,
    /// Where the kernel's source is (`--src`).
    pub source: Option<PathBuf>,
    /// Lines are gdb's; one that starts with `crash` is ours.
    pub gdb: bool,
    /// What crash's variables that mean nothing here were set to.
    pub without_effect: BTreeMap<&'static str, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            radix: Radix::Decimal,
            disassembly: DisassemblyFlavor::Att,
            face: Face::Text,
            style: Style::default(),
            scroll: false,
            pager: PagerChoice::default(),
            print_max: 256,
            null_stop: false,
            scope: None,
            editing: Editing::default(),
            silent: false,
            modules: None,
            source: None,
            gdb: false,
            without_effect: BTreeMap::new(),
        }
    }
}

/// A session over one dump.
pub struct Session {
    /// The kernel in the dump.
    pub kernel: Arc<Kernel>,
    /// The files that were opened, for `sys`.
    pub files: OpenedFiles,
    /// What the user has set.
    pub settings: Settings,
    /// The flag that Ctrl-C sets.
    pub interrupt: Interrupt,
    /// Other names for commands.
    pub aliases: Aliases,
    /// The lines that were typed, for `h` and `r`.
    pub typed: Vec<String>,
    /// Whether somebody sits at a terminal and types: then long output is paged.
    pub at_terminal: bool,
    /// Where the lines come from that are run: a start-up file, by the name it has in lists.
    pub reading: Option<String>,
    /// How many files of commands are being read within each other.
    pub depth: usize,
    /// The values that `p` has shown: the first is `$1`.
    pub printed_values: Vec<Value>,
    /// Bytes that `dis` skips behind each ud2.
    pub skip_after_ud2: u64,
    context: Option<Task>,
    /// Tasks that the user says were running, with their CPUs (`set -a`).
    marked_running: Vec<(u32, Task)>,
    /// What was read of all tasks, in the order of their list.
    pub(crate) task_facts: OnceLock<Arc<Vec<Facts>>>,
}

/// The files that a session reads.
#[derive(Clone, Debug, Default)]
pub struct OpenedFiles {
    /// The dump.
    pub dump: PathBuf,
    /// The kernel with debug information, where one was given.
    pub vmlinux: Option<PathBuf>,
}

impl Session {
    /// A session whose task in focus is the one that died.
    pub fn new(kernel: Arc<Kernel>, files: OpenedFiles, settings: Settings) -> Self {
        Self {
            kernel,
            files,
            settings,
            interrupt: Interrupt::default(),
            aliases: Aliases::default(),
            typed: Vec::new(),
            at_terminal: false,
            reading: None,
            depth: 0,
            printed_values: Vec::new(),
            skip_after_ud2: 0,
            context: None,
            marked_running: Vec::new(),
            task_facts: OnceLock::new(),
        }
    }

    /// The tasks that were on a CPU, by the run queues or by what the user says, with the CPU.
    pub fn running_tasks(&self) -> Vec<(u32, Task)> {
        let mut running = self.kernel.running_tasks();
        running.retain(|(cpu, _)| !self.marked_running.iter().any(|(marked, _)| marked == cpu));
        running.extend(&self.marked_running);
        running.sort_by_key(|(cpu, _)| *cpu);
        running
    }

    /// Takes `task` for the one that was running on `cpu`, whatever the run queue says.
    pub fn mark_running(&mut self, cpu: u32, task: Task) {
        self.marked_running.retain(|(marked, _)| *marked != cpu);
        self.marked_running.push((cpu, task));
    }

    /// The task in focus: what `set` chose, or else the one that died.
    ///
    /// # Errors
    /// When there is no task at all to be found.
    pub fn context(&self) -> Result<Task, CommandError> {
        if let Some(task) = self.context {
            return Ok(task);
        }
        self.kernel
            .panic_task()
            .or_else(|| self.kernel.tasks().tasks.first().copied())
            .ok_or_else(|| CommandError::message("no tasks can be found in this dump"))
    }

    /// Puts what `set` chose aside for `context`, and gives it back.
    pub fn swap_context(&mut self, context: Option<Task>) -> Option<Task> {
        std::mem::replace(&mut self.context, context)
    }

    /// Puts `task` in focus.
    pub fn set_context(&mut self, task: Task) {
        self.context = Some(task);
    }

    /// Understands a number as crash does: hexadecimal with `0x` or where the digits say so,
    /// decimal otherwise. An address of 9 digits and more is hexadecimal.
    pub fn parse_number(&self, word: &str) -> Option<u64> {
        let hexadecimal = |digits: &str| u64::from_str_radix(digits, 16).ok();
        if let Some(digits) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
            return hexadecimal(digits);
        }
        if let Ok(number) = word.parse::<u64>()
            && word.len() < 9
        {
            return Some(number);
        }
        hexadecimal(word).filter(|_| word.bytes().all(|digit| digit.is_ascii_hexdigit()))
    }

    /// The address that a word names: a symbol, a number, or a C expression.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn address(&self, word: &str) -> Result<VirtAddr, CommandError> {
        let hexadecimal = word.strip_prefix("0x").unwrap_or(word);
        if let Ok(symbols) = self.kernel.symbols()
            && let Some(address) = symbols.address(word)
        {
            return Ok(address);
        }
        if let Ok(number) = u64::from_str_radix(hexadecimal, 16) {
            return Ok(VirtAddr(number));
        }
        let evaluator = Evaluator::new(&self.kernel);
        match evaluator.evaluate(word) {
            // An array or a structure stands for where it is.
            Ok(Value { place: Place::Memory { address, .. }, .. }) if !word.starts_with('(') => {
                Ok(address)
            }
            Ok(value) => match evaluator.load(&value) {
                Ok(integer) => Ok(VirtAddr(integer.bits)),
                Err(error) => Err(CommandError::Message(error.to_string())),
            },
            Err(ExpressionError::UntypedSymbol(symbol)) => Ok(self.kernel.symbol(&symbol)?),
            Err(ExpressionError::UnknownName(_)) => {
                Err(CommandError::Message(format!("symbol not found: {word}")))
            }
            Err(error) => Err(CommandError::Message(error.to_string())),
        }
    }

    /// The task that a word names: a process id, in decimal or else in hexadecimal digits, or the
    /// address of a `struct task_struct`.
    ///
    /// # Errors
    /// When there is no such task.
    pub fn task(&self, word: &str) -> Result<Task, CommandError> {
        let tasks = self.kernel.tasks();
        let named = |number: u64| {
            let by_pid = u32::try_from(number).ok().and_then(|pid| tasks.by_pid(pid));
            by_pid.or_else(|| tasks.by_address(VirtAddr(number)))
        };
        let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
        let decimal = word.parse::<u64>().ok().and_then(named);
        let task = decimal.or_else(|| u64::from_str_radix(digits, 16).ok().and_then(named));
        task.ok_or_else(|| CommandError::Message(format!("invalid task or pid value: {word}")))
    }

    /// The CPUs that a list such as `0,2-3`, `a` or `all` names.
    ///
    /// # Errors
    /// When it names no CPU, or one that the dump does not have.
    pub fn cpus(&self, list: &str) -> Result<Vec<u32>, CommandError> {
        let possible = &self.kernel.cpus()?.possible;
        if matches!(list, "a" | "all") {
            return Ok(possible.clone());
        }
        let invalid = || CommandError::Message(format!("invalid cpu specification: {list}"));
        let mut cpus = Vec::new();
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: u32 = first.parse().map_err(|_| invalid())?;
            let last: u32 = last.parse().map_err(|_| invalid())?;
            let named: Vec<u32> =
                possible.iter().copied().filter(|cpu| (first..=last).contains(cpu)).collect();
            if named.is_empty() {
                return Err(invalid());
            }
            cpus.extend(named);
        }
        cpus.sort_unstable();
        cpus.dedup();
        Ok(cpus)
    }
}
