//! The backend as a process of its own, as it would run in production.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use vssd_host::control::Client;
use vssd_host::control::protocol::{
    Change, EncodingName, LatencyStatus, Reply, Request, Resize, Resized, TrackerName, VssdStatus,
};
use vssd_host::emulation::MediaKind;
use vssd_host::size::{Amount, ByteSize};

use crate::process::Process;
use crate::testbed::ResizeOptions;

/// How long the backend may take to open its files and sockets: a bound on hanging, for
/// the slowest disk. One that fails to start ends, which is noticed at once.
const START_PATIENCE: Duration = Duration::from_secs(600);

/// How long a status may take, and a driver to answer.
const STATUS_PATIENCE: Duration = Duration::from_secs(120);

/// How long a killed backend may take to end: its writes in flight do before.
const END_PATIENCE: Duration = Duration::from_secs(120);

/// The backend's log in its folder.
const LOG: &str = "backend.log";

/// The name of a backend's first vSSD, and of the only one where it is alone.
const FIRST: &str = "vm1";

/// The name of the vSSD of a VM, which are counted from 0.
pub fn vssd_name(vm: usize) -> String {
    format!("vm{}", vm + 1)
}

/// What a backend serves.
#[derive(Clone, Debug)]
pub struct BackendConfig {
    /// The harness, which is the backend's program as well.
    pub program: PathBuf,
    /// Folder of sockets, the backing file and the log; short, for the sockets.
    pub folder: PathBuf,
    /// Full size of each vSSD.
    pub size: ByteSize,
    /// Bytes in a block.
    pub block_size: ByteSize,
    /// The medium that the pool imitates.
    pub media: Option<MediaKind>,
    /// How many vSSDs share what; `None` for one with room for all of it.
    pub sharing: Option<Sharing>,
}

/// vSSDs that share a pool without room for the full size of them all.
#[derive(Clone, Copy, Debug)]
pub struct Sharing {
    /// How many there are; each starts with an equal part of the pool.
    pub vms: usize,
    /// Size of the pool.
    pub pool: ByteSize,
}

impl BackendConfig {
    /// Where the QEMU of a VM connects.
    fn socket(&self, vm: usize) -> PathBuf {
        self.folder.join(format!("{}.sock", vssd_name(vm)))
    }

    /// What each vSSD is described by.
    fn specs(&self) -> Vec<String> {
        let vms = self.sharing.map_or(1, |sharing| sharing.vms);
        let held = self.sharing.map_or(self.size, |Sharing { vms, pool }| {
            let part = pool.0 / vms.max(1) as u64;
            ByteSize((part - part % self.block_size.0).min(self.size.0))
        });
        let spec = |vm| {
            format!(
                "name={},socket={},size={},block-size={},held={}B",
                vssd_name(vm),
                self.socket(vm).display(),
                self.size,
                self.block_size,
                held.0
            )
        };
        (0..vms).map(spec).collect()
    }
}

/// A running backend and its vSSDs.
#[derive(Debug)]
pub struct Backend {
    config: BackendConfig,
    process: Process,
}

