//! Reads a `.env` file: `NAME=value` a line, `#` comments, optional `export`, single or double quotes.

/// One assignment and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The variable.
    pub(crate) name: String,
    /// Its value, unquoted.
    pub(crate) value: String,
    /// From 1.
    pub(crate) line: usize,
}

/// A line that is no assignment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not NAME=value")]
pub(crate) struct NotAnAssignment {
    /// From 1.
    pub(crate) line: usize,
}

/// Reads a whole file.
///
/// # Errors
/// [`NotAnAssignment`] names the first line that is neither empty, nor a comment, nor an assignment.
pub(crate) fn parse(text: &str) -> Result<Vec<Assignment>, NotAnAssignment> {
    let mut assignments = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let line = index + 1;
        let content = raw.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let content = content.strip_prefix("export ").unwrap_or(content);
        let (name, value) = content.split_once('=').ok_or(NotAnAssignment { line })?;
        let name = name.trim();
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(word) {
            return Err(NotAnAssignment { line });
        }
        assignments.push(Assignment {
            name: name.to_owned(),
            value: unquoted(value.trim()).ok_or(NotAnAssignment { line })?,
            line,
        });
    }
    Ok(assignments)
}

/// The value without quotes or trailing comment; `None` when a quote is not closed.
fn unquoted(value: &str) -> Option<String> {
    match value.chars().next() {
        Some('\'') => {
            let (inside, _) = value.get(1..)?.split_once('\'')?;
            Some(inside.to_owned())
        }
        Some('"') => double_quoted(value.get(1..)?),
        _ => {
            let end = value.find(" #").unwrap_or(value.len());
            Some(value.get(..end)?.trim_end().to_owned())
        }
    }
}

/// What stands before the closing quote, with `\n`, `\"` and `\\` resolved.
fn double_quoted(rest: &str) -> Option<String> {
    let mut inside = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some(inside),
            '\\' => match chars.next()? {
                'n' => inside.push('\n'),
                other => inside.push(other),
            },
            other => inside.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_comments_and_export_are_understood() {
        let text = "# a comment\n\nA=1\nexport B = two words # said\nC='raw # \\n'\nD=\"x\\\"y\\n\" # end\nE=\n";
        let pairs: Vec<_> = parse(text)
            .unwrap()
            .into_iter()
            .map(|a| (a.name, a.value, a.line))
            .collect();
        let want = [
            ("A", "1", 3),
            ("B", "two words", 4),
            ("C", "raw # \\n", 5),
            ("D", "x\"y\n", 6),
            ("E", "", 7),
        ];
        assert_eq!(pairs, want.map(|(n, v, l)| (n.to_owned(), v.to_owned(), l)));
    }

    #[test]
    fn a_line_that_assigns_nothing_is_named() {
        for (text, line) in [("A=1\nnonsense", 2), ("=x", 1), ("A B=1", 1), ("A=\"open", 1)] {
            assert_eq!(parse(text), Err(NotAnAssignment { line }), "{text}");
        }
    }
}
