//! What this node answers when another asks something of a dialect: what only the dialect knows of its own
//! connections here.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use futures_util::future::BoxFuture;
use serde_json::Value;

/// Answers a question.
type Answering = Arc<dyn Fn(Value) -> BoxFuture<'static, Value> + Send + Sync>;

/// Who answers, by the names of dialects.
#[derive(Default)]
pub(super) struct DialectAnswers(RwLock<HashMap<&'static str, Answering>>);

impl DialectAnswers {
    /// A dialect is asked from now on.
    pub(super) fn register(&self, dialect: &'static str, answers: Answering) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(dialect, answers);
    }

    /// What a dialect answers; null when it is not spoken here.
    pub(super) async fn answer(&self, dialect: &str, question: Value) -> Value {
        let answers = self.0.read().unwrap_or_else(PoisonError::into_inner).get(dialect).cloned();
        match answers {
            Some(answers) => answers(question).await,
            None => Value::Null,
        }
    }
}

impl fmt::Debug for DialectAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DialectAnswers")
    }
}
