//! The keys that leave a container's terminal without ending its program. Pure.

use crate::error::{Error, Kind, Result};

/// The keys to look for, and how many of them have just been typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys {
    keys: Vec<u8>,
    typed: usize,
}

impl Default for DetachKeys {
    /// docker's: ctrl-p, ctrl-q.
    fn default() -> DetachKeys {
        DetachKeys { keys: vec![0x10, 0x11], typed: 0 }
    }
}

/// What was typed, without the keys.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// This goes to the program. A beginning of the keys is kept back until it is known what it was.
    Input(Vec<u8>),
    /// This was typed before them.
    Detach(Vec<u8>),
}

impl DetachKeys {
    /// `ctrl-p,ctrl-q` or `ctrl-a,d`: single characters, and `ctrl-` with one of a to z, @, [, \, ], ^ and _. Nothing is
    /// docker's default.
    pub fn parse(text: &str) -> Result<DetachKeys> {
        if text.is_empty() {
            return Ok(DetachKeys::default());
        }
        let keys = text.split(',').map(key).collect::<Option<Vec<u8>>>();
        let keys = keys.ok_or_else(|| {
            Error::new(Kind::Usage, format!("invalid --detach-keys {text:?}"))
                .hint("keys with commas between, each a character or ctrl-a to ctrl-z: --detach-keys ctrl-a,d")
        })?;
        Ok(DetachKeys { keys, typed: 0 })
    }

    /// No keys leave it.
    pub(super) fn none() -> DetachKeys {
        DetachKeys { keys: Vec::new(), typed: 0 }
    }

    pub(super) fn filter(&mut self, bytes: &[u8]) -> Typed {
        if self.keys.is_empty() {
            return Typed::Input(bytes.to_vec());
        }
        let mut input = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if *byte != self.keys[self.typed] && self.typed > 0 {
                input.extend_from_slice(&self.keys[..self.typed]); // they were not the keys after all
                self.typed = 0;
            }
            match *byte == self.keys[self.typed] {
                true => self.typed += 1,
                false => input.push(*byte),
            }
            if self.typed == self.keys.len() {
                self.typed = 0;
                return Typed::Detach(input);
            }
        }
        Typed::Input(input)
    }
}

fn key(word: &str) -> Option<u8> {
    match (word.as_bytes(), word.strip_prefix("ctrl-").map(str::as_bytes)) {
        ([byte], _) if byte.is_ascii() => Some(*byte),
        (_, Some([byte])) => match byte.to_ascii_uppercase() {
            control @ b'@'..=b'_' => Some(control - b'@'),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_dockers() {
        let keys = |text: &str| DetachKeys::parse(text).ok().map(|keys| keys.keys);
        for (text, want) in [
            ("", Some(vec![0x10, 0x11])),
            ("ctrl-p,ctrl-q", Some(vec![0x10, 0x11])),
            ("ctrl-a,d", Some(vec![1, b'd'])),
            ("ctrl-@,ctrl-[,ctrl-\\,ctrl-]", Some(vec![0, 27, 28, 29])),
            ("a", Some(vec![b'a'])),
            ("ctrl-,", None),
            ("ctrl-1", None),
            ("abc", None),
            ("ä", None),
        ] {
            assert_eq!(keys(text), want, "{text}");
        }
    }

    #[test]
    fn only_the_keys_in_a_row_detach() {
        let typed = |chunks: &[&[u8]]| {
            let mut keys = DetachKeys::parse("ctrl-p,ctrl-q").unwrap();
            let mut all = Vec::new();
            for chunk in chunks {
                match keys.filter(chunk) {
                    Typed::Input(bytes) => all.extend(bytes),
                    Typed::Detach(bytes) => return (all.into_iter().chain(bytes).collect::<Vec<u8>>(), true),
                }
            }
            (all, false)
        };
        assert_eq!(typed(&[b"ab\x10\x11c"]), (b"ab".to_vec(), true));
        assert_eq!(typed(&[b"a\x10", b"\x11"]), (b"a".to_vec(), true));
        assert_eq!(typed(&[b"a\x10", b"b"]), (b"a\x10b".to_vec(), false));
        assert_eq!(typed(&[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(typed(&[b"\x11\x10"]), (b"\x11".to_vec(), false)); // the last is kept back
        let all = Typed::Input(b"\x10\x11".to_vec());
        assert_eq!(DetachKeys::none().filter(b"\x10\x11"), all);
    }
}
