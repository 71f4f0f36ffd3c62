//! Application filters: resumable parsers over the byte stream of one direction of a connection.
//!
//! [`stream`] says which bytes of a segment a parser is to see; the parser says what it objects to in
//! [`finding`] terms; the binding's profile says which of these findings kill. A new filter is a module
//! of its own with a [`FilterInfo`], and one entry in [`FilterId`].

pub mod address;
pub mod connection;
pub mod drive;
pub mod excerpt;
pub mod finding;
pub mod ftp;
pub mod named;
pub mod parser;
pub mod pinhole;
pub mod recent;
pub mod rtsp;
pub mod smtp;
pub mod stream;
#[cfg(test)]
mod tests;
mod token;

use crate::policy::Profile;
use finding::{FindingInfo, Findings};

/// What is known of a filter before it runs.
#[derive(Clone, Copy, Debug)]
pub struct FilterInfo {
    /// Its name in policies and events.
    pub name: &'static str,
    /// The ports that its protocol is usually spoken on.
    pub usual_ports: &'static [u16],
    /// The commands that a policy can allow by name, in the order of their bits, at most 64.
    pub commands: &'static [&'static str],
    /// All that it can object to, in the order of codes.
    pub findings: &'static [FindingInfo],
}

/// Makes the list of filters: for each its name here, its number and its module.
macro_rules! registry {
    ($($(#[$doc:meta])* $id:ident = $number:literal in $module:ident;)*) => {
        /// The filters there are. The numbers stand in pinned maps: they are never used again for another.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FilterId {
            $($(#[$doc])* $id = $number,)*
        }

        impl FilterId {
            /// Every filter.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$id),*];

            /// What is known of the filter.
            pub const fn info(self) -> &'static FilterInfo {
                match self {
                    $(Self::$id => &$module::INFO,)*
                }
            }

            /// The filter that `raw` stands for; 0 and what is unknown stand for none.
            #[inline(always)]
            pub const fn from_raw(raw: u8) -> Option<Self> {
                match raw {
                    $($number => Some(Self::$id),)*
                    _ => None,
                }
            }
        }
    };
}

registry! {
    /// The Real Time Streaming Protocol, see [`rtsp`].
    Rtsp = 1 in rtsp;
    /// The Simple Mail Transfer Protocol, see [`smtp`].
    Smtp = 2 in smtp;
    /// The File Transfer Protocol, see [`ftp`].
    Ftp = 3 in ftp;
}

impl FilterId {
    /// The filter that policies call `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|filter| filter.name() == name)
    }

    /// The name in policies and events.
    pub const fn name(self) -> &'static str {
        self.info().name
    }

    /// The ports that the filter's protocol is usually spoken on.
    pub const fn usual_ports(self) -> &'static [u16] {
        self.info().usual_ports
    }

    /// The commands that a policy can allow by name, in the order of their bits.
    pub const fn commands(self) -> &'static [&'static str] {
        self.info().commands
    }

    /// All that the filter can object to, in the order of codes.
    pub const fn findings(self) -> &'static [FindingInfo] {
        self.info().findings
    }

    /// Those findings that kill in `profile`.
    pub const fn killing(self, profile: Profile) -> Findings {
        Findings::killing(self.findings(), profile)
    }
}

#[cfg(test)]
mod registry {
    use super::*;
    use finding::Effect;

    #[test]
    fn names_and_numbers_lead_back_to_the_filter() {
        for filter in FilterId::ALL {
            assert_eq!(FilterId::from_name(filter.name()), Some(filter));
            assert_eq!(FilterId::from_raw(filter as u8), Some(filter));
        }
        assert_eq!(FilterId::from_raw(0), None);
        assert_eq!(FilterId::from_name("none"), None);
    }

    #[test]
    fn finding_tables_are_in_order_and_well_formed() {
        for filter in FilterId::ALL {
            for (code, finding) in filter.findings().iter().enumerate() {
                let FindingInfo { name, summary, reference, .. } = finding;
                assert_eq!(usize::from(finding.code), code, "{name}");
                assert!(code < 32, "{name}");
                assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
                assert!(!summary.is_empty() && !summary.contains('\n'), "{name}");
                assert!(reference.contains('§'), "{name}");
            }
        }
    }

    #[test]
    fn strict_kills_all_that_standard_kills() {
        for filter in FilterId::ALL {
            for finding in filter.findings() {
                if finding.standard == Effect::Kill {
                    assert_eq!(finding.strict, Effect::Kill, "{}", finding.name);
                }
                assert_eq!(
                    filter.killing(Profile::Strict).contains(finding.code),
                    finding.strict == Effect::Kill
                );
            }
        }
    }
}
