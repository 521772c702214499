//! Enumerators of the kernel's types, by their enumeration's tag.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use mortis_debuginfo::types::{Namespace, Type, strip};
use std::sync::Arc;

impl Kernel {
    /// The names and values of `enum tag`, in their order.
    ///
    /// # Errors
    /// When the types lack the enumeration.
    pub fn enumerators(&self, tag: &str) -> Result<Vec<(Arc<str>, i64)>> {
        let types = self.types()?;
        let missing = || KernelError::NoType(format!("enum {tag}"));
        let id = types.lookup(Namespace::Enum, tag).ok_or_else(missing)?;
        let (_, ty) = strip(types, id)?;
        match &*ty {
            Type::Enum(enumeration) => Ok(enumeration.variants.clone()),
            _ => Err(missing()),
        }
    }

    /// The first name that `enum tag` has for `value`.
    pub fn enumerator_name(&self, tag: &str, value: u64) -> Option<Arc<str>> {
        let variants = self.enumerators(tag).ok()?;
        let found = variants.into_iter().find(|(_, known)| known.cast_unsigned() == value);
        found.map(|(name, _)| name)
    }
}
