//! C expressions over a kernel's memory: what `p`, and every address that a user types, may be.
//!
//! `init_task.comm`, `((struct task_struct *)0xff…)->mm->pgd[3] & ~0xfff`, `sizeof(struct page) *
//! 64`, `&runqueues:1.cfs`. The language is C's expressions without calls and assignment, and one
//! thing that C lacks: `SYMBOL:CPU` is the copy of a per-CPU variable that belongs to a CPU. As in
//! gdb, `.` also goes through a pointer, and `{type} address` is what lies there.
//!
//! A global variable's type comes from DWARF where there is a vmlinux, from BTF for per-CPU
//! variables, and else from the [table of well-known globals](crate::globals): BTF does not
//! describe ordinary variables.

mod arithmetic;
mod decode;
mod evaluate;
mod floating;
mod lexer;
mod parser;

use crate::error::KernelError;
use crate::kernel::Kernel;
use mortis_debuginfo::symbols::Symbol;
use mortis_debuginfo::types::{
    IntEncoding, Namespace, ParseTypeError, Type, TypeId, TypeSet, parse_type,
};
use mortis_memory::{VirtAddr, VirtualMemory};

pub use arithmetic::Integer;

/// A value: a type, and where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// Its type, in [`Evaluator::types`].
    pub ty: TypeId,
    /// Where it is.
    pub place: Place,
}

/// Where a value's bytes are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// In the kernel's memory.
    Memory {
        /// The byte that it starts in.
        address: VirtAddr,
        /// The bit in that byte that it starts at; other than 0 for bit fields only.
        bit_offset: u32,
        /// Its width when it is a bit field.
        bit_size: Option<u32>,
    },
    /// Nowhere: it was computed.
    Computed(u64),
}

impl Place {
    /// The whole bytes from `address` on.
    pub const fn at(address: VirtAddr) -> Self {
        Place::Memory { address, bit_offset: 0, bit_size: None }
    }
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpressionError {
    /// It is no C expression.
    #[error("{message} at \"{rest}\"")]
    Syntax {
        /// What was expected.
        message: &'static str,
        /// The text from there on.
        rest: String,
    },
    /// A name that is no symbol, no enumerator and no type.
    #[error("no symbol \"{0}\" in this kernel")]
    UnknownName(String),
    /// A symbol whose type nothing tells.
    #[error("'{0}' has unknown type; cast it to its declared type, as in *(int *)&{0}")]
    UntypedSymbol(String),
    /// An operator on operands that it does not take.
    #[error("{0}")]
    Operands(String),
    /// A quotient by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// A cast or `sizeof` with what is no type.
    #[error(transparent)]
    Type(#[from] ParseTypeError),
    /// Nested deeper than any sane expression.
    #[error("expression nested too deeply")]
    TooDeep,
    /// The kernel's memory or types do not tell.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl From<mortis_debuginfo::types::TypeError> for ExpressionError {
    fn from(error: mortis_debuginfo::types::TypeError) -> Self {
        KernelError::from(error).into()
    }
}

impl From<mortis_memory::ReadError> for ExpressionError {
    fn from(error: mortis_memory::ReadError) -> Self {
        KernelError::from(error).into()
    }
}

/// Evaluates expressions over one kernel.
pub struct Evaluator<'k> {
    kernel: &'k Kernel,
    types: &'k TypeSet,
    memory: &'k dyn VirtualMemory,
    history: &'k [Value],
}

impl<'k> Evaluator<'k> {
    /// An evaluator over `kernel`. Where the kernel has no types, numbers and the addresses of
    /// symbols still work.
    pub fn new(kernel: &'k Kernel) -> Self {
        Self::over(kernel, kernel)
    }

    /// An evaluator whose pointers and structures are in `memory`, such as a process's.
    pub fn over(kernel: &'k Kernel, memory: &'k dyn VirtualMemory) -> Self {
        Self { kernel, types: kernel.type_set(), memory, history: &[] }
    }

    /// The same, knowing the values that were shown before: `$1` is the first of `history`, `$`
    /// the last.
    #[must_use]
    pub fn with_history(self, history: &'k [Value]) -> Self {
        Self { history, ..self }
    }

    /// The kernel whose symbols are meant.
    pub fn kernel(&self) -> &'k Kernel {
        self.kernel
    }

