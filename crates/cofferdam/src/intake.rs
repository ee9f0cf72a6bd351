//! The place where bundles come in, put together for this appliance.

use std::sync::Arc;

use bundle::Version;
use supply::bundles::{About, BundleError, Intake};
use supply::{Leases, Unpack};

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

/// Opens it over the site's store. Images of a new generation are unpacked by `unpack`; what
/// running jobs lease stays.
pub(crate) fn open(
    site: &Site,
    unpack: Arc<dyn Unpack + Send + Sync>,
    leases: Leases,
) -> Result<Intake, BundleError> {
    let (store, auditor) = (site.store.clone(), site.auditor.clone());
    Intake::new(
        site.store.clone(),
        site.auditor.clone(),
        about(&site.name),
        Box::new(move |who, generation, progress| {
            let done =
                supply::unpack_images(&store, &auditor, who, &*unpack, generation, &mut |at| {
                    progress.unpacking(at)
                });
            match done {
                Ok(done) => {
                    for (image, reason) in done.failed {
                        progress.notice(format!("image {image} cannot be used: {reason}"));
                    }
                    done.notices
                        .into_iter()
                        .for_each(|notice| progress.notice(notice));
                }
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    tracing::error!("images of the new generation were not unpacked: {error:#}");
                    progress.notice(
                        "images were not unpacked; that is tried again at the next start"
                            .to_owned(),
                    );
                }
            }
        }),
        Box::new(move || leases.held()),
    )
}
