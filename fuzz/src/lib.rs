//! Fuzz targets: functions that take bytes and must return.
//!
//! A target is a module with `fuzz(data: &[u8])` and `seeds() -> Vec<Vec<u8>>`, and its name in
//! the list below. It may not panic, take long, or need much memory, whatever the bytes are.
//!
//! * `cargo run --release --manifest-path fuzz/Cargo.toml -- kdump --seconds 60` mutates the seeds
//!   on a stable compiler and repeats itself exactly (`src/main.rs`); `all` runs every target.
//! * `MORTIS_FUZZ_TARGET=kdump cargo +nightly fuzz run --features libfuzzer libfuzzer` is guided
//!   by coverage.

mod dump;
pub mod mutation;

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// The function under test.
    pub fuzz: fn(&[u8]),
    /// Small valid inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident,)*) => {
        $(pub mod $name;)*

        /// All targets.
        pub const TARGETS: &[Target] = &[
            $(Target { name: stringify!($name), fuzz: $name::fuzz, seeds: $name::seeds },)*
        ];
    };
}

targets! {
    kdump,
    elf,
    compressed,
    flattened,
    tar,
    split,
    qemu_stream,
    libvirt,
    qcow2,
    convert,
    vmware,
    guestdump,
    lime,
    avml,
    vmcoreinfo,
    kallsyms,
    btf,
    orc,
    printk,
    kernel,
}
