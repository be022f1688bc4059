//! What the allocator keeps of memory that was freed.

/// Gives whole pages of freed memory back to the kernel, wherever they lie: by itself glibc gives back only
/// what is at the end of a heap. Whether there was any; never with another allocator.
///
/// It takes as long as there is memory to give back, some 0.1 ms for each MB, and threads that allocate in
/// the same heap wait meanwhile.
#[must_use]
pub fn give_back_freed_memory() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: `malloc_trim` takes a number, is safe for threads by malloc_trim(3), and touches only
        // memory that is not allocated.
        #[allow(unsafe_code)]
        let given = unsafe { libc::malloc_trim(0) };
        given == 1
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much memory this process has, in KiB.
    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("it is in there");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn what_was_freed_between_what_is_in_use_goes_back() {
        const PIECES: usize = 2_000;
        // Every second one stays, so that no end of a heap is free.
        let mut pieces: Vec<Vec<u8>> = (0..PIECES).map(|_| vec![1; 16 * 1024]).collect();
        let before = resident_kib();
        let mut number = 0;
        pieces.retain(|_| {
            number += 1;
            number % 2 == 0
        });
        let kept = resident_kib();
        assert!(give_back_freed_memory());
        let after = resident_kib();
        assert!(before < kept + 2_048, "glibc keeps it: {before} {kept}");
        assert!(after + 8_192 < kept, "{kept} {after}");
        assert_eq!(pieces.len(), PIECES / 2);
    }
}
