//! One call over the D-Bus system bus, as its specification has it (dbus.freedesktop.org/doc/dbus-specification.html):
//! SASL EXTERNAL, Hello, a method call whose arguments are strings, and its reply or error. No signals, no objects, no
//! properties; who is asked is not started for it.

use super::named_io;
use crate::error::{Errno, SysError, SysResult};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A method, and what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub arguments: &'a [&'a str],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The first value, where it is a string.
    Reply(String),
    /// The error's name (`org.freedesktop.DBus.Error.ServiceUnknown`) and what it says.
    Error(String, String),
}

const HELLO: Call<'_> = Call {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "Hello",
    arguments: &[],
};

/// ENOENT or ECONNREFUSED where there is no bus, ETIMEDOUT where nobody answers.
pub fn call(bus: &Path, call: &Call<'_>, patience: Duration) -> SysResult<Answer> {
    let name = || format!("D-Bus {}.{}", call.interface, call.member);
    let stream = named_io(UnixStream::connect(bus), || format!("connect({})", bus.display()))?;
    let mut bus = Bus { stream, end: Instant::now() + patience };
    let done = bus.greet().and_then(|()| bus.ask(&HELLO, 1)).and_then(|_| bus.ask(call, 2));
    let timed_out =
        |e: &std::io::Error| matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
    match done {
        Err(e) if timed_out(&e) => Err(SysError { call: name(), errno: Errno::ETIMEDOUT }),
        done => named_io(done, name),
    }
}

struct Bus {
    stream: UnixStream,
    end: Instant,
}

impl Bus {
    /// We are who the socket says that we are.
    fn greet(&mut self) -> std::io::Result<()> {
        let uid = super::host::uid().to_string();
        let hex: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.write(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read(&mut byte)?;
            line.push(byte[0]);
            if line.len() > LINE_MAX {
                return Err(broken());
            }
        }
        if !line.starts_with(b"OK ") {
            return Err(Errno::EACCES.into());
        }
        self.write(b"BEGIN\r\n")
    }

