//! Structures shown beside the entries of a list or a tree: `-s` and `-S`.
//!
//! `-s` shows what `struct` shows. `-S` shows the plain numbers, as crash reads them straight from
//! memory: unsigned, an enumerator as its number, and strings as strings.

use super::member::{MemberValue, Position, position};
use super::request::StructType;
use crate::arguments::Arguments;
use crate::command::CommandError;
use crate::output::{Render, Style};
use crate::session::Session;
use crate::typed_value::{TypedValue, ValueStyle};
use mortis_debuginfo::types::{FoundMember, find_member, size_of, type_name};
use mortis_debuginfo::value::{Radix, Value as Tree};
use mortis_kernel::Kernel;
use mortis_kernel::expression::{Evaluator, ExpressionError, Place, Value};
use mortis_memory::VirtAddr;
use serde::Serialize;

/// The structures that were asked for.
pub(in crate::commands) struct Beside {
    structs: Vec<Wanted>,
    /// `-S`.
    plain: bool,
    pub style: ValueStyle,
}

/// A structure, or some of its members.
struct Wanted {
    ty: StructType,
    members: Vec<WantedMember>,
}

struct WantedMember {
    path: String,
    found: FoundMember,
    position: Position,
    /// Its type's name.
    ty: String,
    /// Bytes, of what `-S` shows as one number whatever it is made of, such as a `refcount_t`.
    number_size: Option<u64>,
}

/// A structure at an entry.
#[derive(Serialize)]
pub(in crate::commands) struct Shown {
    #[serde(rename = "type")]
    ty: String,
    /// The whole of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<TypedValue>,
    /// The members that were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<MemberValue>,
    #[serde(skip)]
    text: String,
}

impl Render for Shown {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&self.text);
    }
}

impl Beside {
    /// Understands the values of `-s`, `-S`, `-x` and `-d`.
    ///
    /// # Errors
    /// When a structure or a member is not known, or two options exclude each other.
    pub fn parse(session: &Session, arguments: &Arguments) -> Result<Self, CommandError> {
        let plain = arguments.has('S');
        if plain && arguments.has('s') {
            return Err(CommandError::message("-S and -s options are mutually exclusive"));
        }
        if arguments.has('x') && arguments.has('d') {
            return Err(CommandError::message("-d and -x are mutually exclusive"));
        }
        let evaluator = Evaluator::new(&session.kernel);
        let values = arguments.values(if plain { 'S' } else { 's' });
        let structs = values.map(|word| Wanted::parse(&evaluator, word, plain));
        Ok(Self {
            structs: structs.collect::<Result<_, _>>()?,
            plain,
            style: ValueStyle::new(session, arguments.has('x'), arguments.has('d')),
        })
    }

