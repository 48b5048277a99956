//! Parameters, from the address and, with POST, from the form; the form comes first.

use super::answer::Failure;
use super::time;

/// Most points that a series of an answer may have, as in Prometheus.
const MAX_POINTS: i64 = 11_000;

/// All parameters of a request, in order.
#[derive(Debug, Default)]
pub(super) struct Arguments(Vec<(String, String)>);

impl Arguments {
    pub(super) fn read(query: Option<&str>, form: &[u8]) -> Self {
        let query = query.unwrap_or_default().as_bytes();
        let all = [form, query].into_iter().map(form_urlencoded::parse);
        Self(all.flat_map(form_urlencoded::Parse::into_owned).collect())
    }

    /// The first value; nothing if it is missing.
    pub(super) fn one(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let with_name = self.0.iter().filter(|(key, _)| key == name);
        with_name.map(|(_, value)| value.clone()).collect()
    }

    /// A time in milliseconds since the Unix epoch; `default` if it is missing.
    pub(super) fn time(&self, name: &str, default: i64) -> Result<i64, Failure> {
        match self.one(name) {
            "" => Ok(default),
            text => time::instant(text).ok_or_else(|| {
                Failure::parameter(name, format!("cannot parse {text:?} to a valid timestamp"))
            }),
        }
    }

    /// A length of time in milliseconds, if there is one.
    pub(super) fn duration(&self, name: &str) -> Result<Option<i64>, Failure> {
        match self.one(name) {
            "" => Ok(None),
            text => time::duration(text).map(Some).ok_or_else(|| {
                Failure::parameter(name, format!("cannot parse {text:?} to a valid duration"))
            }),
        }
    }

    /// How many at most; 0: no bound.
    pub(super) fn limit(&self) -> Result<usize, Failure> {
        match self.one("limit") {
            "" => Ok(0),
            text => text
                .parse()
                .map_err(|_| Failure::parameter("limit", "limit must be non-negative")),
        }
    }

    /// `start`, `end` and `step` of a range query.
    pub(super) fn span(&self) -> Result<super::Span, Failure> {
        let required = |name| match self.one(name) {
            "" => Err(Failure::parameter(
                name,
                format!(
                    "cannot parse \"\" to a valid {}",
                    if name == "step" {
                        "duration"
                    } else {
                        "timestamp"
                    }
                ),
            )),
            _ => Ok(()),
        };
        ["start", "end", "step"]
            .into_iter()
            .try_for_each(required)?;
        let start_ms = self.time("start", 0)?;
        let end_ms = self.time("end", 0)?;
        if end_ms < start_ms {
            let why = "end timestamp must not be before start time";
            return Err(Failure::parameter("end", why));
        }
        let step_ms = self.duration("step")?.unwrap_or(0);
        if step_ms <= 0 {
            let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(Failure::parameter("step", why));
        }
        // By division, since the difference of any two times need not fit.
        let steps = (i128::from(end_ms) - i128::from(start_ms)) / i128::from(step_ms);
        if steps > i128::from(MAX_POINTS) {
            return Err(Failure::bad_data(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
            ));
        }
        Ok(super::Span {
            start_ms,
            end_ms,
            step_ms,
        })
    }

    /// `start` and `end` of a search for series: all there are unless said otherwise.
    pub(super) fn between(&self) -> Result<(i64, i64), Failure> {
        /// Every series there is has a sample within this time.
        const ALWAYS: (i64, i64) = (i64::MIN / 2, i64::MAX / 2);
        let start_ms = self.time("start", ALWAYS.0)?;
        let end_ms = self.time("end", ALWAYS.1)?;
        if end_ms < start_ms {
            let why = "end timestamp must not be before start time";
            return Err(Failure::parameter("end", why));
        }
        Ok((start_ms, end_ms))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_form_comes_before_the_address() {
        let arguments = Arguments::read(Some("query=b&match[]=x"), b"query=a+b&match%5B%5D=y");
        assert_eq!(arguments.one("query"), "a b");
        assert_eq!(arguments.all("match[]"), ["y", "x"]);
        assert_eq!(arguments.one("none"), "");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(query in "\\PC{0,64}", form: Vec<u8>) {
            let arguments = Arguments::read(Some(&query), &form);
            let _ = (arguments.span(), arguments.between(), arguments.limit());
        }

        #[test]
        fn a_span_has_at_most_11000_steps(start: f64, length in 0.0..1e15_f64, step: f64) {
            let text = format!("start={start}&end={}&step={step}", start + length);
            if let Ok(span) = Arguments::read(Some(&text), b"").span() {
                prop_assert!(span.step_ms > 0);
                prop_assert!((span.end_ms - span.start_ms) / span.step_ms <= MAX_POINTS);
            }
        }
    }
}
