//! What certificates by ACME are asked for: names, a contact, a directory.

use serde::{Deserialize, Deserializer};
use url::{Host, Url};

/// The longest name of a host, in bytes, and the longest part of one (RFC 1035 section 2.3.4).
const NAME_MAX_BYTES: usize = 253;
const LABEL_MAX_BYTES: usize = 63;
/// The longest contact, in bytes.
const CONTACT_MAX_BYTES: usize = 254;

/// Reads the names that a certificate is to be for, in the form in which clients ask for them.
pub(super) fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let mut names = Vec::with_capacity(texts.len());
    for text in texts {
        let name = name(&text).map_err(serde::de::Error::custom)?;
        if names.contains(&name) {
            return Err(serde::de::Error::custom(format!("{text:?} is there twice")));
        }
        names.push(name);
    }
    Ok(names)
}

fn name(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err(format!(
            "{text:?} is a wildcard, which needs a challenge over DNS: name each host, or set tls_certificates"
        ));
    }
    // What stands for another character is for addresses of pages.
    let host = if text.contains('%') { None } else { Host::parse(text).ok() };
    match host {
        Some(Host::Domain(name)) if is_name(&name) => Ok(name),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => {
            Err(format!("{text:?} is an address: a certificate is for the name of a host"))
        }
        _ => Err(format!("{text:?} is no name of a host: write push.example.com")),
    }
}

fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_MAX_BYTES).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= NAME_MAX_BYTES && name.split('.').all(is_label)
}

/// Reads an address for mail, with or without `mailto:`, into the form in which directories take it (RFC 8555
/// section 7.3).
pub(super) fn contact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let address = text.strip_prefix("mailto:").unwrap_or(&text);
    let is_address = address.split_once('@').is_some_and(|(local, host)| {
        // One address, and no fields of a mail behind it.
        let is_local = !local.is_empty()
            && local.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"(),:;<>@[\\]?&%".contains(&byte));
        is_local && is_name(&host.to_ascii_lowercase()) && host.contains('.')
    });
    if !is_address || address.len() > CONTACT_MAX_BYTES {
        let problem = format!("{text:?} is no address for mail: write ops@example.com");
        return Err(serde::de::Error::custom(problem));
    }
    Ok(Some(format!("mailto:{address}")))
}

