//! The torn tail of the store: what a crash may leave behind the last frame of the log store, or behind the
//! last whole transaction of SQLite's write-ahead log.
//!
//! A process that is killed leaves its writes to the kernel, so that the log ends with a whole transaction or
//! with the beginning of one. A machine that loses its power may leave anything behind what was synced: half
//! a frame, a frame of zeros, old bytes in the place of new ones. So only what is behind the last whole
//! transaction is harmed here: up to there a publisher may have been told `accepted`. That a changed byte
//! further in front costs what is behind it, and nothing else, is tested by the engine itself, where it is
//! known what was answered when.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use crate::choice::Choice;

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// Harms the log of the store in this directory; says how. Nothing is done when there is no log.
///
/// # Errors
/// When the files cannot be read or written.
pub fn tear(data: &Path, choice: &mut Choice) -> io::Result<Option<&'static str>> {
    if let Some(segment) = newest_segment(&data.join("log"))? {
        return tear_segment(&segment, choice).map(Some);
    }
    let path = data.join("encke.sqlite3-wal");
    let Ok(log) = fs::read(&path) else { return Ok(None) };
    let Some((end, frame_bytes)) = last_commit(&log) else { return Ok(None) };
    let any =
        |choice: &mut Choice, count: usize| (0..count).map(|_| choice.below(256) as u8).collect::<Vec<u8>>();
    let (how, tail) = match choice.below(4) {
        0 => ("cut behind the last transaction", Vec::new()),
        1 => {
            let count = 1 + choice.below(2 * frame_bytes as u32) as usize;
            ("noise behind the last transaction", any(choice, count))
        }
        2 => {
            // The last frame once more, as if it were the next, cut somewhere: its salts are right, its
            // checksum is not.
            let frame = &log[end - frame_bytes..end];
            ("half a frame", frame[..choice.below(frame_bytes as u32) as usize].to_vec())
        }
        _ => {
            // A frame that says it ends a transaction, with the right salts, and a page that is not what was
            // summed up.
            let mut frame = log[end - frame_bytes..end].to_vec();
            let at = FRAME_HEADER_BYTES + choice.below((frame_bytes - FRAME_HEADER_BYTES) as u32) as usize;
            frame[at] ^= 1 << choice.below(8);
            ("a frame with a changed bit", frame)
        }
    };
    let mut file = OpenOptions::new().write(true).open(&path)?;
    file.set_len(end as u64)?;
    io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
    file.write_all(&tail)?;
    file.sync_all()?;
    Ok(Some(how))
}

/// The file that the log store writes: that with the greatest number. None when there is no such store.
fn newest_segment(store: &Path) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(store) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut newest = None;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            newest = newest.max(Some(path));
        }
    }
    Ok(newest)
}

/// Harms what is behind the last frame. A disk writes whole sectors, and the first one behind was synced with
/// the frame; so what is harmed begins with the next.
fn tear_segment(path: &Path, choice: &mut Choice) -> io::Result<&'static str> {
    let bytes = fs::read(path)?;
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let begin = end.next_multiple_of(SECTOR_BYTES);
    let file = OpenOptions::new().write(true).open(path)?;
    let any =
        |choice: &mut Choice, count: usize| (0..count).map(|_| choice.below(256) as u8).collect::<Vec<u8>>();
    let how = match choice.below(3) {
        0 => {
            file.set_len(end as u64)?;
            "cut behind the last frame"
        }
        1 => {
            let count = 1 + choice.below(3 * SECTOR_BYTES as u32) as usize;
            file.write_all_at(&any(choice, count), begin as u64)?;
            "noise behind the last frame"
        }
        _ => {
            // The end of it once more, as if it were a sector of a frame whose first one is missing.
            let old = &bytes[end.saturating_sub(SECTOR_BYTES)..end];
            file.write_all_at(old, (begin + SECTOR_BYTES) as u64)?;
            "old bytes behind the last frame"
        }
    };
    file.sync_all()?;
    Ok(how)
}

