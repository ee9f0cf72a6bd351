//! Jobs that use actions of their generation: composite ones, nested ones, those of the workspace,
//! JavaScript ones, and hostile ones.

use std::collections::BTreeMap;

use bundle::Item;
use bundle::manifest::{Action, Origin};
use store::Store;
use supply::testing::Draft;
use testkit::Result;
use testkit::git::{self, Tree};

use crate::content::{add_debian, node};
use crate::site::Site;
use crate::tools::add_tool;

/// Adds the action `name` with a tag `v1`, of these files; its commit.
fn add(draft: &mut Draft, store: &Store, name: &str, files: &[(&str, &str)]) -> Result<String> {
    add_tree(draft, store, name, &|tree| {
        for (path, text) in files {
            tree.write(path, text)?;
        }
        Ok(())
    })
}

fn add_tree(
    draft: &mut Draft,
    store: &Store,
    name: &str,
    fill: &dyn Fn(&Tree) -> Result,
) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let tree = Tree::init(&folder.path().join("tree"))?;
    fill(&tree)?;
    tree.commit("one")?;
    git::run(&tree.folder, &["tag", "v1"])?;
    let pack = git::output(&tree.folder, &["pack-objects", "--all", "--stdout", "-q"])?.stdout;
    let id = git::run(&tree.folder, &["rev-parse", "v1"])?
        .trim()
        .to_owned();
    let pack = draft.blob(store, &pack);
    draft.item(Item::Action(Action {
        name: name.to_owned(),
        refs: BTreeMap::from([("refs/tags/v1".to_owned(), id.clone())]),
        pack,
        shallow: Vec::new(),
        source: Origin::default(),
    }));
    Ok(id)
}

/// A composite action of one step that uses another action.
fn nest(inner: &str) -> String {
    format!("runs:\n  using: composite\n  steps:\n    - uses: {inner}\n")
}

/// A composite action of one script.
fn script(lines: &str) -> String {
    let lines: String = lines.lines().map(|l| format!("        {l}\n")).collect();
    format!("runs:\n  using: composite\n  steps:\n    - shell: bash\n      run: |\n{lines}")
}

fn has(log: &str, wanted: &str) {
    assert!(log.contains(wanted), "'{wanted}' is not in:\n{log}");
}

fn lacks(log: &str, wanted: &str) {
    assert!(!log.contains(wanted), "'{wanted}' is in:\n{log}");
}

const GREET: &str = r#"name: Greet
inputs:
  who: { required: true, default: you }
  extra word: { default: "at ${{ github.ref_name }}" }
outputs:
  said: { value: "${{ steps.say.outputs.said }}" }
  skipped: { value: "${{ steps.no.outcome }}" }
runs:
  using: composite
  steps:
    - id: say
      shell: bash
      env: { WHO: "${{ inputs.who }}" }
      run: |
        echo "hello $WHO ${{ inputs['extra word'] }}, outer is $OUTER, job is $JOB"
        echo "said=hello $WHO" >> "$GITHUB_OUTPUT"
        echo "LATER=from the action" >> "$GITHUB_ENV"
        sh "$GITHUB_ACTION_PATH/tool.sh"; cat "${{ github.action_path }}/data"
        echo "I am $GITHUB_ACTION_REPOSITORY at $GITHUB_ACTION_REF ${{ github.action_ref }}"
    - id: no
      if: inputs.who == 'nobody'
      shell: bash
      run: echo this must not run
    - shell: sh
      run: echo "then '${{ steps.outside.outputs.x }}' '${{ steps.say.outputs.said }}' $LATER"
"#;

