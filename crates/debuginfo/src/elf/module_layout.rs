//! Where the kernel loaded the sections of a module.

use mortis_memory::{LinkAddr, VirtAddr};

use super::ElfFile;

/// Maps a module's run-time addresses to those of its file, and back.
///
/// The kernel keeps the load address of every section of a module for
/// `/sys/module/NAME/sections` (`struct module_sect_attrs`, kernel/module/sysfs.c).
#[derive(Clone, Debug, Default)]
pub struct ModuleLayout {
    /// Ascending by run-time address.
    sections: Vec<PlacedSection>,
}

#[derive(Clone, Copy, Debug)]
struct PlacedSection {
    loaded: VirtAddr,
    link: LinkAddr,
    size: u64,
}

impl ModuleLayout {
    /// Pairs the sections of `file` with the addresses where they were loaded. Names the file
    /// does not have are left out.
    pub fn new<'a>(
        file: &ElfFile,
        loaded: impl IntoIterator<Item = (&'a str, VirtAddr)>,
    ) -> ModuleLayout {
        let mut sections: Vec<_> = loaded
            .into_iter()
            .filter_map(|(name, loaded)| {
                let section = file.section(name).filter(|section| section.allocated)?;
                Some(PlacedSection { loaded, link: section.address, size: section.size })
            })
            .collect();
        sections.sort_by_key(|section| section.loaded);
        ModuleLayout { sections }
    }

    /// The address in the file of a run-time address.
    pub fn to_link(&self, address: VirtAddr) -> Option<LinkAddr> {
        let after = self.sections.partition_point(|section| section.loaded <= address);
        // `.init.text` is freed after start-up and its place may be given to another section:
        // the nearest section below need not be the one that holds the address.
        self.sections.get(..after)?.iter().rev().find_map(|section| {
            let offset = address.0.wrapping_sub(section.loaded.0);
            (offset < section.size).then(|| section.link.offset(offset))
        })
    }

    /// The run-time address of an address in the file.
    pub fn to_loaded(&self, address: LinkAddr) -> Option<VirtAddr> {
        self.sections.iter().find_map(|section| {
            let offset = address.0.wrapping_sub(section.link.0);
            (offset < section.size).then(|| section.loaded.offset(offset))
        })
    }
}
