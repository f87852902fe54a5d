//! The script `run-guest`: boots a guest on a backend and passes the console through.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use lab::backend::{Backend, BackendConfig};
use lab::process::Process;
use lab::qemu::GUEST_IMAGE;
use vssd_host::size::ByteSize;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../run-guest");

/// Timeout, generous for slow machines.
const PATIENCE: Duration = Duration::from_secs(600);

/// A running `run-guest`; QEMU replaces the script, so it is killed on drop.
struct Guest {
    process: Process,
    stdin: ChildStdin,
    console: PathBuf,
}

impl Guest {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let console = folder.join("console.log");
        let mut command = Command::new(SCRIPT);
        command
            .current_dir(folder)
            .args(["--accel", "tcg", "--image", GUEST_IMAGE])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(File::create(&console).unwrap());
        let (sender, stdin) = mpsc::channel();
        let started = move |child: &mut std::process::Child| {
            sender.send(child.stdin.take().unwrap()).unwrap();
        };
        let process = Process::spawn(command, started, |_| {}).unwrap();
        let stdin = stdin.recv().unwrap();
        Self {
            process,
            stdin,
            console,
        }
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap()).into_owned()
    }

    fn await_output(&self, text: &str) {
        let started = Instant::now();
        while !self.output().contains(text) {
            let is_running = self.process.wait(Duration::ZERO).is_none();
            assert!(
                is_running && started.elapsed() < PATIENCE,
                "no `{text}` in:\n{}",
                self.output()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for QEMU to exit; returns its exit code.
    fn wait(&self) -> Option<i32> {
        self.process.wait(PATIENCE).and_then(|status| status.code())
    }
}

#[test]
fn a_guest_runs_commands_from_arguments_and_console() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // The socket vm1.sock in this folder is the default of the script.
    let backend = Backend::start(BackendConfig {
        program: PathBuf::from(env!("CARGO_BIN_EXE_harness")),
        folder: folder.to_owned(),
        size: ByteSize(16 << 20),
        block_size: ByteSize(4096),
        media: None,
        sharing: None,
        agent_queues: None,
    })
    .unwrap();
    let mut guest = Guest::start(folder, &["info; fill", "verify"]);
    guest.await_output("4096 blocks as written, 0 zeros, 0 corrupt, 0 read errors");
    guest.stdin.write_all(b"flush\n").unwrap();
    guest.await_output(": flush");
    guest.stdin.write_all(b"exit\n").unwrap();
    assert_eq!(guest.wait(), Some(0), "{}", guest.output());
    let output = guest.output();
    for text in [
        "ready: ",
        "4096 blocks of 4096 bytes",
        "4096 blocks written",
    ] {
        assert!(output.contains(text), "no `{text}` in:\n{output}");
    }
    assert!(backend.status().unwrap().counters.writes > 0);
}

#[test]
fn missing_sockets_and_wrong_options_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code, text) in [
        (&[][..], 1, "no socket at vm1.sock: start vssd-host"),
        (&["--disk", "no.img"], 1, "cannot read no.img"),
        (&["--memory", "big"], 2, "invalid --memory 'big'"),
        (&["--frobnicate"], 2, "unknown option --frobnicate"),
        (&["--socket"], 2, "--socket needs a value"),
    ] {
        let output = Command::new(SCRIPT)
            .current_dir(folder.path())
            .args(arguments)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(text), "{arguments:?}: {stderr}");
    }
}
