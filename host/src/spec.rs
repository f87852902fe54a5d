//! vSSDs and backings as command lines and configuration files describe them.
//!
//! The list `key=value,…` is split here: the one crate for it, serde-keyvalue, has had a single
//! release (0.1.0).

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Deserializer};
use vssd::units::Geometry;

use crate::arbiter::vm::MAX_WEIGHT;
use crate::balancer::Share;
use crate::control::protocol::EncodingName;
use crate::size::ByteSize;
use crate::transport::{MAX_REQUEST_QUEUES, Transport};

/// The storage of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackingSpec {
    /// A file or block device.
    File(PathBuf),
    /// The memory of the backend, lost when it ends; of that size, if given.
    Memory(Option<ByteSize>),
    /// Nothing: writes are discarded, reads are undefined. For measuring the cost of the backend
    /// itself.
    Null(Option<ByteSize>),
}

impl FromStr for BackingSpec {
    type Err = crate::size::SizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, size) = match text.split_once(':') {
            Some((kind, size)) => (kind, Some(size)),
            None => (text, None),
        };
        match kind {
            "memory" => Ok(Self::Memory(size.map(str::parse).transpose()?)),
            "null" => Ok(Self::Null(size.map(str::parse).transpose()?)),
            _ => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for BackingSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Memory(_) => f.write_str("memory"),
            Self::Null(_) => f.write_str("null"),
        }
    }
}

/// How much of a pool may be committed, in thousandths of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overcommit(pub u32);

impl Overcommit {
    /// No more than there is.
    pub const NONE: Self = Self(1000);
}

impl FromStr for Overcommit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let factor: f64 = text.parse().unwrap_or(f64::NAN);
        match factor {
            1.0..=1000.0 => Ok(Self((factor * 1000.0).round() as u32)),
            _ => Err(format!(
                "invalid factor `{text}`; expected 1 to 1000, e.g. 1.5"
            )),
        }
    }
}

impl fmt::Display for Overcommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1000.0)
    }
}

/// Parses a value from the text that the command line also takes.
pub fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// As [`from_text`], for an optional value.
pub fn from_some_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    from_text(deserializer).map(Some)
}

/// A vSSD as it is described.
#[derive(Clone, Debug, PartialEq)]
pub struct VssdSpec {
    /// Its name.
    pub name: String,
    /// Where its frontend connects.
    pub socket: PathBuf,
    /// How it and its guest talk about resizes.
    pub transport: Transport,
    /// Its shape.
    pub geometry: Geometry,
    /// Whether to create it if the pool does not have it.
    pub create: Option<bool>,
    /// Blocks that a new vSSD starts with; `None` is all that it may hold.
    pub held: Option<u32>,
    /// Blocks that it may hold; `None` leaves that as it is.
    pub quota: Option<u32>,
    /// Blocks that are kept for it; `None` leaves that as it is.
    pub reservation: Option<u32>,
    /// How block sets travel.
    pub encoding: EncodingName,
    /// What the arbiter is to give it.
    pub share: Share,
}

impl VssdSpec {
    /// Blocks that a new vSSD starts with.
    pub fn held_when_new(&self) -> u32 {
        let most = self.quota.unwrap_or(self.geometry.capacity());
        self.held.unwrap_or(most)
    }
}

/// The keys of a description.
const KEYS: [&str; 13] = [
    "name",
    "socket",
    "agent",
    "queues",
    "size",
    "block-size",
    "held",
    "quota",
    "reserve",
    "encoding",
    "create",
    "weight",
    "hit-ratio",
];

/// The parts of a description, not checked yet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Parts {
    name: Option<String>,
    socket: Option<PathBuf>,
    agent: Option<PathBuf>,
    queues: Option<u16>,
    #[serde(deserialize_with = "from_some_text")]
    size: Option<ByteSize>,
    #[serde(deserialize_with = "from_some_text")]
    block_size: Option<ByteSize>,
    #[serde(deserialize_with = "from_some_text")]
    held: Option<ByteSize>,
    #[serde(deserialize_with = "from_some_text")]
    quota: Option<ByteSize>,
    #[serde(deserialize_with = "from_some_text")]
    reserve: Option<ByteSize>,
    encoding: Option<EncodingName>,
    create: Option<bool>,
    weight: Option<u32>,
    hit_ratio: Option<f64>,
}

