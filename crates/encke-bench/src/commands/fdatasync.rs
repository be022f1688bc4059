//! `encke-bench fdatasync`

use std::{
    fs::File,
    io::{self, Write},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{report, server::Scratch, tally};

/// What a run needs.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Fdatasync {
    /// Appends a second, each followed by its fdatasync
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,
    /// For how long, in seconds
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Bytes of each append
    #[arg(long, default_value_t = 180)]
    pub bytes: usize,
}

/// How long each append with its fdatasync took, in microseconds, with nothing else in this process: what the
/// disk under the servers' directories takes by itself.
///
/// # Errors
/// When the disk refuses.
pub fn measure(of: Fdatasync) -> io::Result<Histogram<u64>> {
    let scratch = Scratch::new()?;
    let mut file = File::create(scratch.path().join("appended"))?;
    let (record, mut took) = (vec![b'x'; of.bytes], tally::histogram());
    let (begins, gap) = (Instant::now(), Duration::from_secs_f64(1.0 / of.rate));
    for number in 0..(of.rate * of.seconds) as u64 {
        std::thread::sleep((begins + gap.mul_f64(number as f64)).saturating_duration_since(Instant::now()));
        let began = Instant::now();
        file.write_all(&record)?;
        file.sync_data()?;
        took.saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(took)
}

/// Measures and prints.
///
/// # Errors
/// When the disk refuses.
pub fn run(of: Fdatasync) -> io::Result<()> {
    let took = measure(of)?;
    println!("{}", report::percentiles_head());
    println!("{}", report::percentiles("append and fdatasync", &took));
    Ok(())
}
