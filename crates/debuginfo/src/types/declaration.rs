//! Definitions of types, laid out as gdb's `ptype` does, and crash's `struct` and `whatis`.

use super::spelling::{Budget, Typedefs, declare, keyword, tag};
use super::{Compound, CompoundKind, Enum, Member, Type, TypeError, TypeId, TypeSource, strip};
use std::cell::Cell;

/// The longest definition that is printed; the kernel's longest is of some 30 KiB.
const MAX_TEXT: usize = 4 << 20;

/// What stands in front of each member, as with crash's `struct -o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offsets {
    /// Nothing.
    None,
    /// `[8]`: bytes from the start.
    Decimal,
    /// `[0x8]`.
    Hexadecimal,
    /// `[ffff888003c0a008]`: the member's address in an object at this address.
    Addresses(u64),
}

/// The definition of a type, without a line feed at its end:
///
/// ```text
/// struct list_head {
///     struct list_head *next;
///     struct list_head *prev;
/// }
/// ```
///
/// Typedefs are resolved, as in `ptype`: `pid_t` gives `int`. Anonymous members are spelled out; the
/// type of a named member, where it has no tag, is so where it stands directly in the type, and is
/// `struct {...}` deeper.
///
/// # Errors
/// [`TypeError`] when the type itself is damaged; what it refers to is `<damaged type>` then.
pub fn declaration(
    source: &dyn TypeSource,
    id: TypeId,
    offsets: Offsets,
) -> Result<String, TypeError> {
    source.get(id)?;
    let visits = Cell::new(0);
    Ok(declare(source, id, "", Budget::new(&visits), Typedefs::Resolve, &|base, _| {
        let Ok((_, ty)) = strip(source, base) else { return "<damaged type>".to_owned() };
        match &*ty {
            Type::Compound(compound) => {
                let mut printer = Printer::new(source, compound, offsets);
                printer.compound(compound, 0, 1, 0);
                printer.text
            }
            Type::Enum(kind) => enumeration(kind, true),
            other => tag(other),
        }
    }))
}

fn enumeration(kind: &Enum, open: bool) -> String {
    let mut text = "enum ".to_owned();
    if let Some(name) = &kind.name {
        text.push_str(name);
        text.push(' ');
    }
    if !open || kind.incomplete {
        text.push_str("{...}");
        return text;
    }
    text.push('{');
    let mut expected = 0i64;
    for (index, (name, value)) in kind.variants.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(name);
        if *value != expected {
            match kind.signed {
                true => text.push_str(&format!(" = {value}")),
                false => text.push_str(&format!(" = {}", *value as u64)),
            }
        }
        expected = value.wrapping_add(1);
    }
    text.push('}');
    text
}

/// Anonymous structs and unions inside each other: far fewer.
const MAX_LEVEL: usize = 32;

struct Printer<'a> {
    source: &'a dyn TypeSource,
    offsets: Offsets,
    /// Columns for the offset, and for what stands there on lines without one.
    width: usize,
    blank: usize,
    text: String,
}

impl<'a> Printer<'a> {
    fn new(source: &'a dyn TypeSource, compound: &Compound, offsets: Offsets) -> Self {
        let digits = match offsets {
            Offsets::Hexadecimal => format!("{:#x}", compound.size),
            _ => compound.size.to_string(),
        };
        let (width, blank) = match offsets {
            Offsets::None => (0, 0),
            _ => (digits.len() + 4, digits.len() + 1),
        };
        Self { source, offsets, width, blank, text: String::new() }
    }

    /// Appends a struct or union at `level` of indentation; `show` counts down to where types
    /// without a tag are not spelled out any more. `bit_offset` is where it stands.
    fn compound(&mut self, compound: &Compound, level: usize, show: i32, bit_offset: u64) {
        self.text.push_str(keyword(compound.kind));
        self.text.push(' ');
        if let Some(name) = &compound.name {
            self.text.push_str(name);
            if show <= 0 {
                return;
            }
            self.text.push(' ');
        }
        if show < 0 {
            self.text.push_str("{...}");
            return;
        }
        self.text.push_str("{\n");
        if compound.members.is_empty() {
            let what = if compound.incomplete { "incomplete type" } else { "no data fields" };
            self.text.push_str(&format!("{:indent$}<{what}>\n", "", indent = 4 * (level + 1)));
        }
        for (index, member) in compound.members.iter().enumerate() {
            if self.text.len() > MAX_TEXT {
                self.text.push_str("...");
                break;
            }
            let last = index + 1 == compound.members.len();
            let flexible = last || compound.kind == CompoundKind::Union;
            // crash has its gdb spell out all that is anonymous, which are the members of this.
            let show = if member.name.is_none() && level < MAX_LEVEL { show } else { show - 1 };
            self.member(member, level + 1, show, bit_offset, flexible);
        }
        self.line_start(level, None);
        self.text.push('}');
    }

