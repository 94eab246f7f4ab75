//! `penstock org`: a simulated Salesforce org on this machine.

mod control;
mod seed;

use crate::cli::OrgArgs;
use crate::output::{Answer, Exit, Problem, thousands};
use crate::signals;
use org_sim::{Edition, LatencyModel, OrgConfig, OrgSim};
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// Runs an org until it is told to stop.
pub async fn run(args: &OrgArgs, as_json: bool) -> Answer {
    if let Some(command) = &args.command {
        return control::run(&args.at, command).await;
    }
    let config = match config(args) {
        Ok(config) => config,
        Err(problem) => return Answer { exit: Exit::Usage, ..Answer::failed(problem) },
    };
    let calls = thousands(config.daily_api_requests());
    let (edition, licences) = (config.edition.word(), config.licences);
    let carried = if config.tls.is_some() { "over TLS" } else { "in plain text" };
    let kept = match &config.folder {
        Some(folder) => format!("its records are kept in {}", folder.display()),
        None => "its records are in memory only (--folder keeps them)".to_owned(),
    };
    let org = match OrgSim::start(config).await {
        Ok(org) => org,
        Err(error) => {
            return Answer::failed(problem(
                "PS7102",
                &args.listen.to_string(),
                error.to_string(),
                "choose another --listen or mend --objects",
            ));
        }
    };
    let credentials = org.credentials();
    let told = if as_json {
        format!(
            "{}\n",
            json!({
                "url": org.url(),
                "client_id": credentials.client_id,
                "client_secret": credentials.client_secret,
                "username": credentials.username,
                "password": credentials.password,
            })
        )
    } else {
        format!(
            "A simulated Salesforce org listens at {url} ({edition}, {licences} licences: {calls} API requests a day)\n\n  \
             export SF_URL={url}\n  export SF_CLIENT_ID={id}\n  export SF_CLIENT_SECRET={secret}\n\n  \
             token        curl -d grant_type=client_credentials -d client_id={id} -d client_secret={secret} {url}/services/oauth2/token\n  \
             user         {username}, password {password} (SOAP login and password flow; no security token)\n  \
             Pub/Sub API  {address}, gRPC {carried}\n  \
             steer it     penstock org --at {url} seed|fault|clock|limits|history|events|reset\n\n\
             Ctrl-C stops it; {kept}.\n",
            address = org.address(),
            url = org.url(),
            id = credentials.client_id,
            secret = credentials.client_secret,
            username = credentials.username,
            password = credentials.password,
        )
    };
    let mut out = std::io::stdout();
    let _closed_pipe = out.write_all(told.as_bytes()).and_then(|()| out.flush());
    let signal = signals::wait().await;
    let changes = org.last_seq();
    org.stop().await;
    Answer {
        exit: Exit::Signal(signal),
        ..Answer::done(format!("stopped after {changes} changes"), "", json!({"changes": changes}))
    }
}

fn problem(code: &str, place: &str, cause: String, fix: &str) -> Problem {
    Problem { code: code.into(), place: place.into(), cause, fix: fix.into() }
}

/// The settings file's org, or the default one, with what the command line says.
fn config(args: &OrgArgs) -> Result<OrgConfig, Problem> {
    let usage = |place: &str, cause: String, fix: &str| problem("PS1010", place, cause, fix);
    let read = |path: &Path| -> Result<(String, String), Problem> {
        let place = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| usage(&place, format!("the file cannot be read: {error}"), "name another file"))?;
        Ok((text, place))
    };
    let mut config = OrgConfig { edition: Edition::Developer, ..OrgConfig::default() };
    if let Some(path) = &args.settings {
        let (text, place) = read(path)?;
        config = OrgConfig::from_yaml(&text, &place)
            .map_err(|error| usage(&place, error.to_string(), "docs/org-sim.md names the settings"))?;
    }
    config.listen = args.listen;
    if let Some(word) = &args.edition {
        config.edition = Edition::from_word(word).ok_or_else(|| {
            usage("--edition", format!("{word:?} is not an edition"), "write developer, enterprise or unlimited")
        })?;
    }
    if let Some(word) = &args.profile {
        config.latency = LatencyModel::from_word(word)
            .ok_or_else(|| usage("--profile", format!("{word:?} is not a profile"), "write none or realistic"))?;
    }
    if let Some(path) = &args.objects {
        let (text, place) = read(path)?;
        config.objects = org_sim::parse_objects(&text, &place)
            .map_err(|error| usage(&place, error.to_string(), "see examples/city-org.yaml"))?;
    }
    config.licences = args.licences.unwrap_or(config.licences);
    config.seed = args.seed.unwrap_or(config.seed);
    config.folder = args.folder.clone().or(config.folder);
    config.history.file = args.history.clone().or(config.history.file);
    Ok(config)
}
