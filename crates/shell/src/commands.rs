//! Every command, in the order `help` lists them.

use crate::command::Command;
use crate::session::Session;
use mortis_debuginfo::types::{Namespace, Type, TypeId, size_of, strip};

pub mod alias;
pub mod ascii;
pub mod blk;
pub mod bpf;
pub mod bt;
pub mod cgroup;
pub mod dev;
pub mod dis;
pub mod eval;
pub mod exit;
pub mod extend;
pub mod files;
pub mod foreach;
pub mod fuser;
pub mod gcore;
pub mod gdb;
pub mod help;
pub mod ipcs;
pub mod irq;
pub mod kmem;
pub mod list;
pub mod log;
pub mod mach;
pub mod mod_;
pub mod mount;
pub mod net;
pub mod p;
pub mod pagecache;
pub mod pages;
pub mod ps;
pub mod pte;
pub mod rd;
pub mod repeat;
pub mod runq;
pub mod rustfilt;
pub mod sbitmapq;
pub mod search;
pub mod set;
pub mod sig;
pub mod struct_;
pub mod swap;
pub mod sym;
pub mod sys;
pub mod task;
pub mod timer;
pub mod trace;
pub mod tree;
pub mod ustack;
pub mod vm;
pub mod vtop;
pub mod waitq;
pub mod whatis;
pub mod wr;

/// The table of commands.
pub const TABLE: &[&Command] = &[
    &alias::COMMAND,
    &ascii::COMMAND,
    &blk::COMMAND,
    &bpf::COMMAND,
    &bt::COMMAND,
    &pages::BTOP,
    &cgroup::COMMAND,
    &dev::COMMAND,
    &dis::COMMAND,
    &eval::COMMAND,
    &exit::EXIT,
    &extend::COMMAND,
    &files::COMMAND,
    &foreach::COMMAND,
    &fuser::COMMAND,
    &gcore::COMMAND,
    &gdb::COMMAND,
    &help::COMMAND,
    &ipcs::COMMAND,
    &irq::COMMAND,
    &kmem::COMMAND,
    &list::COMMAND,
    &log::COMMAND,
    &mach::COMMAND,
    &mod_::COMMAND,
    &mount::COMMAND,
    &net::COMMAND,
    &p::COMMAND,
    &pagecache::COMMAND,
    &ps::COMMAND,
    &pte::COMMAND,
    &pages::PTOB,
    &pages::PTOV,
    &exit::QUIT,
    &rd::COMMAND,
    &repeat::COMMAND,
    &runq::COMMAND,
    &rustfilt::COMMAND,
    &sbitmapq::COMMAND,
    &search::COMMAND,
    &set::COMMAND,
    &sig::COMMAND,
    &struct_::POINTER,
    &struct_::STRUCT,
    &swap::COMMAND,
    &sym::COMMAND,
    &sys::COMMAND,
    &task::COMMAND,
    &timer::COMMAND,
    &trace::COMMAND,
    &tree::COMMAND,
    &struct_::UNION,
    &ustack::COMMAND,
    &vm::COMMAND,
    &vtop::COMMAND,
    &waitq::COMMAND,
    &whatis::COMMAND,
    &wr::COMMAND,
];

/// The command called `name`, by its name or an alias.
pub fn find(name: &str) -> Option<&'static Command> {
    TABLE.iter().copied().find(|command| command.name == name || command.aliases.contains(&name))
}

