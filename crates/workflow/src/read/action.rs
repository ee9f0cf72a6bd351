//! Reads an `action.yml`.

use super::scalars::Kind;
use super::{Fields, Reader, key_text};
use crate::action::{Action, ActionInput, ActionOutput, NodeRun, Runs};
use crate::availability::Place;
use crate::expr::Value;
use crate::model::{Step, StepAction};
use crate::yaml::{Node, NodeKind};

/// Keys of the file that mean something here.
const KEYS: [&str; 7] = [
    "name",
    "description",
    "author",
    "branding",
    "inputs",
    "outputs",
    "runs",
];
/// Keys of an input.
const INPUT: [&str; 5] = [
    "description",
    "required",
    "default",
    "deprecationMessage",
    "type",
];
/// Keys of `runs`, by what it is.
const COMPOSITE: [&str; 2] = ["using", "steps"];
const NODE: [&str; 6] = ["using", "main", "pre", "pre-if", "post", "post-if"];

impl Reader<'_> {
    pub(super) fn action_file(&mut self, root: &Node) -> Option<Action> {
        let entries = self.mapping(root, "an action")?;
        self.tolerate(entries, "an action", &KEYS);
        let fields = Fields {
            position: root.position,
            entries,
        };
        let name = fields.get("name").and_then(|node| self.text(node, "name"));
        let inputs = fields.get("inputs").map(|node| self.action_inputs(node));
        let outputs = fields.get("outputs").map(|node| self.action_outputs(node));
        let runs = self.required(&fields, "runs", "an action")?;
        let runs = self.runs(runs)?;
        Some(Action {
            path: self.path.to_owned(),
            name,
            inputs: inputs.unwrap_or_default(),
            outputs: outputs.unwrap_or_default(),
            runs,
            warnings: Vec::new(),
        })
    }

    /// Unknown keys change nothing, but their author should know.
    fn tolerate(&mut self, entries: &[(Node, Node)], what: &str, known: &[&str]) {
        for (key, _) in entries {
            let name = key_text(key);
            if !known.contains(&name.as_str()) {
                self.warning(
                    key.position,
                    format!("unknown key '{name}' in {what} changes nothing"),
                    format!("known here: {}", known.join(", ")),
                );
            }
        }
    }

    /// The entries of a mapping of names to mappings; nothing is as good as an empty one.
    fn named<'n>(&mut self, node: &'n Node, what: &str) -> Vec<(String, &'n Node)> {
        if node.scalar() == Some(&Value::Null) {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (key, value) in self.mapping(node, what).unwrap_or_default() {
            let name = key_text(key);
            if name.is_empty() {
                self.problem(key.position, format!("a name in {what} is empty"));
                continue;
            }
            found.push((name, value));
        }
        found
    }

    fn action_inputs(&mut self, node: &Node) -> Vec<ActionInput> {
        let mut inputs = Vec::new();
        for (id, node) in self.named(node, "inputs") {
            let mut input = ActionInput {
                id,
                required: false,
                default: None,
                deprecation: None,
            };
            let NodeKind::Mapping(entries) = &node.kind else {
                // `name:` alone declares an input.
                if node.scalar() != Some(&Value::Null) {
                    self.unexpected(node, "an input", "a mapping");
                }
                inputs.push(input);
                continue;
            };
            self.tolerate(entries, "an input", &INPUT);
            let fields = Fields {
                position: node.position,
                entries,
            };
            input.required = fields.get("required").is_some_and(|node| self.truth(node));
            input.default = fields
                .get("default")
                .and_then(|node| self.scalar(node, "default", Kind::Text, Place::ActionInput));
            input.deprecation = fields
                .get("deprecationMessage")
                .and_then(|node| self.text(node, "deprecationMessage"));
            inputs.push(input);
        }
        inputs
    }

    /// True or false, quoted or not.
    fn truth(&mut self, node: &Node) -> bool {
        match node.scalar().map(|value| value.to_text().to_lowercase()) {
            Some(text) if text == "true" => true,
            Some(text) if text == "false" || text.is_empty() => false,
            _ => {
                let message = format!("required must be true or false, not {}", node.describe());
                self.problem(node.position, message);
                false
            }
        }
    }

    fn action_outputs(&mut self, node: &Node) -> Vec<ActionOutput> {
        let mut outputs = Vec::new();
        for (id, node) in self.named(node, "outputs") {
            let value = match &node.kind {
                NodeKind::Mapping(entries) => {
                    self.tolerate(entries, "an output", &["description", "value"]);
                    let fields = Fields {
                        position: node.position,
                        entries,
                    };
                    fields.get("value").and_then(|node| {
                        self.scalar(
                            node,
                            "the value of an output",
                            Kind::Text,
                            Place::ActionStep,
                        )
                    })
                }
                _ if node.scalar() == Some(&Value::Null) => None,
                _ => {
                    self.unexpected(node, "an output", "a mapping");
                    None
                }
            };
            outputs.push(ActionOutput { id, value });
        }
        outputs
    }

    fn runs(&mut self, node: &Node) -> Option<Runs> {
        let entries = self.mapping(node, "runs")?;
        let fields = Fields {
            position: node.position,
            entries,
        };
        let using = self.required(&fields, "using", "runs")?;
        let word = self.non_empty(using, "using")?.to_lowercase();
        match word.as_str() {
            "composite" => {
                self.fields(node, "runs of a composite action", &COMPOSITE);
                let steps = self.required(&fields, "steps", "runs of a composite action")?;
                Some(Runs::Composite(self.action_steps(steps)))
            }
            "docker" => Some(Runs::Docker(using.position)),
            _ => {
                let major = word.strip_prefix("node").and_then(|n| n.parse().ok());
                match major.filter(|major| [12, 16, 20, 24].contains(major)) {
                    Some(major) => {
                        self.fields(node, "runs of a node action", &NODE);
                        let node = self.node(&fields, major)?;
                        Some(Runs::Node(Box::new(node)))
                    }
                    None => {
                        self.problem_mend(
                            using.position,
                            format!("using cannot be {}", using.describe()),
                            "it can be composite, node12, node16, node20, node24 or docker",
                        );
                        None
                    }
                }
            }
        }
    }

    fn node(&mut self, fields: &Fields<'_>, major: u32) -> Option<NodeRun> {
        let mut program = |name: &str| {
            let node = fields.get(name)?;
            self.non_empty(node, name)
        };
        let (pre, post) = (program("pre"), program("post"));
        let mut condition = |name: &str| {
            let node = fields.get(name)?;
            self.condition(node, name, Place::ActionIf)
        };
        let (pre_if, post_if) = (condition("pre-if"), condition("post-if"));
        let main = self.required(fields, "main", "runs of a node action")?;
        Some(NodeRun {
            major,
            main: self.non_empty(main, "main")?,
            pre,
            pre_if,
            post,
            post_if,
        })
    }

    fn action_steps(&mut self, node: &Node) -> Vec<Step> {
        for item in self.sequence(node, "steps").unwrap_or_default() {
            let NodeKind::Mapping(entries) = &item.kind else {
                continue;
            };
            let limit = |(key, _): &&(Node, Node)| key_text(key) == "timeout-minutes";
            if let Some((key, _)) = entries.iter().find(limit) {
                self.problem_mend(
                    key.position,
                    "a step of an action cannot have 'timeout-minutes'",
                    "it belongs to the step that uses the action",
                );
            }
        }
        let steps = self.steps(node);
        for step in &steps {
            if let StepAction::Run { shell: None, .. } = step.action {
                self.problem_mend(
                    step.position,
                    "a step of an action that runs a script must name its shell",
                    "add shell: bash, or sh",
                );
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use crate::action::{Action, Runs};
    use crate::read::parse_action;
    use crate::yaml::Limits;

    fn read(text: &str) -> Action {
        parse_action("action.yml", text.as_bytes(), &Limits::default()).unwrap()
    }

    fn problems(text: &str) -> Vec<String> {
        parse_action("action.yml", text.as_bytes(), &Limits::default())
            .map(|action| panic!("it was taken: {action:?}"))
            .unwrap_or_else(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_composite_action_is_understood() {
        let action = read(concat!(
            "name: Greet\ndescription: d\nbranding: { icon: x, color: red }\n",
            "inputs:\n  who: { required: true, default: 'you', deprecationMessage: 'use whom' }\n",
            "  plain:\n  ref: { default: '${{ github.sha }}', required: 'false' }\n",
            "outputs:\n  said: { description: d, value: '${{ steps.s.outputs.said }}' }\n",
            "runs:\n  using: composite\n  steps:\n    - id: s\n      run: echo ${{ inputs.who }}\n",
            "      shell: bash\n      if: ${{ always() && inputs.who != '' }}\n",
            "    - uses: a/b@v1\n      with: { x: '${{ env.Y }}' }\n      continue-on-error: true\n",
        ));
        assert_eq!(action.name.as_deref(), Some("Greet"));
        let who = action.input("WHO").unwrap();
        assert!(who.required && who.deprecation.as_deref() == Some("use whom"));
        assert!(!action.input("ref").unwrap().required && action.input("plain").is_some());
        assert_eq!(action.outputs.len(), 1);
        assert_eq!(action.steps().len(), 2);
        assert!(action.warnings.is_empty(), "{:?}", action.warnings);
    }

    #[test]
    fn a_node_action_is_understood() {
        let action = read(
            "runs: { using: Node20, main: dist/i.js, pre: p.js, pre-if: failure(), post: q.js, post-if: \"success()\" }",
        );
        let Runs::Node(node) = &action.runs else {
            panic!("{action:?}");
        };
        assert_eq!((node.major, node.main.as_str()), (20, "dist/i.js"));
        assert!(node.pre_if.is_some() && node.post_if.is_some());
        let docker = read("runs: { using: docker, image: Dockerfile }");
        assert!(matches!(docker.runs, Runs::Docker(at) if at.line == 1));
    }

    #[test]
    fn keys_that_nobody_knows_are_told_and_change_nothing() {
        let action = read(
            "nme: x\ninputs:\n  a: { typ: string }\noutputs:\n  o: { vlue: 1 }\nruns: { using: node24, main: i.js }\n",
        );
        let warnings: Vec<_> = action.warnings.iter().map(|w| (w.line, w.column)).collect();
        assert_eq!(warnings, [(1, 1), (3, 8), (5, 8)]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let composite = |step: &str| {
            problems(&format!(
                "runs:\n  using: composite\n  steps:\n    - {step}\n"
            ))
        };
        for (step, place, said) in [
            ("run: make", "4:7", "must name its shell"),
            (
                "{ run: make, shell: sh, timeout-minutes: 5 }",
                "4:31",
                "cannot have 'timeout-minutes'",
            ),
            (
                "{ run: 'echo ${{ secrets.KEY }}', shell: sh }",
                "4:14",
                "Unrecognized named-value: 'secrets'",
            ),
            (
                "{ uses: a/b@v1, if: \"vars.X\" }",
                "4:27",
                "Unrecognized named-value: 'vars'",
            ),
            ("{ uses: a/b@v1, wiht: {} }", "4:23", "did you mean 'with'?"),
            ("{ uses: a/b }", "4:15", "names no action"),
        ] {
            let all = composite(step);
            let found = all
                .iter()
                .any(|p| p.starts_with(&format!("action.yml:{place}: ")) && p.contains(said));
            assert!(found, "{step}: {all:?}");
        }
        for (text, said) in [
            ("name: x", "1:1: an action has no 'runs'; it is required"),
            ("runs: { main: x }", "1:7: runs has no 'using'"),
            (
                "runs: { using: node18, main: x }",
                "1:16: using cannot be 'node18'",
            ),
            (
                "runs: { using: node20 }",
                "1:7: runs of a node action has no 'main'",
            ),
            (
                "runs: { using: node20, main: x, steps: [] }",
                "1:33: unknown key 'steps'",
            ),
            (
                "runs: { using: composite, steps: [], main: x }",
                "1:38: unknown key 'main'",
            ),
            (
                "inputs: { a: {}, A: {} }\nruns: { using: node20, main: x }",
                "1:18: 'A' is already defined",
            ),
            (
                "inputs: { a: { default: '${{ inputs.b }}' } }\nruns: { using: node20, main: x }",
                "1:25: Unrecognized named-value: 'inputs'",
            ),
            ("[", "1:"),
        ] {
            let all = problems(text);
            assert!(
                all.iter()
                    .any(|p| p.starts_with(&format!("action.yml:{said}"))),
                "{text}: {all:?}"
            );
        }
    }
}
