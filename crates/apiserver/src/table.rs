//! Tables, as `kubectl get` prints them.

mod columns;
mod path;

use serde_json::{Value, json};

use crate::meta;
use crate::registry::Resource;
use crate::request::Query;

/// A heading: name, type, priority.
type Heading = (String, String, i64);

/// Returns a table of `items`.
pub(crate) fn of(resource: &Resource, items: &[Value], version: &str, query: &Query) -> Value {
    let rows: Vec<Value> = items
        .iter()
        .map(|item| one(resource, item, query))
        .collect();
    let mut table = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version}, "columnDefinitions": definitions(resource),
        "rows": rows});
    if version.is_empty()
        && let [item] = items
    {
        table["metadata"]["resourceVersion"] = item["metadata"]["resourceVersion"].clone();
    }
    table
}

/// Returns a table of one row for a watch; headings only in the first.
pub(crate) fn row(resource: &Resource, item: &Value, query: &Query, first: bool) -> Value {
    let version = item["metadata"]["resourceVersion"].clone();
    let definitions = if first {
        definitions(resource)
    } else {
        Value::Null
    };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version}, "columnDefinitions": definitions,
        "rows": [one(resource, item, query)]})
}

fn definitions(resource: &Resource) -> Value {
    let list: Vec<Value> = columns::headings(resource)
        .into_iter()
        .map(|(name, kind, priority)| {
            let format = if name == "Name" { "name" } else { "" };
            json!({"name": name, "type": kind, "format": format, "description": "",
                "priority": priority})
        })
        .collect();
    Value::Array(list)
}

fn one(resource: &Resource, item: &Value, query: &Query) -> Value {
    let object = match query.get("includeObject") {
        "Object" => item.clone(),
        "None" => Value::Null,
        _ => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": item["metadata"]}),
    };
    json!({"cells": columns::cells(resource, item), "object": object})
}

/// Time since `timestamp` as kubectl writes ages.
pub(crate) fn age(timestamp: &str) -> String {
    if timestamp.is_empty() {
        return "<unknown>".to_owned();
    }
    let Ok(then) = timestamp.parse::<jiff::Timestamp>() else {
        return "<invalid>".to_owned();
    };
    let seconds = jiff::Timestamp::now().duration_since(then).as_secs();
    duration(seconds)
}

/// A duration as kubectl writes it.
pub(crate) fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |a: i64, unit: char, b: i64, small: char| {
        if b == 0 {
            format!("{a}{unit}")
        } else {
            format!("{a}{unit}{b}{small}")
        }
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, 'm', seconds % 60, 's')
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, 'h', minutes % 60, 'm')
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 192 {
        two(days, 'd', hours % 24, 'h')
    } else if days < 730 {
        format!("{days}d")
    } else if days < 2_920 {
        two(days / 365, 'y', days % 365, 'd')
    } else {
        format!("{}y", days / 365)
    }
}

fn created(item: &Value) -> Value {
    json!(age(meta::text(item, "/metadata/creationTimestamp")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_kubectl_does() {
        let rows = [
            (5, "5s"),
            (119, "119s"),
            (130, "2m10s"),
            (600, "10m"),
            (3_600, "60m"),
            (11_000, "3h3m"),
            (100_000, "27h"),
            (200_000, "2d7h"),
            (1_000_000, "11d"),
        ];
        for (seconds, text) in rows {
            assert_eq!(duration(seconds), text);
        }
    }
}