/// Where the last whole transaction ends, and how long a frame is; nothing when there is none. SQLite's file
/// format, section 4.
fn last_commit(log: &[u8]) -> Option<(usize, usize)> {
    let word = |at: usize| Some(u32::from_be_bytes(log.get(at..at + 4)?.try_into().ok()?));
    let big_endian = match word(0)? {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return None,
    };
    let page_bytes = usize::try_from(word(8)?).ok()?;
    let frame_bytes = FRAME_HEADER_BYTES + page_bytes;
    let salts = log.get(16..24)?;
    let mut sum = checksum((0, 0), log.get(..24)?, big_endian);
    if (word(24)?, word(28)?) != sum {
        return None;
    }
    let mut end = None;
    for (number, frame) in log[HEADER_BYTES..].chunks_exact(frame_bytes).enumerate() {
        sum = checksum(sum, &frame[..8], big_endian);
        sum = checksum(sum, &frame[FRAME_HEADER_BYTES..], big_endian);
        let of = |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        if &frame[8..16] != salts || (of(16), of(20)) != sum {
            break;
        }
        if of(4) != 0 {
            end = Some(HEADER_BYTES + (number + 1) * frame_bytes);
        }
    }
    Some((end?, frame_bytes))
}

fn checksum((mut a, mut b): (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let bytes = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        a = a.wrapping_add(word(0)).wrapping_add(b);
        b = b.wrapping_add(word(4)).wrapping_add(a);
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with pages of 512 bytes, as SQLite would write it; true for a frame that ends a transaction.
    fn log(frames: &[bool]) -> Vec<u8> {
        let mut log = Vec::new();
        for word in [0x377f_0682, 3_007_000, 512, 0, 11, 12] {
            log.extend_from_slice(&u32::to_be_bytes(word));
        }
        let mut sum = checksum((0, 0), &log, false);
        log.extend_from_slice(&sum.0.to_be_bytes());
        log.extend_from_slice(&sum.1.to_be_bytes());
        for (number, ends) in frames.iter().enumerate() {
            let mut frame =
                [u32::try_from(number).unwrap() + 1, u32::from(*ends)].map(u32::to_be_bytes).concat();
            let page = vec![u8::try_from(number).unwrap(); 512];
            sum = checksum(checksum(sum, &frame, false), &page, false);
            frame.extend([11, 12, sum.0, sum.1].map(u32::to_be_bytes).concat());
            log.extend(frame);
            log.extend(page);
        }
        log
    }

    #[test]
    fn the_last_whole_transaction_is_found() {
        let frame = 24 + 512;
        assert_eq!(last_commit(&log(&[])), None);
        assert_eq!(last_commit(&log(&[false, true, true, false])), Some((32 + 3 * frame, frame)));
        let mut harmed = log(&[true, true, true]);
        harmed[32 + frame + 100] ^= 1;
        assert_eq!(last_commit(&harmed), Some((32 + frame, frame)));
        harmed.truncate(32 + 2 * frame - 1);
        assert_eq!(last_commit(&harmed), Some((32 + frame, frame)));
        assert_eq!(last_commit(b"short"), None);
    }

    #[test]
    fn nothing_before_the_last_transactions_end_is_touched() {
        let dir = std::env::temp_dir().join(format!("encke-tail-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("encke.sqlite3-wal");
        let whole = log(&[true, false, true, false]);
        let (end, _) = last_commit(&whole).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..40 {
            fs::write(&path, &whole).unwrap();
            seen.insert(tear(&dir, &mut Choice(seed)).unwrap().unwrap());
            let torn = fs::read(&path).unwrap();
            assert_eq!(torn[..end], whole[..end]);
            assert_eq!(last_commit(&torn), last_commit(&whole), "nothing looks like another transaction");
        }
        assert_eq!(seen.len(), 4);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_harmed_of_a_segment_lies_behind_its_last_frame() {
        let dir = std::env::temp_dir().join(format!("encke-tail-{}-log", std::process::id()));
        fs::create_dir_all(dir.join("log")).unwrap();
        let path = dir.join("log/0000000002.log");
        fs::write(dir.join("log/0000000001.log"), [7; 100]).unwrap();
        let (frames, mut seen) = ([9; 700], std::collections::BTreeSet::new());
        for seed in 0..30 {
            let mut segment = frames.to_vec();
            segment.resize(8192, 0);
            fs::write(&path, segment).unwrap();
            seen.insert(tear(&dir, &mut Choice(seed)).unwrap().unwrap());
            let torn = fs::read(&path).unwrap();
            assert_eq!(torn[..700], frames, "what was synced is as it was");
            assert!(
                torn[700..1024.min(torn.len())].iter().all(|byte| *byte == 0),
                "so is the rest of its sector"
            );
        }
        assert_eq!(seen.len(), 3, "{seen:?}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
