//! The many spellings of C's base types.
//!
//! gcc writes `long unsigned int` into debug information, clang `unsigned long`, BTF takes either
//! over, people type `unsigned long`, and so gdb shows it.

/// One base type.
#[derive(Debug)]
pub(super) struct BaseName {
    /// As gdb and crash show it.
    pub(super) shown: &'static str,
    /// As compilers write it.
    pub(super) spellings: &'static [&'static str],
    /// Bytes, on every 64-bit Linux.
    pub(super) size: u64,
    pub(super) signed: bool,
}

const fn base(
    shown: &'static str,
    spellings: &'static [&'static str],
    size: u64,
    signed: bool,
) -> BaseName {
    BaseName { shown, spellings, size, signed }
}

/// Every integer type of C. `char` is signed or not by architecture; the size is what counts
/// where no debug information says more.
pub(super) const BASE_NAMES: &[BaseName] = &[
    base("char", &["char"], 1, true),
    base("signed char", &["signed char"], 1, true),
    base("unsigned char", &["unsigned char"], 1, false),
    base("short", &["short int", "short"], 2, true),
    base("unsigned short", &["short unsigned int", "unsigned short"], 2, false),
    base("int", &["int"], 4, true),
    base("unsigned int", &["unsigned int"], 4, false),
    base("long", &["long int", "long"], 8, true),
    base("unsigned long", &["long unsigned int", "unsigned long"], 8, false),
    base("long long", &["long long int", "long long"], 8, true),
    base("unsigned long long", &["long long unsigned int", "unsigned long long"], 8, false),
    base("__int128", &["__int128"], 16, true),
    base("unsigned __int128", &["__int128 unsigned", "unsigned __int128"], 16, false),
    base("_Bool", &["_Bool", "bool"], 1, false),
];

/// `name` as gdb shows it.
pub(super) fn shown(name: &str) -> &str {
    let known = BASE_NAMES.iter().find(|base| base.spellings.contains(&name));
    known.map_or(name, |base| base.shown)
}

/// The base type that `words` make up, in any order that C allows; `None` when they do not.
pub(super) fn from_words(words: &[&str]) -> Option<&'static BaseName> {
    let count = |wanted: &str| words.iter().filter(|word| **word == wanted).count();
    let (signed, unsigned) = (count("signed") + count("__signed__"), count("unsigned"));
    let (long, short, int) = (count("long"), count("short"), count("int"));
    let (char, wide) = (count("char"), count("__int128"));
    let boolean = count("_Bool") + count("bool");
    let known = signed + unsigned + long + short + int + char + wide + boolean;
    let exclusive = usize::from(long > 0) + short + char + wide + boolean;
    if known != words.len()
        || words.is_empty()
        || signed + unsigned > 1
        || exclusive > 1
        || int > 1
        || long > 2
        || (int == 1 && char + wide + boolean > 0)
        || (boolean == 1 && words.len() > 1)
    {
        return None;
    }
    let unsigned = unsigned == 1;
    let shown = match () {
        () if boolean == 1 => "_Bool",
        () if char == 1 && unsigned => "unsigned char",
        () if char == 1 && signed == 1 => "signed char",
        () if char == 1 => "char",
        () if wide == 1 && unsigned => "unsigned __int128",
        () if wide == 1 => "__int128",
        () if short == 1 && unsigned => "unsigned short",
        () if short == 1 => "short",
        () if long == 2 && unsigned => "unsigned long long",
        () if long == 2 => "long long",
        () if long == 1 && unsigned => "unsigned long",
        () if long == 1 => "long",
        () if unsigned => "unsigned int",
        () => "int",
    };
    BASE_NAMES.iter().find(|base| base.shown == shown)
}

/// Whether `word` can be part of a base type's name.
pub(super) fn is_word(word: &str) -> bool {
    matches!(
        word,
        "signed"
            | "__signed__"
            | "unsigned"
            | "long"
            | "short"
            | "int"
            | "char"
            | "__int128"
            | "_Bool"
            | "bool"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_in_any_order() {
        let name = |text: &str| {
            let words: Vec<&str> = text.split(' ').collect();
            from_words(&words).map(|base| base.shown)
        };
        assert_eq!(name("unsigned long"), Some("unsigned long"));
        assert_eq!(name("long unsigned int"), Some("unsigned long"));
        assert_eq!(name("int long long unsigned"), Some("unsigned long long"));
        assert_eq!(name("unsigned"), Some("unsigned int"));
        assert_eq!(name("signed char"), Some("signed char"));
        assert_eq!(name("short int"), Some("short"));
        assert_eq!(name("long char"), None);
        assert_eq!(name("long long long"), None);
        assert_eq!(name("unsigned signed"), None);
    }
}
