//! The torn tail of the store: what a crash may leave behind the last frame of the log store.
//!
//! A process that is killed leaves its writes to the kernel, so that the log ends with a whole frame or with
//! the beginning of one. A machine that loses its power may leave anything behind what was synced: half a
//! frame, a frame of zeros, old bytes in the place of new ones. So only what is behind the last whole frame
//! is harmed here: up to there a publisher may have been told `accepted`. That a changed byte further in
//! front is told, and never served, is tested by the engine itself, where it is known what was answered when.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use crate::choice::Choice;

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

/// Harms the log of the store in this directory; says how. Nothing is done when there is no log.
///
/// # Errors
/// When the files cannot be read or written.
pub fn tear(data: &Path, choice: &mut Choice) -> io::Result<Option<&'static str>> {
    let Some(segment) = newest_segment(&data.join("log"))? else { return Ok(None) };
    tear_segment(&segment, choice).map(Some)
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

#[cfg(test)]
mod tests {
    use super::*;

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
