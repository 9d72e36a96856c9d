//! Where downloads are mounted, and when two locations are one.

use super::*;

fn downloads(targets: &[&str]) -> Vec<Download> {
    let download = |target: &&str| Download {
        uri: String::new(),
        scheme: Scheme::Store,
        target: (*target).to_owned(),
    };
    targets.iter().map(download).collect()
}

/// Targets, what else is mounted, and the mounts of the volume.
type Row<'a> = (
    &'a [&'a str],
    &'a [&'a str],
    &'a [(&'a str, Option<&'a str>)],
);

#[test]
fn the_volume_is_mounted_at_the_deepest_directory_of_all_targets() {
    let table: [Row<'_>; 8] = [
        (&["/mnt/models"], &[], &[("/mnt/models", None)]),
        (&["/mnt/models", "/mnt/lora/a"], &[], &[("/mnt", None)]),
        (&["/mnt/lora/a", "/mnt/lora/b"], &[], &[("/mnt/lora", None)]),
        (&["/mnt/lora/a"], &["/mnt/lora/c"], &[("/mnt/lora/a", None)]),
        // What is mounted beside does not matter.
        (
            &["/mnt/models", "/mnt/lora/a"],
            &["/models", "/mnt2/x"],
            &[("/mnt", None)],
        ),
        // Nothing can be mounted below a read-only directory.
        (
            &["/mnt/models", "/mnt/lora/a"],
            &["/mnt/kv-cache-0"],
            &[
                ("/mnt/models", Some("models")),
                ("/mnt/lora/a", Some("lora/a")),
            ],
        ),
        (
            &["/mnt/lora/a", "/mnt/lora/b"],
            &["/mnt/lora/c"],
            &[("/mnt/lora/a", Some("a")), ("/mnt/lora/b", Some("b"))],
        ),
        (
            &["/mnt/lora/a"],
            &["/mnt/lora/a/x"],
            &[("/mnt/lora/a", None)],
        ),
    ];
    for (targets, others, wanted) in table {
        let others: Vec<String> = others.iter().map(|path| (*path).to_owned()).collect();
        let found = places(&downloads(targets), &others);
        let found: Vec<_> = found
            .iter()
            .map(|place| (place.path.as_str(), place.sub_path.as_deref()))
            .collect();
        assert_eq!(found, wanted, "{targets:?} beside {others:?}");
    }
}

#[test]
fn spellings_of_one_location_are_one() {
    let table = [
        ("HF://A/B", "hf://A/B", true),
        ("hf://A/B", "hf://a/b", false),
        ("s3://b/a b", "s3://b/a%20b", true),
        ("s3://b/ü", "s3://b/%C3%BC", true),
        ("s3://b/%", "s3://b/%25", true),
        ("s3://b/%4", "s3://b/%4", true),
        ("s3://b/a", "gs://b/a", false),
        ("x", "x", true),
        ("x", "y", false),
    ];
    for (one, other, same) in table {
        assert_eq!(same_location(one, other), same, "{one} {other}");
    }
}
