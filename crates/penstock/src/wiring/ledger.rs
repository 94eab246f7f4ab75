//! Where the quota ledger of an org lies: one file for all pipelines of this user, so that they never overspend together.

use super::{DataDir, resolve};
use crate::config::{Config, OrgConfig, Places};
use crate::output::Problem;
use contract::StateStore as Store;
use pipeline::engine::QuotaLedger;
use state_store::StateStore;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Says in the configuration that the pipeline keeps a ledger of its own, in its data folder.
const OWN: &str = "own";

/// The ledgers' files, each opened once.
pub struct Ledgers {
    opened: HashMap<PathBuf, Arc<dyn Store>>,
    /// For a look: nothing is made or written.
    read_only: bool,
}

impl Ledgers {
    /// To write to.
    pub fn to_write() -> Self {
        Self { opened: HashMap::new(), read_only: false }
    }

    /// To look at.
    pub fn to_read() -> Self {
        Self { opened: HashMap::new(), read_only: true }
    }

    /// An org's ledger; `own` is the store of the data folder, for ledgers that are not shared. None: there is none to read yet.
    ///
    /// # Errors
    /// A problem when the file cannot be made or opened, or the org's url leads nowhere.
    pub fn of(
        &mut self,
        config: &Config,
        name: &str,
        places: &Places,
        own: &Arc<dyn Store>,
    ) -> Result<Option<QuotaLedger>, Problem> {
        let org = &config.orgs[name];
        let in_data_dir = || QuotaLedger { store: own.clone(), org: name.to_owned(), member: config.pipeline.clone() };
        let url = match resolve(&org.url, &format!("orgs.{name}.url"), places) {
            Ok(url) => url,
            // Who only looks need not have the settings of the process that runs.
            Err(_) if self.read_only && org.ledger.is_none() => return Ok(Some(in_data_dir())),
            Err(finding) => return Err(Problem::from(&finding)),
        };
        let Some(path) = file(org, &url) else { return Ok(Some(in_data_dir())) };
        if self.read_only && !path.exists() {
            return Ok(None);
        }
        let store = match self.opened.get(&path) {
            Some(store) => store.clone(),
            None => {
                let store = self.open(&path)?;
                self.opened.insert(path, store.clone());
                store
            }
        };
        Ok(Some(QuotaLedger { store, org: host(&url), member: member(config) }))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn Store>, Problem> {
        let place = path.display().to_string();
        if let Some(folder) = path.parent().filter(|_| !self.read_only) {
            std::fs::create_dir_all(folder).map_err(|error| Problem {
                code: "PS1102".into(),
                place: place.clone(),
                cause: format!("the folder of the quota ledger cannot be made: {error}"),
                fix: "give this user the right to write there, or name another file as orgs.X.ledger".into(),
            })?;
        }
        let opened = if self.read_only { StateStore::open_read_only(path) } else { StateStore::open(path) };
        let store = opened.map_err(|error| crate::commands::problem(error.code(), &place, &error))?;
        Ok(Arc::new(store))
    }
}

/// The ledger's file; none: the pipeline keeps its own.
///
/// An org on loopback is a simulated one: whoever else runs one on the same port means another org.
fn file(org: &OrgConfig, url: &str) -> Option<PathBuf> {
    match &org.ledger {
        Some(path) if path.as_os_str() == OWN => None,
        Some(path) => Some(path.clone()),
        None if is_loopback(&host(url)) => None,
        None => Some(state_home()?.join("penstock").join("quota.db")),
    }
}

/// `XDG_STATE_HOME`, or its default.
fn state_home() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local").join("state")))
}

/// The pipeline, unique on this machine: two data folders are two pipelines, whatever their names.
fn member(config: &Config) -> String {
    let data = DataDir::new(&config.data_dir);
    let path = std::fs::canonicalize(data.path()).unwrap_or_else(|_| data.path().to_owned());
    format!("{}@{}", config.pipeline, path.display())
}

/// Host and port of a url, in lower case: what the org's allocations belong to.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase()
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_org_is_known_by_its_host_whatever_the_url_looks_like() {
        assert_eq!(host("https://Acme.my.salesforce.com/"), "acme.my.salesforce.com");
        assert_eq!(host("https://user@acme.my.salesforce.com:443/x?y"), "acme.my.salesforce.com:443");
        for host in ["127.0.0.1:8080", "localhost", "localhost:1", "[::1]:9"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["acme.my.salesforce.com", "127.example.com", "localhost.example.com"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
