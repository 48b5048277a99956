//! The fields of the configuration as data: from the JSON schema that the structs' doc comments and
//! attributes give, and from their defaults.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Value as Json;
use toml::Value as Toml;

use super::RESTART;

/// One key or section.
pub(super) struct Field {
    pub(super) key: String,
    /// With the sections above it: `kernel.ring_bytes`.
    pub(super) path: String,
    /// Paragraphs of its doc comment.
    pub(super) doc: Vec<String>,
    /// What it holds, in a word or two.
    pub(super) kind: String,
    /// Values of a closed list, each with its meaning.
    pub(super) choices: Vec<(String, String)>,
    /// Missing if the field is optional and not set.
    pub(super) default: Option<Toml>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    /// Whether it is read at the start only.
    pub(super) restart: bool,
    pub(super) examples: Vec<Json>,
    /// The keys of a section.
    pub(super) fields: Vec<Field>,
    /// Whether the user names the keys in it.
    pub(super) is_open: bool,
    /// Whether it is a section that may stand any number of times: `[[alert.webhook]]`.
    pub(super) is_list: bool,
}

impl Field {
    pub(super) fn is_table(&self) -> bool {
        !self.fields.is_empty()
    }

    /// The line that a section begins with.
    pub(super) fn heading(&self) -> String {
        match self.is_list {
            true => format!("[[{}]]", self.path),
            false => format!("[{}]", self.path),
        }
    }
}

/// All sections of `T`, in the order of its definition.
pub(super) fn fields<T: JsonSchema + Serialize + Default>() -> Vec<Field> {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let defaults = Toml::try_from(T::default()).ok();
    children(schema.as_value(), defaults.as_ref(), "", false)
}

fn children(schema: &Json, defaults: Option<&Toml>, above: &str, restart: bool) -> Vec<Field> {
    let Some(properties) = schema["properties"].as_object() else {
        return Vec::new();
    };
    let field = |(key, schema): (&String, &Json)| {
        let path = if above.is_empty() {
            key.clone()
        } else {
            format!("{above}.{key}")
        };
        let default = defaults.and_then(|table| table.get(key)).cloned();
        // `Option<Struct>` is a choice between the struct and null.
        let shape = alternatives(schema)
            .find(|alternative| alternative.get("properties").is_some())
            .unwrap_or(schema);
        let items = &schema["items"];
        let is_list = is(schema, "array") && items.get("properties").is_some();
        let restart = restart || schema[RESTART] == true;
        let fields = match is_list {
            true => children(items, Some(&item_defaults(items)), &path, restart),
            false => children(shape, default.as_ref(), &path, restart),
        };
        Field {
            key: key.clone(),
            doc: paragraphs(&schema["description"]),
            kind: kind(schema),
            choices: choices(schema),
            min: schema["minimum"].as_f64(),
            max: schema["maximum"].as_f64(),
            restart,
            examples: schema["examples"].as_array().cloned().unwrap_or_default(),
            is_open: fields.is_empty() && is(shape, "object"),
            is_list,
            default,
            fields,
            path,
        }
    };
    properties.iter().map(field).collect()
}

/// A section that stands any number of times has no value to take the defaults of its keys from.
fn item_defaults(items: &Json) -> Toml {
    let properties = items["properties"].as_object().into_iter().flatten();
    let default = |(key, schema): (&String, &Json)| {
        let value = Toml::try_from(schema.get("default")?).ok()?;
        Some((key.clone(), value))
    };
    Toml::Table(properties.filter_map(default).collect())
}

fn alternatives(schema: &Json) -> impl Iterator<Item = &Json> {
    let list = |key: &str| schema[key].as_array().into_iter().flatten();
    list("anyOf").chain(list("oneOf"))
}

fn is(schema: &Json, kind: &str) -> bool {
    match &schema["type"] {
        Json::String(only) => only == kind,
        Json::Array(several) => several.iter().any(|one| one == kind),
        _ => false,
    }
}

