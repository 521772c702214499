//! The kernel's name out of its memory, for dumps whose headers do not tell: where `init_uts_ns`
//! is, VMCOREINFO says.

use crate::dump::Dump;
use crate::field::c_string_at;
use crate::format::{Machine, Utsname};
use crate::vmcoreinfo::Vmcoreinfo;
use mortis_memory::{PhysAddr, PhysicalMemory};

/// Where x86_64 maps the kernel's image (arch/x86/include/asm/page_64_types.h).
const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// `__NEW_UTS_LEN` and a NUL.
const FIELD: usize = 65;

impl Dump {
    /// `struct new_utsname` as the kernel has it in memory, by `vmcoreinfo`.
    pub fn utsname_in_memory(&self, vmcoreinfo: &Vmcoreinfo) -> Option<Utsname> {
        let namespace = vmcoreinfo.symbol("init_uts_ns")?;
        let name = namespace.checked_add(vmcoreinfo.offset("uts_namespace.name")?)?;
        let address = match self.machine() {
            Machine::X86_64 => {
                let phys_base = vmcoreinfo.number("phys_base")?.cast_unsigned();
                name.checked_sub(START_KERNEL_MAP)?.wrapping_add(phys_base)
            }
            Machine::Aarch64 => {
                name.wrapping_sub(vmcoreinfo.number("kimage_voffset")?.cast_unsigned())
            }
            Machine::Other(_) => return None,
        };
        let mut bytes = [0; 6 * FIELD];
        self.read(PhysAddr(address), &mut bytes).ok()?;
        let field = |index: usize| c_string_at(&bytes, index * FIELD, FIELD);
        let utsname = Utsname {
            sysname: field(0)?,
            nodename: field(1)?,
            release: field(2)?,
            version: field(3)?,
            machine: field(4)?,
            domainname: field(5)?,
        };
        let osrelease = vmcoreinfo.osrelease();
        (osrelease.is_none() || osrelease == Some(&utsname.release)).then_some(utsname)
    }
}
