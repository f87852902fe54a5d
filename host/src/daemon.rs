//! The backend program: arguments in, sockets open, then wait for the end.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;
use std::str::FromStr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use vhost::vhost_user::Listener;
use vssd::block_set::BlockSet;
use vssd::device::Device;
use vssd::units::Geometry;

use crate::clock::Clock;
use crate::control::protocol::EncodingName;
use crate::control::server::{self, Control};
use crate::medium::FileMedium;
use crate::ownership;
use crate::size::ByteSize;
use crate::store::Store;
use crate::vssd::{Bell, Vssd};
use crate::worker;

/// Serves resizable virtual SSDs to QEMU over vhost-user.
///
/// Each --vssd is one device for one VM. They lie one after the other on the
/// backing, each with room for its full size; what a guest gives up is freed.
///
/// Example:
///   vssd-host --backing ssd.img --create --control ctl.sock \
///     --vssd name=vm1,socket=vm1.sock,size=1GiB
#[derive(Clone, Debug, Parser)]
#[command(name = "vssd-host", version, verbatim_doc_comment)]
pub struct Args {
    /// File or block device that holds the blocks.
    #[arg(long, value_name = "FILE")]
    pub backing: PathBuf,

    /// Make the backing file, or extend it, as needed (sparsely).
    #[arg(long)]
    pub create: bool,

    /// Folder of the ownership logs; default: the folder of the backing file.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// A vSSD: name=NAME,socket=PATH,size=SIZE[,block-size=SIZE][,held=SIZE][,encoding=compact|list-4096].
    #[arg(long = "vssd", value_name = "SPEC", required = true)]
    pub vssds: Vec<VssdSpec>,

    /// Socket for vssdctl.
    #[arg(long, value_name = "SOCKET")]
    pub control: PathBuf,

    /// What to log: error, warn, info, debug.
    #[arg(long, default_value = "info")]
    pub log: String,
}

/// A vSSD as the command line describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VssdSpec {
    /// What people call it.
    pub name: String,
    /// Where its frontend connects.
    pub socket: PathBuf,
    /// Its shape.
    pub geometry: Geometry,
    /// Blocks that a new one starts with.
    pub held: u32,
    /// How block sets travel.
    pub encoding: EncodingName,
}

impl FromStr for VssdSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (mut name, mut socket, mut size, mut held) = (None, None, None, None);
        let mut block_size = ByteSize(4096);
        let mut encoding = EncodingName::Compact;
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .with_context(|| format!("`{part}` is not key=value"))?;
            match key {
                "name" => name = Some(value.to_owned()),
                "socket" => socket = Some(PathBuf::from(value)),
                "size" => size = Some(value.parse::<ByteSize>()?),
                "block-size" => block_size = value.parse()?,
                "held" => held = Some(value.parse::<ByteSize>()?),
                "encoding" => encoding = value.parse().map_err(anyhow::Error::msg)?,
                _ => bail!("`{key}` is not one of name, socket, size, block-size, held, encoding"),
            }
        }
        let name = name.context("a vSSD needs name=NAME")?;
        let simple = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        ensure!(
            !name.is_empty()
                && name.len() <= 20
                && name.chars().all(simple)
                && !name.starts_with('.'),
            "the name `{name}` is not 1 to 20 letters, digits, dots, dashes or underscores"
        );
        let size = size.context("a vSSD needs size=SIZE, for example size=1GiB")?;
        let block_bytes = u32::try_from(block_size.0).unwrap_or(u32::MAX);
        let blocks = size.0.checked_div(u64::from(block_bytes)).unwrap_or(0);
        let geometry = Geometry::new(block_bytes, blocks)?;
        ensure!(
            geometry.capacity_bytes() == size.0,
            "size={size} is no whole number of blocks of {block_size}"
        );
        let held = held.unwrap_or(size);
        ensure!(
            held <= size && held.0.is_multiple_of(block_size.0),
            "held={held} is not a number of blocks of {block_size} up to size={size}"
        );
        Ok(Self {
            name,
            socket: socket.context("a vSSD needs socket=PATH")?,
            geometry,
            held: (held.0 / block_size.0) as u32,
            encoding,
        })
    }
}

/// Sockets that are removed when this is dropped.
struct Sockets(Vec<PathBuf>);

