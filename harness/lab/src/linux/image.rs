//! The image of the Linux guest, which `guest-linux/image/build` makes outside the repository.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The script that builds it.
pub const BUILDER: &str = "guest-linux/image/build";

/// A built image.
#[derive(Clone, Debug)]
pub struct LinuxImage {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    /// Name and version of each package in it, one a line, the kernel's first.
    pub packages: String,
}

impl LinuxImage {
    /// Finds the image in `VSSD_LINUX_GUEST`, or else in the user's cache folder.
    ///
    /// # Errors
    /// When it is not there or not complete.
    pub fn find() -> Result<Self> {
        Self::in_folder(&folder()?)
    }

    fn in_folder(folder: &Path) -> Result<Self> {
        let file = |name: &str| {
            let path = folder.join(name);
            ensure!(
                path.is_file(),
                "there is no Linux guest: {} is missing; build it with {BUILDER}",
                path.display()
            );
            Ok(path)
        };
        let packages = file("packages")?;
        Ok(Self {
            kernel: file("vmlinux")?,
            initramfs: file("initramfs.cpio")?,
            packages: fs::read_to_string(&packages)
                .with_context(|| format!("read {}", packages.display()))?,
        })
    }

    /// Version of a package; `None` if the image does not have it.
    pub fn version(&self, package: &str) -> Option<&str> {
        let mut lines = self
            .packages
            .lines()
            .filter_map(|line| line.split_once(' '));
        lines.find_map(|(name, version)| (name == package).then_some(version))
    }

    /// Name and version of the kernel's package.
    pub fn kernel_package(&self) -> &str {
        self.packages.lines().next().unwrap_or_default()
    }
}

fn folder() -> Result<PathBuf> {
    let from = |name: &str| env::var_os(name).filter(|path| !path.is_empty());
    if let Some(folder) = from("VSSD_LINUX_GUEST") {
        return Ok(folder.into());
    }
    let cache = match (from("XDG_CACHE_HOME"), from("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => Path::new(&home).join(".cache"),
        (None, None) => anyhow::bail!("HOME is not set: set VSSD_LINUX_GUEST to a folder"),
    };
    Ok(cache.join("vssd").join("linux-guest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_makes_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = LinuxImage::in_folder(folder.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("packages is missing"), "{error}");
        assert!(error.ends_with("build it with guest-linux/image/build"));
        for name in ["vmlinux", "initramfs.cpio"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::write(
            folder.path().join("packages"),
            "linux-image-6.1.0-1-amd64 6.1.1-1\nfio 3.33-3\n",
        )
        .unwrap();
        let image = LinuxImage::in_folder(folder.path()).unwrap();
        assert_eq!(image.kernel_package(), "linux-image-6.1.0-1-amd64 6.1.1-1");
        assert_eq!(image.version("fio"), Some("3.33-3"));
        assert_eq!(image.version("xfsprogs"), None);
    }
}
