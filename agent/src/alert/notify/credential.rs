//! The secrets that a request carries, read again for each, so that they can be rotated.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::config::Http;
use crate::client::header::Headers;
use crate::secret;

/// How a request says who sends it.
pub(super) struct Credential {
    login: Login,
    headers: Headers,
    /// What was sent last, for a file that is in the middle of a rotation.
    last: HeaderMap,
}

enum Login {
    None,
    Basic(String, PathBuf),
    Bearer(PathBuf),
}

impl Credential {
    /// Reads everything once. `section` is for messages.
    pub(super) fn new(section: &str, http: &Http) -> anyhow::Result<Self> {
        let has_user = !http.username.is_empty();
        let has_password = !http.password_file.as_os_str().is_empty();
        let has_token = !http.bearer_token_file.as_os_str().is_empty();
        ensure!(
            has_user == has_password,
            "{section}.username and password_file go together: set both or neither"
        );
        ensure!(
            !(has_user && has_token),
            "{section}.bearer_token_file cannot go with username: set one of them"
        );
        ensure!(
            !http.username.contains(':'),
            "{section}.username must not contain a colon"
        );
        let login = if has_user {
            Login::Basic(http.username.clone(), http.password_file.clone())
        } else if has_token {
            Login::Bearer(http.bearer_token_file.clone())
        } else {
            Login::None
        };
        let headers = Headers::new(section, &http.headers_file, &http.headers_env)?;
        let mut credential = Self {
            login,
            headers,
            last: HeaderMap::new(),
        };
        credential.last = credential.read().with_context(|| section.to_owned())?;
        Ok(credential)
    }

    /// The headers to send now. If they cannot be read, those from before, and why.
    pub(super) fn headers(&mut self) -> (&HeaderMap, Option<String>) {
        let why = match self.read() {
            Ok(headers) => {
                self.last = headers;
                None
            }
            Err(why) => Some(format!("{why:#}")),
        };
        (&self.last, why)
    }

    fn read(&self) -> anyhow::Result<HeaderMap> {
        let mut headers = self.headers.read()?;
        let text = match &self.login {
            Login::None => return Ok(headers),
            Login::Basic(user, file) => {
                let pair = format!("{user}:{}", secret::read(file)?);
                format!("Basic {}", STANDARD.encode(pair))
            }
            Login::Bearer(file) => format!("Bearer {}", secret::read(file)?),
        };
        let mut value = HeaderValue::from_str(&text).context("not fit for a header")?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_rotated_secret_is_sent_and_a_lost_one_leaves_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "one\n").unwrap();
        let http = Http {
            bearer_token_file: file.clone(),
            ..Http::default()
        };
        let mut credential = Credential::new("alert.webhook", &http).unwrap();
        assert_eq!(credential.headers().0["authorization"], "Bearer one");
        fs::write(&file, "two\n").unwrap();
        assert_eq!(credential.headers().0["authorization"], "Bearer two");
        fs::remove_file(&file).unwrap();
        let (headers, why) = credential.headers();
        assert_eq!(headers["authorization"], "Bearer two");
        assert!(why.unwrap().contains("token"));
    }

    #[test]
    fn basic_authentication_is_encoded_and_never_printed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "pä:ss\n").unwrap();
        let http = Http {
            username: "weir".to_owned(),
            password_file: file.path().to_owned(),
            ..Http::default()
        };
        let mut credential = Credential::new("alert.webhook", &http).unwrap();
        let (headers, _) = credential.headers();
        let expected = format!("Basic {}", STANDARD.encode("weir:pä:ss"));
        assert_eq!(headers["authorization"], expected);
        assert!(!format!("{headers:?}").contains("Basic"));
    }

    #[test]
    fn half_a_login_is_refused() {
        let error = |http: Http| Credential::new("alert.webhook[0]", &http).err().unwrap();
        let user = Http {
            username: "weir".to_owned(),
            ..Http::default()
        };
        assert!(error(user).to_string().contains("go together"));
        let missing = Http {
            bearer_token_file: "/nowhere/token".into(),
            ..Http::default()
        };
        let text = format!("{:#}", error(missing));
        assert!(
            text.contains("alert.webhook[0]") && text.contains("/nowhere/token"),
            "{text}"
        );
    }
}
