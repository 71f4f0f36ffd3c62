//! Who may read events, and which are kept: `[events]` of the policy.

use serde::{Deserialize, Serialize};

/// Who may read events, and which are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventSettings {
    /// The group whose members may read events, by its name. `None`: root alone may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Bytes that events may take on disk, in `/var/lib/fwx/INSTANCE/events`. 0: none are kept there.
    pub keep_bytes: u64,
}
