//! The versions of the ORC format, and how memory tells which one it holds.

use super::{OrcEntry, OrcKind, OrcRegister};
use crate::Register;
use mortis_memory::VirtAddr;
use std::ops::Range;

/// A layout of `struct orc_entry` together with a numbering of `ORC_REG_*` and `ORC_TYPE_*`.
///
/// The two offsets never changed. The third 16 bits did (`type`, `signal` and `end` are the bits
/// from 8 on):
///
/// | format | type | signal | end | registers |
/// | --- | --- | --- | --- | --- |
/// | [`Original`](Self::Original) | 8–9 | – | 10 | old |
/// | [`Signal`](Self::Signal) | 8–9 | 10 | 11 | old |
/// | [`WideType`](Self::WideType) | 8–10 | 11 | – | old |
/// | [`Reordered`](Self::Reordered) | 8–10 | 11 | – | new |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrcFormat {
    /// ee9f8fce9964 "x86/unwind: Add the ORC unwinder" (4.14). `end` came with "x86/unwind/orc:
    /// Detect the end of the stack" (4.18).
    Original,
    /// ffb1b4a41016 "x86/unwind/orc: Add 'signal' field to ORC metadata" (6.3).
    Signal,
    /// fb799447ae29 "x86,objtool: Split UNWIND_HINT_EMPTY in two" (6.4); also in RHEL 9 from
    /// 5.14.0-517 on.
    WideType,
    /// 1735858caa4b "objtool/x86: Reorder ORC register numbering" (7.1).
    Reordered,
}

/// What memory can tell about the format, as far as the caller finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrcProbe {
    /// `__start_orc_header` up to `__stop_orc_header`: a SHA-1 over the definitions in
    /// orc_types.h (scripts/orc_hash.sh; b9f174c811e3, 6.4 and stable 6.3.10).
    pub header: Option<[u8; 20]>,
    /// The 6 bytes of the static `orc_fp_entry` in arch/x86/kernel/unwind_orc.c.
    pub fp_entry: Option<[u8; OrcEntry::SIZE]>,
    /// `__entry_text_start` up to `__entry_text_end`: where entries for saved registers are
    /// certain to be.
    pub entry_text: Option<Range<VirtAddr>>,
}

const HASH_SIGNAL: [u8; 20] = [
    0xdb, 0x84, 0xae, 0xd4, 0x10, 0x3b, 0x31, 0xdd, 0x51, 0xe0, 0x17, 0xf8, 0xf7, 0x97, 0x83, 0xca,
    0x98, 0x5c, 0x2c, 0x51,
];
const HASH_WIDE_TYPE: [u8; 20] = [
    0xfe, 0x5d, 0x32, 0xbf, 0x58, 0x1b, 0xd6, 0x3b, 0x2c, 0xa9, 0xa5, 0xc6, 0x5b, 0xa5, 0xa6, 0x25,
    0xea, 0xb3, 0xfe, 0x24,
];
const HASH_REORDERED: [u8; 20] = [
    0x13, 0x7c, 0x36, 0xad, 0x76, 0x27, 0xc4, 0xdd, 0x55, 0x93, 0x21, 0x76, 0xbb, 0x0e, 0xcd, 0xbd,
    0x50, 0x41, 0xfc, 0x82,
];

const OLD_SP: u8 = 5;
const NEW_SP: u8 = 3;
const OLD_PREVIOUS_SP: u8 = 1;
const NEW_PREVIOUS_SP: u8 = 8;
const NARROW_CALL: u8 = 0;
const WIDE_CALL: u8 = 2;

impl OrcFormat {
    /// The format that an `.orc_header` names. None for a hash not seen yet: kernels that only
    /// added a register (`ORC_REG_AX` as 10, in stable kernels before 7.1) have others.
    pub fn from_header(hash: &[u8; 20]) -> Option<Self> {
        match *hash {
            HASH_SIGNAL => Some(OrcFormat::Signal),
            HASH_WIDE_TYPE => Some(OrcFormat::WideType),
            HASH_REORDERED => Some(OrcFormat::Reordered),
            _ => None,
        }
    }

    /// What the kernel's own `orc_fp_entry` tells: its content is always the same
    /// ([`OrcEntry::FRAME_POINTER`]), only the encoding differs. `Original` stands for `Signal`
    /// too: a call frame looks the same in both.
    pub(crate) fn from_fp_entry(entry: &[u8; OrcEntry::SIZE]) -> Option<Self> {
        [OrcFormat::Reordered, OrcFormat::WideType, OrcFormat::Original]
            .into_iter()
            .find(|&format| OrcEntry::decode(*entry, format) == OrcEntry::FRAME_POINTER)
    }

