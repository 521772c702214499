//! The entry for cargo-fuzz; `MORTIS_FUZZ_TARGET` says which target.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mortis_fuzz::TARGETS;
use std::sync::LazyLock;

static FUZZ: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("MORTIS_FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    target.unwrap_or_else(|| panic!("MORTIS_FUZZ_TARGET={name} names no target")).fuzz
});

fuzz_target!(|data: &[u8]| (*FUZZ)(data));
