//! Basic authentication and bearer tokens, with secrets from files.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

use crate::secret;
use crate::seldom::Seldom;

/// Who may come in. Nothing set: everybody.
#[derive(Debug)]
pub(in crate::export) struct Auth {
    /// User name and the file with the password.
    basic: Option<(String, PathBuf)>,
    /// File with the bearer token.
    bearer: Option<PathBuf>,
    failures: Seldom,
}

impl Auth {
    /// Empty values mean that the way in is not offered.
    ///
    /// # Errors
    /// If a secret cannot be read or is empty, or if a password has no user or a user no password.
    pub(in crate::export) fn open(
        username: &str,
        password_file: &Path,
        bearer_token_file: &Path,
    ) -> anyhow::Result<Self> {
        let password_set = !password_file.as_os_str().is_empty();
        ensure!(
            username.is_empty() != password_set,
            "username and password_file go together: set both or neither"
        );
        ensure!(!username.contains(':'), "username must not contain a colon");
        let basic = password_set.then(|| (username.to_owned(), password_file.to_owned()));
        let bearer = Some(bearer_token_file.to_owned()).filter(|file| !file.as_os_str().is_empty());
        for file in basic.iter().map(|(_, file)| file).chain(&bearer) {
            secret::read(file)?;
        }
        Ok(Self {
            basic,
            bearer,
            failures: Seldom::default(),
        })
    }

    /// Whether everybody may come in.
    pub(in crate::export) fn is_open(&self) -> bool {
        self.basic.is_none() && self.bearer.is_none()
    }

    /// Value of `WWW-Authenticate` for those who are turned away.
    pub(in crate::export) fn challenge(&self) -> &'static str {
        match (&self.basic, &self.bearer) {
            (Some(_), Some(_)) => "Basic realm=\"weir\", charset=\"UTF-8\", Bearer realm=\"weir\"",
            (Some(_), None) => "Basic realm=\"weir\", charset=\"UTF-8\"",
            (None, _) => "Bearer realm=\"weir\"",
        }
    }

    /// Whether the request carries one of the secrets. Secrets are read each time, so that they
    /// can be changed while we run; one that cannot be read lets nobody in.
    pub(in crate::export) fn allows(&self, headers: &HeaderMap) -> bool {
        if self.is_open() {
            return true;
        }
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let Some((scheme, given)) = given.and_then(|value| value.split_once(' ')) else {
            return false;
        };
        let given = given.trim();
        match (&self.basic, &self.bearer) {
            (Some((user, file)), _) if scheme.eq_ignore_ascii_case("basic") => {
                let given = STANDARD.decode(given).unwrap_or_default();
                self.secret(file)
                    .is_some_and(|password| equal(&given, format!("{user}:{password}").as_bytes()))
            }
            (_, Some(file)) if scheme.eq_ignore_ascii_case("bearer") => self
                .secret(file)
                .is_some_and(|token| equal(given.as_bytes(), token.as_bytes())),
            _ => false,
        }
    }

    fn secret(&self, file: &Path) -> Option<String> {
        secret::read(file)
            .inspect_err(|error| {
                self.failures
                    .run(|| tracing::warn!("nobody can log in: {error:#}"));
            })
            .ok()
    }
}

/// In a time that depends on the lengths only.
fn equal(given: &[u8], secret: &[u8]) -> bool {
    given.ct_eq(secret).into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn allows(auth: &Auth, authorization: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        auth.allows(&headers)
    }

    fn secret(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn either_way_in_works_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let password = secret(&dir, "password", "pä:ss\n");
        let token = secret(&dir, "token", "t0ken\n");
        let auth = Auth::open("prom", &password, &token).unwrap();
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert!(allows(&auth, &basic("prom:pä:ss")));
        assert!(allows(&auth, "bearer t0ken"));
        for wrong in [
            &basic("prom:pä:s"),
            &basic("prom:"),
            &basic("Prom:pä:ss"),
            "Basic !!!",
            "Basic",
            "Bearer t0kem",
            "Bearer ",
            "Digest t0ken",
        ] {
            assert!(!allows(&auth, wrong), "{wrong}");
        }
        assert!(!auth.allows(&HeaderMap::new()));
    }

    #[test]
    fn a_changed_secret_counts_at_once_and_a_lost_one_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let token = secret(&dir, "token", "old");
        let auth = Auth::open("", Path::new(""), &token).unwrap();
        assert!(allows(&auth, "Bearer old"));
        secret(&dir, "token", "new");
        assert!(!allows(&auth, "Bearer old"));
        assert!(allows(&auth, "Bearer new"));
        secret(&dir, "token", "");
        assert!(!allows(&auth, "Bearer new"));
        assert!(!allows(&auth, "Bearer "));
    }

    #[test]
    fn half_a_configuration_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (none, empty) = (Path::new(""), secret(&dir, "empty", "\n"));
        let missing = dir.path().join("missing");
        let error =
            |user, password, token| Auth::open(user, password, token).unwrap_err().to_string();
        assert!(error("prom", none, none).contains("go together"));
        assert!(error("", &empty, none).contains("go together"));
        assert!(error("prom", &empty, none).contains("is empty"));
        assert!(error("", none, &missing).contains("missing"));
        assert!(Auth::open("", none, none).unwrap().is_open());
    }
}
