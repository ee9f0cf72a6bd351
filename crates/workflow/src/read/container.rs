//! Checks the shape of containers and services, which are not served yet.

use super::Reader;
use super::scalars::Kind;
use super::workflow::is_dynamic;
use crate::availability::Place;
use crate::expr::Value;
use crate::yaml::{Node, NodeKind};

const CONTAINER_KEYS: [&str; 6] = ["image", "options", "env", "ports", "volumes", "credentials"];
const SERVICE_KEYS: [&str; 8] = [
    "image",
    "options",
    "env",
    "ports",
    "volumes",
    "credentials",
    "entrypoint",
    "command",
];

impl Reader<'_> {
    pub(super) fn check_container(&mut self, node: &Node) {
        if matches!(node.kind, NodeKind::Scalar(_)) {
            self.scalar(node, "container", Kind::Text, Place::Job);
            return;
        }
        self.check_keys(node, "container", &CONTAINER_KEYS);
    }

    pub(super) fn check_services(&mut self, node: &Node) {
        if is_dynamic(node) {
            self.scalar(node, "services", Kind::Text, Place::Job);
            return;
        }
        for (_, service) in self.mapping(node, "services").unwrap_or_default() {
            match service.kind {
                NodeKind::Scalar(_) => {
                    self.scalar(service, "a service", Kind::Text, Place::Job);
                }
                _ => self.check_keys(service, "a service", &SERVICE_KEYS),
            }
        }
    }

    fn check_keys(&mut self, node: &Node, what: &str, keys: &[&str]) {
        let Some(fields) = self.fields(node, what, keys) else {
            return;
        };
        if let Some(image) = fields.get("image") {
            self.scalar(image, "image", Kind::NonEmpty, Place::Job);
        }
        for name in ["options", "entrypoint", "command"] {
            if let Some(value) = fields.get(name) {
                self.scalar(value, name, Kind::Text, Place::Job);
            }
        }
        for name in ["ports", "volumes"] {
            for item in fields
                .get(name)
                .filter(|value| value.scalar() != Some(&Value::Null))
                .and_then(|value| self.sequence(value, name))
                .unwrap_or_default()
            {
                self.scalar(item, name, Kind::NonEmpty, Place::Job);
            }
        }
        if let Some(env) = fields.get("env") {
            self.flat_data(env, "env", Kind::Text, Place::JobOutputs);
        }
        if let Some(credentials) = fields.get("credentials") {
            if !is_dynamic(credentials) {
                self.fields(credentials, "credentials", &["username", "password"]);
            }
            self.flat_data(
                credentials,
                "credentials",
                Kind::NonEmpty,
                Place::Credentials,
            );
        }
    }
}
