//! Fractional order keys: between any two there is room for another, so that moving one thing changes one string.
//!
//! The format is that of the page's `fractional-indexing`: a head letter that says how many digits of a whole number
//! follow, then a fraction without trailing zeros; all in base 62 in ASCII order.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Longer ones only come from somebody who means harm.
const KEY_BYTES_MAX: usize = 1_024;

/// A key for each of a list, keeping what is there where the order allows; `None` stands for a new entry.
pub(super) fn arrange(keys: &[Option<&str>]) -> Vec<String> {
    let kept: Vec<&str> = keys.iter().flatten().copied().collect();
    let usable = kept.iter().all(|key| is_key(key)) && kept.windows(2).all(|pair| pair[0] < pair[1]);
    let mut arranged: Vec<String> = Vec::with_capacity(keys.len());
    for (number, key) in keys.iter().enumerate() {
        let next = keys[number..].iter().flatten().next().copied();
        let key = match (usable, key) {
            (true, Some(key)) => (*key).to_owned(),
            (true, None) => between(arranged.last().map(String::as_str), next),
            (false, _) => between(arranged.last().map(String::as_str), None),
        };
        arranged.push(key);
    }
    arranged
}

/// A key after one and before another; both must be keys, in order.
fn between(after: Option<&str>, before: Option<&str>) -> String {
    match (after, before) {
        (None, None) => "a0".to_owned(),
        (Some(after), None) => {
            let (whole, fraction) = split(after);
            increment(whole).unwrap_or_else(|| format!("{whole}{}", midpoint(fraction, None)))
        }
        (None, Some(before)) => {
            let (whole, fraction) = split(before);
            if !fraction.is_empty() {
                return whole.to_owned();
            }
            decrement(whole).unwrap_or_else(|| format!("{whole}{}", midpoint("", Some(fraction))))
        }
        (Some(after), Some(before)) => {
            let ((whole, fraction), (whole_before, fraction_before)) = (split(after), split(before));
            if whole == whole_before {
                return format!("{whole}{}", midpoint(fraction, Some(fraction_before)));
            }
            match increment(whole) {
                Some(next) if next.as_str() < before => next,
                _ => format!("{whole}{}", midpoint(fraction, None)),
            }
        }
    }
}

/// A fraction strictly between two, without a trailing zero; `None` is one.
fn midpoint(low: &str, high: Option<&str>) -> String {
    let (low, high) = (low.as_bytes(), high.map(str::as_bytes));
    let mut middle = Vec::new();
    let mut bounded = high;
    for place in 0.. {
        let from = low.get(place).map_or(0, |digit| value(*digit));
        let to = bounded.and_then(|high| high.get(place)).map_or(DIGITS.len(), |digit| value(*digit));
        if to > from + 1 {
            middle.push(DIGITS[(from + to).div_ceil(2).min(to - 1)]);
            break;
        }
        middle.push(DIGITS[from]);
        if to == from + 1 {
            // Everything after this digit is below the upper bound.
            bounded = None;
        }
    }
    middle.into_iter().map(char::from).collect()
}

fn is_key(key: &str) -> bool {
    let bytes = key.as_bytes();
    if key.len() > KEY_BYTES_MAX || !bytes.iter().all(u8::is_ascii_alphanumeric) {
        return false;
    }
    let Some(len) = bytes.first().and_then(|head| whole_len(*head)) else { return false };
    let smallest = bytes.first() == Some(&b'A') && bytes[1..].iter().all(|digit| *digit == b'0');
    len <= key.len() && !smallest && !(key.len() > len && key.ends_with('0'))
}

fn split(key: &str) -> (&str, &str) {
    let len = key.bytes().next().and_then(whole_len).unwrap_or(0);
    key.split_at(len.min(key.len()))
}

fn whole_len(head: u8) -> Option<usize> {
    match head {
        b'a'..=b'z' => Some(usize::from(head - b'a') + 2),
        b'A'..=b'Z' => Some(usize::from(b'Z' - head) + 2),
        _ => None,
    }
}

fn increment(whole: &str) -> Option<String> {
    let mut digits = whole.as_bytes().to_vec();
    for digit in digits[1..].iter_mut().rev() {
        let next = value(*digit) + 1;
        if next < DIGITS.len() {
            *digit = DIGITS[next];
            return String::from_utf8(digits).ok();
        }
        *digit = b'0';
    }
    match digits[0] {
        b'z' => return None,
        b'Z' => return Some("a0".to_owned()),
        head => digits[0] = head + 1,
    }
    if digits[0].is_ascii_lowercase() {
        digits.push(b'0');
    } else {
        digits.pop();
    }
    String::from_utf8(digits).ok()
}

fn decrement(whole: &str) -> Option<String> {
    let mut digits = whole.as_bytes().to_vec();
    for digit in digits[1..].iter_mut().rev() {
        if *digit != b'0' {
            *digit = DIGITS[value(*digit) - 1];
            return String::from_utf8(digits).ok();
        }
        *digit = b'z';
    }
    match digits[0] {
        b'A' => return None,
        b'a' => return Some("Zz".to_owned()),
        head => digits[0] = head - 1,
    }
    if digits[0].is_ascii_uppercase() {
        digits.push(b'z');
    } else {
        digits.pop();
    }
    String::from_utf8(digits).ok()
}

fn value(digit: u8) -> usize {
    DIGITS.iter().position(|known| *known == digit).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{arrange, between, is_key};

    #[test]
    fn a_key_can_always_be_put_between_two() {
        for (after, before, key) in [
            (None, None, "a0"),
            (None, Some("a0"), "Zz"),
            (None, Some("Zz"), "Zy"),
            (Some("a0"), None, "a1"),
            (Some("az"), None, "b00"),
            (Some("a0"), Some("a1"), "a0V"),
            (Some("a0V"), Some("a1"), "a0l"),
            (Some("Zz"), Some("a0"), "ZzV"),
            (Some("Zz"), Some("a1"), "a0"),
        ] {
            assert_eq!(between(after, before), key);
        }
        let mut low = "a0".to_owned();
        for round in 0..300 {
            let next = between(Some(&low), Some("a1"));
            assert!(low < next && next.as_str() < "a1" && is_key(&next), "{round}: {low} {next}");
            low = next;
        }
    }

    #[test]
    fn keys_stay_where_the_order_allows_and_are_made_anew_where_it_does_not() {
        assert_eq!(arrange(&[Some("a0"), None, Some("a1"), None]), ["a0", "a0V", "a1", "a2"]);
        assert_eq!(arrange(&[None, None, Some("a0")]), ["Zz", "ZzV", "a0"]);
        assert_eq!(arrange(&[Some("a1"), Some("a0"), None]), ["a0", "a1", "a2"]);
        assert_eq!(arrange(&[Some("a1"), Some("a1")]), ["a0", "a1"]);
        assert_eq!(arrange(&[Some("<b>"), None]), ["a0", "a1"]);
    }
}
