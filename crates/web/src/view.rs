//! What templates show: plain values, decided on before.

pub(crate) mod audit;
pub(crate) mod bundles;
pub(crate) mod catalogue;

use askama::Template;

use crate::words::When;

/// What every page has around its content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    pub(crate) title: String,
    pub(crate) user: Option<String>,
    pub(crate) places: Vec<Link>,
    pub(crate) seal: Seal,
    pub(crate) said: Vec<Said>,
    pub(crate) version: &'static str,
    pub(crate) assets: &'static str,
}

/// What the bar says of the network and the supply.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seal {
    pub(crate) what: String,
    pub(crate) age: Option<String>,
    pub(crate) title: String,
    /// Where more is told, for those who may read it.
    pub(crate) href: Option<&'static str>,
}

/// A sentence above the content.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) tone: &'static str,
    pub(crate) text: String,
}

/// A link, and whether it leads to where the reader is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) href: String,
    pub(crate) here: bool,
}

impl Link {
    pub(crate) fn new(name: impl Into<String>, href: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            href: href.into(),
            here: false,
        }
    }

    pub(crate) fn here(mut self, here: bool) -> Self {
        self.here = here;
        self
    }
}

/// A state: a word, and the tone that gives it shape and colour.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct State {
    pub(crate) word: &'static str,
    pub(crate) tone: &'static str,
}

/// A named fact.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) text: String,
    /// Where it was read.
    pub(crate) source: Option<String>,
    pub(crate) class: &'static str,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            ..Self::default()
        }
    }
}

#[derive(Template)]
#[template(path = "page/sign_in.html")]
pub(crate) struct SignIn {
    pub(crate) frame: Frame,
    pub(crate) problem: Option<String>,
    pub(crate) next: String,
    pub(crate) name: String,
}

#[derive(Template)]
#[template(path = "page/problem.html")]
pub(crate) struct Problem {
    pub(crate) frame: Frame,
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) todo: Option<String>,
    pub(crate) code: Option<&'static str>,
    pub(crate) incident: Option<String>,
    pub(crate) sign_in: bool,
}

#[derive(Template)]
#[template(path = "page/api_docs.html")]
pub(crate) struct ApiDocs {
    pub(crate) frame: Frame,
    pub(crate) html: String,
}

#[derive(Template)]
#[template(path = "page/repos.html")]
pub(crate) struct Repos {
    pub(crate) frame: Frame,
    pub(crate) count: String,
    pub(crate) rows: Vec<RepoLine>,
    pub(crate) query: String,
    pub(crate) can_create: bool,
    pub(crate) empty: Teach,
    pub(crate) more: Option<String>,
}

pub(crate) struct RepoLine {
    pub(crate) path: String,
    pub(crate) href: String,
    pub(crate) visibility: &'static str,
    pub(crate) pushed: Option<When>,
    pub(crate) run: Option<RunLink>,
}

pub(crate) struct RunLink {
    pub(crate) href: String,
    pub(crate) number: i64,
    pub(crate) state: State,
}

#[derive(Default)]
pub(crate) struct Teach {
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) commands: String,
}

#[derive(Template)]
#[template(path = "page/new_repo.html")]
pub(crate) struct NewRepo {
    pub(crate) frame: Frame,
    pub(crate) problem: Option<String>,
    pub(crate) path: String,
    pub(crate) example: String,
    pub(crate) choices: Vec<Choice>,
}

pub(crate) struct Choice {
    pub(crate) value: &'static str,
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    pub(crate) chosen: bool,
}

/// The head of all pages of one repo.
#[derive(Clone)]
pub(crate) struct RepoHead {
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) href: String,
    pub(crate) visibility: &'static str,
    pub(crate) tabs: Vec<Link>,
}

pub(crate) struct Picker {
    pub(crate) current: String,
    pub(crate) branches: Vec<Link>,
    pub(crate) tags: Vec<Link>,
    pub(crate) more: usize,
}

pub(crate) struct Tree {
    pub(crate) crumbs: Vec<Link>,
    pub(crate) commit: Option<CommitLine>,
    pub(crate) rows: Vec<FileLine>,
    pub(crate) note: Option<String>,
}

pub(crate) struct FileLine {
    pub(crate) name: String,
    pub(crate) href: Option<String>,
    pub(crate) is_dir: bool,
    pub(crate) kind: &'static str,
    pub(crate) size: String,
}

pub(crate) struct Readme {
    pub(crate) name: String,
    pub(crate) html: String,
}

pub(crate) struct CommitLine {
    pub(crate) title: String,
    pub(crate) href: String,
    pub(crate) short: String,
    pub(crate) author: String,
    pub(crate) at: When,
}

