//! What differs from one processor architecture to the next.

pub mod x86_64;
