//! What a token allows: patterns of channels.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use crate::pattern;

/// Patterns of public channels; `*` stands for any run of characters. Empty grants nothing. Whether nothing
/// was said, or that nothing is granted, is kept apart: rules for channels may allow what a token leaves
/// open.
// Nearly all tokens grant nothing or everything, and it is kept for each WebSocket: neither takes memory of
// its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Grant(Option<Arc<[String]>>);

/// What stands for every public channel.
static ALL: LazyLock<Arc<[String]>> = LazyLock::new(|| Arc::new(["*".to_owned()]));

impl Grant {
    /// Nothing, since nothing was said.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Every public channel.
    #[must_use]
    pub fn all() -> Self {
        Self(Some(Arc::clone(&ALL)))
    }

    /// The channels that one of these patterns fits.
    #[must_use]
    pub fn of(patterns: Vec<String>) -> Self {
        if patterns == **ALL {
            return Self::all();
        }
        Self(Some(patterns.into()))
    }

    /// The patterns.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether nothing is granted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns().is_empty()
    }

    /// Whether nothing was said. It grants nothing by itself.
    #[must_use]
    pub fn is_unsaid(&self) -> bool {
        self.0.is_none()
    }

    /// Whether every public channel is granted, as it is said by `*`.
    #[must_use]
    pub fn is_all(&self) -> bool {
        // All of them share one list.
        self.0.as_ref().is_some_and(|patterns| Arc::ptr_eq(patterns, &ALL))
    }

    /// Whether this channel is granted. Users' own channels never are, whatever the pattern: each session has
    /// its own user's without a grant.
    #[must_use]
    pub fn allows(&self, channel: &str) -> bool {
        !channel.starts_with('@')
            && self.patterns().iter().any(|pattern| pattern == "*" || pattern::fits(pattern, channel))
    }
}

impl From<Vec<String>> for Grant {
    fn from(patterns: Vec<String>) -> Self {
        Self::of(patterns)
    }
}

impl From<Grant> for Vec<String> {
    fn from(grant: Grant) -> Self {
        grant.patterns().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Grant;

    #[test]
    fn it_is_written_as_it_was_read() {
        for text in ["[]", r#"["*"]"#, r#"["news","room:*"]"#, r#"["*","*"]"#] {
            let grant: Grant = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&grant).unwrap(), text);
        }
        assert_eq!(serde_json::from_str::<Grant>(r#"["*"]"#).unwrap(), Grant::all());
        for (text, is_all) in
            [(r#"["*"]"#, true), ("[]", false), (r#"["a*"]"#, false), (r#"["*","a"]"#, false)]
        {
            assert_eq!(serde_json::from_str::<Grant>(text).unwrap().is_all(), is_all, "{text}");
        }
        let nothing = serde_json::from_str::<Grant>("[]").unwrap();
        assert!(nothing.is_empty() && !nothing.is_unsaid());
        assert!(Grant::none().is_empty() && Grant::none().is_unsaid());
        assert!(
            Arc::ptr_eq(&Grant::of(vec!["*".into()]).0.unwrap(), &Grant::all().0.unwrap()),
            "there is one text for all"
        );
    }

    #[test]
    fn patterns_grant_what_they_fit() {
        let grant = Grant::of(vec!["news".into(), "room:*".into(), "*:public".into()]);
        for channel in ["news", "room:", "room:1", "a:b:public"] {
            assert!(grant.allows(channel), "{channel}");
        }
        for channel in ["", "newsx", "xnews", "room", "a:public:b", "News"] {
            assert!(!grant.allows(channel), "{channel}");
        }
        assert!(!Grant::none().allows("news"));
    }

    #[test]
    fn no_user_is_granted_the_channel_of_another() {
        for pattern in ["*", "@*", "@bob"] {
            assert!(!Grant::of(vec![pattern.into()]).allows("@bob"), "{pattern}");
        }
        assert!(Grant::all().allows("bob"));
    }

    #[test]
    fn many_stars_take_no_longer_than_a_few() {
        let grant = Grant::of(vec!["a*".repeat(120) + "b"]);
        assert!(!grant.allows(&"a".repeat(255)));
    }
}
