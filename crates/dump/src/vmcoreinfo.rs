//! VMCOREINFO: the `KEY=value` lines by which a kernel explains its memory to readers of dumps.
//!
//! What a kernel writes is in kernel/vmcore_info.c (kernel/crash_core.c before 6.9),
//! kernel/printk/printk.c and arch/*/kernel/vmcore_info*.c, and is described in
//! Documentation/admin-guide/kdump/vmcoreinfo.rst.

use std::ops::Range;

/// The parsed note. Look-ups are by key, as `SYMBOL(name)` or by the typed getters.
#[derive(Clone, Debug, Default)]
pub struct Vmcoreinfo {
    text: String,
    /// Sorted by key; of keys that occur twice, the last stays, because a kernel appends.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Range<u32>,
    value: Range<u32>,
}

impl Vmcoreinfo {
    /// The most text that is read. The kernel's buffer is one page, several from 7.x on.
    pub const MAX_SIZE: usize = 1 << 20;

    /// Parses the note's text. Lines without `=` are passed over, bytes that are no UTF-8 become
    /// replacement characters, and the text ends at a NUL or at [`Vmcoreinfo::MAX_SIZE`].
    pub fn parse(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(Self::MAX_SIZE)];
        let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mut entries = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let content = line.trim_end_matches(['\n', '\r']);
            if let Some(equals) = content.find('=') {
                let at = start as u32;
                entries.push(Entry {
                    key: at..at + equals as u32,
                    value: at + equals as u32 + 1..at + content.len() as u32,
                });
            }
            start += line.len();
        }
        let key = |entry: &Entry| &text[entry.key.start as usize..entry.key.end as usize];
        entries.sort_by(|a, b| key(a).cmp(key(b)).then(b.key.start.cmp(&a.key.start)));
        entries.dedup_by(|later, kept| key(later) == key(kept));
        Self { text, entries }
    }

    /// The text as the kernel wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All keys and values, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (self.slice(&entry.key), self.slice(&entry.value)))
    }

    /// The value of a key as it is spelled in the note, such as `PAGESIZE` or `SYMBOL(prb)`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.entries.binary_search_by(|entry| self.slice(&entry.key).cmp(key)).ok()?;
        Some(self.slice(&self.entries.get(at)?.value))
    }

    /// `SYMBOL(name)`: a run-time virtual address, hexadecimal in the note.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        hexadecimal(self.wrapped("SYMBOL", name)?)
    }

    /// `NUMBER(name)`: decimal, negative or with `0x`. Hexadecimal numbers above `i64::MAX`
    /// keep their bits.
    pub fn number(&self, name: &str) -> Option<i64> {
        number(self.wrapped("NUMBER", name)?)
    }

    /// `OFFSET(struct.member)`: bytes from the start of the structure.
    pub fn offset(&self, member: &str) -> Option<u64> {
        self.unsigned("OFFSET", member)
    }

    /// `SIZE(type)`: bytes.
    pub fn size(&self, name: &str) -> Option<u64> {
        self.unsigned("SIZE", name)
    }

    /// `LENGTH(array)`: elements.
    pub fn length(&self, name: &str) -> Option<u64> {
        self.unsigned("LENGTH", name)
    }

    /// `OSRELEASE`: the kernel's release, as `uname -r` shows it.
    pub fn osrelease(&self) -> Option<&str> {
        self.get("OSRELEASE")
    }

    /// `BUILD-ID`: of vmlinux, in hexadecimal digits. Kernels since 5.9 (0935288c6e00) write it.
    pub fn build_id(&self) -> Option<&str> {
        let digits = self.get("BUILD-ID")?;
        let valid = digits.len() >= 8
            && digits.len() % 2 == 0
            && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        valid.then_some(digits)
    }

    /// `PAGESIZE`: bytes.
    pub fn page_size(&self) -> Option<u64> {
        self.get("PAGESIZE")?.parse().ok()
    }

    /// `KERNELOFFSET`: what KASLR added to link addresses, hexadecimal without a prefix.
    pub fn kerneloffset(&self) -> Option<u64> {
        hexadecimal(self.get("KERNELOFFSET")?)
    }

    /// `CRASHTIME`: seconds since 1970 UTC by the crashed kernel's clock.
    pub fn crashtime(&self) -> Option<u64> {
        self.get("CRASHTIME")?.parse().ok()
    }

    fn wrapped(&self, kind: &str, name: &str) -> Option<&str> {
        let compare = |entry: &Entry| {
            let key = self.slice(&entry.key).bytes();
            let wanted = kind.bytes().chain([b'(']).chain(name.bytes()).chain([b')']);
            key.cmp(wanted)
        };
        let at = self.entries.binary_search_by(compare).ok()?;
        Some(self.slice(&self.entries.get(at)?.value))
    }

    /// An offset, size or length. One above 32 bits is damaged, so that sums and products of a
    /// few of them fit into 64 bits.
    fn unsigned(&self, kind: &str, name: &str) -> Option<u64> {
        u32::try_from(number(self.wrapped(kind, name)?)?).ok().map(u64::from)
    }

    fn slice(&self, range: &Range<u32>) -> &str {
        self.text.get(range.start as usize..range.end as usize).unwrap_or_default()
    }
}

