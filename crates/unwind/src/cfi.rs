//! Call frame information (`.debug_frame`, `.eh_frame`): the table of kernels without ORC, and the
//! only one that knows where a function saved the registers it must give back.

use crate::Register;
use crate::stack_words::StackWords;
use crate::{KnownRegisters, Stop};
use gimli::UnwindSection;
use mortis_memory::VirtAddr;
use std::fmt;
use std::sync::{Arc, OnceLock};

type Reader<'a> = gimli::EndianSlice<'a, gimli::LittleEndian>;

/// Operations that one expression may take. Real ones take three or four.
const MAX_OPERATIONS: u32 = 64;

/// The longest expression that is believed.
const MAX_EXPRESSION: usize = 256;

/// The DWARF encoding of x86_64; only the address size matters to an expression in a frame.
const ENCODING: gimli::Encoding =
    gimli::Encoding { address_size: 8, format: gimli::Format::Dwarf32, version: 4 };

/// Call frame information that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("call frame information: {0}")]
pub struct CfiError(#[from] gimli::Error);

/// Which of the two layouts a section has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CfiSection {
    /// `.debug_frame` (DWARF 5, 6.4.1).
    DebugFrame,
    /// `.eh_frame` (Linux Standard Base, 10.6.1).
    EhFrame,
}

/// How a register of the caller is found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RegisterRule {
    Unknown,
    Same,
    /// Saved at CFA plus this.
    Saved(i64),
    /// CFA plus this itself.
    Value(i64),
    Register(Register),
    SavedExpression(Box<[u8]>),
    ValueExpression(Box<[u8]>),
    Constant(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum CfaRule {
    Register(Register, i64),
    Expression(Box<[u8]>),
}

/// What a section says of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CfiRow {
    cfa: CfaRule,
    registers: [RegisterRule; Register::COUNT],
    /// Whether the frame is one that an interruption pushed, so that the address found is exact.
    pub(crate) signal: bool,
}

/// A caller found by a row.
pub(crate) struct CfiCaller {
    pub(crate) cfa: VirtAddr,
    pub(crate) registers: KnownRegisters,
    /// Where the return address was read, when it was in memory.
    pub(crate) ip_slot: Option<VirtAddr>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    end: u64,
    offset: usize,
}

/// A section of call frame information. Nothing is read before the first look-up, which lists what
/// the section covers.
#[derive(Clone)]
pub struct CfiTable {
    data: Arc<dyn AsRef<[u8]> + Send + Sync>,
    section: CfiSection,
    address: u64,
    bias: u64,
    index: Arc<OnceLock<Vec<Span>>>,
}

impl fmt::Debug for CfiTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CfiTable")
            .field("section", &self.section)
            .field("bytes", &(*self.data).as_ref().len())
            .field("bias", &format_args!("{:#x}", self.bias))
            .finish_non_exhaustive()
    }
}

impl CfiTable {
    /// A section as the file has it: `address` is where the linker put the section, and `bias` is
    /// what to add to the file's addresses to have those at run time.
    pub fn new(
        data: Arc<dyn AsRef<[u8]> + Send + Sync>,
        section: CfiSection,
        address: u64,
        bias: u64,
    ) -> Self {
        Self { data, section, address, bias, index: Arc::default() }
    }

    /// The row that holds at `ip`; none where the section does not cover it.
    ///
    /// # Errors
    /// [`CfiError`] for an entry that cannot be decoded.
    pub fn row(&self, ip: VirtAddr) -> Result<Option<CfiRow>, CfiError> {
        let link_ip = ip.0.wrapping_sub(self.bias);
        let data = (*self.data).as_ref();
        match self.section {
            CfiSection::DebugFrame => {
                let mut section = gimli::DebugFrame::new(data, gimli::LittleEndian);
                section.set_address_size(8);
                self.row_in(&section, link_ip)
            }
            CfiSection::EhFrame => {
                let mut section = gimli::EhFrame::new(data, gimli::LittleEndian);
                section.set_address_size(8);
                self.row_in(&section, link_ip)
            }
        }
    }

