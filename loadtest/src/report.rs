//! The table: one row a figure, with what is required, what is the goal, what was measured, and beside what.

use serde::Serialize;

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// Of the measured value over the relay's.
    TimesRelay(f64),
}

/// One measured number.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub shape: &'static str,
    pub name: String,
    pub unit: &'static str,
    pub measured: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<Bound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Bound>,
    /// What was done, where the name does not say it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Figure {
    pub fn new(shape: &'static str, name: impl Into<String>, unit: &'static str, measured: f64) -> Self {
        Figure {
            shape,
            name: name.into(),
            unit,
            measured,
            relay: None,
            raw: None,
            required: None,
            goal: None,
            note: String::new(),
        }
    }

    pub fn beside(self, relay: Option<f64>, raw: Option<f64>) -> Self {
        Figure { relay, raw, ..self }
    }

    pub fn required(self, bound: Bound) -> Self {
        Figure { required: Some(bound), ..self }
    }

    pub fn goal(self, bound: Bound) -> Self {
        Figure { goal: Some(bound), ..self }
    }

    pub fn note(self, note: impl Into<String>) -> Self {
        Figure { note: note.into(), ..self }
    }

    pub fn ratio(&self) -> Option<f64> {
        self.relay.filter(|relay| *relay > 0.0 && !self.measured.is_nan()).map(|relay| self.measured / relay)
    }

    /// Whether the requirement is missed; a figure that could not be measured misses it.
    pub fn is_short(&self) -> bool {
        self.required.is_some_and(|bound| !self.meets(bound))
    }

    fn meets(&self, bound: Bound) -> bool {
        match bound {
            Bound::AtMost(limit) => self.measured <= limit,
            Bound::AtLeast(limit) => self.measured >= limit,
            Bound::TimesRelay(limit) => self.ratio().is_some_and(|ratio| ratio <= limit),
        }
    }

    fn verdict(&self) -> String {
        if self.measured.is_nan() {
            return "not measured".to_owned();
        }
        let required = match self.required {
            Some(_) if self.is_short() => "SHORT",
            Some(_) => "met",
            None => "",
        };
        let goal = match self.goal {
            Some(goal) if self.meets(goal) => "goal met",
            Some(goal) => &format!("goal {} away", self.distance(goal)),
            None => "",
        };
        [required, goal].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }

    /// How many times too much, or too little.
    fn distance(&self, bound: Bound) -> String {
        let times = match bound {
            Bound::AtMost(limit) => self.measured / limit,
            Bound::AtLeast(limit) => limit / self.measured,
            Bound::TimesRelay(limit) => self.ratio().map_or(f64::NAN, |ratio| ratio / limit),
        };
        format!("{times:.2}×")
    }

    fn cells(&self) -> [String; 10] {
        let optional = |value: Option<f64>| value.map(number).unwrap_or_default();
        let bound = |bound: Option<Bound>| bound.map(bound_text).unwrap_or_default();
        [
            self.shape.to_owned(),
            self.name.clone(),
            self.unit.to_owned(),
            bound(self.required),
            bound(self.goal),
            number(self.measured),
            optional(self.relay),
            self.ratio().map(|ratio| format!("{ratio:.2}×")).unwrap_or_default(),
            optional(self.raw),
            self.verdict(),
        ]
    }
}

/// All rows as text, columns aligned, with the notes below.
pub fn table(figures: &[Figure]) -> String {
    let head = [
        "shape",
        "figure",
        "unit",
        "required",
        "goal",
        "measured",
        "relay",
        "ratio",
        "raw write(2)",
        "verdict",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(figures.iter().map(Figure::cells));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    for figure in figures.iter().filter(|figure| !figure.note.is_empty()) {
        text.push_str(&format!("  {} / {}: {}\n", figure.shape, figure.name, figure.note));
    }
    text
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size.is_nan() => "–".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn bound_text(bound: Bound) -> String {
    match bound {
        Bound::AtMost(limit) => format!("≤ {limit}"),
        Bound::AtLeast(limit) => format!("≥ {limit}"),
        Bound::TimesRelay(limit) => format!("≤ {limit}× relay"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_judged_against_the_relay() {
        let figure = Figure::new("typing", "CPU", "s", 3.0)
            .beside(Some(2.0), None)
            .required(Bound::TimesRelay(1.6))
            .goal(Bound::TimesRelay(1.2));
        assert!(!figure.is_short());
        assert_eq!(figure.verdict(), "met, goal 1.25× away");
    }

    #[test]
    fn what_could_not_be_measured_is_short() {
        let figure = Figure::new("typing", "CPU", "s", 3.0).required(Bound::TimesRelay(1.6));
        assert!(figure.is_short());
        assert!(Figure::new("saved", "p99", "ms", f64::NAN).required(Bound::AtMost(10.0)).is_short());
    }

    #[test]
    fn columns_are_aligned() {
        let text = table(&[Figure::new("idle", "memory", "KiB", 6.5).note("so it was done")]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].find("measured"), lines[1].find("6.50"));
        assert_eq!(lines[2], "  idle / memory: so it was done");
    }
}
