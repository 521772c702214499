//! Several sources of types as one.

use super::{Member, Namespace, Type, TypeError, TypeId, TypeSource};
use rustc_hash::FxHashMap;
use std::sync::{Arc, RwLock};

/// The source's number stands in the bits above this.
const SOURCE_SHIFT: u32 = 48;

/// The ids that a source may give out.
const ID_MASK: u64 = (1 << SOURCE_SHIFT) - 1;

/// Bytes of a pointer that is made: every kernel that Mortis reads is of 64 bits.
const POINTER_SIZE: u64 = 8;

/// The number that stands for types made by [`TypeSet::intern`].
const MADE: u64 = 0xffff;

/// The most types that are made: each is something that a user wrote.
const MAX_MADE: usize = 1 << 16;

/// One of the sources.
#[derive(Clone)]
struct Part {
    source: Arc<dyn TypeSource>,
    /// Ids below this are those of the first source: split BTF.
    shared_below: u64,
}

/// Joins sources of types: the kernel's BTF first, its modules' behind it, or DWARF. What an
/// earlier source defines is not looked up in a later one.
///
/// Sources may be added at any time through `&self`; ids that were given out stay valid. A
/// source's own ids must fit into 48 bits.
#[derive(Default)]
pub struct TypeSet {
    parts: RwLock<Vec<Part>>,
    decoded: RwLock<FxHashMap<u64, Arc<Type>>>,
    made: RwLock<Vec<Arc<Type>>>,
}

impl TypeSet {
    /// A set without types.
    pub fn new() -> Self {
        Self::default()
    }

    /// A set of one source.
    pub fn with(source: Arc<dyn TypeSource>) -> Self {
        let set = Self::new();
        set.add(source);
        set
    }

    /// Adds a source that is whole in itself. At most 65,534 sources are taken; one more is not
    /// added.
    pub fn add(&self, source: Arc<dyn TypeSource>) {
        self.add_split(source, 0);
    }

    /// Adds a source whose ids below `shared_below` are those of the first source: split BTF over
    /// the kernel's.
    pub fn add_split(&self, source: Arc<dyn TypeSource>, shared_below: u64) {
        if let Ok(mut parts) = self.parts.write()
            && (parts.len() as u64) < MADE
        {
            parts.push(Part { source, shared_below });
        }
    }

