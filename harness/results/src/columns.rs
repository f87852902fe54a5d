//! What the columns of a CSV file mean, from the doc comments of its row type.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::row::Row;

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// `integer`, `number`, `text` or `true/false`.
    pub kind: &'static str,
    /// Whether a cell may be empty.
    pub is_optional: bool,
    /// Unit; empty for names and for counts of what the column is named after.
    pub unit: String,
    /// The field's doc comment.
    pub meaning: String,
    /// The values of a column that has few, with what each means.
    pub values: Vec<(String, String)>,
}

/// A CSV file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvFile {
    pub name: &'static str,
    /// The row type's doc comment.
    pub purpose: String,
    /// In the order of the file.
    pub columns: Vec<Column>,
}

/// Units that end a column's name, or stand before `max` or the like.
const UNITS: [&str; 3] = ["ns", "blocks", "bytes"];

fn text(schema: &Value, key: &str) -> String {
    let text = schema[key].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl CsvFile {
    /// The file of a kind of row.
    pub fn of<R: Row>() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.inline_subschemas = true;
        });
        let generator = settings.for_serialize().into_generator();
        let schema = generator.into_root_schema_for::<R>();
        let schema = schema.as_value();
        // The names of all fields that are written, in the order of the struct.
        let names = schema["required"].as_array().into_iter().flatten();
        let columns = names
            .filter_map(Value::as_str)
            .map(|name| Column::of(name, &schema["properties"][name]));
        Self {
            name: R::FILE,
            purpose: text(schema, "description"),
            columns: columns.collect(),
        }
    }
}

impl Column {
    fn of(name: &str, schema: &Value) -> Self {
        let (types, is_optional) = match &schema["type"] {
            Value::Array(types) => (types.as_slice(), types.iter().any(|of| of == "null")),
            one => (std::slice::from_ref(one), false),
        };
        let kind = match types.first().and_then(Value::as_str) {
            Some("integer") => "integer",
            Some("number") => "number",
            Some("boolean") => "true/false",
            _ => "text",
        };
        let named = name.split('_').rev().find(|word| UNITS.contains(word));
        let unit = match schema["unit"].as_str() {
            Some(unit) => unit,
            None if matches!(kind, "integer" | "number") => named.unwrap_or_default(),
            None => "",
        };
        let values = schema["oneOf"].as_array().into_iter().flatten();
        Self {
            name: name.to_owned(),
            kind,
            is_optional,
            unit: unit.to_owned(),
            meaning: text(schema, "description"),
            values: values
                .map(|value| (text(value, "const"), text(value, "description")))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;

    /// What is done.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    enum Op {
        /// Data come.
        ReadAll,
    }

    /// One row for each
    /// request.
    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Request {
        /// Which.
        op: Op,
        /// How long.
        elapsed_ns_max: Option<u64>,
        /// Of the device.
        #[schemars(extend("unit" = "bytes"))]
        at: u32,
        /// Whether.
        blocks: bool,
    }

    impl Row for Request {
        const FILE: &'static str = "requests.csv";
    }

    #[test]
    fn columns_are_those_of_the_file_in_its_order() {
        let file = CsvFile::of::<Request>();
        assert_eq!(file.purpose, "One row for each request.");
        let told: Vec<_> = file
            .columns
            .iter()
            .map(|of| (of.name.as_str(), of.kind, of.unit.as_str(), of.is_optional))
            .collect();
        let expected = [
            ("op", "text", "", false),
            ("elapsed_ns_max", "integer", "ns", true),
            ("at", "integer", "bytes", false),
            ("blocks", "true/false", "", false),
        ];
        assert_eq!(told, expected);
        assert_eq!(file.columns[0].meaning, "Which.");
        let value = ("read-all".to_owned(), "Data come.".to_owned());
        assert_eq!(file.columns[0].values, [value]);
        let mut written = csv::Writer::from_writer(Vec::new());
        let row = Request {
            op: Op::ReadAll,
            elapsed_ns_max: None,
            at: 1,
            blocks: true,
        };
        written.serialize(row).unwrap();
        let written = String::from_utf8(written.into_inner().unwrap()).unwrap();
        let names: Vec<_> = told.iter().map(|(name, ..)| *name).collect();
        assert_eq!(written.lines().next().unwrap(), names.join(","));
    }
}
