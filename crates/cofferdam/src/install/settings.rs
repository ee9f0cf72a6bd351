//! Edits `config.toml` as a person would: one line, the rest untouched.

/// `text` with `key = value` in `section`: in place of that key's line, be it a comment or not,
/// else below the section's head, else in a new section at the end.
pub(crate) fn set(text: &str, section: &str, key: &str, value: &str) -> String {
    let head = format!("[{section}]");
    let line = format!("{key} = {value}");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let Some(start) = lines.iter().position(|l| l.trim() == head) else {
        lines.extend([String::new(), head, line]);
        return lines.join("\n") + "\n";
    };
    let end = lines[start + 1..]
        .iter()
        .position(|l| l.trim_start().starts_with('['))
        .map_or(lines.len(), |n| start + 1 + n);
    let is_key = |l: &String, comment: bool| {
        let bare = l.trim_start();
        let bare = match (bare.strip_prefix('#'), comment) {
            (Some(rest), true) => rest.trim_start(),
            (None, false) => bare,
            _ => return false,
        };
        bare.strip_prefix(key)
            .is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let of = |comment: bool| {
        let found = lines[start + 1..end]
            .iter()
            .position(|l| is_key(l, comment));
        found.map(|n| start + 1 + n)
    };
    match of(false).or_else(|| of(true)) {
        Some(n) => lines[n] = line,
        None => lines.insert(start + 1, line),
    }
    lines.join("\n") + "\n"
}

/// A TOML string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, TEMPLATE};

    #[test]
    fn a_key_is_set_in_its_section_again_and_again() {
        let text = set(TEMPLATE, "web", "listen", "\"0.0.0.0:443\"");
        let text = set(&text, "web", "listen", "\"0.0.0.0:8470\"");
        let text = set(&text, "runner", "first_id", "1946157056");
        let config: Config = toml::from_str(&text).unwrap();
        assert_eq!(config.web.listen, "0.0.0.0:8470".parse().unwrap());
        assert_eq!(config.runner.first_id, Some(0x7400_0000));
        let listens = text.lines().filter(|line| line.starts_with("listen"));
        assert_eq!(listens.count(), 1);
        assert_eq!(set("", "web", "tls", "true"), "\n[web]\ntls = true\n");
    }
}
