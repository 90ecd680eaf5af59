//! `{{name}}` in a text: a name of letters, digits, `_`, `-` and `.`, with blanks around it allowed.

/// Whether a variable can be written so in a text.
pub fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_name_char)
}

/// Puts values in, once: a value that holds `{{…}}` itself stays as it is. Where `value` gives none, so does the text.
pub(super) fn substitute(text: &str, mut value: impl FnMut(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("{{") {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let given = leading_variable(rest).and_then(|(name, len)| Some((value(name)?, len)));
        match given {
            Some((value, len)) => {
                filled.push_str(&value);
                rest = &rest[len..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// The name in a text that begins with `{{name}}`, and how many bytes that takes.
fn leading_variable(text: &str) -> Option<(&str, usize)> {
    let inner = text.strip_prefix("{{")?;
    let from_name = inner.trim_start_matches(is_blank);
    let name_len = from_name.find(|letter| !is_name_char(letter))?;
    let (name, after) = from_name.split_at(name_len);
    let rest = after.trim_start_matches(is_blank).strip_prefix("}}")?;
    (!name.is_empty()).then_some((name, text.len() - rest.len()))
}

fn is_name_char(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.')
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use super::{is_variable_name, substitute};

    fn fill(text: &str) -> String {
        substitute(text, |name| match name {
            "topic" => Some("{{other}} tea".to_owned()),
            "größe.x-1_" => Some("L".to_owned()),
            "other" => Some("wrong".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn a_value_is_put_in_once_and_never_expanded_again() {
        assert_eq!(fill("about {{topic}}!"), "about {{other}} tea!");
        assert_eq!(fill("{{ topic\t}}{{größe.x-1_}}"), "{{other}} teaL");
    }

    #[test]
    fn what_is_not_a_set_variable_stays_literally() {
        for text in [
            "{{unset}}",
            "{{}}",
            "{{a b}}",
            "{topic}",
            "{{topic",
            "{{topic}",
            "}}{{",
            "{{ {{",
            "😀{{\u{fe0f}}}",
        ] {
            assert_eq!(fill(text), text);
        }
        assert_eq!(fill("{{{topic}}}"), "{{{other}} tea}");
    }

    #[test]
    fn names_are_letters_digits_and_three_signs() {
        assert!(is_variable_name("a.b-c_9é"));
        assert!(!is_variable_name("") && !is_variable_name("a b") && !is_variable_name("a}"));
    }
}
