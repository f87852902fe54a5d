//! The sockets of a backend: one for control, one for each vSSD's frontend, one for each agent. Every
//! one has a path of its own.

use std::iter;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::permissions::FilePermissions;
use crate::socket::{Socket, is_same};
use crate::spec::VssdSpec;
use crate::transport::Transport;

/// The control socket of a backend, and the permissions of all its sockets.
#[derive(Clone, Debug)]
pub struct Sockets {
    /// The control socket.
    pub control: PathBuf,
    /// Permissions of every socket.
    pub permissions: FilePermissions,
}

/// The sockets of a vSSD, which nothing serves yet.
pub struct VssdSockets {
    /// That of its frontend.
    pub frontend: Socket,
    /// That of its agent, if it has one.
    pub agent: Option<Socket>,
}

impl VssdSockets {
    /// Listens at the sockets that `spec` names.
    ///
    /// # Errors
    /// When one of them cannot be had. Nothing is left behind then.
    pub fn bind(spec: &VssdSpec, permissions: FilePermissions) -> Result<Self> {
        let agent = spec.transport.agent_socket();
        Ok(Self {
            frontend: Socket::bind(&spec.socket, permissions)?,
            agent: agent
                .map(|path| Socket::bind(path, permissions))
                .transpose()?,
        })
    }
}

/// The paths of the sockets of a vSSD, each with what to call it in a message.
pub fn paths<'a>(
    name: &str,
    socket: &'a Path,
    transport: &'a Transport,
) -> impl Iterator<Item = (&'a Path, String)> {
    let agent = transport.agent_socket();
    let agent = agent.map(|path| (path, format!("the agent of vSSD {name}")));
    iter::once((socket, format!("vSSD {name}"))).chain(agent)
}

/// The name of the control socket in messages.
pub const CONTROL: &str = "the control socket (--control)";

/// Makes sure that a vSSD has sockets of its own, and adds them to those that are taken.
///
/// # Errors
/// When it has not.
pub fn ensure_free<'a>(spec: &'a VssdSpec, taken: &mut Vec<(&'a Path, String)>) -> Result<()> {
    for (path, name) in paths(&spec.name, &spec.socket, &spec.transport) {
        if let Some((_, other)) = taken.iter().find(|(other, _)| is_same(other, path)) {
            bail!(
                "{other} and {name} have the same socket, {}: give each its own",
                path.display()
            );
        }
        taken.push((path, name));
    }
    Ok(())
}

/// Listens at the sockets of each vSSD of a command, before any of them is created.
///
/// # Errors
/// When two are to listen at the same socket, or one cannot.
pub fn bind_all(specs: &[VssdSpec], sockets: &Sockets) -> Result<Vec<VssdSockets>> {
    let mut taken = vec![(&*sockets.control, CONTROL.to_owned())];
    let bind = |spec| {
        ensure_free(spec, &mut taken)?;
        VssdSockets::bind(spec, sockets.permissions)
    };
    specs.iter().map(bind).collect()
}
