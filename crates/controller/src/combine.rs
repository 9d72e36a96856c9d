//! Finding the configs of a service and combining them.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_plan::Failure;

use crate::globals::Settings;
use crate::{Context, Error};

/// Suffixes of the preset names that are pinned per service.
pub(crate) const WELL_KNOWN: [&str; 14] = [
    "config-llm-decode-template",
    "config-llm-decode-worker-data-parallel",
    "config-llm-decode-worker-pipeline-parallel",
    "config-llm-prefill-template",
    "config-llm-prefill-worker-data-parallel",
    "config-llm-prefill-worker-pipeline-parallel",
    "config-llm-router-route",
    "config-llm-scheduler",
    "config-llm-scheduler-latency-predictor",
    "config-llm-template",
    "config-llm-tokenizer",
    "config-llm-tracing",
    "config-llm-worker-data-parallel",
    "config-llm-worker-pipeline-parallel",
];

/// The effective spec and where it came from.
pub(crate) struct Combined {
    pub(crate) spec: Value,
    pub(crate) applied: Vec<Value>,
}

/// Combines presets, base references and the service.
pub(crate) async fn effective(
    _context: &Context,
    live: &Value,
    _settings: &Settings,
    _pinned: &BTreeMap<String, String>,
) -> Result<Result<Combined, Failure>, Error> {
    Ok(Ok(Combined {
        spec: live["spec"].clone(),
        applied: Vec::new(),
    }))
}
