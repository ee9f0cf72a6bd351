//! The command line: every verb, its arguments and its help.

mod attest;
mod audit;
mod bundle;
mod carried;
mod keys;
mod update;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use attest::{AttestRun, VerifyRun};
pub(crate) use audit::{Audit, AuditVerb, Export, Redact, Search, Verify, Witness};
pub(crate) use bundle::{
    Build, Bundle, Carried, Connected, Fetching, Key, Keys, Lock, MakeImage, Password, Plan, Root,
    Thresholds,
};
pub(crate) use keys::{RepoKey, SshKey};
pub(crate) use update::{Timing, Update};

/// CI for networks with no way out: a git forge, a job queue and disposable, sandboxed runners.
#[derive(Debug, Parser)]
#[command(
    name = "cofferdam",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  \
        cofferdam init --data /var/lib/cofferdam\n  \
        cofferdam serve --data /var/lib/cofferdam\n  \
        cofferdam try                      # run this working tree's workflows, no server needed\n  \
        cofferdam run watch lab/tasks-app  # follow the newest run; exit code is its verdict"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb understands.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// The data directory; administration goes through its control.sock
    #[arg(
        long,
        global = true,
        env = "COFFERDAM_DATA",
        default_value = "/var/lib/cofferdam"
    )]
    pub(crate) data: PathBuf,
    /// Talk to this server instead of the control socket, e.g. https://forge.lab:8470
    #[arg(long, global = true, env = "COFFERDAM_SERVER")]
    pub(crate) server: Option<String>,
    /// File holding the access token for --server (or set COFFERDAM_TOKEN)
    #[arg(long, global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// File holding the certificate of the authority to trust for --server https://…
    #[arg(long, global = true, env = "COFFERDAM_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Install this program on this host, from a medium, as a service
    #[command(
        after_help = "Example:\n  ./cofferdam install --from /media/usb   # asks for the root's \
        fingerprint, which is on the paper"
    )]
    Install(Install),
    /// Take the service off this host; the data stays
    Uninstall(Uninstall),
    /// Make a data directory: database, keys, settings
    #[command(after_help = "Example:\n  cofferdam init --data /srv/cofferdam")]
    Init {
        /// The appliance's name; by default one is made up
        #[arg(long)]
        name: Option<String>,
    },
    /// Serve the forge, the queue and the runners
    #[command(
        after_help = "Example:\n  cofferdam serve --listen 127.0.0.1:0   # the first line \
        printed is the address, once ready"
    )]
    Serve(Serve),
    /// Make sandboxes for a `serve` that has no rights of its own
    #[command(hide = true)]
    Launcher(Launcher),
    /// Manage users
    #[command(subcommand)]
    User(User),
    /// Manage access tokens
    #[command(subcommand)]
    Token(Token),
    /// Manage the SSH keys of users
    #[command(subcommand)]
    Key(SshKey),
    /// Manage repos
    #[command(subcommand)]
    Repo(Repo),
    /// Manage secrets that jobs may read
    #[command(subcommand)]
    Secret(Secret),
    /// Import and list the images that jobs run in
    #[command(subcommand)]
    Image(Image),
    /// Make, sign and carry bundles, and keep who may sign them
    #[command(subcommand)]
    Bundle(Bundle),
    /// Look at runs, follow them, cancel, re-run
    #[command(subcommand)]
    Run(Run),
    /// Check workflow files and evaluate expressions
    #[command(subcommand)]
    Workflow(Workflow),
    /// Show the queue: what waits, and why
    Queue,
    /// Run the workflows of a working tree in the sandbox, with no server
    #[command(
        after_help = "Examples:\n  cofferdam try\n  cofferdam try --job test ../tasks-app\n  \
        cofferdam try --event workflow_dispatch --event-file dispatch.json"
    )]
    Try(Try),
    /// Make, renew or show the appliance's certificate
    #[command(subcommand)]
    Tls(Tls),
    /// Say what this host offers for sandboxes, and what is missing
    Doctor,
    /// Run as a job on this host and list what a job could see
    Inspect,
    /// Check the database, the audit lines, every repo and every blob
    #[command(after_help = "The appliance must be stopped: fsck opens the files itself.")]
    Fsck,
    /// Read, search, export and verify the audit log
    #[command(args_conflicts_with_subcommands = true)]
    Audit(Audit),
    /// Print what this program and what the appliance serves is made of: CycloneDX 1.6
    #[command(
        after_help = "Examples:\n  cofferdam sbom -o sbom.cdx.json\n  cofferdam sbom --program   # \
        this program alone, no appliance needed"
    )]
    Sbom {
        /// The file to write; without it, it is printed
        #[arg(long, short)]
        output: Option<PathBuf>,
        /// The program alone
        #[arg(long)]
        program: bool,
    },
    /// Update this program to the one that an imported bundle brought, or go back
    #[command(subcommand)]
    Update(Update),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  cofferdam completions bash \
        > /etc/bash_completion.d/cofferdam")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Install {
    /// The folder of the bundle to install from; it is verified before anything is done
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// The fingerprint of the site's root, 64 hex digits; asked for when it is not given
    #[arg(long, value_name = "HEX", requires = "from")]
    pub(crate) root_fingerprint: Option<String>,
    /// Address and port to serve; default 0.0.0.0:8470
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    /// Address and port for git over SSH; default: port 2222 of the address of --listen
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ssh_listen: Option<SocketAddr>,
    /// A name or address that clients use; the first is what people type
    #[arg(long = "name")]
    pub(crate) names: Vec<String>,
    /// The site's own certificate, instead of one by the appliance's own authority
    #[arg(long, requires = "key", value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// The key of --cert, unencrypted PEM
    #[arg(long, requires = "cert", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Put everything in its place and start nothing
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Another root directory, to look at an installation
    #[arg(long, hide = true, env = "COFFERDAM_PREFIX", default_value = "/")]
    pub(crate) prefix: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Uninstall {
    /// Remove the data as well; asks for the directory's name
    #[arg(long)]
    pub(crate) purge: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Another root directory, to look at an installation
    #[arg(long, hide = true, env = "COFFERDAM_PREFIX", default_value = "/")]
    pub(crate) prefix: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Address and port; port 0 takes a free one. Default: web.listen of config.toml
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    /// Address and port for git over SSH. Default: ssh.listen of config.toml, else none
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ssh_listen: Option<SocketAddr>,
    /// The socket of a `cofferdam launcher`; without it this process, as root, starts its own
    #[arg(long, value_name = "SOCKET")]
    pub(crate) launcher: Option<PathBuf>,
    /// Leave the terminal's session, for a start in the background
    #[arg(long, hide = true)]
    pub(crate) own_session: bool,
    /// Leave out every fsync: a control run that must lose data when the power is cut
    #[arg(long, hide = true)]
    pub(crate) lose_data_on_power_cut: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Launcher {
    /// Where to listen for the appliance
    #[arg(long, default_value = "/run/cofferdam/launcher.sock")]
    pub(crate) socket: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tls {
    /// Make an authority of the appliance's own and a certificate, or take the site's
    #[command(after_help = "Examples:\n  cofferdam tls init --name forge.lab\n  \
        cofferdam tls init --cert chain.pem --key key.pem")]
    Init {
        /// A name or address that clients use, besides this host's own; repeat for several
        #[arg(long = "name")]
        names: Vec<String>,
        /// The site's own certificate, with what stands between it and the site's authority
        #[arg(long, requires = "key", conflicts_with = "names")]
        cert: Option<PathBuf>,
        /// The key of --cert, unencrypted PEM
        #[arg(long, requires = "cert")]
        key: Option<PathBuf>,
        /// Read key and certificate from standard input
        #[arg(long, hide = true, conflicts_with_all = ["names", "cert"])]
        stdin: bool,
    },
    /// Make a new certificate now; the authority stays
    Renew {
        /// A further name or address; repeat for several
        #[arg(long = "name")]
        names: Vec<String>,
    },
    /// Show names, end and authority
    Show,
}

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Make a user; the password comes from --password-file or standard input
    #[command(after_help = "Example:\n  printf '%s' \"$PASSWORD\" | cofferdam user create dev")]
    Create {
        /// Sign-in name
        name: String,
        /// May administer the appliance
        #[arg(long)]
        admin: bool,
        /// File holding the password
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// List users
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make an access token and print it, this once
    #[command(after_help = "Example:\n  cofferdam token create dev --scope repo:write --days 90")]
    Create {
        /// Whose token
        user: String,
        /// What it is for
        #[arg(long, default_value = "command line")]
        name: String,
        /// What it may do; repeat for several
        #[arg(long = "scope", default_values = ["repo:write", "run:write"])]
        scopes: Vec<String>,
        /// Days until it expires
        #[arg(long, default_value_t = 90)]
        days: u64,
    },
    /// List a user's tokens
    List {
        /// Whose tokens
        user: String,
    },
    /// Revoke a token by its number
    Revoke {
        /// The number that `token list` shows
        id: i64,
    },
}

/// Who may see a repo.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Visibility {
    /// Only its owner and collaborators
    Private,
    /// Everybody who can sign in
    Instance,
    /// Anybody, without signing in
    Public,
}

impl Visibility {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Instance => "instance",
            Self::Public => "public",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Repo {
    /// Make a repo and print how to push to it
    #[command(after_help = "Example:\n  cofferdam repo create lab/tasks-app --for dev")]
    Create {
        /// owner/name
        path: String,
        /// A user who gets write access
        #[arg(long = "for")]
        for_user: Option<String>,
        /// Who may see it
        #[arg(long, value_enum, default_value = "private")]
        visibility: Visibility,
    },
    /// List repos
    List,
    /// Manage a repo's deploy keys: SSH keys that open this repo alone
    #[command(subcommand)]
    Key(RepoKey),
    /// Delete a repo and all its runs
    Delete {
        /// owner/name
        path: String,
    },
    /// Make a repo of a git bundle file or of a bare repository's directory
    #[command(
        after_help = "Branches and tags come along, or nothing does; no run starts.\n\nExamples:\n  \
        cofferdam repo import lab/tasks-app tasks-app.bundle --for dev\n  \
        cofferdam repo import lab/old /srv/git/old.git"
    )]
    Import {
        /// owner/name; made if it does not exist, and must be empty if it does
        path: String,
        /// A file of `git bundle create FILE --all`, or a directory
        source: PathBuf,
        /// A user who gets write access
        #[arg(long = "for")]
        for_user: Option<String>,
        /// Who may see it
        #[arg(long, value_enum, default_value = "private")]
        visibility: Visibility,
    },
    /// Write all branches and tags of a repo to one file, which `git clone FILE` reads
    #[command(after_help = "Example:\n  cofferdam repo export lab/tasks-app -o tasks-app.bundle")]
    Export {
        /// owner/name
        path: String,
        /// The file; must not exist
        #[arg(long, short)]
        out: PathBuf,
    },
    /// Read every object of a repo and follow every ref. Exits 1 when something is wrong
    #[command(after_help = "Example:\n  cofferdam repo fsck lab/tasks-app")]
    Fsck {
        /// owner/name
        path: String,
    },
    /// Set aside what no ref reaches, and remove what was aside for longer than the grace
    #[command(
        after_help = "Done in the background after pushes where it pays; this does it now.\n\n\
        Example:\n  cofferdam repo gc lab/tasks-app --grace-days 0"
    )]
    Gc {
        /// owner/name
        path: String,
        /// How long what no ref reaches stays
        #[arg(long, default_value_t = web::GRACE_DAYS)]
        grace_days: u32,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Set a secret; the value comes from --file or standard input, never from an argument
    #[command(
        after_help = "Example:\n  cofferdam secret set lab/tasks-app SIGNING_KEY \
        --file key.pem"
    )]
    Set {
        /// owner/name
        repo: String,
        /// The secret's name
        name: String,
        /// File holding the value
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// List the names of a repo's secrets
    List {
        /// owner/name
        repo: String,
    },
    /// Remove a secret
    Remove {
        /// owner/name
        repo: String,
        /// The secret's name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Import an OCI layout or a docker-archive, every digest verified
    #[command(
        after_help = "Examples:\n  cofferdam image import debian-python.tar\n  \
        cofferdam image import --name debian-python ./oci-layout/"
    )]
    Import {
        /// The archive or layout directory
        path: PathBuf,
        /// The image's name; default: what the file says, else its file name
        #[arg(long)]
        name: Option<String>,
    },
    /// List images
    List,
    /// Say which bundle brought an image, who approved it, where the log says so, what ran in it
    #[command(
        after_help = "Examples:\n  cofferdam image explain docker.io/library/debian:12\n  \
        cofferdam image explain sha256:4bd6…"
    )]
    Explain {
        /// Name or digest
        name: String,
    },
    /// Remove an image and what only it uses
    Remove {
        /// Name or digest
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Run {
    /// List runs, newest first
    List {
        /// owner/name
        repo: String,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show a run with its jobs, steps and receipts
    Show(RunRef),
    /// Print a run's log
    Log {
        #[command(flatten)]
        run: RunRef,
        /// Only this job (its name or number)
        #[arg(long)]
        job: Option<String>,
        /// Follow until the run ends
        #[arg(long, short)]
        follow: bool,
    },
    /// Follow a run to its end; exits 0 on success, 1 on failure, 2 on error
    Watch(RunRef),
    /// Check what is signed of a run's jobs: exits 0 when all holds, 1 when not, 2 on error
    #[command(after_help = "Examples:\n  cofferdam run verify lab/tasks-app 12\n  \
        cofferdam run verify lab/tasks-app 12 --job test --json\n  \
        cofferdam run verify --offline proof/ --key \"$(cat log.key)\"")]
    Verify(VerifyRun),
    /// Take the signed receipt and provenance of a run's jobs away, with all that proves them
    #[command(after_help = "Example:\n  cofferdam run attest lab/tasks-app 12 -o proof/")]
    Attest(AttestRun),
    /// Ask that a run be cancelled
    Cancel(RunRef),
    /// Run again: all jobs, or only those that failed
    Rerun {
        #[command(flatten)]
        run: RunRef,
        /// Only the jobs that failed, and what depends on them
        #[arg(long)]
        failed: bool,
    },
    /// Start a workflow that has a workflow_dispatch trigger
    #[command(
        after_help = "Example:\n  cofferdam run dispatch lab/tasks-app ci.yml --input level=2"
    )]
    Dispatch {
        /// owner/name
        repo: String,
        /// The workflow's file name
        workflow: String,
        /// Branch or tag; default: the repo's default branch
        #[arg(long = "ref")]
        git_ref: Option<String>,
        /// name=value; repeat for several
        #[arg(long = "input")]
        inputs: Vec<String>,
    },
}

