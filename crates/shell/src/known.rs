//! A value together with how well it is known: one spelling each for what is missing or guessed.
//!
//! In JSON a known value is itself; a value that could not be read is
//! `{"unavailable": "excluded"}` (or `truncated`, `unreadable`, `unmapped`; `unknown` where the
//! kernel's types or symbols lack it), and a value that was guessed is
//! `{"value": …, "guessed": "how"}`. In text a missing value is `<excluded>` and so on.

use mortis_kernel::error::KernelError;
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::fmt;

/// A value, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Known<T> {
    /// Read from the dump.
    Value(T),
    /// Not to be had; the reason's code.
    Unavailable(&'static str),
    /// Inferred; how.
    Guessed(T, &'static str),
}

impl<T> Known<T> {
    /// The value, read or guessed.
    pub fn value(&self) -> Option<&T> {
        match self {
            Known::Value(value) | Known::Guessed(value, _) => Some(value),
            Known::Unavailable(_) => None,
        }
    }

    /// The same with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Known<U> {
        match self {
            Known::Value(value) => Known::Value(f(value)),
            Known::Guessed(value, how) => Known::Guessed(f(value), how),
            Known::Unavailable(why) => Known::Unavailable(why),
        }
    }
}

impl<T> From<Result<T, KernelError>> for Known<T> {
    fn from(result: Result<T, KernelError>) -> Self {
        match result {
            Ok(value) => Known::Value(value),
            Err(error) => Known::Unavailable(why(&error)),
        }
    }
}

/// The one-word reason of an error: a read failure's code, else `unknown`.
pub fn why(error: &KernelError) -> &'static str {
    error.read_error().map_or("unknown", |error| error.why.code())
}

impl<T: fmt::Display> fmt::Display for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Known::Value(value) | Known::Guessed(value, _) => value.fmt(f),
            Known::Unavailable(why) => f.pad(&format!("<{why}>")),
        }
    }
}

impl<T: Serialize> Serialize for Known<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Known::Value(value) => value.serialize(serializer),
            Known::Unavailable(why) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("unavailable", why)?;
                map.end()
            }
            Known::Guessed(value, how) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("value", value)?;
                map.serialize_entry("guessed", how)?;
                map.end()
            }
        }
    }
}
