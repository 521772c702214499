//! One entry of `.debug_info` to a [`Type`].

use std::sync::Arc;

use gimli::{AttributeValue, DebuggingInformationEntry, DwAt, UnitOffset, constants};
use mortis_memory::LinkAddr;

use super::types::EntryId;
use super::unit::LoadedUnit;
use super::{Dwarf, DwarfError, Slice};
use crate::types::{
    Compound, CompoundKind, Enum, Function, IntEncoding, Member, Qualifier, Type, TypeError, TypeId,
};

type Entry<'a> = DebuggingInformationEntry<Slice<'a>>;

/// Everything one entry needs to be decoded.
struct Decoder<'a, 'u> {
    dwarf: &'a Dwarf,
    sections: &'u gimli::Dwarf<Slice<'a>>,
    unit: gimli::Unit<Slice<'a>>,
    loaded: Arc<LoadedUnit>,
}

impl<'a, 'u> Decoder<'a, 'u> {
    /// For the unit with the entry at `offset`, and where the entry is in it.
    fn at(
        dwarf: &'a Dwarf,
        sections: &'u gimli::Dwarf<Slice<'a>>,
        offset: u64,
    ) -> Result<Option<(Self, UnitOffset)>, DwarfError> {
        let Some(loaded) = dwarf.unit_of_entry(offset)? else { return Ok(None) };
        let unit = loaded.open(sections)?;
        let entry = usize::try_from(offset).ok().map(gimli::DebugInfoOffset);
        let entry = entry.and_then(|entry| entry.to_unit_offset(&unit.header));
        Ok(entry.map(|entry| (Self { dwarf, sections, unit, loaded }, entry)))
    }

    fn damaged(&self, error: gimli::Error) -> DwarfError {
        self.loaded.damaged(error)
    }

    fn entry(&self, offset: UnitOffset) -> Result<Entry<'a>, DwarfError> {
        self.unit.entry(offset).map_err(|error| self.damaged(error))
    }

    fn name(&self, entry: &Entry<'a>) -> Option<Arc<str>> {
        let name = entry.attr_value(constants::DW_AT_name)?;
        let name = self.sections.attr_string(&self.unit, name).ok()?;
        (!name.is_empty()).then(|| name.to_string_lossy().into())
    }

    /// The entry that `entry` refers to with `attribute`, as an offset of `.debug_info`.
    fn reference(&self, entry: &Entry<'a>, attribute: DwAt) -> Option<u64> {
        match entry.attr_value(attribute)? {
            AttributeValue::UnitRef(offset) => {
                Some(offset.to_debug_info_offset(&self.unit.header)?.0 as u64)
            }
            AttributeValue::DebugInfoRef(offset) => Some(offset.0 as u64),
            _ => None,
        }
    }

    /// `DW_AT_type`; an entry without one has or returns nothing.
    fn target(&self, entry: &Entry<'a>) -> TypeId {
        self.reference(entry, constants::DW_AT_type)
            .and_then(|entry| EntryId { entry, dimension: 0 }.to_type())
            .unwrap_or(TypeId::VOID)
    }

    /// Calls `visit` with the children of the entry at `parent`, in order.
    fn children(
        &self,
        parent: UnitOffset,
        visit: &mut dyn FnMut(&Entry<'a>),
    ) -> Result<(), DwarfError> {
        let mut walk = || {
            let mut cursor = self.unit.entries_at_offset(parent)?;
            cursor.next_entry()?;
            if !cursor.current().is_some_and(|entry| entry.has_children()) {
                return Ok(());
            }
            cursor.next_entry()?;
            while let Some(child) = cursor.current() {
                visit(child);
                cursor.next_sibling()?;
            }
            Ok(())
        };
        walk().map_err(|error| self.damaged(error))
    }
}