fn kind(schema: &Json) -> String {
    let of = |items: &Json| {
        if items.is_null() {
            String::new()
        } else {
            format!(" of {}s", kind(items))
        }
    };
    let known: [(&str, &str); 4] = [
        ("boolean", "boolean"),
        ("integer", "integer"),
        ("number", "number"),
        ("string", "string"),
    ];
    if let Some((_, name)) = known.iter().find(|(name, _)| is(schema, name)) {
        return (*name).to_owned();
    }
    if is(schema, "array") {
        return format!("list{}", of(&schema["items"]));
    }
    if is(schema, "object") {
        return format!("table{}", of(&schema["additionalProperties"]));
    }
    let first = alternatives(schema).map(kind).next();
    first.unwrap_or_else(|| "value".to_owned())
}

fn choices(schema: &Json) -> Vec<(String, String)> {
    let plain = schema["enum"].as_array().into_iter().flatten();
    let plain = plain.filter_map(|value| Some((value.as_str()?.to_owned(), String::new())));
    let told = alternatives(schema).flat_map(|one| {
        let meaning = paragraphs(&one["description"]).join(" ");
        match one["const"].as_str() {
            Some(value) => vec![(value.to_owned(), meaning)],
            None => choices(one),
        }
    });
    plain.chain(told).collect()
}

fn paragraphs(description: &Json) -> Vec<String> {
    description
        .as_str()
        .unwrap_or_default()
        .split("\n\n")
        .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|text| !text.is_empty())
        .collect()
}

/// What is wrong with numbers in `config`, each beginning with the key.
pub(super) fn out_of_range<T: Serialize>(fields: &[Field], config: &T) -> Vec<String> {
    let mut faults = Vec::new();
    if let Ok(values) = Toml::try_from(config) {
        visit(fields, &values, "", &mut |path, field, value| {
            let number = match value {
                #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^53")]
                Toml::Integer(number) => *number as f64,
                Toml::Float(number) => *number,
                _ => return,
            };
            let least = field.min.unwrap_or(f64::MIN);
            let most = field.max.unwrap_or(f64::MAX);
            // Not a number is in no range.
            if !(least..=most).contains(&number) {
                faults.push(format!("{path} is {value}: give {}", range(field)));
            }
        });
    }
    faults
}

/// `a number from 1 to 2`, as far as it has limits.
pub(super) fn range(field: &Field) -> String {
    match (field.min, field.max) {
        (Some(min), Some(max)) => format!("a number from {min} to {max}"),
        (Some(min), None) => format!("a number from {min}"),
        (None, Some(max)) => format!("a number up to {max}"),
        (None, None) => "a number".to_owned(),
    }
}

/// Paths of fields that are read at the start only and differ.
pub(super) fn restarts<T: Serialize>(fields: &[Field], old: &T, new: &T) -> Vec<String> {
    let values = |config: &T| {
        let mut values = Vec::new();
        if let Ok(table) = Toml::try_from(config) {
            visit(fields, &table, "", &mut |path, field, value| {
                if field.restart {
                    values.push((path.to_owned(), value.clone()));
                }
            });
        }
        values
    };
    let (old, new) = (values(old), values(new));
    // Optional fields may be on one side only.
    let only = |a: &[(String, Toml)], b: &[(String, Toml)]| -> Vec<String> {
        let differs = |pair: &&(String, Toml)| !b.contains(pair);
        a.iter()
            .filter(differs)
            .map(|(path, _)| path.clone())
            .collect()
    };
    let mut paths = only(&new, &old);
    for path in only(&old, &new) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

/// Calls `each` with every field that is no section, its path, and its value where it has one.
fn visit(fields: &[Field], table: &Toml, above: &str, each: &mut impl FnMut(&str, &Field, &Toml)) {
    for field in fields {
        let dot = if above.is_empty() { "" } else { "." };
        let path = format!("{above}{dot}{}", field.key);
        match table.get(&field.key) {
            Some(Toml::Array(items)) if field.is_list => {
                for (index, item) in items.iter().enumerate() {
                    visit(&field.fields, item, &format!("{path}[{index}]"), each);
                }
            }
            Some(value) if field.is_table() => visit(&field.fields, value, &path, each),
            Some(value) => each(&path, field, value),
            None => {}
        }
    }
}
