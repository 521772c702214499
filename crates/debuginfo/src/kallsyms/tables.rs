//! Where the tables stand, and why they could not be read.

use mortis_memory::{ReadError, VirtAddr};

/// The run-time addresses of the tables that make up kallsyms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KallsymsTables {
    /// `kallsyms_num_syms`, a 32-bit count.
    pub num_syms: VirtAddr,
    /// `kallsyms_names`, the compressed names.
    pub names: VirtAddr,
    /// `kallsyms_token_table`, what each byte of a compressed name stands for.
    pub token_table: VirtAddr,
    /// `kallsyms_token_index`, where each token starts.
    pub token_index: VirtAddr,
    /// `kallsyms_offsets`, 32 bits a symbol.
    pub offsets: Option<VirtAddr>,
    /// `kallsyms_relative_base`, a pointer.
    pub relative_base: Option<VirtAddr>,
    /// `kallsyms_addresses`, 64 bits a symbol.
    pub addresses: Option<VirtAddr>,
}

impl KallsymsTables {
    /// Asks `symbol` for the addresses by the names that VMCOREINFO uses in `SYMBOL(…)`, there
    /// since 6.0 (f09bddbd8661, 5fd8fea935a1).
    ///
    /// # Errors
    /// [`KallsymsError::NoTable`] for the first one that is needed and not there.
    pub fn from_vmcoreinfo(
        mut symbol: impl FnMut(&str) -> Option<VirtAddr>,
    ) -> Result<Self, KallsymsError> {
        let mut needed = |name| symbol(name).ok_or(KallsymsError::NoTable(name));
        let (num_syms, names) = (needed("kallsyms_num_syms")?, needed("kallsyms_names")?);
        let token_table = needed("kallsyms_token_table")?;
        let token_index = needed("kallsyms_token_index")?;
        let (offsets, addresses) = (symbol("kallsyms_offsets"), symbol("kallsyms_addresses"));
        if offsets.is_none() && addresses.is_none() {
            return Err(KallsymsError::NoTable("kallsyms_offsets"));
        }
        Ok(Self {
            num_syms,
            names,
            token_table,
            token_index,
            offsets,
            relative_base: symbol("kallsyms_relative_base"),
            addresses,
        })
    }
}

/// Why there are no symbols.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KallsymsError {
    /// VMCOREINFO does not say where a table is: a kernel before 6.0, or one without kallsyms.
    #[error("VMCOREINFO has no SYMBOL({0})")]
    NoTable(&'static str),
    /// A small table, without which nothing can be told, could not be read.
    #[error("{table}: {error}")]
    Read {
        /// Which table.
        table: &'static str,
        /// Why not.
        error: ReadError,
    },
    /// The count of symbols is none that a kernel can have.
    #[error("kallsyms_num_syms is {0}, which no kernel has")]
    Count(u32),
    /// The names are in no form known.
    #[error("kallsyms_names at {0} is in no known form")]
    Names(VirtAddr),
    /// No form of the addresses puts the anchors where they are.
    #[error("no known form of kallsyms puts _stext where VMCOREINFO says it is")]
    Anchors,
}