/// Decodes the type at `id`.
pub(super) fn decode(dwarf: &Dwarf, id: EntryId) -> Result<Type, TypeError> {
    let damaged = |what| TypeError::Damaged { section: ".debug_info", offset: id.entry, what };
    let unknown = || TypeError::UnknownId(id.entry);
    let failed = |error: DwarfError| match error {
        DwarfError::Damaged { .. } => damaged("it cannot be decoded"),
        _ => damaged("the section cannot be read"),
    };
    let sections = dwarf.sections().map_err(failed)?;
    let (decoder, offset) =
        Decoder::at(dwarf, &sections, id.entry).map_err(failed)?.ok_or_else(unknown)?;
    let entry = decoder.entry(offset).map_err(failed)?;
    if entry.tag() == constants::DW_TAG_array_type {
        return decoder.array(&entry, id).map_err(failed);
    }
    match id.dimension {
        0 => decoder.plain(&entry).map_err(failed)?.ok_or_else(|| damaged("it is no type")),
        _ => Err(unknown()),
    }
}

/// The type of the variable whose entry is at `offset`.
pub(super) fn type_of(dwarf: &Dwarf, offset: u64) -> Result<Option<TypeId>, DwarfError> {
    /// Definition → declaration, and one to spare.
    const MAX_HOPS: usize = 3;
    let sections = dwarf.sections()?;
    let mut offset = offset;
    for _ in 0..MAX_HOPS {
        let Some((decoder, at)) = Decoder::at(dwarf, &sections, offset)? else { break };
        let entry = decoder.entry(at)?;
        if entry.has_attr(constants::DW_AT_type) {
            return Ok(Some(decoder.target(&entry)));
        }
        let declaration = decoder
            .reference(&entry, constants::DW_AT_specification)
            .or_else(|| decoder.reference(&entry, constants::DW_AT_abstract_origin));
        match declaration {
            Some(declaration) => offset = declaration,
            None => break,
        }
    }
    Ok(None)
}

/// Where the variable is whose entry is at `offset`: the operand of `DW_OP_addr`, when its
/// location is that and nothing else.
pub(super) fn variable_address(dwarf: &Dwarf, offset: u64) -> Result<Option<LinkAddr>, DwarfError> {
    let sections = dwarf.sections()?;
    let Some((decoder, at)) = Decoder::at(dwarf, &sections, offset)? else { return Ok(None) };
    let entry = decoder.entry(at)?;
    let location = entry.attr_value(constants::DW_AT_location);
    let Some(expression) = location.and_then(|location| location.exprloc_value()) else {
        return Ok(None);
    };
    let mut operations = expression.operations(decoder.unit.encoding());
    let first = operations.next().map_err(|error| decoder.damaged(error))?;
    let address = match first {
        Some(gimli::Operation::Address { address }) => Some(address),
        Some(gimli::Operation::AddressIndex { index }) => {
            let address = sections.address(&decoder.unit, index);
            Some(address.map_err(|error| decoder.damaged(error))?)
        }
        _ => None,
    };
    let alone = matches!(operations.next(), Ok(None));
    Ok(address.filter(|_| alone).map(LinkAddr))
}

