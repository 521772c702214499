//! Wait queues: who waits for something (include/linux/wait.h).

use crate::error::Result;
use crate::kernel::Kernel;
use crate::layout;
use crate::list::ListHead;
use mortis_memory::{VirtAddr, VirtualMemory};

layout! {
    /// A queue; `__wait_queue_head` until 4.13.
    pub struct WaitQueueHead = "wait_queue_head" | "__wait_queue_head" {
        list: "head" | "task_list",
    }
}

layout! {
    /// Somebody in a queue; `__wait_queue` until 4.13.
    pub struct WaitQueueEntry = "wait_queue_entry" | "__wait_queue" {
        link: "entry" | "task_list",
        /// Whom to wake; by habit a task.
        private: "private" | "task",
        /// What wakes it.
        function: "func",
    }
}

layout! {
    /// What poll() and select() put into the queues of the files they wait for: include/linux/poll.h.
    pub struct PollWaitQueues = "poll_wqueues" {
        task: "polling_task",
    }
}

/// Somebody who waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiter {
    /// Its `struct wait_queue_entry`.
    pub entry: VirtAddr,
    /// The task, or what else the function that wakes it wants.
    pub private: VirtAddr,
    /// The function that wakes it.
    pub function: VirtAddr,
}

impl Kernel {
    /// Who is in the queue at `head`, in order. An entry that cannot be read ends the walk, as a
    /// damaged list does, with the error last.
    ///
    /// # Errors
    /// When the kernel's types do not tell what a queue looks like.
    pub fn waiters(&self, head: VirtAddr) -> Result<impl Iterator<Item = Result<Waiter>>> {
        let list = self.layout::<WaitQueueHead>()?.list.address(head)?;
        let layout = self.layout::<WaitQueueEntry>()?;
        Ok(ListHead::new(self, "wait queue", list).map(move |link| {
            let entry = layout.link.container(link?)?;
            let bytes = self.read_bytes(entry, layout.size_of)?;
            Ok(Waiter {
                entry,
                private: VirtAddr(layout.private.u64_in(&bytes)?),
                function: VirtAddr(layout.function.u64_in(&bytes)?),
            })
        }))
    }

    /// The `struct task_struct` that `waiter` wakes, where its function is one that wakes a task:
    /// most are, and poll()'s keeps it one pointer further.
    pub fn waiting_task(&self, waiter: &Waiter) -> Option<VirtAddr> {
        if self.task_by_address(waiter.private).is_some() {
            return Some(waiter.private);
        }
        let is_poll = self.symbol("pollwake").is_ok_and(|pollwake| pollwake == waiter.function);
        let polling = self.layout::<PollWaitQueues>().ok().filter(|_| is_poll)?;
        polling.task.pointer(self, waiter.private).ok()
    }
}
