//! Hostile dumps: cut off, with bits flipped, with pages lost, with kernel structures that are
//! nonsense. Whatever is asked of them ends soon, in bounded memory, with an answer or an error,
//! and what is not damaged is still answered.
//!
//! `MORTIS_HOSTILE=20 cargo test -p mortis-shell --test hostile` runs 20 times as many cases.

mod damage;
mod exercise;
mod files;
mod lists;
mod memory;
