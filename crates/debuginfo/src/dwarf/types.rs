//! DWARF as a source of types.
//!
//! A [`TypeId`] is the offset of the type's entry in `.debug_info`. Entries of arrays describe all
//! dimensions at once, C and [`Type::Array`] one at a time: the inner ones have the number of the
//! dimension in the bits above the offset.

use std::sync::{Arc, RwLock};

use mortis_memory::LinkAddr;
use rustc_hash::FxHashMap;

use super::shape::NameKind;
use super::{Dwarf, DwarfError, decode};
use crate::types::{Namespace, Type, TypeError, TypeId, TypeSource};

/// The types of one file's DWARF.
///
/// The first look-up by name builds the index of all names (see the module `names`): a quarter of
/// a second for a kernel. Types are decoded one at a time.
pub struct DwarfTypes {
    dwarf: Arc<Dwarf>,
    origin: String,
    decoded: RwLock<FxHashMap<TypeId, Arc<Type>>>,
}

/// An entry of `.debug_info`, and which dimension of the array it describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryId {
    pub entry: u64,
    pub dimension: u64,
}

impl EntryId {
    /// A terabyte of `.debug_info`; the ids stay below 2^48.
    const DIMENSION_SHIFT: u32 = 40;
    const MAX_DIMENSION: u64 = 1 << 8;

    pub fn from_type(id: TypeId) -> Self {
        let dimension = id.0 >> Self::DIMENSION_SHIFT;
        Self { entry: id.0 & ((1 << Self::DIMENSION_SHIFT) - 1), dimension }
    }

    pub fn to_type(self) -> Option<TypeId> {
        let fits = self.entry >> Self::DIMENSION_SHIFT == 0 && self.dimension < Self::MAX_DIMENSION;
        fits.then_some(TypeId(self.dimension << Self::DIMENSION_SHIFT | self.entry))
    }
}

impl DwarfTypes {
    /// The types in `dwarf`. `origin` names the file, for messages: `DWARF in vmlinux`.
    pub fn new(dwarf: Arc<Dwarf>, origin: impl Into<String>) -> Self {
        Self { dwarf, origin: origin.into(), decoded: RwLock::default() }
    }

    /// The DWARF they are in.
    pub fn dwarf(&self) -> &Arc<Dwarf> {
        &self.dwarf
    }

    /// Where the global or static variable `name` is, and its type. Without an address for one
    /// that was optimised away, or is only declared.
    ///
    /// # Errors
    /// [`DwarfError`] when the DWARF is damaged.
    pub fn variable_at(
        &self,
        name: &str,
    ) -> Result<Option<(TypeId, Option<LinkAddr>)>, DwarfError> {
        let Some(entry) = self.dwarf.names()?.lookup(&self.dwarf, NameKind::Variable, name) else {
            return Ok(None);
        };
        let ty = decode::type_of(&self.dwarf, entry)?.unwrap_or(TypeId::VOID);
        Ok(Some((ty, decode::variable_address(&self.dwarf, entry)?)))
    }

    fn find(&self, kind: NameKind, name: &str) -> Option<TypeId> {
        let entry = self.dwarf.names().ok()?.lookup(&self.dwarf, kind, name)?;
        EntryId { entry, dimension: 0 }.to_type()
    }
}

impl From<Namespace> for NameKind {
    fn from(namespace: Namespace) -> Self {
        match namespace {
            Namespace::Struct => NameKind::Struct,
            Namespace::Union => NameKind::Union,
            Namespace::Enum => NameKind::Enum,
            Namespace::Typedef => NameKind::Typedef,
            Namespace::Base => NameKind::Base,
        }
    }
}

impl TypeSource for DwarfTypes {
    fn origin(&self) -> &str {
        &self.origin
    }

    fn lookup(&self, namespace: Namespace, name: &str) -> Option<TypeId> {
        self.find(namespace.into(), name)
    }

    fn get(&self, id: TypeId) -> Result<Arc<Type>, TypeError> {
        if id == TypeId::VOID {
            return Ok(Arc::new(Type::Void));
        }
        let decoded = self.decoded.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(ty) = decoded.get(&id) {
            return Ok(ty.clone());
        }
        drop(decoded);
        let ty = Arc::new(decode::decode(&self.dwarf, EntryId::from_type(id))?);
        let mut decoded = self.decoded.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        Ok(decoded.entry(id).or_insert(ty).clone())
    }

    fn variable(&self, name: &str) -> Option<TypeId> {
        let entry = self.find(NameKind::Variable, name)?;
        decode::type_of(&self.dwarf, entry.0).ok()?
    }

    fn function(&self, name: &str) -> Option<TypeId> {
        self.find(NameKind::Function, name)
    }

    fn enumerator(&self, name: &str) -> Option<(TypeId, i64)> {
        let id = self.find(NameKind::Enumerator, name)?;
        let ty = self.get(id).ok()?;
        let Type::Enum(of) = &*ty else { return None };
        let (_, value) = of.variants.iter().find(|(variant, _)| **variant == *name)?;
        Some((id, *value))
    }

    fn for_each_name(&self, visit: &mut dyn FnMut(Namespace, &str, TypeId)) {
        let Ok(names) = self.dwarf.names() else { return };
        for namespace in [Namespace::Struct, Namespace::Union, Namespace::Enum, Namespace::Typedef]
        {
            names.for_each(&self.dwarf, namespace.into(), &mut |name, entry| {
                if let Some(id) = (EntryId { entry, dimension: 0 }).to_type() {
                    visit(namespace, name, id);
                }
            });
        }
    }
}
