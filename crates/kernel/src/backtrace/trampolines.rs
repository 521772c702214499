//! Return addresses that a tracer replaced on a task's stack, and where it put the real ones.

use crate::kernel::Kernel;
use crate::layout;
use crate::list::SinglyLinked;
use crate::tasks::Task;
use mortis_memory::{VirtAddr, VirtualMemory};
use mortis_unwind::{Recovered, ReturnSlot, ReturnTrampolines};

layout! {
    /// What the tracers keep in a task.
    struct TracedTask = "task_struct" {
        ret_stack: "ret_stack",
        rethooks: "rethooks.first",
    }
}

layout! {
    /// An entry of the function graph tracer's shadow stack: include/linux/ftrace.h.
    struct FtraceRetStack = "ftrace_ret_stack" {
        ret: "ret",
        retp: "retp",
    }
}

layout! {
    /// A return address that a return hook (kretprobe, fprobe) put aside: include/linux/rethook.h.
    struct RethookNode = "rethook_node" {
        llist: "llist",
        ret_addr: "ret_addr",
        frame: "frame",
    }
}

/// Bytes of a shadow stack that are looked at: it is one page (`SHADOW_STACK_SIZE`), or 50
/// entries (`FTRACE_RETFUNC_DEPTH`) in older kernels.
const SHADOW_STACK: u64 = 4096;
/// More return hooks than one stack has room for.
const MAX_HOOKS: usize = 4096;

/// Where the tracers' trampolines are in this kernel.
#[derive(Debug, Default)]
pub(super) struct TrampolineAddresses {
    graph: Option<VirtAddr>,
    rethook: Option<VirtAddr>,
}

impl TrampolineAddresses {
    pub(super) fn find(kernel: &Kernel) -> Self {
        Self {
            graph: kernel.symbol("return_to_handler").ok(),
            rethook: kernel.symbol("arch_rethook_trampoline").ok(),
        }
    }
}

/// The trampolines on one task's stack.
pub(super) struct TaskTrampolines<'k> {
    pub(super) kernel: &'k Kernel,
    pub(super) addresses: &'k TrampolineAddresses,
    pub(super) task: Option<Task>,
}

/// Tracers that may have replaced one return address, each putting aside what the other left.
const MOST_TRACERS: usize = 4;

impl ReturnTrampolines for TaskTrampolines<'_> {
    fn recover(&self, slot: ReturnSlot) -> Recovered {
        let mut ip = slot.ip;
        for _ in 0..MOST_TRACERS {
            let original = if Some(ip) == self.addresses.graph {
                self.address_in_shadow_stack(slot.slot)
            } else if Some(ip) == self.addresses.rethook {
                self.address_in_return_hooks(slot.slot)
            } else if ip == slot.ip {
                return Recovered::Untouched;
            } else {
                return Recovered::Original(ip);
            };
            match original {
                Some(original) => ip = original,
                None => break,
            }
        }
        Recovered::Lost
    }
}

impl TaskTrampolines<'_> {
    /// The entry whose `retp` is the slot. Its place differs over versions, but not what `ret` and
    /// `retp` are to each other. Entries that are no more lie above those that still count, so the
    /// first is the one.
    fn address_in_shadow_stack(&self, slot: VirtAddr) -> Option<VirtAddr> {
        let kernel = self.kernel;
        let stack = kernel
            .layout::<TracedTask>()
            .ok()?
            .ret_stack
            .pointer(kernel, self.task?.address)
            .ok()?;
        let entry = kernel.layout::<FtraceRetStack>().ok()?;
        let from_retp = entry.ret.offset().ok()?.wrapping_sub(entry.retp.offset().ok()?);
        let words = kernel.read_bytes(stack, SHADOW_STACK).ok()?;
        let (words, _) = words.as_chunks::<8>();
        let index = words.iter().position(|word| u64::from_le_bytes(*word) == slot.0)?;
        let ret = (index as u64 * 8).wrapping_add(from_retp) / 8;
        words.get(usize::try_from(ret).ok()?).map(|word| VirtAddr(u64::from_le_bytes(*word)))
    }

    fn address_in_return_hooks(&self, slot: VirtAddr) -> Option<VirtAddr> {
        let kernel = self.kernel;
        let first = kernel
            .layout::<TracedTask>()
            .ok()?
            .rethooks
            .pointer(kernel, self.task?.address)
            .ok()?;
        let layout = kernel.layout::<RethookNode>().ok()?;
        // An llist_node is nothing but the pointer to the next one.
        let nodes = SinglyLinked::new(kernel, "list of return hooks", first, 0);
        let addresses =
            nodes.take(MAX_HOOKS).map_while(|node| layout.llist.container(node.ok()?).ok());
        let of_slot = |hook: &VirtAddr| layout.frame.u64(kernel, *hook).ok() == Some(slot.0);
        // Several hooks of one function: only the first that was set, the last on the list, has
        // the real address; the others have the trampoline's.
        let hook = addresses.filter(of_slot).last()?;
        layout.ret_addr.pointer(kernel, hook).ok()
    }
}