/// The command that a line's first word asks for, and its arguments.
///
/// A word that names no command may still be one, as in crash: `*task_struct` and the tag of a
/// structure are `struct`, another type is `whatis`, and a symbol is `p`.
pub fn resolve(
    session: &Session,
    name: &str,
    arguments: &[String],
) -> Option<(&'static Command, Vec<String>)> {
    if let Some(command) = find(name) {
        return Some((command, arguments.to_vec()));
    }
    let with_name = |name: &str| {
        std::iter::once(name.to_owned()).chain(arguments.iter().cloned()).collect::<Vec<_>>()
    };
    // As gdb spells the radix.
    if let Some(format @ ("x" | "d")) = name.strip_prefix("p/") {
        return Some((&p::COMMAND, with_name(&format!("-{format}"))));
    }
    if name.starts_with("p/") {
        return Some((&gdb::COMMAND, with_name(name)));
    }
    if let Some(reference) = name.strip_prefix('*').filter(|reference| !reference.is_empty()) {
        return Some((&struct_::POINTER, with_name(reference)));
    }
    let kernel = &session.kernel;
    let variable = name.split([':', '.', '[']).next().unwrap_or(name);
    if arguments.is_empty()
        && kernel.all_symbols().is_ok_and(|symbols| !symbols.lookup_name(variable).is_empty())
    {
        return Some((&p::COMMAND, with_name(name)));
    }
    let tag = name.split_once('.').map_or(name, |(tag, _)| tag);
    let is = |namespace, name| kernel.find_type(namespace, name).is_ok_and(|id| id.is_some());
    if is(Namespace::Struct, tag) || is(Namespace::Union, tag) {
        return Some((&struct_::POINTER, with_name(name)));
    }
    if name == "enum" || is(Namespace::Enum, name) {
        return Some((&whatis::COMMAND, with_name(name)));
    }
    if let Ok(Some(id)) = kernel.find_type(Namespace::Typedef, tag) {
        let is_compound = strip(kernel.type_set(), id)
            .is_ok_and(|(_, stripped)| matches!(*stripped, Type::Compound(_)));
        if let (false, Some(words)) = (is_compound, shorthand(session, id, arguments)) {
            return Some(words);
        }
        return match arguments.is_empty() && !name.contains('.') || !is_compound {
            true => Some((&whatis::COMMAND, with_name(name))),
            false => Some((&struct_::POINTER, with_name(name))),
        };
    }
    if let Ok(Some(id)) = kernel.find_type(Namespace::Base, name)
        && let Some(words) = shorthand(session, id, arguments)
    {
        return Some(words);
    }
    gdb::is_word(name).then(|| (&gdb::COMMAND, with_name(name)))
}

/// What `u64 jiffies` and `u64 ffffffff81000000` stand for: `p` and `rd` of so many bits.
fn shorthand(
    session: &Session,
    id: TypeId,
    arguments: &[String],
) -> Option<(&'static Command, Vec<String>)> {
    let (first, rest) = arguments.split_first()?;
    let bytes =
        size_of(session.kernel.type_set(), id).ok().filter(|size| matches!(size, 1 | 2 | 4 | 8))?;
    let symbols = session.kernel.all_symbols().ok()?;
    if !symbols.lookup_name(first).is_empty() {
        return Some((&p::COMMAND, arguments.to_vec()));
    }
    let digits = first.strip_prefix("0x").unwrap_or(first);
    u64::from_str_radix(digits, 16).ok()?;
    let words = [format!("-{}", bytes * 8), first.clone()].into_iter().chain(rest.iter().cloned());
    Some((&rd::COMMAND, words.collect()))
}

/// The command whose name, or alias, is nearest to a mistyped one.
pub fn similar<'a>(session: &'a Session, name: &str) -> Option<&'a str> {
    let known = TABLE.iter().map(|command| command.name);
    let aliases = session.aliases.iter().map(|alias| alias.name.as_str());
    nearest(name, known.chain(aliases))
}

/// The name of `known` that `name` is most likely mistyped for: at most two letters away, and
/// fewer than it has.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let len = name.chars().count();
    let allowed = if len <= 3 { 1 } else { 2 };
    known
        .filter(|known| known.len().abs_diff(name.len()) <= allowed && known.len() > 1)
        .map(|known| (edit_distance(name, known), known))
        .filter(|(distance, _)| *distance <= allowed && *distance < len)
        .min_by_key(|(distance, known)| (*distance, known.len().abs_diff(name.len())))
        .map(|(_, known)| known)
}

/// How many letters must be put in, taken out, changed or swapped with the next to make `a` into
/// `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let change = row[j] + usize::from(a[i] != b[j]);
            let mut best = change.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = TABLE
            .iter()
            .flat_map(|command| {
                std::iter::once(command.name).chain(command.aliases.iter().copied())
            })
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_near_miss_is_recognised() {
        assert_eq!(edit_distance("hlep", "help"), 1);
        assert_eq!(edit_distance("schedle", "schedule"), 1);
        let near = |name| nearest(name, TABLE.iter().map(|command| command.name));
        assert_eq!(near("halp"), Some("help"));
        assert_eq!(near("lgo"), Some("log"));
        assert_eq!(near("xyzzy"), None);
        assert_eq!(near(""), None);
    }
}
