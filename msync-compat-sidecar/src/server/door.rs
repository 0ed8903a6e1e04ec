//! One private socket and the `tiny_http` server behind it.
//!
//! The socket is made in a directory that nobody else may enter, and both names are removed at once: it is reached
//! through the descriptor that is kept of it (`/proc/self/fd`), which belongs to this process. So no cleaner of temporary
//! files can take it away, a killed sidecar leaves nothing behind, and nobody else finds bytes' way to `tiny_http`. (An
//! abstract name, which needs no directory either, is open to everybody in the network namespace.) Where that is not
//! possible the names stay, and a socket that cannot be reached any more is made anew.

use std::collections::HashMap;
use std::fmt;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Requests on their way to being read at once, of each kind. `tiny_http` starts a thread for each that finds none waiting,
/// and one that has just read a request waits only once it has run on: with 16 a burst of a thousand started up to 40
/// threads for a few seconds, with as many as `tiny_http` keeps waiting it starts six, and takes as long.
const ARRIVING: usize = 4;

/// One private socket and the server behind it.
pub(crate) struct Door {
    directories: Vec<PathBuf>,
    way: Mutex<Option<Way>>,
    server: Mutex<Option<Arc<tiny_http::Server>>>,
    /// Beats have places of their own.
    arriving: [Arc<Semaphore>; 2],
    announced: Mutex<HashMap<u64, Announced>>,
    ids: AtomicU64,
}

/// How the socket is reached.
enum Way {
    /// By a descriptor of it; it has no name.
    Kept { path: PathBuf, _socket: OwnedFd },
    /// By its name.
    Named { path: PathBuf, directory: PathBuf },
}

/// A request that the front waits for an answer to.
struct Announced {
    /// Until it has been read.
    place: Option<OwnedSemaphorePermit>,
    withdrawn: CancellationToken,
}

/// A request announced to a [`Door`]; dropping it withdraws the request, on its way or while it waits for its answer.
pub(crate) struct Arrival<'a> {
    door: &'a Door,
    id: u64,
}

impl Arrival<'_> {
    /// What the request must say in its header [`ARRIVAL`](super::ARRIVAL).
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if let Some(announced) = locked(&self.door.announced).remove(&self.id) {
            announced.withdrawn.cancel();
        }
    }
}

impl Door {
    /// Makes a socket in the first of these directories where that works, and a server that listens on it.
    ///
    /// # Errors
    /// That of the last directory, which the message names.
    pub(super) fn open(directories: &[PathBuf]) -> io::Result<Self> {
        let door = Self {
            directories: directories.to_vec(),
            way: Mutex::default(),
            server: Mutex::default(),
            arriving: [(); 2].map(|()| Arc::new(Semaphore::new(ARRIVING))),
            announced: Mutex::default(),
            ids: AtomicU64::new(0),
        };
        door.renew()?;
        Ok(door)
    }

    /// Where to connect; `None` while there is no socket.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match &*locked(&self.way) {
            Some(Way::Kept { path, .. } | Way::Named { path, .. }) => Some(path.clone()),
            None => None,
        }
    }

    /// Makes the server begin anew, after its acceptor ended. Connections that it kept are dead then.
    pub(crate) fn reopen(&self) {
        if let Some(server) = self.server() {
            server.unblock();
        }
    }

    /// Waits until few enough requests are on their way, so that a burst of them starts few threads.
    pub(crate) async fn expect_arrival(&self, beat: bool) -> Arrival<'_> {
        let arriving = Arc::clone(&self.arriving[usize::from(beat)]);
        let place = arriving.acquire_owned().await.expect("this semaphore is never closed");
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let announced = Announced { place: Some(place), withdrawn: CancellationToken::new() };
        locked(&self.announced).insert(id, announced);
        Arrival { door: self, id }
    }

    /// What tells that the request is withdrawn; `None` if it is already.
    pub(super) fn arrived(&self, id: u64) -> Option<CancellationToken> {
        let mut announced = locked(&self.announced);
        let announced = announced.get_mut(&id)?;
        announced.place = None;
        Some(announced.withdrawn.clone())
    }

    pub(super) fn server(&self) -> Option<Arc<tiny_http::Server>> {
        locked(&self.server).clone()
    }

    /// Forgets the server and its socket.
    pub(super) fn close(&self) {
        let path = self.path();
        drop(locked(&self.server).take());
        // To end its acceptor, `tiny_http` connects by the name that the socket no longer has.
        drop(path.map(UnixStream::connect));
        *locked(&self.way) = None;
    }

    /// A new socket, and a server that listens on it.
    pub(super) fn renew(&self) -> io::Result<()> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no directory for private sockets");
        for directory in &self.directories {
            match listen(directory) {
                Ok((listener, way)) => {
                    let server = tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?;
                    *locked(&self.way) = Some(way);
                    *locked(&self.server) = Some(Arc::new(server));
                    return Ok(());
                }
                Err(error) => last = io::Error::new(error.kind(), format!("{}: {error}", directory.display())),
            }
        }
        Err(last)
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Door").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Self::Named { directory, .. } = self {
            remove(directory);
        }
    }
}

