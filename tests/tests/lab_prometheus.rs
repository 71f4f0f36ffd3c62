//! A real Prometheus scrapes the controller, with the alerts that are shipped.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use firewall_common::reason::Reason;
use firewall_user::metrics::{Definition, definitions};
use lab::{
    Fwx, Host, Lab, Mode, Process,
    peers::stray,
    policy, receivers,
    scraping::{self, scrape, values, with_metrics},
    wait,
};
use serde_json::Value;

/// Where Prometheus listens.
const PROMETHEUS: &str = "127.0.0.1:9090";
const NOT_SYN: &str = Reason::TcpNotSyn.name();
/// Packets that are dropped.
const DROPS: u16 = 7;

const PATIENCE: Duration = Duration::from_secs(5);
/// After so many connections the controller is killed.
const VISITS_OF_THE_FIRST: usize = 60;
/// Connections come until so many sweeps were seen, but no more than those.
const SWEEPS: usize = 4;
const MOST_VISITS: usize = 5_000;
/// What the page calls the counters of what no rule speaks about.
const PACKETS: &str = r#"fwx_rule_packets_total{rule="(default)"}"#;
const BYTES: &str = r#"fwx_rule_bytes_total{rule="(default)"}"#;
const FLOWS: &str = r#"fwx_rule_flows_total{rule="(default)"}"#;

/// Starts Prometheus on the gateway, as one that scrapes the controller every second.
fn prometheus(host: &Host) -> Result<Process> {
    let alerts =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../monitoring/prometheus/fwx.rules.yml");
    let configuration = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: [{:?}]\n\
         scrape_configs:\n  - job_name: fwx\n    static_configs: [{{targets: [{:?}]}}]\n",
        alerts,
        scraping::ADDRESS
    );
    let configuration = host.write_file("prometheus.yml", configuration)?;
    let data = host.make_directory("prometheus-data")?;
    let mut command = receivers::prometheus(host)?;
    command.arg("--config.file").arg(configuration).arg("--storage.tsdb.path").arg(data);
    command.args(["--web.listen-address", PROMETHEUS, "--log.level", "warn"]);
    host.start("prometheus", command)
}

/// What Prometheus says to `path` of its API, with `query` if that is not empty.
fn api(host: &Host, path: &str, query: &str) -> Result<Value> {
    let mut curl = host.command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "5", "--get"]);
    if !query.is_empty() {
        curl.arg("--data-urlencode").arg(format!("query={query}"));
    }
    let answer = host.output(curl.arg(format!("http://{PROMETHEUS}/api/v1/{path}")))?;
    let mut answer: Value = serde_json::from_str(&answer)?;
    ensure!(answer["status"] == "success", "{answer}");
    Ok(answer["data"].take())
}

/// The values that Prometheus has for a query, by one label.
fn query(host: &Host, query: &str, label: &str) -> Result<BTreeMap<String, f64>> {
    let data = api(host, "query", query)?;
    let series = data["result"].as_array().with_context(|| data.to_string())?;
    let sample = |series: &Value| {
        let label = series["metric"][label].as_str()?.to_owned();
        Some((label, series["value"][1].as_str()?.parse().ok()?))
    };
    series.iter().map(|it| sample(it).with_context(|| it.to_string())).collect()
}

#[test]
fn a_real_prometheus_tells_drops_by_reason() {
    let lab = Lab::single().unwrap();
    let gateway = lab.gateway();
    let mut fwx = Fwx::new(gateway, lab.instance("gw")).unwrap();
    fwx.run(&with_metrics(&policy::filtering(&["lan0", "wan0"], "standard")), Mode::Auto).unwrap();
    let mut prometheus = prometheus(gateway).unwrap();
    wait::until_within(3_000, "Prometheus has scraped", || {
        prometheus.check_alive()?;
        let up = query(gateway, "up", "job")?;
        ensure!(up == BTreeMap::from([("fwx".to_owned(), 1.0)]), "{up:?}");
        Ok(())
    })
    .unwrap();

    let server = lab.camera.socket_v4(554);
    for port in 40_000..40_000 + DROPS {
        stray::lone_ack(&lab.client, lab.client.socket_v4(port), server).unwrap();
    }
    wait::until("Prometheus knows of the drops", || {
        let drops = query(gateway, "fwx_dropped_packets_total > 0", "reason")?;
        ensure!(drops == BTreeMap::from([(NOT_SYN.to_owned(), f64::from(DROPS))]), "{drops:?}");
        Ok(())
    })
    .unwrap();

    // All that stands on the page has arrived, and nothing is wrong with it or with the alerts.
    let samples = query(gateway, "scrape_samples_scraped", "job").unwrap()["fwx"];
    assert_eq!(samples as usize, values(&scrape(gateway).unwrap()).len());
    let targets = api(gateway, "targets", "").unwrap();
    assert_eq!(targets["activeTargets"][0]["lastError"], "", "{targets}");
    let rules = api(gateway, "rules", "").unwrap();
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        assert_eq!((&rule["health"], &rule["state"]), (&"ok".into(), &"inactive".into()), "{rule}");
    }
}

