//! Where an engine publishes its KV events.
//!
//! vLLM binds an endpoint that holds `*` on every address, and connects to one that names an address.
//! Who wants it on one address only gives it a socket in the file system and forwards.

use serde_json::Value;

use crate::argv::parse_argv;

/// The flag.
const FLAG: &str = "--kv-events-config";
/// What the engine takes where no endpoint is given.
const DEFAULT_ENDPOINT: &str = "tcp://*:5557";
/// Begins an endpoint on every address.
const EVERYWHERE: &str = "tcp://*:";

/// Puts a socket, named by `socket` from the port, in place of each endpoint on every address; returns
/// the words and the ports. An engine of several data-parallel ranks is left alone: it takes an endpoint
/// for each from the port, which a socket does not have.
pub fn put_behind(words: Vec<String>, socket: impl Fn(u16) -> String) -> (Vec<String>, Vec<u16>) {
    let ranks = parse_argv(&words)
        .ok()
        .and_then(|args| args.number("data-parallel-size"));
    if ranks.is_some_and(|ranks| ranks > 1) {
        return (words, Vec::new());
    }
    let mut ports = Vec::new();
    let mut out = Vec::with_capacity(words.len());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        if name.replace('_', "-") != FLAG {
            out.push(word);
            continue;
        }
        match value {
            Some(value) => out.push(format!("{FLAG}={}", changed(value, &socket, &mut ports))),
            None => {
                out.push(word);
                out.extend(
                    words
                        .next()
                        .map(|value| changed(&value, &socket, &mut ports)),
                );
            }
        }
    }
    ports.dedup();
    (out, ports)
}

fn changed(config: &str, socket: &impl Fn(u16) -> String, ports: &mut Vec<u16>) -> String {
    let Ok(Value::Object(mut config_map)) = serde_json::from_str(config) else {
        return config.to_owned();
    };
    if config_map.get("enable_kv_cache_events") == Some(&Value::Bool(true)) {
        let default = || Value::from(DEFAULT_ENDPOINT);
        config_map
            .entry("endpoint".to_owned())
            .or_insert_with(default);
    }
    for key in ["endpoint", "replay_endpoint"] {
        let port = config_map
            .get(key)
            .and_then(Value::as_str)
            .and_then(|endpoint| endpoint.strip_prefix(EVERYWHERE)?.parse().ok())
            .filter(|port| *port > 0);
        if let Some(port) = port {
            ports.push(port);
            config_map.insert(
                key.to_owned(),
                Value::from(format!("ipc://{}", socket(port))),
            );
        }
    }
    Value::Object(config_map).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_on_every_address() {
        let rows = [
            (
                r#"m --kv-events-config {"enable_kv_cache_events":true}"#,
                r#"m --kv-events-config {"enable_kv_cache_events":true,"endpoint":"ipc:///s/5557"}"#,
                vec![5557],
            ),
            (
                r#"m --kv_events_config={"endpoint":"tcp://*:7","replay_endpoint":"tcp://*:8"}"#,
                r#"m --kv-events-config={"endpoint":"ipc:///s/7","replay_endpoint":"ipc:///s/8"}"#,
                vec![7, 8],
            ),
            (
                r#"m --kv-events-config {"endpoint":"tcp://10.0.0.1:7"} --port 1"#,
                r#"m --kv-events-config {"endpoint":"tcp://10.0.0.1:7"} --port 1"#,
                vec![],
            ),
            (
                r#"m --data-parallel-size 2 --kv-events-config {"endpoint":"tcp://*:7"}"#,
                r#"m --data-parallel-size 2 --kv-events-config {"endpoint":"tcp://*:7"}"#,
                vec![],
            ),
            ("m --kv-events-config", "m --kv-events-config", vec![]),
            ("m --kv-events-config x", "m --kv-events-config x", vec![]),
        ];
        for (line, wanted, ports) in rows {
            let words = line.split(' ').map(str::to_owned).collect();
            let (found, found_ports) = put_behind(words, |port| format!("/s/{port}"));
            assert_eq!((found.join(" "), found_ports), (wanted.to_owned(), ports));
        }
    }
}
