//! The backend in its own process, as in production.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use vssd::advice::Advice;
use vssd_host::control::Client;
use vssd_host::control::protocol::{
    Change, DemandStatus, EncodingName, LatencyStatus, Reply, Request, Resize, Resized,
    TrackerName, VssdStatus,
};
use vssd_host::emulation::MediaKind;
use vssd_host::size::{Amount, ByteSize};
use workloads::HostPick;

use crate::process::Process;
use crate::testbed::ResizeOptions;

/// Timeout for the backend to open its files and sockets, long enough for the slowest disk. A
/// backend that fails to start exits, which is noticed at once.
const START_PATIENCE: Duration = Duration::from_secs(600);

/// Timeout for a status request, and for a driver to confirm its list.
const STATUS_PATIENCE: Duration = Duration::from_secs(120);

/// Timeout for a killed backend to exit. Its writes in flight complete first.
const END_PATIENCE: Duration = Duration::from_secs(120);

/// Timeout for the backend's reply to a resize, deadline included.
const RESIZE_PATIENCE: Duration = Duration::from_secs(600);

const LOG: &str = "backend.log";
const CONTROL: &str = "control.sock";

/// Name of the vSSD of a VM; VMs are numbered from 0.
pub fn vssd_name(vm: usize) -> String {
    format!("vm{}", vm + 1)
}

/// What a backend serves.
#[derive(Clone, Debug)]
pub struct BackendConfig {
    /// Path of the harness, which also runs as the backend.
    pub program: PathBuf,
    /// Folder for sockets, backing file and log. The path must be short: socket paths are limited.
    pub folder: PathBuf,
    /// Full size of each vSSD.
    pub size: ByteSize,
    pub block_size: ByteSize,
    /// The medium that the pool emulates.
    pub media: Option<MediaKind>,
    /// `None` for a single vSSD that the pool can hold in full.
    pub sharing: Option<Sharing>,
    /// Request queues of a vSSD whose guest has an agent; `None` for guests with a driver.
    pub agent_queues: Option<u16>,
}

/// vSSDs that share an overcommitted pool.
#[derive(Clone, Copy, Debug)]
pub struct Sharing {
    /// Number of VMs; each starts with an equal part of the pool.
    pub vms: usize,
    pub pool: ByteSize,
    /// How the backend divides the pool, as `--arbiter` takes it; `None` when it does not.
    pub arbiter: Option<&'static str>,
}

impl BackendConfig {
    fn socket(&self, vm: usize) -> PathBuf {
        self.folder.join(format!("{}.sock", vssd_name(vm)))
    }

    fn agent_socket(&self, vm: usize) -> PathBuf {
        self.folder.join(format!("{}-agent.sock", vssd_name(vm)))
    }

    /// The `--vssd` argument of each vSSD.
    fn specs(&self) -> Vec<String> {
        let vms = self.sharing.map_or(1, |sharing| sharing.vms);
        let held = self.sharing.map_or(self.size, |Sharing { vms, pool, .. }| {
            let part = pool.0 / vms.max(1) as u64;
            ByteSize((part - part % self.block_size.0).min(self.size.0))
        });
        let spec = |vm| {
            let mut spec = format!(
                "name={},socket={},size={},block-size={},held={}B",
                vssd_name(vm),
                self.socket(vm).display(),
                self.size,
                self.block_size,
                held.0
            );
            if let Some(queues) = self.agent_queues {
                let agent = self.agent_socket(vm);
                spec.push_str(&format!(",agent={},queues={queues}", agent.display()));
            }
            spec
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
            .arg(config.folder.join(CONTROL))
            .stderr(stderr);
        for spec in config.specs() {
            command.arg("--vssd").arg(spec);
        }
        if let Some(media) = config.media {
            command.arg("--media").arg(media.to_string());
        }
        if let Some(Sharing { pool, arbiter, .. }) = config.sharing {
            command.arg("--size").arg(format!("{}B", pool.0));
            command.args(arbiter.map(|spec| ["--arbiter", spec]).iter().flatten());
        }
        let (process, is_ready) = spawn_until_ready(command)?;
        ensure!(is_ready, "the backend did not start: {}", last_line(&log));
        Ok(Self { config, process })
    }

    pub fn config(&self) -> &BackendConfig {
        &self.config
    }

    /// The vhost-user socket of a VM's vSSD.
    pub fn socket(&self, vm: usize) -> PathBuf {
        self.config.socket(vm)
    }

    /// The socket of the agent of a VM's guest.
    pub fn agent_socket(&self, vm: usize) -> PathBuf {
        self.config.agent_socket(vm)
    }

    /// Path of the control socket.
    pub fn control(&self) -> PathBuf {
        self.config.folder.join(CONTROL)
    }

    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Kills the backend with SIGKILL and starts another on the same files.
    pub fn kill_and_restart(self) -> Result<Self> {
        let Self { config, process } = self;
        process.kill();
        process
            .wait(END_PATIENCE)
            .context("the killed backend did not exit in time")?;
        Self::start(config)
    }

    /// A connection to the control socket. `timeout` applies to each reply; `None` waits forever.
    pub fn client(&self, timeout: Option<Duration>) -> Result<Client> {
        Ok(Client::connect(&self.control(), timeout)?)
    }

    /// The vSSD of a VM, as the control socket shows it.
    pub fn vssd(&self, vm: usize) -> ServedVssd {
        ServedVssd {
            folder: self.config.folder.clone(),
            name: vssd_name(vm),
            resizer: None,
        }
    }

    /// The state of the first vSSD.
    pub fn status(&self) -> Result<VssdStatus> {
        self.vssd(0).status()
    }

    /// The state of every vSSD, by VM.
    pub fn statuses(&self) -> Result<Vec<VssdStatus>> {
        Ok(self.client(Some(STATUS_PATIENCE))?.status()?.vssds)
    }

    /// Service and waiting times of the first vSSD's requests since the last reset; `reset` clears them.
    pub fn latency(&self, reset: bool) -> Result<LatencyStatus> {
        let mut client = self.client(Some(STATUS_PATIENCE))?;
        Ok(client.latency(&vssd_name(0), reset)?)
    }

    /// Waits until the driver of every vSSD has confirmed its list.
    pub fn await_agreed(&self) -> Result<()> {
        await_agreed(self.client(Some(STATUS_PATIENCE))?)
    }
}

/// A vSSD of a running backend, by its control socket.
#[derive(Debug)]
pub struct ServedVssd {
    /// The folder of the backend.
    folder: PathBuf,
    name: String,
    /// The connection is kept, so that timed resizes do not include its setup.
    resizer: Option<Client>,
}

impl ServedVssd {
    fn client(&self, timeout: Duration) -> Result<Client> {
        Ok(Client::connect(&self.folder.join(CONTROL), Some(timeout))?)
    }

