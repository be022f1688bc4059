//! Randomness that cannot be guessed, from the operating system.

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

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_are_alike() {
        assert_ne!(super::bits().unwrap(), super::bits().unwrap());
    }
}
