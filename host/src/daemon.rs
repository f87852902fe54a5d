//! The backend program: parses arguments, opens sockets, and serves until shutdown.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{CommandFactory as _, Parser};
use clap_complete::Shell;
use parking_lot::{Condvar, Mutex};
use serde::Deserialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

use crate::backend::Backend;
use crate::backing::{
    Backing, FileOptions, Made, MemoryBacking, NullBacking, survive_size_limits, warn_of_size_limit,
};
use crate::balancer::{ArbiterSpec, Service};
use crate::clock::Clock;
use crate::completions::print_completions;
use crate::control::protocol::Added;
use crate::control::server::{self, Control};
use crate::descriptors;
use crate::emulation::MediaKind;
use crate::guest_memory::survive_faults;
use crate::io::EngineName;
use crate::logging;
use crate::metrics;
use crate::notifier::Notifier;
use crate::output::print_line;
use crate::permissions::{FilePermissions, Group, Mode};
use crate::polling::Polling;
use crate::pool::journal::BootId;
use crate::pool::{Pool, Shape};
use crate::pool_file::{NewPool, PoolFile};
use crate::size::ByteSize;
use crate::socket::{self, Socket, check};
use crate::sockets::{Sockets, bind_all};
use crate::spec::{BackingSpec, Overcommit, VssdSpec, from_some_text};
use crate::threads::{vital, watch_panics};
use crate::vssd::Context;

/// Serves resizable virtual SSDs to QEMU over vhost-user.
///
/// Each --vssd is one device for one VM. All vSSDs share the pool on the backing: a block
/// occupies space there from its first write until its guest gives it up; then another vSSD
/// can use that space.
///
/// Example:
///   vssd-host --backing ssd.img --create --control ctl.sock \
///     --vssd name=vm1,socket=vm1.sock,size=1GiB
#[derive(Clone, Debug, Default, Parser, Deserialize)]
#[command(name = "vssd-host", version, verbatim_doc_comment)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Args {
    /// Configuration file (TOML): these options without their leading dashes, and a [[vssd]]
    /// table for each vSSD. Options on the command line take precedence, --arbiter over the whole
    /// [arbiter] table.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// File or block device that holds the pool; memory[:SIZE] for a pool in memory, lost when the
    /// backend stops; null[:SIZE] for one that stores nothing, to measure the other costs.
    #[arg(long, value_name = "FILE")]
    #[serde(deserialize_with = "from_some_text")]
    pub backing: Option<BackingSpec>,

    /// Create the pool if it does not exist, and each --vssd that it does not have; create=true in
    /// a --vssd creates that one only.
    #[arg(long)]
    pub create: bool,

    /// Permissions of the sockets and of a new pool file; default: 0600, or 0660 with --group.
    #[arg(long, value_name = "OCTAL")]
    #[serde(deserialize_with = "from_some_text")]
    pub mode: Option<Mode>,

    /// Group of the sockets and of a new pool file; its members may use them.
    #[arg(long, value_name = "NAME")]
    #[serde(deserialize_with = "from_some_text")]
    pub group: Option<Group>,

    /// Size of a new pool; default: enough for every vSSD at full size.
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "from_some_text")]
    pub size: Option<ByteSize>,

    /// Overcommit factor of a new pool: how many times its size it may commit to vSSDs; default: 1.
    #[arg(long, value_name = "FACTOR")]
    #[serde(deserialize_with = "from_some_text")]
    pub overcommit: Option<Overcommit>,

    /// I/O engine; default: uring.
    #[arg(long, value_enum)]
    pub io: Option<EngineName>,

    /// Use the host's page cache instead of direct I/O.
    #[arg(long)]
    pub buffered: bool,

    /// Never busy-poll before sleeping: less processor time, higher latency.
    #[arg(long)]
    pub no_poll: bool,

    /// Never punch holes in the file of the pool: the space of unused blocks stays allocated.
    #[arg(long)]
    pub no_punch: bool,

    /// Emulate a slower medium: requests take at least as long as on it.
    #[arg(long, value_enum, value_name = "KIND")]
    pub media: Option<MediaKind>,

    /// A vSSD:
    /// name=NAME,socket=PATH,size=SIZE[,agent=PATH[,queues=N]][,block-size=SIZE][,held=SIZE][,quota=SIZE][,reserve=SIZE][,encoding=compact|list-4096][,create=true][,weight=N][,hit-ratio=R].
    /// agent is a socket for the serial port of an agent, which speaks for a guest without a vSSD
    /// driver; the vSSD then has N request queues (default: 1), one for each virtual processor. held
    /// is the size that a new vSSD starts with. weight and hit-ratio are for --arbiter. A guest
    /// without a vSSD driver needs the full size: omit held for it.
    #[arg(long = "vssd", value_name = "SPEC")]
    #[serde(rename = "vssd")]
    pub vssds: Vec<VssdSpec>,

    /// Divide the pool among the vSSDs, again in each period:
    /// policy=NAME[,period=TIME][,pick=guest|PICK]; off by default. Quotas are limits, and
    /// reservations are kept.
    #[arg(long, value_name = "SPEC")]
    pub arbiter: Option<ArbiterSpec>,

    /// Socket for vssdctl.
    #[arg(long, value_name = "SOCKET")]
    pub control: Option<PathBuf>,

    /// Address for Prometheus metrics, e.g. 127.0.0.1:9100; loopback only.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics: Option<SocketAddr>,

    /// Log level: error, warn, info or debug; default: info.
    #[arg(long)]
    pub log: Option<String>,

    /// Print a completion script for a shell.
    #[arg(long, value_name = "SHELL", hide = true, exclusive = true)]
    #[serde(skip)]
    pub completions: Option<Shell>,
}

