//! Numbers with a fraction, which people compute with though kernels do not.

use super::parser::Unary;
use super::{Evaluator, ExpressionError, Integer, Place, Value};
use mortis_debuginfo::types::{Type, TypeId, strip, type_name};

impl Evaluator<'_> {
    /// A computed number, a `float` of 4 bytes or a `double` of 8.
    pub(super) fn float(&self, value: f64, size: u64) -> Value {
        let (name, bits) = match size {
            4 => ("float", u64::from((value as f32).to_bits())),
            _ => ("double", value.to_bits()),
        };
        let ty = self.types.intern(Type::Float { name: name.into(), size });
        Value { ty, place: Place::Computed(bits) }
    }

    /// The number and its size, where `value` is one with a fraction.
    fn load_float(&self, value: &Value) -> Result<Option<(f64, u64)>, ExpressionError> {
        let Type::Float { size, .. } = *strip(self.types, value.ty)?.1 else { return Ok(None) };
        let bits = match value.place {
            Place::Computed(bits) => bits,
            Place::Memory { address, .. } => match size {
                4 => u64::from(self.memory.read_u32(address)?),
                _ => self.memory.read_u64(address)?,
            },
        };
        match size {
            4 => Ok(Some((f64::from(f32::from_bits(bits as u32)), size))),
            8 => Ok(Some((f64::from_bits(bits), size))),
            _ => {
                let name = type_name(self.types, value.ty);
                Err(ExpressionError::Operands(format!("cannot compute with a {name}")))
            }
        }
    }

    fn as_float(&self, value: &Value) -> Result<(f64, u64), ExpressionError> {
        if let Some(float) = self.load_float(value)? {
            return Ok(float);
        }
        let integer = self.load(value)?;
        let number = match integer.signed {
            true => integer.bits.cast_signed() as f64,
            false => integer.bits as f64,
        };
        Ok((number, 8))
    }

    /// Whether C takes `value` for true.
    pub(super) fn is_true(&self, value: &Value) -> Result<bool, ExpressionError> {
        match self.load_float(value)? {
            Some((number, _)) => Ok(number != 0.0),
            None => Ok(self.load(value)?.bits != 0),
        }
    }

    /// `operator value`, where it has a fraction.
    pub(super) fn unary_float(
        &self,
        operator: Unary,
        value: &Value,
    ) -> Result<Option<Value>, ExpressionError> {
        let Some((number, size)) = self.load_float(value)? else { return Ok(None) };
        match operator {
            Unary::Plus => Ok(Some(self.float(number, size))),
            Unary::Minus => Ok(Some(self.float(-number, size))),
            Unary::Not => Ok(Some(self.integer(Integer::truth(number == 0.0)))),
            Unary::BitNot => Err(self.operands("~", value)),
            Unary::Dereference | Unary::AddressOf => Err(self.operands("*", value)),
        }
    }

    /// `left operator right`, where one of them has a fraction.
    pub(super) fn binary_float(
        &self,
        operator: &str,
        left: &Value,
        right: &Value,
    ) -> Result<Option<Value>, ExpressionError> {
        let (float_a, float_b) = (self.load_float(left)?, self.load_float(right)?);
        if float_a.is_none() && float_b.is_none() {
            return Ok(None);
        }
        let ((a, size_a), (b, size_b)) = (self.as_float(left)?, self.as_float(right)?);
        let size = match (float_a, float_b) {
            (Some(_), Some(_)) => size_a.max(size_b),
            (Some(_), None) => size_a,
            _ => size_b,
        };
        let truth = |value| Ok(Some(self.integer(Integer::truth(value))));
        let number = match operator {
            "+" => a + b,
            "-" => a - b,
            "*" => a * b,
            "/" => a / b,
            "==" => return truth(a == b),
            "!=" => return truth(a != b),
            "<" => return truth(a < b),
            "<=" => return truth(a <= b),
            ">" => return truth(a > b),
            ">=" => return truth(a >= b),
            "&&" => return truth(a != 0.0 && b != 0.0),
            "||" => return truth(a != 0.0 || b != 0.0),
            _ => return Err(self.operands(operator, if float_a.is_some() { left } else { right })),
        };
        Ok(Some(self.float(number, size)))
    }

    /// A number with a fraction as one of type `ty`, or a number as one with a fraction; `None`
    /// where neither has any.
    pub(super) fn cast_float(
        &self,
        ty: TypeId,
        value: &Value,
    ) -> Result<Option<Value>, ExpressionError> {
        let (_, stripped) = strip(self.types, ty)?;
        match (&*stripped, self.load_float(value)?) {
            (Type::Float { size, .. }, _) if matches!(size, 4 | 8) => {
                let made = self.float(self.as_float(value)?.0, *size);
                Ok(Some(Value { ty, ..made }))
            }
            (Type::Int { size, signed, .. }, Some((number, _))) => {
                let bits = match signed {
                    true => (number as i64).cast_unsigned(),
                    false => number as u64,
                };
                let bits = Integer::new(bits, *size, *signed).bits;
                Ok(Some(Value { ty, place: Place::Computed(bits) }))
            }
            _ => Ok(None),
        }
    }
}
