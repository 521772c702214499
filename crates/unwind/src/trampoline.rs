//! Return addresses that a tracer replaced.

use mortis_memory::VirtAddr;

/// A return address on a stack, as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnSlot {
    /// The address in the slot.
    pub ip: VirtAddr,
    /// Where the slot is.
    pub slot: VirtAddr,
    /// How many trampolines this walk met before. A function graph tracer's shadow stack is
    /// indexed by it, counted from its top.
    pub earlier: usize,
}

/// What a tracer did to a return address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing: it is no trampoline.
    Untouched,
    /// It stands for this address.
    Original(VirtAddr),
    /// It is a trampoline, and what it stands for cannot be found.
    Lost,
}

/// Knows the trampolines that tracers put in place of return addresses: `return_to_handler` of the
/// function graph tracer (the originals are in the task's `ret_stack`) and
/// `arch_rethook_trampoline`, earlier `kretprobe_trampoline` (`rethooks`, `kretprobe_instances`).
pub trait ReturnTrampolines: Sync {
    /// The real return address behind a slot.
    fn recover(&self, slot: ReturnSlot) -> Recovered;
}

/// No tracer.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTrampolines;

impl ReturnTrampolines for NoTrampolines {
    fn recover(&self, _slot: ReturnSlot) -> Recovered {
        Recovered::Untouched
    }
}

impl<F: Fn(ReturnSlot) -> Recovered + Sync> ReturnTrampolines for F {
    fn recover(&self, slot: ReturnSlot) -> Recovered {
        self(slot)
    }
}
