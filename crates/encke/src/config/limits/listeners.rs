//! Where it listens, and which proxies it believes.

use std::net::{Ipv4Addr, SocketAddr};

use super::{Checker, Sources, tls::collide};
use crate::config::{Config, Mistake, Network};

/// The most entries of `trusted_proxies`: each connection goes through them until one fits.
const TRUSTED_PROXIES_MAX: usize = 100;

pub(super) fn check(config: &Config, checker: &Checker<'_>) {
    check_admin_listen(checker, config);
    checker.rule("trusted_proxies", config.trusted_proxies.len() <= TRUSTED_PROXIES_MAX, || {
        format!("must have at most {TRUSTED_PROXIES_MAX} entries")
    });
    checker.relation(
        &["proxy_protocol", "trusted_proxies"],
        !config.proxy_protocol || !config.trusted_proxies.is_empty(),
        || "needs trusted_proxies, which alone are believed".to_owned(),
    );
}

fn check_admin_listen(checker: &Checker<'_>, config: &Config) {
    let Some(address) = &config.admin_listen else { return };
    let collides = |other: SocketAddr| address.tcp().is_some_and(|address| collide(address, other));
    for (key, other) in [("listen", config.listen.tcp()), ("tls_listen", config.tls_listen)] {
        let is_same_file = key == "listen" && address.tcp().is_none() && *address == config.listen;
        checker.relation(&["admin_listen", key], !is_same_file && !other.is_some_and(collides), || {
            format!("must be another address than `{key}`")
        });
    }
    checker.relation(&["admin_listen", "dev"], !config.dev || address.is_local(), || {
        "must be a loopback address or a unix socket in dev mode, like listen".to_owned()
    });
}

/// What is allowed and seldom meant, a line each.
pub(crate) fn warnings(config: &Config, sources: &Sources) -> Vec<String> {
    let warning = |key: &str, problem: String| Mistake::at(key, sources, problem).to_string();
    let mut warnings = Vec::new();
    let is_public = !config.listen.is_local();
    if is_public && config.tls_listen.is_none() && config.trusted_proxies.is_empty() {
        let problem = format!(
            "tokens and messages cross the network in plain text at {}; set `tls_listen`, or name the proxies \
             with TLS in front in `trusted_proxies`",
            config.listen,
        );
        warnings.push(warning("listen", problem));
    }
    let is_proxy = |network: &Network| network.contains(Ipv4Addr::LOCALHOST.into());
    if config.listen.tcp().is_none() && !config.trusted_proxies.iter().any(is_proxy) {
        let problem = "all clients of a unix socket count as 127.0.0.1, for which no rate by address but that \
                       of failures holds, whatever their addresses; name 127.0.0.1 in `trusted_proxies` so \
                       that the proxy's word of their addresses counts";
        warnings.push(warning("listen", problem.to_owned()));
    }
    if let Some(address) = config.admin_listen.as_ref().filter(|address| !address.is_local()) {
        let problem = format!(
            "keys of the server API cross the network in plain text at {address}; listen on a loopback address \
             or a unix socket"
        );
        warnings.push(warning("admin_listen", problem));
    }
    let hooks = &config.hooks;
    if hooks.url.is_some() && hooks.decide.is_empty() && hooks.events.is_empty() {
        let problem = "nothing is sent there, as `hooks.decide` and `hooks.events` are empty".to_owned();
        warnings.push(warning("hooks.url", problem));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use crate::config::{Layers, limits::tests::refusal};

    #[test]
    fn operators_have_an_address_of_their_own() {
        let load = |key: &str, other: &str, admin: &str| {
            let layers = Layers::new(Vec::new()).option(key, "--other", other);
            let layers = layers.option("tls_cert", "--cert", "c").option("tls_key", "--key", "k");
            let layers =
                if key == "tls_listen" { layers } else { layers.option("tls_listen", "--t", "[::1]:0") };
            layers.option("admin_listen", "--admin", admin).load()
        };
        for key in ["listen", "tls_listen"] {
            for (other, admin) in [("127.0.0.1:81", "localhost:81"), ("0.0.0.0:81", "127.0.0.1:81")] {
                let refusal = load(key, other, admin).unwrap_err().to_string();
                assert!(refusal.starts_with("--admin: admin_listen: must be another"), "{refusal}");
            }
            assert!(load(key, "127.0.0.1:81", "127.0.0.1:82").is_ok());
            assert!(load(key, "127.0.0.1:81", "unix:/run/a").is_ok());
        }
        assert!(load("listen", "unix:/run/b", "unix:/run/a").is_ok());
        let same = load("listen", "unix:/run/a", "unix:/run/a").unwrap_err().to_string();
        assert!(same.starts_with("--admin: admin_listen: must be another"), "{same}");
        for wrong in ["unix:a", "8081", "unix:"] {
            assert!(refusal("admin_listen", wrong).starts_with("--option: admin_listen: "), "{wrong}");
        }
        let dev = |admin: &str| {
            Layers::new(Vec::new()).option("dev", "--dev", true).option("admin_listen", "--a", admin).load()
        };
        assert!(dev("unix:/run/a").is_ok() && dev("[::1]:81").is_ok());
        assert!(dev("0.0.0.0:81").unwrap_err().to_string().starts_with("--a: admin_listen: "));
    }

    #[test]
    fn what_crosses_a_network_in_plain_text_is_warned_of() {
        let warnings = |settings: &str| {
            let table: toml::Table = settings.parse().unwrap();
            let layers = Layers::new(Vec::new());
            let layers =
                table.into_iter().fold(layers, |layers, (key, value)| layers.option(&key, "--o", value));
            layers.load().unwrap().warnings
        };
        let tls = "tls_listen = \"0.0.0.0:443\"\ntls_cert = \"a\"\ntls_key = \"b\"\n";
        for quiet in [
            "",
            "listen = \"[::1]:80\"",
            "listen = \"localhost:80\"\nadmin_listen = \"127.0.0.2:81\"",
            "admin_listen = \"unix:/run/a\"",
            &format!("listen = \"0.0.0.0:80\"\n{tls}"),
            "listen = \"0.0.0.0:80\"\ntrusted_proxies = [\"10.0.0.0/8\"]",
            "listen = \"unix:/run/a\"\ntrusted_proxies = [\"127.0.0.1\"]",
            "listen = \"unix:/run/a\"\ntrusted_proxies = [\"10.0.0.0/8\", \"127.0.0.0/8\"]",
        ] {
            assert_eq!(warnings(quiet), Vec::<String>::new(), "{quiet}");
        }
        for (settings, key) in [
            ("listen = \"0.0.0.0:80\"", "listen"),
            ("listen = \"[::]:80\"", "listen"),
            ("listen = \"192.168.1.2:80\"", "listen"),
            ("listen = \"unix:/run/a\"", "listen"),
            ("listen = \"unix:/run/a\"\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]", "listen"),
            ("admin_listen = \"10.0.0.1:80\"", "admin_listen"),
        ] {
            let warnings = warnings(settings);
            assert_eq!(warnings.len(), 1, "{settings}: {warnings:?}");
            assert!(warnings[0].starts_with(&format!("--o: {key}: ")), "{warnings:?}");
            let tells_of_rates = warnings[0].contains("no rate by address");
            assert_eq!(tells_of_rates, settings.contains("unix:"), "{warnings:?}");
        }
    }
}
