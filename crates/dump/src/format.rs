//! What a dump says of itself, in words of no single format.

use std::fmt;

/// The kinds of page compression that a kdump header announces. Each page says its own; a page
/// that did not shrink is stored as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    /// zlib (RFC 1950), `makedumpfile -c`.
    pub zlib: bool,
    /// LZO1X, `makedumpfile -l`.
    pub lzo: bool,
    /// Snappy's raw format, `makedumpfile -p`.
    pub snappy: bool,
    /// Zstandard (RFC 8878), `makedumpfile -z`.
    pub zstd: bool,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named =
            [(self.zlib, "zlib"), (self.lzo, "lzo"), (self.snappy, "snappy"), (self.zstd, "zstd")];
        let mut names = named.iter().filter(|(there, _)| *there).map(|(_, name)| *name);
        f.write_str(names.next().unwrap_or("uncompressed"))?;
        names.try_for_each(|name| write!(f, "+{name}"))
    }
}

/// The format of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An ELF64 core: a copy of `/proc/vmcore`, `makedumpfile -E`, QEMU's `dump-guest-memory`.
    ElfCore {
        /// Whether parts of memory are left out (`p_filesz` below `p_memsz`).
        filtered: bool,
    },
    /// kdump-compressed: makedumpfile's own format, also written by QEMU.
    Kdump {
        /// `header_version`.
        version: u32,
        /// What the header's status announces.
        compression: Compression,
        /// How many files of a dump by `makedumpfile --split` were opened; 0 for one that is whole
        /// in its file.
        split_files: usize,
    },
    /// VMware's state of a suspended machine or of a snapshot.
    Vmware {
        /// Whether the memory is in a file of its own.
        separate: bool,
        /// Whether the memory is compressed.
        compressed: bool,
    },
    /// ESXi's short state of a guest that panicked.
    VmwareGuest {
        /// The version of the form: 1 to 7.
        version: u32,
    },
    /// LiME's blocks of memory.
    Lime,
    /// LiME's blocks as AVML compresses them.
    Avml,
    /// Memory without headers.
    Raw,
    /// A QEMU migration stream.
    QemuStream {
        /// Whether pages have fixed places, by the `mapped-ram` capability.
        mapped_ram: bool,
    },
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::ElfCore { filtered: false } => f.write_str("ELF64 vmcore"),
            Format::ElfCore { filtered: true } => f.write_str("ELF64 vmcore, filtered"),
            Format::Kdump { version, compression, split_files } => {
                write!(f, "kdump-compressed v{version}, {compression}")?;
                match split_files {
                    0 => Ok(()),
                    1 => f.write_str(", one file of a split dump"),
                    files => write!(f, ", split, {files} files"),
                }
            }
            Format::Vmware { separate: true, .. } => f.write_str("VMware state and vmem"),
            Format::Vmware { compressed: true, .. } => {
                f.write_str("VMware state with compressed memory")
            }
            Format::Vmware { .. } => f.write_str("VMware state with memory"),
            Format::VmwareGuest { version } => write!(f, "VMware guest dump v{version} and vmem"),
            Format::Lime => f.write_str("LiME image"),
            Format::Avml => f.write_str("AVML image, snappy"),
            Format::Raw => f.write_str("raw memory"),
            Format::QemuStream { mapped_ram: false } => f.write_str("QEMU migration stream"),
            Format::QemuStream { mapped_ram: true } => {
                f.write_str("QEMU migration stream, mapped-ram")
            }
        }
    }
}

/// The processor architecture that a dump says it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86_64.
    X86_64,
    /// 64-bit ARM, little endian.
    Aarch64,
    /// Another one, by the name or ELF number (`e_machine`) that the dump gives.
    Other(String),
}

impl Machine {
    /// From `utsname.machine`.
    pub(crate) fn from_utsname(machine: &str) -> Self {
        match machine {
            "x86_64" => Machine::X86_64,
            "aarch64" => Machine::Aarch64,
            other => Machine::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Machine::X86_64 => f.write_str("x86_64"),
            Machine::Aarch64 => f.write_str("aarch64"),
            Machine::Other(name) => f.write_str(name),
        }
    }
}

/// `struct new_utsname` as makedumpfile copied it. QEMU fills in `machine` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Utsname {
    pub sysname: String,
    pub nodename: String,
    pub release: String,
    pub version: String,
    pub machine: String,
    pub domainname: String,
}

/// A point in time: when the dump was written, by the collector's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// Seconds since 1970 UTC.
    pub seconds: i64,
    /// Microseconds on top.
    pub microseconds: i64,
}
