//! The one visible form in which all knowledge of kernel structures stands.
//!
//! A structure is declared once, with [`layout!`](crate::layout!), by the name the kernel gives it
//! and with every name that versions have given its members. At run time the declaration is
//! resolved against the dump's own types, once, and [`Field`]s read memory through it:
//!
//! ```text
//! layout! {
//!     /// One task: include/linux/sched.h.
//!     pub struct TaskStruct = "task_struct" {
//!         /// `state` until 2f064a59a11f (5.14).
//!         state: "__state" | "state",
//!         pid: "pid",
//!     }
//! }
//! let task = kernel.layout::<TaskStruct>()?;
//! let pid = task.pid.i64(&kernel, address)?;
//! ```
//!
//! A member path may descend: `"se.sum_exec_runtime"`. A member that this kernel lacks is not an
//! error until it is read; [`Field::exists`] asks.

use crate::error::{KernelError, Result};
use mortis_debuginfo::types::{Namespace, TypeId, TypeSource, find_member, size_of};
use mortis_memory::{VirtAddr, VirtualMemory};
use std::any::{Any, TypeId as RustTypeId};
use std::collections::HashMap;
use std::sync::{Arc, RwLock};

/// A member of a kernel structure, found (or not) in this kernel's types.
#[derive(Clone, Debug)]
pub struct Field {
    structure: &'static str,
    names: &'static [&'static str],
    found: Option<Found>,
}

/// Where a member lies.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// Which of the alternative names matched.
    alternative: usize,
    bit_offset: u64,
    bit_size: Option<u32>,
    /// Bytes of the member's type.
    size: u64,
    ty: TypeId,
}

impl Field {
    /// Looks the member up under each of its names in turn.
    pub fn resolve(
        types: &dyn TypeSource,
        structure_type: TypeId,
        structure: &'static str,
        names: &'static [&'static str],
    ) -> Self {
        let found = names.iter().enumerate().find_map(|(alternative, path)| {
            let member = find_member(types, structure_type, path).ok()?;
            Some(Found {
                alternative,
                bit_offset: member.bit_offset,
                bit_size: member.bit_size,
                size: size_of(types, member.ty).unwrap_or(0),
                ty: member.ty,
            })
        });
        Self { structure, names, found }
    }

    /// Whether this kernel has the member.
    pub fn exists(&self) -> bool {
        self.found.is_some()
    }

    /// Which of the declared names this kernel uses.
    pub fn name(&self) -> Option<&'static str> {
        self.found.map(|found| self.names[found.alternative])
    }

    fn found(&self) -> Result<Found> {
        self.found.ok_or_else(|| KernelError::NoMember {
            structure: self.structure.to_owned(),
            member: self.names.join("|"),
        })
    }

    /// The offset in bytes.
    ///
    /// # Errors
    /// [`KernelError::NoMember`].
    pub fn offset(&self) -> Result<u64> {
        Ok(self.found()?.bit_offset / 8)
    }

    /// The size of the member's type in bytes.
    ///
    /// # Errors
    /// [`KernelError::NoMember`].
    pub fn size(&self) -> Result<u64> {
        Ok(self.found()?.size)
    }

    /// The member's type.
    ///
    /// # Errors
    /// [`KernelError::NoMember`].
    pub fn ty(&self) -> Result<TypeId> {
        Ok(self.found()?.ty)
    }

    /// The address of the member in the structure at `base`.
    ///
    /// # Errors
    /// [`KernelError::NoMember`].
    pub fn address(&self, base: VirtAddr) -> Result<VirtAddr> {
        Ok(base.offset(self.offset()?))
    }

    /// The address of the structure whose member lies at `member` (the kernel's `container_of`).
    ///
    /// # Errors
    /// [`KernelError::NoMember`].
    pub fn container(&self, member: VirtAddr) -> Result<VirtAddr> {
        Ok(member.back(self.offset()?))
    }

    /// Reads the member as an unsigned number of its own width.
    ///
    /// # Errors
    /// [`KernelError::NoMember`], [`KernelError::Read`].
    pub fn u64(&self, memory: &dyn VirtualMemory, base: VirtAddr) -> Result<u64> {
        let found = self.found()?;
        let (start, width) = match found.bit_size {
            Some(bits) => (found.bit_offset, u64::from(bits)),
            None => (found.bit_offset, found.size.min(8) * 8),
        };
        let first = start / 8;
        let last = (start + width).div_ceil(8);
        let mut bytes = [0u8; 16];
        let len = (last - first).min(16) as usize;
        memory.read(base.offset(first), &mut bytes[..len])?;
        let value = u128::from_le_bytes(bytes) >> (start % 8);
        Ok(if width >= 64 { value as u64 } else { value as u64 & ((1 << width) - 1) })
    }

    /// Reads the member as a signed number of its own width.
    ///
    /// # Errors
    /// [`KernelError::NoMember`], [`KernelError::Read`].
    pub fn i64(&self, memory: &dyn VirtualMemory, base: VirtAddr) -> Result<i64> {
        let found = self.found()?;
        let width = found.bit_size.map_or(found.size.min(8) * 8, u64::from).clamp(1, 64);
        let value = self.u64(memory, base)?;
        let shift = 64 - width;
        Ok(((value << shift) as i64) >> shift)
    }

    /// Reads the member as a pointer.
    ///
    /// # Errors
    /// [`KernelError::NoMember`], [`KernelError::Read`].
    pub fn pointer(&self, memory: &dyn VirtualMemory, base: VirtAddr) -> Result<VirtAddr> {
        self.u64(memory, base).map(VirtAddr)
    }

    /// Reads an embedded character array up to its NUL.
    ///
    /// # Errors
    /// [`KernelError::NoMember`], [`KernelError::Read`].
    pub fn text(&self, memory: &dyn VirtualMemory, base: VirtAddr) -> Result<String> {
        let found = self.found()?;
        let size = usize::try_from(found.size.min(4096)).unwrap_or(0);
        let bytes = memory.read_c_string(base.offset(found.bit_offset / 8), size)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Follows a `char *` member to its string, at most `max` bytes; empty for a null pointer.
    ///
    /// # Errors
    /// [`KernelError::NoMember`], [`KernelError::Read`].
    pub fn string(&self, memory: &dyn VirtualMemory, base: VirtAddr, max: usize) -> Result<String> {
        let pointer = self.pointer(memory, base)?;
        if pointer.is_null() {
            return Ok(String::new());
        }
        let bytes = memory.read_c_string(pointer, max)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Decodes the member out of `bytes`, a copy of the whole structure.
    ///
    /// # Errors
    /// [`KernelError::NoMember`], also where `bytes` is too short.
    pub fn u64_in(&self, bytes: &[u8]) -> Result<u64> {
        struct Copied<'a>(&'a [u8]);
        impl VirtualMemory for Copied<'_> {
            fn read(
                &self,
                address: VirtAddr,
                buf: &mut [u8],
            ) -> Result<(), mortis_memory::ReadError> {
                let start = address.0 as usize;
                match self.0.get(start..start.saturating_add(buf.len())) {
                    Some(bytes) => {
                        buf.copy_from_slice(bytes);
                        Ok(())
                    }
                    None => Err(mortis_memory::ReadError::new(
                        address,
                        mortis_memory::Unavailable::Truncated,
                    )),
                }
            }
        }
        // Scans decode millions of members, and most are plain words.
        if let Some(Found { bit_offset, bit_size: None, size, .. }) = self.found
            && bit_offset.is_multiple_of(8)
        {
            let rest = bytes.get((bit_offset / 8) as usize..).unwrap_or_default();
            let word = match size {
                8 => rest.first_chunk().map(|word| u64::from_le_bytes(*word)),
                4 => rest.first_chunk().map(|word| u64::from(u32::from_le_bytes(*word))),
                _ => None,
            };
            if let Some(word) = word {
                return Ok(word);
            }
        }
        self.u64(&Copied(bytes), VirtAddr(0))
    }
}

