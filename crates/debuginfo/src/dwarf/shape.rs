//! How to walk over the entries of a unit without decoding them.
//!
//! The index by name has to pass millions of entries and wants three attributes of a few. So each
//! abbreviation is turned, on first sight, into the bytes to skip between the attributes that
//! matter: most entries are then passed in two or three steps.

use gimli::{Abbreviations, AttributeSpecification, DwAt, DwForm, UnitHeader, constants};

use super::Slice;

/// The names that are indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(super) enum NameKind {
    Struct,
    Union,
    Enum,
    Typedef,
    Base,
    Variable,
    Function,
    Enumerator,
}

/// Where a name is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamePlace {
    /// At an offset of `.debug_str`.
    Str(u64),
    /// At an offset of the unit's bytes.
    Inline(usize),
    /// At an index of the unit's part of `.debug_str_offsets`.
    Index(u64),
    /// In `.debug_line_str`: no compiler does this for names of the program.
    Elsewhere,
}

/// One step over the attributes of an entry.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many bytes that do not matter.
    Skip(usize),
    /// An attribute of variable length that does not matter, or one that does.
    Attribute(DwForm, Role),
}

/// What an attribute is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    None,
    Name,
    Sibling,
    Specification,
    Declaration,
}

#[derive(Clone, Debug)]
struct Shape {
    tag: gimli::DwTag,
    has_children: bool,
    steps: Box<[Step]>,
}

/// What was seen of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    pub tag: gimli::DwTag,
    pub has_children: bool,
    pub name: Option<NamePlace>,
    pub declaration: bool,
    /// Offset of the unit's bytes where the next entry on the same level is.
    pub sibling: Option<usize>,
    /// Offset of the unit's bytes where the declaration is that this entry completes.
    pub specification: Option<usize>,
}

/// Walks over the entries of one unit.
pub(super) struct Walker<'a> {
    /// The whole unit, from its header on.
    bytes: &'a [u8],
    encoding: gimli::Encoding,
    abbreviations: &'a Abbreviations,
    shapes: Vec<Option<Shape>>,
    /// Where the next entry is.
    pub at: usize,
}

/// What the walk ends with: the unit is damaged, or written in a form that is not known.
#[derive(Debug)]
pub(super) struct Lost;

/// Compilers number abbreviations from 1 on; a unit has hundreds.
const MAX_CODE: usize = 1 << 16;

impl<'a> Walker<'a> {
    pub fn new(
        bytes: &'a [u8],
        header: &UnitHeader<Slice<'a>>,
        abbreviations: &'a Abbreviations,
    ) -> Self {
        let at = header.root_offset().0;
        Self { bytes, encoding: header.encoding(), abbreviations, shapes: Vec::new(), at }
    }

    /// Passes the entry at [`Walker::at`]; `None` is the end of a list of siblings.
    pub fn pass(&mut self) -> Result<Option<Passed>, Lost> {
        let code = self.leb()?;
        if code == 0 {
            return Ok(None);
        }
        let code = usize::try_from(code).ok().filter(|&code| code < MAX_CODE).ok_or(Lost)?;
        if self.shapes.len() <= code {
            self.shapes.resize(code + 1, None);
        }
        // Taken out while it is used, since the steps move `self.at`.
        let shape = match self.shapes.get_mut(code).and_then(Option::take) {
            Some(shape) => shape,
            None => self.shape(code)?,
        };
        let passed = self.follow(&shape);
        if let Some(slot) = self.shapes.get_mut(code) {
            *slot = Some(shape);
        }
        passed.map(Some)
    }

