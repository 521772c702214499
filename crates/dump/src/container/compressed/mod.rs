//! Files that were compressed as a whole.
//!
//! A dump is read in many places, and such a file gives its bytes from the start only. So it is
//! decompressed once, in a stream, into a file in [`OpenOptions::index_folder`], where the next
//! opening finds it; blocks of zeroes stay holes. Without such a folder what comes out is kept in
//! memory, up to [`MAX_IN_MEMORY`].
//!
//! Where the compressed data end early or are damaged, what came out before is the dump, marked as
//! cut short.
//!
//! The kept file is the [`IndexFile`]'s header, a page that says how long the data are and why they
//! are no longer, and the data from the next multiple of [`BLOCK`] on.
//!
//! [`OpenOptions::index_folder`]: crate::OpenOptions

mod codec;
mod input;
mod lzop;

pub(crate) use codec::Codec;

use crate::field::{u32_at, u64_at};
use crate::index_file::IndexFile;
use crate::open::{OpenError, Opening};
use crate::source::{FileSource, PartSource, Source, read_exact};
use input::Input;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

/// What is decompressed between two looks at how far it is.
const PIECE: usize = 1 << 20;
/// The unit of holes.
const BLOCK: u64 = 4096;
/// Bytes of what is said in front of the data.
const NOTICE: u64 = 1024;
/// Without a folder for it, no more than this is decompressed, into memory.
const MAX_IN_MEMORY: u64 = 128 << 20;

/// Gives what is in a compressed file.
///
/// # Errors
/// [`OpenError::Wanting`] when there is no room for it, [`OpenError::Damaged`] when nothing comes
/// out at all.
pub(crate) fn decompressed(
    codec: Codec,
    source: Arc<dyn Source>,
    opening: &Opening<'_>,
) -> Result<Arc<dyn Source>, OpenError> {
    let Some(index) = IndexFile::of(opening, &*source, &format!("{codec} 1")) else {
        return in_memory(codec, source, opening);
    };
    if let Some(kept) = reopen(codec, &index, &*source, opening) {
        return Ok(kept);
    }
    let mut pump = Pump::new(codec, &source, opening)?;
    let mut filled = None;
    let written = index.write(|file| {
        let data_at = data_at(&index);
        let mut filling = Filling { file, at: data_at, written: 0 };
        let pumped = pump.run(&mut |piece| filling.take(piece));
        filled = Some(filling.written);
        pumped.and_then(|()| filling.finish(data_at, index.header_len(), &pump))
    });
    match (written, filled) {
        (Ok(()), _) => {}
        (Err(_), None) => return in_memory(codec, source, opening),
        (Err(error), Some(written)) => {
            return Err(pump.failure.take().unwrap_or_else(|| {
                no_room(codec, opening, index.path(), written, pump.share_done(), error)
            }));
        }
    }
    pump.tell(opening)?;
    let kept = FileSource::open(index.path())
        .map_err(|source| OpenError::Io { path: index.path().to_owned(), source })?;
    Ok(Arc::new(Kept::new(codec, kept, data_at(&index), pump.len, &*source)))
}

/// Where the data start in a kept file.
fn data_at(index: &IndexFile) -> u64 {
    (index.header_len() + NOTICE).next_multiple_of(BLOCK)
}

/// What an earlier opening left.
fn reopen(
    codec: Codec,
    index: &IndexFile,
    source: &dyn Source,
    opening: &Opening<'_>,
) -> Option<Arc<dyn Source>> {
    index.open()?;
    let kept = FileSource::open(index.path()).ok()?;
    let mut notice = vec![0; NOTICE as usize];
    read_exact(&kept, index.header_len(), &mut notice).ok()?;
    let len = u64_at(&notice, 0)?;
    let text = notice.get(12..)?.get(..u32_at(&notice, 8)? as usize)?;
    if kept.len() != data_at(index).checked_add(len)? {
        return None;
    }
    if !text.is_empty() {
        opening.cut_short(String::from_utf8_lossy(text));
    }
    Some(Arc::new(Kept::new(codec, kept, data_at(index), len, source)))
}

/// The data of a kept file.
struct Kept {
    data: PartSource,
    identity: Option<String>,
}

