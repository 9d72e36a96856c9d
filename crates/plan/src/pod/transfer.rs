//! Where the other side of prefill and decode reaches the engine to fetch a cache over NIXL.

use serde_json::{Value, json};

use super::{Context, edit};
use crate::{Error, items, present};

/// The address that the engine tells its peers; without it, it tells them `localhost`.
const SIDE_CHANNEL: &str = "VLLM_NIXL_SIDE_CHANNEL_HOST";
/// The engine's side of NIXL, as its configuration names it.
const CONNECTOR: &str = "NixlConnector";

/// Tells an engine whose generated words configure NIXL its own address, unless the user did.
///
/// Presets that start a shell keep the environment in their users' hands, and their pods as they are: they have the
/// word nowhere.
pub(crate) fn apply(pod: &mut Value, context: &Context<'_>) -> Result<(), Error> {
    if !present(context.spec, "/prefill") {
        return Ok(());
    }
    let Some(main) = edit::main(pod) else {
        return Ok(());
    };
    let configured = items(main, "/command")
        .iter()
        .filter_map(Value::as_str)
        .any(|word| word.contains(CONNECTOR));
    if configured {
        let address = json!({"fieldRef": {"fieldPath": "status.podIP"}});
        edit::push_new(
            main,
            "env",
            json!({"name": SIDE_CHANNEL, "valueFrom": address}),
        );
    }
    Ok(())
}
