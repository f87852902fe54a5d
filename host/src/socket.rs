//! The sockets that a backend listens at, as files.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::permissions::FilePermissions;
use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;

/// Bytes of a socket's path at most: `sun_path` has 108, one of them for the end.
const MAX_PATH: usize = 107;

/// A listening socket; its file is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    file: SocketFile,
}

/// The file of a socket, removed when this is dropped.
#[derive(Debug)]
pub struct SocketFile(Named);

/// Files of sockets that are not removed yet, for an exit that drops nothing.
static FILES: Mutex<Vec<Named>> = Mutex::new(Vec::new());

/// A file by its path and inode: a backend that starts while this one ends may have replaced it. As
/// long as this one's socket is open, no other file gets that inode.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    path: PathBuf,
    inode: (u64, u64),
}

impl Named {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            inode: (metadata.dev(), metadata.ino()),
        })
    }

    fn remove(&self) {
        if Self::of(&self.path).is_ok_and(|there| there == *self) {
            // It may be gone already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let named = Named::of(path)?;
        FILES.lock().push(named.clone());
        Ok(Self(named))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.0.remove();
        FILES.lock().retain(|other| *other != self.0);
    }
}

/// Removes the files of all sockets, before an exit that drops nothing.
pub fn remove_all() {
    FILES.lock().drain(..).for_each(|file| file.remove());
}

impl Socket {
    /// Listens at `path`, and replaces the file that a dead backend left there.
    ///
    /// # Errors
    /// When the path cannot be that of a socket, a program listens there, or something else
    /// is there. Nothing is left behind then.
    pub fn bind(path: &Path, permissions: FilePermissions) -> Result<Self> {
        check(path)?;
        claim(path)?;
        let bound = permissions.bind(path);
        let bound = bound.and_then(|listener| Ok((listener, SocketFile::new(path)?)));
        let (listener, file) = bound.with_context(|| format!("listen at {}", path.display()))?;
        Ok(Self { listener, file })
    }

    /// The socket, and the guard that removes its file.
    pub fn into_parts(self) -> (UnixListener, SocketFile) {
        (self.listener, self.file)
    }
}

/// Whether two paths are of the same file, which need not exist.
pub fn is_same(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| {
        let folder = folder_of(path).canonicalize().ok()?;
        Some(folder.join(path.file_name()?))
    };
    one == other || resolved(one).is_some_and(|one| resolved(other) == Some(one))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes sure that a socket can have that path, with better errors than EINVAL and ENOENT.
///
/// # Errors
/// When it is too long, or its folder is not there.
pub fn check(path: &Path) -> Result<()> {
    let len = path.as_os_str().as_bytes().len();
    ensure!(
        len <= MAX_PATH,
        "a socket path has at most {MAX_PATH} bytes, but {} has {len}: use a shorter one, \
         e.g. relative to the working directory of the backend",
        path.display()
    );
    let folder = folder_of(path);
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => bail!(
            "{} is not a directory: cannot create the socket {}",
            folder.display(),
            path.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "the directory {} does not exist: cannot create the socket {}",
            folder.display(),
            path.display()
        ),
        Err(error) => Err(error).with_context(|| format!("look at {}", folder.display())),
    }
}

/// Makes sure that nothing listens at `path`, and removes the file that a dead backend left there.
fn claim(path: &Path) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    ensure!(
        metadata.file_type().is_socket(),
        "{} exists and is not a socket: choose another path",
        path.display()
    );
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Ok(_) => bail!(
            "another program listens at {}: stop it, or choose another path",
            path.display()
        ),
        // It may be that of another user.
        Err(error) => {
            return Err(error).with_context(|| format!("connect to {}", path.display()));
        }
    }
    fs::remove_file(path).with_context(|| format!("remove the stale socket {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_cannot_be_sockets_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "").unwrap();
        for (path, words) in [
            (path(&"x".repeat(120)), "at most 107 bytes"),
            (path("missing/vm1.sock"), "missing does not exist"),
            (path("file/vm1.sock"), "file is not a directory"),
            (path("file"), "is not a socket"),
        ] {
            let error = Socket::bind(&path, FilePermissions::default()).unwrap_err();
            let text = format!("{error:#}");
            assert!(text.contains(words), "{text}");
            assert!(text.contains(path.to_str().unwrap()), "{text}");
        }
        let longest = MAX_PATH - folder.path().as_os_str().len() - 1;
        Socket::bind(&path(&"x".repeat(longest)), FilePermissions::default()).unwrap();
    }

    #[test]
    fn a_socket_goes_with_its_owner_and_is_not_taken_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vm1.sock");
        let socket = Socket::bind(&path, FilePermissions::default()).unwrap();
        let error = Socket::bind(&path, FilePermissions::default()).unwrap_err();
        assert!(error.to_string().contains("another program"), "{error}");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn the_socket_of_a_successor_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vm1.sock");
        let (listener, file) = Socket::bind(&path, FilePermissions::default())
            .unwrap()
            .into_parts();
        // As a vSSD that stops does, which may wait for its requests then.
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        let successor = Socket::bind(&path, FilePermissions::default()).unwrap();
        drop(file);
        assert!(path.exists(), "it removed the socket of another");
        drop(successor);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_is_the_same_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vm1.sock");
        let other = folder.path().join(".").join("vm1.sock");
        let up = folder.path().join("..");
        let up = up.join(folder.path().file_name().unwrap()).join("vm1.sock");
        assert!(is_same(&path, &path) && is_same(&path, &other) && is_same(&path, &up));
        assert!(!is_same(&path, &folder.path().join("vm2.sock")));
    }
}
