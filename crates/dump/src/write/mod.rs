//! Dumps written in other formats, page by page and in order: what is in memory at a time does not
//! depend on the size of the dump, and the same dump gives the same bytes.
//!
//! What a page is stays what it was: one that the collector left out stays left out, and one that is
//! lost or damaged is absent from the new dump. kdump tells the two apart (a lost page has a
//! descriptor without data, and the dump is marked incomplete), ELF and LiME do not.
//!
//! A kdump or ELF file that is only to be freed of what it is wrapped in, or to be wrapped, is copied
//! as it stands.

mod elf;
mod fields;
mod flattened;
mod image;
mod kdump;
mod notes;
mod page_map;
mod pipeline;
mod plain;
mod sink;
mod utsname;

pub use sink::Sink;

use crate::codec::Codec;
use crate::dump::Dump;
use crate::format::Format;
use crate::open::OpenProgress;
use crate::vmcoreinfo::Vmcoreinfo;
use flattened::Flattened;
use notes::WrittenNotes;
use page_map::PageMap;
use sink::{FileOutput, Output, StreamOutput};
use std::io;
use std::sync::Arc;

/// A format that dumps are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An ELF64 core. Its bytes come in order.
    Elf,
    /// kdump-compressed, version 6.
    Kdump,
    /// The same as makedumpfile's flattened stream. Its bytes come in order.
    Flattened,
    /// An image in which a byte's position is its physical address. Its bytes come in order.
    Raw,
    /// LiME, version 1. Its bytes come in order.
    Lime,
}

/// How the pages of a kdump are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageCodec {
    /// Not at all.
    None,
    /// zlib, `makedumpfile -c`.
    Zlib,
    /// LZO1X, `makedumpfile -l`.
    Lzo,
    /// Snappy, `makedumpfile -p`.
    Snappy,
    /// Zstandard, `makedumpfile -z`.
    Zstd,
}

impl PageCodec {
    pub(crate) fn codec(self) -> Option<Codec> {
        match self {
            PageCodec::None => None,
            PageCodec::Zlib => Some(Codec::Zlib),
            PageCodec::Lzo => Some(Codec::Lzo),
            PageCodec::Snappy => Some(Codec::Snappy),
            PageCodec::Zstd => Some(Codec::Zstd),
        }
    }

    /// The level that gives what makedumpfile's gives. Level 1 of the zlib that is used here is
    /// quicker than that of the original, and the dump a quarter larger; its level 2 is the other's
    /// 1 in both.
    fn default_level(self) -> u8 {
        if self == PageCodec::Zlib { 2 } else { 1 }
    }

    /// The one that a dump is compressed with; zlib, which every reader knows, where there is none.
    fn of(format: Format) -> Self {
        match format {
            Format::Kdump { compression, .. } if compression.zstd => PageCodec::Zstd,
            Format::Kdump { compression, .. } if compression.snappy => PageCodec::Snappy,
            Format::Kdump { compression, .. } if compression.lzo => PageCodec::Lzo,
            _ => PageCodec::Zlib,
        }
    }
}

/// What can be chosen when a dump is written.
#[derive(Clone)]
pub struct WriteOptions {
    /// The format.
    pub target: Target,
    /// How pages of a kdump are compressed; `None`: as they were, or with zlib.
    pub codec: Option<PageCodec>,
    /// How hard zlib (1 to 9) and zstd (1 to 19) try; `None`: about as hard as makedumpfile.
    pub level: Option<u8>,
    /// VMCOREINFO that was found elsewhere, for a dump that has no such note.
    pub vmcoreinfo: Option<Vmcoreinfo>,
    /// Is told of every step, and ends it by answering `false`.
    pub progress: Option<Arc<OpenProgress>>,
}

