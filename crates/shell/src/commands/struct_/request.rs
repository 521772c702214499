//! What the words of `struct` ask for.

use super::{SYNOPSIS, invalid_reference};
use crate::arguments::Arguments;
use crate::command::CommandError;
use crate::commands::p::chosen_cpus;
use crate::commands::sym::address_of;
use crate::session::Session;
use crate::typed_value::ValueStyle;
use mortis_debuginfo::types::{CompoundKind, Namespace, Type, TypeId, find_member, strip};
use mortis_kernel::expression::Evaluator;
use mortis_memory::VirtAddr;

/// A struct or union by the name that it was asked for.
pub(in crate::commands) struct StructType {
    pub id: TypeId,
    pub name: String,
    pub kind: CompoundKind,
    /// Whether the name is a typedef's rather than a tag.
    pub is_typedef: bool,
    /// Bytes.
    pub size: u64,
}

/// Structures in memory.
pub(super) struct Target {
    /// The first one's address: of each CPU that was asked for, or the one.
    pub places: Vec<(Option<u32>, VirtAddr)>,
    /// How many there are in a row.
    pub count: u64,
}

/// Everything that was asked for.
pub(super) struct Request {
    pub ty: StructType,
    /// Paths of members; empty for the whole.
    pub members: Vec<String>,
    /// `None` asks for the layout.
    pub target: Option<Target>,
    pub offsets: bool,
    pub raw: bool,
    pub pointers: bool,
    /// Whether addresses are the task's in focus.
    pub user: bool,
    pub hexadecimal: bool,
    pub style: ValueStyle,
    /// What was asked for and makes no sense.
    pub warning: Option<String>,
}

impl Request {
    pub fn parse(
        session: &Session,
        evaluator: &Evaluator,
        arguments: &Arguments,
        kind: Option<CompoundKind>,
    ) -> Result<Self, CommandError> {
        let usage = || CommandError::Usage(format!("Usage: struct {SYNOPSIS}"));
        let mut words = arguments.words.iter();
        let reference = words.next().ok_or_else(usage)?;
        if reference.ends_with([',', '.']) {
            return Err(CommandError::Message(format!("invalid format: {reference}")));
        }
        let (name, members) = match reference.split_once('.') {
            Some((name, members)) => (name, members.split(',').map(str::to_owned).collect()),
            None => (reference.as_str(), Vec::new()),
        };
        let hexadecimal = arguments.has('x') || arguments.has('h');
        if hexadecimal && arguments.has('d') {
            return Err(CommandError::message("-d and -x are mutually exclusive"));
        }
        let ty = StructType::find(evaluator, name, kind)?;
        let mut request = Self {
            members,
            target: None,
            offsets: arguments.has('o'),
            raw: arguments.has('r'),
            pointers: arguments.has('p'),
            user: arguments.has('u'),
            hexadecimal,
            style: ValueStyle::new(session, hexadecimal, arguments.has('d')),
            warning: None,
            ty,
        };
        request.check_members(evaluator)?;
        match words.next() {
            Some(word) => {
                let count = words.next().map(String::as_str).or(arguments.value('c'));
                let back = request.bytes_back(session, evaluator, arguments.value('l'))?;
                request.set_target(session, evaluator, word, count, back, arguments.has('f'))?;
                if words.next().is_some() {
                    return Err(CommandError::message("too many arguments!"));
                }
            }
            None if arguments.has('c') => {
                return Err(CommandError::message("no kernel virtual address argument entered"));
            }
            None if request.pointers => {
                return Err(CommandError::message("-p option requires address argument"));
            }
            None => {}
        }
        Ok(request)
    }

    fn check_members(&self, evaluator: &Evaluator) -> Result<(), CommandError> {
        let missing = |path: &&String| find_member(evaluator.types(), self.ty.id, path).is_err();
        match self.members.iter().find(missing) {
            Some(path) => Err(invalid_reference(&format!("{}.{path}", self.ty.name))),
            None => Ok(()),
        }
    }

    /// How far before the address the structure begins: `-l`.
    fn bytes_back(
        &self,
        session: &Session,
        evaluator: &Evaluator,
        offset: Option<&str>,
    ) -> Result<u64, CommandError> {
        let Some(offset) = offset else { return Ok(0) };
        if let Some(bytes) = session.parse_number(offset) {
            return Ok(bytes);
        }
        let found = offset.split_once('.').and_then(|(name, path)| {
            let ty = StructType::find(evaluator, name, None).ok()?;
            find_member(evaluator.types(), ty.id, path).ok()
        });
        let invalid = || CommandError::Message(format!("invalid -l option: {offset}"));
        Ok(found.ok_or_else(invalid)?.offset())
    }

