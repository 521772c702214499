//! Real kernels, crashed in chosen ways, and where their dumps lie.
