//! `x-kubernetes-validations`: rules in CEL that a definition's schema carries.

use kube::core::cel::{CompiledSchema, ErrorKind, Validator, compile_schema};
use serde_json::Value;

/// The rules of a schema, compiled once.
pub(crate) struct Rules(Box<CompiledSchema>);

impl Rules {
    /// Compiles the rules of `openapi`, none when it has none.
    pub(crate) fn compile(openapi: &str) -> Option<Self> {
        if !openapi.contains("\"x-kubernetes-validations\"") {
            return None;
        }
        let compiled = compile_schema(&serde_json::from_str(openapi).ok()?);
        for error in compiled.compilation_errors() {
            tracing::debug!(%error, "Rule of a definition is not understood and never refuses");
        }
        Some(Self(Box::new(compiled)))
    }

    /// Returns what the rules refuse, as (reason, message, field).
    pub(crate) fn check(
        &self,
        object: &Value,
        old: Option<&Value>,
    ) -> Vec<(String, String, String)> {
        let Err(errors) = Validator::new().validate_compiled(&self.0, object, old) else {
            return Vec::new();
        };
        let mut faults = Vec::new();
        for error in errors.into_vec() {
            // What this evaluator cannot do must not keep out an object that a cluster takes.
            if error.kind != ErrorKind::ValidationFailure {
                tracing::debug!(
                    rule = error.rule,
                    message = error.message,
                    "Rule not evaluated"
                );
                continue;
            }
            let pointer = format!(
                "/{}",
                error.field_path.replace(['.', '['], "/").replace(']', "")
            );
            let kind = match object.pointer(&pointer) {
                Some(Value::Array(_)) => "array",
                Some(Value::String(_)) => "string",
                Some(Value::Bool(_)) => "boolean",
                Some(Value::Number(number)) if number.is_f64() => "number",
                Some(Value::Number(_)) => "integer",
                _ => "object",
            };
            faults.push((
                error
                    .reason
                    .unwrap_or_else(|| "FieldValueInvalid".to_owned()),
                format!("Invalid value: {kind:?}: {}", error.message),
                error.field_path,
            ));
        }
        faults
    }
}

/// What is said besides other faults when the rules were therefore not asked.
pub(crate) fn unasked() -> (String, String, String) {
    let message = "Invalid value: null: some validation rules were not checked because the object \
        was invalid; correct the existing errors to complete validation";
    (
        "FieldValueInvalid".to_owned(),
        message.to_owned(),
        "<nil>".to_owned(),
    )
}
