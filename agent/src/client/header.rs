//! Headers of the user, for credentials. Their values are never logged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// Set by the sender itself; one of the user's would break the request.
const OWN: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A headers file is short; more is a wrong path.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Where the headers come from.
#[derive(Debug)]
pub(crate) struct Headers {
    /// The section of the configuration, for messages.
    section: String,
    file: Option<PathBuf>,
    /// From the environment, which does not change.
    fixed: HeaderMap,
}

impl Headers {
    pub(crate) fn new(
        section: &str,
        file: &Path,
        env: &BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let mut fixed = HeaderMap::new();
        for (name, variable) in env {
            let value = std::env::var(variable).with_context(|| {
                format!("{section}.headers_env: environment variable {variable} for header {name}")
            })?;
            let (name, value) = header(name, &value)
                .with_context(|| format!("{section}.headers_env: header {name} from {variable}"))?;
            fixed.insert(name, value);
        }
        let headers = Self {
            section: section.to_owned(),
            file: (!file.as_os_str().is_empty()).then(|| file.to_owned()),
            fixed,
        };
        headers.read()?;
        Ok(headers)
    }

    /// All headers as they are now. Fails if the file cannot be read or a line is not a header;
    /// the error names the line, not its content.
    pub(crate) fn read(&self) -> anyhow::Result<HeaderMap> {
        let mut all = self.fixed.clone();
        let Some(path) = &self.file else {
            return Ok(all);
        };
        let place = || format!("{}.headers_file {}", self.section, path.display());
        let length = std::fs::metadata(path).with_context(place)?.len();
        if length > MAX_FILE_BYTES {
            bail!("{}: {length} bytes, most is {MAX_FILE_BYTES}", place());
        }
        let text = std::fs::read_to_string(path).with_context(place)?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = || format!("{}, line {}", place(), number + 1);
            let (name, value) = line
                .split_once(':')
                .with_context(|| format!("{}: not of the form name: value", place()))?;
            let (name, value) = header(name.trim(), value.trim()).with_context(place)?;
            all.insert(name, value);
        }
        Ok(all)
    }
}

fn header(name: &str, value: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let name: HeaderName = name.parse().context("not a header name")?;
    if OWN.contains(&name.as_str()) || name.as_str().starts_with("grpc-") {
        bail!("header {name} is set by Weir");
    }
    let mut value = HeaderValue::from_str(value).context("not a header value")?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<HeaderMap> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Headers::new("otlp", file.path(), &BTreeMap::new())?.read()
    }

    #[test]
    fn a_headers_file_is_read() {
        let headers = read("# token\n\nAuthorization: Bearer a:b\nx-scope-orgid:7\n").unwrap();
        assert_eq!(headers["authorization"], "Bearer a:b");
        assert_eq!(headers["x-scope-orgid"], "7");
        assert!(!format!("{headers:?}").contains("Bearer"));
    }

    #[test]
    fn a_bad_line_is_named_without_its_secret() {
        for text in ["\ntop secret", "\nHost: secret", "\nbad name: secret"] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains("line 2"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_rotated_secret_is_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "authorization: one").unwrap();
        let headers = Headers::new("otlp", file.path(), &BTreeMap::new()).unwrap();
        std::fs::write(file.path(), "authorization: two").unwrap();
        assert_eq!(headers.read().unwrap()["authorization"], "two");
    }
}
