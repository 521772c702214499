//! A value's bytes as a tree, as far as they are in the dump.

use super::{Evaluator, ExpressionError, Place, Value};
use mortis_debuginfo::types::{TypeSource, size_of};
use mortis_debuginfo::value::{
    ObjectBytes, PointedString, Value as Tree, ValueContext, ValueLimits, decode_value,
};
use mortis_memory::{ReadError, Unavailable, VirtAddr};

impl Evaluator<'_> {
    /// The tree of `value`: its members, elements, or its number. What is missing in the dump is
    /// marked in the tree.
    ///
    /// # Errors
    /// When its type has no size, or nothing of it is in the dump.
    pub fn decode(&self, value: &Value, limits: &ValueLimits) -> Result<Tree, ExpressionError> {
        let object = match value.place {
            Place::Memory { address, bit_size: None, .. } => {
                let size = size_of(self.types, value.ty)?;
                ObjectBytes::read(self.memory, address, size)
            }
            Place::Memory { .. } => {
                let bits = self.load(value)?.bits;
                ObjectBytes::new(VirtAddr::default(), bits.to_le_bytes().to_vec())
            }
            Place::Computed(bits) => ObjectBytes::new(VirtAddr(bits), bits.to_le_bytes().to_vec()),
        };
        let types: &dyn TypeSource = self.types;
        match (decode_value(types, value.ty, &object, self, limits), value.place) {
            (Tree::Unavailable(why), Place::Memory { address, .. }) => {
                Err(ReadError::new(address, why).into())
            }
            (tree, _) => Ok(tree),
        }
    }

    /// The symbol that `address` lies in and how far in: `init_task+2224`. `None` for addresses
    /// that no symbol reaches to, the heap and per-CPU areas among them.
    pub fn symbol_within(&self, address: VirtAddr) -> Option<String> {
        let (symbol, offset) = self.kernel.symbol_within(address)?;
        Some(match offset {
            0 => symbol.name.to_string(),
            _ => format!("{}+{offset}", symbol.name),
        })
    }
}

impl ValueContext for Evaluator<'_> {
    fn symbolize(&self, address: VirtAddr) -> Option<String> {
        self.symbol_within(address)
    }

    fn string(&self, address: VirtAddr, max: usize) -> Result<PointedString, Unavailable> {
        let bytes = self.memory.read_c_string(address, max).map_err(|error| error.why)?;
        let behind = self.memory.read_u8(address.offset(bytes.len() as u64));
        Ok(PointedString { terminated: behind == Ok(0), bytes })
    }
}
