//! The names that a kernel and its dump know, by their beginning.

use super::Candidate;
use crate::hints::member_names;
use mortis_debuginfo::types::{Namespace, Type, TypeId, TypeSource, find_member, strip, type_name};
use mortis_kernel::Kernel;
use mortis_kernel::expression::Evaluator;
use mortis_kernel::task_reader::TaskReader;
use std::collections::BTreeMap;

/// Candidates that are shown; who wants more types another letter.
const MAX_SHOWN: usize = 200;

/// Tasks whose names are read.
const MAX_TASKS: usize = 50_000;

/// Gathers candidates: the first in the order of names, and what all begin with.
#[derive(Default)]
pub struct Found {
    ordered: Vec<Candidate>,
    sorted: BTreeMap<String, Candidate>,
    common: Option<String>,
    before: &'static str,
}

impl Found {
    /// Takes a candidate as it comes.
    pub fn push(&mut self, candidate: Candidate) {
        self.note(&candidate.text.clone());
        if !self.ordered.iter().any(|known| known.text == candidate.text) {
            self.ordered.push(candidate);
        }
    }

    /// Takes a candidate if `name` begins with `word`.
    pub fn offer(&mut self, word: &str, candidate: impl FnOnce() -> Candidate, name: &str) {
        if name.starts_with(word) {
            self.push(candidate());
        }
    }

    /// Takes one of many: only the first are kept.
    fn one_of_many(&mut self, name: &str, candidate: impl FnOnce() -> Candidate) {
        self.note(name);
        let full = self.sorted.len() >= MAX_SHOWN;
        if full && self.sorted.last_key_value().is_some_and(|(last, _)| **last <= *name) {
            return;
        }
        self.sorted.entry(name.to_owned()).or_insert_with(candidate);
        if full && self.sorted.len() > MAX_SHOWN {
            self.sorted.pop_last();
        }
    }

    fn note(&mut self, name: &str) {
        match &mut self.common {
            None => self.common = Some(name.to_owned()),
            Some(common) => {
                let same = common.chars().zip(name.chars()).take_while(|(a, b)| a == b);
                let len = same.map(|(c, _)| c.len_utf8()).sum();
                common.truncate(len);
            }
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.ordered.is_empty() && self.sorted.is_empty()
    }

    /// What `gather` finds goes behind `before`.
    pub fn add_behind(&mut self, before: &'static str, gather: impl FnOnce(&mut Self)) {
        self.before = before;
        gather(self);
    }

    /// The candidates, and what all of them begin with.
    pub fn finish(self) -> (Vec<Candidate>, String) {
        let before = self.before;
        let mut candidates = self.ordered;
        candidates.extend(self.sorted.into_values());
        candidates.truncate(MAX_SHOWN);
        for candidate in &mut candidates {
            candidate.text.insert_str(0, before);
        }
        (candidates, format!("{before}{}", self.common.unwrap_or_default()))
    }
}

/// Symbols that begin with `prefix`. There are too many to offer without one.
pub fn symbols(kernel: &Kernel, prefix: &str, found: &mut Found) {
    let Ok(symbols) = kernel.all_symbols() else { return };
    if prefix.is_empty() {
        return;
    }
    symbols.for_each(|name, _, _, module| {
        if name.starts_with(prefix) {
            found.one_of_many(name, || match module {
                Some(module) => Candidate::about(name, format!("[{module}]")),
                None => Candidate::new(name),
            });
        }
    });
}

/// Structures, unions, enumerations and typedefs that begin with `prefix`.
pub fn types(kernel: &Kernel, prefix: &str, found: &mut Found) {
    if prefix.is_empty() {
        return;
    }
    kernel.type_set().for_each_name(&mut |namespace, name, _| {
        if name.starts_with(prefix) {
            let kind = match namespace {
                Namespace::Struct => "struct",
                Namespace::Union => "union",
                Namespace::Enum => "enum",
                Namespace::Typedef => "typedef",
                _ => "type",
            };
            found.one_of_many(name, || Candidate::about(name, kind));
        }
    });
}

/// Members of the structure that a word such as `task_struct.se.l` or `task_struct.pid,co` names.
pub fn members_of_type(kernel: &Kernel, word: &str, found: &mut Found) {
    let Some((tag, path)) = word.split_once('.') else { return };
    let spaces = [Namespace::Struct, Namespace::Union, Namespace::Typedef];
    let id = spaces.into_iter().find_map(|space| kernel.find_type(space, tag).ok().flatten());
    let Some(id) = id else { return };
    let last = path.rsplit(',').next().unwrap_or(path);
    let (outer, prefix) = match last.rsplit_once('.') {
        Some((outer, prefix)) => (outer, prefix),
        None => ("", last),
    };
    let ty = match outer {
        "" => Some(id),
        outer => find_member(kernel.type_set(), id, outer).ok().map(|member| member.ty),
    };
    if let Some(ty) = ty {
        members(kernel, ty, prefix, found);
    }
}

/// Members of the value of an expression: `init_task.mm->pg`.
pub fn members_of_value(kernel: &Kernel, word: &str, found: &mut Found) {
    let dot = word.rfind('.').map(|at| (at, 1));
    let arrow = word.rfind("->").map(|at| (at, 2));
    let Some((at, len)) = dot.max(arrow) else { return };
    let base = last_operand(&word[..at]);
    let prefix = &word[at + len..];
    let evaluator = Evaluator::new(kernel);
    let Ok(value) = evaluator.evaluate(base) else { return };
    members(kernel, value.ty, prefix, found);
}

fn members(kernel: &Kernel, ty: TypeId, prefix: &str, found: &mut Found) {
    let types = kernel.type_set();
    let Ok((mut ty, stripped)) = strip(types, ty) else { return };
    if let Type::Pointer { target, .. } = &*stripped {
        ty = *target;
    }
    let mut names = Vec::new();
    member_names(types, ty, 0, &mut names);
    for (name, ty) in names {
        if name.starts_with(prefix) {
            let candidate = Candidate::about(&name, type_name(types, ty));
            found.push(Candidate { whole: false, ..candidate });
        }
    }
}

/// The end of an expression that is one operand: `init_task.mm` of `1+&init_task.mm`.
pub fn last_operand(text: &str) -> &str {
    let mut depth = 0u32;
    let mut start = text.len();
    let mut bytes = text.bytes().enumerate().rev().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b')' | b']' => depth += 1,
            b'(' | b'[' if depth == 0 => break,
            b'(' | b'[' => depth -= 1,
            _ if depth > 0 => {}
            b'>' if bytes.peek().is_some_and(|(_, byte)| *byte == b'-') => {
                bytes.next();
                start = at - 1;
                continue;
            }
            b'.' | b'_' | b'$' | b':' => {}
            byte if byte.is_ascii_alphanumeric() => {}
            _ => break,
        }
        start = at;
    }
    text.get(start..).unwrap_or("")
}