#[test]
fn a_composite_action_of_the_generation_runs_in_its_own_scope() -> Result {
    let commit = std::cell::RefCell::new(String::new());
    let site = Site::serving(&|draft, store| {
        add_debian(draft, store, "lab/debian", &["ubuntu-latest"])?;
        let files = [
            ("action.yml", GREET),
            ("tool.sh", "echo tool ran\n"),
            ("data", "data of the tree\n"),
            ("sub/dir/action.yaml", &script("echo in a folder")),
        ];
        *commit.borrow_mut() = add(draft, store, "lab/greet", &files)?;
        let outer = nest("lab/greet@v1\n      with: { who: \"${{ github.job }}\" }");
        add(draft, store, "lab/outer", &[("action.yml", &outer)]).map(drop)
    })?;
    let commit = commit.into_inner();
    let steps = format!(
        r#"      - {{ id: outside, run: 'echo x=secretly >> $GITHUB_OUTPUT' }}
      - {{ id: g, uses: lab/greet@v1, with: {{ who: Ada, odd: 1 }}, env: {{ OUTER: step }} }}
      - run: echo "got '${{{{ steps.g.outputs.said }}}}' '${{{{ steps.g.outputs.skipped }}}}' '${{{{ steps.say.outcome }}}}' $LATER"
      - uses: Lab/Greet/sub/dir@{commit}
      - uses: https://github.com/lab/outer@v1
"#
    );
    let (code, log) = site.job(&steps)?;
    assert_eq!(code, 0, "{log}");
    has(&log, "hello Ada at main, outer is step, job is");
    has(&log, "tool ran");
    has(&log, "data of the tree");
    has(&log, "I am lab/greet at v1 v1");
    lacks(&log, "this must not run");
    has(&log, "then '' 'hello Ada' from the action");
    has(&log, "got 'hello Ada' 'skipped' '' from the action");
    has(&log, "lab/greet@v1 has no input 'odd'");
    has(&log, "in a folder");
    has(&log, "hello j at main");
    has(&log, "Run lab/greet@v1");
    has(
        &log,
        &format!("commit {commit} of generation 1 of bundle lab test 1"),
    );
    has(
        &log,
        &format!("lab/greet@v1 at commit {commit}, of bundle lab test 1"),
    );
    let action = &crate::jobs::made_from(&site)?["lab/greet@v1"];
    assert_eq!(action["digest"]["gitCommit"], commit, "{action}");
    let tree = action["digest"]["gitTree"].as_str().ok_or("no tree")?;
    assert!(tree.len() == 40 && tree != commit, "{action}");
    assert_eq!(action["annotations"]["bundleSequence"], 1, "{action}");
    Ok(())
}

#[test]
fn what_an_action_is_given_is_never_run_and_it_cannot_name_a_secret() -> Result {
    let site = Site::serving(&|draft, store| {
        add_debian(draft, store, "lab/debian", &["ubuntu-latest"])?;
        let show = "inputs: { text: {}, key: {} }\n".to_owned()
            + &script("echo \"text: $TEXT\"; echo \"key: ${#KEY}\"; env | grep -c INPUT_ || true")
            + "      env: { TEXT: \"${{ inputs.text }}\", KEY: \"${{ inputs.key }}\" }\n";
        add(draft, store, "lab/show", &[("action.yml", &show)])?;
        let leak = script("echo ${{ secrets.KEY }}");
        add(draft, store, "lab/leak", &[("action.yml", &leak)]).map(drop)
    })?;
    // Text with an expression in it, made at run time, stays text.
    let (code, log) = site.job(
        r#"      - id: evil
        run: printf 'x=$%s github.sha }}$(touch /tmp/pwned)\n' '{{' >> $GITHUB_OUTPUT
      - { uses: lab/show@v1, with: { text: "${{ steps.evil.outputs.x }}" } }
      - run: test ! -e /tmp/pwned
"#,
    )?;
    assert_eq!(code, 0, "{log}");
    has(&log, "\ntext: ${{ github.sha }}$(touch /tmp/pwned)\n");
    has(&log, "\nkey: 0\n0\n");
    site.appliance
        .ok_with_input(&["secret", "set", "lab/app", "KEY"], "hunter2hunter2")?;
    let (code, log) = site.job(
        r#"      - uses: lab/show@v1
        with: { text: "it is ${{ secrets.KEY }}", key: "${{ secrets.KEY }}" }
"#,
    )?;
    assert_eq!(code, 0, "{log}");
    has(&log, "\ntext: it is ***\nkey: 14\n");
    lacks(&log, "hunter2");
    let told = site.push("on: push\njobs:\n  j:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: lab/leak@v1\n")?;
    has(&told, "Unrecognized named-value: 'secrets'");
    Ok(())
}

