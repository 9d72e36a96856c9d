//! LoRA adapters: where each is put, the flags that name them to the engine, and the mounts of those on claims.
//!
//! Adapters that are downloaded come with the model, see [`super::storage`].

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use weir_api::names::{child, container};

use super::storage::{self, Scheme};
use super::{Context, edit};
use crate::{Error, items, text};

/// Directory of all adapters.
pub(crate) const DIRECTORY: &str = "/mnt/lora";
const VOLUME: &str = "lora-pvc-";
/// The flag that a user gives who arranges adapters alone.
const MODULES: &str = "--lora-modules";
/// Environment of the engine whose words stand before its args.
const ADDITIONAL_ARGS: &str = "VLLM_ADDITIONAL_ARGS";
/// Programs that read a command line a second time.
const SHELLS: [&str; 4] = ["sh", "bash", "dash", "ash"];

/// One adapter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Adapter<'a> {
    /// The name requests use.
    pub(crate) name: &'a str,
    /// Where it comes from.
    pub(crate) uri: &'a str,
    /// What the location begins with.
    pub(crate) scheme: Scheme,
    /// Where the engine finds it.
    pub(crate) path: String,
}

/// The adapters of a spec, by name.
///
/// # Errors
/// When one has no name, no location, or one from which adapters are not fetched.
pub(crate) fn adapters(spec: &Value) -> Result<Vec<Adapter<'_>>, Error> {
    let mut found = Vec::new();
    for (index, adapter) in items(spec, "/model/lora/adapters").iter().enumerate() {
        let (name, uri) = (text(adapter, "/name"), text(adapter, "/uri"));
        if name.is_empty() {
            return Err(Error::AdapterName { index });
        }
        let scheme = Scheme::of(uri).map(|(scheme, _)| scheme);
        let scheme = scheme.filter(|scheme| matches!(scheme, Scheme::Claim) || scheme.is_store());
        let Some(scheme) = scheme else {
            return Err(Error::AdapterScheme {
                index,
                name: name.to_owned(),
                uri: uri.to_owned(),
            });
        };
        found.push((name, uri, scheme));
    }
    if !found.is_empty() && storage::is_off(spec) {
        return Err(Error::AdaptersWithoutInitializer);
    }
    found.sort_unstable();
    let segments = segments(found.iter().map(|(name, ..)| *name));
    Ok(found
        .into_iter()
        .zip(segments)
        .map(|((name, uri, scheme), segment)| Adapter {
            name,
            uri,
            scheme,
            path: format!("{DIRECTORY}/{segment}"),
        })
        .collect())
}

/// The directory of each name: what a path cannot hold becomes a dash, and names that would share a directory get
/// a hash, except one that needs no change.
fn segments<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let plain = |name: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let segment: String = name
            .chars()
            .map(|c| if allowed(c) { c } else { '-' })
            .collect();
        match segment.as_str() {
            "" | "." | ".." => "adapter".to_owned(),
            _ => segment,
        }
    };
    let mut count = BTreeMap::<String, usize>::new();
    for name in names.clone() {
        *count.entry(plain(name)).or_default() += 1;
    }
    names
        .map(|name| {
            let segment = plain(name);
            if segment == name || count.get(&segment) == Some(&1) {
                segment
            } else {
                format!("{segment}-{}", hash(name))
            }
        })
        .collect()
}

/// The first eight hexadecimal digits of the name's SHA-256.
fn hash(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(4).map(|b| format!("{b:02x}")).collect()
}

/// Mounts the adapters that lie on claims, and names all adapters to the engine.
pub(crate) fn apply(pod: &mut Value, context: &Context<'_>) -> Result<(), Error> {
    let adapters = adapters(context.spec)?;
    if adapters.is_empty() {
        return Ok(());
    }
    for adapter in adapters.iter().filter(|a| a.scheme == Scheme::Claim) {
        let (claim, sub_path) = storage::claim(adapter.uri);
        let name = volume(adapter.name);
        let mut mount = json!({"name": name, "mountPath": adapter.path, "readOnly": true});
        if !sub_path.is_empty() {
            mount["subPath"] = json!(sub_path);
        }
        let volume = json!({"name": name, "persistentVolumeClaim": {"claimName": claim}});
        edit::mount(pod, container::MAIN, &[mount], volume)?;
    }
    let Some(main) = edit::main(pod).filter(|main| !names_modules(main)) else {
        return Ok(());
    };
    let mut args = flags(&adapters, context, in_shell(main));
    args.extend(items(main, "/args").iter().cloned());
    main["args"] = Value::Array(args);
    Ok(())
}

/// The volume of an adapter on a claim. A name that is no volume name gets a hash of the adapter's.
fn volume(adapter: &str) -> String {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if adapter.chars().all(allowed) && !adapter.ends_with('-') {
        return child(VOLUME, adapter);
    }
    let lower = adapter.to_ascii_lowercase();
    let plain: String = lower
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .collect();
    child(
        VOLUME,
        &format!("{}-{}", plain.trim_matches('-'), hash(adapter)),
    )
}

fn flags(adapters: &[Adapter<'_>], context: &Context<'_>, quoted: bool) -> Vec<Value> {
    let mut flags = vec![json!("--enable-lora")];
    for (flag, field) in [
        ("--max-lora-rank", "maxRank"),
        ("--max-loras", "maxAdapters"),
        ("--max-cpu-loras", "maxCpuAdapters"),
    ] {
        let limit = context.spec.pointer(&format!("/model/lora/{field}"));
        if let Some(limit) = limit.and_then(Value::as_i64) {
            flags.push(json!(format!("{flag}={limit}")));
        }
    }
    flags.push(json!(MODULES));
    for adapter in adapters {
        let published = format!(
            "publishers/{}/models/{}",
            context.service.namespace, adapter.name
        );
        for name in [adapter.name, &published] {
            flags.push(json!(module(name, &adapter.path, quoted)));
        }
    }
    flags
}

/// One module as the engine reads it. The kubelet expands `$(NAME)` in args, and a shell reads them once more;
/// neither may see anything but the text.
fn module(name: &str, path: &str, quoted: bool) -> String {
    let module = format!("{{\"name\":{},\"path\":{}}}", json!(name), json!(path));
    let module = module.replace('$', "$$");
    if quoted {
        format!("'{}'", module.replace('\'', r"'\''"))
    } else {
        module
    }
}

/// Whether the user names adapters to the engine.
fn names_modules(main: &Value) -> bool {
    let words = ["/command", "/args"]
        .into_iter()
        .flat_map(|list| items(main, list));
    let additional = items(main, "/env")
        .iter()
        .filter(|entry| entry["name"] == ADDITIONAL_ARGS)
        .filter_map(|entry| entry.get("value"));
    words
        .chain(additional)
        .filter_map(Value::as_str)
        .any(|word| word.contains(MODULES))
}

/// Whether the container's command is a script of a shell.
fn in_shell(main: &Value) -> bool {
    let command = items(main, "/command");
    let program = command.first().and_then(Value::as_str).unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    SHELLS.contains(&program) && command.iter().any(|word| word == "-c")
}
