//! Files that people take for dumps and that are not read here: what they are, and the way from
//! them to a file that is.
//!
//! A hypervisor's own state of a running system is left to its own tools: only they know all the
//! versions of it.

use std::fmt;

macro_rules! foreign {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $advice:expr;)*) => {
        /// Kinds of files that are recognised and not read here: what it is and, where there is
        /// one, the way to a file that can be read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Foreign {
            $($(#[$doc])* $name,)*
        }

        impl Foreign {
            /// What to do about it, if anything can be done.
            pub const fn advice(self) -> Option<&'static str> {
                match self {
                    $(Foreign::$name => $advice,)*
                }
            }
        }

        impl fmt::Display for Foreign {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Foreign::$name => $text,)*
                })
            }
        }
    };
}

const XEN: Option<&str> = Some(
    "let the guest dump itself by kdump; xl dump-core writes what the crash utility reads, but not \
     mortis",
);
const DISK: Option<&str> = Some(
    "a dump may be a file in it: attach the disk read-only (guestmount, or qemu-nbd and mount) and \
     copy the vmcore out",
);
const HIBERNATION: Option<&str> = Some(
    "it holds a part of memory in a form of its own: resume from it, and dump the machine by kdump \
     or, if it is virtual, from outside",
);
const HYPER_V: Option<&str> = Some(
    "no tool makes a Linux dump of it: let the guest dump itself by kdump; with \
     kernel.unknown_nmi_panic=1, Debug-VM -InjectNonMaskableInterrupt makes it do so",
);
const RAW: Option<&str> = Some(
    "if it is raw memory, say where it lies: --layout FILE@0; a memory with a hole is given in \
     pieces, --layout FILE:0+3G@0,FILE:3G@4G",
);
const UNPACK: Option<&str> = Some("unpack it first, and name the dump in it");

foreign! {
    /// Nothing at all.
    Empty = "an empty file", None;
    /// `DISKDUMP`.
    Diskdump = "a diskdump of the 2.4 and 2.6 kernels, not supported",
        Some("the crash utility of that time reads it");
    /// Linux Kernel Crash Dump.
    Lkcd = "an LKCD dump, not supported", Some("the crash utility reads it");
    /// IBM Z stand-alone dump.
    S390Dump = "an s390 stand-alone dump, not supported",
        Some("zgetdump -f elf of s390-tools converts it, but mortis reads x86_64 only");
    /// Windows, or QEMU's win-dmp.
    WindowsDump = "a Windows crash dump",
        Some("a Linux guest's memory is dumped by virsh dump --memory-only --format elf");
    /// Breakpad's and Windows' small user-space dump.
    Minidump = "a minidump of a user process", None;
    /// `hiberfil.sys`.
    WindowsHibernation = "a Windows hibernation file", None;
    /// `xm save`, `virsh save` of old.
    XenSave = "a Xen domain save image, not supported", XEN;
    /// `xl save`.
    XlSave = "a Xen domain save image (xl save), not supported", XEN;
    /// libvirt's over libxl.
    LibvirtXenSave = "a Xen domain save image by libvirt, not supported", XEN;
    /// `xm dump-core` and `xl dump-core`.
    XenCore = "a Xen domain core (dump-core), not supported",
        Some("the crash utility reads it; better let the guest dump itself by kdump");
    /// Hyper-V's saved state.
    HyperV = "a Hyper-V saved state (vmrs, vmcx), not supported", HYPER_V;
    /// VirtualBox's saved state.
    VirtualBoxState = "a VirtualBox saved state (sav), not supported",
        Some("start the machine and dump it: VBoxManage debugvm NAME dumpvmcore --filename=FILE");
    /// `swsusp` in a swap area.
    Hibernation = "a swap area with a hibernation image, not a dump", HIBERNATION;
    /// A swap area.
    Swap = "a swap area, not a dump", None;
    /// What the kernel writes for a process that crashed.
    UserCore = "a core dump of a user process, not of a kernel",
        Some("gdb EXECUTABLE FILE opens it");
    /// 32-bit ELF core.
    Elf32Core = "an ELF32 core; only 64-bit machines are supported", None;
    /// Another 32-bit ELF file.
    Elf32 = "a 32-bit ELF file; only 64-bit machines are supported", None;
    /// ELF of a big-endian machine.
    ElfBigEndian = "a big-endian ELF file, not supported yet", None;
    /// ELF of no usual type.
    ElfOther = "an ELF file that is neither core, executable nor object", None;
    /// bzImage.
    BootImage =
        "a compressed kernel image (vmlinuz); the vmlinux with symbols is another file", None;
    /// VMware's disk.
    Vmdk = "a VMware disk image (vmdk), not memory", DISK;
    /// Hyper-V's disks of old, and Azure's.
    Vhd = "a VHD disk image, not memory", DISK;
    /// Hyper-V's disk.
    Vhdx = "a VHDX disk image, not memory", DISK;
    /// VirtualBox's disk.
    Vdi = "a VirtualBox disk image (vdi), not memory", DISK;
    /// A disk with partitions.
    Disk = "a disk image with partitions, not memory", DISK;
    /// A file system.
    FileSystem = "a file system image, not memory", DISK;
    /// LUKS.
    Luks = "an encrypted volume (LUKS), not memory", None;
    /// EnCase.
    Ewf = "an EnCase image (E01), not supported",
        Some("ewfexport -f raw writes it out; of memory, open that by --layout FILE@0");
    /// An archive.
    Zip = "a zip archive", UNPACK;
    /// An archive.
    SevenZip = "a 7z archive", UNPACK;
    /// A Debian package, or another `ar` archive.
    Ar = "an ar archive or Debian package", UNPACK;
    /// An RPM package.
    Rpm = "an RPM package", UNPACK;
    /// Kernel log or the like.
    Text = "a text file", None;
    /// A copy that never got its data, or the first page of raw RAM.
    Zeroes =
        "a file that starts with zeroes: an interrupted copy, or raw memory without headers", RAW;
}