/// Which run: a repo, and a number of its runs.
#[derive(Args, Debug)]
pub(crate) struct RunRef {
    /// owner/name
    pub(crate) repo: String,
    /// The run's number; default: the newest
    pub(crate) number: Option<i64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Workflow {
    /// Check workflow files; prints path:line:col: message, exits 1 if any is wrong
    #[command(after_help = "Example:\n  cofferdam workflow check .github/workflows/")]
    Check {
        /// Files, working trees, or directories to look through
        #[arg(default_value = ".")]
        paths: Vec<PathBuf>,
    },
    /// Evaluate one expression and print {"kind":…,"value":…}
    #[command(after_help = "Example:\n  cofferdam workflow eval --context ctx.json \
        \"github.ref == 'refs/heads/main'\"")]
    Eval {
        /// JSON object: context name to value
        #[arg(long)]
        context: Option<PathBuf>,
        /// The expression, without ${{ }}
        #[arg(allow_hyphen_values = true)]
        expression: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Try {
    /// The event
    #[arg(long, default_value = "push")]
    pub(crate) event: String,
    /// JSON file with the event's payload
    #[arg(long)]
    pub(crate) event_file: Option<PathBuf>,
    /// Only this job, and what it needs
    #[arg(long)]
    pub(crate) job: Option<String>,
    /// Who does it, as workflows see it; what is before a '/' also owns the repo
    #[arg(long, default_value = "dev")]
    pub(crate) actor: String,
    /// name=value of an input of workflow_dispatch; repeat for several
    #[arg(long = "input")]
    pub(crate) inputs: Vec<String>,
    /// Image to run in (a name in --data's appliance), or `host` for this host's own /usr
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// name=value of a secret; repeat for several. Values stay on this host
    #[arg(long = "secret")]
    pub(crate) secrets: Vec<String>,
    /// The working tree, or one workflow file in it
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
}
