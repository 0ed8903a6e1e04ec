//! A Lock as body of a request (contract, section 6).

use serde_json::Value;

use super::Answer;

/// `metadata.name`. Only that counts; but a body that is no Lock is refused.
pub(super) fn name(body: &[u8]) -> Result<String, Answer> {
    let bad = |why: &str| Answer::message(400, why);
    let lock: Value = serde_json::from_slice(body).map_err(|error| bad(&format!("The body is no Lock: {error}.")))?;
    let lock = lock.as_object().ok_or_else(|| bad("The body is no Lock: not an object."))?;
    if !matches!(lock.get("spec"), None | Some(Value::Null | Value::Object(_))) {
        return Err(bad("The body is no Lock: spec is not an object."));
    }
    let metadata = lock.get("metadata").and_then(Value::as_object);
    let metadata = metadata.ok_or_else(|| bad("The body is no Lock: metadata is not an object."))?;
    if !is_date(metadata.get("creationTimestamp")) {
        return Err(bad("The body is no Lock: metadata.creationTimestamp is not a date."));
    }
    let name = metadata.get("name").and_then(Value::as_str);
    Ok(name.ok_or_else(|| bad("The body is no Lock: metadata.name is not a string."))?.to_owned())
}

fn is_date(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.parse::<jiff::Timestamp>().is_ok(),
        Some(_) => false,
    }
}
