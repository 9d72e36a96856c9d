//! Words of a command line, and what decides on them: the engine's version and a container's environment.

use serde_json::{Map, Value};

/// Annotation that names the engine's version where the image does not.
pub(crate) const VERSION_ANNOTATION: &str = "serving.kserve.io/engine-version";

/// Environment variable whose words come before a user's args.
pub(crate) const ADDITIONAL: &str = "VLLM_ADDITIONAL_ARGS";

/// Splits `text` by the rules of a POSIX shell, without any expansion but this: `$NAME` and `${NAME}` outside
/// single quotes become `$(NAME)`, which the kubelet expands.
pub(crate) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars().peekable();
    let mut double = false;
    while let Some(c) = rest.next() {
        match c {
            '\'' if !double => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a single quote is not closed".to_owned()),
                    }
                }
            }
            '"' => {
                double = !double;
                word.get_or_insert_default();
            }
            '\\' => match rest.next() {
                Some('\n') => {}
                Some(c) if double && !"$`\"\\".contains(c) => {
                    word.get_or_insert_default().extend(['\\', c]);
                }
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("it ends in a backslash".to_owned()),
            },
            '$' => word
                .get_or_insert_default()
                .push_str(&reference(&mut rest)?),
            c if c.is_ascii_whitespace() && !double => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    if double {
        return Err("a double quote is not closed".to_owned());
    }
    words.extend(word);
    // The engine refuses an empty word.
    words.retain(|word| !word.is_empty());
    Ok(words)
}

/// What follows a dollar sign, as the kubelet understands it.
fn reference(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, String> {
    let braces = rest.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    if braces && (name.is_empty() || rest.next_if_eq(&'}').is_none()) {
        return Err(format!(
            "${{{name}...: of a shell's expansions only ${{NAME}} is understood"
        ));
    }
    Ok(if name.is_empty() {
        "$".to_owned()
    } else {
        format!("$({name})")
    })
}

/// The text between the quotes, if all of `argument` is one quoted word.
pub(crate) fn unquoted(argument: &str) -> Option<&str> {
    let quote = argument.chars().next().filter(|c| "'\"".contains(*c))?;
    let inner = argument.strip_prefix(quote)?.strip_suffix(quote)?;
    let plain = !inner.is_empty()
        && !inner.contains(quote)
        && (quote == '\'' || !inner.contains(['\\', '$', '`']));
    plain.then_some(inner)
}

/// The container of the engine in a pod's template.
pub(crate) fn main(pod: &Map<String, Value>) -> Option<&Map<String, Value>> {
    let containers = pod.get("containers")?.as_array()?;
    let main = containers.iter().find(|c| c["name"] == "main");
    main.or_else(|| containers.first())?.as_object()
}

/// The variable `name` of the engine's container.
pub(crate) fn variable<'v>(pod: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let environment = main(pod)?.get("env")?.as_array()?;
    environment.iter().find(|one| one["name"] == name)
}

/// Whether a user's words, in the environment or in the args, name one of `flags`.
pub(crate) fn mention(pod: &Map<String, Value>, flags: &[&str]) -> bool {
    let args = main(pod).and_then(|main| main.get("args"));
    let args = args.and_then(Value::as_array).into_iter().flatten();
    let additional = variable(pod, ADDITIONAL).and_then(|one| one.get("value"));
    args.chain(additional)
        .filter_map(Value::as_str)
        .any(|text| flags.iter().any(|flag| text.contains(flag)))
}

/// Whether a word of the engine's command, as it stands in the merged spec, has `part` in it.
pub(crate) fn command_has(pod: &Map<String, Value>, part: &str) -> bool {
    let command = main(pod).and_then(|main| main.get("command"));
    let command = command.and_then(Value::as_array).into_iter().flatten();
    let mut words = command.filter_map(Value::as_str);
    words.any(|word| word.contains(part))
}

/// Whether the engine's container asks for a resource whose name begins with `prefix`.
pub(crate) fn asks_for(pod: &Map<String, Value>, prefix: &str) -> bool {
    let resources = main(pod).and_then(|main| main.get("resources"));
    ["requests", "limits"].iter().any(|kind| {
        let named = resources
            .and_then(|all| all.get(kind))
            .and_then(Value::as_object);
        named.is_some_and(|named| named.keys().any(|name| name.starts_with(prefix)))
    })
}

/// Whether the last part of the engine's image, without its tag, has `part` in it.
pub(crate) fn image_has(pod: &Map<String, Value>, part: &str) -> bool {
    let image = main(pod).and_then(|main| main.get("image"));
    let image = image.and_then(Value::as_str).unwrap_or_default();
    let image = image.split('@').next().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split(':').next().unwrap_or_default().contains(part)
}

/// Releases of llm-d and the engine in their images.
const LLM_D: [((u64, u64), &str); 3] = [((0, 7), "0.19.1"), ((0, 8), "0.23.0"), ((0, 9), "0.26.0")];