#[derive(Template)]
#[template(path = "page/repo.html")]
pub(crate) struct RepoPage {
    pub(crate) frame: Frame,
    pub(crate) repo: RepoHead,
    pub(crate) picker: Picker,
    pub(crate) tree: Tree,
    pub(crate) readme: Option<Readme>,
    pub(crate) clone_url: String,
    pub(crate) ssh: Option<SshClone>,
    pub(crate) commits: Vec<CommitLine>,
    pub(crate) commits_href: String,
    pub(crate) runs: Vec<RunLine>,
}

/// The part of a clone box that is about SSH.
pub(crate) struct SshClone {
    pub(crate) url: String,
    pub(crate) fingerprint: String,
}

#[derive(Template)]
#[template(path = "page/repo_empty.html")]
pub(crate) struct RepoEmpty {
    pub(crate) frame: Frame,
    pub(crate) repo: RepoHead,
    pub(crate) clone_url: String,
    pub(crate) branch: String,
}

#[derive(Template)]
#[template(path = "page/tree.html")]
pub(crate) struct TreePage {
    pub(crate) frame: Frame,
    pub(crate) repo: RepoHead,
    pub(crate) picker: Picker,
    pub(crate) tree: Tree,
    pub(crate) readme: Option<Readme>,
}

#[derive(Template)]
#[template(path = "page/blob.html")]
pub(crate) struct BlobPage {
    pub(crate) frame: Frame,
    pub(crate) repo: RepoHead,
    pub(crate) picker: Picker,
    pub(crate) crumbs: Vec<Link>,
    pub(crate) name: String,
    pub(crate) size: String,
    pub(crate) toggle: Option<Link>,
    pub(crate) raw_href: String,
    pub(crate) body: BlobBody,
}

pub(crate) enum BlobBody {
    Text(Vec<String>),
    Prose(String),
    Image,
    Opaque(String),
}

#[derive(Template)]
#[template(path = "page/commits.html")]
pub(crate) struct Commits {
    pub(crate) frame: Frame,
    pub(crate) repo: RepoHead,
    pub(crate) picker: Picker,
    pub(crate) commits: Vec<CommitLine>,
    pub(crate) more: Option<String>,
}

#[derive(Template)]
#[template(path = "page/commit.html")]
pub(crate) struct CommitPage {
    pub(crate) frame: Frame,
    pub(crate) repo: RepoHead,
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) message: String,
    pub(crate) author: String,
    pub(crate) authored: When,
    pub(crate) committer: Option<String>,
    pub(crate) parents: Vec<Link>,
    pub(crate) files_href: String,
    pub(crate) runs: Vec<RunLine>,
    pub(crate) changes: Vec<ChangeLine>,
    pub(crate) changed_count: String,
    pub(crate) note: Option<String>,
}

pub(crate) struct ChangeLine {
    pub(crate) word: &'static str,
    pub(crate) class: &'static str,
    pub(crate) path: String,
    pub(crate) href: Option<String>,
}

#[derive(Template)]
#[template(path = "page/runs.html")]
pub(crate) struct Runs {
    pub(crate) frame: Frame,
    pub(crate) repo: Option<RepoHead>,
    pub(crate) rows: Vec<RunLine>,
    pub(crate) more: Option<String>,
    pub(crate) dispatch: Vec<Dispatch>,
    pub(crate) dispatch_action: String,
}

pub(crate) struct RunLine {
    pub(crate) href: String,
    pub(crate) title: String,
    pub(crate) number: i64,
    pub(crate) workflow: String,
    pub(crate) repo: Option<Link>,
    pub(crate) why: Option<String>,
    pub(crate) ref_name: String,
    pub(crate) commit: String,
    pub(crate) actor: String,
    pub(crate) waited: String,
    pub(crate) took: String,
    pub(crate) at: When,
    pub(crate) state: State,
}

pub(crate) struct Dispatch {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) ref_name: String,
    pub(crate) inputs: Vec<Input>,
}

pub(crate) struct Input {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) required: bool,
    pub(crate) default: String,
    pub(crate) options: Vec<InputOption>,
}

pub(crate) struct InputOption {
    pub(crate) text: String,
    pub(crate) chosen: bool,
}

#[derive(Template)]
#[template(path = "page/run.html")]
pub(crate) struct RunPage {
    pub(crate) frame: Frame,
    pub(crate) repo: RepoHead,
    pub(crate) run: RunHead,
    pub(crate) events_href: String,
    pub(crate) cancel_action: Option<String>,
    pub(crate) rerun_action: Option<String>,
    pub(crate) rerun_failed_action: Option<String>,
    pub(crate) problems_title: String,
    pub(crate) problems: Vec<ProblemLine>,
    pub(crate) graph: Vec<Vec<JobNode>>,
    pub(crate) job: Option<JobView>,
    pub(crate) steps: Vec<StepView>,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) summaries: Vec<Readme>,
    pub(crate) receipt: ReceiptView,
    pub(crate) costs: Vec<Row>,
}