#[test]
fn the_page_has_every_metric_that_is_defined_and_promtool_takes_it() {
    let lab = Lab::single().unwrap();
    let gateway = lab.gateway();
    let mut fwx = Fwx::new(gateway, lab.instance("gw")).unwrap();
    fwx.run(&with_metrics(&policy::filtering(&["lan0", "wan0"], "standard")), Mode::Auto).unwrap();
    scraping::wait_for_a_sweep(&fwx, gateway).unwrap();
    let page = scrape(gateway).unwrap();
    let there: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let defined: BTreeSet<&str> = definitions::ALL.iter().map(|it| it.name).collect();
    assert_eq!(there, defined);
    for series in values(&page).into_keys() {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let Definition { labels: defined, .. } =
            definitions::ALL.iter().find(|it| it.name == name).expect(name);
        let labels: Vec<_> =
            labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
        assert_eq!(labels, *defined, "{series}");
        for address in ["10.1.", "10.2.", "fd00:"] {
            assert!(!series.contains(address), "{series}");
        }
    }

    let mut promtool = receivers::promtool().unwrap();
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = promtool.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// Counters of the page that the kernel keeps, or that must be as good as those: by name and labels.
fn lasting(page: &str) -> BTreeMap<&str, f64> {
    let mut values = values(page);
    let is_lasting = |series: &str| {
        ["fwx_rule_", "fwx_packets_", "fwx_bytes_", "fwx_dropped_", "fwx_outcomes_", "fwx_flows_"]
            .iter()
            .any(|name| series.starts_with(name))
    };
    values.retain(|series, _| is_lasting(series) && !series.starts_with("fwx_rule_live_flows"));
    values
}

/// A connection begins, some kilobytes go over it, and it ends.
fn visit(lab: &Lab, listener: &TcpListener) {
    let address = listener.local_addr().unwrap();
    let near = lab.client.run(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap().unwrap();
    let (mut far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    (&near).write_all(&[0x55; 8_000]).unwrap();
    far.read_exact(&mut [0; 8_000]).unwrap();
    drop(near);
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
}

#[test]
fn counters_of_rules_never_go_back_and_come_to_what_fwx_rules_says() {
    let lab = Lab::single().unwrap();
    let gateway = lab.gateway();
    let mut fwx = Fwx::new(gateway, lab.instance("gw")).unwrap();
    let short = "[timeouts]\ntime_wait = 1\nclose = 1\n";
    let policy = policy::open(&["lan0", "wan0"]) + short;
    fwx.run(&with_metrics(&policy), Mode::Auto).unwrap();
    scraping::wait_for_a_sweep(&fwx, gateway).unwrap();
    let listener =
        lab.camera.run(|| TcpListener::bind(lab.camera.socket_v4(7_000))).unwrap().unwrap();

    let mut before = scrape(gateway).unwrap();
    let mut sweeps = BTreeSet::new();
    for round in 0..MOST_VISITS {
        visit(&lab, &listener);
        if round == VISITS_OF_THE_FIRST {
            fwx.kill_controller().unwrap();
            fwx.run_again().unwrap();
        }
        let page = wait::until("the page is there", || scrape(gateway)).unwrap();
        let now = lasting(&page);
        for (series, value) in lasting(&before) {
            // The controller that has just started has not swept yet.
            let Some(now) = now.get(series) else { continue };
            assert!(*now >= value, "{series} went from {value} back to {now}, visit {round}");
        }
        let swept = values(&page).get("fwx_sweep_timestamp_seconds").map(|it| it.to_string());
        sweeps.extend(swept);
        let has_rules = now.contains_key(PACKETS);
        if sweeps.len() >= SWEEPS && round > VISITS_OF_THE_FIRST {
            break;
        }
        if has_rules {
            before = page;
        }
    }
    assert!(sweeps.len() >= SWEEPS, "{sweeps:?}");

    scraping::wait_for_a_sweep(&fwx, gateway).unwrap();
    let rules = fwx.call(&["rules", "-o", "json"]).unwrap().success().unwrap();
    let rules: Value = serde_json::from_str(&rules).unwrap();
    let page = scrape(gateway).unwrap();
    let told = values(&page);
    for (name, field) in [(PACKETS, "packets"), (BYTES, "bytes"), (FLOWS, "flows")] {
        assert_eq!(told.get(name).copied(), rules[0][field].as_f64(), "{name}: {rules}");
    }
    assert!(told[BYTES] > 8_000.0 * VISITS_OF_THE_FIRST as f64, "{rules}");
}
