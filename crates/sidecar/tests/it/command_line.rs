//! Recorded command lines, and the rules of flags.

use serde_json::Value;
use weir_sidecar::flags::{FLAGS, Given};

use crate::{options, recordings};

/// Command lines that are accepted here and not there, each with its reason.
const ACCEPTED: [(&str, &str); 4] = [
    ("legacy --connector", "flags of earlier releases work"),
    (
        "legacy --prefiller-use-tls",
        "flags of earlier releases work",
    ),
    ("legacy single dash", "flags of earlier releases work"),
    (
        "ssrf with the old pool variables",
        "variables of earlier releases work",
    ),
];

/// Command lines that are found wanting only when the sidecar starts.
const AT_START: [&str; 4] = [
    "ssrf without cluster",
    "certificate directory missing",
    "host unresolvable",
    "port in use",
];

#[test]
fn recorded_command_lines_end_the_same_way() {
    let Some(folder) = recordings() else {
        return;
    };
    let file = std::fs::read(folder.join("cli.json")).unwrap();
    let recorded: Value = serde_json::from_slice(&file).unwrap();
    let mut problems = Vec::new();
    for run in recorded["runs"].as_array().unwrap() {
        let name = run["name"].as_str().unwrap();
        if AT_START.contains(&name) {
            continue;
        }
        let words: Vec<String> = run["argv"]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap().replace("{port}", "8001"))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let env: Vec<(&str, &str)> = run["env"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        let accepted = ACCEPTED.iter().any(|(known, _)| *known == name);
        let says = run["says"].as_array().into_iter().flatten().next();
        match (options(&words, &env), &run["exit_status"]) {
            (Ok(options), status) if accepted || *status == "runs" => {
                let effective = options.effective();
                for (key, value) in run["effective"].as_object().into_iter().flatten() {
                    if effective[key] != *value {
                        problems.push(format!("{name}: {key} is {} for {value}", effective[key]));
                    }
                }
                if let (Some(Value::String(note)), false) = (says, accepted)
                    && !options.notes.contains(note)
                {
                    problems.push(format!("{name}: {:?} for {note}", options.notes));
                }
            }
            (Ok(_), status) => problems.push(format!("{name}: accepted, recorded {status}")),
            (Err(error), status) if accepted || *status == "runs" => {
                problems.push(format!("{name}: {error}"));
            }
            (Err(error), _) => {
                // Messages about YAML are Go's; the others are what people search for.
                let wanted = match says {
                    Some(Value::String(usage)) => usage.as_str(),
                    Some(said) => said["error"].as_str().unwrap(),
                    None => continue,
                };
                let free = ["YAML", "ssrf with unknown group"];
                if !free.iter().any(|start| name.starts_with(start)) && error.to_string() != wanted
                {
                    problems.push(format!("{name}: {error}\n  for {wanted}"));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_recorded_flag_is_there_with_its_default() {
    let Some(folder) = recordings() else {
        return;
    };
    let table = std::fs::read_to_string(folder.join("flags.tsv")).unwrap();
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let flag = FLAGS.iter().find(|flag| flag.name == cells[0]);
        let flag = flag.unwrap_or_else(|| panic!("{} is missing", cells[0]));
        let shown = flag.instead.is_some() || cells[2].is_empty() || flag.default == cells[2];
        assert!(shown, "{}: {} for {}", cells[0], flag.default, cells[2]);
    }
}

#[test]
fn flags_are_read_as_the_first_releases_wrote_them() {
    let rows: [(&[&str], &str, &str); 8] = [
        (&["-connector=lmcache"], "KVConnector", "\"lmcache\""),
        (&["-connector", "nixl"], "KVConnector", "\"nixl\""),
        (
            &["--connector=nixl", "--kv-connector=sglang"],
            "KVConnector",
            "\"sglang\"",
        ),
        (
            &["-vllm-port", "8001"],
            "DecoderURL",
            "\"http://localhost:8001\"",
        ),
        (&["-v=5", "--logtostderr", "--port=9"], "Port", "\"9\""),
        (&["-decoder-use-tls"], "UseTLSForDecoder", "true"),
        (
            &["--inference-pool-namespace=a", "--inference-pool-name=b"],
            "InferencePoolNamespace",
            "\"a\"",
        ),
        (&["", "--", "--nonsense"], "DataParallelSize", "1"),
    ];
    for (words, key, wanted) in rows {
        let effective = options(words, &[]).unwrap().effective();
        assert_eq!(effective[key].to_string(), wanted, "{words:?}");
    }
}

#[test]
fn settings_are_strict() {
    let rows = [
        ("{nonsense: 1}", "no setting \"nonsense\""),
        ("{port: 1, port: 2}", "failed to read"),
        ("{port: \"8001\"}", "must be a whole number"),
        ("{enable-tls: decoder}", "must be a list"),
        ("{moriio-write-mode: true}", "no setting"),
        ("{trust-client-kv-params: true}", "no setting"),
        ("- a", "one mapping"),
    ];
    for (text, wanted) in rows {
        let flag = format!("--configuration={text}");
        let error = options(&[&flag], &[]).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
    // JSON is read too, and a flag wins.
    let text = r#"--configuration={"port": 81, "secure-proxy": false, "kv-connector": ""}"#;
    let options = options(&[text, "--port=82"], &[]).unwrap();
    assert_eq!((options.port, options.secure), (82, false));
    assert!(Given::parse(&["--port".to_owned()]).is_err());
}
