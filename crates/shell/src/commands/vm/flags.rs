//! `vm -f`: the names of an area's flags.

use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use serde::Serialize;

/// The flags of include/linux/mm.h by the names that crash gives them, of which some are those of
/// older kernels.
const FLAGS: &[(u64, &str)] = &[
    (0x1, "READ"),
    (0x2, "WRITE"),
    (0x4, "EXEC"),
    (0x8, "SHARED"),
    (0x10, "MAYREAD"),
    (0x20, "MAYWRITE"),
    (0x40, "MAYEXEC"),
    (0x80, "MAYSHARE"),
    (0x100, "GROWSDOWN"),
    (0x200, "NOHUGEPAGE"),
    (0x400, "PFNMAP"),
    (0x800, "DENYWRITE"),
    (0x1000, "EXECUTABLE"),
    (0x2000, "LOCKED"),
    (0x4000, "IO"),
    (0x8000, "SEQ_READ"),
    (0x1_0000, "RAND_READ"),
    (0x2_0000, "DONTCOPY"),
    (0x4_0000, "DONTEXPAND"),
    (0x8_0000, "RESERVED"),
    (0x40_0000, "HUGETLB"),
    (0x10_0000, "ACCOUNT"),
    (0x80_0000, "NONLINEAR"),
    (0x100_0000, "HUGEPAGE"),
    (0x200_0000, "INSERTPAGE"),
    (0x400_0000, "ALWAYSDUMP"),
    (0x800_0000, "CAN_NONLINEAR"),
    (0x1000_0000, "MIXEDMAP"),
    (0x2000_0000, "SAO"),
    (0x4000_0000, "PFN_AT_MMAP"),
    (0x8000_0000, "MERGEABLE"),
];

/// Flags and what they mean.
#[derive(Serialize)]
struct Explained {
    flags: Hex,
    names: Vec<&'static str>,
}

impl Render for Explained {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&format!("{:x}: ({})\n", self.flags.0, self.names.join("|")));
    }
}

/// Names the flags that are set.
pub(super) fn explain(kernel: &Kernel, flags: u64, out: &mut Output) -> Result<(), CommandError> {
    // Where stacks may grow upwards, the bit means that.
    let grows_up = kernel.symbol("expand_upwards").is_ok();
    // Before there were huge pages.
    let has_huge_pages = kernel
        .layout::<mortis_kernel::vma::HugePageDeposit>()
        .is_ok_and(|mm| mm.pmd_huge_pte.exists());
    let named = FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| match *name {
        "NOHUGEPAGE" if grows_up => "GROWSUP",
        "HUGEPAGE" if !has_huge_pages => "MAPPED_COPY",
        name => name,
    });
    Ok(out.emit(&Explained { flags: Hex(flags), names: named.collect() })?)
}
