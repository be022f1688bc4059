//! A volume in memory that remembers what was synced, can be crashed at any step, and fails on demand.
#![allow(dead_code, reason = "each test program uses some of it")]

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use encke_engine::log::volume::{Volume, VolumeFile};

/// What a disk writes as a whole.
pub const SECTOR_BYTES: usize = 512;

/// A step of a workload.
#[derive(Clone, Debug)]
pub enum Step {
    Create {
        name: String,
        bytes: usize,
    },
    Write {
        name: String,
        at: usize,
        bytes: Vec<u8>,
    },
    SetLength {
        name: String,
        bytes: usize,
    },
    Sync {
        name: String,
    },
    /// A sync that failed: each write since the last one is on the disk or dropped, and no later sync of the
    /// same bytes tells which.
    SyncFailed {
        name: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    SyncNames,
}

/// What a test lets fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// Nothing.
    Never,
    /// Files may not be longer than this together, in bytes.
    FullAt(usize),
    /// Writes behind this many bytes of all files fail, although they were reserved.
    WriteFullAt(usize),
    /// Every sync.
    Sync,
    /// Of `every` syncs the first `times`.
    Syncs { every: usize, times: usize },
    /// Every write.
    Write,
}

#[derive(Default)]
struct Inner {
    files: BTreeMap<String, Arc<Mutex<Vec<u8>>>>,
    steps: Vec<Step>,
    recording: bool,
    fail: Option<Fail>,
    /// How many syncs there were, and how many with those that failed.
    syncs: usize,
    syncs_tried: usize,
    /// How many bytes were read.
    read_bytes: usize,
}

/// The volume. Clones are the same one.
#[derive(Clone, Default)]
pub struct MemoryVolume(Arc<Mutex<Inner>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl MemoryVolume {
    /// A volume that records its steps.
    pub fn recording() -> Self {
        let volume = Self::default();
        lock(&volume.0).recording = true;
        volume
    }

    /// A volume with these files.
    pub fn with(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let volume = Self::default();
        let copy = |(name, bytes): (&String, &Vec<u8>)| (name.clone(), Arc::new(Mutex::new(bytes.clone())));
        lock(&volume.0).files = files.iter().map(copy).collect();
        volume
    }

    /// The same, which records its steps.
    pub fn recording_with(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let volume = Self::with(files);
        lock(&volume.0).recording = true;
        volume
    }

    pub fn fail(&self, fail: Fail) {
        lock(&self.0).fail = Some(fail);
    }

    pub fn steps(&self) -> usize {
        lock(&self.0).steps.len()
    }

    pub fn all_steps(&self) -> Vec<Step> {
        lock(&self.0).steps.clone()
    }

    pub fn syncs(&self) -> usize {
        lock(&self.0).syncs
    }

    pub fn read_bytes(&self) -> usize {
        lock(&self.0).read_bytes
    }

    /// All files as they are.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.0).files.iter().map(|(name, bytes)| (name.clone(), lock(bytes).clone())).collect()
    }

    pub fn total_bytes(&self) -> usize {
        lock(&self.0).files.values().map(|bytes| lock(bytes).len()).sum()
    }
}

impl Inner {
    fn record(&mut self, step: impl FnOnce() -> Step) {
        if self.recording {
            let step = step();
            self.steps.push(step);
        }
    }

    fn total(&self) -> usize {
        self.files.values().map(|bytes| lock(bytes).len()).sum()
    }
}

