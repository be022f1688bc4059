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
    bar: f64,
    own: Vec<f64>,
    peers: Vec<f64>,
}

impl Line {
    /// A line without figures. Encke's may be at most `bar` of the peer's.
    #[must_use]
    pub fn new(work: &str, measure: &str, bar: f64) -> Self {
        Self { work: work.to_owned(), measure: measure.to_owned(), bar, own: Vec::new(), peers: Vec::new() }
    }

    /// Adds a round.
    pub fn add(&mut self, own: f64, peers: f64) {
        self.own.push(own);
        self.peers.push(peers);
    }

    fn markdown(&self) -> String {
        let ratios: Vec<f64> = self.own.iter().zip(&self.peers).map(|(own, peers)| own / peers).collect();
        let (low, middle, high) = spread(&ratios);
        // A ratio whose spread reaches across the bar proves nothing.
        let verdict = match (low, high) {
            (_, high) if high <= self.bar => "met",
            (low, _) if low > self.bar => "**missed**",
            _ => "open",
        };
        let figure = |of: &[f64]| {
            let (low, middle, high) = spread(of);
            let digits = digits(middle);
            format!("{middle:.digits$} ({low:.digits$} to {high:.digits$})")
        };
        format!(
            "| {} | {} | {} | {} | **{middle:.2}** ({low:.2} to {high:.2}) | {:.2} | {verdict} |",
            self.work,
            self.measure,
            figure(&self.own),
            figure(&self.peers),
            self.bar
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
        text.push_str("| work | measure | Encke | peer | ratio | bar | |\n|---|---|---|---|---|---|---|\n");
        for line in &self.lines {
            text.push_str(&line.markdown());
            text.push('\n');
        }
        text.push_str(
            "\nFigures are medians of the rounds (least to most); ratios are Encke's to the peer's in the same round, so less is better.\n",
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

    #[test]
    fn a_line_says_whether_the_bar_is_met_by_its_whole_spread() {
        let line = |own: [f64; 3]| {
            let mut line = Line::new("work", "us", 0.7);
            own.iter().for_each(|own| line.add(*own, 10.0));
            line.markdown()
        };
        assert!(
            line([5.0, 7.0, 6.0]).ends_with("**0.60** (0.50 to 0.70) | 0.70 | met |"),
            "{}",
            line([5.0, 7.0, 6.0])
        );
        assert!(line([5.0, 7.1, 6.0]).ends_with("open |"));
        assert!(line([8.0, 7.1, 9.0]).ends_with("**missed** |"));
        assert!(
            line([5.0, 7.0, 6.0]).starts_with("| work | us | 6.00 (5.00 to 7.00) | 10.00 (10.00 to 10.00) |"),
            "{}",
            line([5.0, 7.0, 6.0])
        );
    }
}
