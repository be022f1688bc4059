//! The engine keeps the contract in one Redis.

mod redis_beds;

use std::sync::LazyLock;

use redis_beds::{RedisBed, server::RedisServer};

static SERVER: LazyLock<[RedisServer; 1]> = LazyLock::new(|| [RedisServer::start(&[])]);

encke_engine::contract_tests!(ignored: "needs redis-server", crate::RedisBed::one(&*crate::SERVER));

mod nodes {
    encke_engine::cluster_contract_tests!(
        ignored: "needs redis-server",
        crate::RedisBed::one(&*crate::SERVER)
    );
}