impl Volume for MemoryVolume {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.0).files.keys().cloned().collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn VolumeFile>> {
        let mut inner = lock(&self.0);
        let bytes = usize::try_from(bytes).expect("files are small here");
        if let Some(Fail::FullAt(max)) = inner.fail
            && inner.total() + bytes > max
        {
            return Err(full());
        }
        inner.record(|| Step::Create { name: name.to_owned(), bytes });
        let file = Arc::new(Mutex::new(vec![0; bytes]));
        inner.files.insert(name.to_owned(), Arc::clone(&file));
        Ok(Arc::new(MemoryFile { name: name.to_owned(), bytes: file, volume: self.clone() }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VolumeFile>> {
        let inner = lock(&self.0);
        let bytes = inner.files.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile { name: name.to_owned(), bytes, volume: self.clone() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = lock(&self.0);
        let file = inner.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.files.insert(to.to_owned(), file);
        inner.record(|| Step::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = lock(&self.0);
        inner.files.remove(name).ok_or(io::ErrorKind::NotFound)?;
        inner.record(|| Step::Remove { name: name.to_owned() });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        lock(&self.0).record(|| Step::SyncNames);
        Ok(())
    }
}

struct MemoryFile {
    name: String,
    bytes: Arc<Mutex<Vec<u8>>>,
    volume: MemoryVolume,
}

impl VolumeFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(lock(&self.bytes).len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        lock(&self.volume.0).read_bytes += bytes.len();
        let file = lock(&self.bytes);
        let at = usize::try_from(at).expect("files are small here");
        let found = file.get(at..at + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut inner = lock(&self.volume.0);
        let at = usize::try_from(at).expect("files are small here");
        let mut file = lock(&self.bytes);
        let room = match inner.fail {
            Some(Fail::Write) => return Err(io::Error::other("a test lets this write fail")),
            Some(Fail::WriteFullAt(max)) if at + bytes.len() > max => max.saturating_sub(at),
            _ => bytes.len(),
        };
        // As a real disk does, it writes what there is space for before it says that there is none.
        let bytes_written = &bytes[..room];
        apply(&mut file, at, bytes_written);
        inner.record(|| Step::Write { name: self.name.clone(), at, bytes: bytes_written.to_vec() });
        if room < bytes.len() { Err(full()) } else { Ok(()) }
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let more = usize::try_from(bytes.saturating_sub(self.length()?)).expect("files are small here");
        let inner = lock(&self.volume.0);
        if let Some(Fail::FullAt(max)) = inner.fail
            && inner.total() + more > max
        {
            return Err(full());
        }
        drop(inner);
        if more > 0 { self.set_length(bytes) } else { Ok(()) }
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).expect("files are small here");
        lock(&self.volume.0).record(|| Step::SetLength { name: self.name.clone(), bytes });
        lock(&self.bytes).resize(bytes, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = lock(&self.volume.0);
        inner.syncs_tried += 1;
        let fails = match inner.fail {
            Some(Fail::Sync) => true,
            Some(Fail::Syncs { every, times }) => inner.syncs_tried % every < times,
            _ => false,
        };
        if fails {
            inner.record(|| Step::SyncFailed { name: self.name.clone() });
            return Err(io::Error::other("a test lets this sync fail"));
        }
        inner.syncs += 1;
        inner.record(|| Step::Sync { name: self.name.clone() });
        Ok(())
    }
}

fn apply(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// What a crash leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ended: all that was written is there.
    Process,
    /// The power went: nothing is there that was not synced.
    Power,
    /// The power went: some of the sectors that were not synced are there, drawn by a seed.
    PowerSome(u64),
}

/// A file as the disk may have it.
#[derive(Clone, Debug, Default)]
struct Disk {
    /// What the process reads.
    cache: Vec<u8>,
    synced: Vec<u8>,
    since: Vec<Step>,
}

/// What the steps so far have left on the disk. Names are durable when they are made: a crash that loses the
/// name of a file that was not synced leaves the same as one before it was made, which is a step as well.
#[derive(Clone, Debug, Default)]
pub struct CrashDisk {
    files: BTreeMap<String, Disk>,
    /// Draws what a failed sync drops.
    seed: u64,
    steps: u64,
}

impl CrashDisk {
    /// One whose failed syncs drop what this seed draws.
    pub fn dropping(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub fn step(&mut self, step: &Step) {
        self.steps += 1;
        match step {
            Step::Create { name, bytes } => {
                self.files.insert(name.clone(), Disk::default());
                let disk = self.entry(name);
                disk.cache = vec![0; *bytes];
                disk.since.push(step.clone());
            }
            Step::Write { name, at, bytes } => {
                let disk = self.entry(name);
                apply(&mut disk.cache, *at, bytes);
                disk.since.push(step.clone());
            }
            Step::SetLength { name, bytes } => {
                let disk = self.entry(name);
                disk.cache.resize(*bytes, 0);
                disk.since.push(step.clone());
            }
            Step::Sync { name } => {
                let disk = self.entry(name);
                disk.synced = left(disk, Crash::Process);
                disk.since.clear();
            }
            Step::SyncFailed { name } => {
                let seed = self.seed ^ self.steps << 16;
                let disk = self.entry(name);
                disk.since = std::mem::take(&mut disk.since)
                    .into_iter()
                    .enumerate()
                    .flat_map(|(number, step)| kept(step, seed, number as u64))
                    .collect();
            }
            Step::Rename { from, to } => {
                if let Some(disk) = self.files.remove(from) {
                    self.files.insert(to.clone(), disk);
                }
            }
            Step::Remove { name } => drop(self.files.remove(name)),
            Step::SyncNames => {}
        }
    }

    fn entry(&mut self, name: &str) -> &mut Disk {
        self.files.entry(name.to_owned()).or_default()
    }

    pub fn is_synced(&self) -> bool {
        self.files.values().all(|disk| disk.since.is_empty() && disk.cache == disk.synced)
    }

    pub fn crash(&self, crash: Crash) -> BTreeMap<String, Vec<u8>> {
        let left = |disk: &Disk| match crash {
            Crash::Process => disk.cache.clone(),
            _ => left(disk, crash),
        };
        self.files.iter().map(|(name, disk)| (name.clone(), left(disk))).collect()
    }
}

/// A small hash: the same choice at every run.
fn is_drawn(seed: u64, number: u64, sector: usize) -> bool {
    let mixed = seed ^ number << 32 ^ sector as u64;
    mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 0
}

/// What a failed sync keeps of a step: some sectors of a write. What a file system does to lengths is in its
/// journal, and does not get lost by that.
fn kept(step: Step, seed: u64, number: u64) -> Vec<Step> {
    let Step::Write { name, at, bytes } = step else { return vec![step] };
    let pieces = sectors(at, bytes.len()).filter(|(sector, ..)| is_drawn(seed, number, *sector));
    pieces
        .map(|(_, from, to)| Step::Write {
            name: name.clone(),
            at: at + from,
            bytes: bytes[from..to].to_vec(),
        })
        .collect()
}

/// The sectors that a write touches, and which of its bytes go into each.
fn sectors(at: usize, length: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let sector = (at + from) / SECTOR_BYTES;
        let to = ((sector + 1) * SECTOR_BYTES - at).min(length);
        let piece = (from < length).then_some((sector, from, to));
        from = to;
        piece
    })
}

fn left(disk: &Disk, crash: Crash) -> Vec<u8> {
    let mut file = disk.synced.clone();
    for (number, step) in disk.since.iter().enumerate() {
        let is_drawn = |sector: usize| match crash {
            Crash::Process => true,
            Crash::Power => false,
            Crash::PowerSome(seed) => is_drawn(seed, number as u64, sector),
        };
        match step {
            Step::Create { bytes, .. } if is_drawn(0) => file = vec![0; *bytes],
            Step::SetLength { bytes, .. } if is_drawn(0) => file.resize(*bytes, 0),
            Step::Write { at, bytes, .. } => {
                for (sector, from, to) in sectors(*at, bytes.len()) {
                    if is_drawn(sector) {
                        apply(&mut file, at + from, &bytes[from..to]);
                    }
                }
            }
            _ => {}
        }
    }
    file
}

/// Behind each step of a workload, hands on what each of these crashes leaves, how many steps were done, and
/// what to call it. A store without a manifest was never answered for, and is left out; so is a loss of power
/// where all is synced, which leaves what the end of the process does.
pub async fn crash_at_each(
    steps: &[Step],
    mut disk: CrashDisk,
    crashes: impl Fn(u64) -> Vec<Crash>,
    look: impl AsyncFn(MemoryVolume, usize, &str),
) {
    for (number, step) in steps.iter().enumerate() {
        disk.step(step);
        let done = number + 1;
        let crashes = crashes(number as u64).into_iter();
        for crash in crashes.filter(|crash| *crash == Crash::Process || !disk.is_synced()) {
            let what = format!("{crash:?} behind step {done} of {}, {step:?}", steps.len());
            let what = what.chars().take(160).collect::<String>();
            let left = disk.crash(crash);
            if left.contains_key("MANIFEST") {
                look(MemoryVolume::with(&left), done, &what).await;
            }
        }
    }
}
