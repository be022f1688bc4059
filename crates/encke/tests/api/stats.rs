//! How nodes are, and how that went, as operators and the console see it.

use std::sync::Arc;

use encke::{clock::TestClock, stats::Stats};
use encke_proto::Time;
use serde_json::{Value, json};

use crate::world::{Ask, World};

fn get(world: &World, path: &str) -> Value {
    world.call(Ask::get(path).key()).ok()
}

#[test]
fn a_node_says_how_it_is_alone_in_the_list_and_in_the_sums() {
    let world = World::new();
    let mut held = world.connect();
    world.hold(&mut held, "alice", "news");
    for number in 0..3 {
        world.publish("news", number);
        world.push(&["alice"], number);
    }
    world.until_delivered(6);
    let node = get(&world, "/api/node");
    assert_eq!((&node["id"], &node["engine"]), (&Value::Null, &json!("memory")));
    assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(node["addresses"], json!([format!("http://{}", world.address())]));
    assert_eq!((&node["connections"], &node["sessions"], &node["users"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!((&node["totals"]["deliveries"], &node["totals"]["opened"]), (&json!(6), &json!(1)));
    let rate = |of: &Value, what: &str| of["rates"][what].as_f64().unwrap();
    assert!(rate(&node, "deliveries") > 0.0 && rate(&node, "pushes") > 0.0, "{node}");
    let p99 = node["latency_ms"]["p99"].as_f64().unwrap();
    assert!((0.0..60_000.0).contains(&p99), "{node}");
    let nodes = get(&world, "/api/nodes");
    assert_eq!((&nodes["nodes"][0]["node"], &nodes["silent"]), (&node["node"], &json!([])));
    assert_eq!(nodes["nodes"].as_array().map(Vec::len), Some(1));
    let stats = get(&world, "/api/stats");
    assert_eq!((&stats["nodes"], &stats["silent"], &stats["users"]), (&json!(1), &json!(0), &json!(1)));
    assert_eq!(stats["totals"]["deliveries"], 6);
    assert_eq!(stats["minute"]["shown_ms"], Value::Null);
    assert!(rate(&stats["hour"], "publishes") > 0.0 && stats["minute"]["latency_ms"]["p50"].is_number());
}

#[test]
fn history_is_told_step_by_step_within_its_bounds() {
    let world = World::new();
    assert_eq!(get(&world, "/api/stats/history"), json!({"step_s": 60, "points": []}));
    assert_eq!(get(&world, "/api/stats/history?minutes=1440")["step_s"], 900);
    for minutes in ["0", "1441", "x", "-1"] {
        let answer = world.call(Ask::get(&format!("/api/stats/history?minutes={minutes}")).key());
        assert_eq!(answer.code(), (400, "bad_request".into()), "{minutes}");
    }
    // The same shards, seen by a clock that can be moved.
    let clock = Arc::new(TestClock::at(Time(1_800_000_000_000)));
    let app = world.app();
    let stats = Stats::new("node".into(), Arc::clone(&app.engine), app.shards.clone(), clock.clone());
    let mut held = world.connect();
    world.hold(&mut held, "alice", "news");
    world.publish("news", 1);
    world.until_delivered(1);
    for _ in 0..3 {
        clock.advance_ms(60_000);
        world.runtime.block_on(stats.look()).unwrap();
    }
    let points = stats.points(60);
    let told: Vec<_> = points.iter().map(|point| (point.time.0, point.totals.deliveries)).collect();
    assert_eq!(told, [(1_800_000_060_000, 1), (1_800_000_120_000, 0), (1_800_000_180_000, 0)]);
    assert_eq!((points[0].levels.users, points[0].delivered_ms.count()), (1, 1));
}
