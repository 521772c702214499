//! What a file is, by its first bytes, so that arguments may come in any order.

use crate::elf;
use crate::field::u16_at;
use crate::foreign::{self, Foreign};
use crate::kdump;
use crate::qemu;
use crate::source::{FileSource, Source, read_up_to};
use crate::vmware::{self, tags};
use std::fmt;
use std::io;
use std::path::Path;

/// Enough for every signature; the farthest is a swap area's, at the end of its first page.
const HEAD: u64 = 4096;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A dump that [`Dump::open`](crate::Dump::open) reads.
    Dump(DumpKind),
    /// Something that a dump may be wrapped in; [`Dump::open`](crate::Dump::open) looks inside.
    Container(ContainerKind),
    /// An ELF executable or shared object: a vmlinux, or a vmlinux's separate debug file.
    ElfExecutable,
    /// A relocatable ELF object: a kernel module (`.ko`) or its debug file.
    ElfRelocatable,
    /// A known kind of file that is none of these.
    Foreign(Foreign),
    /// Nothing known.
    Unknown,
}

impl FileKind {
    /// Whether [`Dump::open`](crate::Dump::open) reads such files, or looks for a dump in them.
    pub const fn is_dump(self) -> bool {
        matches!(self, FileKind::Dump(_) | FileKind::Container(_))
    }

    /// What to do with a file that is no dump, if anything can be done.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            FileKind::Foreign(foreign) => foreign.advice(),
            FileKind::Unknown => foreign::UNKNOWN_ADVICE,
            _ => None,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileKind::Dump(dump) => dump.fmt(f),
            FileKind::Container(container) => write!(f, "{container}, with no dump in it"),
            FileKind::ElfExecutable => f.write_str("an ELF executable"),
            FileKind::ElfRelocatable => f.write_str("a relocatable ELF object (kernel module)"),
            FileKind::Foreign(foreign) => foreign.fmt(f),
            FileKind::Unknown => f.write_str("no file format that mortis knows"),
        }
    }
}

macro_rules! kinds {
    ($(#[$all:meta])* $kinds:ident: $($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        $(#[$all])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $kinds {
            $($(#[$doc])* $name,)*
        }

        impl fmt::Display for $kinds {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $($kinds::$name => $text,)*
                })
            }
        }
    };
}

kinds! {
    /// The formats of dumps.
    DumpKind:
    /// A copy of `/proc/vmcore`, `makedumpfile -E`, QEMU, VirtualBox.
    ElfCore = "an ELF64 core",
    /// makedumpfile, QEMU.
    Kdump = "a kdump-compressed dump",
    /// QEMU's migration stream: `migrate`, `savevm`, `virsh dump` without `--memory-only`.
    QemuStream = "a QEMU migration stream",
    /// `.vmss` or `.vmsn`.
    Vmware = "a VMware suspend or snapshot state (vmss, vmsn)",
    /// `debug.guest`.
    VmwareGuest = "a VMware guest dump (debug.guest)",
    /// `.vmem`.
    VmwareMemory = "memory of a VMware machine (vmem)",
    /// LiME.
    Lime = "a LiME memory image",
    /// AVML.
    Avml = "an AVML memory image",
    /// Fujitsu's stand-alone dump.
    Sadump = "a sadump stand-alone dump, not supported yet",
}

kinds! {
    /// What a dump may be wrapped in.
    ContainerKind:
    /// `makedumpfile -F`, or QEMU's `dump-guest-memory -z`.
    Flattened = "a flattened stream (makedumpfile -F, QEMU dump-guest-memory -z)",
    /// `virsh save`, `virsh managedsave`.
    LibvirtSave = "a libvirt save image",
    /// A QEMU disk image with snapshots.
    Qcow2 = "a qcow2 disk image",
    /// RFC 1952.
    Gzip = "a gzip file",
    /// The .xz file format.
    Xz = "an xz file",
    /// RFC 8878.
    Zstd = "a zstd file",
    /// bzip2.
    Bzip2 = "a bzip2 file",
    /// The LZ4 frame format.
    Lz4 = "an lz4 file",
    /// lzop.
    Lzop = "an lzop file",
    /// POSIX tar.
    Tar = "a tar archive",
}

