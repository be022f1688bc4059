//! Runs every target over its corpus and over mutations of it, with a stable toolchain and always in the same
//! way.
//!
//! `ENCKE_FUZZ_MUTATIONS=100000 cargo test` runs more of them.

use std::{fs, path::Path};

use encke_fuzz::TARGETS;

/// How many mutations each target is run with.
const MUTATIONS: usize = 3_000;
/// The fewest files of a target's corpus.
const SEEDS_MIN: usize = 3;
/// The longest input, in bytes.
const INPUT_MAX_BYTES: usize = 4_096;

/// Pseudo-random numbers (SplitMix64) from a fixed seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// A few small changes.
    fn mutate(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            let length = self.below(16).min(bytes.len() - at);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.next() as u8,
                2 => bytes
                    .splice(at..at, (0..=self.below(8)).map(|n| (n as u8).wrapping_mul(31)))
                    .for_each(drop),
                3 => bytes.drain(at..at + length).for_each(drop),
                4 => {
                    let again = bytes[at..at + length].to_vec();
                    bytes.splice(at..at, again).for_each(drop);
                }
                _ => {
                    let from = self.below(other.len());
                    let until = (from + self.below(64)).min(other.len());
                    bytes.splice(at..at, other[from..until].iter().copied()).for_each(drop);
                }
            }
        }
        bytes.truncate(INPUT_MAX_BYTES);
        bytes
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(512)).map(|_| self.next() as u8).collect()
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .expect("there is a corpus")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("it can be read")).collect()
}

fn mutations() -> usize {
    std::env::var("ENCKE_FUZZ_MUTATIONS").map_or(MUTATIONS, |text| text.parse().expect("a number"))
}

/// What a panic does not say: which input it was.
struct Shown<'a>(&'a str, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the target {} has failed with these bytes: {:?}", self.0, self.1);
        }
    }
}

fn run(name: &str, target: fn(&[u8]), input: &[u8]) {
    let _shown = Shown(name, input);
    target(input);
}

fn run_target(name: &str) {
    let (_, target) = TARGETS.iter().find(|(other, _)| *other == name).expect("there is such a target");
    let seeds = corpus(name);
    assert!(seeds.len() >= SEEDS_MIN, "{name} has {} files in its corpus", seeds.len());
    seeds.iter().for_each(|seed| run(name, *target, seed));
    let mut numbers = Numbers(1);
    for round in 0..mutations() {
        let input = if round % 8 == 0 {
            numbers.bytes()
        } else {
            let (seed, other) = (numbers.below(seeds.len()), numbers.below(seeds.len()));
            numbers.mutate(&seeds[seed], &seeds[other])
        };
        run(name, *target, &input);
    }
}

macro_rules! targets {
    ($tested:ident: $($name:ident),*) => {
        /// Targets that are tested here.
        const $tested: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                run_target(stringify!($name));
            }
        )*
    };
}

targets!(TESTED: bayeux, classic, cursor, hub_ops, iframe, json, ndjson, poll, pusher, short, sse, time,
    ws_read, ws_send);
#[cfg(feature = "server")]
targets!(TESTED_WITH_SERVER: heads, publish, token);

#[test]
fn every_target_has_a_test_and_a_program() {
    let mut tested = TESTED.to_vec();
    #[cfg(feature = "server")]
    tested.extend(TESTED_WITH_SERVER);
    tested.sort_unstable();
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, tested);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    assert!(names.iter().all(|name| folder.join(format!("{name}.rs")).is_file()));
    let programs = fs::read_dir(folder).expect("there are programs").count();
    // Without the server there are programs whose targets are left out.
    assert!(if cfg!(feature = "server") { programs == names.len() } else { programs > names.len() });
}
