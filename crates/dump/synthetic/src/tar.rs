//! tar archives, by POSIX.1-2001 (ustar, pax) and the GNU tar manual's "Tar Internals".

/// How a member is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TarKind {
    /// A plain file.
    Plain,
    /// A file whose name is in a member of its own in front, GNU's way.
    LongName,
    /// A file whose name and size are in a pax header.
    Pax,
    /// A sparse file, GNU's own way, cut into the pieces that are not zero.
    GnuSparse,
    /// A sparse file, pax format 1.0.
    PaxSparse,
    /// A folder.
    Folder,
}

/// Writes an archive, member by member.
#[derive(Clone, Debug, Default)]
pub struct TarWriter {
    archive: Vec<u8>,
}

impl TarWriter {
    /// With a member more.
    #[must_use]
    pub fn with(mut self, kind: TarKind, name: &str, data: &[u8]) -> Self {
        match kind {
            TarKind::Plain => self.member(b'0', name, data.len(), data, &[]),
            TarKind::Folder => self.member(b'5', name, 0, &[], &[]),
            TarKind::LongName => {
                let long = [name.as_bytes(), b"\0"].concat();
                self.member(b'L', "././@LongLink", long.len(), &long, &[]);
                self.member(b'0', "cut", data.len(), data, &[]);
            }
            TarKind::Pax => {
                let size = data.len().to_string();
                let records =
                    [pax("mtime", "1700000000.5"), pax("path", name), pax("size", &size)].concat();
                self.member(b'x', "PaxHeaders/x", records.len(), &records, &[]);
                self.member(b'0', "cut", data.len(), data, &[]);
            }
            TarKind::GnuSparse => self.gnu_sparse(name, data),
            TarKind::PaxSparse => self.pax_sparse(name, data),
        }
        self
    }

    /// The archive, with the two empty blocks at its end.
    pub fn finish(mut self) -> Vec<u8> {
        self.archive.extend([0; 1024]);
        self.archive
    }

    fn member(&mut self, kind: u8, name: &str, size: usize, data: &[u8], extra: &[(usize, &[u8])]) {
        let mut header = vec![0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        header[136..148].copy_from_slice(b"14524770400\0");
        header[156] = kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        for (at, bytes) in extra {
            header[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.archive.extend(header);
        self.archive.extend(data);
        self.archive.resize(self.archive.len().next_multiple_of(512), 0);
    }

    fn gnu_sparse(&mut self, name: &str, data: &[u8]) {
        let (pieces, stored) = pieces(data);
        let entry = |(start, len): &(usize, usize)| format!("{start:011o}\0{len:011o}\0");
        let (first, rest) = pieces.split_at(pieces.len().min(4));
        let mut map: String = first.iter().map(entry).collect();
        map.extend(std::iter::repeat_n('\0', 96 - map.len()));
        let real = format!("{:011o}\0", data.len());
        let extra: [(usize, &[u8]); 4] = [
            (257, b"ustar  \0"),
            (386, map.as_bytes()),
            (482, &[u8::from(!rest.is_empty())]),
            (483, real.as_bytes()),
        ];
        // The map's further blocks are not counted in the size.
        let mut body = Vec::new();
        let blocks = rest.chunks(21).count();
        for (index, entries) in rest.chunks(21).enumerate() {
            let mut block: Vec<u8> = entries.iter().map(entry).collect::<String>().into_bytes();
            block.resize(504, 0);
            block.push(u8::from(index + 1 < blocks));
            block.resize(512, 0);
            body.extend(block);
        }
        body.extend(&stored);
        self.member(b'S', name, stored.len(), &body, &extra);
    }

    fn pax_sparse(&mut self, name: &str, data: &[u8]) {
        let (pieces, stored) = pieces(data);
        let real = data.len().to_string();
        let records = [
            pax("GNU.sparse.major", "1"),
            pax("GNU.sparse.minor", "0"),
            pax("GNU.sparse.name", name),
            pax("GNU.sparse.realsize", &real),
        ]
        .concat();
        self.member(b'x', "PaxHeaders/x", records.len(), &records, &[]);
        let mut body = format!("{}\n", pieces.len());
        for (start, len) in &pieces {
            body.push_str(&format!("{start}\n{len}\n"));
        }
        let mut body = body.into_bytes();
        body.resize(body.len().next_multiple_of(512), 0);
        body.extend(stored);
        self.member(b'0', "GNUSparseFile.0/x", body.len(), &body, &[]);
    }
}

/// A pax record, whose length counts itself.
fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut len = rest.len() + 1;
    while len != rest.len() + len.to_string().len() {
        len += 1;
    }
    format!("{len}{rest}").into_bytes()
}

/// Stretches of blocks that are not zero, and all their bytes.
fn pieces(data: &[u8]) -> (Vec<(usize, usize)>, Vec<u8>) {
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    let mut stored = Vec::new();
    for (index, block) in data.chunks(512).enumerate() {
        if block.iter().all(|&byte| byte == 0) {
            continue;
        }
        stored.extend(block);
        match pieces.last_mut() {
            Some((start, len)) if *start + *len == index * 512 => *len += block.len(),
            _ => pieces.push((index * 512, block.len())),
        }
    }
    pieces.push((data.len(), 0));
    (pieces, stored)
}
