//! Compiled code on disk: the host's own, in a directory of its own, and authenticated, since
//! loading forged code would run it.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::admit::Admitted;

const TAG_BYTES: usize = 32;

/// A directory of compiled components.
pub struct Cache {
    directory: PathBuf,
    key: [u8; 32],
}

/// The directory cannot be trusted or used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Somebody else may write to it.
    #[error(
        "cache directory `{0}` belongs to somebody else or is open to others: name another, or run `chmod 700` on it"
    )]
    Untrusted(PathBuf),
    /// Reading or writing failed.
    #[error("cache directory `{path}`: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What.
        error: io::Error,
    },
}

impl Cache {
    /// Opens a directory, and makes it with a key of its own where it is not there yet.
    pub fn open(directory: &Path) -> Result<Self, CacheError> {
        let failed = |error| CacheError::Io { path: directory.to_owned(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let metadata = fs::symlink_metadata(directory).map_err(failed)?;
        let ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if !ours || !metadata.is_dir() || metadata.mode() & 0o077 != 0 {
            return Err(CacheError::Untrusted(directory.to_owned()));
        }
        let key = open_key(&directory.join("key")).map_err(failed)?;
        Ok(Self { directory: directory.to_owned(), key })
    }

    /// What stands under a name, where it is whole and ours.
    pub fn get(&self, name: &str) -> Option<(Admitted, Vec<u8>)> {
        let entry = fs::read(self.directory.join(name)).ok()?;
        let (tag, content) = entry.split_at_checked(TAG_BYTES)?;
        self.mac(name, content).verify_slice(tag).ok()?;
        let (length, rest) = content.split_first_chunk::<4>()?;
        let (header, code) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some((serde_json::from_slice(header).ok()?, code.to_vec()))
    }

    /// Keeps compiled code under a name, whole or not at all.
    pub fn put(&self, name: &str, admitted: &Admitted, code: &[u8]) -> io::Result<()> {
        let header = serde_json::to_vec(admitted)?;
        let length = u32::try_from(header.len()).map_err(io::Error::other)?;
        let content = [&length.to_le_bytes(), header.as_slice(), code].concat();
        let tag = self.mac(name, &content).finalize().into_bytes();
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(&tag)?;
        file.write_all(&content)?;
        file.persist(self.directory.join(name))?;
        Ok(())
    }

    fn mac(&self, name: &str, content: &[u8]) -> Hmac<Sha256> {
        // HMAC takes a key of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length of key");
        mac.update(&(name.len() as u64).to_le_bytes());
        mac.update(name.as_bytes());
        mac.update(content);
        mac
    }
}

/// Reads the key, or makes one: linked into place whole, so that of several hosts that start at
/// once all use the first one's.
fn open_key(path: &Path) -> io::Result<[u8; 32]> {
    if !path.exists() {
        let mut key = [0; 32];
        fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.as_file().set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(&key)?;
        match file.persist_noclobber(path) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.error),
        }
    }
    let mut key = [0; 32];
    fs::File::open(path)?.read_exact(&mut key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted() -> Admitted {
        Admitted {
            digest: "d".into(),
            name: None,
            version: None,
            abilities: Vec::new(),
            imports: Vec::new(),
            exports: Vec::new(),
            manifest: tollgate_policy_core::contract::Manifest::default(),
            settings_schema: "{}".into(),
            frozen: true,
            component_bytes: 1,
            compile_ms: 1,
        }
    }

    #[test]
    fn an_entry_that_was_tampered_with_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let cache = Cache::open(&path).unwrap();
        cache.put("entry", &admitted(), b"code").unwrap();
        assert_eq!(cache.get("entry"), Some((admitted(), b"code".to_vec())));
        assert_eq!(Cache::open(&path).unwrap().get("entry").unwrap().1, b"code");

        let whole = fs::read(path.join("entry")).unwrap();
        for index in 0..whole.len() {
            let mut forged = whole.clone();
            forged[index] ^= 1;
            fs::write(path.join("entry"), forged).unwrap();
            assert_eq!(cache.get("entry"), None, "byte {index}");
        }
        for length in 0..whole.len() {
            fs::write(path.join("entry"), &whole[..length]).unwrap();
            assert_eq!(cache.get("entry"), None, "length {length}");
        }
        // Ours, but put there under another name.
        fs::write(path.join("other"), &whole).unwrap();
        assert_eq!(cache.get("other"), None);
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(Cache::open(directory.path()), Err(CacheError::Untrusted(_))));
    }
}
