//! Log lines in the layout of the zap library's production set-up, which llm-d's components write and which people's
//! log queries expect: `level`, `ts`, `logger`, `msg`, then the fields.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How the time of a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// Seconds since 1970, with a fraction.
    #[default]
    Epoch,
    /// Milliseconds since 1970, with a fraction.
    Millis,
    /// Nanoseconds since 1970.
    Nano,
    /// `2026-01-02T03:04:05.678Z`.
    Iso8601,
    /// `2026-01-02T03:04:05Z`.
    Rfc3339,
    /// `2026-01-02T03:04:05.678901234Z`.
    Rfc3339Nano,
}

impl Times {
    /// Returns a time as it is written.
    fn write(self, now: Timestamp) -> Value {
        let nanoseconds = now.as_nanosecond();
        match self {
            Self::Epoch => json!(nanoseconds as f64 / 1e9),
            Self::Millis => json!(nanoseconds as f64 / 1e6),
            // Good for the next two centuries.
            Self::Nano => json!(i64::try_from(nanoseconds).unwrap_or(i64::MAX)),
            Self::Iso8601 => json!(now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()),
            Self::Rfc3339 => json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            Self::Rfc3339Nano => json!(now.to_string()),
        }
    }
}

/// Writes lines with times of this kind.
pub(super) struct Lines(pub(super) Times);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = line(
            *event.metadata().level(),
            &self.0.write(Timestamp::now()),
            event.metadata().target(),
            fields.0,
        );
        writeln!(writer, "{line}")
    }
}

fn line(level: Level, time: &Value, logger: &str, mut fields: Map<String, Value>) -> String {
    let level = match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    let message = fields.remove("message").unwrap_or_else(|| json!(""));
    let mut line = format!(
        r#"{{"level":"{level}","ts":{time},"logger":{},"msg":{message}"#,
        json!(logger)
    );
    for (name, value) in fields {
        line.push_str(&format!(",{}:{value}", Value::from(name)));
    }
    line.push('}');
    line
}

/// The fields of an event as JSON.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, crate::errors::chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_known_keys_first() {
        let fields = json!({"message": "a \"b\"", "port": 8000, "address": "x"});
        let Value::Object(fields) = fields else {
            panic!("an object");
        };
        let line = line(Level::WARN, &json!(1.5), "weir_sidecar", fields);
        assert_eq!(
            line,
            r#"{"level":"warn","ts":1.5,"logger":"weir_sidecar","msg":"a \"b\"","address":"x","port":8000}"#
        );
    }

    #[test]
    fn times_are_written_as_asked() {
        let now: Timestamp = "2026-01-02T03:04:05.678901234Z".parse().unwrap();
        let rows = [
            (Times::Nano, json!(1_767_323_045_678_901_234_i64)),
            (Times::Iso8601, json!("2026-01-02T03:04:05.678Z")),
            (Times::Rfc3339, json!("2026-01-02T03:04:05Z")),
            (Times::Rfc3339Nano, json!("2026-01-02T03:04:05.678901234Z")),
        ];
        for (times, wanted) in rows {
            assert_eq!(times.write(now), wanted, "{times:?}");
        }
        let seconds = Times::Epoch.write(now).as_f64().unwrap();
        assert!((seconds - 1_767_323_045.678_9).abs() < 1e-3, "{seconds}");
        let millis = Times::Millis.write(now).as_f64().unwrap();
        assert!((millis - 1_767_323_045_678.9).abs() < 1.0, "{millis}");
    }
}