/// Signatures of dumps and of what they are wrapped in: offset, bytes, kind.
const DUMPS: &[(usize, &[u8], FileKind)] = &[
    (0, kdump::SIGNATURE, FileKind::Dump(DumpKind::Kdump)),
    (0, b"makedumpfile\0\0\0\0", FileKind::Container(ContainerKind::Flattened)),
    (0, qemu::MAGIC, FileKind::Dump(DumpKind::QemuStream)),
    (0, &tags::OLD_MAGIC.to_le_bytes(), FileKind::Dump(DumpKind::Vmware)),
    (0, &tags::NARROW_MAGIC.to_le_bytes(), FileKind::Dump(DumpKind::Vmware)),
    (0, &tags::MAGIC.to_le_bytes(), FileKind::Dump(DumpKind::Vmware)),
    (0, &tags::PARTIAL_MAGIC.to_le_bytes(), FileKind::Dump(DumpKind::Vmware)),
    (0, &tags::RESTORED_MAGIC.to_le_bytes(), FileKind::Dump(DumpKind::Vmware)),
    (0, &tags::NORESTORE_MAGIC.to_le_bytes(), FileKind::Dump(DumpKind::Vmware)),
    (0, b"EMiL", FileKind::Dump(DumpKind::Lime)),
    (0, b"AVML", FileKind::Dump(DumpKind::Avml)),
    (0, b"sadump\0\0", FileKind::Dump(DumpKind::Sadump)),
    (0, b"LibvirtQemudSave", FileKind::Container(ContainerKind::LibvirtSave)),
    (0, b"LibvirtQemudPart", FileKind::Container(ContainerKind::LibvirtSave)),
    (0, b"QFI\xfb", FileKind::Container(ContainerKind::Qcow2)),
    (0, b"\x1f\x8b", FileKind::Container(ContainerKind::Gzip)),
    (0, b"\xfd7zXZ\0", FileKind::Container(ContainerKind::Xz)),
    (0, b"\x28\xb5\x2f\xfd", FileKind::Container(ContainerKind::Zstd)),
    (0, b"BZh", FileKind::Container(ContainerKind::Bzip2)),
    (0, b"\x04\x22\x4d\x18", FileKind::Container(ContainerKind::Lz4)),
    (0, b"\x89LZO\0\r\n\x1a\n", FileKind::Container(ContainerKind::Lzop)),
    (257, b"ustar", FileKind::Container(ContainerKind::Tar)),
];

/// Says what the file at `path` is.
///
/// # Errors
/// When it cannot be opened or is a folder.
pub fn sniff(path: &Path) -> io::Result<FileKind> {
    Ok(sniff_at(path, &FileSource::open(path)?))
}

/// Says what a source of that name is: where the bytes say nothing, the name may.
pub fn sniff_at(name: &Path, source: &dyn Source) -> FileKind {
    let vague = |kind| {
        matches!(kind, FileKind::Unknown | FileKind::Foreign(Foreign::Zeroes | Foreign::Text))
    };
    match sniff_source(source) {
        kind if vague(kind) && vmware::is_memory_name(name) => {
            FileKind::Dump(DumpKind::VmwareMemory)
        }
        kind if vague(kind) && vmware::is_guest_name(name) => FileKind::Dump(DumpKind::VmwareGuest),
        kind => kind,
    }
}

/// Says what a source is.
pub fn sniff_source(source: &dyn Source) -> FileKind {
    let head = read_up_to(source, 0, HEAD);
    if head.starts_with(elf::MAGIC) {
        return elf_kind(&head);
    }
    let has = |offset: usize, bytes: &[u8]| {
        head.get(offset..).is_some_and(|rest| rest.starts_with(bytes))
    };
    if let Some((.., kind)) = DUMPS.iter().find(|(offset, bytes, _)| has(*offset, bytes)) {
        return *kind;
    }
    if let Some((.., foreign)) =
        foreign::SIGNATURES.iter().find(|(offset, bytes, _)| has(*offset, bytes))
    {
        return FileKind::Foreign(*foreign);
    }
    if vmware::is_guest(source) {
        return FileKind::Dump(DumpKind::VmwareGuest);
    }
    if let Some(foreign) = foreign::by_structure(&head) {
        return FileKind::Foreign(foreign);
    }
    let is_text = |&byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x1b | 0x20..=0x7e | 0x80..);
    if head.is_empty() {
        FileKind::Foreign(Foreign::Empty)
    } else if head.iter().all(|&byte| byte == 0) {
        FileKind::Foreign(Foreign::Zeroes)
    } else if head.iter().all(is_text) && std::str::from_utf8(&head[..head.len().min(512)]).is_ok()
    {
        FileKind::Foreign(Foreign::Text)
    } else {
        FileKind::Unknown
    }
}

fn elf_kind(head: &[u8]) -> FileKind {
    const ET_REL: u16 = 1;
    const ET_EXEC: u16 = 2;
    const ET_DYN: u16 = 3;
    let little_endian = head.get(5) == Some(&elf::ELFDATA2LSB);
    let is_64 = head.get(4) == Some(&elf::ELFCLASS64);
    match u16_at(head, 16) {
        _ if !little_endian => FileKind::Foreign(Foreign::ElfBigEndian),
        Some(elf::ET_CORE) if is_64 => FileKind::Dump(DumpKind::ElfCore),
        Some(elf::ET_CORE) => FileKind::Foreign(Foreign::Elf32Core),
        _ if !is_64 => FileKind::Foreign(Foreign::Elf32),
        Some(ET_EXEC | ET_DYN) => FileKind::ElfExecutable,
        Some(ET_REL) => FileKind::ElfRelocatable,
        _ => FileKind::Foreign(Foreign::ElfOther),
    }
}
