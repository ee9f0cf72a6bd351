//! Checkouts straight from the appliance's own object store.

use std::io::Write;
use std::sync::Arc;

use git::{CheckoutOptions, ObjectId};
use runner::{CheckedOut, CheckoutRequest, Source, SourceError};

use crate::dispatcher::chain;

/// The one repo that a job may read: its own.
pub struct RepoSource {
    path: String,
    repo: Arc<git::Repository>,
}

impl RepoSource {
    /// A job of the repo `path` (`owner/name`) reads `repo`.
    #[must_use]
    pub fn new(path: String, repo: Arc<git::Repository>) -> Self {
        Self { path, repo }
    }

    fn find(&self, request: &CheckoutRequest) -> Result<(ObjectId, Option<String>), SourceError> {
        let no_reference = || SourceError::NoReference {
            reference: request.reference.clone(),
            repository: request.repository.clone(),
        };
        if !request.commit.is_empty() {
            let id = ObjectId::from_hex(request.commit.as_bytes()).map_err(|_| no_reference())?;
            let named = request
                .reference
                .starts_with("refs/")
                .then(|| request.reference.clone());
            return Ok((id, named));
        }
        let found = self
            .repo
            .resolve(&request.reference)
            .map_err(|e| failed(request, &e))?
            .ok_or_else(no_reference)?;
        Ok((found.commit, found.ref_name))
    }
}

fn failed(request: &CheckoutRequest, error: &dyn std::error::Error) -> SourceError {
    SourceError::Failed {
        repository: request.repository.clone(),
        reason: chain(error),
    }
}

impl Source for RepoSource {
    fn checkout(
        &self,
        request: &CheckoutRequest,
        out: &mut dyn Write,
    ) -> Result<CheckedOut, SourceError> {
        if !request.repository.eq_ignore_ascii_case(&self.path) {
            return Err(SourceError::NoRepository {
                repository: request.repository.clone(),
            });
        }
        let (commit, ref_name) = self.find(request)?;
        let options = CheckoutOptions {
            depth: request.depth,
            ref_name: ref_name.clone(),
            remote_url: request.remote_url.clone(),
            ..CheckoutOptions::default()
        };
        let objects = self.repo.objects();
        let root = objects.root_tree(commit).map_err(|e| failed(request, &e))?;
        let modules = objects
            .entry(root, ".gitmodules")
            .map_err(|e| failed(request, &e))?;
        let files = git::checkout_tar(&self.repo, commit, &options, out)
            .map_err(|e| failed(request, &e))?;
        Ok(CheckedOut {
            commit: commit.to_string(),
            reference: ref_name.unwrap_or_default(),
            has_submodules: modules.is_some(),
            files,
        })
    }
}