impl Backend {
    /// Starts a backend and waits until it listens.
    pub fn start(config: BackendConfig) -> Result<Self> {
        let log = config.folder.join(LOG);
        let stderr = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("write {}", log.display()))?;
        let mut command = Command::new(&config.program);
        command
            .arg("backend")
            .arg("--backing")
            .arg(config.folder.join("backing.img"))
            .arg("--create")
            .arg("--control")
            .arg(config.folder.join("control.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr);
        for spec in config.specs() {
            command.arg("--vssd").arg(spec);
        }
        if let Some(media) = config.media {
            command.arg("--media").arg(media.to_string());
        }
        if let Some(Sharing { pool, .. }) = config.sharing {
            command.arg("--size").arg(format!("{}B", pool.0));
        }
        let (sender, ready) = mpsc::channel();
        let started = move |child: &mut std::process::Child| {
            let stdout = child.stdout.take();
            thread::spawn(move || {
                for line in stdout
                    .map(BufReader::new)
                    .into_iter()
                    .flat_map(BufRead::lines)
                {
                    // Nobody listens any more once the backend is up.
                    let _ = line.map(|line| sender.send(line));
                }
            });
        };
        let process = Process::spawn(command, started, |_| {}).context("start the backend")?;
        match ready.recv_timeout(START_PATIENCE) {
            Ok(line) if line.starts_with("ready") => Ok(Self { config, process }),
            _ => bail!("the backend did not start: {}", last_line(&log)),
        }
    }

    /// The last line of its log.
    pub fn last_words(&self) -> String {
        last_line(&self.config.folder.join(LOG))
    }

    /// What it serves.
    pub fn config(&self) -> &BackendConfig {
        &self.config
    }

    /// Where the QEMU of a VM connects.
    pub fn socket(&self, vm: usize) -> PathBuf {
        self.config.socket(vm)
    }

    /// Where the backend is controlled.
    pub fn control(&self) -> PathBuf {
        self.config.folder.join("control.sock")
    }

    /// The backend's process number.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Kills the backend as `kill -9` does, and starts another on the same files.
    pub fn kill_and_restart(self) -> Result<Self> {
        let Self { config, process } = self;
        process.kill();
        process
            .wait(END_PATIENCE)
            .context("the killed backend did not end")?;
        Self::start(config)
    }

    /// A connection to the control socket; an answer may take `timeout`, or as
    /// long as it takes.
    pub fn client(&self, timeout: Option<Duration>) -> Result<Client> {
        Ok(Client::connect(&self.control(), timeout)?)
    }

    /// The state of the first vSSD.
    pub fn status(&self) -> Result<VssdStatus> {
        let all = self.statuses()?;
        all.into_iter().next().context("a vSSD is there")
    }

    /// The state of every vSSD, by VM.
    pub fn statuses(&self) -> Result<Vec<VssdStatus>> {
        Ok(self.client(Some(STATUS_PATIENCE))?.status()?.vssds)
    }

    /// How long requests took and had to wait since the last reset; `reset`
    /// starts over.
    pub fn latency(&self, reset: bool) -> Result<LatencyStatus> {
        Ok(self.client(Some(STATUS_PATIENCE))?.latency(FIRST, reset)?)
    }

    /// A connection on which resizes can be asked for, one after the other,
    /// each taking at most `at_most`.
    pub fn resizer(&self, at_most: Duration) -> Result<Resizer> {
        Ok(Resizer {
            client: self.client(Some(at_most))?,
        })
    }

    /// Sets how block sets travel from now on, and waits until the driver has
    /// started over with that.
    pub fn set_encoding(&self, encoding: EncodingName) -> Result<()> {
        let request = Request::SetEncoding {
            vssd: FIRST.to_owned(),
            encoding,
        };
        match self.client(Some(STATUS_PATIENCE))?.call(&request)? {
            Reply::Ok => self.await_agreed(),
            other => bail!("the backend answered {other:?}"),
        }
    }

    /// Sets what is remembered of requests, from now on.
    pub fn observe(&self, observer: TrackerName) -> Result<()> {
        let request = Request::Track {
            vssd: FIRST.to_owned(),
            tracker: observer,
        };
        match self.client(Some(STATUS_PATIENCE))?.call(&request)? {
            Reply::Ok => Ok(()),
            other => bail!("the backend answered {other:?}"),
        }
    }

    /// Waits until a driver has confirmed its list.
    pub fn await_agreed(&self) -> Result<()> {
        let mut client = self.client(Some(STATUS_PATIENCE))?;
        client.send(&Request::Watch {})?;
        let until = Instant::now() + STATUS_PATIENCE;
        loop {
            match client.receive()? {
                Reply::Status(status) if status.vssds.iter().all(|v| v.driver && v.agreed) => {
                    return Ok(());
                }
                _ if Instant::now() > until => bail!("the guest's driver does not answer"),
                _ => {}
            }
        }
    }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("nothing").to_owned()
}

/// Asks for resizes.
#[derive(Debug)]
pub struct Resizer {
    client: Client,
}

impl Resizer {
    /// Makes the guest hold `blocks`, and waits until both lists agree.
    pub fn resize_to(&mut self, blocks: u32, options: ResizeOptions) -> Result<Resized> {
        let mut resize = Resize::new(FIRST, Change::To(Amount::Blocks(blocks.into())));
        resize.pick = options.pick;
        resize.deadline_ms = options.deadline.as_millis() as u64;
        resize.seed = Some(options.seed);
        Ok(self.client.resize(resize)?)
    }
}