/// A declared structure; implemented by [`layout!`](crate::layout!).
pub trait Layout: Any + Send + Sync + Sized {
    /// The structure's tags, newest first.
    const NAMES: &'static [&'static str];

    /// Finds every member in `types`.
    fn resolve(types: &dyn TypeSource, structure_type: TypeId, size: u64) -> Self;
}

/// The layouts that were resolved so far.
#[derive(Default)]
pub(crate) struct Layouts {
    resolved: RwLock<HashMap<RustTypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Layouts {
    /// The layout `L`, resolved on first use.
    pub(crate) fn get<L: Layout>(&self, types: &dyn TypeSource) -> Result<Arc<L>> {
        let key = RustTypeId::of::<L>();
        if let Ok(resolved) = self.resolved.read()
            && let Some(layout) = resolved.get(&key)
            && let Ok(layout) = Arc::clone(layout).downcast::<L>()
        {
            return Ok(layout);
        }
        let found = L::NAMES.iter().find_map(|name| {
            types
                .lookup(Namespace::Struct, name)
                .or_else(|| types.lookup(Namespace::Union, name))
                .or_else(|| types.lookup(Namespace::Typedef, name))
        });
        let Some(ty) = found else {
            return Err(KernelError::NoType(format!("struct {}", L::NAMES.join("|"))));
        };
        let layout = Arc::new(L::resolve(types, ty, size_of(types, ty)?));
        if let Ok(mut resolved) = self.resolved.write() {
            resolved.insert(key, Arc::clone(&layout) as Arc<dyn Any + Send + Sync>);
        }
        Ok(layout)
    }
}

/// Declares a kernel structure; see the [module](mod@crate::layout).
#[macro_export]
macro_rules! layout {
    (
        $(#[$doc:meta])*
        $vis:vis struct $name:ident = $first:literal $(| $tag:literal)* {
            $( $(#[$field_doc:meta])* $field:ident : $path:literal $(| $alternative:literal)* ),* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            /// Bytes of the whole structure.
            #[allow(dead_code)]
            $vis size_of: u64,
            $(
                $(#[$field_doc])*
                #[allow(missing_docs)]
                $vis $field: $crate::layout::Field,
            )*
        }

        impl $crate::layout::Layout for $name {
            const NAMES: &'static [&'static str] = &[$first $(, $tag)*];

            fn resolve(
                types: &dyn mortis_debuginfo::types::TypeSource,
                structure_type: mortis_debuginfo::types::TypeId,
                size: u64,
            ) -> Self {
                let _ = (types, structure_type);
                Self {
                    size_of: size,
                    $(
                        $field: $crate::layout::Field::resolve(
                            types, structure_type, $first, &[$path $(, $alternative)*],
                        ),
                    )*
                }
            }
        }
    };
}
