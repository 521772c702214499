//! The commands of Mortis: parsing, running and rendering.
