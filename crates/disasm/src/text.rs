//! How an instruction is to be printed.

use mortis_memory::VirtAddr;
use std::borrow::Cow;

/// The two spellings of x86 assembly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Style {
    /// `mov %rdi,0x8(%rbp)`: source first; gdb's and crash's default.
    #[default]
    Att,
    /// `mov QWORD PTR [rbp+0x8],rdi`: destination first; gdb's `set disassembly-flavor intel`.
    Intel,
}

/// How the offset of `<symbol+offset>` is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OffsetRadix {
    /// `<schedule+22>`, as gdb and crash do by default.
    #[default]
    Decimal,
    /// `<schedule+0x16>`, as crash does with `-x`.
    Hexadecimal,
}

/// The symbol that an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolOffset<'a> {
    /// The symbol's name.
    pub name: Cow<'a, str>,
    /// Bytes from the symbol's start to the address.
    pub offset: u64,
}

/// Says which symbol an address belongs to.
pub type SymbolLookup<'a> = dyn Fn(VirtAddr) -> Option<SymbolOffset<'a>> + 'a;

/// How an instruction is to be printed.
#[derive(Clone, Copy)]
pub struct TextOptions<'a> {
    /// AT&T or Intel.
    pub style: Style,
    /// The radix of symbol offsets.
    pub offsets: OffsetRadix,
    /// Names branch targets and RIP-relative addresses.
    pub symbols: &'a SymbolLookup<'a>,
}

impl Default for TextOptions<'_> {
    /// AT&T, decimal offsets, no symbols.
    fn default() -> Self {
        Self { style: Style::Att, offsets: OffsetRadix::Decimal, symbols: &|_| None }
    }
}

impl TextOptions<'_> {
    /// Appends ` <name+offset>` where `address` has a symbol.
    pub(crate) fn push_symbol(&self, out: &mut String, address: VirtAddr) {
        let Some(symbol) = (self.symbols)(address) else { return };
        out.push_str(" <");
        out.push_str(&symbol.name);
        match (symbol.offset, self.offsets) {
            (0, _) => {}
            (offset, OffsetRadix::Decimal) => out.push_str(&format!("+{offset}")),
            (offset, OffsetRadix::Hexadecimal) => out.push_str(&format!("+{offset:#x}")),
        }
        out.push('>');
    }
}
