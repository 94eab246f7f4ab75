//! An example at work: a database with its tables, an org with its objects, a folder with its configuration.

use super::{answer, penstock};
use org_sim::{ObjectsSpec, OrgConfig, OrgSim, RunningOrg};
use private_postgres::{Options, Server};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A file of `examples/`.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// What `World::new` is made of: files of `examples/`, and the rows that are there before the first run.
pub struct Made<'a> {
    pub pipeline: &'a str,
    pub objects: &'a str,
    pub tables: &'a str,
    pub rows: &'a str,
}

/// The service requests of New York as Cases.
pub const CITY: Made<'_> = Made { pipeline: "city.yaml", objects: "city-org.yaml", tables: "city.sql", rows: "" };

pub struct World {
    pub server: Server,
    pub org: RunningOrg,
    pub folder: tempfile::TempDir,
    pub env: Vec<(&'static str, String)>,
    /// The id and the secret of the org's first app.
    pub app: (String, String),
}

impl World {
    /// Starts the servers; `change` may edit the configuration, whose HTTP address is off.
    pub async fn new(made: Made<'_>, change: impl FnOnce(String) -> String) -> Self {
        Self::with_org(made, change, |_| {}).await
    }

    /// The same with other settings of the org.
    pub async fn with_org(
        made: Made<'_>,
        change: impl FnOnce(String) -> String,
        settings: impl FnOnce(&mut OrgConfig),
    ) -> Self {
        let read = |name| std::fs::read_to_string(example(name)).expect("a file of examples/");
        let server = Server::start(Options::default()).await.expect("a server");
        server.execute("postgres", &read(made.tables)).await.expect("the example's tables");
        server.execute("postgres", made.rows).await.expect("the example's rows");
        let objects: ObjectsSpec = serde_saphyr::from_str(&read(made.objects)).expect("the example's objects");
        let mut config = OrgConfig { objects, ..OrgConfig::default() };
        settings(&mut config);
        let app = (config.apps[0].client_id.clone(), config.apps[0].client_secret.clone());
        let org = OrgSim::start(config).await.expect("an org");
        let folder = tempfile::tempdir().expect("a folder");
        let text: Vec<String> = read(made.pipeline).lines().map(without_address).collect();
        std::fs::write(folder.path().join("penstock.yaml"), change(text.concat())).expect("a file");
        let env = vec![
            ("SF_URL", org.url()),
            ("SF_CLIENT_ID", app.0.clone()),
            ("SF_CLIENT_SECRET", app.1.clone()),
            ("DATABASE_URL", server.url("postgres")),
        ];
        Self { server, org, folder, env, app }
    }

    /// Runs the program; answers with its exit code and what it printed.
    pub async fn run(&self, args: &[&str]) -> (Option<i32>, Value) {
        let output = penstock(self.folder.path(), args, &self.env).await;
        (output.status.code(), answer(&output))
    }

    /// Runs the program, which must succeed.
    pub async fn done(&self, args: &[&str]) -> Value {
        let (code, told) = self.run(args).await;
        assert_eq!(code, Some(0), "{args:?}: {told:#}");
        told
    }

    /// Runs the pipeline until all is settled.
    pub async fn settle(&self) -> Value {
        self.done(&["run", "--until-settled", "--json"]).await
    }

    /// Carries out statements in the database.
    pub async fn sql(&self, statements: &str) {
        self.server.execute("postgres", statements).await.expect("the statements work");
    }
}

/// Tests run side by side, so none of them listens at the example's address.
fn without_address(line: &str) -> String {
    let line = if line.starts_with("http:") { "http: {listen: off}" } else { line };
    format!("{line}\n")
}
