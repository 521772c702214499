//! Where in a line the cursor is.

/// What the word at the cursor is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The first word.
    Command,
    /// A later word.
    Argument,
    /// Behind `>`, `>>` or `<`.
    Redirect,
    /// Behind `|` or `!`: the shell's.
    Shell,
}

/// The words before the cursor, and the one that it is in.
#[derive(Debug, PartialEq, Eq)]
pub struct Place<'a> {
    pub position: Position,
    /// The words before the one at the cursor.
    pub words: Vec<&'a str>,
    /// The word at the cursor, up to it.
    pub word: &'a str,
}

impl<'a> Place<'a> {
    /// The end of `line` is where the cursor is.
    pub fn of(line: &'a str) -> Self {
        let mut quote = None;
        let mut depth = 0u32;
        let mut previous = ' ';
        let mut word_start = 0;
        let mut words = Vec::new();
        let mut position = Position::Command;
        let leading = line.len() - line.trim_start().len();
        for (at, c) in line.char_indices() {
            let before = std::mem::replace(&mut previous, c);
            match c {
                _ if quote == Some(c) => quote = None,
                _ if quote.is_some() => {}
                '"' => quote = Some(c),
                '\'' if before.is_whitespace() => quote = Some(c),
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                c if c.is_whitespace() && depth == 0 => {
                    if at > word_start {
                        words.push(&line[word_start..at]);
                    }
                    word_start = at + 1;
                }
                '|' | '!' if depth == 0 => {
                    position = Position::Shell;
                    word_start = at + 1;
                }
                '>' if depth == 0 && before != '-' && position != Position::Shell => {
                    position = Position::Redirect;
                    word_start = at + 1;
                }
                '<' if depth == 0
                    && position != Position::Shell
                    && (before.is_whitespace() || at == leading) =>
                {
                    position = Position::Redirect;
                    word_start = at + 1;
                }
                _ => {}
            }
        }
        let mut word = line.get(word_start..).unwrap_or("");
        if position == Position::Command && !words.is_empty() {
            position = Position::Argument;
        }
        if position == Position::Command {
            word = word.strip_prefix('\\').unwrap_or(word);
        }
        Self { position, words, word }
    }

    /// How much of the word the candidates replace: those of members, of the last operand of an
    /// expression, and of a file's last component are only its end. They begin with `common`.
    pub fn prefix_len(&self, common: &str) -> usize {
        let len = self.word.len();
        let suffix = |start: &usize| {
            self.word.is_char_boundary(*start) && common.starts_with(&self.word[*start..])
        };
        // The longest end of the word that the candidates begin with; nothing where there are none.
        (0..=len).find(suffix).map_or(len, |start| len - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: &str) -> (Position, Vec<&str>, &str) {
        let place = Place::of(line);
        (place.position, place.words, place.word)
    }

    #[test]
    fn commands_arguments_and_files() {
        assert_eq!(place("  b"), (Position::Command, vec![], "b"));
        assert_eq!(place("bt -a 1"), (Position::Argument, vec!["bt", "-a"], "1"));
        assert_eq!(place("bt "), (Position::Argument, vec!["bt"], ""));
        assert_eq!(place("bt > /t"), (Position::Redirect, vec!["bt"], "/t"));
        assert_eq!(place("bt >>x"), (Position::Redirect, vec!["bt"], "x"));
        assert_eq!(place("< fi"), (Position::Redirect, vec![], "fi"));
        assert_eq!(place("bt | grep x > /t").0, Position::Shell);
        assert_eq!(place("p a->b"), (Position::Argument, vec!["p"], "a->b"));
        assert_eq!(place("p (1 | jif"), (Position::Argument, vec!["p"], "(1 | jif"));
    }

    #[test]
    fn only_the_end_of_a_word_may_be_replaced() {
        assert_eq!(Place::of("p init_task.co").prefix_len("comm"), 2);
        assert_eq!(Place::of("p init_task.").prefix_len("comm"), 0);
        assert_eq!(Place::of("bt").prefix_len("bt"), 2);
    }
}