#[test]
fn an_action_cannot_change_its_tree_nor_lead_out_of_it() -> Result {
    let site = Site::serving(&|draft, store| {
        add_debian(draft, store, "lab/debian", &["ubuntu-latest"])?;
        let writer = script(
            "id -u; cd \"$GITHUB_ACTION_PATH\"\n\
             for do in 'echo evil >> action.yml' 'touch new' 'rm data' 'chmod 777 data' 'mv data x'; do\n\
             if sh -c \"$do\" 2>/dev/null; then echo \"WROTE $do\"; fi; done\n\
             mount -o remount,rw \"$GITHUB_ACTION_PATH\" 2>/dev/null && echo WROTE by mount\n\
             cp data /tmp/data && echo more >> /tmp/data && echo control: a copy can be changed\n\
             cat data passwd",
        );
        add_tree(draft, store, "lab/writer", &|tree| {
            tree.write("action.yml", &writer)?;
            tree.write("data", "as committed\n")?;
            Ok(std::os::unix::fs::symlink(
                "/etc/hostname",
                tree.folder.join("passwd"),
            )?)
        })?;
        // The file of the action is a link: to one of the host, it would be read there.
        add_tree(draft, store, "lab/link", &|tree| {
            let link = tree.folder.join("action.yml");
            Ok(std::os::unix::fs::symlink("/etc/passwd", link)?)
        })
        .map(drop)
    })?;
    for _ in 0..2 {
        let (code, log) = site.job("      - uses: lab/writer@v1\n")?;
        assert_eq!(code, 0, "{log}");
        lacks(&log, "WROTE echo");
        lacks(&log, "WROTE touch");
        lacks(&log, "WROTE rm");
        lacks(&log, "WROTE chmod");
        lacks(&log, "WROTE mv");
        lacks(&log, "out WROTE by mount");
        has(&log, "control: a copy can be changed");
        has(&log, "as committed");
        // The link leads to what the job has there, not to the host's.
        has(&log, "job-");
    }
    let told = site.push("on: push\njobs:\n  j:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: lab/link@v1\n      - uses: lab/writer/../../x@v1\n")?;
    has(&told, "names no action");
    let told = site.push("on: push\njobs:\n  j:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: lab/link@v1\n")?;
    has(&told, "action.yml is no plain file");
    Ok(())
}

#[test]
fn circles_depth_and_what_is_missing_are_told_when_pushed() -> Result {
    let mut site = Site::serving(&|draft, store| {
        add_debian(draft, store, "lab/debian", &["ubuntu-latest"])?;
        add(draft, store, "lab/a", &[("action.yml", &nest("lab/b@v1"))])?;
        add(draft, store, "lab/b", &[("action.yml", &nest("lab/a@v1"))])?;
        // One repository with a chain: d1 uses d2, and so on; the last prints.
        let mut chain: Vec<(String, String)> = (1..12)
            .map(|n| {
                (
                    format!("d{n}/action.yml"),
                    nest(&format!("lab/deep/d{}@v1", n + 1)),
                )
            })
            .collect();
        chain.push(("d12/action.yml".to_owned(), script("echo at the bottom")));
        let chain: Vec<(&str, &str)> = chain.iter().map(|(p, t)| (&**p, &**t)).collect();
        add(draft, store, "lab/deep", &chain)?;
        add(
            draft,
            store,
            "lab/lost",
            &[("action.yml", &nest("lab/gone@v7"))],
        )?;
        let docker = "runs: { using: docker, image: Dockerfile }\n";
        add(draft, store, "lab/docker", &[("action.yml", docker)])?;
        let main = "runs: { using: node20, main: dist/index.js }\n";
        add(draft, store, "lab/unbuilt", &[("action.yml", main)])?;
        let bad = "runs:\n  using: composite\n  steps:\n    - run: x\n";
        add(draft, store, "lab/bad", &[("action.yml", bad)]).map(drop)
    })?;
    for (uses, said) in [
        (
            "lab/a@v1",
            ":6:15: lab/a@v1 uses itself: actions must not form a circle (used by lab/a@v1 → lab/b@v1)",
        ),
        ("lab/deep/d2@v1", "is nested too deep: at most 10 actions"),
        (
            "lab/lost@v1",
            "action lab/gone@v7 is not in the active generation (used by lab/lost@v1)",
        ),
        (
            "lab/greet@v2",
            "action lab/greet@v2 is not in the active generation",
        ),
        ("lab/deep@v2", "of lab/deep it has v1"),
        ("lab/deep@v1", "there is no action.yml at commit"),
        ("lab/docker@v1", "actions in containers are not served"),
        (
            "lab/unbuilt@v1",
            "its program 'dist/index.js' is not in commit",
        ),
        (
            "lab/bad@v1",
            "lab/bad@v1:action.yml:4:7: a step of an action that runs a script must name its shell",
        ),
    ] {
        let told = site.push(&format!(
            "on: push\njobs:\n  j:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: {uses}\n"
        ))?;
        has(&told, said);
    }
    // The control: ten are not too deep.
    let (code, log) = site.job("      - uses: lab/deep/d3@v1\n")?;
    assert_eq!(code, 0, "{log}");
    has(&log, "at the bottom");
    let wants = site.wants()?;
    for name in ["action lab/gone@v7", "action lab/greet@v2"] {
        assert!(
            wants.iter().any(|(want, _)| want == name),
            "{name}: {wants:?}"
        );
    }
    Ok(())
}

