//! The metrics page of a firewall, as a client gets it.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{Fwx, Host, wait};

/// Where the policy of [`with_metrics`] has the controller listen.
pub const ADDRESS: &str = "127.0.0.1:9464";
const PATIENCE: Duration = Duration::from_secs(10);

/// The policy, with an export of metrics to Prometheus.
pub fn with_metrics(policy: &str) -> String {
    format!("{policy}\n[export.prometheus]\nkind = \"prometheus\"\nlisten = \"{ADDRESS}\"\n")
}

/// The metrics page, as text of the form of old.
pub fn scrape(host: &Host) -> Result<String> {
    let address: SocketAddr = ADDRESS.parse()?;
    let mut stream = host.run(|| TcpStream::connect_timeout(&address, PATIENCE))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: gateway\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").context("an answer has a body")?;
    Ok(body.to_owned())
}

/// Waits until the page is there, with the figures of a sweep that began after now.
pub fn wait_for_a_sweep(fwx: &Fwx<'_>, host: &Host) -> Result<()> {
    const SWEPT: &str = "fwx_sweep_timestamp_seconds";
    let before =
        wait::until("the page is there", || scrape(host)).with_context(|| fwx.controller_log())?;
    let mut seen = vec![values(&before).get(SWEPT).copied().unwrap_or(0.0)];
    wait::until_within(6_000, "the flows are swept", || {
        let page = scrape(host)?;
        let swept = *values(&page).get(SWEPT).context("no sweep yet")?;
        if !seen.contains(&swept) {
            seen.push(swept);
        }
        // The first that is new may have begun before.
        ensure!(seen.len() > 2, "swept at {seen:?}");
        Ok(())
    })
}

/// The values of a page, by name and labels as they are written there.
pub fn values(page: &str) -> BTreeMap<&str, f64> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(series, value)| Some((series, value.parse().ok()?)))
        .collect()
}
