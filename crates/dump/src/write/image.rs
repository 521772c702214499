//! A dump that is in the wanted format already, and only wrapped or to be wrapped.

use super::plain::is_zero;
use super::sink::Output;
use super::{Step, Target, WriteError, WriteOptions};
use crate::dump::Dump;
use crate::format::Format;
use crate::notes;
use crate::source::{Source, read_exact};
use std::sync::Arc;

const PIECE: u64 = 1 << 18;
const BLOCK: usize = 4096;

impl Dump {
    /// The whole file, if it may be taken as it stands.
    pub(super) fn image_for(&self, options: &WriteOptions) -> Option<&Arc<dyn Source>> {
        let has_vmcoreinfo = notes::vmcoreinfo_text(self.notes()).is_some();
        let same = match (self.format(), options.target) {
            (Format::Kdump { split_files, .. }, Target::Kdump | Target::Flattened) => {
                let is_one = split_files == 0 && self.split().is_none();
                is_one && options.codec.is_none() && options.level.is_none()
            }
            (Format::ElfCore { .. }, Target::Elf) => true,
            _ => false,
        };
        let adds_nothing = has_vmcoreinfo || options.vmcoreinfo.is_none();
        self.image().filter(|_| same && adds_nothing && !self.has_view() && !self.is_truncated())
    }
}

/// Copies all of `source`, whose blocks of zeroes become holes, and says how long it is.
pub(super) fn copy(
    source: &dyn Source,
    output: &mut dyn Output,
    step: &Step<'_>,
) -> Result<u64, WriteError> {
    let len = source.len();
    let mut bytes = vec![0; PIECE as usize];
    let mut at = 0;
    while at < len {
        step.reach(at, len)?;
        let piece = &mut bytes[..PIECE.min(len - at) as usize];
        read_exact(source, at, piece)
            .map_err(|short| WriteError::Read { offset: at + short.filled as u64 })?;
        let mut written = 0;
        while written < piece.len() {
            let rest = &piece[written..];
            let zeroes = rest.chunks(BLOCK).take_while(|block| is_zero(block)).count();
            let start = written + (zeroes * BLOCK).min(rest.len());
            let blocks = piece[start..].chunks(BLOCK).take_while(|block| !is_zero(block)).count();
            let end = (start + blocks * BLOCK).min(piece.len());
            if start < end {
                output.write_at(at + start as u64, &piece[start..end])?;
            }
            written = end;
        }
        at += piece.len() as u64;
    }
    step.reach(len, len)?;
    Ok(output.finish(len)?)
}
