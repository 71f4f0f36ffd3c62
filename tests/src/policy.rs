//! Policies of the lab's firewalls.
//!
//! Their tables are small: many firewalls run at once in the tests, and the kernel keeps all of a table's memory
//! ready from the start.

/// Room for all flows that a test has.
const TABLES: &str = "[tables]\ncompleted = 65536\nhalf_open = 16384\n";

/// A rule that lets the gateway itself say what it has to: exports, and questions for names.
pub const THE_GATEWAY_ITSELF: &str = r#"
[[rule]]
name = "the gateway itself"
action = "allow"
interface = ["self"]
"#;

/// A policy that lets the inside see the cameras, over TCP and over UDP, and nothing else. The RTSP
/// filter is bound to port 554, in `enforce` mode, with `profile`.
pub fn cameras(interfaces: &[&str], profile: &str) -> String {
    format!(
        r#"[gateway]
interfaces = {interfaces:?}
default = "deny"

{TABLES}
[network.inside]
prefixes = ["10.1.0.0/24", "fd00:1::/64"]

[network.branch]
prefixes = ["10.2.0.0/24", "fd00:2::/64"]

[protocol.rtsp]
transport = "tcp"
ports = [554]
filter = "rtsp"

[protocol.media]
transport = "udp"
ports = ["1024-65535"]

[filter.rtsp]
mode = "enforce"
profile = "{profile}"

[[rule]]
name = "cameras"
action = "allow"
from = ["inside"]
to = ["branch"]
protocols = ["rtsp", "media"]

# Either end may send the first packet of a stream.
[[rule]]
name = "media-from-cameras"
action = "allow"
from = ["branch"]
to = ["inside"]
protocols = ["media"]
"#
    )
}

/// A policy that lets the inside talk RTSP to the cameras, and nothing else: one rule. The RTSP filter is bound to
/// ports 554 and 8554, in `mode` and the standard profile; media over UDP has to come by its pinholes.
pub fn rtsp_alone(interfaces: &[&str], mode: &str) -> String {
    format!(
        r#"[gateway]
interfaces = {interfaces:?}
default = "deny"

{TABLES}
[network.inside]
prefixes = ["10.1.0.0/24", "fd00:1::/64"]

[network.branch]
prefixes = ["10.2.0.0/24", "fd00:2::/64"]

[protocol.rtsp]
transport = "tcp"
ports = [554, 8554]
filter = "rtsp"

[filter.rtsp]
mode = "{mode}"
profile = "standard"

[[rule]]
name = "cameras"
action = "allow"
from = ["inside"]
to = ["branch"]
protocols = ["rtsp"]
"#
    )
}

/// A policy that allows every new flow and binds no filter.
pub fn open(interfaces: &[&str]) -> String {
    format!("[gateway]\ninterfaces = {interfaces:?}\ndefault = \"allow\"\n\n{TABLES}")
}

/// The policy with flow tables of other sizes.
pub fn with_tables(policy: &str, completed: u32, half_open: u32) -> String {
    assert!(policy.contains(TABLES), "a policy of the lab's");
    policy.replace(TABLES, &format!("[tables]\ncompleted = {completed}\nhalf_open = {half_open}\n"))
}

/// A policy that allows every new flow, and binds the RTSP filter to ports 554 and 8554, in `enforce` mode, with
/// `profile`.
pub fn filtering(interfaces: &[&str], profile: &str) -> String {
    format!(
        r#"{}
[protocol.rtsp]
transport = "tcp"
ports = [554, 8554]
filter = "rtsp"

[filter.rtsp]
mode = "enforce"
profile = "{profile}"
"#,
        open(interfaces)
    )
}

/// A policy that lets the inside begin FTP's control connections to the cameras' network, and nothing else. The FTP
/// filter is bound to port 21, in `enforce` mode, with `profile` and `settings` more.
pub fn files(interfaces: &[&str], profile: &str, settings: &str) -> String {
    format!(
        r#"[gateway]
interfaces = {interfaces:?}
default = "deny"

{TABLES}
[network.inside]
prefixes = ["10.1.0.0/24", "fd00:1::/64"]

[network.branch]
prefixes = ["10.2.0.0/24", "fd00:2::/64"]

[protocol.ftp]
transport = "tcp"
ports = [21]
filter = "ftp"

[filter.ftp]
mode = "enforce"
profile = "{profile}"
{settings}

[[rule]]
name = "files"
action = "allow"
from = ["inside"]
to = ["branch"]
protocols = ["ftp"]
"#
    )
}

/// A policy that lets the inside send mail to the branch, and nothing else. The SMTP filter is bound to port 25, in
/// `enforce` mode and the standard profile, and allows `commands`.
pub fn mail(interfaces: &[&str], commands: &[&str]) -> String {
    format!(
        r#"[gateway]
interfaces = {interfaces:?}
default = "deny"

{TABLES}
[network.inside]
prefixes = ["10.1.0.0/24", "fd00:1::/64"]

[network.branch]
prefixes = ["10.2.0.0/24", "fd00:2::/64"]

[protocol.smtp]
transport = "tcp"
ports = [25]
filter = "smtp"

[filter.smtp]
mode = "enforce"
profile = "standard"
commands = {commands:?}

[[rule]]
name = "mail"
action = "allow"
from = ["inside"]
to = ["branch"]
protocols = ["smtp"]
"#
    )
}

/// A policy that denies everything but what `rules` let in, each by its name one of these protocols: `web` and `rtsp`
/// and `ssh` at their ports over TCP, `data` and `noise` at 5000 and 6000 over UDP.
pub fn by_rules(interfaces: &[&str], rules: &[(&str, &str)]) -> String {
    let mut text = open(interfaces).replace("\"allow\"", "\"deny\"");
    for (protocol, transport, port) in [
        ("web", "tcp", 80),
        ("rtsp", "tcp", 554),
        ("ssh", "tcp", 22),
        ("data", "udp", 5000),
        ("noise", "udp", 6000),
    ] {
        text += &format!("[protocol.{protocol}]\ntransport = \"{transport}\"\nports = [{port}]\n");
    }
    for (name, protocol) in rules {
        text += &format!(
            "[[rule]]\nname = \"{name}\"\naction = \"allow\"\nprotocols = [\"{protocol}\"]\n"
        );
    }
    text
}