    fn ask(&mut self, call: &Call<'_>, serial: u32) -> std::io::Result<Answer> {
        self.write(&encode(call, serial))?;
        loop {
            let mut message = vec![0; FIXED];
            self.read(&mut message)?;
            let rest = rest_length(&message).ok_or_else(broken)?;
            message.resize(FIXED + rest, 0);
            self.read(&mut message[FIXED..])?;
            if let Some(answer) = answer(&message, serial).ok_or_else(broken)? {
                return Ok(answer);
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write_all(bytes)
    }

    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<()> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read_exact(bytes)
    }

    fn left(&self) -> std::io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(std::io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

fn broken() -> std::io::Error {
    Errno::EPROTO.into()
}

/// What a server says before the first message is a word and a number of 32 digits.
const LINE_MAX: usize = 1024;
/// Endianness, type, flags, version, then three numbers: the length of the body, the serial, the length of the fields.
const FIXED: usize = 16;
/// An answer is a name or a sentence; the specification's own limit is 128 MiB.
const MESSAGE_MAX: usize = 1 << 20;

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const NO_AUTO_START: u8 = 2;
const VERSION: u8 = 1;

// header fields
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

fn encode(call: &Call<'_>, serial: u32) -> Vec<u8> {
    let mut body = Vec::new();
    call.arguments.iter().for_each(|argument| string(&mut body, argument));
    let mut fields = Vec::new();
    let words = [
        (PATH, b'o', call.path),
        (INTERFACE, b's', call.interface),
        (MEMBER, b's', call.member),
        (DESTINATION, b's', call.destination),
    ];
    for (code, kind, text) in words {
        pad(&mut fields, 8);
        fields.extend([code, 1, kind, 0]);
        string(&mut fields, text);
    }
    if !call.arguments.is_empty() {
        pad(&mut fields, 8);
        fields.extend([SIGNATURE, 1, b'g', 0, call.arguments.len() as u8]);
        fields.extend(call.arguments.iter().map(|_| b's'));
        fields.push(0);
    }
    let mut message = vec![b'l', METHOD_CALL, NO_AUTO_START, VERSION];
    for number in [body.len() as u32, serial, fields.len() as u32] {
        message.extend(number.to_le_bytes());
    }
    message.extend(fields);
    pad(&mut message, 8);
    message.extend(body);
    message
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    pad(bytes, 4);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

/// How much comes behind the fixed part; `None` for what is no message, or one of the other endianness, which nobody on
/// this machine has.
fn rest_length(fixed: &[u8]) -> Option<usize> {
    if fixed.first() != Some(&b'l') || fixed.get(3) != Some(&VERSION) {
        return None;
    }
    let number = |at: usize| Some(u32::from_le_bytes(fixed.get(at..at + 4)?.try_into().ok()?) as usize);
    let (body, fields) = (number(4)?, number(12)?);
    let all = fields.checked_next_multiple_of(8)?.checked_add(body)?;
    (all <= MESSAGE_MAX).then_some(all)
}

/// What a message answers to the call with this serial; an inner `None` for one that is about something else.
fn answer(message: &[u8], serial: u32) -> Option<Option<Answer>> {
    let mut reader = Reader { bytes: message, at: 12 };
    let end = FIXED + reader.number()? as usize;
    let (mut reply_to, mut error, mut signature) = (None, String::new(), String::new());
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        match (code, reader.signature()?.as_str()) {
            (REPLY_SERIAL, "u") => reply_to = Some(reader.number()?),
            (_, "u") => drop(reader.number()?),
            (ERROR_NAME, "s") => error = reader.string()?,
            (_, "s" | "o") => drop(reader.string()?),
            (SIGNATURE, "g") => signature = reader.signature()?,
            _ => return None,
        }
    }
    if reply_to != Some(serial) {
        return Some(None);
    }
    reader.align(8);
    let first = if signature.starts_with('s') { reader.string()? } else { String::new() };
    match *message.get(1)? {
        METHOD_RETURN => Some(Some(Answer::Reply(first))),
        ERROR => Some(Some(Answer::Error(error, first))),
        _ => None,
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn string(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        self.text(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        self.text(length)
    }

    /// With the NUL behind it.
    fn text(&mut self, length: usize) -> Option<String> {
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        self.take(1)?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    const ASKED: Call<'_> =
        Call { destination: "a.b", path: "/a", interface: "a.b.C", member: "Do", arguments: &["one", "two"] };

    /// An answer with these header fields and body, as a bus writes it.
    fn message(kind: u8, fields: &[u8], body: &[u8]) -> Vec<u8> {
        let mut message = vec![b'l', kind, 1, VERSION];
        [body.len() as u32, 9, fields.len() as u32].iter().for_each(|number| message.extend(number.to_le_bytes()));
        message.extend(fields);
        pad(&mut message, 8);
        message.extend(body);
        message
    }

    fn reply_to(serial: u8) -> Vec<u8> {
        vec![REPLY_SERIAL, 1, b'u', 0, serial, 0, 0, 0]
    }

    #[test]
    fn a_call_is_laid_out_as_the_specification_has_it() {
        let bytes = encode(&ASKED, 2);
        assert_eq!(bytes[..12], [b'l', 1, 2, 1, 16, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(rest_length(&bytes), Some(bytes.len() - FIXED));
        assert!(bytes.ends_with(b"\x03\0\0\0one\0\x03\0\0\0two\0"));
        assert!(bytes.windows(5).any(|part| part == b"\x08\x01g\0\x02")); // the signature's header, and its length
    }

    #[test]
    fn answers_are_told_from_signals_and_errors() {
        let body = b"\x07\0\0\0trusted\0";
        let with_signature = |serial| [reply_to(serial), vec![SIGNATURE, 1, b'g', 0, 1, b's', 0]].concat();
        let of = |kind, fields: &[u8]| answer(&message(kind, fields, body), 2).unwrap();
        assert_eq!(of(METHOD_RETURN, &with_signature(2)), Some(Answer::Reply("trusted".into())));
        assert_eq!(of(METHOD_RETURN, &reply_to(2)), Some(Answer::Reply(String::new())));
        assert_eq!(of(METHOD_RETURN, &with_signature(1)), None);
        assert_eq!(of(4, &[SIGNATURE, 1, b'g', 0, 1, b's', 0]), None);
        let error = [vec![ERROR_NAME, 1, b's', 0, 1, 0, 0, 0, b'E', 0, 0, 0, 0, 0, 0, 0], with_signature(2)].concat();
        assert_eq!(of(ERROR, &error), Some(Answer::Error("E".into(), "trusted".into())));
    }

    #[test]
    fn a_bus_that_says_nothing_is_not_waited_for_longer_than_that() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bus");
        let missing = call(&path, &ASKED, Duration::from_secs(9)).unwrap_err();
        assert_eq!(missing.errno, Errno::ENOENT);
        let _listener = UnixListener::bind(&path).unwrap();
        let silent = call(&path, &ASKED, Duration::from_millis(20)).unwrap_err();
        assert_eq!(silent.errno, Errno::ETIMEDOUT);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = rest_length(&bytes);
            let _ = answer(&bytes, 2);
            let _ = answer(&[&[b'l', 2, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0][..], &bytes].concat(), 2);
        }
    }
}
