//! The place where bundles come in, put together for this appliance.

use bundle::Version;
use supply::bundles::{About, BundleError, Intake};

use crate::site::Site;

/// No build of this program is older than this day; a clock that says so is wrong.
const BUILT: &str = match option_env!("COFFERDAM_BUILD_DAY") {
    Some(day) => day,
    None => "2026-11-26",
};

/// What this program is, as far as a bundle asks.
pub(crate) fn about(name: &str) -> About {
    About {
        name: name.to_owned(),
        version: Version::parse(env!("CARGO_PKG_VERSION"))
            .expect("the workspace has a version of three numbers"),
        arch: match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
        .to_owned(),
        built: BUILT.to_owned(),
    }
}

/// Opens it over the site's store.
pub(crate) fn open(site: &Site) -> Result<Intake, BundleError> {
    Intake::new(
        site.store.clone(),
        site.auditor.clone(),
        about(&site.name),
        Box::new(|_, generation, _| {
            tracing::info!(generation = generation.0, "a generation was made active");
        }),
        Box::new(Vec::new),
    )
}