    fn row_in<'a, S>(&self, section: &S, link_ip: u64) -> Result<Option<CfiRow>, CfiError>
    where
        S: UnwindSection<Reader<'a>>,
    {
        let bases = gimli::BaseAddresses::default().set_eh_frame(self.address);
        let spans = self.index.get_or_init(|| list(section, &bases));
        let after = spans.partition_point(|span| span.start <= link_ip);
        let Some(span) = after.checked_sub(1).and_then(|index| spans.get(index)) else {
            return Ok(None);
        };
        if link_ip >= span.end {
            return Ok(None);
        }
        let fde = section.fde_from_offset(&bases, span.offset.into(), S::cie_from_offset)?;
        let mut context = gimli::UnwindContext::new();
        let row = match fde.unwind_info_for_address(section, &bases, &mut context, link_ip) {
            Ok(row) => row,
            Err(gimli::Error::NoUnwindInfoForAddress) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        CfiRow::decode(section, row, fde.is_signal_trampoline()).map(Some)
    }
}

/// What the section covers, in ascending order. Ends where the section stops making sense.
fn list<'a, S>(section: &S, bases: &gimli::BaseAddresses) -> Vec<Span>
where
    S: UnwindSection<Reader<'a>>,
{
    let mut spans = Vec::new();
    let mut entries = section.entries(bases);
    while let Ok(Some(entry)) = entries.next() {
        if let gimli::CieOrFde::Fde(partial) = entry
            && let Ok(fde) = partial.parse(S::cie_from_offset)
            && !fde.is_empty_range()
        {
            spans.push(Span {
                start: fde.initial_address(),
                end: fde.end_address(),
                offset: fde.offset(),
            });
        }
    }
    spans.sort_unstable_by_key(|span| span.start);
    spans
}

trait EmptyRange {
    fn is_empty_range(&self) -> bool;
}

impl EmptyRange for gimli::FrameDescriptionEntry<Reader<'_>> {
    fn is_empty_range(&self) -> bool {
        self.len() == 0
    }
}

impl CfiRow {
    fn decode<'a, S: UnwindSection<Reader<'a>>>(
        section: &S,
        row: &gimli::UnwindTableRow<usize>,
        signal: bool,
    ) -> Result<Self, CfiError> {
        let bytes = |expression: &gimli::UnwindExpression<usize>| {
            let bytes = expression.get(section)?.0.slice();
            match bytes.get(..=MAX_EXPRESSION) {
                Some(_) => Err(CfiError(gimli::Error::TooManyIterations)),
                None => Ok(Box::from(bytes)),
            }
        };
        let cfa = match row.cfa() {
            gimli::CfaRule::RegisterAndOffset { register, offset } => {
                let register = Register::from_dwarf(register.0)
                    .ok_or(CfiError(gimli::Error::UnsupportedRegister(register.0.into())))?;
                CfaRule::Register(register, *offset)
            }
            gimli::CfaRule::Expression(expression) => CfaRule::Expression(bytes(expression)?),
        };
        let mut registers = Register::ALL.map(|register| {
            // A register without a rule: the ABI says that a function gives it back, or that
            // nobody expects it to.
            if Register::CALLEE_SAVED.contains(&register) || signal {
                RegisterRule::Same
            } else {
                RegisterRule::Unknown
            }
        });
        for (rule, register) in registers.iter_mut().zip(Register::ALL) {
            let Some(told) = row.register(gimli::Register(register as u16)) else { continue };
            *rule = match told {
                gimli::RegisterRule::SameValue => RegisterRule::Same,
                gimli::RegisterRule::Offset(offset) => RegisterRule::Saved(offset),
                gimli::RegisterRule::ValOffset(offset) => RegisterRule::Value(offset),
                gimli::RegisterRule::Register(other) => Register::from_dwarf(other.0)
                    .map_or(RegisterRule::Unknown, RegisterRule::Register),
                gimli::RegisterRule::Expression(expression) => {
                    RegisterRule::SavedExpression(bytes(&expression)?)
                }
                gimli::RegisterRule::ValExpression(expression) => {
                    RegisterRule::ValueExpression(bytes(&expression)?)
                }
                gimli::RegisterRule::Constant(value) => RegisterRule::Constant(value),
                _ => RegisterRule::Unknown,
            };
        }
        Ok(Self { cfa, registers, signal })
    }

