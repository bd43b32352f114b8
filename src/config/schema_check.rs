use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::{ConfigProblem, ProblemKind, configurable::SupervisorConfig, nearest::nearest};

/// The JSON Schema of a configuration, generated once.
pub(super) fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| schemars::schema_for!(SupervisorConfig).to_value())
}

/// Holds a file's value against the schema and notes every key that does not fit. What does not fit is
/// taken out, so that the rest can be looked at further.
pub(super) fn check(value: &mut Value, file: &str, problems: &mut Vec<ConfigProblem>) {
    let mut walk = Walk {
        schema: schema(),
        file,
        problems,
    };
    if !walk.value(schema(), value, "") {
        *value = Value::Object(Map::new());
    }
}

/// Holds one key's value against the schema.
pub(super) fn check_key(
    keys: &[&str],
    value: &mut Value,
    source: &str,
    problems: &mut Vec<ConfigProblem>,
) -> bool {
    let mut walk = Walk {
        schema: schema(),
        file: source,
        problems,
    };
    let found = keys.iter().try_fold(schema(), |at, key| {
        walk.resolve(at).get("properties")?.get(*key)
    });
    found.is_none_or(|schema| walk.value(schema, value, &keys.join(".")))
}

struct Walk<'a> {
    schema: &'static Value,
    file: &'a str,
    problems: &'a mut Vec<ConfigProblem>,
}

impl Walk<'_> {
    /// Whether the value fits, once what does not fit has been taken out of it.
    fn value(&mut self, schema: &'static Value, value: &mut Value, path: &str) -> bool {
        let schema = self.resolve(schema);
        if schema.get("properties").is_some() {
            return self.map(schema, value, path);
        }
        let words = words(schema);
        if !words.is_empty() {
            return self.word(&words, value, path);
        }
        match type_of(schema) {
            Some("array") => self.list(schema, value, path),
            Some("integer") => self.number(schema, value, path, true),
            Some("number") => self.number(schema, value, path, false),
            Some("string") if !value.is_string() => self.wrong_type(value, path, "a string"),
            Some("boolean") if !value.is_boolean() => self.wrong_type(value, path, "true or false"),
            // Free form, or it fits.
            _ => true,
        }
    }

    fn map(&mut self, schema: &'static Value, value: &mut Value, path: &str) -> bool {
        let Value::Object(map) = value else {
            return self.wrong_type(value, path, "keys and their values");
        };
        let Some(Value::Object(known)) = schema.get("properties") else {
            return true;
        };
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        for key in required {
            if !map.contains_key(key) {
                let expected = description(&known[key]);
                self.note(&join(path, key), ProblemKind::Missing { expected });
            }
        }
        map.retain(|key, value| {
            let at = join(path, key);
            if let Some(schema) = known.get(key) {
                return self.value(schema, value, &at);
            }
            let near = nearest(key, known.keys().map(String::as_str)).map(str::to_owned);
            let known = known.keys().cloned().collect();
            self.note(
                &at,
                ProblemKind::UnknownKey {
                    nearest: near,
                    known,
                },
            );
            false
        });
        stand_in(schema, map);
        true
    }

    fn list(&mut self, schema: &'static Value, value: &mut Value, path: &str) -> bool {
        let Value::Array(items) = value else {
            return self.wrong_type(value, path, "a list");
        };
        let Some(of) = schema.get("items") else {
            return true;
        };
        for (index, item) in items.iter_mut().enumerate() {
            if !self.value(of, item, &format!("{path}[{index}]")) {
                // Its place stays, so that those behind it keep their index.
                let of = self.resolve(of);
                *item = match type_of(of) {
                    Some("object") => {
                        let mut map = Map::new();
                        stand_in(of, &mut map);
                        map.into()
                    }
                    _ => "".into(),
                };
            }
        }
        true
    }

    fn word(&mut self, words: &[&str], value: &Value, path: &str) -> bool {
        let Some(word) = value.as_str() else {
            return self.wrong_type(value, path, &format!("one of {}", words.join(", ")));
        };
        if words.contains(&word) {
            return true;
        }
        let kind = ProblemKind::NotOneOf {
            value: value.clone(),
            allowed: words.iter().map(|&word| word.to_owned()).collect(),
            nearest: nearest(word, words.iter().copied()).map(str::to_owned),
        };
        self.note(path, kind);
        false
    }

    fn number(&mut self, schema: &Value, value: &Value, path: &str, whole: bool) -> bool {
        let expected = if whole { "a whole number" } else { "a number" };
        let Some(number) = value.as_f64().filter(|n| !whole || n.fract() == 0.0) else {
            return self.wrong_type(value, path, expected);
        };
        let bound = |name| schema.get(name).filter(|bound| bound.is_number());
        let (min, max) = (bound("minimum"), bound("maximum"));
        let fits = min.and_then(Value::as_f64).is_none_or(|min| number >= min)
            && max.and_then(Value::as_f64).is_none_or(|max| number <= max);
        if !fits {
            let shown = |bound: Option<&Value>| bound.map_or("…".to_owned(), ToString::to_string);
            let kind = ProblemKind::OutOfRange {
                value: value.clone(),
                allowed: format!("{expected} from {} to {}", shown(min), shown(max)),
            };
            self.note(path, kind);
            return false;
        }
        // 5.0 is a whole number to a reader, but no integer to the loader.
        if whole && !value.is_u64() {
            return self.wrong_type(value, path, expected);
        }
        true
    }

    fn wrong_type(&mut self, value: &Value, path: &str, expected: &str) -> bool {
        let kind = ProblemKind::WrongType {
            value: value.clone(),
            expected: expected.to_owned(),
        };
        self.note(path, kind);
        false
    }

    fn note(&mut self, path: &str, kind: ProblemKind) {
        self.problems
            .push(ConfigProblem::new(self.file, path, kind));
    }

    /// The schema behind a reference, or behind the choice between something and nothing.
    fn resolve(&self, schema: &'static Value) -> &'static Value {
        let choice = schema
            .get("anyOf")
            .and_then(Value::as_array)
            .and_then(|any| any.iter().find(|one| type_of(one) != Some("null")));
        let schema = choice.unwrap_or(schema);
        schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| self.schema.pointer(reference.strip_prefix('#')?))
            .unwrap_or(schema)
    }
}

/// An absent required key as a blank string, so that what is around it can be looked at.
fn stand_in(schema: &Value, map: &mut Map<String, Value>) {
    let required = schema.get("required").and_then(Value::as_array);
    for key in required.into_iter().flatten().filter_map(Value::as_str) {
        map.entry(key).or_insert_with(|| "".into());
    }
}

/// What an enumeration allows; nothing where the schema is none.
fn words(schema: &Value) -> Vec<&str> {
    let list = |key| schema.get(key).and_then(Value::as_array);
    if let Some(words) = list("enum") {
        return words.iter().filter_map(Value::as_str).collect();
    }
    list("oneOf")
        .into_iter()
        .flatten()
        .flat_map(|one| match one.get("const").and_then(Value::as_str) {
            Some(word) => vec![word],
            None => words(one),
        })
        .collect()
}

/// The schema's type, where an optional value's is what it may be.
fn type_of(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(one) => Some(one),
        Value::Array(several) => several
            .iter()
            .filter_map(Value::as_str)
            .find(|one| *one != "null"),
        _ => None,
    }
}

/// What a key is for, as part of a sentence.
fn description(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str);
    let mut letters = text.unwrap_or("a value").trim_end_matches('.').chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        return key.to_owned();
    }
    format!("{path}.{key}")
}
