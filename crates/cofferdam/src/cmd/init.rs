//! `cofferdam init`: makes a data directory.

use std::process::ExitCode;

use store::StoreOptions;
use supply::bundles::SlipKey;

use crate::cli::Global;
use crate::output;
use crate::site::{Site, prepare};

pub(super) fn run(global: &Global, name: Option<&str>) -> anyhow::Result<ExitCode> {
    let data = &global.data;
    let known = data.join("name").exists();
    prepare(data, name)?;
    let site = Site::open(data, StoreOptions::default())?;
    SlipKey::open_or_create(&data.join("keys"))?;
    if global.json {
        output::json(&serde_json::json!({ "data": data, "name": site.name, "made": !known }));
        return Ok(ExitCode::SUCCESS);
    }
    let shown = data.display();
    if known {
        output::line(&format!(
            "{shown} is the data directory of {} already",
            site.name
        ));
    } else {
        output::line(&format!(
            "made {shown}, the data directory of {}\n\nnext:\n  \
             cofferdam serve --data {shown}\n  \
             cofferdam image import --data {shown} IMAGE.tar\n  \
             cofferdam user create --data {shown} NAME --admin",
            site.name
        ));
    }
    Ok(ExitCode::SUCCESS)
}
