//! Permissions of the pool files and sockets that the programs create.
//!
//! They do not depend on the umask. What is created is accessible to its owner only, unless
//! `--mode` or `--group` say otherwise, and never to others for a moment in between.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown, fchown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::str::FromStr;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Read and write for the owner.
const PRIVATE: u32 = 0o600;

/// Read and write for owner and group.
const SHARED: u32 = 0o660;

/// Connections that wait to be accepted, as the standard library has it.
const BACKLOG: i32 = 128;

/// Permission bits, written in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(u32);

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let octal = digits.bytes().all(|digit| digit.is_ascii_digit());
        match u32::from_str_radix(digits, 8) {
            // The owner needs both; nothing here is executable.
            Ok(mode) if octal && mode & PRIVATE == PRIVATE && mode & !0o666 == 0 => Ok(Self(mode)),
            _ => Err(format!(
                "invalid mode `{text}`; expected octal digits from 600 to 666, e.g. 660"
            )),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// A group of the system, written as its name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(u32);

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self(number));
        }
        match nix::unistd::Group::from_name(text) {
            Ok(Some(group)) => Ok(Self(group.gid.as_raw())),
            Ok(None) => Err(format!("unknown group `{text}`")),
            Err(error) => Err(format!("look up the group `{text}`: {error}")),
        }
    }
}

/// Mode and group of created files and sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePermissions {
    mode: u32,
    group: Option<u32>,
}

impl Default for FilePermissions {
    fn default() -> Self {
        Self::new(None, None)
    }
}

impl FilePermissions {
    /// As given by options. A group may read and write, unless the mode says otherwise.
    pub fn new(mode: Option<Mode>, group: Option<Group>) -> Self {
        let default = match group {
            Some(_) => SHARED,
            None => PRIVATE,
        };
        Self {
            mode: mode.map_or(default, |mode| mode.0),
            group: group.map(|group| group.0),
        }
    }

    /// Applies them to a file that was just created with mode 0600.
    ///
    /// # Errors
    /// When this process may not set the group.
    pub fn apply(&self, file: &File) -> io::Result<()> {
        if self.group.is_some() {
            fchown(file, None, self.group).map_err(|error| self.explain(error))?;
        }
        file.set_permissions(Permissions::from_mode(self.mode))
    }

    /// Listens at `path`, which must not exist. Users without permission cannot connect at any
    /// time.
    ///
    /// # Errors
    /// When the system refuses; then nothing is left behind.
    pub fn bind(&self, path: &Path) -> io::Result<UnixListener> {
        let address = SocketAddrUnix::new(path)?;
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Linux gives the file the mode of the socket, less the umask.
        rustix::fs::fchmod(socket.as_fd(), PRIVATE.into())?;
        rustix::net::bind(&socket, &address)?;
        let opened = self
            .open_up(path)
            .and_then(|()| Ok(rustix::net::listen(&socket, BACKLOG)?));
        if let Err(error) = opened {
            // An error of the removal would hide the cause.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(UnixListener::from(socket))
    }

    fn open_up(&self, path: &Path) -> io::Result<()> {
        if self.group.is_some() {
            chown(path, None, self.group).map_err(|error| self.explain(error))?;
        }
        fs::set_permissions(path, Permissions::from_mode(self.mode))
    }

    fn explain(&self, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return error;
        }
        let group = self.group.unwrap_or_default();
        io::Error::new(
            error.kind(),
            format!("--group: this user is not root and not a member of group {group}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn modes_and_groups_are_read() {
        for (text, mode) in [("600", 0o600), ("0660", 0o660), ("0o666", 0o666)] {
            assert_eq!(text.parse(), Ok(Mode(mode)));
        }
        for bad in ["", "0", "rw", "+660", "660 ", "400", "777", "4660", "0o99"] {
            let error = bad.parse::<Mode>().unwrap_err();
            assert!(error.contains(&format!("`{bad}`")), "{error}");
        }
        assert_eq!("0".parse(), Ok(Group(0)));
        assert_eq!("root".parse(), Ok(Group(0)));
        let error = "no-such-group".parse::<Group>().unwrap_err();
        assert!(error.contains("`no-such-group`"), "{error}");
        let shared = FilePermissions::new(None, Some(Group(5)));
        assert_eq!((shared.mode, shared.group), (0o660, Some(5)));
        assert_eq!(FilePermissions::default().mode, 0o600);
    }

    #[test]
    fn files_and_sockets_belong_to_their_maker_alone() {
        let dir = tempfile::tempdir().unwrap();
        let own = Group(fs::metadata(dir.path()).unwrap().gid());
        for (permissions, expected) in [
            (FilePermissions::default(), 0o600),
            (FilePermissions::new(None, Some(own)), 0o660),
            (FilePermissions::new("666".parse().ok(), None), 0o666),
        ] {
            let path = dir.path().join(format!("{expected:o}"));
            let file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .unwrap();
            permissions.apply(&file).unwrap();
            assert_eq!(mode(&path), expected);
            let socket = dir.path().join(format!("{expected:o}.sock"));
            let listener = permissions.bind(&socket).unwrap();
            assert_eq!(mode(&socket), expected);
            UnixStream::connect(&socket).unwrap();
            listener.accept().unwrap();
        }
    }

    /// A group that files made in `folder` do not have by themselves, if this user may give them
    /// to one: root to any, others to those that they are a member of.
    fn other_group(folder: &Path) -> Option<Group> {
        let probe = folder.join("probe");
        let own = File::create(&probe).unwrap().metadata().unwrap().gid();
        let groups = nix::unistd::getgroups().unwrap();
        let mut groups = groups.iter().map(|group| group.as_raw()).chain([own + 1]);
        groups
            .find(|group| *group != own && chown(&probe, None, Some(*group)).is_ok())
            .map(Group)
    }

    #[test]
    fn files_and_sockets_belong_to_the_group_that_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (path, socket) = (dir.path().join("file"), dir.path().join("socket"));
        let file = File::create(&path).unwrap();
        let Some(group) = other_group(dir.path()) else {
            // Not even to this one, of which it is not a member; and nothing is left behind.
            let access =
                FilePermissions::new(None, Some(Group(file.metadata().unwrap().gid() + 1)));
            access.apply(&file).unwrap_err();
            access.bind(&socket).unwrap_err();
            assert!(!socket.exists());
            return;
        };
        let access = FilePermissions::new(None, Some(group));
        access.apply(&file).unwrap();
        let _listener = access.bind(&socket).unwrap();
        for path in [path, socket] {
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!(Group(metadata.gid()), group, "{}", path.display());
            assert_eq!(mode(&path), 0o660, "{}", path.display());
        }
    }

    #[test]
    fn what_cannot_be_bound_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _listener = FilePermissions::default().bind(&path).unwrap();
        let error = FilePermissions::default().bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists(), "the first one's socket was removed");
        let long = dir.path().join("x".repeat(108));
        assert!(FilePermissions::default().bind(&long).is_err());
    }
}
