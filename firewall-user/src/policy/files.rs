//! The files that a policy is made of: the one that was asked for, and those that it includes.

use std::{
    collections::HashMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Policy, PolicyError,
    document::{self, Section},
    error::{ProblemKind, Problems, quote},
    include, parse,
    read::{self, Identity, Unread},
    source::PolicySource,
};

/// Largest policy, in bytes of all its files together.
pub(super) const POLICY_BYTES_MAX: usize = 4 << 20;
/// Most files that a policy is made of.
const FILES_MAX: usize = 256;

/// One file of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it was found. Messages call it so.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// All files of a policy as they were read, in the order in which their rules are tried: each file before those that
/// it includes, and these in the order of its list. The policy can be made of them again when the disk says
/// something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    /// Reads the file at `path` and what it includes.
    ///
    /// # Errors
    /// Files that cannot be read or included, and lists of files that are no lists of files. What else is wrong with
    /// the policy is for [`Sources::parse`] to say.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let mut loader = Loader::default();
        if let Err(unread) = loader.add(path) {
            let mut problems = Problems::new(Arc::new(PolicySource::new(&shown(path), "")));
            let kind = match unread {
                Unread::TooLarge => ProblemKind::FileTooLarge { bytes_max: POLICY_BYTES_MAX },
                Unread::Because(reason) => ProblemKind::Unreadable { reason },
            };
            problems.add_for_file(kind, Some("check that this is the policy's path".to_owned()));
            loader.failed.push(problems.into_error());
        }
        match PolicyError::joined(loader.failed) {
            Some(error) => Err(error),
            None => Ok(Self { files: loader.files }),
        }
    }

    /// These files, in this order, of which there is at least one: what [`Sources::files`] gave before.
    pub fn new(main: SourceFile, included: Vec<SourceFile>) -> Self {
        let files = std::iter::once(main).chain(included).collect();
        Self { files }
    }

    /// The files; the first is the one that includes the others.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The policy that these files describe. Nothing is read from the disk.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the files.
    pub fn parse(&self) -> Result<Policy, PolicyError> {
        parse::parse(self)
    }
}

/// A file's path as messages show it.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Reads files as they are named.
#[derive(Default)]
struct Loader {
    files: Vec<SourceFile>,
    /// Bytes of all of them.
    bytes: usize,
    /// The files that were met, each with the place that included it.
    met: HashMap<Identity, String>,
    /// Those whose lists are being read.
    open: Vec<Identity>,
    /// The place of the list that is being read.
    asked_at: String,
    failed: Vec<PolicyError>,
}

impl Loader {
    /// Reads a file and what it includes. What is wrong in the file itself is noted.
    fn add(&mut self, path: &Path) -> Result<(), Unread> {
        let (identity, file) = read::open(path)?;
        if self.open.contains(&identity) {
            return Err(Unread::because("it is the file that includes it, or includes that"));
        }
        if let Some(place) = self.met.get(&identity) {
            return Err(Unread::Because(format!("it was included before, at {place}")));
        }
        if self.files.len() == FILES_MAX {
            return Err(Unread::Because(format!("a policy is made of {FILES_MAX} files at most")));
        }
        self.met.insert(identity, self.asked_at.clone());
        let bytes = read::read(file, POLICY_BYTES_MAX - self.bytes)?;
        self.bytes += bytes.len();
        match String::from_utf8(bytes) {
            Ok(text) => {
                self.files.push(SourceFile { path: path.to_owned(), text });
                self.open.push(identity);
                self.add_included(self.files.len() - 1);
                self.open.pop();
            }
            Err(error) => self.failed.push(not_utf8(&shown(path), &error)),
        }
        Ok(())
    }

    /// Reads what the file at `index` includes.
    fn add_included(&mut self, index: usize) {
        let SourceFile { path, text } = &self.files[index];
        // What is no TOML is told when all of it is parsed.
        if !text.contains(include::KEY) || toml::de::DeTable::parse(text).is_err() {
            return;
        }
        let source = Arc::new(PolicySource::new(&shown(path), text));
        let mut problems = Problems::new(source.clone());
        let path = path.clone();
        let entries = included(text, &mut problems);
        for (entry, span) in entries {
            let found = include::find(&path, &entry).and_then(|files| {
                for file in files {
                    self.asked_at = source.place(span.start).to_string();
                    self.add(&file).map_err(|unread| (shown(&file), unread))?;
                }
                Ok(())
            });
            if let Err((file, unread)) = found {
                let reason = match unread {
                    Unread::TooLarge => {
                        format!("with it the policy is larger than {POLICY_BYTES_MAX} bytes")
                    }
                    Unread::Because(reason) => reason,
                };
                let kind = ProblemKind::Include { file: quote(&file), reason };
                problems.add(span, kind, None);
            }
        }
        if let Err(error) = problems.none_or_error(()) {
            self.failed.push(error);
        }
    }
}

/// What the file with this text includes, and where it says so. What is wrong with the list goes to `problems`.
fn included(text: &str, problems: &mut Problems) -> Vec<(String, Range<usize>)> {
    let Some(document) = document::parse(text, 0, problems) else { return Vec::new() };
    include::listed(&Section::root(&document), problems)
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
