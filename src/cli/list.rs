//! What `queue`, `pool` and `bg` share: which parameters are shown, and the table.

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::connect::Kind;
use super::modules::Module;
use super::{CliError, Shell, modules, render};

/// Which parameters to show beside each module.
#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// Show these parameters of modules of this type
    #[arg(short, long, value_name = "TYPE=NAME,...")]
    parameters: Vec<String>,
}

/// The arguments of the command.
#[derive(Debug, Serialize)]
pub(super) struct ListArguments {
    parameters: Map<String, Value>,
}

impl Wanted {
    /// The arguments that ask for them; none where none are wanted.
    ///
    /// # Errors
    /// [`CliError::Usage`] naming the word at fault.
    pub(super) fn arguments(&self) -> Result<Option<ListArguments>, CliError> {
        let mut parameters = Map::new();
        for word in &self.parameters {
            let names = word.split_once('=').filter(|(type_name, _)| !type_name.is_empty()).and_then(|(type_name, names)| {
                let names: Vec<&str> = names.split(',').collect();
                (!names.contains(&"")).then_some((type_name, names))
            });
            let Some((type_name, names)) = names else {
                return Err(CliError::Usage(format!("Parameters {word:?} are not of the form TYPE=NAME,NAME.")));
            };
            let all = parameters.entry(type_name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(all) = all {
                all.extend(names.into_iter().map(Value::from));
            }
        }
        Ok((!parameters.is_empty()).then_some(ListArguments { parameters }))
    }
}

/// Asks a service of this kind for its list and shows it.
///
/// # Errors
/// As of any verb.
pub(super) async fn show(shell: &Shell, kind: Kind, verb: &str, wanted: &Wanted) -> Result<(), CliError> {
    let arguments = wanted.arguments()?;
    let services = shell.services()?;
    let service = services.of_kind(&[kind])?;
    let result = services.ask(&service, verb, arguments.as_ref()).await?;
    shell.print_result(&result, |result| {
        let modules = modules::list(result).ok_or_else(|| services.senseless(&service))?;
        Ok(table(&modules, true))
    })
}

/// The modules as a table, numbered from 1 where `numbered`.
pub(super) fn table(modules: &[Module<'_>], numbered: bool) -> String {
    let uids: Vec<&str> = modules.iter().map(|module| module.uid.as_ref()).collect();
    let length = render::short_length(&uids);
    let rows = modules.iter().enumerate().map(|(index, module)| {
        let parameters =
            module.parameters.iter().map(|(name, value)| format!("{}={}", render::one_line(name), render::value(value)));
        [
            (index + 1).to_string(),
            render::one_line(render::prefix(&module.uid, length)),
            match &module.state {
                Some(state) => format!("{} ({})", render::one_line(&module.type_name), render::one_line(state)),
                None => render::one_line(&module.type_name),
            },
            parameters.collect::<Vec<_>>().join(" "),
        ]
    });
    let with_parameters = modules.iter().any(|module| !module.parameters.is_empty());
    match (numbered, with_parameters) {
        (true, true) => render::table(["#", "UID", "TYPE", "PARAMETERS"], &rows.collect::<Vec<_>>()),
        (true, false) => render::table(["#", "UID", "TYPE"], &rows.map(|[a, b, c, _]| [a, b, c]).collect::<Vec<_>>()),
        (false, true) => render::table(["UID", "TYPE", "PARAMETERS"], &rows.map(|[_, b, c, d]| [b, c, d]).collect::<Vec<_>>()),
        (false, false) => render::table(["UID", "TYPE"], &rows.map(|[_, b, c, _]| [b, c]).collect::<Vec<_>>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let read = |words: &[&str]| {
            let wanted = Wanted { parameters: words.iter().map(|word| (*word).to_owned()).collect() };
            match wanted.arguments() {
                Ok(arguments) => serde_json::to_string(&arguments).unwrap(),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(read(&[]), "null");
        assert_eq!(read(&["a=x,y", "b=z", "a=w"]), r#"{"parameters":{"a":["x","y","w"],"b":["z"]}}"#);
        for bad in ["a", "a=", "=x", "a=x,,y", "a=x,"] {
            assert_eq!(read(&[bad]), format!("Parameters {bad:?} are not of the form TYPE=NAME,NAME."));
        }
    }
}