    /// The memory that pointers and structures are in.
    pub fn memory(&self) -> &'k dyn VirtualMemory {
        self.memory
    }

    /// The kernel's types, and those that expressions make.
    pub fn types(&self) -> &'k TypeSet {
        self.types
    }

    /// Evaluates `text`.
    ///
    /// # Errors
    /// [`ExpressionError`].
    pub fn evaluate(&self, text: &str) -> Result<Value, ExpressionError> {
        self.value(&parser::parse(text, self)?)
    }

    /// Understands the name of a type, such as `struct task_struct *`.
    ///
    /// # Errors
    /// [`ExpressionError`].
    pub fn parse_type(&self, text: &str) -> Result<TypeId, ExpressionError> {
        match parse_type(self.types, text) {
            // A module may have it.
            Err(ParseTypeError::Unknown(_)) => {
                if let Ok(sources) = self.kernel.type_sources() {
                    sources.add_modules(self.kernel);
                }
                Ok(parse_type(self.types, text)?)
            }
            parsed => Ok(parsed?),
        }
    }

    /// Whether a parenthesis that starts with `word` holds a type.
    fn starts_type(&self, word: &str) -> bool {
        const WORDS: &[&str] = &[
            "struct", "union", "enum", "const", "volatile", "restrict", "void", "char", "short",
            "int", "long", "signed", "unsigned", "_Bool", "bool",
        ];
        WORDS.contains(&word)
            || self.kernel.find_type(Namespace::Typedef, word).is_ok_and(|found| found.is_some())
    }

    /// The C integer type of `size` bytes, for computed values.
    fn int_type(&self, size: u64, signed: bool) -> TypeId {
        let name = match (size, signed) {
            (1, true) => "signed char",
            (1, false) => "unsigned char",
            (2, true) => "short",
            (2, false) => "unsigned short",
            (4, true) => "int",
            (4, false) => "unsigned int",
            (_, true) => "long",
            (_, false) => "unsigned long",
        };
        let make = || {
            let encoding = IntEncoding::Number;
            self.types.intern(Type::Int { name: name.into(), size, signed, encoding })
        };
        parse_type(self.types, name).unwrap_or_else(|_| make())
    }

    /// The type of code whose prototype nothing tells.
    fn code_type(&self) -> TypeId {
        self.types.intern(Type::Function(mortis_debuginfo::types::Function {
            result: TypeId::VOID,
            parameters: Vec::new(),
            variadic: false,
        }))
    }
}

/// The kernel's half of the address space.
const KERNEL_HALF: u64 = 1 << 63;

impl Kernel {
    /// The symbol that `address` lies in and how far in, where one reaches to it. Unlike
    /// [`Kernel::symbol_at`], not the last symbol below an address far behind it, and none for the
    /// offsets of per-CPU variables.
    pub fn symbol_within(&self, address: VirtAddr) -> Option<(Symbol, u64)> {
        if address.0 < KERNEL_HALF {
            return None;
        }
        let (symbol, offset) = self.symbol_at(address)?;
        // The tables of kallsyms are linked last into .rodata, and behind them lie the literal
        // strings, which have no symbols. (scripts/link-vmlinux.sh)
        if offset != 0 && symbol.name.starts_with("kallsyms_") {
            return None;
        }
        (offset == 0 || symbol.size.is_some_and(|size| offset < size)).then_some((symbol, offset))
    }

    /// Whether `symbol` is code: its address tells, where the sections' edges are known. Of its
    /// letter no more is believed than must be: there are kernels (7.x) whose data is all `t`.
    pub fn is_code(&self, symbol: &Symbol) -> bool {
        if symbol.module.is_some() || !symbol.is_text() {
            return symbol.is_text();
        }
        let within = |start, end| match (self.symbol(start), self.symbol(end)) {
            (Ok(start), Ok(end)) => Some((start..end).contains(&symbol.address)),
            _ => None,
        };
        let text = within("_stext", "_etext");
        let init = within("_sinittext", "_einittext");
        match (text, init) {
            (None, None) => true,
            (text, init) => text.unwrap_or(false) || init.unwrap_or(false),
        }
    }

    /// Whether `symbol` is a per-CPU variable, of which each CPU has a copy.
    pub fn is_per_cpu(&self, symbol: &Symbol) -> bool {
        let edge = |name| self.symbol(name).ok();
        match (edge("__per_cpu_start"), edge("__per_cpu_end")) {
            (Some(start), Some(end)) => {
                symbol.module.is_none()
                    && !self.is_code(symbol)
                    && (start..end).contains(&symbol.address)
            }
            _ => false,
        }
    }
}
