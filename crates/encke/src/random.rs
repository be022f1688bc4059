//! Randomness that cannot be guessed, from the operating system; for what is made often, out of a stock that
//! is filled many bytes at a time, so that it costs no system call.

use std::cell::RefCell;

/// The operating system gives no randomness; nothing that has to be secret can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no randomness")]
pub struct NoRandomness;

/// 128 random bits: a session, a message or a ticket.
///
/// # Errors
/// [`NoRandomness`]. Nothing weaker takes its place.
pub fn bits() -> Result<u128, NoRandomness> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(u128::from_ne_bytes(bytes))
}

thread_local! {
    static POOL: RefCell<RandomPool> = RefCell::default();
}

/// 128 random bits out of a stock of this thread, for what is made with every message.
///
/// # Errors
/// [`NoRandomness`].
pub fn pooled_bits() -> Result<u128, NoRandomness> {
    POOL.with_borrow_mut(RandomPool::try_bits)
}

/// How many random bytes are taken from the operating system at a time.
const STOCK_BYTES: usize = 1024;

/// The operating system's randomness, a stock at a time: good enough for session ids, and no system call for
/// each.
#[derive(Debug)]
pub struct RandomPool {
    stock: Box<[u8; STOCK_BYTES]>,
    used: usize,
}

impl Default for RandomPool {
    fn default() -> Self {
        Self { stock: Box::new([0; STOCK_BYTES]), used: STOCK_BYTES }
    }
}

impl RandomPool {
    /// 128 bits that cannot be guessed.
    ///
    /// # Panics
    /// When the operating system has no randomness, which Linux always has once it has booted; a guessable
    /// session id would be worse.
    pub fn bits(&mut self) -> u128 {
        self.try_bits().expect("the operating system gives randomness")
    }

    /// The same for a caller that can refuse.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn try_bits(&mut self) -> Result<u128, NoRandomness> {
        if self.used + 16 > STOCK_BYTES {
            getrandom::fill(&mut self.stock[..]).map_err(|_| NoRandomness)?;
            self.used = 0;
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.stock[self.used..self.used + 16]);
        // What was given out is not kept.
        self.stock[self.used..self.used + 16].fill(0);
        self.used += 16;
        Ok(u128::from_ne_bytes(bytes))
    }

    /// Two numbers of 64 bits that cannot be guessed.
    pub fn numbers(&mut self) -> (u64, u64) {
        let bits = self.bits();
        (bits as u64, (bits >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_are_alike() {
        assert_ne!(super::bits().unwrap(), super::bits().unwrap());
        let many: std::collections::HashSet<u128> =
            (0..1_000).map(|_| super::pooled_bits().unwrap()).collect();
        assert_eq!(many.len(), 1_000, "across many stocks");
    }
}
