//! What an operator's Prometheus sees of clients that wait, over real sockets.

use super::*;

/// All that is told at `/metrics`, with the media type.
fn told(world: &World, accept: &str) -> (String, String) {
    let mut wire = world.connect();
    wire.send(&format!(
        "GET /metrics HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nAccept: {accept}\r\n\
         Connection: close\r\n\r\n",
        world.address,
        "k".repeat(32)
    ));
    assert!(wire.ends());
    let text = String::from_utf8(std::mem::take(&mut wire.seen)).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap();
    (kind.to_owned(), body.to_owned())
}

/// The value of one line.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is missing in\n{text}")).parse().unwrap()
}

#[test]
fn deliveries_opens_and_closes_are_counted_by_transport_and_code() {
    let mut world = World::new();
    let mut streams = Vec::new();
    for user in ["alice", "bob"] {
        let mut wire = world.connect();
        wire.send(&world.head(user, "/v1/sse?channels=news"));
        wire.until("event: opened");
        streams.push(wire);
        world.until_held(user, 1);
    }
    for number in 0..3 {
        world.publish("news", &number.to_string());
    }
    for wire in &mut streams {
        wire.until("\"data\":2");
    }
    let (status, answer) = world.poll("carol", "cursor=earliest&channels=news");
    assert_eq!((status, data(&answer)), (200, vec![0, 1, 2]));
    let (_, text) = told(&world, "*/*");
    for (series, count) in [
        ("encke_connections{transport=\"sse\"}", 2.0),
        ("encke_connections{transport=\"poll\"}", 0.0),
        ("encke_connections_opened_total{transport=\"sse\"}", 2.0),
        ("encke_connections_opened_total{transport=\"poll\"}", 1.0),
        ("encke_deliveries_total{transport=\"sse\"}", 6.0),
        ("encke_deliveries_total{transport=\"poll\"}", 3.0),
        // Those of the poll were read from the engine: they are as old as their client was away.
        ("encke_accepted_to_delivered_seconds_count", 6.0),
        ("encke_connections_closed_total{code=\"operator\"}", 0.0),
        ("encke_engine_messages", 3.0),
    ] {
        assert!((value(&text, series) - count).abs() < 0.1, "{series}\n{text}");
    }
    let written = value(&text, "encke_sockets_written_bytes_total");
    assert!(written > 1_000.0 && value(&text, "encke_sockets_read_bytes_total") > 500.0, "{text}");

    let mut wire = world.connect();
    let body = "{\"user\":\"alice\"}";
    wire.send(&format!(
        "POST /api/close HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        world.address,
        "k".repeat(32),
        body.len()
    ));
    assert_eq!(wire.response().1["closed"], 1);
    let (_, text) = told(&world, "*/*");
    assert!((value(&text, "encke_connections_closed_total{code=\"operator\"}") - 1.0).abs() < 0.1);
    assert!((value(&text, "encke_connections{transport=\"sse\"}") - 1.0).abs() < 0.1);
}

#[test]
fn a_gap_is_counted_by_its_reason() {
    let mut world = World::new();
    world.publish("news", "1");
    let (_, answer) = world.poll("alice", "cursor=1~zzz~news~7");
    assert_eq!(answer["gaps"][0]["reason"], "epoch", "{answer}");
    let (_, text) = told(&world, "*/*");
    let counted = |reason| value(&text, &format!("encke_gaps_total{{reason=\"{reason}\"}}"));
    assert_eq!(["epoch", "trimmed", "slow"].map(|reason| counted(reason) as u64), [1, 0, 0], "{text}");
}

#[test]
fn a_reader_that_asks_for_openmetrics_gets_it_whole() {
    let world = World::new();
    let (kind, text) = told(&world, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.ends_with("# EOF\n") && text.contains("# UNIT encke_unsent_bytes bytes\n"), "{text}");
    // Each family once, with its help and its type before its values.
    let types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let names: Vec<&str> = types.iter().filter_map(|line| line.split(' ').next()).collect();
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), names.len(), "{names:?}");
    assert!(names.len() > 30 && names.iter().all(|name| text.contains(&format!("# HELP {name} "))));
    let (kind, text) = told(&world, "text/plain");
    assert!(kind.starts_with("text/plain; version=0.0.4") && !text.contains("# EOF"), "{kind}");
}

/// The names of metrics in a text: words that begin like one.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    words.filter(|word| word.starts_with("encke_") || word.starts_with("process_"))
}

/// Metrics that are not drawn: they say little beside the ones that are.
const NOT_ON_THE_DASHBOARD: [&str; 2] = ["process_virtual_memory_bytes", "process_threads"];

/// What is told by a server of which all has happened that brings a metric into being.
fn told_of_everything() -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::with(|config| {
        config.engine = EngineUrl::local("log");
        config.data = dir.path().to_owned();
    });
    // What is told by a label is there once it has happened.
    let mut wire = world.connect();
    wire.send(&world.head("alice", "/v1/sse?channels=news"));
    wire.until("event: opened");
    world.publish("news", "1");
    wire.until("\"data\":1");
    let metrics = encke::metrics::Metrics::global();
    metrics.tls_certificate_not_after_s.of("cert.pem").set(1);
    metrics.tls_acme_orders.of("issued");
    metrics.part_failures.of("none");
    metrics.webhook_events_lag.of("1".to_owned());
    metrics.webhook_events_lost.of("1".to_owned());
    metrics.webhook_events.of("1".to_owned());
    let _ = metrics.webhook_batches("1", "delivered");
    told(&world, "*/*").1
}

#[test]
fn every_metric_is_on_the_dashboard_or_is_left_out_by_name() {
    let text = told_of_everything();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let families: Vec<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    let dashboard = read(&root(), "packaging/grafana/encke.json");
    let drawn: std::collections::HashSet<&str> = names(&dashboard).collect();
    let is_drawn = |family: &&str| {
        let parts = ["", "_bucket", "_count", "_sum", "_total"];
        parts.iter().any(|part| drawn.contains(format!("{family}{part}").as_str()))
    };
    let (seen, unseen): (Vec<&str>, Vec<&str>) = families.into_iter().partition(is_drawn);
    assert!(seen.len() > 40, "{seen:?}");
    assert_eq!(unseen, NOT_ON_THE_DASHBOARD);
}

#[test]
fn every_metric_that_a_rule_the_dashboard_or_the_documentation_names_exists() {
    let text = told_of_everything();
    let told: std::collections::HashSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let exists = |name: &str| {
        let parts = ["", "_bucket", "_count", "_sum"];
        parts.iter().any(|part| told.contains(format!("{name}{part}").as_str()))
    };
    let root = root();
    let operating = read(&root, "docs/OPERATING.md");
    let (_, table) = operating.split_once("## What to watch").unwrap();
    for (file, text, least) in [
        ("encke-alerts.yml", read(&root, "packaging/prometheus/encke-alerts.yml"), 20),
        ("encke.json", read(&root, "packaging/grafana/encke.json"), 40),
        ("OPERATING.md", table.to_owned(), 40),
    ] {
        // `encke_slow_*` and `process_…` stand for several.
        let found: Vec<&str> = names(&text).filter(|name| !name.ends_with('_')).collect();
        assert!(found.len() >= least, "{file}: {found:?}");
        let missing: Vec<&&str> = found.iter().filter(|name| !exists(name)).collect();
        assert!(missing.is_empty(), "{file}: {missing:?}\n{told:?}");
    }
}

fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(root: &std::path::Path, path: &str) -> String {
    std::fs::read_to_string(root.join(path)).unwrap()
}
