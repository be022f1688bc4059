//! What the writer does besides: checkpoints and compaction, a bounded part of them with each frame.

use std::sync::{Arc, PoisonError, RwLock};

use super::{
    appender::Appender,
    checkpoint::Checkpoint,
    compaction::{self, Compaction},
    fault::Fault,
    file_name::{file_name, index_name},
    manifest::Manifest,
    options::LogOptions,
    record::Record,
    sealed_file::OpenSegments,
    segment::Segment,
    state::State,
    volume::Volume,
};

/// How many segments are removed with one frame at most.
const REMOVED_MAX: usize = 16;

/// How far checkpoints and compaction have come.
pub(super) struct Maintenance {
    volume: Arc<dyn Volume>,
    segments: Arc<OpenSegments>,
    state: Arc<RwLock<State>>,
    manifest: Manifest,
    options: LogOptions,
    /// What was written since the last checkpoint was finished, in bytes.
    written: u64,
    /// What was written while the last checkpoint was, with the events that came meanwhile, in bytes.
    last_bytes: u64,
    checkpoint: Option<Checkpoint>,
    compaction: Option<Compaction>,
    /// Whether some segment may have to be compacted.
    look: bool,
    /// What the frame that is being written finishes.
    finishes: Finishes,
}

#[derive(Clone, Copy, Debug, Default)]
struct Finishes {
    checkpoint: bool,
    compaction: bool,
}

impl Maintenance {
    pub(super) fn new(
        volume: Arc<dyn Volume>,
        segments: Arc<OpenSegments>,
        state: Arc<RwLock<State>>,
        manifest: Manifest,
        options: LogOptions,
        written: u64,
    ) -> Self {
        Self {
            volume,
            segments,
            state,
            manifest,
            options,
            written,
            last_bytes: 0,
            checkpoint: None,
            compaction: None,
            look: true,
            finishes: Finishes::default(),
        }
    }

    /// Whether there is something to do although no call waits.
    pub(super) fn is_busy(&self) -> bool {
        self.checkpoint.is_some() || self.compaction.is_some()
    }

    /// The sweep has made space: looks for a segment to compact.
    pub(super) fn look(&mut self) {
        self.look = true;
    }

    /// Adds the next part of what is to be done to a draft that is still empty.
    pub(super) fn draft(&mut self, appender: &mut Appender) -> Result<Vec<Record>, Fault> {
        let mut records = Vec::new();
        self.finishes = Finishes::default();
        // First, since what follows may find no space.
        self.remove_unused();
        match self.begin_checkpoint(appender, &mut records) {
            Ok(()) => {}
            // What is not in use may still be removed, and makes space.
            Err(Fault::Full(text)) => tracing::warn!(text, "there is no space for a checkpoint"),
            Err(fault) => return Err(fault),
        }
        self.begin_compaction();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(checkpoint) = &mut self.checkpoint {
            self.finishes.checkpoint = checkpoint.step(&state, &mut records);
        }
        if let Some(compaction) = &mut self.compaction {
            self.finishes.compaction = compaction.step(&state, state.swept, &mut records)?;
        }
        Ok(records)
    }

    /// Begins a checkpoint, in a segment of its own, if it is time for one.
    fn begin_checkpoint(&mut self, appender: &mut Appender, records: &mut Vec<Record>) -> Result<(), Fault> {
        if self.checkpoint.is_some() || self.written <= self.options.checkpoint_bytes.max(self.last_bytes) {
            return Ok(());
        }
        // One that failed before has left a segment that is still empty.
        if !appender.is_empty() {
            self.roll(appender, 0)?;
        }
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        self.checkpoint = Some(Checkpoint::begin(&state, appender.number(), records));
        self.last_bytes = 0;
        Ok(())
    }

