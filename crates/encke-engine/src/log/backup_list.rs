//! What a copy says of itself: a file that is written last, with the length and the checksum of each of its
//! files. A copy without it is not finished, and one that is not as it says was changed.

use std::{fmt::Write as _, io};

use super::{fault::Fault, file_name::number_of, manifest, volume::Volume};

/// Its name.
pub(super) const FILE: &str = "BACKUP";
/// The first line, with the version of the form.
const FIRST_LINE: &str = "encke backup 1";
/// The longest that is read: some 1,000,000 files.
const MAX_BYTES: u64 = 64 << 20;
/// How much is read at a time, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// A file of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BackupFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) crc32c: u32,
}

/// All files of a copy but its list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BackupList {
    /// The store was damaged when the copy was made, and the copy has the damage.
    pub(super) damaged: bool,
    pub(super) files: Vec<BackupFile>,
}

impl BackupList {
    /// The bytes of all files together.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    fn encode(&self) -> String {
        let state = if self.damaged { "damaged" } else { "whole" };
        let mut text = format!("{FIRST_LINE}\n{state}\n");
        for BackupFile { name, bytes, crc32c } in &self.files {
            // Writing into a string does not fail.
            let _ = writeln!(text, "{name} {bytes} {crc32c:08x}");
        }
        let _ = writeln!(text, "end {:08x}", crc32c::crc32c(text.as_bytes()));
        text
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return None;
        }
        let damaged = match lines.next()? {
            "whole" => false,
            "damaged" => true,
            _ => return None,
        };
        let mut files = Vec::new();
        for line in lines {
            let mut words = line.split(' ');
            let (name, number, last) = (words.next()?, words.next()?, words.next());
            let Some(crc32c) = last else { break };
            // No other name is one of a file here; it could lead out of the directory.
            if name != manifest::FILE && number_of(name).is_none() {
                return None;
            }
            files.push(BackupFile {
                name: name.to_owned(),
                bytes: number.parse().ok()?,
                crc32c: u32::from_str_radix(crc32c, 16).ok()?,
            });
        }
        let list = Self { damaged, files };
        // It has one form alone: so no change to it is overlooked.
        (list.encode() == text).then_some(list)
    }

    /// Reads it; none when there is no such file.
    pub(super) fn read(volume: &dyn Volume) -> Result<Option<Self>, Fault> {
        let read = || {
            let file = volume.open_to_read(FILE)?;
            let length = file.length()?.min(MAX_BYTES);
            let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.read_at(&mut bytes, 0).map(|()| bytes)
        };
        let bytes = match read() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Fault::from_io(FILE, &error)),
        };
        let list = std::str::from_utf8(&bytes).ok().and_then(Self::decode);
        list.map(Some).ok_or_else(|| Fault::damaged(format!("{FILE} is not as it was written")))
    }

    /// Writes it, and returns when it is on the disk.
    pub(super) fn write(&self, volume: &dyn Volume) -> io::Result<()> {
        let file = volume.create(FILE, 0)?;
        file.write_at(self.encode().as_bytes(), 0)?;
        file.sync()?;
        volume.sync_names()
    }

    /// Looks whether a copy is whole and as it was made, before something is made of it.
    pub(super) fn verify(volume: &dyn Volume) -> Result<(), Fault> {
        let list = Self::read(volume)?.ok_or_else(not_finished)?;
        let names = volume.list().map_err(|error| Fault::from_io("the copy", &error))?;
        let is_listed = |name: &String| list.files.iter().any(|file| file.name == *name);
        if let Some(other) = names.iter().find(|name| number_of(name).is_some() && !is_listed(name)) {
            return Err(Fault::damaged(format!("{other} is not of this copy")));
        }
        list.files.iter().try_for_each(|file| file.read(volume, |_| Ok(())))
    }
}

/// What is said of a copy that has no list.
pub(super) fn not_finished() -> Fault {
    Fault::damaged(format!("this copy of a store is not finished: it has no {FILE}"))
}

impl BackupFile {
    /// Reads the file of a copy and hands over its bytes part by part. If it is not as it was made, that is
    /// told, at the latest when all was handed over.
    pub(super) fn read(
        &self,
        volume: &dyn Volume,
        mut part: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let failed = |error: io::Error| Fault::from_io(&self.name, &error);
        let file = volume.open_to_read(&self.name).map_err(failed)?;
        let length = file.length().map_err(failed)?;
        if length != self.bytes {
            let text = format!("{} has {length} bytes, and had {} when it was copied", self.name, self.bytes);
            return Err(Fault::damaged(text));
        }
        let (mut at, mut checksum) = (0, 0);
        let mut chunk = vec![0; CHUNK_BYTES];
        while at < length {
            let bytes = usize::try_from(length - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            file.read_at(&mut chunk[..bytes], at).map_err(failed)?;
            checksum = crc32c::crc32c_append(checksum, &chunk[..bytes]);
            part(&chunk[..bytes])?;
            at += bytes as u64;
        }
        if checksum != self.crc32c {
            return Err(Fault::damaged(format!("{} was changed since it was copied", self.name)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_bit_and_every_cut_is_told() {
        let file = |name: &str| BackupFile { name: name.to_owned(), bytes: 40, crc32c: 7 };
        let list = BackupList { damaged: true, files: vec![file("0000000001.log"), file("MANIFEST")] };
        let text = list.encode();
        assert_eq!(BackupList::decode(&text), Some(list));
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let decoded = std::str::from_utf8(&bytes).ok().and_then(BackupList::decode);
            assert_eq!(decoded, None, "bit {bit}");
        }
        for cut in 0..text.len() {
            assert_eq!(BackupList::decode(&text[..cut]), None, "cut at {cut}");
        }
    }
}
