//! What the lab can make: kernels × cases × captures, and which combinations
//! are made by default. Everything here is data; adding a kernel is one line.

/// Raised when dumps made earlier no longer mean what the code here says.
pub const RECIPE_VERSION: u32 = 1;

/// How a distribution spreads one kernel over packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `linux-image-R` holds vmlinuz and modules.
    Whole,
    /// `linux-binary-R`, `linux-modules-R` and `linux-base-R` hold them.
    Split,
    /// Nobody has compiled it yet.
    Source(Source),
}

/// A kernel that the lab compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The package with the source.
    pub package: &'static str,
    /// The lines of its configuration that are not as `make allnoconfig` has them.
    pub config: &'static str,
}

/// A kernel of Debian's archive: the newest point release of a series.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// What tests and commands call it.
    pub key: &'static str,
    /// The suite of the archive.
    pub suite: &'static str,
    /// The releases start with this.
    pub series: &'static str,
    /// The releases end with this.
    pub flavour: &'static str,
    /// Where the files are.
    pub layout: Layout,
    /// Modules without which neither a guest nor its capture kernel finds its disks, in order.
    pub first: &'static [&'static str],
}

impl Kernel {
    const fn new(
        key: &'static str,
        suite: &'static str,
        series: &'static str,
        flavour: &'static str,
    ) -> Kernel {
        Kernel { key, suite, series, flavour, layout: Layout::Whole, first: &[] }
    }
}

/// All kernels.
#[rustfmt::skip]
pub const KERNELS: &[Kernel] = &[
    Kernel::new("6.12", "trixie", "6.12.", "cloud-amd64"),
    Kernel { layout: Layout::Split, ..Kernel::new("7.x", "sid", "7.", "cloud-amd64") },
    Kernel { first: VIRTIO_6_1,  ..Kernel::new("6.1",  "bookworm", "6.1.",  "cloud-amd64") },
    Kernel { first: VIRTIO_5_10, ..Kernel::new("5.10", "bullseye", "5.10.", "cloud-amd64") },
    Kernel { first: EXT4, ..Kernel::new("6.12-rt",   "trixie", "6.12.", "rt-amd64") },
    Kernel { first: EXT4, ..Kernel::new("6.12-full", "trixie", "6.12.", "amd64") },
    Kernel { layout: Layout::Source(SLAB), ..Kernel::new("5.10-slab", "bullseye", "5.10.", "slab-amd64") },
];

const SLAB: Source =
    Source { package: "linux-source-5.10", config: include_str!("../kernel/5.10-slab.config") };
const VIRTIO_5_10: &[&str] = &["virtio", "virtio_ring", "virtio_pci"];
/// The bus was split in two (5.12 and 5.18).
const VIRTIO_6_1: &[&str] =
    &["virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci"];
const EXT4: &[&str] = &["crc32c_generic", "crc16", "mbcache", "jbd2", "ext4"];

/// Modules that every guest loads when its kernel has them, in order.
/// `virtio_blk` comes first: the rest is on a disk.
pub const MODULES: &[&str] =
    &["virtio_blk", "loop", "failover", "net_failover", "virtio_net", "dummy"];

/// Modules that a guest with [`Case::services`] loads besides, with parameters.
pub const SERVICE_MODULES: &[&str] = &["configfs", "dm-mod", "null_blk"];

/// The module that tells QEMU the kernel's VMCOREINFO.
pub const FW_CFG: &str = "qemu_fw_cfg";

/// What brings the guest down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// `echo c > /proc/sysrq-trigger`.
    Sysrq,
    /// `vm.panic_on_oom=1` and a tmpfs that fills up.
    Oom,
    /// Pid 1 exits.
    Init,
    /// A crash of the module `mortis_lab`, by its parameter's value.
    Module(&'static str),
}

impl Crash {
    /// The word the guest's init understands.
    pub fn word(self) -> &'static str {
        match self {
            Crash::Sysrq => "sysrq",
            Crash::Oom => "oom",
            Crash::Init => "init",
            Crash::Module(word) => word,
        }
    }
}

