//! The lines of this session, and calls for one of them: `h`, `r`, `!!`, `r 3`, `!3`, `r bt`.

/// What a line asks of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recall<'a> {
    /// Nothing: it is a line of its own.
    No,
    /// `h`: the list.
    List,
    /// `r`, `!!`: the last line.
    Last,
    /// `r 3`, `r3`, `!3`: the line of that number.
    Number(usize),
    /// `r bt`: the last line that starts so.
    Start(&'a str),
}

impl<'a> Recall<'a> {
    /// What `line` asks for.
    pub fn parse(line: &'a str) -> Self {
        let line = line.trim();
        let number = |digits: &str| digits.parse().ok();
        match line {
            "h" | "hi" | "hist" | "history" => return Recall::List,
            "r" | "!!" => return Recall::Last,
            _ => {}
        }
        if let Some(number) = line.strip_prefix(['r', '!']).and_then(number) {
            return Recall::Number(number);
        }
        let Some(wanted) = line.strip_prefix("r ").map(str::trim) else { return Recall::No };
        number(wanted).map_or(Recall::Start(wanted), Recall::Number)
    }

    /// The line of `lines` that is meant, the first of which is number 1.
    ///
    /// # Errors
    /// Says, in crash's words, that there is none.
    pub fn find(&self, lines: &[String]) -> Result<String, String> {
        let last = lines.last().ok_or("no commands entered!")?;
        match *self {
            Recall::Number(0) => Err("invalid repeat request: 0".to_owned()),
            Recall::Number(number) => lines
                .get(number - 1)
                .cloned()
                .ok_or_else(|| format!("command {number} not entered yet!")),
            Recall::Start(start) => lines
                .iter()
                .rev()
                .find(|line| line.starts_with(start))
                .cloned()
                .ok_or_else(|| format!("invalid repeat request: {start}")),
            Recall::No | Recall::List | Recall::Last => Ok(last.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_number_and_by_their_start() {
        let lines: Vec<String> = ["bt -a", "rd jiffies", "bt"].map(str::to_owned).into();
        let found = |line: &str| Recall::parse(line).find(&lines);
        assert_eq!(found("r").as_deref(), Ok("bt"));
        assert_eq!(found("!!").as_deref(), Ok("bt"));
        assert_eq!(found("r 2").as_deref(), Ok("rd jiffies"));
        assert_eq!(found("!1").as_deref(), Ok("bt -a"));
        assert_eq!(found("r3").as_deref(), Ok("bt"));
        assert_eq!(found("r bt -").as_deref(), Ok("bt -a"));
        assert_eq!(found("r 9"), Err("command 9 not entered yet!".to_owned()));
        assert!(found("r x").is_err() && found("r 0").is_err());
        assert!(Recall::Last.find(&[]).is_err());
    }

    #[test]
    fn most_lines_ask_nothing_of_it() {
        for line in ["rd jiffies", "runq", "!ls", "! 3 x", "help", "history x", ""] {
            assert_eq!(Recall::parse(line), Recall::No, "{line}");
        }
        assert_eq!(Recall::parse(" h "), Recall::List);
    }
}
