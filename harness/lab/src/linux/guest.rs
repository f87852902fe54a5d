//! A Linux guest under QEMU: boots it, runs scripts, reboots it, cuts its power.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use terminal::interrupt;

use super::channel::{Channel, Output};
use super::image::LinuxImage;
use super::launch::{Files, LinuxLaunch};
use crate::process::Process;
use crate::qemu::Qemu;

/// Timeout for the guest to boot, under the slowest accelerator on a busy machine.
const BOOT_PATIENCE: Duration = Duration::from_secs(180);

/// Timeout for QEMU to exit after `poweroff`.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// How much longer the host waits for a script than the guest lets it run.
const GRACE: Duration = Duration::from_secs(30);

/// Exit code of a script that the guest killed with SIGKILL, at its timeout.
const KILLED: i32 = 128 + 9;

/// Lines of the console that an error quotes.
const LINES_SHOWN: usize = 12;

/// What the kernel says on the console when a disk or a file system failed, or the kernel itself.
const FAILURES: [&str; 12] = [
    "I/O error",
    "EXT4-fs error",
    "Corruption",
    "corruption",
    "metadata I/O",
    "Shutting down filesystem",
    "F2FS-fs error",
    "Remounting filesystem read-only",
    "Call Trace",
    "BUG:",
    "blocked for more than",
    "Kernel panic",
];

/// A running guest.
pub struct LinuxGuest {
    process: Process,
    channel: Channel,
    boot: Boot,
    /// From the start of the QEMU process until the guest takes scripts.
    pub ready: Duration,
}

/// What a guest is booted from, kept for the next boot.
#[derive(Clone, Debug)]
struct Boot {
    qemu: Qemu,
    image: LinuxImage,
    launch: LinuxLaunch,
    folder: PathBuf,
}

impl Boot {
    fn console(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    fn stderr(&self) -> PathBuf {
        self.folder.join("qemu.log")
    }
}

impl LinuxGuest {
    /// Boots a guest, with its socket and logs in `folder`. The path must be short: socket paths
    /// are limited.
    pub fn boot(
        qemu: &Qemu,
        image: &LinuxImage,
        launch: LinuxLaunch,
        folder: PathBuf,
    ) -> Result<Self> {
        Self::start(Boot {
            qemu: qemu.clone(),
            image: image.clone(),
            launch,
            folder,
        })
    }

