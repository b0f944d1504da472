//! Texts of others on one line: in a subject, a header or an error's words they begin no line of their
//! own.

/// So much of a text, in characters, on one line.
pub fn line(text: &str, longest: usize) -> String {
    let apart = |character: char| character.is_whitespace() || character.is_control();
    let words: Vec<&str> = text.split(apart).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(longest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_many_lines_becomes_one() {
        assert_eq!(line(" a\r\nBcc: b\u{2028}c\u{1b}[31m\0 ", 64), "a Bcc: b c [31m");
        assert_eq!(line("äöü", 2), "äö");
    }
}