impl Kept {
    fn new(codec: Codec, file: FileSource, at: u64, len: u64, of: &dyn Source) -> Self {
        // The kept file's own identity changes with each use of it.
        let identity = of.identity().map(|identity| format!("{codec} of {identity}"));
        Self { data: PartSource::new(Arc::new(file), at, len), identity }
    }
}

impl Source for Kept {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.data.read_at(offset, buf)
    }

    fn len(&self) -> u64 {
        self.data.len()
    }

    fn identity(&self) -> Option<String> {
        self.identity.clone()
    }
}

/// The file that is being filled.
struct Filling<'a> {
    file: &'a mut File,
    at: u64,
    /// Bytes that are no holes.
    written: u64,
}

impl Filling<'_> {
    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        let is_zero = |block: &[u8]| block.iter().all(|&byte| byte == 0);
        for run in piece
            .chunks(BLOCK as usize)
            .collect::<Vec<_>>()
            .chunk_by(|one, next| is_zero(one) == is_zero(next))
        {
            let len: usize = run.iter().map(|block| block.len()).sum();
            if !run.first().is_some_and(|block| is_zero(block)) {
                self.file.seek(SeekFrom::Start(self.at))?;
                for block in run {
                    self.file.write_all(block)?;
                }
                self.written += len as u64;
            }
            self.at += len as u64;
        }
        Ok(())
    }

    /// Writes what stands before the data.
    fn finish(&mut self, data_at: u64, notice_at: u64, pump: &Pump) -> io::Result<()> {
        self.file.set_len(data_at + pump.len)?;
        let text = pump.cut.as_deref().unwrap_or_default();
        let mut notice = pump.len.to_le_bytes().to_vec();
        notice.extend((text.len() as u32).to_le_bytes());
        notice.extend(text.as_bytes());
        self.file.seek(SeekFrom::Start(notice_at))?;
        self.file.write_all(&notice)?;
        // A file that a crash of this machine left half written would be taken for zeroes.
        self.file.sync_data()
    }
}

fn no_room(
    codec: Codec,
    opening: &Opening<'_>,
    path: &Path,
    written: u64,
    share_done: f64,
    error: io::Error,
) -> OpenError {
    if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        return OpenError::Io { path: path.to_owned(), source: error };
    }
    let folder = path.parent().unwrap_or(path).display();
    let needed = written as f64 / share_done.max(0.001);
    OpenError::Wanting {
        path: opening.path.to_owned(),
        what: format!(
            "what is in it takes about {}, and {folder} was full after {}",
            size(needed as u64),
            size(written)
        ),
        advice: format!(
            "set XDG_CACHE_HOME to a folder with more room, or decompress it yourself: {}",
            codec.tool()
        ),
    }
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = (u64::BITS - bytes.leading_zeros()).saturating_sub(1) / 10;
    let unit = (unit as usize).min(UNITS.len() - 1);
    match unit {
        0 => format!("{bytes} bytes"),
        _ => format!("{:.1} {}", bytes as f64 / (1u64 << (10 * unit)) as f64, UNITS[unit]),
    }
}

/// Bytes in memory in pieces, so that none is copied as they grow.
struct Pieces(Vec<Vec<u8>>);

impl Source for Pieces {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let index = usize::try_from(offset / PIECE as u64).unwrap_or(usize::MAX);
        match self.0.get(index) {
            Some(piece) => piece.read_at(offset % PIECE as u64, buf),
            None => Ok(0),
        }
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|piece| piece.len() as u64).sum()
    }
}

fn in_memory(
    codec: Codec,
    source: Arc<dyn Source>,
    opening: &Opening<'_>,
) -> Result<Arc<dyn Source>, OpenError> {
    let mut pump = Pump::new(codec, &source, opening)?;
    let mut pieces = Vec::new();
    let filled = pump.run(&mut |piece| {
        if (pieces.len() * PIECE) as u64 >= MAX_IN_MEMORY {
            return Err(ErrorKind::FileTooLarge.into());
        }
        pieces.push(piece.to_vec());
        Ok(())
    });
    if filled.is_err() {
        return Err(pump.failure.take().unwrap_or_else(|| OpenError::Wanting {
            path: opening.path.to_owned(),
            what: format!(
                "more than {} are in it, and there is no folder to keep them in",
                size(MAX_IN_MEMORY)
            ),
            advice: format!(
                "set XDG_CACHE_HOME to a folder that can be written, or decompress it yourself: {}",
                codec.tool()
            ),
        }));
    }
    pump.tell(opening)?;
    Ok(Arc::new(Pieces(pieces)))
}

