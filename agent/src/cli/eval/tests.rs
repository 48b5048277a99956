use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use clap::Parser;
use weir_promql::eval::{Options, instant};
use weir_promql::labels::Labels;
use weir_promql::parse::parse;
use weir_promql::store::{Store, StoreLimits};
use weir_promql::value::{Point, Value};

use super::*;
use crate::alert::api;
use crate::alert::page::Pairs;

/// The API's engine over a real store.
struct Stored(Store);

impl Stored {
    fn with(series: &[(&[(&str, &str)], f64)]) -> Self {
        let mut store = Store::new(StoreLimits::default());
        for (labels, value) in series {
            let point = Point {
                at_ms: 1_000_000,
                start_ms: 0,
                value: (*value).into(),
            };
            let labels = Labels::new(labels.iter().copied());
            store.append(&labels, point).unwrap();
        }
        Self(store)
    }
}

fn point(at_ms: i64, value: f64) -> api::Point {
    let number = api::Number::Float(value);
    api::Point { at_ms, number }
}

impl api::Engine for Stored {
    fn instant(&self, query: api::Query<'_>, at_ms: i64) -> Result<api::Answer, api::Failure> {
        let wrong =
            |why: String| api::Failure::bad_data(format!("invalid parameter \"query\": {why}"));
        let expr = parse(query.text).map_err(|why| wrong(why.to_string()))?;
        let outcome = instant(&self.0, &expr, at_ms, &Options::default())
            .map_err(|why| api::Failure::execution(why.to_string()))?;
        let value = match outcome.value {
            Value::Scalar(value) => api::Value::Scalar(point(at_ms, value)),
            Value::String(text) => api::Value::String(at_ms, text),
            Value::Vector(vector) => api::Value::Vector(
                vector
                    .iter()
                    .map(|sample| {
                        let labels = sample.labels.iter();
                        let labels: Pairs =
                            labels.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
                        (labels, point(at_ms, sample.value.float().unwrap()))
                    })
                    .collect(),
            ),
            Value::Matrix(_) => unreachable!("not asked for"),
        };
        Ok(api::Answer {
            value,
            ..api::Answer::default()
        })
    }

    fn range(&self, _: api::Query<'_>, _: api::Span) -> Result<api::Answer, api::Failure> {
        unreachable!("not asked for")
    }

    fn series(&self, _: &[String], _: (i64, i64), _: usize) -> Result<Vec<Pairs>, api::Failure> {
        unreachable!("not asked for")
    }

    fn metadata(&self) -> BTreeMap<String, Vec<api::Metadata>> {
        BTreeMap::new()
    }

    fn groups(&self) -> Vec<api::Group> {
        Vec::new()
    }
}

/// Serves until the end of the process; gives its address.
fn serve(router: Router) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let shut =
                hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                let stream = hyper_util::rt::TokioIo::new(stream);
                let _ = shut.serve_connection(stream, service).await;
            }
        });
    });
    address
}

fn known() -> SocketAddr {
    let engine = Stored::with(&[
        (&[("__name__", "up"), ("service", "a \"b\"\n")], 1.0),
        (
            &[("__name__", "up"), ("service", "web"), ("zone", "ü")],
            0.25,
        ),
        (&[("__name__", "large")], 1e21),
    ]);
    let limits = api::Limits {
        queries: 2,
        timeout: Duration::from_secs(30),
    };
    serve(api::router(Arc::new(engine), limits))
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    eval: Eval,
}

fn eval(words: &[&str]) -> Result<Told, Trouble> {
    let line = Line::try_parse_from(["eval"].iter().chain(words)).unwrap();
    ask(&line.eval, &line.config)
}

#[test]
fn values_are_printed_as_promtool_prints_them() {
    let url = format!("http://{}", known());
    let told = eval(&["up", "--time", "1000.5", "--url", &url]).unwrap();
    assert_eq!(
        told.text,
        "up{service=\"a \\\"b\\\"\\n\"} => 1 @[1000.5]\nup{service=\"web\", zone=\"ü\"} => 0.25 @[1000.5]\n"
    );
    let Ok(found) = Command::new("promtool").arg("--version").output() else {
        eprintln!("SKIP promtool is missing (Debian: prometheus)");
        return;
    };
    assert!(found.status.success());
    for expression in ["up", "large", "sum(up) / 3", "1 + 1", "up > 2", "0 - up"] {
        let ours = eval(&[expression, "--time=1000.5", "--url", &url]).unwrap();
        let mut promtool = Command::new("promtool");
        promtool.args(["query", "instant", "--time=1000.5", &url, expression]);
        let theirs = String::from_utf8(promtool.output().unwrap().stdout).unwrap();
        assert_eq!(ours.text.trim_end(), theirs.trim_end(), "{expression}");
    }
}

