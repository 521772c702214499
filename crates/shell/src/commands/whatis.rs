//! `whatis`: the type of a symbol or expression, the definition of a type, and types by size.

use crate::arguments::Arguments;
use crate::command::{Command, CommandError, flag, value};
use crate::commands::struct_::{self, StructType};
use crate::output::{Output, Render, Style, Text};
use crate::session::Session;
use mortis_debuginfo::types::{
    Compound, CompoundKind, Enum, Namespace, Offsets, Type, TypeId, TypeSource, declaration,
    declarator, find_member, size_of, strip, type_name,
};
use mortis_kernel::expression::Evaluator;
use serde::Serialize;
use std::collections::BTreeSet;

/// `whatis`.
pub const COMMAND: Command = Command {
    name: "whatis",
    aliases: &[],
    summary: "the type of a symbol, the definition of a type, types by size",
    synopsis: "[[-o] [struct | union | typedef | symbol]] | \n         [[-r [size|range]] [-m member]]",
    options: &[
        flag('o', "offsets of the members"),
        value('r', "size", "types of that many bytes, or of a range of sizes: 40-48"),
        value('m', "member", "structures with a member whose type's name holds that text"),
    ],
    help: "Examples:\n  whatis jiffies\n  whatis -o list_head\n  whatis zone_type\n  \
           whatis init_task.pid\n  whatis -r 4096\n  whatis -r 100-200 -m list_head",
    run,
};

/// What a symbol or an expression is.
#[derive(Serialize)]
struct Declared {
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol: Option<String>,
    #[serde(rename = "type")]
    ty: String,
    #[serde(skip)]
    text: String,
}

impl Render for Declared {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&self.text);
    }
}

/// An enumeration, or one of its enumerators.
#[derive(Serialize)]
struct Enumeration {
    #[serde(rename = "enum")]
    name: String,
    variants: Vec<(String, i64)>,
    #[serde(skip)]
    single: bool,
}

impl Render for Enumeration {
    fn render(&self, out: &mut String, _: Style) {
        if let (true, Some((_, value))) = (self.single, self.variants.first()) {
            out.push_str(&format!("{} = {value}\n", self.name));
            return;
        }
        out.push_str(&format!("{} {{\n", self.name));
        for (name, value) in &self.variants {
            out.push_str(&format!("  {name} = {value}\n"));
        }
        out.push_str("};\n");
    }
}

/// A type in a list of types by size.
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Sized {
    size: u64,
    name: String,
    #[serde(skip)]
    width: usize,
}

impl Render for Sized {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{:>width$}  {}\n", self.size, self.name, width = self.width));
    }
}

fn run(session: &mut Session, arguments: &Arguments, out: &mut Output) -> Result<(), CommandError> {
    let kernel = session.kernel.clone();
    let evaluator = Evaluator::new(&kernel);
    if arguments.has('r') || arguments.has('m') {
        let sizes = match arguments.value('r') {
            Some(range) => size_range(session, range)?,
            None => 0..=u64::MAX,
        };
        return by_size(&evaluator, sizes, arguments.value('m'), out);
    }
    let words = arguments.words.as_slice();
    let (keyword, rest) = match words {
        [keyword, rest @ ..] if matches!(keyword.as_str(), "struct" | "union" | "enum") => {
            (Some(keyword.as_str()), rest)
        }
        rest => (None, rest),
    };
    let usage = || CommandError::Usage(format!("Usage: whatis {}", COMMAND.synopsis));
    let name = rest.first().ok_or_else(usage)?;
    if keyword.is_none()
        && rest.len() == 1
        && let Some(symbol) = kernel.all_symbols().ok().and_then(|symbols| symbols.symbol(name))
    {
        let unknown = || {
            CommandError::Message(format!(
                "the type of {name} is not known without a vmlinux: mortis VMLINUX VMCORE"
            ))
        };
        let ty = evaluator.symbol_type(&symbol).ok_or_else(unknown)?;
        let types = evaluator.types();
        return Ok(out.emit(&Declared {
            symbol: Some(symbol.name.to_string()),
            ty: type_name(types, ty),
            text: format!("{};\n", declarator(types, ty, &symbol.name)),
        })?);
    }
    if rest.len() == 1 && show_type(&evaluator, keyword, name, arguments.has('o'), out)? {
        return Ok(());
    }
    show_expression(&evaluator, &arguments.joined(), out)
}

/// Shows the definition of the type called `name`, if there is one.
fn show_type(
    evaluator: &Evaluator,
    keyword: Option<&str>,
    name: &str,
    with_offsets: bool,
    out: &mut Output,
) -> Result<bool, CommandError> {
    let offsets = if with_offsets { Offsets::Decimal } else { Offsets::None };
    let kind = match keyword {
        Some("struct") => Some(CompoundKind::Struct),
        Some("union") => Some(CompoundKind::Union),
        _ => None,
    };
    let types = evaluator.types();
    let kernel = evaluator.kernel();
    let (tag, member) = name.split_once('.').map_or((name, None), |(tag, path)| (tag, Some(path)));
    if keyword != Some("enum")
        && let Ok(ty) = StructType::find(evaluator, tag, kind)
    {
        match member {
            None => out.emit(&struct_::declared::whole(types, &ty, offsets, false)?)?,
            Some(path) if find_member(types, ty.id, path).is_ok() => {
                out.emit(&struct_::declared::members(
                    types,
                    &ty,
                    &[path.to_owned()],
                    Offsets::Decimal,
                    false,
                )?)?;
            }
            Some(_) => return Ok(false),
        }
        return Ok(true);
    }
    for namespace in [Namespace::Enum, Namespace::Typedef, Namespace::Base] {
        let Some(id) = kernel.find_type(namespace, name)? else { continue };
        if let (Type::Enum(kind), false) = (&*strip(types, id)?.1, namespace == Namespace::Base) {
            out.emit(&enumeration(&type_name(types, id), kind))?;
            return Ok(true);
        }
        out.emit(&definition(types, namespace, name, id)?)?;
        return Ok(true);
    }
    if let Some((id, value)) = types.enumerator(name) {
        let enumeration = Enumeration {
            name: type_name(types, id).replace(" {...}", ""),
            variants: vec![(name.to_owned(), value)],
            single: true,
        };
        out.emit(&enumeration)?;
        return Ok(true);
    }
    Ok(false)
}

