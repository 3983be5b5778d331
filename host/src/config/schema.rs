//! The JSON Schema of `plimsoll.toml`, for editors and for `values.schema.json` of the chart.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::file::Config;

/// The file with the schema that the commands write beside a configuration.
pub const SCHEMA_FILE: &str = "plimsoll.schema.json";

impl Config {
    /// The line with which a configuration names [`SCHEMA_FILE`] to editors (Taplo, Even Better TOML).
    pub fn schema_line() -> String {
        format!("#:schema ./{SCHEMA_FILE}")
    }

    /// The JSON Schema of the file.
    pub fn schema() -> Value {
        let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Self>();
        let mut schema = schema.to_value();
        schema["title"] = "plimsoll.toml".into();
        tidy(&mut schema);
        schema
    }
}

/// TOML has no null: an optional value is absent. Links of the documentation of the code lead nowhere here.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice["type"] != "null");
            }
            if let Some(Value::String(text)) = object.get_mut("description") {
                *text = text.replace("[`", "`").replace("`]", "`").replace('\n', " ");
            }
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}
