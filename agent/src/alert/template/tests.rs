use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::value::{Histogram, LabelMap, Sample, Value};
use super::{External, MAX_OUTPUT_BYTES, Scope, Template, data};

fn labels(pairs: &[(&str, &str)]) -> LabelMap {
    let pairs = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Arc::new(pairs.collect::<BTreeMap<_, _>>())
}

fn sample(pairs: &[(&str, &str)], value: f64) -> Sample {
    Sample {
        labels: labels(pairs),
        value: Value::Float(value),
    }
}

/// Two samples for `metric`, none for `none`, an error for anything else.
fn query(text: &str) -> Result<Vec<Sample>, String> {
    match text {
        "metric" => Ok(vec![
            sample(&[("__name__", "metric"), ("instance", "b")], 21.0),
            sample(&[("__name__", "metric"), ("instance", "a")], 11.0),
        ]),
        "text" => Ok(vec![sample(&[("__value__", "a string")], 0.0)]),
        "none" => Ok(Vec::new()),
        other => Err(format!("cannot query {other}")),
    }
}

fn expand_with(text: &str, value: Value) -> Result<String, String> {
    let template = Template::parse("Test", text).map_err(|why| format!("parse: {why}"))?;
    let scope = Scope {
        now_ms: 1_353_755_652_000,
        address: Some("http://testhost:9090/path/prefix"),
        query: &query,
    };
    let external = External::new(
        labels(&[("cluster", "eu")]),
        "http://testhost:9090/path/prefix",
    );
    let about = data(
        labels(&[("__name__", "up"), ("job", "web")]),
        &external,
        value,
    );
    template.expand(&about, &scope)
}

fn expand(text: &str) -> Result<String, String> {
    expand_with(text, Value::Float(1_500_000.0))
}

