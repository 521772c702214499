//! The layout of a BTF section (include/uapi/linux/btf.h).

use crate::types::Namespace;
use mortis_memory::ReadError;
use std::ops::Range;

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;

/// `BTF_MAX_TYPE` of the kernel, and room.
const MAX_TYPES: usize = 4 << 20;

/// Why a BTF section cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BtfError {
    /// It does not begin with the magic number.
    #[error("no BTF: the magic number is {0:#06x}")]
    Magic(u16),
    /// A part of it is not in the dump.
    #[error("BTF: {0}")]
    Missing(ReadError),
    /// A version that is not known.
    #[error("BTF version {0} is not known")]
    Version(u8),
    /// It is shorter than it says.
    #[error("BTF is cut short: {what} ends at {end:#x} of {len:#x} bytes")]
    Truncated {
        /// Which part.
        what: &'static str,
        /// Where it should end.
        end: u64,
        /// How long the section is.
        len: u64,
    },
    /// A kind of type that neither this program nor the section itself describes.
    #[error("BTF type at {offset:#x} is of the unknown kind {kind}")]
    Kind {
        /// The number of the kind.
        kind: u8,
        /// Where the type stands in the section.
        offset: u32,
    },
}

/// Where the parts of a section are, from its start.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) types: Range<usize>,
    pub(super) strings: Range<usize>,
    /// `struct btf_layout` for each kind, in sections that have it (2026).
    pub(super) layout: Range<usize>,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        let len = bytes.len() as u64;
        let cut = |what, end: u64| BtfError::Truncated { what, end, len };
        let short = cut("the header", 24);
        let magic = u16_at(bytes, 0).ok_or(short)?;
        if magic != MAGIC {
            return Err(BtfError::Magic(magic));
        }
        let version = *bytes.get(2).ok_or(short)?;
        if version != VERSION {
            return Err(BtfError::Version(version));
        }
        let field = |at| u32_at(bytes, at).ok_or(short);
        let header_len = field(4)?;
        let part = |what, offset: u32, size: u32| {
            let start = u64::from(header_len) + u64::from(offset);
            let end = start + u64::from(size);
            if end > len { Err(cut(what, end)) } else { Ok(start as usize..end as usize) }
        };
        let types = part("the type section", field(8)?, field(12)?)?;
        let strings = part("the string section", field(16)?, field(20)?)?;
        let layout = match header_len {
            32.. => part("the layout section", field(24)?, field(28)?)?,
            _ => 0..0,
        };
        Ok(Self { types, strings, layout })
    }
}

/// `BTF_KIND_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Pointer,
    Array,
    Struct,
    Union,
    Enum,
    Forward,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Func,
    FuncProto,
    Var,
    DataSection,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
    /// One that describes no type: locations of inlined calls, or newer ones.
    Other(u8),
}

impl Kind {
    fn from_number(number: u8) -> Self {
        match number {
            1 => Kind::Int,
            2 => Kind::Pointer,
            3 => Kind::Array,
            4 => Kind::Struct,
            5 => Kind::Union,
            6 => Kind::Enum,
            7 => Kind::Forward,
            8 => Kind::Typedef,
            9 => Kind::Volatile,
            10 => Kind::Const,
            11 => Kind::Restrict,
            12 => Kind::Func,
            13 => Kind::FuncProto,
            14 => Kind::Var,
            15 => Kind::DataSection,
            16 => Kind::Float,
            17 => Kind::DeclTag,
            18 => Kind::TypeTag,
            19 => Kind::Enum64,
            other => Kind::Other(other),
        }
    }

    /// The name space that a type of this kind is looked up in. `flag` tells a declared union
    /// from a declared struct.
    pub(super) fn namespace(self, flag: bool) -> Option<Namespace> {
        match self {
            Kind::Int | Kind::Float => Some(Namespace::Base),
            Kind::Struct => Some(Namespace::Struct),
            Kind::Union => Some(Namespace::Union),
            Kind::Forward if flag => Some(Namespace::Union),
            Kind::Forward => Some(Namespace::Struct),
            Kind::Enum | Kind::Enum64 => Some(Namespace::Enum),
            Kind::Typedef => Some(Namespace::Typedef),
            _ => None,
        }
    }

    /// Bytes behind the `struct btf_type`: those of each kind and those of each element.
    fn sizes(self) -> Option<(usize, usize)> {
        match self {
            Kind::Pointer
            | Kind::Forward
            | Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::Float
            | Kind::TypeTag => Some((0, 0)),
            // The length of a function is its linkage, and no elements follow.
            Kind::Func => Some((0, 0)),
            Kind::Int | Kind::Var | Kind::DeclTag => Some((4, 0)),
            Kind::Array => Some((12, 0)),
            Kind::Struct | Kind::Union | Kind::DataSection | Kind::Enum64 => Some((0, 12)),
            Kind::Enum | Kind::FuncProto => Some((0, 8)),
            // BTF_KIND_LOC_PARAM, BTF_KIND_LOC_PROTO, BTF_KIND_LOCSEC (2026).
            Kind::Other(20) => Some((4, 4)),
            Kind::Other(21) => Some((0, 4)),
            Kind::Other(22) => Some((0, 12)),
            Kind::Other(_) => None,
        }
    }
}