    fn member(&mut self, member: &Member, level: usize, show: i32, outer: u64, flexible: bool) {
        let bit_offset = outer.wrapping_add(member.bit_offset);
        let name = member.name.as_deref().unwrap_or("");
        let inner = self.anonymous(member.ty);
        let named_here = inner.is_none() && !name.is_empty();
        self.line_start(level, named_here.then_some(bit_offset / 8));
        match inner {
            // What stands between the type and its tail is known only by spelling a marker.
            Some(ty) => {
                const MARKER: &str = "\u{1}";
                let visits = Cell::new(0);
                let budget = Budget::new(&visits);
                let marker = |_, _: &Type| MARKER.to_owned();
                let spelled =
                    declare(self.source, member.ty, name, budget, Typedefs::Keep, &marker);
                let (before, after) = spelled.split_once(MARKER).unwrap_or(("", &spelled));
                self.text.push_str(before);
                match &*ty {
                    Type::Compound(compound) => self.compound(compound, level, show, bit_offset),
                    Type::Enum(kind) => self.text.push_str(&enumeration(kind, show >= 0)),
                    _ => {}
                }
                self.text.push_str(after);
            }
            None => {
                let spelled = super::declarator(self.source, member.ty, name);
                // BTF does not tell `[0]` from `[]`; C allows `[]` only at the end of a struct.
                match spelled.strip_suffix("[]") {
                    Some(start) if !flexible => self.text.push_str(&format!("{start}[0]")),
                    _ => self.text.push_str(&spelled),
                }
            }
        }
        if let Some(bits) = member.bit_size {
            self.text.push_str(&format!(" : {bits}"));
        }
        self.text.push_str(";\n");
        // crash tells the offset of a member that is spelled out where its name stands.
        if !named_here && !name.is_empty() {
            self.offset_at_closing_line(level, bit_offset / 8);
        }
    }

    /// The struct, union or enum without a tag that a member's pointers and arrays lead to.
    fn anonymous(&self, id: TypeId) -> Option<std::sync::Arc<Type>> {
        let mut at = id;
        for _ in 0..64 {
            let ty = self.source.get(at).ok()?;
            match &*ty {
                Type::Pointer { target, .. } | Type::Qualified { target, .. } => at = *target,
                Type::Array { element, .. } => at = *element,
                Type::Compound(Compound { name: None, .. })
                | Type::Enum(Enum { name: None, .. }) => return Some(ty),
                _ => return None,
            }
        }
        None
    }

    /// Begins a line: indentation, and the column of offsets where there is one.
    fn line_start(&mut self, level: usize, offset: Option<u64>) {
        let indent = 4 * level;
        match (self.offsets, offset) {
            // The first line of all and its closing one have no column.
            _ if level == 0 => {}
            (Offsets::None, _) => self.text.push_str(&" ".repeat(indent)),
            (_, None) => self.text.push_str(&" ".repeat(self.blank + indent)),
            (_, Some(offset)) => {
                let column = self.offset_column(offset);
                self.text.push_str(&column);
                // One column of the indentation is the gap; crash lets the offset take the rest.
                self.text.push_str(&" ".repeat(indent.saturating_sub(3)));
            }
        }
    }

    fn offset_column(&self, offset: u64) -> String {
        let told = match self.offsets {
            Offsets::None => String::new(),
            Offsets::Decimal => format!("  [{offset}]"),
            Offsets::Hexadecimal => format!("  [{offset:#x}]"),
            Offsets::Addresses(base) => format!("  [{:x}]", base.wrapping_add(offset)),
        };
        format!("{told:>width$}", width = self.width)
    }

    /// Puts the offset on the line that ends the text, if it closes a block.
    fn offset_at_closing_line(&mut self, level: usize, offset: u64) {
        if self.offsets == Offsets::None {
            return;
        }
        let body = self.text.trim_end_matches('\n');
        let start = body.rfind('\n').map_or(0, |at| at + 1);
        let Some(line) = self.text.get(start..).map(str::to_owned) else { return };
        self.text.truncate(start);
        self.line_start(level, Some(offset));
        self.text.push_str(line.trim_start());
    }
}
