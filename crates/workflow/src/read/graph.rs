//! Checks that the needs of jobs name jobs and go round in no circle.

use std::collections::{HashMap, HashSet};

use super::{Reader, is_key, key_text};
use crate::diagnostic::nearest;
use crate::expr::fold;
use crate::yaml::{Node, NodeKind};

/// One job: its key and the items of its `needs`.
struct Vertex<'n> {
    key: &'n Node,
    id: String,
    needs: Vec<(String, &'n Node)>,
}

impl Reader<'_> {
    /// Works on the file's tree, so that jobs with other problems count too.
    pub(super) fn check_graph(&mut self, entries: &[(Node, Node)]) {
        let vertices: Vec<Vertex<'_>> = entries.iter().map(vertex).collect();
        let ids: HashMap<String, usize> = vertices
            .iter()
            .enumerate()
            .map(|(at, vertex)| (fold(&vertex.id), at))
            .collect();
        for vertex in &vertices {
            for (need, node) in &vertex.needs {
                if !ids.contains_key(&fold(need)) && !self.is_full() {
                    let message =
                        format!("job '{}' needs '{need}', which is no job here", vertex.id);
                    match nearest(need, vertices.iter().map(|vertex| vertex.id.as_str())) {
                        Some(near) => {
                            self.problem_mend(
                                node.position,
                                message,
                                format!("did you mean '{near}'?"),
                            );
                        }
                        None => self.problem(node.position, message),
                    }
                }
            }
        }
        self.check_circles(&vertices, &ids);
    }

    fn check_circles(&mut self, vertices: &[Vertex<'_>], ids: &HashMap<String, usize>) {
        let mut done: HashSet<usize> = HashSet::new();
        loop {
            let ready: Vec<usize> = (0..vertices.len())
                .filter(|at| !done.contains(at))
                .filter(|&at| {
                    let needs = vertices[at].needs.iter();
                    needs
                        .filter_map(|(need, _)| ids.get(&fold(need)))
                        .all(|need| done.contains(need))
                })
                .collect();
            if ready.is_empty() {
                break;
            }
            done.extend(ready);
        }
        let Some(stuck) = (0..vertices.len()).find(|at| !done.contains(at)) else {
            return;
        };
        let circle = circle_from(stuck, vertices, ids, &done);
        let names: Vec<&str> = circle.iter().map(|&at| vertices[at].id.as_str()).collect();
        let message = format!("jobs wait for each other for ever: {}", names.join(" → "));
        // Told where the first job of the circle stands in the file.
        let first = circle.iter().copied().min().unwrap_or(stuck);
        self.problem_mend(
            vertices[first].key.position,
            message,
            "remove one of these needs",
        );
    }
}

fn vertex((key, value): &(Node, Node)) -> Vertex<'_> {
    let mut needs = Vec::new();
    if let NodeKind::Mapping(entries) = &value.kind
        && let Some((_, node)) = entries.iter().find(|(key, _)| is_key(key, "needs"))
    {
        let items = match &node.kind {
            NodeKind::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        for item in items {
            if let Some(text) = item.scalar().map(|value| value.to_text().to_string())
                && !text.is_empty()
            {
                needs.push((text, item));
            }
        }
    }
    Vertex {
        key,
        id: key_text(key),
        needs,
    }
}

/// Follows needs that never end from `start` until a job comes again; gives that circle, closed.
fn circle_from(
    start: usize,
    vertices: &[Vertex<'_>],
    ids: &HashMap<String, usize>,
    done: &HashSet<usize>,
) -> Vec<usize> {
    let mut trail = vec![start];
    loop {
        let last = trail.last().copied().unwrap_or(start);
        let next = vertices[last]
            .needs
            .iter()
            .filter_map(|(need, _)| ids.get(&fold(need)).copied())
            .find(|need| !done.contains(need));
        let Some(next) = next else { return trail };
        if let Some(at) = trail.iter().position(|&seen| seen == next) {
            let mut circle = trail.split_off(at);
            circle.push(next);
            return circle;
        }
        trail.push(next);
    }
}
