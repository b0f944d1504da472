//! Messages as incoming webhooks of Slack's take them.

use serde_json::{Value, json};

use super::Message;
use super::line::line;

/// The longest text of a section.
const SECTION: usize = 3_000;

/// The longest text of a header.
const HEADER: usize = 150;

/// What is posted.
pub fn body(message: &Message) -> Value {
    let title = format!("{}: {}", message.severity, message.title);
    let title = line(&title, title.len());
    let text = escaped(&message.text, SECTION);
    json!({
        // Where blocks are not shown: notifications, and others that understand the same.
        "text": escaped(&format!("{title}\n{}", message.text), SECTION),
        "blocks": [
            { "type": "header", "text": { "type": "plain_text", "text": escaped(&title, HEADER) } },
            // Verbatim: nobody is called by an `@here` in what an agent is named.
            { "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } },
        ],
    })
}

/// A text without links and mentions, cut where it is too long and never within an escape.
fn escaped(text: &str, longest: usize) -> String {
    let mut escaped = String::new();
    // Whether Slack counts characters as JavaScript does is not said; then these are the more.
    let mut units = 0;
    for character in text.chars() {
        let mut own = [0; 4];
        let piece = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => character.encode_utf8(&mut own),
        };
        units += piece.encode_utf16().count();
        if units >= longest {
            escaped.push('…');
            break;
        }
        escaped.push_str(piece);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(title: &str, text: &str) -> Message {
        let severity = "critical".to_owned();
        let (id, title, text) = ("n_1".to_owned(), title.to_owned(), text.to_owned());
        Message { id, title, severity, text, json: Value::Null }
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
        assert_eq!(escaped("abcd", 5), "abcd");
        assert_eq!(escaped("abcd<", 8), "abcd…");
        assert_eq!(escaped("abc💥d", 5), "abc…");
        let body = body(&message(&"t".repeat(9_000), &"<".repeat(9_000)));
        for (text, longest) in [
            (&body["text"], SECTION),
            (&body["blocks"][0]["text"]["text"], HEADER),
            (&body["blocks"][1]["text"]["text"], SECTION),
        ] {
            let text = text.as_str().unwrap();
            assert!(text.encode_utf16().count() <= longest && text.ends_with('…'), "{text}");
        }
    }
}
