//! Figures, their spread and what is asked of them.

use std::fmt;

use serde::Serialize;

use super::spread::Spread;

/// What one bench found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// What was measured and how.
    pub title: String,
    /// Figures in the order of measuring.
    pub figures: Vec<Figure>,
    /// What the reader must know to judge the figures.
    pub notes: Vec<String>,
}

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// What it is of.
    pub name: String,
    /// Its unit.
    pub unit: &'static str,
    /// Its median and spread over the rounds.
    #[serde(flatten)]
    pub spread: Spread,
    /// What is asked of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
}

/// What is asked of a figure.
#[derive(Debug, Serialize)]
pub(crate) struct Mark {
    /// The median shall not be above this.
    pub at_most: f64,
    /// Whether it is not.
    pub met: bool,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            ..Self::default()
        }
    }

    /// Adds a figure of which nothing is asked.
    pub(crate) fn add(&mut self, name: impl Into<String>, unit: &'static str, values: &[f64]) {
        self.figures.push(Figure {
            name: name.into(),
            unit,
            spread: Spread::of(values),
            mark: None,
        });
    }

    /// Adds a figure whose median shall be at most `at_most`.
    pub(crate) fn judge(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        values: &[f64],
        at_most: f64,
    ) {
        self.add(name, unit, values);
        if let Some(figure) = self.figures.last_mut() {
            let met = figure.spread.rounds > 0 && figure.spread.median <= at_most;
            figure.mark = Some(Mark { at_most, met });
        }
    }

    /// How many figures are not as asked.
    pub(crate) fn misses(&self) -> usize {
        let marks = self
            .figures
            .iter()
            .filter_map(|figure| figure.mark.as_ref());
        marks.filter(|mark| !mark.met).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.figures.iter().map(|figure| figure.name.len());
        let width = names.max().unwrap_or(0).max(6);
        writeln!(
            to,
            "{:width$} {:>10} {:>10} {:>10} {:>6}  unit",
            "figure", "median", "p25", "p75", "rounds"
        )?;
        for figure in &self.figures {
            let Spread {
                median,
                low,
                high,
                rounds,
                ..
            } = figure.spread;
            write!(
                to,
                "{:width$} {median:>10.2} {low:>10.2} {high:>10.2} {rounds:>6}  {:<10}",
                figure.name, figure.unit
            )?;
            match &figure.mark {
                Some(Mark { at_most, met: true }) => writeln!(to, " met (<= {at_most})")?,
                Some(Mark { at_most, .. }) => writeln!(to, " NOT MET (<= {at_most})")?,
                None => writeln!(to)?,
            }
        }
        for note in &self.notes {
            writeln!(to, "- {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_mark_is_said_and_counted() {
        let mut report = Report::new("a test");
        report.judge("fast enough", "ms", &[1.0, 2.0, 3.0], 2.0);
        report.judge("too slow", "ms", &[5.0], 2.0);
        report.judge("never measured", "ms", &[], 2.0);
        report.add("just told", "ms", &[9.0]);
        assert_eq!(report.misses(), 2);
        let text = report.to_string();
        assert!(text.contains("met (<= 2)"), "{text}");
        assert!(text.contains("NOT MET (<= 2)"), "{text}");
    }
}
