//! What templates print, and what is refused where.

use std::borrow::Cow;

use serde_json::{Value as Json, json};
use weir_template::{Builtins, Shape, Shapeless, Template, Trim};

/// Knows the fields of a small structure; `labels` is a map.
struct Known;

impl Shape for Known {
    fn fields(&self, path: &[Cow<'_, str>]) -> Option<Vec<String>> {
        let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
        let fields: &[&str] = match path.as_slice() {
            [] => &["Name", "Spec"],
            ["Spec"] => &[
                "model",
                "parallelism",
                "labels",
                "kvCacheOffloading",
                "items",
            ],
            ["Spec", "model"] => &["uri", "name"],
            ["Spec", "parallelism"] => &["tensor", "data", "expert"],
            _ => return None,
        };
        Some(fields.iter().map(|&field| field.to_owned()).collect())
    }
}

fn data() -> Json {
    json!({
        "Name": "svc",
        "Spec": {
            "model": {"name": "org/m", "uri": "hf://org/m"},
            "parallelism": {"tensor": 4, "data": 0, "expert": true},
            "labels": {"a": "1", "b-c": "2"},
            "items": ["x", "y", "z"],
        },
    })
}

fn render(text: &str) -> Result<String, String> {
    let template = Template::parse(text, Trim::White, &Builtins).map_err(|e| e.to_string())?;
    template
        .render(&data(), &Known, &Builtins)
        .map_err(|e| e.to_string())
}

#[test]
fn printed() {
    let rows = [
        ("plain }} text", "plain }} text"),
        ("{{ .Name }}", "svc"),
        (
            "{{.Spec.Model.Name}}/{{ $.Spec.Model.URI }}",
            "org/m/hf://org/m",
        ),
        ("{{ if .Spec.Parallelism.Tensor }}t{{ end }}", "t"),
        (
            "{{ if .Spec.Parallelism.Data }}zero is set{{ end }}",
            "zero is set",
        ),
        ("{{ or .Spec.Parallelism.Data 1 }}", "0"),
        ("{{ if .Spec.KVCacheOffloading }}a{{ else }}b{{ end }}", "b"),
        (
            "{{ if .Spec.KVCacheOffloading.CPU }}a{{ else }}b{{ end }}",
            "b",
        ),
        (
            "{{ if false }}a{{ else if eq .Name `svc` }}b{{ else }}c{{ end }}",
            "b",
        ),
        (
            "{{ if and .Spec.Parallelism .Spec.Parallelism.Tensor }}x{{ end }}",
            "x",
        ),
        ("{{ and 1 0 2 }} {{ or 0 `` `d` }}", "0 d"),
        (
            "{{ with .Spec.Model }}{{ .Name }}{{ $.Name }}{{ end }}",
            "org/msvc",
        ),
        (
            "{{ with $m := .Spec.Model }}{{ $m.Name }}{{ end }}",
            "org/m",
        ),
        ("{{ range .Spec.Items }}<{{ . }}>{{ end }}", "<x><y><z>"),
        (
            "{{ range $i, $v := .Spec.Items }}{{ $i }}{{ $v }}{{ end }}",
            "0x1y2z",
        ),
        (
            "{{ range $k, $v := .Spec.Labels }}{{ $k }}={{ $v }};{{ end }}",
            "a=1;b-c=2;",
        ),
        (
            "{{ range .Spec.Items }}{{ if eq . `y` }}{{ continue }}{{ end }}{{ . }}{{ end }}",
            "xz",
        ),
        (
            "{{ range .Spec.Items }}{{ if eq . `y` }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "x",
        ),
        (
            "{{ range .Spec.KVCacheOffloading }}a{{ else }}none{{ end }}",
            "none",
        ),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        (
            "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}",
            "2",
        ),
        (
            "{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}",
            "1",
        ),
        ("a  {{- .Name -}}  b", "asvcb"),
        ("a \n{{- /* note */ -}}\n b", "ab"),
        ("{{/* note */}}x", "x"),
        ("{{ `{{` }}", "{{"),
        ("{{ \"a\\tb\\u00e9\" }}", "a\tb\u{e9}"),
        ("{{ .Name | printf `%s-%d` `a` | len }}", ""),
        (
            "{{ printf `%s-%03d|%-4s|%4s|%q|%v|%.2f|%x|%%` `a` 7 `b` `c` `d` true 1.5 255 }}",
            "a-007|b   |   c|\"d\"|true|1.50|ff|%",
        ),
        ("{{ printf `%d` .Spec.Parallelism.Tensor }}", "4"),
        (
            "{{ eq .Spec.Parallelism.Tensor 4 }} {{ eq 1 2 1 }} {{ ne 1 2 }}",
            "true true true",
        ),
        (
            "{{ lt 1 2 }}{{ le 2 2 }}{{ gt `b` `a` }}{{ ge 1.5 2 }}",
            "truetruetruefalse",
        ),
        ("{{ not .Spec.Parallelism.Expert }}", "false"),
        (
            "{{ len .Spec.Items }}{{ len .Name }}{{ len .Spec.Labels }}",
            "332",
        ),
        (
            "{{ index .Spec.Items 1 }}{{ index .Spec.Labels `b-c` }}[{{ index .Spec.Labels `no` }}]",
            "y2[]",
        ),
        ("{{ slice .Name 1 }}{{ slice .Name 0 1 }}", "vcs"),
        ("{{ print 1 2 `a` 3 }}|{{ println 1 `a` }}", "1 2a3|1 a\n"),
        (
            "{{ (index .Spec.Items 0) }}{{ (.Spec.Model).Name }}",
            "xorg/m",
        ),
        (
            "{{ html `<a&'>` }}{{ urlquery `a b/c` }}{{ js `it's` }}",
            "&lt;a&amp;&#39;&gt;a+b%2Fcit\\'s",
        ),
        (
            "{{ 0x1F }} {{ 1_000 }} {{ -3 }} {{ 'a' }} {{ 1.5 }} {{ 017 }}",
            "31 1000 -3 97 1.5 15",
        ),
        (
            "{{ define `t` }}<{{ . }}>{{ end }}{{ template `t` .Name }}",
            "<svc>",
        ),
        ("{{ block `b` .Name }}[{{ . }}]{{ end }}", "[svc]"),
        (
            "{{ .Spec.Items }}{{ .Spec.Labels }}",
            "[x y z]map[a:1 b-c:2]",
        ),
    ];
    for (text, wanted) in rows {
        if wanted.is_empty() {
            assert!(render(text).is_err(), "{text}");
        } else {
            assert_eq!(render(text).as_deref(), Ok(wanted), "{text}");
        }
    }
}

#[test]
fn refused() {
    let mut report = String::new();
    for text in [
        "{{ .Name",
        "a\n  {{ .Nmae }}",
        "{{ .Spec.Modle.Name }}",
        "{{ .Spec.Model.Name.First }}",
        "{{ .Spec.Labels.zz }}",
        "{{ .Spec.KVCacheOffloading }}",
        "{{ printf `%d` .Spec.KVCacheOffloading }}",
        "{{ if true }}",
        "{{ end }}",
        "{{ else }}",
        "{{ break }}",
        "{{ $y }}",
        "{{ foo . }}",
        "{{ .Name 1 }}",
        "{{ 1 | 2 }}",
        "{{ eq 1 `a` }}",
        "{{ index .Spec.Items 9 }}",
        "{{ `open }}",
        "{{ (1 }}",
        "{{ template `no` }}",
        "{{ define `t` }}{{ template `t` }}{{ end }}{{ template `t` }}",
        "{{ }}",
        "{{ @ }}",
        "{{ nil }}",
        "é{{ .X }}",
        "{{ range 99999999 }}{{ end }}",
        "{{ range 1000 }}{{ range 999999 }}{{ break }}{{ end }}{{ end }}",
    ] {
        let error = render(text).expect_err(text);
        report.push_str(&format!("{text:?}\n    {error}\n"));
    }
    insta::assert_snapshot!(report);
}

#[test]
fn trimming_of_blanks_leaves_line_feeds() {
    let text = "a\n   {{- .Name -}}   \nb";
    let template = Template::parse(text, Trim::Blanks, &Builtins).expect("parses");
    let rendered = template.render(&data(), &Shapeless, &Builtins);
    assert_eq!(rendered.as_deref(), Ok("a\nsvc\nb"));
}

proptest::proptest! {
    #[test]
    fn any_text_ends(text in "([{}`$.|() a-z\"=-]|\\{\\{|\\}\\}|end|if |range |\\.Name){0,40}") {
        let _ = render(&text);
    }

    #[test]
    fn text_without_actions_stays_as_it_is(text in "([{}]? ?[a-z\\n\"'`$.|\\\\é-]){0,40}") {
        proptest::prop_assert_eq!(render(&text), Ok(text));
    }
}