/// Levels of page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// 48-bit addresses.
    Four,
    /// 57-bit addresses.
    Five,
}

/// One way for a guest to live and die, on any kernel.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What tests and commands call it.
    pub name: &'static str,
    /// How it dies.
    pub crash: Crash,
    /// Its page tables.
    pub paging: Paging,
    /// What keeps the last CPU busy: "user" or "kernel" mode.
    pub busy: &'static str,
    /// RAM in MiB.
    pub memory: u32,
    /// RAM in MiB set aside for the capture kernel.
    pub crashkernel: u32,
    /// Further kernel parameters.
    pub parameters: &'static str,
    /// Sleeping threads besides the usual life.
    pub crowd: u32,
    /// Whether it traces, and has BPF, device-mapper, swapped pages and a request that no disk
    /// answers.
    pub services: bool,
    /// Seconds after which the guest is given up.
    pub timeout: u64,
}

impl Case {
    const fn new(name: &'static str, crash: Crash, paging: Paging) -> Case {
        Case {
            name,
            crash,
            paging,
            busy: "user",
            memory: 640,
            crashkernel: 256,
            // Room for the stacks of all tasks, so that the boot is still in the log with them;
            // and true addresses where /proc would print hashed ones.
            parameters: "log_buf_len=1M no_hash_pointers",
            crowd: 0,
            services: false,
            timeout: 600,
        }
    }

    /// Without capture kernel, in as much RAM (MiB).
    const fn outside(self, memory: u32) -> Case {
        Case {
            memory,
            crashkernel: 0,
            // Free pages are zeros, of which each form has its own way to say so.
            parameters: "log_buf_len=1M no_hash_pointers init_on_free=1",
            ..self
        }
    }
}

/// All cases.
pub const CASES: &[Case] = &[
    Case::new("sysrq", Crash::Sysrq, Paging::Five),
    Case::new("sysrq-4level", Crash::Sysrq, Paging::Four),
    Case::new("oom", Crash::Oom, Paging::Four),
    Case {
        // The default log buffer: its oldest records are overwritten.
        parameters: "no_hash_pointers",
        ..Case::new("init", Crash::Init, Paging::Five)
    },
    Case::new("null", Crash::Module("null"), Paging::Four),
    Case { busy: "kernel", ..Case::new("bug", Crash::Module("bug"), Paging::Five) },
    Case::new("stack", Crash::Module("stack"), Paging::Four),
    Case::new("irq", Crash::Module("irq"), Paging::Five),
    Case::new("irq-user", Crash::Module("irq-user"), Paging::Four),
    Case {
        services: true,
        parameters: "log_buf_len=1M no_hash_pointers lab_services=1",
        ..Case::new("services", Crash::Sysrq, Paging::Four)
    },
    Case {
        memory: 8192,
        crowd: 20_000,
        timeout: 3600,
        ..Case::new("large", Crash::Sysrq, Paging::Five)
    },
    Case::new("forms", Crash::Sysrq, Paging::Five).outside(256),
    Case::new("forms-vmcoreinfo", Crash::Sysrq, Paging::Four).outside(256),
    Case::new("forms-newer", Crash::Sysrq, Paging::Four).outside(256),
    Case::new("forms-mapped", Crash::Sysrq, Paging::Four).outside(256),
    Case::new("forms-multifd", Crash::Sysrq, Paging::Four).outside(256),
    Case::new(LIBVIRT, Crash::Sysrq, Paging::Five).outside(256),
    // More than fits below the addresses that devices have: there is RAM above them too.
    Case::new("forms-hole-pc", Crash::Sysrq, Paging::Four).outside(4352),
    Case::new("forms-hole-q35", Crash::Sysrq, Paging::Five).outside(4352),
    Case {
        // The least RAM in which a capture kernel can be loaded: no segment of it may
        // need half of what is left.
        memory: 352,
        crashkernel: 128,
        // Pages freed to per-CPU lists would be dumped with what they last held.
        parameters: "log_buf_len=1M init_on_free=1",
        ..Case::new("sample", Crash::Module("null"), Paging::Four)
    },
];

