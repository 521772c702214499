//! BTF, the kernel's own description of its C types (Documentation/bpf/btf.rst).
//!
//! A kernel keeps its BTF in memory between `__start_BTF` and `__stop_BTF`, and that of each
//! module in a `struct btf` on the list `btf_modules`. A module's is *split*: its type ids and
//! string offsets go on where those of the kernel end. (A module's file may carry a `.BTF.base`
//! besides since 6.10 (8646db238997); what is in the kernel's memory has been relocated to the
//! running kernel's BTF already.)
//!
//! Opening costs one pass that notes where each type stands. Types are decoded when asked for;
//! the indices by name are built when the first name is.

mod decode;
mod format;
mod index;

use crate::name_slots::hash;
use crate::region::Region;
use crate::types::{Namespace, Type, TypeError, TypeId, TypeSource};
use format::{Header, Kind, Record};
use index::NameIndex;
use mortis_memory::{MAX_ALLOCATION, ReadError, Unavailable, VirtAddr, VirtualMemory};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock, RwLock};

pub use format::BtfError;

/// The bytes of a BTF section, whoever owns them.
pub type BtfBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// One BTF section, whole or split.
pub struct Btf {
    origin: String,
    bytes: BtfBytes,
    header: Header,
    base: Option<Arc<Btf>>,
    /// Where each type starts, from the start of the bytes; the first has the id `first_id`.
    offsets: Vec<u32>,
    first_id: u32,
    marks_signed_enums: bool,
    /// String offsets below this are the base's.
    first_string: u32,
    types: NameIndex,
    functions: NameIndex,
    variables: NameIndex,
    enumerators: OnceLock<FxHashMap<u64, Vec<(u32, u32)>>>,
    decoded: RwLock<FxHashMap<u32, Arc<Type>>>,
}

impl Btf {
    /// Opens a whole BTF section. `origin` says where it comes from, for messages.
    ///
    /// # Errors
    /// [`BtfError`] when the header is not that of a BTF section or a type reaches out of it.
    pub fn new(origin: impl Into<String>, bytes: BtfBytes) -> Result<Self, BtfError> {
        Self::open(origin.into(), bytes, None)
    }

    /// Reads a whole BTF section out of memory, from `__start_BTF` to `__stop_BTF`.
    ///
    /// # Errors
    /// [`BtfError`] when a page is missing (a section with a hole cannot be walked), or as
    /// [`Btf::new`].
    pub fn read(
        origin: impl Into<String>,
        memory: &dyn VirtualMemory,
        section: Range<VirtAddr>,
    ) -> Result<Self, BtfError> {
        Self::new(origin, Arc::new(read_section(memory, section)?))
    }

    /// Reads a split BTF section out of memory: `data` and `data_size` of a module's `struct btf`.
    ///
    /// # Errors
    /// As [`Btf::read`].
    pub fn read_split(
        origin: impl Into<String>,
        memory: &dyn VirtualMemory,
        section: Range<VirtAddr>,
        base: Arc<Btf>,
    ) -> Result<Self, BtfError> {
        Self::split(origin, Arc::new(read_section(memory, section)?), base)
    }

    /// Opens a section that goes on where `base` ends.
    ///
    /// # Errors
    /// As [`Btf::new`].
    pub fn split(
        origin: impl Into<String>,
        bytes: BtfBytes,
        base: Arc<Btf>,
    ) -> Result<Self, BtfError> {
        Self::open(origin.into(), bytes, Some(base))
    }

    fn open(origin: String, bytes: BtfBytes, base: Option<Arc<Btf>>) -> Result<Self, BtfError> {
        let header = Header::parse((*bytes).as_ref())?;
        let outline = format::outline((*bytes).as_ref(), &header)?;
        let (first_id, first_string) = match &base {
            Some(base) => (base.end_id(), base.first_string + base.header.strings.len() as u32),
            None => (1, 0),
        };
        Ok(Self {
            origin,
            bytes,
            header,
            marks_signed_enums: outline.marks_signed_enums
                || base.as_ref().is_some_and(|base| base.marks_signed_enums),
            base,
            offsets: outline.offsets,
            first_id,
            first_string,
            types: NameIndex::default(),
            functions: NameIndex::default(),
            variables: NameIndex::default(),
            enumerators: OnceLock::new(),
            decoded: RwLock::default(),
        })
    }

    /// The number of types, `void` and the base's included: one more than the highest id.
    pub fn end_id(&self) -> u32 {
        self.first_id + self.offsets.len() as u32
    }

    /// The lowest id that is this section's own; those below are the base's.
    pub fn first_id(&self) -> u32 {
        self.first_id
    }

    fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }

    /// The record of type `id`, which may be the base's.
    fn record(&self, id: u32) -> Option<(&Btf, Record<'_>)> {
        let mut btf = self;
        while id < btf.first_id {
            btf = btf.base.as_deref()?;
        }
        let offset = *btf.offsets.get((id - btf.first_id) as usize)?;
        Some((btf, Record::parse(btf.bytes(), offset as usize)?))
    }

    /// The string at `offset`, empty where there is none or it is not UTF-8.
    fn string(&self, offset: u32) -> &str {
        let mut btf = self;
        while offset < btf.first_string {
            let Some(base) = btf.base.as_deref() else { return "" };
            btf = base;
        }
        let start = (offset - btf.first_string) as usize;
        let strings = btf.bytes().get(btf.header.strings.clone()).unwrap_or(&[]);
        let rest = strings.get(start..).unwrap_or(&[]);
        let len = rest.iter().position(|&byte| byte == 0).unwrap_or(0);
        rest.get(..len).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or("")
    }

    /// This section's own records with their ids.
    fn own_records(&self) -> impl Iterator<Item = (u32, Record<'_>)> {
        self.offsets.iter().enumerate().filter_map(|(index, &offset)| {
            let record = Record::parse(self.bytes(), offset as usize)?;
            Some((self.first_id + index as u32, record))
        })
    }

    fn decode(&self, id: u32) -> Result<Arc<Type>, TypeError> {
        if let Ok(decoded) = self.decoded.read()
            && let Some(ty) = decoded.get(&id)
        {
            return Ok(ty.clone());
        }
        let (btf, record) = self.record(id).ok_or(TypeError::UnknownId(u64::from(id)))?;
        let ty = Arc::new(btf.decode_record(record)?);
        if let Ok(mut decoded) = self.decoded.write() {
            decoded.insert(id, ty.clone());
        }
        Ok(ty)
    }

    fn lookup_own(&self, namespace: Namespace, name: &str) -> Option<(u32, bool)> {
        let has_space = |record: &Record<'_>| record.kind.namespace(record.flag).is_some();
        let mut declared = None;
        for id in self.types.find(self, has_space, name) {
            let Some((btf, record)) = self.record(id) else { continue };
            if record.kind.namespace(record.flag) != Some(namespace)
                || btf.string(record.name) != name
            {
                continue;
            }
            if !record.is_declaration() {
                return Some((id, true));
            }
            declared.get_or_insert(id);
        }
        declared.map(|id| (id, false))
    }

    fn lookup_kind(&self, index: &NameIndex, kind: Kind, name: &str) -> Option<u32> {
        index.find(self, |record| record.kind == kind, name).find(|&id| {
            self.record(id).is_some_and(|(btf, record)| btf.string(record.name) == name)
        })
    }
}

fn read_section(memory: &dyn VirtualMemory, section: Range<VirtAddr>) -> Result<Vec<u8>, BtfError> {
    let len = section.end.0.saturating_sub(section.start.0);
    if len > MAX_ALLOCATION {
        let error = ReadError::new(section.start, Unavailable::Unreadable);
        return Err(BtfError::Missing(error));
    }
    let region = Region::read(memory, section.start, len as usize);
    let Some(hole) = region.holes.first() else { return Ok(region.bytes) };
    let missing = section.start.offset(hole.start as u64);
    let why = memory.read_u8(missing).err();
    Err(BtfError::Missing(why.unwrap_or(ReadError::new(missing, Unavailable::Unreadable))))
}

impl TypeSource for Btf {
    fn origin(&self) -> &str {
        &self.origin
    }

    fn lookup(&self, namespace: Namespace, name: &str) -> Option<TypeId> {
        let own = self.lookup_own(namespace, name);
        let found = match (own, &self.base) {
            (Some((id, true)), _) => Some(id),
            (Some((id, false)), Some(base)) => match base.lookup_own(namespace, name) {
                Some((defined, true)) => Some(defined),
                _ => Some(id),
            },
            (Some((id, false)), None) => Some(id),
            (None, Some(base)) => return base.lookup(namespace, name),
            (None, None) => None,
        };
        found.map(|id| TypeId(u64::from(id)))
    }

    fn get(&self, id: TypeId) -> Result<Arc<Type>, TypeError> {
        if id == TypeId::VOID {
            return Ok(Arc::new(Type::Void));
        }
        let own = u32::try_from(id.0).map_err(|_| TypeError::UnknownId(id.0))?;
        match &self.base {
            Some(base) if own < self.first_id => base.get(id),
            _ => self.decode(own),
        }
    }

    fn variable(&self, name: &str) -> Option<TypeId> {
        let own = self.lookup_kind(&self.variables, Kind::Var, name);
        match own.and_then(|id| self.record(id)) {
            Some((_, record)) => Some(TypeId(u64::from(record.size_or_type))),
            None => self.base.as_ref()?.variable(name),
        }
    }

    fn function(&self, name: &str) -> Option<TypeId> {
        let own = self.lookup_kind(&self.functions, Kind::Func, name);
        match own.and_then(|id| self.record(id)) {
            Some((_, record)) => Some(TypeId(u64::from(record.size_or_type))),
            None => self.base.as_ref()?.function(name),
        }
    }

    fn enumerator(&self, name: &str) -> Option<(TypeId, i64)> {
        let index = self.enumerators.get_or_init(|| self.index_enumerators());
        let own = index.get(&hash(name.as_bytes())).and_then(|candidates| {
            candidates.iter().find_map(|&(id, position)| {
                let (btf, record) = self.record(id)?;
                let signed = btf.enum_is_signed(&record);
                let (variant, value) = record.enumerator(position as usize, signed)?;
                (btf.string(variant) == name).then_some((TypeId(u64::from(id)), value))
            })
        });
        own.or_else(|| self.base.as_ref()?.enumerator(name))
    }

    fn for_each_name(&self, visit: &mut dyn FnMut(Namespace, &str, TypeId)) {
        if let Some(base) = &self.base {
            base.for_each_name(visit);
        }
        for (id, record) in self.own_records() {
            let Some(namespace) = record.kind.namespace(record.flag) else { continue };
            let name = self.string(record.name);
            if !name.is_empty() && namespace != Namespace::Base {
                visit(namespace, name, TypeId(u64::from(id)));
            }
        }
    }
}

impl std::fmt::Debug for Btf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Btf")
            .field("origin", &self.origin)
            .field("first_id", &self.first_id)
            .field("end_id", &self.end_id())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod written;
