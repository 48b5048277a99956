//! A parsed template. The texts of nodes are Go's: they stand in its error messages.

use std::fmt;
use std::sync::Arc;

/// Where in the source: byte and line, the latter from 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) at: usize,
    pub(super) line: usize,
}

/// What a template does, in order.
pub(super) type List = Vec<Node>;

/// One step.
#[derive(Debug)]
pub(super) enum Node {
    Text(Arc<str>),
    Action(Pipe),
    If(Branch),
    Range(Branch),
    With(Branch),
    /// Runs a named template.
    Call(Call),
    Break,
    Continue,
}

/// A template that is run in another's place.
#[derive(Debug)]
pub(super) struct Call {
    /// Of the name.
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) pipe: Option<Pipe>,
}

/// A condition and what follows.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) body: List,
    pub(super) otherwise: List,
}

/// Commands, each given the result of the one before.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) place: Place,
    pub(super) variables: Vec<String>,
    /// Sets variables that exist instead of declaring new ones.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// A function or value with its arguments.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) place: Place,
    pub(super) words: Vec<Expr>,
}

/// A number as written, with what it means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Int(i64),
    /// Needs 64 bits without sign, which Go refuses too.
    TooLarge,
    Float(f64),
}

/// A value.
#[derive(Debug)]
pub(super) enum Expr {
    Dot(Place),
    Nil(Place),
    Bool(Place, bool),
    Number(Place, Number, String),
    Text(Place, Arc<str>, String),
    Field(Place, Vec<String>),
    Variable(Place, String, Vec<String>),
    Function(Place, String),
    Pipe(Box<Pipe>),
    Chain(Place, Box<Expr>, Vec<String>),
}

impl Expr {
    /// Where it stands.
    pub(super) fn place(&self) -> Place {
        match self {
            Self::Dot(place)
            | Self::Nil(place)
            | Self::Bool(place, _)
            | Self::Number(place, ..)
            | Self::Text(place, ..)
            | Self::Field(place, _)
            | Self::Variable(place, ..)
            | Self::Function(place, _)
            | Self::Chain(place, ..) => *place,
            Self::Pipe(pipe) => pipe.place,
        }
    }
}

fn fields(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    names.iter().try_for_each(|name| write!(f, ".{name}"))
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dot(_) => f.write_str("."),
            Self::Nil(_) => f.write_str("nil"),
            Self::Bool(_, value) => write!(f, "{value}"),
            Self::Number(_, _, text) | Self::Text(_, _, text) => f.write_str(text),
            Self::Field(_, names) => fields(f, names),
            Self::Variable(_, name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            Self::Function(_, name) => f.write_str(name),
            Self::Pipe(pipe) => write!(f, "({pipe})"),
            Self::Chain(_, inner, names) => {
                write!(f, "{inner}")?;
                fields(f, names)
            }
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {:?}", self.name)?;
        if let Some(pipe) = &self.pipe {
            write!(f, " {pipe}")?;
        }
        f.write_str("}}")
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{word}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            f.write_str(&self.variables.join(", "))?;
            f.write_str(if self.assigns { " = " } else { " := " })?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            if index > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{command}")?;
        }
        Ok(())
    }
}
