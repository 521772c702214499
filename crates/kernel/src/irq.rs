//! Interrupts: their descriptors, who handles them, where and how often they came.
//!
//! Descriptors are found in a tree where the kernel is built with CONFIG_SPARSE_IRQ (a maple tree
//! since 6.5, a radix tree and then an XArray before), else in an array.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use crate::layout;
use crate::list::SinglyLinked;
use crate::xarray;
use mortis_debuginfo::types::{Type, strip};
use mortis_memory::{VirtAddr, VirtualMemory};
use std::collections::HashMap;

layout! {
    /// One interrupt: include/linux/irqdesc.h.
    pub struct IrqDesc = "irq_desc" {
        action: "action",
        /// Counts by CPU: of `unsigned int` until 6.9, of `struct irqstat`, which begins with it, since.
        kstat_irqs: "kstat_irqs",
        chip: "irq_data.chip" | "chip",
        hwirq: "irq_data.hwirq",
        /// In `irq_data` until 4.2.
        affinity: "irq_common_data.affinity" | "irq_data.affinity" | "affinity",
        name: "name",
        depth: "depth",
    }
}

layout! {
    /// Who handles an interrupt; several where it is shared: include/linux/interrupt.h.
    pub struct IrqAction = "irqaction" {
        handler: "handler",
        name: "name",
        next: "next",
        flags: "flags",
    }
}

layout! {
    /// The hardware an interrupt comes through: include/linux/irq.h.
    pub struct IrqChip = "irq_chip" {
        name: "name",
    }
}

layout! {
    /// What runs for a kind of softirq: include/linux/interrupt.h.
    pub struct SoftirqAction = "softirq_action" {
        action: "action",
    }
}

/// More interrupts than any kernel provides for; far more than `NR_IRQS`.
const MAX_IRQS: u64 = 1 << 20;

/// A name of a handler or of a chip is not longer.
const MAX_NAME: usize = 256;

/// More handlers than ever shared one interrupt.
const MAX_ACTIONS: usize = 4096;

/// A handler of an interrupt.
#[derive(Clone, Debug)]
pub struct Action {
    /// Its `struct irqaction`.
    pub address: VirtAddr,
    /// Whose it is, as in /proc/interrupts; `None` for a null pointer.
    pub name: Result<Option<String>>,
    /// The function.
    pub handler: Result<VirtAddr>,
}

/// Where the interrupts' descriptors are.
pub struct IrqTable<'k> {
    kernel: &'k Kernel,
    place: Place,
}

enum Place {
    /// A maple tree.
    Maple(VirtAddr),
    /// A radix tree or an XArray, read; and why it could not be read to its end.
    Gathered(HashMap<u64, VirtAddr>, Option<KernelError>),
    /// An array of descriptors, so many bytes each.
    Array(VirtAddr, u64),
}

impl IrqTable<'_> {
    /// The descriptor of interrupt `irq`; `None` where it has none.
    ///
    /// # Errors
    /// When the tree is damaged on the way to it.
    pub fn descriptor(&self, irq: u32) -> Result<Option<VirtAddr>> {
        match &self.place {
            Place::Maple(tree) => {
                let entry = self.kernel.maple_entry(*tree, u64::from(irq))?;
                Ok((!entry.is_null()).then_some(entry))
            }
            Place::Gathered(descriptors, _) => Ok(descriptors.get(&u64::from(irq)).copied()),
            Place::Array(start, size) => Ok(Some(start.offset(u64::from(irq) * size))),
        }
    }

    /// Why the descriptors are not all there, where that is so.
    pub fn damage(&self) -> Option<&KernelError> {
        match &self.place {
            Place::Gathered(_, damage) => damage.as_ref(),
            _ => None,
        }
    }
}

impl Kernel {
    /// How many interrupts the kernel provides for (`nr_irqs`); their numbers are below it.
    ///
    /// # Errors
    /// When nothing in the dump tells.
    pub fn irq_limit(&self) -> Result<u32> {
        // `total_nr_irqs` since 6.13.
        let address = self.first_symbol(&["nr_irqs", "total_nr_irqs"])?;
        Ok(u64::from(self.read_u32(address)?).min(MAX_IRQS) as u32)
    }

