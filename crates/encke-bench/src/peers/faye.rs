//! Faye's server for Node: `bench/faye` has the program.

use std::{fs, process::Command};

use super::{
    Kind,
    bayeux_server::{Around, BayeuxServer},
};

/// Faye.
pub(super) const KIND: Kind = Kind {
    name: "faye",
    open: |settings| {
        let server = BayeuxServer::start(settings, &FAYE, || {
            let mut command = Command::new("node");
            command.arg(PROGRAM).arg(fs::canonicalize(FAYE.libraries)?);
            Ok(command)
        })?;
        Ok(Box::new(server))
    },
};
const FAYE: Around =
    Around { title: "Faye", package: "faye", libraries: "target/tools/faye", path: "/bayeux" };
const PROGRAM: &str = "bench/faye/server.cjs";
