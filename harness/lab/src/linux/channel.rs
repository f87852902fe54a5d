//! Runs scripts in the Linux guest, over a virtio serial port.
//!
//! ```text
//!  host                                   guest (guest-linux/image/init)
//!       <- ready
//!  run 7 60\n script \n.7\n ->                   runs it with `sh`, for at most 60 s
//!       <- done 7 0 5\n hello                    exit code, bytes of output, output
//! ```

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The longest output of a script, bytes.
const MAX_OUTPUT: u64 = 64 << 10;

/// The longest line, bytes: a guest is untrusted.
const MAX_LINE: u64 = 4096;

/// What a script that has ended left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub code: i32,
    /// Standard output and error; of long ones the end.
    pub text: String,
}

/// The host's end of the port.
#[derive(Debug)]
pub(super) struct Channel {
    stream: BufReader<UnixStream>,
    /// Number of the last script.
    last: u64,
}

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream: BufReader::new(stream),
            last: 0,
        }
    }

    /// Waits until the guest has booted.
    pub(super) fn await_ready(&mut self, until: Instant) -> io::Result<()> {
        while self.line(until)? != "ready" {}
        Ok(())
    }

    /// Sends a script, which the guest kills after `seconds`.
    pub(super) fn send(&mut self, script: &str, seconds: u64) -> io::Result<()> {
        self.last += 1;
        let id = self.last;
        let text = format!("run {id} {seconds}\n{script}\n.{id}\n");
        self.stream.get_mut().write_all(text.as_bytes())
    }

    /// Waits for the end of the script that was sent last.
    pub(super) fn receive(&mut self, until: Instant) -> io::Result<Output> {
        loop {
            let line = self.line(until)?;
            if line == "ready" {
                let message = "it restarted by itself";
                return Err(io::Error::new(ErrorKind::ConnectionReset, message));
            }
            let Some((id, code, length)) = parse_done(&line) else {
                let message = format!("it sent `{line:.80}` instead of an answer");
                return Err(io::Error::new(ErrorKind::InvalidData, message));
            };
            let mut bytes = vec![0; length as usize];
            self.read(&mut bytes, until)?;
            if id == self.last {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                return Ok(Output { code, text });
            }
        }
    }

    fn line(&mut self, until: Instant) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            self.bound(until)?;
            let left = MAX_LINE.saturating_sub(line.len() as u64);
            match self.stream.by_ref().take(left).read_until(b'\n', &mut line) {
                Ok(0) => return Err(closed()),
                Ok(_) if line.ends_with(b"\n") => break,
                Ok(_) if line.len() as u64 >= MAX_LINE => {
                    return Err(io::Error::new(
                        ErrorKind::InvalidData,
                        "its line is too long",
                    ));
                }
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn read(&mut self, bytes: &mut [u8], until: Instant) -> io::Result<()> {
        let mut filled = 0;
        while filled < bytes.len() {
            self.bound(until)?;
            match self.stream.read(&mut bytes[filled..]) {
                Ok(0) => return Err(closed()),
                Ok(read) => filled += read,
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Has the next read end at `until`.
    fn bound(&self, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                "it did not answer in time",
            ));
        }
        // The system takes no timeout below a microsecond.
        let left = left.max(Duration::from_millis(1));
        self.stream.get_ref().set_read_timeout(Some(left))
    }
}

fn closed() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "QEMU closed its channel")
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// Number, exit code and bytes of output from a line `done 7 0 5`.
fn parse_done(line: &str) -> Option<(u64, i32, u64)> {
    let mut words = line.strip_prefix("done ")?.split(' ');
    let done = (
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
    );
    (words.next().is_none() && done.2 <= MAX_OUTPUT).then_some(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, UnixStream) {
        let (host, guest) = UnixStream::pair().unwrap();
        (Channel::new(host), guest)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn scripts_are_framed_and_answers_are_bounded() {
        let (mut channel, mut guest) = pair();
        channel.send("echo hello", 60).unwrap();
        let mut sent = [0; 23];
        guest.read_exact(&mut sent).unwrap();
        assert_eq!(&sent, b"run 1 60\necho hello\n.1\n");
        guest.write_all(b"done 1 3 6\nhello\n").unwrap();
        let output = channel.receive(soon()).unwrap();
        assert_eq!((output.code, output.text.as_str()), (3, "hello\n"));
    }

    #[test]
    fn a_guest_that_restarts_hangs_or_talks_nonsense_is_an_error() {
        let (mut channel, mut guest) = pair();
        guest
            .write_all(b"ready\nnonsense\ndone 1 0 99999999\n")
            .unwrap();
        let error = channel.receive(soon()).unwrap_err().to_string();
        assert!(error.contains("restarted"), "{error}");
        let error = channel.receive(soon()).unwrap_err().to_string();
        assert!(error.contains("`nonsense`"), "{error}");
        assert!(channel.receive(soon()).is_err());
        let error = channel.receive(Instant::now() + Duration::from_millis(20));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
        drop(guest);
        let error = channel.receive(soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn answers_of_earlier_scripts_are_passed_over() {
        let (mut channel, mut guest) = pair();
        channel.send("first", 1).unwrap();
        channel.send("second", 1).unwrap();
        guest.write_all(b"done 1 137 3\nold").unwrap();
        guest.write_all(b"done 2 0 3\nnew").unwrap();
        assert_eq!(channel.receive(soon()).unwrap().text, "new");
    }
}