/// Decompresses.
struct Pump<'a> {
    codec: Codec,
    decoder: Box<dyn Read>,
    progress: input::Progress,
    opening: &'a Opening<'a>,
    /// What came out.
    len: u64,
    /// Why no more came out.
    cut: Option<String>,
    failure: Option<OpenError>,
}

impl<'a> Pump<'a> {
    fn new(
        codec: Codec,
        source: &Arc<dyn Source>,
        opening: &'a Opening<'a>,
    ) -> Result<Self, OpenError> {
        let input = Input::new(Arc::clone(source));
        let progress = input.progress();
        let decoder =
            codec.decoder(input).map_err(|error| opening.damaged(format!("{codec}: {error}")))?;
        Ok(Self { codec, decoder, progress, opening, len: 0, cut: None, failure: None })
    }

    fn share_done(&self) -> f64 {
        self.progress.position() as f64 / self.progress.total().max(1) as f64
    }

    /// Hands out all that comes out, in pieces of [`PIECE`] bytes but for the last. An error is
    /// that of `take`, or else in `failure`.
    fn run(&mut self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let total = self.progress.total();
        let mut piece = vec![0; PIECE];
        loop {
            let (filled, end) = self.fill(&mut piece);
            if filled > 0 {
                take(&piece[..filled])?;
                self.len += filled as u64;
            }
            // The line of progress goes when all is done.
            let done = self.progress.position().min(total.saturating_sub(1));
            let done = if end.is_some() { total } else { done };
            if let Err(stopped) = self.opening.progress("decompressing", done, total) {
                return self.fail(stopped);
            }
            match end {
                None => {}
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => return self.end_early(&error),
            }
        }
    }

    /// Fills `piece`; says how much of it, and whether the end or an error was met.
    fn fill(&mut self, piece: &mut [u8]) -> (usize, Option<io::Result<()>>) {
        let mut filled = 0;
        while filled < piece.len() {
            match self.decoder.read(&mut piece[filled..]) {
                Ok(0) => return (filled, Some(Ok(()))),
                Ok(len) => filled += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return (filled, Some(Err(error))),
            }
        }
        (filled, None)
    }

    fn fail(&mut self, failure: OpenError) -> io::Result<()> {
        self.failure = Some(failure);
        Err(ErrorKind::Other.into())
    }

    fn end_early(&mut self, error: &io::Error) -> io::Result<()> {
        let codec = self.codec;
        let path = || self.opening.path.to_owned();
        if let Some(source) = self.progress.take_error() {
            return self.fail(OpenError::Io { path: path(), source });
        }
        if codec::wants_memory(error) {
            return self.fail(OpenError::Wanting {
                path: path(),
                what: format!("it was compressed with more memory than is given to {codec} here"),
                advice: format!("decompress it yourself: {}", codec.tool()),
            });
        }
        let at = self.progress.position();
        // A checksum is found wrong at the end, too; zstd's errors have no kinds of their own.
        let is_damage = matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData)
            || error.to_string().contains("checksum");
        let is_cut =
            error.kind() == ErrorKind::UnexpectedEof || at >= self.progress.total() && !is_damage;
        let what = match is_cut {
            true => format!("the {codec} data are cut off at byte {at}"),
            false => format!("the {codec} data are damaged before byte {at}"),
        };
        if self.len == 0 {
            return self.fail(self.opening.damaged(format!("{what}, and nothing comes before")));
        }
        self.cut = Some(format!("{what}: {} of the dump could be read", size(self.len)));
        Ok(())
    }

    /// Tells what is not right with what came out.
    fn tell(&mut self, opening: &Opening<'_>) -> Result<(), OpenError> {
        if let Some(cut) = &self.cut {
            opening.cut_short(cut.clone());
        }
        match self.len {
            0 => Err(opening.damaged(format!("the {} data are of nothing at all", self.codec))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(30 << 30), "30.0 GiB");
        assert_eq!(size(u64::MAX), "16777216.0 TiB");
    }
}