/// Reads the address of a directory.
pub(super) fn directory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_one = Url::parse(&text).is_ok_and(|url| {
        let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        is_plain && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)))
    });
    if is_one {
        return Ok(text);
    }
    Err(serde::de::Error::custom(format!(
        "{text:?} is no address of a directory: write https://HOST/PATH (http only for this machine itself)"
    )))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use toml::Value;

    use crate::config::{Config, ConfigError, Layers};

    fn load(key: &str, value: impl Into<Value>) -> Result<Config, ConfigError> {
        let layers = Layers::new(Vec::new()).option("tls_listen", "--option", "127.0.0.1:8443");
        let layers =
            if key == "tls_acme" { layers } else { layers.option("tls_acme", "-", vec!["a.example"]) };
        layers.option(key, "--option", value).load()
    }

    fn refusal(key: &str, value: impl Into<Value>) -> String {
        let refusal = load(key, value).unwrap_err().to_string();
        assert!(refusal.starts_with(&format!("--option: {key}: ")), "{refusal}");
        refusal
    }

    #[test]
    fn names_are_read_as_clients_ask_for_them() {
        let config = load("tls_acme", vec!["Push.Example.com", "bücher.example", "localhost"]).unwrap();
        assert_eq!(config.tls_acme, ["push.example.com", "xn--bcher-kva.example", "localhost"]);
        for wrong in [
            "",
            ".",
            "a..b",
            "a.example.",
            "-a.example",
            "a b.example",
            "https://a.example",
            "a.example:443",
            "a.example/x",
            "a%2eexample",
            "a_b.example",
        ] {
            assert!(refusal("tls_acme", vec![wrong]).contains("no name of a host"), "{wrong}");
        }
        let long = ["a".repeat(64).as_str(), "example"].join(".");
        assert!(refusal("tls_acme", vec![long]).contains("no name of a host"));
        assert!(refusal("tls_acme", vec!["a.example", "*.a.example"]).contains("wildcard"));
        assert!(refusal("tls_acme", vec!["10.0.0.1"]).contains("is an address"));
        assert!(refusal("tls_acme", vec!["[::1]"]).contains("is an address"));
        assert!(refusal("tls_acme", vec!["a.example", "A.example"]).contains("twice"));
        let many: Vec<String> = (0..101).map(|number| format!("a{number}.example")).collect();
        assert!(refusal("tls_acme", many).contains("at most 100"));
    }

    #[test]
    fn a_contact_is_an_address_for_mail() {
        for good in ["ops@example.com", "mailto:ops@example.com"] {
            let config = load("tls_acme_contact", good).unwrap();
            assert_eq!(config.tls_acme_contact.as_deref(), Some("mailto:ops@example.com"));
        }
        for wrong in [
            "",
            "ops",
            "ops@",
            "@example.com",
            "ops@example",
            "tel:+123",
            "https://example.com",
            "a@b.example,c@d.example",
            "a?b@b.example",
            "a@b.example?subject=x",
            "a b@example.com",
            "mailto:mailto:a@b.example",
        ] {
            assert!(refusal("tls_acme_contact", wrong).contains("address for mail"), "{wrong}");
        }
    }

    #[test]
    fn a_directory_is_asked_over_https_unless_it_is_on_this_machine() {
        assert!(load("tls_acme_directory", "https://ca.example/dir").is_ok());
        for local in ["http://127.0.0.1:14000/dir", "http://localhost/dir", "http://[::1]:1/dir"] {
            assert!(load("tls_acme_directory", local).is_ok(), "{local}");
        }
        for wrong in ["", "ca.example", "http://ca.example/dir", "http://10.0.0.1/dir", "ftp://127.0.0.1/"] {
            assert!(refusal("tls_acme_directory", wrong).contains("directory"), "{wrong}");
        }
        assert!(refusal("tls_acme_directory", "https://u:p@ca.example/").contains("directory"));
    }

    #[test]
    fn nothing_of_it_goes_without_the_rest() {
        let alone = |key: &str, value: Value| {
            Layers::new(Vec::new()).option(key, "--option", value).load().unwrap_err().to_string()
        };
        let names = Value::from(vec!["a.example"]);
        assert!(alone("tls_acme", names).starts_with("--option: tls_acme: needs tls_listen"));
        for (key, value) in [
            ("tls_acme_contact", "ops@example.com"),
            ("tls_acme_directory", "https://ca.example/dir"),
            ("tls_acme_root", "/etc/root.pem"),
        ] {
            let refusal = alone(key, value.into());
            assert_eq!(refusal, format!("--option: {key}: has no effect without tls_acme"));
        }
        // It is a certificate, so no other is needed, and others may be there.
        assert!(load("tls_acme", vec!["a.example"]).is_ok());
        assert!(load("tls_cert", "/etc/cert.pem").is_err_and(|error| error.to_string().contains("tls_key")));
    }

    #[test]
    fn names_come_from_the_environment_like_other_lists() {
        let get = |name: &str| match name {
            "ENCKE_TLS_LISTEN" => Some("127.0.0.1:8443".to_owned()),
            "ENCKE_TLS_ACME" => Some("a.example, b.example".to_owned()),
            _ => None,
        };
        let config = Layers::new(Vec::new()).env(get).load().unwrap();
        assert_eq!(config.tls_acme, ["a.example", "b.example"]);
        assert_eq!(config.tls_acme_directory, "https://acme-v02.api.letsencrypt.org/directory");
    }
}