#[test]
fn actions_of_the_workspace_run_as_they_are_there() -> Result {
    let site = Site::serving(&|draft, store| {
        add_debian(draft, store, "lab/debian", &["ubuntu-latest"])?;
        add(
            draft,
            store,
            "lab/inner",
            &[("action.yml", &script("echo inner ran"))],
        )
        .map(drop)
    })?;
    site.push("on: workflow_dispatch\njobs:\n  j:\n    runs-on: ubuntu-latest\n    steps:\n      - run: x\n")?;
    let tree = Tree {
        folder: site.folder.path().join("tree"),
    };
    tree.write(".github/act/action.yml", nest("lab/inner@v1"))?;
    let (code, log) = site.job(
        r"      - { uses: ./.github/act, continue-on-error: true }
      - uses: actions/checkout@v4
      - uses: ./.github/act
      - uses: actions/checkout@v4
        with: { path: src }
      - uses: ./src/.github/act
      - run: |
          mkdir made loop
          printf 'runs:\n  using: composite\n  steps:\n    - { shell: sh, run: echo made at run time }\n' > made/action.yml
          printf 'runs:\n  using: composite\n  steps:\n    - uses: ./loop\n' > loop/action.yml
      - uses: ./made
      - uses: ./loop
",
    )?;
    assert_eq!(code, 1, "{log}");
    has(&log, "check the repository out first");
    assert_eq!(log.matches("\ninner ran\n").count(), 2, "{log}");
    has(&log, "made at run time");
    has(&log, "./loop uses itself: actions must not form a circle");
    let told = site.push("on: push\njobs:\n  j:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: ./../../etc\n")?;
    has(&told, "leads out of the workspace");
    Ok(())
}

const NODE_ACTION: &str = r#"inputs:
  some word: { default: d }
  fail: { default: "" }
runs:
  using: node20
  pre: pre.js
  main: main.js
  post: post.js
  post-if: always()
"#;
const MAIN_JS: &str = r#"const fs = require('fs');
const put = (file, text) => fs.appendFileSync(process.env[file], text + '\n');
console.log(`main of ${process.env['INPUT_SOME_WORD']} with ${process.env.STATE_pre} in ${process.cwd()}`);
console.log(`I am ${process.env.GITHUB_ACTION_REPOSITORY}`);
put('GITHUB_OUTPUT', `word=${process.env.INPUT_SOME_WORD}!`);
put('GITHUB_STATE', `mine=${process.env.INPUT_SOME_WORD}`);
put('GITHUB_ENV', 'FROM_NODE=yes');
console.log('::notice::from node');
try { fs.writeFileSync(__dirname + '/main.js', 'evil'); console.log('WROTE'); } catch (e) { console.log(`kept: ${e.code}`); }
if (process.env.INPUT_FAIL) process.exit(3);
"#;
const PRE_JS: &str = "console.log('pre ran'); console.log('::save-state name=pre::prepared');\n";
const POST_JS: &str =
    "console.log(`post of ${process.env.STATE_mine} after ${process.env.STATE_pre}`);\n";

