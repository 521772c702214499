//! x86_64: page tables, the fixed parts of the address space, exception and interrupt stacks.

pub mod mapped;
pub mod paging;
pub(crate) mod stacks;
pub mod swap_entry;

/// Where the kernel's text and data are mapped: `__START_KERNEL_map`
/// (arch/x86/include/asm/page_64_types.h).
pub const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;

/// `KERNEL_IMAGE_SIZE` where VMCOREINFO does not say: 1 GiB with KASLR (the same file).
pub const KERNEL_IMAGE_SIZE: u64 = 1 << 30;

/// The lowest kernel address with 5-level paging; with 4 levels kernel addresses start higher.
pub const KERNEL_SPACE_START: u64 = 0xff00_0000_0000_0000;
