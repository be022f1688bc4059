//! What a push or a publish was about, for the audit trail: it is read from the answer, which has it all.

use serde_json::Value;

/// The most names that are listed of one request.
const LISTED_MAX: usize = 10;

/// The ids of the messages, with the users or the number of those that were refused.
pub(crate) fn of_answer(json: &[u8]) -> Box<str> {
    let Ok(answer) = serde_json::from_slice::<Value>(json) else { return "".into() };
    let id = |answer: &Value| answer["id"].as_str().map(str::to_owned);
    if let Some(results) = answer["results"].as_array() {
        let ids: Vec<String> = results.iter().filter_map(id).collect();
        let refused = results.len() - ids.len();
        let refused = if refused > 0 { format!(", {refused} refused") } else { String::new() };
        return format!("{}{refused}", listed(&ids)).into();
    }
    let users: Vec<String> = ["online", "offline"]
        .iter()
        .filter_map(|list| answer[list].as_array())
        .flatten()
        .filter_map(|user| user.as_str().map(str::to_owned))
        .collect();
    let id = id(&answer).unwrap_or_default();
    match answer["accepted"].as_u64() {
        Some(accepted) => format!("{id} to {accepted}: {}", listed(&users)).into(),
        None => id.into(),
    }
}

fn listed(names: &[String]) -> String {
    let first = names[..names.len().min(LISTED_MAX)].join(", ");
    match names.len().saturating_sub(LISTED_MAX) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_was_sent_to_whom() {
        for (json, what) in [
            (r#"{"id":"x","mode":"log","accepted":2,"online":["a"],"offline":["b"]}"#, "x to 2: a, b"),
            (r#"{"id":"x","offset":7,"epoch":"k","mode":"log"}"#, "x"),
            (r#"{"mode":"log","results":[{"id":"x"},{"error":{}},{"id":"y"}]}"#, "x, y, 1 refused"),
            ("nonsense", ""),
        ] {
            assert_eq!(&*of_answer(json.as_bytes()), what);
        }
        let users: Vec<String> = (0..12).map(|number| format!("u{number}")).collect();
        let json = serde_json::json!({"id": "x", "accepted": 12, "online": [], "offline": users});
        assert!(of_answer(json.to_string().as_bytes()).ends_with("u9 and 2 more"));
    }
}
