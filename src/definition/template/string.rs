//! Strings of a template: escapes, raw line ends, parameters.

use super::TemplateError;
use super::cursor::TemplateCursor;
use super::program::{Builder, OUT_HOOK_PARAMETERS, RowReference, TemplateOp};

/// Parses a string from its opening to its closing quote. Returns the steps that write its content.
pub(super) fn string(cursor: &mut TemplateCursor<'_>) -> Result<Vec<TemplateOp>, TemplateError> {
    let mut text = StringReader { start_position: cursor.position(), quote: cursor.next().unwrap_or('"'), cursor };
    let mut out = Builder::default();
    loop {
        if text.cursor.rest().starts_with("[@") {
            out.push(text.parameter()?);
            continue;
        }
        match text.character()? {
            Some(character) => out.character(character.value),
            None => return Ok(out.finish()),
        }
    }
}

/// A string that is being parsed.
struct StringReader<'c, 't> {
    cursor: &'c mut TemplateCursor<'t>,
    start_position: usize,
    quote: char,
}

/// One character of a string's text.
struct Character {
    value: char,
    /// An escaped character is never a delimiter. This allows a `]` in a field's name.
    escaped: bool,
}

impl StringReader<'_, '_> {
    /// Reads one character, or the closing quote (None).
    fn character(&mut self) -> Result<Option<Character>, TemplateError> {
        match self.cursor.peek() {
            None => {
                let expected = format!("a closing {} for the text that begins here", self.quote);
                Err(self.cursor.error_at(self.start_position, expected, "the end of the template"))
            }
            Some(c) if c == self.quote => {
                self.cursor.next();
                Ok(None)
            }
            Some('\\') => Ok(Some(Character { value: self.escape()?, escaped: true })),
            Some(c) if c < ' ' && !matches!(c, '\n' | '\r' | '\t') => {
                Err(self.cursor.error("text, a line end or a tab; other control characters are written as \\u00XX"))
            }
            Some(value) => {
                self.cursor.next();
                Ok(Some(Character { value, escaped: false }))
            }
        }
    }

    fn escape(&mut self) -> Result<char, TemplateError> {
        let start = self.cursor.position();
        self.cursor.next();
        let value = match self.cursor.peek() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('\'') if self.quote == '\'' => '\'',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => return self.unicode_escape(start),
            _ => {
                let apostrophe = if self.quote == '\'' { ", \\'" } else { "" };
                return Err(self.cursor.error(format!(
                    "an escape after \\: \\\", \\\\, \\/, \\b, \\f, \\n, \\r, \\t, \\uXXXX{apostrophe}"
                )));
            }
        };
        self.cursor.next();
        Ok(value)
    }

    /// `\uXXXX`, or two of them for a character beyond the first 65,536.
    fn unicode_escape(&mut self, start: usize) -> Result<char, TemplateError> {
        let first = self.hex()?;
        let unit = if (0xD800..0xDC00).contains(&first) && self.cursor.take("\\") {
            let second = self.hex()?;
            char::decode_utf16([first, second]).next().and_then(Result::ok)
        } else {
            char::from_u32(u32::from(first))
        };
        let expected = "two \\uXXXX that belong together (a surrogate pair)";
        unit.ok_or_else(|| self.cursor.error_at(start, expected, format!("half of one, \\u{first:04x}")))
    }

    fn hex(&mut self) -> Result<u16, TemplateError> {
        if !self.cursor.take("u") {
            return Err(self.cursor.error("the second \\uXXXX of a surrogate pair"));
        }
        let mut unit = 0;
        for _ in 0..4 {
            let Some(digit) = self.cursor.peek().and_then(|c| c.to_digit(16)) else {
                return Err(self.cursor.error("four hexadecimal digits after \\u"));
            };
            self.cursor.next();
            unit = unit * 16 + digit as u16;
        }
        Ok(unit)
    }

    /// Reads `[@field:Name]`, `[@field:Name/]` or `[@out-hook:name]`.
    fn parameter(&mut self) -> Result<TemplateOp, TemplateError> {
        let start = self.cursor.position();
        self.cursor.take("[@");
        if self.cursor.take("field:") {
            let name_at = self.cursor.position();
            let ParameterName { text, has_trailing_slash: slash } = self.name(start)?;
            if text.is_empty() {
                return Err(self.cursor.error_at(name_at, "a field's name", "none"));
            }
            let name = text.into_boxed_str();
            return Ok(TemplateOp::Spliced(if slash {
                RowReference::AttachmentUrl(name)
            } else {
                RowReference::Field(name)
            }));
        }
        if self.cursor.take("out-hook:") {
            let name_at = self.cursor.position();
            let name = self.name(start)?.into_text();
            return OUT_HOOK_PARAMETERS.iter().find(|(known, _)| *known == name).map(|(_, op)| op.clone()).ok_or_else(
                || {
                    let known = OUT_HOOK_PARAMETERS.map(|(known, _)| known).join(", ");
                    self.cursor.error_at(name_at, format!("one of {known}"), format!("`{}`", excerpt(&name)))
                },
            );
        }
        let word = self.cursor.take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ':'));
        let expected = "[@field:Name] or [@out-hook:name]; a [@ that is only text is written \\u005b@";
        Err(self.cursor.error_at(start, expected, format!("`[@{}`", excerpt(word))))
    }

    /// Reads a name up to the first `]` that is not escaped.
    fn name(&mut self, start: usize) -> Result<ParameterName, TemplateError> {
        let mut name = ParameterName { text: String::new(), has_trailing_slash: false };
        loop {
            match self.character()? {
                Some(Character { value: ']', escaped: false }) => return Ok(name),
                Some(Character { value: '/', escaped: false }) => {
                    name.flush_slash();
                    name.has_trailing_slash = true;
                }
                Some(character) => {
                    name.flush_slash();
                    name.text.push(character.value);
                }
                None => return Err(self.cursor.error_at(start, "] at the parameter's end", "the end of the text")),
            }
        }
    }
}

/// A parameter's name. A slash at its end is not part of it.
struct ParameterName {
    text: String,
    has_trailing_slash: bool,
}

impl ParameterName {
    /// Adds a slash that was read before. It is part of the name, because more text follows.
    fn flush_slash(&mut self) {
        if self.has_trailing_slash {
            self.text.push('/');
            self.has_trailing_slash = false;
        }
    }

    fn into_text(mut self) -> String {
        self.flush_slash();
        self.text
    }
}

/// The start of a text, as long as an error shows it.
pub(super) fn excerpt(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