impl Args {
    /// These options, completed from the configuration file.
    fn with_config(mut self) -> Result<Self> {
        let Some(path) = &self.config else {
            return Ok(self);
        };
        let text = fs::read_to_string(path)
            .with_context(|| format!("read the configuration {}", path.display()))?;
        let config: Self =
            toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        self.backing = self.backing.or(config.backing);
        self.create |= config.create;
        self.size = self.size.or(config.size);
        self.overcommit = self.overcommit.or(config.overcommit);
        self.group = self.group.or(config.group);
        self.mode = self.mode.or(config.mode);
        self.io = self.io.or(config.io);
        self.buffered |= config.buffered;
        self.no_poll |= config.no_poll;
        self.no_punch |= config.no_punch;
        self.media = self.media.or(config.media);
        self.vssds.splice(0..0, config.vssds);
        self.arbiter = self.arbiter.or(config.arbiter);
        self.control = self.control.or(config.control);
        self.metrics = self.metrics.or(config.metrics);
        self.log = self.log.or(config.log);
        Ok(self)
    }

    /// The permissions of created files and sockets.
    fn permissions(&self) -> FilePermissions {
        FilePermissions::new(self.mode, self.group)
    }

    /// The vSSDs, created if missing where that is requested. A pool in memory has none at first.
    fn specs(&self, kept_in: &BackingSpec) -> Vec<VssdSpec> {
        let create = self.create || !matches!(kept_in, BackingSpec::File(_));
        let specs = self.vssds.iter().cloned();
        specs
            .map(|spec| VssdSpec {
                // An explicit `create` in a description takes precedence.
                create: Some(spec.create.unwrap_or(create)),
                ..spec
            })
            .collect()
    }

    /// Warnings about options for a new pool that an existing pool does not match.
    fn ignored(&self, pool: &Pool) -> Vec<String> {
        let usage = pool.usage();
        let have = ByteSize(u64::from(usage.physical_blocks) * u64::from(pool.block_size()));
        let limit =
            |Overcommit(permille)| u64::from(usage.physical_blocks) * u64::from(permille) / 1000;
        let size = self.size.filter(|size| {
            let physical_blocks = size.0 / u64::from(pool.block_size());
            physical_blocks != u64::from(usage.physical_blocks)
        });
        let overcommit = self
            .overcommit
            .filter(|factor| limit(*factor) != usage.limit);
        let size =
            size.map(|size| format!("--size {size} is for a new pool only: this one has {have}"));
        let overcommit = overcommit.map(|factor| {
            let limit = ByteSize(usage.limit * u64::from(pool.block_size()));
            format!(
                "--overcommit {factor} is for a new pool only: this one of {have} may commit {limit}"
            )
        });
        size.into_iter().chain(overcommit).collect()
    }

    /// The shape of a new pool for these vSSDs.
    fn shape(&self, size: Option<ByteSize>) -> Result<Shape> {
        let block_size = self.vssds.first().map_or(4096, |v| v.geometry.block_size());
        let capacities = self.vssds.iter().map(|v| v.geometry.capacity_bytes());
        let need = capacities.fold(0u64, u64::saturating_add);
        let size = size.unwrap_or(ByteSize(need));
        let physical_blocks = size.0 / u64::from(block_size);
        Ok(Shape {
            block_size,
            physical_blocks: u32::try_from(physical_blocks)
                .ok()
                .filter(|physical_blocks| *physical_blocks > 0)
                .with_context(|| {
                    format!("a pool of {size} is not possible: set its size with --size")
                })?,
            overcommit_permille: self.overcommit.unwrap_or(Overcommit::NONE).0,
        })
    }
}