/// One way to write the dump down.
#[derive(Clone, Copy, Debug)]
pub struct Capture {
    /// What tests and commands call it; also the file's name.
    pub name: &'static str,
    /// `raw`: a plain copy of `/proc/vmcore`; else makedumpfile's options.
    pub options: &'static str,
}

/// All captures.
#[rustfmt::skip]
pub const CAPTURES: &[Capture] = &[
    Capture { name: "c31", options: "-c -d 31" },
    Capture { name: "l31", options: "-l -d 31" },
    Capture { name: "z31", options: "-z -d 31" },
    Capture { name: "e31", options: "-E -d 31" },
    Capture { name: "c23", options: "-c -d 23" },
    Capture { name: "raw", options: "raw" },
    Capture { name: "c0",  options: "-c -d 0" },
    Capture { name: "l0",  options: "-l -d 0" },
    Capture { name: "z0",  options: "-z -d 0" },
    Capture { name: "e0",  options: "-E -d 0" },
];

/// A case whose guest has no capture kernel: QEMU writes its memory down, from outside.
#[derive(Clone, Copy, Debug)]
pub struct Outside {
    /// [`Case::name`].
    pub case: &'static str,
    /// QEMU's name of the machine, which decides where RAM is.
    pub machine: &'static str,
    /// Whether the guest tells QEMU its VMCOREINFO.
    pub vmcoreinfo: bool,
}

/// All such cases.
#[rustfmt::skip]
pub const OUTSIDE: &[Outside] = &[
    Outside { case: "forms",            machine: "pc",  vmcoreinfo: false },
    Outside { case: "forms-vmcoreinfo", machine: "q35", vmcoreinfo: true },
    Outside { case: "forms-newer",      machine: "q35", vmcoreinfo: false },
    Outside { case: "forms-mapped",     machine: "q35", vmcoreinfo: false },
    Outside { case: "forms-multifd",    machine: "q35", vmcoreinfo: false },
    Outside { case: "forms-hole-pc",    machine: "pc",  vmcoreinfo: false },
    Outside { case: "forms-hole-q35",   machine: "q35", vmcoreinfo: false },
    Outside { case: LIBVIRT,            machine: "pc",  vmcoreinfo: false },
];

/// The one of them that libvirt runs.
pub const LIBVIRT: &str = "libvirt";

/// Those of them that a newer QEMU than the machine's runs. It migrates a machine only once.
pub const NEWER: &[&str] = &["forms-newer", "forms-mapped", "forms-multifd"];

/// One way for QEMU to write a machine down.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// What tests and commands call it; also the file's name.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
}

/// All forms.
#[rustfmt::skip]
pub const FORMS: &[Form] = &[
    Form { name: "raw-mem",   what: "pmemsave: RAM from address 0 on, nothing else" },
    Form { name: "elf",       what: "dump-guest-memory" },
    Form { name: "paging",    what: "dump-guest-memory -p: by virtual addresses" },
    Form { name: "zlib",      what: "dump-guest-memory -z: kdump, flattened" },
    Form { name: "raw-zlib",  what: "dump-guest-memory, format kdump-raw-zlib (QEMU 8.2)" },
    Form { name: "qcow2",     what: "a disk with the snapshots `alive` and `dead`" },
    Form { name: "stream",    what: "migrate" },
    Form { name: "xbzrle",    what: "migrate with XBZRLE, of the guest while it ran" },
    Form { name: "mapped-ram", what: "migrate with mapped-ram (QEMU 9.0)" },
    Form { name: "mapped-ram-multifd", what: "the same by several threads" },
    Form { name: "save-raw",   what: "virsh save" },
    Form { name: "save-gzip",  what: "packed by gzip" },
    Form { name: "save-bzip2", what: "packed by bzip2" },
    Form { name: "save-xz",    what: "packed by xz" },
    Form { name: "virsh-dump", what: "virsh dump" },
    Form { name: "virsh-elf",  what: "virsh dump --memory-only" },
    Form { name: "virsh-zlib", what: "virsh dump --memory-only --format kdump-zlib" },
    Form { name: "xbzrle-mem", what: "pmemsave of the same moment" },
];