    fn start(boot: Boot) -> Result<Self> {
        let path = boot.folder.join("channel.sock");
        // Left over from the guest before a power cut.
        let _ = fs::remove_file(&path);
        let listener =
            UnixListener::bind(&path).with_context(|| format!("listen at {}", path.display()))?;
        let files = Files {
            channel: &path,
            console: &boot.console(),
        };
        let mut command = boot.launch.command(&boot.qemu, &boot.image, &files);
        let stderr = boot.stderr();
        let log = fs::File::options().create(true).append(true).open(&stderr);
        let log = log.with_context(|| format!("write {}", stderr.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let started = Instant::now();
        let process = Process::spawn(command, |_| {}, |_| {}).context("start QEMU")?;
        let until = started + BOOT_PATIENCE;
        let connected = accept(&listener, &process, until);
        let booted = connected.and_then(|stream| {
            let mut channel = Channel::new(stream);
            channel.await_ready(until).map(|()| channel)
        });
        let channel = booted.map_err(|error| {
            process.kill();
            explain(&boot, &format!("did not boot: {error}"))
        })?;
        Ok(Self {
            process,
            channel,
            boot,
            ready: started.elapsed(),
        })
    }

    /// Runs a script with the guest's `sh`, which is killed after `at_most`.
    ///
    /// # Errors
    /// When it did not end in time, or the guest does not answer. A script that fails is no
    /// error: see [`Self::expect`].
    pub fn run(&mut self, script: &str, at_most: Duration) -> Result<Output> {
        let sent = self.channel.send(script, at_most.as_secs().max(1));
        let until = Instant::now() + at_most + GRACE;
        let output = sent.and_then(|()| self.channel.receive(until));
        let output = output.map_err(|error| {
            self.process.kill();
            explain(
                &self.boot,
                &format!("failed during `{}`: {error}", head(script)),
            )
        })?;
        ensure!(
            output.code != KILLED,
            "`{}` did not end within {} s in the guest; its output:\n{}",
            head(script),
            at_most.as_secs(),
            output.text
        );
        Ok(output)
    }

    /// Runs a script that must succeed, and returns its output.
    ///
    /// # Errors
    /// As [`Self::run`], and when its exit code is not 0.
    pub fn expect(&mut self, script: &str, at_most: Duration) -> Result<String> {
        let Output { code, text } = self.run(script, at_most)?;
        ensure!(
            code == 0,
            "`{}` failed in the guest with exit code {code}: {}",
            head(script),
            text.trim()
        );
        Ok(text)
    }

    /// Starts a script in the background. Its name must be a word; it ends with the guest.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn start_job(&mut self, name: &str, script: &str) -> Result<()> {
        let start = format!(
            "mkdir -p /run/jobs; cd /run/jobs; rm -f {name}.*\n\
             cat >{name}.sh <<'END-OF-JOB'\n{script}\nEND-OF-JOB\n\
             setsid sh -c 'sh {name}.sh >{name}.out 2>&1; echo $? >{name}.new; mv {name}.new {name}.code' \
             </dev/null >/dev/null 2>&1 &"
        );
        self.expect(&start, Duration::from_secs(30)).map(drop)
    }

    /// Waits for the end of a job.
    ///
    /// # Errors
    /// When it did not end in time, or the guest does not answer.
    pub fn finish_job(&mut self, name: &str, at_most: Duration) -> Result<Output> {
        let wait = format!(
            "cd /run/jobs; while ! [ -e {name}.code ]; do usleep 50000; done; cat {name}.out; exit $(cat {name}.code)"
        );
        self.run(&wait, at_most)
            .with_context(|| format!("wait for the job {name}"))
    }

    /// What a job has written so far.
    ///
    /// # Errors
    /// When there is no such job, or the guest does not answer.
    pub fn job_output(&mut self, name: &str) -> Result<String> {
        self.expect(
            &format!("cat /run/jobs/{name}.out"),
            Duration::from_secs(30),
        )
    }

    /// Resets the computer after writing back what is cached, and waits until it has booted.
    ///
    /// # Errors
    /// When it does not boot.
    pub fn reboot(&mut self) -> Result<()> {
        let began = Instant::now();
        self.expect(
            "sync; { usleep 200000; reboot -f; } &",
            Duration::from_secs(60),
        )?;
        let ready = self.channel.await_ready(began + BOOT_PATIENCE);
        ready.map_err(|error| explain(&self.boot, &format!("did not reboot: {error}")))?;
        self.ready = began.elapsed();
        Ok(())
    }

    /// Kills QEMU with SIGKILL, as a power cut would, and boots again on the same disks.
    ///
    /// # Errors
    /// When it does not boot.
    pub fn cut_power(self) -> Result<Self> {
        self.process.kill();
        let ended = self.process.wait(END_PATIENCE);
        ended.context("the killed QEMU did not exit in time")?;
        Self::start(self.boot)
    }

    /// Writes back what is cached, and ends the guest.
    ///
    /// # Errors
    /// When it does not end.
    pub fn shut_down(mut self) -> Result<()> {
        self.expect(
            "sync; { usleep 200000; poweroff -f; } &",
            Duration::from_secs(60),
        )?;
        let status = self.process.wait(END_PATIENCE);
        match status.and_then(|status| status.code()) {
            Some(0) => Ok(()),
            Some(code) => Err(explain(
                &self.boot,
                &format!("exited with QEMU status {code}"),
            )),
            None => Err(explain(
                &self.boot,
                &format!("did not power off within {} s", END_PATIENCE.as_secs()),
            )),
        }
    }

    /// Lines of the console since the first boot that tell of a failure.
    ///
    /// # Errors
    /// When the console cannot be read.
    pub fn failures(&self) -> Result<Vec<String>> {
        let path = self.boot.console();
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(failures(&String::from_utf8_lossy(&text)))
    }
}

/// Waits for QEMU's connection to the channel.
fn accept(listener: &UnixListener, process: &Process, until: Instant) -> io::Result<UnixStream> {
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if let Some(status) = process.wait(Duration::from_millis(10)) {
            return Err(io::Error::other(format!("QEMU ended ({status})")));
        }
        if Instant::now() > until {
            let message = "QEMU did not open its channel in time";
            return Err(io::Error::new(ErrorKind::TimedOut, message));
        }
    }
}

fn failures(console: &str) -> Vec<String> {
    let tells = |line: &&str| FAILURES.iter().any(|failure| line.contains(failure));
    console.lines().filter(tells).map(str::to_owned).collect()
}

/// An error with the last lines of QEMU and of the console.
fn explain(boot: &Boot, what: &str) -> anyhow::Error {
    if interrupt::is_requested() {
        return anyhow!("interrupted");
    }
    let tail = |path: PathBuf, lines: usize| {
        let bytes = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n  ")
    };
    let mut message = format!("the Linux guest {what}");
    for (whose, text) in [
        ("QEMU's last line", tail(boot.stderr(), 1)),
        ("last console lines", tail(boot.console(), LINES_SHOWN)),
    ] {
        if !text.is_empty() {
            message.push_str(&format!("; {whose}:\n  {text}"));
        }
    }
    anyhow!(message)
}

/// A script's first line, for messages.
fn head(script: &str) -> &str {
    script.trim().lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_disks_and_file_systems_are_found() {
        let console = "[    1.0] random: crng init done\n\
             [    2.0] I/O error, dev vda, sector 8 op 0x0:(READ) flags 0x0\n\
             [    3.0] EXT4-fs error (device vda): ext4_journal_check_start:83: aborted journal\n\
             [    4.0] XFS (vda): Ending clean mount";
        let found = failures(console);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("sector 8"));
    }

    #[test]
    fn messages_name_the_first_line_of_a_script() {
        assert_eq!(head("\n mkfs.ext4 /dev/vda\nmount"), "mkfs.ext4 /dev/vda");
    }
}
