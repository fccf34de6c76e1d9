//! Names of header fields.

/// Whether `name`, a token (RFC 9110, 5.6.2), is `wanted`, which has letters in lower case and hyphens only. The
/// case of `name` does not matter.
#[inline]
pub fn is(name: &[u8], wanted: &[u8]) -> bool {
    // The bit makes a letter lower-case and leaves a hyphen alone; nothing else in a token becomes one of these.
    // All bytes are looked at, which takes a few instructions where the length is known.
    let same = |(byte, wanted): (&u8, &u8)| byte | 0x20 == *wanted;
    name.len() == wanted.len() && name.iter().zip(wanted).map(same).fold(true, |all, one| all & one)
}

#[cfg(test)]
mod tests {
    use super::is;

    #[test]
    fn only_case_does_not_matter() {
        for name in ["content-length", "Content-Length", "CONTENT-LENGTH", "cOnTeNt-LeNgTh"] {
            assert!(is(name.as_bytes(), b"content-length"), "{name}");
        }
        for name in
            ["content-lengt", "content-lengthx", "content_length", "content.length", "", "date"]
        {
            assert!(!is(name.as_bytes(), b"content-length"), "{name}");
        }
    }

    #[test]
    fn no_other_character_of_a_token_passes_for_a_letter_or_a_hyphen() {
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        for wanted in (b'a'..=b'z').chain([b'-']) {
            for byte in (0..=u8::MAX).filter(token) {
                assert_eq!(
                    is(&[byte], &[wanted]),
                    byte.eq_ignore_ascii_case(&wanted),
                    "{byte} {wanted}"
                );
            }
        }
    }
}
