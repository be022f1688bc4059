//! A pool of random bytes from the operating system, filled many at a time, so that a session id costs no
//! system call.

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
        if self.used + 16 > STOCK_BYTES {
            getrandom::fill(&mut self.stock[..]).expect("the operating system gives randomness");
            self.used = 0;
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.stock[self.used..self.used + 16]);
        // What was given out is not kept.
        self.stock[self.used..self.used + 16].fill(0);
        self.used += 16;
        u128::from_ne_bytes(bytes)
    }

    /// Two numbers of 64 bits that cannot be guessed.
    pub fn numbers(&mut self) -> (u64, u64) {
        let bits = self.bits();
        (bits as u64, (bits >> 64) as u64)
    }
}