    /// The one structure `name`, as a whole.
    ///
    /// # Errors
    /// When it is not known.
    pub fn whole(
        session: &Session,
        arguments: &Arguments,
        name: &str,
    ) -> Result<Self, CommandError> {
        let evaluator = Evaluator::new(&session.kernel);
        Ok(Self {
            structs: vec![Wanted::parse(&evaluator, name, false)?],
            plain: false,
            style: ValueStyle::new(session, arguments.has('x'), arguments.has('d')),
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.structs.is_empty()
    }

    /// Reads the structures at `address`; none where there can be none. What cannot be read is
    /// marked where it would stand.
    pub fn at(&self, kernel: &Kernel, address: VirtAddr) -> Vec<Shown> {
        // The kernel's half of the address space.
        if address.0 >> 63 == 0 {
            return Vec::new();
        }
        let evaluator = Evaluator::new(kernel);
        self.structs.iter().map(|wanted| self.read(&evaluator, wanted, address)).collect()
    }

    fn read(&self, evaluator: &Evaluator, wanted: &Wanted, address: VirtAddr) -> Shown {
        let shown = format!("{} {}", wanted.ty.keyword(), wanted.ty.name);
        let mut text = String::new();
        let mut value = None;
        if wanted.members.is_empty() {
            let base = Value { ty: wanted.ty.id, place: Place::at(address) };
            let tree = self.decode(evaluator, &base);
            text = format!("{shown} {}\n", tree.text(&self.style.text(0)));
            value = Some(TypedValue(tree));
        }
        let mut members = Vec::new();
        for member in &wanted.members {
            let FoundMember { ty, bit_offset, bit_size } = member.found;
            let place = Place::Memory {
                address: address.offset(bit_offset / 8),
                bit_offset: (bit_offset % 8) as u32,
                bit_size,
            };
            let mut tree = self.decode(evaluator, &Value { ty, place });
            if let (Tree::Compound(_) | Tree::Array { .. }, Some(size)) =
                (&tree, member.number_size)
                && let Some(value) = raw_number(evaluator, address.offset(bit_offset / 8), size)
            {
                tree = Tree::Integer { value, size, character: false };
            }
            let WantedMember { path, position, .. } = member;
            let member = MemberValue::new(path, member.ty.clone(), place, tree, *position);
            match plain_text(evaluator, &member.value.0, self.style.radix) {
                Some(plain) if self.plain => {
                    text.push_str(&format!("  {} = {plain}\n", member.name));
                }
                _ => member.render(&mut text, self.style),
            }
            members.push(member);
        }
        Shown { ty: shown, value, members, text }
    }

    fn decode(&self, evaluator: &Evaluator, value: &Value) -> Tree {
        match evaluator.decode(value, &self.style.limits()) {
            Ok(tree) => tree,
            Err(ExpressionError::Kernel(error)) => match error.read_error() {
                Some(error) => Tree::Unavailable(error.why),
                None => Tree::Elided,
            },
            Err(_) => Tree::Elided,
        }
    }
}

impl Wanted {
    fn parse(evaluator: &Evaluator, word: &str, plain: bool) -> Result<Self, CommandError> {
        let (name, members) = match word.split_once('.') {
            Some((name, members)) => (name, members.split(',').collect()),
            None => (word, Vec::new()),
        };
        let message = |message: String| CommandError::Message(message);
        let ty = StructType::find(evaluator, name, None).map_err(|_| {
            // crash says so of a member whose structure is not known, too.
            message(match members.first() {
                Some(member) if plain => format!("Can't get offset of '{name}.{member}'"),
                _ => format!("invalid structure name: {name}"),
            })
        })?;
        let types = evaluator.types();
        let find = |path: &&str| {
            let found = find_member(types, ty.id, path).ok();
            match found.zip(position(types, ty.id, path)) {
                Some((found, position)) => {
                    let ty = type_name(types, found.ty);
                    let size = size_of(types, found.ty).ok();
                    let number_size = size.filter(|size| plain && matches!(size, 1 | 2 | 4 | 8));
                    Ok(WantedMember { path: (*path).to_owned(), found, position, ty, number_size })
                }
                None if plain => Err(message(format!("Can't get offset of '{name}.{path}'"))),
                None => Err(message(format!("invalid data structure member reference: {path}"))),
            }
        };
        let members = members.iter().filter(|path| !path.is_empty()).map(find);
        Ok(Self { members: members.collect::<Result<_, _>>()?, ty })
    }
}

/// ` <schedule>` for any address in code, also of a number that only looks like one.
fn function_at(evaluator: &Evaluator, address: VirtAddr) -> String {
    let symbol = evaluator.kernel().symbol_at(address).map(|(symbol, _)| symbol);
    let code = symbol.filter(|symbol| evaluator.kernel().is_code(symbol));
    code.map_or(String::new(), |symbol| format!(" <{}>", symbol.name))
}

/// The number in these bytes.
fn raw_number(evaluator: &Evaluator, address: VirtAddr, size: u64) -> Option<i128> {
    let bytes = evaluator.memory().read_bytes(address, size).ok()?;
    let number = bytes.iter().rev().fold(0, |number, byte| number << 8 | i128::from(*byte));
    Some(number)
}

/// How `-S` shows a value; `None` for what it shows as `-s` does.
fn plain_text(evaluator: &Evaluator, value: &Tree, radix: Radix) -> Option<String> {
    let number = |value: i128, size: u64| {
        let bits = size.saturating_mul(8).clamp(1, 64);
        let unsigned = value as u64 & (u64::MAX >> (64 - bits));
        match radix {
            Radix::Hexadecimal => format!("{unsigned:#x}"),
            Radix::Decimal => unsigned.to_string(),
        }
    };
    Some(match value {
        Tree::Integer { value, size: 8, .. } => {
            let code = function_at(evaluator, VirtAddr(*value as u64));
            format!("{}{code}", number(*value, 8))
        }
        Tree::Integer { value, size, .. } => number(*value, *size),
        Tree::Boolean(value) => number(i128::from(*value), 1),
        // The value has its sign by now, and the type's size is not told.
        Tree::Enum { value, .. } => number(*value, 4),
        Tree::Pointer { address, string: Some(string), .. } => {
            let string = string.as_ref().map_or_else(
                |why| format!("<{}>", why.code()),
                |string| format!("\"{}\"", String::from_utf8_lossy(&string.bytes)),
            );
            format!("{:#x}  {string}", address.0)
        }
        Tree::Pointer { address, .. } => {
            format!("{:#x}{}", address.0, function_at(evaluator, *address))
        }
        Tree::Text(bytes) => {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or(bytes));
            format!("\"{text}\"")
        }
        _ => return None,
    })
}

/// The offset in bytes of the member that a word such as `task_struct.tasks` names.
pub(in crate::commands) fn member_offset(kernel: &Kernel, word: &str) -> Option<u64> {
    let (name, path) = word.split_once('.')?;
    let evaluator = Evaluator::new(kernel);
    let ty = StructType::find(&evaluator, name, None).ok()?;
    find_member(evaluator.types(), ty.id, path).ok().map(|found| found.offset())
}
