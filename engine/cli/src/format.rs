//! `--format`: tables, JSON and templates over the rows of a listing.

use crate::{
    error::CliError,
    table,
    template::{Map, Template, Value},
};

/// A kind of listing: the fields of its rows, and its table.
#[derive(Debug)]
pub struct Listing {
    /// Name of the row type in messages.
    pub type_name: &'static str,
    /// Field names and their column heads.
    pub heads: &'static [(&'static str, &'static str)],
    /// The table when no format is given.
    pub table: &'static str,
}

impl Listing {
    /// An empty row of this listing.
    pub fn row(&self) -> Map {
        Map::of_type(self.type_name)
    }

    /// Renders rows by `format`: nothing or `table` for the usual table,
    /// `table TEMPLATE`, `json`, or a template for each row.
    ///
    /// # Errors
    /// A format that is no template or does not fit the rows.
    pub fn render(&self, format: Option<&str>, rows: Vec<Map>) -> Result<String, CliError> {
        let format = format.map(unescape);
        let (template, tabular) = match format.as_deref().map(str::trim_start) {
            None | Some("" | "table") => (self.table.to_owned(), true),
            Some("json") => ("{{json .}}".to_owned(), false),
            Some(text) => match text.strip_prefix("table ") {
                Some(columns) => (columns.trim_start().to_owned(), true),
                None => (text.to_owned(), false),
            },
        };
        let template = parse(&template)?;
        let mut lines = Vec::with_capacity(rows.len() + 1);
        if tabular {
            lines.push(render(&template, &Value::Map(self.head_row()))?);
        }
        for row in rows {
            lines.push(render(&template, &Value::Map(row))?);
        }
        if tabular {
            return Ok(table::align(&lines));
        }
        Ok(lines.iter().map(|line| format!("{line}\n")).collect())
    }

    /// The heads as a row, so that `table {{upper .Names}}` has a head too.
    fn head_row(&self) -> Map {
        let mut map = self.row();
        for (field, head) in self.heads {
            map.push(*field, *head);
        }
        // `.Label "name"` heads its column with the label's last word.
        map.push(
            "Label",
            Value::Method(std::sync::Arc::new(|arguments| match arguments {
                [Value::Str(name)] => {
                    let last = name.rsplit('.').next().unwrap_or(name);
                    Ok(Value::Str(last.replace(['-', '_'], " ").to_uppercase()))
                }
                _ => Err("wants the name of a label".to_owned()),
            })),
        );
        map
    }
}

/// Parses a format.
///
/// # Errors
/// When it is no template.
pub fn parse(text: &str) -> Result<Template, CliError> {
    Template::parse(text).map_err(|error| CliError::usage(error.to_string()))
}

/// Renders one value.
///
/// # Errors
/// When the template does not fit it.
pub fn render(template: &Template, value: &Value) -> Result<String, CliError> {
    template
        .render(value)
        .map_err(|error| CliError::usage(format!("failed to execute template: {error}")))
}

/// Renders one API document by `--format`: `json` or a template.
///
/// # Errors
/// A format that is no template or does not fit.
pub fn document(format: &str, json: &[u8]) -> Result<String, CliError> {
    let value = Value::from_json(json)
        .map_err(|error| CliError::Disconnected(format!("it sent no JSON ({error})")))?;
    let text = match format {
        "json" => "{{json .}}",
        other => other,
    };
    render(&parse(&unescape(text))?, &value)
}

/// Shells pass `\t` and `\n` as two characters.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// Adds the `.Label "name"` method over a row's labels.
pub fn push_label_method(row: &mut Map, labels: std::collections::BTreeMap<String, String>) {
    row.push(
        "Label",
        Value::Method(std::sync::Arc::new(move |arguments| match arguments {
            [Value::Str(name)] => Ok(labels
                .get(name)
                .map_or(Value::from(""), |label| Value::from(label.as_str()))),
            _ => Err("wants the name of a label".to_owned()),
        })),
    );
}

/// `a=1,b=2`
pub fn join_labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join(",")
}

/// An identifier as listings show it: without algorithm, twelve digits.
pub fn short_id(id: &str) -> &str {
    let id = id.split_once(':').map_or(id, |(_, hex)| hex);
    id.get(..12).unwrap_or(id)
}

/// Cuts to `length` characters, the last of which is an ellipsis.
pub fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(length.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
#[path = "format/tests.rs"]
mod tests;