/// A guest to run: this kernel, this case, these captures.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// [`Kernel::key`].
    pub kernel: &'static str,
    /// [`Case::name`].
    pub case: &'static str,
    /// Captures made by default; none: the guest is run with `--all` only.
    pub default: &'static [&'static str],
    /// Captures made with `--all`.
    pub all: &'static [&'static str],
}

impl Recipe {
    /// The captures wanted.
    pub fn captures(&self, all: bool) -> &'static [&'static str] {
        if all { self.all } else { self.default }
    }
}

const EVERY: &[&str] = &["c31", "l31", "z31", "e31", "c23", "raw", "c0", "l0", "z0", "e0"];
const C31: &[&str] = &["c31"];
const RAW: &[&str] = &["c31", "raw"];
/// makedumpfile 1.7.8 mistakes pages of 7.x modules for user pages: its `-d 31` is short of them.
const C23: &[&str] = &["c31", "c23"];
const C23_RAW: &[&str] = &["c31", "c23", "raw"];
const QEMU: &[&str] =
    &["raw-mem", "elf", "paging", "zlib", "qcow2", "stream", "xbzrle", "xbzrle-mem"];
const NEWER_QEMU: &[&str] = &["raw-mem", "elf", "raw-zlib", "qcow2", "stream"];
const MAPPED: &[&str] = &["raw-mem", "mapped-ram"];
const MULTIFD: &[&str] = &["raw-mem", "mapped-ram-multifd"];
const VIRSH: &[&str] = &[
    "raw-mem",
    "save-raw",
    "save-gzip",
    "save-bzip2",
    "save-xz",
    "virsh-elf",
    "virsh-zlib",
    "virsh-dump",
];
const HOLE: &[&str] = &["elf", "paging", "zlib", "qcow2", "stream"];

