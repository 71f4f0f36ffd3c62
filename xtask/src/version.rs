//! Version numbers, as far as they decide anything here: major and minor.

use std::fmt;

/// Major and minor version, compared in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Version {
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Reads `1.96.0`, `1.98.0-nightly` or a package's `1:22.1.8-1~deb12u1`, where the epoch says
    /// nothing about the software.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let upstream = text.split_once(':').map_or(text, |(_epoch, rest)| rest);
        let mut numbers = upstream.split(|c: char| !c.is_ascii_digit());
        Some(Self {
            major: numbers.next()?.parse().ok()?,
            minor: numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn reads_what_compilers_and_packages_say() {
        for (text, expected) in [
            ("1.96.0", Some(Version::new(1, 96))),
            ("1.98.0-nightly", Some(Version::new(1, 98))),
            ("1.85.0+dfsg3-1~deb12u3", Some(Version::new(1, 85))),
            ("1:22.1.8-1~deb12u1", Some(Version::new(22, 1))),
            ("22", Some(Version::new(22, 0))),
            ("", None),
            ("unknown", None),
            ("99999999999.1", None),
        ] {
            assert_eq!(Version::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn compares_numbers_not_text() {
        assert!(Version::new(1, 100) > Version::new(1, 96));
        assert!(Version::new(2, 0) > Version::new(1, 96));
    }
}
