//! Whether every earlier start of this pod's sidecar is over, which nothing in a record can prove.
//!
//! A sidecar binds an abstract socket under a name made of its owner, its pod and its role, and keeps it for as long as
//! its process lives, drained, frozen or busy. Abstract names belong to the network namespace, which the containers of a
//! pod share, and the kernel frees them with the process. So whoever can bind the name has no living kin; whoever cannot
//! is a second sidecar of the pod and takes no other's locks. Where there are no such names nobody knows, so nobody
//! adopts. It never connects to anybody, and nothing is ever read from it.

/// The proof that no other process of this owner, pod and role lives; it lasts as long as this value.
#[derive(Debug)]
pub struct Witness {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    _socket: std::os::unix::net::UnixDatagram,
}

impl Witness {
    /// Takes the name, or says that a living process has it.
    ///
    /// # Errors
    /// The name is taken, or there are no such names here.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn take(owner: &str, pod: &str, role: &str) -> std::io::Result<Self> {
        #[cfg(target_os = "android")]
        use std::os::android::net::SocketAddrExt;
        #[cfg(target_os = "linux")]
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixDatagram};

        let address = SocketAddr::from_abstract_name(name(owner, pod, role))?;
        Ok(Self { _socket: UnixDatagram::bind_addr(&address)? })
    }

    /// Takes the name, or says that a living process has it.
    ///
    /// # Errors
    /// There are no such names here.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub fn take(_owner: &str, _pod: &str, _role: &str) -> std::io::Result<Self> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// A name short enough for a socket, whatever the length of its parts.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn name(owner: &str, pod: &str, role: &str) -> String {
    format!("msync/{role}/{:016x}", fingerprint(&[owner, pod, role]))
}

/// FNV-1a, with the length of each part before it: other versions of this program must find the same.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn fingerprint(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| {
        let length = (part.len() as u64).to_be_bytes();
        length.into_iter().chain(part.bytes())
    });
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn only_one_living_process_has_the_name() {
        let pod = format!("{:x}", getrandom::u64().unwrap());
        let first = Witness::take("web-1", &pod, "sidecar").unwrap();
        assert!(Witness::take("web-1", &pod, "sidecar").is_err());
        for (owner, pod, role) in
            [("web-2", &*pod, "sidecar"), ("web-1", "other", "sidecar"), ("web-1", &pod, "library")]
        {
            Witness::take(owner, pod, role).unwrap();
        }
        drop(first);
        Witness::take("web-1", &pod, "sidecar").unwrap();
    }

    #[test]
    fn names_are_short_and_stay_what_they_are() {
        assert_eq!(name("a", "b", "c"), name("a", "b", "c"));
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        assert!(name(&"o".repeat(253), &"u".repeat(253), "sidecar").len() < 100);
    }
}
