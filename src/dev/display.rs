//! What people, or programs, see of a run: a block that is redrawn in place on a terminal, plain lines on a
//! pipe, JSON lines when asked for.

mod block;
mod text;

use std::io::{self, Write as _};

use serde::Serialize;

use self::text::Paint;
use super::recent_messages::Glimpse;
use super::report::{DevReport, Summary};

/// How wide a terminal is that does not say.
const USUAL_WIDTH: usize = 80;

/// Where everything is; also the first JSON line.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// Always true: the line says that everything is up.
    pub ready: bool,
    /// `bootstrap.servers` for kcat or an own producer.
    pub broker: String,
    pub changes_topic: &'static str,
    pub api: String,
    pub metrics: String,
    pub receiver: String,
    /// The account of the sample and of the API client.
    pub account: &'static str,
    /// A client of the API, made for this run.
    pub client_id: String,
    pub client_secret: String,
}

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For a terminal that obeys escape codes.
    Block {
        colours: bool,
    },
    Lines,
    Json,
}

/// Writes to standard output. On a terminal it gives back the cursor when it is dropped.
pub(super) struct Display {
    style: Style,
    paint: Paint,
    /// Where everything is, which stays in the block: what stood above it scrolls away.
    addresses: String,
    /// Lines of the block that stand on the terminal now.
    drawn: usize,
}

impl Display {
    pub(super) fn new(style: Style) -> Self {
        Self { style, paint: Paint::new(style == Style::Block { colours: true }), addresses: String::new(), drawn: 0 }
    }

    /// Everything is up.
    pub(super) fn ready(&mut self, ready: &Ready) -> io::Result<()> {
        match self.style {
            Style::Json => json(ready),
            Style::Lines => write(&text::welcome(ready, &text::addresses(ready), self.paint)),
            Style::Block { .. } => {
                self.addresses = text::addresses(ready);
                write(&text::welcome(ready, "", self.paint))
            }
        }
    }

    /// A second has passed. Notes are the log lines since the last one, which stay above the block; in the
    /// other styles logs have their own way to stderr.
    pub(super) fn second(&mut self, report: &DevReport, glimpses: &[Glimpse], notes: &str) -> io::Result<()> {
        match self.style {
            Style::Json => json(report),
            Style::Lines => write(&text::line(report)),
            Style::Block { .. } => {
                let mut lines = block::lines(report, &self.addresses, glimpses, self.paint);
                let (width, height) = size();
                // What is higher than the terminal would scroll each time. The cursor has a row of its own.
                lines.truncate(height - 1);
                let frame = block::frame(self.drawn, notes, &lines, width);
                self.drawn = lines.len();
                write(&frame)
            }
        }
    }

    /// The run is over.
    pub(super) fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        match self.style {
            Style::Json => json(summary),
            Style::Block { .. } | Style::Lines => write(&text::summary(summary, self.paint)),
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if matches!(self.style, Style::Block { .. }) {
            // Nobody is left to tell if the terminal is gone.
            let _ = write(block::GIVE_BACK);
        }
    }
}

/// How many columns and rows the terminal has now.
fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let known = |cells: Option<u16>, usual: usize| cells.filter(|cells| *cells > 0).map_or(usual, usize::from);
    (known(size.map(|size| size.ws_col), USUAL_WIDTH), known(size.map(|size| size.ws_row), usize::MAX))
}

fn json(line: &impl Serialize) -> io::Result<()> {
    let line = serde_json::to_string(line).map_err(io::Error::other)?;
    write(&format!("{line}\n"))
}

/// In one piece, so that a terminal never shows half a frame.
fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