    /// Where the interrupts' descriptors are.
    ///
    /// # Errors
    /// When there is no tree nor array of them.
    pub fn irq_table(&self) -> Result<IrqTable<'_>> {
        let place = if let Ok(tree) = self.symbol("sparse_irqs") {
            Place::Maple(tree)
        } else if let Ok(tree) = self.symbol("irq_desc_tree") {
            let mut descriptors = HashMap::new();
            let mut damage = None;
            for entry in xarray::entries(self, "irq_desc_tree", tree)? {
                match entry {
                    Ok((irq, descriptor)) => {
                        descriptors.insert(irq, VirtAddr(descriptor));
                    }
                    Err(error) => damage = Some(error),
                }
                if descriptors.len() as u64 > MAX_IRQS {
                    break;
                }
            }
            Place::Gathered(descriptors, damage)
        } else {
            let array = self.symbol("irq_desc")?;
            Place::Array(array, self.layout::<IrqDesc>()?.size_of)
        };
        Ok(IrqTable { kernel: self, place })
    }

    /// Who handles the interrupt with the descriptor at `descriptor`, and why not all of them could
    /// be read, where that is so.
    pub fn irq_actions(&self, descriptor: VirtAddr) -> (Vec<Action>, Option<KernelError>) {
        let mut actions = Vec::new();
        let damage = self.read_irq_actions(descriptor, &mut actions).err();
        (actions, damage)
    }

    fn read_irq_actions(&self, descriptor: VirtAddr, actions: &mut Vec<Action>) -> Result<()> {
        let layout = self.layout::<IrqAction>()?;
        let first = self.layout::<IrqDesc>()?.action.pointer(self, descriptor)?;
        for action in SinglyLinked::new(self, "irqaction.next", first, layout.next.offset()?) {
            let action = action?;
            let name = layout.name.pointer(self, action).and_then(|name| self.irq_name(name));
            let handler = layout.handler.pointer(self, action);
            actions.push(Action { address: action, name, handler });
            if actions.len() > MAX_ACTIONS {
                let problem = "list does not end";
                return Err(KernelError::DamagedList {
                    list: "irqaction.next",
                    problem,
                    at: action,
                });
            }
        }
        Ok(())
    }

    fn irq_name(&self, name: VirtAddr) -> Result<Option<String>> {
        if name.is_null() {
            return Ok(None);
        }
        let bytes = self.read_c_string(name, MAX_NAME)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The CPUs that the interrupt may be sent to.
    ///
    /// # Errors
    /// What could not be read.
    pub fn irq_affinity(&self, descriptor: VirtAddr) -> Result<Vec<u32>> {
        let field = &self.layout::<IrqDesc>()?.affinity;
        // `cpumask_var_t` is a pointer where CONFIG_CPUMASK_OFFSTACK, else the mask itself.
        let types = self.types()?;
        let (_, ty) = strip(types, field.ty()?)?;
        let mask = match *ty {
            Type::Pointer { .. } => field.pointer(self, descriptor)?,
            _ => field.address(descriptor)?,
        };
        let cpus = &self.cpus()?.possible;
        let words = cpus.last().map_or(1, |&last| u64::from(last) / 64 + 1);
        let bytes = self.read_bytes(mask, words * 8)?;
        let set =
            |cpu: &u32| bytes.get(*cpu as usize / 8).is_some_and(|byte| byte >> (cpu % 8) & 1 != 0);
        Ok(cpus.iter().copied().filter(set).collect())
    }

    /// How often the interrupt came on each of `cpus`.
    ///
    /// # Errors
    /// When the descriptor does not tell where its counts are.
    pub fn irq_counts(&self, descriptor: VirtAddr, cpus: &[u32]) -> Result<Vec<Result<u32>>> {
        let counts = self.layout::<IrqDesc>()?.kstat_irqs.pointer(self, descriptor)?;
        let areas = self.cpus()?;
        Ok(cpus.iter().map(|&cpu| Ok(self.read_u32(areas.address(counts, cpu)?)?)).collect())
    }

    /// The name of the hardware that the interrupt comes through, such as `IO-APIC`.
    ///
    /// # Errors
    /// What could not be read.
    pub fn irq_chip_name(&self, descriptor: VirtAddr) -> Result<Option<String>> {
        let chip = self.layout::<IrqDesc>()?.chip.pointer(self, descriptor)?;
        if chip.is_null() {
            return Ok(None);
        }
        self.irq_name(self.layout::<IrqChip>()?.name.pointer(self, chip)?)
    }

    /// The name of the flow handler, such as `edge` or `fasteoi`.
    ///
    /// # Errors
    /// What could not be read.
    pub fn irq_flow_name(&self, descriptor: VirtAddr) -> Result<Option<String>> {
        self.irq_name(self.layout::<IrqDesc>()?.name.pointer(self, descriptor)?)
    }

    /// What runs for each kind of softirq, in their order (`softirq_vec`); null where nothing does.
    ///
    /// # Errors
    /// What could not be read.
    pub fn softirq_actions(&self) -> Result<Vec<VirtAddr>> {
        let layout = self.layout::<SoftirqAction>()?;
        // There have been ten for as long as there are kernels with BTF.
        let count = self.types()?.enumerator("NR_SOFTIRQS").map_or(10, |(_, count)| count);
        let count = u64::try_from(count).unwrap_or(0).min(64);
        let array = self.symbol("softirq_vec")?;
        let bytes = self.read_bytes(array, count * layout.size_of)?;
        let step = usize::try_from(layout.size_of).unwrap_or(8).max(1);
        bytes.chunks_exact(step).map(|one| layout.action.u64_in(one).map(VirtAddr)).collect()
    }

    /// What runs for each of the processor's 256 interrupt vectors (`idt_table`).
    ///
    /// # Errors
    /// When the table is not in the dump.
    pub fn interrupt_gates(&self) -> Result<Vec<VirtAddr>> {
        const GATES: u64 = 256;
        const GATE_SIZE: u64 = 16;
        let bytes = self.read_bytes(self.symbol("idt_table")?, GATES * GATE_SIZE)?;
        Ok(bytes.chunks_exact(GATE_SIZE as usize).map(gate_target).collect())
    }
}

/// Where an interrupt gate leads. Intel's manual, volume 3, 7.14.1: the address is in three pieces,
/// bits 0 to 15, 48 to 63 and 64 to 95 of the gate.
fn gate_target(gate: &[u8]) -> VirtAddr {
    let word = |at: usize| {
        let bytes = gate.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    };
    let low = word(0);
    VirtAddr(word(8) << 32 | (low >> 32 & 0xffff_0000) | (low & 0xffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_holds_its_address_in_three_pieces() {
        // The gate of the first vector of a Debian 6.12: asm_exc_divide_error.
        let gate =
            [0x50, 0x02, 0x10, 0x00, 0x00, 0x8e, 0x00, 0xaf, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(gate_target(&gate), VirtAddr(0xffff_ffff_af00_0250));
        assert_eq!(gate_target(&[]), VirtAddr(0));
    }
}