    fn call(&self, request: &Request) -> Result<Reply> {
        Ok(self.client(STATUS_PATIENCE)?.call(request)?)
    }

    /// Makes a request whose reply says no more than that it is done.
    fn order(&self, request: &Request) -> Result<()> {
        match self.call(request)? {
            Reply::Ok => Ok(()),
            other => bail!("unexpected reply from the backend: {other:?}"),
        }
    }

    /// Its state.
    pub fn status(&self) -> Result<VssdStatus> {
        let all = self.client(STATUS_PATIENCE)?.status()?.vssds;
        let mut named = all.into_iter().filter(|vssd| vssd.name == self.name);
        let status = named.next();
        status.with_context(|| format!("the backend has no vSSD {}", self.name))
    }

    /// Makes the guest hold `blocks`, and waits until both lists agree.
    pub fn resize_to(&mut self, blocks: u32, options: ResizeOptions) -> Result<Resized> {
        let mut resize = Resize::new(&self.name, Change::To(Amount::Blocks(blocks.into())));
        resize.pick = options.pick;
        resize.deadline_ms = options.deadline.as_millis() as u64;
        resize.seed = Some(options.seed);
        if self.resizer.is_none() {
            self.resizer = Some(self.client(RESIZE_PATIENCE)?);
        }
        let resizer = self.resizer.as_mut().context("a connection was made")?;
        Ok(resizer.resize(resize)?)
    }

    /// The backend's last log line.
    pub fn last_log_line(&self) -> String {
        last_line(&self.folder.join(LOG))
    }

    /// Sets the encoding of block sets, and waits until all drivers have started a new session.
    pub fn set_encoding(&self, encoding: EncodingName) -> Result<()> {
        self.order(&Request::SetEncoding {
            vssd: self.name.clone(),
            encoding,
        })?;
        await_agreed(self.client(STATUS_PATIENCE)?)
    }

    /// Has requests tracked for a pick.
    pub fn observe(&self, pick: HostPick) -> Result<()> {
        self.order(&Request::Track {
            vssd: self.name.clone(),
            tracker: TrackerName(Some(pick)),
        })
    }

    /// Advises the guest's cache.
    pub fn advise(&self, advice: Advice) -> Result<()> {
        self.order(&Request::Advise {
            vssd: self.name.clone(),
            advice: advice.into(),
        })
    }

    /// Asks the guest for its demand.
    pub fn demand(&self) -> Result<Option<DemandStatus>> {
        let request = Request::Demand {
            vssd: self.name.clone(),
        };
        match self.call(&request)? {
            Reply::Demand { demand } => Ok(demand),
            other => bail!("unexpected reply from the backend: {other:?}"),
        }
    }
}

/// Waits until the driver of every vSSD has confirmed its list.
fn await_agreed(mut client: Client) -> Result<()> {
    client.send(&Request::Watch {})?;
    let until = Instant::now() + STATUS_PATIENCE;
    loop {
        match client.receive()? {
            Reply::Status(status) if status.vssds.iter().all(|v| v.driver && v.agreed) => {
                return Ok(());
            }
            _ if Instant::now() > until => bail!(
                "no guest driver confirmed its block list within {} s",
                STATUS_PATIENCE.as_secs()
            ),
            _ => {}
        }
    }
}

/// Starts a backend and waits for its line `ready`. The second value is false if it exits or
/// times out before.
pub(crate) fn spawn_until_ready(mut command: Command) -> Result<(Process, bool)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let (sender, ready) = mpsc::channel();
    let started = move |child: &mut Child| {
        let stdout = child.stdout.take();
        thread::spawn(move || {
            let lines = stdout.map(BufReader::new).into_iter();
            for line in lines.flat_map(BufRead::lines) {
                // The receiver is dropped once the backend is up; reading goes on, so that the
                // backend never blocks on a full pipe.
                let _ = line.map(|line| sender.send(line));
            }
        });
    };
    let process = Process::spawn(command, started, |_| {}).context("start the backend")?;
    let first = ready.recv_timeout(START_PATIENCE);
    Ok((process, first.is_ok_and(|line| line.starts_with("ready"))))
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let last = text.lines().last();
    last.unwrap_or("(its log is empty)").to_owned()
}
