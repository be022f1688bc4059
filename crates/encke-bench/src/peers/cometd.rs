//! CometD's server for Java, in a Jetty of its own: `bench/cometd` has the program.

use std::process::Command;

use super::{
    Kind,
    bayeux_server::{Around, BayeuxServer},
};

/// CometD.
pub(super) const KIND: Kind = Kind {
    name: "cometd",
    open: |settings| {
        let server = BayeuxServer::start(settings, &COMETD, || {
            let mut command = Command::new("java");
            let libraries = format!("{}/*", COMETD.libraries);
            command.args(["-Xmx8g", "-cp", &libraries, PROGRAM, &WARM_UP_S.to_string()]);
            Ok(command)
        })?;
        Ok(Box::new(server))
    },
};
const COMETD: Around =
    Around { title: "CometD", package: "cometd", libraries: "target/tools/cometd-server", path: "/cometd" };
const PROGRAM: &str = "bench/cometd/CometServer.java";
/// For how long it serves clients of its own before it is measured, in seconds: code that was not compiled
/// yet says nothing about it.
const WARM_UP_S: u32 = 20;
