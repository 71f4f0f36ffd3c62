//! The text of a policy, of one file or several: where in it something is, and showing a piece of it in a message.

use std::ops::Range;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use super::{
    Place,
    files::{SourceFile, shown},
};

/// Longest piece of text that a message quotes or underlines, in bytes.
const QUOTE_BYTES_MAX: usize = 200;
/// Longest piece of text shown around a problem, in bytes. Beyond it whole lines are not shown but
/// [`MARGIN_BYTES`] on each side.
const SNIPPET_BYTES_MAX: usize = 2_000;
const MARGIN_BYTES: usize = 80;

/// The text of a policy with an index of its lines. The texts of several files stand one behind the other, with a
/// newline between: an offset says which file it is in, and no line belongs to two.
#[derive(Debug)]
pub(super) struct PolicySource {
    /// The files, by the offsets that they begin at.
    files: Vec<FileStart>,
    /// The text, in which each control character gave way to a filler of the same length, so that
    /// showing it cannot drive the reader's terminal.
    text: String,
    /// Offset of the first byte of each line; there is always a first line, at 0.
    line_starts: Vec<usize>,
}

#[derive(Debug)]
struct FileStart {
    name: String,
    offset: usize,
    /// Index of its first line.
    line: usize,
}

impl PolicySource {
    /// The text of one file, which messages call `name`.
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self::join(std::iter::once((name.to_owned(), text)))
    }

    /// The texts of all files of a policy.
    pub(super) fn of(files: &[SourceFile]) -> Self {
        Self::join(files.iter().map(|file| (shown(&file.path), file.text.as_str())))
    }

    fn join<'a>(texts: impl Iterator<Item = (String, &'a str)>) -> Self {
        let mut source = Self { files: Vec::new(), text: String::new(), line_starts: vec![0] };
        for (name, text) in texts {
            if !source.files.is_empty() {
                source.text.push('\n');
                source.line_starts.push(source.text.len());
            }
            let (offset, line) = (source.text.len(), source.line_starts.len() - 1);
            source.files.push(FileStart { name, offset, line });
            source.text.extend(text.chars().flat_map(printable));
            let after_newlines = text.match_indices('\n').map(|(at, _)| offset + at + 1);
            source.line_starts.extend(after_newlines);
        }
        source
    }

    /// The name of the file that `offset` is in.
    pub(super) fn name(&self, offset: usize) -> &str {
        self.file_of(offset).map_or("", |index| self.files[index].name.as_str())
    }

    /// The offset that the file at `index` begins at.
    pub(super) fn start_of(&self, index: usize) -> usize {
        self.files.get(index).map_or(0, |file| file.offset)
    }

    /// The text in `span`; empty where `span` lies outside.
    pub(super) fn text(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// The file, line and column of `offset`.
    pub(super) fn place(&self, offset: usize) -> Place {
        let (line, column) = self.position(offset);
        Place { file: self.name(offset).to_owned(), line, column }
    }

    /// Line and column of `offset` in its file, both counted from 1, columns in characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line_of(offset);
        (line - self.lines_of_file(offset).start + 1, self.column(line, offset) + 1)
    }

    /// The part of `span` that can be quoted: what stands on its first line, and not too much of it.
    pub(super) fn clip(&self, span: Range<usize>) -> Range<usize> {
        let start = self.floor_char_boundary(span.start);
        let end = self.floor_char_boundary(span.end.clamp(start, start + QUOTE_BYTES_MAX));
        let line_end = self.line_end(self.line_of(start)).max(start);
        start..end.min(line_end)
    }

    fn file_of(&self, offset: usize) -> Option<usize> {
        self.files.partition_point(|file| file.offset <= offset).checked_sub(1)
    }

    /// The indices of the lines of the file that `offset` is in.
    fn lines_of_file(&self, offset: usize) -> Range<usize> {
        let index = self.file_of(offset);
        let first = index.map_or(0, |index| self.files[index].line);
        let next = index.and_then(|index| self.files.get(index + 1));
        first..next.map_or(self.line_starts.len(), |next| next.line)
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
        let lines = self.lines_of_file(start);
        let first = self.line_of(start).saturating_sub(context_lines_before).max(lines.start);
        let last = self.line_of(end.saturating_sub(1).max(start));
        if !lines.contains(&last) {
            return Err(MietteError::OutOfBounds);
        }
        let last = last.saturating_add(context_lines_after).min(lines.end - 1);

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
            self.name(start).to_owned(),
            self.text(&shown).as_bytes(),
            (shown.start, shown.len()).into(),
            line - lines.start,
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
    fn an_offset_belongs_to_one_file() {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.to_owned() };
        let files = [file("a", "x\ny"), file("empty", ""), file("b", "é\n\nz")];
        let source = PolicySource::of(&files);
        let told = |offset| (source.name(offset), source.position(offset));
        assert_eq!(told(0), ("a", (1, 1)));
        assert_eq!(told(3), ("a", (2, 2)), "behind its last character");
        assert_eq!(told(source.start_of(1)), ("empty", (1, 1)));
        assert_eq!(told(source.start_of(2)), ("b", (1, 1)));
        assert_eq!(told(source.start_of(2) + 4), ("b", (3, 1)));
        assert_eq!(told(99), ("b", (3, 2)));
        let read = |span: Range<usize>| {
            let contents = source.read_span(&(span.start, span.len()).into(), 5, 5).ok()?;
            let shown = String::from_utf8_lossy(contents.data()).into_owned();
            Some((contents.name()?.to_owned(), contents.line(), shown))
        };
        assert_eq!(read(2..3), Some(("a".to_owned(), 0, "x\ny".to_owned())));
        assert_eq!(read(9..10), Some(("b".to_owned(), 0, "é\n\nz".to_owned())));
        assert_eq!(read(2..6), None, "nothing is in two files");
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
