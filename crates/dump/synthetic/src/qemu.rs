//! QEMU's migration stream, section by section in the order in which QEMU writes them.

use std::io::Write;

/// What a page is sent as.
#[derive(Clone, Debug)]
pub enum QemuPage {
    /// As it is.
    Whole(Vec<u8>),
    /// One byte, all over.
    Fill(u8),
    /// zlib, as QEMU did until 9.0.
    Zlib(Vec<u8>),
    /// The difference of the second to the first.
    Difference(Vec<u8>, Vec<u8>),
    /// A difference as it is given.
    Delta(Vec<u8>),
}

/// Registers of an x86 CPU as QEMU saves them.
#[derive(Clone, Debug, Default)]
pub struct QemuCpu {
    /// rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15.
    pub general: [u64; 16],
    /// The instruction pointer.
    pub rip: u64,
    /// CR0, CR2, CR3, CR4.
    pub control: [u64; 4],
    /// `MSR_KERNEL_GS_BASE`.
    pub kernel_gs_base: u64,
}

/// Writes a stream.
#[derive(Clone, Debug, Default)]
pub struct QemuWriter {
    bytes: Vec<u8>,
    devices: Vec<String>,
    next_id: u32,
    blocks: Vec<String>,
    last_block: Option<usize>,
    /// Machine types of 2.3 and before: no mark at the end of a section.
    pub no_footers: bool,
}

const RAM: u32 = 2;

impl QemuWriter {
    /// A stream of a guest with 128 KiB and two CPUs, with everything in it that there is: pages of
    /// all kinds, some of them sent again, and devices.
    pub fn small(described: bool) -> Vec<u8> {
        let page = |number: u64| crate::page(number, 4096);
        let mut changed = page(4);
        changed[50..90].copy_from_slice(&[0x5a; 40]);
        let mut pages: Vec<_> =
            (0..20u64).map(|n| ("pc.ram", n * 4096, QemuPage::Whole(page(n)))).collect();
        pages.extend((20..30).map(|n| ("pc.ram", n * 4096, QemuPage::Fill(0))));
        let again = [
            ("pc.bios", 0, QemuPage::Whole(page(99))),
            ("pc.ram", 4 * 4096, QemuPage::Difference(page(4), changed.clone())),
            ("pc.ram", 5 * 4096, QemuPage::Fill(0xee)),
            ("pc.ram", 30 * 4096, QemuPage::Zlib(page(30))),
            ("pc.ram", 4 * 4096, QemuPage::Difference(changed, page(4))),
        ];
        let cpu = QemuCpu { rip: 0xffff_ffff_8123_4567, ..QemuCpu::default() };
        Self::new(Some("pc-q35-7.2"))
            .ram(&[("pc.ram", 128 << 10), ("pc.bios", 8192)], &[])
            .pages(&pages, false)
            .command(1, &[])
            .pages(&again, true)
            .device("timer", 0, 2, &[("ticks", vec![7; 24])], described)
            .cpu(0, &cpu, described)
            .cpu(1, &cpu, described)
            .clock(128 << 10, 0)
            .finish(described)
    }

    /// The same guest with the `mapped-ram` capability.
    pub fn small_mapped() -> Vec<u8> {
        let pages = (0..32).map(|n| (n % 3 > 0).then(|| crate::page(n, 4096))).collect();
        Self::new(Some("pc-q35-10.0"))
            .mapped_ram(&[("pc.ram", pages)], 0)
            .pages(&[], true)
            .cpu(0, &QemuCpu::default(), true)
            .finish(true)
    }

