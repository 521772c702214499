//! Real crash dumps of real kernels, for the tests of every other crate.
//!
//! `cargo xtask lab` boots Debian's kernels in QEMU, lets them live a little,
//! has each write down what it knows about itself (its *truth*), crashes it,
//! and keeps what its capture kernel wrote. All of it stays in a cache folder
//! outside the repository ([`root`]), so that the second run is instant.
//!
//! Tests ask for products by name ([`table`] has the names):
//!
//! ```no_run
//! let dump = mortis_lab::dump("6.12", "null", "c31");
//! let vmlinux = mortis_lab::vmlinux("6.12");
//! let slabs = mortis_lab::truth("6.12", "null", "slabinfo");
//! let oops = mortis_lab::console("6.12", "null");
//! ```
//!
//! These functions panic with advice when the lab has not made the product:
//! a test without its dump has failed. [`available`] is for tests that go over
//! everything there is.

pub mod make;
mod manifest;
mod products;
mod store;
pub mod table;

pub use products::{
    Product, available, boot_file, console, dmesg, dump, module, module_debug, peer, release, root,
    truth, truth_names, vmlinux,
};
