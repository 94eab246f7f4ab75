//! Every example is sound.

use super::{answer, penstock};
use std::path::Path;

#[tokio::test]
async fn every_example_configuration_passes_the_check() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut checked = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let is_pipeline = path.extension().is_some_and(|extension| extension == "yaml")
            && std::fs::read_to_string(&path).unwrap().contains("\npipeline:");
        if !is_pipeline {
            continue;
        }
        let name = path.to_str().unwrap();
        let check = penstock(&folder, &["--config", name, "check", "--offline", "--json"], &[]).await;
        let told = answer(&check);
        assert_eq!((check.status.code(), told["ok"].clone()), (Some(0), true.into()), "{name}: {told:#}");
        checked.push(path.file_name().unwrap().to_owned());
    }
    assert!(checked.len() >= 2, "{checked:?}");
}
