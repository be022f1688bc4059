//! TLS: what its settings need of each other, and which listeners can have two addresses.

use std::net::{IpAddr, SocketAddr};

use super::Checker;
use crate::config::{Config, keys};

pub(super) fn check(config: &Config, checker: &Checker<'_>) {
    let by_acme = !config.tls_acme.is_empty();
    checker.relation(&["tls_acme", "tls_listen"], !by_acme || config.tls_listen.is_some(), || {
        "needs tls_listen, where the certificate is shown".to_owned()
    });
    checker.rule("tls_acme", config.tls_acme.len() <= 100, || "must have at most 100 names".to_owned());
    for key in ["tls_acme_contact", "tls_acme_directory", "tls_acme_root"] {
        let holds = by_acme || !is_changed(config, key);
        checker.relation(&[key, "tls_acme"], holds, || "has no effect without tls_acme".to_owned());
    }
    check_pair(config, checker, by_acme);
    checker.relation(
        &["tls_redirect", "tls_listen"],
        !config.tls_redirect || config.tls_listen.is_some(),
        || "needs tls_listen".to_owned(),
    );
    let (first, more) = (config.tls_alpn.first(), config.tls_alpn.get(1..).unwrap_or_default());
    let distinct =
        first.is_some() && more.len() < 2 && more.first().is_none_or(|second| Some(second) != first);
    checker.rule("tls_alpn", distinct, || "must have one or both of h2 and http/1.1".to_owned());
    checker.rule("tls_certificates", config.tls_certificates.len() <= 100, || {
        "must have at most 100 entries".to_owned()
    });
    let (tls, plain) = (config.tls_listen, config.listen.tcp());
    let free = !tls.zip(plain).is_some_and(|(tls, plain)| collide(tls, plain));
    checker.relation(&["tls_listen", "listen"], free, || {
        format!("must be another address than `listen`, which is {}", config.listen)
    });
    checker.relation(
        &["tls_listen", "dev"],
        !config.dev || config.tls_listen.is_none_or(|address| address.ip().is_loopback()),
        || "must be a loopback address in dev mode, like listen".to_owned(),
    );
}

/// Whether something else than its default is said of a setting.
fn is_changed(config: &Config, key: &str) -> bool {
    let default = keys::each().find(|(known, _)| known == key).and_then(|(_, one)| one.default_value());
    config.said.get(key).is_some_and(|said| Some(said) != default.as_ref())
}

/// Certificates need a listener and it needs them, and each needs its key.
fn check_pair(config: &Config, checker: &Checker<'_>, by_acme: bool) {
    let all = ["tls_listen", "tls_cert", "tls_key", "tls_certificates", "tls_acme"];
    let [cert, key] = [config.tls_cert.is_some(), config.tls_key.is_some()];
    checker.relation(&["tls_cert", "tls_key"], key || !cert, || "needs tls_key".to_owned());
    checker.relation(&["tls_key", "tls_cert"], cert || !key, || "needs tls_cert".to_owned());
    let has_any = by_acme || cert || key || !config.tls_certificates.is_empty();
    checker.relation(&all, has_any || config.tls_listen.is_none(), || {
        "needs tls_cert and tls_key, tls_certificates or tls_acme".to_owned()
    });
    for (name, is_said) in [("tls_cert", cert), ("tls_certificates", !config.tls_certificates.is_empty())] {
        checker.relation(&[name, "tls_listen"], !is_said || config.tls_listen.is_some(), || {
            "has no effect without tls_listen".to_owned()
        });
    }
    let holds = config.tls_redirect || config.tls_redirect_port.is_none();
    checker.relation(&["tls_redirect_port", "tls_redirect"], holds, || {
        "has no effect without tls_redirect".to_owned()
    });
}

/// Whether only one of two listeners could have its address: each is for all addresses of its machine, or
/// both are for the same one.
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    // An IPv6 listener for all addresses takes those of IPv4 as well.
    let covers = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    // Port 0 is a free one for each.
    one.port() == other.port()
        && one.port() != 0
        && (ip == other_ip || covers(ip, other_ip) || covers(other_ip, ip))
}

#[cfg(test)]
mod tests {
    use toml::Value;

    use crate::config::{Layers, limits::tests::refusal};

    #[test]
    fn what_browsers_are_told_of_tls_has_bounds() {
        for (alpn, good) in [
            (&["h2", "http/1.1"][..], true),
            (&["http/1.1", "h2"], true),
            (&["http/1.1"], true),
            (&[], false),
            (&["h2", "h2"], false),
            (&["h2", "http/1.1", "h2"], false),
            (&["http/1.0"], false),
        ] {
            let value = Value::Array(alpn.iter().map(|name| (*name).into()).collect());
            let loaded = Layers::new(Vec::new()).option("tls_alpn", "--option", value).load();
            assert_eq!(loaded.is_ok(), good, "{alpn:?}");
        }
        assert!(refusal("tls_redirect", true).contains("needs tls_listen"));
        assert!(refusal("tls_redirect_port", 65_536).contains("must be from 1 to "));
        assert!(refusal("tls_hsts_s", 63_072_001).contains("must be from 0 to "));
        let hsts_s = |more: &str| {
            let listen = "tls_listen = \"127.0.0.1:0\"\ntls_cert = \"a\"\ntls_key = \"b\"\n";
            let text: toml::Table = format!("{listen}{more}").parse().unwrap();
            let layers = Layers::new(Vec::new());
            let layers =
                text.into_iter().fold(layers, |layers, (key, value)| layers.option(&key, "--option", value));
            layers.load().unwrap().hsts_s()
        };
        for (more, said_s) in [
            ("", 0),
            ("tls_redirect = true", 31_536_000),
            ("tls_redirect = true\ndev = true", 0),
            ("tls_redirect = true\ntls_hsts_s = 0", 0),
            ("tls_hsts_s = 7", 7),
        ] {
            assert_eq!(hsts_s(more), said_s, "{more}");
        }
    }

    #[test]
    fn two_listeners_have_two_addresses() {
        let load = |listen: &str, tls_listen: &str| {
            let layers = Layers::new(Vec::new()).option("listen", "--listen", listen);
            let layers = layers.option("tls_cert", "--cert", "c").option("tls_key", "--key", "k");
            layers.option("tls_listen", "--tls", tls_listen).load()
        };
        for (listen, tls_listen) in [
            ("127.0.0.1:443", "127.0.0.1:443"),
            ("localhost:443", "127.0.0.1:443"),
            ("0.0.0.0:443", "192.168.1.2:443"),
            ("192.168.1.2:443", "0.0.0.0:443"),
            ("[::]:443", "127.0.0.1:443"),
            ("0.0.0.0:443", "[::]:443"),
            ("[::1]:443", "[::]:443"),
            ("127.0.0.1:443", "[::ffff:127.0.0.1]:443"),
        ] {
            let refusal = load(listen, tls_listen).unwrap_err().to_string();
            assert!(
                refusal.starts_with("--tls: tls_listen: must be another address than `listen`"),
                "{listen} {tls_listen}: {refusal}"
            );
        }
        for (listen, tls_listen) in [
            ("127.0.0.1:80", "127.0.0.1:443"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("127.0.0.1:443", "127.0.0.2:443"),
            ("0.0.0.0:443", "[::1]:443"),
            ("127.0.0.1:443", "[::1]:443"),
        ] {
            assert!(load(listen, tls_listen).is_ok(), "{listen} {tls_listen}");
        }
    }
}
