//! One type for each address space, so that mixing them does not compile.

use std::fmt;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The address as a number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// Adds `bytes`, wrapping as the machine does.
            #[must_use]
            pub const fn offset(self, bytes: u64) -> Self {
                Self(self.0.wrapping_add(bytes))
            }

            /// Takes `bytes` away, wrapping as the machine does.
            #[must_use]
            pub const fn back(self, bytes: u64) -> Self {
                Self(self.0.wrapping_sub(bytes))
            }

            /// Rounds down to a multiple of `alignment`, a power of two.
            #[must_use]
            pub const fn align_down(self, alignment: u64) -> Self {
                Self(self.0 & !(alignment - 1))
            }

            /// Whether the address is zero.
            pub const fn is_null(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }

        /// Plain hexadecimal digits, as crash prints addresses.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }

        impl From<u64> for $name {
            fn from(address: u64) -> Self {
                Self(address)
            }
        }
    };
}

address! {
    /// A byte address in the machine's physical memory.
    PhysAddr
}
address! {
    /// A kernel virtual address at run time, after KASLR.
    VirtAddr
}
address! {
    /// A kernel virtual address as the linker gave it, before KASLR: what vmlinux holds.
    LinkAddr
}
address! {
    /// A virtual address of one process's user space.
    UserAddr
}

/// A page frame number: a physical address divided by the page size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Pfn(pub u64);

impl LinkAddr {
    /// The run-time address, `kaslr_offset` bytes away.
    #[must_use]
    pub const fn relocate(self, kaslr_offset: u64) -> VirtAddr {
        VirtAddr(self.0.wrapping_add(kaslr_offset))
    }
}

impl VirtAddr {
    /// The address the linker gave, `kaslr_offset` bytes back.
    #[must_use]
    pub const fn unrelocate(self, kaslr_offset: u64) -> LinkAddr {
        LinkAddr(self.0.wrapping_sub(kaslr_offset))
    }
}
