//! The types of well-known global variables.
//!
//! BTF describes per-CPU variables only, so without a vmlinux nothing in the dump says that
//! `init_task` is a `struct task_struct`. The table does, for the variables that people type. A
//! type is spelled as in C; `[]` is an array that reaches to the next symbol, but for characters,
//! which reach to their NUL. A symbol that the kernel does not have does no harm.

mod table;

use table::TABLE;

/// The type of the global variable `name`, spelled as in C.
pub fn declared_type(name: &str) -> Option<&'static str> {
    let index = TABLE.binary_search_by(|(symbol, _)| (*symbol).cmp(name)).ok()?;
    TABLE.get(index).map(|(_, ty)| *ty)
}

/// Every entry of the table: symbol and type.
pub fn declared_types() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_no_symbol_twice() {
        assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn well_known_variables_have_types() {
        assert_eq!(declared_type("init_task"), Some("struct task_struct"));
        assert_eq!(declared_type("jiffies"), Some("volatile unsigned long"));
        assert_eq!(declared_type("nosuch"), None);
    }
}
