//! Elements of a result become alerts: labels and annotations are expanded.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_promql::labels::NAME;
use weir_promql::value::{Sample, SampleValue};

use crate::alert::expression::Expression;
use crate::alert::file::{self, Text};
use crate::alert::name;
use crate::alert::source::{Query, vector};
use crate::alert::state::Candidate;
use crate::alert::template::value::{Histogram, Sample as TemplateSample, Value as TemplateValue};
use crate::alert::template::{self, External, Scope};

/// Most samples that a query in a template gives.
const MAX_TEMPLATE_SAMPLES: usize = 1_000;

/// Expands the templates of a rule's alerts.
pub(super) struct Expander<'a> {
    pub(super) scope: Scope<'a>,
    pub(super) external: &'a External,
    /// Templates that could not be expanded.
    pub(super) failures: u64,
    /// Why the last could not.
    pub(super) error: Option<String>,
}

impl Expander<'_> {
    /// An element of the result as an alert.
    pub(super) fn candidate(
        &mut self,
        name: &str,
        alert: &file::Alert,
        sample: &Sample,
    ) -> Candidate {
        let texts = alert.labels.iter().chain(&alert.annotations);
        let data = texts
            .map(|(_, text)| text)
            .any(needs_data)
            .then(|| self.data(sample));
        let own = alert.labels.iter();
        let own: Vec<_> = own
            .map(|(label, text)| (label.as_str(), self.expand(text, data.as_ref())))
            .collect();
        let own = own.iter().map(|(label, text)| (*label, text.as_str()));
        let changes: Vec<_> = [(NAME, "")]
            .into_iter()
            .chain(own)
            .chain([(name::ALERT, name)])
            .collect();
        let annotations = alert.annotations.iter();
        let annotations = annotations
            .map(|(name, text)| (name.clone(), self.expand(text, data.as_ref())))
            .collect();
        Candidate {
            labels: sample.labels.with(&changes),
            annotations,
            value: sample.value.float().unwrap_or(0.0),
        }
    }

    fn data(&self, sample: &Sample) -> TemplateValue {
        let sample = template_sample(sample);
        template::data(sample.labels, self.external, sample.value)
    }

    /// The expanded text. A failure is told in its place and never fails the rule.
    fn expand(&mut self, text: &Text, data: Option<&TemplateValue>) -> String {
        let expanded = match text {
            Text::Template(template) => {
                template.expand(data.unwrap_or(&TemplateValue::Nil), &self.scope)
            }
            Text::Broken(why) => Err(why.clone()),
        };
        expanded.unwrap_or_else(|why| {
            self.failures += 1;
            let text = format!("<error expanding template: {why}>");
            self.error = Some(why);
            text
        })
    }
}

fn needs_data(text: &Text) -> bool {
    matches!(text, Text::Template(template) if !template.is_plain())
}

/// What a query of a template gives.
pub(super) fn query(
    source: &dyn Query,
    text: &str,
    at_ms: i64,
) -> Result<Vec<TemplateSample>, String> {
    let expr = Expression::parse(text)?;
    let samples = vector(source.other(&expr, at_ms)?)?;
    if samples.len() > MAX_TEMPLATE_SAMPLES {
        return Err(format!(
            "query gives more than {MAX_TEMPLATE_SAMPLES} samples"
        ));
    }
    Ok(samples.iter().map(template_sample).collect())
}

fn template_sample(sample: &Sample) -> TemplateSample {
    let labels = sample.labels.iter();
    let labels: BTreeMap<_, _> = labels.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let value = match &sample.value {
        SampleValue::Float(value) => TemplateValue::Float(*value),
        SampleValue::Histogram(histogram) => TemplateValue::Histogram(Arc::new(Histogram {
            text: histogram.to_string(),
            count: histogram.count,
            sum: histogram.sum,
        })),
    };
    TemplateSample {
        labels: Arc::new(labels),
        value,
    }
}
