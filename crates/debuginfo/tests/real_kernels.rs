//! Symbols and types of real kernels out of their real dumps, against what the kernels themselves
//! said while they were alive.

#![allow(clippy::unwrap_used)]

use mortis_debuginfo::btf::Btf;
use mortis_debuginfo::kallsyms::{Kallsyms, KallsymsTables};
use mortis_debuginfo::types::{Namespace, TypeSource, find_member, size_of};
use mortis_dump::{Dump, Vmcoreinfo};
use mortis_memory::{PhysAddr, PhysicalMemory, ReadError, Unavailable, VirtAddr, VirtualMemory};
use std::sync::Arc;

const DUMPS: [(&str, &str, &str); 2] = [("6.12", "sysrq", "c31"), ("7.x", "sysrq", "c23")];

/// `__START_KERNEL_map` of x86_64: the kernel's own image is mapped here at `phys_base`.
const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;

/// The kernel's image, and nothing else of its address space.
struct KernelImage {
    memory: Arc<dyn PhysicalMemory>,
    phys_base: u64,
}

impl VirtualMemory for KernelImage {
    fn read(&self, address: VirtAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let Some(offset) = address.0.checked_sub(START_KERNEL_MAP) else {
            return Err(ReadError::new(address, Unavailable::Unmapped));
        };
        self.memory.read(PhysAddr(offset.wrapping_add(self.phys_base)), buf)
    }
}

fn open(kernel: &str, case: &str, capture: &str) -> (KernelImage, Vmcoreinfo, Kallsyms) {
    let dump = Dump::open(mortis_lab::dump(kernel, case, capture)).unwrap();
    let info = dump.vmcoreinfo().unwrap().clone();
    let phys_base = info.number("phys_base").unwrap() as u64;
    let image = KernelImage { memory: dump.memory(), phys_base };
    let symbol = |name: &str| info.symbol(name).map(VirtAddr);
    let tables = KallsymsTables::from_vmcoreinfo(symbol).unwrap();
    let anchors = [("_stext", symbol("_stext").unwrap())];
    let kallsyms = Kallsyms::read(&image, &tables, &anchors).unwrap();
    (image, info, kallsyms)
}

#[test]
fn kallsyms_is_what_the_kernel_printed() {
    for (kernel, case, capture) in DUMPS {
        let (_, _, kallsyms) = open(kernel, case, capture);
        assert_eq!(kallsyms.missing(), 0);
        let truth = mortis_lab::truth(kernel, case, "kallsyms");
        // Modules, BPF programs and such follow the kernel's own, with a name in brackets.
        let mut lines = truth.lines().filter(|line| !line.contains('['));
        for symbol in kallsyms.iter() {
            let ours = format!("{:016x} {} {}", symbol.address.0, symbol.letter, symbol.name);
            assert_eq!(lines.next(), Some(&*ours), "{kernel}");
        }
        assert_eq!(lines.next(), None, "{kernel}");
        assert!(kallsyms.memory_usage() < 12 << 20, "{}", kallsyms.memory_usage());
    }
}

#[test]
fn every_name_leads_back_to_its_address() {
    for (kernel, case, capture) in DUMPS {
        let (_, _, kallsyms) = open(kernel, case, capture);
        for symbol in kallsyms.iter().step_by(7) {
            let found = kallsyms.lookup_name(&symbol.name).any(|other| other == symbol);
            assert!(found, "{symbol}");
            if symbol.address.0 >= START_KERNEL_MAP {
                let (other, offset) = kallsyms.lookup_address(symbol.address).unwrap();
                assert_eq!((other.address, offset), (symbol.address, 0), "{symbol}");
            }
        }
        let task = kallsyms.address("init_task").unwrap();
        let (symbol, offset) = kallsyms.lookup_address(task.offset(100)).unwrap();
        assert_eq!((&*symbol.name, offset), ("init_task", 100));
        let last = kallsyms.iter().last().unwrap();
        assert_eq!(kallsyms.lookup_address(last.address).map(|(_, offset)| offset), Some(0));
        assert_eq!(kallsyms.lookup_address(last.address.offset(1)), None);
    }
}

/// VMCOREINFO tells sizes and offsets for makedumpfile: the compiler computed them.
#[test]
fn btf_agrees_with_vmcoreinfo() {
    for (kernel, case, capture) in DUMPS {
        let (image, info, kallsyms) = open(kernel, case, capture);
        let at = |name| kallsyms.address(name).unwrap();
        let btf = Btf::read("BTF", &image, at("__start_BTF")..at("__stop_BTF")).unwrap();
        let find = |name: &str| {
            btf.lookup(Namespace::Struct, name).or_else(|| btf.lookup(Namespace::Typedef, name))
        };
        let mut checked = 0;
        for (key, value) in info.iter() {
            let Some((what, name)) = key.strip_suffix(')').and_then(|key| key.split_once('('))
            else {
                continue;
            };
            let Ok(value) = value.parse::<u64>() else { continue };
            match (what, name.split_once('.')) {
                ("SIZE", None) => {
                    let Some(ty) = find(name) else { continue };
                    assert_eq!(size_of(&btf, ty), Ok(value), "{kernel}: {key}");
                }
                ("OFFSET", Some((ty, member))) => {
                    let Some(ty) = find(ty) else { continue };
                    let found = find_member(&btf, ty, member).unwrap();
                    assert_eq!(found.offset(), value, "{kernel}: {key}");
                }
                _ => continue,
            }
            checked += 1;
        }
        assert!(checked > 50, "{kernel}: {checked}");
    }
}
