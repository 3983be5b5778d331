//! The functions of a plugin's libraries on a call stack: the interpreter, its C modules, componentize-py's runtime.

use wasmtime::Module;

use crate::debug_info::Location;
use crate::module::CoreModule;

/// The interpreter's function that runs the code of Python functions.
const EVALUATE: &str = "_PyEval_EvalFrameDefault";

/// What a function of a library is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Native {
    /// Runs Python functions.
    Evaluation,
    /// Any other function with a name.
    Named,
    /// It has no name.
    Unnamed,
}

/// A library: its compiled form, its name, and the names of its functions.
struct Library {
    module: Module,
    name: Option<String>,
    functions: Vec<String>,
}

/// The libraries of a plugin.
#[derive(Default)]
pub(crate) struct Natives(Vec<Library>);

impl Natives {
    /// The libraries among a component's modules: those that have names.
    pub(crate) fn of<'m>(modules: impl Iterator<Item = (&'m CoreModule, Option<Module>)>) -> Self {
        let named = modules.filter(|(core, _)| core.has_names());
        let library = |(core, module): (&CoreModule, Option<Module>)| {
            let functions = core.functions.iter().map(|function| function.name.clone()).collect();
            Some(Library { module: module?, name: core.name.clone(), functions })
        };
        Self(named.filter_map(library).collect())
    }

    /// The number of the library whose compiled form is `module`.
    pub(crate) fn number(&self, module: &Module) -> Option<usize> {
        self.0.iter().position(|library| Module::same(&library.module, module))
    }

    /// What a function is. The index counts the functions that the library defines.
    pub(crate) fn kind(&self, library: usize, function: u32) -> Native {
        match self.name(library, function) {
            Some(EVALUATE) => Native::Evaluation,
            Some(_) => Native::Named,
            None => Native::Unnamed,
        }
    }

    /// A function's name and, as its file, its library.
    pub(crate) fn location(&self, library: usize, function: u32) -> Location {
        let file = self.0.get(library).and_then(|library| library.name.clone());
        Location { function: self.name(library, function).unwrap_or("?").to_owned(), file, line: None }
    }

    fn name(&self, library: usize, function: u32) -> Option<&str> {
        let name = self.0.get(library)?.functions.get(function as usize)?;
        Some(name.as_str()).filter(|name| !name.starts_with("func["))
    }
}
