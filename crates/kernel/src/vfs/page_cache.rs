//! Pages of files that are in memory.