    /// Removes segments of which nothing is in use. That takes no space.
    fn remove_unused(&mut self) {
        if !self.look || self.compaction.is_some() {
            return;
        }
        let unused = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            compaction::unused(&state, self.manifest.first, REMOVED_MAX)
        };
        unused.into_iter().for_each(|number| self.remove(number));
    }

    fn begin_compaction(&mut self) {
        if self.compaction.is_some() || !std::mem::take(&mut self.look) {
            return;
        }
        let chosen = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            let chosen = compaction::choose(&state, self.manifest.first);
            chosen.and_then(|(number, file)| {
                let segment = state.segments.get(&number)?;
                Some((number, file, segment.end, segment.usage.bytes(state.swept) == 0))
            })
        };
        let Some((number, file, end, unused)) = chosen else { return };
        if unused {
            self.compaction = Some(Compaction::of_unused(number));
            return;
        }
        match Compaction::begin(number, &*file, end) {
            Ok(begun) => self.compaction = Some(begun),
            Err(fault) => {
                tracing::error!(segment = number, ?fault, "a segment is damaged; it stays as it is");
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                if let Some(segment) = state.segments.get_mut(&number) {
                    segment.damaged = true;
                }
                self.look = true;
            }
        }
    }

    /// Begins a new segment, and closes the one before.
    pub(super) fn roll(&mut self, appender: &mut Appender, frame_bytes: usize) -> Result<(), Fault> {
        let before = appender.number();
        appender.roll(frame_bytes)?;
        self.enter(Manifest { newest: appender.number(), ..self.manifest });
        let index = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.segments.insert(appender.number(), Segment::new(appender.file(), appender.end()));
            state.segments.get(&before).map(|segment| (segment.index(), segment.usage.clone()))
        };
        if let Some((index, usage)) = index {
            // A file that cannot be written is made again when it is asked for: the index is derived.
            if let Err(error) = index.write(&*self.volume, before, &usage) {
                tracing::warn!(segment = before, %error, "the index of a segment was not written");
            }
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(segment) = state.segments.get_mut(&before) {
                segment.seal(self.segments.file(before), index.range());
            }
        }
        Ok(())
    }

    /// A frame of this length is on the disk, with what was drafted for it.
    pub(super) fn written(&mut self, bytes: u64) {
        self.written += bytes;
        if self.checkpoint.is_some() {
            self.last_bytes += bytes;
        }
        if std::mem::take(&mut self.finishes.checkpoint)
            && let Some(done) = self.checkpoint.take()
        {
            // What the checkpoint itself took must not count towards the next one.
            self.written = 0;
            self.enter(Manifest { first: done.first, ..self.manifest });
            self.look = true;
        }
        if std::mem::take(&mut self.finishes.compaction)
            && let Some(done) = self.compaction.take()
        {
            self.remove(done.segment);
            self.look = true;
        }
    }

    /// Writes the manifest. If that fails, the one before holds, and the next one tries again.
    fn enter(&mut self, manifest: Manifest) {
        match manifest.write(&*self.volume) {
            Ok(()) => self.manifest = manifest,
            Err(fault) => tracing::warn!(?fault, "the manifest was not written"),
        }
    }

    /// The frame with what was drafted was not written: what was begun begins anew.
    pub(super) fn failed(&mut self) {
        if let Some(undone) = self.checkpoint.take() {
            tracing::debug!(segment = undone.first, "a checkpoint was given up");
        }
        self.compaction = None;
        self.finishes = Finishes::default();
    }

    fn remove(&self, number: u32) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let removed = state.segments.remove(&number);
        drop(state);
        // A read that has looked up a message here goes on.
        if let Some(Err(error)) = removed.map(|segment| segment.file.hold()) {
            tracing::warn!(segment = number, %error, "reads of a segment that is removed may fail");
        }
        for name in [file_name(number), index_name(number)] {
            // What stays is removed when the store is opened next, or costs space alone.
            if let Err(error) = self.volume.remove(&name)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(name, %error, "a file that is not used any more was not removed");
            }
        }
    }
}
