//! Every command, in the order `help` lists them.

use crate::command::Command;
use crate::session::Session;
use mortis_debuginfo::types::{Namespace, Type, strip};

pub mod bt;
pub mod dis;
pub mod foreach;
pub mod help;
pub mod irq;
pub mod kmem;
pub mod log;
pub mod mod_;
pub mod net;
pub mod p;
pub mod ps;
pub mod rd;
pub mod runq;
pub mod set;
pub mod struct_;
pub mod swap;
pub mod sym;
pub mod sys;
pub mod timer;
pub mod vtop;
pub mod whatis;

/// The table of commands.
pub const TABLE: &[&Command] = &[
    &bt::COMMAND,
    &dis::COMMAND,
    &foreach::COMMAND,
    &help::COMMAND,
    &irq::COMMAND,
    &kmem::COMMAND,
    &ps::LAST,
    &log::COMMAND,
    &mod_::COMMAND,
    &net::COMMAND,
    &p::COMMAND,
    &ps::COMMAND,
    &rd::COMMAND,
    &runq::COMMAND,
    &set::COMMAND,
    &struct_::POINTER,
    &struct_::STRUCT,
    &struct_::UNION,
    &swap::COMMAND,
    &sym::COMMAND,
    &sys::COMMAND,
    &timer::COMMAND,
    &vtop::COMMAND,
    &whatis::COMMAND,
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
    let id = kernel.find_type(Namespace::Typedef, tag).ok()??;
    let is_compound = strip(kernel.type_set(), id)
        .is_ok_and(|(_, stripped)| matches!(*stripped, Type::Compound(_)));
    match arguments.is_empty() && !name.contains('.') || !is_compound {
        true => Some((&whatis::COMMAND, with_name(name))),
        false => Some((&struct_::POINTER, with_name(name))),
    }
}

/// The command whose name is nearest to a mistyped one.
pub fn similar(name: &str) -> Option<&'static str> {
    TABLE
        .iter()
        .flat_map(|command| std::iter::once(command.name).chain(command.aliases.iter().copied()))
        .map(|known| (edit_distance(name, known), known))
        .filter(|(distance, known)| *distance <= 2 && *distance < known.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// How many letters must be put in, taken out or changed to make `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
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
        assert_eq!(edit_distance("hlep", "help"), 2);
        assert_eq!(similar("halp"), Some("help"));
        assert_eq!(similar("xyzzy"), None);
    }
}
