//! `weir explain`: where a value of a service comes from.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;
use weir_compose::Combined;
use weir_review::offline::{Object, Offline};
use weir_review::trace::{self, Say, Trace};

use crate::inputs::{self, Cluster};
use crate::yaml;

/// Says where the value at PATH of the effective spec comes from: which line of the service, which baseRef or
/// preset, which template or rule, and what it stands instead of.
///
/// The effective spec is what the controller makes of a service, its configs and its presets.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Manifest files, or directories of them; the services and their configs
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Path of a field, such as spec.replicas or spec.template.containers[main].args[0]; spec for everything
    #[arg(required = true, value_name = "PATH")]
    path: String,
    #[command(flatten)]
    cluster: Cluster,
}

/// Prints the origins for every service in the files; status 1 when none has the path.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    match text(arguments) {
        Ok(text) => {
            inputs::print(&text);
            ExitCode::SUCCESS
        }
        Err(problems) => {
            inputs::complain(problems);
            ExitCode::FAILURE
        }
    }
}

fn text(arguments: Arguments) -> Result<String, Vec<String>> {
    let sources = inputs::read(&arguments.files)?;
    let findings = inputs::review_ours(&sources);
    if !findings.is_empty() {
        return Err(findings.iter().map(ToString::to_string).collect());
    }
    let (given, more) = arguments
        .cluster
        .look(&sources)
        .map_err(|problem| vec![problem])?;
    let documents = sources.iter().map(|source| &source.document).chain(&more);
    let world = Offline::read(documents, given).map_err(|error| vec![error.to_string()])?;
    if world.services().is_empty() {
        return Err(vec![
            "no LLMInferenceService in the files: nothing to explain".to_owned(),
        ]);
    }
    let (mut out, mut problems) = (String::new(), Vec::new());
    for service in world.services() {
        let told = world
            .combine(service)
            .map_err(|error| error.to_string())
            .and_then(|combined| one(&world, service, &combined, &arguments.path));
        match told {
            Ok(text) => out.push_str(&text),
            Err(problem) => {
                let id = format!("{}/{}", service.namespace(), service.name());
                problems.push(format!("{id}: {problem}"));
            }
        }
    }
    // A path that only some of the services have was still answered.
    if out.is_empty() {
        Err(problems)
    } else {
        Ok(out)
    }
}

fn one(
    world: &Offline<'_>,
    service: &Object<'_>,
    combined: &Combined,
    path: &str,
) -> Result<String, String> {
    let spec = &combined.effective.spec;
    let pointer = trace::resolve(spec, path).map_err(|missing| missing.to_string())?;
    let value = spec.pointer(&pointer).unwrap_or(&Value::Null);
    let trace = Trace::new(world, service, combined);
    let id = format!("{}/{}", service.namespace(), service.name());
    if value.is_object() || value.is_array() {
        let comment = |below: &str| Some(trace.of(&format!("{pointer}{below}")).to_string());
        let text = yaml::write(value, &comment)?;
        return Ok(format!("# {id} {path}\n{text}"));
    }
    let mut out = format!("{id} {path}: {value}\n  from {}\n", trace.of(&pointer));
    let mut history = trace.history(&pointer);
    // The last one that spoke won.
    let winner = history.pop();
    if let Some(template) = winner.and_then(|say| say.origin.template) {
        out.push_str(&format!("  template {template:?}\n"));
    }
    for Say { origin, value } in history.iter().rev() {
        out.push_str(&format!("  instead of {value} from {origin}\n"));
    }
    Ok(out)
}
