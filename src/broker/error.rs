//! Errors of a broker: what each means, and how it is shown.

use lapin::ErrorKind;
use lapin::protocol::AMQPErrorKind;

/// The broker's limit for a message, in bytes, if that is what `error` is about: RabbitMQ closes
/// the channel with 406 and "message size N is larger than configured max size M".
pub fn message_limit(error: &anyhow::Error) -> Option<usize> {
    let ErrorKind::ProtocolError(error) = error.downcast_ref::<lapin::Error>()?.kind() else {
        return None;
    };
    let (_, limit) = error.get_message().as_str().split_once("max size ")?;
    let digits: String = limit.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Whether `error` is the broker's no to what was published (a permission, a size): it closes the
/// channel, and a new connection would meet the same.
pub fn is_refusal(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<lapin::Error>().map(lapin::Error::kind);
    matches!(kind, Some(ErrorKind::ProtocolError(error)) if matches!(error.kind(), AMQPErrorKind::Soft(_)))
}

/// An error and its causes as one text. lapin's errors have their cause in their own text and name
/// it as a cause besides.
pub fn error_chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_cause_is_told_once() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = anyhow::Error::from(lapin::Error::from(refused)).context("connecting");
        assert_eq!(
            error_chain(&error),
            "connecting: IO error: connection refused"
        );
        assert_eq!(error_chain(&anyhow!("b").context("a")), "a: b");
    }
}