    /// What a sample of entries tells: nearly all are call frames counted from SP, so the number
    /// that stands for CALL and the one that stands for SP are the most frequent ones. `Original`
    /// stands for `Signal` too.
    pub(crate) fn from_call_frames(sample: &[[u8; OrcEntry::SIZE]]) -> Option<Self> {
        let votes = |format: OrcFormat| {
            let plain = OrcRegister::Register(Register::Rsp);
            sample
                .iter()
                .map(|&bytes| OrcEntry::decode(bytes, format))
                .filter(|entry| entry.kind == OrcKind::Call && entry.sp_reg == plain)
                .filter(|entry| entry.sp_offset > 0 && entry.sp_offset % 8 == 0)
                .count()
        };
        let (format, count) = [OrcFormat::Reordered, OrcFormat::WideType, OrcFormat::Original]
            .into_iter()
            .map(|format| (format, votes(format)))
            .max_by_key(|&(_, count)| count)?;
        (count * 4 >= sample.len() && count > 0).then_some(format)
    }

    /// Tells `Signal` from `Original` by entries for saved registers: the frame behind them is at
    /// an exact address, so `Signal` has bit 10 set, and the same bit means `end` in `Original`,
    /// which no such entry is.
    pub(crate) fn signal_or_original(sample: &[[u8; OrcEntry::SIZE]]) -> Self {
        let is_saved = |&&[.., registers, flags]: &&[u8; OrcEntry::SIZE]| {
            registers & 0xf != 0 && flags & 0x3 != NARROW_CALL
        };
        let saved = sample.iter().filter(is_saved).count();
        let exact = sample.iter().filter(is_saved).filter(|[.., flags]| flags & 0x4 != 0).count();
        if exact * 2 > saved { OrcFormat::Signal } else { OrcFormat::Original }
    }

    /// `ORC_REG_*`.
    pub(crate) const fn register(self, number: u8) -> OrcRegister {
        use OrcRegister::{BpIndirect, PreviousSp, Register as R, SpIndirect, Undefined, Unknown};
        match self {
            OrcFormat::Reordered => match number {
                0 => Undefined,
                1 => R(Register::Rax),
                2 => R(Register::Rdx),
                NEW_SP => R(Register::Rsp),
                4 => R(Register::Rbp),
                5 => R(Register::Rdi),
                6 => R(Register::R10),
                7 => R(Register::R13),
                NEW_PREVIOUS_SP => PreviousSp,
                9 => SpIndirect,
                10 => BpIndirect,
                other => Unknown(other),
            },
            _ => match number {
                0 => Undefined,
                OLD_PREVIOUS_SP => PreviousSp,
                2 => R(Register::Rdx),
                3 => R(Register::Rdi),
                4 => R(Register::Rbp),
                OLD_SP => R(Register::Rsp),
                6 => R(Register::R10),
                7 => R(Register::R13),
                8 => BpIndirect,
                9 => SpIndirect,
                // Clang may realign a stack through RAX; stable kernels got a number for it at
                // the end of the old numbering.
                10 => R(Register::Rax),
                other => Unknown(other),
            },
        }
    }

    /// Type and signal from the last byte of an entry.
    pub(crate) fn kind(self, flags: u8, sp_reg: OrcRegister) -> (OrcKind, bool) {
        let (kind, signal) = match self {
            OrcFormat::Original | OrcFormat::Signal => {
                let has_signal = self == OrcFormat::Signal;
                let end = flags & if has_signal { 0x8 } else { 0x4 } != 0;
                let kind = match flags & 0x3 {
                    _ if sp_reg == OrcRegister::Undefined && end => OrcKind::EndOfStack,
                    _ if sp_reg == OrcRegister::Undefined => OrcKind::Undefined,
                    NARROW_CALL => OrcKind::Call,
                    1 => OrcKind::Regs,
                    2 => OrcKind::RegsPartial,
                    other => OrcKind::Unknown(other),
                };
                let saved = matches!(kind, OrcKind::Regs | OrcKind::RegsPartial);
                (kind, if has_signal { flags & 0x4 != 0 } else { saved })
            }
            OrcFormat::WideType | OrcFormat::Reordered => {
                let kind = match flags & 0x7 {
                    0 => OrcKind::Undefined,
                    1 => OrcKind::EndOfStack,
                    WIDE_CALL => OrcKind::Call,
                    3 => OrcKind::Regs,
                    4 => OrcKind::RegsPartial,
                    other => OrcKind::Unknown(other),
                };
                (kind, flags & 0x8 != 0)
            }
        };
        (kind, signal)
    }
}
