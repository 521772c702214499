//! Words of crash that have no meaning for a dump of Linux on the machines that Mortis knows, and
//! the programs that crash runs by their bare names.

/// Programs that run without a `!` before them.
pub const PROGRAMS: &[&str] = &["vi", "pwd", "grep", "cat", "more", "less", "echo", "ls", "clear"];

const XEN: &str = "a command for dumps of the Xen hypervisor; this is a dump of a Linux kernel";

/// The commands of crash that do not apply, and why.
const COMMANDS: &[(&str, &str)] = &[
    ("domain", XEN),
    ("doms", XEN),
    ("dumpinfo", XEN),
    ("pcpus", XEN),
    ("sched", XEN),
    ("vcpu", XEN),
    ("vcpus", XEN),
    ("map", "makes a map for KVM's save files, which this dump is not; it needs none"),
    ("s390dbf", "the debug feature of s390 kernels; this kernel has none"),
    ("save", "copies files of a remote session; this dump is a file already"),
    ("test", "runs tests of crash itself; those of Mortis are run by 'cargo xtask test'"),
];

/// Why the command of crash called `name` does not apply.
pub fn why_not(name: &str) -> Option<&'static str> {
    COMMANDS.iter().find(|(known, _)| *known == name).map(|(_, why)| *why)
}

/// Their names.
pub fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(name, _)| *name)
}
