//! Which format and which compression a client asks for, by the `Accept` headers of HTTP.

use axum::http::{HeaderMap, HeaderName, header};

/// A format of the answer to a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4, with classic histograms.
    Text,
    /// OpenMetrics text 1.0.0, with classic histograms.
    OpenMetrics,
    /// Prometheus protobuf, length-delimited, with classic and native histograms.
    Protobuf,
}

impl Format {
    /// All formats, the default one first.
    pub const ALL: [Self; 3] = [Self::Text, Self::OpenMetrics, Self::Protobuf];

    /// Value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The format that a client likes best; text if it names none of ours.
    pub fn negotiate(headers: &HeaderMap) -> Self {
        let mut best = (Self::Text, 0.0, 0);
        for format in Self::ALL {
            // The most specific range that matches decides about a format, as HTTP has it.
            let weight = items(headers, &header::ACCEPT)
                .filter_map(|range| Some((range.quality(), format.specificity(&range)?)))
                .max_by(|a, b| a.1.cmp(&b.1).then(a.0.total_cmp(&b.0)));
            if let Some((quality, specificity)) = weight
                && quality > 0.0
                && (quality, specificity) > (best.1, best.2)
            {
                best = (format, quality, specificity);
            }
        }
        best.0
    }

    /// How exactly a range of `Accept` names this format; `None` if it does not.
    fn specificity(self, range: &Item<'_>) -> Option<u8> {
        let (major, minor, required): (_, _, &[(&str, &str)]) = match self {
            Self::Text => ("text", "plain", &[("version", "0.0.4")]),
            Self::OpenMetrics => ("application", "openmetrics-text", &[("version", "1.0.0")]),
            Self::Protobuf => (
                "application",
                "vnd.google.protobuf",
                &[
                    ("proto", "io.prometheus.client.MetricFamily"),
                    ("encoding", "delimited"),
                ],
            ),
        };
        let (range_major, range_minor) = range.name.split_once('/')?;
        if range_major == "*" && range_minor == "*" {
            return Some(1);
        }
        if !range_major.eq_ignore_ascii_case(major) {
            return None;
        }
        if range_minor == "*" {
            return Some(2);
        }
        let wanted = |(name, value): &(&str, &str)| {
            range
                .parameter(name)
                .is_none_or(|asked| asked.eq_ignore_ascii_case(value))
        };
        (range_minor.eq_ignore_ascii_case(minor) && required.iter().all(wanted)).then_some(3)
    }
}

/// Whether the client takes a gzip answer.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let quality = |coding: &str| {
        items(headers, &header::ACCEPT_ENCODING)
            .find(|item| item.name.eq_ignore_ascii_case(coding))
            .map(|item| item.quality())
    };
    quality("gzip").or_else(|| quality("*")).unwrap_or(0.0) > 0.0
}

/// One element of a comma-separated header: a name with parameters.
struct Item<'a> {
    name: &'a str,
    parameters: &'a str,
}

impl<'a> Item<'a> {
    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.split(';').find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim()
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().trim_matches('"'))
        })
    }

    /// Between 0 (never) and 1; 1 if not said, 0 if garbled.
    fn quality(&self) -> f32 {
        self.parameter("q").map_or(1.0, |q| {
            let quality = q.parse().unwrap_or(0.0);
            if (0.0..=1.0).contains(&quality) {
                quality
            } else {
                0.0
            }
        })
    }
}

fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Item<'a>> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|item| {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            Item {
                name: name.trim(),
                parameters,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, value.parse().unwrap());
        Format::negotiate(&headers)
    }

    #[test]
    fn text_is_the_default() {
        assert_eq!(Format::negotiate(&HeaderMap::new()), Format::Text);
        for value in [
            "*/*",
            "",
            "garbage",
            "text/html, application/xhtml+xml, */*;q=0.8",
            "image/png",
            "text/*",
            "text/plain;version=1.0.0;escaping=allow-utf-8",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=zero",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
            "application/openmetrics-text;q=0.4, text/plain;q=0.5",
            "application/openmetrics-text;q=0, */*;q=0.1",
        ] {
            assert_eq!(accept(value), Format::Text, "{value}");
        }
    }

    #[test]
    fn what_real_scrapers_send_gets_their_first_choice() {
        let cases = [
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                Format::Protobuf,
            ),
            ("text/plain;version=0.0.4;q=0.2,*/*;q=0.1", Format::Text),
        ];
        for (value, format) in cases {
            assert_eq!(accept(value), format, "{value}");
        }
    }

    #[test]
    fn the_most_specific_range_decides_and_names_ignore_case() {
        assert_eq!(accept("*/*, text/plain;q=0.1"), Format::OpenMetrics);
        assert_eq!(
            accept("Application/OpenMetrics-Text; Version=\"1.0.0\""),
            Format::OpenMetrics
        );
        assert_eq!(accept("application/vnd.google.protobuf"), Format::Protobuf);
    }

    #[test]
    fn several_accept_headers_count_as_one() {
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT, "text/plain;q=0.5".parse().unwrap());
        headers.append(
            header::ACCEPT,
            "application/openmetrics-text".parse().unwrap(),
        );
        assert_eq!(Format::negotiate(&headers), Format::OpenMetrics);
    }

    #[test]
    fn gzip_is_used_only_when_asked_for() {
        let cases = [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0, *", false),
            ("identity", false),
            ("br", false),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
