//! Files of frames: each frame whole or not there at all.
//!
//! ```text
//! length: u32 │ checksum: u64 (XXH3 of the payload) │ payload … │ next frame …      all little-endian
//! ```
//!
//! A process that dies while it writes leaves a torn last frame; reading stops before it and tells how far the file is
//! whole, and the writer goes on from there.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

const HEAD_BYTES: usize = 12;

/// Bytes of one frame; a length beyond is taken for damage.
pub const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Reads every whole frame of a file in order; the bytes up to the end of the last one.
///
/// # Errors
/// The file's error, or the first one of `each`.
pub fn read<E: From<io::Error>>(path: &Path, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<u64, E> {
    let mut file = io::BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut whole = 0;
    let mut payload = Vec::new();
    loop {
        let mut head = [0; HEAD_BYTES];
        if !filled(&mut file, &mut head)? {
            return Ok(whole);
        }
        let (length, checksum) = head.split_at(4);
        let length = u32::from_le_bytes(length.try_into().unwrap_or_default()) as usize;
        if length > FRAME_BYTES_MAX {
            return Ok(whole);
        }
        payload.clear();
        // A torn length must not make room for what is not there.
        if file.by_ref().take(length as u64).read_to_end(&mut payload)? < length
            || xxh3_64(&payload) != u64::from_le_bytes(checksum.try_into().unwrap_or_default())
        {
            return Ok(whole);
        }
        each(&payload)?;
        whole += (HEAD_BYTES + length) as u64;
    }
}

/// Reads exactly as much as there is room for; false at the end of the file.
fn filled(file: &mut impl io::Read, room: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(room) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// A file that frames are appended to.
#[derive(Debug)]
pub struct Frames {
    file: File,
    bytes: u64,
    scratch: Vec<u8>,
}

impl Frames {
    /// Makes an empty file.
    ///
    /// # Errors
    /// The file's error.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().write(true).create(true).truncate(true).open(path)?;
        Ok(Self { file, bytes: 0, scratch: Vec::new() })
    }

    /// Opens a file to append after its first `bytes`; what stands behind them is cut off.
    ///
    /// # Errors
    /// The file's error.
    pub fn append_after(path: &Path, bytes: u64) -> io::Result<Self> {
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        file.set_len(bytes)?;
        Ok(Self { file, bytes, scratch: Vec::new() })
    }

    /// Appends a frame. After an error the file is as it was, or has a torn frame that the next append overwrites.
    ///
    /// # Errors
    /// The file's error.
    pub fn append(&mut self, payload: &[u8]) -> io::Result<()> {
        if payload.len() > FRAME_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a frame is larger than 256 MiB"));
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        self.scratch.extend_from_slice(&xxh3_64(payload).to_le_bytes());
        self.scratch.extend_from_slice(payload);
        self.file.write_all_at(&self.scratch, self.bytes)?;
        self.bytes += self.scratch.len() as u64;
        Ok(())
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Waits until the file is on disk.
    ///
    /// # Errors
    /// The file's error.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(path: &Path) -> (Vec<Vec<u8>>, u64) {
        let mut frames = Vec::new();
        let whole = read::<io::Error>(path, |frame| {
            frames.push(frame.to_vec());
            Ok(())
        });
        (frames, whole.unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn file_cut_or_damaged_anywhere_gives_the_frames_before_and_takes_more(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8),
            place in any::<prop::sample::Index>(),
            damage in prop::option::of(1u8..),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("f");
            let mut file = Frames::create(&path).unwrap();
            frames.iter().for_each(|frame| file.append(frame).unwrap());
            let mut bytes = std::fs::read(&path).unwrap();
            let at = place.index(bytes.len());
            match damage {
                Some(bits) => bytes[at] ^= bits,
                None => bytes.truncate(at),
            }
            std::fs::write(&path, &bytes).unwrap();
            let (found, whole) = all(&path);
            prop_assert!(whole <= at as u64 && frames.starts_with(&found), "a damaged frame was read");
            Frames::append_after(&path, whole).unwrap().append(b"more").unwrap();
            let (more, _) = all(&path);
            prop_assert_eq!(more.last().unwrap().as_slice(), b"more");
            prop_assert_eq!(more.len(), found.len() + 1);
        }
    }
}
