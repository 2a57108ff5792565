//! A service manager for tests: it keeps what it is given.

use std::ffi::OsStr;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::{Keeper, Legacy, Stored};
use crate::engine::Engine;

/// The manager of one service.
pub(crate) struct Manager {
    _folder: tempfile::TempDir,
    path: PathBuf,
    socket: UnixDatagram,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { _folder: folder, path, socket }
    }

    pub(crate) fn name(&self) -> &OsStr {
        self.path.as_os_str()
    }

    /// Starts the service with what is `stored`.
    pub(crate) async fn start(&self, stored: &[(String, OwnedFd)], engine: Engine) -> (Keeper, Legacy) {
        let given = stored.iter().map(|(name, descriptor)| (name.clone(), descriptor.try_clone().unwrap())).collect();
        Keeper::at(self.name(), given, 100, engine).await.unwrap()
    }

    /// The next message, where there is one.
    pub(crate) fn receive(&self) -> Option<(String, Vec<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = [0; 4096];
        let received = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::DONTWAIT).ok()?;
        let descriptors = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => rights.collect(),
            _ => Vec::new(),
        });
        Some((String::from_utf8_lossy(&text[..received.bytes]).into_owned(), descriptors.collect()))
    }

    /// Does what it was asked to, as the real one would.
    pub(crate) fn store(&self, stored: &mut Stored) {
        while let Some((text, descriptors)) = self.receive() {
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap().to_owned();
            if text.starts_with("FDSTOREREMOVE=1\n") {
                stored.retain(|(other, _)| *other != name);
            } else {
                stored.extend(descriptors.into_iter().map(|descriptor| (name.clone(), descriptor)));
            }
        }
    }
}
