//! Flattened streams: what `makedumpfile -F` writes in place of seeking.

/// The records of a flattened stream.
#[derive(Clone, Debug)]
pub struct Flattened {
    /// `type` and `version` of the header.
    pub header: (i64, i64),
    /// Where in the file, and what is written there, in the order of writing.
    pub records: Vec<(i64, Vec<u8>)>,
    /// Whether the record that ends the stream is there.
    pub ended: bool,
}

impl Flattened {
    /// A stream of `file` in records of `piece` bytes, written as collectors do: first zeroes in
    /// place of what is not yet known, then the last two thirds and the first one in turns, and at
    /// last the first pieces once more, as they are.
    pub fn of(file: &[u8], piece: usize) -> Self {
        let whole: Vec<(i64, Vec<u8>)> = file
            .chunks(piece)
            .enumerate()
            .map(|(index, bytes)| ((index * piece) as i64, bytes.to_vec()))
            .collect();
        let third = whole.len() / 3;
        let first = whole.len().min(4);
        let blank = |(at, bytes): &(i64, Vec<u8>)| (*at, vec![0; bytes.len()]);
        let mut records: Vec<_> = whole[..first].iter().map(blank).collect();
        // Straddles records that come later.
        records.push((piece as i64 / 2, vec![0xee; piece.min(file.len().saturating_sub(piece))]));
        for index in third..whole.len() {
            records.push(whole[index].clone());
            if index % 2 == 0 && index / 2 < third {
                records.push(whole[index / 2].clone());
            }
        }
        records.extend(whole[..third].iter().cloned());
        records.extend(whole[..first].iter().cloned());
        Self { header: (1, 1), records, ended: true }
    }

    /// The stream.
    pub fn write(&self) -> Vec<u8> {
        let mut stream = b"makedumpfile\0\0\0\0".to_vec();
        stream.extend(self.header.0.to_be_bytes());
        stream.extend(self.header.1.to_be_bytes());
        stream.resize(4096, 0);
        for (offset, bytes) in &self.records {
            stream.extend(offset.to_be_bytes());
            stream.extend((bytes.len() as i64).to_be_bytes());
            stream.extend(bytes);
        }
        if self.ended {
            stream.extend([0xff; 16]);
        }
        stream
    }
}