pub(crate) struct RunHead {
    pub(crate) title: String,
    pub(crate) number: i64,
    pub(crate) workflow: String,
    pub(crate) ref_name: String,
    pub(crate) commit: String,
    pub(crate) commit_href: String,
    pub(crate) actor: String,
    pub(crate) event: String,
    pub(crate) at: When,
    pub(crate) first_output: Option<String>,
    pub(crate) took: Option<String>,
    pub(crate) why: Option<String>,
    pub(crate) finished: bool,
    pub(crate) state: State,
}

pub(crate) struct ProblemLine {
    pub(crate) place: Option<String>,
    pub(crate) href: Option<String>,
    pub(crate) text: String,
}

pub(crate) struct JobNode {
    pub(crate) id: i64,
    pub(crate) href: String,
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) took: String,
    pub(crate) here: bool,
}

pub(crate) struct JobView {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) stream: Option<String>,
    pub(crate) attempts: Vec<Link>,
    pub(crate) raw: Option<String>,
    pub(crate) has_log: bool,
    pub(crate) log_note: String,
    pub(crate) wait: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) earlier: Option<String>,
    pub(crate) later: Option<String>,
    pub(crate) from: String,
}

pub(crate) struct StepView {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) took: String,
    pub(crate) open: bool,
    pub(crate) note: Option<String>,
    pub(crate) html: String,
}

pub(crate) struct Annotation {
    pub(crate) tone: &'static str,
    pub(crate) word: &'static str,
    pub(crate) place: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) text: String,
}

/// Facts behind a heading that sums them up; open when one of them is not as it should be.
pub(crate) struct Fold {
    pub(crate) title: String,
    pub(crate) class: &'static str,
    pub(crate) open: bool,
    pub(crate) rows: Vec<Row>,
}

/// What is signed of a job: where that stands, in words, and what can be downloaded.
#[derive(Default)]
pub(crate) struct SignedView {
    pub(crate) class: &'static str,
    pub(crate) text: String,
    pub(crate) detail: String,
    pub(crate) links: Vec<Link>,
}

pub(crate) struct ReceiptView {
    pub(crate) signed: SignedView,
    pub(crate) rows: Vec<Row>,
    pub(crate) folds: Vec<Fold>,
    pub(crate) none: &'static str,
    pub(crate) json: Option<String>,
}

#[derive(Template)]
#[template(path = "page/queue.html")]
pub(crate) struct Queue {
    pub(crate) frame: Frame,
    pub(crate) facts: Vec<Row>,
    pub(crate) rows: Vec<QueueLine>,
    pub(crate) note: Option<String>,
}

pub(crate) struct QueueLine {
    pub(crate) href: String,
    pub(crate) state: State,
    pub(crate) job: String,
    pub(crate) repo: String,
    pub(crate) number: i64,
    pub(crate) workflow: String,
    pub(crate) why: String,
    pub(crate) labels: Vec<String>,
    pub(crate) since: When,
}

#[derive(Template)]
#[template(path = "page/runners.html")]
pub(crate) struct Runners {
    pub(crate) frame: Frame,
    pub(crate) facts: Vec<Row>,
    pub(crate) slots: Vec<SlotLine>,
    pub(crate) images: Vec<ImageLine>,
    pub(crate) isolation: Vec<Row>,
}

pub(crate) struct SlotLine {
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) job: Option<Link>,
    pub(crate) note: String,
}

pub(crate) struct ImageLine {
    pub(crate) name: String,
    pub(crate) digest: String,
    pub(crate) labels: Vec<String>,
    pub(crate) size: String,
    pub(crate) at: When,
}

#[derive(Template)]
#[template(path = "page/tokens.html")]
pub(crate) struct Tokens {
    pub(crate) frame: Frame,
    pub(crate) user: String,
    pub(crate) host: String,
    pub(crate) made: Option<Made>,
    pub(crate) problem: Option<String>,
    pub(crate) tokens: Vec<TokenLine>,
    pub(crate) scopes: Vec<Choice>,
    pub(crate) keys: Vec<SshKeyLine>,
}

pub(crate) struct SshKeyLine {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) fingerprint: String,
    pub(crate) made: When,
    pub(crate) used: Option<When>,
    pub(crate) writes: bool,
}

pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) secret: String,
}

pub(crate) struct TokenLine {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) made: When,
    pub(crate) used: Option<When>,
    pub(crate) ends: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) live: bool,
}

#[derive(Template)]
#[template(path = "page/settings.html")]
pub(crate) struct Settings {
    pub(crate) frame: Frame,
    pub(crate) repo: RepoHead,
    pub(crate) problem: Option<String>,
    pub(crate) kinds: Vec<SettingKind>,
    pub(crate) keys: Vec<SshKeyLine>,
    pub(crate) keys_action: String,
}

pub(crate) struct SettingKind {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) one: &'static str,
    pub(crate) none: &'static str,
    pub(crate) hint: &'static str,
    pub(crate) action: String,
    pub(crate) rows: Vec<Setting>,
}

pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) at: Option<When>,
}
