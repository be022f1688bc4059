//! What can be measured. A command is one file.

pub mod chaos;
pub mod churn;
pub mod compare;
pub mod fanout;
pub mod hold;
pub mod latency;
pub mod targeted;
