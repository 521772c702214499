//! What may have been meant: the nearest name to one that was mistyped.

use crate::command::{Command, CommandError};
use crate::commands::nearest;
use crate::session::Session;
use mortis_debuginfo::types::{Namespace, Type, TypeId, TypeSource, strip};
use mortis_kernel::error::KernelError;

/// A name that an error says there is none of.
#[derive(Debug, PartialEq, Eq)]
enum Unknown<'a> {
    Symbol(&'a str),
    Type(&'a str),
    Member {
        of: &'a str,
        member: &'a str,
    },
    /// An option's letter.
    Option(char),
}

/// A hint for the user of `command`, which failed with `error`.
pub fn hint(session: &Session, command: &Command, error: &CommandError) -> Option<String> {
    let text = match error {
        CommandError::Kernel(KernelError::NoMember { structure, member }) => {
            return member_hint(session, structure, member);
        }
        CommandError::Stop(_) => return None,
        error => error.to_string(),
    };
    match unknown(&text)? {
        Unknown::Symbol(name) => near_symbol(session, name).map(did_you_mean),
        Unknown::Type(name) => near_type(session, name).map(did_you_mean),
        Unknown::Member { of, member } => member_hint(session, of, member),
        Unknown::Option(letter) => {
            let mut options = command.options.iter();
            let swapped = |c: char| match c.is_ascii_lowercase() {
                true => c.to_ascii_uppercase(),
                false => c.to_ascii_lowercase(),
            };
            let other = options.find(|option| option.letter == swapped(letter))?;
            Some(format!("did you mean -{}: {}?", other.letter, other.help))
        }
    }
}

fn did_you_mean(name: String) -> String {
    format!("did you mean '{name}'?")
}

/// The name in an error's words.
fn unknown(error: &str) -> Option<Unknown<'_>> {
    let first = error.lines().next()?;
    let behind = |words: &str| first.strip_prefix(words).map(str::trim);
    if let Some(name) = behind("symbol not found: ") {
        return Some(Unknown::Symbol(name));
    }
    if let Some(name) = behind("no symbol \"").and_then(|rest| rest.split('"').next()) {
        return Some(Unknown::Symbol(name));
    }
    if let Some(letter) = behind("invalid option -- '").and_then(|rest| rest.chars().next()) {
        return Some(Unknown::Option(letter));
    }
    if let Some(name) = behind("invalid data structure reference: ") {
        return Some(match name.split_once('.') {
            Some((of, member)) => Unknown::Member { of, member },
            None => Unknown::Type(name),
        });
    }
    if let Some(name) = behind("type not found: ") {
        return Some(Unknown::Type(name));
    }
    let (of, member) = first.split_once(" has no member named ")?;
    Some(Unknown::Member { of, member })
}

/// The symbol nearest to `name`.
fn near_symbol(session: &Session, name: &str) -> Option<String> {
    let symbols = session.kernel.all_symbols().ok()?;
    let mut candidates = Vec::new();
    symbols.for_each(|known, _, _, _| {
        if is_candidate(name, known) {
            candidates.push(known.to_owned());
        }
    });
    nearest(name, candidates.iter().map(String::as_str)).map(str::to_owned)
}

/// The structure, union, enumeration or typedef nearest to `name`.
fn near_type(session: &Session, name: &str) -> Option<String> {
    let mut candidates = Vec::new();
    session.kernel.type_set().for_each_name(&mut |_, known, _| {
        if is_candidate(name, known) {
            candidates.push(known.to_owned());
        }
    });
    nearest(name, candidates.iter().map(String::as_str)).map(str::to_owned)
}

/// Whether `known` is worth a closer look: about as long, and with the letters of `name` but for
/// a few.
fn is_candidate(name: &str, known: &str) -> bool {
    if known.len().abs_diff(name.len()) > 2 || known == name {
        return false;
    }
    let set = |text: &str| text.bytes().fold(0u64, |set, byte| set | 1 << (byte & 63));
    (set(name) ^ set(known)).count_ones() <= 4
}

/// The member of `of` nearest to `member`.
fn member_hint(session: &Session, of: &str, member: &str) -> Option<String> {
    let tag = of.trim_start_matches("struct ").trim_start_matches("union ");
    let kernel = &session.kernel;
    let spaces = [Namespace::Struct, Namespace::Union, Namespace::Typedef];
    let id = spaces.into_iter().find_map(|space| kernel.find_type(space, tag).ok().flatten());
    let Some(id) = id else { return near_type(session, tag).map(did_you_mean) };
    let mut names = Vec::new();
    member_names(kernel.type_set(), id, 0, &mut names);
    let first = member.split(['.', '[', '|']).next().unwrap_or(member);
    if let Some(near) = nearest(first, names.iter().map(|(name, _)| name.as_str())) {
        return Some(did_you_mean(near.to_owned()));
    }
    let containing: Vec<&str> = names
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| first.len() > 2 && name.contains(first))
        .take(5)
        .collect();
    (!containing.is_empty()).then(|| format!("{tag} has {}", containing.join(", ")))
}

/// Anonymous structures inside each other: far fewer.
const MAX_DEPTH: usize = 16;

/// The members of a structure or union under any typedefs, with their types; those of anonymous
/// ones by their own names, as in C.
pub fn member_names(
    types: &dyn TypeSource,
    id: TypeId,
    depth: usize,
    names: &mut Vec<(String, TypeId)>,
) {
    let Ok((_, stripped)) = strip(types, id) else { return };
    let Type::Compound(compound) = &*stripped else { return };
    for member in &compound.members {
        match &member.name {
            Some(name) => names.push((name.to_string(), member.ty)),
            None if depth < MAX_DEPTH => member_names(types, member.ty, depth + 1, names),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_found_in_the_words_of_errors() {
        assert_eq!(unknown("symbol not found: jifies\npossible"), Some(Unknown::Symbol("jifies")));
        assert_eq!(unknown("no symbol \"x\" in this kernel"), Some(Unknown::Symbol("x")));
        assert_eq!(unknown("invalid option -- 'z'"), Some(Unknown::Option('z')));
        assert_eq!(
            unknown("invalid data structure reference: task_struct.com"),
            Some(Unknown::Member { of: "task_struct", member: "com" })
        );
        assert_eq!(
            unknown("struct list_head has no member named nxt"),
            Some(Unknown::Member { of: "struct list_head", member: "nxt" })
        );
        assert_eq!(unknown("division by zero"), None);
    }
}
