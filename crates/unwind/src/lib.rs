//! ORC, CFI and frame-pointer unwinding over any virtual memory.