impl Drop for Sockets {
    fn drop(&mut self) {
        for path in &self.0 {
            // Gone already is as good.
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes sure that nobody listens at `path`, and removes what a backend that
/// died left there.
fn claim_socket(path: &Path) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    ensure!(
        metadata.file_type().is_socket(),
        "{} exists and is no socket: choose another path",
        path.display()
    );
    ensure!(
        UnixStream::connect(path).is_err(),
        "another program listens at {}: stop it, or choose another path",
        path.display()
    );
    fs::remove_file(path).with_context(|| format!("remove the stale socket {}", path.display()))
}

/// Where the ownership logs go.
fn state_folder(args: &Args) -> Result<PathBuf> {
    if let Some(folder) = &args.state {
        return Ok(folder.clone());
    }
    let is_device = fs::metadata(&args.backing).is_ok_and(|m| m.file_type().is_block_device());
    ensure!(
        !is_device,
        "{} is a block device: say with --state DIR where its ownership logs go",
        args.backing.display()
    );
    Ok(args.backing.parent().unwrap_or(Path::new("")).to_owned())
}

/// Makes sure that no vSSD which is not among `names` has its place in the
/// first `need` bytes of the backing: its blocks must not become another's.
fn refuse_strangers(folder: &Path, stem: &str, names: &[&String], need: u64) -> Result<()> {
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let entries = fs::read_dir(folder)
        .with_context(|| format!("look for ownership logs in {}", folder.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("look for ownership logs in {}", folder.display()))?
            .path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = file
            .strip_prefix(stem)
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|rest| rest.strip_suffix(".owners"));
        let Some(name) = name.filter(|name| names.iter().all(|known| known != name)) else {
            continue;
        };
        if let Some(place) = ownership::place(&path)
            && place.start < need
        {
            bail!(
                "{} has the blocks of another vSSD, {name}, there: name all vSSDs in the order they \
                 had, or remove that file to give its blocks away",
                path.display()
            );
        }
    }
    Ok(())
}

/// Opens everything and serves until a signal or a client ends it.
///
/// Prints `ready` on standard output once all sockets listen.
pub fn run(args: &Args) -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(&args.log)
        .with_writer(io::stderr)
        .with_ansi(false)
        .try_init()
        .map_err(|error| anyhow::anyhow!("start logging: {error}"))?;
    let mut names: Vec<_> = args.vssds.iter().map(|spec| &spec.name).collect();
    names.sort();
    names.dedup();
    ensure!(
        names.len() == args.vssds.len(),
        "two vSSDs have the same name"
    );
    // Blocked before the first thread starts, so that only the thread below
    // hears of them.
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("watch for signals")?;

    let need = args.vssds.iter().try_fold(0u64, |sum, spec| {
        sum.checked_add(spec.geometry.capacity_bytes())
    });
    let need = need.context("the vSSDs together are larger than any file")?;
    let folder = state_folder(args)?;
    let medium = Arc::new(FileMedium::open(&args.backing, need, args.create)?);
    let bell = Arc::new(Bell::default());
    let stem = args
        .backing
        .file_name()
        .map_or_else(|| "backing".into(), |name| name.to_string_lossy());

    let mut sockets = Sockets(Vec::new());
    let mut vssds = Vec::new();
    let mut offset = 0;
    refuse_strangers(&folder, &stem, &names, need)?;
    for spec in &args.vssds {
        let log = folder.join(format!("{stem}.{}.owners", spec.name));
        let mut fresh = BlockSet::empty(spec.geometry.capacity());
        fresh.insert_range(0, spec.held);
        let store = Store::open(medium.clone(), spec.geometry, offset, &log, &fresh)
            .with_context(|| format!("open vSSD {}", spec.name))?;
        offset += spec.geometry.capacity_bytes();
        let device = Device::new(
            spec.geometry,
            store.held().clone(),
            spec.encoding.into(),
            session_seed(),
        );
        let vssd = Vssd::new(
            spec.name.clone(),
            spec.socket.clone(),
            device,
            store,
            session_seed(),
            bell.clone(),
            Clock::monotonic(),
        )?;
        claim_socket(&spec.socket)?;
        let listener = Listener::new(&spec.socket, false)
            .with_context(|| format!("listen at {}", spec.socket.display()))?;
        sockets.0.push(spec.socket.clone());
        let vssd = Arc::new(vssd);
        worker::spawn(vssd.clone(), listener)?;
        vssds.push(vssd);
    }
    claim_socket(&args.control)?;
    let listener = UnixListener::bind(&args.control)
        .with_context(|| format!("listen at {}", args.control.display()))?;
    sockets.0.push(args.control.clone());

    let handle = signals.handle();
    let control = Arc::new(Control {
        backing: args.backing.display().to_string(),
        vssds: vssds.clone(),
        bell: bell.clone(),
        shutdown: Box::new(move || handle.close()),
    });
    server::spawn(control, listener)?;
    spawn_clock(vssds, bell)?;
    println!("ready");
    io::stdout()
        .flush()
        .context("say that the backend is ready")?;

    // A signal, or the handle closed by a client that asked for the end.
    signals.forever().next();
    drop(sockets);
    // The threads that serve frontends block in the kernel for as long as
    // these live; what they acknowledged is with the kernel already.
    process::exit(0);
}

/// The thread that keeps deadlines.
fn spawn_clock(vssds: Vec<Arc<Vssd>>, bell: Arc<Bell>) -> Result<()> {
    thread::Builder::new()
        .name("clock".to_owned())
        .spawn(move || {
            loop {
                let rings = bell.rings();
                let next = vssds.iter().filter_map(|vssd| vssd.tick()).min();
                bell.wait(rings, next.unwrap_or(Duration::from_secs(3600)));
            }
        })
        .context("start the clock")?;
    Ok(())
}

/// A number that differs from that of an earlier backend: the time.
fn session_seed() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_say_what_is_wrong_with_them() {
        let spec: VssdSpec = "name=vm1,socket=a.sock,size=1GiB,held=512MiB"
            .parse()
            .unwrap();
        assert_eq!((spec.geometry.capacity(), spec.held), (1 << 18, 1 << 17));
        for (text, word) in [
            ("name=vm1", "size"),
            ("name=a b,socket=s,size=1MiB", "a b"),
            ("name=a,socket=s,size=5KiB", "5KiB"),
            ("name=a,socket=s,size=1MiB,block-size=1000B", "1000"),
            ("name=a,socket=s,size=1MiB,held=2MiB", "2MiB"),
            ("name=a,socket=s,size=1MiB,color=red", "color"),
            ("vm1", "vm1"),
        ] {
            let error = text.parse::<VssdSpec>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