fn volatile(backing: Arc<dyn Backing>, shape: Shape) -> Arc<Pool> {
    let Shape {
        block_size,
        overcommit_permille,
        ..
    } = shape;
    Arc::new(Pool::volatile(backing, block_size, overcommit_permille))
}

/// Opens the pool that `args` name. A pool that this creates is removed again unless it is kept.
fn open_pool(args: &Args, kept_in: &BackingSpec) -> Result<(Arc<Pool>, Option<Made>)> {
    let engine = args.io.unwrap_or_default();
    let path = match kept_in {
        BackingSpec::File(path) => path,
        BackingSpec::Memory(size) => {
            let shape = args.shape(size.or(args.size))?;
            let len = shape.data_len();
            let backing = MemoryBacking::new(len)
                .with_context(|| format!("take {} of memory", ByteSize(len)))?;
            return Ok((volatile(Arc::new(backing), shape), None));
        }
        BackingSpec::Null(size) => {
            let shape = args.shape(size.or(args.size))?;
            let len = shape.data_len();
            return Ok((volatile(Arc::new(NullBacking { len }), shape), None));
        }
    };
    let boot = BootId::current().context("read the boot id of this machine")?;
    let options = FileOptions {
        create: args.create.then(|| args.permissions()),
        direct: !args.buffered,
    };
    let file = PoolFile::open(path, options)?;
    if args.create && !file.has_pool()? {
        let new = NewPool {
            shape: args.shape(args.size)?,
            direct: options.direct,
            force: false,
        };
        let say = |text: &str| tracing::info!("{text}");
        let make = |backing| Ok(Pool::create(backing, new.shape, engine, boot)?);
        let (pool, _, made) = file.make(new, say, make)?;
        return Ok((pool, Some(made)));
    }
    let describe = || format!("open the pool {}", path.display());
    let shape = file.shape(options.direct).with_context(describe)?;
    let backing = file.into_backing();
    warn_of_size_limit(&backing, shape.backing_len());
    let pool = Pool::open(Arc::new(backing), engine, boot).with_context(describe)?;
    Ok((pool, None))
}

fn ensure_distinct(vssds: &[VssdSpec]) -> Result<()> {
    let mut names: Vec<_> = vssds.iter().map(|spec| &spec.name).collect();
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("two vSSDs are called {}: give each its own name", pair[0]);
    }
    Ok(())
}

/// Makes an open pool what the options say, as far as they are not for a new pool only.
fn configure(pool: &Arc<Pool>, args: &Args) -> Result<()> {
    for warning in args.ignored(pool) {
        tracing::warn!("{warning}");
    }
    if let Some(kind) = args.media {
        pool.emulate(kind)?;
    }
    // It is better refused here than when a guest connects.
    drop(pool.engine().with_context(|| {
        let engine = args.io.unwrap_or_default();
        format!("--io {engine} is not available here: choose another engine with --io")
    })?);
    if !args.no_punch {
        pool.punch_holes()
            .context("start the thread that punches holes")?;
    }
    Ok(())
}