    /// The string at an offset of the unit's bytes.
    pub fn string(&self, at: usize) -> &'a [u8] {
        let rest = self.bytes.get(at..).unwrap_or_default();
        memchr::memchr(0, rest).and_then(|end| rest.get(..end)).unwrap_or_default()
    }

    /// At the end of the unit.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn follow(&mut self, shape: &Shape) -> Result<Passed, Lost> {
        let mut passed = Passed {
            tag: shape.tag,
            has_children: shape.has_children,
            name: None,
            declaration: false,
            sibling: None,
            specification: None,
        };
        for step in &shape.steps {
            match *step {
                Step::Skip(bytes) => self.skip(bytes)?,
                Step::Attribute(form, Role::None) => self.skip_form(form)?,
                Step::Attribute(form, Role::Name) => passed.name = Some(self.name(form)?),
                Step::Attribute(form, Role::Sibling) => passed.sibling = self.reference(form)?,
                Step::Attribute(form, Role::Specification) => {
                    passed.specification = self.reference(form)?;
                }
                Step::Attribute(constants::DW_FORM_flag_present, Role::Declaration) => {
                    passed.declaration = true;
                }
                Step::Attribute(_, Role::Declaration) => passed.declaration = self.number(1)? != 0,
            }
        }
        Ok(passed)
    }

    fn shape(&self, code: usize) -> Result<Shape, Lost> {
        let abbreviation = self.abbreviations.get(code as u64).ok_or(Lost)?;
        let tag = abbreviation.tag();
        let mut steps: Vec<Step> = Vec::new();
        for attribute in abbreviation.attributes() {
            let role = role(tag, attribute);
            let size = fixed_size(attribute.form(), self.encoding);
            match (role, size, steps.last_mut()) {
                (Role::None, Some(0), _) => {}
                (Role::None, Some(size), Some(Step::Skip(bytes))) => *bytes += size,
                (Role::None, Some(size), _) => steps.push(Step::Skip(size)),
                _ => steps.push(Step::Attribute(attribute.form(), role)),
            }
        }
        let has_children = abbreviation.has_children();
        Ok(Shape { tag, has_children, steps: steps.into() })
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Lost> {
        self.at = self.at.checked_add(bytes).filter(|&at| at <= self.bytes.len()).ok_or(Lost)?;
        Ok(())
    }

    /// Passes over an attribute of variable length.
    fn skip_form(&mut self, form: DwForm) -> Result<(), Lost> {
        let bytes = match form {
            constants::DW_FORM_block1 => self.number(1)?,
            constants::DW_FORM_block2 => self.number(2)?,
            constants::DW_FORM_block4 => self.number(4)?,
            constants::DW_FORM_block | constants::DW_FORM_exprloc => self.leb()?,
            constants::DW_FORM_string => {
                let rest = self.bytes.get(self.at..).ok_or(Lost)?;
                memchr::memchr(0, rest).ok_or(Lost)? as u64 + 1
            }
            constants::DW_FORM_udata
            | constants::DW_FORM_sdata
            | constants::DW_FORM_ref_udata
            | constants::DW_FORM_strx
            | constants::DW_FORM_GNU_str_index
            | constants::DW_FORM_addrx
            | constants::DW_FORM_GNU_addr_index
            | constants::DW_FORM_loclistx
            | constants::DW_FORM_rnglistx => {
                self.leb()?;
                0
            }
            _ => u64::try_from(fixed_size(form, self.encoding).ok_or(Lost)?).map_err(|_| Lost)?,
        };
        self.skip(usize::try_from(bytes).map_err(|_| Lost)?)
    }

    fn name(&mut self, form: DwForm) -> Result<NamePlace, Lost> {
        let word = usize::from(self.encoding.format.word_size());
        Ok(match form {
            constants::DW_FORM_strp => NamePlace::Str(self.number(word)?),
            constants::DW_FORM_string => {
                let at = self.at;
                self.skip_form(form)?;
                NamePlace::Inline(at)
            }
            constants::DW_FORM_strx | constants::DW_FORM_GNU_str_index => {
                NamePlace::Index(self.leb()?)
            }
            constants::DW_FORM_strx1 => NamePlace::Index(self.number(1)?),
            constants::DW_FORM_strx2 => NamePlace::Index(self.number(2)?),
            constants::DW_FORM_strx3 => NamePlace::Index(self.number(3)?),
            constants::DW_FORM_strx4 => NamePlace::Index(self.number(4)?),
            _ => {
                self.skip_form(form)?;
                NamePlace::Elsewhere
            }
        })
    }

    /// A reference to an entry of the same unit, as an offset of its bytes.
    fn reference(&mut self, form: DwForm) -> Result<Option<usize>, Lost> {
        let offset = match form {
            constants::DW_FORM_ref1 => self.number(1)?,
            constants::DW_FORM_ref2 => self.number(2)?,
            constants::DW_FORM_ref4 => self.number(4)?,
            constants::DW_FORM_ref8 => self.number(8)?,
            constants::DW_FORM_ref_udata => self.leb()?,
            _ => {
                self.skip_form(form)?;
                return Ok(None);
            }
        };
        Ok(usize::try_from(offset).ok())
    }

    /// A number of `size` bytes.
    fn number(&mut self, size: usize) -> Result<u64, Lost> {
        let end = self.at.checked_add(size).ok_or(Lost)?;
        let bytes = self.bytes.get(self.at..end).ok_or(Lost)?;
        self.at = end;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn leb(&mut self) -> Result<u64, Lost> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(Lost)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Lost)
    }
}