/// Process ids and names of all tasks.
pub fn all_tasks(kernel: &Kernel) -> Vec<(u32, String)> {
    let Ok(reader) = TaskReader::new(kernel) else { return Vec::new() };
    let tasks = kernel.tasks().tasks.iter().take(MAX_TASKS);
    tasks.map(|&task| (task.pid, reader.read(task).comm().unwrap_or_default())).collect()
}

/// Process ids that begin with `prefix`.
pub fn pids(tasks: &[(u32, String)], prefix: &str, found: &mut Found) {
    let numbers = prefix.bytes().all(|byte| byte.is_ascii_digit());
    for (pid, name) in tasks.iter().filter(|_| numbers) {
        let text = pid.to_string();
        if text.starts_with(prefix) {
            // By size, not by their digits.
            let key = format!("{pid:010}");
            found.note(&text);
            if found.sorted.len() < MAX_SHOWN {
                found.sorted.entry(key).or_insert_with(|| Candidate::about(text, name.as_str()));
            }
        }
    }
}

/// Names of tasks that begin with `prefix`.
pub fn task_names(tasks: &[(u32, String)], prefix: &str, found: &mut Found) {
    if prefix.is_empty() {
        return;
    }
    for (pid, name) in tasks {
        if name.starts_with(prefix) {
            found.one_of_many(name, || Candidate::about(name.as_str(), format!("PID {pid}")));
        }
    }
}

/// Modules that begin with `prefix`.
pub fn modules(kernel: &Kernel, prefix: &str, found: &mut Found) {
    let Ok(symbols) = kernel.all_symbols() else { return };
    for module in symbols.modules() {
        found.offer(prefix, || Candidate::new(&**module.name()), module.name());
    }
}

/// Files whose path begins with `prefix`; a folder ends in a `/` and goes on.
pub fn files(prefix: &str, found: &mut Found) {
    let (folder, start) = match prefix.rsplit_once('/') {
        Some((folder, start)) => (format!("{folder}/"), start),
        None => (String::new(), prefix),
    };
    let home = std::env::var("HOME").unwrap_or_default();
    let place = match folder.strip_prefix("~/") {
        Some(rest) => format!("{home}/{rest}"),
        None if folder.is_empty() => "./".to_owned(),
        None => folder.clone(),
    };
    let Ok(entries) = std::fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.starts_with(start) || (name.starts_with('.') && !start.starts_with('.')) {
            continue;
        }
        let is_folder = std::fs::metadata(entry.path()).is_ok_and(|file| file.is_dir());
        let text = format!("{folder}{name}{}", if is_folder { "/" } else { "" });
        found.one_of_many(&text, || Candidate { whole: !is_folder, ..Candidate::new(&*text) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_operand_is_what_members_are_of() {
        assert_eq!(last_operand("&init_task"), "init_task");
        assert_eq!(last_operand("1+init_task.mm->pgd"), "init_task.mm->pgd");
        assert_eq!(last_operand("((struct page *)0x10)"), "((struct page *)0x10)");
        assert_eq!(last_operand("(a[3].b"), "a[3].b");
        assert_eq!(last_operand(""), "");
    }

    #[test]
    fn what_is_common_counts_all_that_there_is() {
        let mut found = Found::default();
        for number in 0..1000 {
            let name = format!("name_{number}");
            found.one_of_many(&name, || Candidate::new(&*name));
        }
        found.one_of_many("nase", || Candidate::new("nase"));
        let (candidates, common) = found.finish();
        assert_eq!((candidates.len(), common.as_str()), (MAX_SHOWN, "na"));
        assert_eq!(candidates[0].text, "name_0");
    }
}
