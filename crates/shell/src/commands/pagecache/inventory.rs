//! Which files are in memory.

use crate::command::CommandError;
use crate::known::{Known, why};
use crate::output::{Output, Render, Style};
use crate::task_header::Hex;
use mortis_kernel::Kernel;
use mortis_kernel::error::KernelError;
use mortis_kernel::vfs::cached_inodes::SuperBlock;
use mortis_kernel::vfs::inode::Inode;
use mortis_kernel::vfs::path::Paths;
use mortis_memory::VirtAddr;
use serde::Serialize;
use std::cmp::Reverse;

/// A file that is in memory.
#[derive(Serialize)]
struct FileReport {
    inode: Hex,
    inode_number: u64,
    mapping: Hex,
    super_block: Hex,
    file_system: Known<String>,
    /// Pages in memory.
    pages: u64,
    /// Its length in bytes.
    size: u64,
    #[serde(rename = "type")]
    kind: &'static str,
    /// Null for a file without a name.
    path: Option<Known<String>>,
}

const HEADING: &str = "     INODE        NRPAGES         SIZE TYPE PATH\n";

impl Render for FileReport {
    fn render(&self, out: &mut String, _: Style) {
        let path = match (&self.path, &self.file_system) {
            (Some(path), _) => path.to_string(),
            (None, file_system) => format!("{file_system}:"),
        };
        let Self { inode, pages, size, kind, .. } = self;
        out.push_str(&format!("{:>16x}  {pages:>7} {size:>12} {kind:<4} {path}\n", inode.0));
    }
}

/// Tells what was in the way, once.
#[derive(Default)]
struct Troubles {
    count: u64,
    first: Option<KernelError>,
}

impl Troubles {
    fn note(&mut self, error: KernelError) {
        self.count += 1;
        self.first.get_or_insert(error);
    }

    fn report(self, out: &mut Output) {
        if let Some(first) = self.first {
            let count = self.count;
            out.warn(format!("files are missing at {count} places, the first: {first}"));
        }
    }
}

pub(super) fn run(
    kernel: &Kernel,
    only: Option<&str>,
    out: &mut Output,
) -> Result<(), CommandError> {
    let (super_blocks, damage) = kernel.super_blocks()?;
    let chosen: Vec<SuperBlock> = match only {
        Some(word) => vec![choose(kernel, super_blocks, word)?],
        None => super_blocks,
    };
    let mut troubles = Troubles::default();
    damage.into_iter().for_each(|error| troubles.note(error));
    let mut found: Vec<(u64, usize, Inode)> = Vec::new();
    let progress = out.progress("pagecache");
    for (at, super_block) in chosen.iter().enumerate() {
        for inode in kernel.cached_inodes(super_block.address)? {
            progress.check()?;
            let pages =
                inode.and_then(|inode| Ok((kernel.cached_page_count(inode.mapping)?, at, inode)));
            match pages {
                Ok((0, ..)) => {}
                Ok(pages) => found.push(pages),
                Err(error) => troubles.note(error),
            }
        }
    }
    drop(progress);
    found.sort_unstable_by_key(|(pages, at, inode)| (Reverse(*pages), *at, inode.address));
    let paths = Paths::new(kernel)?;
    out.layout(HEADING)?;
    for (pages, at, inode) in found {
        let Some(super_block) = chosen.get(at) else { continue };
        out.emit(&FileReport {
            inode: Hex(inode.address.0),
            inode_number: inode.number,
            mapping: Hex(inode.mapping.0),
            super_block: Hex(super_block.address.0),
            file_system: super_block.file_system.clone().into(),
            pages,
            size: inode.size,
            kind: inode.file_type.code(),
            path: path(kernel, &paths, super_block, &inode),
        })?;
    }
    troubles.report(out);
    Ok(())
}

fn path(
    kernel: &Kernel,
    paths: &Paths<'_>,
    super_block: &SuperBlock,
    inode: &Inode,
) -> Option<Known<String>> {
    let path = match kernel.inode_names(inode.address) {
        Ok(names) => kernel.path_in(paths, super_block, *names.first()?),
        Err(error) => Err(error),
    };
    Some(match path {
        Ok(path) => Known::Value(path.to_string()),
        Err(error) => Known::Unavailable(why(&error)),
    })
}

/// The file system that a word names: its `struct super_block`, its device or its directory.
fn choose(
    kernel: &Kernel,
    super_blocks: Vec<SuperBlock>,
    word: &str,
) -> Result<SuperBlock, CommandError> {
    let mut named = super::super::files::hexadecimal(word).ok();
    if named.is_none() || word.starts_with('/') {
        let paths = Paths::new(kernel)?;
        let directory = without_slash(word);
        let mounts = kernel.mounts(kernel.first_mount_namespace()?)?.mounts;
        let mut mounts = mounts.into_iter().rev().filter_map(|at| kernel.mount(&paths, at).ok());
        let found = mounts.find(|mount| {
            mount.device.as_deref() == Ok(word) || mount.directory.as_deref() == Ok(directory)
        });
        named = found.map(|mount| mount.super_block);
    }
    let found = super_blocks.into_iter().find(|super_block| Some(super_block.address) == named);
    found.ok_or_else(|| CommandError::Message(format!("no file system in use: {word}")))
}

fn without_slash(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

/// The inode in memory that has the path `wanted`.
pub(super) fn find(kernel: &Kernel, wanted: &str, out: &Output) -> Result<VirtAddr, CommandError> {
    let wanted = without_slash(wanted);
    let name = wanted.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/");
    let paths = Paths::new(kernel)?;
    let progress = out.progress("pagecache");
    for super_block in kernel.super_blocks()?.0 {
        if super_block.mount.is_none() {
            continue;
        }
        for inode in kernel.cached_inodes(super_block.address)?.filter_map(Result::ok) {
            progress.check()?;
            for dentry in kernel.inode_names(inode.address).unwrap_or_default() {
                if kernel.is_called(dentry, name)
                    && kernel.path_in(&paths, &super_block, dentry).as_deref() == Ok(wanted)
                {
                    return Ok(inode.address);
                }
            }
        }
    }
    Err(CommandError::Message(format!("not in memory: {wanted}")))
}
