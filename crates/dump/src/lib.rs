//! Every kernel dump format as one physical memory.
