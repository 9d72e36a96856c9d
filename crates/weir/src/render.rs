//! `weir render`: the objects that services come to, without a cluster.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::json;
use weir_local::files::Source;
use weir_review::Severity;
use weir_review::offline::Offline;
use weir_review::trace::Trace;

use crate::inputs::{self, Cluster};
use crate::yaml;

/// Prints the objects that the services in FILE... come to, in apply order, exactly as the controller makes them.
///
/// Documents of other kinds are inputs and not printed: LLMInferenceServiceConfigs, Gateways and the ConfigMap
/// inferenceservice-config. The Secret with a service's certificate is left out, its key is made in the cluster.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Manifest files, or directories of them (read one level deep); /dev/stdin for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Documents, or one v1 List
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
    output: Output,
    /// Says behind each line where its value comes from (YAML only)
    #[arg(long)]
    origins: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// How objects are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// YAML documents
    Yaml,
    /// One JSON `List`
    Json,
}

/// Prints the objects; status 1 when a service has none because something is wrong.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    if arguments.origins && arguments.output == Output::Json {
        inputs::complain(["--origins are comments, which only -o yaml has"]);
        return ExitCode::FAILURE;
    }
    let sources = match inputs::read(&arguments.files) {
        Ok(sources) => sources,
        Err(problems) => {
            inputs::complain(problems);
            return ExitCode::FAILURE;
        }
    };
    match text(&sources, arguments) {
        Ok(text) => inputs::print(&text),
        Err(problems) => {
            inputs::complain(problems);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn text(sources: &[Source], arguments: Arguments) -> Result<String, Vec<String>> {
    let mut findings = inputs::review_ours(sources);
    let (given, more) = arguments.cluster.look(sources).map_err(one)?;
    let documents = sources.iter().map(|source| &source.document).chain(&more);
    let world = Offline::read(documents, given).map_err(|error| vec![error.to_string()])?;
    findings.extend(weir_review::effective::review(&world, &findings));
    findings.retain(|finding| finding.severity == Severity::Error);
    if !findings.is_empty() {
        return Err(findings.iter().map(ToString::to_string).collect());
    }
    let (mut out, mut items) = (String::new(), Vec::new());
    for service in world.services() {
        let combined = world.combine(service).map_err(one)?;
        let objects = world.plan(service, &combined.effective.spec).map_err(one)?;
        if arguments.output == Output::Json {
            items.extend(objects);
            continue;
        }
        let trace = Trace::new(&world, service, &combined);
        for object in &objects {
            let comment = |pointer: &str| {
                arguments
                    .origins
                    .then(|| trace.of_object(object, pointer).to_string())
            };
            if !out.is_empty() {
                out.push_str("---\n");
            }
            out.push_str(&yaml::write(object, &comment).map_err(one)?);
        }
    }
    if arguments.output == Output::Json {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        return Ok(format!("{list:#}\n"));
    }
    Ok(out)
}

fn one(error: impl std::fmt::Display) -> Vec<String> {
    vec![error.to_string()]
}