impl Parts {
    fn check(self) -> Result<VssdSpec> {
        let name = self.name.context("a vSSD needs name=NAME")?;
        ensure_some("name", name.as_ref())?;
        let simple = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        ensure!(
            name.len() <= 20 && name.chars().all(simple) && !name.starts_with('.'),
            "invalid name `{name}`; expected 1 to 20 letters, digits, dots, dashes or underscores"
        );
        let size = self
            .size
            .context("a vSSD needs size=SIZE, for example size=1GiB")?;
        let block_size = self.block_size.unwrap_or(ByteSize(4096));
        let block_bytes = u32::try_from(block_size.0).unwrap_or(u32::MAX);
        let blocks = size.0.checked_div(u64::from(block_bytes)).unwrap_or(0);
        let geometry = Geometry::new(block_bytes, blocks)?;
        ensure!(
            geometry.capacity_bytes() == size.0,
            "size={size} is not a whole number of blocks of {block_size}"
        );
        let socket = self.socket.context("a vSSD needs socket=PATH")?;
        ensure_some("socket", socket.as_ref())?;
        let transport = transport(self.agent, self.queues)?;
        let in_blocks = |what: &str, amount: Option<ByteSize>| {
            let Some(amount) = amount else {
                return Ok(None);
            };
            ensure!(
                amount <= size && amount.0.is_multiple_of(block_size.0),
                "invalid {what}={amount}; expected whole blocks of {block_size}, at most \
                 size={size}"
            );
            Ok(Some((amount.0 / block_size.0) as u32))
        };
        Ok(VssdSpec {
            name,
            socket,
            transport,
            geometry,
            create: self.create,
            held: in_blocks("held", self.held)?,
            quota: in_blocks("quota", self.quota)?,
            reservation: in_blocks("reserve", self.reserve)?,
            encoding: self.encoding.unwrap_or(EncodingName::Compact),
            share: Share::new(self.weight, self.hit_ratio)?,
        })
    }
}

/// How a vSSD with these keys and its guest talk about resizes.
fn transport(agent: Option<PathBuf>, queues: Option<u16>) -> Result<Transport> {
    let Some(agent) = agent else {
        ensure!(
            queues.is_none(),
            "queues= is for a vSSD with agent=PATH: without an agent the last two of its three \
             queues are for the guest's driver"
        );
        return Ok(Transport::Virtqueues);
    };
    ensure_some("agent", agent.as_ref())?;
    let queues = queues.unwrap_or(1);
    ensure!(
        (1..=MAX_REQUEST_QUEUES).contains(&queues),
        "invalid queues={queues}; expected 1 to {MAX_REQUEST_QUEUES}, e.g. one for each virtual \
         processor"
    );
    Ok(Transport::Stream { agent, queues })
}

/// Makes sure that a key has a value.
fn ensure_some(key: &str, value: &OsStr) -> Result<()> {
    ensure!(!value.is_empty(), "{key}= has no value");
    Ok(())
}

impl FromStr for VssdSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = Parts::default();
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .with_context(|| format!("`{part}` is not key=value"))?;
            let size = || value.parse().with_context(|| format!("invalid {key}"));
            if KEYS.contains(&key) {
                ensure_some(key, value.as_ref())?;
            }
            match key {
                "name" => parts.name = Some(value.to_owned()),
                "socket" => parts.socket = Some(PathBuf::from(value)),
                "agent" => parts.agent = Some(PathBuf::from(value)),
                "queues" => {
                    let queues = value.parse();
                    parts.queues = Some(queues.map_err(|_| {
                        anyhow::anyhow!(
                            "invalid queues={value}; expected 1 to {MAX_REQUEST_QUEUES}"
                        )
                    })?);
                }
                "size" => parts.size = Some(size()?),
                "block-size" => parts.block_size = Some(size()?),
                "held" => parts.held = Some(size()?),
                "quota" => parts.quota = Some(size()?),
                "reserve" => parts.reserve = Some(size()?),
                "encoding" => {
                    let encoding = value.parse().map_err(anyhow::Error::msg);
                    parts.encoding = Some(encoding.context("invalid encoding")?);
                }
                "create" => {
                    let create = value.parse();
                    parts.create = Some(create.map_err(|_| {
                        anyhow::anyhow!("invalid create={value}; expected true or false")
                    })?);
                }
                "weight" => {
                    let weight = value.parse();
                    parts.weight = Some(weight.map_err(|_| {
                        anyhow::anyhow!("invalid weight `{value}`: expected 1 to {MAX_WEIGHT}")
                    })?);
                }
                "hit-ratio" => {
                    let ratio = value.parse();
                    parts.hit_ratio = Some(ratio.map_err(|_| {
                        anyhow::anyhow!("invalid hit-ratio `{value}`: expected 0 to 1")
                    })?);
                }
                _ => bail!("unknown key `{key}`; expected one of {}", KEYS.join(", ")),
            }
        }
        parts.check()
    }
}

