//! Output of a run: a block that is redrawn in place on a terminal, plain lines on a pipe, JSON lines on request.

mod block;
mod text;

use std::io::{self, Write as _};

use serde::Serialize;

use self::text::Paint;
use super::recent_messages::Glimpse;
use super::report::{DevReport, Summary};

/// Terminal width if the terminal does not report one.
const USUAL_WIDTH: usize = 80;

/// Addresses of all parts; also the first JSON line.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// Always true: all parts are running.
    pub ready: bool,
    /// `bootstrap.servers` for kcat or your own producer.
    pub broker: String,
    pub changes_topic: &'static str,
    pub api: String,
    pub metrics: String,
    pub receiver: String,
    /// The account of the sample and of the API client.
    pub account: &'static str,
    /// API client created for this run.
    pub client_id: String,
    pub client_secret: String,
}

/// Output style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For a terminal that understands escape codes.
    Block {
        colours: bool,
    },
    Lines,
    Json,
}

/// Writer of standard output. On a terminal it restores the cursor when it is dropped.
pub struct Display {
    style: Style,
    paint: Paint,
    /// Addresses of all parts. The block repeats them, because the text above it scrolls away.
    addresses: String,
    /// Lines of the block now on the terminal.
    drawn: usize,
}

impl Display {
    pub fn new(style: Style) -> Self {
        Self { style, paint: Paint::new(style == Style::Block { colours: true }), addresses: String::new(), drawn: 0 }
    }

    /// Shows the addresses when all parts are running.
    pub fn ready(&mut self, ready: &Ready) -> io::Result<()> {
        match self.style {
            Style::Json => json(ready),
            Style::Lines => write(&text::welcome(ready, &text::addresses(ready), self.paint)),
            Style::Block { .. } => {
                self.addresses = text::addresses(ready);
                write(&text::welcome(ready, "", self.paint))
            }
        }
    }

    /// Shows one second. `notes` are the log lines since the last second, printed above the block. In the other
    /// styles logs go directly to stderr.
    pub fn second(&mut self, report: &DevReport, glimpses: &[Glimpse], notes: &str) -> io::Result<()> {
        match self.style {
            Style::Json => json(report),
            Style::Lines => write(&text::line(report)),
            Style::Block { .. } => {
                let mut lines = block::lines(report, &self.addresses, glimpses, self.paint);
                let (width, height) = size();
                // A block taller than the terminal would scroll each time. The cursor needs one more row.
                lines.truncate(height - 1);
                let frame = block::frame(self.drawn, notes, &lines, width);
                self.drawn = lines.len();
                write(&frame)
            }
        }
    }

    /// Shows the summary.
    pub fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        match self.style {
            Style::Json => json(summary),
            Style::Block { .. } | Style::Lines => write(&text::summary(summary, self.paint)),
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if matches!(self.style, Style::Block { .. }) {
            // An error here is ignored: the terminal is gone.
            let _ = write(block::GIVE_BACK);
        }
    }
}

/// Columns and rows of the terminal now.
fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let known = |cells: Option<u16>, usual: usize| cells.filter(|cells| *cells > 0).map_or(usual, usize::from);
    (known(size.map(|size| size.ws_col), USUAL_WIDTH), known(size.map(|size| size.ws_row), usize::MAX))
}

fn json(line: &impl Serialize) -> io::Result<()> {
    let line = serde_json::to_string(line).map_err(io::Error::other)?;
    write(&format!("{line}\n"))
}

/// Writes and flushes the text in one piece, so a terminal never shows half a frame.
fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
