//! LiME and AVML images.

use crate::machine::Machine;
use std::io::{self, Write};
use std::ops::Range;

/// AVML cuts ranges into blocks of so many bytes.
const AVML_BLOCK: u64 = 16 << 20;

fn header(magic: u32, version: u32, range: &Range<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(magic.to_le_bytes());
    bytes.extend(version.to_le_bytes());
    bytes.extend(range.start.to_le_bytes()); // s_addr
    bytes.extend((range.end - 1).to_le_bytes()); // e_addr
    bytes.extend([0; 8]); // reserved
    bytes
}

/// Writes a LiME image: one block a range.
///
/// # Errors
/// What the operating system says.
pub fn lime(machine: &Machine<'_>, out: &mut dyn Write) -> io::Result<()> {
    for range in &machine.ranges {
        out.write_all(&header(0x4c69_4d45, 1, range))?;
        machine.write(range, out)?;
    }
    Ok(())
}

/// Writes an AVML image. Compressed is version 2, and otherwise it is LiME's form (version 1).
/// Ranges are cut into blocks of 16 MiB, and those of zeroes are left out.
///
/// # Errors
/// What the operating system says.
pub fn avml(machine: &Machine<'_>, compressed: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut bytes = Vec::new();
    for range in &machine.ranges {
        let mut start = range.start;
        while start < range.end {
            let block = start..range.end.min(start + AVML_BLOCK);
            start = block.end;
            bytes.clear();
            machine.write(&block, &mut bytes)?;
            if bytes.iter().all(|&byte| byte == 0) {
                continue;
            }
            if !compressed {
                out.write_all(&header(0x4c69_4d45, 1, &block))?;
                out.write_all(&bytes)?;
                continue;
            }
            out.write_all(&header(0x4c4d_5641, 2, &block))?;
            let mut encoder = snap::write::FrameEncoder::new(Vec::new());
            encoder.write_all(&bytes)?;
            let data = encoder.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
            out.write_all(&data)?;
            out.write_all(&(data.len() as u64).to_le_bytes())?;
        }
    }
    Ok(())
}
