//! Which tasks are meant: by process id, address, name or regular expression.

use crate::command::CommandError;
use crate::session::Session;
use mortis_kernel::tasks::{Task, TaskState};
use regex_lite::Regex;

/// One way to name tasks.
pub enum Selector {
    /// All tasks with this process id: more than one have 0.
    Pid(u32),
    /// The task whose `struct task_struct` is this one's.
    Task(Task),
    /// Tasks of this name, cut to what a task's name can hold.
    Name(String),
    /// Tasks whose name matches.
    Matches(Regex),
}

/// `TASK_COMM_LEN` without the NUL.
const COMM_LENGTH: usize = 15;

impl Selector {
    /// Understands a word as `ps` does: a number is a process id or an address, something in single
    /// quotes a regular expression, anything else a name. A backslash before it makes a name of
    /// what would be something else.
    ///
    /// # Errors
    /// A number that names no task, or a wrong expression.
    pub fn parse(session: &Session, word: &str) -> Result<Self, CommandError> {
        if let Some(pattern) = quoted(word) {
            return expression(pattern).map(Selector::Matches);
        }
        if is_number(word) {
            return Self::number(session, word);
        }
        Ok(Selector::name(word.strip_prefix('\\').unwrap_or(word)))
    }

    /// Understands a process id or an address.
    ///
    /// # Errors
    /// When it names no task.
    pub fn number(session: &Session, word: &str) -> Result<Self, CommandError> {
        let task = session.task(word)?;
        Ok(if is_address(word, task) { Selector::Task(task) } else { Selector::Pid(task.pid) })
    }

    /// Tasks of the name `name`.
    pub fn name(name: &str) -> Self {
        Selector::Name(name.chars().take(COMM_LENGTH).collect())
    }

    /// Whether it takes a task's name to tell.
    pub fn needs_name(&self) -> bool {
        matches!(self, Selector::Name(_) | Selector::Matches(_))
    }

    /// Whether it means `task`, whose name is `comm`.
    pub fn selects(&self, task: Task, comm: Option<&str>) -> bool {
        match self {
            Selector::Pid(pid) => task.pid == *pid,
            Selector::Task(named) => task.address == named.address,
            Selector::Name(name) => comm == Some(name),
            Selector::Matches(regex) => comm.is_some_and(|comm| regex.is_match(comm)),
        }
    }
}

/// What stands between single quotes.
pub fn quoted(word: &str) -> Option<&str> {
    word.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''))
}

/// A regular expression.
///
/// # Errors
/// When it is none.
pub fn expression(pattern: &str) -> Result<Regex, CommandError> {
    Regex::new(pattern)
        .map_err(|_| CommandError::Message(format!("invalid regular expression: {pattern}")))
}

/// Whether a word can only be a number: decimal, or hexadecimal with or without `0x`.
pub fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Whether `word` named `task` by its address.
fn is_address(word: &str, task: Task) -> bool {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
    u64::from_str_radix(digits, 16) == Ok(task.address.0) || word.parse() == Ok(task.address.0)
}

/// The states that can be asked for by their two letters.
pub const STATES: &[TaskState] = &[
    TaskState::Running,
    TaskState::Interruptible,
    TaskState::Uninterruptible,
    TaskState::Stopped,
    TaskState::Traced,
    TaskState::Zombie,
    TaskState::Dead,
    TaskState::Parked,
    TaskState::Waking,
    TaskState::Idle,
    TaskState::New,
];

/// The state of those two letters.
pub fn state(letters: &str) -> Option<TaskState> {
    STATES.iter().copied().find(|state| state.code() == letters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mortis_memory::VirtAddr;

    const TASK: Task = Task { address: VirtAddr(0xffff_8d4a_c123_4200), pid: 207 };

    #[test]
    fn numbers_are_told_from_names() {
        assert!(is_number("207") && is_number("0xcf") && is_number("ffff8d4ac1234200"));
        assert!(!is_number("life") && !is_number("0x") && !is_number("kworker/0:1"));
        assert!(is_address("ffff8d4ac1234200", TASK) && is_address("0xffff8d4ac1234200", TASK));
        assert!(!is_address("207", TASK));
    }

    #[test]
    fn names_are_cut_as_the_kernel_cuts_them() {
        let name = Selector::name("a-name-too-long-for-the-kernel");
        assert!(name.selects(TASK, Some("a-name-too-long")));
        assert!(!name.selects(TASK, None));
    }

    #[test]
    fn expressions_stand_in_single_quotes() {
        let regex = expression(quoted("'^kw.*:[01]'").expect("quoted")).expect("valid");
        assert!(Selector::Matches(regex).selects(TASK, Some("kworker/0:1")));
        assert!(expression("(").is_err());
        assert_eq!(quoted("life"), None);
    }

    #[test]
    fn every_state_has_letters() {
        assert_eq!(state("ID"), Some(TaskState::Idle));
        assert_eq!(state("??"), None);
    }
}
