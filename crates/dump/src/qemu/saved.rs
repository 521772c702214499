//! What a pass over a stream found, as it is kept for the next time.

use super::mapped_ram::Mapped;
use super::page_index::PageIndex;
use super::ram::{Block, Ram};
use super::sections::{Section, Walk};
use crate::field::u64_at;

/// The kind of index, and its version: another one for each change below.
pub(super) const WHAT: &str = "qemu 1";

impl Walk {
    /// All of it as bytes.
    pub(super) fn save(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let out = &mut bytes;
        put_text(out, self.machine_type.as_deref().unwrap_or_default());
        put_text(out, self.damage.as_deref().unwrap_or_default());
        put(out, self.ended.into());
        put(out, self.ram.page_size);
        put(out, self.ram.complete.into());
        put(out, self.ram.blocks.len() as u64);
        for block in &self.ram.blocks {
            put_text(out, &block.name);
            put(out, block.len);
            let mapped = block.mapped;
            let places = mapped
                .map_or([0; 4], |mapped| [1, mapped.sent.into(), mapped.bitmap, mapped.pages]);
            places.into_iter().for_each(|number| put(out, number));
            block.pages.save(&mut |number| put(out, number));
        }
        put(out, self.devices.len() as u64);
        for section in &self.devices {
            put_text(out, &section.name);
            put(out, section.instance.into());
            put(out, section.version.into());
            put(out, section.start);
        }
        bytes
    }

    /// What [`Walk::save`] gave.
    pub(super) fn load(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let machine_type = Some(take_text(&mut rest)?).filter(|text| !text.is_empty());
        let damage = Some(take_text(&mut rest)?).filter(|text| !text.is_empty());
        let ended = take(&mut rest)? != 0;
        let page_size = take(&mut rest)?;
        let complete = take(&mut rest)? != 0;
        let mut blocks = Vec::new();
        for _ in 0..take(&mut rest)? {
            let name = take_text(&mut rest)?;
            let len = take(&mut rest)?;
            let is_mapped = take(&mut rest)? != 0;
            let mapped = Mapped {
                sent: take(&mut rest)? != 0,
                bitmap: take(&mut rest)?,
                pages: take(&mut rest)?,
            };
            let pages = PageIndex::load(&mut || take(&mut rest))?;
            blocks.push(Block { name, len, pages, mapped: is_mapped.then_some(mapped) });
        }
        let mut devices = Vec::new();
        for _ in 0..take(&mut rest)? {
            devices.push(Section {
                name: take_text(&mut rest)?,
                instance: u32::try_from(take(&mut rest)?).ok()?,
                version: u32::try_from(take(&mut rest)?).ok()?,
                start: take(&mut rest)?,
            });
        }
        let whole = rest.is_empty() && (1024..=65536).contains(&page_size);
        let ram = Ram::restored(blocks, page_size, complete);
        whole.then_some(Self { machine_type, ram, devices, ended, damage })
    }
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend(number.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend(text.as_bytes());
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let number = u64_at(rest, 0)?;
    *rest = rest.get(8..)?;
    Some(number)
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(take(rest)?).ok()?;
    let (text, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    String::from_utf8(text.to_vec()).ok()
}
