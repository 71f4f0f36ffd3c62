//! The text of a policy file: reading it within bounds, and showing a piece of it in a message.

use std::{fs::File, io::Read, ops::Range, path::Path, sync::Arc};

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use super::error::{PolicyError, ProblemKind, Problems};

/// Largest policy file that is read, in bytes.
pub(super) const FILE_BYTES_MAX: usize = 4 << 20;
/// Longest piece of text that a message quotes or underlines, in bytes.
const QUOTE_BYTES_MAX: usize = 200;
/// Longest piece of text shown around a problem, in bytes. Beyond it whole lines are not shown but
/// [`MARGIN_BYTES`] on each side.
const SNIPPET_BYTES_MAX: usize = 2_000;
const MARGIN_BYTES: usize = 80;

/// The text of the file at `path`, which messages call `name`.
pub(super) fn read(name: &str, path: &Path) -> Result<String, PolicyError> {
    let fail = |kind, help: Option<&str>| {
        let mut problems = Problems::new(Arc::new(PolicySource::new(name, "")));
        problems.add_for_file(kind, help.map(str::to_owned));
        problems.into_error()
    };
    let mut bytes = Vec::new();
    // The limit is on what is read, not on what the directory says: a device has no size.
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| fail(ProblemKind::Unreadable { reason: error.to_string() }, None))?;
    if bytes.len() > FILE_BYTES_MAX {
        let help = "check that this is the policy and not another file";
        return Err(fail(ProblemKind::FileTooLarge { bytes_max: FILE_BYTES_MAX }, Some(help)));
    }
    String::from_utf8(bytes).map_err(|error| not_utf8(name, &error))
}

/// The place in the file that is not UTF-8. What stands before it is, so offsets stay true in the
/// text that has a replacement character there.
fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> PolicyError {
    let offset = error.utf8_error().valid_up_to();
    let byte = error.as_bytes().get(offset).copied().unwrap_or_default();
    let text = String::from_utf8_lossy(error.as_bytes());
    let mut problems = Problems::new(Arc::new(PolicySource::new(name, &text)));
    problems.add(
        offset..offset + char::REPLACEMENT_CHARACTER.len_utf8(),
        ProblemKind::NotUtf8 { byte },
        Some("save the file as UTF-8".to_owned()),
    );
    problems.into_error()
}

/// The text of a policy with an index of its lines.
#[derive(Debug)]
pub(super) struct PolicySource {
    name: String,
    /// The text, in which each control character gave way to a filler of the same length, so that
    /// showing it cannot drive the reader's terminal.
    text: String,
    /// Offset of the first byte of each line; there is always a first line, at 0.
    line_starts: Vec<usize>,
}

impl PolicySource {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let text: String = text.chars().flat_map(printable).collect();
        let after_newlines = text.match_indices('\n').map(|(offset, _)| offset + 1);
        let line_starts = std::iter::once(0).chain(after_newlines).collect();
        Self { name: name.to_owned(), text, line_starts }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The text in `span`; empty where `span` lies outside.
    pub(super) fn text(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// Line and column of `offset`, both counted from 1, columns in characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line_of(offset);
        (line + 1, self.column(line, offset) + 1)
    }

    /// The part of `span` that can be quoted: what stands on its first line, and not too much of it.
    pub(super) fn clip(&self, span: Range<usize>) -> Range<usize> {
        let start = self.floor_char_boundary(span.start);
        let end = self.floor_char_boundary(span.end.clamp(start, start + QUOTE_BYTES_MAX));
        let line_end = self.line_end(self.line_of(start)).max(start);
        start..end.min(line_end)
    }

    /// Index of the line that holds `offset`, from 0.
    fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset).saturating_sub(1)
    }

    /// Offset of the first byte of line `line`; the end of the text for a line beyond the last.
    fn line_start(&self, line: usize) -> usize {
        self.line_starts.get(line).copied().unwrap_or(self.text.len())
    }

    /// Offset of the newline that ends line `line`, or the end of the text.
    fn line_end(&self, line: usize) -> usize {
        match self.line_starts.get(line + 1) {
            Some(&next) => next - 1,
            None => self.text.len(),
        }
    }

    fn column(&self, line: usize, offset: usize) -> usize {
        self.text(&(self.line_start(line)..self.floor_char_boundary(offset))).chars().count()
    }

    fn floor_char_boundary(&self, offset: usize) -> usize {
        (0..=offset.min(self.text.len()))
            .rev()
            .find(|&offset| self.text.is_char_boundary(offset))
            .unwrap_or(0)
    }
}

impl SourceCode for PolicySource {
    /// Unlike miette's own implementation for `str` this one counts columns in characters, looks at
    /// no more of the text than it shows, and shows little of lines that are very long.
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (start, end) = (span.offset(), span.offset() + span.len());
        if end > self.text.len() || end - start > SNIPPET_BYTES_MAX {
            return Err(MietteError::OutOfBounds);
        }
        let first = self.line_of(start).saturating_sub(context_lines_before);
        let last =
            self.line_of(end.saturating_sub(1).max(start)).saturating_add(context_lines_after);
        let last = last.min(self.line_starts.len() - 1);

        let mut shown = self.line_start(first)..self.line_end(last).max(end);
        if context_lines_before == 0 {
            shown.start = start;
        }
        if shown.len() > SNIPPET_BYTES_MAX {
            let line_start = self.line_start(self.line_of(start));
            shown.start =
                self.floor_char_boundary(start.saturating_sub(MARGIN_BYTES)).max(line_start);
            let line_end = self.line_end(self.line_of(end)).max(end);
            shown.end = self.floor_char_boundary(end + MARGIN_BYTES).clamp(end, line_end);
        }
        let line = self.line_of(shown.start);
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            self.text(&shown).as_bytes(),
            (shown.start, shown.len()).into(),
            line,
            self.column(line, shown.start),
            last + 1 - line,
        )))
    }
}

/// `character`, or a filler of the same length in UTF-8 if it is a control character.
fn printable(character: char) -> impl Iterator<Item = char> {
    let is_filled = character.is_control() && !matches!(character, '\n' | '\t' | '\r');
    let (shown, count) = if is_filled { ('?', character.len_utf8()) } else { (character, 1) };
    std::iter::repeat_n(shown, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let source = PolicySource::new("p", "aé = 1\n\nxyz");
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(3), (1, 3), "é is two bytes and one column");
        assert_eq!(source.position(8), (2, 1));
        assert_eq!(source.position(11), (3, 3));
        assert_eq!(source.position(99), (3, 4), "beyond the end is the end");
    }

    #[test]
    fn control_characters_are_filled_without_moving_anything() {
        let source = PolicySource::new("p", "a\u{1b}[31m\u{9b}b");
        assert_eq!(source.text(&(0..9)), "a?[31m??b");
    }

    #[test]
    fn a_quote_ends_with_its_line_and_is_bounded() {
        let source = PolicySource::new("p", &format!("ab\ncd{}", "é".repeat(1000)));
        assert_eq!(source.clip(1..9), 1..2);
        let long = source.clip(3..1500);
        assert_eq!(long.start, 3);
        assert!(long.len() <= QUOTE_BYTES_MAX && !source.text(&long).is_empty());
    }

    #[test]
    fn a_very_long_line_is_shown_in_part() {
        let source = PolicySource::new("p", &format!("x\n{}\ny", "é".repeat(100_000)));
        let contents = source.read_span(&(50_002, 10).into(), 1, 1).expect("in bounds");
        assert!(contents.data().len() <= 10 + 2 * MARGIN_BYTES);
        assert_eq!((contents.line(), contents.column() > 20_000), (1, true));
    }
}
