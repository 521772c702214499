//! A tree into a value.

use super::parser::{Expression, Unary};
use super::{Evaluator, ExpressionError, Integer, Place, Value};
use crate::globals;
use mortis_debuginfo::symbols::Symbol;
use mortis_debuginfo::types::{
    IntEncoding, Type, TypeId, TypeSource, find_member, size_of, strip, type_name,
};
use mortis_memory::VirtAddr;
use std::sync::Arc;

impl Evaluator<'_> {
    pub(super) fn value(&self, expression: &Expression) -> Result<Value, ExpressionError> {
        match expression {
            Expression::Number { value, unsigned, long } => {
                Ok(self.integer(literal(*value, *unsigned, *long)))
            }
            Expression::Float { value, size } => Ok(self.float(*value, *size)),
            Expression::Character(byte) => {
                let ty = self.parse_type("char")?;
                Ok(Value { ty, place: Place::Computed(u64::from(*byte)) })
            }
            Expression::History(number) => self.shown_before(*number),
            Expression::Name(name) => self.name(name),
            Expression::PerCpu { symbol, cpu } => self.per_cpu(symbol, *cpu),
            Expression::Unary(operator, operand) => self.unary(*operator, operand),
            Expression::Binary(operator, left, right) => {
                let left = self.value(left)?;
                // C does not look at the right side where the left one decides.
                if matches!(*operator, "&&" | "||") {
                    let truth = self.is_true(&left)?;
                    if truth == (*operator == "||") {
                        return Ok(self.integer(Integer::truth(truth)));
                    }
                }
                let right = self.value(right)?;
                self.binary(operator, &left, &right)
            }
            Expression::Member(base, member) => {
                let base = self.value(base)?;
                self.member(&base, member)
            }
            Expression::Index(base, index) => {
                let (base, index) = (self.value(base)?, self.value(index)?);
                let sum = self.binary("+", &base, &index)?;
                self.dereference(&sum)
            }
            Expression::Cast(ty, operand) => {
                let operand = self.value(operand)?;
                self.cast(*ty, &operand)
            }
            Expression::At(ty, operand) => {
                let address = self.load(&self.value(operand)?)?.bits;
                Ok(Value { ty: *ty, place: Place::at(VirtAddr(address)) })
            }
            Expression::Conditional(condition, first, second) => {
                let chosen = match self.is_true(&self.value(condition)?)? {
                    true => first,
                    false => second,
                };
                self.value(chosen)
            }
            Expression::Comma(left, right) => {
                self.value(left)?;
                self.value(right)
            }
            Expression::SizeOfType(ty) => self.size_value(*ty),
            Expression::SizeOf(operand) => {
                let operand = self.value(operand)?;
                self.size_value(operand.ty)
            }
        }
    }

    /// A computed integer.
    pub fn integer(&self, integer: Integer) -> Value {
        let ty = self.int_type(integer.size, integer.signed);
        Value { ty, place: Place::Computed(integer.bits) }
    }

    fn size_value(&self, ty: TypeId) -> Result<Value, ExpressionError> {
        Ok(self.integer(Integer::new(size_of(self.types, ty)?, 8, false)))
    }

    fn shown_before(&self, number: Option<usize>) -> Result<Value, ExpressionError> {
        let found = match number {
            Some(number) => number.checked_sub(1).and_then(|index| self.history.get(index)),
            None => self.history.last(),
        };
        found.copied().ok_or_else(|| {
            let number = number.map_or(String::new(), |number| number.to_string());
            ExpressionError::UnknownName(format!("${number}"))
        })
    }

    fn name(&self, name: &str) -> Result<Value, ExpressionError> {
        let symbol = self.kernel.all_symbols().ok().and_then(|symbols| symbols.symbol(name));
        if let Some(symbol) = symbol {
            let ty = self
                .symbol_type(&symbol)
                .ok_or_else(|| ExpressionError::UntypedSymbol(name.to_owned()))?;
            return Ok(Value { ty, place: Place::at(symbol.address) });
        }
        if let Some((ty, value)) = self.types.enumerator(name) {
            return Ok(Value { ty, place: Place::Computed(value.cast_unsigned()) });
        }
        // An address as crash prints it, without `0x`.
        match u64::from_str_radix(name, 16) {
            Ok(address) => Ok(self.integer(Integer::new(address, 8, false))),
            Err(_) => Err(ExpressionError::UnknownName(name.to_owned())),
        }
    }

    fn per_cpu(&self, symbol: &str, cpu: u32) -> Result<Value, ExpressionError> {
        let address = self.kernel.per_cpu(symbol, cpu)?;
        let ty = self.variable_type(symbol);
        let ty = ty.ok_or_else(|| ExpressionError::UntypedSymbol(symbol.to_owned()))?;
        Ok(Value { ty, place: Place::at(address) })
    }

    /// The type of what `symbol` names: a function's or a variable's.
    pub fn symbol_type(&self, symbol: &Symbol) -> Option<TypeId> {
        if self.kernel.is_code(symbol) {
            Some(self.types.function(&symbol.name).unwrap_or_else(|| self.code_type()))
        } else {
            self.variable_type(&symbol.name)
        }
    }

    /// The type of the global variable `name`: from BTF, which knows per-CPU variables, from the
    /// vmlinux's DWARF, which knows all, or as the table of well-known ones declares it.
    pub fn variable_type(&self, name: &str) -> Option<TypeId> {
        // `linux_banner` is declared without a length where gdb finds it (init/version.c), and is
        // shown as the pointer that it is there.
        if globals::declared_type(name) == Some("const char []") {
            return self.declared_variable_type(name);
        }
        self.types
            .variable(name)
            .or_else(|| self.dwarf_variable_type(name))
            .or_else(|| self.declared_variable_type(name))
    }

    /// A type of DWARF, the vmlinux's or of a module's file, as the same type of the types that
    /// everything else is of.
    fn dwarf_variable_type(&self, name: &str) -> Option<TypeId> {
        let vmlinux = self.kernel.vmlinux().and_then(|vmlinux| vmlinux.types().ok());
        let files = self.kernel.module_files();
        let modules =
            files.iter().filter_map(|file| Some(Arc::clone(file.types()?) as Arc<dyn TypeSource>));
        vmlinux.into_iter().chain(modules).find_map(|dwarf| self.variable_of(&dwarf, name))
    }

    fn variable_of(&self, dwarf: &Arc<dyn TypeSource>, name: &str) -> Option<TypeId> {
        let found = dwarf.variable(name)?;
        let spelled = type_name(&**dwarf, found);
        if !spelled.contains("{...}")
            && let Ok(known) = self.parse_type(&spelled)
        {
            return Some(known);
        }
        // A structure without a tag, or of a module without BTF, cannot be looked up anywhere
        // else.
        if !self.types.origins().iter().any(|origin| origin == dwarf.origin()) {
            self.types.add(Arc::clone(dwarf));
        }
        self.types.variable(name)
    }

    fn declared_variable_type(&self, name: &str) -> Option<TypeId> {
        let declared = globals::declared_type(name)?;
        let Some(element) = declared.strip_suffix("[]").filter(|element| *element != "const char ")
        else {
            return self.parse_type(declared).ok();
        };
        let element = self.parse_type(element).ok()?;
        let bytes = self.kernel.symbols().ok()?.symbol(name)?.size?;
        let count = bytes / size_of(self.types, element).ok().filter(|&size| size > 0)?;
        Some(self.types.intern(Type::Array { element, count: Some(count) }))
    }

    fn unary(&self, operator: Unary, operand: &Expression) -> Result<Value, ExpressionError> {
        if operator == Unary::AddressOf {
            return self.address_of(operand);
        }
        let value = self.value(operand)?;
        if let Some(result) = self.unary_float(operator, &value)? {
            return Ok(result);
        }
        let integer = match operator {
            Unary::Dereference => return self.dereference(&value),
            Unary::AddressOf | Unary::Plus => self.load(&value)?.promoted(),
            Unary::Minus => {
                let integer = self.load(&value)?.promoted();
                Integer::new(integer.bits.wrapping_neg(), integer.size, integer.signed)
            }
            Unary::BitNot => {
                let integer = self.load(&value)?.promoted();
                Integer::new(!integer.bits, integer.size, integer.signed)
            }
            Unary::Not => Integer::truth(self.load(&value)?.bits == 0),
        };
        Ok(self.integer(integer))
    }

    fn address_of(&self, operand: &Expression) -> Result<Value, ExpressionError> {
        let value = match self.value(operand) {
            // The address of a symbol is known even where its type is not.
            Err(ExpressionError::UntypedSymbol(name)) => {
                let address = match operand {
                    Expression::PerCpu { symbol, cpu } => self.kernel.per_cpu(symbol, *cpu)?,
                    _ => match self.kernel.all_symbols()?.address(&name) {
                        Some(address) => address,
                        None => return Err(ExpressionError::UnknownName(name)),
                    },
                };
                Value { ty: TypeId::VOID, place: Place::at(address) }
            }
            other => other?,
        };
        match value.place {
            Place::Memory { address, bit_size: None, .. } => {
                Ok(Value { ty: self.types.pointer_to(value.ty), place: Place::Computed(address.0) })
            }
            Place::Memory { .. } => {
                Err(ExpressionError::Operands("a bit field has no address".to_owned()))
            }
            Place::Computed(_) => {
                Err(ExpressionError::Operands("a computed value has no address".to_owned()))
            }
        }
    }

    /// What a pointer, or an array's first element, is.
    pub fn dereference(&self, value: &Value) -> Result<Value, ExpressionError> {
        match (&*strip(self.types, value.ty)?.1, value.place) {
            (Type::Pointer { target, .. }, _) => {
                let address = VirtAddr(self.load(value)?.bits);
                Ok(Value { ty: *target, place: Place::at(address) })
            }
            (Type::Array { element, .. }, Place::Memory { address, .. }) => {
                Ok(Value { ty: *element, place: Place::at(address) })
            }
            (Type::Function(_), _) => Ok(*value),
            // gdb reads a long where an integer is taken for an address.
            (Type::Int { .. }, _) => {
                let address = VirtAddr(self.load(value)?.bits);
                Ok(Value { ty: self.int_type(8, true), place: Place::at(address) })
            }
            _ => Err(self.operands("*", value)),
        }
    }

    /// The member `name` of a structure or of what a pointer points to.
    ///
    /// # Errors
    /// [`ExpressionError::Operands`] when there is no such member.
    pub fn member(&self, base: &Value, name: &str) -> Result<Value, ExpressionError> {
        let (_, stripped) = strip(self.types, base.ty)?;
        if matches!(*stripped, Type::Pointer { .. }) {
            let target = self.dereference(base)?;
            return self.member(&target, name);
        }
        let Place::Memory { address, bit_offset: 0, bit_size: None } = base.place else {
            return Err(self.operands(".", base));
        };
        let member = find_member(self.types, base.ty, name)
            .map_err(|error| ExpressionError::Operands(error.to_string()))?;
        Ok(Value {
            ty: member.ty,
            place: Place::Memory {
                address: address.offset(member.bit_offset / 8),
                bit_offset: (member.bit_offset % 8) as u32,
                bit_size: member.bit_size,
            },
        })
    }

    /// `value` taken for a `ty`.
    fn cast(&self, ty: TypeId, value: &Value) -> Result<Value, ExpressionError> {
        if let Some(result) = self.cast_float(ty, value)? {
            return Ok(result);
        }
        match &*strip(self.types, ty)?.1 {
            Type::Int { size, signed, encoding, .. } => {
                let integer = self.load(value)?;
                let bits = match encoding {
                    IntEncoding::Boolean => u64::from(integer.bits != 0),
                    _ => Integer::new(integer.bits, *size, *signed).bits,
                };
                Ok(Value { ty, place: Place::Computed(bits) })
            }
            Type::Pointer { .. } | Type::Enum(_) => {
                Ok(Value { ty, place: Place::Computed(self.load(value)?.bits) })
            }
            // As in gdb, memory may be looked at as anything: (struct foo)bar.
            _ => match value.place {
                Place::Memory { bit_size: None, .. } => Ok(Value { ty, place: value.place }),
                _ => Err(self.operands("cast", value)),
            },
        }
    }

    fn binary(
        &self,
        operator: &'static str,
        left: &Value,
        right: &Value,
    ) -> Result<Value, ExpressionError> {
        if operator == "@" {
            return self.array_of(left, right);
        }
        if let Some(result) = self.binary_float(operator, left, right)? {
            return Ok(result);
        }
        let (a, b) = (self.load(left)?, self.load(right)?);
        let (target_a, target_b) = (self.pointer_target(left)?, self.pointer_target(right)?);
        let scaled = |integer: Integer, target| -> Result<u64, ExpressionError> {
            // Arithmetic on void * counts bytes, as in GNU C.
            Ok(integer.bits.wrapping_mul(size_of(self.types, target)?.max(1)))
        };
        let pointer = |target, bits| Value {
            ty: self.types.pointer_to(target),
            place: Place::Computed(bits),
        };
        match (operator, target_a, target_b) {
            ("+", Some(target), None) => {
                Ok(pointer(target, a.bits.wrapping_add(scaled(b, target)?)))
            }
            ("+", None, Some(target)) => {
                Ok(pointer(target, b.bits.wrapping_add(scaled(a, target)?)))
            }
            ("-", Some(target), None) => {
                Ok(pointer(target, a.bits.wrapping_sub(scaled(b, target)?)))
            }
            ("-", Some(target), Some(_)) => {
                let bytes = a.bits.wrapping_sub(b.bits) as i64;
                let size = size_of(self.types, target)?.max(1) as i64;
                Ok(self.integer(Integer::new((bytes / size) as u64, 8, true)))
            }
            _ => Ok(self.integer(a.binary(operator, b)?)),
        }
    }

    /// gdb's `*first@count`: an array that begins with a value in memory.
    fn array_of(&self, first: &Value, count: &Value) -> Result<Value, ExpressionError> {
        let Place::Memory { bit_offset: 0, bit_size: None, .. } = first.place else {
            return Err(self.operands("@", first));
        };
        let count = Some(self.load(count)?.bits);
        let ty = self.types.intern(Type::Array { element: first.ty, count });
        Ok(Value { ty, place: first.place })
    }

    /// What a pointer or array points to; `None` for other types.
    fn pointer_target(&self, value: &Value) -> Result<Option<TypeId>, ExpressionError> {
        let (id, stripped) = strip(self.types, value.ty)?;
        Ok(match &*stripped {
            Type::Pointer { target, .. } => Some(*target),
            Type::Array { element, .. } => Some(*element),
            Type::Function(_) => Some(id),
            _ => None,
        })
    }

    /// The value as a number: an integer's, a pointer's, the address of an array or function.
    ///
    /// # Errors
    /// When it is none of these, or its memory is not in the dump.
    pub fn load(&self, value: &Value) -> Result<Integer, ExpressionError> {
        let (_, stripped) = strip(self.types, value.ty)?;
        let (size, signed) = match &*stripped {
            Type::Int { size, signed, .. } => (*size, *signed),
            Type::Enum(description) => (description.size, description.signed),
            Type::Pointer { size, .. } => (*size, false),
            Type::Array { .. } | Type::Function(_) => {
                return match value.place {
                    Place::Memory { address, .. } => Ok(Integer::new(address.0, 8, false)),
                    Place::Computed(bits) => Ok(Integer::new(bits, 8, false)),
                };
            }
            _ => return Err(self.operands("number", value)),
        };
        match value.place {
            Place::Computed(bits) => Ok(Integer::new(bits, size, signed)),
            Place::Memory { address, bit_offset, bit_size } => {
                let width = bit_size.map_or(size.min(8) * 8, u64::from).clamp(1, 64);
                let len = ((u64::from(bit_offset) + width).div_ceil(8) as usize).min(16);
                let mut bytes = [0; 16];
                self.memory.read(address, &mut bytes[..len])?;
                let bits = (u128::from_le_bytes(bytes) >> bit_offset) as u64;
                let shift = 64 - width as u32;
                let bits = if signed {
                    ((bits << shift) as i64 >> shift).cast_unsigned()
                } else {
                    (bits << shift) >> shift
                };
                Ok(Integer { bits, size, signed })
            }
        }
    }

    pub(super) fn operands(&self, operator: &str, value: &Value) -> ExpressionError {
        let name = type_name(self.types, value.ty);
        ExpressionError::Operands(match operator {
            "number" => format!("a value of type {name} is no number"),
            "cast" => format!("cannot cast a value of type {name}"),
            "." => format!("a value of type {name} has no members"),
            _ => format!("cannot apply {operator} to a value of type {name}"),
        })
    }
}

/// C's type of a literal: the first that holds it of int, unsigned int (not for decimal, but no
/// harm), long, unsigned long.
fn literal(value: u64, unsigned: bool, long: bool) -> Integer {
    let (size, signed) = if !long && !unsigned && i32::try_from(value).is_ok() {
        (4, true)
    } else if !long && unsigned && u32::try_from(value).is_ok() {
        (4, false)
    } else {
        (8, !unsigned && i64::try_from(value).is_ok())
    };
    Integer::new(value, size, signed)
}