/// What to do with a file that nothing is known of.
pub(crate) const UNKNOWN_ADVICE: Option<&str> = RAW;

/// Signatures: offset, bytes, kind. What comes first counts.
pub(crate) const SIGNATURES: &[(usize, &[u8], Foreign)] = &[
    (0, b"DISKDUMP", Foreign::Diskdump),
    (0, &0xa819_0173_618f_23ed_u64.to_le_bytes(), Foreign::Lkcd),
    (0, &0xa819_0173_618f_23ed_u64.to_be_bytes(), Foreign::Lkcd),
    (0, &0xa819_0173_618f_23fd_u64.to_be_bytes(), Foreign::S390Dump),
    (0, b"PAGEDU64", Foreign::WindowsDump),
    (0, b"PAGEDUMP", Foreign::WindowsDump),
    (0, b"MDMP", Foreign::Minidump),
    (0, b"hibr", Foreign::WindowsHibernation),
    (0, b"HIBR", Foreign::WindowsHibernation),
    (0, b"LinuxGuestRecord", Foreign::XenSave),
    (0, b"XenSavedDomain", Foreign::XenSave),
    (0, b"Xen saved domain, xl format", Foreign::XlSave),
    (0, b"LibxlFmt", Foreign::XlSave),
    // libxc's stream, version 2: a marker of ones, and "XENF" (xen docs/specs/libxc-migration-stream).
    (0, b"\xff\xff\xff\xff\xff\xff\xff\xffXENF", Foreign::XenSave),
    (0, b"libvirt-xml\n \0 \r", Foreign::LibvirtXenSave),
    // xc_core before there were sections, of paravirtual and other guests.
    (0, &0xf00f_ebed_u32.to_le_bytes(), Foreign::XenCore),
    (0, &0xf00f_ebee_u32.to_le_bytes(), Foreign::XenCore),
    (0, &0x0128_2014_u32.to_le_bytes(), Foreign::HyperV),
    (0, b"\x7fVirtualBox SavedState ", Foreign::VirtualBoxState),
    (0, b"KDMV", Foreign::Vmdk),
    (0, b"COWD", Foreign::Vmdk),
    (0, b"# Disk DescriptorFile", Foreign::Vmdk),
    (0, b"conectix", Foreign::Vhd),
    (0, b"vhdxfile", Foreign::Vhdx),
    (64, &0xbeda_107f_u32.to_le_bytes(), Foreign::Vdi),
    (0, b"EVF\x09\x0d\x0a\xff\0", Foreign::Ewf),
    (0, b"EVF2\x0d\x0a\x81\0", Foreign::Ewf),
    (0x202, b"HdrS", Foreign::BootImage),
    (0, b"PK\x03\x04", Foreign::Zip),
    (0, b"7z\xbc\xaf\x27\x1c", Foreign::SevenZip),
    (0, b"!<arch>\n", Foreign::Ar),
    (0, b"\xed\xab\xee\xdb", Foreign::Rpm),
    // A page of 4 KiB: kernel/power/swap.c and uswsusp.
    (4086, b"S1SUSPEND", Foreign::Hibernation),
    (4086, b"S2SUSPEND", Foreign::Hibernation),
    (4086, b"ULSUSPEND", Foreign::Hibernation),
    (4086, b"LINHIB0001", Foreign::Hibernation),
    (4086, b"SWAPSPACE2", Foreign::Swap),
    (0, b"LUKS\xba\xbe", Foreign::Luks),
    (0, b"XFSB", Foreign::FileSystem),
    (0, b"hsqs", Foreign::FileSystem),
    (512, b"EFI PART", Foreign::Disk),
];

/// What no row of bytes tells.
pub(crate) fn by_structure(head: &[u8]) -> Option<Foreign> {
    let byte = |at: usize| head.get(at).copied();
    // A partition table: its mark, and four entries whose first byte says active or not.
    let is_table = head.get(510..512) == Some(&[0x55, 0xaa])
        && (0..4).all(|entry| matches!(byte(446 + entry * 16), Some(0 | 0x80)))
        && (0..4).any(|entry| byte(446 + entry * 16 + 4).is_some_and(|kind| kind != 0));
    // ext2 to 4: the magic, a state, a way to handle errors, and a size of blocks that there is.
    let word = |at: usize| Some(u16::from_le_bytes([byte(at)?, byte(at + 1)?]));
    let is_ext = word(0x438) == Some(0xef53)
        && word(0x43a).is_some_and(|state| state < 8)
        && matches!(word(0x43c), Some(1..=3))
        && matches!(word(0x418), Some(0..=6));
    match (is_table, is_ext) {
        (true, _) => Some(Foreign::Disk),
        (_, true) => Some(Foreign::FileSystem),
        _ => None,
    }
}
