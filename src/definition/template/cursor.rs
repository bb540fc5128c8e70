//! A position in a template's text, and the wording of an error there.

use std::borrow::Cow;

use super::TemplateError;

pub(super) struct TemplateCursor<'t> {
    text: &'t str,
    position: usize,
}

impl<'t> TemplateCursor<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, position: 0 }
    }

    /// The unread text.
    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.position..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Reads one character.
    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.position += next.len_utf8();
        Some(next)
    }

    /// Reads `token` if it is next.
    pub(super) fn take(&mut self, token: &str) -> bool {
        let here = self.rest().starts_with(token);
        if here {
            self.position += token.len();
        }
        here
    }

    /// Reads as long as the characters are of a kind.
    pub(super) fn take_while(&mut self, kind: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !kind(c)).unwrap_or(rest.len())];
        self.position += taken.len();
        taken
    }

    pub(super) fn skip_space(&mut self) {
        self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
    }

    /// The position, in bytes, for [`TemplateCursor::error_at`].
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// An error: the next character is not the expected one.
    pub(super) fn error(&self, expected: impl Into<Cow<'static, str>>) -> TemplateError {
        let found = match self.peek() {
            None => "the end of the template".to_owned(),
            Some('\n' | '\r') => "the end of the line".to_owned(),
            Some(c) if c.is_control() => format!("the control character U+{:04X}", u32::from(c)),
            Some(c) => format!("`{c}`"),
        };
        self.error_at(self.position, expected, found)
    }

    pub(super) fn error_at(
        &self,
        at: usize,
        expected: impl Into<Cow<'static, str>>,
        found: impl Into<String>,
    ) -> TemplateError {
        let read = &self.text[..at];
        let line_start = read.rfind('\n').map_or(0, |newline| newline + 1);
        TemplateError {
            line: read.matches('\n').count() + 1,
            column: read[line_start..].chars().count() + 1,
            expected: expected.into(),
            found: found.into(),
        }
    }
}
