//! Bytes and a type to a [`Value`].

use super::{EnumMeaning, Field, ObjectBytes, Repeated, Value, ValueContext, ValueLimits};
use crate::types::{
    Compound, Enum, IntEncoding, Type, TypeError, TypeId, TypeSource, size_of, strip, type_name,
};
use mortis_memory::{Unavailable, VirtAddr};

/// The most values that one tree holds: arrays of arrays of arrays multiply.
const MAX_VALUES: usize = 200_000;

/// Decodes the bytes of `object` as a value of type `ty`.
pub fn decode_value(
    source: &dyn TypeSource,
    ty: TypeId,
    object: &ObjectBytes,
    context: &dyn ValueContext,
    limits: &ValueLimits,
) -> Value {
    let mut decoder = Decoder { source, object, context, limits, values: 0 };
    decoder.value(ty, Place { bit_offset: 0, bit_size: None }, 0)
}

/// Where in the object a value stands.
#[derive(Clone, Copy)]
struct Place {
    bit_offset: u64,
    /// Of a bit field.
    bit_size: Option<u32>,
}

impl Place {
    const fn byte(self) -> u64 {
        self.bit_offset / 8
    }
}

struct Decoder<'a> {
    source: &'a dyn TypeSource,
    object: &'a ObjectBytes,
    context: &'a dyn ValueContext,
    limits: &'a ValueLimits,
    values: usize,
}

