//! The masking of payloads (RFC 6455 section 5.3), eight bytes at a time.

/// Takes the mask from bytes, or puts it on them, that begin `at` bytes into a frame's payload (RFC 6455
/// section 5.3).
pub(super) fn unmask(bytes: &mut [u8], mask: [u8; 4], at: u64) {
    // Turned so that it begins with the first of these bytes; the remainder of a division by four fits into
    // anything.
    let mut turned = mask;
    turned.rotate_left((at % 4) as usize);
    let wide = u64::from_ne_bytes([
        turned[0], turned[1], turned[2], turned[3], turned[0], turned[1], turned[2], turned[3],
    ]);
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        if let Ok(eight) = <[u8; 8]>::try_from(&*word) {
            word.copy_from_slice(&(u64::from_ne_bytes(eight) ^ wide).to_ne_bytes());
        }
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(turned.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_from_wherever_it_goes_on() {
        let mask = [1, 2, 4, 8];
        let plain: Vec<u8> = (0..64).map(|n| [1, 2, 4, 8][n % 4]).collect();
        for at in 0..20 {
            for length in 0..40 {
                let mut bytes = plain[at..at + length].to_vec();
                unmask(&mut bytes, mask, at as u64);
                assert!(bytes.iter().all(|byte| *byte == 0), "{length} at {at}");
            }
        }
    }
}