#[test]
fn json_is_the_data_of_the_api() {
    let url = format!("http://{}/", known());
    let told = eval(&["up{zone=\"ü\"}", "--time=1000", "--json", "--url", &url]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&told.text).unwrap();
    assert_eq!(json["resultType"], "vector");
    assert_eq!(
        json["result"][0]["value"],
        serde_json::json!([1000, "0.25"])
    );
}

#[test]
fn nothing_found_is_said_and_is_no_error() {
    let url = format!("http://{}", known());
    let told = eval(&["up", "--time", "-5", "--url", &url]).unwrap();
    assert_eq!(told.text, "");
    assert!(told.notes[0].starts_with("no series then"), "{told:?}");
    let told = eval(&["absent_one", "--url", &url]).unwrap();
    assert_eq!(told.notes, ["no series"]);
}

#[test]
fn a_wrong_expression_is_marked_where_it_is_wrong() {
    let url = format!("http://{}", known());
    let why = eval(&["sum(up", "--url", &url]).unwrap_err();
    assert_eq!(why.code, 1);
    assert!(why.text.contains("parse error"), "{}", why.text);
    assert!(why.text.contains("\n  sum(up\n  "), "{}", why.text);
    assert!(why.text.ends_with('^'), "{}", why.text);
    let why = eval(&["up", "--time=soon", "--url", &url]).unwrap_err();
    assert_eq!(why.code, 1);
    assert!(why.text.contains("\"soon\""), "{}", why.text);
}

#[test]
fn whoever_does_not_answer_as_an_agent_is_told_apart_by_exit_code() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let old = serve(Router::new());
    let other = serve(Router::new().fallback(|| async { "hello" }));
    let locked = Router::new().route("/api/v1/query", post(|| async { StatusCode::UNAUTHORIZED }));
    let locked = serve(locked);
    for (url, code, words) in [
        (nobody, EX_UNAVAILABLE, "weir run"),
        (format!("http://{old}"), EX_PROTOCOL, "rule_files"),
        (format!("http://{other}"), EX_PROTOCOL, "is no agent"),
        (format!("http://{locked}"), EX_NOPERM, "--bearer-token-file"),
        ("127.0.0.1".to_owned(), EX_CONFIG, "--url"),
        ("http://me:secret@host".to_owned(), EX_CONFIG, "credentials"),
    ] {
        let why = eval(&["up", "--url", &url]).unwrap_err();
        assert_eq!(why.code, code, "{url}: {}", why.text);
        assert!(why.text.contains(words), "{url}: {}", why.text);
        assert!(!why.text.contains("secret"), "{}", why.text);
    }
}

/// Tells the credentials that it was given, in the place of a value.
fn telling() -> SocketAddr {
    let tell = |headers: axum::http::HeaderMap| async move {
        let given = headers["authorization"].to_str().unwrap().to_owned();
        let data = serde_json::json!({"resultType": "string", "result": [0, given]});
        serde_json::json!({"status": "success", "data": data}).to_string()
    };
    serve(Router::new().route("/prefix/api/v1/query", post(tell)))
}

#[test]
fn credentials_come_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "open\n").unwrap();
    let (file, url) = (
        file.display().to_string(),
        format!("http://{}/prefix/", telling()),
    );
    let told = eval(&["up", "--url", &url, "--bearer-token-file", &file]).unwrap();
    assert_eq!(told.text, "Bearer open\n");
    let told = eval(&[
        "up",
        "--url",
        &url,
        "--username",
        "me",
        "--password-file",
        &file,
    ]);
    assert_eq!(told.unwrap().text, "Basic bWU6b3Blbg==\n");
    let none = eval(&["up", "--url", &url, "--bearer-token-file", "/no/such"]).unwrap_err();
    assert_eq!(none.code, EX_CONFIG);
}

#[test]
fn address_and_credentials_are_those_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, file) = (dir.path().join("secret"), dir.path().join("weir.toml"));
    std::fs::write(&secret, "open").unwrap();
    let address = known();
    let text = format!(
        "[prometheus]\nlisten = '0.0.0.0:{}'\nbearer_token_file = '{}'\n",
        address.port(),
        secret.display()
    );
    std::fs::write(&file, text).unwrap();
    let config = file.display().to_string();
    let told = eval(&["count(up)", "--time=1000", "--config", &config]).unwrap();
    assert_eq!(told.text, "{} => 2 @[1000]\n");
    std::fs::write(&file, "[prometheus]\nlisten = '0.0.0.0:0'\n").unwrap();
    let why = eval(&["up", "--config", &config]).unwrap_err();
    assert_eq!(why.code, EX_CONFIG);
    assert!(why.text.contains("--url"), "{}", why.text);
    std::fs::write(&file, "nonsense").unwrap();
    assert_eq!(
        eval(&["up", "--config", &config]).unwrap_err().code,
        EX_CONFIG
    );
}