fn hexadecimal(text: &str) -> Option<u64> {
    let text = text.trim();
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(u64::cast_signed),
        None => text.parse().ok().or_else(|| text.parse().ok().map(u64::cast_signed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        b"OSRELEASE=6.12.1-test\nBUILD-ID=00112233445566778899aabbccddeeff00112233\n\
        PAGESIZE=4096\nSYMBOL(prb)=ffffffff82a5c040\nNUMBER(phys_base)=-882900992\n\
        NUMBER(VMALLOC_START)=0xff6c425080000000\nOFFSET(printk_ringbuffer.desc_ring)=16\n\
        SIZE(page)=64\nLENGTH(zone.free_area)=11\nKERNELOFFSET=39600000\nno equals sign\n\
        CRASHTIME=1\n=nameless\nCRASHTIME=1795458479\nSYMBOL(bad)=zz\nOFFSET(odd)=-8\n";

    #[test]
    fn typed_getters_read_the_kernels_spellings() {
        let info = Vmcoreinfo::parse(TEXT);
        assert_eq!(info.osrelease(), Some("6.12.1-test"));
        assert_eq!(info.build_id(), Some("00112233445566778899aabbccddeeff00112233"));
        assert_eq!(info.page_size(), Some(4096));
        assert_eq!(info.symbol("prb"), Some(0xffff_ffff_82a5_c040));
        assert_eq!(info.number("phys_base"), Some(-882_900_992));
        assert_eq!(
            info.number("VMALLOC_START").map(i64::cast_unsigned),
            Some(0xff6c_4250_8000_0000)
        );
        assert_eq!(info.offset("printk_ringbuffer.desc_ring"), Some(16));
        assert_eq!(info.size("page"), Some(64));
        assert_eq!(info.length("zone.free_area"), Some(11));
        assert_eq!(info.kerneloffset(), Some(0x3960_0000));
        assert_eq!(info.get("SYMBOL(prb)"), Some("ffffffff82a5c040"));
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        assert_eq!(Vmcoreinfo::parse(TEXT).crashtime(), Some(1_795_458_479));
    }

    #[test]
    fn garbage_is_passed_over() {
        let info = Vmcoreinfo::parse(TEXT);
        assert_eq!(info.symbol("bad"), None);
        assert_eq!(info.offset("odd"), None);
        assert_eq!(info.symbol("missing"), None);
        let info = Vmcoreinfo::parse(b"\xff\xfe=1\n\nA=2\r\nB=3\0C=4");
        assert_eq!(info.get("A"), Some("2"));
        assert_eq!(info.get("B"), Some("3"));
        assert_eq!(info.get("C"), None);
        assert_eq!(Vmcoreinfo::parse(&vec![b'='; 4 << 20]).iter().count(), 1);
        assert_eq!(Vmcoreinfo::parse(b"").iter().count(), 0);
    }
}
