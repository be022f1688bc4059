//! The table of a comparison, kept within a file between two comments.

use std::{fs, io, path::Path};

/// What the table stands between.
const BEGIN: &str = "<!-- encke-bench compare: begin -->";
const END: &str = "<!-- encke-bench compare: end -->";

/// A line: one measure of one work, in all rounds.
#[derive(Debug)]
pub struct Line {
    work: String,
    measure: String,
    /// What Encke's figure is put beside.
    beside: String,
    /// The most that Encke's figure may be of the other; nothing where it is only told.
    bar: Option<f64>,
    /// More is better: then the ratio is that of the other figure to Encke's.
    more_is_better: bool,
    own: Vec<f64>,
    others: Vec<f64>,
    /// Which of the two cannot do this work, if one cannot.
    pub unsupported: Option<Figure>,
}

/// A figure of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Encke's.
    Own,
    /// What it is put beside.
    Other,
}

impl Line {
    /// A line without figures. Encke's may be at most `bar` of what it is put beside, or the other way round
    /// if more is better.
    #[must_use]
    pub fn new(work: &str, measure: &str, beside: &str, bar: Option<f64>, more_is_better: bool) -> Self {
        let (work, measure, beside) = (work.to_owned(), measure.to_owned(), beside.to_owned());
        Self {
            work,
            measure,
            beside,
            bar,
            more_is_better,
            own: Vec::new(),
            others: Vec::new(),
            unsupported: None,
        }
    }

    /// A line of figures that are put beside nothing.
    #[must_use]
    pub fn told(work: &str, measure: &str) -> Self {
        Self::new(work, measure, "", None, false)
    }

    /// Adds a round.
    pub fn add(&mut self, own: f64, other: f64) {
        self.own.push(own);
        self.others.push(other);
    }

    /// Adds a round of a figure that is put beside nothing, or beside what is not supported.
    pub fn tell(&mut self, value: f64) {
        self.own.push(value);
    }

    fn markdown(&self) -> String {
        let ratio = |(own, other): (&f64, &f64)| if self.more_is_better { other / own } else { own / other };
        let ratios: Vec<f64> = self.own.iter().zip(&self.others).map(ratio).collect();
        let (low, middle, high) = spread(&ratios);
        // A ratio whose spread reaches across the bar proves nothing, and one that is none proves less.
        let verdict = match (self.bar, low, high) {
            (None, ..) => "",
            (Some(_), ..) if self.unsupported.is_some() => "not supported",
            (Some(_), ..) if ratios.is_empty() => "no figure",
            (Some(bar), _, high) if high <= bar => "met",
            (Some(bar), low, _) if low > bar => "**missed**",
            _ => "open",
        };
        let figure = |of: &[f64], which: Figure| {
            let (low, middle, high) = spread(of);
            let digits = digits(middle);
            match of {
                [] if self.unsupported == Some(which) => "not supported".to_owned(),
                [] => String::new(),
                _ if low == high => format!("{middle:.digits$}"),
                _ => format!("{middle:.digits$} ({low:.digits$} to {high:.digits$})"),
            }
        };
        let ratio = if ratios.is_empty() {
            String::new()
        } else {
            format!("**{middle:.2}** ({low:.2} to {high:.2})")
        };
        format!(
            "| {} | {} | {} | {} | {} | {ratio} | {} | {verdict} |",
            self.work,
            self.measure,
            figure(&self.own, Figure::Own),
            self.beside,
            figure(&self.others, Figure::Other),
            self.bar.map_or(String::new(), |bar| format!("{bar:.2}"))
        )
    }
}

fn digits(value: f64) -> usize {
    if value < 100.0 { 2 } else { 0 }
}

/// The least, the middle and the most.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some((low, high)) = sorted.first().zip(sorted.last()) else { return (f64::NAN, f64::NAN, f64::NAN) };
    let half = sorted.len() / 2;
    let middle =
        if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
    (*low, middle, *high)
}

/// A table.
#[derive(Debug)]
pub struct Table {
    heading: String,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Windows that were measured, and those in which the machine had other work to do.
    pub windows: usize,
    /// See `windows`.
    pub disturbed: usize,
    /// Windows that have no figure, and why.
    pub failures: Vec<String>,
}

