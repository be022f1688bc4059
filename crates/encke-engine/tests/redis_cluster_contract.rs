//! The engine keeps the contract in a Redis cluster of three masters.

mod redis_beds;

use std::sync::LazyLock;

use redis_beds::{
    RedisBed,
    server::{RedisServer, cluster},
};

static SERVERS: LazyLock<Vec<RedisServer>> = LazyLock::new(|| cluster(3));

encke_engine::contract_tests!(ignored: "needs redis-server", crate::RedisBed::cluster(&crate::SERVERS));

mod nodes {
    encke_engine::cluster_contract_tests!(
        ignored: "needs redis-server",
        crate::RedisBed::cluster(&crate::SERVERS)
    );
}
