//! The table of system calls.

use crate::error::Result;
use crate::kernel::Kernel;
use mortis_debuginfo::dwarf::SourceLine;
use mortis_memory::{VirtAddr, VirtualMemory};

/// A system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemCall {
    /// Its number.
    pub number: u32,
    /// Where its code starts.
    pub address: VirtAddr,
    /// The function's name; `sys_ni_syscall` for a number without one.
    pub name: Option<String>,
}

/// Linux has some 460.
const MAX_CALLS: u64 = 4096;

impl Kernel {
    /// Every system call of 64-bit programs, by number. Since 6.9 the kernel itself no longer goes
    /// through the table, and keeps it for tracing (arch/x86/entry/syscall_64.c).
    ///
    /// # Errors
    /// When there is no such table, or its pages are not in the dump.
    pub fn system_calls(&self) -> Result<Vec<SystemCall>> {
        let table = self.symbol("sys_call_table")?;
        let size = self.symbols()?.symbol("sys_call_table").and_then(|symbol| symbol.size);
        let count = (size.unwrap_or(256 * 8) / 8).min(MAX_CALLS);
        let bytes = self.read_bytes(table, count * 8)?;
        let not_implemented =
            ["__x64_sys_ni_syscall", "sys_ni_syscall"].map(|name| self.symbol(name).ok());
        let mut calls = Vec::new();
        for (number, entry) in (0..).zip(bytes.as_chunks::<8>().0) {
            let address = VirtAddr(u64::from_le_bytes(*entry));
            let name = match not_implemented.contains(&Some(address)) {
                true => Some("sys_ni_syscall".to_owned()),
                false => self
                    .symbol_at(address)
                    .filter(|(_, offset)| *offset == 0)
                    .map(|(symbol, _)| symbol.name.to_string()),
            };
            calls.push(SystemCall { number, address, name });
        }
        // What lies between the table and the next symbol is none of it.
        while calls.last().is_some_and(|call| call.name.is_none()) {
            calls.pop();
        }
        Ok(calls)
    }

    /// Where the code of the function at `start` is written: its first line that no header put
    /// there.
    pub fn source_of_function(&self, start: VirtAddr) -> Option<SourceLine> {
        let (symbol, _) = self.symbol_at(start)?;
        let end = start.offset(symbol.size?);
        let rows = self.lines_in(start, end);
        let own = |line: &&SourceLine| {
            let path = &line.file.path;
            line.line != 0 && !(path.contains("include/") && path.ends_with(".h"))
        };
        rows.iter().map(|(_, line)| line).find(own).cloned()
    }
}
