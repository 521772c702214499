//! Little-endian fields of headers, one after the other.

/// Bytes that grow by fields.
#[derive(Default)]
pub(super) struct Fields(Vec<u8>);

impl Fields {
    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A character array of `len` bytes: `text` as far as it fits, and at least one NUL.
    pub(super) fn text(&mut self, text: &str, len: usize) -> &mut Self {
        let end = self.0.len() + len;
        let fits = text.len().min(len.saturating_sub(1));
        self.bytes(&text.as_bytes()[..fits]).pad_to(end)
    }

    /// Zeroes up to `len` bytes in all.
    pub(super) fn pad_to(&mut self, len: usize) -> &mut Self {
        self.0.resize(len.max(self.0.len()), 0);
        self
    }

    /// Zeroes up to the next multiple of `alignment`.
    pub(super) fn align(&mut self, alignment: usize) -> &mut Self {
        self.pad_to(self.0.len().next_multiple_of(alignment))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