    /// The caller of a frame with these registers.
    ///
    /// # Errors
    /// [`Stop`] when the row needs a register or memory that is not there.
    pub(crate) fn caller(
        &self,
        words: &mut StackWords<'_>,
        frame: &KnownRegisters,
    ) -> Result<CfiCaller, Stop> {
        let ip = frame.ip();
        let cfa = match &self.cfa {
            CfaRule::Register(register, offset) => frame
                .get(*register)
                .ok_or(Stop::UnknownRegister { ip, register: *register })?
                .wrapping_add_signed(*offset),
            CfaRule::Expression(expression) => evaluate(words, frame, expression, None)?,
        };
        let mut registers = KnownRegisters::new();
        let mut ip_slot = None;
        for (rule, register) in self.registers.iter().zip(Register::ALL) {
            let mut saved_at = |words: &mut StackWords<'_>, address: u64| {
                if register == Register::Rip {
                    ip_slot = Some(VirtAddr(address));
                }
                words.word(VirtAddr(address))
            };
            let value = match rule {
                RegisterRule::Unknown => None,
                RegisterRule::Same => frame.get(register),
                RegisterRule::Value(offset) => Some(cfa.wrapping_add_signed(*offset)),
                RegisterRule::Register(other) => frame.get(*other),
                RegisterRule::Constant(value) => Some(*value),
                RegisterRule::Saved(offset) => {
                    saved_at(words, cfa.wrapping_add_signed(*offset)).ok()
                }
                RegisterRule::SavedExpression(expression) => {
                    let address = evaluate(words, frame, expression, Some(cfa))?;
                    saved_at(words, address).ok()
                }
                RegisterRule::ValueExpression(expression) => {
                    Some(evaluate(words, frame, expression, Some(cfa))?)
                }
            };
            registers.put(register, value);
        }
        if registers.get(Register::Rsp).is_none() {
            registers.set(Register::Rsp, cfa);
        }
        if registers.get(Register::Rip).is_none() {
            // Read once more for the reason.
            return Err(match ip_slot {
                Some(slot) => match words.word(slot) {
                    Err(error) => Stop::Unreadable(error),
                    Ok(_) => Stop::BadRule(ip),
                },
                None => Stop::EndOfStack,
            });
        }
        Ok(CfiCaller { cfa: VirtAddr(cfa), registers, ip_slot })
    }
}

/// Runs an expression; the rules for registers find the CFA on its stack.
fn evaluate(
    words: &mut StackWords<'_>,
    frame: &KnownRegisters,
    expression: &[u8],
    cfa: Option<u64>,
) -> Result<u64, Stop> {
    let ip = frame.ip();
    let bad = |_| Stop::BadRule(ip);
    let reader = Reader::new(expression, gimli::LittleEndian);
    let mut evaluation = gimli::Expression(reader).evaluation(ENCODING);
    evaluation.set_max_iterations(MAX_OPERATIONS);
    if let Some(cfa) = cfa {
        evaluation.set_initial_value(cfa);
    }
    let mut result = evaluation.evaluate().map_err(bad)?;
    loop {
        result = match result {
            gimli::EvaluationResult::Complete => break,
            gimli::EvaluationResult::RequiresMemory { address, size, .. } => {
                let word = words.word(VirtAddr(address))?;
                let kept =
                    if size >= 8 { word } else { word & ((1u64 << (8 * u32::from(size))) - 1) };
                evaluation.resume_with_memory(gimli::Value::Generic(kept)).map_err(bad)?
            }
            gimli::EvaluationResult::RequiresRegister { register, .. } => {
                let register = Register::from_dwarf(register.0).ok_or(Stop::BadRule(ip))?;
                let value = frame.get(register).ok_or(Stop::UnknownRegister { ip, register })?;
                evaluation.resume_with_register(gimli::Value::Generic(value)).map_err(bad)?
            }
            _ => return Err(Stop::BadRule(ip)),
        };
    }
    match evaluation.as_result() {
        [gimli::Piece { location: gimli::Location::Address { address }, .. }] => Ok(*address),
        _ => Err(Stop::BadRule(ip)),
    }
}