fn add_node_action(draft: &mut Draft, store: &Store) -> Result {
    add_debian(draft, store, "lab/debian", &["ubuntu-latest"])?;
    let files = [
        ("action.yml", NODE_ACTION),
        ("main.js", MAIN_JS),
        ("pre.js", PRE_JS),
        ("post.js", POST_JS),
    ];
    add(draft, store, "lab/js", &files)?;
    let outer = nest("lab/js@v1\n      with: { some word: nested }");
    add(draft, store, "lab/wrap", &[("action.yml", &outer)]).map(drop)
}

#[test]
fn a_javascript_action_runs_before_as_and_after_its_step() -> Result {
    let (version, archive) = node()?;
    let site = Site::serving(&|draft, store| {
        add_node_action(draft, store)?;
        add_tool(draft, store, ("node", &version), &archive, 1)
    })?;
    let (code, log) = site.job(
        r#"      - run: echo the first step
      - { id: a, uses: lab/js@v1, with: { some word: one } }
      - run: echo "out ${{ steps.a.outputs.word }} $FROM_NODE"
      - uses: lab/wrap@v1
      - { uses: lab/js@v1, with: { some word: failing, fail: 1 } }
      - run: echo this is skipped
"#,
    )?;
    assert_eq!(code, 1, "{log}");
    has(&log, &format!("run by Node {version} (written for 20)"));
    has(&log, "main of one with prepared in /work/app/app");
    has(&log, "I am lab/js");
    has(&log, "out one! yes");
    has(&log, "kept: EROFS");
    lacks(&log, "WROTE");
    has(&log, "main of nested with prepared");
    has(&log, "exit code 3");
    let at = |text: &str| {
        log.find(text)
            .unwrap_or_else(|| panic!("no '{text}' in:\n{log}"))
    };
    assert!(at("pre ran") < at("the first step"), "{log}");
    let posts = ["failing", "nested", "one"].map(|w| at(&format!("post of {w} after prepared")));
    assert!(
        posts.is_sorted() && at("main of failing") < posts[0],
        "{log}"
    );
    assert_eq!(log.matches("post of").count(), 3, "{log}");
    Ok(())
}

#[test]
fn posts_run_after_a_cancellation_or_the_time_limit_and_a_missing_node_is_named() -> Result {
    let (version, archive) = node()?;
    let site = Site::serving(&|draft, store| {
        add_node_action(draft, store)?;
        add_tool(draft, store, ("node", &version), &archive, 1)
    })?;
    let held = |minutes: &str| {
        format!(
            r#"on: push
jobs:
  j:
    runs-on: ubuntu-latest
    timeout-minutes: {minutes}
    steps:
      - {{ uses: lab/js@v1, with: {{ some word: held }} }}
      - run: echo begun; sleep 600
      - run: echo this is skipped
"#
        )
    };
    site.push(&held("60"))?;
    let mut follow = testkit::program::Program::start(
        site.appliance
            .command(&["run", "log", "lab/app", "--follow"])
            .stderr(std::process::Stdio::null()),
    )?;
    follow.line_with(|line| line.contains("begun") && !line.contains("sleep"))?;
    site.appliance.ok(&["run", "cancel", "lab/app"])?;
    let (code, log) = site.watch()?;
    assert_ne!(code, 0, "{log}");
    has(&log, "post of held after prepared");
    lacks(&log, "this is skipped");
    site.push(&held("0.05"))?;
    let (code, log) = site.watch()?;
    assert_ne!(code, 0, "{log}");
    has(&log, "post of held after prepared");
    lacks(&log, "this is skipped");

    let mut bare = Site::serving(&add_node_action)?;
    let (code, log) = bare.job("      - uses: lab/js@v1\n")?;
    assert_eq!(code, 1, "{log}");
    has(&log, "put the toolchain node 20 into the next bundle");
    let wants = bare.wants()?;
    assert!(
        wants.contains(&("toolcache node 20".to_owned(), true)),
        "{wants:?}"
    );
    Ok(())
}
