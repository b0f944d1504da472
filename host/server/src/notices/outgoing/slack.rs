//! Messages as incoming webhooks of Slack's take them.

use std::iter;

use serde_json::{Value, json};

use super::Message;
use super::line::line;

/// The longest text of a section.
const SECTION: usize = 3_000;

/// The most sections. Slack was seen to refuse messages whose blocks hold some 11,000 characters in all.
const SECTIONS: usize = 3;

/// The longest text of a header.
const HEADER: usize = 150;

/// What is posted.
pub fn body(message: &Message) -> Value {
    let title = format!("{}: {}", message.severity, message.title);
    let title = line(&title, title.len());
    let header = json!({
        "type": "header", "text": { "type": "plain_text", "text": cut(&title, HEADER) },
    });
    // Verbatim: nobody is called by an `@here` in what an agent is named.
    let section = |text: String| {
        json!({
            "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true },
        })
    };
    let sections = sections(&message.text).into_iter().map(section);
    json!({
        // Where blocks are not shown: notifications, and others that understand the same.
        "text": cut(&format!("{title}\n{}", message.text), SECTION),
        "blocks": iter::once(header).chain(sections).collect::<Vec<_>>(),
    })
}

/// A text in sections that end with a line where they can; none is blank.
fn sections(text: &str) -> Vec<String> {
    let (mut sections, mut rest) = (Vec::new(), text.trim());
    while sections.len() + 1 < SECTIONS {
        let (fits, beyond) = rest.split_at(fitting(rest, SECTION));
        if beyond.is_empty() {
            break;
        }
        let whole = if beyond.starts_with('\n') { None } else { fits.rfind('\n') };
        let (section, others) = rest.split_at(whole.unwrap_or(fits.len()));
        sections.push(escaped(section.trim_end()));
        rest = others.trim_start();
    }
    if !rest.is_empty() {
        sections.push(cut(rest, SECTION));
    }
    sections
}

/// A text without links and mentions, cut where it is too long and never within an escape.
fn cut(text: &str, longest: usize) -> String {
    if fitting(text, longest) == text.len() {
        return escaped(text);
    }
    let (kept, _) = text.split_at(fitting(text, longest - 1));
    format!("{}…", escaped(kept))
}

/// How many bytes of a text are not too long once they are escaped.
fn fitting(text: &str, longest: usize) -> usize {
    let mut units = 0;
    let beyond = text.char_indices().find(|(_, character)| {
        // Whether Slack counts characters as JavaScript does is not said; then these are the more.
        units += match character {
            '&' => "&amp;".len(),
            '<' | '>' => "&lt;".len(),
            _ => character.len_utf16(),
        };
        units > longest
    });
    beyond.map_or(text.len(), |(at, _)| at)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(title: &str, text: &str) -> Message {
        let severity = "critical".to_owned();
        let (id, title, text) = ("n_1".to_owned(), title.to_owned(), text.to_owned());
        Message { id, title, severity, text, json: Value::Null }
    }

    fn units(text: &str) -> usize {
        text.encode_utf16().count()
    }

    fn sections_of(body: &Value) -> Vec<&str> {
        let blocks = body["blocks"].as_array().unwrap();
        blocks[1..].iter().map(|block| block["text"]["text"].as_str().unwrap()).collect()
    }

    #[test]
    fn nobody_is_called_and_nothing_links() {
        let body = body(&message("<!channel>\r\na & b", "<https://evil.example|here> @here"));
        let text = "&lt;https://evil.example|here&gt; @here";
        let title = "critical: &lt;!channel&gt; a &amp; b";
        assert_eq!(body["text"], format!("{title}\n{text}"));
        assert_eq!(
            body["blocks"],
            json!([
                { "type": "header", "text": { "type": "plain_text", "text": title } },
                { "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } },
            ])
        );
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("abcde", 5), "abcde");
        assert_eq!(cut("abcdef", 5), "abcd…");
        assert_eq!(cut("abcd<", 8), "abcd&lt;");
        assert_eq!(cut("abcd<", 7), "abcd…");
        assert_eq!(cut("&&", 9), "&amp;…");
        assert_eq!(cut("abc💥d", 5), "abc…");
        let body = body(&message(&"t".repeat(9_000), &"<".repeat(2_250)));
        for (text, longest) in
            [(&body["text"], SECTION), (&body["blocks"][0]["text"]["text"], HEADER)]
        {
            let text = text.as_str().unwrap();
            assert!(units(text) <= longest && text.ends_with('…'), "{text}");
        }
        assert_eq!(sections_of(&body), vec!["&lt;".repeat(750); 3]);
    }

    #[test]
    fn a_long_digest_is_told_in_sections_of_whole_lines() {
        let notices = (0..3).map(|notice| {
            let lines = (0..20).map(|at| format!("{at}: `agent {notice}` 💥 <{}>", "&".repeat(at)));
            format!("[acme] notice {notice}\n\n{}", lines.collect::<Vec<_>>().join("\n"))
        });
        let text = notices.collect::<Vec<_>>().join("\n\n---\n\n");
        let body = body(&message("3 notices", &text));
        let sections = sections_of(&body);
        assert_eq!(sections.len(), 2);
        for section in &sections[..sections.len() - 1] {
            assert!((SECTION - 200..=SECTION).contains(&units(section)), "{section}");
        }
        let told = sections.iter().flat_map(|section| section.lines());
        let text = escaped(&text);
        assert!(
            told.filter(|line| !line.is_empty()).eq(text.lines().filter(|own| !own.is_empty()))
        );
        assert!(body["text"].as_str().unwrap().ends_with('…'));
    }

    #[test]
    fn what_lies_beyond_the_last_section_is_cut() {
        let full = "x".repeat(SECTION * SECTIONS);
        let body_of = |text: &str| body(&message("a", text));
        assert_eq!(sections_of(&body_of(&full)), vec!["x".repeat(SECTION); SECTIONS]);
        let body = body_of(&format!("{full}x"));
        let sections = sections_of(&body);
        assert_eq!((sections.len(), units(sections[SECTIONS - 1])), (SECTIONS, SECTION));
        assert!(sections[SECTIONS - 1].ends_with("x…"));
    }

    #[test]
    fn sections_end_with_lines_and_none_is_blank() {
        let (fits, beyond) = ("a".repeat(SECTION), "b".repeat(SECTION + 1));
        let (whole, left) = beyond.split_at(SECTION);
        assert_eq!(sections(&format!("{fits}\n{fits}")), [&*fits, &*fits]);
        let lines = format!("a\n{}", &fits[2..]);
        assert_eq!(sections(&format!("{lines}\nc")), [&*lines, "c"]);
        assert_eq!(sections(&format!("{fits}\r\n\r\n{fits}\n")), [&*fits, &*fits]);
        assert_eq!(sections(&format!("a\n{beyond}\nc")), ["a", whole, &format!("{left}\nc")]);
        assert_eq!(sections(&format!("\n{beyond}{}c", " \n".repeat(9_000))), [whole, left, "c"]);
        for blank in ["", "\n", " \r\n\t"] {
            assert!(sections(blank).is_empty());
        }
    }
}
