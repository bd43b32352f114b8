use std::fmt;

use figment::providers::{Format, Json, Toml, Yaml};
use rust_config_tree::ConfigFormat;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::ProblemKind;

/// A file's text as an untyped value; a key that stands twice is an error of syntax.
pub(super) fn parse(format: ConfigFormat, text: &str) -> Result<Value, ProblemKind> {
    if text.starts_with('\u{feff}') {
        let reason = "starts with a byte order mark; save it as UTF-8 without one";
        return Err(syntax(Some((1, 1)), &reason));
    }
    let strict = match format {
        ConfigFormat::Yaml => Yaml::from_str::<Strict>(text).map_err(|error| {
            let place = error.location().map(|at| (at.line(), at.column()));
            match place {
                Some(at) if is_tab(text, at) => {
                    syntax(place, &"a tab stands here: YAML is indented with spaces")
                }
                _ => syntax(place, &error),
            }
        }),
        ConfigFormat::Json => Json::from_str::<Strict>(text)
            .map_err(|error| syntax(Some((error.line(), error.column())), &error)),
        ConfigFormat::Toml => Toml::from_str::<Strict>(text).map_err(|error| {
            let place = error.span().map(|span| line_and_column(text, span.start));
            syntax(place, &error.message())
        }),
    };
    strict.map(|Strict(value)| value)
}

fn syntax(place: Option<(usize, usize)>, message: &impl fmt::Display) -> ProblemKind {
    let (line, column) = place.unwrap_or_default();
    ProblemKind::Syntax {
        line,
        column,
        message: message.to_string(),
    }
}

/// Whether a tab is at this line and column.
fn is_tab(text: &str, (line, column): (usize, usize)) -> bool {
    let line = text.lines().nth(line.saturating_sub(1));
    line.and_then(|line| line.chars().nth(column.saturating_sub(1))) == Some('\t')
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// A value in which no key stands twice and every number is one.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map, a list, a string, a number or a boolean")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    // Wider than any key takes: kept near enough to be refused with its value.
    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom(format!("{value} is no number a configuration can have")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let Strict(value) = entries.next_value()?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice")));
            }
            map.insert(key, value);
        }
        Ok(map.into())
    }
}