/// All recipes, cheapest kernels first.
#[rustfmt::skip]
pub const RECIPES: &[Recipe] = &[
    Recipe { kernel: "6.12", case: "sysrq",        default: &["c31", "l31", "z31", "e31", "raw", "c0"], all: EVERY },
    Recipe { kernel: "6.12", case: "null",         default: C31, all: RAW },
    Recipe { kernel: "6.12", case: "stack",        default: C31, all: RAW },
    Recipe { kernel: "6.12", case: "irq",          default: C31, all: RAW },
    Recipe { kernel: "6.12", case: "bug",          default: C31, all: RAW },
    Recipe { kernel: "6.12", case: "oom",          default: C31, all: RAW },
    Recipe { kernel: "6.12", case: "init",         default: C31, all: RAW },
    Recipe { kernel: "6.12", case: "services",     default: C31, all: RAW },
    Recipe { kernel: "6.12", case: "irq-user",     default: &[], all: RAW },
    Recipe { kernel: "6.12", case: "sysrq-4level", default: &[], all: RAW },
    Recipe { kernel: "7.x",  case: "sysrq",        default: C23_RAW, all: EVERY },
    Recipe { kernel: "7.x",  case: "null",         default: C23, all: C23_RAW },
    Recipe { kernel: "7.x",  case: "irq-user",     default: C23, all: C23_RAW },
    Recipe { kernel: "7.x",  case: "services",     default: C23, all: C23_RAW },
    Recipe { kernel: "7.x",  case: "stack",        default: &[], all: C23_RAW },
    Recipe { kernel: "7.x",  case: "irq",          default: &[], all: C23_RAW },
    Recipe { kernel: "7.x",  case: "bug",          default: &[], all: C23_RAW },
    Recipe { kernel: "7.x",  case: "oom",          default: &[], all: C23_RAW },
    Recipe { kernel: "7.x",  case: "init",         default: &[], all: C23_RAW },
    Recipe { kernel: "7.x",  case: "sysrq-4level", default: &[], all: C23_RAW },
    Recipe { kernel: "6.12", case: "forms",        default: QEMU, all: QEMU },
    Recipe { kernel: "6.12", case: "forms-vmcoreinfo", default: &[], all: QEMU },
    Recipe { kernel: "6.12", case: "forms-newer",  default: &[], all: NEWER_QEMU },
    Recipe { kernel: "6.12", case: "forms-mapped", default: &[], all: MAPPED },
    Recipe { kernel: "6.12", case: "forms-multifd", default: &[], all: MULTIFD },
    Recipe { kernel: "6.12", case: LIBVIRT,        default: &[], all: VIRSH },
    Recipe { kernel: "6.12", case: "forms-hole-pc", default: &[], all: HOLE },
    Recipe { kernel: "6.12", case: "forms-hole-q35", default: &[], all: HOLE },
    Recipe { kernel: "6.1",  case: "null",         default: C31, all: RAW },
    Recipe { kernel: "6.1",  case: "sysrq",        default: &[], all: RAW },
    Recipe { kernel: "5.10", case: "null",         default: C31, all: RAW },
    Recipe { kernel: "5.10", case: "sysrq",        default: &[], all: RAW },
    Recipe { kernel: "6.12-rt",   case: "sysrq",   default: &[], all: RAW },
    Recipe { kernel: "6.12-full", case: "sysrq",   default: &[], all: RAW },
    Recipe { kernel: "5.10-slab", case: "null",    default: &[], all: RAW },
    Recipe { kernel: "5.10-slab", case: "sysrq",   default: &[], all: RAW },
    Recipe { kernel: "6.12", case: "large",        default: &[], all: &["l31", "c31"] },
];

/// The kernel called `key`.
pub fn kernel(key: &str) -> Option<&'static Kernel> {
    KERNELS.iter().find(|kernel| kernel.key == key)
}

/// The case called `name`.
pub fn case(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

/// The capture called `name`.
pub fn capture(name: &str) -> Option<&'static Capture> {
    CAPTURES.iter().find(|capture| capture.name == name)
}

/// The form called `name`.
pub fn form(name: &str) -> Option<&'static Form> {
    FORMS.iter().find(|form| form.name == name)
}

/// How the guest of the case called `name` is dumped from outside, if it is.
pub fn outside(name: &str) -> Option<&'static Outside> {
    OUTSIDE.iter().find(|outside| outside.case == name)
}

/// Whether the guest of the case called `name` runs on a newer QEMU than the machine's.
pub fn is_newer(name: &str) -> bool {
    NEWER.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_name_what_exists() {
        for recipe in RECIPES {
            assert!(kernel(recipe.kernel).is_some(), "{recipe:?}");
            assert!(case(recipe.case).is_some(), "{recipe:?}");
            for name in recipe.default {
                assert!(recipe.all.contains(name), "{recipe:?}");
            }
            for name in recipe.all {
                let known = match outside(recipe.case) {
                    None => capture(name).is_some(),
                    Some(_) => form(name).is_some(),
                };
                assert!(known, "{recipe:?}");
            }
        }
    }

    #[test]
    fn default_recipes_cover_every_crash_and_kernel() {
        let default = |recipe: &&Recipe| !recipe.default.is_empty();
        for key in ["6.12", "7.x", "6.1", "5.10"] {
            assert!(RECIPES.iter().filter(default).any(|recipe| recipe.kernel == key), "{key}");
        }
        for crash in CASES.iter().map(|case| case.crash) {
            let dies_so = |recipe: &Recipe| case(recipe.case).is_some_and(|c| c.crash == crash);
            assert!(RECIPES.iter().filter(default).any(dies_so), "{crash:?}");
        }
    }
}
