//! The configuration that a kernel was built with, where it carries it: kernel/configs.c.

use crate::error::{KernelError, Result};
use crate::kernel::Kernel;
use flate2::bufread::GzDecoder;
use mortis_memory::{VirtAddr, VirtualMemory};
use std::io::Read;

/// What the compressed text stands between. The marks were part of a variable at first, and stand
/// outside of the symbols since; either way the text is between the two.
const START: &[u8] = b"IKCFG_ST";
const END: &[u8] = b"IKCFG_ED";

/// More bytes than a configuration has, compressed and not.
const MAX_COMPRESSED: u64 = 4 << 20;
const MAX_TEXT: u64 = 32 << 20;

impl Kernel {
    /// The text of `.config`.
    ///
    /// # Errors
    /// When the kernel was built without `CONFIG_IKCONFIG`, or its pages are not in the dump, or
    /// they are damaged.
    pub fn config(&self) -> Result<String> {
        let missing = || {
            KernelError::Unsupported("kernel_config_data does not exist in this kernel".to_owned())
        };
        let start = self.symbol("kernel_config_data").map_err(|_| missing())?;
        let symbol = self.symbols()?.symbol("kernel_config_data");
        let end = self.symbol("kernel_config_data_end").ok();
        let size = end.map(|end| end.0.wrapping_sub(start.0)).or(symbol.and_then(|it| it.size));
        let size = size.unwrap_or(MAX_COMPRESSED).min(MAX_COMPRESSED);
        let mut head = [0; START.len()];
        self.read(start, &mut head)?;
        let start = if head == *START { start.offset(START.len() as u64) } else { start };
        unpack(&self.read_bytes(start, size)?, start)
    }
}

/// Unpacks `bytes`, found at `at`.
fn unpack(bytes: &[u8], at: VirtAddr) -> Result<String> {
    let damaged = |why: String| {
        KernelError::Unsupported(format!("kernel_config_data at {:x} is damaged: {why}", at.0))
    };
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(damaged("no gzip data".to_owned()));
    }
    let end = bytes.windows(END.len()).position(|window| window == END);
    let bytes = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    let mut text = Vec::new();
    GzDecoder::new(bytes)
        .take(MAX_TEXT)
        .read_to_end(&mut text)
        .map_err(|error| damaged(error.to_string()))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn a_config_comes_out_as_it_went_in() {
        let text = "# Linux\nCONFIG_64BIT=y\n# CONFIG_KASAN is not set\n".repeat(100);
        let mut bytes = packed(&text);
        assert_eq!(unpack(&bytes, VirtAddr(0)).as_deref(), Ok(text.as_str()));
        bytes.extend(END);
        bytes.extend([0xff; 64]);
        assert_eq!(unpack(&bytes, VirtAddr(0)).as_deref(), Ok(text.as_str()));
    }

    #[test]
    fn damage_is_told() {
        let mut bytes = packed(&"CONFIG_64BIT=y\n".repeat(1000));
        let middle = bytes.len() / 2;
        bytes.truncate(middle);
        assert!(unpack(&bytes, VirtAddr(0x10)).expect_err("cut").to_string().contains("damaged"));
        assert!(unpack(b"", VirtAddr(0x10)).is_err());
        assert!(unpack(b"IKCFG_ST", VirtAddr(0x10)).is_err());
    }
}
