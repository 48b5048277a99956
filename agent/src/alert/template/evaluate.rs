//! Runs a parsed template, as `text/template/exec.go` does, within bounds.

mod branch;

use std::sync::Arc;

use super::parser::Tree;
use super::tree::{Call, Command, Expr, List, Node, Number, Pipe, Place};
use super::value::Value;
use super::{MAX_OUTPUT_BYTES, MAX_STEPS, Scope, call};

/// Deepest nesting of templates that call each other.
const MAX_DEPTH: usize = 50;

/// What is to happen after a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// What is being evaluated, for messages.
#[derive(Clone, Copy)]
enum At<'a> {
    Nothing,
    Expr(&'a Expr),
    Command(&'a Command),
    Pipe(&'a Pipe),
    Call(&'a Call),
}

/// One run of a template.
pub(super) struct Run<'a> {
    pub(super) tree: &'a Tree,
    /// The template's name, and its whole source, for messages.
    pub(super) name: &'a str,
    pub(super) source: &'a str,
    pub(super) scope: &'a Scope<'a>,
    out: String,
    variables: Vec<(&'a str, Value)>,
    at: At<'a>,
    steps: usize,
    depth: usize,
}

impl<'a> Run<'a> {
    /// Prepares a run.
    pub(super) fn new(
        tree: &'a Tree,
        name: &'a str,
        source: &'a str,
        scope: &'a Scope<'a>,
    ) -> Self {
        Self {
            tree,
            name,
            source,
            scope,
            out: String::new(),
            variables: Vec::new(),
            at: At::Nothing,
            steps: 0,
            depth: 0,
        }
    }

    /// What the template says about `data`.
    ///
    /// # Errors
    /// With Go's message: where, executing what, and why not.
    pub(super) fn run(mut self, data: &Value) -> Result<String, String> {
        self.variables.push(("$", data.clone()));
        match self.list(&self.tree.main, data) {
            Ok(_) => Ok(self.out),
            Err(why) => Err(self.located(&why)),
        }
    }

    fn located(&self, why: &str) -> String {
        let name = self.name;
        let (place, text) = match self.at {
            At::Nothing => return format!("template: {name}: {why}"),
            At::Expr(expr) => (expr.place(), expr.to_string()),
            At::Call(call) => (call.place, call.to_string()),
            At::Command(command) => (command.place, command.to_string()),
            At::Pipe(pipe) => (pipe.place, pipe.to_string()),
        };
        let Place { at, line } = place;
        let before = &self.source[..at.min(self.source.len())];
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
        format!("template: {name}:{line}:{column}: executing {name:?} at <{text}>: {why}")
    }

    fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(format!("template takes more than {MAX_STEPS} steps"));
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        if self.out.len() + text.len() > MAX_OUTPUT_BYTES {
            return Err(format!(
                "template writes more than {MAX_OUTPUT_BYTES} bytes"
            ));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn list(&mut self, list: &'a List, dot: &Value) -> Result<Flow, String> {
        for node in list {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'a Node, dot: &Value) -> Result<Flow, String> {
        self.step()?;
        match node {
            Node::Text(text) => self.write(text)?,
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    self.at = At::Pipe(pipe);
                    let text = match value {
                        Value::Nil => "<no value>".to_owned(),
                        value => value.shown(),
                    };
                    self.write(&text)?;
                }
            }
            Node::If(branch) => return self.choose(branch, dot, false),
            Node::With(branch) => return self.choose(branch, dot, true),
            Node::Range(branch) => {
                self.range(branch, dot)?;
            }
            Node::Call(call) => self.template(call, dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    pub(super) fn pipe(&mut self, pipe: &'a Pipe, dot: &Value) -> Result<Value, String> {
        self.step()?;
        self.at = At::Pipe(pipe);
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or_default();
        // A loop binds its variables itself, element by element.
        for name in &pipe.variables {
            self.bind(name, value.clone(), pipe.assigns)?;
        }
        Ok(value)
    }

    fn command(
        &mut self,
        command: &'a Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, String> {
        let (first, args) = command.words.split_first().ok_or("empty command")?;
        match first {
            Expr::Field(_, path) => {
                self.at = At::Expr(first);
                return self.path(dot, dot.clone(), path, args, last);
            }
            Expr::Variable(_, name, path) => {
                self.at = At::Expr(first);
                let value = self.variable(name)?;
                if path.is_empty() {
                    no_arguments(first, args, last.as_ref())?;
                    return Ok(value);
                }
                return self.path(dot, value, path, args, last);
            }
            Expr::Chain(_, inner, path) => {
                let value = self.word(inner, dot)?;
                return self.path(dot, value, path, args, last);
            }
            Expr::Function(_, name) => {
                self.at = At::Command(command);
                return self.function(name, At::Command(command), dot, args, last);
            }
            Expr::Nil(_) => {
                self.at = At::Expr(first);
                return Err("nil is not a command".to_owned());
            }
            Expr::Dot(_) | Expr::Bool(..) | Expr::Number(..) | Expr::Text(..) | Expr::Pipe(_) => {}
        }
        self.at = At::Expr(first);
        no_arguments(first, args, last.as_ref())?;
        self.word(first, dot)
    }

    /// The value of a word that stands as an argument.
    fn word(&mut self, word: &'a Expr, dot: &Value) -> Result<Value, String> {
        self.step()?;
        self.at = At::Expr(word);
        match word {
            Expr::Dot(_) => Ok(dot.clone()),
            Expr::Nil(_) => Ok(Value::Nil),
            Expr::Bool(_, value) => Ok(Value::Bool(*value)),
            Expr::Number(_, number, text) => match number {
                Number::Int(value) => Ok(Value::Int(*value)),
                Number::Float(value) => Ok(Value::Float(*value)),
                Number::TooLarge => Err(format!("{text} overflows int")),
            },
            Expr::Text(_, text, _) => Ok(Value::Text(Arc::clone(text))),
            Expr::Field(_, path) => self.path(dot, dot.clone(), path, &[], None),
            Expr::Variable(_, name, path) => {
                let value = self.variable(name)?;
                self.path(dot, value, path, &[], None)
            }
            Expr::Function(_, name) => self.function(name, At::Expr(word), dot, &[], None),
            Expr::Pipe(pipe) => self.pipe(pipe, dot),
            Expr::Chain(_, inner, path) => {
                let value = self.word(inner, dot)?;
                self.path(dot, value, path, &[], None)
            }
        }
    }

    fn variable(&self, name: &str) -> Result<Value, String> {
        let found = self.variables.iter().rev().find(|(have, _)| *have == name);
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| format!("undefined variable: {name}"))
    }

    /// Follows fields; the last may be a method with arguments.
    fn path(
        &mut self,
        dot: &Value,
        value: Value,
        path: &'a [String],
        args: &'a [Expr],
        last: Option<Value>,
    ) -> Result<Value, String> {
        let Some((end, before)) = path.split_last() else {
            return Ok(value);
        };
        let at = self.at;
        let mut value = value;
        for name in before {
            value = call::field(&value, name, &[], false)?;
        }
        let given = self.arguments(args, dot, last)?;
        self.at = at;
        call::field(&value, end, &given, !given.is_empty())
    }

    fn arguments(
        &mut self,
        args: &'a [Expr],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Vec<Value>, String> {
        let mut given = Vec::with_capacity(args.len() + 1);
        for arg in args {
            given.push(self.word(arg, dot)?);
        }
        given.extend(last);
        Ok(given)
    }

    fn function(
        &mut self,
        name: &str,
        at: At<'a>,
        dot: &Value,
        args: &'a [Expr],
        last: Option<Value>,
    ) -> Result<Value, String> {
        call::count(name, args.len() + usize::from(last.is_some()))?;
        if name == "and" || name == "or" {
            return self.shortcut(name == "or", dot, args, last);
        }
        let mut given = Vec::with_capacity(args.len() + 1);
        for (index, arg) in args.iter().enumerate() {
            self.at = At::Expr(arg);
            call::constant(name, index, arg)?;
            let value = self.word(arg, dot)?;
            call::fitting(name, index, &value)?;
            given.push(value);
        }
        if let Some(last) = last {
            call::fitting(name, given.len(), &last)?;
            given.push(last);
        }
        let result = call::function(name, &given, self.scope);
        let value = result.map_err(|why| {
            self.at = at;
            format!("error calling {name}: {why}")
        })?;
        if let Value::Text(text) = &value
            && text.len() > MAX_OUTPUT_BYTES
        {
            return Err(format!("{name} gives more than {MAX_OUTPUT_BYTES} bytes"));
        }
        Ok(value)
    }

    /// `and` and `or` stop at the first argument that decides.
    fn shortcut(
        &mut self,
        wanted: bool,
        dot: &Value,
        args: &'a [Expr],
        last: Option<Value>,
    ) -> Result<Value, String> {
        let mut value = Value::Nil;
        for arg in args {
            value = self.word(arg, dot)?;
            if value.is_true() == wanted {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }
}

fn no_arguments(first: &Expr, args: &[Expr], last: Option<&Value>) -> Result<(), String> {
    if args.is_empty() && last.is_none() {
        Ok(())
    } else {
        Err(format!("can't give argument to non-function {first}"))
    }
}
