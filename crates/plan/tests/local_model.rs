//! Which marks a service gets from the caches there are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::{Value, json};
use weir_plan::{ServiceIdentity, cache_marks, cache_marks_fit};

const PREFIX: &str = "internal.serving.kserve.io/localmodel";

fn cache(name: &str, namespace: Option<&str>, source: &str, groups: &[&str]) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"sourceModelUri": source, "nodeGroups": groups},
    })
}

fn service(annotations: &[(&str, &str)]) -> ServiceIdentity {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    ServiceIdentity {
        name: "llama".to_owned(),
        namespace: "demo".to_owned(),
        annotations: annotations.iter().map(owned).collect(),
        ..ServiceIdentity::default()
    }
}

type Pair<'a> = Option<(&'a str, &'a str)>;

#[test]
fn the_first_cache_that_holds_the_model_and_the_group_marks_the_service() {
    let caches = [
        cache("own", Some("demo"), "hf://a/own", &["x"]),
        cache("first", None, "hf://a/b/", &["x", "y"]),
        cache("second", None, "hf://a/b", &["z"]),
    ];
    let group = "serving.kserve.io/nodegroup";
    let off = "serving.kserve.io/disable-localmodel";
    // Uri, annotation, the cache and the claim.
    let table: [(&str, Pair<'_>, Pair<'_>); 9] = [
        ("hf://a/b", None, Some(("first", "first-x"))),
        ("hf://a/b/", None, Some(("first", "first-x"))),
        ("hf://a/b/sub", None, Some(("first", "first-x"))),
        ("hf://a/bc", None, None),
        ("hf://a", None, None),
        ("hf://a/b", Some((group, "y")), Some(("first", "first-y"))),
        ("hf://a/b", Some((group, "z")), Some(("second", "second-z"))),
        ("hf://a/b", Some((group, "w")), None),
        ("hf://a/b", Some((off, "true")), None),
    ];
    for (uri, annotation, wanted) in table {
        let annotations: Vec<_> = annotation.into_iter().collect();
        let marks = cache_marks(&service(&annotations), uri, Some(&caches));
        let found = marks.as_ref().map(|marks| {
            let label = marks["labels"][PREFIX].as_str().unwrap();
            let claim = marks["annotations"][format!("{PREFIX}-pvc-name")].as_str();
            (label, claim.unwrap())
        });
        assert_eq!(found, wanted, "{uri} {annotation:?}");
    }
    let own = cache_marks(&service(&[]), "hf://a/own", Some(&caches)).unwrap();
    assert_eq!(own["labels"][format!("{PREFIX}-namespace")], "demo");
}

#[test]
fn marks_go_with_their_reason_and_stay_where_nothing_is_known() {
    let mut marked = service(&[]);
    let keys = [
        (
            &mut marked.labels,
            vec![PREFIX.to_owned(), format!("{PREFIX}-namespace")],
        ),
        (
            &mut marked.annotations,
            vec![format!("{PREFIX}-sourceuri"), format!("{PREFIX}-pvc-name")],
        ),
    ];
    for (map, keys) in keys {
        map.extend(keys.into_iter().map(|key| (key, "old".to_owned())));
    }
    let gone = json!({
        "labels": {PREFIX: null, (format!("{PREFIX}-namespace")): null},
        "annotations": {(format!("{PREFIX}-sourceuri")): null, (format!("{PREFIX}-pvc-name")): null},
    });
    assert_eq!(cache_marks(&marked, "hf://a/b", None), Some(gone.clone()));
    assert_eq!(cache_marks(&marked, "hf://a/b", Some(&[])), Some(gone));
    assert_eq!(cache_marks(&marked, "", Some(&[])), None);
    assert_eq!(cache_marks(&service(&[]), "hf://a/b", None), None);
}

#[test]
fn marks_of_another_model_do_not_fit() {
    let source = "internal.serving.kserve.io/localmodel-sourceuri";
    let marked = service(&[(source, "hf://a/b/")]);
    let table = [
        ("hf://a/b", true),
        ("hf://a/b/sub", true),
        ("hf://a/bc", false),
        ("hf://a", false),
    ];
    for (uri, fit) in table {
        assert_eq!(cache_marks_fit(&marked, uri), fit, "{uri}");
    }
    assert!(cache_marks_fit(&service(&[]), "hf://a/b"));
}
