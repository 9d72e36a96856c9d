//! Secondary tiers of the KV cache: one volume a tier, mounted where the engine's own flag says.

use serde_json::{Map, Value, json};
use weir_api::names::container;

use super::{Context, edit};
use crate::quantity::Quantity;
use crate::{Error, items, text};

/// Where tiers are mounted; the engine is told the same directory when the command line is composed.
const DIRECTORY: &str = "/mnt/kv-cache-";
const VOLUME: &str = "kv-cache-secondary-";
const EPHEMERAL: &str = "ephemeral-storage";

/// Gives the engine every tier that its workload names.
pub(crate) fn apply(pod: &mut Value, context: &Context<'_>) -> Result<(), Error> {
    let mut grown = Quantity::ZERO;
    for (index, tier) in tiers(context.workload) {
        let name = format!("{VOLUME}{index}");
        let mut mount = json!({"name": name, "mountPath": format!("{DIRECTORY}{index}")});
        let source = source(index, tier, context)?;
        if let Source::Claim { path, .. } = &source
            && !path.is_empty()
        {
            mount["subPath"] = json!(path);
        }
        if let Source::Scratch(size) = source {
            grown = grown.plus(size).unwrap_or(grown);
        }
        edit::mount(pod, container::MAIN, &[mount], source.volume(&name))?;
    }
    if grown != Quantity::ZERO
        && let Some(main) = edit::main(pod)
    {
        let asked = main
            .pointer(&format!("/resources/requests/{EPHEMERAL}"))
            .and_then(Value::as_str)
            .and_then(Quantity::parse)
            .unwrap_or(Quantity::ZERO);
        let total = asked.plus(grown).unwrap_or(grown);
        main["resources"]["requests"][EPHEMERAL] = json!(total.to_string());
    }
    Ok(())
}

/// Where the tiers of a workload are mounted.
pub(crate) fn mount_paths(workload: &Value) -> impl Iterator<Item = String> {
    tiers(workload).map(|(index, _)| format!("{DIRECTORY}{index}"))
}

/// The tiers that have a file system, each with its position in the list.
fn tiers(workload: &Value) -> impl Iterator<Item = (usize, &Value)> {
    items(workload, "/kvCacheOffloading/secondary")
        .iter()
        .enumerate()
        .filter_map(|(index, tier)| {
            let file_system = tier.get("fileSystem").filter(|it| it.is_object())?;
            Some((index, file_system))
        })
}

/// What is behind a tier.
enum Source<'a> {
    /// Space of the node, of a size.
    Scratch(Quantity),
    /// An existing claim, and the directory in it.
    Claim { name: &'a str, path: &'a str },
    /// A claim of the pod's own, by its spec.
    OwnClaim(&'a Map<String, Value>),
}

fn source<'a>(index: usize, tier: &'a Value, context: &Context<'_>) -> Result<Source<'a>, Error> {
    let problem = |what: &'static str| Error::Tier {
        field: format!(
            "{}.kvCacheOffloading.secondary[{index}].fileSystem",
            if context.role.is_prefill() {
                "spec.prefill"
            } else {
                "spec"
            }
        ),
        what,
    };
    if let Some(spec) = tier.pointer("/pvc/spec").and_then(Value::as_object) {
        return Ok(Source::OwnClaim(spec));
    }
    if tier.pointer("/pvc/ref").is_some() {
        return match text(tier, "/pvc/ref/name") {
            "" => Err(problem("pvc.ref has no name: name the claim")),
            name => Ok(Source::Claim {
                name,
                path: text(tier, "/pvc/ref/path"),
            }),
        };
    }
    match text(tier, "/emptyDir/size") {
        "" => Err(problem("names no storage: set emptyDir.size or pvc")),
        size => Quantity::parse(size)
            .map(Source::Scratch)
            .ok_or_else(|| problem("emptyDir.size is no quantity such as 50Gi")),
    }
}

impl Source<'_> {
    fn volume(&self, name: &str) -> Value {
        match self {
            Self::Scratch(size) => {
                json!({"name": name, "emptyDir": {"sizeLimit": size.to_string()}})
            }
            Self::Claim { name: claim, .. } => {
                json!({"name": name, "persistentVolumeClaim": {"claimName": claim}})
            }
            Self::OwnClaim(spec) => {
                json!({"name": name, "ephemeral": {"volumeClaimTemplate": {"spec": spec}}})
            }
        }
    }
}