fn definition(
    types: &dyn TypeSource,
    namespace: Namespace,
    name: &str,
    id: TypeId,
) -> Result<Declared, CommandError> {
    let size = size_of(types, id).map_or(String::new(), |size| format!("SIZE: {size}\n"));
    let declared = declaration(types, id, Offsets::None)?;
    let text = match namespace {
        Namespace::Typedef => format!("typedef {declared} {name};\n{size}"),
        _ => format!("{declared};\n{size}"),
    };
    Ok(Declared { symbol: None, ty: type_name(types, id), text })
}

fn enumeration(name: &str, kind: &Enum) -> Enumeration {
    let variant = |(name, value): &(std::sync::Arc<str>, i64)| (name.to_string(), *value);
    let variants = kind.variants.iter().map(variant).collect();
    Enumeration { name: name.to_owned(), variants, single: false }
}

fn show_expression(
    evaluator: &Evaluator,
    expression: &str,
    out: &mut Output,
) -> Result<(), CommandError> {
    let types = evaluator.types();
    // A type's name in several words, such as `unsigned long`, is a type; all else has one.
    let ty = evaluator
        .parse_type(expression)
        .or_else(|_| evaluator.evaluate(expression).map(|value| value.ty))
        .map_err(|_| {
            let synopsis = COMMAND.synopsis;
            CommandError::Usage(format!("cannot resolve: {expression}\nUsage: whatis {synopsis}"))
        })?;
    let ty = type_name(types, ty);
    let text = format!("{ty}\n");
    Ok(out.emit(&Declared { symbol: None, ty, text })?)
}

fn size_range(
    session: &Session,
    range: &str,
) -> Result<std::ops::RangeInclusive<u64>, CommandError> {
    let number = |word: &str| {
        let invalid = || CommandError::Message(format!("not a valid number: {word}"));
        session.parse_number(word).ok_or_else(invalid)
    };
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    Ok(number(low)?..=number(high)?)
}

/// Lists the types of a size, by size and name.
fn by_size(
    evaluator: &Evaluator,
    sizes: std::ops::RangeInclusive<u64>,
    member: Option<&str>,
    out: &mut Output,
) -> Result<(), CommandError> {
    evaluator.kernel().type_sources()?.add_modules(evaluator.kernel());
    let types = evaluator.types();
    let mut found = BTreeSet::new();
    types.for_each_name(&mut |namespace, name, id| {
        let Ok(ty) = types.get(id) else { return };
        let size = match (&*ty, namespace) {
            (Type::Compound(compound), _) if !compound.incomplete => compound.size,
            (Type::Enum(kind), _) if !kind.incomplete && member.is_none() => kind.size,
            _ => return,
        };
        let wanted = sizes.contains(&size)
            && member.is_none_or(
                |text| matches!(&*ty, Type::Compound(compound) if holds(types, compound, text, 0)),
            );
        if wanted {
            found.insert((size, name.to_owned()));
        }
    });
    let Some((largest, _)) = found.last() else {
        return Ok(out.emit(&Text { text: "(none found)\n".to_owned() })?);
    };
    let width = largest.to_string().len().max(4);
    out.layout(&format!("{:>width$}  TYPE\n", "SIZE"))?;
    for (size, name) in found {
        out.emit(&Sized { size, name, width })?;
    }
    Ok(())
}

/// Structures inside each other: far fewer.
const MAX_DEPTH: usize = 32;

/// Whether a structure, or one inside it, has a member of a type, or a pointer to one, whose name
/// holds `text`.
fn holds(types: &dyn TypeSource, compound: &Compound, text: &str, depth: usize) -> bool {
    depth < MAX_DEPTH
        && compound.members.iter().any(|member| {
            let mut id = member.ty;
            if let Ok(ty) = types.get(id)
                && let Type::Array { element, .. } = &*ty
            {
                id = *element;
            }
            match types.get(id).as_deref() {
                Ok(struct_type @ Type::Compound(inner)) if inner.kind == CompoundKind::Struct => {
                    tag(struct_type).contains(text) || holds(types, inner, text, depth + 1)
                }
                Ok(Type::Pointer { target, .. }) => {
                    types.get(*target).is_ok_and(|target| tag(&target).contains(text))
                }
                Ok(other) => tag(other).contains(text),
                Err(_) => false,
            }
        })
}

/// The name of a type without `struct` and the like; empty where it has none.
fn tag(ty: &Type) -> &str {
    match ty {
        Type::Compound(Compound { name: Some(name), .. })
        | Type::Enum(Enum { name: Some(name), .. })
        | Type::Int { name, .. }
        | Type::Float { name, .. }
        | Type::Typedef { name, .. } => name,
        _ => "",
    }
}
