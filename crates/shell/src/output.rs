//! Where a command's answers go, and in which face: text as crash lays it out, or JSON.
//!
//! A command [emits](Output::emit) one item after another as it finds them, so that a pipe into
//! `head` ends a long scan early and a scan over many tasks holds none of them. As JSON a command
//! is one object on one line:
//!
//! ```json
//! {"mortis":1,"command":"ps","arguments":["-k"],"items":[…],"warnings":["…"],"error":null}
//! ```

use crate::messages;
use crate::progress_line::ProgressLine;
use serde::Serialize;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The version of the JSON schema, in every object's `mortis` member. Members are added without
/// a new version; one that changes its meaning or goes away makes a new one.
pub const JSON_VERSION: u32 = 1;

/// Which rendering is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// Text laid out as crash does.
    Text,
    /// One JSON object a command.
    Json,
}

/// How text is to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether colour escapes may be written.
    pub color: bool,
}

impl Style {
    /// `text` in the colour of what matters most: the panic, an error.
    pub fn alarm(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// `text` in the colour of a heading.
    pub fn heading(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// `text` in the colour of what steps back: addresses, padding.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// `text` in the colour of names: functions, symbols.
    pub fn name(self, text: &str) -> String {
        self.paint("36", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// One item of an answer as text. Lines end in a newline.
pub trait Render {
    /// Appends the item's text to `out`.
    fn render(&self, out: &mut String, style: Style);
}

/// Why a command is to end early though nothing is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Whoever read the output went away.
    #[error("output closed")]
    Closed,
    /// The output cannot be written: a full disk, say.
    #[error("cannot write the output: {0}")]
    Write(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Stop::Closed,
            _ => Stop::Write(error),
        }
    }
}

/// Set by Ctrl-C, looked at by everything that takes long.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(pub Arc<AtomicBool>);

impl Interrupt {
    /// Fails once Ctrl-C was pressed.
    ///
    /// # Errors
    /// [`Stop::Interrupted`].
    pub fn check(&self) -> Result<(), Stop> {
        if self.0.load(Ordering::Relaxed) { Err(Stop::Interrupted) } else { Ok(()) }
    }

    /// Forgets an earlier Ctrl-C.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The sink for one command's answers.
pub struct Output<'a> {
    sink: &'a mut dyn Write,
    face: Face,
    style: Style,
    interrupt: Interrupt,
    buffer: String,
    items: usize,
    warnings: Vec<String>,
    /// The sink is the terminal itself: what is said goes among the answers.
    messages_inline: bool,
    flushed: Instant,
}

/// Text is handed on when this much has gathered…
const FLUSH_AT: usize = 32 << 10;

/// …or when it has waited this long.
const FLUSH_AFTER: Duration = Duration::from_millis(250);

impl<'a> Output<'a> {
    /// Starts the answer to `command arguments`.
    ///
    /// # Errors
    /// [`Stop`] when the sink does not take it.
    pub fn begin(
        sink: &'a mut dyn Write,
        face: Face,
        style: Style,
        interrupt: Interrupt,
        command: &str,
        arguments: &[String],
    ) -> Result<Self, Stop> {
        let output = Self {
            sink,
            face,
            style,
            interrupt,
            buffer: String::new(),
            items: 0,
            warnings: Vec::new(),
            messages_inline: false,
            flushed: Instant::now(),
        };
        if face == Face::Json {
            let command = serde_json::to_string(command).unwrap_or_default();
            let arguments = serde_json::to_string(arguments).unwrap_or_default();
            write!(
                output.sink,
                "{{\"mortis\":{JSON_VERSION},\"command\":{command},\"arguments\":{arguments},\
                 \"items\":["
            )?;
        }
        Ok(output)
    }

    /// Writes warnings and errors among the answers: the sink is a terminal, or a pager on it.
    pub fn put_messages_inline(&mut self) {
        self.messages_inline = true;
    }

    /// The face that was asked for. A command computes the same either way; this is for skipping
    /// work that only one of them shows.
    pub fn face(&self) -> Face {
        self.face
    }

    /// How text is to look.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Hands one item on.
    ///
    /// # Errors
    /// [`Stop`] when the sink does not take it, or after Ctrl-C.
    pub fn emit<T: Serialize + Render + ?Sized>(&mut self, item: &T) -> Result<(), Stop> {
        self.interrupt.check()?;
        match self.face {
            Face::Text => item.render(&mut self.buffer, self.style),
            Face::Json => {
                if self.items > 0 {
                    self.buffer.push(',');
                }
                let json =
                    serde_json::to_string(item).map_err(|error| Stop::Write(error.into()))?;
                self.buffer.push_str(&json);
            }
        }
        self.items += 1;
        if self.buffer.len() >= FLUSH_AT || self.flushed.elapsed() >= FLUSH_AFTER {
            self.flush_buffer()?;
        }
        Ok(())
    }

    /// An empty batch in this answer's face; see [`Batch`].
    pub fn batch(&self) -> Batch {
        Batch { face: self.face, style: self.style, buffer: String::new(), items: 0 }
    }

    /// Hands on the items of a batch.
    ///
    /// # Errors
    /// As [`Output::emit`].
    pub fn emit_batch(&mut self, batch: &Batch) -> Result<(), Stop> {
        self.interrupt.check()?;
        if self.face == Face::Json && self.items > 0 && batch.items > 0 {
            self.buffer.push(',');
        }
        self.items += batch.items;
        if batch.buffer.len() >= FLUSH_AT {
            // Copying it into the buffer would gain nothing.
            self.flush_buffer()?;
            self.sink.write_all(batch.buffer.as_bytes())?;
            return Ok(self.sink.flush()?);
        }
        self.buffer.push_str(&batch.buffer);
        if self.buffer.len() >= FLUSH_AT {
            self.flush_buffer()?;
        }
        Ok(())
    }

    /// Text that is layout only and no answer: a blank line between blocks, a table's heading.
    ///
    /// # Errors
    /// As [`Output::emit`].
    pub fn layout(&mut self, text: &str) -> Result<(), Stop> {
        if self.face == Face::Text {
            self.interrupt.check()?;
            self.buffer.push_str(text);
        }
        Ok(())
    }

    /// Something the user must know of an answer that is given nevertheless. Text goes to
    /// standard error, behind what was emitted before.
    pub fn warn(&mut self, warning: impl std::fmt::Display) {
        let warning = warning.to_string();
        if self.face == Face::Text {
            self.say(&messages::warning_line(&warning));
        }
        self.warnings.push(warning);
    }

    /// Fails after Ctrl-C; for loops that emit nothing for long.
    ///
    /// # Errors
    /// [`Stop::Interrupted`].
    pub fn check(&self) -> Result<(), Stop> {
        self.interrupt.check()
    }

    /// The flag that Ctrl-C sets, for scans on other threads.
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// What a long scan in the kernel crate tells of itself and is ended by. While it lives, the
    /// user sees on standard error how far `what` is, once that has taken a moment.
    pub fn progress(&self, what: &'static str) -> ProgressLine {
        ProgressLine::start(what, &self.interrupt)
    }

    fn flush_buffer(&mut self) -> Result<(), Stop> {
        self.flushed = Instant::now();
        self.sink.write_all(self.buffer.as_bytes())?;
        self.buffer.clear();
        Ok(self.sink.flush()?)
    }

    /// Hands on what has gathered.
    ///
    /// # Errors
    /// [`Stop`] when the sink does not take it.
    pub fn flush(&mut self) -> Result<(), Stop> {
        self.flush_buffer()
    }

    /// Writes lines that are no answer behind what was emitted before.
    pub fn say(&mut self, lines: &str) {
        if self.messages_inline {
            self.buffer.push_str(lines);
            // Whoever reads no more needs no message either.
            let _ = self.flush_buffer();
        } else {
            let _ = self.flush_buffer();
            messages::tell(lines);
        }
    }

    /// Ends the answer. `error` is why the command failed, if it did.
    ///
    /// # Errors
    /// [`Stop`] when the sink does not take it.
    pub fn finish(mut self, error: Option<&str>) -> Result<(), Stop> {
        if self.face == Face::Json {
            let warnings = serde_json::to_string(&self.warnings).unwrap_or_default();
            let error = serde_json::to_string(&error).unwrap_or_default();
            self.buffer.push_str(&format!("],\"warnings\":{warnings},\"error\":{error}}}\n"));
        }
        self.flush_buffer()
    }
}

/// An item whose text was made where the item was, on another thread maybe.
#[derive(Clone, Debug)]
pub struct Rendered<T> {
    item: T,
    text: String,
}

impl<T> Rendered<T> {
    /// `item` with its text, which only [`Face::Text`] needs.
    pub fn new(item: T, face: Face, style: Style) -> Self
    where
        T: Render,
    {
        Self::of(item, face, |item, text| item.render(text, style))
    }

    /// The same with the text that `render` gives it.
    pub fn of(item: T, face: Face, render: impl FnOnce(&T, &mut String)) -> Self {
        let mut text = String::new();
        if face == Face::Text {
            render(&item, &mut text);
        }
        Self { item, text }
    }
}

impl<T> Render for Rendered<T> {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&self.text);
    }
}

impl<T: Serialize> Serialize for Rendered<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.item.serialize(serializer)
    }
}

