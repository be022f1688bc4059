//! The Lua scripts with their hashes, and the index of the keys that plain commands use too. The scripts
//! themselves are in `lua/`.

use std::sync::LazyLock;

use redis::{Cmd, Script};

/// A script, and the name that a server knows it by.
pub(super) struct Lua {
    code: &'static str,
    hash: String,
}

impl Lua {
    fn new(code: &'static str) -> Self {
        Self { code, hash: Script::new(code).get_hash().to_owned() }
    }

    pub(super) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.code);
        command
    }

    /// A call with these keys; arguments are added to it.
    pub(super) fn call(&self, keys: &[String], more: &[String]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hash).arg(keys.len() + more.len()).arg(keys).arg(more);
        command
    }
}

macro_rules! scripts {
    ($($name:ident $code:expr;)*) => {
        $(pub(super) static $name: LazyLock<Lua> = LazyLock::new(|| Lua::new($code));)*

        /// All scripts, to be loaded where they may be asked for.
        pub(super) fn all() -> Vec<&'static Lua> {
            vec![$(&*$name),*]
        }
    };
}

/// A script of a partition: what all have in common stands before it.
macro_rules! of_partition {
    ($file:literal) => {
        concat!(include_str!("lua/common.lua"), include_str!(concat!("lua/", $file, ".lua")))
    };
}

scripts! {
    APPEND of_partition!("append");
    RECALL of_partition!("recall");
    READ of_partition!("read");
    POSITIONS of_partition!("positions");
    CHANNELS of_partition!("channels");
    USERS of_partition!("users");
    SEEN of_partition!("seen");
    HANDED of_partition!("handed");
    MARK of_partition!("mark");
    RECEIPTS of_partition!("receipts");
    SWEEP of_partition!("sweep");
    TRIM of_partition!("trim");
    DELETE of_partition!("delete");
    UPDATE of_partition!("update");
    STATUS of_partition!("status");
    OPEN of_partition!("open");
    CANCEL of_partition!("cancel");
    KEPT of_partition!("kept");
    FORGET of_partition!("forget");
    FORGET_USER of_partition!("forget_user");
    ENTER of_partition!("enter");
    LEAVE of_partition!("leave");
    BEAT include_str!("lua/beat.lua");
    RESIGN include_str!("lua/resign.lua");
    LEASE include_str!("lua/lease.lua");
}

/// Which of a partition's keys are asked for by plain commands, too: user locations, pushes, intents and
/// places.
pub(super) const NAMES_KEY: usize = 5;
pub(super) const USERS_KEY: usize = 6;
pub(super) const USER_LOCATIONS_KEY: usize = 7;
pub(super) const PUSHES_KEY: usize = 8;
pub(super) const INTENTS_KEY: usize = 13;
pub(super) const PLACES_KEY: usize = 14;