    fn set_target(
        &mut self,
        session: &Session,
        evaluator: &Evaluator,
        word: &str,
        count: Option<&str>,
        back: u64,
        in_file: bool,
    ) -> Result<(), CommandError> {
        let (word, mut cpuspec) = match word.rsplit_once(':') {
            Some((word, cpuspec)) if !word.contains('(') => (word, Some(cpuspec)),
            _ => (word, None),
        };
        let kernel = evaluator.kernel();
        let symbol = kernel.all_symbols().ok().and_then(|symbols| symbols.symbol(word));
        let address = match &symbol {
            Some(symbol) => symbol.address,
            None if in_file => VirtAddr(
                session
                    .parse_number(word)
                    .ok_or_else(|| CommandError::Message(format!("not a number: {word}")))?,
            ),
            None => address_of(session, word)?,
        };
        // A user address has a kernel address's place only with -u, an offset in the file with -f.
        let is_number = word.bytes().all(|digit| digit.is_ascii_hexdigit());
        if is_number && symbol.is_none() && !in_file && !self.user && address.0 >> 63 == 0 {
            let what = format!("invalid kernel virtual address: {word}");
            return Err(CommandError::Message(what));
        }
        if let (Some(symbol), Some(_)) = (&symbol, cpuspec)
            && !kernel.is_per_cpu(symbol)
        {
            self.warning = Some(format!("{} is not percpu; cpuspec ignored.", symbol.name));
            cpuspec = None;
        }
        let count = match count {
            Some(count) => parse_count(session, count)?,
            None => 1,
        };
        let before = match count {
            count if count < 0 => self.ty.size.wrapping_mul(count.unsigned_abs() - 1),
            _ => 0,
        };
        let start = address.back(back).back(before);
        let places = match cpuspec {
            None => vec![(None, start)],
            Some(cpuspec) => {
                let mut places = Vec::new();
                for cpu in chosen_cpus(session, cpuspec)? {
                    places.push((Some(cpu), kernel.cpus()?.address(start, cpu)?));
                }
                places
            }
        };
        self.target = Some(Target { places, count: count.unsigned_abs() });
        Ok(())
    }
}

fn parse_count(session: &Session, word: &str) -> Result<i64, CommandError> {
    let invalid = || CommandError::Message(format!("invalid count: {word}"));
    let (digits, sign) = match word.strip_prefix('-') {
        Some(digits) => (digits, -1),
        None => (word, 1),
    };
    let count = session.parse_number(digits).and_then(|count| i64::try_from(count).ok());
    Ok(sign * count.ok_or_else(invalid)?)
}

impl StructType {
    /// The struct or union called `name`, by its tag or a typedef.
    pub fn find(
        evaluator: &Evaluator,
        name: &str,
        kind: Option<CompoundKind>,
    ) -> Result<Self, CommandError> {
        let kernel = evaluator.kernel();
        let order = match kind {
            Some(CompoundKind::Union) => [Namespace::Union, Namespace::Struct, Namespace::Typedef],
            _ => [Namespace::Struct, Namespace::Union, Namespace::Typedef],
        };
        let mismatch = |kind: CompoundKind| {
            let word = match kind {
                CompoundKind::Struct => "struct",
                CompoundKind::Union => "union",
            };
            CommandError::Message(format!("data type mismatch: {name} is not a {word}"))
        };
        for namespace in order {
            let Some(id) = kernel.find_type(namespace, name)? else { continue };
            let is_typedef = namespace == Namespace::Typedef;
            return match &*strip(evaluator.types(), id)?.1 {
                Type::Compound(compound) if kind.is_none_or(|kind| kind == compound.kind) => {
                    let (kind, size) = (compound.kind, compound.size);
                    Ok(Self { id, name: name.to_owned(), kind, is_typedef, size })
                }
                Type::Compound(_) => Err(mismatch(kind.unwrap_or(CompoundKind::Struct))),
                _ => match kind {
                    Some(kind) => Err(mismatch(kind)),
                    None => Err(CommandError::message("invalid argument")),
                },
            };
        }
        Err(invalid_reference(name))
    }

    /// `struct` or `union`.
    pub const fn keyword(&self) -> &'static str {
        match self.kind {
            CompoundKind::Struct => "struct",
            CompoundKind::Union => "union",
        }
    }
}