impl<'a> Decoder<'a, '_> {
    /// Any type but an array. `None` when the entry is no type.
    fn plain(&self, entry: &Entry<'a>) -> Result<Option<Type>, DwarfError> {
        let target = self.target(entry);
        let qualified = |qualifier| Type::Qualified { qualifier, target };
        let unnamed = || Arc::from("");
        Ok(Some(match entry.tag() {
            constants::DW_TAG_base_type => self.base(entry),
            constants::DW_TAG_unspecified_type => Type::Void,
            constants::DW_TAG_pointer_type
            | constants::DW_TAG_reference_type
            | constants::DW_TAG_rvalue_reference_type => {
                let size = number(entry, constants::DW_AT_byte_size)
                    .unwrap_or_else(|| self.unit.encoding().address_size.into());
                Type::Pointer { target, size }
            }
            constants::DW_TAG_structure_type | constants::DW_TAG_class_type => {
                self.compound(entry, CompoundKind::Struct)?
            }
            constants::DW_TAG_union_type => self.compound(entry, CompoundKind::Union)?,
            constants::DW_TAG_enumeration_type => self.enumeration(entry)?,
            constants::DW_TAG_typedef => {
                Type::Typedef { name: self.name(entry).unwrap_or_else(unnamed), target }
            }
            constants::DW_TAG_const_type => qualified(Qualifier::Const),
            constants::DW_TAG_volatile_type => qualified(Qualifier::Volatile),
            constants::DW_TAG_restrict_type => qualified(Qualifier::Restrict),
            constants::DW_TAG_atomic_type => qualified(Qualifier::Atomic),
            constants::DW_TAG_subroutine_type | constants::DW_TAG_subprogram => {
                self.function(entry)?
            }
            _ => return Ok(None),
        }))
    }

    fn base(&self, entry: &Entry<'a>) -> Type {
        let name = self.name(entry).unwrap_or_else(|| "".into());
        let size = number(entry, constants::DW_AT_byte_size).unwrap_or(0);
        let encoding = match entry.attr_value(constants::DW_AT_encoding) {
            Some(AttributeValue::Encoding(encoding)) => encoding,
            _ => constants::DW_ATE_unsigned,
        };
        let int = |signed, encoding| Type::Int { name: name.clone(), size, signed, encoding };
        match encoding {
            constants::DW_ATE_float
            | constants::DW_ATE_complex_float
            | constants::DW_ATE_imaginary_float
            | constants::DW_ATE_decimal_float => Type::Float { name, size },
            constants::DW_ATE_boolean => int(false, IntEncoding::Boolean),
            constants::DW_ATE_signed => int(true, IntEncoding::Number),
            constants::DW_ATE_signed_char => int(true, IntEncoding::Character),
            constants::DW_ATE_unsigned_char | constants::DW_ATE_UTF | constants::DW_ATE_ASCII => {
                int(false, IntEncoding::Character)
            }
            _ => int(false, IntEncoding::Number),
        }
    }

    fn compound(&self, entry: &Entry<'a>, kind: CompoundKind) -> Result<Type, DwarfError> {
        let mut members = Vec::new();
        self.children(entry.offset(), &mut |child| {
            if child.tag() == constants::DW_TAG_member {
                members.push(self.member(child));
            }
        })?;
        Ok(Type::Compound(Compound {
            kind,
            name: self.name(entry),
            size: number(entry, constants::DW_AT_byte_size).unwrap_or(0),
            members,
            incomplete: entry.has_attr(constants::DW_AT_declaration),
        }))
    }

    fn member(&self, entry: &Entry<'a>) -> Member {
        let bit_size = number(entry, constants::DW_AT_bit_size)
            .and_then(|bits| u32::try_from(bits).ok())
            .filter(|&bits| bits != 0);
        Member {
            name: self.name(entry),
            ty: self.target(entry),
            bit_offset: self.bit_offset(entry, bit_size),
            bit_size,
        }
    }

    /// Where a member starts, in bits.
    fn bit_offset(&self, entry: &Entry<'a>, bit_size: Option<u32>) -> u64 {
        // DWARF 4, 5.5.6: bits from the start of the struct.
        if let Some(bits) = number(entry, constants::DW_AT_data_bit_offset) {
            return bits;
        }
        let bits = self.member_location(entry).wrapping_mul(8);
        // DWARF 3, 5.5.6: bits from the most significant bit of a storage unit, which starts at
        // the member's location and, unless it has a size, is as large as the member's type.
        match (number(entry, constants::DW_AT_bit_offset), bit_size) {
            (Some(from_top), Some(bit_size)) => {
                let storage = number(entry, constants::DW_AT_byte_size)
                    .or_else(|| self.size_of(self.target(entry)))
                    .unwrap_or(0);
                bits.wrapping_add(storage.wrapping_mul(8))
                    .wrapping_sub(from_top)
                    .wrapping_sub(bit_size.into())
            }
            _ => bits,
        }
    }

    /// `DW_AT_data_member_location` in bytes: a number, or as DWARF 2 wrote it, an expression
    /// that adds a number to the struct's address. A member of a union may have none.
    fn member_location(&self, entry: &Entry<'a>) -> u64 {
        let Some(location) = entry.attr_value(constants::DW_AT_data_member_location) else {
            return 0;
        };
        if let Some(bytes) = location.udata_value() {
            return bytes;
        }
        let expression = location.exprloc_value();
        let first = expression.map(|e| e.operations(self.unit.encoding()).next());
        match first {
            Some(Ok(Some(gimli::Operation::PlusConstant { value }))) => value,
            Some(Ok(Some(gimli::Operation::UnsignedConstant { value }))) => value,
            _ => 0,
        }
    }

    /// Bytes of an integer or enumeration, under typedefs and qualifiers.
    fn size_of(&self, id: TypeId) -> Option<u64> {
        const MAX_CHAIN: usize = 32;
        let mut offset = id.0;
        for _ in 0..MAX_CHAIN {
            let (decoder, at) = Decoder::at(self.dwarf, self.sections, offset).ok()??;
            let entry = decoder.entry(at).ok()?;
            if let Some(size) = number(&entry, constants::DW_AT_byte_size) {
                return Some(size);
            }
            offset = decoder.reference(&entry, constants::DW_AT_type)?;
        }
        None
    }

    fn enumeration(&self, entry: &Entry<'a>) -> Result<Type, DwarfError> {
        let mut variants: Vec<(Arc<str>, i64)> = Vec::new();
        self.children(entry.offset(), &mut |child| {
            if child.tag() == constants::DW_TAG_enumerator
                && let Some(name) = self.name(child)
            {
                variants.push((name, enumerator_value(child)));
            }
        })?;
        let is_64_bit_unsigned = number(entry, constants::DW_AT_byte_size) == Some(8)
            && self.is_unsigned(self.target(entry));
        let signed = !is_64_bit_unsigned && variants.iter().any(|(_, value)| *value < 0);
        Ok(Type::Enum(Enum {
            name: self.name(entry),
            size: number(entry, constants::DW_AT_byte_size).unwrap_or(0),
            signed,
            variants,
            incomplete: entry.has_attr(constants::DW_AT_declaration),
        }))
    }

    /// Whether the integer type that an enumeration is kept in has no sign.
    fn is_unsigned(&self, id: TypeId) -> bool {
        let Ok(Some((decoder, at))) = Decoder::at(self.dwarf, self.sections, id.0) else {
            return false;
        };
        let Ok(entry) = decoder.entry(at) else { return false };
        matches!(
            entry.attr_value(constants::DW_AT_encoding),
            Some(AttributeValue::Encoding(constants::DW_ATE_unsigned))
        )
    }

    fn function(&self, entry: &Entry<'a>) -> Result<Type, DwarfError> {
        let mut parameters = Vec::new();
        let mut variadic = false;
        self.children(entry.offset(), &mut |child| match child.tag() {
            constants::DW_TAG_formal_parameter => {
                parameters.push((self.name(child), self.target(child)));
            }
            constants::DW_TAG_unspecified_parameters => variadic = true,
            _ => {}
        })?;
        Ok(Type::Function(Function { result: self.target(entry), parameters, variadic }))
    }

    /// The dimension `id` of an array.
    fn array(&self, entry: &Entry<'a>, id: EntryId) -> Result<Type, DwarfError> {
        let mut counts = Vec::new();
        self.children(entry.offset(), &mut |child| {
            if child.tag() == constants::DW_TAG_subrange_type {
                counts.push(element_count(child));
            }
        })?;
        let next = id.dimension + 1;
        let element = if next < counts.len() as u64 {
            EntryId { dimension: next, ..id }.to_type().unwrap_or(TypeId::VOID)
        } else {
            self.target(entry)
        };
        let count = usize::try_from(id.dimension).ok().and_then(|at| counts.get(at).copied());
        Ok(Type::Array { element, count: count.flatten() })
    }
}

fn number(entry: &Entry<'_>, attribute: DwAt) -> Option<u64> {
    entry.attr_value(attribute)?.udata_value()
}

/// The value of an enumerator. Compilers write negative ones as `DW_FORM_sdata` and the others in
/// as few bytes as they fit into, whose top bit is no sign.
fn enumerator_value(entry: &Entry<'_>) -> i64 {
    match entry.attr_value(constants::DW_AT_const_value) {
        Some(AttributeValue::Sdata(value)) => value,
        Some(value) => value.udata_value().unwrap_or(0) as i64,
        None => 0,
    }
}

/// Elements of one dimension; `None` for `[]`, and for `[0]`, which BTF does not tell from it.
fn element_count(subrange: &Entry<'_>) -> Option<u64> {
    let count = match subrange.attr_value(constants::DW_AT_count) {
        Some(count) => count.udata_value()?,
        // The bound of `[0]` is -1.
        None => number(subrange, constants::DW_AT_upper_bound)?.checked_add(1)?,
    };
    (count != 0).then_some(count)
}
