//! How a script is given to a shell.

/// Asked whether a program can be found in the job's image.
pub type HasProgram<'a> = &'a dyn Fn(&str) -> bool;

/// A shell's command line, and the file its script goes into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShellCommand {
    /// The words; in one of them `{0}` stands for the script's path.
    words: Vec<String>,
    /// The end of the script's file name, with its dot.
    pub extension: &'static str,
    /// What is put before the script.
    pub prologue: &'static str,
    /// What is put after the script.
    pub epilogue: &'static str,
}

/// A `shell` that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShellError {
    /// The image does not have it.
    #[error("shell '{0}' is not in this image; add it to the image or name another shell")]
    Missing(String),
    /// It is for another system.
    #[error("shell '{0}' is for Windows; this runner is Linux")]
    Windows(String),
    /// It says not where the script goes.
    #[error("shell '{0}' does not say where the script goes; write {{0}} in its place")]
    NoScript(String),
}

impl ShellCommand {
    fn new(words: &[&str], extension: &'static str) -> Self {
        Self {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            extension,
            prologue: "",
            epilogue: "",
        }
    }

    /// The command line for a step's `shell`; `has` knows the programs of the image.
    ///
    /// Unset means `bash -e`, or `sh -e` where there is no bash. Errors: the shell is missing, or
    /// the text names no known shell and has no `{0}`.
    pub fn resolve(shell: Option<&str>, has: HasProgram<'_>) -> Result<Self, ShellError> {
        let found = |program: &str, command: Self| {
            if has(program) {
                Ok(command)
            } else {
                Err(ShellError::Missing(program.to_owned()))
            }
        };
        let Some(shell) = shell.map(str::trim).filter(|shell| !shell.is_empty()) else {
            if has("bash") {
                return Ok(Self::new(&["bash", "-e", "{0}"], ".sh"));
            }
            return found("sh", Self::new(&["sh", "-e", "{0}"], ".sh"));
        };
        match shell {
            "bash" => {
                let words = [
                    "bash",
                    "--noprofile",
                    "--norc",
                    "-e",
                    "-o",
                    "pipefail",
                    "{0}",
                ];
                found("bash", Self::new(&words, ".sh"))
            }
            "sh" => found("sh", Self::new(&["sh", "-e", "{0}"], ".sh")),
            "python" if !has("python") => found("python3", Self::new(&["python3", "{0}"], ".py")),
            "python" => Ok(Self::new(&["python", "{0}"], ".py")),
            "pwsh" => {
                let mut command = Self::new(&["pwsh", "-command", ". '{0}'"], ".ps1");
                command.prologue = "$ErrorActionPreference = 'stop'\n";
                command.epilogue = "\nif ((Test-Path -LiteralPath variable:\\LASTEXITCODE)) \
                                    { exit $LASTEXITCODE }\n";
                found("pwsh", command)
            }
            "cmd" | "powershell" => Err(ShellError::Windows(shell.to_owned())),
            custom => {
                if !custom.contains("{0}") {
                    return Err(ShellError::NoScript(custom.to_owned()));
                }
                let words = split(custom);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let program = words.first().copied().unwrap_or_default();
                found(program, Self::new(&words, extension(program)))
            }
        }
    }

    /// The words to run for a script at `path`.
    #[must_use]
    pub fn argv(&self, path: &str) -> Vec<String> {
        self.words
            .iter()
            .map(|word| word.replace("{0}", path))
            .collect()
    }

    /// The script as it is written to its file.
    #[must_use]
    pub fn script(&self, script: &str) -> String {
        format!("{}{script}{}", self.prologue, self.epilogue)
    }
}

/// The words of a command line; quotes of both kinds keep blanks together, and a backslash keeps
/// a double quote inside double quotes.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', Some('"')) if matches!(chars.peek(), Some('"' | '\\')) => {
                word.get_or_insert_default().extend(chars.next());
            }
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The end of a script's name, for a program that is known under some command line.
fn extension(program: &str) -> &'static str {
    match program.rsplit('/').next() {
        Some("bash" | "sh") => ".sh",
        Some("python" | "python3") => ".py",
        Some("pwsh") => ".ps1",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(shell: Option<&str>, programs: &[&str]) -> String {
        match ShellCommand::resolve(shell, &|program| programs.contains(&program)) {
            Ok(command) => command.argv("/t/s").join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_shell_has_its_command_line() {
        let all = ["bash", "sh", "python", "pwsh", "perl"];
        assert_eq!(argv(None, &all), "bash -e /t/s");
        assert_eq!(argv(None, &["sh"]), "sh -e /t/s");
        assert_eq!(argv(Some(" "), &["sh"]), "sh -e /t/s");
        assert_eq!(
            argv(Some("bash"), &all),
            "bash --noprofile --norc -e -o pipefail /t/s"
        );
        assert_eq!(argv(Some("sh"), &all), "sh -e /t/s");
        assert_eq!(argv(Some("python"), &all), "python /t/s");
        assert_eq!(argv(Some("python"), &["python3"]), "python3 /t/s");
        assert_eq!(argv(Some("perl -w {0} x"), &all), "perl -w /t/s x");
        assert_eq!(argv(Some("pwsh"), &all), "pwsh -command . '/t/s'");
    }

    #[test]
    fn quotes_in_a_command_line_keep_blanks_together() {
        let words = |shell: &str| {
            let command = ShellCommand::resolve(Some(shell), &|_| true).unwrap();
            (command.argv("/t/s"), command.extension)
        };
        let of = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            words(r#"sh -c "echo 'a  b' {0}" '' x"y z""#),
            (of(&["sh", "-c", "echo 'a  b' /t/s", "", "xy z"]), ".sh")
        );
        assert_eq!(
            words(r#"awk '{ print "\n" }' {0}"#),
            (of(&["awk", r#"{ print "\n" }"#, "/t/s"]), "")
        );
        assert_eq!(words(r#"x "a\"b" {0}"#).0, of(&["x", "a\"b", "/t/s"]));
        assert_eq!(words("python3 -u {0}").1, ".py");
    }

    #[test]
    fn what_cannot_run_is_told() {
        assert!(argv(Some("bash"), &["sh"]).contains("'bash' is not in this image"));
        assert!(argv(Some("pwsh"), &["sh"]).contains("'pwsh' is not in this image"));
        assert!(argv(Some("cmd"), &["sh"]).contains("for Windows"));
        assert!(argv(Some("perl"), &["perl"]).contains("{0}"));
        assert!(argv(None, &[]).contains("'sh' is not in this image"));
    }
}
