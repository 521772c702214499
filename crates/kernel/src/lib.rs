//! What a Linux kernel's memory means.
//!
//! [`Kernel`] opens a dump; each subsystem is a module that adds its questions to it. All knowledge
//! of kernel structures, in every version, stands in [`layout!`] declarations; see
//! [`layout`](mod@layout).

mod address_space;
pub mod arch;
pub mod backtrace;
pub mod block_request;
pub mod bpf;
pub mod cgroups;
pub mod crash_state;
pub mod device_mapper;
pub mod device_numbers;
pub mod disk;
pub mod enumeration;
pub mod error;
pub mod exception_frame;
pub mod expression;
pub mod free_lists;
pub mod globals;
pub mod hrtimers;
pub mod hugetlb;
mod image_location;
pub mod irq;
mod kernel;
pub mod kernel_config;
pub mod layout;
pub mod list;
pub mod log;
pub mod machine;
pub mod maple_tree;
pub mod memory_blocks;
pub mod memory_map;
pub mod memory_search;
pub mod memory_usage;
pub mod module_file;
pub mod modules;
pub mod neighbour;
pub mod net_device;
pub mod page_record;
pub mod pci;
pub mod percpu;
pub mod pid_table;
pub mod process_core;
pub mod process_memory;
pub mod rb_tree;
pub mod resource;
pub mod run_queues;
pub mod sbitmap;
pub mod scan;
pub mod search_space;
pub mod sections;
pub mod signals;
pub mod slab;
pub mod socket;
pub mod swap;
pub mod system;
pub mod system_calls;
pub mod sysv_ipc;
pub mod taint;
pub mod task_accounting;
pub mod task_groups;
pub mod task_list;
pub mod task_reader;
pub mod tasks;
#[cfg(test)]
mod test_memory;
pub mod timers;
pub mod tracing;
pub mod type_sources;
pub mod user_memory;
pub mod user_pages;
pub mod user_registers;
pub mod user_stack;
pub mod vfs;
pub mod vma;
pub mod vmalloc;
pub mod vmcoreinfo_search;
pub mod vmlinux;
pub mod vmstat;
pub mod wait_queue;
pub mod xarray;
pub mod zones;

pub use address_space::AddressSpace;
pub use error::KernelError;
pub use kernel::{Kernel, OpenKernelError, Options};