/// Every text must expand to what stands beside it.
fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|(text, wanted)| {
            let got = expand(text);
            (got.as_deref() != Ok(*wanted))
                .then(|| format!("{text}\n  want {wanted:?}\n  got  {got:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every text must fail, at load or when it runs, with a message that holds what stands beside it.
fn check_failures(cases: &[(&str, &str)]) {
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|(text, wanted)| match expand(text) {
            Err(why) if why.contains(wanted) => None,
            got => Some(format!("{text}\n  want {wanted:?}\n  got  {got:?}")),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn data_of_the_alert_is_there_under_both_names() {
    check(&[
        ("plain text", "plain text"),
        ("{{ $labels.job }} {{ .Labels.job }}", "web web"),
        ("{{ $labels.__name__ }}", "up"),
        (
            "{{ $externalLabels.cluster }}{{ .ExternalLabels.cluster }}",
            "eueu",
        ),
        ("{{ $externalURL }}", "http://testhost:9090/path/prefix"),
        ("{{ .ExternalURL }}", "http://testhost:9090/path/prefix"),
        ("{{ $value }} {{ .Value }}", "1.5e+06 1.5e+06"),
        ("{{ $labels }}", "map[__name__:up job:web]"),
        ("{{ $.Labels.job }}", "web"),
        ("{{ with $labels }}{{ .job }}{{ end }}", "web"),
    ]);
}

#[test]
fn a_missing_label_is_the_empty_text() {
    check(&[
        ("[{{ $labels.nope }}]", "[]"),
        ("[{{ .Labels.nope }}]", "[]"),
        ("[{{ index $labels \"nope\" }}]", "[]"),
        ("{{ if $labels.nope }}a{{ else }}b{{ end }}", "b"),
        ("{{ (args 1).arg7 }}", "<no value>"),
    ]);
}

#[test]
fn floats_are_printed_as_go_prints_them() {
    for (value, wanted) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (100_000.0, "100000"),
        (1_000_000.0, "1e+06"),
        (1_234_567.0, "1.234567e+06"),
        (123_456.7, "123456.7"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1e21, "1e+21"),
        (-2.5e-9, "-2.5e-09"),
        (1e100, "1e+100"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
        (f64::NAN, "NaN"),
    ] {
        assert_eq!(
            expand_with("{{ $value }}", Value::Float(value)).as_deref(),
            Ok(wanted)
        );
        assert_eq!(
            expand_with("{{ printf \"%v\" $value }}", Value::Float(value)).as_deref(),
            Ok(wanted)
        );
    }
}

#[test]
fn queries_give_samples_to_walk() {
    check(&[
        ("{{ query \"metric\" | first | value }}", "21"),
        (
            "{{ query \"metric\" | sortByLabel \"instance\" | first | label \"instance\" }}",
            "a",
        ),
        (
            "{{ range query \"metric\" }}{{ .Labels.instance }}={{ .Value }};{{ end }}",
            "b=21;a=11;",
        ),
        (
            "{{ range $i, $s := query \"metric\" }}{{ $i }}{{ $s | value }} {{ end }}",
            "021 111 ",
        ),
        (
            "{{ with query \"none\" }}some{{ else }}none{{ end }}",
            "none",
        ),
        (
            "{{ range query \"none\" }}some{{ else }}none{{ end }}",
            "none",
        ),
        ("{{ len (query \"metric\") }}", "2"),
        ("{{ (index (query \"metric\") 1).Value }}", "11"),
        ("{{ query \"text\" | first | strvalue }}", "a string"),
        (
            "{{ $x := query \"metric\" }}{{ ($x | first).Labels.__name__ }}",
            "metric",
        ),
    ]);
    check_failures(&[
        (
            "{{ query \"none\" | first }}",
            "error calling first: first() called on vector with no elements",
        ),
        (
            "{{ query \"missing\" }}",
            "error calling query: cannot query missing",
        ),
        ("{{ index (query \"metric\") 2 }}", "index out of range: 2"),
    ]);
}

#[test]
fn numbers_are_written_for_people() {
    check(&[
        (
            "{{ humanize 0.0 }} {{ humanize 1.0 }} {{ humanize 1234567.0 }}",
            "0 1 1.235M",
        ),
        (
            "{{ humanize .12 }} {{ humanize -1000.0 }} {{ humanize \"1e9\" }}",
            "120m -1k 1G",
        ),
        ("{{ humanize 1024 }} {{ humanize 999.99 }}", "1.024k 1000"),
        (
            "{{ humanize1024 0.0 }} {{ humanize1024 1048576.0 }} {{ humanize1024 .12 }}",
            "0 1Mi 0.12",
        ),
        (
            "{{ humanizeDuration 0 }} {{ humanizeDuration 1 }} {{ humanizeDuration 60 }}",
            "0s 1s 1m 0s",
        ),
        (
            "{{ humanizeDuration 86400 }} {{ humanizeDuration 90061.5 }}",
            "1d 0h 0m 0s 1d 1h 1m 1s",
        ),
        (
            "{{ humanizeDuration 3661 }} {{ humanizeDuration 899.99 }}",
            "1h 1m 1s 14m 59s",
        ),
        (
            "{{ humanizeDuration 0.1 }} {{ humanizeDuration 0.0001 }}",
            "100ms 100us",
        ),
        (
            "{{ humanizeDuration -1 }} {{ humanizeDuration 12.3456 }}",
            "-1s 12.35s",
        ),
        ("{{ humanizeDuration (toDuration 90) }}", "1m 30s"),
        (
            "{{ humanizePercentage 0.2345678 }} {{ humanizePercentage 1 }}",
            "23.46% 100%",
        ),
        (
            "{{ humanizeTimestamp 1435065584.128 }}",
            "2015-06-23 13:19:44.128 +0000 UTC",
        ),
        ("{{ humanizeTimestamp 0 }}", "1970-01-01 00:00:00 +0000 UTC"),
        (
            "{{ \"+Inf\" | humanize }} {{ \"NaN\" | humanizeTimestamp }}",
            "+Inf NaN",
        ),
        ("{{ parseDuration \"1h2m10ms\" }}", "3720.01"),
        ("{{ now }}", "1.353755652e+09"),
    ]);
    check_failures(&[
        (
            "{{ humanize \"one\" }}",
            "strconv.ParseFloat: parsing \"one\": invalid syntax",
        ),
        (
            "{{ humanize $labels }}",
            "can't convert map[string]string to float",
        ),
        (
            "{{ parseDuration \"1x\" }}",
            "not a valid duration string: \"1x\"",
        ),
        ("{{ toTime \"Inf\" }}", "value is NaN or Inf"),
        ("{{ humanizeTimestamp 1e30 }}", "overflows int64"),
    ]);
}

#[test]
fn times_have_methods() {
    check(&[
        ("{{ (1435065584.128 | toTime).Format \"2006\" }}", "2015"),
        (
            "{{ (toTime 1435065584.128).Format \"Mon Jan _2 15:04:05 2006\" }}",
            "Tue Jun 23 13:19:44 2015",
        ),
        (
            "{{ (toTime 1435065584.128).Format \"02.01.06 3:04PM .000 Z07:00\" }}",
            "23.06.15 1:19PM .128 Z",
        ),
        (
            "{{ toTime 1435065584.128 }}",
            "2015-06-23 13:19:44.128 +0000 UTC",
        ),
        (
            "{{ (toTime 951782400).YearDay }} {{ (toTime 951782400).Weekday }}",
            "60 Tuesday",
        ),
        ("{{ (toTime -86400).Format \"2006-01-02\" }}", "1969-12-31"),
        (
            "{{ ((toTime 0).Add (toDuration 3600)).Unix }} {{ (toTime 1.5).UnixMilli }}",
            "3600 1500",
        ),
        (
            "{{ (toTime 0).Add 2000000000 }}",
            "1970-01-01 00:00:02 +0000 UTC",
        ),
        (
            "{{ toDuration 3661.5 }} {{ (toDuration 90).Minutes }}",
            "1h1m1.5s 1.5",
        ),
        (
            "{{ (toDuration 0.0015).String }} {{ toDuration 0 }}",
            "1.5ms 0s",
        ),
        ("{{ with toTime $value }}{{ .Year }}{{ end }}", "1970"),
    ]);
    check_failures(&[
        (
            "{{ (toTime 0).Nope }}",
            "can't evaluate field Nope in type *time.Time",
        ),
        ("{{ (toTime 0).Format 1 }}", "wrong args for Format"),
    ]);
}

#[test]
fn texts_are_changed() {
    check(&[
        ("{{ \"aa bb CC\" | title }}", "Aa Bb CC"),
        ("{{ toUpper \"aB\" }}{{ toLower \"aB\" }}", "ABab"),
        ("{{ reReplaceAll \"(a)b\" \"x$1\" \"ab\" }}", "xa"),
        (
            "{{ match \"a+\" \"aa\" }} {{ match \"a+\" \"b\" }}",
            "true false",
        ),
        ("{{ \"<b>\" | safeHtml }}", "<b>"),
        (
            "{{ graphLink \"up{a=\\\"b\\\"}\" }}",
            "/graph?g0.expr=up%7Ba%3D%22b%22%7D&g0.tab=0",
        ),
        ("{{ tableLink \"up\" }}", "/graph?g0.expr=up&g0.tab=1"),
        ("{{ urlQueryEscape \"a b&c~d\" }}", "a+b%26c~d"),
        (
            "{{ stripPort \"host:80\" }} {{ stripPort \"[::1]:80\" }} {{ stripPort \"host\" }}",
            "host ::1 host",
        ),
        ("{{ stripPort \"2001:db8::1\" }}", "2001:db8::1"),
        (
            "{{ stripDomain \"a.b.c:80\" }} {{ stripDomain \"a.b\" }} {{ stripDomain \"10.0.0.1:80\" }}",
            "a:80 a 10.0.0.1:80",
        ),
        (
            "{{ pathPrefix }} {{ externalURL }}",
            "/path/prefix http://testhost:9090/path/prefix",
        ),
    ]);
    check_failures(&[
        (
            "{{ reReplaceAll \"(\" \"\" \"a\" }}",
            "error parsing regexp",
        ),
        ("{{ match \"[\" \"a\" }}", "error parsing regexp"),
    ]);
}

#[test]
fn the_language_is_gos() {
    check(&[
        ("{{- /* gone */ -}} a", "a"),
        ("a {{- 1 -}} b", "a1b"),
        ("{{ `raw {{ }}` }}", "raw {{ }}"),
        ("{{ \"q\\\"\\n\\u00e9\" }}", "q\"\né"),
        (
            "{{ 'a' }} {{ 0x10 }} {{ 1_000 }} {{ 1e3 }} {{ 0x1p4 }} {{ -3 }}",
            "97 16 1000 1000 16 -3",
        ),
        (
            "{{ if and true \"\" }}a{{ else if or 0 1 }}b{{ else }}c{{ end }}",
            "b",
        ),
        ("{{ if not 0 }}a{{ end }}", "a"),
        ("{{ with 0 }}a{{ else with 5 }}{{ . }}{{ end }}", "5"),
        (
            "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}",
            "2",
        ),
        (
            "{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}",
            "1",
        ),
        (
            "{{ range 3 }}{{ . }}{{ if eq . 1 }}{{ break }}{{ end }},{{ end }}",
            "0,1",
        ),
        (
            "{{ range 3 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ . }}{{ end }}",
            "02",
        ),
        (
            "{{ range $k, $v := args 1 \"b\" }}{{ $k }}={{ $v }} {{ end }}",
            "arg0=1 arg1=b ",
        ),
        (
            "{{ define \"x\" }}[{{ . }}]{{ end }}{{ template \"x\" 5 }}",
            "[5]",
        ),
        ("{{ block \"y\" 6 }}<{{ . }}>{{ end }}", "<6>"),
        (
            "{{ eq 1 2 1 }} {{ ne 1 2 }} {{ lt 1 2 }} {{ ge 2.5 2.5 }} {{ gt \"b\" \"a\" }}",
            "true true true true true",
        ),
        (
            "{{ printf \"%s %d %.2f %5.1f|%-4s|%04d %q %x %t %%\" \"a\" 3 1.0 2.25 \"b\" 7 \"c\" 255 true }}",
            "a 3 1.00   2.2|b   |0007 \"c\" ff true %",
        ),
        (
            "{{ printf \"%.3g %e %g %+d\" 1234.5 1.5 100000.0 3 }}",
            "1.23e+03 1.500000e+00 100000 +3",
        ),
        (
            "{{ printf \"%d\" 1.5 }} {{ printf \"%s\" 1 }} {{ printf \"%d\" }}",
            "%!d(float64=1.5) %!s(int=1) %!d(MISSING)",
        ),
        (
            "{{ printf \"%d\" 1 2 }} {{ printf \"%v\" nil }}",
            "1%!(EXTRA int=2) <nil>",
        ),
        (
            "{{ print 1 2 \"a\" 3 }} {{ println \"a\" 1 }}",
            "1 2a3 a 1\n",
        ),
        (
            "{{ html \"<a>\" }} {{ js \"a'b\" }} {{ urlquery \"a b\" }}",
            "&lt;a&gt; a\\'b a+b",
        ),
        (
            "{{ slice \"abcd\" 1 3 }} {{ index \"a\" 0 }} {{ len \"abc\" }}",
            "bc 97 3",
        ),
        ("{{ \"a\" | printf \"%s%s\" \"b\" }}", "ba"),
    ]);
}

#[test]
fn a_template_that_go_refuses_is_refused_at_load() {
    check_failures(&[
        (
            "{{ $x }}",
            "parse: template: __alert_Test:1: undefined variable \"$x\"",
        ),
        (
            "{{ nope 1 }}",
            "parse: template: __alert_Test:1: function \"nope\" not defined",
        ),
        ("a\n{{", "parse: template: __alert_Test:2: unclosed action"),
        (
            "{{ if true }}x",
            "parse: template: __alert_Test:1: unexpected EOF",
        ),
        (
            "x{{ end }}y",
            "parse: template: __alert_Test:1: unexpected {{end}}",
        ),
        ("{{ else }}", "unexpected {{else}}"),
        ("{{ break }}", "{{break}} outside {{range}}"),
        ("{{ 1 | 2 }}", "non executable command in pipeline stage 2"),
        ("{{ }}", "missing value for command"),
        ("{{ if }}x{{ end }}", "missing value for if"),
        ("{{ (1 }}", "unclosed left paren"),
        ("{{ 1) }}", "unexpected right paren"),
        ("{{ \"x }}", "unterminated quoted string"),
        ("{{ 1.2.3 }}", "parse:"),
        ("{{ 1a }}", "bad number syntax: \"1a\""),
        ("{{ $labels.foo-bar }}", "bad character U+002D '-'"),
        (
            "{{ range $a, $b := $labels }}{{ end }}{{ $a }}",
            "undefined variable \"$a\"",
        ),
        ("{{ /* x }}", "parse:"),
        ("{{/* x }}", "unclosed comment"),
        ("{{ define \"x\" }}a", "unexpected EOF"),
        (
            "{{ define \"x\" }}a{{ end }}{{ define \"x\" }}b{{ end }}",
            "multiple definition of template",
        ),
        (
            "{{ if 1 }}{{ else }}{{ else }}{{ end }}",
            "expected end; found {{else}}",
        ),
        ("{{ $a, $b := 1 }}", "too many declarations in command"),
        ("{{ 1 \"a\"\"b\" }}", "unexpected"),
        ("{{ true.x }}", "unexpected . after term \"true\""),
    ]);
}

#[test]
fn what_fails_while_it_runs_says_where() {
    check_failures(&[
        (
            "{{ .Foo }}",
            "error executing template __alert_Test: template: __alert_Test:1:115: executing \
             \"__alert_Test\" at <.Foo>: can't evaluate field Foo in type struct { Labels",
        ),
        ("{{ nil }}", "nil is not a command"),
        ("{{ toUpper 1 }}", "expected string; found 1"),
        (
            "{{ toUpper $value }}",
            "wrong type for value; expected string; got float64",
        ),
        (
            "{{ toUpper }}",
            "wrong number of args for toUpper: want 1 got 0",
        ),
        ("{{ eq 1 1.0 }}", "incompatible types for comparison"),
        (
            "{{ eq }}",
            "wrong number of args for eq: want at least 1 got 0",
        ),
        ("{{ lt nil 1 }}", "invalid type for comparison"),
        ("{{ template \"x\" }}", "template \"x\" not defined"),
        (
            "{{ $labels.job.x }}",
            "can't evaluate field x in type string",
        ),
        (
            "{{ $labels.job 1 }}",
            "job is not a method but has arguments",
        ),
        (
            "{{ $value 1 }}",
            "can't give argument to non-function $value",
        ),
        (
            "{{ range $value }}{{ end }}",
            "range can't iterate over 1.5e+06",
        ),
        ("{{ call $value }}", "non-function of type float64"),
        (
            "{{ label \"a\" $value }}",
            "wrong type for value; expected *template.sample; got float64",
        ),
        ("{{ index nil 1 }}", "index of untyped nil"),
        (
            "{{ index $labels 1 }}",
            "value has type int; should be string",
        ),
    ]);
}

#[test]
fn loops_recursion_and_output_are_bounded() {
    check_failures(&[
        ("{{ range 1000000000 }}{{ end }}", "takes more than"),
        (
            "{{ define \"x\" }}{{ template \"x\" }}{{ end }}{{ template \"x\" }}",
            "exceeded maximum template depth",
        ),
        ("{{ range 100000 }}0123456789{{ end }}", "writes more than"),
        ("{{ printf \"%1000000000d\" 1 }}{{ nope }}", "not defined"),
    ]);
    let wide = expand("{{ printf \"%1000000000d\" 1 }}").unwrap();
    assert!(wide.len() <= MAX_OUTPUT_BYTES);
    let deep = "{{if 1}}".repeat(1_000) + &"{{end}}".repeat(1_000);
    assert!(expand(&deep).unwrap_err().contains("nested too deep"));
    assert!(Template::parse("Test", &"x".repeat(MAX_OUTPUT_BYTES + 1)).is_err());
}

#[test]
fn histograms_print_themselves() {
    let histogram = Value::Histogram(Arc::new(Histogram {
        text: "{count:2, sum:3, (1,2]:2}".to_owned(),
        count: 2.0,
        sum: 3.0,
    }));
    assert_eq!(
        expand_with(
            "{{ $value }} {{ .Value.Count }} {{ $value.Sum }}",
            histogram.clone()
        )
        .as_deref(),
        Ok("{count:2, sum:3, (1,2]:2} 2 3")
    );
    let why = expand_with("{{ humanize $value }}", histogram).unwrap_err();
    assert!(
        why.contains("can't convert *histogram.FloatHistogram to float"),
        "{why}"
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_engine_panic(text in ".{0,200}") {
        let _ = expand(&text);
    }

    #[test]
    fn no_mix_of_its_words_makes_the_engine_panic(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "{{", "}}", "{{-", "-}}", " ", "if", "else", "end", "range", "with", "$labels",
                "$x", ":=", "=", ".", ".a", "(", ")", "|", "\"a\"", "`b`", "1", "1.5", "'c'",
                "query", "humanize", "printf", "\"%d\"", "index", "slice", "eq", "define",
                "template", "block", "break", "nil", "true", ",", "toTime", ".Format", "{{end}}",
                "{{else}}", "{{if true}}", "{{range 3}}", "/*", "*/", "é", "-", "\n",
            ]),
            0..40,
        )
    ) {
        let _ = expand(&words.concat());
    }

    #[test]
    fn the_shortest_float_reads_back(value in any::<f64>().prop_filter("a number", |v| v.is_finite())) {
        let text = super::number::shortest(value);
        prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
    }
}
