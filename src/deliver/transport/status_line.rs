//! Parses the status of an HTTP/1 response from the received bytes, whatever follows it. A response with unreadable
//! headers is still a response: its status says whether the receiver took the message.

/// The length of `HTTP/1.1 200`, without the reason phrase.
const STATUS_LINE_LEN: usize = 12;

/// Incremental parser of status lines. It reads no further than the line of the final status.
#[derive(Debug, Default)]
pub(in crate::deliver) struct StatusLineParser {
    state: ParserState,
    line: [u8; STATUS_LINE_LEN],
}

#[derive(Debug, Clone, Copy)]
enum ParserState {
    /// The number of bytes of the line so far.
    Line(usize),
    /// In the reason phrase, up to the end of the line.
    Reason(u16),
    /// In the headers of an interim response (RFC 9110, 15.2), and whether the current line is empty so far.
    Interim {
        is_empty: bool,
    },
    Found(u16),
    /// Not HTTP/1.
    NotHttp,
}

impl Default for ParserState {
    fn default() -> Self {
        ParserState::Line(0)
    }
}

impl StatusLineParser {
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let ParserState::Found(_) | ParserState::NotHttp = self.state {
                return;
            }
            self.state = self.next(*byte);
        }
    }

    /// The final status, once its line is complete.
    pub fn status(&self) -> Option<u16> {
        match self.state {
            ParserState::Found(status) => Some(status),
            _ => None,
        }
    }

    fn next(&mut self, byte: u8) -> ParserState {
        match (self.state, byte) {
            // Empty lines before the status line are skipped (RFC 9112, 2.2).
            (ParserState::Line(0), b'\r' | b'\n') => ParserState::Line(0),
            (ParserState::Line(STATUS_LINE_LEN), b' ' | b'\r' | b'\n') => match status_of(&self.line) {
                Some(status) if byte == b'\n' => state_after_status(status),
                Some(status) => ParserState::Reason(status),
                None => ParserState::NotHttp,
            },
            (ParserState::Line(STATUS_LINE_LEN), _) => ParserState::NotHttp,
            (ParserState::Line(filled), byte) => {
                self.line[filled] = byte;
                ParserState::Line(filled + 1)
            }
            (ParserState::Reason(status), b'\n') => state_after_status(status),
            (ParserState::Interim { is_empty: true }, b'\n') => ParserState::Line(0),
            (ParserState::Interim { .. }, b'\n') => ParserState::Interim { is_empty: true },
            (ParserState::Interim { is_empty: true }, b'\r') => ParserState::Interim { is_empty: true },
            (ParserState::Interim { .. }, _) => ParserState::Interim { is_empty: false },
            (same, _) => same,
        }
    }
}

/// The state after a status line.
fn state_after_status(status: u16) -> ParserState {
    match status {
        // A 101 is final: the connection is no longer HTTP.
        101 => ParserState::Found(status),
        100..=199 => ParserState::Interim { is_empty: true },
        _ => ParserState::Found(status),
    }
}

fn status_of(line: &[u8; STATUS_LINE_LEN]) -> Option<u16> {
    let code = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let [hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = code else { return None };
    let digit = |sign: &u8| u16::from(sign - b'0');
    Some(digit(hundreds) * 100 + digit(tens) * 10 + digit(ones))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(parts: &[&[u8]]) -> Option<u16> {
        let mut line = StatusLineParser::default();
        parts.iter().for_each(|part| line.feed(part));
        line.status()
    }

    #[test]
    fn final_status_is_parsed_whatever_follows_it() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 503 \n", Some(503)),
            ("\r\n\nHTTP/1.1 204\r\n", Some(204)),
            ("HTTP/1.1 204\n", Some(204)),
            ("HTTP/1.1 200 \u{1}\u{e4}\r\n: : :\u{0}", Some(200)),
            ("HTTP/1.1 200 OK\r\nHTTP/1.1 500 no\r\n", Some(200)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\n", Some(202)),
            ("HTTP/1.1 103 Hints\nlink: a\nlink: b\n\nHTTP/1.1 102\r\n\r\nHTTP/1.1 400 no\n", Some(400)),
            ("HTTP/1.1 101 Switching\r\n", Some(101)),
            ("HTTP/1.1 100 Continue\r\nHTTP/1.1 200 OK\r\n", None),
            ("HTTP/1.1 100 Continue\r\n\r\n", None),
            ("HTTP/1.1 200 OK", None),
            ("HTTP/1.1 200", None),
            ("HTTP/1.1 2000 OK\r\n", None),
            ("HTTP/1.1 20x OK\r\n", None),
            ("HTTP/1.1 099 OK\r\n", None),
            ("HTTP/2.0 200 OK\r\n", None),
            ("SSH-2.0-OpenSSH_9.2\r\nHTTP/1.1 200 OK\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(&[answer.as_bytes()]), expected, "{answer:?}");
        }
    }

    proptest! {
        #[test]
        fn split_of_the_bytes_does_not_change_the_status(
            answer in r"(HTTP/1\.1 (1[0-9]{2}|200)[ \r\na:]{0,3}\n?){0,4}",
            at: prop::sample::Index,
        ) {
            let (one, other) = answer.as_bytes().split_at(at.index(answer.len() + 1));
            prop_assert_eq!(status(&[one, other]), status(&[answer.as_bytes()]));
        }
    }
}