fn role(tag: gimli::DwTag, attribute: &AttributeSpecification) -> Role {
    /// A sibling is of use only where there may be children; specifications complete variables
    /// and functions.
    const fn wanted(name: DwAt) -> Role {
        match name {
            constants::DW_AT_name => Role::Name,
            constants::DW_AT_sibling => Role::Sibling,
            constants::DW_AT_specification => Role::Specification,
            constants::DW_AT_declaration => Role::Declaration,
            _ => Role::None,
        }
    }
    match (kind_of(tag), wanted(attribute.name())) {
        (None, Role::Sibling) => Role::Sibling,
        (None, _) => Role::None,
        (Some(_), role) => role,
    }
}

/// What is indexed of entries with `tag`.
pub(super) const fn kind_of(tag: gimli::DwTag) -> Option<NameKind> {
    Some(match tag {
        constants::DW_TAG_structure_type | constants::DW_TAG_class_type => NameKind::Struct,
        constants::DW_TAG_union_type => NameKind::Union,
        constants::DW_TAG_enumeration_type => NameKind::Enum,
        constants::DW_TAG_typedef => NameKind::Typedef,
        constants::DW_TAG_base_type => NameKind::Base,
        constants::DW_TAG_variable => NameKind::Variable,
        constants::DW_TAG_subprogram => NameKind::Function,
        constants::DW_TAG_enumerator => NameKind::Enumerator,
        _ => return None,
    })
}

/// Bytes that an attribute of `form` takes, where the form alone says it (DWARF 5, 7.5.6).
fn fixed_size(form: DwForm, encoding: gimli::Encoding) -> Option<usize> {
    let word = usize::from(encoding.format.word_size());
    Some(match form {
        constants::DW_FORM_implicit_const | constants::DW_FORM_flag_present => 0,
        constants::DW_FORM_data1
        | constants::DW_FORM_flag
        | constants::DW_FORM_ref1
        | constants::DW_FORM_strx1
        | constants::DW_FORM_addrx1 => 1,
        constants::DW_FORM_data2
        | constants::DW_FORM_ref2
        | constants::DW_FORM_strx2
        | constants::DW_FORM_addrx2 => 2,
        constants::DW_FORM_strx3 | constants::DW_FORM_addrx3 => 3,
        constants::DW_FORM_data4
        | constants::DW_FORM_ref4
        | constants::DW_FORM_ref_sup4
        | constants::DW_FORM_strx4
        | constants::DW_FORM_addrx4 => 4,
        constants::DW_FORM_data8
        | constants::DW_FORM_ref8
        | constants::DW_FORM_ref_sig8
        | constants::DW_FORM_ref_sup8 => 8,
        constants::DW_FORM_data16 => 16,
        constants::DW_FORM_addr => usize::from(encoding.address_size),
        // DWARF 2 gave it the size of an address.
        constants::DW_FORM_ref_addr if encoding.version == 2 => usize::from(encoding.address_size),
        constants::DW_FORM_ref_addr
        | constants::DW_FORM_sec_offset
        | constants::DW_FORM_strp
        | constants::DW_FORM_strp_sup
        | constants::DW_FORM_line_strp
        | constants::DW_FORM_GNU_ref_alt
        | constants::DW_FORM_GNU_strp_alt => word,
        _ => return None,
    })
}
