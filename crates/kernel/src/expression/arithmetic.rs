//! C's integer arithmetic: promotion, the usual conversions, wrapping.

use super::ExpressionError;

/// An integer with its C type's width and sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integer {
    /// The bits, extended to 64 by the sign.
    pub bits: u64,
    /// Bytes of its type.
    pub size: u64,
    /// Whether its type is signed.
    pub signed: bool,
}

impl Integer {
    /// `bits` cut to `size` bytes and extended again as the type says.
    pub fn new(bits: u64, size: u64, signed: bool) -> Self {
        let shift = 64 - (size.clamp(1, 8) * 8) as u32;
        let bits = if signed {
            ((bits << shift) as i64 >> shift) as u64
        } else {
            (bits << shift) >> shift
        };
        Self { bits, size, signed }
    }

    /// What a comparison gives.
    pub fn truth(value: bool) -> Self {
        Self::new(u64::from(value), 4, true)
    }

    /// Types narrower than `int` become `int`.
    pub fn promoted(self) -> Self {
        if self.size < 4 { Self::new(self.bits, 4, true) } else { self }
    }

    /// The type that both operands are converted to.
    fn common(self, other: Self) -> (u64, bool) {
        let (a, b) = (self.promoted(), other.promoted());
        let size = a.size.max(b.size);
        let unsigned = (!a.signed && a.size == size) || (!b.signed && b.size == size);
        (size, !unsigned)
    }

    /// `self operator other`.
    ///
    /// # Errors
    /// Division by zero.
    pub fn binary(self, operator: &str, other: Self) -> Result<Self, ExpressionError> {
        if matches!(operator, "<<" | ">>") {
            return Ok(self.promoted().shifted(operator, other.bits));
        }
        let (size, signed) = self.common(other);
        let (a, b) = (Self::new(self.bits, size, signed), Self::new(other.bits, size, signed));
        let less = if signed { (a.bits as i64) < b.bits as i64 } else { a.bits < b.bits };
        let quotient = |signed_op: fn(i64, i64) -> i64, unsigned_op: fn(u64, u64) -> u64| {
            if b.bits == 0 {
                Err(ExpressionError::DivisionByZero)
            } else if signed {
                Ok(signed_op(a.bits as i64, b.bits as i64) as u64)
            } else {
                Ok(unsigned_op(a.bits, b.bits))
            }
        };
        let bits = match operator {
            "+" => a.bits.wrapping_add(b.bits),
            "-" => a.bits.wrapping_sub(b.bits),
            "*" => a.bits.wrapping_mul(b.bits),
            "/" => quotient(i64::wrapping_div, u64::wrapping_div)?,
            "%" => quotient(i64::wrapping_rem, u64::wrapping_rem)?,
            "&" => a.bits & b.bits,
            "|" => a.bits | b.bits,
            "^" => a.bits ^ b.bits,
            "==" => return Ok(Self::truth(a.bits == b.bits)),
            "!=" => return Ok(Self::truth(a.bits != b.bits)),
            "<" => return Ok(Self::truth(less)),
            ">=" => return Ok(Self::truth(!less)),
            "<=" => return Ok(Self::truth(less || a.bits == b.bits)),
            ">" => return Ok(Self::truth(!less && a.bits != b.bits)),
            "&&" => return Ok(Self::truth(a.bits != 0 && b.bits != 0)),
            "||" => return Ok(Self::truth(a.bits != 0 || b.bits != 0)),
            _ => return Err(ExpressionError::Operands(format!("unknown operator {operator}"))),
        };
        Ok(Self::new(bits, size, signed))
    }

    fn shifted(self, operator: &str, by: u64) -> Self {
        let width = self.size * 8;
        let bits = match (operator, by >= width) {
            ("<<", false) => self.bits << by,
            ("<<", true) => 0,
            (_, too_far) if self.signed => {
                (self.bits as i64 >> if too_far { 63 } else { by }) as u64
            }
            (_, false) => self.bits >> by,
            (_, true) => 0,
        };
        Self::new(bits, self.size, self.signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(value: i64) -> Integer {
        Integer::new(value as u64, 4, true)
    }

    fn value(a: Integer, operator: &str, b: Integer) -> i64 {
        a.binary(operator, b).expect("a value").bits as i64
    }

    #[test]
    fn operands_are_converted_as_in_c() {
        let unsigned = Integer::new(1, 4, false);
        assert_eq!(value(int(-1), "<", unsigned), 0);
        assert_eq!(value(int(-1), "+", Integer::new(0, 8, true)), -1);
        assert_eq!(value(int(-1), "+", unsigned), 0);
        let byte = Integer::new(255, 1, false);
        assert_eq!(value(byte, "+", byte), 510);
        assert_eq!(value(int(i64::from(i32::MAX)), "+", int(1)), i64::from(i32::MIN));
    }

    #[test]
    fn shifts_and_quotients_end_well() {
        assert_eq!(value(int(1), "<<", int(40)), 0);
        assert_eq!(value(int(-8), ">>", int(1)), -4);
        assert_eq!(value(int(-8), ">>", int(99)), -1);
        assert_eq!(value(int(-7), "/", int(2)), -3);
        assert_eq!(int(1).binary("%", int(0)), Err(ExpressionError::DivisionByZero));
        let min = Integer::new(i64::MIN as u64, 8, true);
        assert_eq!(value(min, "/", Integer::new(u64::MAX, 8, true)), i64::MIN);
    }
}