/// One `struct btf_type` and what follows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// Where it stands in the section.
    pub(super) offset: usize,
    pub(super) name: u32,
    pub(super) kind: Kind,
    /// `kind_flag`.
    pub(super) flag: bool,
    /// How many elements follow.
    pub(super) len: usize,
    pub(super) size_or_type: u32,
    /// Everything behind the `struct btf_type`, up to the end of the section.
    pub(super) rest: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) fn parse(bytes: &'a [u8], offset: usize) -> Option<Self> {
        let rest = bytes.get(offset..)?;
        let (head, rest) = rest.split_first_chunk::<12>()?;
        let info = u32_at(head, 4)?;
        Some(Self {
            offset,
            name: u32_at(head, 0)?,
            // Of 5 bits for the kind and 16 for the length once; the bits between were zero.
            kind: Kind::from_number((info >> 24 & 0x7f) as u8),
            flag: info >> 31 != 0,
            len: (info & 0xff_ffff) as usize,
            size_or_type: u32_at(head, 8)?,
            rest,
        })
    }

    /// Whether it names a type without describing it.
    pub(super) fn is_declaration(&self) -> bool {
        self.kind == Kind::Forward
            || (matches!(self.kind, Kind::Enum | Kind::Enum64) && self.len == 0)
    }

    /// The words of element `index`, of `N` words each.
    pub(super) fn element<const N: usize>(&self, index: usize) -> Option<[u32; N]> {
        if index >= self.len {
            return None;
        }
        self.words(index.checked_mul(N)?)
    }

    /// The `N` words behind the `struct btf_type` that start with word `first`.
    pub(super) fn words<const N: usize>(&self, first: usize) -> Option<[u32; N]> {
        let mut words = [0; N];
        for (index, word) in words.iter_mut().enumerate() {
            *word = u32_at(self.rest, (first + index).checked_mul(4)?)?;
        }
        Some(words)
    }

    /// The name and value of enumerator `index`, a 32-bit one signed or not.
    pub(super) fn enumerator(&self, index: usize, signed: bool) -> Option<(u32, i64)> {
        match self.kind {
            Kind::Enum => {
                let [name, value] = self.element(index)?;
                Some((name, if signed { i64::from(value as i32) } else { i64::from(value) }))
            }
            Kind::Enum64 => {
                let [name, low, high] = self.element(index)?;
                Some((name, (u64::from(high) << 32 | u64::from(low)) as i64))
            }
            _ => None,
        }
    }
}

/// What one pass over a section tells.
#[derive(Debug)]
pub(super) struct Outline {
    /// Where each type stands.
    pub(super) offsets: Vec<u32>,
    /// Whether some enumeration is marked as signed, so that those without the mark are not
    /// (6089fb325cf7, 6.0). Older sections mark none.
    pub(super) marks_signed_enums: bool,
}

/// Finds every type of the section.
pub(super) fn outline(bytes: &[u8], header: &Header) -> Result<Outline, BtfError> {
    let layout = bytes.get(header.layout.clone()).unwrap_or(&[]);
    let types = bytes.get(..header.types.end).unwrap_or(&[]);
    let mut offsets = Vec::with_capacity((header.types.len() / 20).min(MAX_TYPES));
    let mut marks_signed_enums = false;
    let mut at = header.types.start;
    while at < header.types.end && offsets.len() < MAX_TYPES {
        let truncated = |end: usize| BtfError::Truncated {
            what: "a type",
            end: end as u64,
            len: types.len() as u64,
        };
        let record = Record::parse(types, at).ok_or(truncated(at + 12))?;
        let sizes = match record.kind {
            Kind::Other(number) => described_sizes(layout, number).or(record.kind.sizes()),
            known => known.sizes(),
        };
        let Some((fixed, each)) = sizes else {
            let Kind::Other(kind) = record.kind else { return Err(truncated(at)) };
            return Err(BtfError::Kind { kind, offset: at as u32 });
        };
        let end = at + 12 + fixed + each * record.len;
        if end > types.len() {
            return Err(truncated(end));
        }
        marks_signed_enums |= record.flag && matches!(record.kind, Kind::Enum | Kind::Enum64);
        offsets.push(u32::try_from(at).map_err(|_| truncated(end))?);
        at = end;
    }
    Ok(Outline { offsets, marks_signed_enums })
}

/// What the section itself says of the sizes of kind `number`: `struct btf_layout`.
fn described_sizes(layout: &[u8], number: u8) -> Option<(usize, usize)> {
    let entry = layout.get(usize::from(number) * 4..)?.get(..2)?;
    Some((usize::from(*entry.first()?), usize::from(*entry.get(1)?)))
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    bytes.try_into().ok().map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}
