//! The file that says what the store is and from which segment on it is replayed. It is replaced as a whole:
//! written under another name, synced, renamed.

use encke_proto::Epoch;

use super::{
    codec::Reader,
    fault::Fault,
    volume::{Volume, VolumeFile},
};

/// Its name.
pub(super) const FILE: &str = "MANIFEST";
/// Its name while it is written.
pub(super) const NEW: &str = "MANIFEST.new";
const MAGIC: &[u8; 8] = b"ENCKEMAN";
/// The version of everything in the directory. A store of another one is refused.
pub(super) const VERSION: u32 = 1;
/// Longer than any manifest of this version.
const MAX_BYTES: u64 = 4096;

/// What is true of the whole store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The epoch of all logs.
    pub(super) epoch: Epoch,
    /// Under what the hashes of idempotency keys are made.
    pub(super) hash_key: u128,
    /// The first segment of the newest whole checkpoint: everything from there on is replayed, and what lies
    /// before holds bodies alone.
    pub(super) first: u32,
    /// The newest segment when this was written. One that is missing would look like the end of the log.
    pub(super) newest: u32,
    /// This is a copy of a store. Positions that the original gave out since may differ, so whatever opens it
    /// begins a new epoch.
    pub(super) copied: bool,
}

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.hash_key.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.newest.to_le_bytes());
        out.push(u8::from(self.copied));
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let no_manifest = || Fault::damaged(format!("{FILE} is not that of a store"));
        let mut reader = Reader(bytes);
        if reader.array() != Ok(*MAGIC) {
            return Err(no_manifest());
        }
        let version = u32::from_le_bytes(reader.array()?);
        if version != VERSION {
            return Err(Fault::damaged(format!(
                "{FILE}: the store has version {version}, this program knows {VERSION}"
            )));
        }
        let (body, checksum) =
            bytes.split_at_checked(bytes.len().saturating_sub(4)).ok_or_else(no_manifest)?;
        if crc32c::crc32c(body).to_le_bytes() != checksum {
            return Err(Fault::damaged(format!("{FILE}: its checksum is wrong")));
        }
        Ok(Self {
            epoch: Epoch(u64::from_le_bytes(reader.array()?)),
            hash_key: u128::from_le_bytes(reader.array()?),
            first: u32::from_le_bytes(reader.array()?),
            newest: u32::from_le_bytes(reader.array()?),
            copied: reader.byte()? != 0,
        })
    }

    /// Reads it; none when there is no such file.
    pub(super) fn read(volume: &dyn Volume) -> Result<Option<Self>, Fault> {
        let file = match volume.open_to_read(FILE) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Fault::from_io(FILE, &error)),
        };
        let bytes = read_all(&*file).map_err(|error| Fault::from_io(FILE, &error))?;
        Self::decode(&bytes).map(Some)
    }

    /// Puts it in the place of the one that is there.
    pub(super) fn write(&self, volume: &dyn Volume) -> Result<(), Fault> {
        let write = || {
            let file = volume.create(NEW, 0)?;
            file.write_at(&self.encode(), 0)?;
            file.sync()?;
            volume.rename(NEW, FILE)?;
            volume.sync_names()
        };
        write().map_err(|error| Fault::from_io(FILE, &error))
    }
}

/// Reads what a manifest may have.
pub(super) fn read_all(file: &dyn VolumeFile) -> std::io::Result<Vec<u8>> {
    let length = usize::try_from(file.length()?.min(MAX_BYTES)).unwrap_or_default();
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_bit_is_told() {
        let manifest = Manifest { epoch: Epoch(7), hash_key: 8, first: 9, newest: 10, copied: true };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Ok(manifest));
        for bit in 0..bytes.len() * 8 {
            let mut harmed = bytes.clone();
            harmed[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&harmed).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