/// A socket made below `parent`, without a name if it can be reached so.
fn listen(parent: &Path) -> io::Result<(UnixListener, Way)> {
    let directory = private_directory(parent)?;
    let path = directory.join("socket");
    let named = Way::Named { path: path.clone(), directory };
    let listener = UnixListener::bind(&path)?;
    let Some((path, socket)) = kept(&path) else { return Ok((listener, named)) };
    drop(named);
    // What is tried is what counts: a place without /proc, or a kernel that is none.
    match UnixStream::connect(&path) {
        Ok(_) => Ok((listener, Way::Kept { path, _socket: socket })),
        Err(error) => {
            tracing::debug!(%error, "a private socket without a name cannot be reached here");
            listen_by_name(parent)
        }
    }
}

fn listen_by_name(parent: &Path) -> io::Result<(UnixListener, Way)> {
    let directory = private_directory(parent)?;
    let path = directory.join("socket");
    let way = Way::Named { path: path.clone(), directory };
    Ok((UnixListener::bind(&path)?, way))
}

/// A descriptor of the socket that no name is needed for, and the path by which this process reaches it.
#[cfg(target_os = "linux")]
fn kept(path: &Path) -> Option<(PathBuf, OwnedFd)> {
    use std::os::fd::AsRawFd;

    use rustix::fs::{Mode, OFlags, open};

    let socket = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    Some((format!("/proc/self/fd/{}", socket.as_raw_fd()).into(), socket))
}

#[cfg(not(target_os = "linux"))]
fn kept(_path: &Path) -> Option<(PathBuf, OwnedFd)> {
    None
}

/// A directory that nobody else may enter, under a name that nobody guesses.
fn private_directory(parent: &Path) -> io::Result<PathBuf> {
    let nonce = getrandom::u64().map_err(io::Error::other)?;
    let path = parent.join(format!("msync-sidecar-{nonce:016x}"));
    DirBuilder::new().mode(0o700).create(&path)?;
    // The mode given above passes through the umask, which can only take bits away: the owner's are needed.
    std::fs::set_permissions(&path, Permissions::from_mode(0o700))?;
    Ok(path)
}

fn remove(directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory) {
        tracing::debug!(%error, "the directory of a private socket could not be removed");
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_private_socket_leaves_no_name_and_outlives_its_directory() {
        let parent = private_directory(&std::env::temp_dir()).unwrap();
        let door = Door::open(std::slice::from_ref(&parent)).unwrap();
        assert_eq!(std::fs::read_dir(&parent).unwrap().count(), 0);
        std::fs::remove_dir(&parent).unwrap();
        UnixStream::connect(door.path().unwrap()).unwrap();
        door.close();
        assert!(door.path().is_none());
        assert!(door.renew().is_err(), "and says so when there is no directory for a new one");
    }

    #[test]
    fn a_socket_with_a_name_goes_with_its_door() {
        let parent = private_directory(&std::env::temp_dir()).unwrap();
        let (_listener, way) = listen_by_name(&parent).unwrap();
        assert_eq!(std::fs::read_dir(&parent).unwrap().count(), 1);
        drop(way);
        assert_eq!(std::fs::read_dir(&parent).unwrap().count(), 0);
        std::fs::remove_dir(&parent).unwrap();
    }

    #[test]
    fn the_first_directory_that_works_is_taken() {
        let door = Door::open(&["/nonexistent".into(), std::env::temp_dir()]).unwrap();
        assert!(door.path().is_some());
        let error = Door::open(&["/nonexistent".into()]).unwrap_err();
        assert!(error.to_string().contains("/nonexistent"), "{error}");
    }
}
