//! What the endpoint was told, as an application keeps it: in the order in which it came, each event once.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::hook_endpoint::Got;

/// The types of events that say that something has begun, and that it has ended.
pub const CONNECTION: [&str; 2] = ["connected", "disconnected"];
pub const OCCUPATION: [&str; 2] = ["channel_occupied", "channel_vacated"];

/// Events of which each is here once.
pub struct Told(Vec<Value>);

impl Told {
    /// What these requests tell. It panics if something came again that was not the same.
    pub fn of(requests: &[Got]) -> Self {
        let mut bodies: HashMap<&str, &Value> = HashMap::new();
        let mut events: HashMap<&str, (&Value, &str)> = HashMap::new();
        let mut told = Vec::new();
        for got in requests {
            let body = *bodies.entry(&got.id).or_insert(&got.body);
            assert_eq!(*body, got.body, "a request that came again is the same");
            for event in got.body["events"].as_array().expect("events") {
                let id = event["id"].as_str().expect("an id");
                let Some((known, request)) = events.insert(id, (event, &got.id)) else {
                    told.push(event.clone());
                    continue;
                };
                events.insert(id, (known, request));
                if event["push"].is_null() {
                    assert_eq!((known, request), (event, got.id.as_str()), "it belongs to one request");
                }
                // One of a push is written again by a node that does not know whether it was.
                for what in ["type", "user", "push"] {
                    assert_eq!(known[what], event[what], "it is about the same");
                }
            }
        }
        Self(told)
    }

    /// The events of some types about a user or a channel: each with its type and, of a push, its id.
    pub fn about(&self, of: &str, types: &[&str]) -> Vec<(String, Option<String>)> {
        let is_about = |event: &&Value| {
            (event["user"] == of || (event["user"].is_null() && event["channel"] == of))
                && types.iter().any(|kind| event["type"] == *kind)
        };
        let short = |event: &Value| {
            let push = event["push"].as_str().map(ToOwned::to_owned);
            (event["type"].as_str().expect("a type").to_owned(), push)
        };
        self.0.iter().filter(is_about).map(short).collect()
    }

    /// How often something has begun and ended. It panics if that is not so in turns.
    pub fn turns(&self, of: &str, types: [&str; 2]) -> (usize, usize) {
        let all = self.about(of, &types);
        for (at, (kind, _)) in all.iter().enumerate() {
            assert_eq!(kind, types[at % 2], "{of}: {all:?}");
        }
        (all.len().div_ceil(2), all.len() / 2)
    }

    /// The pushes of a user in the order in which events of a type tell of them.
    pub fn pushes(&self, user: &str, kind: &str) -> Vec<String> {
        let pushes: Vec<String> =
            self.about(user, &[kind]).into_iter().filter_map(|(_, push)| push).collect();
        let once: HashSet<&String> = pushes.iter().collect();
        assert_eq!(once.len(), pushes.len(), "each once: {pushes:?}");
        pushes
    }
}
