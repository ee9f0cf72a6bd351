//! The files by which a step hands values to its runner: `GITHUB_OUTPUT`, `GITHUB_ENV`,
//! `GITHUB_STATE`, `GITHUB_PATH` and `GITHUB_STEP_SUMMARY`. Only reads their text.

/// Most bytes that are read of one of these files.
pub(crate) const FILE_BYTES: u64 = 8 << 20;
/// Most bytes of a step's summary.
pub(crate) const SUMMARY_BYTES: u64 = 1 << 20;

/// What is wrong in one of these files.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    #[error("line {line} of {file} is neither name=value nor name<<DELIMITER: '{text}'")]
    Shape {
        file: &'static str,
        line: usize,
        text: String,
    },
    #[error("line {line} of {file} has no name in front of its value")]
    NoName { file: &'static str, line: usize },
    #[error(
        "line {line} of {file} opens a value with <<{delimiter}, but no later line is just '{delimiter}'"
    )]
    Unclosed {
        file: &'static str,
        line: usize,
        delimiter: String,
    },
    #[error("{file} is larger than {limit} bytes; write large data to a file in the workspace")]
    TooLarge { file: &'static str, limit: u64 },
}

/// The pairs in a file of `name=value` and `name<<DELIMITER` blocks, in order.
pub(crate) fn pairs(file: &'static str, bytes: &[u8]) -> Result<Vec<(String, String)>, FileError> {
    let text = decode(bytes);
    let mut lines = text
        .split('\n')
        .map(|l| l.strip_suffix('\r').unwrap_or(l))
        .enumerate();
    let mut out = Vec::new();
    while let Some((at, line)) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let at = at + 1;
        let equals = line.find('=');
        let block = line.find("<<");
        let (name, value) = match (equals, block) {
            (Some(e), b) if b.is_none_or(|b| e < b) => (&line[..e], line[e + 1..].to_owned()),
            (_, Some(b)) => {
                let delimiter = &line[b + 2..];
                let unclosed = || FileError::Unclosed {
                    file,
                    line: at,
                    delimiter: short(delimiter),
                };
                if delimiter.is_empty() {
                    return Err(FileError::Shape {
                        file,
                        line: at,
                        text: short(line),
                    });
                }
                let mut value: Option<String> = None;
                loop {
                    let (_, next) = lines.next().ok_or_else(unclosed)?;
                    if next == delimiter {
                        break;
                    }
                    match &mut value {
                        Some(value) => {
                            value.push('\n');
                            value.push_str(next);
                        }
                        None => value = Some(next.to_owned()),
                    }
                }
                (&line[..b], value.unwrap_or_default())
            }
            _ => {
                return Err(FileError::Shape {
                    file,
                    line: at,
                    text: short(line),
                });
            }
        };
        if name.trim().is_empty() {
            return Err(FileError::NoName { file, line: at });
        }
        out.push((name.to_owned(), value));
    }
    Ok(out)
}

/// The folders in a `GITHUB_PATH` file, in order.
pub(crate) fn folders(bytes: &[u8]) -> Vec<String> {
    decode(bytes)
        .split('\n')
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty() && !line.contains('\0'))
        .collect()
}

/// The text of a summary, without the byte-order mark that some shells write.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // PowerShell 5 appends UTF-16.
    if let Some(units) = bytes.strip_prefix(b"\xff\xfe") {
        let units: Vec<u16> = units
            .chunks_exact(2)
            .map(|c| u16::from_le_bytes([c[0], c[1]]))
            .collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether a name from `GITHUB_ENV` is refused, as hosted runners refuse it: it would run code in
/// every later action that is written in JavaScript.
pub(crate) fn is_refused_env(name: &str) -> bool {
    name.eq_ignore_ascii_case("NODE_OPTIONS")
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, FileError> {
        pairs("GITHUB_OUTPUT", text.as_bytes())
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn pairs_and_blocks_are_read_in_order() {
        let text = "a=1\nb=x=y\n\nc<<EOF\none\n\ntwo\nEOF\nd<<E\nE\ne=<<x\n";
        let all = [
            pair("a", "1"),
            pair("b", "x=y"),
            pair("c", "one\n\ntwo"),
            pair("d", ""),
            pair("e", "<<x"),
        ];
        assert_eq!(read(text).unwrap(), all);
    }

    #[test]
    fn foreign_line_ends_and_byte_order_marks_are_taken() {
        assert_eq!(
            read("\u{feff}a=1\r\nb<<E\r\nx\r\ny\r\nE\r\n").unwrap(),
            [pair("a", "1"), pair("b", "x\ny")]
        );
        let utf16: Vec<u8> = "\u{feff}k=v\r\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(pairs("GITHUB_ENV", &utf16).unwrap(), [pair("k", "v")]);
        assert_eq!(folders(b"\xef\xbb\xbf/a\r\n\n/b"), ["/a", "/b"]);
    }

    #[test]
    fn what_is_wrong_names_its_line() {
        assert!(matches!(
            read("a=1\nhello"),
            Err(FileError::Shape { line: 2, .. })
        ));
        assert!(matches!(read("=1"), Err(FileError::NoName { line: 1, .. })));
        assert!(matches!(
            read("<<E\nE"),
            Err(FileError::NoName { line: 1, .. })
        ));
        assert!(matches!(read("a<<"), Err(FileError::Shape { line: 1, .. })));
        let error = read("a=1\nb<<EOF\nx").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(matches!(error, FileError::Unclosed { .. }));
    }

    #[test]
    fn only_node_options_is_refused() {
        assert!(is_refused_env("NODE_OPTIONS") && is_refused_env("node_options"));
        assert!(!is_refused_env("PATH") && !is_refused_env("LD_PRELOAD"));
    }
}
