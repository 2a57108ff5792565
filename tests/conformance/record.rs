//! The command log (protocol.md section 9): its tables and its rows.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use super::compare::{Bindings, Manner};
use super::differences::{Ours, Places};

/// Rows are written by a thread of their own: they are there after at most this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// The tables as the original made them, compared without regard to white space.
///
/// # Errors
/// Where the file cannot be read.
pub fn check_tables(file: &Path, recorded: &[String]) -> Result<Vec<String>, String> {
    let words = |sql: &String| sql.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(").replace(" )", ")");
    let recorded: Vec<String> = recorded.iter().map(words).collect();
    let tables = || -> rusqlite::Result<Vec<String>> {
        let log = open(file)?;
        let mut statement = log.prepare("SELECT sql FROM sqlite_master WHERE type = 'table' ORDER BY name")?;
        statement.query_map([], |row| row.get(0))?.collect()
    };
    let tables = until(tables, |tables| tables.len() >= recorded.len())?;
    let tables: Vec<String> = tables.iter().map(words).collect();
    Ok(if tables == recorded { Vec::new() } else { vec![format!("the tables are {tables:?}\n      expected {recorded:?}")] })
}

/// The rows in order. What is used of `places` is taken out of it.
///
/// # Errors
/// Where the file cannot be read.
pub fn check_rows(
    file: &Path,
    table: &str,
    recorded: &[Value],
    places: &mut Places,
    bindings: &mut Bindings,
) -> Result<Vec<String>, String> {
    let mut expected = Vec::new();
    for (number, row) in recorded.iter().enumerate() {
        let difference = places.remove(&format!("row[{number}]"));
        match difference.map(|difference| difference.ours) {
            None => expected.push((number, parsed(row.clone()), false)),
            Some(Ours::Line(line)) => {
                let output = serde_json::from_str(&line).map_err(|error| format!("row[{number}]: {error}"))?;
                let mut row = parsed(row.clone());
                if std::mem::replace(&mut row["output_json"], output) == row["output_json"] {
                    return Err(format!("row[{number}]: what is listed is what was recorded"));
                }
                expected.push((number, row, true));
            }
            Some(_) => (),
        }
    }
    let rows = || -> rusqlite::Result<Vec<Value>> {
        let log = open(file)?;
        let mut statement = log.prepare(&format!("SELECT uid, namespace, input_json, output_json FROM {table} ORDER BY pk"))?;
        let columns = ["uid", "namespace", "input_json", "output_json"];
        let row = |row: &rusqlite::Row<'_>| {
            let mut object = json!({});
            for (number, column) in columns.into_iter().enumerate() {
                object[column] = row.get::<_, Option<String>>(number)?.into();
            }
            Ok(parsed(object))
        };
        statement.query_map([], row)?.collect()
    };
    let rows = until(rows, |rows| rows.len() >= expected.len())?;
    let mut problems = Vec::new();
    for (at, (number, expected, globs)) in expected.iter().enumerate() {
        let got = rows.get(at).unwrap_or(&Value::Null);
        if !bindings.agree_values(expected, got, Manner { globs: *globs, any_order: false }) {
            let got = bindings.shown(&got.to_string());
            problems.push(format!("row[{number}]: got {got}\n      expected {expected}"));
        }
    }
    for row in rows.iter().skip(expected.len()) {
        problems.push(format!("a row too many: {}", bindings.shown(&row.to_string())));
    }
    Ok(problems)
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// A row whose texts of JSON are values.
fn parsed(mut row: Value) -> Value {
    for column in ["input_json", "output_json"] {
        if let Some(value) = row[column].as_str().and_then(|text| serde_json::from_str(text).ok()) {
            row[column] = value;
        }
    }
    row
}

/// Looks until there is enough, or time is up.
fn until<T>(look: impl Fn() -> rusqlite::Result<Vec<T>>, enough: impl Fn(&[T]) -> bool) -> Result<Vec<T>, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) if enough(&found) || Instant::now() > deadline => return Ok(found),
            Err(error) if Instant::now() > deadline => return Err(format!("the command log: {error}")),
            _ => sleep(LOOK),
        }
    }
}
