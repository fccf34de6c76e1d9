//! Counts the body against its Content-Length.

/// The bytes of one response's body: declared and sent.
#[derive(Debug, Default)]
pub struct Meter {
    declared: Option<u64>,
    sent: u64,
}

/// How much of an offered length may be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Admitted {
    /// So many bytes of it.
    pub length: u64,
    /// Whether something had to be left out.
    pub cut: bool,
}

impl Meter {
    /// Notes the Content-Length of the response, if there is one.
    pub fn declare(&mut self, length: Option<u64>) {
        self.declared = length;
    }

    /// The Content-Length.
    pub fn declared(&self) -> Option<u64> {
        self.declared
    }

    /// How many bytes have been admitted so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Counts `offered` bytes and says how many of them may be sent.
    pub fn admit(&mut self, offered: u64) -> Admitted {
        let length = match self.declared {
            Some(declared) => offered.min(declared - self.sent),
            None => offered,
        };
        self.sent += length;
        Admitted { length, cut: length < offered }
    }

    /// Whether the body has all the bytes of its Content-Length.
    pub fn is_complete(&self) -> bool {
        self.declared == Some(self.sent)
    }

    /// The declared length and the bytes sent, if some are missing.
    pub fn shortage(&self) -> Option<(u64, u64)> {
        self.declared.filter(|declared| *declared > self.sent).map(|declared| (self.sent, declared))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_length_everything_is_admitted() {
        let mut meter = Meter::default();
        assert_eq!(meter.admit(7), Admitted { length: 7, cut: false });
        assert!(!meter.is_complete());
        assert_eq!(meter.shortage(), None);
    }

    #[test]
    fn what_exceeds_the_length_is_cut() {
        let mut meter = Meter::default();
        meter.declare(Some(10));
        assert_eq!(meter.admit(6), Admitted { length: 6, cut: false });
        assert_eq!(meter.shortage(), Some((6, 10)));
        assert_eq!(meter.admit(6), Admitted { length: 4, cut: true });
        assert!(meter.is_complete());
        assert_eq!(meter.admit(1), Admitted { length: 0, cut: true });
        assert_eq!(meter.shortage(), None);
    }

    #[test]
    fn an_empty_body_of_length_zero_is_complete_at_once() {
        let mut meter = Meter::default();
        meter.declare(Some(0));
        assert!(meter.is_complete());
    }
}