/// The engine's version: by the image's tag, else as annotated.
pub(crate) fn engine_version(
    pod: &Map<String, Value>,
    annotated: Option<&str>,
) -> Option<Vec<u64>> {
    let image = main(pod).and_then(|main| main.get("image"));
    let of_image = image.and_then(Value::as_str).and_then(version_of_image);
    of_image.or_else(|| version(annotated?))
}

fn version_of_image(image: &str) -> Option<Vec<u64>> {
    let image = image.split('@').next().unwrap_or_default();
    let (name, tag) = image.rsplit('/').next()?.split_once(':')?;
    let tagged = version(tag.strip_prefix('v')?)?;
    if name.starts_with("llm-d") {
        // Other programs of that project have versions of their own.
        let engine = [
            "llm-d",
            "llm-d-cuda",
            "llm-d-aws",
            "llm-d-rocm",
            "llm-d-xpu",
            "llm-d-cpu",
            "llm-d-hpu",
        ];
        let release = (*tagged.first()?, *tagged.get(1)?);
        let (_, engine) = LLM_D
            .iter()
            .find(|(of, _)| engine.contains(&name) && *of == release)?;
        version(engine)
    } else {
        name.contains("vllm").then_some(tagged)
    }
}

/// The leading numbers of a version, at least two: pre-releases and builds count as the release.
pub(crate) fn version(text: &str) -> Option<Vec<u64>> {
    let mut numbers = Vec::new();
    for part in text.trim().trim_start_matches('v').split('.').take(3) {
        let digits = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        match part.get(..digits).and_then(|digits| digits.parse().ok()) {
            Some(number) => numbers.push(number),
            None => break,
        }
        if digits < part.len() {
            break;
        }
    }
    (numbers.len() > 1).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        let rows: [(&str, &[&str]); 11] = [
            ("", &[]),
            (" a  b\n\tc ", &["a", "b", "c"]),
            (r#"--c '{"a": 1}'"#, &["--c", r#"{"a": 1}"#]),
            (r#"--c={\"a\":1}"#, &[r#"--c={"a":1}"#]),
            (r#"a" b"'c d'"#, &["a bc d"]),
            (r#"--c {"a":1,"b":2}"#, &["--c", "{a:1,b:2}"]),
            (
                r#"--a ${POD_IP} --b "x $POD_IP""#,
                &["--a", "$(POD_IP)", "--b", "x $(POD_IP)"],
            ),
            (
                r#"--t '{"topic":"kv@${POD_IP}"}'"#,
                &["--t", r#"{"topic":"kv@${POD_IP}"}"#],
            ),
            (r#""a\"b\\c\d""#, &[r#"a"b\c\d"#]),
            ("a\\\nb \\$x $ '' $(Y)", &["ab", "$x", "$", "$(Y)"]),
            ("*.txt ~ {a,b}", &["*.txt", "~", "{a,b}"]),
        ];
        for (text, wanted) in rows {
            let wanted: Vec<String> = wanted.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(split(text), Ok(wanted), "{text}");
        }
        for text in ["'a", "\"a", "a\\", "${a:-b}", "${}"] {
            assert!(split(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_one_quoted_word_is_unquoted() {
        let rows = [
            (r#"'{"a": 1}'"#, Some(r#"{"a": 1}"#)),
            (r#""a b""#, Some("a b")),
            (r#"--x='{"a": 1}'"#, None),
            ("'a' 'b'", None),
            ("''", None),
            ("'", None),
            (r#""a\"b""#, None),
            ("plain", None),
        ];
        for (text, wanted) in rows {
            assert_eq!(unquoted(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_version_comes_from_the_image_else_from_the_annotation() {
        let rows = [
            (
                "vllm/vllm-openai:v0.11.0",
                Some("9.9"),
                Some(vec![0, 11, 0]),
            ),
            (
                "docker.io/vllm/vllm-openai-cpu:v0.23.0@sha256:aa",
                None,
                Some(vec![0, 23, 0]),
            ),
            ("localhost:5000/vllm:v0.16.0rc2", None, Some(vec![0, 16, 0])),
            (
                "ghcr.io/llm-d/llm-d-cuda:v0.9.0",
                None,
                Some(vec![0, 26, 0]),
            ),
            ("ghcr.io/llm-d/llm-d-inference-sim:v0.9.0", None, None),
            (
                "ghcr.io/llm-d/llm-d:v0.2.0",
                Some("0.10.1"),
                Some(vec![0, 10, 1]),
            ),
            ("vllm/vllm-openai:latest", None, None),
            (
                "vllm/vllm-openai",
                Some("0.22.1.dev3+g1"),
                Some(vec![0, 22, 1]),
            ),
            ("example.com/a:v1.2.3", Some("new"), None),
        ];
        for (image, annotated, wanted) in rows {
            let pod = json!({"containers": [{"name": "main", "image": image}]});
            let pod = pod.as_object().expect("an object");
            assert_eq!(engine_version(pod, annotated), wanted, "{image}");
        }
    }
}