/// Opens everything and serves until a signal or a client ends it.
///
/// Prints `ready` on standard output once all sockets are served, and which vSSDs are new.
///
/// # Errors
/// One sentence on what is wrong and what to do.
pub fn run(args: &Args) -> Result<()> {
    if let Some(shell) = args.completions {
        return Ok(print_completions(Args::command(), shell)?);
    }
    let args = args.clone().with_config()?;
    let log = logging::start(args.log.as_deref().unwrap_or("info"))?;
    survive_size_limits()?;
    let Some(kept_in) = &args.backing else {
        bail!("--backing FILE is missing: the file or device that holds the pool");
    };
    let Some(control) = &args.control else {
        bail!("--control SOCKET is missing: the socket for vssdctl");
    };
    watch_panics();
    // A lower limit serves fewer vSSDs, which is checked next.
    if let Err(error) = descriptors::raise_limit() {
        tracing::warn!("{error:#}");
    }
    descriptors::ensure_enough(args.vssds.iter().map(|spec| &spec.transport))?;
    ensure_distinct(&args.vssds)?;
    survive_faults().context("handle faults in guest memory")?;
    let end = End::watch().context("watch for signals")?;

    let context = Context {
        notifier: Arc::new(Notifier::default()),
        clock: Clock::monotonic(),
    };
    // Everything that can fail without the pool comes before the pool is touched.
    let sockets = Sockets {
        control: control.clone(),
        permissions: args.permissions(),
    };
    let vssd_sockets = bind_all(&args.vssds, &sockets)?;
    check(control)?;
    let metrics = args.metrics.map(metrics::bind).transpose()?;
    let (pool, made) = open_pool(&args, kept_in)?;
    let asked = end.clone();
    pool.on_loss(move || {
        asked.ask();
    });
    // After the pool, so that a second start reports that the pool is in use.
    let control = Socket::bind(control, sockets.permissions)?;
    configure(&pool, &args)?;
    let polling = if args.no_poll {
        Polling::at_most(0)
    } else {
        Polling::on_half_of_the_processors()
    };
    let backend = Arc::new(Backend::new(pool.clone(), context, polling, sockets));
    if let Some(spec) = args.arbiter {
        backend.divide_by(Arc::new(Service::new(spec)?));
    }
    let specs = args.specs(kept_in);
    let served = backend.start(&specs, vssd_sockets).and_then(|added| {
        if let Some(made) = made {
            made.keep();
        }
        let ready = ready(&specs, &added);
        let served = serve(&backend, kept_in, control, metrics, &ready, &end);
        served.inspect_err(|_| backend.forget_new(&specs, &added))
    });
    tracing::info!("shutting down: stopping vSSDs, then closing the pool");
    backend.stop();
    served?;
    pool.close().context("close the pool")?;
    drop(log);
    process::exit(0);
}

/// The line that is printed once everything listens. A mistyped name shows as a new vSSD.
fn ready(specs: &[VssdSpec], added: &[Added]) -> String {
    let new = specs.iter().zip(added).filter(|(_, added)| added.new);
    let names: Vec<_> = new.map(|(spec, _)| spec.name.as_str()).collect();
    if names.is_empty() {
        "ready".to_owned()
    } else {
        format!("ready (new: {})", names.join(", "))
    }
}

fn serve(
    backend: &Arc<Backend>,
    kept_in: &BackingSpec,
    control: Socket,
    metrics: Option<TcpListener>,
    ready: &str,
    end: &Arc<End>,
) -> Result<()> {
    let (listener, _file) = control.into_parts();
    let asked = end.clone();
    let control = Arc::new(Control {
        backing: kept_in.to_string(),
        backend: backend.clone(),
        shutdown: Box::new(move || {
            asked.ask();
        }),
    });
    server::spawn(control, listener)?;
    if let Some(listener) = metrics {
        let bound = listener
            .local_addr()
            .context("read the address of the metrics")?;
        metrics::serve(backend.clone(), listener)?;
        tracing::info!("metrics are at http://{bound}/metrics");
    }
    spawn_clock(backend.clone())?;
    if let Some(balancer) = backend.balancer() {
        balancer.spawn(backend).context("start the arbiter")?;
    }
    // The backend serves even if the line cannot be printed.
    if let Err(error) = print_line(ready) {
        tracing::warn!("{:#}", anyhow::Error::from(error));
    }
    end.wait();
    Ok(())
}

/// Shutdown of the backend, requested by a signal or a client.
#[derive(Default)]
struct End {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl End {
    /// Handles signals from now on. The first requests shutdown; one that arrives after that exits
    /// at once.
    fn watch() -> std::io::Result<Arc<Self>> {
        let end = Arc::new(Self::default());
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let asked = end.clone();
        vital("signals", move || {
            for signal in signals.forever() {
                if asked.ask() {
                    let name = signal_name(signal).unwrap_or("a signal");
                    tracing::warn!("{name} during shutdown: exiting at once");
                    socket::remove_all();
                    logging::finish();
                    process::exit(128 + signal);
                }
            }
        })?;
        Ok(end)
    }

    /// Requests shutdown; true if it was requested before.
    fn ask(&self) -> bool {
        let before = std::mem::replace(&mut *self.asked.lock(), true);
        self.changed.notify_all();
        before
    }

    /// Waits until shutdown is requested.
    fn wait(&self) {
        let mut asked = self.asked.lock();
        self.changed.wait_while(&mut asked, |asked| !*asked);
    }
}

/// The thread that keeps deadlines.
fn spawn_clock(backend: Arc<Backend>) -> Result<()> {
    let keep_time = move || {
        let notifier = backend.context().notifier.clone();
        loop {
            let generation = notifier.generation();
            let next = backend.tick();
            notifier.wait(generation, next.unwrap_or(Duration::from_secs(3600)));
        }
    };
    vital("clock", keep_time).context("start the clock")
}
