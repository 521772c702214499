//! Machine instructions as text and as data.