/// Items rendered apart from the output they go to, so that long answers are rendered on all
/// cores. Made by [`Output::batch`]; a batch shares nothing, so each part of a scan has its own.
#[derive(Clone, Debug)]
pub struct Batch {
    face: Face,
    style: Style,
    buffer: String,
    items: usize,
}

impl Batch {
    /// Adds an item.
    ///
    /// # Errors
    /// [`Stop::Write`] when it cannot be spelled as JSON.
    pub fn push<T: Serialize + Render + ?Sized>(&mut self, item: &T) -> Result<(), Stop> {
        match self.face {
            Face::Text => item.render(&mut self.buffer, self.style),
            Face::Json => {
                if self.items > 0 {
                    self.buffer.push(',');
                }
                let json =
                    serde_json::to_string(item).map_err(|error| Stop::Write(error.into()))?;
                self.buffer.push_str(&json);
            }
        }
        self.items += 1;
        Ok(())
    }

    /// How many items it has.
    pub fn len(&self) -> usize {
        self.items
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }
}

/// An item that is just text: help, or a rendering that has no parts worth naming.
#[derive(Clone, Debug, Serialize)]
pub struct Text {
    /// The text; ends in a newline.
    pub text: String,
}

impl Render for Text {
    fn render(&self, out: &mut String, _: Style) {
        out.push_str(&self.text);
    }
}
