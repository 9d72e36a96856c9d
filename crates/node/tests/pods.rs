//! Pods as real processes, on the embedded store.
//!
//! This program is the node, the shim and the second stage at once, by its first argument, so it
//! has no harness: every case runs on one node, one after the other.
#![allow(clippy::unwrap_used, reason = "a test without the harness")]

#[path = "pods/cases.rs"]
mod cases;
#[path = "pods/world.rs"]
mod world;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let rest = || arguments.iter().skip(2).cloned().collect::<Vec<_>>();
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("node-shim") => return weir_node::shim::main(rest()),
        Some("node-stage") => return weir_node::stage::main(rest()),
        // What the harness would answer to a question for the list of tests.
        Some("--list") => return ExitCode::SUCCESS,
        _ => {}
    }
    if std::env::var_os(weir_testkit::REAL_SERVER).is_some() {
        let text =
            "SKIPPED: a node runs the pods of all namespaces, so it needs a server of its own";
        assert!(std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).is_ok());
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(Box::pin(cases::all()));
    ExitCode::SUCCESS
}
