//! The end mark: a small file that says how far the log was written. Frames that are gone from the end of the
//! newest segment look as if they had never been there; the mark tells that they were.
//!
//! It is written after each frame, when that is on the disk, and is synced itself only with a new segment and
//! at a stop. So it never says more than is true, and costs an answer no second sync. After a crash of the
//! process it is exact; after a loss of power it is what the kernel had written back by then.

use std::sync::Arc;

use super::{
    codec::Reader,
    fault::Fault,
    frame::SEGMENT_HEADER_BYTES,
    volume::{Volume, VolumeFile},
};

/// Its name.
pub(super) const FILE: &str = "END";
/// Its name while it is made.
const NEW: &str = "END.new";
const MAGIC: &[u8; 8] = b"ENCKEEND";
/// All of it lies in one sector, which a disk writes as a whole.
const BYTES: usize = 24;

/// Up to where all frames are on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndMark {
    /// The segment of the last frame.
    pub(super) segment: u32,
    /// Where that ends.
    pub(super) end: u32,
    /// The sequence of the frame that comes next. It goes around.
    pub(super) sequence: u32,
}

impl EndMark {
    /// The end of a store that has no frame yet.
    pub(super) fn of_nothing(segment: u32) -> Self {
        Self { segment, end: SEGMENT_HEADER_BYTES as u32, sequence: 0 }
    }

    fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&self.segment.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.end.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.sequence.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..20]);
        bytes[20..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Fault::Refused`] for what is none.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader(bytes);
        let _magic: [u8; 8] = reader.array()?;
        let mark = Self {
            segment: u32::from_le_bytes(reader.array()?),
            end: u32::from_le_bytes(reader.array()?),
            sequence: u32::from_le_bytes(reader.array()?),
        };
        if bytes != mark.encode() {
            return Err(Fault::damaged(format!("{FILE} is not what was written")));
        }
        Ok(mark)
    }

    /// Reads it; none in a store that was copied, or that an earlier version made.
    pub(super) fn read(volume: &dyn Volume) -> Result<Option<Self>, Fault> {
        let failed = |error| Fault::from_io(FILE, &error);
        let file = match volume.open(FILE) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if file.length().map_err(failed)? != BYTES as u64 {
            return Err(Fault::damaged(format!("{FILE} has another length")));
        }
        let mut bytes = [0; BYTES];
        file.read_at(&mut bytes, 0).map_err(failed)?;
        Self::decode(&bytes).map(Some)
    }

    /// Compares it with the sequence of the frame that would come next in the segments as they are.
    ///
    /// # Errors
    /// [`Fault::Refused`] when frames are missing that were there.
    pub(super) fn check(&self, sequence: u32) -> Result<(), Fault> {
        let missing = self.sequence.wrapping_sub(sequence);
        // Half of all sequences count as later ones: those frames were written behind the mark.
        if missing == 0 || missing > u32::MAX / 2 {
            return Ok(());
        }
        Err(Fault::damaged(format!(
            "{missing} frames are missing at the end of the log, which was written to byte {} of segment {}",
            self.end, self.segment
        )))
    }
}

/// The file, open to be written.
#[derive(Clone)]
pub(super) struct EndMarkFile {
    file: Arc<dyn VolumeFile>,
    /// The last write failed, which is not told again and again.
    failed: bool,
}

impl EndMarkFile {
    /// Opens it, or makes it, and writes a mark.
    pub(super) fn open(volume: &dyn Volume, mark: EndMark) -> Result<Self, Fault> {
        let open = || match volume.open(FILE) {
            Ok(file) => file.write_at(&mark.encode(), 0).map(|()| file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let file = volume.create(NEW, 0)?;
                file.write_at(&mark.encode(), 0)?;
                file.sync()?;
                volume.rename(NEW, FILE)?;
                volume.sync_names()?;
                Ok(file)
            }
            Err(error) => Err(error),
        };
        let file = open().map_err(|error| Fault::from_io(FILE, &error))?;
        Ok(Self { file, failed: false })
    }

    /// Says how far the log is. If that fails, the mark before holds, and less of the end can be missed.
    pub(super) fn write(&mut self, mark: EndMark) {
        let written = self.file.write_at(&mark.encode(), 0);
        if let Err(error) = &written
            && !self.failed
        {
            tracing::warn!(%error, "{FILE} was not written");
        }
        self.failed = written.is_err();
    }

    /// Makes it durable.
    pub(super) fn sync(&self) {
        if let Err(error) = self.file.sync() {
            tracing::warn!(%error, "{FILE} was not synced");
        }
    }
}