    /// The file's header and, if there is one, the machine's type.
    pub fn new(machine: Option<&str>) -> Self {
        let mut writer = Self { next_id: 3, ..Self::default() };
        writer.put(b"QEVM");
        writer.be32(3);
        if let Some(machine) = machine {
            writer.bytes.push(7);
            writer.be32(machine.len() as u32);
            writer.put(machine.as_bytes());
            // A subsection: capabilities.
            writer.bytes.push(5);
            writer.name("configuration/capabilities");
            writer.be32(1);
            writer.be32(1);
            writer.name("x-something");
        }
        writer
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    fn be32(&mut self, number: u32) {
        self.put(&number.to_be_bytes());
    }

    fn be64(&mut self, number: u64) {
        self.put(&number.to_be_bytes());
    }

    fn name(&mut self, name: &str) {
        self.bytes.push(name.len() as u8);
        self.put(name.as_bytes());
    }

    fn footer(&mut self, id: u32) {
        if !self.no_footers {
            self.bytes.push(0x7e);
            self.be32(id);
        }
    }

    fn header(&mut self, kind: u8, id: u32, name: &str, instance: u32, version: u32) {
        self.bytes.push(kind);
        self.be32(id);
        self.name(name);
        self.be32(instance);
        self.be32(version);
    }

    /// A command to the destination: nothing that a reader has a use for.
    #[must_use]
    pub fn command(mut self, command: u16, data: &[u8]) -> Self {
        self.bytes.push(8);
        self.put(&command.to_be_bytes());
        self.put(&(data.len() as u16).to_be_bytes());
        self.put(data);
        self
    }

    /// The start of RAM: the names and sizes of all blocks. `extra` follows each size.
    #[must_use]
    pub fn ram(mut self, blocks: &[(&str, u64)], extra: &[u8]) -> Self {
        self.header(1, RAM, "ram", 0, 4);
        let total: u64 = blocks.iter().map(|(_, len)| len).sum();
        self.be64(total | 0x04);
        for (name, len) in blocks {
            self.name(name);
            self.be64(*len);
            self.put(extra);
        }
        self.be64(0x10);
        self.footer(RAM);
        self.blocks = blocks.iter().map(|(name, _)| (*name).to_owned()).collect();
        self
    }

    /// The start of RAM with the `mapped-ram` capability, and all its pages: those that are
    /// `Some`. `in_front` is what the file has in front of the stream.
    #[must_use]
    pub fn mapped_ram(mut self, blocks: &[(&str, Vec<Option<Vec<u8>>>)], in_front: u64) -> Self {
        self.header(1, RAM, "ram", 0, 4);
        let total: u64 = blocks.iter().map(|(_, pages)| pages.len() as u64 * 4096).sum();
        self.be64(total | 0x04);
        for (name, pages) in blocks {
            self.name(name);
            self.be64(pages.len() as u64 * 4096);
            let bitmap = self.bytes.len() as u64 + 28;
            let bitmap_size = pages.len().div_ceil(64) as u64 * 8;
            let start = (in_front + bitmap + bitmap_size).next_multiple_of(0x10_0000) - in_front;
            self.be32(1);
            self.be64(4096);
            self.be64(in_front + bitmap);
            self.be64(in_front + start);
            let mut bits = vec![0; bitmap_size as usize];
            for (index, _) in pages.iter().enumerate().filter(|(_, page)| page.is_some()) {
                bits[index / 8] |= 1u8 << (index % 8);
            }
            self.put(&bits);
            self.bytes.resize(start as usize, 0);
            for page in pages {
                self.put(page.as_ref().unwrap_or(&vec![0; 4096]));
            }
        }
        self.be64(0x10);
        self.footer(RAM);
        self
    }

    /// Pages of a block, by their offsets, as one part of RAM; the last part says so.
    #[must_use]
    pub fn pages(mut self, pages: &[(&str, u64, QemuPage)], last: bool) -> Self {
        self.bytes.push(if last { 3 } else { 2 });
        self.be32(RAM);
        self.last_block = None;
        for (block, offset, page) in pages {
            let index = self.blocks.iter().position(|name| name == block);
            let flag = match page {
                QemuPage::Whole(_) => 0x08,
                QemuPage::Fill(_) => 0x02,
                QemuPage::Zlib(_) => 0x100,
                QemuPage::Difference(..) | QemuPage::Delta(_) => 0x40,
            };
            let same = index.is_some() && self.last_block == index;
            self.be64(offset | flag | if same { 0x20 } else { 0 });
            if !same {
                self.name(block);
                self.last_block = index;
            }
            match page {
                QemuPage::Whole(bytes) => self.put(bytes),
                QemuPage::Fill(byte) => self.bytes.push(*byte),
                QemuPage::Zlib(bytes) => {
                    let level = flate2::Compression::fast();
                    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                    encoder.write_all(bytes).expect("writing to memory");
                    let data = encoder.finish().expect("writing to memory");
                    self.be32(data.len() as u32);
                    self.put(&data);
                }
                QemuPage::Difference(old, new) => self.delta(&difference(old, new)),
                QemuPage::Delta(delta) => self.delta(delta),
            }
        }
        self.be64(0x200); // MULTIFD_FLUSH
        self.be64(0x10);
        self.footer(RAM);
        self
    }

    fn delta(&mut self, delta: &[u8]) {
        self.bytes.push(1);
        self.put(&(delta.len() as u16).to_be_bytes());
        self.put(delta);
    }

    /// A word in the section of RAM, and the bytes behind it, as they are given.
    #[must_use]
    pub fn ram_word(mut self, word: u64, bytes: &[u8]) -> Self {
        self.bytes.push(2);
        self.be32(RAM);
        self.be64(word);
        self.put(bytes);
        self
    }

    /// A device with fields. Without `described` the text at the end does not know of it.
    #[must_use]
    pub fn device(
        mut self,
        name: &str,
        instance: u32,
        version: u32,
        fields: &[(&str, Vec<u8>)],
        described: bool,
    ) -> Self {
        let id = self.next_id;
        self.next_id += 1;
        self.header(4, id, name, instance, version);
        let mut texts = Vec::new();
        for (name, bytes) in fields {
            self.put(bytes);
            let size = bytes.len();
            texts.push(format!(r#"{{"name": "{name}", "type": "buffer", "size": {size}}}"#));
        }
        self.footer(id);
        if described {
            self.devices.push(format!(
                r#"{{"name": "{name}", "instance_id": {instance}, "vmsd_name": "{name}", "version": {version}, "fields": [{}]}}"#,
                texts.join(", ")
            ));
        }
        self
    }

    /// The clock of a PC, whose CMOS says how much RAM is below and above 4 GiB.
    #[must_use]
    pub fn clock(self, below_4g: u64, above_4g: u64) -> Self {
        let mut cmos = vec![0; 128];
        let below = (below_4g.saturating_sub(16 << 20) >> 16) as u16;
        let extended = (below_4g.saturating_sub(1 << 20) >> 10).min(0xffff) as u16;
        cmos[0x30..0x32].copy_from_slice(&extended.to_le_bytes());
        cmos[0x34..0x36].copy_from_slice(&below.to_le_bytes());
        cmos[0x5b..0x5e].copy_from_slice(&(above_4g >> 16).to_le_bytes()[..3]);
        self.device("mc146818rtc", 0, 3, &[("cmos_data", cmos), ("cmos_index", vec![0])], true)
    }

    /// A CPU: `vmstate_x86_cpu` of version 12, member by member.
    #[must_use]
    pub fn cpu(self, instance: u32, cpu: &QemuCpu, described: bool) -> Self {
        let mut state = Vec::new();
        let be64 = |state: &mut Vec<u8>, number: u64| state.extend(number.to_be_bytes());
        for register in cpu.general {
            be64(&mut state, register);
        }
        be64(&mut state, cpu.rip);
        be64(&mut state, 0x246); // eflags
        state.extend([0; 4]); // hflags
        state.extend([0; 2 * 4]); // fpuc, fpus, fptag, fpregs_format
        state.extend([0xfe; 8 * 10]); // fpregs
        for segment in 1..=10u32 {
            // es, cs, ss, ds, fs, gs, ldt, tr, gdt, idt
            state.extend(segment.to_be_bytes());
            be64(&mut state, u64::from(segment) * 0x1000);
            state.extend(0xffffu32.to_be_bytes());
            state.extend((segment << 8).to_be_bytes());
        }
        state.extend([0; 4]); // sysenter_cs
        state.extend([0xfd; 16]); // sysenter_esp, sysenter_eip
        for register in cpu.control {
            be64(&mut state, register);
        }
        state.extend([0xfc; 8 * 8]); // dr
        state.extend([0, 0, 0, 1]); // a20_mask
        state.extend([0; 4]); // mxcsr
        state.extend([0xfb; 16 * 16]); // xmm_regs
        state.extend([0xfa; 5 * 8]); // efer, star, lstar, cstar, fmask
        be64(&mut state, cpu.kernel_gs_base);
        state.extend([0xf9; 900]); // the rest
        self.device("cpu", instance, 12, &[("env", state)], described)
    }

    /// The mark behind all sections and, if wanted, the text that describes them.
    pub fn finish(mut self, described: bool) -> Vec<u8> {
        self.bytes.push(0);
        if described {
            let text =
                format!(r#"{{"page_size": 4096, "devices": [{}]}}"#, self.devices.join(", "));
            self.bytes.push(6);
            self.be32(text.len() as u32);
            self.put(text.as_bytes());
        }
        self.bytes
    }

    /// What there is so far: a stream that was cut off.
    pub fn unfinished(self) -> Vec<u8> {
        self.bytes
    }
}

/// Runs of what stays and of what changes, each with its length in ULEB128.
fn difference(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut delta = Vec::new();
    let uleb128 = |delta: &mut Vec<u8>, number: usize| {
        if number >= 0x80 {
            delta.push((number & 0x7f) as u8 | 0x80);
            delta.push((number >> 7) as u8);
        } else {
            delta.push(number as u8);
        }
    };
    let mut at = 0;
    while at < new.len() {
        let same = new[at..].iter().zip(&old[at..]).take_while(|(new, old)| new == old).count();
        if at + same == new.len() {
            break;
        }
        uleb128(&mut delta, same);
        at += same;
        let changed = new[at..].iter().zip(&old[at..]).take_while(|(new, old)| new != old).count();
        uleb128(&mut delta, changed);
        delta.extend(&new[at..at + changed]);
        at += changed;
    }
    delta
}

/// libvirt's save image around a stream.
pub fn libvirt_save(magic: &[u8; 16], format: u32, big_endian: bool, state: &[u8]) -> Vec<u8> {
    let xml = b"<domain type='kvm'><name>guest</name></domain>\0<cookie/>\0\0\0\0";
    let number = |number: u32| if big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
    let mut bytes = magic.to_vec();
    bytes.extend(number(2)); // version
    bytes.extend(number(xml.len() as u32));
    bytes.extend(number(1)); // was_running
    bytes.extend(number(format));
    bytes.extend(number(47)); // cookieOffset
    bytes.extend([0; 14 * 4]);
    bytes.extend(xml);
    bytes.extend(state);
    bytes
}

/// A snapshot in a qcow2 image: name, id, and the state of the machine.
pub type QcowSnapshot<'a> = (&'a str, &'a str, &'a [u8]);

/// What is unusual about a qcow2 image.
#[derive(Clone, Copy, Debug, Default)]
pub struct QcowOptions {
    /// Version 2, without what 3 added.
    pub version_2: bool,
    /// Every other cluster of the states is compressed.
    pub compressed: bool,
    /// Entries of the lower tables have a bitmap of parts.
    pub extended_l2: bool,
    /// Compressed clusters are zstd.
    pub zstd: bool,
    /// `crypt_method`.
    pub encryption: u32,
    /// More of `incompatible_features`.
    pub features: u64,
}

/// A qcow2 image of a disk of 8 MiB with clusters of 4 KiB, and the snapshots in it.
pub fn qcow2(snapshots: &[QcowSnapshot<'_>], options: QcowOptions) -> Vec<u8> {
    const CLUSTER: usize = 4096;
    const DISK: u64 = 8 << 20;
    let entry_size = if options.extended_l2 { 16 } else { 8 };
    let per_table = CLUSTER / entry_size;
    // Behind the entry that the disk's last byte is in.
    let first = DISK.div_ceil((per_table * CLUSTER) as u64) as usize;
    let mut file = vec![0; CLUSTER];
    let mut table = Vec::new();
    for (name, id, state) in snapshots {
        let clusters: Vec<&[u8]> = state.chunks(CLUSTER).collect();
        let mut l1 = vec![0u64; first];
        for group in clusters.chunks(per_table) {
            let mut l2: Vec<u8> = Vec::new();
            for (index, cluster) in group.iter().enumerate() {
                let mut whole = cluster.to_vec();
                whole.resize(CLUSTER, 0);
                let zeroes = whole.iter().all(|byte| *byte == 0);
                let (descriptor, bitmap) = if zeroes {
                    (0, 0xffff_ffff_0000_0000u64)
                } else if options.compressed && index % 2 == 1 {
                    let data = if options.zstd {
                        zstd::bulk::compress(&whole, 1).expect("zstd compresses")
                    } else {
                        let level = flate2::Compression::fast();
                        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
                        encoder.write_all(&whole).expect("writing to memory");
                        encoder.finish().expect("writing to memory")
                    };
                    let at = file.len() as u64;
                    let end = at + data.len() as u64;
                    let sectors = (end - 1) / 512 - at / 512;
                    file.extend(data);
                    (1u64 << 62 | sectors << (62 - (12 - 8)) | at, 0)
                } else {
                    file.resize(file.len().next_multiple_of(CLUSTER), 0);
                    let at = file.len() as u64;
                    file.extend(&whole);
                    (1u64 << 63 | at, 0xffff_ffff)
                };
                l2.extend(descriptor.to_be_bytes());
                if options.extended_l2 {
                    l2.extend(bitmap.to_be_bytes());
                }
            }
            l2.resize(CLUSTER, 0);
            file.resize(file.len().next_multiple_of(CLUSTER), 0);
            l1.push(1 << 63 | file.len() as u64);
            file.extend(l2);
        }
        let at = file.len() as u64;
        file.extend(l1.iter().flat_map(|entry| entry.to_be_bytes()));
        file.resize(file.len().next_multiple_of(CLUSTER), 0);

        table.extend(at.to_be_bytes());
        table.extend((l1.len() as u32).to_be_bytes());
        table.extend((id.len() as u16).to_be_bytes());
        table.extend((name.len() as u16).to_be_bytes());
        table.extend(1_764_000_000u32.to_be_bytes()); // date_sec
        table.extend([0; 4 + 8]); // date_nsec, vm_clock_nsec
        table.extend((state.len() as u32).to_be_bytes());
        let extra = if options.version_2 { 0 } else { 16u32 };
        table.extend(extra.to_be_bytes());
        if extra > 0 {
            table.extend((state.len() as u64).to_be_bytes());
            table.extend(DISK.to_be_bytes());
        }
        table.extend(id.as_bytes());
        table.extend(name.as_bytes());
        table.resize(table.len().next_multiple_of(8), 0);
    }
    let at = file.len() as u64;
    file.extend(table);
    let mut header = Vec::new();
    header.extend(b"QFI\xfb");
    header.extend(if options.version_2 { 2u32 } else { 3 }.to_be_bytes());
    header.extend([0; 8 + 4]); // backing file
    header.extend(12u32.to_be_bytes()); // cluster_bits
    header.extend(DISK.to_be_bytes());
    header.extend(options.encryption.to_be_bytes());
    header.extend([0; 4 + 8 + 8 + 4]); // l1_size, l1_table_offset, refcount table
    header.extend((snapshots.len() as u32).to_be_bytes());
    header.extend(at.to_be_bytes());
    if !options.version_2 {
        let mut features = options.features;
        features |= u64::from(options.zstd) << 3 | u64::from(options.extended_l2) << 4;
        header.extend(features.to_be_bytes());
        header.extend([0; 16]); // compatible, autoclear
        header.extend(4u32.to_be_bytes()); // refcount_order
        header.extend(112u32.to_be_bytes()); // header_length
        header.extend([u8::from(options.zstd), 0, 0, 0, 0, 0, 0, 0]);
    }
    file[..header.len()].copy_from_slice(&header);
    file
}