impl WriteOptions {
    /// The defaults for a format.
    pub fn new(target: Target) -> Self {
        Self { target, codec: None, level: None, vmcoreinfo: None, progress: None }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Whether the file was copied as it stands; no page was looked at then.
    pub copied: bool,
    /// Pages that are in the new dump.
    pub pages: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages that were left out of the dump that was read.
    pub excluded: u64,
    /// Pages that were lost to it: cut off, or given up on by its collector.
    pub lost: u64,
    /// Pages that are damaged in it.
    pub unreadable: u64,
    /// The length of the new file.
    pub len: u64,
    /// Bytes that were written, without holes.
    pub written: u64,
}

/// Why a dump could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What the operating system says of the output.
    #[error("cannot write the output: {0}")]
    Write(#[from] io::Error),
    /// What the operating system says of the input.
    #[error("cannot read the dump at offset {offset:#x}")]
    Read {
        /// Where in the file.
        offset: u64,
    },
    /// Somebody stopped it.
    #[error("stopped")]
    Stopped,
    /// There is no page in the dump.
    #[error("the dump has no page to write")]
    NoPages,
    /// The headers speak of more memory than machines have.
    #[error("the dump's headers speak of more memory than any machine has")]
    TooMuchMemory,
    /// kdump's header comes first and is known last.
    #[error("a kdump file is not written in order: it needs a file, or the flattened format")]
    NotAStream,
    /// An architecture without an ELF number.
    #[error("there is no ELF machine number for {0}")]
    Machine(String),
}

/// A step of the work: tells how far it is.
pub(crate) struct Step<'a> {
    name: &'static str,
    progress: Option<&'a OpenProgress>,
}

impl Step<'_> {
    /// Tells how far the step is, in bytes.
    ///
    /// # Errors
    /// [`WriteError::Stopped`].
    fn reach(&self, done: u64, total: u64) -> Result<(), WriteError> {
        match self.progress {
            Some(progress) if !progress(self.name, done, total) => Err(WriteError::Stopped),
            _ => Ok(()),
        }
    }
}

impl Dump {
    /// Writes the dump in another format.
    ///
    /// Pages that cannot be read are counted, and are absent from what is written; into a stream
    /// of ELF or LiME, whose headers are gone by then, they are written as zeroes.
    ///
    /// # Errors
    /// [`WriteError`]; what was written until then is no whole dump.
    pub fn write(&self, sink: Sink, options: &WriteOptions) -> Result<Written, WriteError> {
        let is_stream = matches!(sink, Sink::Stream(_));
        let output: Box<dyn Output> = match sink {
            Sink::File(file) => Box::new(FileOutput::new(file)),
            Sink::Stream(stream) => Box::new(StreamOutput::new(stream)),
        };
        if options.target == Target::Kdump && is_stream {
            return Err(WriteError::NotAStream);
        }
        let mut output = match options.target {
            Target::Flattened => Box::new(Flattened::new(output)?),
            _ => output,
        };
        let step = |name| Step { name, progress: options.progress.as_deref() };
        if let Some(image) = self.image_for(options) {
            let len = image::copy(&**image, &mut *output, &step("copying"))?;
            return Ok(Written {
                copied: true,
                len,
                written: output.written(),
                ..Written::default()
            });
        }
        let mut map = PageMap::read(&*self.memory(), &step("looking up pages"))?;
        if map.present == 0 {
            return Err(WriteError::NoPages);
        }
        let notes = WrittenNotes::of(self, options.vmcoreinfo.as_ref());
        let step = step("converting");
        let lost = map.lost;
        let (mut len, unreadable) = self.write_pages(&map, &notes, &mut *output, options, &step)?;
        let headers_are_wrong = matches!(options.target, Target::Elf | Target::Lime);
        if !unreadable.is_empty() && headers_are_wrong && output.start_again() {
            // Only now is known which pages the headers must not announce.
            map.lose(&unreadable);
            (len, _) = self.write_pages(&map, &notes, &mut *output, options, &step)?;
        }
        let len = output.finish(len)?;
        let unreadable = unreadable.len() as u64;
        Ok(Written {
            copied: false,
            pages: (map.present + map.lost).saturating_sub(lost + unreadable),
            page_size: map.page_size,
            excluded: map.excluded,
            lost,
            unreadable,
            len,
            written: output.written(),
        })
    }

    fn write_pages(
        &self,
        map: &PageMap,
        notes: &WrittenNotes,
        output: &mut dyn Output,
        options: &WriteOptions,
        step: &Step<'_>,
    ) -> Result<(u64, Vec<u64>), WriteError> {
        match options.target {
            Target::Elf => elf::write(self, map, notes, output, step),
            Target::Raw => plain::raw(self, map, output, step),
            Target::Lime => plain::lime(self, map, output, step),
            Target::Kdump | Target::Flattened => {
                let codec = options.codec.unwrap_or_else(|| PageCodec::of(self.format()));
                let level = options.level.unwrap_or_else(|| codec.default_level());
                kdump::write(self, map, notes, output, step, (codec, level))
            }
        }
    }
}
