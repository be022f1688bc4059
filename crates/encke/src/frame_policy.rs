//! What a page says of frames that it may stand in: `frame-ancestors` of its policies, and `X-Frame-Options`
//! where it has none, as browsers read them (CSP 3 section 6.4.2, HTML section 7.6). Not who asks for it.

use http::{HeaderMap, HeaderName, header};
use serde::Serialize;
use utoipa::ToSchema;

/// The most that is told of what a page says, in bytes.
const TOLD_MAX_BYTES: usize = 512;

/// Which pages may show it in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Frames {
    /// None.
    None,
    /// Some: its own origin, or those that it names.
    Some,
    /// All.
    All,
}

/// What a page says of frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FramePolicy {
    /// What comes of it.
    pub frames: Frames,
    /// The sources of `frame-ancestors`, if it has any policy with that; several policies are set apart by
    /// a comma.
    pub frame_ancestors: Option<String>,
    /// `X-Frame-Options`, if it is there.
    pub x_frame_options: Option<String>,
}

impl FramePolicy {
    /// Reads it from the head of an answer.
    #[must_use]
    pub fn of(head: &HeaderMap) -> Self {
        let policies = all(head, &header::CONTENT_SECURITY_POLICY);
        let ancestors: Vec<&str> = policies.iter().filter_map(|policy| frame_ancestors(policy)).collect();
        let options = all(head, &header::X_FRAME_OPTIONS);
        // Each policy has to let a frame be; options count only where no policy speaks of frames.
        let frames = ancestors.iter().map(|sources| of_sources(sources)).min();
        Self {
            frames: frames.unwrap_or_else(|| of_options(&options)),
            frame_ancestors: (!ancestors.is_empty()).then(|| told(&ancestors.join(", "))),
            x_frame_options: (!options.is_empty()).then(|| told(&options.join(", "))),
        }
    }
}

/// The values of a field that is a list, in all its lines, empty ones too: "get, decode, and split" (Fetch
/// section 2.2.2), by which each byte is a character.
fn all(head: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = head.get_all(name).into_iter().map(|value| value.as_bytes());
    let text = |value: &[u8]| value.trim_ascii().iter().copied().map(char::from).collect();
    lines.flat_map(|line| line.split(|byte| *byte == b',')).map(text).collect()
}

/// The sources of the first such directive of a policy; more of the same name are passed over.
fn frame_ancestors(policy: &str) -> Option<&str> {
    policy.split(';').map(str::trim_ascii).find_map(|directive| {
        let (name, sources) =
            directive.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((directive, ""));
        name.eq_ignore_ascii_case("frame-ancestors").then(|| sources.trim_ascii())
    })
}

fn of_sources(sources: &str) -> Frames {
    let mut sources =
        sources.split_ascii_whitespace().filter(|source| !source.eq_ignore_ascii_case("'none'"));
    match sources.clone().any(|source| source == "*") {
        true => Frames::All,
        false if sources.next().is_some() => Frames::Some,
        false => Frames::None,
    }
}

fn of_options(options: &[String]) -> Frames {
    let has = |word: &str| options.iter().any(|option| option.eq_ignore_ascii_case(word));
    let known = ["deny", "sameorigin", "allowall"].into_iter().filter(|word| has(word)).count();
    let differ = options.iter().any(|option| !option.eq_ignore_ascii_case(&options[0]));
    match () {
        () if has("deny") || (differ && known > 0) => Frames::None,
        () if has("sameorigin") => Frames::Some,
        // Browsers pass over what they do not know.
        () => Frames::All,
    }
}

fn told(text: &str) -> String {
    let mut end = text.len().min(TOLD_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn policy(lines: &[(&'static str, &str)]) -> FramePolicy {
        let mut head = HeaderMap::new();
        for (name, value) in lines {
            head.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        FramePolicy::of(&head)
    }

    #[test]
    fn it_is_read_as_browsers_do() {
        const CSP: &str = "content-security-policy";
        const XFO: &str = "x-frame-options";
        for (lines, expected) in [
            (&[][..], Frames::All),
            (&[(XFO, "DENY")], Frames::None),
            (&[(XFO, "SameOrigin")], Frames::Some),
            (&[(XFO, "sameorigin, sameorigin")], Frames::Some),
            (&[(XFO, "sameorigin"), (XFO, "allowall")], Frames::None),
            (&[(XFO, "ALLOW-FROM https://a.example")], Frames::All),
            (&[(XFO, "sameorigin,")], Frames::None),
            (&[(XFO, "")], Frames::All),
            (&[(CSP, "default-src 'self'")], Frames::All),
            (&[(CSP, "default-src 'self'; Frame-Ancestors 'none'")], Frames::None),
            (&[(CSP, "frame-ancestors")], Frames::None),
            (&[(CSP, "report-uri /\u{fc}, frame-ancestors 'none'")], Frames::None),
            (&[(CSP, "report-uri /\u{fc}; frame-ancestors 'self'")], Frames::Some),
            (&[(CSP, "frame-ancestors 'self' https://a.example")], Frames::Some),
            (&[(CSP, "frame-ancestors *;")], Frames::All),
            // The first directive of a policy, and each policy.
            (&[(CSP, "frame-ancestors *; frame-ancestors 'none'")], Frames::All),
            (&[(CSP, "frame-ancestors *, frame-ancestors 'self'")], Frames::Some),
            (&[(CSP, "frame-ancestors 'self'"), (CSP, "frame-ancestors 'none'")], Frames::None),
            // A policy that speaks of frames has the word.
            (&[(XFO, "DENY"), (CSP, "frame-ancestors *")], Frames::All),
            (&[(XFO, "DENY"), (CSP, "img-src *")], Frames::None),
        ] {
            assert_eq!(policy(lines).frames, expected, "{lines:?}");
        }
    }

    #[test]
    fn what_it_says_is_told_up_to_a_bound() {
        let long = format!("frame-ancestors https://{}.example", "a".repeat(2 * TOLD_MAX_BYTES));
        let told = policy(&[("content-security-policy", &long), ("x-frame-options", "DENY")]);
        assert_eq!(told.frame_ancestors.map(|text| text.len()), Some(TOLD_MAX_BYTES));
        assert_eq!(told.x_frame_options.as_deref(), Some("DENY"));
        let plain = policy(&[("content-security-policy", "frame-ancestors 'self'")]);
        assert_eq!((plain.frame_ancestors.as_deref(), plain.x_frame_options), (Some("'self'"), None));
    }
}