impl<'de> Deserialize<'de> for VssdSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = Parts::deserialize(deserializer)?;
        parts.check().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_say_what_is_wrong_with_them() {
        let spec: VssdSpec = "name=vm1,socket=a.sock,size=1GiB,held=512MiB,reserve=4KiB"
            .parse()
            .unwrap();
        assert_eq!(
            (spec.geometry.capacity(), spec.held),
            (1 << 18, Some(1 << 17))
        );
        assert_eq!((spec.quota, spec.reservation), (None, Some(1)));
        assert_eq!(spec.create, None);
        assert_eq!(spec.transport, Transport::Virtqueues);
        for (queues, expected) in [("", 1), (",queues=4", 4), (",queues=64", 64)] {
            let text = format!("name=vm1,socket=a.sock,size=1GiB,agent=b.sock{queues}");
            let agent = PathBuf::from("b.sock");
            let queues = expected;
            assert_eq!(
                text.parse::<VssdSpec>().unwrap().transport,
                Transport::Stream { agent, queues }
            );
        }
        let table = "name = 'vm1'\nsocket = 'a.sock'\nsize = '1GiB'\nagent = 'b.sock'\nqueues = 4";
        let text = "name=vm1,socket=a.sock,size=1GiB,agent=b.sock,queues=4";
        assert_eq!(
            toml::from_str::<VssdSpec>(table).unwrap(),
            text.parse().unwrap()
        );
        let new: VssdSpec = "name=vm1,socket=a.sock,size=1GiB,quota=4KiB,create=true"
            .parse()
            .unwrap();
        assert_eq!((new.create, new.held_when_new()), (Some(true), 1));
        for (text, word) in [
            ("name=vm1", "size"),
            ("name=vm1,size=1MiB", "socket"),
            ("name=a b,socket=s,size=1MiB", "a b"),
            ("name=a,socket=s,size=5KiB", "5KiB"),
            ("name=a,socket=s,size=1MiB,block-size=1000B", "1000"),
            ("name=a,socket=s,size=1MiB,held=2MiB", "2MiB"),
            ("name=a,socket=s,size=1MiB,quota=2MiB", "quota=2MiB"),
            ("name=a,socket=s,size=1MiB,color=red", "color"),
            ("name=a,socket=s,size=1MiB,queues=4", "agent=PATH"),
            ("name=a,socket=s,size=1MiB,agent=", "agent= has no value"),
            ("name=a,socket=s,size=1MiB,agent=b,queues=0", "queues=0"),
            ("name=a,socket=s,size=1MiB,agent=b,queues=65", "1 to 64"),
            ("name=a,socket=s,size=1MiB,agent=b,queues=two", "queues=two"),
            (
                "name=a,socket=s,size=1MiB,weight=0",
                "invalid weight 0: expected 1 to 10000",
            ),
            (
                "name=a,socket=s,size=1MiB,weight=much",
                "invalid weight `much`: expected 1 to 10000",
            ),
            (
                "name=a,socket=s,size=1MiB,hit-ratio=90",
                "invalid hit ratio 90: expected 0 to 1",
            ),
            ("name=a,socket=s,size=1MiB,create=yes", "create=yes"),
            ("vm1", "vm1"),
        ] {
            let error = text.parse::<VssdSpec>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn backings_and_factors_are_read() {
        assert_eq!("memory".parse(), Ok(BackingSpec::Memory(None)));
        let sized = BackingSpec::Memory(Some(ByteSize(1 << 20)));
        assert_eq!("memory:1MiB".parse(), Ok(sized));
        assert_eq!("null".parse(), Ok(BackingSpec::Null(None)));
        assert_eq!(
            "memory.img".parse(),
            Ok(BackingSpec::File("memory.img".into()))
        );
        assert!("memory:much".parse::<BackingSpec>().is_err());
        assert_eq!("1.5".parse(), Ok(Overcommit(1500)));
        assert_eq!(Overcommit(1500).to_string(), "1.5");
        for bad in ["0.5", "x", "nan", "1001"] {
            assert!(bad.parse::<Overcommit>().is_err(), "{bad}");
        }
    }
}
