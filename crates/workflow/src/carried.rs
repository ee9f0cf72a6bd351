//! What a workflow or an action names that must be carried in: images, actions, other workflows.
//!
//! Looks at the tree only, so that a file is heard out even where it cannot be run here.

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Position};
use crate::yaml::{Limits, Node, NodeKind, load};

/// Something that a file names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Named {
    /// As written, expressions included.
    pub text: String,
    /// Where.
    pub position: Position,
}

/// What a file names.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Carried {
    /// Images of containers, services and actions, without `docker://`.
    pub images: Vec<Named>,
    /// Each `uses` of a step or of a job.
    pub uses: Vec<Named>,
    /// Each `run` of a step; its place is that of its first line.
    pub scripts: Vec<Named>,
}

/// What the workflow `bytes` names, in the order of the file. Errors: it is no YAML.
pub fn carried_of_workflow(
    path: &str,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Carried, Vec<Diagnostic>> {
    let root = tree(path, bytes, limits)?;
    let mut found = Carried::default();
    for (_, job) in get(&root, "jobs").map(entries).unwrap_or_default() {
        found.uses.extend(get(job, "uses").and_then(named));
        if let Some(container) = get(job, "container") {
            found.image(container);
        }
        for (_, service) in get(job, "services").map(entries).unwrap_or_default() {
            found.image(service);
        }
        found.steps(job);
    }
    Ok(found)
}

/// What the `action.yml` `bytes` names, in the order of the file. Errors: it is no YAML.
pub fn carried_of_action(
    path: &str,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Carried, Vec<Diagnostic>> {
    let root = tree(path, bytes, limits)?;
    let mut found = Carried::default();
    if let Some(runs) = get(&root, "runs") {
        found.steps(runs);
        let image = get(runs, "image").and_then(named);
        found.images.extend(image.and_then(|image| {
            let text = image.text.strip_prefix("docker://")?.to_owned();
            Some(Named { text, ..image })
        }));
    }
    Ok(found)
}

impl Carried {
    /// A container is an image, or a mapping with one.
    fn image(&mut self, node: &Node) {
        let image = named(node).or_else(|| get(node, "image").and_then(named));
        self.images.extend(image.map(|image| {
            let text = image.text.trim_start_matches("docker://").to_owned();
            Named { text, ..image }
        }));
    }

    fn steps(&mut self, node: &Node) {
        let Some(NodeKind::Sequence(steps)) = get(node, "steps").map(|steps| &steps.kind) else {
            return;
        };
        for step in steps {
            self.uses.extend(get(step, "uses").and_then(named));
            self.scripts.extend(get(step, "run").and_then(script));
        }
    }
}

fn tree(path: &str, bytes: &[u8], limits: &Limits) -> Result<Node, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    load(path, bytes, limits, &mut problems).ok_or(problems)
}

fn entries(node: &Node) -> &[(Node, Node)] {
    match &node.kind {
        NodeKind::Mapping(entries) => entries,
        NodeKind::Scalar(_) | NodeKind::Sequence(_) => &[],
    }
}

fn get<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let is = |key: &Node| key.scalar().is_some_and(|value| &*value.to_text() == name);
    entries(node)
        .iter()
        .find(|(key, _)| is(key))
        .map(|(_, value)| value)
}

fn named(node: &Node) -> Option<Named> {
    let text = node.scalar()?.to_text().to_string();
    (!text.is_empty()).then_some(Named {
        text,
        position: node.position,
    })
}

/// A script in a block begins on the line after its mark.
fn script(node: &Node) -> Option<Named> {
    let mut found = named(node)?;
    if matches!(&node.kind, NodeKind::Scalar(scalar) if scalar.literal) {
        found.position.line += 1;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(named: &[Named]) -> Vec<(&str, usize)> {
        named
            .iter()
            .map(|n| (n.text.as_str(), n.position.line))
            .collect()
    }

    #[test]
    fn images_uses_and_scripts_are_found_with_their_lines() {
        let text = "on: push\njobs:\n  a:\n    runs-on: x\n    container: docker://debian:12\n    \
            services:\n      db:\n        image: postgres:16\n    steps:\n      - uses: a/b@v1\n      \
            - run: pip install x\n      - run: |\n          make\n  b:\n    uses: c/d/.github/workflows/w.yml@v2\n";
        let found = carried_of_workflow("w.yml", text.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(texts(&found.images), [("debian:12", 5), ("postgres:16", 8)]);
        assert_eq!(
            texts(&found.uses),
            [("a/b@v1", 10), ("c/d/.github/workflows/w.yml@v2", 15)]
        );
        assert_eq!(
            texts(&found.scripts),
            [("pip install x", 11), ("make\n", 13)]
        );
    }

    #[test]
    fn an_action_names_its_steps_or_its_image() {
        let composite = b"runs:\n  using: composite\n  steps:\n    - uses: a/b@v1\n";
        let found = carried_of_action("a", composite, &Limits::default()).unwrap();
        assert_eq!(texts(&found.uses), [("a/b@v1", 4)]);
        let docker = b"runs:\n  using: docker\n  image: docker://x:1\n";
        let found = carried_of_action("a", docker, &Limits::default()).unwrap();
        assert_eq!(texts(&found.images), [("x:1", 3)]);
        let built = b"runs:\n  using: docker\n  image: Dockerfile\n";
        assert!(
            carried_of_action("a", built, &Limits::default())
                .unwrap()
                .images
                .is_empty()
        );
        assert!(carried_of_action("a", b"a: [", &Limits::default()).is_err());
    }
}