    /// How many sources there are.
    pub fn len(&self) -> usize {
        self.parts.read().map_or(0, |parts| parts.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of a type that no source need have: a pointer to a known type, an array of one.
    /// The same type gets the same id.
    pub fn intern(&self, ty: Type) -> TypeId {
        let id = |index: usize| TypeId(MADE << SOURCE_SHIFT | index as u64);
        let Ok(mut made) = self.made.write() else { return TypeId::VOID };
        if let Some(index) = made.iter().position(|known| **known == ty) {
            return id(index);
        }
        if made.len() >= MAX_MADE {
            return TypeId::VOID;
        }
        made.push(Arc::new(ty));
        id(made.len() - 1)
    }

    /// The type of a pointer to `target`.
    pub fn pointer_to(&self, target: TypeId) -> TypeId {
        self.intern(Type::Pointer { target, size: POINTER_SIZE })
    }

    /// The origins of the sources, in order.
    pub fn origins(&self) -> Vec<String> {
        self.snapshot().iter().map(|part| part.source.origin().to_owned()).collect()
    }

    /// The origin of the source that `id` came from.
    pub fn origin_of(&self, id: TypeId) -> Option<String> {
        Some(self.part(id)?.1.source.origin().to_owned())
    }

    fn snapshot(&self) -> Vec<Part> {
        self.parts.read().map(|parts| parts.clone()).unwrap_or_default()
    }

    fn part(&self, id: TypeId) -> Option<(usize, Part)> {
        let index = usize::try_from(id.0 >> SOURCE_SHIFT).ok()?;
        let parts = self.parts.read().ok()?;
        Some((index, parts.get(index)?.clone()))
    }

    /// The first answer that `ask` gets, as an id of the set.
    fn first(&self, ask: impl Fn(&dyn TypeSource) -> Option<TypeId>) -> Option<TypeId> {
        let parts = self.snapshot();
        parts
            .iter()
            .enumerate()
            .find_map(|(index, part)| Some(outward(index, part, ask(&*part.source)?)))
    }
}

/// The set's id of the type that source `index` calls `id`.
fn outward(index: usize, part: &Part, id: TypeId) -> TypeId {
    if id == TypeId::VOID || id.0 < part.shared_below {
        return id;
    }
    TypeId((id.0 & ID_MASK) | ((index as u64) << SOURCE_SHIFT))
}

impl TypeSource for TypeSet {
    fn origin(&self) -> &str {
        "all types"
    }

    fn lookup(&self, namespace: Namespace, name: &str) -> Option<TypeId> {
        let mut declared = None;
        for (index, part) in self.snapshot().iter().enumerate() {
            let Some(id) = part.source.lookup(namespace, name) else { continue };
            let incomplete = matches!(
                part.source.get(id).as_deref(),
                Ok(Type::Compound(super::Compound { incomplete: true, .. })
                    | Type::Enum(super::Enum { incomplete: true, .. }))
            );
            let id = outward(index, part, id);
            if !incomplete {
                return Some(id);
            }
            declared.get_or_insert(id);
        }
        declared
    }

    fn get(&self, id: TypeId) -> Result<Arc<Type>, TypeError> {
        if id == TypeId::VOID {
            return Ok(Arc::new(Type::Void));
        }
        if id.0 >> SOURCE_SHIFT == MADE {
            let made = self.made.read().ok();
            let ty = made.and_then(|made| made.get((id.0 & ID_MASK) as usize).cloned());
            return ty.ok_or(TypeError::UnknownId(id.0));
        }
        let (index, part) = self.part(id).ok_or(TypeError::UnknownId(id.0))?;
        if index == 0 {
            return part.source.get(id);
        }
        if let Ok(decoded) = self.decoded.read()
            && let Some(ty) = decoded.get(&id.0)
        {
            return Ok(ty.clone());
        }
        let ty = part.source.get(TypeId(id.0 & ID_MASK))?;
        let ty = Arc::new(with_ids((*ty).clone(), |id| outward(index, &part, id)));
        if let Ok(mut decoded) = self.decoded.write() {
            decoded.insert(id.0, ty.clone());
        }
        Ok(ty)
    }

    fn variable(&self, name: &str) -> Option<TypeId> {
        self.first(|source| source.variable(name))
    }

    fn function(&self, name: &str) -> Option<TypeId> {
        self.first(|source| source.function(name))
    }

    fn enumerator(&self, name: &str) -> Option<(TypeId, i64)> {
        self.snapshot().iter().enumerate().find_map(|(index, part)| {
            let (id, value) = part.source.enumerator(name)?;
            Some((outward(index, part, id), value))
        })
    }

    fn for_each_name(&self, visit: &mut dyn FnMut(Namespace, &str, TypeId)) {
        for (index, part) in self.snapshot().iter().enumerate() {
            part.source.for_each_name(&mut |namespace, name, id| {
                // A split source tells its base's names too, which were told before.
                if index == 0 || id.0 >= part.shared_below {
                    visit(namespace, name, outward(index, part, id));
                }
            });
        }
    }
}

/// `ty` with each id in it replaced.
fn with_ids(ty: Type, map: impl Fn(TypeId) -> TypeId) -> Type {
    match ty {
        Type::Pointer { target, size } => Type::Pointer { target: map(target), size },
        Type::Array { element, count } => Type::Array { element: map(element), count },
        Type::Typedef { name, target } => Type::Typedef { name, target: map(target) },
        Type::Qualified { qualifier, target } => Type::Qualified { qualifier, target: map(target) },
        Type::Compound(mut compound) => {
            compound.members = compound
                .members
                .into_iter()
                .map(|member| Member { ty: map(member.ty), ..member })
                .collect();
            Type::Compound(compound)
        }
        Type::Function(mut function) => {
            function.result = map(function.result);
            for (_, parameter) in &mut function.parameters {
                *parameter = map(*parameter);
            }
            Type::Function(function)
        }
        Type::Void | Type::Int { .. } | Type::Float { .. } | Type::Enum(_) => ty,
    }
}

impl std::fmt::Debug for TypeSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TypeSet").field(&self.origins()).finish()
    }
}
