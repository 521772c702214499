//! Big-endian fields: nothing is there beyond the end.

/// The 16-bit number at `offset`.
pub(crate) fn be16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes(array_at(bytes, offset)?))
}

/// The 32-bit number at `offset`.
pub(crate) fn be32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_be_bytes(array_at(bytes, offset)?))
}

/// The 64-bit number at `offset`.
pub(crate) fn be64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_be_bytes(array_at(bytes, offset)?))
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}
