//! One record of a section to a [`Type`].

use super::Btf;
use super::format::{Kind, Record};
use crate::types::{
    Compound, CompoundKind, Enum, Function, IntEncoding, Member, Qualifier, Type, TypeError, TypeId,
};
use std::sync::Arc;

/// Pointers in BTF say no size; every kernel that Mortis reads is of 64 bits.
const POINTER_SIZE: u64 = 8;

/// `BTF_INT_ENCODING`.
const INT_SIGNED: u32 = 1 << 0;
const INT_CHAR: u32 = 1 << 1;
const INT_BOOL: u32 = 1 << 2;

impl Btf {
    pub(super) fn decode_record(&self, record: Record<'_>) -> Result<Type, TypeError> {
        let size = u64::from(record.size_or_type);
        let target = TypeId(u64::from(record.size_or_type));
        let cut = TypeError::Damaged {
            section: "BTF",
            offset: record.offset as u64,
            what: "it reaches over the end of the section",
        };
        Ok(match record.kind {
            Kind::Int => {
                let [encoding] = record.words(0).ok_or(cut)?;
                self.decode_int(record, encoding)
            }
            Kind::Float => Type::Float { name: self.string(record.name).into(), size },
            Kind::Pointer => Type::Pointer { target, size: POINTER_SIZE },
            Kind::Array => {
                let [element, _index, count] = record.words(0).ok_or(cut)?;
                Type::Array {
                    element: TypeId(u64::from(element)),
                    // BTF has one form for `[]` and `[0]`.
                    count: (count != 0).then_some(u64::from(count)),
                }
            }
            Kind::Struct => self.decode_compound(record, CompoundKind::Struct).ok_or(cut)?,
            Kind::Union => self.decode_compound(record, CompoundKind::Union).ok_or(cut)?,
            Kind::Forward => Type::Compound(Compound {
                kind: if record.flag { CompoundKind::Union } else { CompoundKind::Struct },
                name: self.name(record.name),
                size: 0,
                members: Vec::new(),
                incomplete: true,
            }),
            Kind::Enum | Kind::Enum64 => self.decode_enum(record).ok_or(cut)?,
            Kind::Typedef => Type::Typedef { name: self.string(record.name).into(), target },
            Kind::Volatile => Type::Qualified { qualifier: Qualifier::Volatile, target },
            Kind::Const => Type::Qualified { qualifier: Qualifier::Const, target },
            Kind::Restrict => Type::Qualified { qualifier: Qualifier::Restrict, target },
            Kind::FuncProto => self.decode_function(record, target).ok_or(cut)?,
            // A tag (`__user`, `__rcu`), a function or a variable stands for the type behind it,
            // which `Btf::get` follows so that it does not show.
            Kind::TypeTag | Kind::Func | Kind::Var | Kind::DeclTag => {
                return self.decode_target(record);
            }
            Kind::DataSection | Kind::Other(_) => {
                return Err(TypeError::Damaged {
                    section: "BTF",
                    offset: record.offset as u64,
                    what: "it is used as a type and is none",
                });
            }
        })
    }

    /// The type behind a tag, at most a few tags away.
    fn decode_target(&self, record: Record<'_>) -> Result<Type, TypeError> {
        const MAX_TAGS: usize = 16;
        let mut id = record.size_or_type;
        for _ in 0..MAX_TAGS {
            if id == 0 {
                return Ok(Type::Void);
            }
            let (btf, next) = self.record(id).ok_or(TypeError::UnknownId(u64::from(id)))?;
            match next.kind {
                Kind::TypeTag | Kind::Func | Kind::Var | Kind::DeclTag => id = next.size_or_type,
                _ => return btf.decode_record(next),
            }
        }
        Err(TypeError::Damaged {
            section: "BTF",
            offset: record.offset as u64,
            what: "its tags do not end",
        })
    }

    fn decode_int(&self, record: Record<'_>, encoding: u32) -> Type {
        let name = self.string(record.name);
        let flags = encoding >> 24 & 0xf;
        // pahole marks no type as a character: the name is all there is.
        let character =
            flags & INT_CHAR != 0 || matches!(name, "char" | "signed char" | "unsigned char");
        Type::Int {
            name: name.into(),
            size: u64::from(record.size_or_type),
            signed: flags & INT_SIGNED != 0,
            encoding: match () {
                () if flags & INT_BOOL != 0 => IntEncoding::Boolean,
                () if character => IntEncoding::Character,
                () => IntEncoding::Number,
            },
        }
    }

    fn decode_compound(&self, record: Record<'_>, kind: CompoundKind) -> Option<Type> {
        let mut members = Vec::with_capacity(record.len.min(record.rest.len() / 12));
        for index in 0..record.len {
            let [name, ty, offset] = record.element(index)?;
            let (bit_offset, bit_size) = match record.flag {
                true => (offset & 0xff_ffff, offset >> 24),
                false => (offset, 0),
            };
            members.push(Member {
                name: self.name(name),
                ty: TypeId(u64::from(ty)),
                bit_offset: u64::from(bit_offset),
                bit_size: (bit_size != 0).then_some(bit_size),
            });
        }
        Some(Type::Compound(Compound {
            kind,
            name: self.name(record.name),
            size: u64::from(record.size_or_type),
            members,
            incomplete: false,
        }))
    }

    fn decode_enum(&self, record: Record<'_>) -> Option<Type> {
        let mut variants = Vec::with_capacity(record.len.min(record.rest.len() / 8));
        let may_be_signed = self.enum_is_signed(&record);
        for index in 0..record.len {
            let (name, value) = record.enumerator(index, may_be_signed)?;
            variants.push((Arc::from(self.string(name)), value));
        }
        let signed = may_be_signed && variants.iter().any(|(_, value)| *value < 0);
        Some(Type::Enum(Enum {
            name: self.name(record.name),
            size: u64::from(record.size_or_type),
            signed,
            incomplete: variants.is_empty(),
            variants,
        }))
    }

    pub(super) fn enum_is_signed(&self, record: &Record<'_>) -> bool {
        record.flag || (record.kind == Kind::Enum && !self.marks_signed_enums)
    }

    fn decode_function(&self, record: Record<'_>, result: TypeId) -> Option<Type> {
        let mut parameters = Vec::with_capacity(record.len.min(record.rest.len() / 8));
        for index in 0..record.len {
            let [name, ty] = record.element(index)?;
            parameters.push((self.name(name), TypeId(u64::from(ty))));
        }
        // A last parameter without name and type is `...`.
        let variadic = matches!(parameters.last(), Some((None, TypeId::VOID)));
        if variadic {
            parameters.pop();
        }
        Some(Type::Function(Function { result, parameters, variadic }))
    }

    fn name(&self, offset: u32) -> Option<Arc<str>> {
        let name = self.string(offset);
        (!name.is_empty()).then(|| name.into())
    }
}
