//! A stream's folder: its name on the disk and its description.

use crate::fault::{at_path, corrupt};
use crate::fs::{Access, Files};
use contract::{LogError, Retention, StreamSpec};
use model::StreamId;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::time::Duration;

const FILE: &str = "stream.json";
const FORMAT: u16 = 1;

/// The content of `stream.json`. A folder with this file is a stream; one without it is a creation that did not end.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    format: u16,
    name: StreamId,
    partitions: u32,
    retention_age_ms: Option<u64>,
    retention_bytes: Option<u64>,
}

/// The folder's name: letters, digits, `_` and `-` as they are, all else as `%` and two hexadecimal digits, so that no
/// name leaves the log's folder or clashes on a file system without case.
pub(crate) fn folder_name(stream: &StreamId) -> String {
    let mut out = String::new();
    for byte in stream.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02x}")),
        }
    }
    out
}

/// Reads a stream's description; none when the folder is not a stream.
pub(crate) fn read_description(files: &dyn Files, dir: &Path) -> Result<Option<(StreamId, StreamSpec)>, LogError> {
    let path = dir.join(FILE);
    let file = match files.open(&path, Access::Read) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(at_path("opening", &path, error)),
    };
    let length = file.len().map_err(|e| at_path("reading", &path, e))?;
    let mut bytes = Vec::with_capacity(length as usize);
    file.read_at(0, length as usize, &mut bytes).map_err(|e| at_path("reading", &path, e))?;
    let found: Description = serde_json::from_slice(&bytes).map_err(|error| corrupt(&path, 0, error.to_string()))?;
    if found.format > FORMAT {
        return Err(LogError::TooNew { path: path.display().to_string(), found: found.format, known: FORMAT });
    }
    let retention = Retention { age: found.retention_age_ms.map(Duration::from_millis), bytes: found.retention_bytes };
    Ok(Some((found.name, StreamSpec { partitions: found.partitions, retention })))
}

/// Writes a stream's description, atomically and durably.
pub(crate) fn write_description(
    files: &dyn Files,
    dir: &Path,
    stream: &StreamId,
    spec: StreamSpec,
) -> Result<(), LogError> {
    let path = dir.join(FILE);
    let temporary = dir.join("stream.json.tmp");
    let description = Description {
        format: FORMAT,
        name: stream.clone(),
        partitions: spec.partitions,
        retention_age_ms: spec.retention.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        retention_bytes: spec.retention.bytes,
    };
    let bytes = serde_json::to_vec_pretty(&description).map_err(|error| corrupt(&path, 0, error.to_string()))?;
    let written = files.create(&temporary).and_then(|file| {
        file.write_at(0, &[&bytes])?;
        file.sync()
    });
    written.map_err(|e| at_path("writing", &temporary, e))?;
    files.rename(&temporary, &path).map_err(|e| at_path("naming", &path, e))?;
    files.sync_dir(dir).map_err(|e| at_path("syncing the folder of", &path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::DiskFiles;

    #[test]
    fn names_stay_inside_the_folder_and_apart() {
        let names = ["city", "City", "../up", ".", "a/b", "ä", "", "_settlements", "%63ity"];
        let folders: std::collections::BTreeSet<_> =
            names.iter().map(|name| folder_name(&StreamId::new(name))).collect();
        assert_eq!(folders.len(), names.len());
        assert!(folders.iter().all(|folder| !folder.contains(['/', '.'])));
        assert_eq!(folder_name(&StreamId::new("_settlements")), "_settlements");
    }

    #[test]
    fn description_comes_back_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_description(&DiskFiles, dir.path()).unwrap().is_none());
        let spec =
            StreamSpec { partitions: 3, retention: Retention { age: Some(Duration::from_secs(5)), bytes: Some(9) } };
        write_description(&DiskFiles, dir.path(), &StreamId::new("ä"), spec).unwrap();
        assert_eq!(read_description(&DiskFiles, dir.path()).unwrap(), Some((StreamId::new("ä"), spec)));
        std::fs::write(dir.path().join(FILE), b"{").unwrap();
        assert!(matches!(read_description(&DiskFiles, dir.path()), Err(LogError::Corrupt { .. })));
    }
}
