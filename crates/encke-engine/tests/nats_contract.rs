//! The NATS engine keeps both contracts on one server.

mod nats;

use std::sync::LazyLock;

use nats::{NatsBed, Servers};

static SERVERS: LazyLock<Servers> = LazyLock::new(|| Servers::start(1));

mod alone {
    encke_engine::contract_tests!(
        ignored: "needs nats-server; tests/run installs one",
        super::NatsBed::new(&super::SERVERS)
    );
}

mod together {
    encke_engine::cluster_contract_tests!(
        ignored: "needs nats-server; tests/run installs one",
        super::NatsBed::new(&super::SERVERS)
    );
}
