//! The rules of the other firewalls, as their users write them. All do the same: what belongs to a connection passes,
//! a SYN begins one, and the rest is dropped and counted.

/// Where the dropped packets are counted.
pub(super) const COUNTER: &str = "dropped";
pub(super) const TABLE: &str = "bench";

/// Without it conntrack would make a connection of a segment from the midst of one.
pub(super) const STRICT: [&str; 2] = ["netfilter/nf_conntrack_tcp_loose", "0"];

pub(super) const NFTABLES: &str = "table inet bench {
    counter dropped {}
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        tcp flags & (fin | syn | rst | ack) == syn ct state new accept
        counter name dropped drop
    }
}";

/// Behind conntrack, which has priority -200, and before the kernel looks for a route.
pub(super) const NFTABLES_EARLY: &str = "table inet bench {
    counter dropped {}
    chain prerouting {
        type filter hook prerouting priority mangle; policy accept;
        ct state invalid counter name dropped drop
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        tcp flags & (fin | syn | rst | ack) == syn ct state new accept
    }
}";

pub(super) const NFTABLES_STATELESS: &str = "table netdev bench {
    counter dropped {}
    chain ingress {
        type filter hook ingress device lan0 priority 0; policy accept;
        ip protocol tcp tcp flags & (fin | syn | rst | ack) != syn counter name dropped drop
    }
}";

/// What comes to `device` of the connection whose packets are forwarded is counted and dropped: no end answers.
pub(super) fn silence(device: &str) -> String {
    format!(
        "table netdev {TABLE} {{
            counter {COUNTER} {{}}
            chain ingress {{
                type filter hook ingress device {device} priority 0; policy accept;
                tcp dport {FORWARDED_PORT} counter name {COUNTER} drop
                tcp sport {FORWARDED_PORT} counter name {COUNTER} drop
            }}
        }}"
    )
}

/// The server's port of that connection.
pub(super) const FORWARDED_PORT: u16 = 9_000;

/// Arguments of one call of `iptables` each.
pub(super) const IPTABLES: [&str; 4] = [
    "-P FORWARD DROP",
    "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    "-A FORWARD -p tcp --syn -m conntrack --ctstate NEW -j ACCEPT",
    "-A FORWARD -j DROP",
];

/// Loads xdp-filter for as long as the shell runs. Its pins lie in a file system that goes with the shell's mount
/// namespace; the kernel has detached the program with the interface by then.
pub(super) fn xdp_filter(port: u16) -> String {
    format!(
        "mount -t bpf bpf /sys/fs/bpf && \
         xdp-filter load --mode native --features tcp lan0 && \
         xdp-filter port {port} --mode dst --proto tcp && \
         echo {READY} && exec sleep infinity"
    )
}

/// What the shell says when xdp-filter stands.
pub(super) const READY: &str = "ready";

/// How many packets the counter of nftables has seen, in what `nft list counter` prints.
pub(super) fn packets_of_nft(text: &str) -> Option<u64> {
    text.split_whitespace().skip_while(|word| *word != "packets").nth(1)?.parse().ok()
}

/// How many packets the rule that drops has seen, in what `iptables --list-rules FORWARD --verbose` prints.
pub(super) fn packets_of_iptables(text: &str) -> Option<u64> {
    let line =
        text.lines().find(|line| line.starts_with("-A FORWARD") && line.ends_with("-j DROP"))?;
    line.split_whitespace().skip_while(|word| *word != "-c").nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_in_what_the_tools_print() {
        let nft = "table inet bench {\n\tcounter dropped {\n\t\tpackets 17 bytes 782\n\t}\n}\n";
        assert_eq!(packets_of_nft(nft), Some(17));
        assert_eq!(packets_of_nft("table inet bench {}"), None);
        let iptables = "-P FORWARD DROP -c 0 0\n\
             -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -c 4 160 -j ACCEPT\n\
             -A FORWARD -c 42 1680 -j DROP\n";
        assert_eq!(packets_of_iptables(iptables), Some(42));
        assert_eq!(packets_of_iptables("-P FORWARD DROP -c 9 360\n"), None);
    }
}