impl Table {
    /// A table without lines.
    #[must_use]
    pub fn new(heading: String) -> Self {
        Self { heading, lines: Vec::new(), windows: 0, disturbed: 0, failures: Vec::new() }
    }

    /// The table in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "{}\n{} of {} windows were disturbed by other work on the machine or stolen time.\n\n",
            self.heading, self.disturbed, self.windows
        );
        for failure in &self.failures {
            text.push_str(&format!("Without a figure: {failure}.\n\n"));
        }
        text.push_str("| work | measure | Encke | beside | its figure | ratio | bar | |\n|---|---|---|---|---|---|---|---|\n");
        for line in &self.lines {
            text.push_str(&line.markdown());
            text.push('\n');
        }
        text.push_str(
            "\nFigures are medians of the rounds (least to most); ratios are Encke's figure to that beside it in the same round, or the other way round where it is to be at least so much: less is better.\n",
        );
        text
    }

    /// Puts the table into the file, in the place of the last one.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("# Benchmarks\n\n{BEGIN}\n{END}\n")
            }
            Err(error) => return Err(error),
        };
        fs::write(path, replaced(&text, (BEGIN, END), &self.markdown())?)
    }
}

/// A file's text with a new table between the two marks.
///
/// # Errors
/// When the marks are not there.
pub fn replaced(text: &str, (begin, end): (&str, &str), table: &str) -> io::Result<String> {
    let parts = text.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) = parts
        .ok_or_else(|| io::Error::other(format!("the file has no place for the table: {begin} and {end}")))?;
    Ok(format!("{before}{begin}\n{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_last() {
        let text = format!("# A\n\n{BEGIN}\nold\n{END}\n\nmore\n");
        let new = replaced(&text, (BEGIN, END), "new\n").unwrap();
        assert_eq!(new, format!("# A\n\n{BEGIN}\nnew\n{END}\n\nmore\n"));
        assert!(replaced("# A", (BEGIN, END), "new").is_err());
    }

    fn line(own: [f64; 3], other: f64, more_is_better: bool) -> String {
        let mut line = Line::new("work", "us", "peer", Some(0.7), more_is_better);
        own.iter().for_each(|own| line.add(*own, other));
        line.markdown()
    }

    #[test]
    fn a_line_says_whether_the_bar_is_met_by_its_whole_spread() {
        let met = line([5.0, 7.0, 6.0], 10.0, false);
        assert_eq!(
            met,
            "| work | us | 6.00 (5.00 to 7.00) | peer | 10.00 | **0.60** (0.50 to 0.70) | 0.70 | met |"
        );
        assert!(line([5.0, 7.1, 6.0], 10.0, false).ends_with("open |"));
        assert!(line([8.0, 7.1, 9.0], 10.0, false).ends_with("**missed** |"));
    }

    #[test]
    fn where_more_is_better_the_ratio_is_turned_round() {
        assert!(line([10.0, 10.0, 10.0], 5.0, true).ends_with("**0.50** (0.50 to 0.50) | 0.70 | met |"));
        assert!(line([5.0, 5.0, 5.0], 10.0, true).ends_with("**missed** |"));
        assert!(line([0.0, 0.0, 0.0], 10.0, true).ends_with("**missed** |"), "nothing was sustained");
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let mut cannot = Line::new("work", "a second", "at least", Some(1.0), true);
        assert_eq!(cannot.markdown(), "| work | a second |  | at least |  |  | 1.00 | no figure |");
        cannot.unsupported = Some(Figure::Own);
        assert_eq!(
            cannot.markdown(),
            "| work | a second | not supported | at least |  |  | 1.00 | not supported |"
        );
        cannot.tell(7.0);
        cannot.unsupported = Some(Figure::Other);
        assert_eq!(
            cannot.markdown(),
            "| work | a second | 7.00 | at least | not supported |  | 1.00 | not supported |"
        );
    }

    #[test]
    fn what_is_only_told_has_no_verdict() {
        let mut told = Line::told("work", "ms");
        told.tell(2.0);
        assert_eq!(told.markdown(), "| work | ms | 2.00 |  |  |  |  |  |");
    }
}