impl Decoder<'_> {
    fn value(&mut self, id: TypeId, place: Place, depth: usize) -> Value {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Value::Elided;
        }
        match strip(self.source, id) {
            Ok((_, ty)) => self.decode(id, &ty, place, depth).unwrap_or_else(Value::Unavailable),
            Err(error) => Value::Damaged(error),
        }
    }

    fn decode(
        &mut self,
        id: TypeId,
        ty: &Type,
        place: Place,
        depth: usize,
    ) -> Result<Value, Unavailable> {
        Ok(match ty {
            Type::Void => Value::Void,
            Type::Int { size, signed, encoding, .. } => {
                let value = self.integer(place, *size, *signed)?;
                match encoding {
                    IntEncoding::Boolean => Value::Boolean(value as u64),
                    _ => Value::Integer {
                        value,
                        size: *size,
                        character: *encoding == IntEncoding::Character,
                    },
                }
            }
            Type::Float { size, .. } => self.float(place, *size)?,
            Type::Enum(kind) => {
                let value = self.integer(place, kind.size, kind.signed)?;
                Value::Enum { value, meaning: meaning(kind, value) }
            }
            Type::Pointer { target, size } => {
                let address = VirtAddr(self.integer(place, *size, false)? as u64);
                self.pointer(*target, address)
            }
            Type::Function(_) => {
                let address = self.object.address().offset(place.byte());
                let symbol = self.context.symbolize(address);
                Value::Function { ty: type_name(self.source, id), address, symbol }
            }
            Type::Compound(compound) => self.compound(id, compound, place, depth)?,
            Type::Array { element, count } => {
                self.array(*element, count.unwrap_or(0), place, depth)?
            }
            // `strip` leaves none.
            Type::Typedef { .. } | Type::Qualified { .. } => {
                Value::Damaged(TypeError::Endless(id.0))
            }
        })
    }

    /// The number at `place`, of a type of `size` bytes.
    fn integer(&self, place: Place, size: u64, signed: bool) -> Result<i128, Unavailable> {
        let bits = u64::from(place.bit_size.unwrap_or(0));
        let bits = if bits == 0 { size.saturating_mul(8) } else { bits };
        let shift = match place.bit_size {
            Some(_) => place.bit_offset % 8,
            None => 0,
        };
        if bits == 0 || bits + shift > 128 {
            return Err(Unavailable::Unreadable);
        }
        let bytes = self.object.get(place.byte(), (bits + shift).div_ceil(8))?;
        let mut wide = [0; 16];
        for (to, from) in wide.iter_mut().zip(bytes) {
            *to = *from;
        }
        let unused = 128 - bits;
        let raised = (u128::from_le_bytes(wide) >> shift) << unused;
        Ok(if signed { raised as i128 >> unused } else { (raised >> unused) as i128 })
    }

    fn float(&self, place: Place, size: u64) -> Result<Value, Unavailable> {
        let bytes = self.object.get(place.byte(), size)?;
        let value = if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
            f64::from(f32::from_le_bytes(bytes))
        } else if let Ok(bytes) = <[u8; 8]>::try_from(bytes) {
            f64::from_le_bytes(bytes)
        } else {
            // `long double`: no kernel has one in memory.
            f64::NAN
        };
        Ok(Value::Float { value, size })
    }

    fn pointer(&self, target: TypeId, address: VirtAddr) -> Value {
        let symbol = if address.is_null() { None } else { self.context.symbolize(address) };
        let string = (self.limits.strings && !address.is_null() && self.is_character(target))
            .then(|| self.context.string(address, self.limits.elements as usize));
        Value::Pointer { address, symbol, string }
    }

    fn is_character(&self, id: TypeId) -> bool {
        matches!(
            strip(self.source, id).as_ref().map(|(_, ty)| &**ty),
            Ok(Type::Int { encoding: IntEncoding::Character, size: 1, .. })
        )
    }

    fn compound(
        &mut self,
        id: TypeId,
        compound: &Compound,
        place: Place,
        depth: usize,
    ) -> Result<Value, Unavailable> {
        if compound.incomplete {
            return Ok(Value::Damaged(TypeError::NoSize(type_name(self.source, id))));
        }
        if let Some(why) = self.object.wholly_missing(place.byte(), compound.size) {
            return Err(why);
        }
        if depth >= self.limits.depth {
            return Ok(Value::Elided);
        }
        let mut fields = Vec::new();
        for member in &compound.members {
            if self.values > MAX_VALUES {
                break;
            }
            let place = Place {
                bit_offset: place.bit_offset.wrapping_add(member.bit_offset),
                bit_size: member.bit_size,
            };
            let value = self.value(member.ty, place, depth + 1);
            fields.push(Field { name: member.name.clone(), value });
        }
        Ok(Value::Compound(fields))
    }

    fn array(
        &mut self,
        element: TypeId,
        count: u64,
        place: Place,
        depth: usize,
    ) -> Result<Value, Unavailable> {
        let start = place.byte();
        let size = match size_of(self.source, element) {
            Ok(size) => size,
            Err(error) => return Ok(Value::Damaged(error)),
        };
        let total = size.saturating_mul(count);
        if total == 0 {
            // gdb shows an array without elements as a pointer to where the first would be.
            return Ok(self.pointer(element, self.object.address().offset(start)));
        }
        if let Some(why) = self.object.wholly_missing(start, total) {
            return Err(why);
        }
        if self.is_character(element)
            && let Ok(bytes) = self.object.get(start, total)
        {
            let end = bytes.iter().position(|&byte| self.limits.stop_at_null && byte == 0);
            return Ok(Value::Text(
                bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes).to_vec(),
            ));
        }
        if depth >= self.limits.depth {
            return Ok(Value::Elided);
        }
        let there = (self.object.len() as u64).saturating_sub(start).div_ceil(size).min(count);
        let mut elements = Vec::new();
        let mut index = 0;
        let mut shown = 0;
        while index < there && shown < self.limits.elements && self.values <= MAX_VALUES {
            let at = start + index * size;
            let mut next = index + 1;
            while next < there && self.object.alike(at, start + next * size, size) {
                next += 1;
            }
            let mut times = next - index;
            if times <= self.limits.repeats {
                // A short row is shown one by one: it may be cut, and a flexible array is shown
                // by its address, which is another in each.
                times = 1;
            }
            let place = Place { bit_offset: at.saturating_mul(8), bit_size: None };
            elements.push(Repeated { value: self.value(element, place, depth + 1), times });
            shown += times.min(self.limits.repeats);
            index += times;
        }
        Ok(Value::Array { elements, omitted: count - index })
    }
}

fn meaning(kind: &Enum, value: i128) -> EnumMeaning {
    let number =
        |value: i64| if kind.signed { i128::from(value) } else { i128::from(value as u64) };
    if let Some((name, _)) = kind.variants.iter().find(|(_, known)| number(*known) == value) {
        return EnumMeaning::Name(name.clone());
    }
    // gdb takes an enumeration for flags when no enumerator has two bits or a sign.
    let is_flags = kind.variants.iter().all(|(_, known)| *known >= 0 && known.count_ones() < 2);
    let Ok(mut unknown) = u64::try_from(value) else { return EnumMeaning::Unknown };
    if !is_flags {
        return EnumMeaning::Unknown;
    }
    let mut names = Vec::new();
    for (name, flag) in &kind.variants {
        if unknown & *flag as u64 != 0 {
            unknown &= !(*flag as u64);
            names.push(name.clone());
        }
    }
    EnumMeaning::Flags { names, unknown }
}
